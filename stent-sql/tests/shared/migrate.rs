//! The schema: created once, whichever process migrates, and never mistaken for an older one.

use std::collections::BTreeMap;
use std::sync::Arc;

use sea_orm::ConnectionTrait;
use stent_core::backend::{
    Backend, ClaimRequest, DeadLetterStat, ErrorKind, Inspect, Limit, Migrate, Reads, SchemaVersion,
};
use stent_core::model::{ClaimEnd, ExecutionStatus, FunctionKey, Keyed, Lane, Mark, Marks, NewTask};
use stent_core::transition::Outcome;
use stent_core::{Key, TaskId};
use stent_sql::migration::INDEXES;
use uuid::Uuid;

use crate::place::{FIRST_ROWS, INDEX_DEFINITIONS, Place, bytes, id};
use crate::support::{claim, commit, end, payload, request, root, start, t};

/// How many migrations there are, and the last of them.
const KNOWN: u32 = 7;
const LAST: &str = "m0007_workers";

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
async fn indexes_that_are_missing_are_created_again_as_they_were() {
    let place = Place::new();
    let store = place.ready().await;
    let definitions = async || {
        let connection = &store.connections().read;
        let query = sea_orm::Statement::from_string(connection.get_database_backend(), INDEX_DEFINITIONS);
        let rows = connection.query_all_raw(query).await.expect("reads");
        let rows = rows.iter().map(|row| row.try_get_many_by_index::<(String, String)>().expect("two texts"));
        rows.collect::<BTreeMap<_, _>>()
    };
    let before = definitions().await;
    assert_eq!(before.keys().collect::<Vec<_>>(), INDEXES.iter().map(|index| index.name).collect::<Vec<_>>());
    for name in before.keys() {
        store.connections().write.execute_unprepared(&format!("DROP INDEX {name}")).await.expect("drops");
    }
    assert_eq!(definitions().await, BTreeMap::new());

    let (one, other) = (place.open().await, place.open().await);
    one.migrate().await.expect("migrates");
    assert_eq!(definitions().await, BTreeMap::new(), "a program that starts does not hold up the others");
    let (of_one, of_other) = tokio::join!(one.restore_indexes(), other.restore_indexes());

    let restored = of_one.expect("restores").len() + of_other.expect("restores").len();
    assert_eq!((restored, definitions().await), (INDEXES.len(), before), "once");
    assert_eq!(store.restore_indexes().await.expect("restores"), [] as [String; 0]);
}

#[tokio::test]
async fn a_store_that_is_new_has_seen_no_migration() {
    let place = Place::new();
    let store = place.open().await;

    let version = store.version().await.expect("reads");

    assert_eq!(version, SchemaVersion { applied: 0, known: KNOWN });
}

#[tokio::test]
async fn a_newer_schema_is_refused_by_name() {
    let place = Place::new();
    let store = place.ready().await;
    let newer = "INSERT INTO stent_migration (version, applied_at) VALUES ('m9999_signals', 0)";
    store.connections().write.execute_unprepared(newer).await.expect("writes");

    let error = place.open().await.migrate().await.expect_err("is newer");

    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("m9999_signals") && error.to_string().contains(LAST), "{error}");
    assert!(error.to_string().contains("upgrade this program"), "{error}");
    assert_eq!(store.version().await.expect("reads"), SchemaVersion { applied: KNOWN + 1, known: KNOWN });
}

#[tokio::test]
async fn a_store_of_the_first_schema_goes_on() {
    let place = Place::new();
    let store = place.open_at(1).await;
    assert_eq!(store.version().await.expect("reads"), SchemaVersion { applied: 1, known: KNOWN });
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
    let counts = store.count(usize::MAX).await.expect("counts");
    assert_eq!(counts, [(ExecutionStatus::Completed, 2), (ExecutionStatus::Failed, 1)].into());
    let stats = store.dead_letter_stats(usize::MAX).await.expect("counts");
    let expected = DeadLetterStat::new("Declined".to_owned(), "charge".to_owned(), 1);
    assert_eq!(stats, [expected]);
}

