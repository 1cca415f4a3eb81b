//! Model to batches: what each batch consists of, and how it is filled.

use std::borrow::Cow;

use stent_core::backend::Result;
use stent_core::ledger::{Insert, Row, Update, Written};
use stent_core::model::{EndedClaim, Epoch, FunctionKey, KeyEntry, Lane, LaneKey, Lease, StepKind};
use stent_core::{ExecutionId, Key, Payload, TaskId, Timestamp, duration};

use super::{columns, failure, tags};
use crate::batch::{Batch, Cell};

/// Beside the steps that have ended: none.
pub(crate) const WANT_NONE: i64 = 0;
/// Beside the steps that have ended: all others.
pub(crate) const WANT_ALL: i64 = 1;
/// Beside the steps that have ended: open timers and maps.
pub(crate) const WANT_OPEN: i64 = 2;

/// `written` of a row whose result stays as it is.
pub(crate) const KEPT: i64 = 0;
/// `written` of a row whose result is written.
const WRITTEN: i64 = 1;

/// The lanes that tasks are written to.
pub(crate) fn lane_batch<'a>(lanes: impl ExactSizeIterator<Item = &'a Lane>) -> Batch<'a> {
    let mut batch = Batch::new(&columns::LANE_NAME, lanes.len());
    for lane in lanes {
        let tags = Cell::Text(Cow::Owned(tags::to_text(&lane.tags)));
        batch.push([
            Cell::Int(lane.key().as_i64()),
            Cell::text(&lane.queue),
            Cell::text(&lane.function),
            tags,
        ]);
    }
    batch
}

/// The keys of lanes.
pub(crate) fn lane_keys(keys: impl ExactSizeIterator<Item = LaneKey>) -> Batch<'static> {
    let mut batch = Batch::new(&columns::ONE_LANE, keys.len());
    keys.for_each(|key| batch.push([Cell::Int(key.as_i64())]));
    batch
}

/// Numbers of locks.
pub(crate) fn lock_batch(locks: impl IntoIterator<Item = i64>) -> Batch<'static> {
    let mut batch = Batch::new(&columns::LOCK, 0);
    for lock in locks {
        batch.push([Cell::Int(lock)]);
    }
    batch
}

/// Leases to extend.
pub(crate) fn lease_batch(leases: &[Lease]) -> Batch<'static> {
    let mut batch = Batch::new(&columns::HELD, leases.len());
    // In one order, so that two who extend the same ones do not wait for each other in a circle.
    let mut leases: Vec<_> = leases.iter().collect();
    leases.sort_unstable_by_key(|lease| lease.task);
    for lease in leases {
        batch.push([Cell::Id(*lease.task.as_uuid()), epoch(lease.epoch)]);
    }
    batch
}

/// Tasks that were given up with everything below them.
pub(crate) fn sweep_batch<'r>(rows: impl IntoIterator<Item = &'r Row>) -> Batch<'static> {
    let mut batch = Batch::new(&columns::SWEEP, 0);
    for row in rows {
        debug_assert!(row.ended_at.is_some(), "what is given up has ended");
        let ended_at = row.ended_at.unwrap_or(Timestamp::MAX);
        batch.push([
            Cell::Id(*row.id.as_uuid()),
            Cell::Id(*row.tree.execution.as_uuid()),
            Cell::Int(ended_at.as_micros()),
        ]);
    }
    batch
}

/// Claimed rows.
pub(crate) fn claim_batch(rows: &[Row]) -> Batch<'static> {
    let mut batch = Batch::new(&columns::CLAIM, rows.len());
    for row in rows {
        batch.push([
            Cell::Id(*row.id.as_uuid()),
            epoch(row.epoch),
            int(row.uncommitted_claims),
            moment(row.started_at),
        ]);
    }
    batch
}

/// Claimed rows that have a place among the running ones of their function, or were taken over.
pub(crate) fn claim_more_batch(rows: &[Row]) -> Batch<'static> {
    let mut batch = Batch::new(&columns::CLAIM_MORE, rows.len());
    for row in rows {
        batch.push([
            Cell::Id(*row.id.as_uuid()),
            epoch(row.epoch),
            int(row.uncommitted_claims),
            moment(row.started_at),
            int(row.crashes),
            limit_key(row.limit_key),
        ]);
    }
    batch
}

