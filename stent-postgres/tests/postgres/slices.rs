//! Retention under a `statement_timeout` that is too short for all of it in one statement.

use std::sync::Arc;

use sea_orm::{ConnectionTrait, DbBackend, Statement};
use stent_core::backend::{Backend, ErrorKind, Purge, PurgeRequest};
use stent_postgres::PostgresStore;
use stent_sql::SqlStore;

use crate::schema::Schema;
use crate::support::t;

/// 500 executions of 200 steps.
const FILL: &str = "
    INSERT INTO stent_task (id, execution_id, seq, kind, lane, queue, name, priority, status, epoch, uncommitted_claims, attempts,
        commit_no, commit_epoch, done, fed, created_at, started_at, ended_at, args_type, args)
    SELECT id, id, 0, 'call', 1, 'default', 'checkout', 0, 'completed', 1, 0, 0, 1, 1, 200, 0, n, n, n,
        'application/cbor', 'args'::bytea
    FROM (SELECT n, gen_random_uuid() AS id FROM generate_series(1, 500) AS n) AS new;
    INSERT INTO stent_task (id, execution_id, parent_id, seq, kind, lane, queue, name, priority, status, epoch, uncommitted_claims,
        attempts, commit_no, commit_epoch, done, done_order, fed, created_at, started_at, ended_at, args_type, args)
    SELECT gen_random_uuid(), root.id, root.id, n, 'call', 1, 'default', 'ship', 0, 'completed', 1, 0, 0, 1, 1, 0, n + 1, 0,
        n, n, n, 'application/cbor', 'args'::bytea
    FROM stent_task AS root, generate_series(0, 199) AS n WHERE root.parent_id IS NULL;
    ANALYZE stent_task";

async fn count(store: &SqlStore) -> i64 {
    let count = Statement::from_string(DbBackend::Postgres, "SELECT count(*) FROM stent_task");
    let row = store.connections().read.query_one_raw(count).await.expect("reads").expect("a row");
    row.try_get_by_index(0).expect("a number")
}

#[tokio::test]
async fn retention_goes_on_under_a_statement_timeout() {
    let schema = Schema::new();
    let plain = schema.ready().await;
    plain.connections().write.execute_unprepared(FILL).await.expect("fills");
    // With only one connection, a setting persists.
    let store: Arc<SqlStore> = PostgresStore::open(schema.named("max_connections=1")).await.expect("opens");
    let settings = "SET statement_timeout = '50ms'";
    store.connections().write.execute_unprepared(settings).await.expect("sets");

    let request = PurgeRequest { what: Purge::Executions, now: t(9), before: t(9), max: 500 };
    let mut calls = 0;
    while count(&plain).await > 0 {
        calls += 1;
        assert!(calls <= 20, "{} rows are left after {calls} calls", count(&plain).await);
        if let Err(error) = store.purge(&request).await {
            assert_eq!(error.kind(), ErrorKind::Contended, "{error}");
        }
    }
}
