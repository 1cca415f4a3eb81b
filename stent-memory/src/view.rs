//! Records in a reader's terms: a worker's, a parent's, a waiter's.

use stent_core::backend::{ExecutionView, ItemView, TaskView};
use stent_core::limits::{LOOKUP_MAX, PAGE_MAX};
use stent_core::model::{
    ExecutionStatus, Progress, Seq, Step, StepKind, StepState, Task, TaskResult, TaskStatus,
};
use stent_core::{ExecutionId, Payload, TaskId};

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
            done: self.row.done,
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
        let map = (row.kind == StepKind::Map).then_some(Progress {
            fed: row.fed,
            total: row.total,
            done: row.done,
        });
        Step {
            id: row.id,
            seq: self.task.seq,
            kind: row.kind,
            name: self.task.lane.function.clone(),
            state,
            map,
        }
    }

    /// None for a task that is not the root of an execution.
    fn as_execution(&self) -> Option<ExecutionView> {
        let row = &self.row;
        self.task.tree.parent.is_none().then(|| ExecutionView {
            id: row.tree.execution,
            function: self.task.lane.function.clone(),
            queue: self.task.lane.queue.clone(),
            status: ExecutionStatus::of_root(row.status, row.started_at.is_some()),
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
            attempts: row.attempts,
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
