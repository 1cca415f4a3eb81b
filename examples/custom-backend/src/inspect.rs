//! Reads: pages of the data that was last read from the file. No read locks or writes.

use std::collections::BTreeMap;

use async_trait::async_trait;
use stent_core::backend::{
    DeadLetter, DeadLetterStat, ExecutionView, Filter, Inspect, ItemView, LaneView, NotesView, Reads, Result,
    RunningView, StoredTask, TaskView, tally,
};
use stent_core::limits::{LOOKUP_MAX, PAGE_MAX};
use stent_core::model::{
    EndedClaim, ExecutionStatus, KeyEntry, KeyEntryKind, Lane, Seq, Step, StepKind, TaskStatus, WorkerRecord,
};
use stent_core::{ExecutionId, Key, Payload, TaskId, Timestamp, WorkerId};

use crate::JsonStore;
use crate::data::Data;

#[async_trait]
impl Reads for JsonStore {
    async fn executions(&self, ids: &[ExecutionId]) -> Result<Vec<ExecutionView>> {
        let data = self.data("executions")?;
        let ids = ids.iter().take(LOOKUP_MAX);
        Ok(ids.filter_map(|id| data.tasks.get(&id.root())?.to_execution()).collect())
    }

    async fn items(&self, map: TaskId, from: Seq, max: usize) -> Result<Vec<ItemView>> {
        let data = self.data("items")?;
        let items = data.below(map).into_iter().filter(|record| record.task.seq >= from);
        Ok(page(items.map(StoredTask::to_item), max))
    }

    async fn args(&self, task: TaskId) -> Result<Option<Payload>> {
        Ok(self.data("args")?.tasks.get(&task).map(|record| record.task.args.clone()))
    }

    async fn completions(&self, seen: &[(TaskId, u32)]) -> Result<Vec<(TaskId, Vec<Step>)>> {
        let data = self.data("completions")?;
        Ok(seen.iter().take(LOOKUP_MAX).map(|(task, seen)| (*task, data.news(*task, *seen))).collect())
    }
}

#[async_trait]
impl Inspect for JsonStore {
    async fn tasks(
        &self,
        execution: ExecutionId,
        after: Option<TaskId>,
        max: usize,
    ) -> Result<Vec<TaskView>> {
        let data = self.data("tasks")?;
        let tasks = data.of(execution).filter(|record| Some(record.row.id) > after);
        Ok(page(tasks.map(StoredTask::to_view), max))
    }

    async fn stored(
        &self,
        execution: ExecutionId,
        after: Option<TaskId>,
        max: usize,
    ) -> Result<Vec<StoredTask>> {
        let data = self.data("stored")?;
        Ok(page(data.of(execution).filter(|record| Some(record.row.id) > after).cloned(), max))
    }

    async fn key_entries(
        &self,
        execution: ExecutionId,
        after: Option<Key>,
        max: usize,
    ) -> Result<Vec<KeyEntry>> {
        let data = self.data("key entries")?;
        let entries = data.key_entries.values().filter(|entry| entry.execution == execution);
        let open = entries.filter(|entry| entry.goes_with_execution());
        Ok(page(open.filter(|entry| Some(entry.key) > after).cloned(), max))
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<ExecutionId>,
        max: usize,
    ) -> Result<Vec<ExecutionView>> {
        Ok(list(&*self.data("list")?, filter, before, max))
    }

    async fn count(&self, max: usize) -> Result<BTreeMap<ExecutionStatus, u64>> {
        let data = self.data("count")?;
        let executions = data.tasks.values().filter_map(StoredTask::to_execution);
        Ok(tally(executions.map(|view| view.status), max))
    }

