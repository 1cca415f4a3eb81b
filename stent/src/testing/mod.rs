//! A store and a worker in one line, for tests of durable functions.
//!
//! ```standalone_crate
//! use stent::prelude::*;
//!
//! #[durable]
//! async fn double(n: u64) -> Result<u64, String> {
//!     Ok(n * 2)
//! }
//!
//! # #[tokio::main] async fn main() -> stent::Result<()> {
//! let test = stent::testing::start().await?;
//! assert_eq!(test.stent.run(double(21)).await?, 42);
//! # Ok(()) }
//! ```
//!
//! | To | Use |
//! |---|---|
//! | run a body alone, without a store | [`Call::local`](crate::Call::local) |
//! | skip a sleep or a timeout of days | nothing, or [`test.clock.advance`](TestClock::advance) |
//! | replace the body of a function | [`builder().fake(charge, …)`](TestingBuilder::fake), and [`test.calls(charge)`](Testing::calls) |
//! | check what was dispatched | [`test.assert_dispatched(remind)`](Testing::assert_dispatched) |
//! | crash the worker around a step | [`builder().crash_at("charge")`](TestingBuilder::crash_at), [`crash_randomly`](TestingBuilder::crash_randomly) |
//! | find code that is not deterministic, or repeats work | [`builder().strict()`](TestingBuilder::strict) |
//! | find a change that would strand executions in progress | [`replay(recording)`](replay()) |
//!
//! A [`Testing`] that is dropped fails the test if the worker was [strict](TestingBuilder::strict) and repeated work, or
//! did not come to a step at which it should [crash](TestingBuilder::crash_at).

mod clock;
mod crash;
mod dispatched;
mod fake;
mod record_store;
mod recording;
mod replay;
mod verdict;

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

pub use self::clock::TestClock;
use self::crash::{CrashStore, Plan};
pub use self::dispatched::{AssertDispatched, Dispatched};
use self::fake::Calls;
pub use self::fake::{DurableFn, FakeBody};
pub use self::recording::{IntoRecording, Recording};
pub use self::replay::{Difference, Replay, ReplayError, Replayed, replay};
use self::verdict::Verdict;
use crate::engine::connect;
use crate::engine::runs::Runs;
use crate::engine::skip::Skip;
use crate::error::Result;
use crate::function::Function;
use crate::function::registry::Registry;
use crate::stent::{Stent, StentBuilder};
use crate::worker::{Switch, Worker, WorkerBuilder};

/// Starts an in-memory store and a worker on it, and returns when the worker is ready. Time is [skipped](TestClock) while
/// the test waits for a result. All durable functions that are
/// linked into the test are registered, so none of them may need a [`State`](crate::State): if one does, use a
/// [`builder`] to provide states or a registry.
///
/// # Errors
/// Those of [`TestingBuilder::start`].
pub async fn start() -> Result<Testing> {
    builder().start().await
}

/// Returns a builder to start with other options: `stent::testing::builder().state(db).start().await?`.
pub fn builder() -> TestingBuilder {
    TestingBuilder {
        url: "memory:".to_owned(),
        skips: true,
        strict: false,
        plan: Plan::default(),
        calls: Calls::default(),
        stent: Stent::builder(),
        worker: Vec::new(),
    }
}

/// A store and a worker for one test. Dropping it stops the worker and discards an in-memory store.
#[derive(Debug)]
#[must_use = "dropping it stops the worker"]
pub struct Testing {
    /// A handle to the store, to dispatch and wait with.
    pub stent: Stent,
    /// The worker that runs dispatched work.
    pub worker: Worker,
    /// The clock, which skips the time in which nothing happens.
    pub clock: TestClock,
    calls: Calls,
    verdict: Verdict,
}

impl Testing {
    /// The calls of a function's [fake](TestingBuilder::fake), as tuples of their arguments, in the order in which they began.
    /// A call that was retried is there once for each attempt.
    ///
    /// # Panics
    /// If the function has no fake.
    #[track_caller]
    pub fn calls<F: Function<Args: Clone>, A>(&self, function: impl DurableFn<F, A>) -> Vec<F::Args> {
        let _ = function;
        let calls = self.calls.of::<F>();
        calls.unwrap_or_else(|| {
            panic!("`{0}` has no fake in this test; give it one with .fake({0}, …)", F::NAME)
        })
    }

    /// How often the worker has [crashed](TestingBuilder::crash_at) so far.
    #[must_use]
    pub fn crashes(&self) -> usize {
        self.verdict.crashes.as_ref().map_or(0, |crashes| crashes.crashes())
    }

