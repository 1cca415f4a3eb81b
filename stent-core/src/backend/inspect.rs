//! Reads, as plain data for the reader, paged, without locks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::ops::RangeInclusive;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[cfg(doc)]
use super::Verdict;
use super::{Finding, Result, StoredTask};
use crate::limits::{COUNT_MAX, ID_DRIFT_MAX, LANES_MAX, NOTES_MAX, PAGE_MAX};
use crate::model::{
    EndedClaim, ExecutionStatus, KeyEntry, Lane, Marks, RetryPolicy, Seq, Step, StepKind, TaskResult,
    TaskStatus, WorkerRecord, split_version,
};
use crate::{ExecutionId, Key, Payload, TaskId, Timestamp, WorkerId};

/// Reads of the runtime: for waiters, maps and workers. No read locks or writes. For an id that does not exist, the result
/// is empty, not an error.
#[async_trait]
pub trait Reads: Debug + Send + Sync + 'static {
    /// Reads executions by id, in any order. Leaves out ids that do not exist and ids of steps. At most
    /// [`LOOKUP_MAX`](crate::limits::LOOKUP_MAX) ids are looked up in one call.
    async fn executions(&self, ids: &[ExecutionId]) -> Result<Vec<ExecutionView>>;

    /// Reads a page of a map's items by position, from `from` on, at most `max`, and at most
    /// [`PAGE_MAX`](crate::limits::PAGE_MAX).
    async fn items(&self, map: TaskId, from: Seq, max: usize) -> Result<Vec<ItemView>>;

    /// Reads the arguments of one task, whatever kind of task it is. None if there is no such task.
    async fn args(&self, task: TaskId) -> Result<Option<Payload>>;

    /// Reads, for each task, the steps that completed after the first `seen`, in the order of their completion, and its open
    /// maps. A worker that already runs the task gets the same steps as by a claim with the task in its
    /// [sticky cache](super::StickyCache). Tasks without news may be left out. At most [`LOOKUP_MAX`](crate::limits::LOOKUP_MAX)
    /// tasks are looked up in one call; the task's record bounds the steps that are returned.
    async fn completions(&self, seen: &[(TaskId, u32)]) -> Result<Vec<(TaskId, Vec<Step>)>>;
}

