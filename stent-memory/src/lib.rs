//! The executable specification of a store: the simplest correct backend.
//!
//! [`MemoryStore`] keeps every task in one map under one lock and does everything the slow, obvious way. The other backends are
//! compared with it, and unit tests use it as their store:
//!
//! ```
//! use stent_core::backend::Backend;
//! use stent_memory::MemoryStore;
//!
//! let store = MemoryStore::new();
//! assert_eq!(store.info().name, "memory");
//! ```
//!
//! **All data is lost with the process.** There is no file, no snapshot and no bound on memory except [`purge`]; use SQLite if
//! you need durability.
//!
//! | File | Holds |
//! |---|---|
//! | `lib.rs` | the store: handles, the lock, the clock, hints |
//! | `records.rs` | the data under the lock: transitions and renewals |
//! | `claim.rs`, `purge.rs` | claims, and deletion |
//! | `notes.rs` | notes of code about its execution |
//! | `invariant.rs` | invariants between two calls, checked in debug builds |
//! | `view.rs` | reads |
//!
//! [`purge`]: stent_core::backend::Backend::purge

mod claim;
#[cfg(debug_assertions)]
mod invariant;
mod notes;
mod purge;
mod records;
mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use stent_core::backend::{
    Backend, BackendInfo, ClaimRequest, DeadLetter, DeadLetterStat, Error, ErrorKind, Exchanged,
    ExecutionView, Filter, Hints, Inspect, ItemView, LaneView, Listener, Migrate, NotesView, PurgeRequest,
    Purged, Reads, Renewal, Result, RunningView, SchemaVersion, StoredTask, TaskView, Topic,
};
use stent_core::limits::LOOKUP_MAX;
use stent_core::model::{EndedClaim, ExecutionStatus, KeyEntry, Lease, Seq, Step, WorkerRecord};
use stent_core::transition::Transition;
use stent_core::{ExecutionId, Key, Payload, TaskId, Timestamp, WorkerId};
use tokio::sync::watch;

use crate::claim::Claims;
use crate::records::{Changes, Records};

/// A store in memory. Clones are the same handle; [`peer`](Self::peer) creates another handle on the same data.
#[derive(Clone)]
pub struct MemoryStore {
    data: Arc<Data>,
    closed: Arc<AtomicBool>,
}

/// The data that all handles share.
struct Data {
    clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    records: Mutex<Records>,
    work: watch::Sender<()>,
    ended: watch::Sender<()>,
}

