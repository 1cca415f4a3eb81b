//! Reads: which records, in which order, and how many.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound;

use stent_core::backend::{
    DeadLetter, DeadLetterStat, ExecutionView, Filter, ItemView, LaneView, NotesView, RunningView,
    StoredTask, TaskView, tally,
};
use stent_core::limits::{LOOKUP_MAX, PAGE_MAX};
use stent_core::model::{
    EndedClaim, ExecutionStatus, KeyEntry, KeyEntryKind, Seq, StepKind, TaskStatus, WorkerRecord,
};
use stent_core::{ExecutionId, Key, Payload, TaskId, Timestamp, WorkerId};

use crate::records::Records;

impl Records {
    pub(crate) fn executions(&self, ids: &[ExecutionId]) -> Vec<ExecutionView> {
        let looked_at = ids.iter().take(LOOKUP_MAX);
        looked_at.filter_map(|id| self.tasks.get(&id.root())).filter_map(StoredTask::to_execution).collect()
    }

    pub(crate) fn tasks(&self, execution: ExecutionId, after: Option<TaskId>, max: usize) -> Vec<TaskView> {
        self.stored(execution, after, max).map(StoredTask::to_view).collect()
    }

    pub(crate) fn stored(
        &self,
        execution: ExecutionId,
        after: Option<TaskId>,
        max: usize,
    ) -> impl Iterator<Item = &StoredTask> {
        self.tasks
            .values()
            .filter(move |record| record.task.tree.execution == execution)
            .filter(move |record| after.is_none_or(|after| record.row.id > after))
            .take(max.min(PAGE_MAX))
    }

    pub(crate) fn entries_of(&self, execution: ExecutionId, after: Option<Key>, max: usize) -> Vec<KeyEntry> {
        let entries = self.key_entries.values().filter(|entry| entry.execution == execution);
        let open = entries.filter(|entry| entry.goes_with_execution());
        open.filter(|entry| Some(entry.key) > after).take(max.min(PAGE_MAX)).cloned().collect()
    }

    pub(crate) fn items(&self, map: TaskId, from: Seq, max: usize) -> Vec<ItemView> {
        self.below_from(map, from).take(max.min(PAGE_MAX)).map(StoredTask::to_item).collect()
    }

    pub(crate) fn args(&self, task: TaskId) -> Option<Payload> {
        self.tasks.get(&task).map(|record| record.task.args.clone())
    }

    pub(crate) fn list(
        &self,
        filter: &Filter,
        before: Option<ExecutionId>,
        max: usize,
    ) -> Vec<ExecutionView> {
        let dispatched = filter.key.map(|key| self.dispatched_under(key));
        let views = self
            .roots_before(before)
            .filter_map(StoredTask::to_execution)
            .filter(|view| dispatched.is_none_or(|execution| execution == Some(view.id)))
            .filter(|view| filter.matches(view));
        views.take(max.min(PAGE_MAX)).collect()
    }

    pub(crate) fn count(&self, max: usize) -> BTreeMap<ExecutionStatus, u64> {
        tally(self.tasks.values().filter_map(StoredTask::to_execution).map(|view| view.status), max)
    }

    pub(crate) fn lanes(&self, now: Timestamp, max: usize) -> Vec<LaneView> {
        let mut lanes = BTreeMap::new();
        for record in self.tasks.values().filter(|record| record.task.kind == StepKind::Call) {
            let lane = &record.task.lane;
            let empty = || LaneView::new(lane.clone());
            match (record.row.status, record.row.ready_at) {
                (TaskStatus::Pending | TaskStatus::Waiting, Some(ready_at)) if ready_at <= now => {
                    let view = lanes.entry(lane).or_insert_with(empty);
                    view.due += 1;
                    view.oldest_due_at =
                        Some(view.oldest_due_at.map_or(ready_at, |oldest| oldest.min(ready_at)));
                }
                (TaskStatus::Pending, Some(_)) => lanes.entry(lane).or_insert_with(empty).delayed += 1,
                _ => {}
            }
        }
        LaneView::page(lanes.into_values().collect(), max)
    }

    pub(crate) fn running(&self, max: usize) -> Vec<RunningView> {
        let running = self.tasks.values().filter(|record| record.row.status == TaskStatus::Running);
        let mut views: Vec<_> = running.map(StoredTask::to_running).collect();
        views.sort_by_key(|view| (Reverse(view.lease_until), Reverse(view.id)));
        views.truncate(max.min(PAGE_MAX));
        views
    }

    pub(crate) fn ended_claims(&self, task: TaskId) -> Vec<EndedClaim> {
        self.ended_claims.get(&task).into_iter().flatten().take(PAGE_MAX).cloned().collect()
    }

    pub(crate) fn notes(&self, execution: ExecutionId) -> NotesView {
        self.notes.get(&execution).map(super::notes::Notes::as_view).unwrap_or_default().page()
    }

    pub(crate) fn dead_letters(&self, before: Option<ExecutionId>, max: usize) -> Vec<DeadLetter> {
        self.roots_before(before).filter_map(StoredTask::to_dead_letter).take(max.min(PAGE_MAX)).collect()
    }

    pub(crate) fn dead_letter(&self, execution: ExecutionId) -> Option<DeadLetter> {
        self.tasks.get(&execution.root())?.to_dead_letter()
    }

    pub(crate) fn dead_letter_stats(&self, max: usize) -> Vec<DeadLetterStat> {
        let mut counts = BTreeMap::new();
        for letter in self.tasks.values().filter_map(StoredTask::to_dead_letter) {
            let reason = letter
                .execution
                .result
                .and_then(Result::err)
                .map_or_else(String::new, |failure| failure.kind.into());
            *counts.entry((reason, letter.execution.function)).or_default() += 1;
        }
        let stats = counts
            .into_iter()
            .map(|((reason, function), count)| DeadLetterStat::new(reason, function, count));
        DeadLetterStat::page(stats.collect(), max)
    }

    pub(crate) fn workers(&self, after: Option<WorkerId>, max: usize) -> Vec<WorkerRecord> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let workers = self.workers.range((from, Bound::Unbounded)).map(|(_, worker)| worker);
        workers.take(max.min(PAGE_MAX)).cloned().collect()
    }

    /// The execution that was dispatched under a key.
    fn dispatched_under(&self, key: Key) -> Option<ExecutionId> {
        let entry = self.key_entries.get(&key).filter(|entry| entry.kind == KeyEntryKind::Dispatch)?;
        Some(entry.execution)
    }

    /// Roots of executions, newest first.
    fn roots_before(&self, before: Option<ExecutionId>) -> impl Iterator<Item = &StoredTask> {
        self.tasks
            .values()
            .rev()
            .filter(|record| record.is_root())
            .filter(move |record| before.is_none_or(|before| record.row.id < before.root()))
    }
}
