//! The end of a handle.

#[path = "../../../stent-sql/tests/shared/close.rs"]
mod shared;

use std::time::{Duration, Instant};

use sea_orm::sqlx::{self, AssertSqlSafe, Connection, PgConnection};
use stent_core::backend::{Backend, Migrate, Topic, Wake};
use stent_postgres::PostgresStore;
use uuid::Uuid;

use crate::schema::{Schema, url};
use crate::support::{commit, root, start};

#[tokio::test]
async fn a_closed_handle_refuses_every_call() {
    shared::a_closed_handle_refuses_every_call().await;
}

#[tokio::test]
async fn closing_waits_for_what_is_under_way() {
    shared::closing_waits_for_what_is_under_way().await;
}

#[tokio::test]
async fn closing_leaves_no_connection_at_the_server() {
    let schema = Schema::new();
    let (url, name) = (url().expect("a server"), format!("closing_{}", Uuid::now_v7().simple()));
    let mark = if url.contains('?') { '&' } else { '?' };
    let named = format!("{url}{mark}schema={}&application_name={name}", schema.name());
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
    shared::what_was_committed_is_there_when_it_is_opened_again().await;
}
