//! Reads, as plain data for the reader, paged, without locks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::Result;
use crate::limits::{COUNT_MAX, LANES_MAX, NOTES_MAX, PAGE_MAX};
use crate::model::{
    EndedClaim, ExecutionStatus, Lane, Mark, RetryPolicy, Seq, Step, StepKind, TaskResult, TaskStatus,
};
use crate::{ExecutionId, Payload, TaskId, Timestamp, WorkerId};

/// What the runtime reads: waiters, maps and workers. No read locks or writes. What does not exist is empty, and no error.
#[async_trait]
pub trait Reads: Debug + Send + Sync + 'static {
    /// Reads executions by id, in any order; those that do not exist are left out, and so are ids of steps. At most
    /// [`LOOKUP_MAX`](crate::limits::LOOKUP_MAX) ids are looked up in one call.
    async fn executions(&self, ids: &[ExecutionId]) -> Result<Vec<ExecutionView>>;

    /// Reads a page of a map's items by position, from `from` on, at most `max`, and at most
    /// [`PAGE_MAX`](crate::limits::PAGE_MAX).
    async fn items(&self, map: TaskId, from: Seq, max: usize) -> Result<Vec<ItemView>>;

    /// Reads the arguments of one task, whatever kind of task it is. None if there is no such task.
    async fn args(&self, task: TaskId) -> Result<Option<Payload>>;

    /// Reads, for each task, the steps that completed after the first `seen`, in the order of their completion, and its open
    /// maps: the same that a claim returns when the claimer's [sticky cache](super::StickyCache) has the task, for a worker that
    /// runs it already. Tasks of which there is nothing new may be left out. At most
    /// [`LOOKUP_MAX`](crate::limits::LOOKUP_MAX) tasks are looked up in one call; what is returned of each is bounded by its
    /// record.
    async fn completions(&self, seen: &[(TaskId, u32)]) -> Result<Vec<(TaskId, Vec<Step>)>>;
}

/// What operators read: lists, counts and histories. No read locks or writes. What does not exist is empty, and no error.
///
/// Every read is bounded. Where a method takes `max`, it returns at most so many, and at most
/// [`PAGE_MAX`](crate::limits::PAGE_MAX); the others name their bound. Bounds such as `after` and `before` are not part of the page
/// that they bound, and may name something that is gone.
#[async_trait]
pub trait Inspect: Debug + Send + Sync + 'static {
    /// Reads a page of an execution's tasks at every depth, its root and the items of its maps too, by id and so oldest
    /// first, those after `after`.
    async fn tasks(&self, execution: ExecutionId, after: Option<TaskId>, max: usize)
    -> Result<Vec<TaskView>>;

    /// Reads a page of executions by id, newest first, those before `before`: up to `max` that fit the filter.
    async fn list(
        &self,
        filter: &Filter,
        before: Option<ExecutionId>,
        max: usize,
    ) -> Result<Vec<ExecutionView>>;

    /// Counts executions by status. Statuses that none has are left out. At most `max` open executions are counted, and at most
    /// `max` of each status in which executions end; `max` is at most [`COUNT_MAX`](crate::limits::COUNT_MAX).
    async fn count(&self, max: usize) -> Result<BTreeMap<ExecutionStatus, u64>>;

    /// Reads what waits in each lane, by lane. Only calls wait in lanes, and a lane in which nothing waits is left out. If there
    /// are more than `max` lanes, those with the most due tasks, then the most delayed ones, are returned; `max` is at most
    /// [`LANES_MAX`](crate::limits::LANES_MAX).
    async fn lanes(&self, now: Timestamp, max: usize) -> Result<Vec<LaneView>>;

    /// Reads at most `max` tasks that run under a lease: those whose lease ends last first, and among equal ones the youngest
    /// first.
    async fn running(&self, max: usize) -> Result<Vec<RunningView>>;

    /// Reads the claims of a task that ended badly, oldest first, at most [`PAGE_MAX`](crate::limits::PAGE_MAX).
    async fn ended_claims(&self, task: TaskId) -> Result<Vec<EndedClaim>>;

    /// Reads what an execution's code has said of it: at most [`PROGRESS_MAX`](crate::limits::PROGRESS_MAX) entries of progress,
    /// and at most [`NOTES_MAX`](crate::limits::NOTES_MAX) counters, states and lines of the summary in all. Which of them are
    /// returned if there are more is up to the store.
    async fn notes(&self, execution: ExecutionId) -> Result<NotesView>;

    /// Reads a page of dead letters, newest first, before `before`.
    async fn dead_letters(&self, before: Option<ExecutionId>, max: usize) -> Result<Vec<DeadLetter>>;

    /// Reads one dead letter.
    async fn dead_letter(&self, execution: ExecutionId) -> Result<Option<DeadLetter>>;

    /// Counts dead letters by reason and function, in this order. The reason is the failure's kind. If there are more than `max`
    /// of these pairs, those with the most dead letters are returned.
    async fn dead_letter_stats(&self, max: usize) -> Result<Vec<DeadLetterStat>>;
}

