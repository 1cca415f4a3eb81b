//! Computes the sorted sets that contain a task. They depend only on its head, so the old and the new head determine which
//! memberships to remove and to add.

use std::collections::BTreeSet;

use stent_core::backend::Result;
use stent_core::ledger::Row;
use stent_core::model::{ExecutionStatus, Lane, Mark, Slot, StepKind, TaskStatus};

use crate::keys::{Keys, id, member, moment, seq};
use crate::row::{Head, corrupt};

/// The key of a set, and a member of the set.
pub(crate) type Place = (Vec<u8>, Vec<u8>);

/// Returns the memberships of a task that may change with its head.
pub(crate) fn places(keys: &Keys, head: &Head) -> BTreeSet<Place> {
    let row = &head.row;
    let (task, execution) = (id(&row.id), row.tree.execution);
    let open = !row.status.is_terminal();
    let stopping = row.marks.contains(Mark::Cancel);
    let mut places = BTreeSet::new();
    let mut add = |key: Vec<u8>, parts: &[&[u8]]| _ = places.insert((key, member(parts)));

    if is_in_lane(head) {
        match row.ready_at.filter(|_| !stopping) {
            Some(due) => add(keys.of(lane_set(row.status), &lane_id(head)), &[&moment(due), task]),
            None => add(keys.of("lo", &lane_id(head)), &[task]),
        }
    }
    if let Some(ready_at) = row.ready_at.filter(|_| open) {
        let due = moment(ready_at);
        if row.kind == StepKind::Sleep
            && let Some(parent) = row.tree.parent
        {
            add(keys.sleeps(parent), &[&due, &seq(head.seq), task]);
        }
        if row.status == TaskStatus::Running {
            add(keys.one("run"), &[&due, task]);
            if let Some(Slot::Taken(function)) = row.limit_key {
                add(keys.slots(function), &[&due, task]);
            }
        }
    }
    if let Some(worker) = row.worker.filter(|_| stopping && row.status == TaskStatus::Running) {
        add(keys.stopping(worker), &[task]);
    }
    if let Some(expires_at) = row.expires_at.filter(|_| open) {
        add(keys.one("d"), &[&moment(expires_at), task]);
    }
    if let Some(key) = row.key.filter(|_| open) {
        add(keys.under_key(key), &[task]);
    }
    match row.tree.parent {
        Some(parent) => {
            if open {
                add(keys.open_tasks(execution), &[task]);
                if row.kind.is_map() {
                    add(keys.open_maps(parent), &[task]);
                }
            }
            if let Some(order) = row.done_order {
                add(keys.finished(parent), &[&order.to_be_bytes(), task]);
            }
        }
        None if open => add(keys.one("open"), &[task]),
        None => {
            let status = ExecutionStatus::of_root(row.status, row.started_at.is_some(), row.marks);
            add(keys.of("x", status.as_str().as_bytes()), &[task]);
            let ended_at = moment(row.ended_at.unwrap_or(head.created_at));
            if row.is_dead_letter() {
                add(keys.one("dl"), &[task]);
                add(keys.one("dead"), &[&ended_at, task]);
            } else {
                add(keys.one("old"), &[&ended_at, task]);
                add(keys.one("det"), &[&ended_at, task]);
            }
        }
    }
    places
}

/// Returns the memberships that a task keeps until it is deleted.
pub(crate) fn fixed_places(keys: &Keys, head: &Head, lane: Option<&Lane>) -> BTreeSet<Place> {
    let task = id(&head.row.id);
    let mut places = BTreeSet::new();
    match head.row.tree.parent {
        Some(parent) => {
            places.insert((keys.children(parent), member(&[&seq(head.seq), task])));
            places.insert((keys.tasks(head.row.tree.execution), task.to_vec()));
        }
        None => {
            places.insert((keys.one("roots"), task.to_vec()));
            if let Some(lane) = lane {
                places.insert((keys.of("xf", lane.function.as_bytes()), task.to_vec()));
                places.insert((keys.of("xq", lane.queue.as_bytes()), task.to_vec()));
                for tag in &lane.tags {
                    places.insert((keys.of("xt", tag.as_bytes()), task.to_vec()));
                }
            }
        }
    }
    places
}

/// Whether the task belongs to one of the sets of its lane.
pub(crate) fn is_in_lane(head: &Head) -> bool {
    head.row.kind == StepKind::Call && !head.row.status.is_terminal()
}

/// Whether a task that had ended is open again, and so has to register its lane.
pub(crate) fn returns(old: &Head, new: &Row) -> bool {
    old.row.kind == StepKind::Call && old.row.status.is_terminal() && !new.status.is_terminal()
}

/// Returns the key of a task's lane and its priority. Tasks with the same id are claimed in one order.
pub(crate) fn lane_id(head: &Head) -> [u8; 10] {
    let mut id = [0; 10];
    id[..8].copy_from_slice(&head.lane.as_i64().to_be_bytes());
    id[8..].copy_from_slice(&head.priority.to_be_bytes());
    id
}

const fn lane_set(status: TaskStatus) -> &'static str {
    match status {
        TaskStatus::Running => "lr",
        TaskStatus::Waiting => "lw",
        _ => "lp",
    }
}

/// Encodes a lane for `claim.lua`: the function, the queue and the tags, each after its length.
pub(crate) fn encode_lane(lane: &Lane) -> Vec<u8> {
    let mut bytes = Vec::new();
    for name in [&lane.function, &lane.queue].into_iter().chain(&lane.tags) {
        // Names are shorter than 64 KiB.
        bytes.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend(name.as_bytes());
    }
    bytes
}

/// Decodes the bytes of [`encode_lane`].
pub(crate) fn decode_lane(mut bytes: &[u8]) -> Result<Lane> {
    let broken = || corrupt("a lane is broken");
    let mut names = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (name, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or_else(broken)?;
        names.push(String::from_utf8(name.to_vec()).map_err(|_| broken())?);
        bytes = rest;
    }
    let mut names = names.into_iter();
    let (function, queue) = (names.next().ok_or_else(broken)?, names.next().ok_or_else(broken)?);
    Ok(Lane { tags: names.collect(), ..Lane::new(queue, function) })
}
