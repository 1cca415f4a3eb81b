//! Rows to tasks, as far as claims and transitions need them.

use std::cmp::Reverse;

use stent_core::backend::Result;
use stent_core::ledger::Row;
use stent_core::model::{FunctionKey, Lane, LaneKey, RetryPolicy, Seq, Task, Tree};
use stent_core::{Digest, ExecutionId, Key, Payload, TaskId, Timestamp, WorkerId};

use super::Reader;

/// A task that is due, as it stands before it is claimed.
#[derive(Debug)]
pub(crate) struct Picked {
    pub(crate) row: Row,
    seq: Seq,
    lane: Lane,
    priority: i16,
    created_at: Timestamp,
    retry: Option<RetryPolicy>,
    trace: Option<String>,
    args: Payload,
}

/// Where a task stands among those that are due: priority, due time, age.
pub(crate) type Rank = (Reverse<i16>, Option<Timestamp>, TaskId);

/// A task that is due, as far as is needed to tell whether there is room for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RankedTask {
    pub(crate) id: TaskId,
    pub(crate) lane: LaneKey,
    pub(crate) rank: Rank,
}

impl RankedTask {
    pub(crate) fn read(reader: &mut Reader) -> Result<Self> {
        let id = reader.id(TaskId::from_uuid)?;
        let lane = reader.next().map(LaneKey::from_i64)?;
        let priority = reader.next()?;
        Ok(Self { id, lane, rank: (Reverse(priority), reader.moment_or_null()?, id) })
    }
}

/// A lane's tasks of one priority.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) key: LaneKey,
    pub(crate) lane: Lane,
    pub(crate) priority: i16,
    /// When its first task is due, or was. None if those that there are must not start any more.
    pub(crate) first_at: Option<Timestamp>,
    /// When its first task that is not due will be.
    pub(crate) next_at: Option<Timestamp>,
}

/// Decodes [`ROW`](super::columns::ROW).
pub(crate) fn row(reader: &mut Reader) -> Result<Row> {
    Ok(Row {
        id: reader.id(TaskId::from_uuid)?,
        tree: Tree {
            execution: reader.id(ExecutionId::from_uuid)?,
            parent: reader.id_or_null(TaskId::from_uuid)?,
            owner: reader.id_or_null(TaskId::from_uuid)?,
        },
        kind: reader.word()?,
        status: reader.word()?,
        epoch: reader.epoch()?,
        uncommitted_claims: reader.count()?,
        attempts: reader.count()?,
        commit: reader.count()?,
        commit_epoch: reader.epoch()?,
        ready_at: reader.moment_or_null()?,
        worker: reader.id_or_null(WorkerId::from_uuid)?,
        done: reader.count()?,
        wake_threshold: reader.count_or_null()?,
        done_order: reader.count_or_null()?,
        fed: reader.count()?,
        total: reader.count_or_null()?,
        digest: reader.next::<Option<i64>>()?.map(Digest::from_i64),
        started_at: reader.moment_or_null()?,
        ended_at: reader.moment_or_null()?,
        crashes: reader.count()?,
        releases: reader.count()?,
        noted: reader.count()?,
        mark: reader.word_or_null()?,
        key: reader.id_or_null(Key::from_uuid)?,
        expires_at: reader.moment_or_null()?,
        limit_key: reader.next::<Option<i64>>()?.map(FunctionKey::from_i64),
    })
}

/// Decodes a lane with its key.
pub(crate) fn lane(reader: &mut Reader) -> Result<(LaneKey, Lane)> {
    Ok((reader.next().map(LaneKey::from_i64)?, lane_name(reader)?))
}

fn lane_name(reader: &mut Reader) -> Result<Lane> {
    Ok(Lane { queue: reader.next()?, function: reader.next()?, tags: reader.tags()? })
}

impl Picked {
    pub(crate) fn read(reader: &mut Reader) -> Result<Self> {
        Ok(Self {
            row: row(reader)?,
            seq: reader.count().map(Seq)?,
            lane: lane_name(reader)?,
            priority: reader.next()?,
            created_at: reader.moment()?,
            retry: reader.json_or_null()?,
            trace: reader.next()?,
            args: reader.payload()?,
        })
    }

    /// Where it stands among those that are due.
    pub(crate) fn rank(&self) -> Rank {
        (Reverse(self.priority), self.row.ready_at, self.row.id)
    }

    /// The function that runs it.
    pub(crate) fn function(&self) -> &str {
        &self.lane.function
    }

    /// The task as its claimer gets it.
    pub(crate) fn into_task(self, row: &Row) -> Task {
        Task {
            id: row.id,
            tree: row.tree,
            seq: self.seq,
            kind: row.kind,
            lane: self.lane,
            priority: self.priority,
            args: self.args,
            retry: self.retry,
            status: row.status,
            epoch: row.epoch,
            uncommitted_claims: row.uncommitted_claims,
            attempts: row.attempts,
            crashes: row.crashes,
            releases: row.releases,
            done: row.done,
            noted: row.noted,
            mark: row.mark,
            key: row.key,
            expires_at: row.expires_at,
            trace: self.trace,
            created_at: self.created_at,
            started_at: row.started_at,
            ended_at: row.ended_at,
        }
    }
}

impl Stream {
    pub(crate) fn read(reader: &mut Reader) -> Result<Self> {
        Ok(Self {
            key: reader.next().map(LaneKey::from_i64)?,
            lane: lane_name(reader)?,
            priority: reader.next()?,
            first_at: reader.moment_or_null()?,
            next_at: reader.moment_or_null()?,
        })
    }
}
