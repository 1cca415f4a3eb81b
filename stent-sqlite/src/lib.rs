//! The SQLite backend of Stent: nothing to install, one file, any number of processes on one machine.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> stent_core::backend::Result<()> {
//! use stent_core::backend::{Backend, Migrate};
//! use stent_sqlite::SqliteStore;
//!
//! let store = SqliteStore::open("sqlite::memory:".parse()?).await?;
//! store.migrate().await?;
//! assert_eq!(store.info().name, "sqlite");
//! # store.close().await
//! # }
//! ```
//!
//! | File | Holds |
//! |---|---|
//! | `options.rs` | options, and their form in a URL |
//! | `open.rs` | opens connections, and explains what is wrong with a file |
//! | `backup.rs` | copies the whole store to a new file |
//! | `connections.rs` | pools: checks connections that return, and reports commits and rollbacks |
//! | `files.rs` | detects files that were replaced on the disk |
//! | `still.rs` | detects that a file without writers has one now |
//! | `diagnosis.rs` | examines the file for operators |
//! | `dialect.rs` | the SQLite dialect for `stent-sql` |
//! | `batch.rs` | passes a batch of rows as one buffer |
//! | `pack.rs` | returns many rows as one |
//! | `hints.rs`, `hints/events.rs` | notices commits of other processes, at once where the kernel reports writes |
//!
//! Everything else is in `stent-sql`.

mod backup;
mod batch;
mod connections;
mod diagnosis;
mod dialect;
mod files;
mod hints;
mod open;
mod options;
mod pack;
mod still;

pub use dialect::SqliteDialect;
pub use open::SqliteStore;
pub use options::{Durability, SqliteOptions};
