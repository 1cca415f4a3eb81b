//! The data that a batch of transitions reads, and the changes that it makes.

use std::collections::BTreeSet;

use super::Row;
use crate::model::{EndedClaim, KeyEntry, NewTask, Note, RetryPolicy, TaskResult};
use crate::{ExecutionId, Failure, Key, Payload, TaskId, Timestamp};

/// The data with which a ledger must be loaded. A store loads the parts that exist, and locks them until it has written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Tasks, by id.
    pub tasks: BTreeSet<TaskId>,
    /// Keys. For each key, load its key entry, every open task that [has the key](Row::key), and the parents and owners of
    /// those tasks.
    pub keys: BTreeSet<Key>,
    /// The keys that may have a key entry. The other keys are those of executions: tasks wait under them, and there is no
    /// entry.
    pub key_entries: BTreeSet<Key>,
}

/// The new content of a row's result columns.
#[derive(Clone, Debug, PartialEq)]
pub enum Written<'a> {
    /// The task's result.
    Result(&'a TaskResult),
    /// The last failure of a task that is retried.
    Failure(&'a Failure),
    /// A result that comes from a key entry, or that the change itself creates.
    Kept(TaskResult),
}

impl Written<'_> {
    /// The result or failure to write.
    ///
    /// # Errors
    /// The failure.
    pub const fn as_result(&self) -> Result<&Payload, &Failure> {
        match self {
            Self::Result(result) => result.as_ref(),
            Self::Failure(failure) => Err(failure),
            Self::Kept(result) => result.as_ref(),
        }
    }

    /// The result or failure to write, as an owned value.
    ///
    /// # Errors
    /// The failure.
    pub fn into_result(self) -> TaskResult {
        match self {
            Self::Result(result) => result.clone(),
            Self::Failure(failure) => Err(failure.clone()),
            Self::Kept(result) => result,
        }
    }
}

/// The changes of a batch of transitions, in the order in which a store writes them.
#[derive(Debug, Default)]
pub struct Writes<'a> {
    /// Rows to insert, in the order of their ids.
    pub insert: Vec<Insert<'a>>,
    /// Rows to update, in the order of their ids.
    pub update: Vec<Update<'a>>,
    /// Results to copy once the rows are written: the result columns of the second task to the first, and no other
    /// column.
    pub copy: Vec<(TaskId, TaskId)>,
    /// Key entries to write, over what is there.
    pub key_entries: Vec<KeyEntry>,
    /// Key entries to delete.
    pub forget: Vec<Key>,
    /// Waits that took a signal's value which the code has never seen, the latest first. Return the value, which is the
    /// task's result, to the key entry under the task's key, unless the entry has a value. These tasks may also be in
    /// `erase`.
    pub restore: Vec<TaskId>,
    /// Notes of running code, in order. [`Note`] documents the effect of each.
    pub notes: Vec<Noted<'a>>,
    /// Claims that ended badly.
    pub ended_claims: Vec<EndedClaim>,
    /// Executions whose open tasks, except the root, a store [stops](Row::stop), and the moment.
    pub stop: Vec<(ExecutionId, Timestamp)>,
    /// Ended tasks whose open descendants, at any depth, a store [cancels](Row::cancel) once all else is written, at the
    /// moment at which the ended task itself ended. The ended tasks themselves are in `update` or `insert`. If a task that
    /// is cancelled, stopped or erased had a slot of a limit ([`Row::limit_key`]), the batch counts as `ready`: a slot is
    /// free.
    pub sweep: Vec<TaskId>,
    /// Tasks to delete after all else, with their descendants and ended claims.
    pub erase: Vec<TaskId>,
    /// The cascade to run once these changes are written.
    pub cascade: Cascade,
    /// Whether an execution may have ended.
    pub ended: bool,
    /// Whether a task may have become ready.
    pub ready: bool,
}

impl Writes<'_> {
    /// Whether there is nothing to write.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.insert.is_empty()
            && self.update.is_empty()
            && self.copy.is_empty()
            && self.key_entries.is_empty()
            && self.forget.is_empty()
            && self.restore.is_empty()
            && self.notes.is_empty()
            && self.ended_claims.is_empty()
            && self.stop.is_empty()
            && self.sweep.is_empty()
            && self.erase.is_empty()
    }
}

/// A row to insert.
#[derive(Clone, Debug, PartialEq)]
pub struct Insert<'a> {
    /// The constant part.
    pub task: &'a NewTask,
    /// The variable part.
    pub row: Row,
    /// When it was written.
    pub created_at: Timestamp,
    /// Its result, if the task is inserted as ended; or its last failure.
    pub result: Option<Written<'a>>,
}

/// A row to update.
#[derive(Clone, Debug, PartialEq)]
pub struct Update<'a> {
    /// Its new state.
    pub row: Row,
    /// The new content of its result columns; `None` does not change them.
    pub result: Option<Written<'a>>,
    /// Its new retry policy; `None` does not change the policy.
    pub retry: Option<&'a RetryPolicy>,
    /// Its new queue; `None` does not change the queue. The task moves to the lane of its function and tags on this queue, so
    /// only workers of the new queue claim it, and every read shows the new queue.
    pub queue: Option<&'a str>,
}

/// A note, with its execution, task and moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Noted<'a> {
    /// The execution that the note describes.
    pub execution: ExecutionId,
    /// The task whose code wrote it.
    pub task: TaskId,
    /// When it was committed.
    pub at: Timestamp,
    /// The note.
    pub note: &'a Note,
}

/// Executions in which tasks outside the batch ended: only the store knows a task's descendants. Once the batch is written, the
/// store searches these executions and lets a ledger apply the [steps](super::CascadeStep).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cascade {
    /// Executions in which tasks were swept, erased or stopped, and the moment. The store finds in each:
    ///
    /// 1. key entries of results without a value whose holder has ended or is gone: [`CascadeStep::Vacate`](super::CascadeStep);
    /// 2. a root that is asked to end, is not running, and has no open task in its execution beside it:
    ///    [`CascadeStep::Close`](super::CascadeStep).
    ///
    /// The ledger takes the steps in the order of these executions, because a task may wait for two of them.
    pub executions: Vec<(ExecutionId, Timestamp)>,
    /// Steps that are already known. The ledger takes these first.
    pub steps: Vec<super::CascadeStep>,
}

impl Cascade {
    pub(super) fn add(&mut self, execution: ExecutionId, at: Timestamp) {
        match self.executions.iter_mut().rev().find(|(known, _)| *known == execution) {
            Some((_, known)) => *known = at,
            None => self.executions.push((execution, at)),
        }
    }

    /// Whether nothing cascades.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.executions.is_empty() && self.steps.is_empty()
    }
}
