//! The code in which a durable future was built, which determines its step's position in the record.

use std::sync::Arc;

use stent_core::model::Seq;
use stent_core::replay::Ask;

use crate::durable::closure::{StepClosure, in_transaction};
use crate::durable::context::{Context, Durable, Pending};
use crate::engine::ambient::is_within;
use crate::error::{Error, Result};
use crate::function::state::Local;

/// The code in which a future was built. The future takes its position when it is built and not at the first poll,
/// so that the order of polling cannot change the record.
#[derive(Clone, Debug)]
pub(crate) enum Position {
    /// In the code of a durable function, where it took a position.
    Taken(Arc<Durable>, Seq),
    /// In the closure of a step. A replay does not run the closure, so the future would not exist again.
    InStep(Arc<StepClosure>),
    /// In the closure of a transaction, where the same applies.
    InTransaction,
    /// Outside durable functions, or in a unit test.
    Outside,
}

impl Position {
    /// The position of a future that is being built.
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

    /// Enters the function that polls the future: at the future's own position or, if it was built outside, at the
    /// function's next position.
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

    /// The durable function that polls the future, if the future can be one of its steps.
    ///
    /// # Errors
    /// The future cannot be a step there. Names the future and the remedy.
    pub(crate) fn require(&self, name: &str) -> Result<Context> {
        let context = Context::require(name)?;
        self.check(name)?;
        Ok(context)
    }

    /// Checks that the future was built where a replay builds it again.
    ///
    /// # Errors
    /// It was built in a closure. Names the closure and the remedy.
    pub(crate) fn check(&self, name: &str) -> Result<(), Error> {
        match self {
            Self::InStep(step) => Err(step.refuse(name)),
            Self::InTransaction => Err(in_transaction(name)),
            Self::Taken(..) | Self::Outside => Ok(()),
        }
    }

    /// The future's own position, or the next position of the function that polls it.
    fn take(&mut self, polled_in: Arc<Durable>) -> (Arc<Durable>, Seq) {
        match std::mem::replace(self, Self::Outside) {
            Self::Taken(durable, seq) => (durable, seq),
            _ => {
                let seq = polled_in.reserve();
                (polled_in, seq)
            }
        }
    }
}

/// The environment of a future's first poll.
pub(crate) enum Entered {
    /// In a durable function, as the step at a position.
    Durable(Reserved),
    /// In a unit test, by `.local()`.
    Local(Arc<Local>),
}

/// A position in a durable function for a step that is about to be asked for.
#[derive(Clone, Debug)]
pub(crate) struct Reserved {
    pub(crate) durable: Arc<Durable>,
    pub(crate) seq: Seq,
}

impl Reserved {
    /// Reserves the next position of a function.
    pub(crate) fn next(durable: Arc<Durable>) -> Self {
        let seq = durable.reserve();
        Self { durable, seq }
    }

    /// Asks for a step at this position.
    ///
    /// # Errors
    /// Those of [`Pending::ask`].
    pub(crate) fn ask(self, ask: Ask) -> Result<Pending> {
        Pending::ask(self.durable, self.seq, ask)
    }
}
