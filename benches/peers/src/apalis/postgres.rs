//! apalis-postgres.

use ::apalis::prelude::*;
use anyhow::Result;
use apalis_postgres::{Config, PostgresStorage};
use apalis_workflow::{SteppedFlow, WorkflowSink};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use super::{CONCURRENCY, POLL, STEPS, bulk, failed, job, pieces, step};
use crate::load::{self, Answer, Bench, Load, Spec};

/// Jobs that one fetch takes: the fastest of 10, 100, 500 and 1,000.
const FETCH: usize = 500;

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
                let mut storage = storage::<u32>(&pool);
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

async fn pool(spec: &Spec) -> Result<PgPool> {
    let pool = PgPoolOptions::new().max_connections(16).connect(&spec.url).await?;
    PostgresStorage::setup(&pool).await.map_err(failed)?;
    Ok(pool)
}

fn storage<T>(pool: &PgPool) -> PostgresStorage<T> {
    PostgresStorage::new(pool).with_config(Config::default().queue("bench").batch_size(FETCH))
}

/// Jobs that the store counts as done.
async fn count(pool: PgPool) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM apalis.jobs WHERE status = 'Done'").fetch_one(&pool).await?)
}
