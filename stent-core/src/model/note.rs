//! Data about a task beside its result: notes of its code, and the history of its claims.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::status::ParseStatusError;
use crate::{ExecutionId, Failure, Payload, TaskId, Timestamp, WorkerId};

/// A note that running code writes about its execution. It is written with the task's next commit, so exactly once.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// Adds to a counter of the execution, which begins at 0 and saturates at the ends of `i64`.
    Count {
        /// The counter.
        name: String,
        /// The amount.
        add: i64,
    },
    /// Sets a counter, unless it has a value.
    CountFrom {
        /// The counter.
        name: String,
        /// The value.
        value: i64,
    },
    /// Sets a state of the execution.
    Set {
        /// The state.
        name: String,
        /// Its value.
        value: Payload,
    },
    /// Sets a state, unless it has a value.
    SetFrom {
        /// The state.
        name: String,
        /// The value.
        value: Payload,
    },
    /// Adds an entry to the execution's progress, unless it has one with this id. Beyond
    /// [`PROGRESS_MAX`](crate::limits::PROGRESS_MAX) entries, the oldest are deleted.
    Progress {
        /// The entry's id, created by the caller; entries are read in the order of their ids.
        id: TaskId,
        /// The text.
        text: String,
    },
}

/// A note, and the task whose code wrote it: the committing task, or a step that ran in its turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// The task.
    pub task: TaskId,
    /// The note.
    pub note: Note,
}

/// A claim of a task that ended badly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EndedClaim {
    /// The task.
    pub task: TaskId,
    /// The execution that it belongs to.
    pub execution: ExecutionId,
    /// The claim, by its epoch; [`NEVER`](super::Epoch::NEVER) for an attempt before the task was first written.
    pub epoch: super::Epoch,
    /// The worker that held the claim.
    pub worker: Option<WorkerId>,
    /// How it ended.
    pub end: ClaimEnd,
    /// When it ended.
    pub at: Timestamp,
    /// The failure of the code.
    pub failure: Option<Failure>,
}

impl EndedClaim {
    /// A claim that ended badly, with the facts that every such claim has. A store sets the worker and the failure.
    #[must_use]
    pub const fn new(
        task: TaskId,
        execution: ExecutionId,
        epoch: super::Epoch,
        end: ClaimEnd,
        at: Timestamp,
    ) -> Self {
        Self { task, execution, epoch, worker: None, end, at, failure: None }
    }
}

/// How a claim ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimEnd {
    /// The code failed.
    Failed,
    /// The lease expired: the worker died, or lost its connection to the store.
    Crashed,
    /// The worker shut down and released the task.
    Released,
}

impl ClaimEnd {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Failed, "failed"), (Self::Crashed, "crashed"), (Self::Released, "released")];

    /// The word for it in stores.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Crashed => "crashed",
            Self::Released => "released",
        }
    }
}

impl FromStr for ClaimEnd {
    type Err = ParseStatusError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|(_, word)| *word == text)
            .map(|(end, _)| end)
            .ok_or_else(|| ParseStatusError::new(text, &["failed", "crashed", "released"]))
    }
}
