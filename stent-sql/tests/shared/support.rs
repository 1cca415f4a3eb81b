//! What tests of every SQL database begin with: a store, tasks, claims.
//!
//! This folder holds what is shown in the same words of SQLite and of Postgres. It is no crate and no test program, but modules
//! that the test programs of both take by `#[path]`: so each test is listed by the program that runs it, under one name in
//! both, and the crates gain no edge. (A crate of tests would bring no tests: they are found only where they are compiled, and
//! so each crate would list them all over again.)
//!
//! | File | Is |
//! |---|---|
//! | `support` | what tests begin with, here and in the crates |
//! | `atomic`, `budget`, `connection`, `lost`, `migrate`, `purge`, `race` | tests, whole modules of them |
//! | `cancel`, `close`, `wake`, `plans`, `statements` | what tests call that stand in the crates, beside others of one database's own |
//!
//! What differs is told by the program in its module `place`:
//!
//! | Name | Is |
//! |---|---|
//! | `Place` | where the store of one test is, gone with everything in it when it is dropped |
//! | `Place::new()` | a place where nothing is yet |
//! | `place.open().await` | a handle on it, as yet without tables |
//! | `place.open_at(n).await` | a handle on it, with the tables that the first `n` migrations make and no others |
//! | `place.open_with_one_connection().await` | one that is ready, with one connection of each kind |
//! | `FIRST_ROWS` | what is written there to see that a later migration keeps it |
//! | `COSTS` | how many statements exchanges take |
//! | `DROPS` | how often a future is dropped |
//! | `cut(table, verb, when)`, `CUT_AT_COMMIT`, `mend(table)` | statements that have the database refuse a write, or a commit, and no longer |
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
pub(crate) const TABLES: [&str; 7] = [
    "stent_task",
    "stent_lane",
    "stent_keys",
    "stent_note",
    "stent_progress",
    "stent_ended_claims",
    "stent_rate",
];

impl Place {
    /// A handle on the place, ready for work.
    pub(crate) async fn ready(&self) -> Arc<SqlStore> {
        let store = self.open().await;
        store.migrate().await.expect("migrates");
        store
    }
}

/// So many seconds after a beginning.
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

/// A wish for one task, under a lease of 30 seconds.
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
