//! Model to batches: what each batch consists of, and how it is filled.

use std::borrow::Cow;

use stent_core::backend::Result;
use stent_core::ledger::{Insert, Row, Update, Written};
use stent_core::model::{Lane, Lease, StepKind};
use stent_core::{Payload, Timestamp};

use super::{columns, failure};
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
        batch.push([Cell::Int(lane.key().as_i64()), Cell::text(&lane.queue), Cell::text(&lane.function)]);
    }
    batch
}

/// Leases to extend.
pub(crate) fn lease_batch(leases: &[Lease]) -> Batch<'static> {
    let mut batch = Batch::new(&columns::HELD, leases.len());
    for lease in leases {
        batch.push([Cell::Id(*lease.task.as_uuid()), int(lease.epoch.0)]);
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
        batch.push([Cell::Id(*row.id.as_uuid()), int(row.epoch.0), int(row.tries), moment(row.started_at)]);
    }
    batch
}

/// New tasks.
pub(crate) fn insert_batch<'a>(inserts: &'a [Insert<'a>]) -> Result<Batch<'a>> {
    let mut batch = Batch::new(&columns::INSERT, inserts.len());
    for Insert { task, row, created_at, result } in inserts {
        let lane = (task.kind == StepKind::Call).then(|| task.lane.key());
        let retry = task.retry.as_ref().map(serde_json::to_string).transpose();
        let retry = retry.map_err(|error| failure::unfit("retry policy", task.id, error))?;
        let written = Result3::of(row, *result)?;
        batch.push([
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
            int(row.epoch.0),
            int(row.tries),
            int(row.attempts),
            int(row.commit),
            int(row.commit_epoch.0),
            moment(row.ready_at),
            Cell::or_null(row.worker, |id| Cell::Id(*id.as_uuid())),
            int(row.done),
            Cell::or_null(row.wake_at, int),
            Cell::or_null(row.done_order, int),
            int(row.fed),
            Cell::or_null(row.total, int),
            moment(Some(*created_at)),
            moment(row.started_at),
            moment(row.ended_at),
            Cell::or_null(retry, |text| Cell::Text(Cow::Owned(text))),
            written.failure,
            Cell::text(task.args.content_type()),
            Cell::bytes(task.args.bytes()),
            written.result_type,
            written.result,
        ]);
    }
    Ok(batch)
}

/// Changed rows.
pub(crate) fn update_batch<'a>(updates: &'a [Update<'a>]) -> Result<Batch<'a>> {
    let mut batch = Batch::new(&columns::UPDATE, updates.len());
    for Update { row, result } in updates {
        let written = Result3::of(row, *result)?;
        batch.push([
            Cell::Id(*row.id.as_uuid()),
            Cell::text(row.status.as_str()),
            int(row.epoch.0),
            int(row.tries),
            int(row.attempts),
            int(row.commit),
            int(row.commit_epoch.0),
            moment(row.ready_at),
            Cell::or_null(row.worker, |id| Cell::Id(*id.as_uuid())),
            int(row.done),
            Cell::or_null(row.wake_at, int),
            Cell::or_null(row.done_order, int),
            int(row.fed),
            Cell::or_null(row.total, int),
            moment(row.started_at),
            moment(row.ended_at),
            Cell::Int(if result.is_some() { WRITTEN } else { KEPT }),
            written.failure,
            written.result_type,
            written.result,
        ]);
    }
    Ok(batch)
}

/// The three columns that say what a task gave: its result, or its failure with the data of that in the result's place.
struct Result3<'a> {
    failure: Cell<'a>,
    result_type: Cell<'a>,
    result: Cell<'a>,
}

impl<'a> Result3<'a> {
    fn of(row: &Row, written: Option<Written<'a>>) -> Result<Self> {
        let (failure, payload): (_, Option<&Payload>) = match written {
            None => (None, None),
            Some(Written::Result(Ok(payload))) => (None, Some(payload)),
            Some(Written::Result(Err(failure)) | Written::Failure(failure)) => {
                (Some(failure::to_text(failure, row.id)?), failure.data.as_ref())
            }
        };
        Ok(Self {
            failure: Cell::or_null(failure, |text| Cell::Text(Cow::Owned(text))),
            result_type: Cell::or_null(payload, |payload| Cell::text(payload.content_type())),
            result: Cell::or_null(payload, |payload| Cell::bytes(payload.bytes())),
        })
    }
}

fn int<'a>(value: u32) -> Cell<'a> {
    Cell::Int(value.into())
}

fn moment<'a>(moment: Option<Timestamp>) -> Cell<'a> {
    Cell::or_null(moment, |moment| Cell::Int(moment.as_micros()))
}
