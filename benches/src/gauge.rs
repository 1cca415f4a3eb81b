//! Processor time and writes while a measurement runs, read from outside of its process: the same for Stent and for every peer.
//!
//! The process says `begin` and `end` around the measured part, and each time waits for the answer, so that nothing is measured
//! while the counters are read. Counters of a Postgres server count whatever else uses it, too; `cargo xtask bench` starts a private
//! one.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement, TransactionTrait};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::cpu;
use crate::plan::Backend;

/// What one execution cost the processors and the server, on average: one item of a map, one step of `history`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Of the measuring process and of the workers that it started. On SQLite the store is in there.
    pub(crate) client_cpu_us: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_cpu_us: Option<f64>,
    #[serde(flatten)]
    pub(crate) writes: Option<Writes>,
}

/// The records in Postgres' write-ahead log for one execution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Writes {
    pub(crate) wal_bytes: f64,
    /// Transactions that wrote.
    pub(crate) commits: f64,
    pub(crate) rows_inserted: f64,
    /// Updates that wrote new entries into every index, and those that wrote none (HOT).
    pub(crate) rows_updated: f64,
    pub(crate) rows_updated_hot: f64,
    pub(crate) rows_deleted: f64,
    pub(crate) row_locks: f64,
    pub(crate) index_entries: f64,
}

/// The counters of a server.
pub(crate) enum Gauge {
    /// The store has none.
    NoServer,
    Postgres {
        runtime: Runtime,
        connection: DatabaseConnection,
        /// The parent of all backends, if the server is on this machine.
        postmaster: Option<u32>,
    },
    Redis(Box<redis::Connection>),
}

/// The counters at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    client: Option<Duration>,
    server: Option<Duration>,
    /// Where the write-ahead log ends.
    wal: Option<String>,
}

impl Gauge {
    /// For the server that the environment names.
    pub(crate) fn of(backend: Backend) -> Result<Self> {
        match backend {
            Backend::Sqlite | Backend::Memory => Ok(Self::NoServer),
            Backend::Postgres => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let connection = runtime.block_on(Database::connect(crate::schema::server()?))?;
                let asked = "SELECT pg_backend_pid() AS pid";
                let pid: i32 = runtime.block_on(one(&connection, asked))?;
                let postmaster = u32::try_from(pid).ok().and_then(|pid| cpu::parent_named(pid, "postgres"));
                Ok(Self::Postgres { runtime, connection, postmaster })
            }
            Backend::Redis => Ok(Self::Redis(Box::new(crate::namespace::connect()?))),
        }
    }

    /// Reads everything, for a measuring process.
    pub(crate) fn read(&mut self, process: u32) -> Result<Reading> {
        let client = cpu::of_tree(process);
        Ok(match self {
            Self::NoServer => Reading { client, server: None, wal: None },
            Self::Postgres { runtime, connection, postmaster } => {
                let server = postmaster.and_then(cpu::of_tree);
                let wal =
                    runtime.block_on(one(connection, "SELECT pg_current_wal_insert_lsn()::text AS at"))?;
                Reading { client, server, wal: Some(wal) }
            }
            Self::Redis(connection) => Reading { client, server: cpu_of_redis(connection)?, wal: None },
        })
    }

    /// The usage between two readings, for one of `count` executions.
    pub(crate) fn between(&mut self, before: &Reading, after: &Reading, count: f64) -> Option<Usage> {
        let each = |before: Option<Duration>, after: Option<Duration>| {
            Some(after?.checked_sub(before?)?.as_secs_f64() * 1e6 / count)
        };
        let client_cpu_us = each(before.client, after.client)?;
        let writes = match (&mut *self, &before.wal, &after.wal) {
            // Without the extension, or without the rights to use it, the rest is still worth its line.
            (Self::Postgres { runtime, connection, .. }, Some(from), Some(to)) => {
                runtime.block_on(writes(connection, from, to, count)).ok()
            }
            _ => None,
        };
        Some(Usage { client_cpu_us, server_cpu_us: each(before.server, after.server), writes })
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoServer => "NoServer",
            Self::Postgres { .. } => "Postgres",
            Self::Redis(_) => "Redis",
        })
    }
}

