//! How workers are: what probes and people ask. A worker's loop writes it down as it goes; reading it asks no store.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::Serialize;
use stent_core::backend::{Error as StoreError, ErrorKind};
use stent_core::{Timestamp, WorkerId};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::engine::clock::Clock;
use crate::error::{Error, Result};

/// People are told of an outage that lasts this often.
const TELL_AGAIN: Duration = Duration::from_secs(30);
/// A store in which others are in the way is no news before this.
const CONTENDED_FOR: Duration = Duration::from_secs(2);

/// Where a worker is in its life. Each is left for a later one only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WorkerState {
    /// It has not reached its store yet.
    Starting,
    /// It has, and takes work.
    Ready,
    /// It takes no more work, and lets what runs come to a wait or an end.
    Draining,
    /// It has stopped: nothing runs, and nothing is left to be written.
    Stopped,
    /// It has stopped without having been told to: its loop panicked. Start another worker, or the process again.
    Crashed,
}

impl WorkerState {
    /// The word for it, the same wherever it is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Crashed => "crashed",
        }
    }
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a worker is, for probes and people: see [`Worker::status`](crate::Worker::status).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// Its id, as it stands in its leases.
    pub id: WorkerId,
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: WorkerState,
    /// Turns that run now.
    pub running: usize,
    /// Parked functions that it keeps in memory.
    pub parked: usize,
    /// How long its claims are good for without renewal, in milliseconds.
    pub lease_ms: u64,
    /// When the store answered it last, in microseconds since the Unix epoch. A worker that is well has one that is not
    /// older than its longest pause between polls.
    pub last_exchange: Option<Timestamp>,
    /// By how many microseconds the store's clock is ahead of the host's, as measured last.
    pub clock_drift_us: i64,
    /// What the store failed with last. Older than `last_exchange` means that it is over.
    pub last_error: Option<StoreTrouble>,
    /// By how many milliseconds the worker's loop is late. It renews leases and claims work, and is late when something holds
    /// up the runtime that it is on, such as code that blocks.
    pub late_ms: u64,
}

impl WorkerStatus {
    /// Whether the worker's loop does what it should: it has not panicked, and is not late by a whole lease.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        !matches!(self.state, WorkerState::Crashed) && self.late_ms < self.lease_ms
    }
}

/// An error of the store, as a worker met it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StoreTrouble {
    /// When.
    pub at: Timestamp,
    /// What it said.
    pub message: String,
}

/// How the workers of one [`Stent`](crate::Stent) are: see [`Stent::workers`](crate::Stent::workers).
///
/// For a readiness probe, answer yes while `ready && !draining`; for a liveness probe, while `live`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WorkersOverview {
    /// Whether a worker has reached its store and runs. One that drains still does.
    pub ready: bool,
    /// Whether a worker drains.
    pub draining: bool,
    /// Whether every worker [is live](WorkerStatus::is_live). A store that is away does not change that: workers wait for it.
    pub live: bool,
    /// The workers, oldest first. Those that were told to stop and have stopped are left out.
    pub workers: Vec<WorkerStatus>,
}

/// How a worker is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    No,
    /// Let running turns come to a wait or their end.
    Drain,
    /// Hand everything back at once.
    Now,
}

/// What a worker's loop writes down.
#[derive(Debug)]
pub(crate) struct Vitals {
    id: WorkerId,
    name: String,
    lease: Duration,
    clock: Arc<Clock>,
    stop: watch::Sender<Stop>,
    life: watch::Sender<Life>,
    changed: watch::Sender<()>,
    running: AtomicUsize,
    parked: AtomicUsize,
    /// When the loop is to come round next at the latest, if anything is to be done by then.
    due: Mutex<Option<Instant>>,
    contact: Mutex<Contact>,
}

#[derive(Clone, Copy, Debug)]
struct Life {
    state: WorkerState,
    /// Whether the store has answered.
    was_ready: bool,
}