/// Whether a row has what only few have, so that it is written by the statements which know of that.
pub(crate) const fn has_more(row: &Row) -> bool {
    row.crashes > 0
        || row.releases > 0
        || row.noted > 0
        || row.attempts > 0
        || row.mark.is_some()
        || row.expires_at.is_some()
        || row.limit_key.is_some()
}

/// New tasks, those with what only few have apart.
pub(crate) fn insert_batches<'a>(inserts: &'a [Insert<'a>]) -> Result<(Batch<'a>, Batch<'a>)> {
    let mut most = Batch::new(&columns::INSERT, inserts.len());
    let mut more = Batch::new(&columns::INSERT_MORE, 0);
    for insert in inserts {
        let Insert { task, row, .. } = insert;
        let written = ResultCells::of(row, insert.result.as_ref())?;
        let is_plain = task.lane.tags.is_empty() && task.trace.is_none() && row.key.is_none();
        if written.reason.is_none() && is_plain && !has_more(row) {
            most.push(insert_cells(insert, written)?);
            continue;
        }
        let tags = (!task.lane.tags.is_empty()).then(|| tags::to_text(&task.lane.tags));
        let few = [
            Cell::or_null(tags, |text| Cell::Text(Cow::Owned(text))),
            int(row.crashes),
            int(row.releases),
            int(row.noted),
            Cell::or_null(row.mark, |mark| Cell::text(mark.as_str())),
            Cell::or_null(row.key, |key| Cell::Id(*key.as_uuid())),
            moment(row.expires_at),
            limit_key(row.limit_key),
            Cell::or_null(written.reason, Cell::text),
            Cell::or_null(task.trace.as_deref(), Cell::text),
        ];
        more.push(joined::<33, 10, 43>(insert_cells(insert, written)?, few));
    }
    Ok((most, more))
}

fn insert_cells<'a>(insert: &'a Insert<'a>, written: ResultCells<'a>) -> Result<[Cell<'a>; 33]> {
    let Insert { task, row, created_at, .. } = insert;
    let lane = (task.kind == StepKind::Call).then(|| task.lane.key());
    let retry = task.retry.as_ref().map(serde_json::to_string).transpose();
    let retry = retry.map_err(|error| failure::unfit("retry policy", task.id, error))?;
    Ok([
        Cell::Id(*task.id.as_uuid()),
        Cell::Id(*task.tree.execution.as_uuid()),
        Cell::or_null(task.tree.parent, |id| Cell::Id(*id.as_uuid())),
        Cell::or_null(task.tree.owner, |id| Cell::Id(*id.as_uuid())),
        int(task.seq.0),
        Cell::text(task.kind.as_str()),
        Cell::or_null(lane, |lane| Cell::Int(lane.as_i64())),
        Cell::text(&task.lane.queue),
        Cell::text(&task.lane.function),
        Cell::Int(task.priority.into()),
        Cell::text(row.status.as_str()),
        epoch(row.epoch),
        int(row.uncommitted_claims),
        int(row.attempts),
        int(row.commit),
        epoch(row.commit_epoch),
        moment(row.ready_at),
        Cell::or_null(row.worker, |id| Cell::Id(*id.as_uuid())),
        int(row.done),
        Cell::or_null(row.wake_threshold, int),
        Cell::or_null(row.done_order, int),
        int(row.fed),
        Cell::or_null(row.total, int),
        Cell::or_null(row.digest, |digest| Cell::Int(digest.to_i64())),
        moment(Some(*created_at)),
        moment(row.started_at),
        moment(row.ended_at),
        Cell::or_null(retry, |text| Cell::Text(Cow::Owned(text))),
        written.failure,
        Cell::text(task.args.content_type()),
        Cell::bytes(task.args.bytes()),
        written.result_type,
        written.result,
    ])
}

