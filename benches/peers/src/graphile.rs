//! graphile_worker on Postgres.

use std::time::{Duration, Instant};

use anyhow::Result;
use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, TaskHandler, Worker, WorkerContext, WorkerOptions,
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::load::{self, Answer, Load, Spec};

/// Jobs that one fetch takes into the process: the fastest of 0, 500 and 2,000.
const LOCAL_QUEUE: usize = 2_000;
const CONCURRENCY: usize = 64;
/// Completions that come within this time share a statement, as its guide recommends.
const COMPLETE: Duration = Duration::from_millis(5);
/// Jobs that one call adds.
const ADD: usize = 1_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Job {
    number: u32,
}

impl TaskHandler for Job {
    const IDENTIFIER: &'static str = "job";

    async fn run(self, _: WorkerContext) -> impl IntoTaskHandlerResult {
        let _ = self.number;
        load::one_more();
        Ok::<(), String>(())
    }
}

pub(crate) async fn measure(load: Load, spec: &Spec) -> Result<Answer> {
    let pool = PgPoolOptions::new().max_connections(16).connect(&spec.url).await?;
    match load {
        Load::Bulk { n } => bulk(&pool, n).await,
        Load::OneByOne { n } => {
            // Without a local queue, and with a notification for each job: the way with the least delay.
            let worker = options(&pool).init().await?;
            let utils = worker.create_utils();
            let working = tokio::spawn(async move { worker.run().await });
            let answer = load::one_by_one(n, |number| {
                let utils = &utils;
                async move {
                    utils.add_job(Job { number }, JobSpec::default()).await?;
                    Ok(())
                }
            });
            let answer = answer.await?;
            working.abort();
            Ok(answer)
        }
    }
}

async fn bulk(pool: &PgPool, n: u32) -> Result<Answer> {
    let worker: Worker = options(pool)
        .local_queue(LocalQueueConfig::default().with_size(LOCAL_QUEUE))
        .complete_job_batch_delay(COMPLETE)
        .init()
        .await?;
    let utils = worker.create_utils();

    load::begin()?;
    let dispatching = Instant::now();
    let spec = JobSpec::default();
    let jobs: Vec<_> = (0..n).map(|number| (Job { number }, &spec)).collect();
    for jobs in jobs.chunks(ADD) {
        utils.add_jobs(jobs).await?;
    }
    let dispatch_seconds = dispatching.elapsed().as_secs_f64();

    let working = Instant::now();
    let worker = std::sync::Arc::new(worker);
    let run = tokio::spawn({
        let worker = worker.clone();
        async move { worker.run().await }
    });
    load::reached(n).await;
    // A completed job is deleted.
    let left = || async {
        let left: i64 =
            sqlx::query_scalar("SELECT count(*) FROM graphile_worker._private_jobs").fetch_one(pool).await?;
        Ok(i64::from(n) - left)
    };
    load::until(n, left).await?;
    let seconds = working.elapsed().as_secs_f64();
    load::end()?;
    worker.request_shutdown();
    run.await??;
    Ok(Answer { seconds, dispatch_seconds: Some(dispatch_seconds), ..Answer::default() })
}

fn options(pool: &PgPool) -> WorkerOptions {
    WorkerOptions::default()
        .schema("graphile_worker")
        .pg_pool(pool.clone())
        .concurrency(CONCURRENCY)
        .listen_os_shutdown_signals(false)
        .define_job::<Job>()
}
