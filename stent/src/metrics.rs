//! Hooks for metrics. They report events to your own counters; Stent itself keeps no numbers and prescribes no metrics
//! system.
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

/// Receives the events of a process. Every method does nothing by default, so implement only the ones you need.
///
/// Hooks run on the worker's loop, after the store has committed the event. The one exception is the failure of
/// a step that ran in its parent's turn and will be retried: it is reported earlier. A hook must return immediately;
/// move slow work elsewhere. A panic in a hook is caught and logged, and affects no task.
///
/// Events that were not reported before a crash are lost: use these numbers for graphs and alerts, and the store for
/// exact answers.
pub trait Metrics: Send + Sync + 'static {
    /// A worker claimed a task. Steps that run within their parent's turn are not claimed.
    fn task_claimed(&self, event: &TaskClaimed<'_>) {
        let _ = event;
    }

    /// A task ended with a result.
    fn task_completed(&self, event: &TaskCompleted<'_>) {
        let _ = event;
    }

    /// An attempt of a task failed. The task is retried, or it has failed for good.
    fn task_failed(&self, event: &TaskFailed<'_>) {
        let _ = event;
    }

    /// An execution failed for good and became a dead letter. Executions that timed out or were cancelled do not
    /// become dead letters.
    fn dead_lettered(&self, event: &DeadLettered<'_>) {
        let _ = event;
    }

    /// A lease was renewed, or a renewal failed; a failed renewal is retried until the lease expires.
    fn lease_renewed(&self, event: &LeaseRenewed) {
        let _ = event;
    }

    /// A lease was lost, and the work under it was stopped.
    fn lease_lost(&self, event: &LeaseLost<'_>) {
        let _ = event;
    }

    /// A worker completed an exchange with the store: one call that sends commits and returns claimed work.
    fn exchange_done(&self, event: &ExchangeDone) {
        let _ = event;
    }

    /// The host's clock was compared with the store's clock.
    fn clock_drift(&self, event: &ClockDrift) {
        let _ = event;
    }
}

/// The task that an event concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskRef<'a> {
    /// The task's id.
    pub id: TaskId,
    /// The execution that the task belongs to.
    pub execution: ExecutionId,
    /// The function's name in the store.
    pub function: &'a str,
    /// The task's queue.
    pub queue: &'a str,
    /// Whether the task is the root of its execution, so that its end is the end of the execution.
    pub is_root: bool,
}

/// See [`Metrics::task_claimed`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskClaimed<'a> {
    /// The worker that claimed the task.
    pub worker: WorkerId,
    /// The claimed task.
    pub task: TaskRef<'a>,
    /// Number of attempts that failed before.
    pub attempts: u32,
    /// Whether the task's code was in the worker's sticky cache, so that it continues without a replay.
    pub is_recalled: bool,
}

/// See [`Metrics::task_completed`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskCompleted<'a> {
    /// The worker that ran the task.
    pub worker: WorkerId,
    /// The completed task.
    pub task: TaskRef<'a>,
    /// Time from the first start to the end, including waits and earlier attempts.
    pub duration: Duration,
    /// Duration of the task's last turn.
    pub turn: Duration,
}

/// See [`Metrics::task_failed`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TaskFailed<'a> {
    /// The worker that ran the task.
    pub worker: WorkerId,
    /// The failed task.
    pub task: TaskRef<'a>,
    /// The failure.
    pub failure: &'a Failure,
    /// Whether the task will be retried.
    pub is_retried: bool,
    /// Time from the first start to this failure, including waits and earlier attempts.
    pub duration: Duration,
    /// Duration of the turn that failed.
    pub turn: Duration,
}

/// See [`Metrics::dead_lettered`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadLettered<'a> {
    /// The root task of the execution.
    pub task: TaskRef<'a>,
    /// The failure.
    pub failure: &'a Failure,
}

/// See [`Metrics::lease_renewed`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeaseRenewed {
    /// The worker that holds the lease.
    pub worker: WorkerId,
    /// The leased task.
    pub task: TaskId,
    /// Whether the renewal succeeded. If not, the store could not be reached; the renewal is retried soon.
    pub is_renewed: bool,
}

/// See [`Metrics::lease_lost`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeaseLost<'a> {
    /// The worker that held the lease.
    pub worker: WorkerId,
    /// The task that was leased.
    pub task: TaskRef<'a>,
    /// How the lease was lost.
    pub loss: LeaseLoss,
}

/// How a lease was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeaseLoss {
    /// The lease expired before it could be renewed.
    Lapsed,
    /// The store reported that another claim holds the task, or that the task has ended.
    Taken,
    /// The turn under the lease broke off. The lease is no longer renewed, and the task is claimed again when it
    /// expires.
    BrokenOff,
}

impl LeaseLoss {
    /// The name of the loss, for use as a label.
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
    /// The worker that called the store.
    pub worker: WorkerId,
    /// Number of transitions sent.
    pub transitions: usize,
    /// Number of tasks claimed.
    pub claimed: usize,
    /// Duration of the call.
    pub duration: Duration,
    /// Whether the store answered. If not, the same transitions are sent again.
    pub is_ok: bool,
}

/// See [`Metrics::clock_drift`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClockDrift {
    /// How many microseconds the store's clock is ahead of the host's; negative if it is behind.
    pub ahead_us: i64,
    /// How long reading the store's clock took, which bounds the error of `ahead_us`.
    pub uncertainty: Duration,
}
