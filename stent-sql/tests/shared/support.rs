//! The common base of tests on every SQL database: a store, tasks, claims.
//!
//! This folder has the tests that SQLite and Postgres share. It is neither a crate nor a test program, but modules that the
//! test programs of both include by `#[path]`: so each program lists and runs the tests under the same names, and the crates
//! get no new edge. (A crate could not share tests: they are found only in the program that compiles them, so each crate would
//! have to list all of them again.)
//!
//! | File | Is |
//! |---|---|
//! | `support` | the common base of tests, here and in the crates |
//! | `atomic`, `budget`, `connection`, `lost`, `migrate`, `purge`, `race` | whole modules of tests |
//! | `cancel`, `close`, `wake`, `plans`, `statements` | functions for tests in the crates, which also have tests of their own database |
//!
//! Each program provides the differences in its module `place`:
//!
//! | Name | Is |
//! |---|---|
//! | `Place` | the location of one test's store; dropping it deletes the store |
//! | `Place::new()` | an empty location |
//! | `place.open().await` | a handle on it, without tables yet |
//! | `place.open_at(n).await` | a handle on it, with the tables of the first `n` migrations only |
//! | `place.open_with_one_connection().await` | a handle that is ready, with one connection of each kind |
//! | `FIRST_ROWS` | rows of the first schema, to check that later migrations keep them |
//! | `INDEX_DEFINITIONS` | a query for the indexes that statements create: name and definition |
//! | `COSTS` | the number of statements that exchanges take |
//! | `DROPS` | how often a future is dropped |
//! | `cut(table, verb, when)`, `CUT_AT_COMMIT`, `mend(table)` | statements that make the database refuse a write, or a commit, and statements that end this |
//! | `dump(store).await` | all rows |
//! | `POISONS` | statements that leave a connection in a transaction |

use std::sync::Arc;
use std::time::Duration;

use stent_core::backend::{Backend, ClaimRequest, Claimed, Exchanged, Migrate, NoStickyCache};
use stent_core::model::{Lane, NewTask, NewTaskState, Nonce, Seq, StepKind, Tree};
use stent_core::transition::{Commit, Dispatch, Next, Outcome, Transition};
use stent_core::{ExecutionId, Payload, TaskId, Timestamp, WorkerId};
use stent_sql::SqlStore;
use uuid::Uuid;

use crate::place::Place;

/// The tables of a store.
pub(crate) const TABLES: [&str; 8] = [
    "stent_task",
    "stent_lane",
    "stent_keys",
    "stent_note",
    "stent_progress",
    "stent_ended_claims",
    "stent_rate",
    "stent_worker",
];

impl Place {
    /// A handle on the store, ready for work.
    pub(crate) async fn ready(&self) -> Arc<SqlStore> {
        let store = self.open().await;
        store.migrate().await.expect("migrates");
        store
    }
}

/// A moment this many seconds after a fixed start.
pub(crate) fn t(seconds: u64) -> Timestamp {
    Timestamp::from_micros(1_763_683_200_123_456) + Duration::from_secs(seconds)
}

pub(crate) fn payload(bytes: &[u8]) -> Payload {
    Payload::new("application/octet-stream", bytes.to_vec())
}

/// A root that is due.
pub(crate) fn root(function: &str) -> NewTask {
    let id = ExecutionId::from_uuid(Uuid::now_v7());
    NewTask {
        id: id.root(),
        tree: Tree::root(id),
        seq: Seq(0),
        kind: StepKind::Call,
        lane: Lane::new(Lane::DEFAULT_QUEUE, function),
        priority: 0,
        args: payload(b"order"),
        retry: None,
        attempts: 0,
        failure: None,
        keyed: None,
        expires_at: None,
        trace: None,
        digest: None,
        state: NewTaskState::Pending { ready_at: t(0) },
    }
}

/// A step of a claimed task that is due.
pub(crate) fn step(parent: &Claimed, seq: u32, function: &str) -> NewTask {
    let id = TaskId::from_uuid(Uuid::now_v7());
    let tree = Tree::step(parent.task.tree.execution, parent.task.id);
    NewTask { id, tree, seq: Seq(seq), ..root(function) }
}

/// Dispatches a root.
pub(crate) fn start(task: NewTask) -> Transition {
    Dispatch { root: task, key: None, at: t(0) }.into()
}

/// A leaseholder's write.
pub(crate) fn turn(claimed: &Claimed, next: Next) -> Commit {
    Commit::new(claimed.fence, claimed.task.tree, claimed.task.key, t(1), next)
}

pub(crate) fn end(claimed: &Claimed) -> Transition {
    turn(claimed, Next::End(Ok(payload(b"receipt")))).into()
}

pub(crate) async fn commit(store: &SqlStore, batch: &[Transition]) -> Vec<Outcome> {
    store.exchange(batch, None).await.expect("commits").outcomes
}

/// Claims under a lease of 30 seconds.
pub(crate) async fn claim(store: &SqlStore, functions: &[&str], max: usize, now: Timestamp) -> Vec<Claimed> {
    exchange(store, &[], functions, max, now).await.claimed
}

pub(crate) async fn exchange(
    store: &SqlStore,
    batch: &[Transition],
    functions: &[&str],
    max: usize,
    now: Timestamp,
) -> Exchanged {
    let functions: Vec<_> = functions.iter().map(|&function| function.to_owned()).collect();
    let request = ClaimRequest { max, ..request(&functions, now) };
    store.exchange(batch, Some(&request)).await.expect("exchanges")
}

/// A request for one task, under a lease of 30 seconds.
pub(crate) fn request(functions: &[String], now: Timestamp) -> ClaimRequest<'_> {
    ClaimRequest {
        worker: WorkerId::from_uuid(Uuid::from_u128(7)),
        nonce: Nonce::new(7),
        now,
        until: now + Duration::from_secs(30),
        max: 1,
        functions,
        queues: None,
        tags: &[],
        limits: &[],
        cache: &NoStickyCache,
    }
}
