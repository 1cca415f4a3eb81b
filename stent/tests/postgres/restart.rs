//! A server that stops and starts again while a worker has executions in progress: confirmed work stays, other work is
//! repeated, and everything finishes once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use stent::prelude::*;
use stent::sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};
use stent::view::Filter;
use stent::{Error, ExecutionStatus, StoreErrorKind};

use crate::server::Server;

/// How often the server stops.
const STOPS: i64 = 3;

/// Steps of each kind in an execution, so that it takes some time.
const STEPS: i64 = 5;

/// Executions that are dispatched between two stops, at least.
const RUNS: i64 = 12;

/// Inserts a row in each of its steps, into a table of the application without keys that would refuse a second insert.
#[durable(name = "restart.post")]
async fn post(run: i64) -> Result<i64, stent::Error> {
    let mut sum = 0;
    for step in 0..STEPS {
        sum += double(step).await?;
        stent::transaction(async |txn| {
            txn.execute_unprepared(&format!("INSERT INTO posted (run, step) VALUES ({run}, {step})")).await?;
            // Not a wait for an event: some stops then occur in the middle of the transaction.
            tokio::time::sleep(Duration::from_millis(10)).await;
            txn.execute_unprepared("SELECT 1").await.map(drop)
        })
        .await?;
        stent::sleep("5ms").await?;
    }
    let last: i64 = stent::signal("last").await?;
    Ok(sum + last)
}

#[durable(name = "restart.double")]
async fn double(n: i64) -> Result<i64, String> {
    Ok(n * 2)
}

/// Repeats a call, as an application does, as long as its error is transient.
async fn until_it_is_done<T>(failed: &AtomicI64, call: impl AsyncFn() -> Result<T, Error>) -> T {
    loop {
        match call().await {
            Ok(done) => return done,
            Err(error) => {
                assert!(error.is_transient(), "{error:?}");
                failed.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// Reads and new connections fail with a transient error. The application repeats writes.
async fn while_it_is_away(stent: &Stent, url: &str) {
    let filter = Filter::default();
    let inspect = stent.inspect();
    let (counted, listed, connected) =
        tokio::join!(inspect.count(), inspect.list(&filter, None, 1), Stent::connect(url));
    for called in [counted.map(drop), listed.map(drop), connected.map(drop)] {
        let error = called.unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        let Error::Store(store) = &error else { panic!("{error:?}") };
        assert_eq!(store.kind(), StoreErrorKind::Unavailable, "{error:?}");
    }
}

async fn numbers(database: &DatabaseConnection, sql: &str) -> Vec<i64> {
    let statement = Statement::from_string(DbBackend::Postgres, sql);
    let rows = database.query_all_raw(statement).await.unwrap();
    rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
}

#[test]
fn everything_finishes_once_however_often_the_server_stops() {
    crate::run(async {
        let mut server = Server::start().await;
        // The handle retries calls before they fail, but not for too long.
        let url = format!("{}?acquire_timeout=100ms", server.url());
        let (stent, other) = (Stent::connect(&url).await.unwrap(), Stent::connect(&url).await.unwrap());
        let database = Database::connect(server.url()).await.unwrap();
        let table = "CREATE TABLE posted (run BIGINT NOT NULL, step BIGINT NOT NULL)";
        database.execute_unprepared(table).await.unwrap();
        let worker = other.worker().concurrency(8).start().await.unwrap();

        // An application that keeps dispatching and signalling, whatever the server does.
        let (failed, dispatched, wanted) = (AtomicI64::new(0), AtomicI64::new(0), AtomicI64::new(RUNS));
        let application = async {
            let mut runs = Vec::new();
            for n in 0.. {
                if n == wanted.load(Ordering::SeqCst) {
                    break;
                }
                let dispatch = || stent.dispatch(post(n)).idempotency_key(format!("post {n}"));
                let run = until_it_is_done(&failed, async || dispatch().await).await;
                until_it_is_done(&failed, async || run.signal("last", &n).await).await;
                until_it_is_done(&failed, async || run.status().await).await;
                runs.push(run);
                dispatched.store(n + 1, Ordering::SeqCst);
            }
            runs
        };
        let stops = async {
            for stop in 1..=STOPS {
                // Some have not ended, and more are being dispatched.
                while dispatched.load(Ordering::SeqCst) < stop * RUNS - RUNS / 2 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let before = failed.load(Ordering::SeqCst);
                wanted.fetch_add(RUNS, Ordering::SeqCst);
                server.stop();
                while_it_is_away(&stent, &url).await;
                while failed.load(Ordering::SeqCst) == before {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                server.start_again().await;
            }
        };
        let (runs, ()) = tokio::join!(application, stops);

        for (n, run) in (0..).zip(&runs) {
            let result = until_it_is_done(&failed, async || run.result().timeout("60s").await).await;
            assert_eq!(result, STEPS * (STEPS - 1) + n);
        }
        let counted = stent.inspect().count().await.unwrap();
        assert_eq!(
            counted,
            [(ExecutionStatus::Completed, runs.len() as u64)].into(),
            "each was dispatched once"
        );
        let posted = numbers(&database, "SELECT run * 1000 + step FROM posted ORDER BY run, step").await;
        let expected: Vec<_> =
            (0..runs.len() as i64).flat_map(|run| (0..STEPS).map(move |step| run * 1000 + step)).collect();
        assert_eq!(posted, expected, "each step's row is there once");
        let ids: BTreeSet<_> = runs.iter().map(Handle::id).collect();
        assert_eq!(ids.len(), runs.len());
        worker.drain().await.unwrap();
        println!(
            "{STOPS} stops; {} executions; {} calls failed and were made again",
            runs.len(),
            failed.load(Ordering::SeqCst)
        );
    });
}
