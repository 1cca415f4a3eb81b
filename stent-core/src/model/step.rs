//! Steps: tasks from their parent's point of view.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::status::ParseStatusError;
use super::{Seq, TaskResult};
use crate::{Digest, TaskId, Timestamp};

/// The kind of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// A call of a durable function: the root of an execution, a step, or an item of a map.
    Call,
    /// A durable sleep. It ends at its moment; no worker claims it.
    Sleep,
    /// An inline closure that its function runs and records.
    Inline,
    /// A fan-out of one function over many items, which are tasks below it. The first failure of an item ends it.
    Map,
    /// A map that continues when items fail, and ends when all items have ended.
    Gather,
    /// A wait for a value from outside. It ends when the value arrives.
    Signal,
    /// The start of another execution. It has ended as soon as it is written.
    Spawn,
    /// A wait for the end of another execution.
    Join,
}

impl StepKind {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Call, "call"),
        (Self::Sleep, "sleep"),
        (Self::Inline, "inline"),
        (Self::Map, "map"),
        (Self::Gather, "gather"),
        (Self::Signal, "signal"),
        (Self::Spawn, "spawn"),
        (Self::Join, "join"),
    ];

    /// The kind as a word, the same in Rust, SQL and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Sleep => "sleep",
            Self::Inline => "inline",
            Self::Map => "map",
            Self::Gather => "gather",
            Self::Signal => "signal",
            Self::Spawn => "spawn",
            Self::Join => "join",
        }
    }

    /// Whether it is a fan-out, which has items below it and is fed.
    #[must_use]
    pub const fn is_map(self) -> bool {
        matches!(self, Self::Map | Self::Gather)
    }
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for StepKind {
    type Err = ParseStatusError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|(_, word)| *word == text).map(|(kind, _)| kind).ok_or_else(|| {
            ParseStatusError::new(
                text,
                &["call", "sleep", "inline", "map", "gather", "signal", "spawn", "join"],
            )
        })
    }
}

/// One step in its parent's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The step's task.
    pub id: TaskId,
    /// Its position in the parent.
    pub seq: Seq,
    /// Its kind.
    pub kind: StepKind,
    /// The name of the called function, or of the closure; `sleep` for a sleep.
    pub name: String,
    /// The state of the step.
    pub state: StepState,
    /// For a map, its progress.
    pub map: Option<Progress>,
    /// The digest of its arguments; for a map, of the items so far. `None` if it was not recorded: see
    /// [`NewTask::digest`](super::NewTask::digest).
    pub digest: Option<Digest>,
}

/// The state of a step from its parent's point of view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Started, not ended. A sleep has the moment when it ends.
    Open {
        /// When the step is due, for a sleep.
        due: Option<Timestamp>,
    },
    /// Ended. The record is final (G4).
    Done {
        /// The number of this completion in the parent, counting from 1. Code always sees completions in this order.
        order: u32,
        /// When it ended.
        at: Timestamp,
        /// The result. A map's items are read separately, in pages.
        result: TaskResult,
    },
    /// The parent gave it up before it ended, and never sees a result.
    Cancelled,
}

impl Step {
    /// The number of this completion in the parent, if the step has ended.
    #[must_use]
    pub const fn order(&self) -> Option<u32> {
        match &self.state {
            StepState::Done { order, .. } => Some(*order),
            StepState::Open { .. } | StepState::Cancelled => None,
        }
    }

    /// Whether the step is news for a worker that has the parent in memory and whose code has seen this many completions: the
    /// step completed later, or is an open map, whose items may have progressed.
    #[must_use]
    pub const fn is_news(&self, seen: u32) -> bool {
        match &self.state {
            StepState::Done { order, .. } => *order > seen,
            StepState::Open { .. } => self.kind.is_map(),
            StepState::Cancelled => false,
        }
    }
}

/// The progress of a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Items written so far.
    pub fed: u32,
    /// The total number of items, known once the last one is written.
    pub total: Option<u32>,
    /// Items that have ended.
    pub done: u32,
}
