//! The SQLite dialect of `stent-sql`.

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

/// `SQLITE_IOERR` and `SQLITE_PROTOCOL`: the file could not be accessed, and SQLite has rolled back.
const IOERR: i32 = 10;
const PROTOCOL: i32 = 15;

/// Deepest nesting of transactions at which a rollback by SQLite is still detected.
const NESTED_MAX: u32 = 8;

/// The SQLite dialect for `stent-sql`.
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

    /// SQLite uses the value of a limit parameter for planning and prepares the statement again for each new value,
    /// which takes longer than running it. It does not do so for the value of a sum.
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

    /// In milliseconds, the finest resolution at which SQLite reads a clock.
    fn clock(&self) -> Expr {
        Expr::cust("CAST(ROUND(unixepoch('now', 'subsec') * 1000) AS INTEGER) * 1000")
    }

    /// The file, by the absolute path that SQLite resolved.
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
    /// `IMMEDIATE`: the transaction becomes the one writer when it begins, and can wait for that. A transaction that reads
    /// first and writes later is refused without waiting if another transaction has written in between.
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

    /// The savepoints are the driver's, `_sqlx_savepoint_N`. If any savepoint was rolled back in a transaction, the
    /// first one exists in it.
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
            // The remaining errors are rows that cannot be decoded.
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

/// Whether a transaction was refused a write because its snapshot is no longer the latest state
/// (`SQLITE_BUSY_SNAPSHOT`). Waiting does not help.
fn is_stale(error: &DbErr) -> bool {
    const BUSY_SNAPSHOT: &str = "517";
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) = error
    else {
        return false;
    };
    let code = error.as_database_error().map(sqlx::error::DatabaseError::code);
    code.flatten().is_some_and(|code| code == BUSY_SNAPSHOT)
}

/// Classifies an error of the driver.
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

/// Classifies an error that the application's own code received. Errors that the store would retry because they may
/// be transient, such as a mistake in SQL (code 1), are for the application to fix.
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

/// By SQLite's result codes, <https://www.sqlite.org/rescode.html>. The low byte is the primary code.
fn by_code(code: i32, message: &str) -> ErrorKind {
    match code & 0xff {
        // A COMMIT in the closure itself, which the store refuses.
        19 if code == COMMIT_REFUSED => ErrorKind::Ended,
        // Statements about the schema name it.
        1 if ["stent_", "main.stent_"]
            .iter()
            .any(|table| message.contains(&format!("no such table: {table}"))) =>
        {
            ErrorKind::Schema
        }
        5 | 6 => ErrorKind::Contended,      // BUSY, LOCKED
        8 | 23 => ErrorKind::Config,        // READONLY, AUTH
        11 | 19 | 26 => ErrorKind::Corrupt, // CORRUPT, CONSTRAINT, NOTADB
        18 => ErrorKind::Limit,             // TOOBIG
        _ => ErrorKind::Unavailable,        // IOERR, FULL, CANTOPEN, ...
    }
}
