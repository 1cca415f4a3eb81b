//! What code asks for.

use crate::model::{Keyed, Lane, NewTask, RetryPolicy, StepKind};
use crate::{Digest, ExecutionId, Payload, TaskId, Timestamp};

/// A wish of the code for a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The id that the step gets if it is new.
    pub id: TaskId,
    /// What kind of step it is.
    pub kind: StepKind,
    /// The function called, or the step's own name.
    pub name: String,
    /// How to call it, for calls.
    pub call: Option<CallSpec>,
    /// When it is due, for sleeps.
    pub due: Option<Timestamp>,
    /// The key under which it is found, for calls that others may make too and for what waits under a key.
    pub keyed: Option<Keyed>,
    /// The root of the execution that it starts, for spawns.
    pub spawn: Option<Box<NewTask>>,
    /// The execution that it waits for, for joins.
    pub join: Option<ExecutionId>,
    /// The digest of its arguments, if they are compared.
    pub digest: Option<Digest>,
    /// When the code asked, which is when an inline step starts.
    pub at: Timestamp,
    /// Whether the code does not wait for it.
    pub detached: bool,
    /// Where in the source it is asked for.
    pub location: &'static std::panic::Location<'static>,
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
    /// When its time is up.
    pub expires_at: Option<Timestamp>,
    /// Where in a trace it was asked for.
    pub trace: Option<String>,
    /// Whether its function's running tasks are counted, so that only a claim may start it.
    pub limited: bool,
}

/// How the record answers a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is new.
    New,
    /// The record has it; the result comes in its turn.
    Recorded,
}
