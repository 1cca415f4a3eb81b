//! Durable functions for Rust. A durable function is an ordinary `async fn`; its arguments, its steps and its result live in
//! a store, so a crash at any point loses nothing, and a step that was recorded never runs again. SQLite is the default
//! store; there is no server to operate.
//!
//! ```standalone_crate
//! use stent::prelude::*;
//!
//! #[durable(retry(max_attempts = 5, initial_delay = "1s"))]
//! async fn charge(cents: u64) -> Result<String, String> {
//!     Ok(format!("receipt for {cents}"))
//! }
//!
//! #[durable]
//! async fn checkout(cents: u64) -> Result<String, stent::Error> {
//!     let receipt = charge(cents).await?; // a step: recorded, retried, never repeated
//!     stent::sleep("10ms").await?; // durable: no worker and no memory is held
//!     let note = stent::step("note", || async { format!("thanks! {receipt}") }).await?;
//!     Ok(note)
//! }
//!
//! # #[tokio::main] async fn main() -> stent::Result<()> {
//! let stent = Stent::connect("memory:").await?; // sqlite://orders.db to keep it
//! let worker = stent.worker().concurrency(64).start().await?;
//!
//! let run = stent.dispatch(checkout(1999)).await?;
//! assert_eq!(run.result().timeout("1m").await?, "thanks! receipt for 1999");
//! worker.drain().await
//! # }
//! ```
//!
//! # What is durable
//!
//! - Calling a durable function gives a [`Call`], a plain description. Awaited inside a durable function it is a step.
//!   Given to [`Stent::dispatch`] it is an execution. Awaited anywhere else it is an error that says what to do.
//! - [`step`](step()) records what an inline closure gives, with [retries](Step::retry) if it is to have any; [`sleep`] parks the
//!   function; [`timeout`](timeout()) limits what it waits for; `charge::map(items)` fans out.
//! - [`join!`] and [`select!`] wait for several steps, in the same order in every run. [`now`], [`random`] and [`uuid`](uuid()) are
//!   the same in every run.
//! - Code between steps may run several times, and must take the same way each time: it must not depend on the clock,
//!   chance, the iteration order of hash maps, or anything else that is not recorded. A step in flight when its process
//!   dies runs again: effects are at least once, records exactly once.
//!
//! # Fan-out and children
//!
//! `charge::map(items)` is a [`Map`]: one step with a task for each item, results in order, the first failure ends it.
//! With [`outcomes`](Map::outcomes) it goes on, and gives the result or the failure of each. [`spawn`](spawn()) starts an
//! execution of its own instead of a step; its handle's [`result`](Handle::result) is a recorded wait.
//!
//! # Signals
//!
//! [`signal`](signal()) waits, parked, for a value that [`Handle::signal`] or [`Stent::send_signal`] sends, before or
//! during the wait. The latest value counts, and is consumed once.
//!
//! # Cancellation and deadlines
//!
//! [`Handle::cancel`] asks an execution to end, with all that is below it. What does not run ends at once; what runs is
//! dropped at its next `await`, or tidies up if it listens to [`cancelled`]. [`max_duration`](Dispatch::max_duration)
//! ends an execution, or a [step](Call::max_duration), whose time is up.
//!
//! # Idempotency and caching
//!
//! Calls of a function that is `idempotent` or `cached` run once for the same arguments, or the same `key`, whoever makes
//! them: later ones have the result, concurrent ones wait for it. [`Call::idempotency_key`] says it of one step, and
//! [`Dispatch::idempotency_key`] of a dispatch, where the second gives the handle of the first.
//!
//! # Limits and routing
//!
//! `max_concurrent` and `rate` hold over all workers together. Work goes to workers by function,
//! [queue](WorkerBuilder::queues) and [tags](WorkerBuilder::tags), and by priority among what is due.
//!
//! # Transactions of the application's own
//!
//! On an SQL store, [`within`](Dispatch::within) makes a dispatch or a signal part of a transaction of the application's, and
//! [`transaction`](transaction()) is a step whose effects on the application's tables and whose record are committed together:
//! exactly once.
//!
//! # What code says
//!
//! [`execution`](execution()) gives the running code its ids and its attempt, and takes counters, states and progress,
//! which [`Handle::notes`] and [`Stent::notes`] read from outside. Each is written once, with the function's next commit.
//!
//! # Dead letters and retention
//!
//! An execution that fails for good is a dead letter: [`Stent::dead_letters`] lists, retries and discards them. Nothing
//! is deleted unless [`Stent::apply_retention`] or [`Stent::start_retention`] is told to, by a [`Retention`].
//!
//! # Operating it
//!
//! [`WorkerBuilder`] has a worker's options, [`Worker::status`] how it is; [`Metrics`] are hooks for what happens. Unit
//! tests run a body with [`Call::local`], or a store and a worker from [`testing`].
//!
//! # Features
//!
//! | Feature | Default | Brings |
//! |---|---|---|
//! | `sqlite` | yes | `sqlite://` URLs |
//! | `postgres` | no | `postgres://` URLs |
//! | `macros` | yes | `#[durable]` |
//! | `sql` | with `sqlite` | transactions of the application's own |
//! | `otel` | no | traces that go on across processes, through OpenTelemetry |

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
mod durable;
mod engine;
mod error;
mod execution;
mod function;
pub mod metrics;
mod names;
pub mod prelude;
mod stent;
pub mod testing;
mod trace;
mod worker;

