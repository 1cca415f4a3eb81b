//! Hooks for metrics: what happens, told to whoever counts. Keeps no numbers itself and names no metrics system.
//!
//! ```
//! use std::sync::atomic::{AtomicU64, Ordering};
//! use stent::Stent;
//! use stent::metrics::{Metrics, TaskCompleted};
//!
//! #[derive(Default)]
//! struct Completed(AtomicU64);
//!
//! impl Metrics for Completed {
//!     fn task_completed(&self, _event: &TaskCompleted<'_>) {
//!         self.0.fetch_add(1, Ordering::Relaxed);
//!     }
//! }
//!
//! let builder = Stent::builder().metrics(Completed::default());
//! # let _ = builder;
//! ```

use std::fmt;
use std::time::Duration;

use stent_core::{ExecutionId, Failure, TaskId, WorkerId};

/// What is told of the work of a process. Every method does nothing by default, so one implements what one counts.
///
/// Hooks are called on the worker's own loop, after the fact: what they are told stands in the store. (One thing is told
/// earlier: that a step has failed in its parent's turn and will be tried again.) They must return at once; send on what takes
/// longer. A hook that panics is caught and logged, and harms no task.
///
/// What a process did not live to tell is not told again: these numbers are for graphs and alarms, and the store has the
/// truth.
pub trait Metrics: Send + Sync + 'static {
    /// A worker has claimed a task. A step that is run at once in its parent's turn is not claimed.
    fn task_claimed(&self, event: &TaskClaimed<'_>) {
        let _ = event;
    }

    /// A task has ended with a result.
    fn task_completed(&self, event: &TaskCompleted<'_>) {
        let _ = event;
    }

    /// An attempt at a task has failed. It is tried again, or the task has failed for good.
    fn task_failed(&self, event: &TaskFailed<'_>) {
        let _ = event;
    }

    /// An execution has failed for good and is kept as a dead letter. One whose time was up, or that was cancelled, is none.
    fn dead_lettered(&self, event: &DeadLettered<'_>) {
        let _ = event;
    }

    /// A lease was renewed, or could not be this time; then it is tried again until the lease runs out.
    fn lease_renewed(&self, event: &LeaseRenewed) {
        let _ = event;
    }

    /// A lease was lost, and the work under it stopped.
    fn lease_lost(&self, event: &LeaseLost<'_>) {
        let _ = event;
    }

    /// A worker has exchanged with the store: commits went there and work came back, in one call.
    fn exchange_done(&self, event: &ExchangeDone) {
        let _ = event;
    }

    /// The host's clock was compared with the store's.
    fn clock_drift(&self, event: &ClockDrift) {
        let _ = event;
    }
}

/// The task that an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskRef<'a> {
    /// Its id.
    pub id: TaskId,
    /// The execution that it belongs to.
    pub execution: ExecutionId,
    /// The function.
    pub function: &'a str,
    /// The queue that it was for.
    pub queue: &'a str,
    /// Whether it is the root of its execution: then its end is the execution's.
    pub is_root: bool,
}

/// See [`Metrics::task_claimed`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskClaimed<'a> {
    /// Who claimed it.
    pub worker: WorkerId,
    /// What was claimed.
    pub task: TaskRef<'a>,
    /// Attempts that failed before.
    pub attempts: u32,
    /// Whether its code was still in memory and goes on there, instead of being replayed.
    pub is_recalled: bool,
}

/// See [`Metrics::task_completed`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskCompleted<'a> {
    /// Who ran it.
    pub worker: WorkerId,
    /// What has ended.
    pub task: TaskRef<'a>,
    /// From its first start to its end, waits and earlier attempts included.
    pub duration: Duration,
    /// How long the turn was that ended it.
    pub turn: Duration,
}

/// See [`Metrics::task_failed`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskFailed<'a> {
    /// Who ran it.
    pub worker: WorkerId,
    /// What has failed.
    pub task: TaskRef<'a>,
    /// Why.
    pub failure: &'a Failure,
    /// Whether it is tried again.
    pub is_retried: bool,
    /// From its first start to this failure, waits and earlier attempts included.
    pub duration: Duration,
    /// How long the turn was that ended so.
    pub turn: Duration,
}

/// See [`Metrics::dead_lettered`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadLettered<'a> {
    /// Its root.
    pub task: TaskRef<'a>,
    /// Why.
    pub failure: &'a Failure,
}

/// See [`Metrics::lease_renewed`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeaseRenewed {
    /// Who holds the lease.
    pub worker: WorkerId,
    /// The task that it is on.
    pub task: TaskId,
    /// Whether it was renewed. If not, the store could not be reached, and it is tried again soon.
    pub is_renewed: bool,
}

/// See [`Metrics::lease_lost`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeaseLost<'a> {
    /// Who held the lease.
    pub worker: WorkerId,
    /// The task that it was on.
    pub task: TaskRef<'a>,
    /// How it was lost.
    pub loss: LeaseLoss,
}

/// How a lease is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeaseLoss {
    /// It ran out before it could be renewed.
    Lapsed,
    /// The store said that another claim has the task, or that the task has ended.
    Taken,
    /// The turn under it broke off. It is not renewed any more, and the task is claimed again when it has run out.
    BrokenOff,
}

impl LeaseLoss {
    /// The word for it, as a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lapsed => "lapsed",
            Self::Taken => "taken",
            Self::BrokenOff => "broken_off",
        }
    }
}

impl fmt::Display for LeaseLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// See [`Metrics::exchange_done`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExchangeDone {
    /// Who asked.
    pub worker: WorkerId,
    /// Transitions that were sent.
    pub transitions: usize,
    /// Tasks that were claimed.
    pub claimed: usize,
    /// How long the call took.
    pub duration: Duration,
    /// Whether the store answered. If not, the same is sent again.
    pub is_ok: bool,
}

/// See [`Metrics::clock_drift`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClockDrift {
    /// By how many microseconds the store's clock is ahead of the host's; negative if it is behind.
    pub ahead_us: i64,
    /// How long the question took, so how far off this may be.
    pub uncertainty: Duration,
}
