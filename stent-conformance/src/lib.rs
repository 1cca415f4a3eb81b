//! The conformance suite: named cases that say what a store must do to carry durable executions, and that any backend can run.
//!
//! # Certify a backend
//!
//! Add a test target without the default harness, and a way to create empty stores:
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
//! `cargo test --test conformance` then runs every case in parallel, each on its own store. As with any test program, names and
//! parts of names select cases, and `--list` lists them. A backend conforms when all cases pass.
//!
//! # When a case fails
//!
//! It prints the guarantee, the case's claim in words, the expected and the actual value, the last calls to the store with
//! their results, and the command that runs the case alone. The report shortens ids and moments: `#3` is the third id that the
//! case drew, `t+5s` is five seconds after the case began. `docs/semantics.md` explains each guarantee, and lists the claims
//! that check it. Names do not change; `cases.txt` lists all of them.
//!
//! # What the suite refuses
//!
//! There are no capability flags and no exceptions by name: a store that cannot do what a case asks does not conform, and a
//! harness that cannot open a store fails. There are no sleeps: every call takes the time as an argument, so cases move time by
//! naming a later moment. The suite reads a real clock only for the deadline after which a case counts as hung.
//!
//! # What is in it
//!
//! [`cases`] lists the cases; each states one claim and the [`Guarantee`] that it checks.
//!
//! - **Scripts**: handwritten cases by area, as given, when, then.
//! - **Races** (`race`, `crowd`, and races in other areas): many workers, each on its own handle that was connected before the
//!   start; the results of all workers together must be consistent.
//! - **Crashes** (`crash`, `fate`, `life`): cases lose handles between calls, and drop calls in the middle; one case plays a
//!   whole life, disturbs each of its calls in turn, and expects the outcome of the undisturbed life.
//! - **The model** (`model`): random operations from a seed go to the backend, through two handles in turn, and to
//!   `stent-memory`, and the suite compares everything observable after each operation. `STENT_SEEDS=1000` plays 1000 seeds
//!   instead of 200. A failure prints its seed and the shortest list of operations found that reproduces it.

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
