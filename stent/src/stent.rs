//! `Stent`: the handle that an application holds.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stent_core::backend::{HintChannel, NotesView, Purge, Store};
use stent_core::duration::{DurationError, IntoDuration, IntoTimeout};
use stent_core::limits::PAYLOAD_BYTES_MAX;
use stent_core::model::ExecutionStatus;
use stent_core::{Codec, ExecutionId, Payload, Timestamp};

use crate::durable::call::Call;
use crate::engine::call_timeout::CallTimeout;
use crate::engine::clock::{ClockOptions, ClockSource};
use crate::engine::connect;
use crate::engine::hints::HintOptions;
use crate::engine::hooks::Hooks;
use crate::engine::poll::PollOptions;
use crate::engine::runs::Runs;
use crate::engine::skip::Skip;
use crate::engine::transform::{PayloadTransform, Transforms};
use crate::engine::{Engine, EngineOptions};
use crate::error::Result;
use crate::execution::by_name::DispatchByName;
use crate::execution::dead_letters::DeadLetters;
use crate::execution::dispatch::{Dispatch, DispatchAll};
use crate::execution::handle::Handle;
use crate::execution::import::Import;
use crate::execution::inspect::Inspector;
use crate::execution::request::{Cancel, SendSignal};
use crate::execution::result::{ResultOf, decode_outcome};
use crate::execution::retention::{self, Retention, RetentionReport, RetentionTask};
use crate::function::Function;
use crate::function::fake::Fake;
use crate::function::registry::Registry;
use crate::metrics::Metrics;
use crate::worker::{Fleet, WorkerBuilder, WorkersOverview};

/// A connection to a store, together with the functions that this process knows. Cheap to clone; clones share
/// everything.
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

/// Options of a connection: see [`Stent::builder`].
#[derive(Clone, Debug)]
pub struct StentBuilder {
    registry: Option<Registry>,
    fakes: Vec<Fake>,
    runs: Option<Arc<Runs>>,
    codec: Codec,
    payload_max: usize,
    poll: PollOptions,
    hooks: Hooks,
    clock: ClockOptions,
    transforms: Transforms,
    hints: Option<HintOptions>,
    sample_lanes: Option<Duration>,
    retention: Option<Retention>,
    migrate: bool,
    invalid: Option<DurationError>,
}

impl StentBuilder {
    /// Registers these functions instead of every function that is linked into the program.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Encodes arguments and results with this codec. Stored data is still decoded with the codec that encoded it.
    #[must_use]
    pub const fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Encodes the bytes of payloads with this transform on their way to the store, and decodes what it has encoded. Stored
    /// payloads are decoded with the transform that encoded them: see [`decode_with`](Self::decode_with).
    #[must_use]
    pub fn transform(mut self, transform: impl PayloadTransform) -> Self {
        self.transforms.seal_with(transform);
        self
    }

    /// Decodes payloads that this transform has encoded, but encodes none with it: for a transform that will be introduced
    /// soon, or was in use before.
    #[must_use]
    pub fn decode_with(mut self, transform: impl PayloadTransform) -> Self {
        self.transforms.open_with(transform);
        self
    }

    /// Limits the size of a payload in bytes, before any transform; the default is 2 MiB.
    #[must_use]
    pub const fn payload_max(mut self, bytes: usize) -> Self {
        self.payload_max = bytes;
        self
    }

    /// Sets how often to poll the store for work and for the end of executions when no hints arrive; the default is
    /// from 50 ms to 2 s.
    #[must_use]
    pub const fn poll(mut self, poll: PollOptions) -> Self {
        self.poll = poll;
        self
    }

    /// Also sends and receives hints through this channel, in addition to the store's own hints. Then a change by one process wakes
    /// the workers and the waits of the others within a few milliseconds. All processes that share the store need the same channel.
    ///
    /// It pays where the store's own hints are slow or do not arrive: several processes on one SQLite file, which they look at
    /// every 20 ms, or Postgres behind a pooler that loses notifications. With the feature `redis`, `stent::redis::RedisHints` is a
    /// channel:
    ///
    /// ```no_run
    /// # #[cfg(feature = "redis")]
    /// # async fn example() -> stent::Result<()> {
    /// use stent::Stent;
    /// use stent::redis::RedisHints;
    ///
    /// let hints = RedisHints::connect("redis://cache?namespace=orders").await?;
    /// let stent = Stent::builder().hints(hints).connect("sqlite://orders.db").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A broken channel fails no call: changes are then found by polling, the channel logs one warning per outage, and
    /// [`Metrics::hints_lost`] counts it.
    ///
    /// A transaction that your application commits itself (`within`) is announced by the store's own hints only; where these do not
    /// arrive, polling finds its work.
    ///
    /// The channel belongs to one `Stent` and is closed with it. If a clone of this builder opens another store, that is an error.
    #[must_use]
    pub fn hints(mut self, channel: impl HintChannel) -> Self {
        self.hints = Some(HintOptions::new(channel));
        self
    }

