//! Rows of tasks that claims and transitions read and write, except the rows that are beside the table.

use std::cmp::Reverse;

use stent_core::backend::Result;
use stent_core::ledger::Row;
use stent_core::model::{Epoch, FunctionKey, Lane, LaneKey, Lease, Task};
use stent_core::{ExecutionId, Payload, TaskId, Timestamp};
use uuid::Uuid;

use super::cell::Tags;
use super::reader::corrupt;
use super::shape::{Read, batch, rows};
use super::{Reader, tags};
use crate::batch::Batch;
pub(crate) use crate::table::task::Picked;
use crate::table::{lane, task};

rows! {
    /// An id.
    both OneId of task {
        id: Uuid,
    }

    /// Arguments that were too large for a packed row.
    read OverflowArgs of task {
        id: Uuid,
        args: Vec<u8>,
    }

    /// Results that were too large for a packed row.
    read OverflowResult of task {
        id: Uuid,
        result: Vec<u8>,
    }

    /// A task and the claim that holds it.
    both Held of task {
        id: TaskId,
        epoch: Epoch,
    }

    /// The columns of a due task that a limit check needs.
    read RankedRow of task {
        id: TaskId,
        lane: LaneKey,
        priority: i16,
        ready_at: Option<Timestamp>,
    }

    /// A stream from which to take tasks, and when its first task is or was due: the heads of a stream are read from there on.
    /// Postgres keeps the entries of tasks that were claimed in the claim index until a vacuum, and they stand before it.
    write Head {
        lane: LaneKey,
        priority: i16,
        first_at: Timestamp,
    }

    /// The task whose steps to read, and which steps.
    write WantRow {
        parent: TaskId,
        seen: u32,
        want: u32,
    }

    /// A task that was given up with everything below it.
    write Sweep of task {
        id: TaskId,
        execution_id: ExecutionId,
        ended_at: Timestamp,
    }

    /// A task that gets the result of another.
    write Copy {
        id: TaskId,
        source: TaskId,
    }

    /// An execution, and a moment.
    write Since {
        execution_id: ExecutionId,
        at: Timestamp,
    }

    /// The number of a lock.
    write Lock {
        lock: i64,
    }

    /// A root, and whether it has steps to summarize.
    read Whole {
        id: ExecutionId,
        details: bool,
    }

    /// A lane that is stored.
    read LaneRow of lane {
        key: LaneKey,
        queue: String,
        function: String,
        tags: Option<Tags>,
    }

    /// A lane to store.
    write NewLane<'a> of lane {
        key: LaneKey,
        queue: &'a str,
        function: &'a str,
        tags: String,
    }

    /// The key of a lane.
    write OneLane of lane {
        key: LaneKey,
    }

    /// The key of a function.
    write OneFunction {
        key: FunctionKey,
    }

    /// A stream with its lane; or, if `what` says so, when tasks end.
    read StreamRow {
        what: i64,
        key: Option<LaneKey>,
        queue: Option<String>,
        function: Option<String>,
        tags: Option<Tags>,
        priority: Option<i16>,
        first_at: Option<Timestamp>,
        next_at: Option<Timestamp>,
        first_end: Option<Timestamp>,
        stopping: bool,
    }
}

/// `want` beside the steps that have ended: none.
pub(crate) const WANT_NONE: u32 = 0;
/// `want` beside the steps that have ended: all others.
pub(crate) const WANT_ALL: u32 = 1;
/// `want` beside the steps that have ended: open timers and maps.
pub(crate) const WANT_OPEN: u32 = 2;

/// `what` of a stream.
pub(crate) const STREAM: i64 = 0;
/// `what` of the row with the hints about tasks that end.
pub(crate) const END_HINTS: i64 = 1;

/// The rank of a task among due tasks: priority, due time, age.
pub(crate) type Rank = (Reverse<i16>, Option<Timestamp>, TaskId);

/// A due task, with the data that a limit check needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RankedTask {
    pub(crate) id: TaskId,
    pub(crate) lane: LaneKey,
    pub(crate) rank: Rank,
}

impl RankedTask {
    pub(crate) fn read(reader: &mut Reader) -> Result<Self> {
        let RankedRow { id, lane, priority, ready_at } = RankedRow::read(reader)?;
        Ok(Self { id, lane, rank: (Reverse(priority), ready_at, id) })
    }
}

/// The data that a claim reads before it takes tasks.
#[derive(Debug)]
pub(crate) enum Seen {
    Stream(Stream),
    EndHints(EndHints),
}

/// A lane's tasks of one priority.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) key: LaneKey,
    pub(crate) lane: Lane,
    pub(crate) priority: i16,
    /// When its first task is or was due. None if none of its tasks may start any more.
    pub(crate) first_at: Option<Timestamp>,
    /// When its first task that is not due yet becomes due; or the moment of the claim, if it alone fills a claim without
    /// limits.
    pub(crate) next_at: Option<Timestamp>,
}

