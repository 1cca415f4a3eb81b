//! Reads for operators.

use std::collections::BTreeMap;
use std::sync::Arc;

use stent_core::backend::{ExecutionView, Filter, Finding, ItemView, LaneView, RunningView, TaskView};
use stent_core::limits::{COUNT_MAX, LANES_MAX, PAGE_MAX};
use stent_core::model::{EndedClaim, ExecutionStatus, Seq, WorkerRecord};
use stent_core::{ExecutionId, Payload, TaskId, WorkerId};

use super::export::Export;
use crate::engine::Engine;
use crate::error::{Error, Result};

/// Reads executions, their tasks and the work that waits, for operators and dashboards: see
/// [`Stent::inspect`](crate::Stent::inspect). Cheap to clone.
///
/// All reads are bounded, hold no locks and change nothing. They are cancel safe.
#[derive(Clone, Debug)]
pub struct Inspector {
    engine: Arc<Engine>,
}

impl Inspector {
    pub(crate) const fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Reads an execution.
    ///
    /// # Errors
    /// [`Error::NotFound`]; store errors.
    pub async fn describe(&self, id: ExecutionId) -> Result<ExecutionView> {
        let views = self.engine.retrying(|| self.engine.store.executions(std::slice::from_ref(&id))).await?;
        views.into_iter().next().ok_or(Error::NotFound(id))
    }

    /// Reads a page of an execution's tasks, oldest first: those after `after`, at most `max`, and never more than 1,000. Items
    /// of maps are among them.
    ///
    /// # Errors
    /// Store errors. An unknown execution has none.
    pub async fn tasks(&self, id: ExecutionId, after: Option<TaskId>, max: usize) -> Result<Vec<TaskView>> {
        let max = max.min(PAGE_MAX);
        Ok(self.engine.retrying(|| self.engine.store.tasks(id, after, max)).await?)
    }

    /// Reads all tasks of an execution, oldest first: all pages of [`tasks`](Self::tasks).
    ///
    /// # Errors
    /// Store errors. The timeline of an unknown execution is empty.
    pub async fn timeline(&self, id: ExecutionId) -> Result<Vec<TaskView>> {
        let mut tasks: Vec<TaskView> = Vec::new();
        loop {
            let after = tasks.last().map(|task| task.id);
            let page = self.tasks(id, after, PAGE_MAX).await?;
            let whole = page.len() == PAGE_MAX;
            tasks.extend(page);
            if !whole {
                return Ok(tasks);
            }
        }
    }

    /// Reads the arguments of a task, or of an execution by the id of its root task; `None` if there is no such task.
    ///
    /// # Errors
    /// Store errors.
    pub async fn args(&self, task: TaskId) -> Result<Option<Payload>> {
        Ok(self.engine.retrying(|| self.engine.store.args(task)).await?)
    }

    /// Reads a page of a map's items by position, from `from` on: at most `max`, and never more than 1,000. The items
    /// of an unknown map are empty.
    ///
    /// # Errors
    /// Store errors.
    pub async fn items(&self, map: TaskId, from: Seq, max: usize) -> Result<Vec<ItemView>> {
        let max = max.min(PAGE_MAX);
        Ok(self.engine.retrying(|| self.engine.store.items(map, from, max)).await?)
    }

    /// Reads the claims of a task that ended badly, oldest first: attempts that failed, leases that expired, and claims
    /// that a worker released. Returns at most 1,000.
    ///
    /// # Errors
    /// Store errors. An unknown task has none.
    pub async fn ended_claims(&self, task: TaskId) -> Result<Vec<EndedClaim>> {
        Ok(self.engine.retrying(|| self.engine.store.ended_claims(task)).await?)
    }

    /// Reads a page of executions, newest first: those that match the filter and were dispatched before `before`, at
    /// most `max` of them, and never more than 1,000.
    ///
    /// # Errors
    /// Store errors.
    pub async fn list(
        &self,
        filter: &Filter,
        before: Option<ExecutionId>,
        max: usize,
    ) -> Result<Vec<ExecutionView>> {
        let max = max.min(PAGE_MAX);
        Ok(self.engine.retrying(|| self.engine.store.list(filter, before, max)).await?)
    }

