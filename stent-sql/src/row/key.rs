//! Rows to key entries, and to cascades.

use std::time::Duration;

use stent_core::backend::{Expired, Result};
use stent_core::ledger::CascadeStep;
use stent_core::model::{FunctionKey, KeyEntry, Tree};
use stent_core::{ExecutionId, Key, TaskId, Timestamp};
use uuid::Uuid;

use super::Reader;

/// Decodes [`MEMO`](super::columns::KEY_ENTRY).
pub(crate) fn key_entry(reader: &mut Reader) -> Result<KeyEntry> {
    let key = reader.id(Key::from_uuid)?;
    let kind = reader.word()?;
    let execution = reader.id(ExecutionId::from_uuid)?;
    let name = reader.next()?;
    let holder = reader.id_or_null(TaskId::from_uuid)?;
    let ttl: Option<i64> = reader.next()?;
    let ttl = ttl.map(u64::try_from).transpose().map_err(|error| reader.corrupt(error))?;
    let ended_at = reader.moment_or_null()?;
    let expires_at = reader.moment_or_null()?;
    let sends: Option<Vec<TaskId>> = reader.json_or_null()?;
    Ok(KeyEntry {
        holder,
        ttl: ttl.map(Duration::from_micros),
        ended_at,
        expires_at,
        value: reader.payload_or_null()?,
        sends: sends.unwrap_or_default(),
        ..KeyEntry::new(key, kind, execution, name)
    })
}

/// `what` of a key whose holder has ended without a result.
pub(crate) const VACANT: i64 = 0;
/// `what` of an execution that was asked to end and has nothing running any more.
pub(crate) const CLOSING: i64 = 1;

/// Decodes [`CASCADE`](super::columns::CASCADE).
pub(crate) fn cascade_step(reader: &mut Reader) -> Result<CascadeStep> {
    let what: i64 = reader.next()?;
    let id: Uuid = reader.next()?;
    let at = reader.moment()?;
    match what {
        VACANT => Ok(CascadeStep::Vacate { key: Key::from_uuid(id), at }),
        CLOSING => Ok(CascadeStep::Close { root: TaskId::from_uuid(id), at }),
        _ => Err(reader.corrupt(format!("unknown follow-up kind {what}"))),
    }
}

/// `what` of a task whose time is up.
pub(crate) const OVER: i64 = 0;
/// `what` of the task whose time is up next.
pub(crate) const NEXT: i64 = 1;
/// `what` of a task that is asked to end.
pub(crate) const STOPPING: i64 = 2;

/// A task that ends, or is about to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    Over(Expired),
    Next(Timestamp),
    Stopping(TaskId),
}

/// Decodes [`ENDS`](super::columns::ENDS).
pub(crate) fn ending(reader: &mut Reader) -> Result<Ending> {
    let what: i64 = reader.next()?;
    let task = reader.id(TaskId::from_uuid)?;
    let tree = Tree {
        execution: reader.id(ExecutionId::from_uuid)?,
        parent: reader.id_or_null(TaskId::from_uuid)?,
        owner: reader.id_or_null(TaskId::from_uuid)?,
    };
    let key = reader.id_or_null(Key::from_uuid)?;
    let expires_at = reader.moment_or_null()?;
    match (what, expires_at) {
        (OVER, Some(expires_at)) => Ok(Ending::Over(Expired { task, tree, key, expires_at })),
        (NEXT, Some(expires_at)) => Ok(Ending::Next(expires_at)),
        (STOPPING, _) => Ok(Ending::Stopping(task)),
        _ => Err(reader.corrupt(format!("unknown kind of ending {what}, or it has no deadline"))),
    }
}

/// What runs and what has started of a function.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) function: FunctionKey,
    /// What has a place: what runs under live leases, and what is over and was not taken away from.
    pub(crate) running: u64,
    /// Of these, what is over.
    pub(crate) over: u64,
    /// When the first lease ends of those that run.
    pub(crate) first_end: Option<Timestamp>,
    pub(crate) started: u64,
    /// The first and the last of the buckets that count.
    pub(crate) first_bucket: Option<Timestamp>,
    pub(crate) last_bucket: Option<Timestamp>,
}

/// Decodes [`USAGE`](super::columns::USAGE).
pub(crate) fn usage(reader: &mut Reader) -> Result<Usage> {
    Ok(Usage {
        function: reader.next().map(FunctionKey::from_i64)?,
        running: reader.number()?,
        over: reader.number()?,
        first_end: reader.moment_or_null()?,
        started: reader.number()?,
        first_bucket: reader.moment_or_null()?,
        last_bucket: reader.moment_or_null()?,
    })
}
