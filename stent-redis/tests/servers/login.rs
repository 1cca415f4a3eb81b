//! Logins and addresses: passwords, users and their ACL rules, databases, sockets, TLS.

use std::fs;

use stent_core::WorkerId;
use stent_core::backend::{Backend, ErrorKind, HintChannel, Hints, Inspect, Topic};
use stent_core::model::WorkerRecord;
use stent_redis::{RedisHints, RedisOptions, RedisStore};
use uuid::Uuid;

use crate::certificates::Certificates;
use crate::server::Server;
use crate::support::{NOW, hinted, new_id, open, refused, works, write};

#[tokio::test]
async fn a_password_is_asked_for_and_checked() {
    let server = Server::start(&[("requirepass", "s3cret")]);

    works(&*open(&server.options().password("s3cret")).await).await;
    works(&*open(&server.options().login("default", "s3cret")).await).await;

    let said = refused(&server.options()).await;
    assert!(said.contains("requires a login; add user:password@"), "{said}");
    let said = refused(&server.options().password("wrong")).await;
    assert!(said.contains("refuses the user or the password") && !said.contains("wrong"), "{said}");
}

#[tokio::test]
async fn a_password_that_the_server_does_not_have_is_refused() {
    let server = Server::start(&[]);

    let said = refused(&server.options().password("s3cret")).await;

    assert!(said.contains("has no password; remove it from the URL"), "{said}");
}

/// Returns the ACL rules in the guide.
fn rules() -> Vec<String> {
    let guide = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guide/redis.md"))
        .expect("the guide");
    let line =
        guide.lines().find(|line| line.starts_with("ACL SETUSER stent ")).expect("the guide has the rules");
    line.split(' ').skip(2).map(|word| word.trim_matches('\'').replace("orders", "test")).collect()
}

#[tokio::test]
async fn the_rules_of_the_guide_suffice() {
    let server = Server::start(&[]);
    let rules = rules();
    let user: Vec<_> = ["ACL", "SETUSER"].into_iter().chain(rules.iter().map(String::as_str)).collect();
    let () = server.ask(&user);
    let options = server.options().login("stent", "secret");
    let warnings = crate::support::Warnings::new();

    let store = open(&options).await;
    works(&store).await;
    let worker = WorkerRecord::new(WorkerId::from_uuid(Uuid::new_v4()), "night".to_owned(), NOW);
    store.report(&worker).await.expect("it is written");
    assert_eq!(store.workers(None, 10).await.expect("reads"), [worker]);

    assert_eq!(warnings.lines(), [""; 0], "appendfsync could be read");
    let said = refused(&options.namespace("other")).await;
    assert!(
        said.contains("may not use all keys") && said.contains("add the rule ~stent:{other}:*"),
        "{said}"
    );
}

#[tokio::test]
async fn the_rules_of_the_guide_suffice_for_hints() {
    let server = Server::start(&[("appendonly", "no")]);
    let rules = rules();
    let user: Vec<_> = ["ACL", "SETUSER"].into_iter().chain(rules.iter().map(String::as_str)).collect();
    let () = server.ask(&user);
    let options = server.options().login("stent", "secret");
    let warnings = crate::support::Warnings::new();
    let mine = RedisHints::open(&options).await.expect("connects");
    let yours = RedisHints::open(&options).await.expect("connects");
    let mut told = yours.listen(Topic::Work);

    mine.notify(Topic::Work);

    hinted(&mut *told).await;
    assert_eq!(warnings.lines(), [""; 0]);
}

#[tokio::test]
async fn a_missing_rule_is_named() {
    let server = Server::start(&[]);
    let rules = rules();
    let user: Vec<_> = ["ACL", "SETUSER"].into_iter().chain(rules.iter().map(String::as_str)).collect();
    let options = server.options().login("stent", "secret");
    // A script that is stopped in the middle would leave what it has written, so the user is refused before the first one.
    for command in ["evalsha", "xadd", "zadd", "hsetnx", "del", "copy", "zremrangebyrank"] {
        let () = server.ask(&[user.as_slice(), &[&format!("-{command}")]].concat());

        let said = refused(&options).await;

        assert!(said.contains(&format!("add the rule +{command} with ACL SETUSER")), "{command}: {said}");
    }

    let () = server.ask(&user);
    let store = open(&options).await;
    assert_eq!(server.ask::<Vec<String>>(&["KEYS", "*probe*"]), [""; 0]);
    // The server has all scripts by now, and may forget them.
    let () = server.ask(&[user.as_slice(), &["-script"]].concat());
    let said = refused(&options).await;
    assert!(said.contains("add the rule +script"), "{said}");
    let () = server.ask(&user);
    let () = server.ask(&["ACL", "SETUSER", "stent", "-evalsha"]);
    let error = write(&store, new_id()).await.expect_err("the user may not");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("add the rule +evalsha"), "{error}");

    // The new rule takes effect at once.
    let () = server.ask(&["ACL", "SETUSER", "stent", "+evalsha"]);
    works(&store).await;
}

