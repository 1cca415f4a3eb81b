//! The location of Postgres stores in tests, and the other differences between databases for the tests in
//! `stent-sql/tests/shared`. `support.rs` there lists the required items.

use std::sync::Arc;

use sea_orm::{ConnectionTrait, DbBackend, Statement};
use sea_orm_migration::MigratorTraitSelf;
use stent_postgres::{PostgresDialect, PostgresStore};
use stent_sql::SqlStore;
use stent_sql::migration::Migrator;

use crate::budget::{Cost, Costs};
use crate::schema::Schema;
use crate::support::TABLES;

/// The name that the shared tests use.
pub(crate) type Place = Schema;

impl Schema {
    /// A handle on the schema, without tables yet.
    pub(crate) async fn open(&self) -> Arc<SqlStore> {
        PostgresStore::open(self.url().parse().expect("options")).await.expect("opens")
    }

    /// A handle, ready for work, with one connection of each kind, so that a test can ask each one for the statements
    /// that it was sent.
    pub(crate) async fn open_with_one_connection(&self) -> Arc<SqlStore> {
        // Migrations have connections of their own.
        self.ready().await;
        let url = self.url_with(&format!("schema={}&max_connections=1", self.name()));
        PostgresStore::open(url.parse().expect("options")).await.expect("opens")
    }

    /// A handle on the schema, with the tables of the first migrations.
    pub(crate) async fn open_at(&self, migrations: u32) -> Arc<SqlStore> {
        let store = self.open().await;
        let make = format!("CREATE SCHEMA \"{}\"", self.name());
        store.connections().write.execute_unprepared(&make).await.expect("makes a schema");
        let migrator = Migrator::new(Arc::new(PostgresDialect::default()));
        migrator.up(&store.connections().write, Some(migrations)).await.expect("migrates");
        store
    }
}

/// The indexes that statements create, with their definitions.
pub(crate) const INDEX_DEFINITIONS: &str = "SELECT indexname::text, indexdef FROM pg_indexes WHERE schemaname = current_schema() \
     AND indexname LIKE 'stent\\_%' AND indexname NOT LIKE '%pkey'";

/// How often a future is dropped: each time takes a round trip to the server.
pub(crate) const DROPS: u32 = 500;

/// The statements that exchanges take: those of SQLite, and statements that lock: one for keys with key entries, one
/// for roots that end, one for the counts of limits, and one for the tasks below a swept, stopped or erased task, with
/// a second one if there are any.
pub(crate) const COSTS: Costs = Costs {
    steps_end_and_parents_go_on: Cost(6, "whatever the size"),
    everything_at_once: Cost(
        16,
        "of which two look after what was swept and erased, and two lock what is below that",
    ),
    leaf_claimed: Cost(3, "a look at the streams, the pick, the claim"),
    roots_end: Cost(3, "rows; who joins them; rows"),
    keyed_dispatched: Cost(5, "locks; rows, memos; rows, memos"),
    keyed_end: Cost(
        9,
        "locks; rows, who waits, memos; rows of two kinds, key entries; rows and who joins those that waited",
    ),
    notes_of_every_kind: Cost(
        7,
        "rows; rows, first values, counts, states, progress, what is too much of that",
    ),
    time_is_up: Cost(6, "rows, who joins them; rows, a look below, the sweep, what is to be looked after"),
    asked_to_end: Cost(
        10,
        "rows, who joins; rows, a look below, those below, what closes; rows, who joins; rows, and what closing leads to",
    ),
    limited_claimed: Cost(11, "with the lock of the count"),
};

/// Statements that leave a connection in a transaction that the driver does not know: an open one, and a failed one.
pub(crate) const POISONS: [&[&str]; 2] = [&["BEGIN"], &["BEGIN; SELECT * FROM nowhere"]];

/// SQL that makes the database refuse a kind of write to a table, before or after the row is written.
pub(crate) fn cut(table: &str, verb: &str, when: &str) -> [String; 2] {
    [
        CUT.to_owned(),
        format!("CREATE TRIGGER cut_{table} {when} {verb} ON {table} FOR EACH ROW EXECUTE FUNCTION cut()"),
    ]
}

const CUT: &str = "CREATE OR REPLACE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS \
    $$ BEGIN RAISE EXCEPTION 'cut'; END $$";

/// SQL that makes the database refuse to commit a transaction that has inserted a task.
pub(crate) const CUT_AT_COMMIT: [&str; 2] = [
    CUT,
    "CREATE CONSTRAINT TRIGGER cut_stent_task AFTER INSERT ON stent_task DEFERRABLE INITIALLY DEFERRED \
        FOR EACH ROW EXECUTE FUNCTION cut()",
];

/// SQL that removes the refusal.
pub(crate) fn mend(table: &str) -> [String; 1] {
    [format!("DROP TRIGGER cut_{table} ON {table}")]
}

/// All rows of all tables, as another connection sees them.
pub(crate) async fn dump(store: &SqlStore) -> String {
    let mut dump = String::new();
    for table in TABLES {
        let query = format!("SELECT row::text AS line FROM {table} AS row ORDER BY line");
        let rows = store.connections().read.query_all_raw(Statement::from_string(DbBackend::Postgres, query));
        let rows = rows.await.expect("reads");
        let rows = rows.iter().map(|row| row.try_get_by_index::<String>(0).expect("a text"));
        dump.push_str(&format!("{table}\n{}\n", rows.collect::<Vec<_>>().join("\n")));
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
        worker, 0, NULL, 0, 1, NULL, ended, failure, 'application/cbor', '\\x00'
    FROM (VALUES
        ('00000000-0000-7000-8000-000000000001'::uuid, '00000000-0000-7000-8000-000000000001'::uuid, NULL::uuid, 'pending',
            0, 1, NULL::uuid, NULL::bigint, NULL),
        ('00000000-0000-7000-8000-000000000002', '00000000-0000-7000-8000-000000000002', NULL, 'running', 1, 2,
            '00000000-0000-7000-8000-000000000009', NULL, NULL),
        ('00000000-0000-7000-8000-000000000003', '00000000-0000-7000-8000-000000000002',
            '00000000-0000-7000-8000-000000000002', 'pending', 0, 3, NULL, NULL, NULL),
        ('00000000-0000-7000-8000-000000000004', '00000000-0000-7000-8000-000000000004', NULL, 'failed', 1, NULL, NULL, 4,
            '{\"kind\":\"Declined\",\"message\":\"no funds\"}')
    ) AS open (id, execution, parent, status, epoch, ready, worker, ended, failure)";

/// The literals of an id and of bytes.
pub(crate) fn id(n: u128) -> String {
    format!("'{n:032x}'::uuid")
}

pub(crate) fn bytes(hex: &str) -> String {
    format!("'\\x{hex}'::bytea")
}