/// Reads the log with `pg_walinspect`, in a transaction that is rolled back: the extension stays only if it was there.
async fn writes(connection: &DatabaseConnection, from: &str, to: &str, count: f64) -> Result<Writes> {
    // The commit of a transaction flushes all before it. With `synchronous_commit=off` the end may not be flushed yet.
    let transaction = connection.begin().await?;
    transaction.execute_unprepared("SET LOCAL synchronous_commit = on; SELECT pg_current_xact_id()").await?;
    transaction.commit().await?;

    let transaction = connection.begin().await?;
    transaction.execute_unprepared("CREATE EXTENSION IF NOT EXISTS pg_walinspect").await?;
    let asked = format!(
        "SELECT \"resource_manager/record_type\" AS kind, count::bigint AS n, \
         pg_wal_lsn_diff('{to}', '{from}')::bigint AS bytes \
         FROM pg_get_wal_stats('{from}', '{to}', true) WHERE count > 0"
    );
    let rows = transaction.query_all_raw(Statement::from_string(DbBackend::Postgres, asked)).await?;
    let mut kinds = BTreeMap::new();
    let mut bytes = 0;
    for row in rows {
        kinds.insert(row.try_get::<String>("", "kind")?, row.try_get::<i64>("", "n")?);
        bytes = row.try_get("", "bytes")?;
    }
    transaction.rollback().await?;
    Ok(Writes::of(&kinds, bytes, count))
}

impl Writes {
    fn of(kinds: &BTreeMap<String, i64>, bytes: i64, count: f64) -> Self {
        let each = |names: &[&str]| {
            // `+INIT` is the same record on a fresh page.
            let is = |kind: &str| names.contains(&kind.strip_suffix("+INIT").unwrap_or(kind));
            let sum: i64 = kinds.iter().filter(|(kind, _)| is(kind)).map(|(_, n)| n).sum();
            sum as f64 / count
        };
        Self {
            wal_bytes: bytes as f64 / count,
            commits: each(&["Transaction/COMMIT"]),
            rows_inserted: each(&["Heap/INSERT"]),
            rows_updated: each(&["Heap/UPDATE"]),
            rows_updated_hot: each(&["Heap/HOT_UPDATE"]),
            rows_deleted: each(&["Heap/DELETE"]),
            row_locks: each(&["Heap/LOCK"]),
            // A page that splits takes its new entry within the record of the split.
            index_entries: each(&[
                "Btree/INSERT_LEAF",
                "Btree/INSERT_POST",
                "Btree/SPLIT_L",
                "Btree/SPLIT_R",
                "Gin/INSERT",
                "Hash/INSERT",
            ]),
        }
    }
}

async fn one<T: sea_orm::TryGetable>(connection: &DatabaseConnection, asked: &str) -> Result<T> {
    let row = connection.query_one_raw(Statement::from_string(DbBackend::Postgres, asked)).await?;
    Ok(row.context("a query of one value has a row")?.try_get_by_index(0)?)
}

fn cpu_of_redis(connection: &mut redis::Connection) -> Result<Option<Duration>> {
    let info: String = redis::cmd("INFO").arg("cpu").query(connection)?;
    Ok(seconds(&info).map(Duration::from_secs_f64))
}

/// The time of the server, and of the children that rewrite its log.
fn seconds(info: &str) -> Option<f64> {
    let value = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().parse::<f64>().ok()
    };
    let own = value("used_cpu_sys")? + value("used_cpu_user")?;
    Some(own + value("used_cpu_sys_children")? + value("used_cpu_user_children")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_counted_for_one_execution() {
        let kinds = [
            ("Heap/INSERT", 18),
            ("Heap/INSERT+INIT", 2),
            ("Heap/HOT_UPDATE", 10),
            ("Heap2/PRUNE", 99),
            ("Btree/INSERT_LEAF", 39),
            ("Btree/SPLIT_R", 1),
            ("Transaction/COMMIT", 5),
        ];
        let kinds = kinds.map(|(kind, n)| (kind.to_owned(), n)).into();

        let writes = Writes::of(&kinds, 5_000, 10.0);

        let expected = Writes {
            wal_bytes: 500.0,
            commits: 0.5,
            rows_inserted: 2.0,
            rows_updated: 0.0,
            rows_updated_hot: 1.0,
            rows_deleted: 0.0,
            row_locks: 0.0,
            index_entries: 4.0,
        };
        assert_eq!(writes, expected);
    }

    #[test]
    fn redis_counts_its_children() {
        let info = "# CPU\r\nused_cpu_sys:1.5\r\nused_cpu_user:2.25\r\nused_cpu_sys_children:0.25\r\nused_cpu_user_children:1.0\r\n";
        assert_eq!(seconds(info), Some(5.0));
        assert_eq!(seconds("used_cpu_sys:1.5\r\n"), None);
    }

    #[test]
    fn a_process_that_is_not_there_has_no_usage() {
        let gone = Reading { client: None, server: None, wal: None };
        assert_eq!(Gauge::NoServer.between(&gone, &gone, 1.0), None);
    }

    #[test]
    fn the_time_of_the_client_is_divided() {
        let at = |ms| Reading { client: Some(Duration::from_millis(ms)), server: None, wal: None };
        let usage = Gauge::NoServer.between(&at(100), &at(300), 1_000.0).expect("it has times");
        assert!((usage.client_cpu_us - 200.0).abs() < 1e-6, "{usage:?}");
    }
}
