//! Opens a store: its connections, and errors that say what is wrong with a file.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sea_orm::SqlxSqliteConnector;
use sea_orm::sqlx;
use sea_orm::sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sea_orm::sqlx::{ConnectOptions, Connection, Executor};
use stent_core::backend::{Error, ErrorKind, Result};
use stent_sql::{Connections, OneWriter, SqlStore};

use crate::backup::Source;
use crate::connections;
use crate::dialect::{SqliteDialect, classify};
use crate::files::Files;
use crate::hints::WalWatch;
use crate::options::{Durability, Location, SqliteOptions};
use crate::still::{Still, StillWatch};

/// Pages of the log after which it is checkpointed into the database: 16 MiB. With SQLite's default of 1,000, a busy
/// writer checkpoints after every few transactions.
const CHECKPOINT_PAGES: u32 = 4_000;

/// Bytes to which the log is truncated after a checkpoint.
const LOG_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// Page cache of a connection, in KiB: enough for the inner index pages of a few million tasks.
const CACHE_KIB: u32 = 32 * 1024;

/// How long to wait for the process's own writer, in addition to the time that the writer itself may wait for others.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause between attempts to switch a new file to its journal mode, for which SQLite itself does not wait.
const SWITCH_PAUSE: Duration = Duration::from_millis(10);

/// Attempts a write. SQLite opens a read-only file without an error, and it is better to fail now than at a later
/// write. (Beginning a transaction proves nothing: on such a file `IMMEDIATE` is ignored.) The rollback leaves the file
/// unchanged.
const TRY_TO_WRITE: &str = "BEGIN IMMEDIATE; PRAGMA user_version = 1; ROLLBACK";

/// Finds a table of Stent.
const FIND_TABLE: &str = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name GLOB 'stent_*' LIMIT 1";

/// Attempts a read, for a store that is only read.
const TRY_TO_READ: &str = "SELECT count(*) FROM sqlite_master";

/// Opens SQLite stores.
#[derive(Clone, Copy, Debug)]
pub struct SqliteStore;

impl SqliteStore {
    /// Opens a store, and creates its file if it does not exist and the options allow it. [`migrate`](stent_core::backend::Migrate::migrate)
    /// creates its tables.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the path cannot be a store: its directory is missing, the file is missing and not to be created, the path is a directory, the file
    /// is not writable, or it is not an SQLite file. [`ErrorKind::Contended`] if another process has locked it.
    ///
    /// # Panics
    /// If it is called outside a tokio runtime.
    pub async fn open(options: SqliteOptions) -> Result<Arc<SqlStore>> {
        match &options.location {
            Location::Memory => open_memory(&options).await,
            Location::File(path) => open_file(&options, path).await,
        }
        .map(Arc::new)
    }
}

async fn open_memory(options: &SqliteOptions) -> Result<SqlStore> {
    // One connection, for the lifetime of the store: the data belongs to the connection and disappears with it.
    let connect = common(options).filename(":memory:").foreign_keys(true);
    let writer = OneWriter::new(patience(options));
    let pool = connections::of_memory(one(options).min_connections(1), &writer);
    let pool = pool.connect_with(connect).await.map_err(|error| failed(&error, options))?;
    let connection = SqlxSqliteConnector::from_sqlx_sqlite_pool(pool.clone());
    let connections = Connections::new(connection.clone(), connection);
    let store = SqlStore::new(Arc::new(SqliteDialect), connections, options.location.to_string());
    Ok(store.with_writer(writer).with_backup(Source::Memory(pool)))
}

async fn open_file(options: &SqliteOptions, path: &Path) -> Result<SqlStore> {
    // Connections are also opened later, when the current directory may be different.
    let path =
        std::path::absolute(path).map_err(|error| unusable(path, "is not a path").with_source(error))?;
    let create = options.create && !options.read_only;
    check(&path, create)?;
    let (writer, files) = (OneWriter::new(patience(options)), Arc::new(Files::new(&path)));
    // Reading a log needs a file that is shared with its writers, which SQLite would create. Without a log there are none.
    let is_still = options.read_only && !files.log().exists();
    let still = is_still.then(|| Arc::new(Still::default()));
    let of_file = || common(options).filename(&path).read_only(options.read_only).immutable(is_still);
    let writing = of_file()
        .synchronous(match options.durability {
            Durability::Full => SqliteSynchronous::Full,
            Durability::Normal => SqliteSynchronous::Normal,
        })
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string())
        .pragma("journal_size_limit", LOG_BYTES_MAX.to_string());
    // Statistics are deliberately not gathered (`ANALYZE`, `PRAGMA optimize`): a queue that is empty now holds a
    // million tasks later, and plans for the one are bad for the other. Without statistics, SQLite assumes that tables
    // are large.
    let mut connect = tuned(writing.clone());
    // The log is a property of the file, and another program's file stays as it is.
    if create || (!options.read_only && is_store(options, &path).await?) {
        connect = connect.journal_mode(SqliteJournalMode::Wal);
    }

    let pool = connections::of_own(one(options).min_connections(1), &writer, &files, still.clone());
    let write = connect_patiently(options, &pool, &connect.clone().create_if_missing(create)).await?;
    // A connection that replaces another one must not create a new store if the file is gone.
    write.set_connect_options(connect.clone());
    let first = if options.read_only { TRY_TO_READ } else { TRY_TO_WRITE };
    write.execute(first).await.map_err(|error| failed(&error, options))?;
    files.check("open")?;
    let reading = tuned(of_file()).pragma("query_only", "ON");
    let read = connections::of_readers(SqlitePoolOptions::new(), still.clone())
        .max_connections(options.readers)
        .test_before_acquire(false)
        .acquire_timeout(patience(options))
        .max_lifetime(None)
        .connect_lazy_with(reading.clone());
    let still = still.map(|still| {
        let pools = [(write.clone(), connect.immutable(false)), (read.clone(), reading.immutable(false))];
        StillWatch::new(still, &path, files.log(), pools)
    });
    let guests = connections::of_guests(one(options), &writer).connect_lazy_with(writing.foreign_keys(true));
    let connections = Connections::new(
        SqlxSqliteConnector::from_sqlx_sqlite_pool(write),
        SqlxSqliteConnector::from_sqlx_sqlite_pool(read),
    )
    .with_guests(SqlxSqliteConnector::from_sqlx_sqlite_pool(guests));
    let store = SqlStore::new(Arc::new(SqliteDialect), connections, path.display().to_string());
    let connect = Box::new(of_file());
    let backup = Source::File { connect, files: Arc::clone(&files) };
    let watch = WalWatch::new(files, Arc::clone(&writer), still);
    Ok(store.with_writer(writer).with_backup(backup).with_neighbours(watch))
}

