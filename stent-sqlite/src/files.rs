//! Detects when the files on the disk are no longer the ones that are open.
//!
//! A file that is removed, moved or replaced stays open in the processes that use it, and their writes go to a file
//! that nobody else reads. The same happens to the log if the process loses its locks. Closing any handle on the
//! database's file, as `std::fs::copy` does, drops all locks of the process
//! (<https://www.sqlite.org/howtocorrupt.html>); the next process that opens and closes the store then believes that it is
//! the last one and removes the log. (SQLite 3.51 fixes this, but other processes may use an older version.)
//!
//! For the same reason, this module never opens the files. Checking both takes about a microsecond.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use stent_core::backend::{Error, ErrorKind, Result};

/// The files of a store as its connections opened them.
#[derive(Debug)]
pub(crate) struct Files {
    database: PathBuf,
    log: PathBuf,
    opened: Mutex<Opened>,
}

#[derive(Debug, Default)]
struct Opened {
    database: Option<Identity>,
    log: Option<Identity>,
}

/// Identifies a file independently of its name: the device and the inode.
type Identity = (u64, u64);

impl Files {
    /// Create this before the first connection is opened. The log of a symbolic link is beside the link's target.
    pub(crate) fn new(database: &Path) -> Self {
        let mut log = fs::canonicalize(database).unwrap_or_else(|_| database.to_owned()).into_os_string();
        log.push("-wal");
        Self { database: database.to_owned(), log: log.into(), opened: Mutex::default() }
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The connection that writes was opened or closed. If it was the only connection, the log file is a new one from
    /// now on.
    pub(crate) fn forget_log(&self) {
        self.lock().log = None;
    }

    /// Fails if one of the files is not the one that was opened. The files that the first transaction of a connection
    /// finds count as the opened ones.
    pub(crate) fn check(&self, operation: &'static str) -> Result<()> {
        let mut opened = self.lock();
        let found = identity(&self.database);
        let is_same = |seen: &mut Option<Identity>, found: Option<Identity>| match seen {
            Some(seen) => Some(*seen) == found,
            None => {
                *seen = found;
                true
            }
        };
        match found {
            Ok(found) if !is_same(&mut opened.database, found) => {
                return Err(gone(operation, &self.database, found, DATABASE));
            }
            _ => {}
        }
        match identity(&self.log) {
            Ok(found) if !is_same(&mut opened.log, found) => Err(gone(operation, &self.log, found, LOG)),
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const DATABASE: &str = "other processes would not see what this process writes, so it confirms no more commits; stop \
                        it, put the file back or restart it on the file that is there, and copy a store only with \
                        Stent::backup_to";

const LOG: &str = "another process took the store for unused and removed its log, so the last writes of this process \
                   may be lost, and it confirms no more commits; restart it; this happens when a process opens and \
                   closes the file itself, as std::fs::copy does, and thereby loses its locks: copy a store only \
                   with Stent::backup_to";

fn gone(operation: &'static str, path: &Path, found: Option<Identity>, so: &str) -> Error {
    let how = if found.is_some() { "was replaced" } else { "was removed or moved" };
    Error::new(ErrorKind::Config, operation)
        .with_message(format!("{} {how} while it was open: {so}", path.display()))
}

/// Returns `None` if the file does not exist. An error gives no information about the file.
#[cfg(unix)]
fn identity(path: &Path) -> io::Result<Option<Identity>> {
    use std::os::unix::fs::MetadataExt;
    match fs::metadata(path) {
        Ok(found) => Ok(Some((found.dev(), found.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// On systems where an open file cannot be removed, there is nothing to check.
#[cfg(not(unix))]
fn identity(_path: &Path) -> io::Result<Option<Identity>> {
    Err(io::ErrorKind::Unsupported.into())
}
