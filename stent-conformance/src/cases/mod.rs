//! The cases, by area. Each states one claim: given, when, then.

mod claim;
mod commit;
mod fence;
mod park;
mod renew;
mod repeat;
mod start;
mod time;

use crate::case::Listed;

/// Every area, in the order of a task's life.
pub(crate) const AREAS: &[&[Listed]] = &[
    start::CASES,
    claim::CASES,
    time::CASES,
    fence::CASES,
    renew::CASES,
    commit::CASES,
    repeat::CASES,
    park::CASES,
];

/// What cases are written with.
mod words {
    pub(super) use std::time::Duration;

    pub(super) use stent_core::backend::{Claimed, Renewal};
    pub(super) use stent_core::limits;
    pub(super) use stent_core::model::{
        Epoch, ExecutionStatus, Lease, Progress, RetryPolicy, Seq, Step, StepKind, StepState, TaskStatus, Wait,
    };
    pub(super) use stent_core::transition::{News, Outcome, Transition};
    pub(super) use stent_core::{Failure, Payload, TaskId, Timestamp};

    pub(super) use crate::case::list;
    pub(super) use crate::chance::Chance;
    pub(super) use crate::expect::{already, applied, same};
    pub(super) use crate::task::{Draft, declined, t, text};
    pub(super) use crate::turn::{Holder, Turn, later, wait_for_items};
    pub(super) use crate::world::{Memory, World};
}
