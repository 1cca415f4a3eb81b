//! The state of workers, for probes and people. A worker's loop writes it; reading it does not access the store.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::Serialize;
use stent_core::backend::{Error as StoreError, ErrorKind};
use stent_core::model::WorkerState;
use stent_core::{Timestamp, WorkerId};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::engine::clock::Clock;
use crate::error::{Error, Result};

/// How often a continuing outage is logged again.
const TELL_AGAIN: Duration = Duration::from_secs(30);
/// Contention is logged only if it lasts this long.
const CONTENDED_FOR: Duration = Duration::from_secs(2);

/// A worker's state, for probes and people: see [`Worker::status`](crate::Worker::status).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// The worker's id, which its leases carry.
    pub id: WorkerId,
    /// The worker's name.
    pub name: String,
    /// The lifecycle state.
    pub state: WorkerState,
    /// Number of turns that are running.
    pub running: usize,
    /// Number of parked functions in the sticky cache.
    pub parked: usize,
    /// How long claims are valid without renewal, in milliseconds.
    pub lease_ms: u64,
    /// When the store last answered, in microseconds since the Unix epoch. In a healthy worker it is no older than the
    /// longest pause between polls.
    pub last_exchange: Option<Timestamp>,
    /// How many microseconds the store's clock was ahead of the host's at the last measurement.
    pub clock_drift_us: i64,
    /// The last error of the store. If it is older than `last_exchange`, the store has recovered.
    pub last_error: Option<StoreTrouble>,
    /// How many milliseconds the worker's loop is late. The loop renews leases and claims work; it is late when
    /// something holds up its runtime, such as code that blocks.
    pub late_ms: u64,
}

impl WorkerStatus {
    /// Whether the worker's loop is healthy: it has not crashed, and it is less than one lease late.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        !matches!(self.state, WorkerState::Crashed) && self.late_ms < self.lease_ms
    }
}

/// An error of the store, as seen by a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StoreTrouble {
    /// When it occurred.
    pub at: Timestamp,
    /// The error's message.
    pub message: String,
}

/// The state of all workers of one [`Stent`](crate::Stent): see [`Stent::workers`](crate::Stent::workers).
///
/// A readiness probe succeeds while `ready && !draining`; a liveness probe succeeds while `live`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WorkersOverview {
    /// Whether at least one worker has reached its store and still runs. A draining worker still runs.
    pub ready: bool,
    /// Whether a worker is draining.
    pub draining: bool,
    /// Whether every worker [is live](WorkerStatus::is_live). A store that is down does not affect this: workers wait
    /// for it.
    pub live: bool,
    /// The workers, oldest first, except those that stopped as requested.
    pub workers: Vec<WorkerStatus>,
}

/// How to end a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    No,
    /// Let running turns reach a wait or their end.
    Drain,
    /// Release everything at once.
    Now,
}

/// The state that a worker's loop writes.
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
    /// The latest time at which the loop must wake up; `None` if it has nothing to do.
    due: Mutex<Option<Instant>>,
    contact: Mutex<Contact>,
}

/// Where a worker stands in its life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) state: WorkerState,
    /// Whether the store has answered.
    was_ready: bool,
}

impl Life {
    /// Whether the worker's loop has ended.
    const fn is_over(&self) -> bool {
        self.state.is_over()
    }
}

#[derive(Debug, Default)]
struct Contact {
    last_exchange: Option<Timestamp>,
    last_error: Option<StoreTrouble>,
    outage: Option<Outage>,
}

/// A period in which the store fails and does not answer.
#[derive(Clone, Copy, Debug)]
struct Outage {
    since: Timestamp,
    /// When the outage was last logged.
    told_at: Option<Timestamp>,
}

impl Vitals {
    pub(super) const fn id(&self) -> WorkerId {
        self.id
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Changes of the worker's state.
    pub(super) fn life(&self) -> watch::Receiver<Life> {
        self.life.subscribe()
    }

    pub(super) fn stopping(&self) -> watch::Receiver<Stop> {
        self.stop.subscribe()
    }

    /// Asks the worker to end. `Now` is never weakened to `Drain`.
    pub(super) fn stop(&self, stop: Stop) {
        self.stop.send_if_modified(|said| {
            let is_news = *said != stop && *said != Stop::Now;
            if is_news {
                *said = stop;
            }
            is_news
        });
    }

    /// The store answered. If that ends an outage that was logged, returns how long the outage lasted.
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

    /// The store failed. Returns how long the outage has lasted if it is to be logged now: at once if the store is
    /// unavailable, after a while if it is contended, and then at intervals.
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

    /// The worker stopped claiming. Returns whether that is new.
    pub(super) fn draining(&self) -> bool {
        let is_new = self.life.borrow().state < WorkerState::Draining;
        if is_new {
            self.live(|life| life.state = WorkerState::Draining);
        }
        is_new
    }

    /// The worker's loop ended.
    pub(super) fn stopped(&self) {
        self.ended(WorkerState::Stopped);
    }

    /// The worker's loop panicked, or was dropped with its runtime.
    pub(super) fn crashed(&self) {
        self.ended(WorkerState::Crashed);
    }

    /// The loop of a test's worker was killed, and another one starts.
    pub(super) fn starts_again(&self) {
        self.live(|life| *life = Life { state: WorkerState::Starting, was_ready: false });
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

    /// Sets the latest time at which the loop wakes up; `None` if it has nothing to do.
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
        // An error means that no sender is left, so no worker can be running.
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

    /// Registers a new worker. A worker without a name is named by its number.
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

    /// Waits until a worker is ready, including workers that start later.
    pub(crate) async fn wait_until_ready(&self) {
        let mut changed = self.changed.subscribe();
        while !self.overview().ready {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Drains every worker and waits for all of them.
    pub(crate) async fn drain(&self) {
        let workers = self.unstopped();
        workers.iter().for_each(|vitals| vitals.stop(Stop::Drain));
        for vitals in workers {
            vitals.wait_until_stopped().await;
        }
    }

    /// All workers except those that stopped as requested.
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