impl Life {
    /// Whether the worker's loop has ended.
    const fn is_over(&self) -> bool {
        matches!(self.state, WorkerState::Stopped | WorkerState::Crashed)
    }
}

#[derive(Debug, Default)]
struct Contact {
    last_exchange: Option<Timestamp>,
    last_error: Option<StoreTrouble>,
    outage: Option<Outage>,
}

/// A time in which the store has failed and not answered.
#[derive(Clone, Copy, Debug)]
struct Outage {
    since: Timestamp,
    /// When people were told of it last.
    told_at: Option<Timestamp>,
}

impl Vitals {
    pub(super) const fn id(&self) -> WorkerId {
        self.id
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn stopping(&self) -> watch::Receiver<Stop> {
        self.stop.subscribe()
    }

    /// Tells the worker to end. Who said "now" is not overruled.
    pub(super) fn stop(&self, stop: Stop) {
        self.stop.send_if_modified(|said| {
            let is_news = *said != stop && *said != Stop::Now;
            if is_news {
                *said = stop;
            }
            is_news
        });
    }

    /// The store has answered. Says how long an outage was that is over with that, if people were told of one.
    pub(super) fn reached(&self, now: Timestamp) -> Option<Duration> {
        let mut contact = self.contact();
        contact.last_exchange = Some(now);
        let outage = contact.outage.take().filter(|outage| outage.told_at.is_some());
        drop(contact);
        if !self.life.borrow().was_ready {
            self.live(|life| {
                life.was_ready = true;
                life.state = life.state.max(WorkerState::Ready);
            });
        }
        outage.map(|outage| now.since(outage.since))
    }

    /// The store has failed. Says for how long it has, if people are to be told of it now: at once where it is away, after a
    /// while where others are in the way, and then now and again.
    pub(super) fn troubled(&self, now: Timestamp, error: &StoreError) -> Option<Duration> {
        let mut contact = self.contact();
        contact.last_error = Some(StoreTrouble { at: now, message: error.to_string() });
        let outage = contact.outage.get_or_insert(Outage { since: now, told_at: None });
        let lasts = now.since(outage.since);
        let is_due = match outage.told_at {
            Some(told_at) => now.since(told_at) >= TELL_AGAIN,
            None => error.kind() != ErrorKind::Contended || lasts >= CONTENDED_FOR,
        };
        is_due.then(|| {
            outage.told_at = Some(now);
            lasts
        })
    }

    /// The worker claims no more. Says whether that is new.
    pub(super) fn draining(&self) -> bool {
        let is_new = self.life.borrow().state < WorkerState::Draining;
        if is_new {
            self.live(|life| life.state = WorkerState::Draining);
        }
        is_new
    }

    /// The worker's loop has ended.
    pub(super) fn stopped(&self) {
        self.ended(WorkerState::Stopped);
    }

    /// The worker's loop has panicked.
    pub(super) fn crashed(&self) {
        self.ended(WorkerState::Crashed);
    }

    fn ended(&self, state: WorkerState) {
        self.count(0, 0);
        self.due(None);
        self.live(|life| life.state = state);
    }

    pub(super) fn count(&self, running: usize, parked: usize) {
        self.running.store(running, Ordering::Relaxed);
        self.parked.store(parked, Ordering::Relaxed);
    }

    /// The loop comes round at this time at the latest, unless it has nothing to do.
    pub(super) fn due(&self, at: Option<Instant>) {
        *self.due.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    fn late(&self) -> Duration {
        let due = *self.due.lock().unwrap_or_else(PoisonError::into_inner);
        due.map_or(Duration::ZERO, |due| Instant::now().saturating_duration_since(due))
    }

    fn live(&self, change: impl FnOnce(&mut Life)) {
        self.life.send_modify(change);
        self.changed.send_replace(());
    }

    pub(crate) fn status(&self) -> WorkerStatus {
        let contact = self.contact();
        WorkerStatus {
            id: self.id,
            name: self.name.clone(),
            state: self.life.borrow().state,
            running: self.running.load(Ordering::Relaxed),
            parked: self.parked.load(Ordering::Relaxed),
            lease_ms: u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX),
            last_exchange: contact.last_exchange,
            clock_drift_us: self.clock.drift_us(),
            last_error: contact.last_error.clone(),
            late_ms: u64::try_from(self.late().as_millis()).unwrap_or(u64::MAX),
        }
    }

    pub(crate) async fn wait_until_ready(&self) -> Result<()> {
        let mut life = self.life.subscribe();
        let life = life.wait_for(|life| life.was_ready || life.is_over()).await;
        if life.is_ok_and(|life| life.was_ready) {
            return Ok(());
        }
        let last_error = self.contact().last_error.clone();
        Err(Error::WorkerStopped { last_error: last_error.map(|error| error.message) })
    }

    async fn wait_until_stopped(&self) {
        // An error means that there is nobody left who could run.
        let _ = self.life.subscribe().wait_for(Life::is_over).await;
    }

    fn contact(&self) -> MutexGuard<'_, Contact> {
        self.contact.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The workers of one `Stent`.
#[derive(Debug)]
pub(crate) struct Roster {
    workers: Mutex<Listed>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Listed {
    started: usize,
    vitals: Vec<Weak<Vitals>>,
}

impl Roster {
    pub(crate) fn new() -> Self {
        Self { workers: Mutex::default(), changed: watch::Sender::new(()) }
    }

    /// Writes a new worker down. One without a name is named by its number.
    pub(super) fn add(
        &self,
        id: WorkerId,
        name: Option<String>,
        lease: Duration,
        clock: Arc<Clock>,
    ) -> Arc<Vitals> {
        let mut listed = self.listed();
        listed.started += 1;
        let vitals = Arc::new(Vitals {
            id,
            name: name.unwrap_or_else(|| format!("worker-{}", listed.started)),
            lease,
            clock,
            stop: watch::Sender::new(Stop::No),
            life: watch::Sender::new(Life { state: WorkerState::Starting, was_ready: false }),
            changed: self.changed.clone(),
            running: AtomicUsize::new(0),
            parked: AtomicUsize::new(0),
            due: Mutex::default(),
            contact: Mutex::default(),
        });
        listed.vitals.push(Arc::downgrade(&vitals));
        drop(listed);
        self.changed.send_replace(());
        vitals
    }

    pub(crate) fn overview(&self) -> WorkersOverview {
        let all = self.unstopped();
        let workers: Vec<WorkerStatus> = all.iter().map(|vitals| vitals.status()).collect();
        let is_ready = |life: Life| life.was_ready && !life.is_over();
        WorkersOverview {
            ready: all.iter().any(|vitals| is_ready(*vitals.life.borrow())),
            draining: workers.iter().any(|worker| worker.state == WorkerState::Draining),
            live: workers.iter().all(WorkerStatus::is_live),
            workers,
        }
    }

    /// Waits until a worker is ready, also one that is started later.
    pub(crate) async fn wait_until_ready(&self) {
        let mut changed = self.changed.subscribe();
        while !self.overview().ready {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Has every worker drain, and waits for all of them.
    pub(crate) async fn drain(&self) {
        let workers = self.unstopped();
        workers.iter().for_each(|vitals| vitals.stop(Stop::Drain));
        for vitals in workers {
            vitals.wait_until_stopped().await;
        }
    }

    /// Those that have not been told to stop and stopped.
    fn unstopped(&self) -> Vec<Arc<Vitals>> {
        let mut listed = self.listed();
        let is_over = |vitals: &Arc<Vitals>| vitals.life.borrow().state == WorkerState::Stopped;
        listed.vitals.retain(|vitals| vitals.upgrade().is_some_and(|vitals| !is_over(&vitals)));
        listed.vitals.iter().filter_map(Weak::upgrade).collect()
    }

    fn listed(&self) -> MutexGuard<'_, Listed> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
