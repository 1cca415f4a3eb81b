//! Hints from other handles, and none from one's own.

#[path = "../../../stent-sql/tests/shared/wake.rs"]
mod shared;

use std::time::Duration;

use sea_orm::sqlx::postgres::PgListener;
use sea_orm::sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use stent_core::backend::{Hints, Topic};

use crate::schema::{Schema, url};
use crate::support::{claim, commit, end, root, start, t};
use shared::DEADLINE;

/// Longer than a hint takes to arrive.
const QUIET: Duration = Duration::from_millis(500);

/// Waits until nothing is heard for a while: listening begins with a hint or two.
async fn quiet(listener: &mut dyn stent_core::backend::Listener) {
    while tokio::time::timeout(QUIET, listener.changed()).await.is_ok() {}
}

#[tokio::test]
async fn a_commit_on_another_handle_is_noticed_by_its_topic() {
    let schema = Schema::new();
    let (store, peer) = (schema.ready().await, schema.ready().await);
    let (mut work, mut ended) = (store.listen(Topic::Work), store.listen(Topic::Ended));
    quiet(&mut *work).await;
    quiet(&mut *ended).await;

    commit(&peer, &[start(root("charge"))]).await;
    tokio::time::timeout(DEADLINE, work.changed()).await.expect("a hint");
    assert!(tokio::time::timeout(QUIET, ended.changed()).await.is_err(), "nothing has ended");

    let claimed = claim(&peer, &["charge"], 1, t(0)).await;
    commit(&peer, &[end(&claimed[0])]).await;
    tokio::time::timeout(DEADLINE, ended.changed()).await.expect("a hint");
}

#[tokio::test]
async fn listening_anew_is_heard_again() {
    shared::listening_anew_is_heard_again().await;
}

#[tokio::test]
async fn ones_own_commits_hint_once() {
    let schema = Schema::new();
    let store = schema.ready().await;
    let mut work = store.listen(Topic::Work);
    quiet(&mut *work).await;

    commit(&store, &[start(root("charge"))]).await;

    tokio::time::timeout(DEADLINE, work.changed()).await.expect("a hint");
    let again = tokio::time::timeout(QUIET, work.changed()).await;
    assert!(again.is_err(), "its own notification was taken for another's");
}

#[tokio::test]
async fn many_commits_are_few_notifications() {
    let schema = Schema::new();
    let store = schema.ready().await;
    let mut listener = PgListener::connect(&url().expect("a server")).await.expect("connects");
    let (suffix,): (String,) = sea_orm::sqlx::query_as("SELECT md5($1)")
        .bind(schema.name())
        .fetch_one(&mut listener)
        .await
        .expect("reads");
    listener.listen(&format!("stent_work_{suffix}")).await.expect("listens");
    // The first hint opens the connection that notifies.
    commit(&store, &[start(root("charge"))]).await;
    listener.recv().await.expect("a notification");

    let began = std::time::Instant::now();
    for _ in 0..200 {
        commit(&store, &[start(root("charge"))]).await;
    }
    let most = began.elapsed().as_millis() / 10 + 2;

    let mut heard = 0;
    while let Ok(notification) = tokio::time::timeout(QUIET, listener.recv()).await {
        assert_eq!(notification.expect("a notification").payload(), "");
        heard += 1;
    }
    assert!((1..=most).contains(&heard), "{heard} notifications, at most {most}");
}

#[tokio::test]
async fn a_listener_that_lost_its_connection_hears_of_what_it_missed() {
    let schema = Schema::new();
    let store = schema.ready().await;
    let mut work = store.listen(Topic::Work);
    quiet(&mut *work).await;

    let suffix = format!("SELECT md5('{}')", schema.name());
    let mut connection = PgConnection::connect(&url().expect("a server")).await.expect("connects");
    let ended = connection
        .execute(AssertSqlSafe(format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE query LIKE 'LISTEN%' AND position(({suffix}) IN query) > 0"
        )))
        .await
        .expect("ends a session");
    assert_eq!(ended.rows_affected(), 1, "one session listens");

    tokio::time::timeout(DEADLINE, work.changed()).await.expect("a hint: something may have been missed");
    let peer = schema.open().await;
    quiet(&mut *work).await;
    commit(&peer, &[start(root("charge"))]).await;
    tokio::time::timeout(DEADLINE, work.changed()).await.expect("a hint");
}
