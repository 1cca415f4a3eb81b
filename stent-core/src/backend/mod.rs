//! The contract of a store. Every rule is in [`decide`](crate::decide); a store tests guards and applies data.
//!
//! | Trait | Used by |
//! |---|---|
//! | [`Backend`] | workers and callers: the verbs that write |
//! | [`Reads`] | waiters and workers: the reads of the runtime |
//! | [`Inspect`] | operators: lists, counts and histories, all bounded |
//! | [`Hints`] | all that wait for a change: hints that may be lost |
//! | [`Migrate`] | operators: the schema |
//! | [`Store`] | programs: all five in one |
//! | [`HintChannel`] | processes whose store has slow hints or none: a channel of hints beside the store |
//! | [`Announced`] | a store in front of another one, which uses such a channel |
//! | [`Forward`] | a store in front of another one, which overrides some verbs and passes the others on |
//! | [`Transactions`] | applications with their own tables beside Stent's: optional for a store |
//!
//! [`StoredTask`] is one task as a simple store keeps it, with the views that are read from it.

mod announced;
mod channel;
mod claim;
mod diagnosis;
mod error;
mod export;
mod forward;
mod inspect;
mod stored_task;
mod transactions;

use std::fmt::Debug;
use std::path::Path;

use async_trait::async_trait;

pub use announced::Announced;
pub use channel::HintChannel;
pub use claim::{ClaimRequest, Claimed, Expired, Limit, LimitUsage, NoStickyCache, StickyCache};
pub use diagnosis::{Finding, Verdict};
pub use error::{Error, ErrorKind, Result};
pub use export::{ExportRecord, ExportedRow};
pub use forward::Forward;
pub use inspect::{
    DeadLetter, DeadLetterStat, ExecutionView, Filter, Inspect, ItemView, LaneView, NotesView, ProgressView,
    Reads, RunningView, SummaryView, TaskView, tally,
};
pub use stored_task::StoredTask;
pub use transactions::{HostTransaction, Transactions};

use crate::model::{Lease, WorkerRecord};
use crate::transition::{Outcome, Transition};
use crate::{TaskId, Timestamp};

