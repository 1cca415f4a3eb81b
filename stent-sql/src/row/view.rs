//! Rows in a reader's terms.

use stent_core::backend::{
    DeadLetter, DeadLetterStat, ExecutionView, ItemView, LaneView, ProgressView, Result, RunningView,
    StoredTask, SummaryView, TaskView,
};
use stent_core::model::{
    ClaimEnd, EndedClaim, Epoch, ExecutionStatus, Marks, NewTask, NewTaskState, Progress, RetryPolicy, Seq,
    StepKind, TaskResult, TaskStatus,
};
use stent_core::{ExecutionId, Payload, TaskId, Timestamp, WorkerId};

use super::cell::{Json, Tags};
use super::reader::corrupt;
use super::shape::{Read, batch, rows};
use super::step::{payload, result_of};
use super::task::{LaneRow, Picked};
use super::{Reader, failure};
use crate::batch::Batch;
use crate::table::{ended_claim, key, note, progress, task};

rows! {
    /// The columns of an execution's view.
    read ExecutionRow of task {
        id: ExecutionId,
        name: String,
        queue: String,
        tags: Option<Tags>,
        priority: i16,
        status: TaskStatus,
        mark: Marks,
        attempts: u32,
        expires_at: Option<Timestamp>,
        created_at: Timestamp,
        started_at: Option<Timestamp>,
        ended_at: Option<Timestamp>,
        failure: Option<String>,
        result_type: Option<String>,
        result: Option<Vec<u8>>,
    }

    /// The columns of a dead letter.
    read DeadLetterRow of task {
        ..execution: ExecutionRow,
        retry: Option<Json<RetryPolicy>>,
        crashes: u32,
        releases: u32,
        args_type: String,
        args: Vec<u8>,
    }

    /// The columns of a task's view.
    read TaskRow of task {
        id: TaskId,
        parent_id: Option<TaskId>,
        seq: Seq,
        kind: StepKind,
        name: String,
        status: TaskStatus,
        mark: Marks,
        attempts: u32,
        crashes: u32,
        releases: u32,
        fed: u32,
        total: Option<u32>,
        done: u32,
        done_order: Option<u32>,
        failure: Option<String>,
        ready_at: Option<Timestamp>,
        created_at: Timestamp,
        started_at: Option<Timestamp>,
        ended_at: Option<Timestamp>,
    }

    /// The columns of a task as it is stored.
    read StoredRow of task {
        ..picked: Picked,
        failure: Option<String>,
        result_type: Option<String>,
        result: Option<Vec<u8>>,
    }

    /// The columns of an item's view.
    read ItemRow of task {
        #[expect(dead_code, reason = "packed rows that have bytes begin with an id")]
        id: TaskId,
        seq: Seq,
        status: TaskStatus,
        args_type: String,
        args: Vec<u8>,
        failure: Option<String>,
        result_type: Option<String>,
        result: Option<Vec<u8>>,
    }

    /// The arguments of a task.
    read CalledWith of task {
        #[expect(dead_code, reason = "packed rows that have bytes begin with an id")]
        id: TaskId,
        args_type: String,
        args: Vec<u8>,
    }

    /// The execution of a key entry.
    read Dispatched of key {
        execution_id: ExecutionId,
    }

    /// The columns of the view of a task under a lease.
    read RunningRow of task {
        id: TaskId,
        execution_id: ExecutionId,
        name: String,
        queue: String,
        worker_id: Option<WorkerId>,
        ready_at: Option<Timestamp>,
        started_at: Option<Timestamp>,
    }

    /// The number of dead letters of a kind.
    read DeadLetterStatRow {
        reason: Option<String>,
        name: String,
        count: u64,
    }

    /// The number of waiting tasks in a lane.
    read LaneViewRow {
        ..lane: LaneRow,
        due: u64,
        delayed: u64,
        oldest_due_at: Option<Timestamp>,
    }

    /// The number of executions with a status.
    read Tally {
        pending: u64,
        running: u64,
        cancelling: u64,
        completed: u64,
        failed: u64,
        timed_out: u64,
        cancelled: u64,
    }

    /// A moment.
    read Now {
        now: Timestamp,
    }

    /// The database of a connection, and the isolation and mark of its transaction.
    read Place {
        home: String,
        /// The isolation level, if the transaction does not see commits since it began.
        frozen: Option<String>,
        /// The transaction's mark, if it has one.
        mark: Option<String>,
    }

    /// A claim that ended badly, as it is stored.
    read EndedClaimRow of ended_claim {
        task_id: TaskId,
        epoch: Epoch,
        at: Timestamp,
        execution_id: ExecutionId,
        worker_id: Option<WorkerId>,
        how: ClaimEnd,
        failure: Option<String>,
        data_type: Option<String>,
        data: Option<Vec<u8>>,
    }

    /// A claim that ended badly, to store.
    write NewEndedClaim<'a> of ended_claim {
        task_id: TaskId,
        epoch: Epoch,
        at: Timestamp,
        execution_id: ExecutionId,
        worker_id: Option<WorkerId>,
        how: ClaimEnd,
        failure: Option<String>,
        data_type: Option<&'a str>,
        data: Option<&'a [u8]>,
    }

    /// An entry of progress.
    read ProgressRow of progress {
        id: TaskId,
        task_id: TaskId,
        at: Timestamp,
        text: String,
    }

    /// A counter, a state or a line of a summary.
    read NoteCells of note {
        kind: String,
        name: String,
        count: Option<i64>,
        value_type: Option<String>,
        value: Option<Vec<u8>>,
    }
}

