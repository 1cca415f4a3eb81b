//! A running worker, as the application holds it.

use std::sync::Arc;

use stent_core::WorkerId;
use tokio::task::JoinHandle;

use super::status::{Stop, Vitals, WorkerStatus};
use crate::error::{Error, Result};

/// A running worker. Dropping it releases its work at once; use [`drain`](Self::drain) to let running work finish.
#[derive(Debug)]
pub struct Worker {
    vitals: Arc<Vitals>,
    driver: Option<JoinHandle<Result<()>>>,
}

impl Worker {
    pub(super) const fn new(vitals: Arc<Vitals>, driver: JoinHandle<Result<()>>) -> Self {
        Self { vitals, driver: Some(driver) }
    }

    /// The worker's id, which its leases carry.
    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.vitals.id()
    }

    /// The worker's name: see [`WorkerBuilder::name`](crate::WorkerBuilder::name).
    #[must_use]
    pub fn name(&self) -> &str {
        self.vitals.name()
    }

    /// The worker's state, for probes and people. Does not access the store.
    #[must_use]
    pub fn status(&self) -> WorkerStatus {
        self.vitals.status()
    }

    /// Waits until the worker is ready, that is, until its first successful exchange with the store. It waits
    /// indefinitely, so wrap it in a timeout if the store may be down.
    ///
    /// # Errors
    /// [`Error::WorkerStopped`] if the worker stops before it is ready.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn wait_until_ready(&self) -> Result<()> {
        self.vitals.wait_until_ready().await
    }

    /// Drains the worker (graceful shutdown): it stops claiming, lets running turns reach their next wait or end,
    /// releases tasks whose turns still run after the grace period, and stops. No work is lost, and nothing here counts
    /// as a crash or an attempt.
    ///
    /// A function that waits for its steps, for a moment or for a signal does not delay a drain: it is parked, and any
    /// worker can continue it. A store that is down delays a drain by at most the grace period plus one lease: tasks
    /// that could not be released by that time become due again when their leases expire. A worker [without a limit to
    /// its grace](crate::WorkerBuilder::grace) waits indefinitely for both.
    ///
    /// # Errors
    /// [`Error::WorkerCrashed`] if the worker's loop panicked.
    ///
    /// # Cancel safety
    /// The drain continues if this future is dropped.
    pub async fn drain(mut self) -> Result<()> {
        self.vitals.stop(Stop::Drain);
        self.join().await
    }

    /// Releases all running work at once, and stops.
    ///
    /// # Errors
    /// Those of [`drain`](Self::drain).
    pub async fn stop(mut self) -> Result<()> {
        self.vitals.stop(Stop::Now);
        self.join().await
    }

    async fn join(&mut self) -> Result<()> {
        match self.driver.take() {
            // Joining fails only when the runtime shuts down.
            Some(driver) => driver.await.map_err(|_| Error::Closed)?,
            None => Ok(()),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.driver.is_some() {
            self.vitals.stop(Stop::Now);
        }
    }
}
