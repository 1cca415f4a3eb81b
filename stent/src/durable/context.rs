//! The durable function around the running code, available through a task-local.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};

use stent_core::model::{Seq, TaskResult, Tree};
use stent_core::replay::{Ask, Asked, Mismatch, Replay};
use stent_core::{Codec, ExecutionId, Payload, TaskId, Timestamp};

use crate::durable::closure::{self, StepClosure};
use crate::durable::stop::StopSign;
use crate::durable::transaction::queue::TransactionQueue;
use crate::engine::Engine;
use crate::engine::ambient;
use crate::engine::runs::Attempt;
use crate::error::{Error, Result};
use crate::function::state::Local;

tokio::task_local! {
    static CURRENT: Context;
}

/// The environment of the running code.
#[derive(Clone, Debug)]
pub(crate) enum Context {
    /// In a durable function, under a lease.
    Durable(Arc<Durable>),
    /// In a unit test, by `.local()`: calls run in place and nothing is recorded.
    Local(Arc<Local>),
}

impl Context {
    /// The environment of code that belongs to a durable function directly. `None` in the closure of a step or a
    /// transaction.
    pub(crate) fn current() -> Option<Self> {
        Self::around().filter(|_| !ambient::is_within() && StepClosure::current().is_none())
    }

    /// The environment of the running code, even in the closure of a step.
    pub(crate) fn around() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// The durable function that the code belongs to, unless `.local()` runs it.
    pub(crate) fn durable() -> Option<Arc<Durable>> {
        Self::current().and_then(Self::into_durable)
    }

    pub(crate) fn into_durable(self) -> Option<Arc<Durable>> {
        match self {
            Self::Durable(durable) => Some(durable),
            Self::Local(_) => None,
        }
    }

    /// The environment of the running code.
    ///
    /// # Errors
    /// The code is outside a durable function. Names the awaited call and the remedy.
    pub(crate) fn require(name: &str) -> Result<Self> {
        if ambient::is_within() {
            return Err(closure::in_transaction(name));
        }
        if let Some(step) = StepClosure::current() {
            return Err(step.refuse(name));
        }
        Self::current().ok_or_else(|| Error::outside_durable(name))
    }

    /// The codec for the values of a body, with a store or with `.local()`.
    pub(crate) fn codec(&self) -> Codec {
        match self {
            Self::Durable(durable) => durable.engine.codec,
            Self::Local(local) => local.codec,
        }
    }

    pub(crate) fn enter<T>(self, body: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, body)
    }

    /// Runs a separate body in this environment, wherever it is polled.
    pub(crate) fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, closure::outside(future))
    }
}

/// Checks that replays of the running code do not repeat the write that it is about to make.
///
/// They do not in the closure of a step, because the closure does not run again once the step is recorded, and not in
/// the closure of a transaction, which the write is part of.
///
/// # Errors
/// Names the operation and the remedy.
pub(crate) fn check_not_replayed(what: &str, remedy: &'static str) -> Result<()> {
    let Some(durable) = Context::durable() else { return Ok(()) };
    Err(Error::InDurable { what: what.to_owned(), function: durable.function.clone(), remedy })
}

/// One task's code, as seen by the steps that it builds.
#[derive(Debug)]
pub(crate) struct Durable {
    pub(crate) task: TaskId,
    pub(crate) tree: Tree,
    pub(crate) function: String,
    /// Number of attempts that failed before this one.
    pub(crate) attempts: u32,
    pub(crate) engine: Arc<Engine>,
    pub(crate) stop: Arc<StopSign>,
    /// The life of the worker, in a strict test.
    life: u64,
    cell: Mutex<Cell>,
}

/// The task that the code belongs to.
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
    /// Number of random numbers drawn so far.
    drawn: u64,
    transactions: TransactionQueue,
}

impl Durable {
    pub(crate) fn new(task: Place, engine: Arc<Engine>, stop: Arc<StopSign>, replay: Replay) -> Self {
        let cell =
            Cell { replay, wakers: BTreeMap::new(), drawn: 0, transactions: TransactionQueue::default() };
        let Place { task, tree, function, attempts } = task;
        let life = engine.runs.as_ref().map_or(0, |runs| runs.life());
        Self { task, tree, function, attempts, engine, stop, life, cell: Mutex::new(cell) }
    }

    /// Counts a run of a step of this code, or of the code itself, in a strict test.
    pub(crate) fn begins(&self, step: TaskId, failed: u32, what: impl FnOnce() -> String) {
        if let Some(runs) = &self.engine.runs {
            let attempt = Attempt { of_step: failed, of_function: self.attempts, life: self.life };
            runs.begins(step, attempt, what);
        }
    }

    pub(crate) const fn execution(&self) -> ExecutionId {
        self.tree.execution
    }

    pub(crate) fn replay<T>(&self, access: impl FnOnce(&mut Replay) -> T) -> T {
        access(&mut self.cell().replay)
    }

    /// Delivers the next known completion to the code and wakes its waiter. Returns false if the code has seen all
    /// completions.
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

