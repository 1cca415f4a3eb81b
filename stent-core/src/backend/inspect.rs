//! Reads, in the reader's terms: plain data, paged, without locks.

use std::fmt::Debug;

use async_trait::async_trait;

use super::Result;
use crate::model::{ExecutionStatus, Seq, StepKind, TaskResult, TaskStatus};
use crate::{ExecutionId, Payload, TaskId, Timestamp};

/// Reads. None of them locks or writes, and each is bounded.
#[async_trait]
pub trait Inspect: Debug + Send + Sync + 'static {
    /// Reads executions by id, in any order; those that do not exist are left out. At most
    /// [`PAGE_MAX`](crate::limits::PAGE_MAX) ids are looked at in one call.
    async fn executions(&self, ids: &[ExecutionId]) -> Result<Vec<ExecutionView>>;

    /// Reads a page of an execution's tasks, oldest first, those after `after`.
    async fn tasks(&self, execution: ExecutionId, after: Option<TaskId>, max: usize)
    -> Result<Vec<TaskView>>;

    /// Reads a page of a map's items by position, from `from` on.
    async fn items(&self, map: TaskId, from: Seq, max: usize) -> Result<Vec<ItemView>>;
}

/// An execution as a waiter sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecutionView {
    /// Its id.
    pub id: ExecutionId,
    /// The function that was dispatched.
    pub function: String,
    /// The queue that it was dispatched to.
    pub queue: String,
    /// Where it stands.
    pub status: ExecutionStatus,
    /// What it gave, once it has ended with a result or a failure.
    pub result: Option<TaskResult>,
    /// When it was dispatched.
    pub created_at: Timestamp,
    /// When it was first claimed.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// A task as a reader of the timeline sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskView {
    /// Its id.
    pub id: TaskId,
    /// The task above it.
    pub parent: Option<TaskId>,
    /// Its position there.
    pub seq: Seq,
    /// What kind of task it is.
    pub kind: StepKind,
    /// The function or the step's name.
    pub name: String,
    /// Where it stands.
    pub status: TaskStatus,
    /// Attempts that failed and were retried.
    pub attempts: u32,
    /// Which completion of its parent it was.
    pub done_order: Option<u32>,
    /// Message of the failure that ended it, or of the last one while it is being tried again.
    pub failure: Option<String>,
    /// When it is due, if it waits for a moment.
    pub ready_at: Option<Timestamp>,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it was first claimed, or started in its parent's turn.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// One item of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemView {
    /// Its position in the map.
    pub seq: Seq,
    /// Where it stands.
    pub status: TaskStatus,
    /// What it was called with.
    pub args: Payload,
    /// What it gave, once it has ended with a result or a failure.
    pub result: Option<TaskResult>,
}
