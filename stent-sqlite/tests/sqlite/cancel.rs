//! Futures dropped at any moment, on a file and in memory.

#[path = "../../../stent-sql/tests/shared/cancel.rs"]
mod shared;

use stent_core::backend::Migrate;
use stent_sqlite::{SqliteOptions, SqliteStore};

use crate::place::Folder;

#[tokio::test]
async fn a_file_survives_dropped_exchanges() {
    let folder = Folder::new();
    shared::survives_drops(&*folder.ready().await, 1).await;
}

#[tokio::test]
async fn memory_survives_dropped_exchanges() {
    let store = SqliteStore::open(SqliteOptions::memory()).await.expect("opens");
    store.migrate().await.expect("migrates");
    shared::survives_drops(&store, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_that_are_aborted_leave_a_healthy_store() {
    shared::many_tasks_that_are_aborted_leave_a_healthy_store().await;
}