/// Whether tasks must be ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EndHints {
    /// The earliest deadline, which may have passed.
    pub(crate) first_end: Option<Timestamp>,
    /// Whether a task of the claimer is asked to end.
    pub(crate) stopping: bool,
}

impl Stream {
    /// The stream, to take tasks from it. None if none of its tasks may start.
    pub(crate) fn head(&self) -> Option<Head> {
        let first_at = self.first_at?;
        Some(Head { lane: self.key, priority: self.priority, first_at })
    }
}

impl Seen {
    pub(crate) fn read(reader: &mut Reader) -> Result<Self> {
        let row = StreamRow::read(reader)?;
        match (row.what, row.key, row.queue, row.function, row.priority) {
            (STREAM, Some(key), Some(queue), Some(function), Some(priority)) => {
                let tags = row.tags.unwrap_or_default().0;
                let (first_at, next_at) = (row.first_at, row.next_at);
                Ok(Self::Stream(Stream {
                    key,
                    lane: Lane { queue, function, tags },
                    priority,
                    first_at,
                    next_at,
                }))
            }
            (END_HINTS, ..) => {
                Ok(Self::EndHints(EndHints { first_end: row.first_end, stopping: row.stopping }))
            }
            (what, ..) => Err(corrupt("what", format!("unknown kind of row {what}, or it has no lane"))),
        }
    }
}

/// Reads a lane with its key.
pub(crate) fn lane(reader: &mut Reader) -> Result<(LaneKey, Lane)> {
    LaneRow::read(reader).map(LaneRow::into_lane)
}

impl LaneRow {
    pub(crate) fn into_lane(self) -> (LaneKey, Lane) {
        let Self { key, queue, function, tags } = self;
        (key, Lane { queue, function, tags: tags.unwrap_or_default().0 })
    }
}

/// Reads an id.
pub(crate) fn id<T: From<Uuid>>(reader: &mut Reader) -> Result<T> {
    Ok(OneId::read(reader)?.id.into())
}

/// Reads a task and the claim that holds it.
pub(crate) fn held(reader: &mut Reader) -> Result<(TaskId, Epoch)> {
    Held::read(reader).map(|Held { id, epoch }| (id, epoch))
}

/// The lanes that tasks are written to.
pub(crate) fn lane_batch<'a>(lanes: impl Iterator<Item = &'a Lane>) -> Batch<'a> {
    batch(lanes.map(|lane| NewLane {
        key: lane.key(),
        queue: &lane.queue,
        function: &lane.function,
        tags: tags::to_text(&lane.tags),
    }))
}

/// Leases in a fixed order, so that two transactions that extend the same leases do not deadlock.
pub(crate) fn lease_batch(leases: &[Lease]) -> Batch<'static> {
    let mut held: Vec<_> = leases.iter().map(|lease| Held { id: lease.task, epoch: lease.epoch }).collect();
    held.sort_unstable_by_key(|held| held.id);
    batch(held)
}

/// Tasks that were given up with everything below them.
pub(crate) fn sweep_batch<'r>(rows: impl Iterator<Item = &'r Row>) -> Batch<'static> {
    batch(rows.map(|row| {
        debug_assert!(row.ended_at.is_some(), "what is given up has ended");
        let ended_at = row.ended_at.unwrap_or(Timestamp::MAX);
        Sweep { id: row.id, execution_id: row.tree.execution, ended_at }
    }))
}

/// Executions, each with a moment.
pub(crate) fn since_batch(executions: impl IntoIterator<Item = (ExecutionId, Timestamp)>) -> Batch<'static> {
    batch(executions.into_iter().map(|(execution_id, at)| Since { execution_id, at }))
}

impl Picked {
    /// Its rank among due tasks.
    pub(crate) const fn rank(&self) -> Rank {
        (Reverse(self.priority), self.row.ready_at, self.row.id)
    }

    /// Its function.
    pub(crate) fn function(&self) -> &str {
        &self.name
    }

    /// The task as its claimer gets it.
    pub(crate) fn into_task(self, row: &Row) -> Task {
        let tags = self.tags.unwrap_or_default().0;
        Task {
            id: row.id,
            tree: row.tree,
            seq: self.seq,
            kind: row.kind,
            lane: Lane { queue: self.queue, function: self.name, tags },
            priority: self.priority,
            args: Payload::new(self.args_type, self.args),
            retry: self.retry.map(|retry| retry.0),
            status: row.status,
            epoch: row.epoch,
            uncommitted_claims: row.uncommitted_claims,
            attempts: row.attempts,
            crashes: row.crashes,
            releases: row.releases,
            done: row.done,
            noted: row.noted,
            marks: row.marks,
            key: row.key,
            expires_at: row.expires_at,
            trace: self.trace,
            created_at: self.created_at,
            started_at: row.started_at,
            ended_at: row.ended_at,
        }
    }
}