    /// The executions of a function, oldest first: those that were dispatched, and those that durable functions spawned.
    /// Steps are not among them.
    ///
    /// # Errors
    /// Store errors; arguments that do not decode.
    pub async fn dispatched<F: Function, A>(
        &self,
        function: impl DurableFn<F, A>,
    ) -> Result<Vec<Dispatched<F>>> {
        let _ = function;
        dispatched::dispatched(&self.stent).await
    }

    /// Asserts that a function was dispatched or spawned:
    ///
    /// ```standalone_crate
    /// # use stent::prelude::*;
    /// #[durable(queue = "mail")]
    /// async fn remind(customer: String) -> Result<(), String> {
    ///     Ok(())
    /// }
    ///
    /// # #[tokio::main] async fn main() -> stent::Result<()> {
    /// let test = stent::testing::start().await?;
    /// test.stent.dispatch(remind("kim".into())).delay("3d").tag("eu").await?;
    ///
    /// test.assert_dispatched(remind).args(("kim".into(),)).queue("mail").delay("3d").tag("eu").times(1).await;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn assert_dispatched<F: Function, A>(&self, function: impl DurableFn<F, A>) -> AssertDispatched<F> {
        let _ = function;
        AssertDispatched::new(self.stent.clone(), None, Location::caller())
    }

    /// Asserts that a function was not dispatched or spawned; with conditions, that no such execution matches them.
    #[track_caller]
    pub fn assert_not_dispatched<F: Function, A>(
        &self,
        function: impl DurableFn<F, A>,
    ) -> AssertDispatched<F> {
        let _ = function;
        AssertDispatched::new(self.stent.clone(), Some(0), Location::caller())
    }
}

type WorkerOption = Box<dyn FnOnce(WorkerBuilder) -> WorkerBuilder + Send>;

/// Options of a test's store and worker: see [`builder`].
#[must_use = "nothing is started before `start`"]
pub struct TestingBuilder {
    url: String,
    skips: bool,
    strict: bool,
    plan: Plan,
    calls: Calls,
    stent: StentBuilder,
    worker: Vec<WorkerOption>,
}