/// A dead letter that is redriven (1), a limited task under a lease whose first claim crashed (2), a function that is parked
/// until its step (4) ends (3), and the result of an execution that is gone (5) under a key (6), as the fourth schema has them.
fn fourth_rows() -> String {
    let (charge, lane) =
        (FunctionKey::of("charge").as_i64(), |name| Lane::new("default", name).key().as_i64());
    let task = |n, root, parent: Option<u128>, function, rest: &str| {
        let parent = parent.map_or("NULL".to_owned(), id);
        format!(
            "INSERT INTO stent_task (id, execution_id, parent_id, lane, name, status, epoch, tries, commit_no, ready_at, \
             worker_id, wake_at, mark, slot, seq, kind, queue, priority, attempts, commit_epoch, done, fed, created_at, \
             args_type, args) VALUES ({}, {}, {parent}, {}, '{function}', {rest}, 0, 'call', 'default', 0, 0, 0, 0, 0, 1, \
             'application/cbor', {})",
            id(n),
            id(root),
            lane(function),
            bytes("00"),
        )
    };
    let late = 9_000_000_000_000_000_i64;
    let rows = [
        format!(
            "INSERT INTO stent_lane (key, queue, function, tags) VALUES ({}, 'default', 'charge', '[]')",
            lane("charge")
        ),
        format!(
            "INSERT INTO stent_lane (key, queue, function, tags) VALUES ({}, 'default', 'refund', '[]')",
            lane("refund")
        ),
        task(1, 1, None, "refund", "'pending', 2, 0, 1, 1, NULL, NULL, 'revive', NULL"),
        task(2, 2, None, "charge", &format!("'running', 2, 2, 0, {late}, {}, NULL, NULL, {charge}", id(9))),
        task(3, 3, None, "charge", "'waiting', 1, 0, 1, NULL, NULL, 1, NULL, NULL"),
        task(4, 3, Some(3), "charge", "'pending', 0, 0, 0, 1, NULL, NULL, NULL, NULL"),
        format!(
            "INSERT INTO stent_tried (task_id, epoch, at, execution_id, worker_id, how) \
             VALUES ({two}, 1, 1, {two}, {}, 'crashed')",
            id(9),
            two = id(2)
        ),
        format!(
            "INSERT INTO stent_memo (key, kind, execution_id, name, holder_id, ended_at, value_type, value) \
             VALUES ({}, 'result', {five}, 'charge', {five}, 1, 'application/octet-stream', {})",
            id(6),
            bytes("72656365697074"),
            five = id(5)
        ),
    ];
    rows.join("; ")
}

#[tokio::test]
async fn a_store_of_the_fourth_schema_goes_on() {
    let place = Place::new();
    let store = place.open_at(4).await;
    assert_eq!(store.version().await.expect("reads"), SchemaVersion { applied: 4, known: KNOWN });
    store.connections().write.execute_unprepared(&fourth_rows()).await.expect("writes");
    let task = |n| TaskId::from_uuid(Uuid::from_u128(n));

    store.migrate().await.expect("migrates");

    // The slot of the running task counts, so nothing else of its function is claimed.
    let functions = ["charge".to_owned()];
    let limits = [Limit { function: "charge".to_owned(), max_concurrent: Some(1), rate: None }];
    let limited = ClaimRequest { max: 9, limits: &limits, ..request(&functions, t(0)) };
    assert_eq!(store.exchange(&[], Some(&limited)).await.expect("claims").claimed, []);
    let ended = store.ended_claims(task(2)).await.expect("reads");
    assert_eq!(
        ended.iter().map(|claim| (claim.epoch.count, claim.end)).collect::<Vec<_>>(),
        [(1, ClaimEnd::Crashed)]
    );
    // The parked function becomes ready at the count that it waits for.
    let step = claim(&store, &["charge"], 9, t(0)).await;
    assert_eq!(step.iter().map(|claimed| claimed.task.id).collect::<Vec<_>>(), [task(4)]);
    commit(&store, &[end(&step[0])]).await;
    let woken = claim(&store, &["charge"], 9, t(1)).await;
    assert_eq!(
        woken.iter().map(|claimed| (claimed.task.id, claimed.steps.len())).collect::<Vec<_>>(),
        [(task(3), 1)]
    );
    // A result under a key answers the next dispatch.
    let keyed = NewTask { keyed: Some(Keyed::new(Key::from_uuid(Uuid::from_u128(6)))), ..root("charge") };
    commit(&store, &[start(keyed.clone())]).await;
    let hit = store.executions(&[keyed.tree.execution]).await.expect("reads").remove(0);
    assert_eq!((hit.status, hit.result), (ExecutionStatus::Completed, Some(Ok(payload(b"receipt")))));
    let redriven = claim(&store, &["refund"], 9, t(1)).await;
    assert_eq!(
        redriven.iter().map(|claimed| claimed.task.marks).collect::<Vec<_>>(),
        [Marks::of(Mark::Redrive)]
    );
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
