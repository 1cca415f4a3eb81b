//! `stent_ended_claims`: claims that ended badly: crashed, failed or released.

use stent_core::model::{ClaimEnd, Epoch};
use stent_core::{ExecutionId, TaskId, Timestamp, WorkerId};

super::table! { "stent_ended_claims" {
    TASK_ID "task_id": TaskId,
    /// The claim; zero for an attempt before the task was written.
    EPOCH "epoch": Epoch,
    /// When it ended.
    AT "at": Timestamp,
    EXECUTION_ID "execution_id": ExecutionId,
    /// The worker that held the claim.
    WORKER_ID "worker_id": Option<WorkerId>,
    HOW "how": ClaimEnd,
    /// The failure of the code, as JSON; the user's data is in `data`.
    FAILURE "failure": Option<String>,
    /// Content type of `data`.
    DATA_TYPE "data_type": Option<String>,
    DATA "data": Option<Vec<u8>>,
}}
