//! The world of one case: its own store, and the methods that change it and read it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stent_core::backend::{
    ClaimRequest, Claimed, DeadLetter, Exchanged, ExecutionView, Expired, ItemView, Limit, NoStickyCache,
    NotesView, Purge, PurgeRequest, StickyCache, Store, TaskView,
};
use stent_core::limits::{EXCHANGE_TRANSITIONS_MAX, PAGE_MAX};
use stent_core::model::{
    EndedClaim, ExecutionStatus, Fence, NewTaskState, Nonce, Rate, Seq, Step, StepKind, TaskResult,
    TaskStatus,
};
use stent_core::transition::{News, Outcome, Transition};
use stent_core::{ExecutionId, Key, TaskId, Timestamp, WorkerId};
use tokio::sync::Barrier;

use crate::expect::{applied, same};
use crate::harness::{Fixture, Harness};
use crate::request;
use crate::task::{Draft, id, t, text};
use crate::tell;
use crate::turn::Turn;

/// Lines of the trace that a failure prints.
const TRACE_MAX: usize = 40;

/// Lines of a list of operations that a failure prints: more than any shrunk list has.
const LIST_MAX: usize = 400;

/// The length of such a line.
const LINE_MAX: usize = 600;

/// The length to which a line is cut before its ids are shortened.
const RAW_LINE_MAX: usize = 20 * LINE_MAX;

/// Rows that one read of the store returns at most.
const PAGE: usize = 100;

/// A worker with a handle on a store. [`peer`](Self::peer) creates another worker with its own handle.
pub(crate) struct World {
    shared: Arc<Shared>,
    /// `None` only while a crashed handle is opened again.
    store: Option<Arc<dyn Store>>,
    pub(crate) worker: WorkerId,
}

/// State that all peers of a case share.
struct Shared {
    harness: Arc<dyn Harness>,
    fixture: Box<dyn Fixture>,
    ids: AtomicU64,
    seqs: AtomicU32,
    nonces: AtomicU32,
    trace: Trace,
    known: Mutex<Known>,
    /// The handles of workers that start at the same moment. Not worlds, which would keep this struct alive in a cycle.
    crew: tokio::sync::Mutex<Vec<(Arc<dyn Store>, WorkerId)>>,
}

/// Everything that was ever sent.
#[derive(Default)]
struct Known {
    functions: BTreeSet<String>,
    homes: BTreeMap<TaskId, ExecutionId>,
    maps: BTreeSet<TaskId>,
}

/// The calls so far, for the report of a failure.
#[derive(Clone, Default)]
pub(crate) struct Trace {
    lines: Arc<Mutex<Vec<String>>>,
    whole: Arc<AtomicBool>,
}

impl Trace {
    pub(crate) fn note(&self, line: impl fmt::Display) {
        let mut line = line.to_string();
        // Cut first, then shorten the ids: some lines have thousands of ids, most of which are thrown away.
        if let Some((end, _)) = line.char_indices().nth(RAW_LINE_MAX) {
            line.truncate(end);
        }
        let mut line = tell::short(&line);
        if let Some((end, _)) = line.char_indices().nth(LINE_MAX) {
            line.truncate(end);
            line.push('…');
        }
        self.lines().push(line);
    }

    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last lines; after [`keep_all`](Self::keep_all), as many as a list of operations may need.
    pub(crate) fn tail(&self) -> Vec<String> {
        let max = if self.whole.load(Ordering::Relaxed) { LIST_MAX } else { TRACE_MAX };
        let lines = self.lines();
        lines[lines.len().saturating_sub(max)..].to_vec()
    }

    /// Every line.
    pub(crate) fn all(&self) -> Vec<String> {
        self.lines().clone()
    }

    /// Makes a failure print the trace from its beginning, because the trace is a list of operations.
    pub(crate) fn keep_all(&self) {
        self.whole.store(true, Ordering::Relaxed);
    }
}

