//! A store in front of another one. Whatever a rig does not do in its own way, the store behind it does. Knows nothing of what
//! is rigged; `rigged.rs` of each program that takes this module by its path does.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use stent::core::backend::{
    Backend, BackendInfo, ClaimRequest, DeadLetter, DeadLetterStat, Error, ErrorKind, Exchanged,
    ExecutionView, Filter, Hints, Inspect, ItemView, LaneView, Listener, Migrate, NotesView, PurgeRequest,
    Purged, Renewal, Result, RunningView, SchemaVersion, Store, TaskView, Topic, Transactions,
};
use stent::core::model::{EndedClaim, ExecutionStatus, Lease, Seq, Step};
use stent::core::transition::Transition;
use stent::{ExecutionId, Payload, TaskId, Timestamp};

/// What a store in front of another one may do in its own way. A method that some rig needs is added here.
#[async_trait]
pub(crate) trait Rig: Debug + Send + Sync + 'static {
    /// The store behind.
    fn behind(&self) -> &dyn Store;

    async fn clock(&self) -> Result<Timestamp> {
        self.behind().clock().await
    }

    async fn exchange(&self, commit: &[Transition], claim: Option<&ClaimRequest<'_>>) -> Result<Exchanged> {
        self.behind().exchange(commit, claim).await
    }

    async fn renew(&self, leases: &[Lease], now: Timestamp, until: Timestamp) -> Result<Vec<Renewal>> {
        self.behind().renew(leases, now, until).await
    }

    async fn purge(&self, request: &PurgeRequest) -> Result<Purged> {
        self.behind().purge(request).await
    }

    /// None, as of every store that does not say otherwise: those of the store behind would go past this one.
    fn transactions(&self) -> Option<&dyn Transactions> {
        None
    }

    async fn executions(&self, ids: &[ExecutionId]) -> Result<Vec<ExecutionView>> {
        self.behind().executions(ids).await
    }

    async fn items(&self, map: TaskId, from: Seq, max: usize) -> Result<Vec<ItemView>> {
        self.behind().items(map, from, max).await
    }

    async fn completions(&self, seen: &[(TaskId, u32)]) -> Result<Vec<(TaskId, Vec<Step>)>> {
        self.behind().completions(seen).await
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<ExecutionId>,
        max: usize,
    ) -> Result<Vec<ExecutionView>> {
        self.behind().list(filter, before, max).await
    }

    async fn dead_letters(&self, before: Option<ExecutionId>, max: usize) -> Result<Vec<DeadLetter>> {
        self.behind().dead_letters(before, max).await
    }

    fn listen(&self, topic: Topic) -> Box<dyn Listener> {
        self.behind().listen(topic)
    }
}

/// The store itself, through which tests reach what it is rigged with.
#[derive(Debug)]
pub(crate) struct Front<R>(pub(crate) R);

impl<R> Deref for Front<R> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.0
    }
}

/// Whether there was one left to take.
pub(crate) fn takes_one(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

/// What a call fails with that was rigged to.
pub(crate) fn refused(kind: ErrorKind, operation: &'static str) -> Error {
    Error::new(kind, operation).with_message("rigged")
}

#[async_trait]
impl<R: Rig> Backend for Front<R> {
    fn info(&self) -> BackendInfo {
        self.0.behind().info()
    }

    async fn clock(&self) -> Result<Timestamp> {
        self.0.clock().await
    }

    async fn exchange(&self, commit: &[Transition], claim: Option<&ClaimRequest<'_>>) -> Result<Exchanged> {
        self.0.exchange(commit, claim).await
    }

    async fn renew(&self, leases: &[Lease], now: Timestamp, until: Timestamp) -> Result<Vec<Renewal>> {
        self.0.renew(leases, now, until).await
    }

    async fn purge(&self, request: &PurgeRequest) -> Result<Purged> {
        self.0.purge(request).await
    }

    fn transactions(&self) -> Option<&dyn Transactions> {
        self.0.transactions()
    }

    async fn close(&self) -> Result<()> {
        self.0.behind().close().await
    }
}

#[async_trait]
impl<R: Rig> Inspect for Front<R> {
    async fn executions(&self, ids: &[ExecutionId]) -> Result<Vec<ExecutionView>> {
        self.0.executions(ids).await
    }

    async fn tasks(
        &self,
        execution: ExecutionId,
        after: Option<TaskId>,
        max: usize,
    ) -> Result<Vec<TaskView>> {
        self.0.behind().tasks(execution, after, max).await
    }

    async fn items(&self, map: TaskId, from: Seq, max: usize) -> Result<Vec<ItemView>> {
        self.0.items(map, from, max).await
    }

    async fn args(&self, task: TaskId) -> Result<Option<Payload>> {
        self.0.behind().args(task).await
    }

    async fn completions(&self, seen: &[(TaskId, u32)]) -> Result<Vec<(TaskId, Vec<Step>)>> {
        self.0.completions(seen).await
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<ExecutionId>,
        max: usize,
    ) -> Result<Vec<ExecutionView>> {
        self.0.list(filter, before, max).await
    }

    async fn count(&self) -> Result<BTreeMap<ExecutionStatus, u64>> {
        self.0.behind().count().await
    }

    async fn lanes(&self, now: Timestamp) -> Result<Vec<LaneView>> {
        self.0.behind().lanes(now).await
    }

    async fn running(&self, max: usize) -> Result<Vec<RunningView>> {
        self.0.behind().running(max).await
    }

    async fn ended_claims(&self, task: TaskId) -> Result<Vec<EndedClaim>> {
        self.0.behind().ended_claims(task).await
    }

    async fn notes(&self, execution: ExecutionId) -> Result<NotesView> {
        self.0.behind().notes(execution).await
    }

    async fn dead_letters(&self, before: Option<ExecutionId>, max: usize) -> Result<Vec<DeadLetter>> {
        self.0.dead_letters(before, max).await
    }

    async fn dead_letter(&self, execution: ExecutionId) -> Result<Option<DeadLetter>> {
        self.0.behind().dead_letter(execution).await
    }

    async fn dead_letter_stats(&self) -> Result<Vec<DeadLetterStat>> {
        self.0.behind().dead_letter_stats().await
    }
}

impl<R: Rig> Hints for Front<R> {
    fn listen(&self, topic: Topic) -> Box<dyn Listener> {
        self.0.listen(topic)
    }
}

#[async_trait]
impl<R: Rig> Migrate for Front<R> {
    async fn migrate(&self) -> Result<()> {
        self.0.behind().migrate().await
    }

    async fn version(&self) -> Result<SchemaVersion> {
        self.0.behind().version().await
    }
}
