//! What SQLite does in its own way.

use sea_orm::sea_query::{Expr, ExprTrait, SelectStatement, SqliteQueryBuilder, SubQueryStatement, Value};
use sea_orm::sqlx;
use sea_orm::{
    ConnAcquireErr, DbBackend, DbErr, QueryResult, RuntimeErr, SqliteTransactionMode, TransactionOptions,
};
use stent_core::backend::ErrorKind;
use stent_sql::batch::{Answer, Batch, Column};
use stent_sql::dialect::{Concurrency, Dialect, Failures, Probes, Text, Transport, Writers, render};

use crate::{batch, pack};

/// `SQLITE_CONSTRAINT_COMMITHOOK`.
const COMMIT_REFUSED: i32 = 531;

/// `SQLITE_IOERR` and `SQLITE_PROTOCOL`: the file could not be had, and SQLite has rolled back.
const IOERR: i32 = 10;
const PROTOCOL: i32 = 15;

/// How deep transactions may be nested for that to be noticed.
const NESTED_MAX: u32 = 8;

/// SQLite, as far as `stent-sql` must know it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SqliteDialect;

impl Dialect for SqliteDialect {
    fn name(&self) -> &'static str {
        "sqlite"
    }
}

impl Text for SqliteDialect {
    fn backend(&self) -> DbBackend {
        DbBackend::Sqlite
    }

    fn render(&self, query: &SubQueryStatement) -> String {
        render(query, SqliteQueryBuilder)
    }

    fn param(&self, n: usize) -> String {
        format!("?{n}")
    }

    /// SQLite plans by the value of a limit that is a parameter, and prepares the statement anew for each new value, which
    /// takes longer than to run it. By the value of a sum it does not.
    fn limit(&self, n: usize) -> String {
        format!("?{n} + 0")
    }

    fn any_of(&self, column: Expr, subquery: SelectStatement) -> Expr {
        column.in_subquery(subquery)
    }

    fn any_row(&self, mut query: SelectStatement) -> Expr {
        Expr::exists(query.expr(Expr::cust("1")).take())
    }

    fn joins_by_lookup(&self) -> bool {
        false
    }

    /// To the millisecond, which is as fine as SQLite reads a clock.
    fn clock(&self) -> Expr {
        Expr::cust("CAST(ROUND(unixepoch('now', 'subsec') * 1000) AS INTEGER) * 1000")
    }

    /// The file, by the whole path that SQLite has made of what it was opened with.
    fn home(&self) -> Expr {
        Expr::cust("(SELECT file FROM pragma_database_list WHERE name = 'main')")
    }

    fn iso(&self, column: &str) -> String {
        format!("strftime('%Y-%m-%dT%H:%M:%fZ', {column} / 1000000.0, 'unixepoch')")
    }

    fn json_field(&self, column: &str, field: &str) -> String {
        format!("json_extract({column}, '$.{field}')")
    }

    fn renames_indexes(&self) -> bool {
        false
    }
}

impl Transport for SqliteDialect {
    fn batch_source(&self, columns: &[Column], first: usize) -> SelectStatement {
        batch::source(columns, first)
    }

    fn batch_params(&self, columns: &[Column]) -> usize {
        batch::params(columns)
    }

    fn batch_values(&self, batch: &Batch<'_>) -> Vec<Value> {
        batch::values(batch)
    }

    fn inline_bytes_max(&self) -> Option<usize> {
        Some(pack::INLINE_BYTES_MAX)
    }

    fn pack(&self, query: SelectStatement, columns: &[Column], numbered_by: Option<&str>) -> SelectStatement {
        pack::pack(query, columns, numbered_by)
    }

    fn unpack(&self, rows: Vec<QueryResult>, columns: &'static [Column]) -> Result<Answer, DbErr> {
        pack::unpack(&rows, columns)
    }
}

impl Concurrency for SqliteDialect {
    /// `IMMEDIATE`: the one writer is picked at the beginning, where it can wait. A transaction that reads first and
    /// writes later is refused, without waiting, if another one has written in between.
    fn begin(&self) -> TransactionOptions {
        TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        }
    }

    fn writers(&self) -> Writers {
        Writers::One
    }

    fn is_remote(&self) -> bool {
        false
    }

    /// The savepoints are the driver's, `_sqlx_savepoint_N`. The first is in every transaction in which one was rolled back.
    fn probes(&self) -> Option<Probes> {
        let nested = (2..=NESTED_MAX).rev().map(|depth| format!("ROLLBACK TO _sqlx_savepoint_{depth}"));
        Some(Probes { begin: "BEGIN", rollback: "ROLLBACK", nested: nested.collect() })
    }
}

