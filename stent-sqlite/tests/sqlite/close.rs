//! The end of a handle.

#[path = "../../../stent-sql/tests/shared/close.rs"]
mod shared;

#[tokio::test]
async fn a_closed_handle_refuses_every_call() {
    shared::a_closed_handle_refuses_every_call().await;
}

#[tokio::test]
async fn closing_waits_for_what_is_under_way() {
    shared::closing_waits_for_what_is_under_way().await;
}

#[tokio::test]
async fn what_was_committed_is_there_when_the_file_is_opened_again() {
    shared::what_was_committed_is_there_when_it_is_opened_again().await;
}
