//! `Stent`: the handle that an application holds.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stent_core::backend::{ExecutionView, Filter, LaneView, NotesView, Purge, RunningView, Store, TaskView};
use stent_core::duration::{DurationError, IntoDuration, IntoTimeout};
use stent_core::limits::{COUNT_MAX, LANES_MAX, PAGE_MAX, PAYLOAD_BYTES_MAX};
use stent_core::model::ExecutionStatus;
use stent_core::{Codec, ExecutionId, Payload, Timestamp};

use crate::durable::call::Call;
use crate::engine::call_timeout::CallTimeout;
use crate::engine::clock::{ClockOptions, ClockSource};
use crate::engine::connect;
use crate::engine::hooks::Hooks;
use crate::engine::poll::PollOptions;
use crate::engine::transform::{PayloadTransform, Transforms};
use crate::engine::{Engine, EngineOptions};
use crate::error::{Error, Result};
use crate::execution::dead_letters::DeadLetters;
use crate::execution::dispatch::{Dispatch, DispatchAll};
use crate::execution::handle::Handle;
use crate::execution::request::{Cancel, SendSignal};
use crate::execution::result::{ResultOf, decode_outcome};
use crate::execution::retention::{self, Retention, RetentionReport, RetentionTask};
use crate::function::Function;
use crate::function::registry::Registry;
use crate::metrics::Metrics;
use crate::worker::{Fleet, WorkerBuilder, WorkersOverview};

/// A connection to a store, and the functions that this process knows. Cheap to clone; clones share everything.
///
/// ```standalone_crate
/// # use stent::prelude::*;
/// #[durable]
/// async fn double(n: u64) -> Result<u64, String> {
///     Ok(n * 2)
/// }
///
/// # #[tokio::main] async fn main() -> stent::Result<()> {
/// let stent = Stent::connect("memory:").await?;
/// let worker = stent.worker().start().await?;
///
/// let run = stent.dispatch(double(21)).await?;
/// assert_eq!(run.result().timeout("10s").await?, 42);
/// worker.drain().await
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Stent {
    engine: Arc<Engine>,
    fleet: Arc<Fleet>,
}

/// How to connect, where the defaults do not fit: see [`Stent::builder`].
#[derive(Clone, Debug)]
pub struct StentBuilder {
    registry: Option<Registry>,
    codec: Codec,
    payload_max: usize,
    poll: PollOptions,
    hooks: Hooks,
    clock: ClockOptions,
    transforms: Transforms,
    invalid: Option<DurationError>,
}

impl StentBuilder {
    /// Knows these functions, instead of every one that is linked into the program.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Encodes arguments and results so. What is stored already is read by what it was written with.
    #[must_use]
    pub const fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Encodes the bytes of payloads with this transform on their way to the store, and decodes what it has encoded. Payloads that
    /// are stored already are decoded by what they were encoded with: see [`decode_with`](Self::decode_with).
    #[must_use]
    pub fn transform(mut self, transform: impl PayloadTransform) -> Self {
        self.transforms.seal_with(transform);
        self
    }

    /// Decodes payloads that this transform has encoded, and encodes none with it: for a transform that is about to be introduced,
    /// or was in use before.
    #[must_use]
    pub fn decode_with(mut self, transform: impl PayloadTransform) -> Self {
        self.transforms.open_with(transform);
        self
    }

    /// Takes payloads of up to so many bytes, before any transform; the default is 2 MiB.
    #[must_use]
    pub const fn payload_max(mut self, bytes: usize) -> Self {
        self.payload_max = bytes;
        self
    }

    /// Asks the store so often where no hint comes, for work and for ends; the default is from 50 ms to 2 s.
    #[must_use]
    pub const fn poll(mut self, poll: PollOptions) -> Self {
        self.poll = poll;
        self
    }

    /// Gives a call to the store up when it has had no answer for so long, and makes it again; the default is two minutes, and
    /// zero is no limit. Commits, claims, dispatches, requests, waits for results and looks at the store's clock are bounded by
    /// it. On Postgres a statement that gets no answer is given up after 10 s in any case.
    #[must_use]
    pub fn call_timeout(mut self, timeout: impl IntoTimeout) -> Self {
        match timeout.into_timeout() {
            Ok(timeout) => self.clock.call_timeout = CallTimeout(timeout.unwrap_or(Duration::MAX)),
            Err(error) => self.invalid = Some(error),
        }
        self
    }

    /// Tells this of what happens, to be counted.
    #[must_use]
    pub fn metrics(mut self, metrics: impl Metrics) -> Self {
        self.hooks = Hooks::new(metrics);
        self
    }