    /// Wakes the code that waits for this step.
    pub(crate) fn wake(&self, seq: Seq) {
        let waker = self.cell().wakers.remove(&seq);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Everything that the code has seen is recorded: lets it begin the steps that it has asked for since.
    pub(crate) fn catch_up(&self) {
        let wakers = {
            let mut cell = self.cell();
            cell.replay.catch_up();
            std::mem::take(&mut cell.wakers)
        };
        wakers.into_values().for_each(Waker::wake);
    }

    /// Number of the code's durable futures that this waker wakes, and of those that another waker wakes.
    pub(crate) fn waits_with(&self, waker: &Waker) -> (usize, usize) {
        let cell = self.cell();
        let direct = cell.wakers.values().filter(|own| own.will_wake(waker)).count();
        (direct + self.stop.waits_with(waker), cell.wakers.len() - direct)
    }

    pub(crate) fn transactions<T>(&self, access: impl FnOnce(&mut TransactionQueue) -> T) -> T {
        access(&mut self.cell().transactions)
    }

    pub(crate) fn reserve(&self) -> Seq {
        self.cell().replay.reserve()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.cell().replay.now()
    }

    /// Delivers nothing to the code until the hold is dropped.
    pub(crate) fn hold(self: &Arc<Self>) -> Hold {
        self.replay(Replay::hold);
        Hold(self.clone())
    }

    /// The order of the last failure that the code has seen, and the index of its next random number.
    pub(crate) fn draw(&self) -> (u32, u64) {
        let mut cell = self.cell();
        cell.drawn += 1;
        (cell.replay.failure(), cell.drawn)
    }

    /// The id of a step that the code waits for. For a step that was not asked for, it returns the task's own id, which
    /// no step has.
    pub(crate) fn id_of(&self, seq: Seq) -> TaskId {
        self.replay(|replay| replay.id_of(seq)).unwrap_or(self.task)
    }

    fn cell(&self) -> MutexGuard<'_, Cell> {
        // No user code runs under the lock, so a poisoned lock still guards a consistent cell.
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The code reads recorded data that is not a completion. Nothing is delivered until the read is done, so that a slow
/// read and a quick read lead to the same order.
#[derive(Debug)]
pub(crate) struct Hold(Arc<Durable>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.replay(Replay::release);
    }
}

/// A step that the code has asked for and now awaits. Dropping it gives the step up.
#[derive(Debug)]
pub(crate) struct Pending {
    durable: Arc<Durable>,
    seq: Seq,
    taken: bool,
}

impl Pending {
    /// Asks for a step at its position.
    ///
    /// On a mismatch the step never completes; instead the turn ends with the mismatch.
    ///
    /// # Errors
    /// [`Error::Cancelled`] after the task was asked to end: it may clean up, but not start anything that outlives it.
    pub(crate) fn ask(durable: Arc<Durable>, seq: Seq, ask: Ask) -> Result<Self> {
        Self::ask_with(durable, seq, None, ask)
    }

    /// The same, for a step whose id was derived earlier.
    ///
    /// # Errors
    /// Those of [`ask`](Self::ask).
    pub(crate) fn ask_as(durable: Arc<Durable>, seq: Seq, id: TaskId, ask: Ask) -> Result<Self> {
        Self::ask_with(durable, seq, Some(id), ask)
    }

    fn ask_with(durable: Arc<Durable>, seq: Seq, id: Option<TaskId>, ask: Ask) -> Result<Self> {
        if durable.stop.is_set() {
            return Err(Error::Cancelled);
        }
        let (task, at) = (durable.task, durable.engine.clock.now());
        let asked: Result<Asked, Mismatch> = durable.replay(|replay| {
            let derived = || TaskId::of_step(&replay.origin(task, seq, ask.kind(), &ask.name));
            let id = id.unwrap_or_else(derived);
            replay.ask(seq, id, at, ask)
        });
        drop(asked);
        Ok(Self { durable, seq, taken: false })
    }

    pub(crate) const fn durable(&self) -> &Arc<Durable> {
        &self.durable
    }

    pub(crate) const fn seq(&self) -> Seq {
        self.seq
    }

    /// Records that the step is over with nothing to return, unless the record has it: a sleep of zero, which needs no timer.
    pub(crate) fn record_if_new(&self, at: Timestamp) {
        self.durable.replay(|replay| {
            if replay.must_run(self.seq) {
                replay.record(self.seq, at, Ok(Payload::empty()));
            }
        });
    }

    /// Takes the step's result once it has been delivered.
    ///
    /// # Panics
    /// If it is polled after that, as futures usually do: it would never be woken.
    pub(crate) fn poll(&mut self, cx: &TaskContext<'_>) -> Poll<(TaskId, TaskResult)> {
        assert!(!self.taken, "a step was polled after it had completed");
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

    /// Stops waiting for the step without giving it up.
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
            let done = cell.transactions.leave(self.seq);
            drop(cell);
            // Rolls back here, and not under the lock.
            drop(done);
        }
    }
}
