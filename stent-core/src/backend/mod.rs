//! What a store must do. Every rule lives in [`decide`](crate::decide); a store tests guards and applies data.
//!
//! | Trait | For whom |
//! |---|---|
//! | [`Backend`] | workers and callers: the verbs that write |
//! | [`Inspect`] | waiters and readers: paged reads |
//! | [`Wake`] | whoever waits for something to change: hints that may be lost |
//! | [`Migrate`] | operators: the schema |
//! | [`Store`] | all four in one, which is what a program holds |
//! | [`Transactions`] | applications with tables of their own beside Stent's: what a store may offer, and need not |
//!
//! [`Record`] is one task as a simple store keeps it, with the views that are read from it.

mod claim;
mod error;
mod inspect;
mod stored_task;
mod transactions;

use std::fmt::Debug;
use std::path::Path;

use async_trait::async_trait;

pub use claim::{ClaimRequest, Claimed, Expired, Limit, NoStickyCache, StickyCache};
pub use error::{Error, ErrorKind, Result};
pub use inspect::{
    DeadLetter, DeadLetterStat, ExecutionView, Filter, Inspect, ItemView, LaneView, NotesView, ProgressView,
    RunningView, SummaryView, TaskView,
};
pub use stored_task::StoredTask;
pub use transactions::{HostTransaction, Transactions};

use crate::model::Lease;
use crate::transition::{Outcome, Transition};
use crate::{TaskId, Timestamp};

