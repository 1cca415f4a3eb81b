//! What kind of failure an error is, and what to do about it.
//!
//! By SQLSTATE, <https://www.postgresql.org/docs/current/errcodes-appendix.html>; the first two characters are the class.

use std::borrow::Cow;

use sea_orm::sqlx;
use sea_orm::{ConnAcquireErr, DbErr, RuntimeErr};
use stent_core::backend::ErrorKind;

/// A row is there already.
const UNIQUE: &str = "23505";

/// A connection is not set up as the store has asked for. One of the codes that are left to whoever writes functions.
pub(crate) const NOT_SET_UP: &str = "STN01";

/// Whether two transactions met, and this one was rolled back: a serialization failure, a deadlock, or a row that another
/// one has inserted meanwhile.
pub(crate) fn is_conflict(error: &DbErr) -> bool {
    let Some(error) = driver(error) else { return false };
    match code(error).as_deref() {
        Some("40001" | "40P01") => true,
        Some(UNIQUE) => is_of_stent(error),
        _ => false,
    }
}

pub(crate) fn classify(error: &DbErr) -> ErrorKind {
    match error {
        DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed) => ErrorKind::Closed,
        // Whether the server cannot be reached or all connections are out, the pool does not say.
        DbErr::ConnectionAcquire(ConnAcquireErr::Timeout) | DbErr::Custom(_) => ErrorKind::Unavailable,
        error => driver(error).map_or(ErrorKind::Corrupt, of_driver),
    }
}

pub(crate) fn explain(error: &DbErr) -> Option<String> {
    if let DbErr::ConnectionAcquire(ConnAcquireErr::Timeout) = error {
        let what = "no connection within acquire_timeout: the server cannot be reached, or all of max_connections are in use";
        return Some(what.to_owned());
    }
    let error = driver(error)?;
    let what = match code(error)?.as_str() {
        NOT_SET_UP => return Some(error.as_database_error()?.message().to_owned()),
        "42P01" | "3F000" | "42703" => "its tables are not there, or are older; run migrate first",
        "40001" | "40P01" | "23505" => "others write the same rows again and again",
        "22021" => "a text contains a zero byte, which Postgres cannot hold",
        "25006" => "the server only reads: it is a standby; name the primary in the URL",
        "26000" | "42P05" => {
            "a pooler hands statements to other connections than those they were prepared on; connect past it, let it keep \
             sessions together, or have it keep track of them (max_prepared_statements of PgBouncer 1.21 or newer)"
        }
        "3D000" => "the database does not exist; create it first",
        "42501" => "the user lacks a permission on Stent's schema or tables",
        "53300" => "the server has no connection left; lower max_connections here or raise it there",
        "08P01" => {
            "the server, or a pooler before it, does not take the connection's settings; let it ignore the startup \
             parameter `options`, or open the store on a pool of your own"
        }
        code if code.starts_with("28") => "the server does not let this user in",
        _ => return None,
    };
    Some(format!("{what} ({error})"))
}

fn driver(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(Cow::into_owned)
}

/// Whether an error is about one of Stent's tables.
fn is_of_stent(error: &sqlx::Error) -> bool {
    let table = error.as_database_error().and_then(|error| error.table());
    table.is_some_and(|table| table.starts_with("stent_"))
}

fn of_driver(error: &sqlx::Error) -> ErrorKind {
    match code(error) {
        // A table of the application's own: its row will be there the next time, too.
        Some(code) if code == UNIQUE && !is_of_stent(error) => return ErrorKind::Corrupt,
        Some(code) => return by_code(&code),
        None => {}
    }
    match error {
        sqlx::Error::PoolClosed => ErrorKind::Closed,
        sqlx::Error::Configuration(_) | sqlx::Error::Tls(_) => ErrorKind::Config,
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => ErrorKind::Corrupt,
        // A connection that was lost: what was under way on it may stand or not.
        _ => ErrorKind::Unavailable,
    }
}

fn by_code(code: &str) -> ErrorKind {
    match code {
        "23505" | "55P03" | "57014" => ErrorKind::Contended, // unique, lock_timeout, statement_timeout
        "42P01" | "3F000" | "42703" => ErrorKind::Schema,    // no table, no schema, no column
        "3D000" | "42501" | "26000" | "42P05" | "08P01" | NOT_SET_UP => ErrorKind::Config,
        "25P01" => ErrorKind::Ended,       // a savepoint, and no transaction
        "25006" => ErrorKind::Unavailable, // read-only, until the standby is promoted
        _ => match code.get(..2).unwrap_or_default() {
            "40" => ErrorKind::Contended,
            "28" => ErrorKind::Config,
            "22" | "54" => ErrorKind::Limit,
            "23" | "XX" => ErrorKind::Corrupt,
            _ => ErrorKind::Unavailable, // 08, 53, 57, 58: connections, resources, shutdown, I/O
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        for (code, kind) in [
            ("40P01", ErrorKind::Contended),
            ("40001", ErrorKind::Contended),
            ("57P01", ErrorKind::Unavailable),
            ("08006", ErrorKind::Unavailable),
            ("53200", ErrorKind::Unavailable),
            ("28P01", ErrorKind::Config),
            ("42P01", ErrorKind::Schema),
            ("22021", ErrorKind::Limit),
            ("23502", ErrorKind::Corrupt),
            ("XX001", ErrorKind::Corrupt),
        ] {
            assert_eq!(by_code(code), kind, "{code}");
        }
    }
}
