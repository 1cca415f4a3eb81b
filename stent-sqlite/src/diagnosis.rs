//! Examines the file of a store: its indexes, its log, its lock, and its unused space.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sea_orm::sqlx::sqlite::SqliteConnectOptions;
use sea_orm::sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, QueryResult, Statement};
use stent_core::backend::{ErrorKind, Finding};
use stent_sql::Connections;
use stent_sql::dialect::{Diagnosis, Failures, judge_indexes};
use stent_sql::migration::Index;

use crate::dialect::{SqliteDialect, classify};

/// A log that no longer shrinks by itself: it is truncated to 64 MiB at each checkpoint.
const LOG_BYTES_MAX: u64 = 512 * MIB;

/// A wait for the write lock that other writers notice, too.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(1);

/// Unused space that is not worth a word.
const FREE_BYTES_MAX: u64 = 256 * MIB;

const MIB: u64 = 1024 * 1024;

/// Takes the write lock and gives it back. Changes nothing. Only the write in between fails on a connection that may not write.
const TRY_THE_LOCK: &str = "BEGIN IMMEDIATE; PRAGMA user_version = 1; ROLLBACK";

#[async_trait]
impl Diagnosis for SqliteDialect {
    async fn examine(&self, connections: &Connections) -> Result<Vec<Finding>, DbErr> {
        let read = &connections.read;
        let indexes = rows(read, &self.indexes()).await?;
        let indexes: Vec<(String, bool)> =
            indexes.iter().map(|row| Ok((row.try_get_by_index(0)?, true))).collect::<Result<_, DbErr>>()?;
        let create = |index: &Index| index.create("", None);
        let mut findings =
            vec![judge_indexes(&indexes, create, |index| format!("REINDEX \"{}\"", index.name))];
        let Some(path) = file(read).await? else { return Ok(findings) };
        findings.push(judge_log(std::fs::metadata(beside(&path, "-wal")).map_or(0, |log| log.len())));
        findings.push(lock(self, &connections.write, &path).await?);
        findings.push(space(read).await?);
        Ok(findings)
    }

    fn indexes(&self) -> String {
        "SELECT name, 1 FROM sqlite_master WHERE type = 'index'".to_owned()
    }

    /// A file that can be opened can be read as a whole.
    fn find_table(&self, table: &str) -> String {
        format!("SELECT CAST(NULL AS TEXT) FROM sqlite_master WHERE type = 'table' AND name = '{table}'")
    }
}

async fn rows(connection: &DatabaseConnection, query: &str) -> Result<Vec<QueryResult>, DbErr> {
    connection.query_all_raw(Statement::from_string(DbBackend::Sqlite, query)).await
}

/// The file of the database; `None` if it is in memory.
async fn file(read: &DatabaseConnection) -> Result<Option<PathBuf>, DbErr> {
    let rows = rows(read, "SELECT file FROM pragma_database_list WHERE name = 'main'").await?;
    let path: Option<String> = rows.first().map(|row| row.try_get_by_index(0)).transpose()?;
    Ok(path.filter(|path| !path.is_empty()).map(PathBuf::from))
}

fn judge_log(bytes: u64) -> Finding {
    const CHECK: &str = "log";
    let what = format!("the write-ahead log has {} MiB", bytes.div_ceil(MIB));
    if bytes > LOG_BYTES_MAX {
        let remedy = "a long reading transaction keeps it from shrinking: find the program that holds one open, and end it";
        return Finding::warning(CHECK, what, remedy);
    }
    Finding::ok(CHECK, what)
}

async fn lock(dialect: &SqliteDialect, write: &DatabaseConnection, path: &Path) -> Result<Finding, DbErr> {
    const CHECK: &str = "lock";
    let asked = Instant::now();
    let remedy = format!(
        "find the process that holds it, for example with `fuser {}`, and end its transaction",
        path.display()
    );
    let is_held = match write.execute_unprepared(TRY_THE_LOCK).await {
        Ok(_) => false,
        Err(error) => match dialect.classify(&error) {
            ErrorKind::Contended => true,
            // A handle that only reads was allowed to begin, and has written nothing.
            ErrorKind::Config => {
                write.execute_unprepared("ROLLBACK").await?;
                match is_held_by_another(path).await {
                    Some(is_held) => is_held,
                    None => {
                        return Ok(Finding::ok(CHECK, "the file is only read, so the lock is not needed"));
                    }
                }
            }
            _ => return Err(error),
        },
    };
    let waited = asked.elapsed();
    if is_held {
        let who = holder(path).unwrap_or_else(|| "another process".to_owned());
        let what = format!("{who} has held the write lock for {} ms", waited.as_millis());
        return Ok(Finding::problem(CHECK, what, remedy));
    }
    if waited > LOCK_WAIT_MAX {
        let what = format!("the write lock was free only after {} ms", waited.as_millis());
        return Ok(Finding::warning(CHECK, what, remedy));
    }
    Ok(Finding::ok(CHECK, "the write lock is free"))
}

