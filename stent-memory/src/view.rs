//! Records in a reader's terms: a worker's, a parent's, a waiter's.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use stent_core::backend::{
    DeadLetter, DeadLetterStat, ExecutionView, Filter, ItemView, LaneView, NotesView, RunningView,
    SummaryView, TaskView,
};
use stent_core::limits::{LOOKUP_MAX, PAGE_MAX};
use stent_core::model::{
    ExecutionStatus, Progress, Seq, Step, StepKind, StepState, Task, TaskResult, TaskStatus, Tried,
};
use stent_core::{ExecutionId, Payload, TaskId, Timestamp};

use crate::records::{Record, Records};

impl Records {
    pub(crate) fn executions(&self, ids: &[ExecutionId]) -> Vec<ExecutionView> {
        let looked_at = ids.iter().take(LOOKUP_MAX);
        looked_at.filter_map(|id| self.tasks.get(&id.root())).filter_map(Record::as_execution).collect()
    }

    pub(crate) fn tasks(&self, execution: ExecutionId, after: Option<TaskId>, max: usize) -> Vec<TaskView> {
        self.tasks
            .values()
            .filter(|record| record.task.tree.execution == execution)
            .filter(|record| after.is_none_or(|after| record.row.id > after))
            .take(max.min(PAGE_MAX))
            .map(Record::as_view)
            .collect()
    }

    pub(crate) fn items(&self, map: TaskId, from: Seq, max: usize) -> Vec<ItemView> {
        self.below_from(map, from).take(max.min(PAGE_MAX)).map(Record::as_item).collect()
    }

    pub(crate) fn list(
        &self,
        filter: &Filter,
        before: Option<ExecutionId>,
        max: usize,
    ) -> Vec<ExecutionView> {
        let fits = |view: &ExecutionView| {
            filter.status.is_none_or(|status| view.status == status)
                && filter.function.as_ref().is_none_or(|function| view.function == *function)
                && filter.queue.as_ref().is_none_or(|queue| view.queue == *queue)
                && filter.tag.as_ref().is_none_or(|tag| view.tags.contains(tag))
        };
        let views = self.roots_before(before).filter_map(Record::as_execution).filter(fits);
        views.take(max.min(PAGE_MAX)).collect()
    }

    pub(crate) fn count(&self) -> BTreeMap<ExecutionStatus, u64> {
        let mut counts = BTreeMap::new();
        for view in self.tasks.values().filter_map(Record::as_execution) {
            *counts.entry(view.status).or_default() += 1;
        }
        counts
    }

    pub(crate) fn lanes(&self, now: Timestamp) -> Vec<LaneView> {
        let mut lanes = BTreeMap::new();
        for record in self.tasks.values().filter(|record| record.task.kind == StepKind::Call) {
            let lane = &record.task.lane;
            let empty = || LaneView { lane: lane.clone(), due: 0, delayed: 0, oldest_due_at: None };
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
        lanes.into_values().collect()
    }

    pub(crate) fn running(&self, max: usize) -> Vec<RunningView> {
        let running = self.tasks.values().filter(|record| record.row.status == TaskStatus::Running);
        let mut views: Vec<_> = running.map(Record::as_running).collect();
        views.sort_by_key(|view| (Reverse(view.lease_until), Reverse(view.id)));
        views.truncate(max.min(PAGE_MAX));
        views
    }

    pub(crate) fn tries(&self, task: TaskId) -> Vec<Tried> {
        self.tries.get(&task).into_iter().flatten().take(PAGE_MAX).cloned().collect()
    }

    pub(crate) fn notes(&self, execution: ExecutionId) -> NotesView {
        self.notes.get(&execution).map(super::notes::Notes::as_view).unwrap_or_default()
    }

    pub(crate) fn dead_letters(&self, before: Option<ExecutionId>, max: usize) -> Vec<DeadLetter> {
        self.roots_before(before).filter_map(Record::as_dead_letter).take(max.min(PAGE_MAX)).collect()
    }

    pub(crate) fn dead_letter(&self, execution: ExecutionId) -> Option<DeadLetter> {
        self.tasks.get(&execution.root())?.as_dead_letter()
    }

    pub(crate) fn dead_letter_stats(&self) -> Vec<DeadLetterStat> {
        let mut counts = BTreeMap::new();
        for letter in self.tasks.values().filter_map(Record::as_dead_letter) {
            let reason = letter
                .execution
                .result
                .and_then(Result::err)
                .map_or_else(String::new, |failure| failure.kind);
            *counts.entry((reason, letter.execution.function)).or_default() += 1;
        }
        counts
            .into_iter()
            .map(|((reason, function), count)| DeadLetterStat { reason, function, count })
            .collect()
    }

    /// Roots of executions, newest first.
    fn roots_before(&self, before: Option<ExecutionId>) -> impl Iterator<Item = &Record> {
        self.tasks
            .values()
            .rev()
            .filter(|record| record.row.tree.parent.is_none())
            .filter(move |record| before.is_none_or(|before| record.row.id < before.root()))
    }
}

impl Record {
    pub(crate) fn as_task(&self) -> Task {
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
            tries: self.row.tries,
            attempts: self.row.attempts,
            crashes: self.row.crashes,
            releases: self.row.releases,
            done: self.row.done,
            noted: self.row.noted,
            mark: self.row.mark,
            key: self.row.key,
            expires_at: self.row.expires_at,
            trace: self.task.trace.clone(),
            created_at: self.created_at,
            started_at: self.row.started_at,
            ended_at: self.row.ended_at,
        }
    }