/// Reads of operators: lists, counts and histories. No read locks or writes. For an id that does not exist, the result is
/// empty, not an error.
///
/// Every read is bounded. Where a method takes `max`, it returns at most so many, and at most
/// [`PAGE_MAX`](crate::limits::PAGE_MAX); the other methods name their bound. The elements at `after` and `before` are not part
/// of the page, and may have been deleted.
#[async_trait]
pub trait Inspect: Debug + Send + Sync + 'static {
    /// Reads a page of an execution's tasks after `after`, at every depth, including its root and the items of its maps. The order
    /// is by id, and so oldest first.
    async fn tasks(&self, execution: ExecutionId, after: Option<TaskId>, max: usize)
    -> Result<Vec<TaskView>>;

    /// Reads a page of an execution's tasks as they are stored, for an export: in the order of [`tasks`](Self::tasks), after `after`.
    /// One page is of one moment, as far as the store can.
    ///
    /// Of the constant part, the fields `attempts`, `failure`, `keyed`, `expires_at`, `digest` and `state` mean nothing: the row has
    /// the current values.
    async fn stored(
        &self,
        execution: ExecutionId,
        after: Option<TaskId>,
        max: usize,
    ) -> Result<Vec<StoredTask>>;

    /// Reads a page of an execution's key entries by key, those after `after`: of its dispatch, of signals, and of results that have
    /// no value yet. Results with a value are left out; they belong to their keys.
    async fn key_entries(
        &self,
        execution: ExecutionId,
        after: Option<Key>,
        max: usize,
    ) -> Result<Vec<KeyEntry>>;

    /// Reads a page of up to `max` executions before `before` that match the filter, by id, newest first.
    async fn list(
        &self,
        filter: &Filter,
        before: Option<ExecutionId>,
        max: usize,
    ) -> Result<Vec<ExecutionView>>;

    /// Counts executions by status. Leaves out statuses that no execution has. Counts at most `max` open executions, and at most
    /// `max` executions of each terminal status; `max` is at most [`COUNT_MAX`](crate::limits::COUNT_MAX).
    async fn count(&self, max: usize) -> Result<BTreeMap<ExecutionStatus, u64>>;

    /// Reads the number of waiting tasks of each lane, by lane. Only calls wait in lanes. Leaves out lanes without waiting tasks.
    /// If there are more than `max` lanes, returns the lanes with the most due tasks, then with the most delayed tasks; `max` is at
    /// most [`LANES_MAX`](crate::limits::LANES_MAX).
    async fn lanes(&self, now: Timestamp, max: usize) -> Result<Vec<LaneView>>;

    /// Reads at most `max` tasks that run under a lease, in descending order of the lease's end; among equal ends, the youngest
    /// task first.
    async fn running(&self, max: usize) -> Result<Vec<RunningView>>;

    /// Reads the claims of a task that ended badly, oldest first, at most [`PAGE_MAX`](crate::limits::PAGE_MAX).
    async fn ended_claims(&self, task: TaskId) -> Result<Vec<EndedClaim>>;

    /// Reads the notes of an execution's code: at most [`PROGRESS_MAX`](crate::limits::PROGRESS_MAX) entries of progress, and at
    /// most [`NOTES_MAX`](crate::limits::NOTES_MAX) counters, states and lines of the summary in all. If there are more, the store
    /// chooses the ones to return.
    async fn notes(&self, execution: ExecutionId) -> Result<NotesView>;

    /// Reads a page of dead letters, newest first, before `before`.
    async fn dead_letters(&self, before: Option<ExecutionId>, max: usize) -> Result<Vec<DeadLetter>>;

    /// Reads one dead letter.
    async fn dead_letter(&self, execution: ExecutionId) -> Result<Option<DeadLetter>>;

    /// Counts dead letters by reason and function, in this order. The reason is the failure's kind. If there are more than `max`
    /// pairs, returns the pairs with the most dead letters.
    async fn dead_letter_stats(&self, max: usize) -> Result<Vec<DeadLetterStat>>;

    /// Reads a page of the [reported](super::Backend::report) workers after `after`, by id, and so oldest first: those that run, and
    /// those that have stopped, crashed or [died](WorkerRecord::is_dead) and were not purged yet.
    async fn workers(&self, after: Option<WorkerId>, max: usize) -> Result<Vec<WorkerRecord>>;

    /// Examines the store itself: what only its database knows of settings, indexes and files that can slow work down or lose it.
    /// The default is for stores with nothing to examine.
    ///
    /// # Behaviour
    /// The checks are the store's own. Each is in the result once, with or without a problem, so the result has the same checks
    /// whatever is in the store. Names, observations and remedies are single lines; only a finding that is not
    /// [well](Verdict::Ok) has a remedy. A fresh store in a sound database has no [problem](Verdict::Problem).
    ///
    /// An examination changes nothing and holds up no work. It reads little, however large the store is.
    ///
    /// # Errors
    /// Fails if the store cannot be examined, such as without its schema. A setting that the user may not read is a finding.
    async fn diagnose(&self) -> Result<Vec<Finding>> {
        Ok(Vec::new())
    }
}

/// The executions to list. Every field that is set must match.
///
/// # Cost
/// A list reads executions by id, newest first, until its page is full.
///
/// | Field | Reads |
/// |---|---|
/// | `key` | the key's entry, and one execution |
/// | `since`, `until` | only executions whose ids lie in [`ids`](Self::ids), so a short period costs little in a large store |
/// | `status` | SQL: of each ended status, and of open executions, the index that can match; Redis: the set of the status |
/// | `function`, `queue`, `tag` | SQL: each execution that the other fields admit, until the page is full; Redis: the smallest set of these fields |
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// Only executions with this status.
    pub status: Option<ExecutionStatus>,
    /// Only executions of this function.
    pub function: Option<String>,
    /// Only executions on this queue.
    pub queue: Option<String>,
    /// Only executions with this tag.
    pub tag: Option<String>,
    /// Only the execution that was dispatched under this key: see [`Key::of_dispatch`].
    pub key: Option<Key>,
    /// Only executions that were dispatched at this moment or later, and whose ids lie in [`ids`](Self::ids).
    pub since: Option<Timestamp>,
    /// Only executions that were dispatched before this moment, and whose ids lie in [`ids`](Self::ids).
    pub until: Option<Timestamp>,
}

