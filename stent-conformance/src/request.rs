//! Requests from outside an execution, as cases write them.

use std::time::Duration;

use stent_core::backend::Expired;
use stent_core::decide;
use stent_core::model::RetryPolicy;
use stent_core::transition::Transition;
use stent_core::{Payload, TaskId, Timestamp};

use crate::task::t;

/// Gives a transition another moment than `t(0)`.
pub(crate) trait At {
    fn at(self, at: Timestamp) -> Self;
}

impl At for Transition {
    fn at(self, at: Timestamp) -> Self {
        self.decided_at(at)
    }
}

/// Sends a value to an execution; `id` names the send.
pub(crate) fn signal(root: TaskId, name: &str, id: TaskId, value: Payload) -> Transition {
    decide::signal(root.execution(), name, id, value, t(0))
}

/// Cancels an execution, with a grace of `grace` seconds.
pub(crate) fn cancel(root: TaskId, grace: u64, at: Timestamp) -> Transition {
    decide::cancel(root.execution(), Duration::from_secs(grace), at)
}

/// Ends a task whose deadline has passed.
pub(crate) fn expire(expired: &Expired, at: Timestamp) -> Transition {
    decide::expire(expired, at)
}

pub(crate) fn redrive(root: TaskId) -> Transition {
    decide::redrive(root.execution(), None, None, t(0))
}

/// Redrives a dead letter with another retry policy.
pub(crate) fn redrive_by(root: TaskId, retry: RetryPolicy) -> Transition {
    decide::redrive(root.execution(), Some(retry), None, t(0))
}

/// Redrives a dead letter on another queue.
pub(crate) fn redrive_on(root: TaskId, queue: &str) -> Transition {
    decide::redrive(root.execution(), None, Some(queue.to_owned()), t(0))
}

pub(crate) fn discard(root: TaskId) -> Transition {
    decide::discard(root.execution(), t(0))
}
