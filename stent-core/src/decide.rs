//! Rules: requests, turns and crashes, turned into transitions.
//!
//! | What happened | Rule | The task becomes |
//! |---|---|---|
//! | a call is dispatched | [`start`] | pending |
//! | a turn ended, the code waits | [`park`] | waiting |
//! | a turn has something to record and continues | [`keep`] | stays running |
//! | the code ended with a result | [`end`] | completed |
//! | the code ended with a failure | [`end`] | pending, if the policy has an attempt left; else failed |
//! | a claim found too many crashes | [`crashed`] | failed, before its code runs again |
//! | the code stops because the task was asked to end | [`stop`] | cancelled |
//! | the store cannot hold the data of a turn | [`refuse`] | failed, without a retry |
//! | a worker shuts down | [`release`] | pending |
//! | parked code was woken by something outside the store | [`unpark`] | ready |
//! | parked code still waits for something outside the store | [`postpone`] | waiting, due later |
//! | the deadline has passed | [`expire`] | failed, or cancelled if it was asked to end |
//! | an execution is asked to end | [`cancel`] | cancelling, then cancelled |
//! | a value is sent to an execution | [`signal`] | unchanged; the oldest wait for the value completes |
//! | a dead letter is retried | [`redrive`] | pending |
//! | a dead letter is discarded | [`discard`] | failed, and no dead letter any more |

use std::fmt;
use std::time::Duration;

use crate::backend::{Claimed, Expired};
use crate::limits::CRASHES_MAX;
use crate::model::{Epoch, Fence, Mark, NewTask, RetryPolicy, Tree, Wait};
use crate::replay::{End, Turn};
use crate::transition::{Action, Commit, Dispatch, Expire, Next, Postpone, Request, Transition, Unpark};
use crate::{ExecutionId, Failure, Key, Payload, TaskId, Timestamp, own_failure};

/// A leaseholder's knowledge of its task: the data that its writes need.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// The fence that the next write must pass.
    pub fence: Fence,
    /// The task's position in its execution.
    pub tree: Tree,
    /// The retry policy that was set for it.
    pub retry: Option<RetryPolicy>,
    /// Attempts that failed and were retried.
    pub attempts: u32,
    /// The key that it shares with equal calls.
    pub key: Option<Key>,
    /// Whether it was a dead letter that was redriven, and nothing was committed since.
    pub redriven: bool,
}

impl Held {
    /// The holder's knowledge after a claim.
    #[must_use]
    pub fn claimed(claimed: &Claimed) -> Self {
        Self {
            fence: claimed.fence,
            tree: claimed.task.tree,
            retry: claimed.task.retry.clone(),
            attempts: claimed.task.attempts,
            key: claimed.task.key,
            redriven: claimed.task.marks.contains(Mark::Redrive),
        }
    }

    /// The commit of a turn, with the task's next state.
    fn commit(&self, turn: Turn, next: Next, now: Timestamp) -> Commit {
        Commit {
            insert: turn.insert,
            fire: turn.fire,
            cancel: turn.cancel,
            feed: turn.feed,
            seen: turn.seen,
            notes: turn.notes,
            ..Commit::new(self.fence, self.tree, self.key, now, next)
        }
    }
}

/// Starts an execution with its root task. Under a key, only the first dispatch starts one.
#[must_use]
pub fn start(root: NewTask, key: Option<Key>, now: Timestamp) -> Transition {
    Dispatch { root, key, at: now }.into()
}

/// Records a turn whose code continues under the same lease.
#[must_use]
pub fn keep(held: &Held, turn: Turn, now: Timestamp) -> Commit {
    held.commit(turn, Next::Keep, now)
}

/// Records a turn whose code waits, and releases the lease.
#[must_use]
pub fn park(held: &Held, turn: Turn, wait: Wait, now: Timestamp) -> Commit {
    held.commit(turn, Next::Park(wait), now)
}

/// Records the end of a task's code: its result, its failure, or another attempt.
///
/// A function without steps that names no policy has the default policy. A function that has recorded steps is
/// retried only if its own policy says so: its steps have attempts of their own, and attempts must not multiply down
/// the tree.
///
/// The code of a redriven dead letter first reaches the recorded failure again. This is no new failure: the record is cut
/// there and the function continues at once.
#[must_use]
pub fn end(held: &Held, turn: Turn, end: End, now: Timestamp) -> Commit {
    let failure = match end.result {
        Ok(result) => return held.commit(turn, Next::End(Ok(result)), now),
        Err(failure) => failure.storable(),
    };
    if held.redriven && !end.redo.is_empty() {
        let mut redo = held.commit(Turn { seen: turn.seen, ..Turn::default() }, Next::Redo, now);
        redo.erase = end.redo;
        return redo;
    }
    match retry_delay(held.retry.as_ref(), end.had_steps, held.fence.task, held.attempts, &failure) {
        None => held.commit(turn, Next::End(Err(failure)), now),
        Some(delay) => {
            // Requests of the failed attempt that were never written are not written now. Nor are
            // its notes: only notes of successful attempts count.
            let mut turn =
                Turn { insert: Vec::new(), own: Vec::new(), feed: Vec::new(), notes: Vec::new(), ..turn };
            // Steps that leave the record need not be given up first.
            turn.cancel.retain(|step| !end.redo.contains(step));
            let mut retry = held.commit(turn, Next::Retry { ready_at: now + delay, failure }, now);
            retry.erase = end.redo;
            retry
        }
    }
}

