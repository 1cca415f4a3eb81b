//! Reads, in the reader's terms: plain data, paged, without locks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::Result;
use crate::model::{
    EndedClaim, ExecutionStatus, Lane, Mark, RetryPolicy, Seq, Step, StepKind, TaskResult, TaskStatus,
};
use crate::{ExecutionId, Payload, TaskId, Timestamp, WorkerId};

/// Reads. None of them locks or writes, and each is bounded: of what `max` asks for, at most
/// [`PAGE_MAX`](crate::limits::PAGE_MAX) come. What does not exist is empty, and no error. Bounds such as `after` and `before`
/// are not part of the page that they bound, and may name something that is gone.
#[async_trait]
pub trait Inspect: Debug + Send + Sync + 'static {
    /// Reads executions by id, in any order; those that do not exist are left out, and so are ids of steps. At most
    /// [`LOOKUP_MAX`](crate::limits::LOOKUP_MAX) ids are looked at in one call.
    async fn executions(&self, ids: &[ExecutionId]) -> Result<Vec<ExecutionView>>;

    /// Reads a page of an execution's tasks at every depth, its root and the items of its maps too, by id and so oldest
    /// first, those after `after`.
    async fn tasks(&self, execution: ExecutionId, after: Option<TaskId>, max: usize)
    -> Result<Vec<TaskView>>;

    /// Reads a page of a map's items by position, from `from` on.
    async fn items(&self, map: TaskId, from: Seq, max: usize) -> Result<Vec<ItemView>>;

    /// Reads what a task was called with, whatever kind of task it is. None if there is no such task.
    async fn args(&self, task: TaskId) -> Result<Option<Payload>>;

    /// Reads, for each task, the steps that completed after the first `seen`, in the order of their completion, and its open
    /// maps: the same that a claim brings which has [recalled](super::Recall) the task, for a worker that holds it already.
    /// Tasks of which there is nothing new may be left out. At most [`LOOKUP_MAX`](crate::limits::LOOKUP_MAX) tasks are looked at in one call.
    async fn completions(&self, seen: &[(TaskId, u32)]) -> Result<Vec<(TaskId, Vec<Step>)>>;

    /// Reads a page of executions by id, newest first, those before `before`: up to `max` that fit the filter.
    async fn list(
        &self,
        filter: &Filter,
        before: Option<ExecutionId>,
        max: usize,
    ) -> Result<Vec<ExecutionView>>;

    /// Counts executions by status. Statuses that none has are left out.
    async fn count(&self) -> Result<BTreeMap<ExecutionStatus, u64>>;

    /// Reads what waits in each lane, by lane. Only calls wait in lanes, and a lane in which nothing waits is left out.
    async fn lanes(&self, now: Timestamp) -> Result<Vec<LaneView>>;

    /// Reads tasks that run under a lease, at most `max`: those whose lease ends last first, and of these the youngest.
    async fn running(&self, max: usize) -> Result<Vec<RunningView>>;

    /// Reads the tries of a task that ended badly, oldest first, at most [`PAGE_MAX`](crate::limits::PAGE_MAX).
    async fn ended_claims(&self, task: TaskId) -> Result<Vec<EndedClaim>>;

    /// Reads what an execution's code has said of it.
    async fn notes(&self, execution: ExecutionId) -> Result<NotesView>;

    /// Reads a page of dead letters, newest first, those before `before`.
    async fn dead_letters(&self, before: Option<ExecutionId>, max: usize) -> Result<Vec<DeadLetter>>;

    /// Reads one dead letter.
    async fn dead_letter(&self, execution: ExecutionId) -> Result<Option<DeadLetter>>;

    /// Counts dead letters by reason and function, in this order. The reason is the failure's kind.
    async fn dead_letter_stats(&self) -> Result<Vec<DeadLetterStat>>;
}

/// Which executions to list. Everything that is set must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those that stand so.
    pub status: Option<ExecutionStatus>,
    /// Those of this function.
    pub function: Option<String>,
    /// Those on this queue.
    pub queue: Option<String>,
    /// Those with this tag.
    pub tag: Option<String>,
}

/// What waits in a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneView {
    /// The lane.
    pub lane: Lane,
    /// Tasks that are due and not claimed: pending ones, and parked ones whose wait is satisfied.
    pub due: u64,
    /// Tasks that are pending and due later.
    pub delayed: u64,
    /// Since when the first of those that are due has been so.
    pub oldest_due_at: Option<Timestamp>,
}

