//! Hints: within the process from what was committed, from outside by a [`Neighbours`] that the database brings.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use stent_core::backend::{Listener, Result, Topic};
use tokio::sync::watch;

/// Where hints come together. Clones are the same hub.
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
    /// Wakes everybody who listens.
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
            // The store is gone, and with it whoever could hint at anything.
            std::future::pending::<()>().await;
        }
    }
}

/// Notices what other processes do with the database. Each method but [`close`](Self::close) returns at once.
#[async_trait]
pub trait Neighbours: Debug + Send + Sync + 'static {
    /// Somebody listens from now on.
    fn listening(&self, hub: &Hub);

    /// This process has begun a transaction: where one writes at a time, nobody else can commit until it ends.
    fn began(&self) {}

    /// This process has committed something itself, and hints at it.
    fn committed(&self) {}

    /// This process has hinted at something to its own: now others may learn of it.
    fn hinted(&self, _topic: Topic) {}

    /// Fails where the database that is open is not the one that others find any more, so that nothing is confirmed which
    /// nobody will see. Asked when a transaction has begun, when it was committed, and before reads.
    ///
    /// # Errors
    /// What has happened and what to do about it.
    fn check_place(&self, _operation: &'static str) -> Result<()> {
        Ok(())
    }

    /// Why there is no connection, where a call has waited for one in vain: tries to open one, within a second. None if that goes
    /// well.
    async fn diagnose(&self) -> Option<String> {
        None
    }

    /// The store was closed: gives back what is held, connections for one.
    async fn close(&self);
}