    /// Goes by this clock; the default is the store's.
    #[must_use]
    pub const fn clock(mut self, source: ClockSource) -> Self {
        self.clock.source = source;
        self
    }

    /// Warns, once, when the host's clock and the store's differ by more than this; the default is 1 s. Zero is no limit:
    /// nothing is warned of.
    #[must_use]
    pub fn clock_drift_warn(mut self, drift: impl IntoTimeout) -> Self {
        match drift.into_timeout() {
            Ok(drift) => self.clock.drift_warn = drift.unwrap_or(Duration::MAX),
            Err(error) => self.invalid = Some(error),
        }
        self
    }

    /// Compares the host's clock with the store's this often, beside after failures of the store; the default is one minute,
    /// and the shortest is 1 ms. Less than that, zero too, is an error when the store is opened.
    #[must_use]
    pub fn clock_check(mut self, every: impl IntoDuration) -> Self {
        match every.into_duration() {
            Ok(every) => self.clock.check_every = every,
            Err(error) => self.invalid = Some(error),
        }
        self
    }

    /// Reads the host's clock so, instead of asking the system: for tests that set it wrong or move it by hand.
    #[must_use]
    pub fn host_clock(mut self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.clock.host = Some(Arc::new(clock));
        self
    }

    /// Connects to the store that the URL names, and brings its schema up to date.
    ///
    /// # Errors
    /// See [`Stent::connect`].
    pub async fn connect(self, url: &str) -> Result<Stent> {
        self.open(connect::store(url).await?).await
    }

    /// Uses a store that is open already, and brings its schema up to date.
    ///
    /// # Errors
    /// When an option does not fit, two functions have the same name, or the store fails.
    pub async fn open(self, store: Arc<dyn Store>) -> Result<Stent> {
        if let Some(error) = self.invalid {
            return Err(error.into());
        }
        let options = EngineOptions {
            registry: self.registry,
            codec: self.codec,
            payload_max: self.payload_max,
            poll: self.poll,
            hooks: self.hooks,
            clock: self.clock,
            transforms: self.transforms,
        };
        Ok(Stent { engine: Engine::open(store, options).await?, fleet: Arc::new(Fleet::new()) })
    }
}

