//! A store that fails: one process's handle on a memory store, with random faults.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use async_trait::async_trait;
use stent::backend::model::{Lease, Seq, Step, WorkerRecord};
use stent::backend::transition::Transition;
use stent::backend::{
    Backend, BackendInfo, ClaimRequest, DeadLetter, DeadLetterStat, Error, ErrorKind, Exchanged,
    ExecutionView, Filter, Forward, Hints, Inspect, ItemView, LaneView, Listener, NotesView, Reads, Renewal,
    Result, RunningView, Store, TaskView, Topic,
};
use stent::view::EndedClaim;
use stent::{ExecutionId, ExecutionStatus, Payload, TaskId, Timestamp, WorkerId};
use stent_memory::MemoryStore;
use tokio::sync::watch;

use crate::chance::Chance;
use crate::program::{LIMIT, LIMITED};

/// The weather over all processes of one world.
#[derive(Debug, Default)]
pub(crate) struct Weather {
    /// Nothing fails any more.
    pub(crate) calm: AtomicBool,
    pub(crate) faults: AtomicU64,
    /// Guarantees that the store has broken.
    pub(crate) broken: Mutex<Vec<String>>,
}

/// The connection of a process to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Up,
    /// Calls wait until the store is up again, and are made then.
    Cut,
    /// The process has died: its further calls never arrive.
    Dead,
}

/// One process's handle.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: MemoryStore,
    weather: Arc<Weather>,
    chance: Mutex<Chance>,
    link: watch::Sender<Link>,
    /// Whether hints reach this process.
    hears: bool,
    /// Whether it reports that it works on two calls at once, so that workers claim beside their commits.
    parallel: bool,
    /// From then on, it claims nothing.
    claims_until: OnceLock<Instant>,
}

/// The point at which a call fails.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Before,
    After,
    Twice,
}

impl FaultyStore {
    pub(crate) fn new(inner: &MemoryStore, weather: Arc<Weather>, mut chance: Chance) -> Arc<Self> {
        let (hears, parallel) = (chance.permille(600), chance.permille(600));
        let (link, _) = watch::channel(Link::Up);
        Arc::new(Self {
            inner: inner.peer(),
            weather,
            chance: Mutex::new(chance),
            link,
            hears,
            parallel,
            claims_until: OnceLock::new(),
        })
    }

    pub(crate) fn claims_until(&self, end: Instant) {
        self.claims_until.set(end).expect("it is set once");
    }

    pub(crate) fn set_link(&self, link: Link) {
        self.link.send_replace(link);
    }

    /// Waits for the duration of a call, and returns how it ends.
    async fn travel(&self) -> Fault {
        let mut link = self.link.subscribe();
        // A dead process's call never returns.
        while link.wait_for(|link| *link == Link::Up).await.is_err() {}
        let (yields, fault) = {
            let mut chance = self.chance.lock().expect("nothing panics under the lock");
            let yields = if chance.permille(300) { chance.below(20) } else { 0 };
            let calm = self.weather.calm.load(Ordering::Relaxed);
            let fault = match chance.below(1_000) {
                _ if calm => Fault::None,
                0..30 => Fault::Before,
                30..60 => Fault::After,
                60..90 => Fault::Twice,
                _ => Fault::None,
            };
            (yields, fault)
        };
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        if fault != Fault::None {
            self.weather.faults.fetch_add(1, Ordering::Relaxed);
        }
        fault
    }

    fn error(&self, operation: &'static str) -> Error {
        let mut chance = self.chance.lock().expect("nothing panics under the lock");
        let kind = chance.pick(&[ErrorKind::Unavailable, ErrorKind::Contended]);
        Error::new(kind, operation).with_message("on purpose")
    }

    /// Makes an exchange, and checks its claims, without any other call in between.
    async fn make(&self, commit: &[Transition], claim: Option<&ClaimRequest<'_>>) -> Result<Exchanged> {
        let claim = claim.filter(|_| self.claims_until.get().is_none_or(|end| Instant::now() < *end));
        let exchanged = self.inner.exchange(commit, claim).await?;
        let limited = |name: &str| name == LIMITED;
        if let Some(claim) = claim
            && exchanged.claimed.iter().any(|claimed| limited(&claimed.task.lane.function))
        {
            let running = self.inner.running(usize::MAX).await?;
            let running = running.iter().filter(|one| limited(&one.function));
            let held = running.filter(|one| one.lease_until.is_some_and(|until| until > claim.now)).count();
            if held > LIMIT {
                let broken = format!("G8: {held} of {LIMITED} run at once");
                self.weather.broken.lock().expect("nothing panics under the lock").push(broken);
            }
        }
        Ok(exchanged)
    }

    /// Reads fail or are slow; nothing else can happen to them.
    async fn read<T>(&self, operation: &'static str, read: impl Future<Output = Result<T>>) -> Result<T> {
        match self.travel().await {
            Fault::Before | Fault::After => Err(self.error(operation)),
            Fault::None | Fault::Twice => read.await,
        }
    }
}

