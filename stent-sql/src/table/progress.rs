//! `stent_progress`: entries of the progress of executions.

use stent_core::{ExecutionId, TaskId, Timestamp};

super::table! { "stent_progress" {
    /// Version 7, so it sorts by age.
    ID "id": TaskId,
    EXECUTION_ID "execution_id": ExecutionId,
    /// The task whose code wrote it.
    TASK_ID "task_id": TaskId,
    /// When it was committed.
    AT "at": Timestamp,
    TEXT "text": String,
}}
