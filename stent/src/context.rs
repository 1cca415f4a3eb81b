//! What code that runs inside a durable function sees of it, through a task-local.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};

use stent_core::model::{Keyed, NewTask, Seq, StepKind, TaskResult, Tree};
use stent_core::replay::{Ask, Asked, CallSpec, Mismatch, Replay};
use stent_core::{ExecutionId, TaskId, Timestamp};

use crate::client::Shared;
use crate::desk::Desk;
use crate::state::States;
use crate::stop::StopSign;
use crate::{Error, Result, ids};

tokio::task_local! {
    static CURRENT: Context;
    /// Set while the closure of a transaction is polled: whose store it is in.
    static WITHIN: Arc<Within>;
}

/// Where code runs.
#[derive(Clone, Debug)]
pub(crate) enum Context {
    /// In a durable function, under a lease.
    Durable(Arc<Durable>),
    /// In a unit test, by `.local()`: calls run in place and nothing is recorded.
    Local(Arc<States>),
}

impl Context {
    pub(crate) fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok().filter(|_| !is_within())
    }

    pub(crate) fn durable() -> Option<Arc<Durable>> {
        match Self::current()? {
            Self::Durable(durable) => Some(durable),
            Self::Local(_) => None,
        }
    }

    /// The durable function that the code runs in, if it does.
    ///
    /// # Errors
    /// Names what was awaited and what to do instead.
    pub(crate) fn require(name: &str) -> Result<Self> {
        if is_within() {
            return Err(Error::InTransaction {
                what: format!("`{name}`"),
                remedy: "cannot be a step: the transaction is recorded as a whole, and its closure does not run again; do it \
                         before or after",
            });
        }
        Self::current().ok_or_else(|| Error::OutsideDurable { name: name.to_owned() })
    }

    pub(crate) fn enter<T>(self, body: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, body)
    }

    pub(crate) fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }
}

fn is_within() -> bool {
    WITHIN.try_with(|_| ()).is_ok()
}

/// Polls the closure of a transaction: what it awaits is no step, and what it writes to the same store past the transaction
/// is refused.
#[cfg(feature = "sql")]
pub(crate) fn enter_within<T>(within: &Arc<Within>, body: impl FnOnce() -> T) -> T {
    WITHIN.sync_scope(within.clone(), body)
}

/// The closure of a transaction that runs, as what it writes to the store sees it.
#[derive(Debug)]
pub(crate) struct Within {
    shared: Arc<Shared>,
    /// Writes that have begun and not ended.
    open: AtomicU32,
}

#[cfg(feature = "sql")]
impl Within {
    pub(crate) fn new(shared: &Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { shared: shared.clone(), open: AtomicU32::new(0) })
    }

    /// Whether a write was dropped before it had ended. The driver may then have rolled back more than that write, and says
    /// nothing of it.
    pub(crate) fn is_torn(&self) -> bool {
        self.open.load(Ordering::Acquire) > 0
    }
}

/// Awaits a write that is part of a transaction, and remembers if it is dropped before it has ended.
pub(crate) async fn written_within<T>(write: impl Future<Output = T>) -> T {
    let within = WITHIN.try_with(Clone::clone).ok();
    if let Some(within) = &within {
        within.open.fetch_add(1, Ordering::AcqRel);
    }
    let written = write.await;
    if let Some(within) = &within {
        within.open.fetch_sub(1, Ordering::AcqRel);
    }
    written
}

/// Whether a write would go past the transaction that the code is in. On SQLite it would wait for that for ever.
///
/// # Errors
/// Says what to do instead.
pub(crate) fn check_not_within(shared: &Shared) -> Result<()> {
    let past = WITHIN.try_with(|within| Arc::ptr_eq(&within.shared.store, &shared.store)).unwrap_or(false);
    if !past {
        return Ok(());
    }
    Err(Error::InTransaction {
        what: "what is dispatched or sent".to_owned(),
        remedy: "must be part of it: add .within(&txn)",
    })
}

/// One task's code, as the steps that it builds see it.
#[derive(Debug)]
pub(crate) struct Durable {
    pub(crate) task: TaskId,
    pub(crate) tree: Tree,
    pub(crate) function: String,
    /// Attempts of it that failed before this one.
    pub(crate) attempts: u32,
    pub(crate) shared: Arc<Shared>,
    pub(crate) stop: Arc<StopSign>,
    cell: Mutex<Cell>,
}

/// What a task's code is the code of.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) task: TaskId,
    pub(crate) tree: Tree,
    pub(crate) function: String,
    pub(crate) attempts: u32,
}

#[derive(Debug)]
struct Cell {
    replay: Replay,
    wakers: BTreeMap<Seq, Waker>,
    /// Numbers drawn so far.
    drawn: u64,
    desk: Desk,
}

