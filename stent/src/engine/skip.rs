//! Time that a test moves. Workers report when they have nothing to do, and until when; then the test may skip to that
//! moment. Knows no timers: while a worker has work, time is the host's.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stent_core::{Timestamp, WorkerId};
use tokio::sync::watch;

/// The skipped time of all clocks in one test, and the workers that may be at rest.
#[derive(Debug)]
pub(crate) struct Skip {
    ahead_us: AtomicI64,
    /// Counts the questions whether all workers are at rest, and the skips.
    round: AtomicU64,
    /// Counts the commits and claims of all workers.
    worked: AtomicU64,
    workers: Mutex<BTreeMap<WorkerId, Rest>>,
    told: watch::Sender<()>,
    stepped: watch::Sender<()>,
}

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It works, or asks for work.
    Busy,
    /// It has asked for work since this round, and there is none before this moment.
    Until { round: u64, next: Option<Timestamp> },
}

impl Skip {
    pub(crate) fn new() -> Self {
        Self {
            ahead_us: AtomicI64::new(0),
            round: AtomicU64::new(0),
            worked: AtomicU64::new(0),
            workers: Mutex::default(),
            told: watch::Sender::new(()),
            stepped: watch::Sender::new(()),
        }
    }

    /// How much time was skipped.
    pub(crate) fn ahead_us(&self) -> i64 {
        self.ahead_us.load(Ordering::Acquire)
    }

    /// The notifications of clocks that skip: see [`Clock::steps`](super::clock::Clock::steps).
    pub(super) fn stepped(&self) -> watch::Sender<()> {
        self.stepped.clone()
    }

    pub(crate) fn round(&self) -> u64 {
        self.round.load(Ordering::Acquire)
    }

    /// A worker has committed or claimed something, so others may have work.
    pub(crate) fn worked(&self) {
        self.worked.fetch_add(1, Ordering::AcqRel);
    }

    /// The number of commits and claims so far.
    pub(crate) fn work(&self) -> u64 {
        self.worked.load(Ordering::Acquire)
    }

    pub(crate) fn report(&self, worker: WorkerId, rest: Rest) {
        if self.workers().insert(worker, rest) != Some(rest) {
            self.told.send_replace(());
        }
    }

    /// A worker has ended.
    pub(crate) fn gone(&self, worker: WorkerId) {
        if self.workers().remove(&worker).is_some() {
            self.told.send_replace(());
        }
    }

    /// Waits until no worker has anything to do now, and returns the next moment at which one may have.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn rest(&self) -> Option<Timestamp> {
        let mut told = self.told.subscribe();
        loop {
            let worked = self.worked.load(Ordering::Acquire);
            let round = self.ask();
            let next = loop {
                told.borrow_and_update();
                if let Some(next) = self.next_since(round) {
                    break next;
                }
                // The sender lives as long as this.
                let _ = told.changed().await;
            };
            // A worker that did something may have made work for one that was at rest before.
            if self.worked.load(Ordering::Acquire) == worked {
                return next;
            }
        }
    }

    /// Moves time forward.
    pub(crate) fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        // Saturates, because durations that users pass have no bound.
        let moved = |ahead: i64| Some(ahead.saturating_add(by));
        let _ = self.ahead_us.fetch_update(Ordering::AcqRel, Ordering::Acquire, moved);
        self.ask();
    }

    /// Makes each worker ask for work again.
    fn ask(&self) -> u64 {
        let round = self.round.fetch_add(1, Ordering::AcqRel) + 1;
        self.stepped.send_replace(());
        round
    }

    /// The next moment, if all workers are at rest since this round.
    fn next_since(&self, asked: u64) -> Option<Option<Timestamp>> {
        let mut moments = Vec::new();
        for rest in self.workers().values() {
            match rest {
                Rest::Until { round, next } if *round >= asked => moments.extend(*next),
                Rest::Until { .. } | Rest::Busy => return None,
            }
        }
        Some(moments.into_iter().min())
    }

    fn workers(&self) -> MutexGuard<'_, BTreeMap<WorkerId, Rest>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