    /// Sets how long to wait for the store's answer before a call is abandoned and made again; the default is two
    /// minutes, and zero means no limit. This bounds commits, claims, dispatches, requests, waits for results and
    /// readings of the store's clock. On Postgres, a statement without an answer is always abandoned after 10 s.
    #[must_use]
    pub fn call_timeout(mut self, timeout: impl IntoTimeout) -> Self {
        match timeout.into_timeout() {
            Ok(timeout) => self.clock.call_timeout = CallTimeout(timeout.unwrap_or(Duration::MAX)),
            Err(error) => self.invalid = Some(error),
        }
        self
    }

    /// Reports events to these hooks.
    #[must_use]
    pub fn metrics(mut self, metrics: impl Metrics) -> Self {
        self.hooks = Hooks::new(metrics);
        self
    }

    /// Reads the waiting work at this interval and reports it to [`Metrics::lanes_sampled`]: how many tasks wait on each
    /// queue for each function, and since when. Off by default; the minimum is 1 ms, and 15 s is typical.
    ///
    /// The read visits every waiting task, in an index, so its cost grows with the backlog. The pause after a read is at
    /// least 19 times as long as the read took. All processes that share a store read the same numbers; one or two are
    /// enough.
    #[must_use]
    pub fn sample_lanes(mut self, every: impl IntoDuration) -> Self {
        match every.into_duration() {
            Ok(every) => self.sample_lanes = Some(every),
            Err(error) => self.invalid = Some(error),
        }
        self
    }

