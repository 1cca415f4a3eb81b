//! The query plan of every statement, on a store with a hundred thousand tasks.

#[path = "../../../stent-sql/tests/shared/plans.rs"]
mod shared;

use std::collections::BTreeMap;
use std::fmt::Write;

use sea_orm::{ConnectionTrait, DbBackend, Statement};
use stent_sql::SqlStore;

use crate::place::Folder;
use crate::support::{commit, root, start};

/// Roots that are due, roots that are not (of a higher priority), roots of a function that no worker here knows, and the
/// steps of one parent, every other one ended.
const FILL: &str = "
    INSERT INTO stent_task (id, execution_id, parent_id, seq, kind, lane, queue, name, priority, status, epoch, uncommitted_claims,
        attempts, commit_no, commit_epoch, ready_at, done, done_order, fed, created_at, ended_at, args_type, args)
    WITH RECURSIVE task(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM task WHERE n < 99999),
        parent(id) AS (SELECT id FROM stent_task WHERE name = 'checkout'),
        charge(key) AS (SELECT key FROM stent_lane WHERE function = 'charge'),
        other(key) AS (SELECT key FROM stent_lane WHERE function = 'other')
    SELECT new.id, IIF(n % 10 < 4, parent.id, new.id), IIF(n % 10 < 4, parent.id, NULL), n, 'call',
        IIF(n % 10 = 9, other.key, charge.key), 'default', IIF(n % 10 = 9, 'other', 'charge'), IIF(n % 10 = 8, 5, 0),
        IIF(n % 10 < 2, 'completed', 'pending'), 0, 0, 0, 0, 0,
        CASE WHEN n % 10 < 2 THEN NULL WHEN n % 10 = 8 THEN 9000000000000000 ELSE n END,
        0, IIF(n % 10 < 2, n, NULL), 0, n, IIF(n % 10 < 2, n, NULL), 'application/cbor', zeroblob(64)
    FROM (SELECT n, randomblob(16) AS id FROM task) AS new, parent, charge, other";

/// Sources that may be scanned: a batch, the first row of an index, rows that were found before, lanes.
const FEW: [&str; 20] = [
    "at VIRTUAL TABLE",
    "pragma_database_list VIRTUAL TABLE",
    "batch",
    "head",
    "stream",
    "found",
    "below",
    "lane",
    "row",
    "CONSTANT ROW",
    "root",
    "keyed",
    "picked",
    "oldest",
    "old",
    "ending",
    "open",
    "completed",
    "failed",
    "cancelled",
];

/// Statements that read a whole index, because they count its entries.
const SCANS: [&str; 2] = ["tally", "dead_letter_stats"];

/// Statements that sort, and how much.
const SORTS: [(&str, &str); 11] = [
    ("pick", "the heads of streams, each as long as what is asked for"),
    ("pick_with", "the heads of streams, each as long as what is asked for"),
    ("steps", "what it gives"),
    ("ended", "twice as many as are asked for"),
    ("results", "twice as many as are asked for"),
    ("summary", "the steps that it sums up"),
    ("list", "four times as many as are asked for, and those in order already"),
    ("running", "what runs"),
    ("entries_of", "the open key entries of an execution"),
    ("lanes", "the lanes that there are"),
    ("dead_letter_stats", "the pairs that it counts"),
];

async fn filled(folder: &Folder) -> std::sync::Arc<SqlStore> {
    let store = folder.ready().await;
    commit(&store, &[start(root("checkout")), start(root("charge")), start(root("other"))]).await;
    store.connections().write.execute_unprepared(FILL).await.expect("fills");
    store
}

#[tokio::test]
async fn every_statement_finds_its_rows_by_index() {
    let folder = Folder::new();
    let store = filled(&folder).await;

    let (mut plans, mut faults) = (String::new(), String::new());
    for (name, statement) in store.statements().iter() {
        let plan = plan(&store, &statement.text).await;
        // A statement that scans all tasks gets slower with each task; none here may.
        for line in plan.lines().filter(|line| line.trim_start().starts_with("SCAN")) {
            let scanned = line.trim_start().trim_start_matches("SCAN ");
            if !FEW.iter().any(|few| scanned.starts_with(few)) && !SCANS.contains(&name) {
                let _ = writeln!(faults, "{name} scans:\n{plan}");
            }
        }
        if plan.contains("USE TEMP B-TREE") && !SORTS.iter().any(|(few, _)| *few == name) {
            let _ = writeln!(faults, "{name} sorts:\n{plan}");
        }
        let _ = writeln!(plans, "{name}\n{plan}");
    }
    assert!(faults.is_empty(), "{faults}");
    insta::assert_snapshot!("plans", plans);
}

#[tokio::test]
async fn what_is_due_is_found_behind_what_is_not() {
    let folder = Folder::new();
    shared::what_is_due_is_found_behind_what_is_not(&*filled(&folder).await).await;
}

async fn plan(store: &SqlStore, text: &str) -> String {
    let explain = Statement::from_string(DbBackend::Sqlite, format!("EXPLAIN QUERY PLAN {text}"));
    let rows = store.connections().write.query_all_raw(explain).await.expect("explains");
    let mut depths = BTreeMap::from([(0, 0)]);
    let mut plan = String::new();
    for row in rows {
        let (id, parent, detail): (i64, i64, String) = (
            row.try_get_by_index(0).expect("an id"),
            row.try_get_by_index(1).expect("a parent"),
            row.try_get_by_index(3).expect("a text"),
        );
        let depth = depths.get(&parent).copied().unwrap_or(0) + 1;
        depths.insert(id, depth);
        let _ = writeln!(plan, "{:indent$}{detail}", "", indent = depth * 2);
    }
    plan
}
