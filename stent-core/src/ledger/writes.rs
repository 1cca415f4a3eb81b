//! What a batch of transitions reads, and what it comes to.

use std::collections::{BTreeMap, BTreeSet};

use super::Row;
use crate::model::{EndedClaim, KeyEntry, NewTask, Note, RetryPolicy, TaskResult};
use crate::{ExecutionId, Failure, Key, Payload, TaskId, Timestamp};

/// What a ledger must be loaded with. A store loads what of it exists, and holds it against others until it has written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Tasks, by id.
    pub tasks: BTreeSet<TaskId>,
    /// Keys: of each its key entry; and every task in the store that is not over and [has it](Row::key), with the parents and
    /// owners of those.
    pub keys: BTreeSet<Key>,
    /// Those of the keys under which there may be a key entry: the others are of executions, under which tasks only wait.
    pub memos: BTreeSet<Key>,
}

/// What a row's result columns are set to.
#[derive(Clone, Debug, PartialEq)]
pub enum Written<'a> {
    /// The task's result.
    Result(&'a TaskResult),
    /// The last failure of a task that is tried again.
    Failure(&'a Failure),
    /// A result that was kept under a key, or that the change itself is.
    Kept(TaskResult),
}

impl Written<'_> {
    /// What is to be written: a result, or a failure.
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

    /// What is to be written, to keep: a result, or a failure.
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

/// What a batch of transitions changes, in the order in which it is to be written.
#[derive(Debug, Default)]
pub struct Writes<'a> {
    /// Rows to insert, in the order of their ids.
    pub insert: Vec<Insert<'a>>,
    /// Rows to update, in the order of their ids.
    pub update: Vec<Update<'a>>,
    /// Results to copy, to the first task from the second, once the rows are written: the result columns, nothing else.
    pub copy: Vec<(TaskId, TaskId)>,
    /// Key entries to write, over what is there.
    pub memos: Vec<KeyEntry>,
    /// Key entries to delete.
    pub forget: Vec<Key>,
    /// Signals that were taken and never seen, those taken last first: the value of each, which is the task's result, goes
    /// back to the key entry under the task's key, unless that has one. These tasks may be among those to erase.
    pub restore: Vec<TaskId>,
    /// What running code says, in order. What each does is said at [`Note`].
    pub notes: Vec<Noted<'a>>,
    /// Claims that ended badly.
    pub ended_claims: Vec<EndedClaim>,
    /// Every open task of these executions but the root is to be [stopped](Row::stop), at the moment.
    pub stop: Vec<(ExecutionId, Timestamp)>,
    /// Every open task below these, at any depth, is to be [cancelled](Row::cancel), at the moment at which they themselves
    /// ended, once all else is written; they themselves are in `update` or `insert`. If a task loses its slot of a
    /// limit ([`Row::limit_key`]) here, or because it is stopped or erased, the batch counts as `ready`: a slot is free.
    pub sweep: Vec<TaskId>,
    /// These are to be deleted with everything below them and with their ended claims, after all else.
    pub erase: Vec<TaskId>,
    /// The cascade to run once all of this is written.
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
            && self.memos.is_empty()
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
    /// What never changes.
    pub task: &'a NewTask,
    /// What does.
    pub row: Row,
    /// When it was written.
    pub created_at: Timestamp,
    /// Its result, if it is written ended; or its last failure.
    pub result: Option<Written<'a>>,
}

/// A row to update.
#[derive(Clone, Debug, PartialEq)]
pub struct Update<'a> {
    /// Its new state.
    pub row: Row,
    /// What its result columns are set to; none leaves them as they are.
    pub result: Option<Written<'a>>,
    /// Its new retry policy; none leaves the one that it has.
    pub retry: Option<&'a RetryPolicy>,
}

/// A note, and where it belongs.
#[derive(Clone, Debug, PartialEq)]
pub struct Noted<'a> {
    /// The execution that it is about.
    pub execution: ExecutionId,
    /// The task whose code says it.
    pub task: TaskId,
    /// When it was committed.
    pub at: Timestamp,
    /// What it says.
    pub note: &'a Note,
}

/// Executions in which tasks outside the batch ended: only the store knows a task's descendants. Once the batch is written, the
/// store looks there and lets a ledger take the [steps](super::CascadeStep).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cascade {
    /// Executions in which tasks were swept, erased or stopped, and when. The store finds in each:
    ///
    /// 1. key entries of results without a value whose holder has ended or is gone: [`CascadeStep::Vacate`](super::CascadeStep);
    /// 2. a root that is asked to end, is not running, and has no open task in its execution beside it:
    ///    [`CascadeStep::Close`](super::CascadeStep).
    pub executions: BTreeMap<ExecutionId, Timestamp>,
    /// What is known already.
    pub steps: Vec<super::CascadeStep>,
}

impl Cascade {
    /// Whether nothing cascades.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.executions.is_empty() && self.steps.is_empty()
    }
}