    /// Counts executions by status; statuses without executions are omitted. Counts at most 1,000,000 open executions,
    /// and at most 1,000,000 of each status in which executions end.
    ///
    /// # Errors
    /// Store errors.
    pub async fn count(&self) -> Result<BTreeMap<ExecutionStatus, u64>> {
        Ok(self.engine.retrying(|| self.engine.store.count(COUNT_MAX)).await?)
    }

    /// Reads the waiting work, by queue, function and tags. Returns at most 10,000 lanes, those with the most due tasks.
    ///
    /// # Errors
    /// Store errors.
    pub async fn lanes(&self) -> Result<Vec<LaneView>> {
        let now = self.engine.clock.now();
        Ok(self.engine.retrying(|| self.engine.store.lanes(now, LANES_MAX)).await?)
    }

    /// Counts the tasks that wait for a worker, now or later, on one queue or on all of them.
    ///
    /// # Errors
    /// Store errors.
    pub async fn queue_depth(&self, queue: Option<&str>) -> Result<u64> {
        let lanes = self.lanes().await?;
        let on_queue = lanes.iter().filter(|view| queue.is_none_or(|queue| view.lane.queue == queue));
        Ok(on_queue.map(|view| view.due + view.delayed).sum())
    }

    /// Reads the lanes with due work of functions that this process does not know.
    ///
    /// # Errors
    /// Store errors.
    pub async fn unknown_work(&self) -> Result<Vec<LaneView>> {
        Ok(self.engine.unknown_work().await?)
    }

    /// Reads tasks that workers hold, most recently claimed first: at most `max`, and never more than 1,000.
    ///
    /// # Errors
    /// Store errors.
    pub async fn running(&self, max: usize) -> Result<Vec<RunningView>> {
        let max = max.min(PAGE_MAX);
        Ok(self.engine.retrying(|| self.engine.store.running(max)).await?)
    }

    /// Reads a page of the workers of all processes, in the order of their ids, and so oldest first: those after `after`, at most
    /// `max`, and never more than 1,000. Workers that have stopped, crashed or [died](WorkerRecord::is_dead) are listed until a
    /// [retention](crate::Retention::workers) deletes them. [`Stent::workers`](crate::Stent::workers) describes the workers of this
    /// process without asking the store.
    ///
    /// # Errors
    /// Store errors.
    pub async fn workers(&self, after: Option<WorkerId>, max: usize) -> Result<Vec<WorkerRecord>> {
        let max = max.min(PAGE_MAX);
        Ok(self.engine.retrying(|| self.engine.store.workers(after, max)).await?)
    }

    /// Examines the store itself: settings, indexes, files and memory, as only its database knows them. Each finding has a remedy if
    /// something is to be done. The command `stent doctor` shows them, with checks of the work in the store.
    ///
    /// # Errors
    /// Store errors.
    pub async fn diagnose(&self) -> Result<Vec<Finding>> {
        Ok(self.engine.retrying(|| self.engine.store.diagnose()).await?)
    }

    /// Exports an execution: reads its whole record part by part, from its tasks with their arguments and results to its notes. Takes
    /// a few reads for each task, and holds about a page of them in memory. The parts are not of one moment if the execution is
    /// still running.
    ///
    /// Results that are cached under keys are not part of it. [`Stent::import`](crate::Stent::import) writes the parts to another store.
    ///
    /// ```
    /// # async fn example(stent: stent::Stent, id: stent::ExecutionId) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut export = stent.inspect().export(id);
    /// while let Some(part) = export.next().await? {
    ///     println!("{}", serde_json::to_string(&part)?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn export(&self, id: ExecutionId) -> Export {
        Export::new(self.engine.clone(), id)
    }
}
