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
//!     let note = stent::step("note", || async { Ok::<_, String>(format!("thanks! {receipt}")) }).await?;
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
//! - [`step`](step()) records what an inline closure gives; [`sleep`] parks the function; `charge::map(items)` fans out.
//! - [`join!`] and [`select!`] wait for several steps, in the same order in every run. [`now`], [`random`] and [`uuid`](uuid()) are
//!   the same in every run.
//! - Code between steps may run several times, and must take the same way each time: it must not depend on the clock,
//!   chance, the iteration order of hash maps, or anything else that is not recorded. A step in flight when its process
//!   dies runs again: effects are at least once, records exactly once.
//!
//! # Features
//!
//! | Feature | Default | Brings |
//! |---|---|---|
//! | `sqlite` | yes | `sqlite://` URLs |
//! | `macros` | yes | `#[durable]` |

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
mod call;
mod chance;
mod client;
mod clock;
mod connect;
mod context;
mod dead_letters;
mod dispatch;
mod error;
mod execution;
mod failure;
mod function;
mod handle;
mod ids;
mod inline;
mod join;
mod map;
pub mod metrics;
mod poll;
pub mod prelude;
mod registry;
mod request;
mod retention;
mod signal;
mod spawn;
mod state;
mod stop;
pub mod testing;
mod transform;
mod waiters;
mod worker;
mod writer;

pub use call::{Call, LocalCall};
pub use chance::{now, random, random_u64, uuid};
pub use client::{Stent, StentBuilder};
pub use clock::ClockSource;
#[cfg(feature = "sqlite")]
pub use connect::sqlite;
pub use dead_letters::{DeadLetters, Replay};
pub use dispatch::{Dispatch, DispatchAll};
pub use error::{Error, Result};
pub use execution::{Counter, Execution, ExecutionState, execution};
pub use failure::{Classify, failure, fatal};
pub use function::{Cached, Function, FunctionOptions};
pub use handle::{Handle, ResultOf};
pub use inline::{Sleep, Step, sleep, step};
pub use join::{join_all, try_join_all};
pub use map::{Map, Outcomes};
pub use metrics::Metrics;
pub use poll::PollOptions;
pub use registry::Registry;
pub use request::Cancel;
pub use retention::{Cleaned, Cleaner, Retention};
pub use signal::{Signal, signal};
pub use spawn::{Spawn, spawn};
pub use state::State;
pub use stent_core as core;
pub use stent_core::backend::{
    DeadLetter, DeadLetterStat, Error as StoreError, ErrorKind as StoreErrorKind, ExecutionView, Filter,
    LaneView, NotesView, ProgressView, RunningView, SummaryView, TaskView,
};
pub use stent_core::model::{ExecutionStatus, Mark, Rate, RetryPolicy, StepKind, TaskStatus, Tried, TryEnd};
pub use stent_core::{Codec, ExecutionId, Failure, Payload, TaskId, Timestamp, WorkerId};
#[cfg(feature = "macros")]
pub use stent_macros::durable;
pub use stop::cancelled;
pub use transform::{PayloadTransform, TransformError};
pub use worker::{StoreTrouble, Worker, WorkerBuilder, WorkerState, WorkerStatus, WorkersOverview};