/// The verbs that write. One of them, [`exchange`](Self::exchange), carries everything that happens to tasks.
///
/// `Err` means that the call failed and its fate is unknown: it was applied wholly or not at all.
#[async_trait]
pub trait Backend: Debug + Send + Sync + 'static {
    /// Names the store, for messages.
    fn info(&self) -> BackendInfo;

    /// Reads the store's clock. Workers set their clocks by it, so that machines with different clocks agree on leases.
    ///
    /// # Behaviour
    /// 1. Never goes back by more than the store's own clock does.
    async fn clock(&self) -> Result<Timestamp>;

    /// Applies a batch of transitions, then claims up to `claim.max` due tasks, in one transaction.
    ///
    /// # Behaviour
    /// 1. Each transition is all-or-nothing; a refused transition changes nothing and does not stop the others (G1).
    /// 2. Outcomes are in the order of the transitions. Transitions of one batch are applied as if one by one.
    /// 3. A leaseholder's write is applied only under the current claim that its guard names (G3). The lease may have expired,
    ///    as long as nobody else has claimed the task.
    /// 4. The same transition, sent again, changes nothing and is answered `Already` (G3).
    /// 5. A completed step gets the next completion number of its parent. If a parked parent waits for it, the same transaction
    ///    makes the parent ready (G4, G5).
    /// 6. A task that parks for an event which has already happened is ready at once (G5).
    /// 7. A task that has ended never changes again (G7).
    /// 8. Claims take only due tasks (`ready_at <= now`) of lanes that the request admits, in the order priority, due time, age
    ///    (G6, G9, G10). A running task whose lease has expired is due. Tasks that were asked to end, or whose deadline has
    ///    passed (`expires_at <= now`), are not due any more: none of their code starts again (G15).
    /// 9. Each claim raises the count of `epoch` and `uncommitted_claims` by one, gives `epoch` the request's nonce, sets the
    ///    lease, and completes the due sleeps of the task, in the order of their moments (G2). It returns the `ready_at` that
    ///    the task had before, as [`due_at`](Claimed::due_at).
    /// 10. A claim returns the steps that are not in the worker's cache: all of them, or, if [`StickyCache::seen`] knows the
    ///     task under its previous fence, those that have ended since and the maps that are still open, whose items may have
    ///     continued.
    /// 11. Payloads come back byte-identical (G14).
    /// 12. Claims obey the request's limits. Including the claimed tasks, the tasks of a function that run under live leases,
    ///     in all lanes and of all workers, do not exceed its limit, and its claims within any period do not exceed its rate (a
    ///     store may count in tenths of the period, and so admit up to a tenth later). Work that a limit holds back does not
    ///     block other work (G8, G9). If there is room for due tasks of a function, its tasks whose leases have expired [lose
    ///     their slots](crate::ledger::Row::vacate).
    /// 13. A claim reports tasks of the store whose deadline has passed (at most [`EXPIRED_MAX`](crate::limits::EXPIRED_MAX),
    ///     the longest overdue first), for any worker, and the tasks of this worker that were asked to end.
    /// 14. A claim that takes over a running task records the end of the previous claim.
    /// 15. A claim with a `max` of 0 takes nothing and still reports the tasks of rule 13; so does a claim without
    ///     functions.
    /// 16. The news of an applied or repeated transition contain the completions that its holder has not seen, if
    ///     [`lacks_steps`](crate::ledger::lacks_steps) says so.
    /// 17. Listeners get hints once the transaction is committed: of [`Topic::Work`] if a task may have become ready, a step of
    ///     a running task has ended, or a slot of a limit is free; of [`Topic::Ended`] if an execution may have ended (G17).
    ///
    /// Callers keep a batch below [`EXCHANGE_TRANSITIONS_MAX`](crate::limits::EXCHANGE_TRANSITIONS_MAX) transitions and
    /// payloads below [`PAYLOAD_BYTES_MAX`](crate::limits::PAYLOAD_BYTES_MAX). If a store cannot hold the data, the call fails
    /// with [`ErrorKind::Limit`] and changes nothing; a store never truncates anything.
    ///
    /// # Concurrency
    /// Any number of calls on any number of handles. A task is claimed once.
    ///
    /// # Cancel safety
    /// A dropped call is applied wholly or not at all. Sending its transitions again is safe; tasks that it claimed are due
    /// again when their leases expire.
    async fn exchange(&self, commit: &[Transition], claim: Option<&ClaimRequest<'_>>) -> Result<Exchanged>;

    /// Extends leases to `until`.
    ///
    /// # Behaviour
    /// 1. One answer per lease, in order.
    /// 2. A lease is extended only if its claim is the task's last one and the task runs; an expired lease can be extended as
    ///    long as nobody else has claimed the task (G2).
    /// 3. But a lease that takes a slot of a [limit](Limit::max_concurrent) is lost once it has expired at `now`: the slot may
    ///    have been given to another task (G8). It is also lost, whatever `now` says, once a claim has given the slot away: see
    ///    [`Row::renew`](crate::ledger::Row::renew).
    /// 4. A task that another transaction has locked is skipped and answered with [`Renewal::Held`]; it does not keep other
    ///    leases from being extended.
    ///
    /// # Cancel safety
    /// Safe: renewing is idempotent.
    async fn renew(&self, leases: &[Lease], now: Timestamp, until: Timestamp) -> Result<Vec<Renewal>>;

    /// Writes what a worker says of itself, for [`Inspect::workers`].
    ///
    /// # Behaviour
    /// 1. Replaces the worker's earlier record as a whole. No record is refused, and the last write stands.
    /// 2. Changes nothing else, and sends no hints.
    ///
    /// # Concurrency
    /// Any number of calls on any number of handles.
    ///
    /// # Cancel safety
    /// Safe: a dropped call has written the record or not.
    async fn report(&self, worker: &WorkerRecord) -> Result<()>;

    /// Deletes old data. "Old" is strictly before `request.before`, by the end of the root, the moment of the result, or the moment
    /// when a worker was last seen.
    ///
    /// # Behaviour
    /// 1. Deletes the data that [`request.what`](PurgeRequest::what) names and that ended before `request.before`, oldest
    ///    first, at most `request.max` of them (G16).
    /// 2. An execution is deleted with all of its tasks, notes, ended claims, signals and the key that it was dispatched under,
    ///    or stays with all of them; an open execution stays (G16). Results that are kept under keys stay.
    /// 3. Dead letters are deleted only if the request names dead letters.
    /// 4. Compacting an execution keeps its root, counters and states, and replaces its steps, ended claims and progress
    ///    entries by the number of steps of each kind, name and status when the call began. Only executions that have any of
    ///    these are compacted and counted.
    /// 5. A key whose holder is deleted is [followed up](crate::ledger::Cascade) as if the holder had been erased (G12).
    /// 6. A record of a worker is deleted only if the worker [is over](WorkerRecord::is_over) at `request.now`.
    /// 7. A task that still ran below an ended root is deleted with its execution. If it took a slot of a limit, listeners of
    ///    [`Topic::Work`] get a hint (G17).
    ///
    /// # Cancel safety
    /// Safe: the next call deletes the rest.
    async fn purge(&self, request: &PurgeRequest) -> Result<Purged>;

    /// The store's transactions, for applications that have tables in its database. This is the one optional part of a store,
    /// so the default is `None`. A wrapper of a store that does not override it has none either, and so cannot let transitions
    /// bypass it.
    fn transactions(&self) -> Option<&dyn Transactions> {
        None
    }

    /// Writes a copy of the whole store, as of one moment, to a new file, while work continues. The default is for stores that
    /// are not one file: it fails, because their databases have their own tools.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the file exists already, if it cannot be written, or if the store cannot do this. An
    /// error leaves no partial file at `path`.
    ///
    /// # Cancel safety
    /// A copy that has begun is completed.
    async fn backup_to(&self, path: &Path) -> Result<()> {
        let _ = path;
        Err(Error::new(ErrorKind::Config, "backup").with_message(format!(
            "a {} store cannot copy itself to a file; use the tools of its database, such as pg_dump",
            self.info().name
        )))
    }

    /// Closes the handle: waits for running calls, then releases connections and files.
    ///
    /// # Behaviour
    /// 1. Later calls, including those of [`Reads`], [`Inspect`] and [`Migrate`], fail with [`ErrorKind::Closed`];
    ///    closing again succeeds.
    /// 2. Other handles on the same store stay open. Leases do not change.
    async fn close(&self) -> Result<()>;
}

