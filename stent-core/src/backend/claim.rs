//! What a worker asks of a claim, and what it gets.

use std::fmt::Debug;

use crate::model::{Epoch, Fence, Lane, Lease, Step, Task};
use crate::{TaskId, Timestamp, WorkerId};

/// A worker's wish for work.
#[derive(Clone, Copy, Debug)]
pub struct ClaimRequest<'a> {
    /// Who asks.
    pub worker: WorkerId,
    /// The moment that "due" is measured by.
    pub now: Timestamp,
    /// When the leases end.
    pub until: Timestamp,
    /// At most so many tasks; at most [`CLAIM_MAX`](crate::limits::CLAIM_MAX) are given.
    pub max: usize,
    /// Functions that the worker knows. Work of others stays for those who do.
    pub functions: &'a [String],
    /// Queues that the worker serves; none means every queue.
    pub queues: Option<&'a [String]>,
    /// What the worker still has in memory.
    pub recall: &'a dyn Recall,
}

impl ClaimRequest<'_> {
    /// Whether the worker may take tasks of this lane (G10).
    #[must_use]
    pub fn admits(&self, lane: &Lane) -> bool {
        self.functions.contains(&lane.function)
            && self.queues.is_none_or(|queues| queues.contains(&lane.queue))
    }
}

/// What a worker still has in memory of parked tasks, so that a claim need not read their record again.
///
/// Asked by a store in the middle of a claim: an answer must be quick and must not block.
pub trait Recall: Debug + Send + Sync {
    /// How many completions the code of this task has seen, if the worker holds it as it was parked by this claim.
    fn seen(&self, task: TaskId, epoch: Epoch) -> Option<u32>;
}

/// A memory that holds nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRecall;

impl Recall for NoRecall {
    fn seen(&self, _task: TaskId, _epoch: Epoch) -> Option<u32> {
        None
    }
}

/// A claimed task, with everything that is needed to run it.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// The task, as it stands after the claim.
    pub task: Task,
    /// The exclusive right to it.
    pub lease: Lease,
    /// What the claimer's first write is checked against.
    pub fence: Fence,
    /// Set if the worker's memory was recalled: `steps` then holds only what has changed after so many completions,
    /// that is what has ended since, and the maps that are still open.
    pub recalled: Option<u32>,
    /// The recorded steps: completed ones in the order of their completion, then the others by position.
    pub steps: Vec<Step>,
}
