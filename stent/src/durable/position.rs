//! Where a future that can be a step was built, which is what says where its step is in the record.

use std::sync::Arc;

use stent_core::model::Seq;

use crate::durable::closure::{StepClosure, in_transaction};
use crate::durable::context::{Context, Durable, Pending, Wish};
use crate::engine::ambient::is_within;
use crate::error::{Error, Result};
use crate::function::state::Local;

/// Where a future was built. The position is taken there and not at the first poll, so that the order of polling cannot change
/// the record.
#[derive(Clone, Debug)]
pub(crate) enum Position {
    /// In the code of a durable function, where it took a position.
    Taken(Arc<Durable>, Seq),
    /// In the closure of a step, which does not run in a replay: what is built there is not there the next time.
    InStep(Arc<StepClosure>),
    /// In the closure of a transaction, with which it is the same.
    InTransaction,
    /// In no code of a durable function, or in a unit test.
    Outside,
}

impl Position {
    /// The position of a future that is built here and now.
    pub(crate) fn here() -> Self {
        if is_within() {
            return Self::InTransaction;
        }
        if let Some(step) = StepClosure::current() {
            return Self::InStep(step);
        }
        Context::durable().map_or(Self::Outside, Self::reserve)
    }

    fn reserve(durable: Arc<Durable>) -> Self {
        let Reserved { durable, seq } = Reserved::next(durable);
        Self::Taken(durable, seq)
    }

    /// Enters the function that the future is polled in: at its own position, or at the function's next one if it was built
    /// outside.
    ///
    /// # Errors
    /// Those of [`require`](Self::require).
    pub(crate) fn enter(&mut self, name: &str) -> Result<Entered> {
        Ok(match self.require(name)? {
            Context::Local(local) => Entered::Local(local),
            Context::Durable(polled_in) => {
                let (durable, seq) = self.take(polled_in);
                Entered::Durable(Reserved { durable, seq })
            }
        })
    }

    /// The durable function that a future is polled in, if it may be a step of it.
    ///
    /// # Errors
    /// Names what was awaited and what to do instead.
    pub(crate) fn require(&self, name: &str) -> Result<Context> {
        let context = Context::require(name)?;
        self.check(name)?;
        Ok(context)
    }

    /// Whether it was built where it can be built again.
    ///
    /// # Errors
    /// Names the closure, and what to do instead.
    pub(crate) fn check(&self, name: &str) -> Result<(), Error> {
        match self {
            Self::InStep(step) => Err(step.refuse(name)),
            Self::InTransaction => Err(in_transaction(name)),
            Self::Taken(..) | Self::Outside => Ok(()),
        }
    }

    /// The position, or the next one of the function that it is polled in.
    pub(crate) fn take(&mut self, polled_in: Arc<Durable>) -> (Arc<Durable>, Seq) {
        match std::mem::replace(self, Self::Outside) {
            Self::Taken(durable, seq) => (durable, seq),
            _ => {
                let seq = polled_in.reserve();
                (polled_in, seq)
            }
        }
    }
}

/// Where a future runs that is polled for the first time.
pub(crate) enum Entered {
    /// In a durable function, as the step at a position.
    Durable(Reserved),
    /// In a unit test, by `.local()`.
    Local(Arc<Local>),
}

/// A position in a durable function at which a step is about to be asked for.
#[derive(Clone, Debug)]
pub(crate) struct Reserved {
    pub(crate) durable: Arc<Durable>,
    pub(crate) seq: Seq,
}

impl Reserved {
    /// The next position of a function.
    pub(crate) fn next(durable: Arc<Durable>) -> Self {
        let seq = durable.reserve();
        Self { durable, seq }
    }

    /// Asks for a step here.
    ///
    /// # Errors
    /// Those of [`Pending::ask`].
    pub(crate) fn ask(self, wish: Wish) -> Result<Pending> {
        Pending::ask(self.durable, self.seq, wish)
    }
}