/// The executions to list. Every field that is set must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only executions with this status.
    pub status: Option<ExecutionStatus>,
    /// Only executions of this function.
    pub function: Option<String>,
    /// Only executions on this queue.
    pub queue: Option<String>,
    /// Only executions with this tag.
    pub tag: Option<String>,
}

impl Filter {
    /// Only executions with this status.
    #[must_use]
    pub const fn status(mut self, status: ExecutionStatus) -> Self {
        self.status = Some(status);
        self
    }

    /// Only executions of this function.
    #[must_use]
    pub fn function(mut self, name: impl Into<String>) -> Self {
        self.function = Some(name.into());
        self
    }

    /// Only executions on this queue.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// Only executions with this tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }
}

/// The waiting tasks of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneView {
    /// The lane.
    pub lane: Lane,
    /// Tasks that are due and not claimed: pending ones, and parked ones whose wait is satisfied.
    pub due: u64,
    /// Tasks that are pending and due later.
    pub delayed: u64,
    /// Since when the first of the due tasks is due.
    pub oldest_due_at: Option<Timestamp>,
}

impl LaneView {
    /// Of lanes with waiting tasks, at most `max`, and at most [`LANES_MAX`]: those with the most due tasks, then the
    /// most delayed ones, in the order of lanes.
    #[must_use]
    pub fn page(lanes: Vec<Self>, max: usize) -> Vec<Self> {
        let mut page = most(lanes, max.min(LANES_MAX), |lane| (lane.due, lane.delayed));
        page.sort_unstable_by(|one, other| one.lane.cmp(&other.lane));
        page
    }
}

/// At most `max` of what was counted: those with the largest counts.
fn most<T, C: Ord>(mut counted: Vec<T>, max: usize, count: impl Fn(&T) -> C) -> Vec<T> {
    counted.sort_by_key(|one| std::cmp::Reverse(count(one)));
    counted.truncate(max);
    counted
}

/// Counts executions by status: at most `max` open ones, and at most `max` of each status in which executions end.
#[must_use]
pub fn tally(
    statuses: impl IntoIterator<Item = ExecutionStatus>,
    max: usize,
) -> BTreeMap<ExecutionStatus, u64> {
    let max = max.min(COUNT_MAX) as u64;
    let (mut counts, mut open) = (BTreeMap::new(), 0);
    for status in statuses {
        let counted = counts.get(&status).copied().unwrap_or(0);
        if if status.is_terminal() { counted < max } else { open < max } {
            open += u64::from(!status.is_terminal());
            counts.insert(status, counted + 1);
        }
    }
    counts
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
    /// The worker that holds it.
    pub worker: Option<WorkerId>,
    /// When the lease ends. If the moment has passed, the worker is lost.
    pub lease_until: Option<Timestamp>,
    /// When it was first claimed.
    pub started_at: Option<Timestamp>,
}