impl MemoryStore {
    /// Creates an empty store with the system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(|| {
            let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            Timestamp::EPOCH + since_epoch
        })
    }

    /// Creates an empty store with the caller's clock, for tests that move time by hand.
    ///
    /// Only [`Backend::clock`] reads the clock; all other methods take the time as an argument.
    #[must_use]
    pub fn with_clock(clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let data = Data {
            clock: Box::new(clock),
            records: Mutex::default(),
            work: watch::Sender::new(()),
            ended: watch::Sender::new(()),
        };
        Self { data: Arc::new(data), closed: Arc::default() }
    }

    /// Creates another handle on the same data, as another process would have one: closing one leaves the other open.
    #[must_use]
    pub fn peer(&self) -> Self {
        Self { data: Arc::clone(&self.data), closed: Arc::default() }
    }

    /// The records, while the guard lives; nothing is awaited under it.
    fn records(&self, operation: &'static str) -> Result<MutexGuard<'_, Records>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, operation));
        }
        Ok(self.data.records.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self, hints: Changes) {
        if hints.ready {
            self.data.work.send_replace(());
        }
        if hints.ended {
            self.data.ended.send_replace(());
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("closed", &self.closed.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Backend for MemoryStore {
    fn info(&self) -> BackendInfo {
        BackendInfo { name: "memory", location: "this process".to_owned(), parallel: true }
    }

    async fn clock(&self) -> Result<Timestamp> {
        drop(self.records("clock")?);
        Ok((self.data.clock)())
    }

    async fn exchange(&self, commit: &[Transition], claim: Option<&ClaimRequest<'_>>) -> Result<Exchanged> {
        let mut records = self.records("exchange")?;
        let outcomes = commit.iter().map(|transition| records.apply(transition)).collect();
        let Claims { claimed, next_due, expired, stopping } =
            claim.map(|request| records.claim(request)).unwrap_or_default();
        #[cfg(debug_assertions)]
        records.check();
        let hints = records.take_hints();
        drop(records);
        self.tell(hints);
        Ok(Exchanged { outcomes, claimed, next_due, expired, stopping })
    }

    async fn renew(&self, leases: &[Lease], now: Timestamp, until: Timestamp) -> Result<Vec<Renewal>> {
        let mut records = self.records("renew")?;
        Ok(leases.iter().map(|lease| records.renew(lease, now, until)).collect())
    }

    async fn report(&self, worker: &WorkerRecord) -> Result<()> {
        self.records("report")?.workers.insert(worker.id, worker.clone());
        Ok(())
    }

    async fn purge(&self, request: &PurgeRequest) -> Result<Purged> {
        let mut records = self.records("purge")?;
        let count = records.purge(request);
        #[cfg(debug_assertions)]
        records.check();
        let hints = records.take_hints();
        drop(records);
        self.tell(hints);
        Ok(Purged { count })
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}

#[async_trait]
impl Reads for MemoryStore {
    async fn executions(&self, ids: &[ExecutionId]) -> Result<Vec<ExecutionView>> {
        Ok(self.records("executions")?.executions(ids))
    }

    async fn items(&self, map: TaskId, from: Seq, max: usize) -> Result<Vec<ItemView>> {
        Ok(self.records("items")?.items(map, from, max))
    }

    async fn args(&self, task: TaskId) -> Result<Option<Payload>> {
        Ok(self.records("args")?.args(task))
    }

    async fn completions(&self, seen: &[(TaskId, u32)]) -> Result<Vec<(TaskId, Vec<Step>)>> {
        let records = self.records("completions")?;
        Ok(seen.iter().take(LOOKUP_MAX).map(|(task, seen)| (*task, records.news(*task, *seen))).collect())
    }
}

#[async_trait]
impl Inspect for MemoryStore {
    async fn tasks(
        &self,
        execution: ExecutionId,
        after: Option<TaskId>,
        max: usize,
    ) -> Result<Vec<TaskView>> {
        Ok(self.records("tasks")?.tasks(execution, after, max))
    }

    async fn stored(
        &self,
        execution: ExecutionId,
        after: Option<TaskId>,
        max: usize,
    ) -> Result<Vec<StoredTask>> {
        Ok(self.records("stored")?.stored(execution, after, max).cloned().collect())
    }

    async fn key_entries(
        &self,
        execution: ExecutionId,
        after: Option<Key>,
        max: usize,
    ) -> Result<Vec<KeyEntry>> {
        Ok(self.records("key entries")?.entries_of(execution, after, max))
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<ExecutionId>,
        max: usize,
    ) -> Result<Vec<ExecutionView>> {
        Ok(self.records("list")?.list(filter, before, max))
    }

    async fn count(&self, max: usize) -> Result<BTreeMap<ExecutionStatus, u64>> {
        Ok(self.records("count")?.count(max))
    }

    async fn lanes(&self, now: Timestamp, max: usize) -> Result<Vec<LaneView>> {
        Ok(self.records("lanes")?.lanes(now, max))
    }

    async fn running(&self, max: usize) -> Result<Vec<RunningView>> {
        Ok(self.records("running")?.running(max))
    }

    async fn ended_claims(&self, task: TaskId) -> Result<Vec<EndedClaim>> {
        Ok(self.records("ended claims")?.ended_claims(task))
    }

    async fn notes(&self, execution: ExecutionId) -> Result<NotesView> {
        Ok(self.records("notes")?.notes(execution))
    }

    async fn dead_letters(&self, before: Option<ExecutionId>, max: usize) -> Result<Vec<DeadLetter>> {
        Ok(self.records("dead_letters")?.dead_letters(before, max))
    }

    async fn dead_letter(&self, execution: ExecutionId) -> Result<Option<DeadLetter>> {
        Ok(self.records("dead_letter")?.dead_letter(execution))
    }

    async fn dead_letter_stats(&self, max: usize) -> Result<Vec<DeadLetterStat>> {
        Ok(self.records("dead_letter_stats")?.dead_letter_stats(max))
    }

    async fn workers(&self, after: Option<WorkerId>, max: usize) -> Result<Vec<WorkerRecord>> {
        Ok(self.records("workers")?.workers(after, max))
    }
}

impl Hints for MemoryStore {
    fn listen(&self, topic: Topic) -> Box<dyn Listener> {
        let sender = match topic {
            Topic::Work => &self.data.work,
            Topic::Ended => &self.data.ended,
        };
        Box::new(MemoryListener(sender.subscribe()))
    }
}

#[derive(Debug)]
struct MemoryListener(watch::Receiver<()>);

#[async_trait]
impl Listener for MemoryListener {
    async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The last handle is gone, so there are no more changes.
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Migrate for MemoryStore {
    /// There is no schema: nothing to do.
    async fn migrate(&self) -> Result<()> {
        self.records("migrate").map(drop)
    }

    async fn version(&self) -> Result<SchemaVersion> {
        drop(self.records("version")?);
        Ok(SchemaVersion { applied: 0, known: 0 })
    }
}
