//! One task as a store keeps it, and the views that are read from it: the worker's, the parent's, the waiter's.

use serde::{Deserialize, Serialize};

use super::{DeadLetter, ExecutionView, Expired, ItemView, RunningView, SummaryView, TaskView};
use crate::Timestamp;
use crate::ledger::{Insert, Row, Update};
use crate::model::{ExecutionStatus, Mark, NewTask, Progress, Step, StepKind, Task, TaskResult, TaskStatus};

/// One task as a store keeps it. This type decides which fields a reader sees, and under which status; how the fields are
/// stored is up to the store.
///
/// A store that keeps tasks as documents keeps this; its serde form is meant for that, and is stable within a major version. A
/// store with its own columns fills this type from them, or does the same in its queries.
///
/// | Field | Is written | By |
/// |---|---|---|
/// | `task` | once, except `task.retry` and `task.lane.queue` | [`Insert::task`]; [`Update::retry`], [`Update::queue`] |
/// | `row` | as a whole, whenever it changes | [`Insert::row`], [`Update::row`] |
/// | `created_at` | once | [`Insert::created_at`] |
/// | `result` | when there is a result | [`Insert::result`], [`Update::result`], [`Writes::copy`](crate::ledger::Writes::copy) |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredTask {
    /// The constant part, except `retry` and the queue of its lane. Its `state`, `attempts`, `failure`, `keyed` and `expires_at` say how the task began:
    /// the row has the current values, and these are not read again.
    pub task: NewTask,
    /// The variable part.
    pub row: Row,
    /// When it was written.
    pub created_at: Timestamp,
    /// The result, or the last failure of a task that is retried.
    pub result: Option<TaskResult>,
}

impl StoredTask {
    /// A task from its insert.
    #[must_use]
    pub fn of(insert: Insert<'_>) -> Self {
        Self {
            task: insert.task.clone(),
            row: insert.row,
            created_at: insert.created_at,
            result: insert.result.map(crate::ledger::Written::into_result),
        }
    }

    /// Applies an update. Fields that the update does not name do not change.
    pub fn update(&mut self, update: Update<'_>) {
        self.row = update.row;
        if let Some(result) = update.result {
            self.result = Some(result.into_result());
        }
        if let Some(retry) = update.retry {
            self.task.retry = Some(retry.clone());
        }
        if let Some(queue) = update.queue {
            queue.clone_into(&mut self.task.lane.queue);
        }
    }

