//! Stent's Postgres backend: any number of processes on any number of machines.
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> stent_core::backend::Result<()> {
//! use stent_core::backend::{Backend, Migrate};
//! use stent_postgres::PostgresStore;
//!
//! let store = PostgresStore::open("postgres://app@db.internal/shop?schema=orders".parse()?).await?;
//! store.migrate().await?;
//! assert_eq!(store.info().name, "postgres");
//! # store.close().await
//! # }
//! ```
//!
//! | File | Holds |
//! |---|---|
//! | `options.rs` | what can be set, and how it is written as a URL |
//! | `open.rs` | connections, and how the server is to plan for them |
//! | `guests.rs` | connections that the application's statements run on, and how they are reset |
//! | `sessions.rs` | which sessions are not to be used again |
//! | `place.rs` | the schema of the tables, and how statements name it |
//! | `spare.rs` | connections that are open while nobody uses them |
//! | `dialect.rs` | what Postgres does in its own way, for `stent-sql` |
//! | `error.rs` | what kind of failure an error is, and what to do about it |
//! | `pack.rs` | a batch of rows as arrays, and rows read back |
//! | `hints.rs` | hints from process to process |
//!
//! Everything else is `stent-sql`'s.

mod dialect;
mod error;
mod guests;
mod hints;
mod open;
mod options;
mod pack;
mod place;
mod sessions;
mod spare;

pub use dialect::PostgresDialect;
pub use open::PostgresStore;
pub use options::PostgresOptions;
