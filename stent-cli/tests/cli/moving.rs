//! Executions move between stores: exported from one, imported into another.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::namespace::Namespace;
use crate::program;
use crate::schema::Schema;
use crate::shop::{ASKED, DECLINED, LATER, PAID, Shop, fill, id, open, run};

/// The lines of an export without what an import drops: the nonces of claims.
fn lines(url: &str, n: u32) -> Vec<Value> {
    let text = program::on(url, &["export", &id(n)]).ok();
    let lines = text.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).expect("JSON");
        for field in ["epoch", "commit_epoch"] {
            if let Some(epoch) = line.pointer_mut(&format!("/row/row/{field}")) {
                let stored = epoch.as_i64().expect("an integer");
                *epoch = (if stored >> 31 == 0 { stored } else { stored >> 31 }).into();
            }
        }
        line
    });
    lines.collect()
}

fn exported(url: &str, folder: &Path, n: u32) -> PathBuf {
    let file = folder.join(format!("{n}.jsonl"));
    std::fs::write(&file, program::on(url, &["export", &id(n)]).ok()).expect("written");
    file
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn executions_move_from_sqlite_to_postgres_to_redis_and_back_and_run_on() {
    let (shop, schema, namespace, last) = (Shop::empty(), Schema::new(), Namespace::new(), Shop::empty());
    run(fill(&shop.url));
    let stores = [shop.url.clone(), schema.url(), namespace.url(), last.url.clone()];
    for url in &stores[1..] {
        program::on(url, &["migrate"]).ok();
    }
    for n in [PAID, DECLINED, ASKED, LATER] {
        let before = lines(&stores[0], n);
        for pair in stores.windows(2) {
            let file = exported(&pair[0], shop.folder.path(), n);
            let said = program::on(&pair[1], &["import", &shown(&file)]).ok();
            assert!(said.starts_with(&format!("imported {}", id(n))), "{said}");
            assert_eq!(lines(&pair[1], n), before, "{} to {}", pair[0], pair[1]);
        }
    }

    let url = &stores[3];
    assert_eq!(program::on(url, &["dlq", "list"]).ok(), shop.stent(&["dlq", "list"]).ok());
    program::on(url, &["signal", &id(ASKED), "approval", "\"kim\""]).ok();
    run(async {
        let stent = open(url).await;
        let worker = stent.worker().start().await.expect("a worker");
        let asked = stent.wait_for(id(ASKED).parse().expect("an id")).timeout("30s").await.expect("approved");
        assert_eq!(asked.decode::<String>().expect("a text"), "a bike approved by kim");
        worker.drain().await.expect("drained");
        stent.close().await.expect("closed");
    });
    assert_eq!(program::on(url, &["show", &id(ASKED), "--output", "json"]).json()["counters"]["asked"], 1);
}

#[test]
fn a_queue_keeps_local_workers_away_and_a_dry_run_writes_nothing() {
    let (shop, other) = (Shop::open(), Shop::empty());
    other.stent(&["migrate"]).ok();
    let file = shown(&exported(&shop.url, shop.folder.path(), ASKED));

    let dry = other.stent(&["import", &file, "--queue", "debugging", "--dry-run"]).ok();
    other.stent(&["show", &id(ASKED)]).fails(3);
    let said = other.stent(&["import", &file, "--queue", "debugging", "--output", "json"]).json();

    assert!(dry.starts_with(&format!("would import {} (approval) with 2 tasks", id(ASKED))), "{dry}");
    assert!(dry.contains("1 of them open, on debugging"), "{dry}");
    assert_eq!(
        (&said["id"], &said["tasks"], &said["dry_run"]),
        (&id(ASKED).into(), &2.into(), &false.into())
    );
    assert_eq!(other.stent(&["show", &id(ASKED), "--output", "json"]).json()["queue"], "debugging");
    assert_eq!(shop.stent(&["show", &id(ASKED), "--output", "json"]).json()["queue"], "default");
}

#[test]
fn an_export_that_cannot_be_imported_is_refused_with_a_hint() {
    let (shop, other) = (Shop::open(), Shop::empty());
    other.stent(&["migrate"]).ok();
    let folder = shop.folder.path();
    let file = exported(&shop.url, folder, PAID);
    let text = std::fs::read_to_string(&file).expect("read");
    let whole: Vec<&str> = text.lines().collect();
    let others = std::fs::read_to_string(exported(&shop.url, folder, ASKED)).expect("read");
    let mut newer: Value = serde_json::from_str(whole[1]).expect("JSON");
    newer["format"] = serde_json::json!({ "format": 9, "writer": "9.0.0" });
    let newer = newer.to_string();
    let cut = &text[..text.len() - 40];
    let cases = [
        (String::new(), "the export is empty", "write an export first"),
        (whole[1..].join("\n"), "does not begin with an execution", "from its first line"),
        (whole[..whole.len() - 1].join("\n"), "is cut off", "export it again"),
        (cut.to_owned(), &format!("line {} of ", whole.len()), "the file is cut off"),
        (format!("{}\nnonsense", whole[0]), "line 2 of ", "as it is"),
        (format!("{}\n{{\"sonnet\": 1}}", whole[0]), "is not part of an export", "the whole output"),
        (format!("{text}{others}"), "goes on with parts of execution", "one export at a time"),
        ([whole[0], &newer].join("\n"), "has format 9, written by stent 9.0.0", "with that version"),
        (
            [&whole[..1], &whole[2..]].concat().join("\n"),
            "whose exports cannot be imported",
            "export it again",
        ),
    ];
    for (text, said, hint) in cases {
        let path = folder.join("broken.jsonl");
        std::fs::write(&path, &text).expect("written");
        let stderr = other.stent(&["import", &shown(&path)]).fails(1);
        assert!(
            stderr.contains(said) && stderr.contains("hint: ") && stderr.contains(hint),
            "{said}: {stderr}"
        );
    }
    other.stent(&["show", &id(PAID)]).fails(3);

    let file = shown(&file);
    other.stent(&["import", &file]).ok();
    let stderr = other.stent(&["import", &file]).fails(1);
    assert!(stderr.contains("is in this store already") && stderr.contains("hint: "), "{stderr}");
    let stderr = other.stent(&["import", &file, "--dry-run"]).fails(1);
    assert!(stderr.contains("is in this store already"), "{stderr}");
    let stderr = other.stent(&["import", "nowhere.jsonl"]).fails(1);
    assert!(stderr.contains("cannot read nowhere.jsonl"), "{stderr}");
}

#[test]
fn a_key_of_another_execution_refuses_an_import_also_a_dry_one() {
    let (shop, other) = (Shop::empty(), Shop::empty());
    let keyed = |shop: &Shop, n: u32| {
        shop.stent(&["migrate"]).ok();
        shop.stent(&["dispatch", "reserve", "5", "--key", "five", "--id", &id(n)]).ok();
    };
    keyed(&shop, 7);
    keyed(&other, 8);
    let file = shown(&exported(&shop.url, shop.folder.path(), 7));
    for args in [&["import", &file, "--dry-run"][..], &["import", &file]] {
        let stderr = other.stent(args).fails(1);
        assert!(stderr.contains(&format!("a key that execution {} holds", id(8))), "{stderr}");
        assert!(stderr.contains("hint: "), "{stderr}");
    }
}