/// Reads the view of an execution.
pub(crate) fn execution_view(reader: &mut Reader) -> Result<ExecutionView> {
    ExecutionRow::read(reader)?.into_view()
}

impl ExecutionRow {
    fn into_view(self) -> Result<ExecutionView> {
        let payload = payload(self.result_type, self.result);
        let status = ExecutionStatus::of_root(self.status, self.started_at.is_some(), self.mark);
        let mut view = ExecutionView::new(self.id, self.name, self.queue, status, self.created_at);
        view.tags = self.tags.unwrap_or_default().0;
        view.priority = self.priority;
        view.attempts = self.attempts;
        view.expires_at = self.expires_at;
        view.result = result(self.status, self.failure.as_deref(), payload)?;
        view.started_at = self.started_at;
        view.ended_at = self.ended_at;
        Ok(view)
    }
}

/// Reads a dead letter.
pub(crate) fn dead_letter(reader: &mut Reader) -> Result<DeadLetter> {
    let row = DeadLetterRow::read(reader)?;
    let attempts = row.execution.attempts;
    let mut letter = DeadLetter::new(row.execution.into_view()?, Payload::new(row.args_type, row.args));
    letter.retry = row.retry.map(|retry| retry.0);
    letter.attempts = attempts;
    letter.crashes = row.crashes;
    letter.releases = row.releases;
    Ok(letter)
}

/// Reads the number of dead letters of a kind.
pub(crate) fn dead_letter_stat(reader: &mut Reader) -> Result<DeadLetterStat> {
    let DeadLetterStatRow { reason, name, count } = DeadLetterStatRow::read(reader)?;
    Ok(DeadLetterStat::new(reason.unwrap_or_default(), name, count))
}

/// Reads the number of waiting tasks in a lane.
pub(crate) fn lane_view(reader: &mut Reader) -> Result<LaneView> {
    let LaneViewRow { lane, due, delayed, oldest_due_at } = LaneViewRow::read(reader)?;
    let (_, lane) = lane.into_lane();
    let mut view = LaneView::new(lane);
    view.due = due;
    view.delayed = delayed;
    view.oldest_due_at = oldest_due_at;
    Ok(view)
}

/// Reads the view of a task under a lease.
pub(crate) fn running_view(reader: &mut Reader) -> Result<RunningView> {
    let row = RunningRow::read(reader)?;
    let mut view = RunningView::new(row.id, row.execution_id, row.name, row.queue);
    view.worker = row.worker_id;
    view.lease_until = row.ready_at;
    view.started_at = row.started_at;
    Ok(view)
}

/// Reads a claim that ended badly.
pub(crate) fn ended_claim(reader: &mut Reader) -> Result<EndedClaim> {
    let row = EndedClaimRow::read(reader)?;
    let data = payload(row.data_type, row.data);
    let failure = row.failure.as_deref().map(|text| failure::from_text(text, data)).transpose();
    let mut ended = EndedClaim::new(row.task_id, row.execution_id, row.epoch, row.how, row.at);
    ended.worker = row.worker_id;
    ended.failure = failure.map_err(|error| corrupt(ended_claim::FAILURE, error))?;
    Ok(ended)
}

/// Claims that ended badly.
pub(crate) fn ended_claim_batch(claims: &[EndedClaim]) -> Result<Batch<'_>> {
    let rows =
        claims.iter().map(|EndedClaim { task, execution, epoch, worker, end, at, failure, .. }| {
            let data = failure.as_ref().and_then(|failure| failure.data.as_ref());
            Ok(NewEndedClaim {
                task_id: *task,
                epoch: *epoch,
                at: *at,
                execution_id: *execution,
                worker_id: *worker,
                how: *end,
                failure: failure.as_ref().map(|failure| failure::to_text(failure, *task)).transpose()?,
                data_type: data.map(Payload::content_type),
                data: data.map(Payload::bytes),
            })
        });
    Ok(batch(rows.collect::<Result<Vec<_>>>()?))
}

