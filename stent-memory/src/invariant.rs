//! Invariants that hold between two calls, whatever was asked for. Debug builds check them after each call.

use stent_core::TaskId;
use stent_core::backend::StoredTask;
use stent_core::model::{KeyEntry, KeyEntryKind, Mark, NewTaskState, StepKind, TaskStatus};

use crate::records::Records;

impl Records {
    /// Panics if an invariant does not hold. The suite, the model and the simulation run this after every call.
    pub(crate) fn check(&self) {
        self.key_entries.values().for_each(|key_entry| self.check_entry(key_entry));
        for record in self.tasks.values() {
            if record.row.status.is_terminal() {
                Self::check_ended(record);
            } else {
                self.check_open(record);
            }
        }
        let roots =
            self.tasks.values().filter(|record| record.row.tree.parent.is_none() && record.row.is_stopping());
        for root in roots {
            let execution = root.row.tree.execution;
            let runs = |record: &StoredTask| record.row.status == TaskStatus::Running;
            let any = runs(root) || self.below_root(execution).any(runs);
            assert!(any, "{execution} was asked to end and has no running task, but has not ended (G15)");
        }
    }

    fn check_entry(&self, key_entry: &KeyEntry) {
        if key_entry.kind == KeyEntryKind::Result && key_entry.value.is_none() {
            let holder = key_entry.holder.filter(|holder| self.is_open(*holder));
            assert!(
                holder.is_some(),
                "the key {} without a result has an open holder (G12): {key_entry:?}",
                key_entry.key
            );
        }
    }

    fn check_ended(record: &StoredTask) {
        let row = &record.row;
        assert!(
            row.ready_at.is_none() && row.worker.is_none() && row.limit_key.is_none(),
            "an ended task has no due moment, worker or slot: {row:?}"
        );
        assert!(row.ended_at.is_some(), "an ended task has the moment of its end: {row:?}");
    }

    fn check_open(&self, record: &StoredTask) {
        let row = &record.row;
        let runs = row.status == TaskStatus::Running;
        assert_eq!(row.worker.is_some(), runs, "the running tasks are those with a worker: {row:?}");
        assert!(runs || row.limit_key.is_none(), "only a running task has a slot: {row:?} (G8)");
        assert!(!runs || row.ready_at.is_some(), "a running task has the end of its lease: {row:?} (G2)");
        if let Some(parent) = row.tree.parent.and_then(|parent| self.tasks.get(&parent)) {
            // Running tasks of an execution that was asked to end may still clean up.
            let given_up =
                parent.row.status == TaskStatus::Cancelled || parent.row.marks.contains(Mark::Expire);
            assert!(
                !given_up || row.is_stopping(),
                "a task below one that was given up is stopping: {row:?} below {:?} (G15)",
                parent.row
            );
        }
        match (row.kind, &record.task.state) {
            (StepKind::Signal, _) => {
                let value = row
                    .key
                    .and_then(|key| self.key_entries.get(&key))
                    .and_then(|key_entry| key_entry.value.as_ref());
                assert!(value.is_none(), "a wait takes a signal value that is there: {row:?} (G11)");
            }
            (StepKind::Join, NewTaskState::Join { execution }) => {
                assert!(self.is_open(execution.root()), "an open join waits for an open execution: {row:?}");
            }
            (StepKind::Map | StepKind::Gather, _) => {
                assert!(row.total != Some(row.done), "an open map has open items: {row:?}");
            }
            (StepKind::Call, _) if row.waits_for_key() && !row.is_stopping() => {
                let key_entry = row.key.and_then(|key| self.key_entries.get(&key));
                let holder = key_entry
                    .filter(|key_entry| key_entry.value.is_none())
                    .and_then(|key_entry| key_entry.holder);
                assert!(
                    holder.is_some_and(|holder| holder != row.id),
                    "a task that waits for a key waits for \
                                                                        another holder: {row:?} (G12)"
                );
            }
            (StepKind::Call, _) if row.status == TaskStatus::Waiting && !row.is_stopping() => {
                let reached = row.wake_threshold.is_some_and(|wake_at| row.done >= wake_at);
                assert!(
                    !reached || row.ready_at.is_some(),
                    "a task whose wait is satisfied is due: {row:?} (G5)"
                );
            }
            _ => {}
        }
    }

    fn is_open(&self, task: TaskId) -> bool {
        self.tasks.get(&task).is_some_and(|record| !record.row.status.is_terminal())
    }
}
