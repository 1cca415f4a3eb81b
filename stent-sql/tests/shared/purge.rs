//! Executions that have more rows than one slice of a purge.

use stent_core::backend::{Backend, Inspect, Purge, PurgeRequest, Reads, SummaryView};
use stent_core::model::{
    Lane, NewTask, NewTaskState, Seq, StepKind, TaskStatus, Tree, WorkerRecord, WorkerState,
};
use stent_core::transition::{Commit, Next};
use stent_core::{ExecutionId, Failure, TaskId, WorkerId};
use stent_sql::SqlStore;
use uuid::Uuid;

use crate::atomic::everything;
use crate::place::{Place, dump};
use crate::support::{TABLES, claim, commit, end, payload, root, start, t, turn};

/// Somewhat more than two slices.
const STEPS: u32 = 11_000;

/// An execution that has ended, with this many steps.
async fn ended(store: &SqlStore, steps: u32) -> ExecutionId {
    commit(store, &[start(root("checkout"))]).await;
    let parent = claim(store, &["checkout"], 1, t(0)).await.remove(0);
    let execution = parent.task.tree.execution;
    let step = |seq| NewTask {
        id: TaskId::from_uuid(Uuid::now_v7()),
        tree: Tree::step(execution, parent.task.id),
        seq: Seq(seq),
        kind: StepKind::Inline,
        lane: Lane { queue: String::new(), ..Lane::new("", "render") },
        state: NewTaskState::Done { started_at: t(1), result: Ok(payload(b"page")) },
        ..root("render")
    };
    commit(
        store,
        &[Commit {
            insert: (0..steps).map(step).collect(),
            ..turn(&parent, Next::End(Ok(payload(b"receipt"))))
        }
        .into()],
    )
    .await;
    execution
}

#[tokio::test]
async fn executions_of_any_size_go_whole_and_within_the_bound() {
    let place = Place::new();
    let store = place.ready().await;
    let mut executions = Vec::new();
    for steps in [3, STEPS, 0, 4_000, 4_000, 7] {
        executions.push(ended(&store, steps).await);
    }
    let purge = async |max| {
        let request = PurgeRequest { what: Purge::Executions, now: t(9), before: t(9), max };
        store.purge(&request).await.expect("purges").count
    };

    assert_eq!([purge(4).await, purge(0).await, purge(9).await, purge(9).await], [4, 0, 2, 0]);

    assert_eq!(store.executions(&executions).await.expect("reads"), []);
    for execution in executions {
        assert_eq!(store.tasks(execution, None, 9).await.expect("reads"), []);
    }
}

#[tokio::test]
async fn executions_of_any_size_are_compacted() {
    let place = Place::new();
    let store = place.ready().await;
    let (large, small) = (ended(&store, STEPS).await, ended(&store, 2).await);
    let request = PurgeRequest { what: Purge::Details, now: t(9), before: t(9), max: 9 };

    assert_eq!(store.purge(&request).await.expect("compacts").count, 2);

    for (execution, count) in [(large, u64::from(STEPS)), (small, 2)] {
        let line = SummaryView::new(StepKind::Inline, "render".to_owned(), TaskStatus::Completed, count);
        assert_eq!(store.notes(execution).await.expect("reads").summary, [line]);
        assert_eq!(store.tasks(execution, None, 9).await.expect("reads").len(), 1);
    }
    assert_eq!(store.purge(&request).await.expect("compacts").count, 0);
}

#[tokio::test]
async fn of_what_is_purged_nothing_is_left_in_any_table() {
    let place = Place::new();
    let store = place.ready().await;
    // Rows of every table; then all of it ends, well or badly.
    let batch = everything(&store).await;
    commit(&store, &batch).await;
    let worker = WorkerId::from_uuid(Uuid::from_u128(7));
    let mut worker = WorkerRecord::new(worker, "mailer".to_owned(), t(0));
    worker.state = WorkerState::Stopped;
    store.report(&worker).await.expect("reports");
    loop {
        let claimed =
            claim(&store, &["checkout", "charge", "ship", "pack", "new", "limited"], 99, t(500)).await;
        if claimed.is_empty() {
            break;
        }
        let fail = |claimed| turn(claimed, Next::End(Err(Failure::new("Broken", "for good")))).into();
        let ends = claimed.iter().enumerate();
        let ends = ends.map(|(n, claimed)| if n % 2 == 0 { end(claimed) } else { fail(claimed) });
        let ends: Vec<_> = ends.collect();
        commit(&store, &ends).await;
    }
    assert!(!dump(&store).await.contains("stent_keys\n\n"), "results are kept");

    for what in [Purge::Executions, Purge::DeadLetters, Purge::Results, Purge::Workers] {
        let request = PurgeRequest { what, now: t(900), before: t(900), max: 99 };
        store.purge(&request).await.expect("purges");
    }

    let left = dump(&store).await;
    for table in TABLES.into_iter().filter(|table| !["stent_lane", "stent_rate"].contains(table)) {
        assert!(left.contains(&format!("{table}\n\n")), "{table} is not empty: {left}");
    }
}
