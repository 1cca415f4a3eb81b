//! Handles: refer to executions, wait for them and send requests to them.

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

/// An execution that returns a `T`. Cheap to clone. To store a handle, store its [`id`](Self::id).
pub struct Handle<T> {
    engine: Arc<Engine>,
    id: ExecutionId,
    /// Whether the execution was dispatched within a transaction that may not be committed yet.
    may_come: bool,
    output: PhantomData<fn() -> T>,
}

impl<T> Handle<T> {
    pub(crate) const fn new(engine: Arc<Engine>, id: ExecutionId) -> Self {
        Self { engine, id, may_come: false, output: PhantomData }
    }

    /// The handle of an execution that will exist once a transaction commits.
    pub(crate) const fn uncommitted(engine: Arc<Engine>, id: ExecutionId) -> Self {
        Self { engine, id, may_come: true, output: PhantomData }
    }

    /// The execution's id.
    #[must_use]
    pub const fn id(&self) -> ExecutionId {
        self.id
    }

    /// Waits until the execution has ended and returns its result: `run.result().timeout("1h").await?`.
    ///
    /// If the execution was dispatched within a transaction, the wait includes the commit. A rollback does not end the
    /// wait, so give it a timeout.
    pub fn result(&self) -> ResultOf<T>
    where
        T: DeserializeOwned,
    {
        ResultOf::decoded(self.engine.clone(), self.id, self.may_come)
    }

    /// Sends a value to the current or the next wait of the execution for this [signal](crate::signal()).
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

    /// Reads the execution's notes so far: counters, states, progress.
    ///
    /// # Errors
    /// Store errors. The notes of an unknown execution are empty.
    pub async fn notes(&self) -> Result<NotesView> {
        Ok(self.engine.retrying(|| self.engine.store.notes(self.id)).await?)
    }

    /// Reads the execution's status.
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
