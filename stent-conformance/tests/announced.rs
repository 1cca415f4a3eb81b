//! The suite on a store whose hints go through a channel only: [`Announced`] in front of a memory store that sends no hints. If the
//! wrapper failed to announce a kind of change, the cases of hints would hang.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use stent_conformance::{BoxError, Fixture, Harness};
use stent_core::backend::{Announced, Forward, HintChannel, Hints, Listener, Store, Topic};
use stent_memory::MemoryStore;
use tokio::sync::watch;

fn main() -> ExitCode {
    stent_conformance::run(Memory)
}

#[derive(Debug)]
struct Memory;

#[async_trait]
impl Harness for Memory {
    async fn fresh(&self) -> Result<Box<dyn Fixture>, BoxError> {
        Ok(Box::new(Place { store: MemoryStore::new(), users: Users::default() }))
    }
}

#[derive(Debug)]
struct Place {
    store: MemoryStore,
    users: Users,
}

#[async_trait]
impl Fixture for Place {
    async fn open(&self) -> Result<Arc<dyn Store>, BoxError> {
        let deaf = Arc::new(Deaf(self.store.peer()));
        Ok(Arc::new(Announced::new(deaf, Arc::new(Channel::join(&self.users)))))
    }
}

/// A store without hints.
#[derive(Debug)]
struct Deaf(MemoryStore);

#[async_trait]
impl Forward for Deaf {
    fn inner(&self) -> &dyn Store {
        &self.0
    }

    fn listen(&self, _topic: Topic) -> Box<dyn Listener> {
        Box::new(Heard(None))
    }
}

/// The topics of every user of a channel.
type Users = Arc<Mutex<Vec<Arc<Topics>>>>;

#[derive(Debug, Default)]
struct Topics {
    work: watch::Sender<()>,
    ended: watch::Sender<()>,
}

impl Topics {
    const fn of(&self, topic: Topic) -> &watch::Sender<()> {
        match topic {
            Topic::Work => &self.work,
            Topic::Ended => &self.ended,
        }
    }
}

/// A channel in memory. It notifies its own listeners too, because the store does not.
#[derive(Debug)]
struct Channel {
    own: Arc<Topics>,
    users: Users,
}

impl Channel {
    fn join(users: &Users) -> Self {
        let own = Arc::new(Topics::default());
        users.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&own));
        Self { own, users: Arc::clone(users) }
    }
}

impl Hints for Channel {
    fn listen(&self, topic: Topic) -> Box<dyn Listener> {
        Box::new(Heard(Some(self.own.of(topic).subscribe())))
    }
}

#[async_trait]
impl HintChannel for Channel {
    fn notify(&self, topic: Topic) {
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        for user in users.iter() {
            user.of(topic).send_replace(());
        }
    }

    async fn outages(&self, _seen: u64) -> u64 {
        std::future::pending().await
    }

    async fn close(&self) {}
}

#[derive(Debug)]
struct Heard(Option<watch::Receiver<()>>);

#[async_trait]
impl Listener for Heard {
    async fn changed(&mut self) {
        match &mut self.0 {
            Some(topic) => topic.changed().await.expect("the channel outlives its listeners"),
            None => std::future::pending().await,
        }
    }
}