#[async_trait]
impl Forward for FaultyStore {
    fn inner(&self) -> &dyn Store {
        &self.inner
    }

    fn info(&self) -> BackendInfo {
        BackendInfo { name: "faulty", location: "this process".to_owned(), parallel: self.parallel }
    }

    async fn exchange(&self, commit: &[Transition], claim: Option<&ClaimRequest<'_>>) -> Result<Exchanged> {
        match self.travel().await {
            Fault::None => self.make(commit, claim).await,
            Fault::Before => Err(self.error("exchange")),
            Fault::After => {
                self.make(commit, claim).await?;
                Err(self.error("exchange"))
            }
            Fault::Twice => {
                self.inner.exchange(commit, None).await?;
                tokio::task::yield_now().await;
                self.make(commit, claim).await
            }
        }
    }

    async fn renew(&self, leases: &[Lease], now: Timestamp, until: Timestamp) -> Result<Vec<Renewal>> {
        match self.travel().await {
            Fault::None | Fault::Twice => self.inner.renew(leases, now, until).await,
            Fault::Before => Err(self.error("renew")),
            Fault::After => {
                self.inner.renew(leases, now, until).await?;
                Err(self.error("renew"))
            }
        }
    }

    async fn report(&self, worker: &WorkerRecord) -> Result<()> {
        match self.travel().await {
            Fault::None | Fault::Twice => self.inner.report(worker).await,
            Fault::Before => Err(self.error("report")),
            Fault::After => {
                self.inner.report(worker).await?;
                Err(self.error("report"))
            }
        }
    }

    async fn executions(&self, ids: &[ExecutionId]) -> Result<Vec<ExecutionView>> {
        self.read("executions", self.inner.executions(ids)).await
    }

    async fn tasks(
        &self,
        execution: ExecutionId,
        after: Option<TaskId>,
        max: usize,
    ) -> Result<Vec<TaskView>> {
        self.read("tasks", self.inner.tasks(execution, after, max)).await
    }

    async fn items(&self, map: TaskId, from: Seq, max: usize) -> Result<Vec<ItemView>> {
        self.read("items", self.inner.items(map, from, max)).await
    }

    async fn args(&self, task: TaskId) -> Result<Option<Payload>> {
        self.read("args", self.inner.args(task)).await
    }

    async fn completions(&self, seen: &[(TaskId, u32)]) -> Result<Vec<(TaskId, Vec<Step>)>> {
        self.read("completions", self.inner.completions(seen)).await
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<ExecutionId>,
        max: usize,
    ) -> Result<Vec<ExecutionView>> {
        self.read("list", self.inner.list(filter, before, max)).await
    }

    async fn count(&self, max: usize) -> Result<BTreeMap<ExecutionStatus, u64>> {
        self.read("count", self.inner.count(max)).await
    }

    async fn lanes(&self, now: Timestamp, max: usize) -> Result<Vec<LaneView>> {
        self.read("lanes", self.inner.lanes(now, max)).await
    }

    async fn running(&self, max: usize) -> Result<Vec<RunningView>> {
        self.read("running", self.inner.running(max)).await
    }

    async fn ended_claims(&self, task: TaskId) -> Result<Vec<EndedClaim>> {
        self.read("ended claims", self.inner.ended_claims(task)).await
    }

    async fn notes(&self, execution: ExecutionId) -> Result<NotesView> {
        self.read("notes", self.inner.notes(execution)).await
    }

    async fn dead_letters(&self, before: Option<ExecutionId>, max: usize) -> Result<Vec<DeadLetter>> {
        self.read("dead_letters", self.inner.dead_letters(before, max)).await
    }

    async fn dead_letter(&self, execution: ExecutionId) -> Result<Option<DeadLetter>> {
        self.read("dead_letter", self.inner.dead_letter(execution)).await
    }

    async fn dead_letter_stats(&self, max: usize) -> Result<Vec<DeadLetterStat>> {
        self.read("dead_letter_stats", self.inner.dead_letter_stats(max)).await
    }

    async fn workers(&self, after: Option<WorkerId>, max: usize) -> Result<Vec<WorkerRecord>> {
        self.read("workers", self.inner.workers(after, max)).await
    }

    fn listen(&self, topic: Topic) -> Box<dyn Listener> {
        let inner = self.inner.listen(topic);
        Box::new(FaultyListener { inner, hears: self.hears, again: false })
    }
}

/// Gets no hints at all, or each hint twice.
#[derive(Debug)]
struct FaultyListener {
    inner: Box<dyn Listener>,
    hears: bool,
    again: bool,
}

#[async_trait]
impl Listener for FaultyListener {
    async fn changed(&mut self) {
        if !self.hears {
            return std::future::pending().await;
        }
        if std::mem::take(&mut self.again) {
            return;
        }
        self.inner.changed().await;
        self.again = true;
    }
}
