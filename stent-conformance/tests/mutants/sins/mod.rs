//! The faults of stores. Each mutant's name completes the phrase "a store that …".

mod around;
mod claims;
mod commits;
mod diagnoses;
mod digests;
mod ends;
mod imports;
mod keys;
mod leases;
mod pages;
mod payloads;
mod purges;
mod ranges;
mod reads;
mod records;
mod redrives;
mod waits;
mod workers;

use crate::mutant::Mutant;

/// Every mutant, in the order of a task's life.
pub(crate) fn all() -> Vec<Mutant> {
    [
        commits::mutants(),
        leases::mutants(),
        claims::mutants(),
        records::mutants(),
        digests::mutants(),
        waits::mutants(),
        keys::mutants(),
        imports::mutants(),
        ends::mutants(),
        redrives::mutants(),
        payloads::mutants(),
        ranges::mutants(),
        pages::mutants(),
        reads::mutants(),
        purges::mutants(),
        workers::mutants(),
        diagnoses::mutants(),
        around::mutants(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Imports for the mutants.
mod words {
    pub(super) use std::time::Duration;

    pub(super) use stent_core::backend::*;
    pub(super) use stent_core::model::*;
    pub(super) use stent_core::transition::{
        Action, Commit, Dispatch, Expire, News, Next, Outcome, Postpone, Request, Transition, Unpark,
    };
    pub(super) use stent_core::{Failure, Key, Payload, Timestamp};

    pub(super) use crate::mutant::{Mutant, mutant};
    pub(super) use crate::store::Sound;

    /// A moment later than all others.
    pub(super) const NEVER: Timestamp = Timestamp::from_micros(i64::MAX / 2);

    /// The next state of a leaseholder's task, for a rewrite.
    pub(super) fn next(transition: &mut Transition) -> Option<&mut Next> {
        transition.commit_mut().map(|commit| &mut commit.next)
    }

    /// The action of a request, for a rewrite.
    pub(super) fn action(transition: &mut Transition) -> Option<&mut Action> {
        match transition {
            Transition::Request(request) => Some(&mut request.action),
            _ => None,
        }
    }
}
