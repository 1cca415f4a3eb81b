//! What is written about a task beside its result: notes of its code, and the history of its tries.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::status::ParseStatusError;
use crate::{ExecutionId, Failure, Payload, TaskId, Timestamp, WorkerId};

/// Something that running code says about its execution. It is written with the task's next commit, so exactly once.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// Adds to a counter of the execution, which begins at 0 and stops at the ends of `i64`.
    Count {
        /// The counter.
        name: String,
        /// How much.
        add: i64,
    },
    /// Gives a counter a value, unless it has one.
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
    /// Gives a state a value, unless it has one.
    SetFrom {
        /// The state.
        name: String,
        /// The value.
        value: Payload,
    },
    /// Adds an entry to the execution's progress, unless it has one with this id. Beyond
    /// [`PROGRESS_MAX`](crate::limits::PROGRESS_MAX) the oldest go.
    Progress {
        /// The entry's id, made by the caller; entries are read in the order of their ids.
        id: TaskId,
        /// What it says.
        text: String,
    },
}

/// A note, and the task whose code makes it: the one that commits it, or a step that ran in its turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// The task.
    pub task: TaskId,
    /// The note.
    pub note: Note,
}

/// One claim of a task that did not end well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndedClaim {
    /// The task.
    pub task: TaskId,
    /// The execution that it belongs to.
    pub execution: ExecutionId,
    /// The claim, by its epoch; [`NEVER`](super::Epoch::NEVER) for an attempt that was made before the task was first written.
    pub epoch: super::Epoch,
    /// Whose claim it was.
    pub worker: Option<WorkerId>,
    /// How it ended.
    pub end: ClaimEnd,
    /// When.
    pub at: Timestamp,
    /// What the code failed with.
    pub failure: Option<Failure>,
}

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimEnd {
    /// The code failed.
    Failed,
    /// The lease ran out: the worker died, or lost its way to the store.
    Crashed,
    /// The worker shut down and handed the task back.
    Released,
}

impl ClaimEnd {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Failed, "failed"), (Self::Crashed, "crashed"), (Self::Released, "released")];

    /// The word for it.
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
