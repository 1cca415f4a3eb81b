//! Which store a command works on, that it is opened and closed on every path, and that no read creates one.

use std::fs;

use crate::program::{ran, stent};
use crate::shop::{DECLINED, LATER, PAID, Shop, id, run};

#[test]
fn a_store_that_does_not_exist_is_an_error_and_is_not_created() {
    let shop = Shop::empty();
    let id = id(PAID);
    for args in [
        &["list"][..],
        &["show", &id],
        &["tasks"],
        &["workers"],
        &["queues"],
        &["stats"],
        &["watch", "--count", "1"],
        &["dispatch", "checkout"],
        &["signal", &id, "approval"],
        &["cancel", &id],
        &["retry", &id],
        &["dlq", "list"],
        &["cleanup", "--yes"],
        &["export", &id],
        &["doctor"],
    ] {
        let stderr = shop.stent(args).fails(4);
        assert!(stderr.contains("shop.db does not exist"), "{args:?}: {stderr}");
        assert!(stderr.contains("hint: check the path in --store or STENT_STORE"), "{args:?}: {stderr}");
    }
    let left = fs::read_dir(shop.folder.path()).expect("the folder").count();
    assert_eq!(left, 0);

    let dry = shop.stent(&["migrate", "--dry-run"]).ok();
    assert!(dry.contains("would be created") && !shop.folder.path().join("shop.db").exists(), "{dry}");
    assert!(shop.stent(&["migrate"]).ok().starts_with("applied "), "this one creates it");
    assert!(shop.stent(&["migrate"]).ok().starts_with("up to date"));
    assert_eq!(shop.stent(&["list"]).ok(), "");
}

#[test]
fn a_database_without_tables_is_refused_and_stays_without() {
    let shop = Shop::empty();
    let file = shop.folder.path().join("shop.db");
    fs::write(&file, "").expect("a file");

    let stderr = shop.stent(&["list"]).fails(4);

    assert!(stderr.contains("has no tables of Stent") && stderr.contains("`stent migrate`"), "{stderr}");
    let stderr = shop.stent(&["doctor"]);
    assert_eq!(stderr.code, Some(1), "{stderr:?}");
    assert!(stderr.stdout.contains("problem  schema: the store has no tables"), "{stderr:?}");
    let dry = shop.stent(&["migrate", "--dry-run", "--output", "json"]).json();
    assert_eq!((&dry["applied"], &dry["missing"]), (&0.into(), &dry["known"]));
}

#[test]
fn a_file_that_may_only_be_read_is_read() {
    let shop = Shop::open();
    let file = shop.folder.path().join("shop.db");
    let mut permissions = fs::metadata(&file).expect("the file").permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&file, permissions).expect("permissions");
    // The superuser may write regardless of permissions, so the URL says it, too.
    for url in [shop.url.clone(), format!("{}?read_only=true", shop.url)] {
        let listed = crate::program::on(&url, &["list", "--output", "json"]);
        assert!(
            listed.stderr.is_empty() || listed.stderr.starts_with("note: the file cannot be written"),
            "{listed:?}"
        );
        assert_eq!(listed.json().as_array().map(Vec::len), Some(4), "{url}");
        crate::program::on(&url, &["doctor"]).ok();
    }

    let stderr =
        crate::program::on(&format!("{}?read_only=true", shop.url), &["cancel", &id(LATER)]).fails(1);

    assert!(stderr.contains("readonly"), "{stderr}");
    let left = fs::read_dir(shop.folder.path()).expect("the folder").count();
    assert_eq!(left, 1, "no log was created");
}

#[test]
fn a_path_that_names_another_database_opens_as_what_the_scheme_or_the_flag_says() {
    let shop = Shop::empty();
    let path = shop.folder.path().join("postgres.db");
    let url = format!("sqlite://{}", path.display());
    run(async { crate::shop::open(&url).await.close().await }).expect("closed");

    for args in [&["--store", &url][..], &["--store", &path.display().to_string(), "--backend", "sqlite"]] {
        assert_eq!(ran(stent().args(args).args(["list", "--output", "json"])).json(), serde_json::json!([]));
    }
    let stderr = ran(stent().args(["--store", &url, "--backend", "postgres", "list"])).fails(2);
    assert!(stderr.contains("--backend postgres contradicts the scheme `sqlite`"), "{stderr}");
}

#[test]
fn a_wrong_url_is_named_with_what_would_be_right_and_no_password() {
    for (store, said) in [
        ("orders.db", "no scheme"),
        ("mysql://kim:secret@host/db", "unknown scheme `mysql`"),
        ("sqlite://orders.db?mode=rwc", "known parameters: durability"),
        ("postgres://kim:secret@host:port/db", "cannot parse the URL"),
        ("redis://kim:secret@host?nmespace=x", "namespace"),
        ("memory:", "belongs to the process that opened it"),
        ("sqlite::memory:", "belongs to the process that opened it"),
        ("", "no store is named"),
    ] {
        let stderr = ran(stent().env("STENT_STORE", store).arg("list")).fails(2);
        assert!(stderr.contains(said), "{store}: {stderr}");
        assert!(!stderr.contains("secret"), "{store}: {stderr}");
    }
    let stderr = ran(stent().arg("list")).fails(2);
    assert!(
        stderr.contains("no store is named") && stderr.contains("hint: name it with --store"),
        "{stderr}"
    );
}

#[test]
fn a_server_that_is_not_there_is_unreachable() {
    // Nothing listens on this port.
    for store in
        ["postgres://kim:secret@127.0.0.1:1/db?acquire_timeout=1s", "redis://127.0.0.1:1?connect_timeout=1s"]
    {
        let stderr = ran(stent().env("STENT_STORE", store).arg("stats")).fails(4);
        assert!(
            stderr.starts_with("error: ") && stderr.contains("hint: check that the server runs"),
            "{stderr}"
        );
        assert!(!stderr.contains("secret"), "{stderr}");
        // The methods of the library are not the commands of this program.
        assert!(!["migrate:", "clock:", "count:"].iter().any(|method| stderr.contains(method)), "{stderr}");
    }
}

#[test]
fn every_command_closes_its_store_whether_it_succeeds_or_fails() {
    let shop = Shop::open();
    let (paid, declined, unknown) = (id(PAID), id(DECLINED), id(99));
    for (args, code) in [
        (&["list"][..], 0),
        (&["show", &paid], 0),
        (&["show", &unknown], 3),
        (&["tasks"], 0),
        (&["workers"], 0),
        (&["queues"], 0),
        (&["stats"], 0),
        (&["watch", "--count", "1"], 0),
        (&["dispatch", "reserve", "4"], 0),
        (&["signal", &paid, "approval"], 1),
        (&["cancel", &unknown], 3),
        (&["retry", &paid], 1),
        (&["dlq", "show", &paid], 3),
        (&["dlq", "retry", &declined], 0),
        (&["cleanup"], 2),
        (&["export", &paid], 0),
        (&["export", &unknown], 3),
        (&["migrate"], 0),
        (&["doctor"], 0),
    ] {
        let ran = shop.stent(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {ran:?}");
        assert!(!shop.is_open(), "{args:?} has left the store open");
    }
}