    /// Whether it is the root of an execution. A step's id has the same form, but names no execution.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.row.tree.parent.is_none()
    }

    /// Whether a worker may take it, now or later; [`Row::ready_at`] says whether it is due. Sleeps, closures, maps and waits
    /// cannot be claimed; tasks that were asked to end, or whose deadline has passed, do not start again (G15).
    #[must_use]
    pub fn is_claimable(&self, now: Timestamp) -> bool {
        self.row.kind == StepKind::Call
            && !self.row.status.is_terminal()
            && !self.row.marks.contains(Mark::Cancel)
            && self.row.expires_at.is_none_or(|expires_at| now < expires_at)
    }

    /// Whether it is the root of an execution that failed for good, and that nobody has redriven or discarded yet.
    #[must_use]
    pub fn is_dead_letter(&self) -> bool {
        self.row.is_dead_letter()
    }

    /// For a map, its progress.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        self.row.map_progress()
    }

    /// The result of a task that has ended with one; the failure of an attempt that is retried is no result.
    #[must_use]
    pub const fn final_result(&self) -> Option<&TaskResult> {
        match self.row.status {
            TaskStatus::Completed | TaskStatus::Failed => self.result.as_ref(),
            TaskStatus::Pending | TaskStatus::Running | TaskStatus::Waiting | TaskStatus::Cancelled => None,
        }
    }

    /// The view of the worker that has claimed it.
    #[must_use]
    pub fn to_task(&self) -> Task {
        Task {
            id: self.row.id,
            tree: self.task.tree,
            seq: self.task.seq,
            kind: self.task.kind,
            lane: self.task.lane.clone(),
            priority: self.task.priority,
            args: self.task.args.clone(),
            retry: self.task.retry.clone(),
            status: self.row.status,
            epoch: self.row.epoch,
            uncommitted_claims: self.row.uncommitted_claims,
            attempts: self.row.attempts,
            crashes: self.row.crashes,
            releases: self.row.releases,
            done: self.row.done,
            noted: self.row.noted,
            marks: self.row.marks,
            key: self.row.key,
            expires_at: self.row.expires_at,
            trace: self.task.trace.clone(),
            created_at: self.created_at,
            started_at: self.row.started_at,
            ended_at: self.row.ended_at,
        }
    }

    /// The view of its parent.
    #[must_use]
    pub fn to_step(&self) -> Step {
        self.row.to_step(self.task.seq, self.task.lane.function.clone(), self.final_result().cloned())
    }

    /// The view of a waiter for the execution. `None` for a task that is not a root.
    #[must_use]
    pub fn to_execution(&self) -> Option<ExecutionView> {
        let row = &self.row;
        self.is_root().then(|| ExecutionView {
            id: row.tree.execution,
            function: self.task.lane.function.clone(),
            queue: self.task.lane.queue.clone(),
            tags: self.task.lane.tags.clone(),
            priority: self.task.priority,
            status: ExecutionStatus::of_root(row.status, row.started_at.is_some(), row.marks),
            attempts: row.attempts,
            expires_at: row.expires_at,
            result: self.final_result().cloned(),
            created_at: self.created_at,
            started_at: row.started_at,
            ended_at: row.ended_at,
        })
    }

    /// The view of a reader of the timeline.
    #[must_use]
    pub fn to_view(&self) -> TaskView {
        let row = &self.row;
        let failure = self.result.as_ref().and_then(|result| result.as_ref().err());
        TaskView {
            id: row.id,
            parent: row.tree.parent,
            seq: self.task.seq,
            kind: row.kind,
            name: self.task.lane.function.clone(),
            status: row.status,
            marks: row.marks,
            attempts: row.attempts,
            crashes: row.crashes,
            releases: row.releases,
            map: self.progress(),
            done_order: row.done_order,
            failure: failure.map(|failure| failure.message.clone()),
            // The end of a lease is not a moment that the task waits for.
            ready_at: row.ready_at.filter(|_| row.status != TaskStatus::Running),
            created_at: self.created_at,
            started_at: row.started_at,
            ended_at: row.ended_at,
        }
    }

    /// The view as an item of its map.
    #[must_use]
    pub fn to_item(&self) -> ItemView {
        ItemView {
            seq: self.task.seq,
            status: self.row.status,
            args: self.task.args.clone(),
            result: self.final_result().cloned(),
        }
    }

    /// The view as a task under a lease.
    #[must_use]
    pub fn to_running(&self) -> RunningView {
        let row = &self.row;
        RunningView {
            id: row.id,
            execution: row.tree.execution,
            function: self.task.lane.function.clone(),
            queue: self.task.lane.queue.clone(),
            worker: row.worker,
            lease_until: row.ready_at,
            started_at: row.started_at,
        }
    }

    /// The view as a [dead letter](Self::is_dead_letter), if it is one.
    #[must_use]
    pub fn to_dead_letter(&self) -> Option<DeadLetter> {
        let row = &self.row;
        Some(DeadLetter {
            execution: self.to_execution().filter(|_| self.is_dead_letter())?,
            args: self.task.args.clone(),
            retry: self.task.retry.clone(),
            attempts: row.attempts,
            crashes: row.crashes,
            releases: row.releases,
        })
    }

    /// The view of a caller that ends the task because of its deadline; the store checks that the deadline has passed.
    /// `None` if it has no deadline.
    #[must_use]
    pub fn to_expired(&self) -> Option<Expired> {
        let row = &self.row;
        Some(Expired { task: row.id, tree: row.tree, key: row.key, expires_at: row.expires_at? })
    }

    /// A summary that counts this task alone.
    #[must_use]
    pub fn to_summary(&self) -> SummaryView {
        let (kind, name) = (self.row.kind, self.task.lane.function.clone());
        SummaryView { kind, name, status: self.row.status, count: 1 }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::{Lane, Marks, NewTaskState, Seq, Tree};
    use crate::{Failure, Payload, TaskId};

    fn record() -> StoredTask {
        let id = TaskId::from_uuid(Uuid::from_u128(7));
        let task = NewTask {
            id,
            tree: Tree::root(id.execution()),
            seq: Seq(0),
            kind: StepKind::Call,
            lane: Lane::new("default", "charge"),
            priority: 0,
            args: Payload::new("application/json", b"1".to_vec()),
            retry: None,
            attempts: 0,
            failure: None,
            keyed: None,
            expires_at: None,
            trace: None,
            digest: None,
            state: NewTaskState::Pending { ready_at: Timestamp::EPOCH },
        };
        let row = Row { ready_at: Some(Timestamp::EPOCH), ..Row::new(id, task.tree, task.kind) };
        StoredTask { task, row, created_at: Timestamp::EPOCH, result: None }
    }

    #[test]
    fn what_an_update_does_not_name_stays() {
        let failure = Failure::new("ChargeError", "declined");
        let mut record = StoredTask { result: Some(Err(failure.clone())), ..record() };
        let row = Row { attempts: 1, ..record.row.clone() };

        record.update(Update { row: row.clone(), result: None, retry: None, queue: None });

        assert_eq!(record, StoredTask { row, result: Some(Err(failure)), ..self::record() });
    }

    #[test]
    fn the_failure_of_an_attempt_is_no_result() {
        let mut record =
            StoredTask { result: Some(Err(Failure::new("ChargeError", "declined"))), ..record() };
        assert_eq!(record.final_result(), None);
        assert_eq!(record.to_view().failure.as_deref(), Some("declined"));

        record.row.status = TaskStatus::Failed;
        assert!(record.final_result().is_some() && record.is_dead_letter());
    }

    #[test]
    fn the_end_of_a_lease_is_not_waited_for() {
        let mut record = record();
        record.row.status = TaskStatus::Running;
        assert_eq!(record.to_view().ready_at, None);
        assert_eq!(record.to_running().lease_until, Some(Timestamp::EPOCH));
    }

    #[test]
    fn what_is_asked_to_end_or_over_is_not_claimable() {
        let now = Timestamp::from_micros(5);
        let with = |change: fn(&mut Row)| {
            let mut record = record();
            change(&mut record.row);
            record.is_claimable(now)
        };
        assert!(with(|_| {}));
        assert!(with(|row| row.expires_at = Some(Timestamp::from_micros(6))));
        assert!(!with(|row| row.expires_at = Some(Timestamp::from_micros(5))));
        assert!(!with(|row| row.marks = Marks::of(Mark::Cancel)));
        assert!(!with(|row| row.kind = StepKind::Sleep));
        assert!(!with(|row| row.status = TaskStatus::Completed));
    }

    #[test]
    fn what_was_asked_to_end_is_so_whatever_other_mark_it_has() {
        for other in Mark::ALL {
            let mut record = record();
            record.row.marks = Marks::of(*other).with(Mark::Cancel);
            assert!(!record.is_claimable(Timestamp::EPOCH) && record.row.is_stopping(), "{other}");
            assert_eq!(record.to_execution().map(|view| view.status), Some(ExecutionStatus::Cancelling));
            record.row.status = TaskStatus::Failed;
            assert!(!record.is_dead_letter() && !record.row.is_stopping(), "{other}");
            let stored = serde_json::to_value(&record).expect("encodes");
            assert_eq!(serde_json::from_value::<StoredTask>(stored).expect("decodes"), record);
        }
    }

    #[test]
    fn its_stored_form_is_fixed() {
        let id = "00000000-0000-0000-0000-000000000007";
        let mut stored = serde_json::json!({
            "task": {
                "id": id, "tree": { "execution": id, "parent": null, "owner": null }, "seq": 0, "kind": "call",
                "lane": { "queue": "default", "function": "charge", "tags": [] }, "priority": 0,
                "args": { "content_type": "application/json", "bytes": [49] }, "retry": null, "attempts": 0,
                "failure": null, "keyed": null, "expires_at": null, "trace": null,
                "digest": null, "state": { "pending": { "ready_at": 0 } },
            },
            "row": {
                "id": id, "tree": { "execution": id, "parent": null, "owner": null }, "kind": "call",
                "status": "pending", "epoch": 0, "tries": 0, "attempts": 0, "crashes": 0, "releases": 0, "commit": 0,
                "commit_epoch": 0, "ready_at": 0, "worker": null, "done": 0, "wake_at": null, "done_order": null,
                "fed": 0, "total": null, "digest": null, "noted": 0, "mark": null, "key": null, "expires_at": null, "slot": null,
                "started_at": null, "ended_at": null,
            },
            "created_at": 0,
            "result": null,
        });
        assert_eq!(serde_json::to_value(record()).expect("encodes"), stored);
        assert_eq!(serde_json::from_value::<StoredTask>(stored.clone()).expect("decodes"), record());

        // Written before there were digests, and without a field for no mark.
        for part in ["task", "row"] {
            stored[part].as_object_mut().expect("an object").remove("digest");
        }
        stored["row"].as_object_mut().expect("an object").remove("mark");
        assert_eq!(serde_json::from_value::<StoredTask>(stored).expect("decodes"), record());
    }
}
