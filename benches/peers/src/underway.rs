//! underway on Postgres.

use std::time::Instant;

use anyhow::Result;
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::ToSpan;
use sqlx_0_8::PgPool;
use sqlx_0_8::postgres::PgPoolOptions;
use underway::{Job, To, Worker};

use crate::load::{self, Answer, Bench, Load, Spec};

/// Jobs that run at once: the faster of 8 and 16.
const CONCURRENCY: usize = 8;
/// Jobs that are enqueued at once.
const ENQUEUE: usize = 8;

pub(crate) async fn measure(load: Load, spec: &Spec) -> Result<Answer> {
    let pool = PgPoolOptions::new().max_connections(32).connect(&spec.url).await?;
    underway::run_migrations(&pool).await?;
    let one = Job::builder().step(|_, _: u32| async move {
        load::one_more();
        To::done()
    });
    let three = Job::builder()
        .step(|_, n: u32| async move { To::next(n + 1) })
        .step(|_, n: u32| async move { To::next(n + 1) })
        .step(|_, _: u32| async move {
            load::one_more();
            To::done()
        });
    match (load, spec.bench) {
        (Load::Bulk { n }, Bench::Workflows) => {
            bulk(&pool, &three.name("three_steps").pool(pool.clone()).build().await?, n, 3).await
        }
        (Load::Bulk { n }, Bench::Jobs | Bench::Latency) => {
            bulk(&pool, &one.name("job").pool(pool.clone()).build().await?, n, 1).await
        }
        (Load::OneByOne { n }, _) => {
            let job = one.name("job").pool(pool.clone()).build().await?;
            let working = start(&job);
            let answer = load::one_by_one(n, |number| {
                let job = &job;
                async move {
                    job.enqueue(&number).await?;
                    Ok(())
                }
            });
            let answer = answer.await?;
            working.abort();
            Ok(answer)
        }
    }
}

async fn bulk(pool: &PgPool, job: &Job<u32, ()>, n: u32, steps: u32) -> Result<Answer> {
    load::begin()?;
    let dispatching = Instant::now();
    let numbers: Vec<u32> = (0..n).collect();
    let jobs = stream::iter(&numbers).map(|number| job.enqueue(number));
    jobs.buffer_unordered(ENQUEUE).try_for_each(|_| async { Ok(()) }).await?;
    let dispatch_seconds = dispatching.elapsed().as_secs_f64();

    let working = Instant::now();
    let worker = start(job);
    load::reached(n).await;
    let ended = || async {
        let query = "SELECT count(*) FROM underway.task WHERE state = 'succeeded'";
        Ok(sqlx_0_8::query_scalar(query).fetch_one(pool).await?)
    };
    load::until(n * steps, ended).await?;
    let seconds = working.elapsed().as_secs_f64();
    load::end()?;
    worker.abort();
    Ok(Answer { seconds, dispatch_seconds: Some(dispatch_seconds), ..Answer::default() })
}

fn start(job: &Job<u32, ()>) -> tokio::task::JoinHandle<()> {
    let mut worker: Worker<Job<u32, ()>> = job.worker();
    worker.set_concurrency_limit(CONCURRENCY);
    tokio::spawn(async move {
        if let Err(error) = worker.run_every(1.second()).await {
            eprintln!("underway: {error}");
        }
    })
}
