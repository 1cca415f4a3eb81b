//! Rows to steps.

use stent_core::Payload;
use stent_core::backend::Result;
use stent_core::ledger::Row;
use stent_core::model::{Progress, Seq, Step, StepKind, StepState, TaskResult, TaskStatus};

use super::{Reader, failure, row};

/// A step as it stands in the record.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) row: Row,
    pub(crate) seq: Seq,
    name: String,
    failure: Option<String>,
    payload: Option<Payload>,
}

impl Recorded {
    pub(crate) fn read(reader: &mut Reader) -> Result<Self> {
        Ok(Self {
            row: row(reader)?,
            seq: reader.count().map(Seq)?,
            name: reader.next()?,
            failure: reader.next()?,
            payload: reader.payload_or_null()?,
        })
    }

    /// The step as its parent sees it.
    pub(crate) fn into_step(self) -> Result<Step> {
        let Self { row, seq, name, failure, payload } = self;
        let state = match (row.status, row.done_order, row.ended_at) {
            (TaskStatus::Cancelled, ..) => StepState::Cancelled,
            (TaskStatus::Completed | TaskStatus::Failed, Some(order), Some(at)) => {
                let result = result_of(row.status, failure.as_deref(), payload)
                    .map_err(|error| failure::unfit("failure", row.id, error))?;
                // A sleep and a map end without a result of their own.
                StepState::Done { order, at, result: result.unwrap_or(Ok(Payload::empty())) }
            }
            _ => StepState::Open { due: row.ready_at.filter(|_| row.kind == StepKind::Sleep) },
        };
        let map = row.kind.is_map().then_some(Progress { fed: row.fed, total: row.total, done: row.done });
        Ok(Step { id: row.id, seq, kind: row.kind, name, state, map, digest: row.digest })
    }
}

/// What a task gave, once it has ended with a result or a failure.
pub(super) fn result_of(
    status: TaskStatus,
    failure: Option<&str>,
    payload: Option<Payload>,
) -> serde_json::Result<Option<TaskResult>> {
    Ok(match status {
        TaskStatus::Completed => payload.map(Ok),
        TaskStatus::Failed => failure.map(|text| failure::from_text(text, payload)).transpose()?.map(Err),
        TaskStatus::Pending | TaskStatus::Running | TaskStatus::Waiting | TaskStatus::Cancelled => None,
    })
}