/// The verbs that write. One of them, [`exchange`](Self::exchange), carries everything that happens to tasks.
///
/// `Err` means that the call failed and its fate is unknown: it may have been applied, wholly or not at all.
#[async_trait]
pub trait Backend: Debug + Send + Sync + 'static {
    /// Names the store, for messages.
    fn info(&self) -> BackendInfo;

    /// Reads the store's clock. Workers set theirs by it, so that machines whose clocks disagree agree on leases.
    ///
    /// # Behaviour
    /// 1. Never goes back by more than the store's own clock does.
    async fn clock(&self) -> Result<Timestamp>;

    /// Applies a batch of transitions, then claims up to `claim.max` due tasks, in one transaction.
    ///
    /// # Behaviour
    /// 1. Each transition is all-or-nothing; one that is refused changes nothing and does not stop the others (G1).
    /// 2. Outcomes stand in the order of the transitions. Transitions of one batch are applied as if one by one.
    /// 3. A leaseholder's write is applied only under the live claim that its guard names (G3). The lease may have run
    ///    out, as long as nobody else has claimed the task.
    /// 4. The same transition sent again changes nothing and answers `Already` (G3).
    /// 5. A completed step gets the next completion number of its parent and, if it was what a parked parent waits for,
    ///    makes the parent ready in the same transaction (G4, G5).
    /// 6. A task that parks on something which has happened meanwhile is ready at once (G5).
    /// 7. A task that has ended never changes again (G7).
    /// 8. Claims take due tasks only (`ready_at <= now`), of lanes that the request admits, in the order priority, due
    ///    time, age (G6, G9, G10). A running task whose lease has run out is due. What is asked to end, or has come to the
    ///    end of its time (`expires_at <= now`), is not due any more: no code of it starts again (G15).
    /// 9. Each claim raises the count of `epoch` and `tries` by one, gives `epoch` the request's nonce, sets the lease, and
    ///    completes the sleeps of the task that are due, in the order of their moments (G2).
    /// 10. A claim brings the steps that the worker's memory does not have: all of them, or, if
    ///     [`Recall::seen`] knows the task under the fence before, those which have ended since and the maps that are
    ///     still open, whose items may have gone on.
    /// 11. Payloads come back byte-identical (G14).
    /// 12. Claims keep to the request's limits: with what is claimed, no more tasks of a function run under live leases, in
    ///     all lanes and of all workers together, than its limit says, and no more of them were claimed within any stretch of
    ///     time than its rate says (a store may count in tenths of the stretch, and so admit up to a tenth later). What a
    ///     limit holds back holds up nothing else (G8, G9). Where there is room for due tasks of a function, those of its tasks
    ///     whose leases have run out [lose their places](crate::ledger::Row::vacate).
    /// 13. A claim tells which tasks of the store have come to the end of their time (at most
    ///     [`EXPIRED_MAX`](crate::limits::EXPIRED_MAX), those that are longest over first), whoever they are for, and which
    ///     tasks that the worker holds are asked to end.
    /// 14. A claim that takes over a running task records the try that it puts an end to.
    /// 15. A claim with a `max` of 0 takes nothing and tells what 13 says all the same; so does one that names no function.
    /// 16. News of an applied or repeated transition have the completions that its holder has not seen, where
    ///     [`lacks_steps`](crate::ledger::lacks_steps) says so.
    /// 17. Whoever listens is told once the transaction is done: of [`Topic::Work`] if a task may have become ready, a step
    ///     of a running task has ended, or the place of a limit is free, of [`Topic::Ended`] if an execution may have ended
    ///     (G17).
    ///
    /// Callers keep a batch below [`EXCHANGE_TRANSITIONS_MAX`](crate::limits::EXCHANGE_TRANSITIONS_MAX) transitions and
    /// payloads below [`PAYLOAD_BYTES_MAX`](crate::limits::PAYLOAD_BYTES_MAX). A store that cannot hold what it is given
    /// fails the call with [`ErrorKind::Limit`] and changes nothing; it never shortens anything.
    ///
    /// # Concurrency
    /// Any number of calls on any number of handles. A task is claimed once.
    ///
    /// # Cancel safety
    /// A call that is dropped is applied wholly or not at all. Sending its transitions again is safe; tasks that it
    /// claimed are due again when their leases run out.
    async fn exchange(&self, commit: &[Transition], claim: Option<&ClaimRequest<'_>>) -> Result<Exchanged>;

    /// Extends leases to `until`.
    ///
    /// # Behaviour
    /// 1. One answer per lease, in order.
    /// 2. A lease is extended only while its claim is the task's last one and the task runs; whether it has run out does
    ///    not matter as long as nobody else has claimed the task (G2).
    /// 3. But a lease that takes one of the places of a [limit](Limit::max_concurrent) is lost once it has run out at `now`:
    ///    the place may have been given to another task (G8). And it is lost, whatever `now` says, once a claim has given
    ///    the place away: see [`Row::keeps_place`](crate::ledger::Row::keeps_place).
    /// 4. What another transaction holds is passed over and answered with [`Renewal::Held`]; it keeps nobody from having the
    ///    other leases extended.
    ///
    /// # Cancel safety
    /// Safe: renewing is idempotent.
    async fn renew(&self, leases: &[Lease], now: Timestamp, until: Timestamp) -> Result<Vec<Renewal>>;

    /// Deletes what is old. "Old" is strictly before `request.before`, by when the root ended or the result came.
    ///
    /// # Behaviour
    /// 1. Deletes what [`request.what`](PurgeRequest::what) names and what ended before `request.before`, oldest first, at
    ///    most `request.max` of them (G16).
    /// 2. An execution goes with all of its tasks, notes, tries, signals and with the key that it was dispatched under, or
    ///    stays with all of them; an open one stays (G16). Results that are kept under keys stay.
    /// 3. Dead letters go only when dead letters are asked for.
    /// 4. Compacting an execution leaves its root, counters and states, and puts in the place of its steps, tries and entries
    ///    of progress how many steps of each kind, name and status it had when the call began. Only executions that have
    ///    any of these are compacted, and counted.
    /// 5. A key whose holder goes is [looked after](crate::ledger::Follow) as if the holder had been erased (G12).
    /// 6. A task that still ran below a root which has ended leaves with its execution. Whoever listens is told of
    ///    [`Topic::Work`] if it took the place of a limit (G17).
    ///
    /// # Cancel safety
    /// Safe: what is left is deleted by the next call.
    async fn purge(&self, request: &PurgeRequest) -> Result<Purged>;

    /// What the store offers to applications that have tables in its database. The one thing that a store need not have, so
    /// it has a default: none. A store in front of another one that does not say otherwise has none either, and so cannot let
    /// transitions pass by it.
    fn transactions(&self) -> Option<&dyn Transactions> {
        None
    }

    /// Writes a copy of the whole store, as it is at one moment, into a new file, while work goes on. A store that is not in one
    /// file does not do that, which is the default; its database has means of its own.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when there is such a file already, when it cannot be written, or when the store does not do that.
    /// Whatever went wrong, nothing is left at `path`.
    ///
    /// # Cancel safety
    /// A copy that was begun is brought to its end.
    async fn backup_to(&self, path: &Path) -> Result<()> {
        let _ = path;
        Err(Error::new(ErrorKind::Config, "backup").with_message(format!(
            "a {} store cannot copy itself to a file; use the tools of its database, such as pg_dump",
            self.info().name
        )))
    }

    /// Closes the handle: waits for calls under way, then gives back connections and files.
    ///
    /// # Behaviour
    /// 1. Calls after it, those of [`Inspect`] and [`Migrate`] too, fail with [`ErrorKind::Closed`]; closing again is fine.
    /// 2. Other handles on the same store stay open. Leases stay as they are.
    async fn close(&self) -> Result<()>;
}

