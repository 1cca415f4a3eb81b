//! Connections for the application's statements in closures of `stent::transaction`. They are separate from Stent's
//! own: they start with the settings of the server and the URL only, and are reset after each closure before they are
//! used again.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::postgres::{PgConnection, PgPoolOptions};
use sea_orm::sqlx::{self, Connection, Executor, Row};
use stent_core::duration;
use tokio::time::timeout;

use crate::place::Place;
use crate::sessions::Sessions;

/// How long resetting a connection may take. If a statement was abandoned, the server first ends it by the timeout of
/// its transaction.
const RESET_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest timeout that the server accepts: a 32-bit integer, in milliseconds.
const MS_MAX: u64 = i32::MAX as u64;

/// How much later than the closure the server ends its statements, so that the closure reports the timeout.
const LATER_MS: u64 = 250;

/// Does what `DISCARD ALL` does, except for plans and for prepared statements, which the driver continues to use. The
/// row shows whether the session has no transaction open, how many statements the driver has prepared, and how many the
/// application has.
const RESET: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; UNLISTEN *; DISCARD TEMP; \
    DISCARD SEQUENCES; SELECT pg_advisory_unlock_all(); \
    SELECT now() = statement_timestamp(), \
    (SELECT count(*) FROM pg_prepared_statements WHERE NOT from_sql), \
    (SELECT count(*) FROM pg_prepared_statements WHERE from_sql)";

/// The server's own limit on a statement, in milliseconds, and its own search path.
const OWN: &str = "SELECT setting::bigint, current_setting('search_path') FROM pg_settings WHERE name = 'statement_timeout'";

/// Makes a pool reset its connections after each closure.
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

/// Resets a connection. Returns false if that is impossible and the connection must be closed.
async fn reset(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let rows = sqlx::raw_sql(RESET).fetch_all(&mut *connection).await?;
    let Some(row) = rows.last() else { return Ok(false) };
    let (is_out, prepared, by_hand): (bool, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if !is_out {
        return Ok(false);
    }
    if by_hand > 0 || prepared != connection.cached_statements_size() as i64 {
        // The application prepared statements of its own, or removed the driver's.
        connection.clear_cached_statements().await?;
        connection.execute(sqlx::raw_sql("DEALLOCATE ALL")).await?;
    }
    Ok(true)
}

/// The settings at the beginning of a transaction for the application's statements. None of them takes a snapshot,
/// because the application can set the isolation level only before the first snapshot.
///
/// The search path is the server's, followed by Stent's schema if the options name one, because an application may also
/// have its own tables there.
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
