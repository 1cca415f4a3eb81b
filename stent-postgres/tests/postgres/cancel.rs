//! Futures dropped at any moment.

#[path = "../../../stent-sql/tests/shared/cancel.rs"]
mod shared;

use crate::schema::Schema;

#[tokio::test]
async fn a_store_survives_dropped_exchanges() {
    let schema = Schema::new();
    shared::survives_drops(&*schema.ready().await, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_that_are_aborted_leave_a_healthy_store() {
    shared::many_tasks_that_are_aborted_leave_a_healthy_store().await;
}
