//! The application's channel of hints beside the store, and the report of its outages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stent_core::backend::{Announced, HintChannel, Store};
use tokio::task::AbortHandle;

use crate::engine::hooks::Hooks;
use crate::error::{Error, Result};
use crate::metrics::HintsLost;

/// The channel that an application passes, for one store.
#[derive(Clone, Debug)]
pub(crate) struct HintOptions {
    channel: Arc<dyn HintChannel>,
    /// Whether a store has the channel. A clone of the builder must not give it to another store, because a channel does not pass
    /// on hints between its own users.
    is_used: Arc<AtomicBool>,
}

impl HintOptions {
    pub(crate) fn new(channel: impl HintChannel) -> Self {
        Self { channel: Arc::new(channel), is_used: Arc::default() }
    }

    /// Puts the channel in front of a store.
    ///
    /// # Errors
    /// Another store has the channel.
    pub(crate) fn in_front_of(&self, store: Arc<dyn Store>) -> Result<Arc<dyn Store>> {
        if self.is_used.swap(true, Ordering::AcqRel) {
            let problem = "a clone of this builder has opened a store with the channel; connect a channel for each store";
            return Err(Error::Option { option: "hints", problem: problem.to_owned() });
        }
        Ok(Arc::new(Announced::new(store, self.channel.clone())))
    }

    /// Reports each outage to the hooks, until the result is dropped.
    pub(crate) fn report(&self, hooks: Hooks) -> OutageReport {
        let channel = self.channel.clone();
        let reporting = async move {
            let mut reported = 0;
            loop {
                let outages = channel.outages(reported).await;
                while reported < outages {
                    reported += 1;
                    hooks.tell(|metrics| metrics.hints_lost(&HintsLost { outages: reported }));
                }
            }
        };
        OutageReport(tokio::spawn(reporting).abort_handle())
    }
}

/// A task that reports outages. Dropping it ends the task.
#[derive(Debug)]
pub(crate) struct OutageReport(AbortHandle);

impl Drop for OutageReport {
    fn drop(&mut self) {
        self.0.abort();
    }
}
