//! Classifies errors, and says what to do about them.
//!
//! By SQLSTATE, <https://www.postgresql.org/docs/current/errcodes-appendix.html>. The first two characters are the
//! class.

use std::borrow::Cow;
use std::io;

use sea_orm::sqlx;
use sea_orm::{ConnAcquireErr, DbErr, RuntimeErr};
use stent_core::backend::ErrorKind;

/// A row with the same key exists already.
const UNIQUE: &str = "23505";

/// The user may not do this.
const LACKS_PRIVILEGE: &str = "42501";

/// A statement was ended, by `statement_timeout` or on request.
const STATEMENT_CANCELED: &str = "57014";

/// A connection is not configured as the store requested. The code is from the range reserved for user-defined
/// functions.
pub(crate) const NOT_SET_UP: &str = "STN01";

/// PgBouncer's message about a startup parameter that it neither knows nor ignores. Its other errors under `08P01` are
/// transient: its server crashed, no connection became free in time, or no more clients are admitted.
const UNSUPPORTED_PARAMETER: &str = "unsupported startup parameter";

/// The server's message under `0A000` about a prepared statement whose tables have changed since.
const STALE_PLAN: &str = "cached plan must not change result type";

/// Whether this transaction was rolled back because it conflicted with another one: a serialization failure, a
/// deadlock, or a row that the other one inserted concurrently.
pub(crate) fn is_conflict(error: &DbErr) -> bool {
    let Some(error) = driver(error) else { return false };
    match code(error).as_deref() {
        Some("40001" | "40P01") => true,
        Some(UNIQUE) => is_of_stent(error),
        _ => false,
    }
}

/// Whether the session is in a bad state: it is read-only, or its prepared statements are missing, duplicated or stale.
/// Its transaction was not applied.
pub(crate) fn is_of_session(error: &DbErr) -> bool {
    let Some(error) = driver(error) else { return false };
    code(error).is_some_and(|code| has_bad_session(&code, said(error)))
}

/// Whether older sessions are likely to fail in the same way, because they are in the same bad state or were lost
/// together with this one.
pub(crate) fn spoils_sessions(error: &DbErr) -> bool {
    let Some(error) = driver(error) else { return false };
    match (code(error).as_deref(), error) {
        (Some("57P01" | "57P02"), _) | (None, sqlx::Error::Io(_)) => true,
        (Some(code), _) => has_bad_session(code, said(error)),
        _ => false,
    }
}

fn has_bad_session(code: &str, said: &str) -> bool {
    match code {
        "25006" | "26000" | "42P05" => true,
        "0A000" => said.contains(STALE_PLAN),
        _ => false,
    }
}

/// Classifies an error. A refused login is transient if this handle has logged in before, because roles, passwords and
/// `pg_hba.conf` can change.
pub(crate) fn classify(error: &DbErr, was_let_in: bool) -> ErrorKind {
    match error {
        DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed) => ErrorKind::Closed,
        // The pool does not say whether the server is unreachable or all connections are in use.
        DbErr::ConnectionAcquire(ConnAcquireErr::Timeout) | DbErr::Custom(_) => ErrorKind::Unavailable,
        error => driver(error).map_or(ErrorKind::Corrupt, |error| of_driver(error, was_let_in)),
    }
}

