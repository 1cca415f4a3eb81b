//! Claims: the request of a worker, and the result.

use std::fmt::Debug;

use crate::model::{Fence, Lane, Lease, Nonce, Rate, Step, Task, Tree};
use crate::{Key, TaskId, Timestamp, WorkerId};

/// A worker's request for tasks.
#[derive(Clone, Copy, Debug)]
pub struct ClaimRequest<'a> {
    /// The worker.
    pub worker: WorkerId,
    /// Random bits that were drawn for this request only: they are part of the epoch of each claimed task.
    pub nonce: Nonce,
    /// The moment against which "due" is measured.
    pub now: Timestamp,
    /// When the leases end.
    pub until: Timestamp,
    /// The maximum number of tasks; the store returns at most [`CLAIM_MAX`](crate::limits::CLAIM_MAX).
    pub max: usize,
    /// Functions that the worker knows. Tasks of other functions are not claimed.
    pub functions: &'a [String],
    /// Queues that the worker serves; `None` means every queue.
    pub queues: Option<&'a [String]>,
    /// The worker's tags. Workers that share a tag with a task, and workers without tags, may take it; every worker may take a
    /// task without tags.
    pub tags: &'a [String],
    /// How many tasks of a function may run, or start, in the whole store. Functions that are not listed are not limited.
    pub limits: &'a [Limit],
    /// The worker's sticky cache.
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

    /// The limit of a function.
    #[must_use]
    pub fn limit(&self, function: &str) -> Option<&Limit> {
        self.limits.iter().find(|limit| limit.function == function)
    }
}

/// How many tasks of a function may run at once, and may start in a period (G8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The function.
    pub function: String,
    /// The maximum number of running tasks: tasks under a lease that has not expired.
    pub max_concurrent: Option<u32>,
    /// The maximum number of claims in any period.
    pub rate: Option<Rate>,
}

impl Limit {
    /// Whether it limits anything.
    #[must_use]
    pub const fn binds(&self) -> bool {
        self.max_concurrent.is_some() || self.rate.is_some()
    }

    /// How many more tasks may be claimed, if this many run, and this many started in the rate's period. `None` if there is no
    /// bound.
    #[must_use]
    pub fn room(&self, running: u64, started: u64) -> Option<u64> {
        let places = self.max_concurrent.map(|max| u64::from(max).saturating_sub(running));
        let starts = self.rate.map(|rate| rate.room(started));
        places.into_iter().chain(starts).min()
    }

    /// The moment from which the limit has room for more than `left` tasks without a change of the store. Each part with
    /// room for at most `left` tasks must get more: `max_concurrent` when the first lease ends, the rate when it forgets its
    /// first bucket. `None` if every part has room, or if only a change of the store makes room.
    #[must_use]
    pub fn gives_way(&self, usage: &LimitUsage, left: u64) -> Option<Timestamp> {
        let slots = self.max_concurrent.map(|max| u64::from(max).saturating_sub(usage.running));
        let slot = slots.filter(|room| *room <= left).and(usage.first_end);
        let rate = self.rate.filter(|rate| rate.room(usage.started) <= left);
        let start = rate.zip(usage.first_bucket).map(|(rate, bucket)| rate.forgets(bucket));
        slot.max(start)
    }
}

/// How much of a function's [`Limit`] is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitUsage {
    /// Tasks that run under leases which have not expired.
    pub running: u64,
    /// When the first of these leases ends.
    pub first_end: Option<Timestamp>,
    /// Tasks that started in the rate's period.
    pub started: u64,
    /// The first bucket of the rate that counts them.
    pub first_bucket: Option<Timestamp>,
}

/// A task whose deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// The task.
    pub task: TaskId,
    /// Its position in the execution.
    pub tree: Tree,
    /// Its key.
    pub key: Option<Key>,
    /// Its deadline.
    pub expires_at: Timestamp,
}

/// Parked tasks that a worker still has in memory, so that a claim need not read their record again.
///
/// A store calls it in the middle of a claim: it must be quick and must not block.
pub trait StickyCache: Debug + Send + Sync {
    /// The completions that the code of a task has seen, if the worker has the task in its present state: as parked by the
    /// claim and after the commits that the fence names. The fence is that of the task *before* it is claimed again.
    fn seen(&self, fence: &Fence) -> Option<u32>;
}

/// A sticky cache without entries.
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
    /// The moment from which the task could be claimed: its due time, or the end of the lease that it was under before.
    pub due_at: Timestamp,
    /// The lease.
    pub lease: Lease,
    /// The fence of the claimer's first write.
    pub fence: Fence,
    /// Set if the task was in the worker's sticky cache: `steps` then contains only the changes after this many completions,
    /// which are the steps that have ended since, and the maps that are still open.
    pub cached: Option<u32>,
    /// The recorded steps: completed ones in the order of their completion, then the others by position.
    pub steps: Vec<Step>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_gives_way_when_each_part_that_binds_does() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let rate: Rate = "4/10s".parse().expect("a rate");
        let limit = |max_concurrent, rate| Limit { function: "charge".to_owned(), max_concurrent, rate };
        let usage = LimitUsage {
            running: 2,
            first_end: Some(at(30)),
            started: 4,
            first_bucket: Some(rate.bucket(at(100))),
        };
        let forgets = rate.forgets(rate.bucket(at(100)));

        assert_eq!(limit(Some(2), None).gives_way(&usage, 0), Some(at(30)));
        assert_eq!(limit(Some(3), None).gives_way(&usage, 0), None, "there is room");
        assert_eq!(limit(Some(3), None).gives_way(&usage, 1), Some(at(30)), "the room is taken now");
        assert_eq!(limit(None, Some(rate)).gives_way(&usage, 0), Some(forgets));
        assert_eq!(limit(Some(2), Some(rate)).gives_way(&usage, 0), Some(forgets.max(at(30))));
        assert_eq!(limit(Some(3), Some(rate)).gives_way(&usage, 0), Some(forgets), "slots do not bind");
        assert_eq!(limit(Some(0), None).gives_way(&LimitUsage::default(), 0), None, "time makes no room");
    }
}
