//! A running worker, as the application holds it.

use std::sync::Arc;

use stent_core::WorkerId;
use tokio::task::JoinHandle;

use super::status::{Stop, Vitals, WorkerStatus};
use crate::error::{Error, Result};

/// A running worker. Dropping it hands its work back at once; [`drain`](Self::drain) lets it finish.
#[derive(Debug)]
pub struct Worker {
    vitals: Arc<Vitals>,
    driver: Option<JoinHandle<Result<()>>>,
}

impl Worker {
    pub(super) const fn new(vitals: Arc<Vitals>, driver: JoinHandle<Result<()>>) -> Self {
        Self { vitals, driver: Some(driver) }
    }

    /// The worker's id, as it stands in its leases.
    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.vitals.id()
    }

    /// The worker's name: see [`WorkerBuilder::name`](crate::WorkerBuilder::name).
    #[must_use]
    pub fn name(&self) -> &str {
        self.vitals.name()
    }

    /// How the worker is, for probes and people. Asks no store.
    #[must_use]
    pub fn status(&self) -> WorkerStatus {
        self.vitals.status()
    }

    /// Waits until the worker is ready: it has exchanged with its store once. It tries for as long as it takes, so give this
    /// a timeout of your own where the store may be away.
    ///
    /// # Errors
    /// [`Error::WorkerStopped`] when the worker has stopped before it was ready.
    ///
    /// # Cancel safety
    /// Safe: it only looks.
    pub async fn wait_until_ready(&self) -> Result<()> {
        self.vitals.wait_until_ready().await
    }

    /// Claims no more, lets running turns come to their next wait or end, hands back what is still running after the grace,
    /// and stops. No work is lost, and none of this counts as a crash or an attempt.
    ///
    /// A function that waits, for steps of its own, a moment or a signal, does not hold a drain up: it is parked, and goes on
    /// wherever a worker runs. Nor does a store that is away, beyond the grace and one lease: what could not be handed back
    /// by then is due again anyway, once its lease has run out. A worker [without a limit to its grace](crate::WorkerBuilder::grace)
    /// waits for either for as long as it takes.
    ///
    /// # Errors
    /// [`Error::WorkerCrashed`] when the worker's loop has panicked.
    ///
    /// # Cancel safety
    /// The drain goes on if this is dropped.
    pub async fn drain(mut self) -> Result<()> {
        self.vitals.stop(Stop::Drain);
        self.join().await
    }

    /// Hands back everything that is running, at once, and stops.
    ///
    /// # Errors
    /// As [`drain`](Self::drain).
    pub async fn stop(mut self) -> Result<()> {
        self.vitals.stop(Stop::Now);
        self.join().await
    }

    async fn join(&mut self) -> Result<()> {
        match self.driver.take() {
            // It is joined in vain only where its runtime shuts down.
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