/// Changed rows, apart those that have what only few have: now, or when they were read.
pub(crate) fn update_batches<'a>(
    updates: &'a [Update<'a>],
    had_more: impl Fn(TaskId) -> bool,
) -> Result<(Batch<'a>, Batch<'a>)> {
    let mut most = Batch::new(&columns::UPDATE, updates.len());
    let mut more = Batch::new(&columns::UPDATE_MORE, 0);
    for update in updates {
        let Update { row, retry, .. } = update;
        let written = ResultCells::of(row, update.result.as_ref())?;
        if written.reason.is_none() && retry.is_none() && !has_more(row) && !had_more(row.id) {
            most.push(update_cells(update, written));
            continue;
        }
        let retry = retry.map(serde_json::to_string).transpose();
        let retry = retry.map_err(|error| failure::unfit("retry policy", row.id, error))?;
        let few = [
            int(row.crashes),
            int(row.releases),
            int(row.noted),
            Cell::or_null(row.mark, |mark| Cell::text(mark.as_str())),
            moment(row.expires_at),
            limit_key(row.limit_key),
            Cell::or_null(written.reason, Cell::text),
            Cell::or_null(retry, |text| Cell::Text(Cow::Owned(text))),
        ];
        more.push(joined::<21, 8, 29>(update_cells(update, written), few));
    }
    Ok((most, more))
}

fn update_cells<'a>(update: &'a Update<'a>, written: ResultCells<'a>) -> [Cell<'a>; 21] {
    let Update { row, result, .. } = update;
    [
        Cell::Id(*row.id.as_uuid()),
        Cell::text(row.status.as_str()),
        epoch(row.epoch),
        int(row.uncommitted_claims),
        int(row.attempts),
        int(row.commit),
        epoch(row.commit_epoch),
        moment(row.ready_at),
        Cell::or_null(row.worker, |id| Cell::Id(*id.as_uuid())),
        int(row.done),
        Cell::or_null(row.wake_threshold, int),
        Cell::or_null(row.done_order, int),
        int(row.fed),
        Cell::or_null(row.total, int),
        Cell::or_null(row.digest, |digest| Cell::Int(digest.to_i64())),
        moment(row.started_at),
        moment(row.ended_at),
        Cell::Int(if result.is_some() { WRITTEN } else { KEPT }),
        written.failure,
        written.result_type,
        written.result,
    ]
}

/// Results to copy.
pub(crate) fn copy_batch(copies: &[(TaskId, TaskId)]) -> Batch<'static> {
    let mut batch = Batch::new(&columns::COPY, copies.len());
    for (to, from) in copies {
        batch.push([Cell::Id(*to.as_uuid()), Cell::Id(*from.as_uuid())]);
    }
    batch
}

/// Executions, and when something happened to them.
pub(crate) fn since_batch(executions: impl IntoIterator<Item = (ExecutionId, Timestamp)>) -> Batch<'static> {
    let mut batch = Batch::new(&columns::SINCE, 0);
    for (execution, at) in executions {
        batch.push([Cell::Id(*execution.as_uuid()), Cell::Int(at.as_micros())]);
    }
    batch
}

/// Key entries.
pub(crate) fn key_batch(entries: &[KeyEntry]) -> Result<Batch<'_>> {
    let mut batch = Batch::new(&columns::KEY_ENTRY, entries.len());
    for entry in entries {
        let sends = (!entry.sends.is_empty()).then(|| serde_json::to_string(&entry.sends)).transpose();
        let sends =
            sends.map_err(|error| failure::unfit("sends of a signal", entry.execution.root(), error))?;
        // Longer than 64 bits can say is for good.
        let ttl = entry.ttl.map(duration::micros);
        batch.push([
            Cell::Id(*entry.key.as_uuid()),
            Cell::text(entry.kind.as_str()),
            Cell::Id(*entry.execution.as_uuid()),
            Cell::text(&entry.name),
            Cell::or_null(entry.holder, |id| Cell::Id(*id.as_uuid())),
            Cell::or_null(ttl, Cell::Int),
            moment(entry.ended_at),
            moment(entry.expires_at),
            Cell::or_null(sends, |text| Cell::Text(Cow::Owned(text))),
            Cell::or_null(entry.value.as_ref(), |value| Cell::text(value.content_type())),
            Cell::or_null(entry.value.as_ref(), |value| Cell::bytes(value.bytes())),
        ]);
    }
    Ok(batch)
}

/// Signals that nobody has seen: each key entry with the task that took its value.
pub(crate) fn restore_batch(taken: impl IntoIterator<Item = (Key, TaskId)>) -> Batch<'static> {
    let mut batch = Batch::new(&columns::RESTORE, 0);
    for (key, task) in taken {
        batch.push([Cell::Id(*key.as_uuid()), Cell::Id(*task.as_uuid())]);
    }
    batch
}

