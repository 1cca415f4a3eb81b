//! Counts the files of `digest` while it runs, and has the limit at which it crashes on purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Counts hashed files, and lets only a limited number through if there is a limit. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Meter {
    hashed: Arc<AtomicU64>,
    turns: Arc<Semaphore>,
    limit: Option<u64>,
}

impl Meter {
    /// A meter that stops at a limit, or never.
    #[must_use]
    pub fn new(limit: Option<u64>) -> Self {
        let turns = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            hashed: Arc::default(),
            turns: Arc::new(Semaphore::new(turns.min(Semaphore::MAX_PERMITS))),
            limit,
        }
    }

    /// Waits for a turn to hash a file; past the limit, forever. A turn that is dropped without being [counted](Turn::count)
    /// goes to another file, so that a file which cannot be read does not count.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn turn(&self) -> Turn<'_> {
        // The semaphore is never closed.
        Turn { meter: self, permit: self.turns.acquire().await.ok() }
    }

    /// How many files this process has hashed.
    #[must_use]
    pub fn hashed(&self) -> u64 {
        self.hashed.load(Ordering::Relaxed)
    }

    /// The limit, if it has been reached.
    #[must_use]
    pub fn reached(&self) -> Option<u64> {
        self.limit.filter(|limit| self.hashed() >= *limit)
    }
}

/// A file's turn.
#[derive(Debug)]
#[must_use = "a turn that is not counted goes to another file"]
pub struct Turn<'a> {
    meter: &'a Meter,
    permit: Option<SemaphorePermit<'a>>,
}

impl Turn<'_> {
    /// Counts the file as hashed.
    pub fn count(mut self) {
        self.permit.take().into_iter().for_each(SemaphorePermit::forget);
        self.meter.hashed.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[tokio::test]
    async fn past_the_limit_nobody_gets_a_turn_unless_one_is_given_back() {
        let meter = Meter::new(Some(2));
        let (first, second) = (meter.turn().await, meter.turn().await);
        let mut third = pin!(meter.turn());
        let mut poll = || third.as_mut().poll(&mut Context::from_waker(Waker::noop()));

        first.count();
        assert!(poll().is_pending());
        assert_eq!(meter.reached(), None);

        drop(second);
        let std::task::Poll::Ready(third) = poll() else { panic!("a turn was given back") };
        third.count();
        assert_eq!(meter.reached(), Some(2));
    }
}
