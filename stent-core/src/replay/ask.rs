//! The code's requests for steps.

use crate::model::{Keyed, Lane, NewTask, RetryPolicy, StepKind};
use crate::{Digest, ExecutionId, Payload, Timestamp};

/// The code's request for a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The function called, or the step's own name.
    pub name: String,
    /// The kind of step, with its data.
    pub what: StepSpec,
    /// The digest of its arguments, if they are compared.
    pub digest: Option<Digest>,
    /// Whether the code continues without waiting for it.
    pub detached: bool,
    /// The source location of the request.
    pub location: &'static std::panic::Location<'static>,
}

impl Ask {
    /// A request for a step that the code waits for and whose arguments are not compared.
    pub fn new(
        what: StepSpec,
        name: impl Into<String>,
        location: &'static std::panic::Location<'static>,
    ) -> Self {
        Self { name: name.into(), what, digest: None, detached: false, location }
    }

    /// The kind of step.
    #[must_use]
    pub const fn kind(&self) -> StepKind {
        self.what.kind()
    }
}

/// The data of a requested step, for each kind of step.
#[derive(Clone, Debug, PartialEq)]
pub enum StepSpec {
    /// A call of a durable function.
    Call {
        /// How to call it.
        spec: Box<CallSpec>,
        /// The key that it shares with other calls.
        keyed: Option<Keyed>,
    },
    /// A durable sleep.
    Sleep {
        /// When it ends.
        due: Timestamp,
    },
    /// An inline closure, which the code runs itself.
    Inline,
    /// A map whose first failed item ends it.
    Map,
    /// A map that continues when items fail.
    Gather,
    /// A wait for a value from outside.
    Signal {
        /// The key under which the value arrives.
        keyed: Keyed,
    },
    /// The start of another execution.
    Spawn {
        /// The root of that execution.
        root: Box<NewTask>,
    },
    /// A wait for the end of another execution.
    Join {
        /// That execution.
        execution: ExecutionId,
    },
}

impl StepSpec {
    /// The kind of step.
    #[must_use]
    pub const fn kind(&self) -> StepKind {
        match self {
            Self::Call { .. } => StepKind::Call,
            Self::Sleep { .. } => StepKind::Sleep,
            Self::Inline => StepKind::Inline,
            Self::Map => StepKind::Map,
            Self::Gather => StepKind::Gather,
            Self::Signal { .. } => StepKind::Signal,
            Self::Spawn { .. } => StepKind::Spawn,
            Self::Join { .. } => StepKind::Join,
        }
    }
}

/// How a function is to be called.
#[derive(Clone, Debug, PartialEq)]
pub struct CallSpec {
    /// Queue and function.
    pub lane: Lane,
    /// Higher runs first.
    pub priority: i16,
    /// The encoded arguments.
    pub args: Payload,
    /// The retry policy, where one was set.
    pub retry: Option<RetryPolicy>,
    /// Not before this moment.
    pub ready_at: Option<Timestamp>,
    /// Its deadline.
    pub expires_at: Option<Timestamp>,
    /// Where in a trace it was requested.
    pub trace: Option<String>,
    /// Whether its function has a limit, so that only a claim may start it.
    pub limited: bool,
}

/// How the record answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The step is new.
    New,
    /// The record has the step; its result is delivered in its turn.
    Recorded,
}
