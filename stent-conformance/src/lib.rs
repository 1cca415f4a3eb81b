//! The conformance suite: what a store must do to carry durable executions, as named cases that any backend can run.
//!
//! # Certify a backend
//!
//! A test target without the default harness, and a way to make empty stores:
//!
//! ```toml
//! [[test]]
//! name = "conformance"
//! harness = false
//! ```
//!
//! ```
//! use std::sync::Arc;
//! use async_trait::async_trait;
//! use stent_conformance::{BoxError, Fixture, Harness};
//! use stent_core::backend::Store;
//! use stent_memory::MemoryStore;
//!
//! #[derive(Debug)]
//! struct Memory;
//!
//! #[async_trait]
//! impl Harness for Memory {
//!     async fn fresh(&self) -> Result<Box<dyn Fixture>, BoxError> {
//!         Ok(Box::new(Place(MemoryStore::new())))
//!     }
//! }
//!
//! #[derive(Debug)]
//! struct Place(MemoryStore);
//!
//! #[async_trait]
//! impl Fixture for Place {
//!     async fn open(&self) -> Result<Arc<dyn Store>, BoxError> {
//!         Ok(Arc::new(self.0.peer()))
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     # if false {
//!     stent_conformance::run(Memory)
//!     # } else { std::process::ExitCode::SUCCESS }
//! }
//! ```
//!
//! `cargo test --test conformance` then runs every case, in parallel, each on a store of its own; names and parts of names
//! select among them, `--list` lists them, as with any test program. A backend conforms when all of them pass.
//!
//! # When a case fails
//!
//! It prints what is promised, what it claims in words, what was expected and what came, the last calls that the store was
//! given with what they came to, and the command that runs it alone. Ids and moments are short there: `#3` is the third id that
//! the case drew, `t+5s` is five seconds after it began. `docs/semantics.md` says at length what is promised, and lists under
//! each promise the claims that it is checked by. Names stay: `cases.txt` has all of them.
//!
//! # What the suite refuses
//!
//! There are no capability flags and no exceptions by name: a store that cannot do what a case asks does not conform, and a
//! harness that cannot open one fails. There are no sleeps: time is an argument of every call, so cases move it by naming a
//! later moment. The one clock that is read is that of a deadline after which a case counts as hung.
//!
//! # What is in it
//!
//! [`cases`] lists the cases; each states one claim and the [`Guarantee`] that it belongs to.
//!
//! - **Scripts**, written by hand, by area: given, when, then.
//! - **Races** (`race`, `crowd`, and those in other areas): many workers, each on a handle of its own that is connected before
//!   the start, and what all of them are told has to add up.
//! - **Crashes** (`crash`, `fate`, `life`): handles are lost between calls and calls are dropped in the middle; a whole life is
//!   played with each of its calls disturbed, and ends as the undisturbed one.
//! - **The model** (`model`): random operations, drawn from a seed, go to the backend, by two handles in turn, and to
//!   `stent-memory`, and what can be observed is compared after each of them. `STENT_SEEDS=1000` plays so many seeds instead of
//!   200; a failure names its seed and the shortest list of operations that was found to show it.

mod case;
mod cases;
mod chance;
mod expect;
mod guarantee;
mod harness;
mod model;
mod request;
mod runner;
mod say;
mod task;
mod tell;
mod turn;
mod world;

pub use case::{Case, cases};
pub use guarantee::Guarantee;
pub use harness::{BoxError, Fixture, Harness};
pub use runner::{check, run};