    /// Deletes what is older than this retention allows, within ten seconds and then every minute, for as long as the [`Stent`], a clone of it or
    /// one of its workers lives. Off by default: everything is kept, and opening the store logs that once.
    ///
    /// It deletes in small transactions, as [`Stent::apply_retention`] does. All processes that share a store may set it; one is
    /// enough, and the shortest ages win. A failure is logged and tried again a minute later. For another interval, use
    /// [`Stent::start_retention`].
    ///
    /// ```
    /// # async fn example() -> stent::Result<()> {
    /// use std::time::Duration;
    /// use stent::{Retention, Stent};
    ///
    /// let day = Duration::from_secs(24 * 3600);
    /// let retention = Retention::default().executions(30 * day).dead_letters(90 * day);
    /// let stent = Stent::builder().retention(retention).connect("sqlite://orders.db").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = Some(retention);
        self
    }

    /// Uses this clock; the default is the store's.
    #[must_use]
    pub const fn clock(mut self, source: ClockSource) -> Self {
        self.clock.source = source;
        self
    }

    /// Logs a warning, once, when the host's clock and the store's differ by more than this; the default is 1 s. Zero
    /// means no limit, so no warning is logged.
    #[must_use]
    pub fn clock_drift_warn(mut self, drift: impl IntoTimeout) -> Self {
        match drift.into_timeout() {
            Ok(drift) => self.clock.drift_warn = drift.unwrap_or(Duration::MAX),
            Err(error) => self.invalid = Some(error),
        }
        self
    }

    /// Sets how often the host's clock is compared with the store's; it is also compared after failures of the store.
    /// The default is one minute, the minimum 1 ms. A shorter interval, including zero, is an error when the store is
    /// opened.
    #[must_use]
    pub fn clock_check(mut self, every: impl IntoDuration) -> Self {
        match every.into_duration() {
            Ok(every) => self.clock.check_every = every,
            Err(error) => self.invalid = Some(error),
        }
        self
    }

    /// Reads the host's clock with this function instead of asking the system: for tests that set the clock wrong or
    /// move it by hand.
    #[must_use]
    pub fn host_clock(mut self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.clock.host = Some(Arc::new(clock));
        self
    }

    /// Runs other bodies, for tests.
    pub(crate) fn fake(mut self, fake: Fake) -> Self {
        self.fakes.push(fake);
        self
    }

    /// Counts the runs of steps, for tests.
    pub(crate) fn runs(mut self, runs: Arc<Runs>) -> Self {
        self.runs = Some(runs);
        self
    }

    /// Skips time, for tests.
    pub(crate) fn skip(mut self, skip: Arc<Skip>) -> Self {
        self.clock.skip = Some(skip);
        self
    }

    /// Sets whether opening a store migrates its schema; true by default. If it is false, the schema must be the one that
    /// this program needs, and opening changes nothing: for deployments that migrate in a step of their own, as
    /// `stent migrate` does, and for tools that only read.
    #[must_use]
    pub const fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// Connects to the store at this URL and migrates its schema, unless [`migrate`](Self::migrate) says otherwise.
    ///
    /// # Errors
    /// See [`Stent::connect`]. Without a migration, also a store error of kind `Schema` if the store has no schema, or an
    /// older one.
    pub async fn connect(self, url: &str) -> Result<Stent> {
        self.open(connect::store(url).await?).await
    }

    /// Uses a store that is already open, and migrates its schema, unless [`migrate`](Self::migrate) says otherwise.
    ///
    /// # Errors
    /// An option is invalid, two functions have the same name, or the store fails. Without a migration, also a store error
    /// of kind `Schema` if the store has no schema, or an older one.
    pub async fn open(self, store: Arc<dyn Store>) -> Result<Stent> {
        if let Some(error) = self.invalid {
            return Err(error.into());
        }
        let registry = match self.fakes.is_empty() {
            true => self.registry,
            false => {
                let registry = self.registry.unwrap_or_else(Registry::linked);
                Some(self.fakes.into_iter().fold(registry, Registry::with_fake))
            }
        };
        let options = EngineOptions {
            registry,
            codec: self.codec,
            payload_max: self.payload_max,
            poll: self.poll,
            hooks: self.hooks,
            clock: self.clock,
            transforms: self.transforms,
            hints: self.hints,
            sample_lanes: self.sample_lanes,
            migrate: self.migrate,
            runs: self.runs,
        };
        let engine = Engine::open(store, options).await?;
        match self.retention {
            Some(retention) => retention::keep(Arc::downgrade(&engine), retention),
            // A program that does not migrate is a tool, and tells its user nothing about upkeep.
            None if self.migrate => retention::hint(),
            None => {}
        }
        Ok(Stent { engine, fleet: Arc::new(Fleet::new()) })
    }
}