impl Stent {
    /// Connects to the store that the URL names, and brings its schema up to date. Every durable function that is linked
    /// into the program is known.
    ///
    /// | URL | Store |
    /// |---|---|
    /// | `sqlite://orders.db`, `sqlite:///var/lib/orders.db` | a SQLite file, made if it is missing (feature `sqlite`) |
    /// | `memory:` | this process's memory, for tests; nothing survives it |
    ///
    /// # Errors
    /// When the URL names no store that this program was built with, when the store cannot be opened, or when its schema
    /// is newer than this program.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::builder().connect(url).await
    }

    /// Connects with other than the default options.
    #[must_use]
    pub fn builder() -> StentBuilder {
        StentBuilder {
            registry: None,
            codec: Codec::Cbor,
            payload_max: PAYLOAD_BYTES_MAX,
            poll: PollOptions::default(),
            hooks: Hooks::default(),
            clock: ClockOptions::default(),
            transforms: Transforms::default(),
            invalid: None,
        }
    }

    /// Starts an execution of a call: `stent.dispatch(checkout(order)).await?`, now or [later](Dispatch::delay).
    pub fn dispatch<F: Function>(&self, call: Call<F>) -> Dispatch<F> {
        Dispatch::new(self.engine.clone(), call)
    }

    /// Starts an execution of each call, in large batches, and gives their handles in order.
    pub fn dispatch_all<F, I>(&self, calls: I) -> DispatchAll<F, I::IntoIter>
    where
        F: Function,
        I: IntoIterator<Item = Call<F>>,
    {
        DispatchAll::new(self.engine.clone(), calls.into_iter())
    }

    /// Starts an execution and waits for what it gives.
    ///
    /// # Errors
    /// Those of dispatching, and those of the execution.
    ///
    /// # Cancel safety
    /// The execution goes on if this is dropped, but nobody knows its id then; use [`dispatch`](Self::dispatch) to keep it.
    pub async fn run<F: Function>(&self, call: Call<F>) -> Result<F::Output> {
        self.dispatch(call).await?.result().await
    }

    /// Describes a worker of this process: `stent.worker().concurrency(64).start().await?`.
    pub fn worker(&self) -> WorkerBuilder {
        WorkerBuilder::new(self.engine.clone(), self.fleet.clone())
    }

    /// How the workers are that were started from this `Stent` or a clone of it: for readiness probes. Asks no store.
    #[must_use]
    pub fn workers(&self) -> WorkersOverview {
        self.fleet.roster.overview()
    }

    /// Waits until a worker of this `Stent` is ready: it has exchanged with the store once. Waits also for one that has yet
    /// to be started, so give it a timeout of your own where none may be.
    ///
    /// # Cancel safety
    /// Safe: it only looks.
    pub async fn wait_until_ready(&self) {
        self.fleet.roster.wait_until_ready().await;
    }

    /// Has all workers of this `Stent` drain at once, and waits until they have stopped: see [`Worker::drain`].
    ///
    /// [`Worker::drain`]: crate::Worker::drain
    ///
    /// # Cancel safety
    /// The drains go on if this is dropped.
    pub async fn drain(&self) {
        self.fleet.roster.drain().await;
    }

    /// Finds an execution again by its id, with the type of what it gives.
    #[must_use]
    pub fn handle<T>(&self, id: ExecutionId) -> Handle<T> {
        Handle::new(self.engine.clone(), id)
    }

    /// Waits until an execution has ended, whatever it gives: decode it with [`Payload::decode`].
    pub fn wait_for(&self, id: ExecutionId) -> ResultOf<Payload> {
        ResultOf::raw(self.engine.clone(), id)
    }

    /// What an execution gave, or `None` if it has not ended.
    ///
    /// # Errors
    /// [`Error::NotFound`]; the execution's own end, if it is not a result; store errors.
    pub async fn result_of(&self, id: ExecutionId) -> Result<Option<Payload>> {
        let view = self.describe(id).await?;
        if view.status.is_terminal() { decode_outcome(view.status, view.result).map(Some) } else { Ok(None) }
    }

    /// Where an execution stands.
    ///
    /// # Errors
    /// [`Error::NotFound`]; store errors.
    pub async fn status(&self, id: ExecutionId) -> Result<ExecutionStatus> {
        Ok(self.describe(id).await?.status)
    }

    /// An execution as the store has it.
    ///
    /// # Errors
    /// [`Error::NotFound`]; store errors.
    pub async fn describe(&self, id: ExecutionId) -> Result<ExecutionView> {
        let views = self.engine.retrying(|| self.engine.store.executions(std::slice::from_ref(&id))).await?;
        views.into_iter().next().ok_or(Error::NotFound(id))
    }

    /// Every task of an execution, oldest first.
    ///
    /// # Errors
    /// Store errors. An unknown execution has no tasks.
    pub async fn timeline(&self, id: ExecutionId) -> Result<Vec<TaskView>> {
        let mut tasks: Vec<TaskView> = Vec::new();
        loop {
            let after = tasks.last().map(|task| task.id);
            let page = self.engine.retrying(|| self.engine.store.tasks(id, after, PAGE_MAX)).await?;
            let whole = page.len() == PAGE_MAX;
            tasks.extend(page);
            if !whole {
                return Ok(tasks);
            }
        }
    }

    /// Sends a value to an execution, for whoever of it waits, or will wait, for this [signal](crate::signal()).
    ///
    /// # Errors
    /// Those of [`SendSignal`].
    pub fn send_signal<V: serde::Serialize>(
        &self,
        id: ExecutionId,
        name: impl Into<String>,
        value: &V,
    ) -> SendSignal {
        SendSignal::new(self.engine.clone(), id, name.into(), value)
    }

    /// Asks an execution to end: see [`Cancel`].
    pub fn cancel(&self, id: ExecutionId) -> Cancel {
        Cancel::new(self.engine.clone(), id)
    }

    /// What an execution's code has said of it so far: counters, states, progress. An unknown execution has said nothing.
    ///
    /// # Errors
    /// Store errors.
    pub async fn notes(&self, id: ExecutionId) -> Result<NotesView> {
        Ok(self.engine.retrying(|| self.engine.store.notes(id)).await?)
    }

    /// Executions that failed for good.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(self.engine.clone())
    }

    /// Reads a page of executions, newest first: those that the filter admits and that were dispatched before `before`, at
    /// most `max`, and at most 1,000.
    ///
    /// # Errors
    /// Store errors.
    pub async fn list(
        &self,
        filter: &Filter,
        before: Option<ExecutionId>,
        max: usize,
    ) -> Result<Vec<ExecutionView>> {
        let max = max.min(PAGE_MAX);
        Ok(self.engine.retrying(|| self.engine.store.list(filter, before, max)).await?)
    }

    /// Counts executions by status. Statuses that none has are left out.
    ///
    /// # Errors
    /// Store errors.
    pub async fn count(&self) -> Result<BTreeMap<ExecutionStatus, u64>> {
        Ok(self.engine.retrying(|| self.engine.store.count(COUNT_MAX)).await?)
    }

    /// Reads what waits, by queue, function and tags.
    ///
    /// # Errors
    /// Store errors.
    pub async fn lanes(&self) -> Result<Vec<LaneView>> {
        let now = self.engine.clock.now();
        Ok(self.engine.retrying(|| self.engine.store.lanes(now, LANES_MAX)).await?)
    }

    /// Counts the tasks that wait for a worker, now or later, on one queue or on all of them.
    ///
    /// # Errors
    /// Store errors.
    pub async fn queue_depth(&self, queue: Option<&str>) -> Result<u64> {
        let lanes = self.lanes().await?;
        let on_queue = lanes.iter().filter(|view| queue.is_none_or(|queue| view.lane.queue == queue));
        Ok(on_queue.map(|view| view.due + view.delayed).sum())
    }

    /// Lanes with work that is due and whose function this process does not know: it waits for a worker that does.
    ///
    /// # Errors
    /// Store errors.
    pub async fn unknown_work(&self) -> Result<Vec<LaneView>> {
        Ok(self.engine.unknown_work().await?)
    }

    /// Reads tasks that workers hold, those claimed last first, at most `max`, and at most 1,000.
    ///
    /// # Errors
    /// Store errors.
    pub async fn running(&self, max: usize) -> Result<Vec<RunningView>> {
        let max = max.min(PAGE_MAX);
        Ok(self.engine.retrying(|| self.engine.store.running(max)).await?)
    }

    /// Deletes executions that ended longer ago than `age`, oldest first, at most `max` of them, and says how many they
    /// were. Dead letters stay: they have a [purge of their own](DeadLetters::purge).
    ///
    /// # Errors
    /// When a text is not a duration; an age of zero, which elsewhere keeps things for good, and here might mean everything: see
    /// [`purge_all`](Self::purge_all); store errors.
    pub async fn purge(&self, age: impl IntoDuration, max: u32) -> Result<u32> {
        let age = retention::aged(age)?;
        retention::purge_once(&self.engine, Purge::Executions, age, max).await
    }

    /// Deletes executions that have ended, however short ago, oldest first, at most `max` of them, and says how many they were.
    /// Dead letters stay: they have a [purge of their own](DeadLetters::purge_all).
    ///
    /// # Errors
    /// Store errors.
    pub async fn purge_all(&self, max: u32) -> Result<u32> {
        retention::purge_once(&self.engine, Purge::Executions, Duration::ZERO, max).await
    }

    /// Deletes everything that is older than the retention allows, in bounded steps, and reports how much was deleted. Any number of
    /// processes may do so; one is enough.
    ///
    /// # Errors
    /// The first store error, after all kinds were tried: one kind that cannot be deleted holds up no other. What was deleted
    /// until then is deleted.
    ///
    /// # Cancel safety
    /// Safe: what is left is deleted by the next call.
    pub async fn apply_retention(&self, retention: &Retention) -> Result<RetentionReport> {
        retention::apply(&self.engine, retention).await
    }

    /// Has this process [apply a retention](Self::apply_retention) at this interval, until the returned task is dropped.
    ///
    /// # Errors
    /// When a text is not a duration, or it is less than 1 ms.
    pub fn start_retention(&self, retention: Retention, every: impl IntoDuration) -> Result<RetentionTask> {
        RetentionTask::start(self.engine.clone(), retention, every.into_duration()?)
    }

    /// The store underneath.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.engine.store
    }

    /// Writes a copy of the whole store, as it is at one moment, into a new file, while work goes on: the safe way to copy an
    /// SQLite store. Copying its file by other means is not ([why](https://www.sqlite.org/howtocorrupt.html)): it misses what is
    /// in the log, and `std::fs::copy` in a process that has it open costs that process its locks.
    ///
    /// The copy is a store that [`connect`](Self::connect) opens. It appears under its name once it is complete and on the disk.
    ///
    /// # Errors
    /// A store error of the kind `Config` when there is such a file already, when it cannot be written there, and on stores other
    /// than SQLite; others when the store cannot be read or the disk is full. Nothing is left at `path` then.
    ///
    /// # Cancel safety
    /// A copy that was begun is brought to its end.
    pub async fn backup_to(&self, path: impl AsRef<Path>) -> Result<()> {
        Ok(self.engine.store.backup_to(path.as_ref()).await?)
    }

    /// Closes the store: waits for writes under way and gives back its files and connections. Drain the workers first.
    ///
    /// # Errors
    /// Store errors.
    pub async fn close(&self) -> Result<()> {
        Ok(self.engine.store.close().await?)
    }
}