/// A task under a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningView {
    /// The task.
    pub id: TaskId,
    /// Its execution.
    pub execution: ExecutionId,
    /// Its function.
    pub function: String,
    /// Its queue.
    pub queue: String,
    /// Who holds it.
    pub worker: Option<WorkerId>,
    /// When the lease ends. A moment that has passed means that its worker is lost.
    pub lease_until: Option<Timestamp>,
    /// When it was first claimed.
    pub started_at: Option<Timestamp>,
}

/// What an execution's code has said of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NotesView {
    /// Counters.
    pub counters: BTreeMap<String, i64>,
    /// States.
    pub states: BTreeMap<String, Payload>,
    /// Entries of progress, oldest first; at most [`PROGRESS_MAX`](crate::limits::PROGRESS_MAX) are kept.
    pub progress: Vec<ProgressView>,
    /// Of an execution that was compacted: how many steps of each kind, name and status it had.
    pub summary: Vec<SummaryView>,
}

/// An entry of progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressView {
    /// Its id.
    pub id: TaskId,
    /// The task whose code has made it.
    pub task: TaskId,
    /// When it was committed.
    pub at: Timestamp,
    /// What it says.
    pub text: String,
}

/// Steps of an execution that were alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SummaryView {
    /// What kind they were of.
    pub kind: StepKind,
    /// Their function or name.
    pub name: String,
    /// How they ended.
    pub status: TaskStatus,
    /// How many they were.
    pub count: u64,
}

/// An execution that failed for good, and nobody has seen to that yet.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// The execution.
    pub execution: ExecutionView,
    /// What it was called with.
    pub args: Payload,
    /// The retry policy that was set for it.
    pub retry: Option<RetryPolicy>,
    /// Attempts that failed and were retried.
    pub attempts: u32,
    /// Claims whose lease ran out.
    pub crashes: u32,
    /// Claims that were handed back.
    pub releases: u32,
}

/// Dead letters that are alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadLetterStat {
    /// The kind of the failure.
    pub reason: String,
    /// The function that was dispatched.
    pub function: String,
    /// How many there are.
    pub count: u64,
}

/// An execution as a waiter sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecutionView {
    /// Its id.
    pub id: ExecutionId,
    /// The function that was dispatched.
    pub function: String,
    /// The queue that it was dispatched to.
    pub queue: String,
    /// Its tags.
    pub tags: BTreeSet<String>,
    /// Its priority.
    pub priority: i16,
    /// Where it stands.
    pub status: ExecutionStatus,
    /// Attempts of the function that failed and were retried.
    pub attempts: u32,
    /// When its time is up.
    pub expires_at: Option<Timestamp>,
    /// What it gave, once it has ended with a result or a failure.
    pub result: Option<TaskResult>,
    /// When it was dispatched.
    pub created_at: Timestamp,
    /// When it was first claimed.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// A task as a reader of the timeline sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskView {
    /// Its id.
    pub id: TaskId,
    /// The task above it.
    pub parent: Option<TaskId>,
    /// Its position there.
    pub seq: Seq,
    /// What kind of task it is.
    pub kind: StepKind,
    /// The function or the step's name.
    pub name: String,
    /// Where it stands.
    pub status: TaskStatus,
    /// What its status does not say.
    pub mark: Option<Mark>,
    /// Attempts that failed and were retried.
    pub attempts: u32,
    /// Claims whose lease ran out.
    pub crashes: u32,
    /// Claims that were handed back.
    pub releases: u32,
    /// For a map, how far it has come.
    pub map: Option<crate::model::Progress>,
    /// Which completion of its parent it was.
    pub done_order: Option<u32>,
    /// Message of the failure that ended it, or of the last one while it is being tried again.
    pub failure: Option<String>,
    /// When it is due, if it waits for a moment.
    pub ready_at: Option<Timestamp>,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it was first claimed, or started in its parent's turn.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// One item of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemView {
    /// Its position in the map.
    pub seq: Seq,
    /// Where it stands.
    pub status: TaskStatus,
    /// What it was called with.
    pub args: Payload,
    /// What it gave, once it has ended with a result or a failure.
    pub result: Option<TaskResult>,
}
