//! What can be wrong with a store. Each mutant is named for what it does, as in "a store that …".

mod around;
mod claims;
mod commits;
mod digests;
mod ends;
mod keys;
mod leases;
mod pages;
mod payloads;
mod purges;
mod ranges;
mod reads;
mod records;
mod waits;

use crate::mutant::Mutant;

/// Every mutant, from the first write of a task to what is left of it.
pub(crate) fn all() -> Vec<Mutant> {
    [
        commits::mutants(),
        leases::mutants(),
        claims::mutants(),
        records::mutants(),
        digests::mutants(),
        waits::mutants(),
        keys::mutants(),
        ends::mutants(),
        payloads::mutants(),
        ranges::mutants(),
        pages::mutants(),
        reads::mutants(),
        purges::mutants(),
        around::mutants(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What sins are written with.
mod words {
    pub(super) use std::time::Duration;

    pub(super) use stent_core::backend::*;
    pub(super) use stent_core::model::*;
    pub(super) use stent_core::transition::{Change, Guard, News, Outcome, Transition};
    pub(super) use stent_core::{Failure, Key, Payload, Timestamp};

    pub(super) use crate::mutant::{Mutant, mutant};
    pub(super) use crate::store::Sound;

    /// A moment after all others.
    pub(super) const NEVER: Timestamp = Timestamp::from_micros(i64::MAX / 2);
}