/// Claims that ended badly.
pub(crate) fn ended_claim_batch(claims: &[EndedClaim]) -> Result<Batch<'_>> {
    let mut batch = Batch::new(&columns::ENDED_CLAIM, claims.len());
    for EndedClaim { task, execution, epoch, worker, end, at, failure } in claims {
        let data = failure.as_ref().and_then(|failure| failure.data.as_ref());
        let text = failure.as_ref().map(|failure| failure::to_text(failure, *task)).transpose()?;
        batch.push([
            Cell::Id(*task.as_uuid()),
            Cell::Int(epoch.to_i64()),
            Cell::Int(at.as_micros()),
            Cell::Id(*execution.as_uuid()),
            Cell::or_null(*worker, |id| Cell::Id(*id.as_uuid())),
            Cell::text(end.as_str()),
            Cell::or_null(text, |text| Cell::Text(Cow::Owned(text))),
            Cell::or_null(data, |data| Cell::text(data.content_type())),
            Cell::or_null(data, |data| Cell::bytes(data.bytes())),
        ]);
    }
    Ok(batch)
}

/// Functions, each with a moment.
pub(crate) fn limited_batch(functions: impl IntoIterator<Item = (FunctionKey, Timestamp)>) -> Batch<'static> {
    let mut batch = Batch::new(&columns::LIMITED, 0);
    for (function, at) in functions {
        batch.push([Cell::Int(function.as_i64()), Cell::Int(at.as_micros())]);
    }
    batch
}

/// Functions.
pub(crate) fn function_batch(functions: impl IntoIterator<Item = FunctionKey>) -> Batch<'static> {
    let mut batch = Batch::new(&columns::ONE_LANE, 0);
    for function in functions {
        batch.push([Cell::Int(function.as_i64())]);
    }
    batch
}

/// How many tasks of functions started in the stretches of time that begin then.
pub(crate) fn rate_batch(started: impl IntoIterator<Item = (FunctionKey, Timestamp, u32)>) -> Batch<'static> {
    let mut batch = Batch::new(&columns::RATE, 0);
    for (function, bucket, used) in started {
        batch.push([Cell::Int(function.as_i64()), Cell::Int(bucket.as_micros()), int(used)]);
    }
    batch
}

/// What a task gave: its result, or its failure with the data of that in the result's place.
struct ResultCells<'a> {
    failure: Cell<'a>,
    /// The kind of the failure.
    reason: Option<&'a str>,
    result_type: Cell<'a>,
    result: Cell<'a>,
}

impl<'a> ResultCells<'a> {
    fn of(row: &Row, written: Option<&'a Written<'a>>) -> Result<Self> {
        let (failure, payload): (_, Option<&'a Payload>) = match written.map(Written::as_result) {
            None => (None, None),
            Some(Ok(payload)) => (None, Some(payload)),
            Some(Err(failure)) => (Some(failure), failure.data.as_ref()),
        };
        let text = failure.map(|failure| failure::to_text(failure, row.id)).transpose()?;
        Ok(Self {
            failure: Cell::or_null(text, |text| Cell::Text(Cow::Owned(text))),
            reason: failure.map(|failure| failure.kind.as_str()),
            result_type: Cell::or_null(payload, |payload| Cell::text(payload.content_type())),
            result: Cell::or_null(payload, |payload| Cell::bytes(payload.bytes())),
        })
    }
}

fn joined<'a, const A: usize, const B: usize, const C: usize>(
    first: [Cell<'a>; A],
    then: [Cell<'a>; B],
) -> [Cell<'a>; C] {
    const { assert!(A + B == C, "as many cells as there are") };
    let mut cells = first.into_iter().chain(then);
    std::array::from_fn(|_| cells.next().unwrap_or(Cell::Null))
}

fn limit_key<'a>(function: Option<FunctionKey>) -> Cell<'a> {
    Cell::or_null(function, |function| Cell::Int(function.as_i64()))
}

fn int<'a>(value: u32) -> Cell<'a> {
    Cell::Int(value.into())
}

fn epoch<'a>(epoch: Epoch) -> Cell<'a> {
    Cell::Int(epoch.to_i64())
}

fn moment<'a>(moment: Option<Timestamp>) -> Cell<'a> {
    Cell::or_null(moment, |moment| Cell::Int(moment.as_micros()))
}
