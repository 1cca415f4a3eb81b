//! Hints from this process's commits, and from other processes by a [`Neighbours`] of the database.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use stent_core::backend::{Listener, Result, Topic};
use tokio::sync::watch;

/// Passes hints to listeners. Clones are the same hub.
#[derive(Clone, Debug, Default)]
pub struct Hub(Arc<Topics>);

#[derive(Debug)]
struct Topics {
    work: watch::Sender<()>,
    ended: watch::Sender<()>,
}

impl Default for Topics {
    fn default() -> Self {
        Self { work: watch::Sender::new(()), ended: watch::Sender::new(()) }
    }
}

impl Hub {
    /// Wakes all listeners.
    pub fn hint(&self, topic: Topic) {
        self.sender(topic).send_replace(());
    }

    /// Starts to listen.
    #[must_use]
    pub fn listen(&self, topic: Topic) -> Box<dyn Listener> {
        Box::new(HubListener(self.sender(topic).subscribe()))
    }

    /// Whether nobody listens.
    #[must_use]
    pub fn is_deserted(&self) -> bool {
        self.0.work.is_closed() && self.0.ended.is_closed()
    }

    fn sender(&self, topic: Topic) -> &watch::Sender<()> {
        match topic {
            Topic::Work => &self.0.work,
            Topic::Ended => &self.0.ended,
        }
    }
}

#[derive(Debug)]
struct HubListener(watch::Receiver<()>);

#[async_trait]
impl Listener for HubListener {
    async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The store is gone, so there are no more hints.
            std::future::pending::<()>().await;
        }
    }
}

/// Notices the commits of other processes to the database. Each method but [`close`](Self::close) returns at once.
#[async_trait]
pub trait Neighbours: Debug + Send + Sync + 'static {
    /// The hub has a listener from now on.
    fn listening(&self, hub: &Hub);

    /// This process has begun a transaction. With one writer, no other process can commit until it ends.
    fn began(&self) {}

    /// This process has committed, and sends the hints itself.
    fn committed(&self) {}

    /// This process has sent a hint to its own listeners: other processes may be notified now.
    fn hinted(&self, _topic: Topic) {}

    /// Checks that other processes would open the same database as this one, so that no commit to a replaced file is
    /// confirmed. Called after a transaction has begun, after its commit, and before reads.
    ///
    /// # Errors
    /// The cause and what to do about it.
    fn check_place(&self, _operation: &'static str) -> Result<()> {
        Ok(())
    }

    /// Why a call got no connection in time. Tries to open one, for at most a second. None if that succeeds.
    async fn diagnose(&self) -> Option<String> {
        None
    }

    /// The store was closed. Releases connections and other resources.
    async fn close(&self);
}
