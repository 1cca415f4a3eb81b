//! Rows of key entries, of the next steps of cascades, of tasks that end, and of limits.

use std::time::Duration;

use stent_core::backend::{Expired, Result};
use stent_core::ledger::CascadeStep;
use stent_core::model::{FunctionKey, KeyEntry, KeyEntryKind, Tree};
use stent_core::{ExecutionId, Key, Payload, TaskId, Timestamp, duration};
use uuid::Uuid;

use super::cell::Json;
use super::reader::corrupt;
use super::shape::{Read, batch, rows};
use super::{Reader, failure, step};
use crate::batch::Batch;
use crate::table::{key, rate, task};

rows! {
    /// A key.
    both OneKey of key {
        key: Key,
    }

    /// A key entry that is stored.
    read KeyRow of key {
        key: Key,
        kind: KeyEntryKind,
        execution_id: ExecutionId,
        name: String,
        holder_id: Option<TaskId>,
        ttl: Option<i64>,
        ended_at: Option<Timestamp>,
        expires_at: Option<Timestamp>,
        sends: Option<Json<Vec<TaskId>>>,
        value_type: Option<String>,
        value: Option<Vec<u8>>,
    }

    /// A key entry to store.
    write NewKey<'a> of key {
        key: Key,
        kind: KeyEntryKind,
        execution_id: ExecutionId,
        name: &'a str,
        holder_id: Option<TaskId>,
        ttl: Option<i64>,
        ended_at: Option<Timestamp>,
        expires_at: Option<Timestamp>,
        sends: Option<String>,
        value_type: Option<&'a str>,
        value: Option<&'a [u8]>,
    }

    /// A signal's value that the code has not seen: the key, and the task that took the value.
    write Restore of task {
        key: Key,
        id: TaskId,
    }

    /// The next step of a cascade.
    read CascadeRow {
        what: i64,
        id: Uuid,
        at: Timestamp,
    }

    /// A task that ends, or is about to.
    read EndingTask of task {
        id: TaskId,
        execution_id: ExecutionId,
        parent_id: Option<TaskId>,
        owner_id: Option<TaskId>,
        key: Option<Key>,
        expires_at: Option<Timestamp>,
    }

    /// The same, and the kind of end.
    read EndingRow {
        ..task: EndingTask,
        what: i64,
    }

    /// A limited function, and the moment since which its starts count.
    write Limited of rate {
        function_key: FunctionKey,
        bucket: Timestamp,
    }

    /// The number of tasks of a function that started in a bucket.
    write Started of rate {
        function_key: FunctionKey,
        bucket: Timestamp,
        used: i64,
    }

    /// The running and the started tasks of a function.
    read Usage {
        function_key: FunctionKey,
        /// Tasks that take a slot: tasks under live leases, and tasks whose lease has expired and whose slot was not
        /// vacated.
        running: u64,
        /// Of these, the tasks whose lease has expired.
        over: u64,
        /// When the first of the live leases ends.
        first_end: Option<Timestamp>,
        started: u64,
        /// The first and the last of the buckets that count.
        first_bucket: Option<Timestamp>,
        last_bucket: Option<Timestamp>,
    }
}

/// Reads a key entry.
pub(crate) fn key_entry(reader: &mut Reader) -> Result<KeyEntry> {
    let row = KeyRow::read(reader)?;
    let ttl = row.ttl.map(u64::try_from).transpose().map_err(|error| corrupt(key::TTL, error))?;
    Ok(KeyEntry {
        holder: row.holder_id,
        ttl: ttl.map(Duration::from_micros),
        ended_at: row.ended_at,
        expires_at: row.expires_at,
        value: step::payload(row.value_type, row.value),
        sends: row.sends.map(|sends| sends.0).unwrap_or_default(),
        ..KeyEntry::new(row.key, row.kind, row.execution_id, row.name)
    })
}

/// Key entries.
pub(crate) fn key_batch(entries: &[KeyEntry]) -> Result<Batch<'_>> {
    let rows = entries.iter().map(|entry| {
        let sends = (!entry.sends.is_empty()).then(|| serde_json::to_string(&entry.sends)).transpose();
        Ok(NewKey {
            key: entry.key,
            kind: entry.kind,
            execution_id: entry.execution,
            name: &entry.name,
            holder_id: entry.holder,
            // A duration beyond 64 bits means forever.
            ttl: entry.ttl.map(duration::micros),
            ended_at: entry.ended_at,
            expires_at: entry.expires_at,
            sends: sends
                .map_err(|error| failure::unfit("sends of a signal", entry.execution.root(), error))?,
            value_type: entry.value.as_ref().map(Payload::content_type),
            value: entry.value.as_ref().map(Payload::bytes),
        })
    });
    Ok(batch(rows.collect::<Result<Vec<_>>>()?))
}

/// `what` of a key whose holder has ended without a result.
pub(crate) const VACANT: i64 = 0;
/// `what` of an execution that was asked to end and has no running task any more.
pub(crate) const CLOSING: i64 = 1;

/// Reads the next step of a cascade.
pub(crate) fn cascade_step(reader: &mut Reader) -> Result<CascadeStep> {
    let CascadeRow { what, id, at } = CascadeRow::read(reader)?;
    match what {
        VACANT => Ok(CascadeStep::Vacate { key: Key::from_uuid(id), at }),
        CLOSING => Ok(CascadeStep::Close { root: TaskId::from_uuid(id), at }),
        _ => Err(corrupt("what", format!("unknown cascade step {what}"))),
    }
}

/// `what` of a task whose deadline has passed.
pub(crate) const OVER: i64 = 0;
/// `what` of the task with the next deadline.
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

/// Reads a task that ends.
pub(crate) fn ending(reader: &mut Reader) -> Result<Ending> {
    let EndingRow { task, what } = EndingRow::read(reader)?;
    let EndingTask { id, execution_id, parent_id, owner_id, key, expires_at } = task;
    let tree = Tree { execution: execution_id, parent: parent_id, owner: owner_id };
    match (what, expires_at) {
        (OVER, Some(expires_at)) => Ok(Ending::Over(Expired { task: id, tree, key, expires_at })),
        (NEXT, Some(expires_at)) => Ok(Ending::Next(expires_at)),
        (STOPPING, _) => Ok(Ending::Stopping(id)),
        _ => Err(corrupt("what", format!("unknown kind of ending {what}, or it has no deadline"))),
    }
}
