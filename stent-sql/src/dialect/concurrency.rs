//! Connections and transactions: how they begin, what they are told apart by, and how many write at once.

use std::fmt::Debug;
use std::time::Duration;

use sea_orm::{DbErr, TransactionOptions};
use stent_core::backend::Topic;

/// How connections are used by several transactions.
pub trait Concurrency: Debug + Send + Sync + 'static {
    /// How a transaction that writes begins. What it reads must hold until it has written: because it is the only one, or
    /// because it [locks](Writers::Many) that.
    fn begin(&self) -> TransactionOptions;

    /// How many transactions write at once.
    fn writers(&self) -> Writers;

    /// Whether connections lead to a server: then one can be lost while nobody uses it, and a `BEGIN` that nobody waits for any
    /// more may still be answered.
    fn is_remote(&self) -> bool;

    /// What runs first in each transaction that writes, where the connections could not be set up for it.
    fn settings(&self) -> Option<&str> {
        None
    }

    /// Statements that begin the transaction of a closure, which may last for `limit` if that is given.
    fn guest_settings(&self, limit: Option<Duration>) -> Option<String> {
        let _ = limit;
        None
    }

    /// Statements that begin a transaction whose other statements do not name the schema of Stent's tables: a migration.
    fn enter(&self) -> Option<String> {
        None
    }

    /// The query for the default schema, until the dialect knows it.
    fn schema_query(&self) -> Option<&'static str> {
        None
    }

    /// Says which schema that is. Statements that are rendered from now on name it.
    fn settle(&self, schema: String) {
        let _ = schema;
    }

    /// What fails where a connection of the store's own is not as it was to be set up, and what is done on it would go to other
    /// tables, or see too little of others.
    fn check(&self) -> Option<String> {
        None
    }

    /// What runs before migrations, and in their transaction. Whoever else migrates waits there.
    fn before_migrations(&self) -> Vec<String> {
        Vec::new()
    }

    /// What runs after them, if there were any.
    fn after_migrations(&self) -> Vec<String> {
        Vec::new()
    }

    /// A statement that marks a transaction with a number until it ends, so that another one in its place can be told from it.
    /// None where the backend has the database tell when one ends ([`OneWriter`](crate::OneWriter)).
    fn mark(&self, _number: u64) -> Option<String> {
        None
    }

    /// What fails, sooner or later, in a transaction of a closure's unless the savepoint that was just set is the only one. A
    /// transaction within its transaction that the closure has kept would else be what the driver commits.
    fn only_savepoint(&self) -> Option<&'static str> {
        None
    }

    /// What tells whether a transaction is what its driver says, where the database ends some without being asked.
    fn probes(&self) -> Option<Probes> {
        None
    }

    /// A statement that, run in a transaction, hints at a topic when that is committed. None where others notice a commit
    /// without being told.
    fn hint_within(&self, topic: Topic) -> Option<String> {
        let _ = topic;
        None
    }

    /// How long a server may take to answer, where it can go away without a word. What takes longer is given up.
    fn patience(&self) -> Option<Patience> {
        None
    }

    /// The server has not answered in time: no session that is open now is to be used again.
    fn silent(&self) {}

    /// Somebody has stopped waiting for an answer: the connection that comes back next may be one that does not give any.
    fn abandoned(&self) {}

    /// A transaction has begun: the server lets this user in.
    fn begun(&self) {}

    /// Hears of an error before its connection goes back to the pool, so that sessions in a bad state are not used again.
    fn heard(&self, error: &DbErr) {
        let _ = error;
    }
}

/// How many transactions write at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// One: what it reads holds until it has written, and nothing need be locked.
    One,
    /// Many: rows that are read to be written are locked, in the order of their ids. What has no row yet, or none of its own,
    /// is locked by a number.
    Many {
        /// The function that takes a lock by a number of 64 bits, for as long as the transaction lasts.
        hold: &'static str,
    },
}

/// Statements that tell what state a connection is in by whether they fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probes {
    /// Fails in a transaction, and begins one outside.
    pub begin: &'static str,
    /// Ends what that has begun.
    pub rollback: &'static str,
    /// Each fails unless the driver has as many savepoints open, the most first. Going through them stops at the first that
    /// does not fail, which is the innermost savepoint.
    pub nested: Vec<String>,
}

/// How long a server may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until there is a connection, which the pool bounds by itself.
    pub connection: Duration,
    /// Until it has answered one statement.
    pub answer: Duration,
}
