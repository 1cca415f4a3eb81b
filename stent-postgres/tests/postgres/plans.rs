//! The query plan of every statement, on a store with a hundred thousand tasks. Plans differ between versions of the
//! server; the plans that are forbidden do not.

#[path = "../../../stent-sql/tests/shared/plans.rs"]
mod shared;

use std::fmt::Write;
use std::sync::Arc;

use sea_orm::{ConnectionTrait, DbBackend, Statement, TransactionTrait};
use stent_sql::SqlStore;

use crate::schema::Schema;
use crate::support::{commit, root, start};

/// Roots that are due, roots that are not (of a higher priority), roots of a function that no worker here knows, and the
/// steps of one parent, every other one ended.
const FILL: &str = "
    INSERT INTO stent_task (id, execution_id, parent_id, seq, kind, lane, queue, name, priority, status, epoch, uncommitted_claims,
        attempts, commit_no, commit_epoch, ready_at, done, done_order, fed, created_at, ended_at, args_type, args)
    SELECT new.id, CASE WHEN n % 10 < 4 THEN parent.id ELSE new.id END, CASE WHEN n % 10 < 4 THEN parent.id END, n, 'call',
        CASE WHEN n % 10 = 9 THEN other.key ELSE charge.key END, 'default',
        CASE WHEN n % 10 = 9 THEN 'other' ELSE 'charge' END, CASE WHEN n % 10 = 8 THEN 5 ELSE 0 END,
        CASE WHEN n % 10 < 2 THEN 'completed' ELSE 'pending' END, 0, 0, 0, 0, 0,
        CASE WHEN n % 10 < 2 THEN NULL WHEN n % 10 = 8 THEN 9000000000000000 ELSE n END,
        0, CASE WHEN n % 10 < 2 THEN n END, 0, n, CASE WHEN n % 10 < 2 THEN n END, 'application/cbor', 'args'::bytea
    FROM (SELECT n, gen_random_uuid() AS id FROM generate_series(0, 99999) AS n) AS new,
        (SELECT id FROM stent_task WHERE name = 'checkout') AS parent,
        (SELECT key FROM stent_lane WHERE function = 'charge') AS charge,
        (SELECT key FROM stent_lane WHERE function = 'other') AS other";

/// Some tasks that were asked to end, have deadlines, keys or slots, are timers, have completed or are dead letters;
/// and their ended claims, progress, key entries and rates. The planner chooses between indexes by statistics, and on
/// empty tables no index is better than another.
const FILL_MORE: &str = "
    UPDATE stent_task SET mark = 'cancel' WHERE ended_at IS NULL AND seq % 50 = 7;
    UPDATE stent_task SET expires_at = 9000000000000000 WHERE ended_at IS NULL AND seq % 5 = 2;
    UPDATE stent_task SET key = gen_random_uuid() WHERE ended_at IS NULL AND seq % 10 = 5;
    UPDATE stent_task SET status = 'running', limit_key = seq % 10, worker_id = gen_random_uuid()
        WHERE ended_at IS NULL AND seq % 20 IN (6, 7);
    UPDATE stent_task SET lane = NULL, kind = 'sleep', parent_id = gen_random_uuid() WHERE ended_at IS NULL AND seq % 20 = 3;
    UPDATE stent_task SET status = 'completed', ended_at = seq, ready_at = NULL WHERE parent_id IS NULL AND seq % 40 = 4;
    UPDATE stent_task SET status = 'failed', reason = 'Declined', ended_at = seq, ready_at = NULL
        WHERE parent_id IS NULL AND seq % 40 = 14;
    INSERT INTO stent_ended_claims (task_id, epoch, at, execution_id, how)
        SELECT id, 1, 1, execution_id, 'failed' FROM stent_task WHERE seq % 10 = 4;
    INSERT INTO stent_progress (id, execution_id, task_id, at, text)
        SELECT gen_random_uuid(), execution_id, id, 1, 'text' FROM stent_task WHERE seq % 10 = 4;
    INSERT INTO stent_keys (key, kind, execution_id, name, holder_id, ended_at, expires_at, value_type)
        SELECT gen_random_uuid(), 'result', execution_id, 'charge', id, seq, seq, 'application/cbor'
        FROM stent_task WHERE seq % 10 = 4;
    INSERT INTO stent_rate (function_key, bucket, used) SELECT n % 100, n, 1 FROM generate_series(1, 10000) AS n;
    INSERT INTO stent_note (execution_id, kind, name, count)
        SELECT execution_id, 'counter', 'items', 1 FROM stent_task WHERE seq % 10 = 4;
    INSERT INTO stent_worker (id, state, seen_at, record)
        SELECT gen_random_uuid(), 'stopped', n, '{}' FROM generate_series(1, 10000) AS n;
    ANALYZE stent_task, stent_ended_claims, stent_progress, stent_keys, stent_rate, stent_note, stent_worker";

