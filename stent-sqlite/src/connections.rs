//! Connections that tell what the database does with their transactions, and in what state they come back.
//!
//! The driver counts transactions by the statements that it has sent. SQLite rolls back by itself when a disk is full, when it
//! cannot read or write, or under `OR ROLLBACK`; the driver's `ROLLBACK` fails then, and from there on it takes each new
//! transaction for a savepoint in one that does not exist. So a connection is used again only if the driver has nothing open.

use std::sync::Arc;

use sea_orm::sqlx::sqlite::{SqliteConnection, SqlitePoolOptions};
use sea_orm::sqlx::{self, AssertSqlSafe, Connection, Executor, Row};
use stent_sql::OneWriter;

use crate::files::Files;

/// How many transactions within each other the driver may take for open on a connection that can be mended.
const DEPTH_MAX: u32 = 16;

/// Puts back what a closure may have set on the only connection to a store in memory, which cannot be closed. Setting
/// `temp_store` to another value drops all that is temporary.
const RESET: &str = "PRAGMA query_only = OFF; PRAGMA foreign_keys = ON; PRAGMA ignore_check_constraints = OFF; \
    PRAGMA recursive_triggers = OFF; PRAGMA reverse_unordered_selects = OFF; PRAGMA writable_schema = RESET; \
    PRAGMA legacy_alter_table = OFF; PRAGMA automatic_index = ON; PRAGMA cell_size_check = OFF; \
    PRAGMA locking_mode = NORMAL; PRAGMA temp_store = FILE; PRAGMA temp_store = MEMORY";

/// The pool of the connection that writes: it is closed when the driver has a transaction open that nobody has any more. If it
/// was the only one, its log goes with it.
pub(crate) fn of_own(
    pool: SqlitePoolOptions,
    writer: &Arc<OneWriter>,
    files: &Arc<Files>,
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
    .before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }))
}

/// The pool of the connection that closures have: each has one of its own, so nothing is left of what it has set.
pub(crate) fn of_guests(pool: SqlitePoolOptions, writer: &Arc<OneWriter>) -> SqlitePoolOptions {
    let (opened, returned) = (Arc::clone(writer), Arc::clone(writer));
    pool.after_connect(move |connection, _| Box::pin(tell(connection, Arc::clone(&opened)))).after_release(
        move |connection, _| {
            let writer = Arc::clone(&returned);
            Box::pin(async move {
                // Answered once the rollbacks before it are done.
                let pinged = connection.ping().await;
                writer.came_back();
                pinged.map(|()| false)
            })
        },
    )
}

/// The pool of the only connection of a store in memory: what cannot be closed is mended.
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

/// Pools that only read: a connection that is not out of every transaction would see the same state for ever.
pub(crate) fn of_readers(pool: SqlitePoolOptions) -> SqlitePoolOptions {
    pool.after_release(|connection, _| Box::pin(is_sound(connection)))
}

/// Has the database tell of each commit and rollback.
async fn tell(connection: &mut SqliteConnection, writer: Arc<OneWriter>) -> Result<(), sqlx::Error> {
    let mut handle = connection.lock_handle().await?;
    let commits = Arc::clone(&writer);
    handle.set_commit_hook(move || commits.commits());
    handle.set_rollback_hook(move || writer.rolled_back());
    Ok(())
}

/// Whether the driver has no transaction open, once the rollbacks are done that it has in its queue.
async fn is_sound(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if connection.is_in_transaction() {
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

/// Has the driver and the database agree again, and both be out of every transaction: what the driver takes for open is made
/// so, and then rolled back.
async fn mend(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    if is_sound(connection).await? {
        return Ok(());
    }
    // Fails if the database is in one, which is as well.
    let _ = connection.execute("BEGIN").await;
    for depth in 1..DEPTH_MAX {
        connection.execute(AssertSqlSafe(format!("SAVEPOINT _sqlx_savepoint_{depth}"))).await?;
    }
    for _ in 0..DEPTH_MAX {
        // The driver refuses that in a transaction, and then rolls back the one that it takes for open: it offers no other way.
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
