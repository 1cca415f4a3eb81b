//! Stent's SQL, written once: tables, migrations, statements and the store behind every SQL backend.
//!
//! A database crate brings a connection and a [`Dialect`]; everything else is here, and no code here asks which database
//! it talks to.
//!
//! | Module | Holds |
//! |---|---|
//! | `table` | the tables: every column with its name and type, and how tasks are rows |
//! | `stmt` | one pure builder per intent; its text is rendered once per store |
//! | `row` | rows to model and back: the only module that encodes or decodes |
//! | `store` | [`SqlStore`]: runs statements in transactions |
//! | [`dialect`] | what differs between databases: text, transport of rows, concurrency, failures |
//! | [`batch`] | many rows as the parameters of one statement |
//! | [`migration`] | the schema and its history |
//! | `url` | parses the URLs of stores, for the database crates |
//! | [`writer`] | for databases with one writer at a time: which transaction may write, and whether the database still has it open |
//! | `backup` | copies of a store whose database is a file |
//! | [`hints`] | hints within the process, and from other processes |

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