/// Statements that read a whole index, because they count its entries.
const SCANS: [&str; 2] = ["tally", "dead_letter_stats"];

async fn filled(schema: &Schema) -> Arc<SqlStore> {
    let store = schema.ready().await;
    commit(&store, &[start(root("checkout")), start(root("charge")), start(root("other"))]).await;
    store.connections().write.execute_unprepared(FILL).await.expect("fills");
    store.connections().write.execute_unprepared(FILL_MORE).await.expect("fills");
    store
}

#[tokio::test]
async fn every_statement_finds_its_rows_by_index() {
    let schema = Schema::new();
    let store = filled(&schema).await;

    let mut faults = String::new();
    let locks = store.locks().expect("many write at once");
    for (name, statement) in store.statements().iter().chain(locks.iter()) {
        let plan = plan(&store, &statement.text).await;
        // A statement that scans all tasks gets slower with each task; none here may. (Lanes are few, and a query of all
        // lanes is intended.)
        for line in plan.lines().filter(|line| line.contains("Seq Scan on") && !line.contains("stent_lane")) {
            let _ = writeln!(faults, "{name}: {}\n{plan}", line.trim());
        }
        // An index that is read without a condition is no better, unless only its first entries are read.
        let lines: Vec<_> = plan.lines().chain([""]).collect();
        for near in lines.windows(3).filter(|_| !SCANS.contains(&name)) {
            let [before, line, after] = near else { continue };
            let reads = line.contains("Index") && line.contains("Scan") && !line.contains("stent_lane");
            if reads && !before.contains("Limit") && !after.contains("Index Cond") {
                let _ = writeln!(faults, "{name}: {}\n{plan}", line.trim());
            }
        }
        for line in plan.lines().filter(|line| line.contains("Hash Join") || line.contains("Merge Join")) {
            let _ = writeln!(faults, "{name}: {}\n{plan}", line.trim());
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

#[tokio::test]
async fn what_is_due_is_found_behind_what_is_not() {
    let schema = Schema::new();
    shared::what_is_due_is_found_behind_what_is_not(&*filled(&schema).await).await;
}

/// The plan that serves for any parameters, without costs, which differ from server to server.
async fn plan(store: &SqlStore, text: &str) -> String {
    let transaction = store.connections().write.begin().await.expect("begins");
    let count = (1..=99).take_while(|n| text.contains(&format!("${n}"))).count();
    // A parameter that may be null is compared with nothing that determines its type; the driver sends the type.
    let types =
        (1..=count).map(|n| if text.contains(&format!("(${n}) IS NULL")) { "text" } else { "unknown" });
    let types = types.collect::<Vec<_>>().join(", ");
    let types = if count == 0 { String::new() } else { format!("({types})") };
    transaction.execute_unprepared(&format!("PREPARE shown {types} AS {text}")).await.expect("prepares");
    let nulls = vec!["NULL"; count].join(", ");
    let arguments = if count == 0 { String::new() } else { format!("({nulls})") };
    let explain = format!("EXPLAIN (COSTS OFF) EXECUTE shown{arguments}");
    let explain = Statement::from_string(DbBackend::Postgres, explain);
    let rows = transaction.query_all_raw(explain).await.expect("explains");
    transaction.execute_unprepared("DEALLOCATE shown").await.expect("forgets");
    transaction.rollback().await.expect("ends");
    let mut plan = String::new();
    for row in rows {
        let line: String = row.try_get_by_index(0).expect("a line");
        let _ = writeln!(plan, "  {line}");
    }
    plan
}
