//! Rows in a reader's terms.

use stent_core::backend::{
    DeadLetter, DeadLetterStat, ExecutionView, ItemView, LaneView, ProgressView, Result, RunningView,
    SummaryView, TaskView,
};
use stent_core::model::{EndedClaim, ExecutionStatus, Progress, Seq, StepKind, TaskResult, TaskStatus};
use stent_core::{ExecutionId, Payload, TaskId, WorkerId};

use super::{Reader, failure, lane, step};

/// Decodes [`EXECUTION`](super::columns::EXECUTION).
pub(crate) fn execution_view(reader: &mut Reader) -> Result<ExecutionView> {
    let id = reader.id(ExecutionId::from_uuid)?;
    let (function, queue, tags) = (reader.next()?, reader.next()?, reader.tags()?);
    let priority = reader.next()?;
    let status = reader.word()?;
    let mark = reader.word_or_null()?;
    let attempts = reader.count()?;
    let expires_at = reader.moment_or_null()?;
    let created_at = reader.moment()?;
    let started_at = reader.moment_or_null()?;
    let ended_at = reader.moment_or_null()?;
    let result = result(reader, status)?;
    let status = ExecutionStatus::of_root(status, started_at.is_some(), mark);
    Ok(ExecutionView {
        id,
        function,
        queue,
        tags,
        priority,
        status,
        attempts,
        expires_at,
        result,
        created_at,
        started_at,
        ended_at,
    })
}

/// Decodes [`DEAD_LETTER`](super::columns::DEAD_LETTER).
pub(crate) fn dead_letter(reader: &mut Reader) -> Result<DeadLetter> {
    let execution = execution_view(reader)?;
    Ok(DeadLetter {
        attempts: execution.attempts,
        execution,
        retry: reader.json_or_null()?,
        crashes: reader.count()?,
        releases: reader.count()?,
        args: reader.payload()?,
    })
}

/// Decodes [`DEAD_LETTER_STAT`](super::columns::DEAD_LETTER_STAT).
pub(crate) fn dead_letter_stat(reader: &mut Reader) -> Result<DeadLetterStat> {
    let reason: Option<String> = reader.next()?;
    Ok(DeadLetterStat {
        reason: reason.unwrap_or_default(),
        function: reader.next()?,
        count: reader.number()?,
    })
}

/// Decodes [`LANE_VIEW`](super::columns::LANE_VIEW).
pub(crate) fn lane_view(reader: &mut Reader) -> Result<LaneView> {
    let (_, lane) = lane(reader)?;
    Ok(LaneView {
        lane,
        due: reader.number()?,
        delayed: reader.number()?,
        oldest_due_at: reader.moment_or_null()?,
    })
}

/// Decodes [`RUNNING`](super::columns::RUNNING).
pub(crate) fn running_view(reader: &mut Reader) -> Result<RunningView> {
    Ok(RunningView {
        id: reader.id(TaskId::from_uuid)?,
        execution: reader.id(ExecutionId::from_uuid)?,
        function: reader.next()?,
        queue: reader.next()?,
        worker: reader.id_or_null(WorkerId::from_uuid)?,
        lease_until: reader.moment_or_null()?,
        started_at: reader.moment_or_null()?,
    })
}

/// Decodes [`ENDED_CLAIM`](super::columns::ENDED_CLAIM).
pub(crate) fn ended_claim(reader: &mut Reader) -> Result<EndedClaim> {
    let task = reader.id(TaskId::from_uuid)?;
    let epoch = reader.epoch()?;
    let at = reader.moment()?;
    let execution = reader.id(ExecutionId::from_uuid)?;
    let worker = reader.id_or_null(WorkerId::from_uuid)?;
    let end = reader.word()?;
    let text: Option<String> = reader.next()?;
    let data = reader.payload_or_null()?;
    let failure = text.as_deref().map(|text| failure::from_text(text, data)).transpose();
    let failure = failure.map_err(|error| reader.corrupt(error))?;
    Ok(EndedClaim { task, execution, epoch, worker, end, at, failure })
}