impl World {
    /// A world with an empty, migrated store.
    pub(crate) async fn new(harness: Arc<dyn Harness>, trace: Trace) -> Self {
        let world = Self::bare(harness, trace).await;
        world.store().migrate().await.expect("migrate");
        world
    }

    /// A world with a place that does not even have a schema.
    async fn bare(harness: Arc<dyn Harness>, trace: Trace) -> Self {
        let fixture = harness.fresh().await.expect("the harness makes a place for a store");
        let (ids, seqs, nonces) = (AtomicU64::new(1), AtomicU32::new(0), AtomicU32::new(1));
        let (known, crew) = (Mutex::default(), tokio::sync::Mutex::default());
        Self::open(Arc::new(Shared { harness, fixture, ids, seqs, nonces, trace, known, crew })).await
    }

    async fn open(shared: Arc<Shared>) -> Self {
        let worker = WorkerId::from_uuid(*shared.id().as_uuid());
        let store = Some(shared.open().await);
        Self { shared, store, worker }
    }

    // Handles.

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        self.store.as_ref().expect("a handle is open between two calls")
    }

    /// Another worker, with its own handle.
    pub(crate) async fn peer(&self) -> Self {
        Self::open(Arc::clone(&self.shared)).await
    }

    /// This many other workers, each with its own connected handle; the same workers every time.
    async fn crew(&self, workers: usize) -> Vec<Self> {
        let mut crew = self.shared.crew.lock().await;
        while crew.len() < workers {
            let peer = self.peer().await;
            peer.store().clock().await.expect("clock");
            crew.push((Arc::clone(peer.store()), peer.worker));
        }
        let crew = crew.iter().take(workers).cloned();
        crew.map(|(store, worker)| Self { shared: Arc::clone(&self.shared), store: Some(store), worker })
            .collect()
    }

    /// Another world, in which the harness has created nothing but the place: no schema yet.
    pub(crate) async fn elsewhere(&self) -> Self {
        Self::bare(Arc::clone(&self.shared.harness), self.shared.trace.clone()).await
    }

    /// Drops the handle, as a crash does, and opens another one.
    pub(crate) async fn crash(mut self) -> Self {
        self.crash_in_place().await;
        self
    }

    pub(crate) async fn crash_in_place(&mut self) {
        self.note("crash");
        self.store = None;
        self.store = Some(self.shared.open().await);
    }

    pub(crate) fn note(&self, line: impl fmt::Display) {
        self.shared.trace.note(line);
    }

    // Drafts.

    pub(crate) fn id(&self) -> TaskId {
        self.shared.id()
    }

    /// The random part of a claim's epoch: a new one each time.
    pub(crate) fn nonce(&self) -> Nonce {
        Nonce::new(self.shared.nonces.fetch_add(1, Ordering::Relaxed))
    }

    fn draft(&self, kind: StepKind, name: &str, state: NewTaskState) -> Draft {
        Draft::new(self.id(), self.shared.seqs.fetch_add(1, Ordering::Relaxed), kind, name, state)
    }

    /// A call of a durable function, due at once.
    pub(crate) fn call(&self, function: &str) -> Draft {
        self.draft(StepKind::Call, function, NewTaskState::Pending { ready_at: t(0) })
    }

    pub(crate) fn sleep(&self, due: Timestamp) -> Draft {
        self.draft(StepKind::Sleep, "sleep", NewTaskState::Timer { due })
    }

    /// A closure that has run, with its result.
    pub(crate) fn inline(&self, name: &str, result: &str) -> Draft {
        self.draft(StepKind::Inline, name, NewTaskState::Done { started_at: t(0), result: Ok(text(result)) })
    }

    pub(crate) fn map(&self, function: &str) -> Draft {
        self.draft(StepKind::Map, function, NewTaskState::Map)
    }

    /// A map that continues when items fail.
    pub(crate) fn gather(&self, function: &str) -> Draft {
        self.draft(StepKind::Gather, function, NewTaskState::Map)
    }

    /// A wait for a signal to the execution of `root`.
    pub(crate) fn wait(&self, root: TaskId, name: &str) -> Draft {
        self.draft(StepKind::Signal, name, NewTaskState::Signal).keyed(Key::of_signal(root.execution(), name))
    }

    /// A wait for the end of an execution.
    pub(crate) fn join(&self, root: TaskId) -> Draft {
        let execution = root.execution();
        self.draft(StepKind::Join, "join", NewTaskState::Join { execution })
            .keyed(Key::of_execution(execution))
    }

    /// The step that starts the execution of `root`.
    pub(crate) fn start_of(&self, root: TaskId) -> Draft {
        let result = Ok(text(&root.to_string()));
        self.draft(StepKind::Spawn, "spawn", NewTaskState::Done { started_at: t(0), result })
    }

    // Actions.

    pub(crate) async fn dispatch(&self, draft: Draft) -> TaskId {
        let id = draft.id;
        self.apply(draft.start(t(0))).await;
        id
    }

    /// Dispatches many calls of a function, due at once, as fast as the store accepts them. Returns their ids, oldest first.
    pub(crate) async fn dispatch_many(&self, count: usize, draft: impl Fn() -> Draft) -> Vec<TaskId> {
        let drafts: Vec<_> = (0..count).map(|_| draft()).collect();
        let ids = drafts.iter().map(|draft| draft.id).collect();
        for batch in drafts.chunks(EXCHANGE_TRANSITIONS_MAX) {
            for outcome in self.commit_all(batch.iter().map(|draft| draft.clone().start(t(0)))).await {
                applied(outcome);
            }
        }
        ids
    }

    /// Sends a batch and a claim in one exchange.
    pub(crate) async fn exchange(&self, batch: &[Transition], claim: Option<&ClaimRequest<'_>>) -> Exchanged {
        self.shared.learn(batch);
        let exchanged = self.store().exchange(batch, claim).await.expect("exchange");
        self.note_exchange(batch, claim, &exchanged);
        // Some stores always answer without waiting; yielding lets other tasks and the deadline run.
        tokio::task::yield_now().await;
        same("the number of outcomes", exchanged.outcomes.len(), batch.len());
        exchanged
    }

    pub(crate) async fn commit_all<T>(&self, batch: impl IntoIterator<Item = T>) -> Vec<Outcome>
    where
        T: Into<Transition>,
    {
        let batch: Vec<_> = batch.into_iter().map(Into::into).collect();
        self.exchange(&batch, None).await.outcomes
    }

    pub(crate) async fn commit(&self, transition: impl Into<Transition>) -> Outcome {
        self.commit_all([transition]).await.remove(0)
    }

    /// Commits a transition that must be applied.
    pub(crate) async fn apply(&self, transition: impl Into<Transition>) -> News {
        applied(self.commit(transition).await)
    }

    /// Claims up to `max` tasks of all functions and queues, at `t(0)`, for half a minute.
    pub(crate) fn claim(&self, max: usize) -> Claim<'_> {
        Claim {
            world: self,
            max,
            now: t(0),
            lease: Duration::from_secs(30),
            functions: None,
            queues: None,
            tags: Vec::new(),
            limits: Vec::new(),
            cache: &NoStickyCache,
        }
    }

    /// Tasks whose deadline has passed at `now`, as reported by a claim of zero tasks.
    pub(crate) async fn expired(&self, now: Timestamp) -> Vec<Expired> {
        self.claim(0).at(now).with::<Transition>([]).await.expired
    }

    /// Ends every task whose deadline has passed at `now`, and returns their ids.
    pub(crate) async fn expire_all(&self, now: Timestamp) -> Vec<TaskId> {
        let expired = self.expired(now).await;
        self.commit_all(expired.iter().map(|expired| request::expire(expired, now))).await;
        expired.iter().map(|expired| expired.task).collect()
    }

    /// Tasks that this worker holds and that were asked to end.
    pub(crate) async fn stopping(&self, now: Timestamp) -> Vec<TaskId> {
        self.claim(0).at(now).with::<Transition>([]).await.stopping
    }

    /// Sends a value to an execution, at `t(0)`.
    pub(crate) async fn signal(&self, root: TaskId, name: &str, value: &str) {
        self.apply(request::signal(root, name, self.id(), text(value))).await;
    }

    /// Claims the only task that is due.
    pub(crate) async fn claim_one(&self, now: Timestamp) -> Claimed {
        let mut claimed = self.claim(2).at(now).await;
        same("the number of tasks that are due", claimed.len(), 1);
        claimed.remove(0)
    }

    /// Dispatches a call and claims it.
    pub(crate) async fn running(&self, function: &str) -> Claimed {
        let draft = self.call(function);
        let id = self.dispatch(draft).await;
        let claimed = self.claim_one(t(0)).await;
        same("the claimed task", claimed.task.id, id);
        claimed
    }

    /// Commits a turn which starts one call, and claims that call; nothing else may be due after the turn.
    pub(crate) async fn spawn(&self, turn: Turn, step: Draft) -> Claimed {
        let id = step.id;
        self.apply(turn.with(step)).await;
        let claimed = self.claim_one(t(0)).await;
        same("the claimed task", claimed.task.id, id);
        claimed
    }

    /// Reads the steps of a task that completed after the first `seen` completions.
    pub(crate) async fn completions(&self, task: TaskId, seen: u32) -> Vec<Step> {
        let mut read = self.store().completions(&[(task, seen)]).await.expect("completions are read");
        read.pop().map(|(_, steps)| steps).unwrap_or_default()
    }

    /// Deletes executions that have ended.
    pub(crate) async fn purge(&self, before: Timestamp, max: u32) -> u32 {
        self.purge_of(Purge::Executions, before, max).await
    }

    /// Purges something; `t(0)` is the moment against which keyed results expire.
    pub(crate) async fn purge_of(&self, what: Purge, before: Timestamp, max: u32) -> u32 {
        self.purge_as(PurgeRequest { what, before, now: t(0), max }).await
    }

    pub(crate) async fn purge_as(&self, request: PurgeRequest) -> u32 {
        let purged = self.store().purge(&request).await.expect("purge").count;
        self.note(format_args!("purge {request:?} -> {purged}"));
        purged
    }

    // Observations.

    pub(crate) async fn execution(&self, root: TaskId) -> Option<ExecutionView> {
        self.store().executions(&[root.execution()]).await.expect("executions").pop()
    }

    /// The status of a root's execution.
    pub(crate) async fn status(&self, root: TaskId) -> ExecutionStatus {
        self.execution(root).await.unwrap_or_else(|| panic!("{root:?} is not in the store")).status
    }

    /// The result of a root's execution.
    pub(crate) async fn result(&self, root: TaskId) -> Option<TaskResult> {
        self.execution(root).await.and_then(|view| view.result)
    }

    pub(crate) async fn notes(&self, root: TaskId) -> NotesView {
        self.store().notes(root.execution()).await.expect("notes")
    }

    pub(crate) async fn ended_claims(&self, task: TaskId) -> Vec<EndedClaim> {
        self.store().ended_claims(task).await.expect("ended claims")
    }

    /// Every dead letter, newest first.
    pub(crate) async fn dead_letters(&self) -> Vec<DeadLetter> {
        self.store().dead_letters(None, PAGE_MAX).await.expect("dead letters")
    }

    /// Every task of an execution, oldest first.
    pub(crate) async fn timeline(&self, execution: ExecutionId) -> Vec<TaskView> {
        let mut tasks: Vec<TaskView> = Vec::new();
        loop {
            let after = tasks.last().map(|task| task.id);
            let mut page = self.store().tasks(execution, after, PAGE).await.expect("tasks");
            let last = page.len() < PAGE;
            tasks.append(&mut page);
            if last {
                return tasks;
            }
        }
    }

    pub(crate) async fn items(&self, map: TaskId) -> Vec<ItemView> {
        let mut items: Vec<ItemView> = Vec::new();
        loop {
            let from = items.last().map_or(Seq(0), |item| Seq(item.seq.0 + 1));
            let mut page = self.store().items(map, from, PAGE).await.expect("items");
            let last = page.len() < PAGE;
            items.append(&mut page);
            if last {
                return items;
            }
        }
    }

    /// A task that was ever sent, if the store still has it.
    pub(crate) async fn find(&self, task: TaskId) -> Option<TaskView> {
        let execution = self.shared.known().homes.get(&task).copied()?;
        self.timeline(execution).await.into_iter().find(|view| view.id == task)
    }

    pub(crate) async fn task(&self, task: TaskId) -> TaskView {
        self.find(task).await.unwrap_or_else(|| panic!("{task:?} is not in the store"))
    }

    pub(crate) async fn expect_status(&self, task: TaskId, status: TaskStatus) {
        same(&format!("the status of {task:?}"), self.task(task).await.status, status);
    }

    /// Everything that readers can see about all that was ever sent.
    pub(crate) async fn snapshot(&self) -> Snapshot {
        let (executions, maps) = {
            let known = self.shared.known();
            (known.homes.values().copied().collect::<BTreeSet<_>>(), known.maps.clone())
        };
        let mut snapshot = Snapshot::default();
        let executions: Vec<_> = executions.into_iter().collect();
        for page in executions.chunks(PAGE_MAX) {
            let views = self.store().executions(page).await.expect("executions");
            snapshot.executions.extend(views.into_iter().map(|view| (view.id, view)));
        }
        for execution in executions {
            snapshot.details.insert(execution, self.detail(execution).await);
        }
        let letters = self.dead_letters().await;
        snapshot.dead_letters.extend(letters.into_iter().map(|letter| (letter.execution.id, letter)));
        for map in maps {
            snapshot.items.extend(self.items(map).await.into_iter().map(|item| ((map, item.seq), item)));
        }
        snapshot
    }

    /// Everything that readers can see about an execution, except its own line.
    pub(crate) async fn detail(&self, execution: ExecutionId) -> Detail {
        Detail { notes: self.notes(execution.root()).await, ..self.detail_without_notes(execution).await }
    }

    pub(crate) async fn detail_without_notes(&self, execution: ExecutionId) -> Detail {
        let mut detail = Detail::default();
        for task in self.timeline(execution).await {
            if task.attempts + task.crashes + task.releases > 0 || task.status == TaskStatus::Failed {
                detail.ended_claims.insert(task.id, self.ended_claims(task.id).await);
            }
            if task.map.is_some() {
                detail.items.insert(task.id, self.items(task.id).await);
            }
            detail.tasks.insert(task.id, task);
        }
        detail
    }

    /// The execution of a task that was ever sent.
    pub(crate) fn home(&self, task: TaskId) -> Option<ExecutionId> {
        self.shared.known().homes.get(&task).copied()
    }

    fn note_exchange(&self, batch: &[Transition], claim: Option<&ClaimRequest<'_>>, exchanged: &Exchanged) {
        for (transition, outcome) in batch.iter().zip(&exchanged.outcomes) {
            self.note(tell::commit(transition, outcome));
        }
        if let Some(claim) = claim {
            self.note(tell::claim(claim, exchanged));
        }
    }
}