/// Classifies an error that the application's own code received in a transaction. Errors that the store would retry
/// because they may be transient are for the application to judge, unless the server reports a conflict with another
/// transaction, or the connection was lost.
pub(crate) fn classify_guest(error: &DbErr, was_let_in: bool) -> ErrorKind {
    if let DbErr::ConnectionAcquire(_) = error {
        return classify(error, was_let_in);
    }
    let Some(error) = driver(error) else { return ErrorKind::Rejected };
    let kind = of_driver(error, was_let_in);
    match (code(error).as_deref(), error) {
        (Some(STATEMENT_CANCELED), _) => ErrorKind::Limit,
        (Some("40001" | "40P01" | "55P03"), _) => ErrorKind::Contended,
        (Some(UNIQUE), _) => kind,
        // Shutdowns, and timeouts of idle sessions and transactions. All of them end the connection.
        (Some("57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "25P04"), _) => ErrorKind::Unavailable,
        (Some(code), _) if code.starts_with("08") => kind,
        (None, sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed) => kind,
        (None, sqlx::Error::PoolTimedOut) => kind,
        _ if matches!(kind, ErrorKind::Contended | ErrorKind::Unavailable) => ErrorKind::Rejected,
        _ => kind,
    }
}

/// What is wrong, and what to do. `schema` is the quoted name of the schema of Stent's tables, if it is known.
pub(crate) fn explain(error: &DbErr, schema: Option<&str>) -> Option<String> {
    if let DbErr::ConnectionAcquire(ConnAcquireErr::Timeout) = error {
        let what = "no connection within acquire_timeout: all of max_connections are in use";
        return Some(what.to_owned());
    }
    let error = driver(error)?;
    if is_of_tls(error) {
        return Some(format!(
            "the connection cannot be encrypted as sslmode asks; to trust the server, name the certificates of its authority \
             with sslrootcert=/path.pem in the URL ({error})"
        ));
    }
    let code = code(error)?;
    if code == LACKS_PRIVILEGE {
        let remedy = grant(said(error), schema.unwrap_or("SCHEMA"));
        return Some(format!("the user lacks a privilege: {remedy} ({error})"));
    }
    let what = match code.as_str() {
        NOT_SET_UP => return Some(said(error).to_owned()),
        "42P01" | "42703" => "Stent's tables do not exist or are outdated; run migrate first",
        "3F000" => {
            "the schema does not exist, or the search_path names no schema that exists; set the parameter schema of \
             the URL, and run migrate"
        }
        "40001" | "40P01" => "other transactions keep writing the same rows",
        UNIQUE if is_of_stent(error) => "other transactions keep writing the same rows",
        "22021" => "a text contains a zero byte, which Postgres cannot hold",
        "25006" => {
            "the session is read-only: the server is a standby, or default_transaction_read_only is on for the role \
             or the database; name the primary in the URL, or turn the setting off"
        }
        "25P01" => {
            "the transaction has already ended: code in it ran COMMIT or ROLLBACK; leave that to the code that began \
             it"
        }
        "25P02" => {
            "an earlier statement of the transaction failed, so the server accepts no more; return that error, or \
             run the statement under a savepoint"
        }
        "26000" | "42P05" => {
            "a pooler sends statements to connections on which they were not prepared; connect without it, use \
             session pooling, or let it track prepared statements (max_prepared_statements of PgBouncer 1.21 or \
             newer)"
        }
        "3D000" => "the database does not exist; create it first",
        "53300" => "the server has no free connection; lower max_connections here or raise it there",
        "08P01" if said(error).contains(UNSUPPORTED_PARAMETER) => {
            "a pooler rejects the connection's settings; let it ignore the startup parameter `options`, or open the \
             store on your own pool"
        }
        "08P01" => "the server, or a pooler in front of it, closed the connection",
        code if code.starts_with("28") => "the server rejects the login of this user",
        code if code.starts_with("23") && !is_of_stent(error) => {
            "a constraint of the application rejects what the transaction has written"
        }
        _ => return None,
    };
    Some(format!("{what} ({error})"))
}

/// The statement that grants what the server misses, by its message.
fn grant(said: &str, schema: &str) -> String {
    let statement = if said.starts_with("must be owner of") {
        return "run the migration as the owner of the tables".to_owned();
    } else if said.contains(" for schema ") {
        format!("GRANT USAGE ON SCHEMA {schema} TO <user>, and CREATE for a user that migrates")
    } else if said.contains(" for database ") {
        "GRANT CREATE ON DATABASE <database> TO <user>, or create the schema as another user".to_owned()
    } else if said.contains("stent_") {
        format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO <user>")
    } else {
        return "grant it".to_owned();
    };
    format!("{statement}; `stent doctor` names each one that is missing")
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

/// The server's message.
fn said(error: &sqlx::Error) -> &str {
    error.as_database_error().map_or("", |error| error.message())
}

/// Whether an error concerns one of Stent's tables.
fn is_of_stent(error: &sqlx::Error) -> bool {
    let table = error.as_database_error().and_then(|error| error.table());
    table.is_some_and(|table| table.starts_with("stent_"))
}

/// Whether a TLS connection cannot be made. The driver passes on what its TLS library says of a certificate as invalid data.
fn is_of_tls(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Tls(_) => true,
        sqlx::Error::Io(error) => error.kind() == io::ErrorKind::InvalidData,
        _ => false,
    }
}

fn of_driver(error: &sqlx::Error, was_let_in: bool) -> ErrorKind {
    if let Some(code) = code(error) {
        return match code.get(..2) {
            // A constraint of the application: a retry would meet the same conflicting row.
            Some("23") if !is_of_stent(error) => ErrorKind::Rejected,
            _ => by_code(&code, said(error), was_let_in),
        };
    }
    match error {
        sqlx::Error::PoolClosed => ErrorKind::Closed,
        sqlx::Error::Configuration(_) => ErrorKind::Config,
        // Once a connection was made, it is the network, a proxy or a certificate that changes.
        error if is_of_tls(error) && !was_let_in => ErrorKind::Config,
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => ErrorKind::Corrupt,
        // The connection was lost: work in flight on it may or may not have been committed.
        _ => ErrorKind::Unavailable,
    }
}

fn by_code(code: &str, said: &str, was_let_in: bool) -> ErrorKind {
    match code {
        "23505" | "55P03" | "57014" | "25P04" => ErrorKind::Contended, // unique, lock_timeout, statement and transaction timeout
        "42P01" | "3F000" | "42703" => ErrorKind::Schema,              // no table, no schema, no column
        "08P01" if said.contains(UNSUPPORTED_PARAMETER) => ErrorKind::Config,
        "25P01" => ErrorKind::Ended, // a savepoint, and no transaction
        "25006" | "25P03" => ErrorKind::Unavailable, // read-only, until another session is not; idle for too long
        "0A000" if said.contains(STALE_PLAN) => ErrorKind::Contended,
        "3D000" if was_let_in => ErrorKind::Unavailable,
        NOT_SET_UP => ErrorKind::Config,
        // Of all internal errors, only these mean that stored data is corrupt.
        "XX001" | "XX002" => ErrorKind::Corrupt,
        _ => match code.get(..2).unwrap_or_default() {
            "40" => ErrorKind::Contended,
            "28" if was_let_in => ErrorKind::Unavailable,
            "22" | "54" => ErrorKind::Limit,
            "23" => ErrorKind::Corrupt,
            "P0" => ErrorKind::Rejected, // raised by a function, of which Stent has none
            // Errors that would recur: features, transaction states, names, syntax, permissions.
            "0A" | "0L" | "0P" | "20" | "21" | "24" | "25" | "26" | "27" | "28" | "2B" | "2D" | "2F"
            | "34" | "38" | "39" | "3B" | "3D" | "3F" | "42" | "44" => ErrorKind::Config,
            _ => ErrorKind::Unavailable, // 08, 53, 55, 57, 58, XX: connections, resources, shutdown, I/O
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
            ("42601", ErrorKind::Config),
            ("22021", ErrorKind::Limit),
            ("54000", ErrorKind::Limit),
            ("23502", ErrorKind::Corrupt),
            ("P0001", ErrorKind::Rejected),
            ("XX000", ErrorKind::Unavailable),
            ("XX001", ErrorKind::Corrupt),
        ] {
            assert_eq!(by_code(code, "", false), kind, "{code}");
        }
    }

    #[test]
    fn what_a_pooler_says_in_passing_passes() {
        for said in [
            "server conn crashed?",
            "query_wait_timeout",
            "server login has been failing, try again later",
            "no more connections allowed",
            "database removed",
            "pgbouncer cannot connect to server",
        ] {
            assert_eq!(by_code("08P01", said, true), ErrorKind::Unavailable, "{said}");
            assert_eq!(by_code("08P01", said, false), ErrorKind::Unavailable, "{said}");
        }
        for said in
            ["unsupported startup parameter: options", "unsupported startup parameter in options: jit"]
        {
            assert_eq!(by_code("08P01", said, true), ErrorKind::Config, "{said}");
        }
    }

    #[test]
    fn who_was_let_in_once_will_be_let_in_again() {
        for code in ["28000", "28P01", "3D000"] {
            assert_eq!(by_code(code, "", false), ErrorKind::Config, "{code}");
            assert_eq!(by_code(code, "", true), ErrorKind::Unavailable, "{code}");
        }
    }

    #[test]
    fn sessions_in_a_bad_state_are_known_by_their_codes() {
        for code in ["25006", "26000", "42P05"] {
            assert!(has_bad_session(code, ""), "{code}");
        }
        assert!(has_bad_session("0A000", "cached plan must not change result type"));
        assert!(!has_bad_session("0A000", "FOR UPDATE is not allowed with aggregate functions"));
        assert!(!has_bad_session("40001", ""));
    }
}
