//! Rows in a reader's terms.

use stent_core::backend::{ExecutionView, ItemView, Result, TaskView};
use stent_core::model::{ExecutionStatus, Seq, TaskResult, TaskStatus};
use stent_core::{ExecutionId, TaskId};

use super::{Reader, failure, step};

/// Decodes [`EXECUTION`](super::columns::EXECUTION).
pub(crate) fn execution_view(reader: &mut Reader) -> Result<ExecutionView> {
    let id = reader.id(ExecutionId::from_uuid)?;
    let (function, queue) = (reader.next()?, reader.next()?);
    let status = reader.word()?;
    let created_at = reader.moment()?;
    let started_at = reader.moment_or_null()?;
    let ended_at = reader.moment_or_null()?;
    let result = result(reader, status)?;
    let status = ExecutionStatus::of_root(status, started_at.is_some());
    Ok(ExecutionView { id, function, queue, status, result, created_at, started_at, ended_at })
}

/// Decodes [`TASK`](super::columns::TASK).
pub(crate) fn task_view(reader: &mut Reader) -> Result<TaskView> {
    let id = reader.id(TaskId::from_uuid)?;
    let parent = reader.id_or_null(TaskId::from_uuid)?;
    let seq = reader.count().map(Seq)?;
    let (kind, name) = (reader.word()?, reader.next()?);
    let status = reader.word()?;
    let attempts = reader.count()?;
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
        attempts,
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

fn result(reader: &mut Reader, status: TaskStatus) -> Result<Option<TaskResult>> {
    let failure: Option<String> = reader.next()?;
    let payload = reader.payload_or_null()?;
    step::result_of(status, failure.as_deref(), payload).map_err(|error| reader.corrupt(error))
}
