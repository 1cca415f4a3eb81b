//! Functions that block their thread: noticed by how long their code takes between two awaits. A thread that is blocked runs no
//! other turns, and code on it cannot be stopped when its lease has run out.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::durable::poll_timer::BLOCKING_POLL;

/// The functions of one `Stent` that were warned of. There are at most as many as are registered.
#[derive(Debug, Default)]
pub(crate) struct Blocking {
    warned: Mutex<BTreeSet<String>>,
}

impl Blocking {
    /// A function's code was polled for so long: says once what that means, if it is too long.
    pub(super) fn polled(&self, function: &str, took: Duration) {
        if took < BLOCKING_POLL {
            return;
        }
        let is_new = self.warned.lock().unwrap_or_else(PoisonError::into_inner).insert(function.to_owned());
        if is_new {
            tracing::warn!(
                function,
                ?took,
                "`{function}` blocked its thread for {took:?}: meanwhile other functions wait, leases may expire, \
                 and `{function}` cannot be stopped when its own lease expires, so two attempts may run at the same \
                 time; move blocking code to tokio::task::spawn_blocking (logged once per function)"
            );
        }
    }
}
