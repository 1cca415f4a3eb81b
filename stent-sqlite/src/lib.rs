//! Stent's SQLite backend: nothing to install, one file, any number of processes on one machine.
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
//! | `options.rs` | what can be set, and how it is written as a URL |
//! | `open.rs` | connections, and what can be wrong with a file |
//! | `backup.rs` | a copy of the whole store in a new file |
//! | `connections.rs` | what becomes of a connection that comes back, and what the database tells of its transactions |
//! | `files.rs` | whether the files on the disk are the ones that are open |
//! | `dialect.rs` | what SQLite does in its own way, for `stent-sql` |
//! | `batch.rs` | a batch of rows as one buffer |
//! | `pack.rs` | many rows as one, and read back |
//! | `hints.rs` | commits of other processes, noticed |
//!
//! Everything else is `stent-sql`'s.

mod backup;
mod batch;
mod connections;
mod dialect;
mod files;
mod hints;
mod open;
mod options;
mod pack;

pub use dialect::SqliteDialect;
pub use open::SqliteStore;
pub use options::{Durability, SqliteOptions};