/// Hints that something may have changed. A lost hint costs time, never work (G17); a superfluous hint costs one look.
///
/// The suite does require them: every other handle of the same store gets a hint of a change, in the same process and in
/// others. A store that cannot notify others polls a value that grows with each change, every few milliseconds.
pub trait Hints: Debug + Send + Sync + 'static {
    /// Starts to listen. The listener notices every change from now on, even while nobody waits on it.
    fn listen(&self, topic: Topic) -> Box<dyn Listener>;
}

/// A listener for hints.
#[async_trait]
pub trait Listener: Debug + Send {
    /// Returns once something may have changed since the last return.
    ///
    /// # Cancel safety
    /// Safe: the next call sees a hint that came while the future was dropped.
    async fn changed(&mut self);
}

/// The subject of a hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// A task may have become ready, or a step of a running one has ended.
    Work,
    /// An execution may have ended.
    Ended,
}

/// The schema of a store.
#[async_trait]
pub trait Migrate: Debug + Send + Sync + 'static {
    /// Migrates the schema to the version that this program needs. Several processes may call it at once; one of them migrates.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if the store's schema is newer than this program.
    async fn migrate(&self) -> Result<()>;

    /// The number of applied migrations, and of migrations that this program knows. A store without a schema has zero applied;
    /// a store that needs no schema knows zero.
    async fn version(&self) -> Result<SchemaVersion>;

    /// Creates indexes of the present schema again that somebody has dropped, and returns their names. Others cannot write
    /// meanwhile, so programs do not call it by themselves. A store without indexes that could be dropped has nothing to do.
    ///
    /// # Errors
    /// Those of the other calls, such as [`ErrorKind::Config`] if the user may not create an index.
    async fn restore_indexes(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

/// The version of a store's schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaVersion {
    /// Migrations that were applied to the store.
    pub applied: u32,
    /// Migrations that this program knows.
    pub known: u32,
}

/// A whole store, as a program holds it behind one pointer.
pub trait Store: Backend + Reads + Inspect + Hints + Migrate {
    /// The name of the store's type, for messages.
    fn type_name(&self) -> &'static str;
}

impl<T: Backend + Reads + Inspect + Hints + Migrate> Store for T {
    fn type_name(&self) -> &'static str {
        std::any::type_name::<T>()
    }
}

/// The name of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendInfo {
    /// The kind of store: `sqlite`, `memory`.
    pub name: &'static str,
    /// Its location, without secrets.
    pub location: String,
    /// Whether the store works on two calls at the same time. If so, a busy worker commits and claims side by side; if there is
    /// one writer at a time, both share a transaction.
    pub parallel: bool,
}

/// The result of an exchange.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exchanged {
    /// One per transition, in order.
    pub outcomes: Vec<Outcome>,
    /// Claimed tasks, in the order of G9.
    pub claimed: Vec<Claimed>,
    /// When to ask again: when the next task that the request admits is due, if fewer than `max` tasks were claimed and
    /// one is known; when a limit that holds a task back has room again without a change of the store; or when the next
    /// deadline of the store passes. A hint: there may be no work at that moment.
    pub next_due: Option<Timestamp>,
    /// Tasks whose deadline has passed: the receiver ends them.
    pub expired: Vec<Expired>,
    /// Tasks under a lease of the claiming worker that were asked to end.
    pub stopping: Vec<TaskId>,
}

/// The answer to a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease was extended.
    Renewed,
    /// Another claim has the task, or it has ended: stop working on it.
    Lost,
    /// Another transaction has locked the task: the lease is unchanged, and nobody can claim the task during the lock. Ask
    /// again soon.
    Held,
}

/// A request to delete old data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgeRequest {
    /// The data.
    pub what: Purge,
    /// Only data that ended before this moment.
    pub before: Timestamp,
    /// The moment against which kept results expire.
    pub now: Timestamp,
    /// The maximum number of deletions.
    pub max: u32,
}

/// Data that can be deleted by age, each kind separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purge {
    /// Ended executions, except dead letters.
    Executions,
    /// Dead letters.
    DeadLetters,
    /// The steps, ended claims and progress entries of ended executions, except dead letters: see [`Backend::purge`], 4.
    Details,
    /// Results that are kept under keys: expired ones, whatever `before` says, and those from before `before`.
    Results,
    /// Records of workers that have stopped, crashed or died, and that were last seen before `before`.
    Workers,
}

/// The result of a purge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Executions, results or records of workers that were deleted or compacted. If it equals the requested maximum, there may be more.
    pub count: u32,
}
