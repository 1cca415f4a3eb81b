//! New ids: version 7, so that they sort by age.

use stent_core::{ExecutionId, TaskId, WorkerId};
use uuid::Uuid;

pub(crate) fn execution() -> ExecutionId {
    ExecutionId::from_uuid(Uuid::now_v7())
}

pub(crate) fn task() -> TaskId {
    TaskId::from_uuid(Uuid::now_v7())
}

pub(crate) fn worker() -> WorkerId {
    WorkerId::from_uuid(Uuid::now_v7())
}
