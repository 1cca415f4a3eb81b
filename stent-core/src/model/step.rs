//! Steps: tasks as their parent sees them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::status::ParseStatusError;
use super::{Seq, TaskResult};
use crate::{Digest, TaskId, Timestamp};

/// What kind of task a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// A call of a durable function: the root of an execution, a step, or an item of a map.
    Call,
    /// A durable sleep. It ends by being due; no worker claims it.
    Sleep,
    /// An inline closure, run and recorded by the function that contains it.
    Inline,
    /// A fan-out of one function over many items, which are tasks below it. The first item that fails ends it.
    Map,
    /// A map that goes on when items fail, and ends when all of them have ended.
    Gather,
    /// A wait for a value from outside. It ends when the value is there.
    Signal,
    /// The start of another execution. It has ended once it is written.
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

    /// The word for it, the same in Rust, SQL and on the command line.
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
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The step's own task.
    pub id: TaskId,
    /// Its position in the parent.
    pub seq: Seq,
    /// What kind of step it is.
    pub kind: StepKind,
    /// The function called, the name of the closure; for a sleep, `sleep`.
    pub name: String,
    /// How far it has come.
    pub state: StepState,
    /// For a map, how far it has come.
    pub map: Option<Progress>,
    /// What it was called with; for a map, what it has been fed with so far. None where this was not recorded: see
    /// [`NewTask::digest`](super::NewTask::digest).
    pub digest: Option<Digest>,
}

/// How far a step has come, as its parent sees it.
#[derive(Clone, Debug, PartialEq)]
pub enum StepState {
    /// Started, not ended. A sleep names the moment when it ends.
    Open {
        /// When the step is due, for a sleep.
        due: Option<Timestamp>,
    },
    /// Ended. The record is final (G4).
    Done {
        /// Which completion of the parent this was, counting from 1. Code sees completions in this order, always.
        order: u32,
        /// When it ended.
        at: Timestamp,
        /// What it gave. A map's items are read apart, in pages.
        result: TaskResult,
    },
    /// Given up by the parent before it ended; the parent never sees a result.
    Cancelled,
}

impl Step {
    /// Which completion of the parent this is, if the step has ended.
    #[must_use]
    pub const fn order(&self) -> Option<u32> {
        match &self.state {
            StepState::Done { order, .. } => Some(*order),
            StepState::Open { .. } | StepState::Cancelled => None,
        }
    }
}

/// How far a map has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Items written so far.
    pub fed: u32,
    /// Items in all, known once the last of them is written.
    pub total: Option<u32>,
    /// Items that have ended.
    pub done: u32,
}
