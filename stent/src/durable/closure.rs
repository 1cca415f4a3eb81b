//! The closure of an inline step or of a transaction that is being polled. A replay does not run the closure of a
//! recorded step, so calls in a closure are not steps, and a closure has its own random numbers.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use stent_core::TaskId;
#[cfg(feature = "sql")]
use stent_core::backend::Store;
use stent_core::model::Seq;

#[cfg(feature = "sql")]
use crate::engine::ambient::AmbientTransaction;
use crate::error::Error;

tokio::task_local! {
    /// The inline step whose closure is being polled, if any.
    static STEP: Option<Arc<StepClosure>>;
    /// The random numbers of the transaction whose closure is being polled.
    static TRANSACTION: Arc<NumberStream>;
}

/// The closure of an inline step, as seen by the code that it calls. It takes no positions in its function's record and
/// draws none of its function's random numbers.
#[derive(Debug)]
pub(crate) struct StepClosure {
    name: String,
    /// Its position in its function, and its random numbers. `None` in a unit test.
    place: Option<(Seq, NumberStream)>,
    /// The step's attempt, from 1.
    attempt: u32,
}

impl StepClosure {
    /// The closure of the step at this position, with the step's id, in this attempt of the step.
    pub(crate) fn new(name: &str, place: Option<(Seq, TaskId)>, attempt: u32) -> Arc<Self> {
        let place = place.map(|(seq, id)| (seq, NumberStream::of(id)));
        Arc::new(Self { name: name.to_owned(), place, attempt })
    }

    /// The step whose closure runs.
    pub(crate) fn current() -> Option<Arc<Self>> {
        STEP.try_with(Clone::clone).ok().flatten()
    }

    /// Polls the step's closure.
    pub(crate) fn enter<T>(self: &Arc<Self>, body: impl FnOnce() -> T) -> T {
        STEP.sync_scope(Some(self.clone()), body)
    }

    /// The error of a durable call that was built or awaited in the closure.
    pub(crate) fn refuse(&self, what: &str) -> Error {
        Error::InStep { what: format!("`{what}`"), step: self.name.clone() }
    }

    /// The step's attempt, from 1.
    pub(crate) const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The step's position in its function; `None` in a unit test.
    pub(crate) fn seq(&self) -> Option<Seq> {
        self.place.as_ref().map(|(seq, _)| *seq)
    }

    /// The closure's random numbers.
    pub(crate) fn stream(&self) -> Option<&NumberStream> {
        self.place.as_ref().map(|(_, stream)| stream)
    }
}

/// The random numbers of a closure, derived from its step: the closure does not run in every replay of its function.
#[derive(Debug)]
pub(crate) struct NumberStream {
    step: TaskId,
    drawn: AtomicU64,
}

impl NumberStream {
    /// The numbers of a step from the first one on.
    pub(crate) const fn of(step: TaskId) -> Self {
        Self { step, drawn: AtomicU64::new(0) }
    }

    /// The step, and the index of its next number.
    pub(crate) fn next(&self) -> (TaskId, u64) {
        (self.step, self.drawn.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// The closure of a transaction, as seen by the code that it calls.
#[cfg(feature = "sql")]
#[derive(Debug)]
pub(crate) struct TransactionClosure {
    ambient: Arc<AmbientTransaction>,
    numbers: Arc<NumberStream>,
}

#[cfg(feature = "sql")]
impl TransactionClosure {
    /// The closure of the step with this id.
    pub(crate) fn new(store: &Arc<dyn Store>, step: TaskId) -> Self {
        Self { ambient: AmbientTransaction::new(store.clone()), numbers: Arc::new(NumberStream::of(step)) }
    }

    /// Polls the closure: its awaits are not steps, and writes to the same store outside the transaction are refused.
    pub(crate) fn enter<T>(&self, body: impl FnOnce() -> T) -> T {
        self.ambient.enter(|| TRANSACTION.sync_scope(self.numbers.clone(), body))
    }

    /// Whether a write of the closure was dropped before it ended.
    pub(crate) fn is_torn(&self) -> bool {
        self.ambient.is_torn()
    }
}

/// Draws a number of the transaction whose closure is being polled, if any.
pub(crate) fn draw_in_transaction() -> Option<(TaskId, u64)> {
    TRANSACTION.try_with(|numbers| numbers.next()).ok()
}

/// Runs code outside any step's closure, wherever it is polled.
pub(crate) fn outside<F: Future>(future: F) -> impl Future<Output = F::Output> {
    STEP.scope(None, future)
}

/// The error of a durable call that was built or awaited in the closure of a transaction.
pub(crate) fn in_transaction(what: &str) -> Error {
    Error::InTransaction {
        what: format!("`{what}`"),
        remedy: "cannot be a step, because the transaction is recorded as one step and its closure is not replayed; \
                 do it before or after the transaction",
    }
}