/// Decodes [`PROGRESS`](super::columns::PROGRESS).
pub(crate) fn progress_view(reader: &mut Reader) -> Result<ProgressView> {
    let id = reader.id(TaskId::from_uuid)?;
    let _: ExecutionId = reader.id(ExecutionId::from_uuid)?;
    let task = reader.id(TaskId::from_uuid)?;
    Ok(ProgressView { id, task, at: reader.moment()?, text: reader.next()? })
}

/// What a row of notes says.
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

/// Decodes [`NOTE`](super::columns::NOTE).
pub(crate) fn note_row(reader: &mut Reader) -> Result<NoteRow> {
    let _: ExecutionId = reader.id(ExecutionId::from_uuid)?;
    let kind: String = reader.next()?;
    let name: String = reader.next()?;
    let count: Option<i64> = reader.next()?;
    let value = reader.payload_or_null()?;
    match (kind.as_str(), count, value) {
        (COUNTER, Some(count), _) => Ok(NoteRow::Counter(name, count)),
        (STATE, _, Some(value)) => Ok(NoteRow::State(name, value)),
        (SUMMARY, Some(count), _) => summary_of(&name, count)
            .map(NoteRow::Summary)
            .ok_or_else(|| reader.corrupt(format!("unknown line of a summary {name:?}"))),
        _ => Err(reader.corrupt(format!("unknown kind of note {kind:?}, or the note has no value"))),
    }
}

/// Kind, name and status, with slashes between; a name may have slashes of its own.
fn summary_of(text: &str, count: i64) -> Option<SummaryView> {
    let (kind, rest) = text.split_once('/')?;
    let (name, status) = rest.rsplit_once('/')?;
    Some(SummaryView {
        kind: kind.parse::<StepKind>().ok()?,
        name: name.to_owned(),
        status: status.parse::<TaskStatus>().ok()?,
        count: u64::try_from(count).ok()?,
    })
}

/// Decodes [`TASK`](super::columns::TASK).
pub(crate) fn task_view(reader: &mut Reader) -> Result<TaskView> {
    let id = reader.id(TaskId::from_uuid)?;
    let parent = reader.id_or_null(TaskId::from_uuid)?;
    let seq = reader.count().map(Seq)?;
    let kind: StepKind = reader.word()?;
    let name = reader.next()?;
    let status = reader.word()?;
    let mark = reader.word_or_null()?;
    let (attempts, crashes, releases) = (reader.count()?, reader.count()?, reader.count()?);
    let map = Progress { fed: reader.count()?, total: reader.count_or_null()?, done: reader.count()? };
    let done_order = reader.count_or_null()?;
    let failure: Option<String> = reader.next()?;
    let failure =
        failure.as_deref().map(failure::message_of).transpose().map_err(|error| reader.corrupt(error))?;
    // The end of a lease is no moment that the task waits for.
    let ready_at = reader.moment_or_null()?.filter(|_| status != TaskStatus::Running);
    let created_at = reader.moment()?;
    let started_at = reader.moment_or_null()?;
    let ended_at = reader.moment_or_null()?;
    Ok(TaskView {
        id,
        parent,
        seq,
        kind,
        name,
        status,
        mark,
        attempts,
        crashes,
        releases,
        map: kind.is_map().then_some(map),
        done_order,
        failure,
        ready_at,
        created_at,
        started_at,
        ended_at,
    })
}

/// Decodes [`ITEM`](super::columns::ITEM).
pub(crate) fn item_view(reader: &mut Reader) -> Result<ItemView> {
    let _: TaskId = reader.id(TaskId::from_uuid)?;
    let seq = reader.count().map(Seq)?;
    let status = reader.word()?;
    let args = reader.payload()?;
    let result = result(reader, status)?;
    Ok(ItemView { seq, status, args, result })
}

/// Decodes [`CALLED_WITH`](super::columns::CALLED_WITH).
pub(crate) fn called_with(reader: &mut Reader) -> Result<Payload> {
    let _: TaskId = reader.id(TaskId::from_uuid)?;
    reader.payload()
}

fn result(reader: &mut Reader, status: TaskStatus) -> Result<Option<TaskResult>> {
    let failure: Option<String> = reader.next()?;
    let payload = reader.payload_or_null()?;
    step::result_of(status, failure.as_deref(), payload).map_err(|error| reader.corrupt(error))
}
