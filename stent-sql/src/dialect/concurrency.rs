//! Connections and transactions.

use std::fmt::Debug;
use std::time::Duration;

use sea_orm::{DbErr, TransactionOptions};
use stent_core::backend::Topic;

/// How connections and transactions begin, end and exclude each other.
pub trait Concurrency: Debug + Send + Sync + 'static {
    /// How a transaction that writes begins. The rows that the transaction reads must not change until it has written:
    /// because it is the only writer, or because it [locks](Writers::Many) the rows.
    fn begin(&self) -> TransactionOptions;

    /// How many transactions write at once.
    fn writers(&self) -> Writers;

    /// Whether connections lead to a server. If so, an idle connection can be lost, and a `BEGIN` whose future was dropped may
    /// still take effect.
    fn is_remote(&self) -> bool;

    /// Statements that begin each transaction that writes, if the connections could not be set up when they were opened.
    fn settings(&self) -> Option<&str> {
        None
    }

    /// Statements that begin the transaction of an application's closure, which may last for `limit`.
    fn guest_settings(&self, limit: Option<Duration>) -> Option<String> {
        let _ = limit;
        None
    }

    /// Statements that begin a transaction whose statements do not name the schema of Stent's tables, such as a migration.
    fn enter(&self) -> Option<String> {
        None
    }

    /// The query for the default schema, until the dialect knows it.
    fn schema_query(&self) -> Option<&'static str> {
        None
    }

    /// Sets the default schema. Statements that are rendered later name it.
    fn settle(&self, schema: String) {
        let _ = schema;
    }

    /// A statement that fails if one of the store's connections is set up wrongly, so that it would use other tables or miss
    /// other transactions' commits.
    fn check(&self) -> Option<String> {
        None
    }

    /// Statements that run first in the transaction of the migrations. Concurrent migrations wait here.
    fn before_migrations(&self) -> Vec<String> {
        Vec::new()
    }

    /// Statements that run after migrations, if there were any.
    fn after_migrations(&self) -> Vec<String> {
        Vec::new()
    }

    /// A statement that marks the current transaction with a number, so that a later transaction on the same connection is not
    /// mistaken for the current one. None if the database reports the end of transactions ([`OneWriter`](crate::OneWriter)).
    fn mark(&self, _number: u64) -> Option<String> {
        None
    }

    /// A statement that fails in the transaction of a closure, now or at its commit, unless the savepoint that was just set is
    /// the only one. Otherwise the driver would commit a nested transaction that the closure left open.
    fn only_savepoint(&self) -> Option<&'static str> {
        None
    }

    /// Statements that check whether the driver and the database agree about a transaction, if the database ends some by
    /// itself.
    fn probes(&self) -> Option<Probes> {
        None
    }

    /// A statement that sends a hint when the current transaction commits. None if other processes notice commits by
    /// themselves.
    fn hint_within(&self, topic: Topic) -> Option<String> {
        let _ = topic;
        None
    }

    /// How long a server may take to answer. Calls that take longer are given up. None if there is no server.
    fn patience(&self) -> Option<Patience> {
        None
    }

    /// The server did not answer in time: sessions that are open now must not be used again.
    fn silent(&self) {}

    /// A caller stopped waiting for an answer: the next connection that is returned to the pool may be a silent one.
    fn abandoned(&self) {}

    /// A transaction has begun, so the server accepts this user.
    fn begun(&self) {}

    /// Receives an error before its connection returns to the pool, so that sessions in a bad state are not used again.
    fn heard(&self, error: &DbErr) {
        let _ = error;
    }
}

/// How many transactions write at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// One. The rows that it reads do not change until it has written, so nothing is locked.
    One,
    /// Many. They lock the rows that they read to write, in the order of ids. Things without a row are locked by number.
    Many {
        /// The SQL function that takes a lock by a number of 64 bits until the transaction ends.
        hold: &'static str,
    },
}

/// Statements that reveal the state of a connection by failing or succeeding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probes {
    /// Fails in a transaction; outside of one it begins one.
    pub begin: &'static str,
    /// Ends the transaction that `begin` began.
    pub rollback: &'static str,
    /// Each fails unless the driver has at least that many savepoints open; the highest number first.
    pub nested: Vec<String>,
}

/// How long a server may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until there is a connection. The pool enforces this bound.
    pub connection: Duration,
    /// Until one statement is answered.
    pub answer: Duration,
}
