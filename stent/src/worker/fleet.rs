//! State that the workers of one `Stent` share: who they are, and which warnings were logged.

use std::sync::{Arc, Once};

use super::blocking::Blocking;
use super::status::Roster;
use super::unknown;
use super::unrecorded::UnrecordedWaits;
use crate::engine::Engine;

/// The workers of one `Stent`. The store knows only their leases.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) roster: Roster,
    /// Used once to start looking for work of unknown functions.
    watching: Once,
    pub(super) unrecorded: UnrecordedWaits,
    pub(super) blocking: Blocking,
}

impl Fleet {
    pub(crate) fn new() -> Self {
        Self {
            roster: Roster::new(),
            watching: Once::new(),
            unrecorded: UnrecordedWaits::default(),
            blocking: Blocking::default(),
        }
    }

    /// Starts to look for work of functions that this process does not know, when the first worker starts.
    pub(super) fn watch(&self, engine: &Arc<Engine>) {
        let engine = Arc::downgrade(engine);
        self.watching.call_once(|| drop(tokio::spawn(unknown::watch(engine))));
    }
}
