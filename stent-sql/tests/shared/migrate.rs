//! The schema: made once, whoever comes, and never taken for an older one.

use std::sync::Arc;

use sea_orm::ConnectionTrait;
use stent_core::backend::{DeadLetterStat, ErrorKind, Inspect, Migrate, SchemaVersion};
use stent_core::model::{ExecutionStatus, Lane};
use stent_core::transition::Outcome;

use crate::place::{FIRST_ROWS, Place};
use crate::support::{claim, commit, end, root, start, t};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn handles_that_migrate_at_once_all_succeed() {
    for _ in 0..5 {
        let place = Arc::new(Place::new());
        let start_together = Arc::new(tokio::sync::Barrier::new(8));
        let handles: Vec<_> = (0..8)
            .map(|_| {
                let (place, together) = (Arc::clone(&place), Arc::clone(&start_together));
                tokio::spawn(async move {
                    together.wait().await;
                    let store = place.open().await;
                    store.migrate().await?;
                    store.version().await
                })
            })
            .collect();

        for handle in handles {
            let version = handle.await.expect("ends").expect("migrates");
            assert_eq!(version.applied, version.known);
        }
        let store = place.open().await;
        commit(&store, &[start(root("charge"))]).await;
    }
}

#[tokio::test]
async fn migrating_again_does_nothing() {
    let place = Place::new();
    let store = place.ready().await;

    let before = store.counters();
    store.migrate().await.expect("migrates");

    assert_eq!((store.counters() - before).transactions, 0);
}

#[tokio::test]
async fn a_store_that_is_new_has_seen_no_migration() {
    let place = Place::new();
    let store = place.open().await;

    let version = store.version().await.expect("reads");

    assert_eq!(version, SchemaVersion { applied: 0, known: 5 });
}

#[tokio::test]
async fn a_newer_schema_is_refused_by_name() {
    let place = Place::new();
    let store = place.ready().await;
    let newer = "INSERT INTO stent_migration (version, applied_at) VALUES ('m9999_signals', 0)";
    store.connections().write.execute_unprepared(newer).await.expect("writes");

    let error = place.open().await.migrate().await.expect_err("is newer");

    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(
        error.to_string().contains("m9999_signals") && error.to_string().contains("m0005_words"),
        "{error}"
    );
    assert!(error.to_string().contains("upgrade this program"), "{error}");
    assert_eq!(store.version().await.expect("reads"), SchemaVersion { applied: 6, known: 5 });
}

#[tokio::test]
async fn a_store_of_the_first_schema_goes_on() {
    let place = Place::new();
    let store = place.open_first().await;
    assert_eq!(store.version().await.expect("reads"), SchemaVersion { applied: 1, known: 5 });
    let lane = Lane::new("default", "charge").key().as_i64().to_string();
    store.connections().write.execute_unprepared(&FIRST_ROWS.replace("LANE", &lane)).await.expect("writes");

    store.migrate().await.expect("migrates");

    let claimed = claim(&store, &["charge"], 9, t(0)).await;
    let shown: Vec<_> = claimed
        .iter()
        .map(|claimed| (claimed.task.epoch.count, claimed.task.crashes, claimed.steps.len()))
        .collect();
    assert_eq!(shown, [(1, 0, 0), (2, 1, 1), (1, 0, 0)]);
    // Rows of older schemas have no digest, so they are not compared.
    assert!(claimed.iter().flat_map(|claimed| &claimed.steps).all(|step| step.digest.is_none()));
    assert_eq!(store.ended_claims(claimed[1].task.id).await.expect("reads").len(), 1);
    let ends: Vec<_> = claimed.iter().rev().map(end).collect();
    assert!(commit(&store, &ends).await.iter().all(Outcome::stands));
    let counts = store.count().await.expect("counts");
    assert_eq!(counts, [(ExecutionStatus::Completed, 2), (ExecutionStatus::Failed, 1)].into());
    let stats = store.dead_letter_stats().await.expect("counts");
    let expected = DeadLetterStat { reason: "Declined".to_owned(), function: "charge".to_owned(), count: 1 };
    assert_eq!(stats, [expected]);
}

#[tokio::test]
async fn views_show_moments_as_people_write_them() {
    let place = Place::new();
    let store = place.ready().await;
    commit(&store, &[start(root("charge"))]).await;

    let read = |text: &'static str| {
        let connection = store.connections().read.clone();
        let statement = sea_orm::Statement::from_string(connection.get_database_backend(), text);
        async move { connection.query_one_raw(statement).await.expect("reads").expect("a row") }
    };
    let execution = read("SELECT function, status, created_at FROM stent_execution_view").await;
    let task = read("SELECT name, status, ready_at FROM stent_task_view").await;

    for (row, name) in [(execution, "charge"), (task, "charge")] {
        let (shown, status, moment): (String, String, String) =
            row.try_get_many_by_index().expect("three texts");
        assert_eq!(
            (shown.as_str(), status.as_str(), moment.as_str()),
            (name, "pending", "2025-11-21T00:00:00.123Z")
        );
    }
}
