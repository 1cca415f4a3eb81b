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
//! To run a body alone, without a store, use [`Call::local`](crate::Call::local).

mod record_store;
mod recording;
mod replay;

use std::fmt;

pub use self::recording::{IntoRecording, Recording};
pub use self::replay::{Difference, Replay, ReplayError, Replayed, replay};
use crate::error::Result;
use crate::function::registry::Registry;
use crate::stent::{Stent, StentBuilder};
use crate::worker::{Worker, WorkerBuilder};

/// Starts an in-memory store and a worker on it, and returns when the worker is ready. All durable functions that are
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
    TestingBuilder { url: "memory:".to_owned(), stent: Stent::builder(), worker: Vec::new() }
}

/// A store and a worker for one test. Dropping it stops the worker and discards an in-memory store.
#[derive(Debug)]
#[must_use = "dropping it stops the worker"]
pub struct Testing {
    /// A handle to the store, to dispatch and wait with.
    pub stent: Stent,
    /// The worker that runs dispatched work.
    pub worker: Worker,
}

type WorkerOption = Box<dyn FnOnce(WorkerBuilder) -> WorkerBuilder + Send>;

/// Options of a test's store and worker: see [`builder`].
#[must_use = "nothing is started before `start`"]
pub struct TestingBuilder {
    url: String,
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
