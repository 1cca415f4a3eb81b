//! Connections that the application's statements run on, in the closures of `stent::transaction`. They are apart from Stent's
//! own: they begin with the server's and the URL's settings and no others, and what a closure leaves on one is undone before
//! it is used again.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::postgres::{PgConnection, PgPoolOptions};
use sea_orm::sqlx::{self, Connection, Executor, Row};
use stent_core::duration;
use tokio::time::timeout;

use crate::place::Place;
use crate::sessions::Sessions;

/// How long a connection may take until it is as it was when it was opened. A statement that was given up ends first, on the
/// server, by the timeout of its transaction.
const RESET_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest timeout that can be said to the server: an integer of 32 bits, in milliseconds.
const MS_MAX: u64 = i32::MAX as u64;

/// How much later than the closure itself its statements end on the server: so that it is the closure that says so.
const LATER_MS: u64 = 250;

/// What `DISCARD ALL` does, but for prepared statements, which the driver goes on using, and plans. The row says whether the
/// session is out of every transaction, how many statements the driver has prepared, and how many the application.
const RESET: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; UNLISTEN *; DISCARD TEMP; \
    DISCARD SEQUENCES; SELECT pg_advisory_unlock_all(); \
    SELECT now() = statement_timestamp(), \
    (SELECT count(*) FROM pg_prepared_statements WHERE NOT from_sql), \
    (SELECT count(*) FROM pg_prepared_statements WHERE from_sql)";

/// The server's own bound on a statement, in milliseconds, and its own search path.
const OWN: &str = "SELECT setting::bigint, current_setting('search_path') FROM pg_settings WHERE name = 'statement_timeout'";

/// Adds to a pool's options what undoes what closures leave.
pub(crate) fn undone(options: PgPoolOptions, sessions: &Arc<Sessions>) -> PgPoolOptions {
    let (of_new, of_old) = (Arc::clone(sessions), Arc::clone(sessions));
    options
        .after_connect(move |connection, _| {
            let sessions = Arc::clone(&of_new);
            Box::pin(async move {
                let own = sqlx::raw_sql(OWN).fetch_one(&mut *connection).await?;
                sessions.learn(own.try_get::<i64, _>(0)?.unsigned_abs(), own.try_get(1)?);
                sessions.opened();
                Ok(())
            })
        })
        .after_release(move |connection, metadata| {
            let is_retired = of_old.is_retired(metadata.age);
            Box::pin(async move {
                if is_retired {
                    return Ok(false);
                }
                match timeout(RESET_TIMEOUT, reset(connection)).await {
                    Ok(reset) => reset,
                    Err(_) => Ok(false),
                }
            })
        })
}

/// Undoes what was done on a connection. False if it cannot be, and the connection must be closed.
async fn reset(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let rows = sqlx::raw_sql(RESET).fetch_all(&mut *connection).await?;
    let Some(row) = rows.last() else { return Ok(false) };
    let (is_out, prepared, by_hand): (bool, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if !is_out {
        return Ok(false);
    }
    if by_hand > 0 || prepared != connection.cached_statements_size() as i64 {
        // The application has prepared some of its own, or has taken away the driver's.
        connection.clear_cached_statements().await?;
        connection.execute(sqlx::raw_sql("DEALLOCATE ALL")).await?;
    }
    Ok(true)
}

/// What a transaction begins with that the application's statements run in. Nothing here looks at the database, after which
/// the application could not set the isolation level any more.
///
/// Tables are looked for where the server says, and then in the schema of Stent's, if the options name one: an application may
/// have its own tables there, too.
pub(crate) fn settings(limit: Option<Duration>, sessions: &Sessions, place: &Place) -> String {
    let mut settings = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED".to_owned();
    if let Some(limit) = limit {
        let ms = (duration::millis(limit, MS_MAX) + LATER_MS).min(MS_MAX);
        let statement_ms = sessions.statement_ms(ms);
        settings.push_str(&format!(
            "; SET LOCAL statement_timeout = {statement_ms}; SET LOCAL idle_in_transaction_session_timeout = {ms}"
        ));
    }
    match (sessions.search_path(), place.asked_for()) {
        (Some("" | "\"\""), Some(schema)) => {
            settings.push_str(&format!("; SET LOCAL search_path = {schema}"));
        }
        (Some(own), Some(schema)) => settings.push_str(&format!("; SET LOCAL search_path = {own}, {schema}")),
        _ => {}
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_of_the_applications_begins_with_what_is_left_of_its_time() {
        let (sessions, place) = (Sessions::default(), Place::new(Some("orders".to_owned())));
        let level = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED";
        assert_eq!(settings(None, &sessions, &place), level);

        sessions.learn(0, "\"$user\", public".to_owned());
        let second = settings(Some(Duration::from_secs(1)), &sessions, &place);
        let for_ever = settings(Some(Duration::MAX), &sessions, &Place::new(None));

        assert_eq!(
            second,
            format!(
                "{level}; SET LOCAL statement_timeout = 1250; SET LOCAL idle_in_transaction_session_timeout = 1250; \
                 SET LOCAL search_path = \"$user\", public, \"orders\""
            )
        );
        assert!(for_ever.ends_with("idle_in_transaction_session_timeout = 2147483647"), "{for_ever}");
    }
}