impl Stent {
    /// Connects to the store at this URL and migrates its schema. All durable functions that are linked into the
    /// program are registered.
    ///
    /// | URL | Store |
    /// |---|---|
    /// | `sqlite://orders.db`, `sqlite:///var/lib/orders.db` | an SQLite file, created if it does not exist (feature `sqlite`) |
    /// | `postgres://user@host/database` | a Postgres database (feature `postgres`) |
    /// | `redis://host`, `rediss://host` | a Redis or Valkey server (feature `redis`) |
    /// | `memory:` | this process's memory, for tests; nothing survives it |
    ///
    /// # Errors
    /// The program was built without support for the URL's store, the store cannot be opened, or its schema is newer
    /// than this program.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::builder().connect(url).await
    }

    /// Returns a builder to connect with other options.
    #[must_use]
    pub fn builder() -> StentBuilder {
        StentBuilder {
            registry: None,
            fakes: Vec::new(),
            runs: None,
            codec: Codec::Cbor,
            payload_max: PAYLOAD_BYTES_MAX,
            poll: PollOptions::default(),
            hooks: Hooks::default(),
            clock: ClockOptions::default(),
            transforms: Transforms::default(),
            hints: None,
            sample_lanes: None,
            retention: None,
            migrate: true,
            invalid: None,
        }
    }

    /// Starts an execution of a call: `stent.dispatch(checkout(order)).await?`, now or [later](Dispatch::delay).
    pub fn dispatch<F: Function>(&self, call: Call<F>) -> Dispatch<F> {
        Dispatch::new(self.engine.clone(), call)
    }

    /// Starts an execution of each call, in large batches, and returns their handles in order.
    pub fn dispatch_all<F, I>(&self, calls: I) -> DispatchAll<F, I::IntoIter>
    where
        F: Function,
        I: IntoIterator<Item = Call<F>>,
    {
        DispatchAll::new(self.engine.clone(), calls.into_iter())
    }

    /// Starts an execution of a function by its name, which this process need not know: see [`DispatchByName`]. The arguments
    /// are a tuple with one element for each stored parameter: `&(order,)` for one, `&()` for none.
    ///
    /// Prefer [`dispatch`](Self::dispatch) where the function is at hand: the compiler checks its arguments.
    pub fn dispatch_by_name<A: serde::Serialize>(
        &self,
        function: impl Into<String>,
        args: &A,
    ) -> DispatchByName {
        DispatchByName::new(self.engine.clone(), function.into(), args)
    }

    /// Starts an execution and waits for its result.
    ///
    /// # Errors
    /// Those of the dispatch and of the execution.
    ///
    /// # Cancel safety
    /// The execution continues if this future is dropped, but its id is lost; use [`dispatch`](Self::dispatch) to keep
    /// it.
    pub async fn run<F: Function>(&self, call: Call<F>) -> Result<F::Output> {
        self.dispatch(call).await?.result().await
    }

    /// Builds a worker in this process: `stent.worker().concurrency(64).start().await?`.
    pub fn worker(&self) -> WorkerBuilder {
        WorkerBuilder::new(self.engine.clone(), self.fleet.clone())
    }

    /// The state of the workers that were started from this `Stent` or a clone of it, for readiness probes. Does not
    /// access the store.
    #[must_use]
    pub fn workers(&self) -> WorkersOverview {
        self.fleet.roster.overview()
    }

    /// Waits until a worker of this `Stent` is ready, that is, until its first successful exchange with the store. Also
    /// waits for workers that start later, so wrap it in a timeout if there may be none.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn wait_until_ready(&self) {
        self.fleet.roster.wait_until_ready().await;
    }

    /// Drains all workers of this `Stent` concurrently and waits until they have stopped: see [`Worker::drain`].
    ///
    /// [`Worker::drain`]: crate::Worker::drain
    ///
    /// # Cancel safety
    /// The drains continue if this future is dropped.
    pub async fn drain(&self) {
        self.fleet.roster.drain().await;
    }

    /// Returns a handle for an execution's id, with the type of its result.
    #[must_use]
    pub fn handle<T>(&self, id: ExecutionId) -> Handle<T> {
        Handle::new(self.engine.clone(), id)
    }

    /// Waits until an execution of any type has ended; decode the result with [`Payload::decode`].
    pub fn wait_for(&self, id: ExecutionId) -> ResultOf<Payload> {
        ResultOf::raw(self.engine.clone(), id)
    }

    /// Returns the result of an execution, or `None` if it has not ended.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound); the execution's error, if it did not end with a result; store errors.
    pub async fn result_of(&self, id: ExecutionId) -> Result<Option<Payload>> {
        let view = self.inspect().describe(id).await?;
        if view.status.is_terminal() { decode_outcome(view.status, view.result).map(Some) } else { Ok(None) }
    }

    /// Reads an execution's status.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound); store errors.
    pub async fn status(&self, id: ExecutionId) -> Result<ExecutionStatus> {
        Ok(self.inspect().describe(id).await?.status)
    }

    /// Sends a value to the current or the next wait of an execution for this [signal](crate::signal()).
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

    /// Cancels an execution: see [`Cancel`].
    pub fn cancel(&self, id: ExecutionId) -> Cancel {
        Cancel::new(self.engine.clone(), id)
    }

    /// Reads an execution's notes so far: counters, states, progress. The notes of an unknown execution are empty.
    ///
    /// # Errors
    /// Store errors.
    pub async fn notes(&self, id: ExecutionId) -> Result<NotesView> {
        Ok(self.engine.retrying(|| self.engine.store.notes(id)).await?)
    }

    /// The executions that failed for good.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(self.engine.clone())
    }

    /// Reads for operators: lists and counts executions, describes one, reads its timeline, and reads the work that waits
    /// or runs.
    #[must_use]
    pub fn inspect(&self) -> Inspector {
        Inspector::new(self.engine.clone())
    }

    /// Begins to import an execution that another store has [exported](Inspector::export): its whole record, with its keys. An open
    /// execution runs on in this store, and completed steps do not run again. The execution in the other store is not changed; if
    /// workers still run it there, its steps run in both.
    ///
    /// A task that ran when it was exported is due at once. Parked tasks stay parked, and deadlines and the moments of sleeps stay as
    /// they are, so those that have passed meanwhile are due. Results that were cached under keys are not part of an export.
    ///
    /// ```
    /// # async fn example(production: stent::Stent, laptop: stent::Stent, id: stent::ExecutionId) -> stent::Result<()> {
    /// let (mut export, mut import) = (production.inspect().export(id), laptop.import());
    /// while let Some(part) = export.next().await? {
    ///     import.add(part)?;
    /// }
    /// let imported = import.queue("debugging").write().await?;
    /// println!("imported {} with {} tasks", imported.execution, imported.tasks);
    /// # Ok(())
    /// # }
    /// ```
    pub fn import(&self) -> Import {
        Import::new(self.engine.clone())
    }

    /// Deletes executions that ended longer ago than `age`: oldest first, at most `max`. Returns how many it deleted.
    /// Dead letters stay; they have their [own purge](DeadLetters::purge).
    ///
    /// # Errors
    /// The text is not a duration, or the age is zero: elsewhere zero keeps things forever, here it could mean "all",
    /// for which there is [`purge_all`](Self::purge_all); store errors.
    pub async fn purge(&self, age: impl IntoDuration, max: u32) -> Result<u32> {
        let age = retention::aged(age)?;
        retention::purge_once(&self.engine, Purge::Executions, age, max).await
    }

    /// Deletes ended executions of any age: oldest first, at most `max`. Returns how many it deleted. Dead letters
    /// stay; they have their [own purge](DeadLetters::purge_all).
    ///
    /// # Errors
    /// Store errors.
    pub async fn purge_all(&self, max: u32) -> Result<u32> {
        retention::purge_once(&self.engine, Purge::Executions, Duration::ZERO, max).await
    }

    /// Deletes everything that is older than the retention allows, in bounded steps, and reports how much was deleted.
    /// Several processes may do so; one is enough.
    ///
    /// # Errors
    /// The first store error, after every kind was tried: a kind that cannot be deleted does not hold up the others.
    /// Completed deletions are kept.
    ///
    /// # Cancel safety
    /// Cancel safe: the next call deletes the rest.
    pub async fn apply_retention(&self, retention: &Retention) -> Result<RetentionReport> {
        retention::apply(&self.engine, retention).await
    }

    /// Makes this process [apply a retention](Self::apply_retention) at this interval, until the returned task is
    /// dropped. The first time is by chance within the interval, and within ten seconds, so that processes that start together
    /// do not delete the same things at once.
    ///
    /// # Errors
    /// The text is not a duration, or the interval is less than 1 ms.
    ///
    /// # Panics
    /// If it is not called in a tokio runtime, where its background task has to run.
    pub fn start_retention(&self, retention: Retention, every: impl IntoDuration) -> Result<RetentionTask> {
        RetentionTask::start(self.engine.clone(), retention, every.into_duration()?)
    }

    pub(crate) const fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The store underneath.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.engine.store
    }

    /// Copies a snapshot of the whole store to a new file while work continues. This is the safe way to copy an SQLite
    /// store. Copying the file by other means is [unsafe](https://www.sqlite.org/howtocorrupt.html): it misses the data
    /// in the log, and `std::fs::copy` in a process that has the store open drops that process's locks.
    ///
    /// The copy is a store that [`connect`](Self::connect) opens. The file gets its name only when it is complete and
    /// on the disk.
    ///
    /// # Errors
    /// A store error of kind `Config` if the file already exists, if it cannot be written, and on stores other than
    /// SQLite; other kinds if the store cannot be read or the disk is full. No file remains at `path` after an error.
    ///
    /// # Cancel safety
    /// A copy that has begun is completed even if this future is dropped.
    pub async fn backup_to(&self, path: impl AsRef<Path>) -> Result<()> {
        Ok(self.engine.store.backup_to(path.as_ref()).await?)
    }

    /// Closes the store: waits for writes in flight and releases its files and connections. Drain the workers first.
    ///
    /// # Errors
    /// Store errors.
    pub async fn close(&self) -> Result<()> {
        Ok(self.engine.store.close().await?)
    }
}