    pub(crate) fn as_step(&self) -> Step {
        let row = &self.row;
        let state = match (row.status, row.done_order, row.ended_at) {
            (TaskStatus::Cancelled, ..) => StepState::Cancelled,
            (TaskStatus::Completed | TaskStatus::Failed, Some(order), Some(at)) => {
                // A sleep and a map end without a result of their own.
                let result = self.result.clone().unwrap_or(Ok(Payload::empty()));
                StepState::Done { order, at, result }
            }
            _ => StepState::Open { due: row.ready_at.filter(|_| row.kind == StepKind::Sleep) },
        };
        Step {
            id: row.id,
            seq: self.task.seq,
            kind: row.kind,
            name: self.task.lane.function.clone(),
            state,
            map: self.progress(),
        }
    }

    /// None for a task that is not the root of an execution.
    fn as_execution(&self) -> Option<ExecutionView> {
        let row = &self.row;
        self.task.tree.parent.is_none().then(|| ExecutionView {
            id: row.tree.execution,
            function: self.task.lane.function.clone(),
            queue: self.task.lane.queue.clone(),
            tags: self.task.lane.tags.clone(),
            priority: self.task.priority,
            status: ExecutionStatus::of_root(row.status, row.started_at.is_some(), row.mark),
            attempts: row.attempts,
            expires_at: row.expires_at,
            result: self.final_result(),
            created_at: self.created_at,
            started_at: row.started_at,
            ended_at: row.ended_at,
        })
    }

    fn as_view(&self) -> TaskView {
        let row = &self.row;
        TaskView {
            id: row.id,
            parent: row.tree.parent,
            seq: self.task.seq,
            kind: row.kind,
            name: self.task.lane.function.clone(),
            status: row.status,
            mark: row.mark,
            attempts: row.attempts,
            crashes: row.crashes,
            releases: row.releases,
            map: self.progress(),
            done_order: row.done_order,
            failure: self
                .result
                .as_ref()
                .and_then(|result| result.as_ref().err())
                .map(|failure| failure.message.clone()),
            // The end of a lease is no moment that the task waits for.
            ready_at: row.ready_at.filter(|_| row.status != TaskStatus::Running),
            created_at: self.created_at,
            started_at: row.started_at,
            ended_at: row.ended_at,
        }
    }

    fn as_running(&self) -> RunningView {
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

    fn as_dead_letter(&self) -> Option<DeadLetter> {
        let row = &self.row;
        Some(DeadLetter {
            execution: self.as_execution().filter(|_| self.is_dead_letter())?,
            args: self.task.args.clone(),
            retry: self.task.retry.clone(),
            attempts: row.attempts,
            crashes: row.crashes,
            releases: row.releases,
        })
    }

    /// It alone, as one of those that are alike.
    pub(crate) fn as_summary(&self) -> SummaryView {
        let (kind, name) = (self.row.kind, self.task.lane.function.clone());
        SummaryView { kind, name, status: self.row.status, count: 1 }
    }

    /// For a map, how far it has come.
    fn progress(&self) -> Option<Progress> {
        let row = &self.row;
        row.kind.is_map().then_some(Progress { fed: row.fed, total: row.total, done: row.done })
    }

    fn as_item(&self) -> ItemView {
        ItemView {
            seq: self.task.seq,
            status: self.row.status,
            args: self.task.args.clone(),
            result: self.final_result(),
        }
    }

    /// The result of a task that has ended with one; the failure of an attempt that is tried again is none.
    fn final_result(&self) -> Option<TaskResult> {
        match self.row.status {
            TaskStatus::Completed | TaskStatus::Failed => self.result.clone(),
            TaskStatus::Pending | TaskStatus::Running | TaskStatus::Waiting | TaskStatus::Cancelled => None,
        }
    }
}
