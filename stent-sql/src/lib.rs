//! Stent's SQL, written once: tables, migrations, statements and the store behind every SQL backend.
//!
//! A database crate brings a connection and a [`Dialect`]; everything else is here, and nothing here asks which database
//! it is talking to.
//!
//! | Module | Holds |
//! |---|---|
//! | `table` | the tables: every column with its name and what it holds, and how tasks are rows |
//! | `stmt` | one pure builder per intent; its text is rendered once per store |
//! | `row` | rows to model and back: the only place that encodes or decodes |
//! | `store` | [`SqlStore`]: runs statements in transactions |
//! | [`dialect`] | what differs between databases: text, transport of rows, concurrency, failures |
//! | [`batch`] | many rows as the parameters of one statement |
//! | [`migration`] | the schema and its history |
//! | `url` | how the URLs of stores are taken apart, for the database crates |
//! | [`writer`] | where there is one writer at a time: whose turn it is, and what the database says of its transactions |
//! | `backup` | copies of a store, where a database is a file |
//! | [`hints`] | hints within the process, and where a database adds those from outside |

mod backup;
pub mod batch;
pub mod dialect;
pub mod hints;
pub mod migration;
mod row;
mod stmt;
mod store;
mod table;
#[doc(hidden)]
pub mod url;
pub mod writer;

pub use backup::Backup;
pub use dialect::{Dialect, Writers};
pub use stmt::{Locks, Statement, Statements};
pub use store::{Connections, Counters, SqlStore};
pub use writer::OneWriter;
