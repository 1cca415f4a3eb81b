//! What differs between databases, on a page.

use std::fmt::Debug;
use std::time::Duration;

use sea_orm::sea_query::{Expr, QueryBuilder, SelectStatement, SubQueryStatement, Value};
use sea_orm::{DbBackend, DbErr, QueryResult, TransactionOptions};
use stent_core::backend::{ErrorKind, Topic};

use crate::batch::{Answer, Batch, Column};

/// A database, as far as [`SqlStore`](crate::SqlStore) must know it.
pub trait Dialect: Debug + Send + Sync + 'static {
    /// The kind of store, as in `sqlite`.
    fn name(&self) -> &'static str;

    /// The database, as sea-orm calls it.
    fn backend(&self) -> DbBackend;

    /// How a transaction that writes begins. What it reads must hold until it has written: because it is the only one, or
    /// because it [locks](Writers::Many) that.
    fn begin(&self) -> TransactionOptions;

    /// How many transactions write at once.
    fn writers(&self) -> Writers;

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

    /// How the rows of a new table are stored: what follows `ALTER TABLE name`, if anything.
    fn storage(&self, _table: &str) -> Option<&'static str> {
        None
    }

    /// Whether an index can be renamed. Where it cannot, it is made again under its new name.
    fn renames_indexes(&self) -> bool;

    /// Renders a statement; see [`render`].
    fn render(&self, query: &SubQueryStatement) -> String;

    /// The n-th parameter of a statement, counting from 1: `?1`, `$1`.
    fn param(&self, n: usize) -> String;

    /// The n-th parameter, where it stands for a limit.
    fn limit(&self, n: usize) -> String;

    /// A derived table of these columns that reads a batch from the parameters from `first` on. Its text does not depend
    /// on the batch.
    fn batch_source(&self, columns: &[Column], first: usize) -> SelectStatement;

    /// How many parameters [`batch_source`](Self::batch_source) reads.
    fn batch_params(&self, columns: &[Column]) -> usize;

    /// The parameters that carry a batch.
    fn batch_values(&self, batch: &Batch<'_>) -> Vec<Value>;

    /// Most bytes that a cell of a [packed](Self::pack) row brings along; larger ones are read apart. None where rows
    /// are handed on one by one, with all they have.
    fn inline_bytes_max(&self) -> Option<usize>;

    /// The same rows in as few as can be, where it costs much to hand rows on one by one; read back by
    /// [`unpack`](Self::unpack).
    ///
    /// If columns hold bytes, the first column is an id. Each of them comes with another beside it, named by [`len_of`],
    /// that says how many there are; it is null if they are more than [`inline_bytes_max`](Self::inline_bytes_max). Where
    /// there is no bound on the rows, a column that numbers them is named.
    fn pack(&self, query: SelectStatement, columns: &[Column], numbered_by: Option<&str>) -> SelectStatement;

    /// Reads packed rows. They come in any order.
    ///
    /// # Errors
    /// When they do not hold what the columns say.
    fn unpack(&self, rows: Vec<QueryResult>, columns: &'static [Column]) -> Result<Answer, DbErr>;

    /// Whether `column` is one of the few values of `subquery`, which depends on the row beside it: to be looked up by
    /// index, and not to be joined.
    fn any_of(&self, column: Expr, subquery: SelectStatement) -> Expr;

    /// The database's clock, in microseconds since the Unix epoch.
    fn clock(&self) -> Expr;

    /// Which database a connection is in, and where in it Stent's tables are looked for: a text that is the same for two
    /// connections only if they find the same tables.
    fn home(&self) -> Expr;

    /// The isolation level of the transaction that asks, if its statements do not see what others have committed since it
    /// began, and may write all the same; else null.
    fn frozen(&self) -> Expr {
        Expr::cust("NULL")
    }

    /// A statement that marks a transaction with a number until it ends, so that another one in its place can be told from it.
    /// None where the backend has the database tell when one ends ([`OneWriter`](crate::OneWriter)).
    fn mark(&self, _number: u64) -> Option<String> {
        None
    }

    /// The number that the transaction which asks was marked with, as a text; null if it was not.
    fn marked(&self) -> Expr {
        Expr::cust("NULL")
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

    /// A moment in microseconds as an ISO 8601 text, for people.
    fn iso(&self, column: &str) -> String;

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

    /// Whether an error says that the session is in a bad state: nothing of its transaction stands, and the same may go well in
    /// another session.
    fn is_of_session(&self, _error: &DbErr) -> bool {
        false
    }

    /// What ends the transaction that a connection was left in, if an error says that `BEGIN` was refused for one.
    fn left_open(&self, _error: &DbErr) -> Option<&'static str> {
        None
    }

    /// Whether an error says that the transaction met another one: it was rolled back, and may be run again.
    fn is_conflict(&self, _error: &DbErr) -> bool {
        false
    }

    /// What kind of failure an error is.
    fn classify(&self, error: &DbErr) -> ErrorKind;

    /// What kind of failure an error is that the application's own code has met in a transaction. It is `Contended` or
    /// `Unavailable` only if the database says that the same transaction may succeed if it is made again: it met another one,
    /// or its connection was lost. It is `Limit` if the server has ended a statement for the time that it took.
    fn classify_guest(&self, error: &DbErr) -> ErrorKind;

    /// What was wrong and what to do about it, where more can be said than the kind.
    fn explain(&self, error: &DbErr) -> Option<String>;
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

/// Name of the column that says how many bytes there are in another.
#[must_use]
pub fn len_of(column: &str) -> String {
    format!("{column}_len")
}

/// Renders a statement with a builder of sea-query. A dialect's [`render`](Dialect::render) is this with its builder.
pub fn render<B: QueryBuilder>(query: &SubQueryStatement, builder: B) -> String {
    match query {
        SubQueryStatement::SelectStatement(query) => query.to_string(builder),
        SubQueryStatement::InsertStatement(query) => query.to_string(builder),
        SubQueryStatement::UpdateStatement(query) => query.to_string(builder),
        SubQueryStatement::DeleteStatement(query) => query.to_string(builder),
        SubQueryStatement::WithStatement(query) => query.to_string(builder),
    }
}