/// Tries the lock on a connection that may write. `None` if nobody has the file open to write, or this user may not write.
async fn is_held_by_another(path: &Path) -> Option<bool> {
    if !beside(path, "-wal").exists() {
        return None;
    }
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(LOCK_WAIT_MAX);
    let mut connection = options.disable_statement_logging().connect().await.ok()?;
    let tried = connection.execute(TRY_THE_LOCK).await;
    let _ = connection.close().await;
    match tried {
        Ok(_) => Some(false),
        Err(error) if classify(&error) == ErrorKind::Contended => Some(true),
        Err(_) => None,
    }
}

/// A file of the database beside it.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut file = path.as_os_str().to_owned();
    file.push(suffix);
    file.into()
}

/// The process that holds the write lock, as far as the system tells.
#[cfg(target_os = "linux")]
fn holder(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let inode = std::fs::metadata(beside(path, "-shm")).ok()?.ino();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let process = locks.lines().find_map(|line| writer(line, inode))?;
    let name = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    Some(match name.trim() {
        "" => format!("process {process}"),
        name => format!("process {process} ({name})"),
    })
}

#[cfg(not(target_os = "linux"))]
const fn holder(_path: &Path) -> Option<String> {
    None
}

/// The process of a lock if it is the write lock of the database whose shared memory has this inode. A line is like `7: POSIX
/// ADVISORY WRITE 4711 08:01:131090 120 120`.
#[cfg(target_os = "linux")]
fn writer(line: &str, inode: u64) -> Option<u32> {
    /// The byte of the shared memory that writers lock: <https://www.sqlite.org/walformat.html#locking_matrix>.
    const WRITE_LOCK: u64 = 120;
    let words: Vec<_> = line.split_whitespace().collect();
    let [_, "POSIX", _, "WRITE", process, file, from, to] = words[..] else { return None };
    let is_of_file = file.rsplit(':').next()?.parse() == Ok(inode);
    let (from, to): (u64, u64) = (from.parse().ok()?, to.parse().unwrap_or(u64::MAX));
    let process = process.parse().ok().filter(|process| *process > 0)?;
    (is_of_file && (from..=to).contains(&WRITE_LOCK)).then_some(process)
}

async fn space(read: &DatabaseConnection) -> Result<Finding, DbErr> {
    let query = "SELECT page_count * page_size, freelist_count * page_size \
                 FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
    let rows = rows(read, query).await?;
    let Some(row) = rows.first() else { return Ok(judge_space(0, 0)) };
    let bytes = |index| row.try_get_by_index::<i64>(index).map(|bytes| u64::try_from(bytes).unwrap_or(0));
    Ok(judge_space(bytes(0)?, bytes(1)?))
}

fn judge_space(all: u64, free: u64) -> Finding {
    const CHECK: &str = "space";
    let what = format!("the file has {} MiB, of which {} are unused", all.div_ceil(MIB), free / MIB);
    if free > FREE_BYTES_MAX && free > all / 2 {
        let remedy = "new executions use the space again; to give it back to the disk, stop all workers and run VACUUM";
        return Finding::warning(CHECK, what, remedy);
    }
    Finding::ok(CHECK, what)
}

#[cfg(test)]
mod tests {
    use stent_core::backend::Verdict;

    use super::*;

    #[test]
    fn a_log_that_no_longer_shrinks_is_a_warning() {
        let log = |mib: u64| judge_log(mib * MIB).verdict;
        assert_eq!([0, 64, 512, 513].map(log), [Verdict::Ok, Verdict::Ok, Verdict::Ok, Verdict::Warning]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_process_that_writes_is_read_from_the_locks_of_the_system() {
        for (line, process) in [
            ("7: POSIX  ADVISORY  WRITE 4711 08:01:131090 120 120", Some(4711)),
            ("7: POSIX  ADVISORY  WRITE 4711 08:01:131090 0 EOF", Some(4711)),
            ("7: POSIX  ADVISORY  READ 4711 08:01:131090 124 124", None),
            ("7: POSIX  ADVISORY  WRITE 4711 08:01:131090 123 123", None),
            ("7: POSIX  ADVISORY  WRITE 4711 08:01:131091 120 120", None),
            ("7: -> POSIX  ADVISORY  WRITE 4711 08:01:131090 120 120", None),
            ("7: FLOCK  ADVISORY  WRITE 4711 08:01:131090 0 EOF", None),
        ] {
            assert_eq!(writer(line, 131_090), process, "{line}");
        }
    }

    #[test]
    fn a_file_that_is_mostly_unused_is_a_warning_if_it_is_large() {
        let space = |all: u64, free: u64| judge_space(all * MIB, free * MIB).verdict;
        assert_eq!(space(400, 200), Verdict::Ok, "small");
        assert_eq!(space(4_000, 1_000), Verdict::Ok, "mostly used");
        assert_eq!(space(4_000, 2_500), Verdict::Warning);
    }
}
