//! Kills a worker of a test at a moment that the test chooses, and starts it again. The worker gets no chance to commit,
//! to release its tasks or to end its leases: only its process survives.

use std::sync::Arc;

use tokio::sync::watch;

use super::drive::{self, Driver};
use super::presence::Presence;
use super::status::Vitals;
use crate::error::Result;

/// Kills the worker that it is given to.
#[derive(Debug)]
pub(crate) struct Switch {
    /// Whether the worker is to die, or dies.
    kills: watch::Sender<bool>,
}

impl Switch {
    pub(crate) fn new() -> Self {
        Self { kills: watch::Sender::new(false) }
    }

    /// Kills the worker. From now on, and until it has started again, the caller lets none of its writes pass.
    pub(crate) fn kill(&self) {
        self.kills.send_replace(true);
    }

    /// Waits while the worker dies. Calls of the worker that wait here die with it.
    pub(crate) async fn wait_until_alive(&self) {
        self.wait_for(false).await;
    }

    async fn wait_for(&self, kills: bool) {
        // The sender lives as long as this.
        let _ = self.kills.subscribe().wait_for(|killed| *killed == kills).await;
    }
}

/// Runs a worker's loop, and a new one each time it is killed.
///
/// # Errors
/// Those of the last loop.
pub(super) async fn run(
    switch: Arc<Switch>,
    vitals: Arc<Vitals>,
    start: impl Fn() -> (Driver, Presence) + Send,
) -> Result<()> {
    loop {
        let (driver, presence) = start();
        tokio::select! {
            biased;
            () = switch.wait_for(true) => {}
            ended = drive::run(driver, presence) => return ended,
        }
        // The loop, its turns and its calls of the store are gone.
        vitals.starts_again();
        switch.kills.send_replace(false);
    }
}
