//! New ids: version 7, so that they sort by age. And what names a claim.

use stent_core::model::Nonce;
use stent_core::{ExecutionId, Key, TaskId, Timestamp, WorkerId};
use uuid::Uuid;

pub(crate) fn execution() -> ExecutionId {
    ExecutionId::from_uuid(Uuid::now_v7())
}

/// The id of an execution that is started at a recorded moment, from a recorded position: the same each time, and sorted by
/// age like the others.
pub(crate) fn execution_of(at: Timestamp, position: Key) -> ExecutionId {
    let millis = u64::try_from(at.as_micros() / 1_000).unwrap_or_default();
    let mut chance = [0; 10];
    chance.copy_from_slice(&position.as_uuid().as_bytes()[..10]);
    ExecutionId::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &chance).into_uuid())
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
