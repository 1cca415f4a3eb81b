//! Examines the file of a store: its indexes, its log, its lock, and its unused space.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, QueryResult, Statement};
use stent_core::backend::{ErrorKind, Finding};
use stent_sql::Connections;
use stent_sql::dialect::{Diagnosis, Failures, judge_indexes};

use crate::dialect::SqliteDialect;

/// A log that no longer shrinks by itself: it is truncated to 64 MiB at each checkpoint.
const LOG_BYTES_MAX: u64 = 512 * MIB;

/// A wait for the write lock that other writers notice, too.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(1);

/// Unused space that is not worth a word.
const FREE_BYTES_MAX: u64 = 256 * MIB;

const MIB: u64 = 1024 * 1024;

/// Takes the write lock and gives it back. Changes nothing.
const TRY_THE_LOCK: &str = "BEGIN IMMEDIATE; ROLLBACK";

#[async_trait]
impl Diagnosis for SqliteDialect {
    async fn examine(&self, connections: &Connections) -> Result<Vec<Finding>, DbErr> {
        let read = &connections.read;
        let indexes = rows(read, "SELECT name FROM sqlite_master WHERE type = 'index'").await?;
        let indexes: Vec<(String, bool)> =
            indexes.iter().map(|row| Ok((row.try_get_by_index(0)?, true))).collect::<Result<_, DbErr>>()?;
        let mut findings = vec![judge_indexes(&indexes)];
        let Some(path) = file(read).await? else { return Ok(findings) };
        let mut log = path.clone().into_os_string();
        log.push("-wal");
        findings.push(judge_log(std::fs::metadata(log).map_or(0, |log| log.len())));
        findings.push(lock(self, &connections.write, &path).await?);
        findings.push(space(read).await?);
        Ok(findings)
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

async fn lock(
    dialect: &SqliteDialect,
    write: &DatabaseConnection,
    path: &std::path::Path,
) -> Result<Finding, DbErr> {
    const CHECK: &str = "lock";
    let asked = Instant::now();
    let remedy = format!(
        "find the process that holds it, for example with `fuser {}`, and end its transaction",
        path.display()
    );
    match write.execute_unprepared(TRY_THE_LOCK).await {
        Ok(_) if asked.elapsed() > LOCK_WAIT_MAX => {
            let what = format!("the write lock was free only after {} ms", asked.elapsed().as_millis());
            Ok(Finding::warning(CHECK, what, remedy))
        }
        Ok(_) => Ok(Finding::ok(CHECK, "the write lock is free")),
        Err(error) if dialect.classify(&error) == ErrorKind::Contended => {
            let what =
                format!("another process has held the write lock for {} ms", asked.elapsed().as_millis());
            Ok(Finding::problem(CHECK, what, remedy))
        }
        Err(error) => Err(error),
    }
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

    #[test]
    fn a_file_that_is_mostly_unused_is_a_warning_if_it_is_large() {
        let space = |all: u64, free: u64| judge_space(all * MIB, free * MIB).verdict;
        assert_eq!(space(400, 200), Verdict::Ok, "small");
        assert_eq!(space(4_000, 1_000), Verdict::Ok, "mostly used");
        assert_eq!(space(4_000, 2_500), Verdict::Warning);
    }
}
