//! Tasks: the rows of the store.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Epoch, Lane, Mark, Nonce, RetryPolicy, StepKind, TaskStatus};
use crate::{Digest, ExecutionId, Failure, Key, Payload, TaskId, Timestamp, WorkerId};

/// What a task gave in the end.
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

/// Where a task hangs in its execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// The execution that the task belongs to.
    pub execution: ExecutionId,
    /// The task that counts this one's completion: the calling function, or the map of an item. None for a root.
    pub parent: Option<TaskId>,
    /// For an item of a map, the function that contains the map: the one to wake when the map is done.
    pub owner: Option<TaskId>,
}

impl Tree {
    /// The place of an execution's root.
    #[must_use]
    pub const fn root(execution: ExecutionId) -> Self {
        Self { execution, parent: None, owner: None }
    }

    /// The place of a step of `parent`.
    #[must_use]
    pub const fn step(execution: ExecutionId, parent: TaskId) -> Self {
        Self { execution, parent: Some(parent), owner: None }
    }

    /// The place of an item of `map`, a step of `owner`.
    #[must_use]
    pub const fn item(execution: ExecutionId, map: TaskId, owner: TaskId) -> Self {
        Self { execution, parent: Some(map), owner: Some(owner) }
    }

    /// The tasks that the end of this one may change.
    pub fn ancestors(&self) -> impl Iterator<Item = TaskId> {
        self.parent.into_iter().chain(self.owner)
    }
}

/// A task as it is claimed: all that a worker needs to run it.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its id; a root's is that of its execution.
    pub id: TaskId,
    /// Where it hangs.
    pub tree: Tree,
    /// Its position in the parent.
    pub seq: Seq,
    /// What kind of task it is. Only calls are claimed.
    pub kind: StepKind,
    /// Queue and function.
    pub lane: Lane,
    /// Higher runs first.
    pub priority: i16,
    /// The encoded arguments.
    pub args: Payload,
    /// The retry policy that was set for it; none means the default of its shape: a leaf's, or none at all once it has
    /// recorded steps.
    pub retry: Option<RetryPolicy>,
    /// Where it stands.
    pub status: TaskStatus,
    /// Its last claim.
    pub epoch: Epoch,
    /// Claims since the last committed turn.
    pub uncommitted_claims: u32,
    /// Attempts that ended with a failure and were retried.
    pub attempts: u32,
    /// Claims that ran out before a turn was committed: crashes, and workers that lost their lease.
    pub crashes: u32,
    /// Claims that a worker handed back because it shut down.
    pub releases: u32,
    /// Steps that have ended.
    pub done: u32,
    /// Notes that its code has written.
    pub noted: u32,
    /// What its status does not say.
    pub mark: Option<Mark>,
    /// The key that others who call the same share with it.
    pub key: Option<Key>,
    /// When its time is up.
    pub expires_at: Option<Timestamp>,
    /// The trace that it goes on with, as it was written.
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
    /// Its id, made by the caller.
    pub id: TaskId,
    /// Where it hangs.
    pub tree: Tree,
    /// Its position in the parent.
    pub seq: Seq,
    /// What kind of task it is.
    pub kind: StepKind,
    /// Queue and function; for kinds that no worker claims, the queue is empty and the function is the step's name.
    pub lane: Lane,
    /// Higher runs first.
    pub priority: i16,
    /// The encoded arguments.
    pub args: Payload,
    /// The retry policy, where one was set.
    pub retry: Option<RetryPolicy>,
    /// How often it has failed already (in memory, before it was first written).
    pub attempts: u32,
    /// The last of these failures.
    pub failure: Option<Failure>,
    /// The key under which it is found: by others who call the same, or by those who send what it waits for.
    pub keyed: Option<Keyed>,
    /// When its time is up: it ends then, with everything below it, whatever it is doing.
    pub expires_at: Option<Timestamp>,
    /// Where in a trace it was asked for, as W3C `traceparent` text. Carried along and read by nobody here; at most
    /// [`TRACE_BYTES_MAX`](crate::limits::TRACE_BYTES_MAX) bytes.
    pub trace: Option<String>,
    /// A digest of a step's arguments, so that a replay that calls it with something else is a mismatch. A store gives it back with
    /// the step and reads nothing from it. None for a step without arguments, for one whose arguments are not compared, for a
    /// map, which gets its own with its [`Feed`](crate::transition::Feed), for an item, and for a root.
    #[serde(default)]
    pub digest: Option<Digest>,
    /// How it starts its life in the store.
    pub state: NewTaskState,
}

/// A task's key, and how long what it gives is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyed {
    /// The key.
    pub key: Key,
    /// How long the result of a call answers other calls under the same key, from its end on. None means for good.
    pub ttl: Option<Duration>,
}

impl Keyed {
    /// Keyed for good.
    #[must_use]
    pub const fn new(key: Key) -> Self {
        Self { key, ttl: None }
    }
}

/// How a task starts its life in the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewTaskState {
    /// To be claimed from this moment on.
    Pending {
        /// The moment.
        ready_at: Timestamp,
    },
    /// Running already, under a first lease of the worker that writes it.
    Leased {
        /// When it started: its code may have begun before it was known that it needs a row.
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
    /// A wait for a signal, under the signal's key. If a value is there already it has ended at once.
    Signal,
    /// A wait for the end of an execution, under the execution's key. If that has ended already it has ended at once.
    Join {
        /// The execution.
        execution: ExecutionId,
    },
    /// Ended already: a step that ran under its parent's lease is written once, with its result.
    Done {
        /// When it started.
        started_at: Timestamp,
        /// What it gave.
        result: TaskResult,
    },
}
