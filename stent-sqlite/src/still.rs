//! A store that is only read, and that nobody has open to write.
//!
//! Without a log beside it, its connections take the file for one that never changes (`immutable`): SQLite would otherwise create
//! the files that readers share with writers, beside a backup or in a directory that cannot be written. A program that starts
//! later creates a log, and its commits are not seen through such connections. So each read first looks for a log, and from then
//! on connections are opened as usual.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

use crate::hints::Stamp;

/// A connection that was being opened when the file began to change may be one of the old kind.
const OPENING: Duration = Duration::from_secs(1);

/// Tells the pools which connections are out of date. It holds no pool itself, so a handle that is dropped drops its pools.
#[derive(Debug, Default)]
pub(crate) struct Still {
    /// When the file was last seen to have changed: older connections may show it as it was.
    changed: Mutex<Option<Instant>>,
}

impl Still {
    /// Whether a connection of this age shows the file as it is.
    pub(crate) fn is_current(&self, age: Duration) -> bool {
        let changed = *self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.is_none_or(|changed| changed.elapsed() > age + OPENING)
    }

    fn changes(&self) {
        *self.changed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// Looks whether the file has a writer now.
#[derive(Debug)]
pub(crate) struct StillWatch {
    still: Arc<Still>,
    database: PathBuf,
    log: PathBuf,
    /// The pools, with their options for a file that has writers.
    pools: [(SqlitePool, SqliteConnectOptions); 2],
    /// The database's file at the last look; `None` once there was a log. A program that started and ended since the last look
    /// has left no log.
    seen: Mutex<Option<Stamp>>,
}

impl StillWatch {
    pub(crate) fn new(
        still: Arc<Still>,
        database: &Path,
        log: &Path,
        pools: [(SqlitePool, SqliteConnectOptions); 2],
    ) -> Self {
        let seen = Mutex::new(Some(Stamp::of(database)));
        Self { still, database: database.to_owned(), log: log.to_owned(), pools, seen }
    }

    /// Reads the file system only, and nothing once there was a log.
    pub(crate) fn look(&self) {
        let mut seen = self.seen();
        let Some(before) = *seen else { return };
        let now = (!self.log.exists()).then(|| Stamp::of(&self.database));
        if now == Some(before) {
            return;
        }
        if now.is_none() {
            for (pool, options) in &self.pools {
                pool.set_connect_options(options.clone());
            }
        }
        self.still.changes();
        *seen = now;
    }

    fn seen(&self) -> MutexGuard<'_, Option<Stamp>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
