//! Hints from other handles, and none from one's own.

#[path = "../../../stent-sql/tests/shared/wake.rs"]
mod shared;

use std::time::Duration;

use stent_core::backend::{Hints, Topic};

use crate::place::Folder;
use crate::support::{claim, commit, end, root, start, t};
use shared::DEADLINE;

#[tokio::test]
async fn a_commit_on_another_handle_is_noticed() {
    let folder = Folder::new();
    let (store, peer) = (folder.ready().await, folder.ready().await);
    let (mut work, mut ended) = (store.listen(Topic::Work), store.listen(Topic::Ended));

    commit(&peer, &[start(root("charge"))]).await;

    tokio::time::timeout(DEADLINE, work.changed()).await.expect("a hint");
    tokio::time::timeout(DEADLINE, ended.changed()).await.expect("a hint");
}

#[tokio::test]
async fn listening_anew_is_heard_again() {
    shared::listening_anew_is_heard_again().await;
}

#[tokio::test]
async fn ones_own_commits_hint_at_what_they_did_and_at_nothing_else() {
    let folder = Folder::new();
    let store = folder.ready().await;
    commit(&store, &[start(root("charge")), start(root("charge"))]).await;
    let claimed = claim(&store, &["charge"], 2, t(0)).await;
    let (mut work, mut ended) = (store.listen(Topic::Work), store.listen(Topic::Ended));

    commit(&store, &[end(&claimed[0])]).await;

    tokio::time::timeout(DEADLINE, ended.changed()).await.expect("a hint");
    // If this handle noticed its own change of the file, it would do so within a few of these pauses.
    let noticed = tokio::time::timeout(Duration::from_millis(200), work.changed()).await;
    assert!(noticed.is_err(), "its own commit was taken for another's");
}
