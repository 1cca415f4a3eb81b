//! The location of SQLite stores in tests, and the other differences between databases for the tests in
//! `stent-sql/tests/shared`. `support.rs` there lists the required items.

use std::sync::Arc;

use sea_orm::{ConnectionTrait, DbBackend, Statement};
use sea_orm_migration::MigratorTraitSelf;
use stent_core::backend::Migrate;
use stent_sql::SqlStore;
use stent_sql::migration::Migrator;
use stent_sqlite::{SqliteDialect, SqliteOptions, SqliteStore};
use tempfile::TempDir;

use crate::budget::{Cost, Costs};
use crate::support::TABLES;

/// The name that the shared tests use.
pub(crate) type Place = Folder;

/// A folder with a database.
#[derive(Debug)]
pub(crate) struct Folder(pub(crate) TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder for a database"))
    }

    pub(crate) fn options(&self) -> SqliteOptions {
        SqliteOptions::file(self.0.path().join("stent.db"))
    }

    /// A handle on the database, without tables yet.
    pub(crate) async fn open(&self) -> Arc<SqlStore> {
        SqliteStore::open(self.options()).await.expect("opens")
    }

    /// A handle, ready for work, with one connection of each kind.
    pub(crate) async fn open_with_one_connection(&self) -> Arc<SqlStore> {
        let store = SqliteStore::open(self.options().readers(1)).await.expect("opens");
        store.migrate().await.expect("migrates");
        store
    }

    /// A handle on the database, with the tables of the first migrations.
    pub(crate) async fn open_at(&self, migrations: u32) -> Arc<SqlStore> {
        let store = self.open().await;
        let migrator = Migrator::new(Arc::new(SqliteDialect));
        migrator.up(&store.connections().write, Some(migrations)).await.expect("migrates");
        store
    }
}

/// The indexes that statements create, with their definitions.
pub(crate) const INDEX_DEFINITIONS: &str =
    "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND name LIKE 'stent%'";

/// How often a future is dropped.
pub(crate) const DROPS: u32 = 1_500;

/// The statements that exchanges take.
pub(crate) const COSTS: Costs = Costs {
    steps_end_and_parents_go_on: Cost(6, "whatever the size"),
    everything_at_once: Cost(14, "of which two look after what was swept and erased"),
    leaf_claimed: Cost(3, "a look at the streams, the pick, the claim"),
    roots_end: Cost(2, "who joins them is read along with them"),
    keyed_dispatched: Cost(4, "rows, key entries; rows, key entries"),
    keyed_end: Cost(6, "rows, memos; rows of two kinds, key entries; who joins those that waited"),
    notes_of_every_kind: Cost(
        7,
        "rows; rows, first values, counts, states, progress, what is too much of that",
    ),
    time_is_up: Cost(4, "rows; rows, the sweep, what is to be looked after"),
    asked_to_end: Cost(7, "rows; rows, those below, what closes; rows; rows, and what closing leads to"),
    limited_claimed: Cost(10, "whatever the size"),
};

/// A statement that leaves a connection in a transaction that the driver does not know.
pub(crate) const POISONS: [&[&str]; 2] = [&["BEGIN IMMEDIATE"], &["BEGIN", "SELECT * FROM nowhere"]];

/// SQL that makes the database refuse a kind of write to a table, before or after the row is written.
pub(crate) fn cut(table: &str, verb: &str, when: &str) -> [String; 1] {
    // FAIL keeps the statement's writes so far, and the transaction open, so the store has more to undo than after ABORT.
    [format!("CREATE TRIGGER cut_{table} {when} {verb} ON {table} BEGIN SELECT RAISE(FAIL, 'cut'); END")]
}

/// SQL that makes the database refuse to commit a transaction that has inserted a task. SQLite leaves it open then.
pub(crate) const CUT_AT_COMMIT: [&str; 4] = [
    "PRAGMA foreign_keys = ON",
    "CREATE TABLE nobody (id INTEGER PRIMARY KEY)",
    "CREATE TABLE orphan (id INTEGER REFERENCES nobody DEFERRABLE INITIALLY DEFERRED)",
    "CREATE TRIGGER cut_stent_task AFTER INSERT ON stent_task BEGIN INSERT INTO orphan VALUES (1); END",
];

/// SQL that removes the refusal.
pub(crate) fn mend(table: &str) -> [String; 1] {
    [format!("DROP TRIGGER cut_{table}")]
}

/// All rows of all tables, as another connection sees them.
pub(crate) async fn dump(store: &SqlStore) -> String {
    let read = async |query: String| {
        let rows = store.connections().read.query_all_raw(Statement::from_string(DbBackend::Sqlite, query));
        let rows = rows.await.expect("reads");
        rows.iter().map(|row| row.try_get_by_index::<String>(0).expect("a text")).collect::<Vec<_>>()
    };
    let mut dump = String::new();
    for table in TABLES {
        let columns =
            read(format!("SELECT 'quote(\"' || name || '\")' FROM pragma_table_info('{table}')")).await;
        let rows =
            read(format!("SELECT {} AS line FROM {table} ORDER BY line", columns.join(" || ' ' || "))).await;
        dump.push_str(&format!("{table}\n{}\n", rows.join("\n")));
    }
    dump
}

/// A root that waits to be claimed, a running root with a waiting step, a root whose worker died, and a failed root, as
/// rows of the first schema.
pub(crate) const FIRST_ROWS: &str = "
    INSERT INTO stent_lane (key, queue, function) VALUES (LANE, 'default', 'charge');
    INSERT INTO stent_task (id, execution_id, parent_id, seq, kind, lane, queue, name, priority, status, epoch, tries,
        attempts, commit_no, commit_epoch, ready_at, worker_id, done, done_order, fed, created_at, started_at, ended_at,
        failure, args_type, args)
    SELECT id, execution, parent, 0, 'call', LANE, 'default', 'charge', 0, status, epoch, epoch, 0, epoch, epoch, ready,
        worker, 0, NULL, 0, 1, NULL, ended, failure, 'application/cbor', x'00'
    FROM (SELECT x'00000000000070008000000000000001' AS id, x'00000000000070008000000000000001' AS execution,
            NULL AS parent, 'pending' AS status, 0 AS epoch, 1 AS ready, NULL AS worker, NULL AS ended, NULL AS failure
        UNION ALL SELECT x'00000000000070008000000000000002', x'00000000000070008000000000000002', NULL, 'running', 1, 2,
            x'00000000000070008000000000000009', NULL, NULL
        UNION ALL SELECT x'00000000000070008000000000000003', x'00000000000070008000000000000002',
            x'00000000000070008000000000000002', 'pending', 0, 3, NULL, NULL, NULL
        UNION ALL SELECT x'00000000000070008000000000000004', x'00000000000070008000000000000004', NULL, 'failed', 1, NULL,
            NULL, 4, '{\"kind\":\"Declined\",\"message\":\"no funds\"}')";

/// The literals of an id and of bytes.
pub(crate) fn id(n: u128) -> String {
    format!("x'{n:032x}'")
}

pub(crate) fn bytes(hex: &str) -> String {
    format!("x'{hex}'")
}
