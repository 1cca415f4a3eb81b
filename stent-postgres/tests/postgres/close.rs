//! The end of a handle.

use std::time::{Duration, Instant};

use sea_orm::sqlx::{self, AssertSqlSafe, Connection, PgConnection};
use stent_core::backend::{Backend, ErrorKind, Inspect, Migrate, Purge, PurgeRequest, Topic, Wake};
use stent_postgres::PostgresStore;
use uuid::Uuid;

use crate::schema::{Schema, url};
use crate::support::{commit, root, start, t};

#[tokio::test]
async fn a_closed_handle_refuses_every_call() {
    let schema = Schema::new();
    let store = schema.ready().await;
    store.close().await.expect("closes");

    let id = root("charge").id;
    let purge = PurgeRequest { what: Purge::Executions, now: t(0), before: t(0), max: 1 };
    let errors = [
        store.clock().await.err(),
        store.exchange(&[start(root("charge"))], None).await.err(),
        store.renew(&[], t(0), t(0)).await.err(),
        store.purge(&purge).await.err(),
        store.executions(&[id.execution()]).await.err(),
        store.tasks(id.execution(), None, 1).await.err(),
        store.migrate().await.err(),
        store.version().await.err(),
    ];

    let kinds = errors.map(|error| error.map(|error| error.kind()));
    assert_eq!(kinds, [Some(ErrorKind::Closed); 8]);
    store.close().await.expect("closes again");
}

#[tokio::test]
async fn closing_waits_for_what_is_under_way() {
    let schema = Schema::new();
    let store = schema.ready().await;
    let writes: Vec<_> = (0..20)
        .map(|_| {
            let store = std::sync::Arc::clone(&store);
            tokio::spawn(async move {
                let dispatch = start(root("charge"));
                (dispatch.guard.task(), store.exchange(&[dispatch], None).await.is_ok())
            })
        })
        .collect();
    tokio::task::yield_now().await;
    store.close().await.expect("closes");

    let again = schema.handle().await;
    for write in writes {
        let (task, told) = write.await.expect("ends");
        let there = !again.executions(&[task.execution()]).await.expect("reads").is_empty();
        assert_eq!(told, there, "a write that was told to stand does, and no other");
    }
}

#[tokio::test]
async fn closing_leaves_no_connection_at_the_server() {
    let schema = Schema::new();
    let (url, name) = (url().expect("a server"), format!("closing_{}", Uuid::now_v7().simple()));
    let mark = if url.contains('?') { '&' } else { '?' };
    let named = format!("{url}{mark}schema={}&application_name={name}", schema.name);
    let store = PostgresStore::open(named.parse().expect("a URL")).await.expect("opens");
    store.migrate().await.expect("migrates");
    let mut listener = store.listen(Topic::Work);
    commit(&store, &[start(root("charge"))]).await;
    listener.changed().await;

    let mut other = PgConnection::connect(&url).await.expect("connects");
    let count = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'");
    let mut sessions = async || {
        let count = sqlx::query_scalar::<_, i64>(AssertSqlSafe(count.clone())).fetch_one(&mut other).await;
        count.expect("counts")
    };
    assert!(sessions().await > 0, "the store has connections while it is open");
    store.close().await.expect("closes");

    // The server takes its moment to see that a session has ended.
    let deadline = Instant::now() + Duration::from_secs(20);
    while sessions().await > 0 {
        assert!(Instant::now() < deadline, "connections are left");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_was_committed_is_there_when_the_store_is_opened_again() {
    let schema = Schema::new();
    let store = schema.ready().await;
    let dispatch = start(root("charge"));
    let id = dispatch.guard.task().execution();
    commit(&store, &[dispatch]).await;
    store.close().await.expect("closes");

    let store = schema.ready().await;

    assert_eq!(store.executions(&[id]).await.expect("reads").len(), 1);
}
