//! apalis on SQLite, Postgres and Redis: one file per store, and here what they share. Its storages have the same methods and no
//! trait that an application could name, so the three files are alike.

mod postgres;
mod redis;
mod sqlite;

use std::time::{Duration, Instant};

use ::apalis::prelude::BoxDynError;
use anyhow::Result;

use crate::load::{self, Answer, Load, Spec, Store};

/// Jobs that run at once.
const CONCURRENCY: usize = 64;
/// How often a worker looks for work.
const POLL: Duration = Duration::from_millis(5);
/// Jobs that one call enqueues.
const PUSH: u32 = 1_000;
/// The steps of a workflow, each of which is a job.
const STEPS: u32 = 3;

pub(crate) async fn measure(load: Load, spec: &Spec) -> Result<Answer> {
    match spec.backend {
        Store::Sqlite => sqlite::measure(load, spec).await,
        Store::Postgres => postgres::measure(load, spec).await,
        Store::Redis => redis::measure(load, spec).await,
    }
}

async fn job(number: u32) -> Result<(), BoxDynError> {
    let _ = number;
    load::one_more();
    Ok(())
}

/// A step of a workflow.
async fn step(number: u32) -> Result<u32, BoxDynError> {
    load::one_more();
    Ok(number + 1)
}

/// Enqueues everything, works until `jobs` handlers have ended, and until the store says so, too.
async fn bulk<D, W, C>(jobs: u32, dispatch: D, work: W, ended: impl FnMut() -> C) -> Result<Answer>
where
    D: Future<Output = Result<()>>,
    W: Future<Output = Result<()>> + Send + 'static,
    C: Future<Output = Result<i64>>,
{
    load::begin()?;
    let dispatching = Instant::now();
    dispatch.await?;
    let dispatch_seconds = dispatching.elapsed().as_secs_f64();

    let working = Instant::now();
    let worker = tokio::spawn(work);
    load::reached(jobs).await;
    load::until(jobs, ended).await?;
    let seconds = working.elapsed().as_secs_f64();
    load::end()?;
    worker.abort();
    Ok(Answer { seconds, dispatch_seconds: Some(dispatch_seconds), ..Answer::default() })
}

/// The pieces in which the numbers below `n` are enqueued.
fn pieces(n: u32) -> impl Iterator<Item = Vec<u32>> {
    (0..n).step_by(PUSH as usize).map(move |from| (from..n.min(from + PUSH)).collect())
}

/// An error of apalis as one of anyhow.
fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("{error}")
}