impl Shared {
    async fn open(&self) -> Arc<dyn Store> {
        self.fixture.open().await.expect("the harness opens a handle")
    }

    fn id(&self) -> TaskId {
        id(self.ids.fetch_add(1, Ordering::Relaxed))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, batch: &[Transition]) {
        let mut known = self.known();
        let imported = batch.iter().filter_map(|transition| match transition {
            Transition::Import(import) => Some(import.tasks.iter().map(|stored| &stored.task)),
            _ => None,
        });
        for new in batch.iter().flat_map(Transition::rows).chain(imported.flatten()) {
            known.homes.insert(new.id, new.tree.execution);
            match new.kind {
                StepKind::Call => {
                    known.functions.insert(new.lane.function.clone());
                }
                StepKind::Map | StepKind::Gather => {
                    known.maps.insert(new.id);
                }
                StepKind::Sleep | StepKind::Inline | StepKind::Signal | StepKind::Spawn | StepKind::Join => {}
            }
        }
    }
}

/// A claim under construction. Awaiting it returns the claimed tasks.
pub(crate) struct Claim<'a> {
    world: &'a World,
    max: usize,
    now: Timestamp,
    lease: Duration,
    functions: Option<Vec<String>>,
    queues: Option<Vec<String>>,
    tags: Vec<String>,
    limits: Vec<Limit>,
    cache: &'a dyn StickyCache,
}

