//! Lanes whose keys collide are an error.

use stent_core::backend::{Backend, ErrorKind};
use stent_core::model::Lane;

use crate::place::Folder;
use crate::support::{claim, commit, root, start, t};

/// Two lanes with one key: the names contain the byte that separates queue and function.
fn colliding() -> [Lane; 2] {
    let lanes = [Lane::new("a\0b", "c"), Lane::new("a", "b\0c")];
    assert_eq!(lanes[0].key(), lanes[1].key());
    lanes
}

fn dispatch(lane: &Lane) -> stent_core::transition::Transition {
    let mut task = root("charge");
    task.lane = lane.clone();
    start(task)
}

#[tokio::test]
async fn a_second_lane_with_the_same_key_is_an_error_on_any_handle() {
    let folder = Folder::new();
    let [one, other] = colliding();
    let (store, peer) = (folder.ready().await, folder.ready().await);
    commit(&store, &[dispatch(&one)]).await;

    for handle in [&store, &peer] {
        let error = handle.exchange(&[dispatch(&other)], None).await.expect_err("collides");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("rename"), "{error}");
    }

    assert_eq!(claim(&store, &["b\0c"], 9, t(0)).await.len(), 0);
    assert_eq!(claim(&store, &["c"], 9, t(0)).await.len(), 1);
}

#[tokio::test]
async fn two_lanes_with_the_same_key_in_one_batch_are_an_error() {
    let folder = Folder::new();
    let store = folder.ready().await;
    let [one, other] = colliding();

    let error = store.exchange(&[dispatch(&one), dispatch(&other)], None).await.expect_err("collide");

    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(claim(&store, &["c", "b\0c"], 9, t(0)).await.len(), 0, "nothing of the batch was applied");
}

#[tokio::test]
async fn a_lane_whose_transaction_failed_is_not_taken_for_stored() {
    let folder = Folder::new();
    let store = folder.ready().await;
    let [one, other] = colliding();
    let lane = Lane::new("default", "fresh");
    store.exchange(&[dispatch(&lane), dispatch(&one), dispatch(&other)], None).await.expect_err("collide");

    commit(&store, &[dispatch(&lane)]).await;

    assert_eq!(claim(&store, &["fresh"], 9, t(0)).await.len(), 1);
}
