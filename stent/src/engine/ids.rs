//! New ids, in UUID version 7 so that they sort by age, and nonces of claims. The ids of steps are
//! [derived](stent_core::Origin) instead.

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

/// A new nonce for a claim: the last bits of a version 7 UUID, which are random.
pub(crate) fn nonce() -> Nonce {
    let (_, low) = Uuid::now_v7().as_u64_pair();
    Nonce::new(low as u32)
}
