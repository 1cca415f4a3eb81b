//! The Postgres backend of Stent: any number of processes on any number of machines.
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
//! | `options.rs` | options, and their form in a URL |
//! | `open.rs` | opens connections, and configures how the server plans |
//! | `guests.rs` | connections for the application's statements, and how they are reset |
//! | `sessions.rs` | tracks which sessions must not be reused |
//! | `place.rs` | the schema of the tables, and how statements name it |
//! | `spare.rs` | keeps a minimum of connections open |
//! | `dialect.rs` | the Postgres dialect for `stent-sql` |
//! | `diagnosis.rs` | examines the server for operators |
//! | `error.rs` | classifies errors, and says what to do about them |
//! | `pack.rs` | passes a batch of rows as arrays, and reads rows |
//! | `hints.rs` | sends hints between processes |
//!
//! Everything else is in `stent-sql`.

mod diagnosis;
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
