//! Durable functions for Rust. A durable function is an ordinary `async fn` whose arguments, steps and result are
//! stored, so a crash at any point loses nothing, and a recorded step never runs again. SQLite is the default store, so
//! there is no server to operate.
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
//! - Calling a durable function returns a [`Call`], which describes the work. Awaited inside a durable function, the
//!   call is a step. Passed to [`Stent::dispatch`], it is an execution. Awaited anywhere else, it is an error that says
//!   what to do.
//! - [`step`](step()) records the result of an inline closure, with [retries](Step::retry) if you ask for them.
//!   [`sleep`] parks the function. [`timeout`](timeout()) limits a wait. `charge::map(items)` fans out.
//! - [`join!`] and [`select!`] wait for several steps, in the same order in every replay. [`now`], [`random`] and
//!   [`uuid`](uuid()) return the same values in every replay.
//! - Code between steps must be deterministic, because a replay runs it again: it must not depend on the clock, random
//!   numbers, the iteration order of hash maps, or anything else that is not recorded. A step in flight when its
//!   process dies runs again: effects are at-least-once, records exactly-once.
//!
//! # Fan-out and children
//!
//! `charge::map(items)` is a [`Map`]: one step with a task per item. It returns the results in order, and the first
//! failure ends it. With [`outcomes`](Map::outcomes) it continues and returns the result or the failure of each item.
//! [`spawn`](spawn()) starts a separate execution instead of a step; waiting for the [`result`](Handle::result) of its
//! handle is recorded.
//!
//! # Signals
//!
//! [`signal`](signal()) parks the function until [`Handle::signal`] or [`Stent::send_signal`] sends a value, which may
//! happen before the wait begins. The latest value wins and is consumed once.
//!
//! # Cancellation and deadlines
//!
//! [`Handle::cancel`] cancels an execution and everything below it. Work that is not running ends at once; running code
//! is dropped at its next `await`, or cleans up if it listens to [`cancelled`].
//! [`max_duration`](Dispatch::max_duration) limits the total time of an execution or of a [step](Call::max_duration).
//!
//! # Idempotency and caching
//!
//! Calls of an `idempotent` or `cached` function run once for the same arguments, or the same `key`, across all
//! callers: later calls get the stored result, and concurrent calls wait for it. [`Call::idempotency_key`]
//! deduplicates one step, and [`Dispatch::idempotency_key`] a dispatch: the second dispatch returns the handle of
//! the first.
//!
//! # Limits and routing
//!
//! `max_concurrent` and `rate` apply across all workers. Work is routed to workers by function,
//! [queue](WorkerBuilder::queues) and [tags](WorkerBuilder::tags); among due work, higher priority goes first.
//!
//! # Transactions of the application
//!
//! On an SQL store, [`within`](Dispatch::within) makes a dispatch or a signal part of the application's own
//! transaction. [`transaction`](transaction()) is a step that commits its effects on the application's tables together
//! with its record: exactly once.
//!
//! # Notes and progress
//!
//! [`execution`](execution()) gives running code its ids and its attempt, and accepts counters, states and progress,
//! which [`Handle::notes`] and [`Stent::notes`] read from outside. Each note is written once, with the function's next
//! commit.
//!
//! # Dead letters and retention
//!
//! An execution that fails for good becomes a dead letter: [`Stent::dead_letters`] lists, retries and discards dead
//! letters. Nothing is deleted unless you pass a [`Retention`] to [`Stent::apply_retention`] or
//! [`Stent::start_retention`].
//!
//! # Operations
//!
//! [`Stent::inspect`] reads running and waiting work, and its history. [`WorkerBuilder`] sets a worker's
//! options, [`Worker::status`] reports its state, and [`Metrics`] are hooks for events. In unit tests, run a
//! body with [`Call::local`], or start a store and a worker with [`testing`].
//!
//! # Modules
//!
//! | Path | Has |
//! |---|---|
//! | `stent::` | everything that an application uses every day |
//! | [`view`] | data that is read from a store: executions, tasks, lanes, notes, dead letters |
//! | [`metrics`] | the hooks' trait and its events |
//! | `http` | probes and metrics as `axum` routers (feature `http`) |
//! | [`units`] | how options accept durations and rates |
//! | [`functions`] | what an implementation of [`Function`] without the attribute needs |
//! | [`testing`] | for tests: stores, workers, skipped time, fakes, crashes, replays of recorded executions |
//! | [`backend`] | the API for authors of stores; most applications do not need it |
//!
//! # Features
//!
//! | Feature | Default | Adds |
//! |---|---|---|
//! | `sqlite` | yes | `sqlite://` URLs |
//! | `postgres` | no | `postgres://` URLs |
//! | `redis` | no | `redis://` and `rediss://` URLs |
//! | `macros` | yes | `#[durable]` |
//! | `anyhow` | yes | failures keep the kind and the value of an error inside an `anyhow::Error` |
//! | `sql` | with `sqlite` | transactions of the application |
//! | `otel` | no | traces that continue across processes, through OpenTelemetry |
//! | `metrics` | no | [`metrics::Facade`](mod@metrics), which reports through the `metrics` facade, for Prometheus and others |
//! | `http` | no | `stent::http`: probes and metrics over HTTP, with `axum` |

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
pub mod backend;
mod durable;
mod engine;
mod error;
mod execution;
mod function;
pub mod functions;
#[cfg(feature = "http")]
pub mod http;
pub mod metrics;
mod names;
pub mod prelude;
#[cfg(test)]
mod root_names;
mod stent;
pub mod testing;
mod trace;
pub mod units;
pub mod view;
mod worker;

pub use self::metrics::Metrics;
#[doc(no_inline)]
pub use ::uuid::Uuid;
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
#[cfg(feature = "redis")]
pub use engine::connect::redis;
#[cfg(feature = "sql")]
pub use engine::connect::sea_orm;
#[cfg(feature = "sqlite")]
pub use engine::connect::sqlite;
pub use engine::poll::PollOptions;
pub use engine::transform::{PayloadTransform, TransformError};
pub use error::{Error, Result};
pub use execution::by_name::DispatchByName;
pub use execution::dead_letters::{DeadLetters, RetryDeadLetter};
pub use execution::dispatch::{Dispatch, DispatchAll};
pub use execution::export::Export;
pub use execution::handle::Handle;
pub use execution::import::{Import, Imported};
pub use execution::inspect::Inspector;
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
pub use stent::{Stent, StentBuilder};
pub use stent_core::backend::{Error as StoreError, ErrorKind as StoreErrorKind};
pub use stent_core::import::ImportError;
pub use stent_core::model::{ExecutionStatus, Rate, RetryPolicy, WorkerState};
pub use stent_core::{Codec, CodecError, ExecutionId, Failure, Kind, Payload, TaskId, Timestamp, WorkerId};
#[cfg(feature = "macros")]
pub use stent_macros::durable;
pub use worker::{StoreTrouble, Worker, WorkerBuilder, WorkerStatus, WorkersOverview};