impl Filter {
    /// Whether an execution matches every field that is set, except `key`: the store looks the key up.
    #[must_use]
    pub fn matches(&self, execution: &ExecutionView) -> bool {
        self.ids().contains(&execution.id)
            && self.since.is_none_or(|since| execution.created_at >= since)
            && self.until.is_none_or(|until| execution.created_at < until)
            && self.status.is_none_or(|status| execution.status == status)
            && self.function.as_ref().is_none_or(|function| execution.function == *function)
            && self.queue.as_ref().is_none_or(|queue| execution.queue == *queue)
            && self.tag.as_ref().is_none_or(|tag| execution.tags.contains(tag))
    }

    /// The ids that `since` and `until` admit. A store need not look at others.
    ///
    /// An id of version 7 has the moment at which it was drawn. It may differ from the moment of the dispatch: clocks differ, and
    /// an id may be drawn long before it is used. So the range begins and ends [`ID_DRIFT_MAX`] outside the period. An execution
    /// whose id is not in the range, such as an id of another version, is not listed by time.
    #[must_use]
    pub fn ids(&self) -> RangeInclusive<ExecutionId> {
        let first = self.since.map_or(Uuid::nil(), |since| ids_of(since - ID_DRIFT_MAX).0);
        let last = self.until.map_or(Uuid::max(), |until| ids_of(until + ID_DRIFT_MAX).1);
        ExecutionId::from_uuid(first)..=ExecutionId::from_uuid(last)
    }

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

    /// Only the execution of this function that was dispatched under this idempotency key. All versions of a function share
    /// their keys.
    #[must_use]
    pub fn key(mut self, function: &str, key: &str) -> Self {
        self.key = Some(Key::of_dispatch(split_version(function).0, key));
        self
    }

    /// Only executions that were dispatched at this moment or later.
    #[must_use]
    pub fn since(mut self, moment: impl Into<Timestamp>) -> Self {
        self.since = Some(moment.into());
        self
    }

    /// Only executions that were dispatched before this moment.
    #[must_use]
    pub fn until(mut self, moment: impl Into<Timestamp>) -> Self {
        self.until = Some(moment.into());
        self
    }
}

/// The smallest and the largest id whose first 48 bits are this moment in milliseconds. Moments outside the range of ids count as
/// its ends.
fn ids_of(moment: Timestamp) -> (Uuid, Uuid) {
    let millis = u64::try_from(moment.as_micros().div_euclid(1_000)).unwrap_or(0).min(MILLIS_MAX);
    let first = u128::from(millis) << 80;
    (Uuid::from_u128(first), Uuid::from_u128(first | (u128::MAX >> 48)))
}

/// The last moment that an id of version 7 can have.
const MILLIS_MAX: u64 = (1 << 48) - 1;

/// The waiting tasks of a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LaneView {
    /// The lane.
    pub lane: Lane,
    /// Tasks that are due and not claimed: pending ones, and parked ones whose wait is satisfied.
    pub due: u64,
    /// Tasks that are pending and due later.
    pub delayed: u64,
    /// The earliest moment at which one of the due tasks became due.
    pub oldest_due_at: Option<Timestamp>,
}

impl LaneView {
    /// Creates a lane without waiting tasks. A store sets the other fields.
    #[must_use]
    pub const fn new(lane: Lane) -> Self {
        Self { lane, due: 0, delayed: 0, oldest_due_at: None }
    }

    /// Selects at most `max` of these lanes with waiting tasks, and at most [`LANES_MAX`]: the lanes with the most due tasks, then
    /// with the most delayed tasks. Returns them in the order of lanes.
    #[must_use]
    pub fn page(lanes: Vec<Self>, max: usize) -> Vec<Self> {
        let mut page = most(lanes, max.min(LANES_MAX), |lane| (lane.due, lane.delayed));
        page.sort_unstable_by(|one, other| one.lane.cmp(&other.lane));
        page
    }
}

/// Selects at most `max` of the counted elements: those with the largest counts.
fn most<T, C: Ord>(mut counted: Vec<T>, max: usize, count: impl Fn(&T) -> C) -> Vec<T> {
    counted.sort_by_key(|one| std::cmp::Reverse(count(one)));
    counted.truncate(max);
    counted
}

/// Counts executions by status: at most `max` open executions, and at most `max` executions of each terminal status.
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
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

impl RunningView {
    /// Creates a view from the fields that every task under a lease has. A store sets the other fields.
    #[must_use]
    pub const fn new(id: TaskId, execution: ExecutionId, function: String, queue: String) -> Self {
        Self { id, execution, function, queue, worker: None, lease_until: None, started_at: None }
    }
}

