//! New ids: version 7, so that they sort by age. And what names a claim. Those of steps are none of these: they are
//! [derived](stent_core::Origin).

use stent_core::model::Nonce;
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

/// The chance of one claim. The last bits of such an id are random.
pub(crate) fn nonce() -> Nonce {
    let (_, low) = Uuid::now_v7().as_u64_pair();
    Nonce::new(low as u32)
}
