//! The application's statements in closures of `stent::transaction`: the settings under which they run, their changes to the
//! connection, and how long they run on the server.

use std::time::Duration;

use stent::prelude::*;
use stent::sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, Statement};

use crate::database::TestDatabase;

/// Planner settings of Stent's own statements.
const PLANNING: [&str; 5] =
    ["enable_seqscan", "enable_hashjoin", "enable_mergejoin", "plan_cache_mode", "jit"];

/// State of a connection that a closure can change and the next closure could see.
const STATE: &str = "SELECT concat_ws('|', current_setting('search_path'), current_setting('client_encoding'), \
    current_setting('default_transaction_read_only'), current_setting('plan_cache_mode'), current_setting('work_mem'), \
    current_user, current_setting('transaction_isolation'), \
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), \
    (SELECT count(*) FROM pg_listening_channels()), (SELECT count(*) FROM pg_cursors WHERE is_holdable), \
    (SELECT count(*) FROM pg_prepared_statements WHERE from_sql), \
    (SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND pg_table_is_visible(oid)))";

/// Changes that closures make to their connection. Some closures fail because of them, which is correct.
const DISTURBANCES: [&str; 14] = [
    "SET default_transaction_read_only = on",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "DEALLOCATE ALL",
    "SET search_path = pg_catalog",
    "SET client_encoding = 'LATIN1'",
    "SET ROLE pg_monitor",
    "SET work_mem = '64kB'",
    "SET plan_cache_mode = force_custom_plan",
    "LISTEN gossip",
    "SELECT pg_advisory_lock(42)",
    "CREATE TEMPORARY TABLE stent_task (id int)",
    "PREPARE mine AS SELECT 1",
    "DECLARE mine CURSOR WITH HOLD FOR SELECT 1",
    "DISCARD PLANS",
];

#[durable(name = "guests.double")]
async fn double(n: i64) -> Result<i64, String> {
    Ok(n * 2)
}

#[durable(name = "guests.runs")]
async fn runs(sql: String) -> Result<(), stent::Error> {
    stent::transaction(async |txn| txn.execute_unprepared(&sql).await.map(drop)).await
}

#[durable(name = "guests.asks")]
async fn asks(sql: String) -> Result<String, stent::Error> {
    stent::transaction(async |txn| text(&*txn, &sql).await).await
}

#[durable(name = "guests.sleeps")]
async fn sleeps() -> Result<(), stent::Error> {
    stent::transaction(async |txn| txn.execute_unprepared("SELECT pg_sleep(20)").await.map(drop))
        .timeout("1s")
        .await
}

async fn text(connection: &impl ConnectionTrait, sql: &str) -> Result<String, DbErr> {
    let row = connection.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await?;
    row.ok_or_else(|| DbErr::RecordNotFound(sql.to_owned()))?.try_get_by_index(0)
}

/// The application's own connection to the server.
async fn application(database: &TestDatabase) -> DatabaseConnection {
    Database::connect(database.url()).await.unwrap()
}

#[test]
fn a_closure_is_planned_as_the_application_is() {
    crate::run(async {
        let database = TestDatabase::new().await;
        let stent = Stent::connect(&database.url()).await.unwrap();
        let worker = stent.worker().start().await.unwrap();
        let application = application(&database).await;

        for setting in PLANNING {
            let show = format!("SHOW {setting}");
            let own = text(&application, &show).await.unwrap();
            assert_eq!(stent.run(asks(show)).await.unwrap(), own, "{setting}");
        }
        worker.drain().await.unwrap();
    });
}

#[test]
fn nothing_that_a_closure_does_to_its_connection_stays() {
    crate::run(async {
        let database = TestDatabase::new().await;
        let url = format!("{}?max_connections=1", database.url());
        let stent = Stent::connect(&url).await.unwrap();
        let worker = stent.worker().start().await.unwrap();
        let clean = stent.run(asks(STATE.to_owned())).await.unwrap();

        for disturbance in DISTURBANCES {
            let disturbed = stent.dispatch(runs(disturbance.to_owned())).await.unwrap();
            // The execution may have failed, and must have ended.
            let ended = disturbed.result().timeout("20s").await;
            assert!(!matches!(ended, Err(stent::Error::WaitTimeout { .. })), "{disturbance}: {ended:?}");

            let leaf = stent.dispatch(double(21)).await.unwrap();
            assert_eq!(leaf.result().timeout("20s").await.unwrap(), 42, "after {disturbance}");
            let next = stent.dispatch(asks(STATE.to_owned())).await.unwrap();
            assert_eq!(next.result().timeout("20s").await.unwrap(), clean, "after {disturbance}");
        }
        worker.drain().await.unwrap();
    });
}

#[test]
fn closures_that_take_too_long_end_on_the_server_and_keep_nobody_waiting() {
    crate::run(async {
        let database = TestDatabase::new().await;
        let stent = Stent::connect(&database.url()).await.unwrap();
        let worker = stent.worker().lease("10s").start().await.unwrap();
        let application = application(&database).await;

        let slow = stent.dispatch_all((0..12).map(|_| sleeps())).await.unwrap();
        // All of them run, or as many as the limit allows.
        while text(&application, &sleeping()).await.unwrap() == "0" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let leaf = stent.dispatch(double(4)).await.unwrap();
        // Earlier than any of them would have ended by itself.
        assert_eq!(leaf.result().timeout("15s").await.unwrap(), 8);

        for run in slow {
            let error = run.result().timeout("15s").await.unwrap_err();
            assert!(error.to_string().contains("ran for more than 1s"), "{error}");
        }
        let none = async {
            while text(&application, &sleeping()).await.unwrap() != "0" {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), none).await.expect("they have ended on the server");
        worker.drain().await.unwrap();
    });
}

/// How many sleep now.
fn sleeping() -> String {
    "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
     AND query LIKE 'SELECT pg_sleep%'"
        .to_owned()
}
