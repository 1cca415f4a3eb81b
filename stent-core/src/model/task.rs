//! Tasks: the rows of the store.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Epoch, Lane, Marks, Nonce, RetryPolicy, StepKind, TaskStatus};
use crate::{Digest, ExecutionId, Failure, Key, Payload, TaskId, Timestamp, WorkerId};

/// The final result of a task.
pub type TaskResult = Result<Payload, Failure>;

/// A task's position in its parent: the number of the call in a function, or of the item in a map. Zero for a root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u32);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A task's position in its execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// The execution that the task belongs to.
    pub execution: ExecutionId,
    /// The task that counts this one's completion: the calling function, or the map of an item. `None` for a root.
    pub parent: Option<TaskId>,
    /// For an item of a map, the function that contains the map, which is woken when the map is done.
    pub owner: Option<TaskId>,
}

impl Tree {
    /// The position of an execution's root.
    #[must_use]
    pub const fn root(execution: ExecutionId) -> Self {
        Self { execution, parent: None, owner: None }
    }

    /// The position of a step of `parent`.
    #[must_use]
    pub const fn step(execution: ExecutionId, parent: TaskId) -> Self {
        Self { execution, parent: Some(parent), owner: None }
    }

    /// The position of an item of `map`, a step of `owner`.
    #[must_use]
    pub const fn item(execution: ExecutionId, map: TaskId, owner: TaskId) -> Self {
        Self { execution, parent: Some(map), owner: Some(owner) }
    }

    /// The tasks that this task's end may change.
    pub fn ancestors(&self) -> impl Iterator<Item = TaskId> {
        self.parent.into_iter().chain(self.owner)
    }
}

/// A claimed task: everything that a worker needs to run it.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its id; the id of a root is that of its execution.
    pub id: TaskId,
    /// Its position in the execution.
    pub tree: Tree,
    /// Its position in the parent.
    pub seq: Seq,
    /// Its kind. Only calls are claimed.
    pub kind: StepKind,
    /// Queue, function and tags.
    pub lane: Lane,
    /// Tasks with a higher priority run first.
    pub priority: i16,
    /// The encoded arguments.
    pub args: Payload,
    /// The retry policy that was set for it. `None` means the default for its shape: the default policy for a leaf, no retry
    /// once it has recorded steps.
    pub retry: Option<RetryPolicy>,
    /// Its status.
    pub status: TaskStatus,
    /// Its last claim.
    pub epoch: Epoch,
    /// Claims since the last committed turn.
    pub uncommitted_claims: u32,
    /// Attempts that ended with a failure and were retried.
    pub attempts: u32,
    /// Claims that expired before a turn was committed: crashes, and workers that lost their lease.
    pub crashes: u32,
    /// Claims that a worker released because it shut down.
    pub releases: u32,
    /// Steps that have ended.
    pub done: u32,
    /// Notes that its code has written.
    pub noted: u32,
    /// Facts that its status does not express.
    pub marks: Marks,
    /// The key that it shares with equal calls.
    pub key: Option<Key>,
    /// Its deadline.
    pub expires_at: Option<Timestamp>,
    /// The trace that it continues, as it was written.
    pub trace: Option<String>,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it was first claimed, or its code began in its parent's turn.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// A task to be written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewTask {
    /// Its id, created by the caller.
    pub id: TaskId,
    /// Its position in the execution.
    pub tree: Tree,
    /// Its position in the parent.
    pub seq: Seq,
    /// Its kind.
    pub kind: StepKind,
    /// Queue, function and tags; for kinds that no worker claims, the queue is empty and the function is the step's name.
    pub lane: Lane,
    /// Tasks with a higher priority run first.
    pub priority: i16,
    /// The encoded arguments.
    pub args: Payload,
    /// The retry policy, if one was set.
    pub retry: Option<RetryPolicy>,
    /// How often it failed in memory, before it was first written.
    pub attempts: u32,
    /// The last of these failures.
    pub failure: Option<Failure>,
    /// The key under which equal calls, or senders of the awaited signal, find it.
    pub keyed: Option<Keyed>,
    /// Its deadline: it ends then, with everything below it, whatever its state.
    pub expires_at: Option<Timestamp>,
    /// Where in a trace it was requested, as W3C `traceparent` text. It is passed on and never interpreted here; at most
    /// [`TRACE_BYTES_MAX`](crate::limits::TRACE_BYTES_MAX) bytes.
    pub trace: Option<String>,
    /// The digest of a step's arguments: a replay that calls the step with other arguments is a mismatch. A store returns it
    /// with the step and does not interpret it. `None` for a step without arguments, for a step whose arguments are not
    /// compared, for a map, which gets its digest with its [`Feed`](crate::transition::Feed), for an item, and for a root.
    #[serde(default)]
    pub digest: Option<Digest>,
    /// Its first state in the store.
    pub state: NewTaskState,
}

/// A task's key, and how long its result is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyed {
    /// The key.
    pub key: Key,
    /// How long other calls under the same key get the result of a call, counted from its end. `None` means forever.
    pub ttl: Option<Duration>,
}

impl Keyed {
    /// A key without a time limit.
    #[must_use]
    pub const fn new(key: Key) -> Self {
        Self { key, ttl: None }
    }
}

/// The first state of a task in the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewTaskState {
    /// The task can be claimed from this moment on.
    Pending {
        /// The moment.
        ready_at: Timestamp,
    },
    /// The task runs already, under a first lease of the worker that writes it.
    Leased {
        /// When it started: its code may have begun before the worker knew that it needs a row.
        started_at: Timestamp,
        /// The worker.
        worker: WorkerId,
        /// The nonce that the worker drew for this lease: see [`Epoch`].
        nonce: Nonce,
        /// When its lease ends.
        until: Timestamp,
    },
    /// A sleep that ends at this moment.
    Timer {
        /// The moment.
        due: Timestamp,
    },
    /// A map, whose items are fed to it.
    Map,
    /// A wait for a signal, under the signal's key. If a value is already there, the wait ends at once.
    Signal,
    /// A wait for the end of an execution, under the execution's key. If the execution has already ended, the wait ends at
    /// once.
    Join {
        /// The execution.
        execution: ExecutionId,
    },
    /// The task has ended already: a step that ran under its parent's lease is written once, with its result.
    Done {
        /// When it started.
        started_at: Timestamp,
        /// Its result.
        result: TaskResult,
    },
}