/// The notes of an execution's code.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NotesView {
    /// Counters.
    pub counters: BTreeMap<String, i64>,
    /// States.
    pub states: BTreeMap<String, Payload>,
    /// Progress entries, oldest first; at most [`PROGRESS_MAX`](crate::limits::PROGRESS_MAX) are kept.
    pub progress: Vec<ProgressView>,
    /// For a compacted execution: how many steps of each kind, name and status it had.
    pub summary: Vec<SummaryView>,
}

impl NotesView {
    /// The same with no more counters, states and lines of the summary than one read returns.
    #[must_use]
    pub fn page(mut self) -> Self {
        let counters = self.counters.into_iter().take(NOTES_MAX);
        self.counters = counters.collect();
        let left = NOTES_MAX - self.counters.len();
        self.states = self.states.into_iter().take(left).collect();
        self.summary.truncate(left - self.states.len());
        self
    }
}

/// A progress entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressView {
    /// Its id.
    pub id: TaskId,
    /// The task whose code wrote it.
    pub task: TaskId,
    /// When it was committed.
    pub at: Timestamp,
    /// The text.
    pub text: String,
}

/// The number of equal steps of an execution.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SummaryView {
    /// Their kind.
    pub kind: StepKind,
    /// Their function or name.
    pub name: String,
    /// Their status.
    pub status: TaskStatus,
    /// The number of steps.
    pub count: u64,
}

/// An execution that failed for good, and that nobody has redriven or discarded yet.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// The execution.
    pub execution: ExecutionView,
    /// Its arguments.
    pub args: Payload,
    /// The retry policy that was set for it.
    pub retry: Option<RetryPolicy>,
    /// Attempts that failed and were retried.
    pub attempts: u32,
    /// Claims whose lease expired.
    pub crashes: u32,
    /// Claims that were released.
    pub releases: u32,
}

/// The number of equal dead letters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadLetterStat {
    /// The kind of the failure.
    pub reason: String,
    /// The function that was dispatched.
    pub function: String,
    /// The number of dead letters.
    pub count: u64,
}

impl DeadLetterStat {
    /// Of these counts, at most `max`, and at most a page: the largest, by reason and function.
    #[must_use]
    pub fn page(stats: Vec<Self>, max: usize) -> Vec<Self> {
        let mut page = most(stats, max.min(PAGE_MAX), |stat| stat.count);
        page.sort_unstable();
        page
    }
}

/// An execution as waiters see it.
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
    /// Its status.
    pub status: ExecutionStatus,
    /// Attempts of the function that failed and were retried.
    pub attempts: u32,
    /// Its deadline.
    pub expires_at: Option<Timestamp>,
    /// Its result or failure, once it has ended with one.
    pub result: Option<TaskResult>,
    /// When it was dispatched.
    pub created_at: Timestamp,
    /// When it was first claimed.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// A task as readers of the timeline see it.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskView {
    /// Its id.
    pub id: TaskId,
    /// Its parent.
    pub parent: Option<TaskId>,
    /// Its position in the parent.
    pub seq: Seq,
    /// Its kind.
    pub kind: StepKind,
    /// The function or the step's name.
    pub name: String,
    /// Its status.
    pub status: TaskStatus,
    /// Facts that its status does not express.
    pub mark: Option<Mark>,
    /// Attempts that failed and were retried.
    pub attempts: u32,
    /// Claims whose lease expired.
    pub crashes: u32,
    /// Claims that were released.
    pub releases: u32,
    /// For a map, its progress.
    pub map: Option<crate::model::Progress>,
    /// The number of its completion in the parent.
    pub done_order: Option<u32>,
    /// The message of the failure that ended it, or of the last failure while it is being retried.
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
    /// Its status.
    pub status: TaskStatus,
    /// Its arguments.
    pub args: Payload,
    /// Its result or failure, once it has ended with one.
    pub result: Option<TaskResult>,
}
