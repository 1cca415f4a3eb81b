//! Warns about functions that await non-durable work between their steps: a replay awaits it again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The state of the warning about such a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Waited,
    Warned,
}

/// The functions of one `Stent` that awaited non-durable work. There are at most as many as registered functions.
#[derive(Debug, Default)]
pub(crate) struct UnrecordedWaits(Mutex<BTreeMap<String, Known>>);

impl UnrecordedWaits {
    /// A function with steps waits for something that is not recorded.
    pub(super) fn waited(&self, function: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains_key(function) {
            known.insert(function.to_owned(), Known::Waited);
        }
    }

    /// A function is parked while it also waits for something that is not recorded. Logs once what that means.
    pub(super) fn parked(&self, function: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(function) == Some(&Known::Warned) {
            return;
        }
        known.insert(function.to_owned(), Known::Warned);
        tracing::warn!(
            function,
            "function `{function}` awaits a non-durable future beside its steps, such as a tokio timeout: it stays \
             in memory for that, and if its process dies, it is replayed after its lease expires and awaits the \
             future from the start; use stent::sleep(…), .timeout(…) or stent::step(…) for waits that must survive a \
             crash"
        );
    }

    /// A function is replayed. If it has awaited non-durable work, logs once what that means. Returns whether it did.
    pub(super) fn replayed(&self, function: &str) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = known.get_mut(function).filter(|known| **known == Known::Waited) else {
            return false;
        };
        *known = Known::Warned;
        tracing::warn!(
            function,
            "function `{function}` awaits non-durable work between its steps, and a replay ran that work again, \
             perhaps with another outcome; wrap it in stent::step(…), or move it to a durable function"
        );
        true
    }
}