impl Failures for SqliteDialect {
    fn left_open(&self, error: &DbErr) -> Option<&'static str> {
        let in_another = error.to_string().contains("cannot start a transaction within a transaction");
        in_another.then_some("ROLLBACK")
    }

    fn classify(&self, error: &DbErr) -> ErrorKind {
        match error {
            DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed) => ErrorKind::Closed,
            DbErr::ConnectionAcquire(ConnAcquireErr::Timeout) => ErrorKind::Contended,
            DbErr::Conn(RuntimeErr::SqlxError(error))
            | DbErr::Exec(RuntimeErr::SqlxError(error))
            | DbErr::Query(RuntimeErr::SqlxError(error)) => classify(error),
            // What remains are rows that do not decode.
            _ => ErrorKind::Corrupt,
        }
    }

    fn classify_guest(&self, error: &DbErr) -> ErrorKind {
        match error {
            DbErr::ConnectionAcquire(_) => self.classify(error),
            DbErr::Conn(RuntimeErr::SqlxError(error))
            | DbErr::Exec(RuntimeErr::SqlxError(error))
            | DbErr::Query(RuntimeErr::SqlxError(error)) => classify_guest(error),
            _ => ErrorKind::Rejected,
        }
    }

    fn explain(&self, error: &DbErr) -> Option<String> {
        match self.classify(error) {
            ErrorKind::Schema => Some("its tables do not exist; run migrate first".to_owned()),
            ErrorKind::Contended if is_stale(error) => Some(
                "the transaction read before it wrote, and another transaction committed in between; roll it back, \
                 and begin it with begin_with_options and sqlite_transaction_mode: \
                 Some(SqliteTransactionMode::Immediate)"
                    .to_owned(),
            ),
            ErrorKind::Contended => {
                Some("another process held the write lock for longer than busy_timeout".to_owned())
            }
            _ => None,
        }
    }
}

/// Whether a transaction was refused to write because what it has read is not the last state any more
/// (`SQLITE_BUSY_SNAPSHOT`). No waiting helps.
fn is_stale(error: &DbErr) -> bool {
    const BUSY_SNAPSHOT: &str = "517";
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) = error
    else {
        return false;
    };
    let code = error.as_database_error().map(sqlx::error::DatabaseError::code);
    code.flatten().is_some_and(|code| code == BUSY_SNAPSHOT)
}

/// What kind of failure an error of the driver is.
pub(crate) fn classify(error: &sqlx::Error) -> ErrorKind {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().and_then(|code| code.parse::<i32>().ok());
            by_code(code.unwrap_or_default(), error.message())
        }
        sqlx::Error::PoolClosed => ErrorKind::Closed,
        sqlx::Error::PoolTimedOut => ErrorKind::Contended,
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => ErrorKind::Corrupt,
        _ => ErrorKind::Unavailable,
    }
}

/// The kind of an error that the application's own code has met. What the store tries again in case it passes, such
/// as a mistake in SQL (code 1), is the application's to mend.
fn classify_guest(error: &sqlx::Error) -> ErrorKind {
    let kind = classify(error);
    match error {
        sqlx::Error::Database(said) if kind == ErrorKind::Unavailable => {
            let code = said.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or_default();
            if matches!(code & 0xff, IOERR | PROTOCOL) { kind } else { ErrorKind::Rejected }
        }
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => kind,
        _ if kind == ErrorKind::Unavailable => ErrorKind::Rejected,
        _ => kind,
    }
}

/// By SQLite's result codes, <https://www.sqlite.org/rescode.html>. The low byte is the code proper.
fn by_code(code: i32, message: &str) -> ErrorKind {
    match code & 0xff {
        // A COMMIT of a closure's own, which the store does not let through.
        19 if code == COMMIT_REFUSED => ErrorKind::Ended,
        1 if message.contains("no such table: stent_") => ErrorKind::Schema,
        5 | 6 => ErrorKind::Contended,      // BUSY, LOCKED
        8 | 23 => ErrorKind::Config,        // READONLY, AUTH
        11 | 19 | 26 => ErrorKind::Corrupt, // CORRUPT, CONSTRAINT, NOTADB
        18 => ErrorKind::Limit,             // TOOBIG
        _ => ErrorKind::Unavailable,        // IOERR, FULL, CANTOPEN, ...
    }
}
