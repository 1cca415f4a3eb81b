//! Hooks for metrics. They report events to your own counters; Stent itself keeps no numbers and prescribes no metrics
//! system. With the feature `metrics`, [`Facade`] passes the events to the [`metrics`](https://docs.rs/metrics) facade, which
//! has exporters for Prometheus and others.
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

#[cfg(feature = "metrics")]
mod facade;
#[cfg(feature = "metrics")]
mod series;

use std::fmt;
use std::time::Duration;

use stent_core::backend::{ErrorKind as StoreErrorKind, LaneView};
use stent_core::{ExecutionId, Failure, TaskId, Timestamp, WorkerId};

#[cfg(feature = "metrics")]
pub use self::facade::Facade;
#[cfg(feature = "metrics")]
pub use self::series::{SECONDS_BUCKETS, SIZE_BUCKETS};

/// Receives the events of a process. Every method does nothing by default, so implement only the ones you need.
///
/// Events of tasks are reported on the worker's loop, other events by the code that causes them. Events of writes are
/// reported after the store has committed the write, with two exceptions: the failure of a step that ran in its parent's
/// turn and will be retried is reported earlier, and so is a dispatch in a transaction of the application
/// ([`DispatchOutcome::Uncommitted`]). A hook must return immediately; move slow work elsewhere. A panic in a hook is
/// caught and logged, and affects no task.
///
/// Events that were not reported before a crash are lost: use these numbers for graphs and alerts, and the store for
/// exact answers.
pub trait Metrics: Send + Sync + 'static {
    /// An execution was dispatched or spawned by this process, or a dispatch found the execution that exists under its id
    /// or its idempotency key.
    fn dispatched(&self, event: &Dispatched<'_>) {
        let _ = event;
    }

    /// A worker claimed a task. Steps that run within their parent's turn are not claimed.
    fn task_claimed(&self, event: &TaskClaimed<'_>) {
        let _ = event;
    }

    /// A turn ended: its task completed, failed, parked or was released. Turns that lose their lease or break off are
    /// reported as [`lease_lost`](Self::lease_lost) instead, and turns whose task was cancelled are not reported.
    fn turn_ended(&self, event: &TurnEnded<'_>) {
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

    /// A call to the store failed: an exchange or a renewal of a worker, a dispatch or a request, a read, or a reading of
    /// the clock. Most of these calls are repeated, and each failed attempt is reported. Calls that wait for results in the
    /// background are not reported.
    fn store_failed(&self, event: &StoreFailed) {
        let _ = event;
    }

    /// The waiting work was read, as [`StentBuilder::sample_lanes`](crate::StentBuilder::sample_lanes) asks for.
    fn lanes_sampled(&self, event: &LanesSampled<'_>) {
        let _ = event;
    }

    /// The host's clock was compared with the store's clock.
    fn clock_drift(&self, event: &ClockDrift) {
        let _ = event;
    }

    /// The [channel of hints](crate::StentBuilder::hints) is broken: until it works again, changes are found by polling. Called once
    /// per outage, when it begins.
    fn hints_lost(&self, event: &HintsLost) {
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

/// See [`Metrics::dispatched`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Dispatched<'a> {
    /// The execution, or the one that existed already.
    pub execution: ExecutionId,
    /// The dispatched function's name in the store.
    pub function: &'a str,
    /// The queue of the dispatch.
    pub queue: &'a str,
    /// What the dispatch did.
    pub outcome: DispatchOutcome,
}

/// What a dispatch did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DispatchOutcome {
    /// It started an execution.
    Started,
    /// It started nothing, because an execution exists under its id or its idempotency key.
    Existing,
    /// It wrote to a transaction of the application ([`within`](crate::Dispatch::within)), which may still be rolled back.
    /// Stent does not learn of its commit.
    Uncommitted,
}

impl DispatchOutcome {
    /// The name of the outcome, for use as a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Existing => "existing",
            Self::Uncommitted => "uncommitted",
        }
    }
}

impl fmt::Display for DispatchOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// See [`Metrics::turn_ended`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TurnEnded<'a> {
    /// The worker that ran the turn.
    pub worker: WorkerId,
    /// The turn's task.
    pub task: TaskRef<'a>,
    /// How the turn ended.
    pub end: TurnEnd,
    /// Time from the start of the turn to its end, including commits that it waited for.
    pub duration: Duration,
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TurnEnd {
    /// The task completed.
    Completed,
    /// The task failed for good or timed out.
    Failed,
    /// The attempt failed, and the task is retried.
    Retried,
    /// The code waits for steps, a signal or a moment.
    Parked,
    /// The code runs again from its record, because its dead letter was retried meanwhile.
    Restarted,
    /// The worker shuts down and released the task, to be run elsewhere.
    Released,
}

impl TurnEnd {
    /// The name of the end, for use as a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Retried => "retried",
            Self::Parked => "parked",
            Self::Restarted => "restarted",
            Self::Released => "released",
        }
    }
}

impl fmt::Display for TurnEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
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
    /// How long the task was due before it was claimed: since its due time, or since the end of the lease that it was under
    /// before.
    pub queued: Duration,
    /// Whether the task's code was in the worker's sticky cache, so that it continues without a replay.
    pub from_cache: bool,
    /// Whether the task's code is replayed, because it has recorded steps and is not in the sticky cache.
    pub is_replayed: bool,
    /// How long the task's code was parked, if it was in the worker's sticky cache: from the end of its last turn to this
    /// claim.
    pub waited: Option<Duration>,
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

/// See [`Metrics::store_failed`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoreFailed {
    /// The operation that failed: `exchange`, `renew`, `read`, `clock`, and so on. There are few of them.
    pub operation: &'static str,
    /// The kind of the error.
    pub kind: StoreErrorKind,
}

impl StoreFailed {
    /// The name of the kind, for use as a label.
    #[must_use]
    pub const fn kind_str(&self) -> &'static str {
        match self.kind {
            StoreErrorKind::Unavailable => "unavailable",
            StoreErrorKind::Contended => "contended",
            StoreErrorKind::Corrupt => "corrupt",
            StoreErrorKind::Schema => "schema",
            StoreErrorKind::Config => "config",
            StoreErrorKind::Limit => "limit",
            StoreErrorKind::Ended => "ended",
            StoreErrorKind::Rejected => "rejected",
            StoreErrorKind::Closed => "closed",
            _ => "other",
        }
    }
}

/// See [`Metrics::lanes_sampled`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LanesSampled<'a> {
    /// The lanes with waiting tasks, by queue, function and tags; at most 10,000, those with the most due tasks.
    pub lanes: &'a [LaneView],
    /// The moment of the read, to which due tasks and the age of a lane's
    /// [`oldest_due_at`](LaneView::oldest_due_at) refer.
    pub at: Timestamp,
    /// How long the read took.
    pub duration: Duration,
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

/// See [`Metrics::hints_lost`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HintsLost {
    /// Number of outages since the channel was opened, including this one.
    pub outages: u64,
}
