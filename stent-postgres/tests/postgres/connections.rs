//! How many connections a handle has, as its server counts them.

use std::sync::Arc;
use std::time::Duration;

use stent_core::backend::{Backend, ErrorKind, Migrate, Transactions};
use stent_postgres::PostgresStore;
use stent_sql::SqlStore;

use crate::schema::Schema;
use crate::sessions::Sessions;
use crate::support::{commit, root, start};

/// What `acquire_timeout` is where nothing is said of it.
const UNSET: Duration = Duration::from_secs(10);

/// A handle that its server knows by the name of the schema, and what the server says of it.
async fn named(schema: &Schema, options: &str) -> (Arc<SqlStore>, Sessions) {
    let store = PostgresStore::open(schema.named(options)).await.expect("opens");
    store.migrate().await.expect("migrates");
    (store, Sessions::of(schema.name()).await)
}

#[tokio::test]
async fn what_min_connections_says_is_open_while_nothing_happens() {
    let schema = Schema::new();

    let (_store, mut sessions) = named(&schema, "min_connections=3").await;

    // Without, there is the one that has migrated.
    sessions.become_one_of(3..).await;
}

#[tokio::test]
async fn those_that_are_lost_are_opened_again_with_the_first_that_is_used() {
    let schema = Schema::new();
    let (store, mut sessions) = named(&schema, "min_connections=4").await;
    sessions.become_one_of(4..).await;
    assert!(sessions.end().await >= 4);
    sessions.become_one_of(..1).await;
    // Longer than a connection is trusted that was in use: the first that is found lost is not the only one.
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

    let hints = 1;
    let count = sessions.count().await;
    assert!((2..=3 + hints).contains(&count), "{count} are open");
}

#[tokio::test]
async fn who_finds_all_of_them_in_use_waits_for_acquire_timeout_and_is_told_so() {
    let schema = Schema::new();
    let (store, mut sessions) = named(&schema, "max_connections=2&acquire_timeout=300ms").await;
    let first = store.begin().await.expect("begins");
    let _second = store.begin().await.expect("begins");

    let waits = tokio::time::timeout(UNSET / 2, store.clock()).await;

    let error =
        waits.expect("it gives up long before it would without the option").expect_err("all are in use");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.is_transient());
    assert!(error.to_string().contains("all of max_connections are in use"), "{error}");
    assert_eq!(sessions.count().await, 2);
    drop(first);
    store.clock().await.expect("one was given back");
}

#[tokio::test]
async fn a_connection_that_is_given_back_in_time_serves_who_waits_for_it() {
    let schema = Schema::new();
    let (store, _) = named(&schema, "max_connections=1").await;
    let open = store.begin().await.expect("begins");
    let waits = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.clock().await }
    });
    tokio::task::yield_now().await;
    assert!(!waits.is_finished());

    drop(open);

    waits.await.expect("ends").expect("serves");
}
