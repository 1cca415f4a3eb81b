//! apalis-redis. Its workflows are not measured: they would need a store for results.

use ::apalis::prelude::*;
use anyhow::{Result, bail};
use apalis_redis::{Config, RedisStorage};
use redis::AsyncTypedCommands as _;

use super::{CONCURRENCY, POLL, bulk, failed, job, pieces};
use crate::load::{self, Answer, Bench, Load, Spec};

/// Jobs that one fetch takes.
const FETCH: usize = 500;

pub(crate) async fn measure(load: Load, spec: &Spec) -> Result<Answer> {
    let connection = apalis_redis::connect(spec.url.as_str()).await?;
    let config = Config::default().queue(&spec.namespace).batch_size(FETCH);
    let done = config.done_jobs_set();
    let storage = RedisStorage::new(connection.clone()).with_config(config);
    match (load, spec.bench) {
        (Load::Bulk { .. }, Bench::Workflows) => bail!("workflows on Redis are not measured"),
        (Load::Bulk { n }, Bench::Jobs | Bench::Latency) => {
            let worker = WorkerBuilder::new("bench")
                .backend(storage.clone().poll_with_interval(POLL))
                .concurrency(CONCURRENCY)
                .build(job);
            let dispatch = async {
                let mut storage = storage.clone();
                for piece in pieces(n) {
                    storage.push_bulk(piece).await.map_err(failed)?;
                }
                Ok(())
            };
            let ended = || {
                let (mut connection, done) = (connection.clone(), done.clone());
                async move { Ok(i64::try_from(connection.scard(done).await?)?) }
            };
            bulk(n, dispatch, async { worker.run().await.map_err(failed) }, ended).await
        }
        (Load::OneByOne { n }, _) => {
            let worker = WorkerBuilder::new("bench")
                .backend(storage.clone().poll_with_interval(POLL))
                .concurrency(CONCURRENCY)
                .build(job);
            let working = tokio::spawn(async { worker.run().await.map_err(failed) });
            let answer = load::one_by_one(n, |number| {
                let mut storage = storage.clone();
                async move { storage.push(number).await.map_err(failed) }
            });
            let answer = answer.await?;
            working.abort();
            Ok(answer)
        }
    }
}