impl<'a> Claim<'a> {
    pub(crate) const fn at(mut self, now: Timestamp) -> Self {
        self.now = now;
        self
    }

    pub(crate) const fn lease(mut self, seconds: u64) -> Self {
        self.lease = Duration::from_secs(seconds);
        self
    }

    pub(crate) fn functions<const N: usize>(mut self, functions: [&str; N]) -> Self {
        self.functions = Some(functions.map(str::to_owned).into());
        self
    }

    pub(crate) fn queues<const N: usize>(mut self, queues: [&str; N]) -> Self {
        self.queues = Some(queues.map(str::to_owned).into());
        self
    }

    /// The worker's tags.
    pub(crate) fn tags<const N: usize>(mut self, tags: [&str; N]) -> Self {
        self.tags = tags.map(str::to_owned).into();
        self
    }

    /// At most this many tasks of a function may run.
    pub(crate) fn limit(mut self, function: &str, max_concurrent: u32) -> Self {
        let max_concurrent = Some(max_concurrent);
        self.limits.push(Limit { function: function.to_owned(), max_concurrent, rate: None });
        self
    }

    /// At most this many tasks of a function may be claimed in a period, and at most `max_concurrent` may run.
    pub(crate) fn rate(mut self, function: &str, rate: &str, max_concurrent: Option<u32>) -> Self {
        let rate: Rate = rate.parse().expect("a rate");
        self.limits.push(Limit { function: function.to_owned(), max_concurrent, rate: Some(rate) });
        self
    }

