//! oxana on Redis.

use std::time::Instant;

use anyhow::{Result, ensure};
use oxana::Storage;
use serde::{Deserialize, Serialize};

use crate::load::{self, Answer, Load, Spec, WARM_UP};

/// Jobs that run at once.
const CONCURRENCY: usize = 64;
/// Connections: a running job takes one to acknowledge itself.
const CONNECTIONS: usize = 128;
/// Jobs that one call enqueues.
const ENQUEUE: u32 = 1_000;

#[derive(Clone, Debug)]
struct Nothing;

#[derive(Debug, Serialize, Deserialize)]
struct Job {
    number: u32,
}

impl oxana::Job for Job {}

#[derive(Debug)]
struct NoError;

impl std::fmt::Display for NoError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no error")
    }
}

impl std::error::Error for NoError {}

#[derive(Debug, oxana::Worker)]
#[oxana(job = Job, context = Nothing, error = NoError, registry = None)]
struct Worker;

impl Worker {
    async fn process(&self, job: Job, _: &oxana::JobContext) -> Result<(), NoError> {
        let _ = job.number;
        load::one_more();
        Ok(())
    }
}

#[derive(Debug, Serialize)]
struct Queue;

impl oxana::Queue for Queue {
    fn to_config() -> oxana::QueueConfig {
        oxana::QueueConfig {
            kind: oxana::QueueKind::Static { key: "bench".to_owned() },
            concurrency: oxana::QueueConcurrency::Fixed(CONCURRENCY),
            throttle: None,
        }
    }
}

pub(crate) async fn measure(load: Load, spec: &Spec) -> Result<Answer> {
    let storage = Storage::builder()
        .namespace(&spec.namespace)
        .max_pool_size(CONNECTIONS)
        .build_from_redis_url(&spec.url)?;
    match load {
        Load::Bulk { n } => bulk(&storage, n).await,
        Load::OneByOne { n } => {
            let working = tokio::spawn(run(storage.clone(), u64::from(WARM_UP + n)));
            let answer = load::one_by_one(n, |number| {
                let storage = &storage;
                async move {
                    storage.enqueue(Queue, Job { number }).await?;
                    Ok(())
                }
            });
            let answer = answer.await?;
            // It would wait for its dequeue to time out.
            working.abort();
            Ok(answer)
        }
    }
}

async fn bulk(storage: &Storage, n: u32) -> Result<Answer> {
    load::begin()?;
    let dispatching = Instant::now();
    for from in (0..n).step_by(ENQUEUE as usize) {
        let jobs = (from..n.min(from + ENQUEUE)).map(|number| Job { number });
        storage.enqueue_list(Queue, jobs).await?;
    }
    let dispatch_seconds = dispatching.elapsed().as_secs_f64();

    let working = Instant::now();
    run(storage.clone(), u64::from(n)).await?;
    let seconds = working.elapsed().as_secs_f64();
    load::end()?;
    Ok(Answer { seconds, dispatch_seconds: Some(dispatch_seconds), ..Answer::default() })
}

/// Works until this many jobs are acknowledged.
async fn run(storage: Storage, n: u64) -> Result<()> {
    let runtime = storage.runtime(Nothing).queue::<Queue>().worker::<Worker, Job>().exit_when_processed(n);
    let stats = runtime.run().await?;
    ensure!(stats.succeeded == n, "{} of {n} jobs succeeded", stats.succeeded);
    Ok(())
}