/// Reads an entry of progress.
pub(crate) fn progress_view(reader: &mut Reader) -> Result<ProgressView> {
    let ProgressRow { id, task_id, at, text } = ProgressRow::read(reader)?;
    Ok(ProgressView::new(id, task_id, at, text))
}

/// The content of a row of notes.
#[derive(Debug)]
pub(crate) enum NoteRow {
    Counter(String, i64),
    State(String, Payload),
    Summary(SummaryView),
}

/// `kind` of a counter.
pub(crate) const COUNTER: &str = "counter";
/// `kind` of a state.
pub(crate) const STATE: &str = "state";
/// `kind` of a line of a summary.
pub(crate) const SUMMARY: &str = "summary";

/// Reads a note.
pub(crate) fn note_row(reader: &mut Reader) -> Result<NoteRow> {
    let NoteCells { kind, name, count, value_type, value } = NoteCells::read(reader)?;
    match (kind.as_str(), count, payload(value_type, value)) {
        (COUNTER, Some(count), _) => Ok(NoteRow::Counter(name, count)),
        (STATE, _, Some(value)) => Ok(NoteRow::State(name, value)),
        (SUMMARY, Some(count), _) => summary_of(&name, count)
            .map(NoteRow::Summary)
            .ok_or_else(|| corrupt(note::NAME, format!("unknown line of a summary {name:?}"))),
        _ => Err(corrupt(note::KIND, format!("unknown kind of note {kind:?}, or the note has no value"))),
    }
}

/// Kind, name and status, with slashes between; a name may have slashes of its own.
fn summary_of(text: &str, count: i64) -> Option<SummaryView> {
    let (kind, rest) = text.split_once('/')?;
    let (name, status) = rest.rsplit_once('/')?;
    let (kind, status) = (kind.parse::<StepKind>().ok()?, status.parse::<TaskStatus>().ok()?);
    Some(SummaryView::new(kind, name.to_owned(), status, u64::try_from(count).ok()?))
}

/// Reads the view of a task.
pub(crate) fn task_view(reader: &mut Reader) -> Result<TaskView> {
    let row = TaskRow::read(reader)?;
    let failure = row.failure.as_deref().map(failure::message_of).transpose();
    let map = Progress { fed: row.fed, total: row.total, done: row.done };
    let mut view = TaskView::new(row.id, row.seq, row.kind, row.name, row.status, row.created_at);
    view.parent = row.parent_id;
    view.marks = row.mark;
    view.attempts = row.attempts;
    view.crashes = row.crashes;
    view.releases = row.releases;
    view.map = row.kind.is_map().then_some(map);
    view.done_order = row.done_order;
    view.failure = failure.map_err(|error| corrupt(task::FAILURE, error))?;
    // The task does not wait for the end of its lease.
    view.ready_at = row.ready_at.filter(|_| row.status != TaskStatus::Running);
    view.started_at = row.started_at;
    view.ended_at = row.ended_at;
    Ok(view)
}

/// Reads a task as it is stored.
pub(crate) fn stored_task(reader: &mut Reader) -> Result<StoredTask> {
    let StoredRow { picked, failure, result_type, result } = StoredRow::read(reader)?;
    let (created_at, row) = (picked.created_at, picked.row.clone());
    let task = picked.into_task(&row);
    let payload = payload(result_type, result);
    let result = match failure {
        Some(text) => {
            Some(Err(failure::from_text(&text, payload).map_err(|error| corrupt(task::FAILURE, error))?))
        }
        None => payload.map(Ok),
    };
    let task = NewTask {
        id: row.id,
        tree: row.tree,
        seq: task.seq,
        kind: row.kind,
        lane: task.lane,
        priority: task.priority,
        args: task.args,
        retry: task.retry,
        attempts: 0,
        failure: None,
        keyed: None,
        expires_at: None,
        trace: task.trace,
        digest: None,
        state: NewTaskState::Pending { ready_at: created_at },
    };
    Ok(StoredTask { task, row, created_at, result })
}

/// Reads the view of an item.
pub(crate) fn item_view(reader: &mut Reader) -> Result<ItemView> {
    let row = ItemRow::read(reader)?;
    let result = result(row.status, row.failure.as_deref(), payload(row.result_type, row.result))?;
    let mut view = ItemView::new(row.seq, row.status, Payload::new(row.args_type, row.args));
    view.result = result;
    Ok(view)
}

/// Reads the arguments of a task.
pub(crate) fn called_with(reader: &mut Reader) -> Result<Payload> {
    let CalledWith { args_type, args, .. } = CalledWith::read(reader)?;
    Ok(Payload::new(args_type, args))
}

fn result(status: TaskStatus, failure: Option<&str>, payload: Option<Payload>) -> Result<Option<TaskResult>> {
    result_of(status, failure, payload).map_err(|error| corrupt(task::FAILURE, error))
}
