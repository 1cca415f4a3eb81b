//! Rows to steps.

use stent_core::Payload;
use stent_core::backend::Result;
use stent_core::ledger::Row;
use stent_core::model::{Progress, Seq, Step, StepKind, StepState, TaskResult, TaskStatus};

use super::failure;
use super::shape::rows;
use crate::table::task;

rows! {
    /// A step as it stands in the record.
    read Recorded of task {
        ..row: Row,
        seq: Seq,
        name: String,
        failure: Option<String>,
        result_type: Option<String>,
        result: Option<Vec<u8>>,
    }
}

impl Recorded {
    /// The step as its parent sees it.
    pub(crate) fn into_step(self) -> Result<Step> {
        let Self { row, seq, name, failure, result_type, result } = self;
        let state = match (row.status, row.done_order, row.ended_at) {
            (TaskStatus::Cancelled, ..) => StepState::Cancelled,
            (TaskStatus::Completed | TaskStatus::Failed, Some(order), Some(at)) => {
                let result = result_of(row.status, failure.as_deref(), payload(result_type, result))
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

/// A payload of two columns, either of which may be null.
pub(super) fn payload(content_type: Option<String>, bytes: Option<Vec<u8>>) -> Option<Payload> {
    content_type.zip(bytes).map(|(content_type, bytes)| Payload::new(content_type, bytes))
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
