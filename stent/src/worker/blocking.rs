//! Warns about functions that block their thread, judged by the time that their code takes between two awaits. A
//! blocked thread runs no other turns, and its code cannot be stopped when its lease has expired.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::durable::poll_timer::BLOCKING_POLL;

/// The functions of one `Stent` that a warning was logged for. There are at most as many as registered functions.
#[derive(Debug, Default)]
pub(crate) struct Blocking {
    warned: Mutex<BTreeSet<String>>,
}

impl Blocking {
    /// A function's code took this long in one poll. Logs a warning once per function if that is too long.
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
