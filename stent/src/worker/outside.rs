//! Functions that wait, between their steps, for something that is not durable: noticed when they are started again from
//! their record, because what they waited for then happens again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What is known of a function that has waited so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Waited,
    Warned,
}

/// The functions of one `Stent` that have waited so. There are at most as many as are registered.
#[derive(Debug, Default)]
pub(crate) struct Outside(Mutex<BTreeMap<String, Known>>);

impl Outside {
    /// A function that has steps waits for something else.
    pub(super) fn waited(&self, function: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains_key(function) {
            known.insert(function.to_owned(), Known::Waited);
        }
    }

    /// A function is parked while it waits for something else, too: says once what that means.
    pub(super) fn parked(&self, function: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(function) == Some(&Known::Warned) {
            return;
        }
        known.insert(function.to_owned(), Known::Warned);
        tracing::warn!(
            function,
            "function `{function}` awaits something that is not recorded beside its steps, such as a timeout of tokio's: it is \
             held in memory for that, and if its process dies, it is run again from its record after the lease, and awaits it \
             anew; use stent::sleep(…), .timeout(…) or stent::step(…) for what is to survive"
        );
    }

    /// A function is started again from its record: says once what that means, if it has waited so.
    pub(super) fn replayed(&self, function: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get_mut(function).filter(|known| **known == Known::Waited) {
            *known = Known::Warned;
            tracing::warn!(
                function,
                "function `{function}` awaits something between its steps that is not recorded, and has been started again from \
                 its record: what it awaits there is done again each time, and may come out differently; put it in \
                 stent::step(…), or in a durable function of its own"
            );
        }
    }
}
