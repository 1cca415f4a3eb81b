//! Handles: executions that can be waited for.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stent_core::ExecutionId;
use stent_core::backend::NotesView;
use stent_core::model::ExecutionStatus;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::execution::request::{Cancel, SendSignal};
use crate::execution::result::ResultOf;

/// An execution that gives a `T`. Cheap to clone; what one stores is its [`id`](Self::id).
pub struct Handle<T> {
    engine: Arc<Engine>,
    id: ExecutionId,
    /// Whether it was dispatched within a transaction, which may not be committed yet.
    may_come: bool,
    output: PhantomData<fn() -> T>,
}

impl<T> Handle<T> {
    pub(crate) const fn new(engine: Arc<Engine>, id: ExecutionId) -> Self {
        Self { engine, id, may_come: false, output: PhantomData }
    }

    /// The handle of an execution that is there once a transaction is committed.
    pub(crate) const fn uncommitted(engine: Arc<Engine>, id: ExecutionId) -> Self {
        Self { engine, id, may_come: true, output: PhantomData }
    }

    /// The execution's id.
    #[must_use]
    pub const fn id(&self) -> ExecutionId {
        self.id
    }

    /// Waits until the execution has ended and gives its result: `run.result().timeout("1h").await?`.
    ///
    /// The handle of a dispatch within a transaction also waits for that to be committed. The wait is not told
    /// of a rollback, so give it a timeout.
    pub fn result(&self) -> ResultOf<T>
    where
        T: DeserializeOwned,
    {
        ResultOf::decoded(self.engine.clone(), self.id, self.may_come)
    }

    /// Sends a value to the execution, for whoever of it waits, or will wait, for this [signal](crate::signal()).
    ///
    /// # Errors
    /// Those of [`SendSignal`].
    pub fn signal<V: Serialize>(&self, name: impl Into<String>, value: &V) -> SendSignal {
        SendSignal::new(self.engine.clone(), self.id, name.into(), value)
    }

    /// Asks the execution to end: see [`Cancel`].
    pub fn cancel(&self) -> Cancel {
        Cancel::new(self.engine.clone(), self.id)
    }

    /// What the execution's code has said of it so far: counters, states, progress.
    ///
    /// # Errors
    /// Store errors. An unknown execution has said nothing.
    pub async fn notes(&self) -> Result<NotesView> {
        Ok(self.engine.retrying(|| self.engine.store.notes(self.id)).await?)
    }

    /// Where the execution stands.
    ///
    /// # Errors
    /// [`Error::NotFound`]; store errors.
    pub async fn status(&self) -> Result<ExecutionStatus> {
        let views =
            self.engine.retrying(|| self.engine.store.executions(std::slice::from_ref(&self.id))).await?;
        views.first().map(|view| view.status).ok_or(Error::NotFound(self.id))
    }
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self { engine: self.engine.clone(), id: self.id, may_come: self.may_come, output: PhantomData }
    }
}

impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("id", &self.id).finish_non_exhaustive()
    }
}
