//! Servers that stop, return, load, hang, are full or lose their scripts. All these failures are transient and lose nothing.

use std::thread;
use std::time::Duration;

use stent_core::backend::Backend;

use crate::server::{Server, ask};
use crate::support::{exists, fails, heals, new_id, open, works, write};

#[tokio::test]
async fn a_server_that_was_killed_comes_back_with_everything() {
    let mut server = Server::start(&[]);
    let store = open(&server.options()).await;
    let before = new_id();
    write(&store, before).await.expect("writes");

    server.kill();
    let error = fails(&store, "cannot connect to 127.0.0.1").await;
    assert!(error.to_string().contains("refused"), "{error}");
    server.run().expect("it comes up again");
    heals(&store).await;

    assert!(exists(&store, before).await);
}

#[tokio::test]
async fn a_process_may_start_before_its_server() {
    let mut server = Server::prepare(&[]);

    let store = open(&server.options()).await;
    fails(&store, "cannot connect to 127.0.0.1").await;
    server.run().expect("it comes up");

    heals(&store).await;
}

#[tokio::test]
async fn a_server_that_loads_is_waited_for() {
    let mut server = Server::start(&[]);
    let store = open(&server.options()).await;
    let before = new_id();
    write(&store, before).await.expect("writes");
    // While a server loads its file, it serves clients once every 1,024 commands.
    let fill = "for i = 1, 5000 do redis.call('SET', 'fill:' .. i, 'x') end";
    let () = server.ask(&["EVAL", fill, "0"]);
    server.kill();
    server.set("key-load-delay", "300");

    server.spawn();
    fails(&store, "is loading its data").await;
    heals(&store).await;

    assert!(exists(&store, before).await);
}

#[tokio::test]
async fn a_reply_that_does_not_come_is_not_waited_for() {
    let server = Server::start(&[]);
    let store = open(&server.options().response_timeout(Duration::from_millis(200))).await;
    works(&store).await;
    let () = server.ask(&["CLIENT", "PAUSE", "1500", "ALL"]);

    let error = write(&store, new_id()).await.expect_err("no reply comes");

    assert!(error.is_transient(), "{error}");
    let said = "did not reply within response_timeout; the call may have been applied";
    assert!(error.to_string().contains(said), "{error}");
    heals(&store).await;
}

#[tokio::test]
async fn a_server_that_is_busy_with_a_script_is_waited_for() {
    let server = Server::start(&[("lua-time-limit", "50")]);
    let store = open(&server.options()).await;
    works(&store).await;
    let mut other = server.admin();
    let script = thread::spawn(move || {
        let ran = redis::cmd("EVAL").arg("while true do end").arg(0).query::<redis::Value>(&mut other);
        ran.expect_err("it is killed");
    });

    fails(&store, "is busy with a script of another client").await;
    let () = server.ask(&["SCRIPT", "KILL"]);
    script.join().expect("the script ends");

    heals(&store).await;
}

#[tokio::test]
async fn a_full_memory_refuses_whole_writes_and_loses_nothing() {
    let server = Server::start(&[]);
    let store = open(&server.options()).await;
    works(&store).await;
    let mut admin = server.admin();
    let keys: i64 = ask(&mut admin, &["DBSIZE"]);
    let () = ask(&mut admin, &["CONFIG", "SET", "maxmemory", "1"]);
    let id = new_id();

    let error = write(&store, id).await.expect_err("there is no memory");

    assert!(error.is_transient(), "{error}");
    assert!(
        error.to_string().contains("has reached maxmemory and refuses writes; nothing was written"),
        "{error}"
    );
    assert_eq!(ask::<i64>(&mut admin, &["DBSIZE"]), keys);
    let () = ask(&mut admin, &["CONFIG", "SET", "maxmemory", "0"]);
    assert!(!exists(&store, id).await);
    write(&store, id).await.expect("there is memory again");
    assert!(exists(&store, id).await);
}

#[tokio::test]
async fn a_server_that_has_lost_its_scripts_gets_them_again() {
    let server = Server::start(&[]);
    let store = open(&server.options()).await;
    works(&store).await;

    let () = server.ask(&["SCRIPT", "FLUSH"]);

    works(&store).await;
}

#[tokio::test]
async fn a_primary_that_becomes_a_replica_and_back_heals() {
    let other = Server::start(&[]);
    let server = Server::start(&[]);
    let store = open(&server.options()).await;
    works(&store).await;

    let () = server.ask(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]);
    fails(&store, "is a replica of 127.0.0.1").await;
    let () = server.ask(&["REPLICAOF", "NO", "ONE"]);

    heals(&store).await;
}

#[tokio::test]
async fn a_password_that_changes_is_waited_for() {
    let server = Server::start(&[("requirepass", "old")]);
    let store = open(&server.options().password("old")).await;
    works(&store).await;
    let mut admin = server.admin_by(&format!("redis://:old@127.0.0.1:{}", server.port()));

    let () = ask(&mut admin, &["CONFIG", "SET", "requirepass", "new"]);
    let () = ask(&mut admin, &["CLIENT", "KILL", "TYPE", "normal"]);
    fails(&store, "refuses the user or the password").await;
    let () = ask(&mut admin, &["CONFIG", "SET", "requirepass", "old"]);

    heals(&store).await;
}

#[tokio::test]
async fn connections_that_the_server_closes_are_replaced() {
    let server = Server::start(&[]);
    let store = open(&server.options()).await;
    for _ in 0..3 {
        works(&store).await;
        let _: i64 = server.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
        heals(&store).await;
    }
    assert!(store.clock().await.is_ok());
}