    pub(crate) const fn cache(mut self, cache: &'a dyn StickyCache) -> Self {
        self.cache = cache;
        self
    }

    /// Sends it together with transitions, and returns the whole answer.
    pub(crate) async fn with<T: Into<Transition>>(self, batch: impl IntoIterator<Item = T>) -> Exchanged {
        let batch: Vec<_> = batch.into_iter().map(Into::into).collect();
        // The worker also knows the tasks that the batch inserts.
        self.world.shared.learn(&batch);
        let functions =
            self.functions.unwrap_or_else(|| self.world.shared.known().functions.iter().cloned().collect());
        let request = ClaimRequest {
            worker: self.world.worker,
            nonce: self.world.nonce(),
            now: self.now,
            until: self.now + self.lease,
            max: self.max,
            functions: &functions,
            queues: self.queues.as_deref(),
            tags: &self.tags,
            limits: &self.limits,
            cache: self.cache,
        };
        self.world.exchange(&batch, Some(&request)).await
    }

    /// When the next task is due, if none is due now.
    pub(crate) async fn next_due(self) -> Option<Timestamp> {
        let exchanged = self.with::<Transition>([]).await;
        same("the number of tasks that are due", exchanged.claimed.len(), 0);
        exchanged.next_due
    }

    /// The ids of the claimed tasks.
    pub(crate) async fn ids(self) -> Vec<TaskId> {
        self.await.iter().map(|claimed| claimed.task.id).collect()
    }
}