/// The delay before a failed function is retried; `None` if there is no retry.
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

/// Ends a task that was claimed too often without a committed turn, because it kills the workers that run it (G13).
#[must_use]
pub fn crashed(claimed: &Claimed, now: Timestamp) -> Option<Commit> {
    // This claim counts, too; the claims before it were crashes.
    let crashes = claimed.task.uncommitted_claims.saturating_sub(1);
    (crashes >= CRASHES_MAX).then(|| {
        let failure = own_failure(
            Failure::CRASH_LOOP,
            format!(
                "task {} of `{}` was claimed {crashes} times without a committed turn: it seems to crash the process \
                 that runs it",
                claimed.task.id, claimed.task.lane.function
            ),
        );
        Held::claimed(claimed).commit(Turn::default(), Next::End(Err(failure.fatal())), now)
    })
}

/// Ends a task that was asked to end, with the effects of its last turn (G15).
#[must_use]
pub fn stop(held: &Held, turn: Turn, now: Timestamp) -> Commit {
    held.commit(turn, Next::End(Err(Failure::cancelled())), now)
}

/// Ends a task whose turn produced data that the store cannot hold: sending the data again cannot help, and running the
/// code again would produce it again. `None` for a commit without such data, and for a commit that was refused before.
///
/// The commit gives up the steps that the code has given up, and writes nothing else of the turn.
#[must_use]
pub fn refuse(refused: &Commit, reason: impl fmt::Display, now: Timestamp) -> Option<Commit> {
    let what = match &refused.next {
        Next::End(Ok(_)) => "its result".to_owned(),
        Next::End(Err(failure)) if failure.kind == Failure::REFUSED => return None,
        Next::End(Err(failure)) | Next::Retry { failure, .. } => {
            format!("its failure `{}`", failure.clone().storable().kind)
        }
        Next::Keep | Next::Park(_) | Next::Redo => "its record".to_owned(),
        Next::Release => return None,
    };
    let message = format!("the store cannot hold {what}: {reason}");
    let failure = own_failure(Failure::REFUSED, message).fatal().storable();
    Some(Commit {
        cancel: refused.cancel.clone(),
        seen: refused.seen,
        ..Commit::new(refused.fence, refused.tree, refused.key, now, Next::End(Err(failure)))
    })
}

/// Releases a task, because its worker shuts down. Counts neither as an attempt nor as a crash.
#[must_use]
pub fn release(held: &Held, now: Timestamp) -> Commit {
    held.commit(Turn::default(), Next::Release, now)
}

/// Wakes a parked task whose code, still in memory, was woken by an event that no store knows.
#[must_use]
pub const fn unpark(task: TaskId, epoch: Epoch, now: Timestamp) -> Transition {
    Transition::Unpark(Unpark { task, epoch, at: now })
}

/// Keeps a parked task, which would be due at `from`, from being claimed before `until`: its code, still in memory, waits for
/// an event that no store knows.
#[must_use]
pub const fn postpone(
    task: TaskId,
    epoch: Epoch,
    from: Timestamp,
    until: Timestamp,
    now: Timestamp,
) -> Transition {
    Transition::Postpone(Postpone { task, epoch, at: now, from, until })
}

/// Ends a task whose deadline has passed (G15).
#[must_use]
pub fn expire(expired: &Expired, now: Timestamp) -> Transition {
    let Expired { task, tree, key, expires_at, .. } = *expired;
    let failure = own_failure(Failure::TIMED_OUT, format!("its deadline passed at {expires_at}")).fatal();
    Expire { task, tree, key, at: now, failure }.into()
}

/// Asks an execution to end; running tasks have a grace period to end (G15).
#[must_use]
pub fn cancel(execution: ExecutionId, grace: Duration, now: Timestamp) -> Transition {
    request(execution, Action::Cancel { until: now + grace }, now)
}

/// Sends a value to an execution. `id` names this send.
#[must_use]
pub fn signal(
    execution: ExecutionId,
    name: impl Into<String>,
    id: TaskId,
    value: Payload,
    now: Timestamp,
) -> Transition {
    let name = name.into();
    let key = Key::of_signal(execution, &name);
    request(execution, Action::Signal { key, name, id, value }, now)
}

/// Retries a dead letter from the failed step, under another policy and on another queue if they are given.
#[must_use]
pub fn redrive(
    execution: ExecutionId,
    retry: Option<RetryPolicy>,
    queue: Option<String>,
    now: Timestamp,
) -> Transition {
    request(execution, Action::Redrive { retry, queue }, now)
}

/// Discards a dead letter.
#[must_use]
pub fn discard(execution: ExecutionId, now: Timestamp) -> Transition {
    request(execution, Action::Discard, now)
}

fn request(execution: ExecutionId, action: Action, now: Timestamp) -> Transition {
    Request { execution, at: now, action }.into()
}

#[cfg(test)]
mod tests;
