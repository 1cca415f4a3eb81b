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
//! A body alone, without a store, runs with [`Call::local`](crate::Call::local).

use std::fmt;

use crate::error::Result;
use crate::function::registry::Registry;
use crate::stent::{Stent, StentBuilder};
use crate::worker::{Worker, WorkerBuilder};

/// Starts a store in memory and a worker on it that is ready. Knows every durable function that is linked into the test, so
/// none of them may need a [`State`](crate::State): give states, or a registry, to a [`builder`].
///
/// # Errors
/// Those of [`TestingBuilder::start`].
pub async fn start() -> Result<Testing> {
    builder().start().await
}

/// Starts with other than the default options: `stent::testing::builder().state(db).start().await?`.
pub fn builder() -> TestingBuilder {
    TestingBuilder { url: "memory:".to_owned(), stent: Stent::builder(), worker: Vec::new() }
}

/// A store and a worker for one test. Dropping it stops the worker, and the store is gone with it.
#[derive(Debug)]
#[must_use = "dropping it stops the worker"]
pub struct Testing {
    /// Dispatches, waits, and so on.
    pub stent: Stent,
    /// Runs what is dispatched.
    pub worker: Worker,
}

type WorkerOption = Box<dyn FnOnce(WorkerBuilder) -> WorkerBuilder + Send>;

/// What a test needs: see [`builder`].
#[must_use = "nothing is started before `start`"]
pub struct TestingBuilder {
    url: String,
    stent: StentBuilder,
    worker: Vec<WorkerOption>,
}

impl TestingBuilder {
    /// Lends a state to the functions that ask for it with [`State<T>`](crate::State).
    pub fn state<T: Clone + Send + Sync + 'static>(self, state: T) -> Self {
        self.worker(|worker| worker.state(state))
    }

    /// Knows these functions, instead of every one that is linked into the test.
    pub fn registry(self, registry: Registry) -> Self {
        self.stent(|stent| stent.registry(registry))
    }

    /// Uses another store than one in memory, such as a `sqlite://` file of the test's own.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = url.into();
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

    /// Opens the store and starts the worker; returns when it is ready.
    ///
    /// # Errors
    /// Those of [`Stent::connect`] and [`WorkerBuilder::start`]: most of all a function that needs a state which was not
    /// given.
    pub async fn start(self) -> Result<Testing> {
        let stent = self.stent.connect(&self.url).await?;
        let worker = self.worker.into_iter().fold(stent.worker(), |worker, options| options(worker));
        let worker = worker.start().await?;
        worker.wait_until_ready().await?;
        Ok(Testing { stent, worker })
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