impl<'a> IntoFuture for Claim<'a> {
    type Output = Vec<Claimed>;
    type IntoFuture = Pin<Box<dyn Future<Output = Vec<Claimed>> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async { self.with::<Transition>([]).await.claimed })
    }
}

/// A worker's sticky cache, as the case defines it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(pub(crate) BTreeMap<Fence, u32>);

impl Memory {
    /// A cache with one task, as the task stands under this fence.
    pub(crate) fn of(fence: Fence, seen: u32) -> Self {
        Self([(fence, seen)].into())
    }
}

impl StickyCache for Memory {
    fn seen(&self, fence: &Fence) -> Option<u32> {
        self.0.get(fence).copied()
    }
}

/// Everything that readers can see.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Snapshot {
    executions: BTreeMap<ExecutionId, ExecutionView>,
    details: BTreeMap<ExecutionId, Detail>,
    /// The items of every map that was ever sent, even if the map itself is gone.
    items: BTreeMap<(TaskId, Seq), ItemView>,
    dead_letters: BTreeMap<ExecutionId, DeadLetter>,
}

/// Everything that readers can see about an execution, except its own line.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Detail {
    pub(crate) tasks: BTreeMap<TaskId, TaskView>,
    items: BTreeMap<TaskId, Vec<ItemView>>,
    ended_claims: BTreeMap<TaskId, Vec<EndedClaim>>,
    pub(crate) notes: NotesView,
}

