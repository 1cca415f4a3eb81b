//! Rows to steps.

use stent_core::Payload;
use stent_core::backend::Result;
use stent_core::ledger::Row;
use stent_core::model::{Seq, Step, TaskResult, TaskStatus};

use super::failure;
use super::shape::rows;
use crate::table::task;

rows! {
    /// A step as it is recorded.
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
        let result = result_of(row.status, failure.as_deref(), payload(result_type, result))
            .map_err(|error| failure::unfit("failure", row.id, error))?;
        Ok(row.to_step(seq, name, result))
    }
}

/// A payload of two columns, either of which may be null.
pub(super) fn payload(content_type: Option<String>, bytes: Option<Vec<u8>>) -> Option<Payload> {
    content_type.zip(bytes).map(|(content_type, bytes)| Payload::new(content_type, bytes))
}

/// The result of a task, once it has ended with a result or a failure.
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