impl TestingBuilder {
    /// Provides a state to the functions that ask for it with [`State<T>`](crate::State).
    pub fn state<T: Clone + Send + Sync + 'static>(self, state: T) -> Self {
        self.worker(|worker| worker.state(state))
    }

    /// Registers these functions instead of every function that is linked into the test.
    pub fn registry(self, registry: Registry) -> Self {
        self.stent(|stent| stent.registry(registry))
    }

    /// Uses this store instead of an in-memory one: a `sqlite://` file for this test, for example.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = url.into();
        self
    }

    /// Runs this closure instead of the body of a function, wherever a worker of this test runs the function: as a step, as
    /// an item of a map, or dispatched. The function keeps its options, such as its retries, and needs no states.
    ///
    /// Name the types of the closure's parameters. It returns the function's value, or a failure: of an error as the
    /// function would return it with [`stent::failure`](crate::failure), or of any kind with
    /// [`Failure::new`](crate::Failure::new). [`Testing::calls`] returns its calls.
    ///
    /// ```standalone_crate
    /// use stent::prelude::*;
    /// use stent::testing;
    ///
    /// #[durable]
    /// async fn charge(customer: String, cents: u64) -> Result<String, String> {
    ///     unreachable!("calls the bank")
    /// }
    ///
    /// #[durable]
    /// async fn checkout(customer: String) -> Result<String, stent::Error> {
    ///     charge(customer, 1999).await
    /// }
    ///
    /// # #[tokio::main] async fn main() -> stent::Result<()> {
    /// let test = testing::builder()
    ///     .fake(charge, |_: String, cents: u64| async move { Ok(format!("paid {cents}")) })
    ///     .start()
    ///     .await?;
    ///
    /// assert_eq!(test.stent.run(checkout("kim".into())).await?, "paid 1999");
    /// assert_eq!(test.calls(charge), [("kim".to_owned(), 1999)]);
    /// # Ok(()) }
    /// ```
    pub fn fake<F, A>(self, function: impl DurableFn<F, A>, body: impl FakeBody<F, A>) -> Self
    where
        F: Function<Args: Clone>,
        A: 'static,
    {
        let _ = function;
        let fake = self.calls.fake::<F, A, _>(body);
        self.stent(|stent| stent.fake(fake))
    }

    /// Crashes the worker twice around this step, as SIGKILL would, and starts it again each time: when it is about to commit
    /// the step's record, so that the step runs again; and right after this commit, before the worker learns of it. `step` is
    /// the name of a [`step`](crate::step()) or of a function, as the timeline shows it. Several steps can be named.
    ///
    /// The test then checks that the result is the same, and that effects which happened twice do no harm. The tasks of the
    /// dead worker become due when their leases end; the test's [clock](TestClock) skips to that moment.
    ///
    /// If the worker never records such a step, the test fails when the returned [`Testing`] is dropped.
    ///
    /// ```standalone_crate
    /// use stent::prelude::*;
    /// use stent::testing;
    ///
    /// #[durable]
    /// async fn order(cents: u64) -> Result<u64, stent::Error> {
    ///     // Runs twice: use an idempotency key for such an effect.
    ///     stent::step("charge", || async move { cents }).await
    /// }
    ///
    /// # #[tokio::main] async fn main() -> stent::Result<()> {
    /// let test = testing::builder().crash_at("charge").start().await?;
    /// assert_eq!(test.stent.run(order(1999)).await?, 1999);
    /// assert_eq!(test.crashes(), 2);
    /// # Ok(()) }
    /// ```
    pub fn crash_at(mut self, step: impl Into<String>) -> Self {
        self.plan.at(step.into());
        self
    }

    /// Crashes the worker at random commits, before or after each, at most eight times, and starts it again: see
    /// [`crash_at`](Self::crash_at). A seed chooses the commits. If the test fails, the seed is printed; which code runs at
    /// these commits also depends on the order in which concurrent tasks run.
    pub fn crash_randomly(mut self, seed: u64) -> Self {
        self.plan.randomly(seed);
        self
    }

    /// Fails the test if a worker repeats work that the record should have spared. The worker caches nothing, so each
    /// function is replayed from its record after each wait. When the returned [`Testing`] is dropped, the test fails if:
    ///
    /// - the closure of a [`step`](crate::step()), or a function without steps, ran again, although no attempt had failed and
    ///   no worker had crashed between;
    /// - a function awaited non-durable work between its steps, and a replay ran that work again.
    ///
    /// Code that is not deterministic fails its execution as a mismatch. Dead letters that are retried count as second runs.
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Lets time pass as it does outside of tests, instead of [skipping](TestClock) it: for a store that has workers outside
    /// of this test, which do not skip with it.
    pub const fn real_time(mut self) -> Self {
        self.skips = false;
        self
    }

    /// Sets options of the [`Stent`]: `.stent(|stent| stent.metrics(counters))`.
    pub fn stent(mut self, options: impl FnOnce(StentBuilder) -> StentBuilder) -> Self {
        self.stent = options(self.stent);
        self
    }

    /// Sets options of the [`Worker`]: `.worker(|worker| worker.concurrency(1).cache(0))`.
    pub fn worker(mut self, options: impl FnOnce(WorkerBuilder) -> WorkerBuilder + Send + 'static) -> Self {
        self.worker.push(Box::new(options));
        self
    }

    /// Opens the store, starts the worker, and returns when the worker is ready.
    ///
    /// # Errors
    /// Those of [`Stent::connect`] and [`WorkerBuilder::start`], in particular a function that needs a state which was
    /// not provided.
    pub async fn start(self) -> Result<Testing> {
        let skip = self.skips.then(|| Arc::new(Skip::new()));
        let runs = self.strict.then(Arc::<Runs>::default);
        let options = match &skip {
            Some(skip) => self.stent.skip(skip.clone()),
            None => self.stent,
        };
        let options = match &runs {
            Some(runs) => options.runs(runs.clone()),
            None => options,
        };
        let store = connect::store(&self.url).await?;
        let switch = (!self.plan.is_empty()).then(|| Arc::new(Switch::new()));
        let crashes =
            switch.as_ref().map(|switch| Arc::new(CrashStore::new(store.clone(), self.plan, switch.clone())));
        let stent = match &crashes {
            Some(crashes) => options.open(crashes.clone()).await?,
            None => options.open(store).await?,
        };
        let worker = self.worker.into_iter().fold(stent.worker(), |worker, options| options(worker));
        let worker = if self.strict { worker.cache(0) } else { worker };
        let worker = match switch {
            Some(switch) => worker.killed_by(switch),
            None => worker,
        };
        let worker = worker.start().await?;
        worker.wait_until_ready().await?;
        let clock = TestClock::start(&stent, skip);
        Ok(Testing { stent, worker, clock, calls: self.calls, verdict: Verdict { runs, crashes } })
    }
}

impl fmt::Debug for TestingBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestingBuilder")
            .field("url", &self.url)
            .field("stent", &self.stent)
            .finish_non_exhaustive()
    }
}