    async fn lanes(&self, now: Timestamp, max: usize) -> Result<Vec<LaneView>> {
        let data = self.data("lanes")?;
        let mut lanes: BTreeMap<&Lane, LaneView> = BTreeMap::new();
        for record in data.tasks.values().filter(|record| record.row.kind == StepKind::Call) {
            let lane = &record.task.lane;
            let none = || LaneView::new(lane.clone());
            match (record.row.status, record.row.ready_at) {
                (TaskStatus::Pending | TaskStatus::Waiting, Some(due_at)) if due_at <= now => {
                    let view = lanes.entry(lane).or_insert_with(none);
                    view.due += 1;
                    view.oldest_due_at = view.oldest_due_at.into_iter().chain([due_at]).min();
                }
                (TaskStatus::Pending, Some(_)) => lanes.entry(lane).or_insert_with(none).delayed += 1,
                _ => {}
            }
        }
        Ok(LaneView::page(lanes.into_values().collect(), max))
    }

    async fn running(&self, max: usize) -> Result<Vec<RunningView>> {
        let data = self.data("running")?;
        let running = data.tasks.values().filter(|record| record.row.status == TaskStatus::Running);
        let mut running: Vec<_> = running.map(StoredTask::to_running).collect();
        running.sort_by_key(|view| std::cmp::Reverse((view.lease_until, view.id)));
        Ok(page(running, max))
    }

    async fn ended_claims(&self, task: TaskId) -> Result<Vec<EndedClaim>> {
        let data = self.data("ended claims")?;
        Ok(page(data.ended_claims.get(&task).into_iter().flatten().cloned(), PAGE_MAX))
    }

    async fn notes(&self, execution: ExecutionId) -> Result<NotesView> {
        Ok(self.data("notes")?.notes.get(&execution).cloned().unwrap_or_default().page())
    }

    async fn dead_letters(&self, before: Option<ExecutionId>, max: usize) -> Result<Vec<DeadLetter>> {
        let data = self.data("dead_letters")?;
        let letters = data.tasks.values().rev().filter_map(StoredTask::to_dead_letter);
        Ok(page(letters.filter(|letter| before.is_none_or(|before| letter.execution.id < before)), max))
    }

    async fn dead_letter(&self, execution: ExecutionId) -> Result<Option<DeadLetter>> {
        Ok(self.data("dead_letter")?.tasks.get(&execution.root()).and_then(StoredTask::to_dead_letter))
    }

    async fn dead_letter_stats(&self, max: usize) -> Result<Vec<DeadLetterStat>> {
        let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
        for letter in self.data("dead_letter_stats")?.tasks.values().filter_map(StoredTask::to_dead_letter) {
            if let Some(Err(failure)) = letter.execution.result {
                *counts.entry((failure.kind.into(), letter.execution.function)).or_default() += 1;
            }
        }
        let stats = counts.into_iter();
        let stats = stats.map(|((reason, function), count)| DeadLetterStat::new(reason, function, count));
        Ok(DeadLetterStat::page(stats.collect(), max))
    }

    async fn workers(&self, after: Option<WorkerId>, max: usize) -> Result<Vec<WorkerRecord>> {
        let data = self.data("workers")?;
        let workers = data.workers.values().filter(|worker| after.is_none_or(|after| worker.id > after));
        Ok(page(workers.cloned(), max))
    }
}

/// The first results, as many as a page holds.
fn page<T>(found: impl IntoIterator<Item = T>, max: usize) -> Vec<T> {
    found.into_iter().take(max.min(PAGE_MAX)).collect()
}

/// A page of a list, newest first.
fn list(data: &Data, filter: &Filter, before: Option<ExecutionId>, max: usize) -> Vec<ExecutionView> {
    let is_under = |key: Key, id: ExecutionId| {
        let entry = data.key_entries.get(&key).filter(|entry| entry.kind == KeyEntryKind::Dispatch);
        entry.is_some_and(|entry| entry.execution == id)
    };
    let fits = |view: &ExecutionView| {
        before.is_none_or(|before| view.id < before)
            && filter.matches(view)
            && filter.key.is_none_or(|key| is_under(key, view.id))
    };
    page(data.tasks.values().rev().filter_map(StoredTask::to_execution).filter(fits), max)
}
