//! Pools whose connections report commits and rollbacks of the database, and are checked when they return.
//!
//! The driver counts transactions by the statements that it has sent. SQLite itself rolls back when a disk is full, on
//! an I/O error, or under `OR ROLLBACK`. The driver's `ROLLBACK` then fails, and from then on the driver treats each
//! new transaction as a savepoint of one that does not exist. A connection is therefore reused only if the driver has
//! no transaction open.

use std::sync::Arc;

use sea_orm::sqlx::sqlite::{SqliteConnection, SqlitePoolOptions};
use sea_orm::sqlx::{self, AssertSqlSafe, Connection, Executor, Row};
use stent_sql::OneWriter;

use crate::files::Files;
use crate::still::Still;

/// Maximum nesting of transactions that the driver may believe to be open on a connection that can be repaired.
const DEPTH_MAX: u32 = 16;

/// Resets everything that a closure may have set on the only connection to a store in memory, which cannot be closed.
/// Changing `temp_store` drops all temporary objects.
const RESET: &str = "PRAGMA query_only = OFF; PRAGMA foreign_keys = ON; PRAGMA ignore_check_constraints = OFF; \
    PRAGMA recursive_triggers = OFF; PRAGMA reverse_unordered_selects = OFF; PRAGMA writable_schema = RESET; \
    PRAGMA legacy_alter_table = OFF; PRAGMA automatic_index = ON; PRAGMA cell_size_check = OFF; \
    PRAGMA locking_mode = NORMAL; PRAGMA temp_store = FILE; PRAGMA temp_store = MEMORY";

/// The pool of the connection that writes, or of one that only reads a file that was [still](Still). The connection is closed if the driver still has an abandoned transaction
/// open. If it was the only connection, closing it removes the write-ahead log.
pub(crate) fn of_own(
    pool: SqlitePoolOptions,
    writer: &Arc<OneWriter>,
    files: &Arc<Files>,
    still: Option<Arc<Still>>,
) -> SqlitePoolOptions {
    let (writer, opened, closed) = (Arc::clone(writer), Arc::clone(files), Arc::clone(files));
    pool.after_connect(move |connection, _| {
        let writer = Arc::clone(&writer);
        opened.forget_log();
        Box::pin(tell(connection, writer))
    })
    .after_release(move |connection, _| {
        let files = Arc::clone(&closed);
        Box::pin(async move {
            let sound = is_sound(connection).await?;
            if !sound {
                files.forget_log();
            }
            Ok(sound)
        })
    })
    .before_acquire(move |connection, metadata| {
        let is_current = still.as_ref().is_none_or(|still| still.is_current(metadata.age));
        Box::pin(async move { Ok(is_current && !connection.is_in_transaction()) })
    })
}

/// The pool of the connections for closures. Each closure gets a new connection, so none of its settings survive.
pub(crate) fn of_guests(pool: SqlitePoolOptions, writer: &Arc<OneWriter>) -> SqlitePoolOptions {
    let (opened, returned) = (Arc::clone(writer), Arc::clone(writer));
    pool.after_connect(move |connection, _| Box::pin(tell(connection, Arc::clone(&opened)))).after_release(
        move |connection, _| {
            let writer = Arc::clone(&returned);
            Box::pin(async move {
                // The ping is answered only after the pending rollbacks.
                let pinged = connection.ping().await;
                writer.came_back();
                pinged.map(|()| false)
            })
        },
    )
}

/// The pool of the only connection of a store in memory. A connection that cannot be closed is repaired.
pub(crate) fn of_memory(pool: SqlitePoolOptions, writer: &Arc<OneWriter>) -> SqlitePoolOptions {
    let (opened, returned) = (Arc::clone(writer), Arc::clone(writer));
    pool.after_connect(move |connection, _| Box::pin(tell(connection, Arc::clone(&opened)))).after_release(
        move |connection, _| {
            let writer = Arc::clone(&returned);
            Box::pin(async move {
                let mended = mend(connection).await;
                let put_back = if writer.came_back() { reset(connection).await } else { Ok(()) };
                mended.and(put_back).map(|()| true)
            })
        },
    )
}

/// The pools that only read. A connection with an open transaction would see the same snapshot forever.
pub(crate) fn of_readers(pool: SqlitePoolOptions, still: Option<Arc<Still>>) -> SqlitePoolOptions {
    pool.after_release(|connection, _| Box::pin(is_sound(connection))).before_acquire(move |_, metadata| {
        let is_current = still.as_ref().is_none_or(|still| still.is_current(metadata.age));
        Box::pin(async move { Ok(is_current) })
    })
}

/// Makes the database report each commit and rollback.
async fn tell(connection: &mut SqliteConnection, writer: Arc<OneWriter>) -> Result<(), sqlx::Error> {
    let mut handle = connection.lock_handle().await?;
    let commits = Arc::clone(&writer);
    handle.set_commit_hook(move || commits.commits());
    handle.set_rollback_hook(move || writer.rolled_back());
    Ok(())
}

/// Whether the driver has no transaction open once its pending rollbacks are done.
async fn is_sound(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

/// Makes the driver and the database agree again, with no transaction open in either: first opens a real transaction
/// for the one that the driver believes to be open, then rolls it back.
async fn mend(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    if is_sound(connection).await? {
        return Ok(());
    }
    // Fails if the database already has a transaction open, which serves the same purpose.
    let _ = connection.execute("BEGIN").await;
    for depth in 1..DEPTH_MAX {
        connection.execute(AssertSqlSafe(format!("SAVEPOINT _sqlx_savepoint_{depth}"))).await?;
    }
    for _ in 0..DEPTH_MAX {
        // The driver refuses this inside a transaction, and then rolls back the transaction that it believes to be
        // open. The driver offers no other way to request the rollback.
        let refused = connection.begin_with("BEGIN").await.map(drop);
        debug_assert!(refused.is_err(), "the driver has a transaction open");
        if is_sound(connection).await? {
            return Ok(());
        }
    }
    Err(sqlx::Error::Protocol("a transaction is nested too deeply to be rolled back".to_owned()))
}

async fn reset(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    connection.execute(RESET).await?;
    let attached = "SELECT name FROM pragma_database_list WHERE name NOT IN ('main', 'temp')";
    for row in connection.fetch_all(attached).await? {
        let name: String = row.try_get(0)?;
        let detach = format!("DETACH \"{}\"", name.replace('"', "\"\""));
        connection.execute(AssertSqlSafe(detach)).await?;
    }
    Ok(())
}