pub use durable::call::{Call, LocalCall};
pub use durable::cancelled::cancelled;
pub use durable::join::{join_all, try_join_all};
pub use durable::map::{Map, Outcomes};
pub use durable::notes::{Counter, Execution, ExecutionState, execution};
pub use durable::random::{now, random, random_u64, uuid};
pub use durable::signal::{Signal, signal};
pub use durable::sleep::{Sleep, sleep};
pub use durable::step::{Plain, Step, StepOutput, step};
pub use durable::timeout::{Timeout, timeout};
#[cfg(feature = "sql")]
pub use durable::transaction::step::{Transaction, TransactionStep, transaction};
pub use engine::clock::ClockSource;
#[cfg(feature = "postgres")]
pub use engine::connect::postgres;
#[cfg(feature = "sql")]
pub use engine::connect::sea_orm;
#[cfg(feature = "sqlite")]
pub use engine::connect::sqlite;
pub use engine::poll::PollOptions;
pub use engine::transform::{PayloadTransform, TransformError};
pub use error::{Error, Result};
pub use execution::dead_letters::{DeadLetters, RetryDeadLetter};
pub use execution::dispatch::{Dispatch, DispatchAll};
pub use execution::handle::Handle;
pub use execution::request::{Cancel, SendSignal};
pub use execution::result::ResultOf;
pub use execution::retention::{Retention, RetentionReport, RetentionTask};
pub use execution::spawn::{Spawn, spawn};
#[cfg(feature = "sql")]
pub use execution::within::Within;
pub use function::failure::{Classify, failure, fatal, install_panic_hook};
pub use function::registry::Registry;
pub use function::state::State;
pub use function::{Cached, Function, FunctionOptions};
pub use metrics::Metrics;
pub use stent::{Stent, StentBuilder};
pub use stent_core as core;
pub use stent_core::backend::{
    DeadLetter, DeadLetterStat, Error as StoreError, ErrorKind as StoreErrorKind, ExecutionView, Filter,
    LaneView, NotesView, ProgressView, RunningView, SummaryView, TaskView,
};
pub use stent_core::model::{
    ClaimEnd, EndedClaim, ExecutionStatus, Mark, Rate, RetryPolicy, StepKind, TaskStatus,
};
pub use stent_core::{Codec, ExecutionId, Failure, Kind, Payload, TaskId, Timestamp, WorkerId};
#[cfg(feature = "macros")]
pub use stent_macros::durable;
pub use worker::{StoreTrouble, Worker, WorkerBuilder, WorkerState, WorkerStatus, WorkersOverview};