/// Whether the file has tables of Stent.
async fn is_store(options: &SqliteOptions, path: &Path) -> Result<bool> {
    let failed = |error| failed(&error, options);
    let mut connection = common(options).filename(path).connect().await.map_err(failed)?;
    let found = connection.fetch_optional(FIND_TABLE).await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    Ok(found.is_some())
}

/// Options of all connections.
fn common(options: &SqliteOptions) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .busy_timeout(options.busy_limit())
        .foreign_keys(false)
        .disable_statement_logging()
}

/// Options of the connections that only Stent uses.
fn tuned(connect: SqliteConnectOptions) -> SqliteConnectOptions {
    connect.pragma("cache_size", format!("-{CACHE_KIB}")).pragma("temp_store", "MEMORY")
}

/// How long writers of this process wait for each other, and readers wait for a connection.
fn patience(options: &SqliteOptions) -> Duration {
    options.busy_limit() + QUEUE_TIMEOUT
}

/// A pool of one connection. The connection is never closed because of age or idleness, and is not tested before each
/// use, because there is no network in between.
fn one(options: &SqliteOptions) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .acquire_timeout(patience(options))
}

/// Opens the first connection and retries while the file is locked. Switching a new file to write-ahead logging needs
/// exclusive access, for which SQLite does not wait; several processes may open a new file at the same time.
async fn connect_patiently(
    options: &SqliteOptions,
    pool: &SqlitePoolOptions,
    connect: &SqliteConnectOptions,
) -> Result<SqlitePool> {
    let deadline = Instant::now() + options.busy_limit();
    loop {
        match pool.clone().connect_with(connect.clone()).await {
            Ok(pool) => return Ok(pool),
            Err(error) if classify(&error) == ErrorKind::Contended && Instant::now() < deadline => {
                tokio::time::sleep(SWITCH_PAUSE).await;
            }
            Err(error) => return Err(failed(&error, options)),
        }
    }
}

/// Checks what can be checked without opening the file. Opening and closing it would drop the locks that other handles
/// of this process hold on it:
/// <https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_>.
fn check(path: &Path, create: bool) -> Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            Err(unusable(path, "is a directory; name a file in it, such as stent.db"))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match path.parent().map(fs::metadata) {
            Some(Ok(parent)) if parent.is_dir() && create => Ok(()),
            Some(Ok(parent)) if parent.is_dir() => {
                Err(unusable(path, "does not exist; check the path, or open it with `create=true`"))
            }
            _ => Err(unusable(path, "is in a directory that does not exist; create the directory first")),
        },
        Err(error) => Err(unusable(path, "cannot be examined").with_source(error)),
    }
}

fn unusable(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Config, "open").with_message(format!("{} {what}", path.display()))
}

/// The error for a file that could not be opened, with the remedy.
fn failed(error: &sqlx::Error, options: &SqliteOptions) -> Error {
    let code = match error {
        sqlx::Error::Database(error) => {
            error.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or_default()
        }
        _ => 0,
    };
    let (kind, what) = match code & 0xff {
        5 | 6 => {
            (ErrorKind::Contended, "was locked by another process for longer than busy_timeout".to_owned())
        }
        8 => (
            ErrorKind::Config,
            "cannot be written; check the permissions of the file and its directory".to_owned(),
        ),
        14 => (
            ErrorKind::Config,
            "cannot be opened; check the permissions of the file and its directory".to_owned(),
        ),
        26 => (ErrorKind::Config, "is not a SQLite database; name another file".to_owned()),
        _ => (classify(error), format!("cannot be opened: {error}")),
    };
    Error::new(kind, "open")
        .with_message(format!("{} {what}", options.location))
        .with_source(error.to_string())
}
