//! A store in front of another one that misbehaves on command: deaf to hints, unable to renew, out for a while.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use stent::core::backend::{
    Backend, BackendInfo, ClaimRequest, DeadLetter, DeadLetterStat, Error, ErrorKind, Exchanged,
    ExecutionView, Filter, Inspect, ItemView, LaneView, Listener, Migrate, NotesView, PurgeRequest, Purged,
    Renewal, Result, RunningView, SchemaVersion, Store, TaskView, Topic, Wake,
};
use stent::core::model::{ExecutionStatus, Lease, Seq, Tried};
use stent::core::transition::Transition;
use stent::{ExecutionId, TaskId, Timestamp};
use tokio::sync::{Mutex, Notify};

/// What is rigged. Everything works as long as nothing is set.
#[derive(Debug)]
pub(crate) struct Rigged {
    inner: Arc<dyn Store>,
    /// No hint is heard.
    deaf: bool,
    /// So many renewals fail from now on.
    pub(crate) failing_renewals: AtomicU64,
    /// So many renewals do not come back from now on.
    pub(crate) hanging_renewals: AtomicU64,
    /// Renewals that were asked for.
    pub(crate) renewals: AtomicU64,
    /// Exchanges fail.
    pub(crate) is_out: AtomicBool,
    /// Exchanges do not come back.
    pub(crate) hangs: AtomicBool,
    /// How long each exchange takes at least, in milliseconds.
    pub(crate) exchange_ms: AtomicU64,
    /// The clock was read.
    pub(crate) clock_reads: AtomicU64,
    /// Reads of executions and dead letters, by id and by page.
    pub(crate) reads: AtomicU64,
    /// Transitions that were written.
    pub(crate) written: AtomicU64,
    /// So many purges fail from now on.
    pub(crate) failing_purges: AtomicU64,
    /// Purges that were asked for, and how much each might take.
    pub(crate) purges: std::sync::Mutex<Vec<PurgeRequest>>,
    /// How every execution is said to stand, if it is not as it does.
    pub(crate) shown: Mutex<Option<ExecutionStatus>>,
    pub(crate) clock_read: Notify,
}

impl Rigged {
    pub(crate) fn new(inner: &Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self::with_hints(inner, true))
    }

    /// A store whose hints are never heard.
    pub(crate) fn deaf(inner: &Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self::with_hints(inner, false))
    }

    fn with_hints(inner: &Arc<dyn Store>, hears: bool) -> Self {
        Self {
            inner: Arc::clone(inner),
            deaf: !hears,
            failing_renewals: AtomicU64::new(0),
            hanging_renewals: AtomicU64::new(0),
            renewals: AtomicU64::new(0),
            is_out: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
            exchange_ms: AtomicU64::new(0),
            clock_reads: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            written: AtomicU64::new(0),
            failing_purges: AtomicU64::new(0),
            purges: std::sync::Mutex::default(),
            shown: Mutex::new(None),
            clock_read: Notify::new(),
        }
    }

    fn refused(operation: &'static str) -> Error {
        Error::new(ErrorKind::Unavailable, operation).with_message("rigged")
    }
}

fn takes_one(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

#[async_trait]
impl Backend for Rigged {
    fn info(&self) -> BackendInfo {
        self.inner.info()
    }

    async fn clock(&self) -> Result<Timestamp> {
        self.clock_reads.fetch_add(1, Ordering::SeqCst);
        self.clock_read.notify_waiters();
        self.inner.clock().await
    }

    async fn exchange(&self, commit: &[Transition], claim: Option<&ClaimRequest<'_>>) -> Result<Exchanged> {
        if self.hangs.load(Ordering::SeqCst) {
            return std::future::pending().await;
        }
        if self.is_out.load(Ordering::SeqCst) {
            return Err(Self::refused("exchange"));
        }
        tokio::time::sleep(Duration::from_millis(self.exchange_ms.load(Ordering::SeqCst))).await;
        let exchanged = self.inner.exchange(commit, claim).await?;
        self.written.fetch_add(commit.len() as u64, Ordering::SeqCst);
        Ok(exchanged)
    }

    async fn renew(&self, leases: &[Lease], now: Timestamp, until: Timestamp) -> Result<Vec<Renewal>> {
        self.renewals.fetch_add(1, Ordering::SeqCst);
        if takes_one(&self.hanging_renewals) {
            return std::future::pending().await;
        }
        if takes_one(&self.failing_renewals) {
            return Err(Self::refused("renew"));
        }
        self.inner.renew(leases, now, until).await
    }

    async fn purge(&self, request: &PurgeRequest) -> Result<Purged> {
        self.purges.lock().expect("not poisoned").push(*request);
        if takes_one(&self.failing_purges) {
            // Not one that is tried again at once.
            return Err(Error::new(ErrorKind::Corrupt, "purge").with_message("rigged"));
        }
        self.inner.purge(request).await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

#[async_trait]
impl Inspect for Rigged {
    async fn executions(&self, ids: &[ExecutionId]) -> Result<Vec<ExecutionView>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let mut views = self.inner.executions(ids).await?;
        if let Some(shown) = *self.shown.lock().await {
            views.iter_mut().for_each(|view| view.status = shown);
        }
        Ok(views)
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
        self.reads.fetch_add(1, Ordering::SeqCst);
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
        self.reads.fetch_add(1, Ordering::SeqCst);
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
        if self.deaf { Box::new(Deaf) } else { self.inner.listen(topic) }
    }
}

#[derive(Debug)]
struct Deaf;

#[async_trait]
impl Listener for Deaf {
    async fn changed(&mut self) {
        std::future::pending::<()>().await;
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