/// Hints that something may have changed. Losing one costs time, never work (G17), and one too many costs a look.
///
/// The suite does ask for them: what one handle changes is heard on every other handle of the same store, with other
/// processes or without. A store that cannot tell others looks itself, every few milliseconds, at something that grows
/// with each change.
pub trait Hints: Debug + Send + Sync + 'static {
    /// Starts to listen. What happens from now on is noticed by the listener, even while nobody waits on it.
    fn listen(&self, topic: Topic) -> Box<dyn Listener>;
}

/// One who listens for hints.
#[async_trait]
pub trait Listener: Debug + Send {
    /// Returns once something may have changed since the last return.
    ///
    /// # Cancel safety
    /// Safe: a hint that came while the future was dropped is seen by the next call.
    async fn changed(&mut self);
}

/// What a hint is about.
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
    /// Brings the schema to what this program needs. Several processes may do so at once; one does it.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] when the store's schema is newer than this program.
    async fn migrate(&self) -> Result<()>;

    /// How many migrations the store has seen, and how many this program knows. A place without a schema has seen none; a
    /// store that needs no schema knows none.
    async fn version(&self) -> Result<SchemaVersion>;
}

/// How far a store's schema has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaVersion {
    /// Migrations that the store has seen.
    pub applied: u32,
    /// Migrations that this program knows.
    pub known: u32,
}

/// A whole store: what a program holds behind one pointer.
pub trait Store: Backend + Inspect + Hints + Migrate {}

impl<T: Backend + Inspect + Hints + Migrate> Store for T {}

/// What a store is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendInfo {
    /// The kind of store: `sqlite`, `memory`.
    pub name: &'static str,
    /// Where it is, without secrets.
    pub location: String,
    /// Whether two calls are worked on at the same time. Then a worker that has much to do commits and claims side by side;
    /// where there is one writer at a time, both share a transaction.
    pub parallel: bool,
}

/// What an exchange brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exchanged {
    /// One per transition, in order.
    pub outcomes: Vec<Outcome>,
    /// Tasks claimed, in the order G9.
    pub claimed: Vec<Claimed>,
    /// When the next task that the request admits is due, if fewer than `max` were claimed and one is known; when a limit
    /// that holds one back may give way by the passing of time; when the next task of the store comes to the end of its
    /// time. A hint: the moment may pass without work.
    pub next_due: Option<Timestamp>,
    /// Tasks whose time is up: whoever learns of it ends them.
    pub expired: Vec<Expired>,
    /// Tasks under a lease of the claiming worker that are asked to end.
    pub stopping: Vec<TaskId>,
}

/// The answer to a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease was extended.
    Renewed,
    /// Another claim has the task, or it has ended: stop working on it.
    Lost,
    /// Another transaction holds the task: the lease is as it was, and nobody can claim the task while that lasts. Ask again
    /// soon.
    Held,
}

/// What to delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgeRequest {
    /// What of it.
    pub what: Purge,
    /// Only what ended before this moment.
    pub before: Timestamp,
    /// The moment by which a kept result's time is over.
    pub now: Timestamp,
    /// At most so many.
    pub max: u32,
}

/// What can be deleted by age, each with its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purge {
    /// Executions that have ended, but for dead letters.
    Executions,
    /// Executions that are dead letters.
    DeadLetters,
    /// The steps, tries and entries of progress of executions that have ended, dead letters excepted: see
    /// [`Backend::purge`], 4.
    Details,
    /// Results that are kept under keys: those whose time is over, whatever `before` says, and those that came before it.
    Results,
}

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Executions, or results, that were deleted or compacted. As many as asked for means that there may be more.
    pub count: u32,
}
