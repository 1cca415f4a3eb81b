//! Records of workers. They are written as a whole and checked by nothing, so they need neither revisions nor the lock.

use std::sync::LazyLock;

use redis::{Cmd, Script};
use stent_core::WorkerId;
use stent_core::backend::{PurgeRequest, Result};
use stent_core::limits::PAGE_MAX;
use stent_core::model::WorkerRecord;
use uuid::Uuid;

use crate::inspect::{Bound, page};
use crate::row::{decode, encode};
use crate::store::RedisStore;

/// The set of all workers.
const WORKERS: &str = "workers";
/// The set of all workers by the moment when they were last seen.
const SEEN: &str = "seen";

/// Writes a record. Key: the record. Arguments: its bytes, the two sets, the worker, the moment when it was seen. A script and no
/// transaction, so that users need no rule for `MULTI`.
static REPORT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "redis.call('SET', KEYS[1], ARGV[1]) redis.call('ZADD', ARGV[2], 0, ARGV[4]) \
         return redis.call('ZADD', ARGV[3], ARGV[5], ARGV[4])",
    )
});

/// Deletes a record if it is still the one that was read. Key: the record. Arguments: its bytes, the two sets, the worker.
static FORGET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end \
         redis.call('ZREM', ARGV[2], ARGV[4]) redis.call('ZREM', ARGV[3], ARGV[4]) return redis.call('DEL', KEYS[1])",
    )
});

impl RedisStore {
    pub(crate) async fn write_worker(&self, worker: &WorkerRecord) -> Result<()> {
        let id = worker.id.as_uuid().as_bytes().to_vec();
        let seen_at = worker.seen_at.as_micros().to_string().into_bytes();
        let args = [encode(worker)?, self.keys.one(WORKERS), self.keys.one(SEEN), id, seen_at];
        let _: i64 = self.link.script("report", &REPORT, &self.keys.worker(worker.id), &args).await?;
        Ok(())
    }

    pub(crate) async fn read_workers(
        &self,
        after: Option<WorkerId>,
        max: usize,
    ) -> Result<Vec<WorkerRecord>> {
        let max = max.min(PAGE_MAX);
        let mut after = after.map(|after| after.as_uuid().as_bytes().to_vec());
        let mut found = Vec::new();
        // A purge may delete some of a page.
        while found.len() < max {
            let asked = max - found.len();
            let from = after.as_ref().map_or(Bound::Open, |after| Bound::After(after));
            let cmd = page(&self.keys.one(WORKERS), &from, &Bound::Open, asked);
            let ids: Vec<Vec<u8>> = self.link.run("workers", &cmd).await?;
            let records = self.records("workers", &ids).await?;
            found.extend(records.into_iter().filter_map(|(_, record)| Some(record?.1)));
            match ids.last().filter(|_| ids.len() == asked) {
                Some(last) => after = Some(last.clone()),
                None => break,
            }
        }
        Ok(found)
    }

    /// Deletes records of workers that are over, those seen longest ago first.
    pub(crate) async fn purge_workers(&self, request: &PurgeRequest, max: usize) -> Result<usize> {
        let (mut count, mut kept) = (0, 0);
        while count < max {
            let asked = (max - count).min(PAGE_MAX);
            let mut cmd = redis::cmd("ZRANGEBYSCORE");
            cmd.arg(self.keys.one(SEEN)).arg("-inf").arg(request.before.as_micros());
            cmd.arg("LIMIT").arg(kept).arg(asked);
            let ids: Vec<Vec<u8>> = self.link.run("purge", &cmd).await?;
            for (id, record) in self.records("purge", &ids).await? {
                // A score is a float, so the record decides. A set may name a record that is gone, if the server has evicted it.
                let bytes = match record {
                    Some((bytes, worker)) => {
                        let goes = worker.is_over(request.now) && worker.seen_at < request.before;
                        goes.then_some(bytes)
                    }
                    None => {
                        for set in [WORKERS, SEEN] {
                            let _: () = self.link.run("purge", &Cmd::zrem(self.keys.one(set), &id)).await?;
                        }
                        continue;
                    }
                };
                let deleted = match (bytes, worker_of(&id)) {
                    (Some(bytes), Some(worker)) => self.forget_worker(worker, bytes).await?,
                    _ => false,
                };
                count += usize::from(deleted);
                kept += usize::from(!deleted);
            }
            if ids.len() < asked {
                break;
            }
        }
        Ok(count)
    }

    async fn forget_worker(&self, worker: WorkerId, bytes: Vec<u8>) -> Result<bool> {
        let (workers, seen) = (self.keys.one(WORKERS), self.keys.one(SEEN));
        let args = [bytes, workers, seen, worker.as_uuid().as_bytes().to_vec()];
        self.link.script("purge", &FORGET, &self.keys.worker(worker), &args).await
    }

    /// Reads the records of workers, each with its bytes, in the order of the ids.
    async fn records(
        &self,
        operation: &'static str,
        ids: &[Vec<u8>],
    ) -> Result<Vec<(Vec<u8>, Option<(Vec<u8>, WorkerRecord)>)>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut values = redis::cmd("MGET");
        for id in ids {
            values.arg(self.keys.of("w", id));
        }
        let replies: Vec<Option<Vec<u8>>> = self.link.run(operation, &values).await?;
        let records = ids.iter().zip(replies).map(|(id, bytes)| {
            let record = bytes.map(|bytes| decode(&bytes).map(|record| (bytes, record))).transpose()?;
            Ok((id.clone(), record))
        });
        records.collect()
    }
}

fn worker_of(id: &[u8]) -> Option<WorkerId> {
    Uuid::from_slice(id).ok().map(WorkerId::from_uuid)
}