impl Detail {
    /// The differences, one per line.
    pub(crate) fn differences(&self, expected: &Self) -> Vec<String> {
        let mut lines = differences(&self.tasks, &expected.tasks);
        lines.append(&mut differences(&self.items, &expected.items));
        lines.append(&mut differences(&self.ended_claims, &expected.ended_claims));
        if self.notes != expected.notes {
            lines.push(format!("notes\n  expected: {:?}\n    actual: {:?}", expected.notes, self.notes));
        }
        lines
    }
}

impl Snapshot {
    /// Asserts that readers can see no difference.
    #[track_caller]
    pub(crate) fn expect_same(&self, what: &str, expected: &Self) {
        let differences = self.differences(expected);
        assert!(differences.is_empty(), "{what}\n{}", differences.join("\n"));
    }

    /// The differences, one per line.
    pub(crate) fn differences(&self, expected: &Self) -> Vec<String> {
        let mut lines = differences(&self.executions, &expected.executions);
        let executions = self.details.keys().chain(expected.details.keys());
        for execution in executions.collect::<BTreeSet<_>>() {
            let of = |snapshot: &'_ Self| snapshot.details.get(execution).cloned().unwrap_or_default();
            lines.append(&mut of(self).differences(&of(expected)));
        }
        lines.append(&mut differences(&self.items, &expected.items));
        lines.append(&mut differences(&self.dead_letters, &expected.dead_letters));
        lines
    }
}

fn differences<K, V>(actual: &BTreeMap<K, V>, expected: &BTreeMap<K, V>) -> Vec<String>
where
    K: fmt::Debug + Ord,
    V: fmt::Debug + PartialEq,
{
    let keys: BTreeSet<_> = actual.keys().chain(expected.keys()).collect();
    let differ = keys.into_iter().filter(|key| actual.get(key) != expected.get(key));
    differ
        .map(|key| format!("{key:?}\n  expected: {:?}\n    actual: {:?}", expected.get(key), actual.get(key)))
        .collect()
}

/// Starts the given number of workers at the same moment, each on its own handle, and returns their results.
///
/// The handles are opened and used once before the start, and are kept for the next round: if a worker had to connect first,
/// the workers would not overlap.
pub(crate) async fn at_once<T, F>(world: &World, workers: usize, work: impl Fn(World, usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let start = Arc::new(Barrier::new(workers));
    let mut tasks = Vec::new();
    for (n, peer) in world.crew(workers).await.into_iter().enumerate() {
        let (start, work) = (Arc::clone(&start), work(peer, n));
        tasks.push(tokio::spawn(async move {
            start.wait().await;
            work.await
        }));
    }
    let mut results = Vec::new();
    for task in tasks {
        match task.await {
            Ok(result) => results.push(result),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    results
}