impl Durable {
    pub(crate) fn new(task: Place, shared: Arc<Shared>, stop: Arc<StopSign>, replay: Replay) -> Self {
        let cell = Cell { replay, wakers: BTreeMap::new(), drawn: 0, desk: Desk::default() };
        let Place { task, tree, function, attempts } = task;
        Self { task, tree, function, attempts, shared, stop, cell: Mutex::new(cell) }
    }

    pub(crate) const fn execution(&self) -> ExecutionId {
        self.tree.execution
    }

    pub(crate) fn replay<T>(&self, access: impl FnOnce(&mut Replay) -> T) -> T {
        access(&mut self.cell().replay)
    }

    /// Hands the next known completion to the code and wakes what waits for it. False when the code has seen all.
    pub(crate) fn deliver(&self) -> bool {
        let waker = {
            let mut cell = self.cell();
            let Some(seq) = cell.replay.deliver() else { return false };
            cell.wakers.remove(&seq)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Has the code that waits for a step look again.
    pub(crate) fn wake(&self, seq: Seq) {
        let waker = self.cell().wakers.remove(&seq);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn desk<T>(&self, access: impl FnOnce(&mut Desk) -> T) -> T {
        access(&mut self.cell().desk)
    }

    pub(crate) fn reserve(&self) -> Seq {
        self.cell().replay.reserve()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.cell().replay.now()
    }

    /// Nothing is delivered to the code until the hold is dropped.
    pub(crate) fn hold(self: &Arc<Self>) -> Hold {
        self.replay(Replay::hold);
        Hold(self.clone())
    }

    pub(crate) fn draw(&self) -> u64 {
        let mut cell = self.cell();
        cell.drawn += 1;
        cell.drawn
    }

    fn cell(&self) -> MutexGuard<'_, Cell> {
        // Nothing that holds the lock runs user code, so a poisoned lock still guards a whole cell.
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The code reads what is recorded, but not as a completion: until it has, nothing is delivered to it, so that a slow read
/// takes the same way as a quick one.
#[derive(Debug)]
pub(crate) struct Hold(Arc<Durable>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.replay(Replay::release);
    }
}

/// A step that the code has asked for and now waits on. Dropping it gives the step up.
#[derive(Debug)]
pub(crate) struct Pending {
    durable: Arc<Durable>,
    seq: Seq,
    taken: bool,
}

/// What a step is asked for as.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) kind: StepKind,
    pub(crate) name: String,
    pub(crate) call: Option<CallSpec>,
    pub(crate) due: Option<Timestamp>,
    pub(crate) keyed: Option<Keyed>,
    pub(crate) spawn: Option<Box<NewTask>>,
    pub(crate) join: Option<ExecutionId>,
    pub(crate) detached: bool,
    pub(crate) location: &'static std::panic::Location<'static>,
}

impl Wish {
    /// A step of a kind and a name, and nothing else.
    pub(crate) fn new(
        kind: StepKind,
        name: impl Into<String>,
        location: &'static std::panic::Location<'static>,
    ) -> Self {
        Self {
            kind,
            name: name.into(),
            call: None,
            due: None,
            keyed: None,
            spawn: None,
            join: None,
            detached: false,
            location,
        }
    }
}

impl Pending {
    /// Asks for a step at its position.
    ///
    /// On a mismatch the step never completes; the turn ends with the mismatch instead.
    ///
    /// # Errors
    /// [`Error::Cancelled`] once the task is asked to end: it may tidy up, but start nothing that outlives it.
    pub(crate) fn ask(durable: Arc<Durable>, seq: Seq, wish: Wish) -> Result<Self> {
        if durable.stop.is_set() {
            return Err(Error::Cancelled);
        }
        let ask = Ask {
            id: ids::task(),
            kind: wish.kind,
            name: wish.name,
            call: wish.call,
            due: wish.due,
            keyed: wish.keyed,
            spawn: wish.spawn,
            join: wish.join,
            at: durable.shared.clock.now(),
            detached: wish.detached,
            location: wish.location,
        };
        let asked: Result<Asked, Mismatch> = durable.replay(|replay| replay.ask(seq, ask));
        drop(asked);
        Ok(Self { durable, seq, taken: false })
    }

    pub(crate) const fn durable(&self) -> &Arc<Durable> {
        &self.durable
    }

    pub(crate) const fn seq(&self) -> Seq {
        self.seq
    }

    /// Takes the step's result once it has been delivered.
    pub(crate) fn poll(&mut self, cx: &TaskContext<'_>) -> Poll<(TaskId, TaskResult)> {
        let mut cell = self.durable.cell();
        match cell.replay.take(self.seq) {
            Some(result) => {
                self.taken = true;
                Poll::Ready(result)
            }
            None => {
                cell.wakers.insert(self.seq, cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Lets go of the step without giving it up.
    pub(crate) fn detach(mut self) {
        self.taken = true;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.taken {
            let mut cell = self.durable.cell();
            cell.wakers.remove(&self.seq);
            cell.replay.forget(self.seq);
            let done = cell.desk.leave(self.seq);
            drop(cell);
            // Rolled back here, and not under the lock.
            drop(done);
        }
    }
}
