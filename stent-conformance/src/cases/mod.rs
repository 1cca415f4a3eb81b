//! The cases, by area. Each states one claim: given, when, then.

mod cancel;
mod claim;
mod commit;
mod compact;
mod crash;
mod crowd;
mod dead_letter;
mod diagnosis;
mod digest;
mod dispatch_key;
mod ended_claims;
mod expiry;
mod fate;
mod fence;
mod gather;
mod import;
mod inspect;
mod join;
mod key;
mod life;
mod limit;
mod list;
mod map;
mod migrate;
mod note;
mod order;
mod park;
mod payload;
mod purge;
mod race;
mod range;
mod renew;
mod repeat;
mod retention;
mod retry;
mod signal;
mod size;
mod sleep;
mod spawn;
mod start;
mod stop;
mod tag;
mod terminal;
mod time;
mod wake;
mod worker;

use crate::case::Listed;

/// Every area, in the order of a task's life.
pub(crate) const AREAS: &[&[Listed]] = &[
    start::CASES,
    claim::CASES,
    tag::CASES,
    limit::CASES,
    time::CASES,
    fence::CASES,
    renew::CASES,
    commit::CASES,
    repeat::CASES,
    park::CASES,
    order::CASES,
    digest::CASES,
    sleep::CASES,
    retry::CASES,
    map::CASES,
    gather::CASES,
    spawn::CASES,
    join::CASES,
    signal::CASES,
    key::CASES,
    dispatch_key::CASES,
    import::CASES,
    cancel::CASES,
    stop::CASES,
    expiry::CASES,
    ended_claims::CASES,
    dead_letter::CASES,
    note::CASES,
    terminal::CASES,
    inspect::CASES,
    list::CASES,
    purge::CASES,
    retention::CASES,
    compact::CASES,
    migrate::CASES,
    payload::CASES,
    range::CASES,
    size::CASES,
    crash::CASES,
    life::CASES,
    race::CASES,
    crowd::CASES,
    fate::CASES,
    wake::CASES,
    worker::CASES,
    diagnosis::CASES,
];

/// Imports for the cases.
mod words {
    pub(super) use std::time::Duration;

    pub(super) use stent_core::backend::{Claimed, Renewal};
    pub(super) use stent_core::limits;
    pub(super) use stent_core::model::{
        Epoch, ExecutionStatus, Fence, Lease, Progress, RetryPolicy, Seq, Step, StepKind, StepState,
        TaskStatus, Wait,
    };
    pub(super) use stent_core::transition::{News, Outcome, Transition};
    pub(super) use stent_core::{Failure, Payload, TaskId, Timestamp};

    pub(super) use crate::case::list;
    pub(super) use crate::chance::Chance;
    pub(super) use crate::expect::{already, applied, same};
    pub(super) use crate::request::{At, cancel, discard, expire, redrive, redrive_by, redrive_on, signal};
    pub(super) use crate::task::{declined, dispatch_key, key, t, text};
    pub(super) use crate::turn::{Holder, Turn, given, later, wait_for, wait_for_items};
    pub(super) use crate::world::{Memory, World, at_once};
}
