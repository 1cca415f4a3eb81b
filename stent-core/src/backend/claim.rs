//! What a worker asks of a claim, and what it gets.

use std::fmt::Debug;

use crate::model::{Fence, Lane, Lease, Nonce, Rate, Step, Task, Tree};
use crate::{Key, TaskId, Timestamp, WorkerId};

/// A worker's wish for work.
#[derive(Clone, Copy, Debug)]
pub struct ClaimRequest<'a> {
    /// Who asks.
    pub worker: WorkerId,
    /// Chance that was drawn for this request, and for no other: it is part of the epoch of each task that is claimed.
    pub nonce: Nonce,
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
    /// The worker's tags. A task that has tags is taken by workers that have one of them, or none at all; a task without
    /// tags by everyone.
    pub tags: &'a [String],
    /// How many tasks of a function may run, or start, in the whole store. Functions that are not named are not limited.
    pub limits: &'a [Limit],
    /// What the worker still has in memory.
    pub cache: &'a dyn StickyCache,
}

impl ClaimRequest<'_> {
    /// Whether the worker may take tasks of this lane (G10).
    #[must_use]
    pub fn admits(&self, lane: &Lane) -> bool {
        self.functions.contains(&lane.function)
            && self.queues.is_none_or(|queues| queues.contains(&lane.queue))
            && (self.tags.is_empty()
                || lane.tags.is_empty()
                || self.tags.iter().any(|tag| lane.tags.contains(tag)))
    }

    /// What limits a function.
    #[must_use]
    pub fn limit(&self, function: &str) -> Option<&Limit> {
        self.limits.iter().find(|limit| limit.function == function)
    }
}

/// How many tasks of a function may run at once, and start in a stretch of time (G8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The function.
    pub function: String,
    /// At most so many run at once: tasks under a lease that has not run out.
    pub max_concurrent: Option<u32>,
    /// At most so many are claimed in any stretch of time.
    pub rate: Option<Rate>,
}

impl Limit {
    /// Whether it limits anything.
    #[must_use]
    pub const fn binds(&self) -> bool {
        self.max_concurrent.is_some() || self.rate.is_some()
    }

    /// How many more may be claimed when so many run, and so many have started in the time of the rate. None if there is no
    /// bound.
    #[must_use]
    pub fn room(&self, running: u64, started: u64) -> Option<u64> {
        let places = self.max_concurrent.map(|max| u64::from(max).saturating_sub(running));
        let starts = self.rate.map(|rate| rate.room(started));
        places.into_iter().chain(starts).min()
    }
}

/// A task whose time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// The task.
    pub task: TaskId,
    /// Where it hangs.
    pub tree: Tree,
    /// Its key.
    pub key: Option<Key>,
    /// When its time was up.
    pub expires_at: Timestamp,
}

/// What a worker still has in memory of parked tasks, so that a claim need not read their record again.
///
/// Asked by a store in the middle of a claim: an answer must be quick and must not block.
pub trait StickyCache: Debug + Send + Sync {
    /// How many completions the code of a task has seen, if the worker holds it as it stands in the store: parked by this
    /// claim, after so many commits. The fence is the one that the task has *before* it is claimed anew.
    fn seen(&self, fence: &Fence) -> Option<u32>;
}

/// A memory that holds nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStickyCache;

impl StickyCache for NoStickyCache {
    fn seen(&self, _fence: &Fence) -> Option<u32> {
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
    pub cached: Option<u32>,
    /// The recorded steps: completed ones in the order of their completion, then the others by position.
    pub steps: Vec<Step>,
}