/// The notes of an execution's code.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
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
    /// The payloads in it.
    pub fn payloads_mut(&mut self) -> impl Iterator<Item = &mut Payload> {
        let Self { counters: _, states, progress: _, summary: _ } = self;
        states.values_mut()
    }

    /// Truncates the counters, states and lines of the summary to the limits of one read.
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
#[non_exhaustive]
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

impl ProgressView {
    /// Creates an entry.
    #[must_use]
    pub const fn new(id: TaskId, task: TaskId, at: Timestamp, text: String) -> Self {
        Self { id, task, at, text }
    }
}

/// The number of equal steps of an execution.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
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

impl SummaryView {
    /// Creates a line of a summary.
    #[must_use]
    pub const fn new(kind: StepKind, name: String, status: TaskStatus, count: u64) -> Self {
        Self { kind, name, status, count }
    }
}

/// An execution that failed for good and has been neither redriven nor discarded.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
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

impl DeadLetter {
    /// Creates a dead letter from the fields that every dead letter has. A store sets the other fields.
    #[must_use]
    pub const fn new(execution: ExecutionView, args: Payload) -> Self {
        Self { execution, args, retry: None, attempts: 0, crashes: 0, releases: 0 }
    }

    /// The payloads in it.
    pub fn payloads_mut(&mut self) -> impl Iterator<Item = &mut Payload> {
        let Self { execution, args, retry: _, attempts: _, crashes: _, releases: _ } = self;
        execution.payloads_mut().chain([args])
    }
}

/// The number of equal dead letters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct DeadLetterStat {
    /// The kind of the failure.
    pub reason: String,
    /// The function that was dispatched.
    pub function: String,
    /// The number of dead letters.
    pub count: u64,
}

impl DeadLetterStat {
    /// Creates a count.
    #[must_use]
    pub const fn new(reason: String, function: String, count: u64) -> Self {
        Self { reason, function, count }
    }

    /// Selects the largest of these counts, at most `max` and at most a page, in the order of reason and function.
    #[must_use]
    pub fn page(stats: Vec<Self>, max: usize) -> Vec<Self> {
        let mut page = most(stats, max.min(PAGE_MAX), |stat| stat.count);
        page.sort_unstable();
        page
    }
}

/// An execution as waiters see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExecutionView {
    /// Its id.
    pub id: ExecutionId,
    /// The function that was dispatched.
    pub function: String,
    /// The queue that it was dispatched to, or to which a redrive has moved it.
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

impl ExecutionView {
    /// Creates a view from the fields that every execution has. A store sets the other fields.
    #[must_use]
    pub const fn new(
        id: ExecutionId,
        function: String,
        queue: String,
        status: ExecutionStatus,
        created_at: Timestamp,
    ) -> Self {
        Self {
            id,
            function,
            queue,
            tags: BTreeSet::new(),
            priority: 0,
            status,
            attempts: 0,
            expires_at: None,
            result: None,
            created_at,
            started_at: None,
            ended_at: None,
        }
    }

    /// The payloads in it.
    pub fn payloads_mut(&mut self) -> impl Iterator<Item = &mut Payload> {
        let Self {
            id: _,
            function: _,
            queue: _,
            tags: _,
            priority: _,
            status: _,
            attempts: _,
            expires_at: _,
            result,
            created_at: _,
            started_at: _,
            ended_at: _,
        } = self;
        result.iter_mut().filter_map(payload_of)
    }
}

/// A task as readers of the timeline see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
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
    pub marks: Marks,
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

impl TaskView {
    /// Creates a view from the fields that every task has. A store sets the other fields.
    #[must_use]
    pub const fn new(
        id: TaskId,
        seq: Seq,
        kind: StepKind,
        name: String,
        status: TaskStatus,
        created_at: Timestamp,
    ) -> Self {
        Self {
            id,
            parent: None,
            seq,
            kind,
            name,
            status,
            marks: Marks::NONE,
            attempts: 0,
            crashes: 0,
            releases: 0,
            map: None,
            done_order: None,
            failure: None,
            ready_at: None,
            created_at,
            started_at: None,
            ended_at: None,
        }
    }
}

/// One item of a map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
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

impl ItemView {
    /// Creates a view from the fields that every item has. A store sets the result.
    #[must_use]
    pub const fn new(seq: Seq, status: TaskStatus, args: Payload) -> Self {
        Self { seq, status, args, result: None }
    }

