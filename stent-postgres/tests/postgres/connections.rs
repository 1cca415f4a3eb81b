//! How many connections a handle has, as its server counts them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sea_orm::TransactionTrait;
use stent_core::backend::{Backend, ErrorKind, Migrate, Renewal, Transactions};
use stent_postgres::PostgresStore;
use stent_sql::SqlStore;

use crate::schema::Schema;
use crate::sessions::Sessions;
use crate::support::{claim, commit, root, start, t};

/// The default of `acquire_timeout`.
const UNSET: Duration = Duration::from_secs(10);

/// A handle whose sessions have the schema's name, and the server's view of these sessions.
async fn named(schema: &Schema, options: &str) -> (Arc<SqlStore>, Sessions) {
    let store = PostgresStore::open(schema.named(options)).await.expect("opens");
    store.migrate().await.expect("migrates");
    (store, Sessions::of(schema.name()).await)
}

#[tokio::test]
async fn what_min_connections_says_is_open_while_nothing_happens() {
    let schema = Schema::new();

    let (_store, mut sessions) = named(&schema, "min_connections=3").await;

    // Without a minimum, only the connection of the migration is open.
    sessions.become_one_of(3..).await;
}

#[tokio::test]
async fn those_that_are_lost_are_opened_again_with_the_first_that_is_used() {
    let schema = Schema::new();
    let (store, mut sessions) = named(&schema, "min_connections=4").await;
    sessions.become_one_of(4..).await;
    assert!(sessions.end().await >= 4);
    sessions.become_one_of(..1).await;
    // Longer than a used connection is trusted: the first lost connection that is found is not the only one.
    tokio::time::sleep(Duration::from_millis(1_100)).await;

    commit(&store, &[start(root("charge"))]).await;

    let teller = 1;
    sessions.become_one_of(4 + teller..).await;
}

#[tokio::test]
async fn no_more_are_opened_than_max_connections_says() {
    let schema = Schema::new();
    let (store, mut sessions) = named(&schema, "max_connections=3").await;

    let writes = (0..40).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { commit(&store, &[start(root("charge"))]).await })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.expect("ends");
    }

    // One connection has read, in the migration. Besides it, there are at most three connections that write.
    let (reads, writes, hints) = (1, 3, 1);
    let count = sessions.count().await;
    assert!((2..=reads + writes + hints).contains(&count), "{count} are open");
}

#[tokio::test]
async fn who_finds_all_of_them_in_use_waits_for_acquire_timeout_and_is_told_so() {
    let schema = Schema::new();
    let (store, _) = named(&schema, "max_connections=2&acquire_timeout=300ms").await;
    let first = store.begin_for(UNSET).await.expect("begins");

    let waits = tokio::time::timeout(UNSET / 2, store.begin_for(UNSET)).await;

    let error =
        waits.expect("it gives up long before it would without the option").expect_err("all are in use");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.is_transient());
    assert!(error.to_string().contains("all of max_connections are in use"), "{error}");
    store.clock().await.expect("reads have connections of their own");
    commit(&store, &[start(root("charge"))]).await;
    drop(first);
    store.begin_for(UNSET).await.expect("one was given back");
}

#[tokio::test]
async fn a_connection_that_is_given_back_in_time_serves_who_waits_for_it() {
    let schema = Schema::new();
    let (store, _) = named(&schema, "max_connections=1").await;
    let open = store.begin_for(UNSET).await.expect("begins");
    let waits = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.begin_for(UNSET).await }
    });
    tokio::task::yield_now().await;
    assert!(!waits.is_finished());

    drop(open);

    waits.await.expect("ends").expect("serves");
}

#[tokio::test]
async fn neither_closures_nor_reads_nor_commits_keep_leases_from_being_renewed() {
    let schema = Schema::new();
    let (store, _) = named(&schema, "max_connections=1&acquire_timeout=20s").await;
    commit(&store, &[start(root("charge"))]).await;
    let claimed = claim(&store, &["charge"], 1, t(0)).await;

    let _closure = store.begin_for(UNSET).await.expect("begins");
    let _read = store.connections().read.begin().await.expect("begins");
    commit(&store, &[start(root("charge"))]).await;
    let _commit = store.connections().write.begin().await.expect("begins");

    let leases = [claimed[0].lease];
    let renewed = tokio::time::timeout(UNSET, store.renew(&leases, t(1), t(60))).await;
    assert_eq!(renewed.expect("waits for nobody").expect("renews"), [Renewal::Renewed]);
}

/// Accepts every login, and fails at the first statement, like a pooler whose server has crashed.
fn crashed_pooler() -> (u16, Arc<AtomicU32>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let came = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&came);
    // The task ends with the process.
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(mut client) = client else { return };
            counted.fetch_add(1, Ordering::SeqCst);
            let mut read = [0; 4096];
            let _ = client.read(&mut read);
            // The client is logged in and may send statements.
            let _ = client.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I");
            let _ = client.read(&mut read);
            let said = b"SFATAL\0VFATAL\0C08P01\0Mserver conn crashed?\0\0";
            let length = (said.len() as u32 + 4).to_be_bytes();
            let _ = client.write_all(&[b"E", &length[..], said].concat());
        }
    });
    (port, came)
}

#[tokio::test]
async fn a_server_that_lets_in_and_fails_is_not_asked_again_without_end() {
    let (port, came) = crashed_pooler();
    let url = format!("postgres://stent@127.0.0.1:{port}/shop?sslmode=disable");
    let store = PostgresStore::open(url.parse().expect("options")).await.expect("opens");

    let error = store.exchange(&[start(root("charge"))], None).await.expect_err("it fails");

    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("server conn crashed?"), "{error}");
    let came = came.load(Ordering::SeqCst);
    assert!((1..=16).contains(&came), "{came} connections for one call");
}
