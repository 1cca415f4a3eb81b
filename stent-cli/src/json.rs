//! Views as JSON. The names of the fields are those of the views, and a promise to scripts: they are only added to.

use serde_json::{Map, Value, json};
use stent::view::{
    DeadLetter, DeadLetterStat, EndedClaim, ExecutionView, LaneView, Mark, NotesView, RunningView, TaskView,
    WorkerRecord,
};
use stent::{Failure, Timestamp};

use crate::payload;

pub(crate) fn moment(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| at.to_string().into())
}

/// An execution without its payloads, as lists show it.
pub(crate) fn execution(view: &ExecutionView) -> Value {
    json!({
        "id": view.id.to_string(),
        "function": view.function,
        "queue": view.queue,
        "tags": view.tags,
        "priority": view.priority,
        "status": view.status.as_str(),
        "attempts": view.attempts,
        "created_at": view.created_at.to_string(),
        "started_at": moment(view.started_at),
        "ended_at": moment(view.ended_at),
        "expires_at": moment(view.expires_at),
        "failure": view.result.as_ref().and_then(|result| result.as_ref().err()).map(failure),
    })
}

pub(crate) fn failure(failure: &Failure) -> Value {
    json!({
        "kind": failure.kind.as_str(),
        "message": failure.message,
        "causes": failure.causes,
        "trace": failure.trace,
        "fatal": failure.fatal,
        "data": failure.data.as_ref().map(payload::json),
    })
}

pub(crate) fn task(view: &TaskView) -> Value {
    json!({
        "id": view.id.to_string(),
        "parent": view.parent.map(|id| id.to_string()),
        "seq": view.seq.0,
        "kind": view.kind.as_str(),
        "name": view.name,
        "status": view.status.as_str(),
        "marks": view.marks.iter().map(Mark::as_str).collect::<Vec<_>>(),
        "attempts": view.attempts,
        "crashes": view.crashes,
        "releases": view.releases,
        "map": view.map.map(|map| json!({ "fed": map.fed, "total": map.total, "done": map.done })),
        "done_order": view.done_order,
        "failure": view.failure,
        "ready_at": moment(view.ready_at),
        "created_at": view.created_at.to_string(),
        "started_at": moment(view.started_at),
        "ended_at": moment(view.ended_at),
    })
}

pub(crate) fn running(view: &RunningView) -> Value {
    json!({
        "id": view.id.to_string(),
        "execution": view.execution.to_string(),
        "function": view.function,
        "queue": view.queue,
        "worker": view.worker.map(|id| id.to_string()),
        "lease_until": moment(view.lease_until),
        "started_at": moment(view.started_at),
    })
}

/// A worker in this state, which is not always the one that it last reported.
pub(crate) fn worker(record: &WorkerRecord, state: &str) -> Value {
    json!({
        "id": record.id.to_string(),
        "name": record.name,
        "host": record.host,
        "pid": record.pid,
        "program": record.program,
        "version": record.version,
        "stent": record.stent,
        "state": state,
        "queues": record.queues,
        "tags": record.tags,
        "functions": record.functions,
        "slots": record.slots,
        "used": record.used,
        "drift_us": record.drift_us,
        "started_at": record.started_at.to_string(),
        "seen_at": record.seen_at.to_string(),
    })
}

pub(crate) fn lane(view: &LaneView) -> Value {
    json!({
        "queue": view.lane.queue,
        "function": view.lane.function,
        "tags": view.lane.tags,
        "due": view.due,
        "delayed": view.delayed,
        "oldest_due_at": moment(view.oldest_due_at),
    })
}

pub(crate) fn notes(notes: &NotesView) -> Map<String, Value> {
    let states = notes.states.iter().map(|(name, value)| (name.clone(), payload::json(value)));
    let progress = notes.progress.iter().map(
        |entry| json!({ "task": entry.task.to_string(), "at": entry.at.to_string(), "text": entry.text }),
    );
    let summary = notes.summary.iter().map(|line| {
        json!({
            "kind": line.kind.as_str(),
            "name": line.name,
            "status": line.status.as_str(),
            "count": line.count,
        })
    });
    let fields = [
        ("counters", json!(notes.counters)),
        ("states", Value::Object(states.collect())),
        ("progress", progress.collect()),
        ("summary", summary.collect()),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(crate) fn ended_claim(claim: &EndedClaim) -> Value {
    json!({
        "worker": claim.worker.map(|id| id.to_string()),
        "end": claim.end.as_str(),
        "at": claim.at.to_string(),
        "failure": claim.failure.as_ref().map(failure),
    })
}

pub(crate) fn dead_letter(letter: &DeadLetter) -> Value {
    let mut json = execution(&letter.execution);
    json["args"] = payload::json(&letter.args);
    json["retried"] = letter.attempts.into();
    json["crashes"] = letter.crashes.into();
    json["releases"] = letter.releases.into();
    json
}

pub(crate) fn dead_letter_stat(stat: &DeadLetterStat) -> Value {
    json!({ "reason": stat.reason, "function": stat.function, "count": stat.count })
}
