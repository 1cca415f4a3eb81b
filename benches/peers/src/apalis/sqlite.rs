//! apalis-sqlite.

use ::apalis::prelude::*;
use anyhow::Result;
use apalis_sqlite::{Config, SqliteStorage};
use apalis_workflow::{SteppedFlow, WorkflowSink};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::{CONCURRENCY, POLL, STEPS, bulk, failed, job, pieces, step};
use crate::load::{self, Answer, Bench, Load, Spec};

/// Jobs that one fetch takes: the fastest of 10, 100, 500 and 1,000.
const FETCH: usize = 1_000;

pub(crate) async fn measure(load: Load, spec: &Spec) -> Result<Answer> {
    let pool = pool(spec).await?;
    let ended = || count(pool.clone());
    match (load, spec.bench) {
        (Load::Bulk { n }, Bench::Workflows) => {
            let flow = SteppedFlow::new("three_steps").and_then(step).and_then(step).and_then(step);
            let worker = WorkerBuilder::new("bench")
                .backend(storage(&pool).poll_with_interval(POLL))
                .concurrency(CONCURRENCY)
                .build(flow);
            let dispatch = async {
                let mut storage = storage::<u32>(&pool);
                for number in 0..n {
                    storage.push_start(number).await.map_err(failed)?;
                }
                Ok(())
            };
            bulk(n * STEPS, dispatch, async { worker.run().await.map_err(failed) }, ended).await
        }
        (Load::Bulk { n }, Bench::Jobs | Bench::Latency) => {
            let worker = WorkerBuilder::new("bench")
                .backend(storage(&pool).poll_with_interval(POLL))
                .concurrency(CONCURRENCY)
                .build(job);
            let dispatch = async {
                let mut storage = storage(&pool);
                for piece in pieces(n) {
                    storage.push_bulk(piece).await.map_err(failed)?;
                }
                Ok(())
            };
            bulk(n, dispatch, async { worker.run().await.map_err(failed) }, ended).await
        }
        (Load::OneByOne { n }, _) => {
            let worker = WorkerBuilder::new("bench")
                .backend(storage(&pool).poll_with_interval(POLL))
                .concurrency(CONCURRENCY)
                .build(job);
            let working = tokio::spawn(async { worker.run().await.map_err(failed) });
            let answer = load::one_by_one(n, |number| {
                let mut storage = storage(&pool);
                async move { storage.push(number).await.map_err(failed) }
            });
            let answer = answer.await?;
            working.abort();
            Ok(answer)
        }
    }
}

/// `setup` switches waiting for the disk off on the connection that it gets; the pool after it has the asked durability.
async fn pool(spec: &Spec) -> Result<SqlitePool> {
    let synchronous = if spec.full { SqliteSynchronous::Full } else { SqliteSynchronous::Normal };
    let options: SqliteConnectOptions = spec.url.parse()?;
    let options =
        options.create_if_missing(true).journal_mode(SqliteJournalMode::Wal).synchronous(synchronous);
    let setup = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
    SqliteStorage::setup(&setup).await.map_err(failed)?;
    setup.close().await;
    Ok(SqlitePoolOptions::new().connect_with(options).await?)
}

fn storage<T>(pool: &SqlitePool) -> SqliteStorage<T> {
    SqliteStorage::new(pool).with_config(Config::default().queue("bench").batch_size(FETCH))
}

/// Jobs that the store counts as done.
async fn count(pool: SqlitePool) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM Jobs WHERE status = 'Done'").fetch_one(&pool).await?)
}