#[tokio::test]
async fn a_user_without_config_is_let_in_with_a_warning() {
    let server = Server::start(&[]);
    let rules = rules();
    let user = ["ACL", "SETUSER"].into_iter().chain(rules.iter().map(String::as_str));
    let () = server.ask(&user.chain(["-config"]).collect::<Vec<_>>());
    let warnings = crate::support::Warnings::new();

    works(&*open(&server.options().login("stent", "secret")).await).await;

    let lines = warnings.lines();
    assert!(lines.len() == 1 && lines[0].contains("may not read appendfsync"), "{lines:?}");
}

#[tokio::test]
async fn databases_are_apart() {
    let server = Server::start(&[("databases", "4")]);
    let (zero, three) = (open(&server.options()).await, open(&server.options().db(3)).await);
    let id = new_id();

    write(&three, id).await.expect("writes");

    assert!(crate::support::exists(&three, id).await);
    assert!(!crate::support::exists(&zero, id).await);
    let said = refused(&server.options().db(4)).await;
    assert!(said.contains("does not have the database; raise databases"), "{said}");
}

#[tokio::test]
async fn a_socket_is_a_way_in() {
    let server = Server::start(&[("unixsocket", "redis.sock")]);
    let socket = server.folder().join("redis.sock");

    works(&*open(&RedisOptions::socket(&socket)).await).await;

    let url = format!("redis+unix://{}?db=1&namespace=test", socket.display());
    let store = open(&url.parse().expect("a URL")).await;
    works(&store).await;
    assert_eq!(store.info().location, format!("{}, database 1, namespace test", socket.display()));
}

#[tokio::test]
async fn tls_trusts_the_ca_that_is_named() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let made = Certificates::new(folder.path());
    let Some(server) = with_tls(&made) else { return };
    let port = server.port();

    let url = format!("rediss://127.0.0.1:{port}?namespace=test&ca={}", made.ca.display());
    works(&*open(&url.parse().expect("a URL")).await).await;

    let said = refused(&format!("rediss://127.0.0.1:{port}").parse().expect("a URL")).await;
    assert!(said.contains("name the server's CA with ca=/path.pem"), "{said}");
    let said = refused(&server.options().ca("/no/such.pem")).await;
    assert!(said.contains("cannot read ca=/no/such.pem"), "{said}");
}

#[tokio::test]
async fn a_url_for_the_other_kind_of_port_says_what_to_write() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let made = Certificates::new(folder.path());
    let plain = Server::start(&[]);
    let url = format!("rediss://127.0.0.1:{}?connect_timeout=500ms&ca={}", plain.port(), made.ca.display());

    let said = said_at_once(&url.parse().expect("a URL")).await;

    assert!(said.contains("write redis:// in the URL"), "{said}");

    let Some(secure) = with_tls(&made) else { return };
    let said = said_at_once(&secure.options()).await;
    assert!(said.contains("write rediss:// in the URL"), "{said}");
}

#[tokio::test]
async fn a_server_with_too_many_clients_says_so() {
    let server = Server::start(&[("maxclients", "1")]);
    let mut only = server.admin();
    let () = crate::server::ask(&mut only, &["PING"]);

    let said = said_at_once(&server.options()).await;

    assert!(said.contains("raise maxclients"), "{said}");
}

/// Returns the message of the first call, or of opening a store.
async fn said_at_once(options: &RedisOptions) -> String {
    match RedisStore::open(options.clone()).await {
        Ok(store) => write(&store, new_id()).await.expect_err("it cannot work").to_string(),
        Err(error) => error.to_string(),
    }
}

/// Starts a server with TLS, if the program has it.
fn with_tls(made: &Certificates) -> Option<Server> {
    let text = |path: &std::path::Path| path.display().to_string();
    let mut server = Server::prepare(&[]);
    let port = server.port().to_string();
    for (name, value) in [
        ("port", "0"),
        ("tls-port", port.as_str()),
        ("tls-cert-file", &text(&made.certificate)),
        ("tls-key-file", &text(&made.key)),
        ("tls-ca-cert-file", &text(&made.ca)),
        ("tls-auth-clients", "no"),
    ] {
        server.set(name, value);
    }
    if let Err(log) = server.run() {
        // Some builds of the server have no TLS; Debian's build has it.
        assert!(log.contains("Failed finding TLS support") || log.contains("Bad directive"), "{log}");
        assert!(std::env::var("STENT_REDIS_SERVER").is_ok(), "redis-server has TLS: {log}");
        println!("this server is built without TLS");
        return None;
    }
    Some(server)
}
