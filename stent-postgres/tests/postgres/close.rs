//! The end of a handle.

#[path = "../../../stent-sql/tests/shared/close.rs"]
mod shared;

use stent_core::backend::{Backend, Hints, Migrate, Topic};
use stent_postgres::PostgresStore;

use crate::schema::Schema;
use crate::sessions::Sessions;
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
    let store = PostgresStore::open(schema.named("")).await.expect("opens");
    store.migrate().await.expect("migrates");
    let mut listener = store.listen(Topic::Work);
    commit(&store, &[start(root("charge"))]).await;
    listener.changed().await;
    let mut sessions = Sessions::of(schema.name()).await;
    assert!(sessions.count().await > 0, "the store has connections while it is open");

    store.close().await.expect("closes");

    sessions.become_one_of(..1).await;
}

#[tokio::test]
async fn what_was_committed_is_there_when_the_store_is_opened_again() {
    shared::what_was_committed_is_there_when_it_is_opened_again().await;
}
