//! Rules: requests, turns and crashes, turned into transitions.
//!
//! | What happened | Rule | The task becomes |
//! |---|---|---|
//! | a call is dispatched | [`start`] | pending |
//! | a turn ended, the code waits | [`park`] | waiting |
//! | a turn has something to record and goes on | [`keep`] | stays running |
//! | the code ended with a result | [`end`] | completed |
//! | the code ended with a failure | [`end`] | pending, if the policy has an attempt left; else failed |
//! | a claim found too many crashes | [`crashed`] | failed, before its code runs again |
//! | a worker shuts down | [`release`] | pending |
//! | parked code was woken by the world | [`nudge`] | ready |

use std::time::Duration;

use crate::backend::Claimed;
use crate::limits::CRASHES_MAX;
use crate::model::{Epoch, Fence, NewTask, RetryPolicy, Tree, Wait};
use crate::replay::{End, Turn};
use crate::transition::{Change, Guard, Transition};
use crate::{Failure, TaskId, Timestamp};

/// What a leaseholder knows of its task: enough to write to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// What the next write is checked against.
    pub fence: Fence,
    /// Where the task hangs.
    pub tree: Tree,
    /// The retry policy that was set for it.
    pub retry: Option<RetryPolicy>,
    /// Attempts that failed and were retried.
    pub attempts: u32,
}

impl Held {
    /// What a claim holds.
    #[must_use]
    pub fn claimed(claimed: &Claimed) -> Self {
        Self {
            fence: claimed.fence,
            tree: claimed.task.tree,
            retry: claimed.task.retry.clone(),
            attempts: claimed.task.attempts,
        }
    }

    const fn guard(&self) -> Guard {
        Guard::Leased { fence: self.fence, tree: self.tree }
    }
}

/// Starts an execution with its root task.
#[must_use]
pub fn start(root: NewTask, now: Timestamp) -> Transition {
    let mut transition = Transition::new(Guard::Absent(root.id), now, Change::Start);
    transition.insert.push(root);
    transition
}

/// Records a turn whose code goes on under the same lease.
#[must_use]
pub fn keep(held: &Held, turn: Turn, now: Timestamp) -> Transition {
    record(held, turn, Change::Keep, now)
}

/// Records a turn whose code waits, and gives the lease back.
#[must_use]
pub fn park(held: &Held, turn: Turn, wait: Wait, now: Timestamp) -> Transition {
    record(held, turn, Change::Park(wait), now)
}

/// Records the end of a task's code: its result, its failure, or another attempt.
///
/// A leaf that names no policy has the default one. A function that has recorded steps is tried again only if its own
/// policy says so: its steps have attempts of their own, and attempts must not multiply down the tree.
#[must_use]
pub fn end(held: &Held, turn: Turn, end: End, now: Timestamp) -> Transition {
    let failure = match end.result {
        Ok(result) => return record(held, turn, Change::End(Ok(result)), now),
        Err(failure) => failure,
    };
    match retry_delay(held.retry.as_ref(), end.had_steps, held.fence.task, held.attempts, &failure) {
        None => record(held, turn, Change::End(Err(failure)), now),
        Some(delay) => {
            // Wishes of the failed attempt that were never written are not written now.
            let mut turn = Turn { insert: Vec::new(), own: Vec::new(), feed: Vec::new(), ..turn };
            // What leaves the record need not be given up before.
            turn.cancel.retain(|step| !end.redo.contains(step));
            let mut retry = record(held, turn, Change::Retry { ready_at: now + delay, failure }, now);
            retry.erase = end.redo;
            retry
        }
    }
}

/// How long to wait before a failed function is tried again; `None` when it is not.
#[must_use]
pub fn retry_delay(
    policy: Option<&RetryPolicy>,
    had_steps: bool,
    task: TaskId,
    attempts: u32,
    failure: &Failure,
) -> Option<Duration> {
    match policy {
        Some(policy) => policy.next_delay(task, attempts + 1, failure),
        None if had_steps => None,
        None => RetryPolicy::default().next_delay(task, attempts + 1, failure),
    }
}

/// Gives a task up that was claimed too often without a committed turn: it kills the workers that take it (G13).
#[must_use]
pub fn crashed(claimed: &Claimed, now: Timestamp) -> Option<Transition> {
    // The claim itself counts as a try; the ones before it were crashes.
    let crashes = claimed.task.tries.saturating_sub(1);
    (crashes >= CRASHES_MAX).then(|| {
        let failure = Failure::new(
            Failure::CRASH_LOOP,
            format!(
                "task {} of `{}` was claimed {crashes} times and no worker committed a turn: it seems to end the process \
                 that runs it",
                claimed.task.id, claimed.task.lane.function
            ),
        );
        record(&Held::claimed(claimed), Turn::default(), Change::End(Err(failure.fatal())), now)
    })
}

/// Hands a task back: its worker shuts down. Counts as nothing.
#[must_use]
pub fn release(held: &Held, now: Timestamp) -> Transition {
    record(held, Turn::default(), Change::Release, now)
}

/// Wakes a parked task whose code, still in memory, was woken by something that no store knows of.
#[must_use]
pub fn nudge(task: TaskId, epoch: Epoch, now: Timestamp) -> Transition {
    Transition::new(Guard::Parked { task, epoch }, now, Change::Wake)
}

fn record(held: &Held, turn: Turn, change: Change, now: Timestamp) -> Transition {
    let mut transition = Transition::new(held.guard(), now, change);
    transition.insert = turn.insert;
    transition.fire = turn.fire;
    transition.cancel = turn.cancel;
    transition.feed = turn.feed;
    transition.seen = turn.seen;
    transition
}

#[cfg(test)]
mod tests;
