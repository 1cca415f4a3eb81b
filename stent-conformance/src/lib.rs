//! The conformance suite: what a store must do to carry durable executions, as named cases that any backend can run.
//!
//! # Certify a backend in ten lines
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
//! select among them, as with any test program. A failed case prints what is promised, what was expected and what came, and
//! the last calls that the store was given.
//!
//! # What the suite refuses
//!
//! There are no capability flags and no exceptions by name: a store that cannot do what a case asks does not conform. There
//! are no sleeps: time is an argument of every call, so cases move it by naming a later moment. The one clock that is read
//! is that of a deadline after which a case counts as hung.
//!
//! # What is in it
//!
//! [`cases`] lists the cases; each states one claim and the [`Guarantee`] that it belongs to. Beside those written by hand,
//! the `model` cases send random operations, drawn from a seed, to the backend and to `stent-memory`, and compare everything
//! that can be observed after each of them. `STENT_SEEDS=200` runs so many seeds; a failure names its seed and the
//! shortest list of operations that was found to show it.

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
