//! Handles: executions that can be waited for.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use stent_core::duration::{DurationError, IntoTimeout};
use stent_core::model::{ExecutionStatus, TaskResult};
use stent_core::{ExecutionId, Failure, Payload};

use crate::client::Shared;
use crate::function::BoxFuture;
use crate::{Error, Result};

/// An execution that gives a `T`. Cheap to clone; what one stores is its [`id`](Self::id).
pub struct Handle<T> {
    shared: Arc<Shared>,
    id: ExecutionId,
    output: PhantomData<fn() -> T>,
}

impl<T> Handle<T> {
    pub(crate) const fn new(shared: Arc<Shared>, id: ExecutionId) -> Self {
        Self { shared, id, output: PhantomData }
    }

    /// The execution's id.
    #[must_use]
    pub const fn id(&self) -> ExecutionId {
        self.id
    }

    /// Waits until the execution has ended and gives its result: `run.result().timeout("1h").await?`.
    pub fn result(&self) -> ResultOf<T>
    where
        T: DeserializeOwned,
    {
        ResultOf { shared: self.shared.clone(), id: self.id, timeout: Ok(None), decode: decode::<T> }
    }

    /// Where the execution stands.
    ///
    /// # Errors
    /// [`Error::NotFound`]; store errors.
    pub async fn status(&self) -> Result<ExecutionStatus> {
        let views =
            self.shared.retrying(|| self.shared.store.executions(std::slice::from_ref(&self.id))).await?;
        views.first().map(|view| view.status).ok_or(Error::NotFound(self.id))
    }
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self::new(self.shared.clone(), self.id)
    }
}

impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A wait for the end of an execution. Without a timeout, or with one of zero, it waits as long as it takes.
///
/// # Errors
/// [`Error::Failed`], [`Error::Cancelled`], [`Error::TimedOut`] as the execution ended; [`Error::WaitTimeout`] if it did not
/// end in time; [`Error::NotFound`]; store errors.
///
/// # Cancel safety
/// Safe: the execution goes on and can be waited for again.
#[must_use = "a wait does nothing until it is awaited"]
pub struct ResultOf<T> {
    shared: Arc<Shared>,
    id: ExecutionId,
    timeout: Result<Option<Duration>, DurationError>,
    decode: fn(Payload) -> Result<T>,
}

impl ResultOf<Payload> {
    pub(crate) const fn raw(shared: Arc<Shared>, id: ExecutionId) -> Self {
        Self { shared, id, timeout: Ok(None), decode: Ok }
    }
}

impl<T> ResultOf<T> {
    /// Waits no longer than this: a [`Duration`], a text such as `"90s"`, or an `Option<Duration>`. `None` and zero mean no
    /// limit, which is also what holds if this is not called.
    ///
    /// When the time is up the wait is [`Error::WaitTimeout`], however the end would have been heard of; the execution goes
    /// on.
    pub fn timeout(mut self, timeout: impl IntoTimeout) -> Self {
        self.timeout = timeout.into_timeout();
        self
    }
}

impl<T> fmt::Debug for ResultOf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResultOf")
            .field("id", &self.id)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl<T: 'static> IntoFuture for ResultOf<T> {
    type Output = Result<T>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let timeout = self.timeout?;
            let ended = self.shared.waiters.ended(self.id);
            let (status, result) = match timeout {
                None => ended.await?,
                Some(waited) => match tokio::time::timeout(waited, ended).await {
                    Ok(ended) => ended?,
                    Err(_) => return Err(Error::WaitTimeout { execution: self.id, waited }),
                },
            };
            (self.decode)(decode_outcome(status, result)?)
        })
    }
}

/// What an execution that has ended gives to whoever waits for it.
pub(crate) fn decode_outcome(status: ExecutionStatus, result: Option<TaskResult>) -> Result<Payload> {
    match (status, result) {
        (ExecutionStatus::Cancelled | ExecutionStatus::Cancelling, _) => Err(Error::Cancelled),
        (ExecutionStatus::TimedOut, _) => Err(Error::TimedOut),
        (_, Some(result)) => result.map_err(Error::Failed),
        (_, None) => Err(Error::Failed(Failure::new("Missing", "the execution has ended without a result"))),
    }
}

fn decode<T: DeserializeOwned>(payload: Payload) -> Result<T> {
    payload.decode().map_err(|source| Error::Codec { what: "result of the execution".to_owned(), source })
}