    /// The payloads in it.
    pub fn payloads_mut(&mut self) -> impl Iterator<Item = &mut Payload> {
        let Self { seq: _, status: _, args, result } = self;
        result.iter_mut().filter_map(payload_of).chain([args])
    }
}

/// Returns the payload of a result: its value, or the data of its failure.
fn payload_of(result: &mut TaskResult) -> Option<&mut Payload> {
    match result {
        Ok(payload) => Some(payload),
        Err(failure) => failure.data_mut(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Mark;
    use crate::{Codec, Failure};

    #[test]
    fn programs_read_views_as_json() {
        let id = ExecutionId::from_uuid(Uuid::from_u128(7));
        let mut execution = ExecutionView::new(
            id,
            "charge".to_owned(),
            "default".to_owned(),
            ExecutionStatus::TimedOut,
            Timestamp::from_micros(5),
        );
        execution.result = Some(Err(Failure::new("Late", "too late")));
        let letter = DeadLetter::new(execution, Codec::Json.encode(&1).expect("encodes"));
        let json = serde_json::to_value(&letter).expect("encodes");
        assert_eq!(json["execution"]["id"], json!("00000000-0000-0000-0000-000000000007"));
        assert_eq!(json["execution"]["status"], json!("timed_out"));
        assert_eq!(json["execution"]["created_at"], json!(5));
        assert_eq!(json["execution"]["result"], json!({ "Err": { "kind": "Late", "message": "too late" } }));
        assert_eq!(json["args"], json!({ "content_type": "application/json", "bytes": [49] }));

        let mut task = TaskView::new(
            id.root(),
            Seq(3),
            StepKind::Map,
            "charge".to_owned(),
            TaskStatus::Waiting,
            Timestamp::EPOCH,
        );
        task.marks = Marks::of(Mark::Cancel);
        task.map = Some(crate::model::Progress { fed: 2, total: None, done: 1 });
        let json = serde_json::to_value(&task).expect("encodes");
        assert_eq!(
            (&json["seq"], &json["kind"], &json["status"]),
            (&json!(3), &json!("map"), &json!("waiting"))
        );
        assert_eq!(json["marks"], json!("cancel"));
        assert_eq!(json["map"], json!({ "fed": 2, "total": null, "done": 1 }));
    }

    fn execution(millis: u64, created_at: Timestamp) -> ExecutionView {
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &[0xff; 10]).into_uuid();
        let (function, queue) = ("charge".to_owned(), "default".to_owned());
        ExecutionView::new(ExecutionId::from_uuid(id), function, queue, ExecutionStatus::Pending, created_at)
    }

    #[test]
    fn a_period_has_its_beginning_and_not_its_end() {
        let at = |micros: i64| Timestamp::from_micros(1_763_683_200_123_000 + micros);
        let filter = Filter::default().since(at(-1)).until(at(1));
        let fits = |micros| filter.matches(&execution(1_763_683_200_123, at(micros)));
        assert_eq!([-2, -1, 0, 1].map(fits), [false, true, true, false]);
    }

    #[test]
    fn an_id_may_be_a_day_older_or_younger_than_its_dispatch() {
        let (millis, day) = (1_763_683_200_123, 86_400_000);
        let at = Timestamp::from_micros(1_763_683_200_123_000);
        let fits = |filter: Filter, millis| filter.matches(&execution(millis, at));
        let since = || Filter::default().since(at);
        let until = || Filter::default().until(at + std::time::Duration::from_micros(1));
        assert!(fits(since(), millis - day) && !fits(since(), millis - day - 1));
        assert!(fits(until(), millis + day) && !fits(until(), millis + day + 1));
        assert!(fits(since(), millis + 99 * day) && fits(until(), 0), "the other end is open");
    }

    #[test]
    fn a_period_without_ends_has_every_id() {
        let ids = Filter::default().ids();
        assert_eq!((*ids.start().as_uuid(), *ids.end().as_uuid()), (Uuid::nil(), Uuid::max()));
        let (min, max) = (Timestamp::from_micros(i64::MIN), Timestamp::MAX);
        let ids = Filter::default().since(min).until(max).ids();
        assert_eq!((*ids.start().as_uuid(), *ids.end().as_uuid()), (Uuid::nil(), Uuid::max()));
    }

    #[test]
    fn versions_share_a_key() {
        let key = Filter::default().key("charge", "order-7").key;
        assert_eq!(key, Some(Key::of_dispatch("charge", "order-7")));
        assert_eq!(key, Filter::default().key("charge@2", "order-7").key);
    }
}
