//! A store in front of another one whose transactions misbehave on command, and which is nothing else than that.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use stent::core::backend::{
    Backend, BackendInfo, ClaimRequest, DeadLetter, DeadLetterStat, Error, ErrorKind, Exchanged,
    ExecutionView, Filter, HostTransaction, Inspect, ItemView, LaneView, Listener, Migrate, NotesView,
    PurgeRequest, Purged, Renewal, Result, RunningView, SchemaVersion, Store, TaskView, Topic, Transactions,
    Wake,
};
use stent::core::model::{ExecutionStatus, Lease, Seq, Tried};
use stent::core::transition::{Outcome, Transition};
use stent::{ExecutionId, TaskId, Timestamp};

/// So many times from now on, the next call does this instead of what it should.
#[derive(Debug)]
pub(crate) struct Rigged {
    inner: Arc<dyn Store>,
    /// A commit is made, and fails all the same.
    pub(crate) lies: AtomicU32,
    /// A commit fails, and is not made.
    pub(crate) fails: AtomicU32,
    /// A record is refused, as that of a stale claim is.
    pub(crate) fences: AtomicU32,
    /// No transaction can begin.
    pub(crate) busy: AtomicU32,
    /// No lease is renewed.
    pub(crate) lapses: AtomicU32,
}

impl Rigged {
    pub(crate) fn new(inner: &Arc<dyn Store>) -> Arc<Self> {
        let (lies, fails, fences, busy, lapses) = Default::default();
        Arc::new(Self { inner: inner.clone(), lies, fails, fences, busy, lapses })
    }

    fn real(&self) -> &dyn Transactions {
        self.inner.transactions().unwrap()
    }
}

fn takes_one(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

fn lost() -> Error {
    Error::new(ErrorKind::Unavailable, "commit").with_message("rigged")
}

#[async_trait]
impl Transactions for Rigged {
    async fn begin(&self) -> Result<Arc<HostTransaction>> {
        if takes_one(&self.busy) {
            return Err(Error::new(ErrorKind::Contended, "begin").with_message("rigged"));
        }
        self.real().begin().await
    }

    async fn exchange_within(
        &self,
        transaction: &HostTransaction,
        commit: &[Transition],
    ) -> Result<Vec<Outcome>> {
        if takes_one(&self.fences) {
            return Ok(vec![Outcome::Fenced]);
        }
        self.real().exchange_within(transaction, commit).await
    }

    async fn commit(&self, transaction: Arc<HostTransaction>) -> Result<()> {
        if takes_one(&self.fails) {
            return Err(lost());
        }
        self.real().commit(transaction).await?;
        if takes_one(&self.lies) { Err(lost()) } else { Ok(()) }
    }

    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
        self.real().classify(error)
    }
}

#[async_trait]
impl Backend for Rigged {
    fn info(&self) -> BackendInfo {
        self.inner.info()
    }

    async fn clock(&self) -> Result<Timestamp> {
        self.inner.clock().await
    }

    async fn exchange(&self, commit: &[Transition], claim: Option<&ClaimRequest<'_>>) -> Result<Exchanged> {
        self.inner.exchange(commit, claim).await
    }

    async fn renew(&self, leases: &[Lease], now: Timestamp, until: Timestamp) -> Result<Vec<Renewal>> {
        if takes_one(&self.lapses) {
            return Err(lost());
        }
        self.inner.renew(leases, now, until).await
    }

    async fn purge(&self, request: &PurgeRequest) -> Result<Purged> {
        self.inner.purge(request).await
    }

    fn transactions(&self) -> Option<&dyn Transactions> {
        Some(self)
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

#[async_trait]
impl Inspect for Rigged {
    async fn executions(&self, ids: &[ExecutionId]) -> Result<Vec<ExecutionView>> {
        self.inner.executions(ids).await
    }

    async fn tasks(
        &self,
        execution: ExecutionId,
        after: Option<TaskId>,
        max: usize,
    ) -> Result<Vec<TaskView>> {
        self.inner.tasks(execution, after, max).await
    }

    async fn items(&self, map: TaskId, from: Seq, max: usize) -> Result<Vec<ItemView>> {
        self.inner.items(map, from, max).await
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<ExecutionId>,
        max: usize,
    ) -> Result<Vec<ExecutionView>> {
        self.inner.list(filter, before, max).await
    }

    async fn count(&self) -> Result<BTreeMap<ExecutionStatus, u64>> {
        self.inner.count().await
    }

    async fn lanes(&self, now: Timestamp) -> Result<Vec<LaneView>> {
        self.inner.lanes(now).await
    }

    async fn running(&self, max: usize) -> Result<Vec<RunningView>> {
        self.inner.running(max).await
    }

    async fn tries(&self, task: TaskId) -> Result<Vec<Tried>> {
        self.inner.tries(task).await
    }

    async fn notes(&self, execution: ExecutionId) -> Result<NotesView> {
        self.inner.notes(execution).await
    }

    async fn dead_letters(&self, before: Option<ExecutionId>, max: usize) -> Result<Vec<DeadLetter>> {
        self.inner.dead_letters(before, max).await
    }

    async fn dead_letter(&self, execution: ExecutionId) -> Result<Option<DeadLetter>> {
        self.inner.dead_letter(execution).await
    }

    async fn dead_letter_stats(&self) -> Result<Vec<DeadLetterStat>> {
        self.inner.dead_letter_stats().await
    }
}

impl Wake for Rigged {
    fn listen(&self, topic: Topic) -> Box<dyn Listener> {
        self.inner.listen(topic)
    }
}

#[async_trait]
impl Migrate for Rigged {
    async fn migrate(&self) -> Result<()> {
        self.inner.migrate().await
    }

    async fn version(&self) -> Result<SchemaVersion> {
        self.inner.version().await
    }
}
