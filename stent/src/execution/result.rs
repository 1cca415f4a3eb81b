//! Waits for the end of an execution: recorded waits in durable code, and waits of a client.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use stent_core::duration::{DurationError, IntoTimeout};
use stent_core::model::{ExecutionStatus, TaskResult};
use stent_core::{ExecutionId, Kind, Payload, own_failure};

use crate::durable::context::Context;
use crate::durable::execution_wait::ExecutionWait;
use crate::durable::position::{Position, Reserved};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::function::BoxFuture;

/// A wait for the end of an execution. Without a timeout, or with a timeout of zero, it waits indefinitely.
///
/// Inside a durable function it is a step: the function is parked, the outcome is recorded, and every replay sees the
/// same outcome.
///
/// # Errors
/// [`Error::Failed`], [`Error::Cancelled`] or [`Error::TimedOut`], depending on how the execution ended;
/// [`Error::WaitTimeout`] if it did not end in time; [`Error::NotFound`]; store errors.
///
/// # Cancel safety
/// Cancel safe: the execution continues and can be waited for again.
#[must_use = "a wait does nothing until it is awaited"]
pub struct ResultOf<T>(Wait<T>);

enum Wait<T> {
    /// Built in a durable function, where it is a step.
    Recorded(ExecutionWait<T>),
    /// Built anywhere else.
    Client(ClientWait<T>),
}

/// A wait that is not recorded: the process asks the store.
struct ClientWait<T> {
    engine: Arc<Engine>,
    id: ExecutionId,
    /// Whether the execution may not exist yet.
    may_come: bool,
    timeout: Result<Option<Duration>, DurationError>,
    decode: fn(Payload) -> Result<T>,
    /// The position at which it was built, if that was in the closure of a step or a transaction.
    position: Position,
}

impl ResultOf<Payload> {
    #[track_caller]
    pub(crate) fn raw(engine: Arc<Engine>, id: ExecutionId) -> Self {
        Self::new(engine, id, false, Ok)
    }
}

impl<T: DeserializeOwned> ResultOf<T> {
    /// A wait for an execution. With `may_come`, the execution may not exist yet.
    #[track_caller]
    pub(crate) fn decoded(engine: Arc<Engine>, id: ExecutionId, may_come: bool) -> Self {
        Self::new(engine, id, may_come, decode::<T>)
    }
}

impl<T> ResultOf<T> {
    #[track_caller]
    fn new(engine: Arc<Engine>, id: ExecutionId, may_come: bool, decode: fn(Payload) -> Result<T>) -> Self {
        Self(match Position::here() {
            Position::Taken(durable, seq) => {
                Wait::Recorded(ExecutionWait::new(id, Reserved { durable, seq }, decode, Location::caller()))
            }
            position => {
                Wait::Client(ClientWait { engine, id, may_come, timeout: Ok(None), decode, position })
            }
        })
    }

    /// Limits the wait. Takes a [`Duration`], text such as `"90s"`, or an `Option<Duration>`. `None` and zero mean no
    /// limit, which is the default.
    ///
    /// When the time is up, the wait fails with [`Error::WaitTimeout`], whichever way it would have learned of the end;
    /// the execution continues.
    pub fn timeout(mut self, timeout: impl IntoTimeout) -> Self {
        match &mut self.0 {
            Wait::Recorded(wait) => wait.set_timeout(timeout),
            Wait::Client(wait) => wait.timeout = timeout.into_timeout(),
        }
        self
    }
}

impl<T> ClientWait<T> {
    async fn ended(self) -> Result<T> {
        // In a closure it asks the store directly. In the function itself such a wait would not be recorded.
        if Context::durable().is_some() {
            self.position.check("the result of an execution")?;
        }
        let ended = self.engine.waiters.ended(self.id, self.may_come);
        let (status, result) = match self.timeout? {
            None => ended.await?,
            Some(waited) => match tokio::time::timeout(waited, ended).await {
                Ok(ended) => ended?,
                Err(_) => return Err(Error::WaitTimeout { execution: self.id, waited }),
            },
        };
        (self.decode)(decode_outcome(status, result)?)
    }
}

impl<T> fmt::Debug for ResultOf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, timeout) = match &self.0 {
            Wait::Recorded(wait) => (wait.id(), wait.timeout().limit()),
            Wait::Client(wait) => (wait.id, wait.timeout.clone()),
        };
        f.debug_struct("ResultOf").field("id", &id).field("timeout", &timeout).finish_non_exhaustive()
    }
}

impl<T: 'static> IntoFuture for ResultOf<T> {
    type Output = Result<T>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        match self.0 {
            Wait::Recorded(wait) => Box::pin(wait),
            Wait::Client(wait) => Box::pin(wait.ended()),
        }
    }
}

/// Converts the outcome of an ended execution to what a wait returns.
pub(crate) fn decode_outcome(status: ExecutionStatus, result: Option<TaskResult>) -> Result<Payload> {
    match (status, result) {
        (ExecutionStatus::Cancelled | ExecutionStatus::Cancelling, _) => Err(Error::Cancelled),
        (ExecutionStatus::TimedOut, _) => Err(Error::TimedOut),
        (_, Some(result)) => result.map_err(Error::Failed),
        (_, None) => {
            Err(Error::Failed(own_failure(Kind::MISSING, "the execution has ended without a result")))
        }
    }
}

fn decode<T: DeserializeOwned>(payload: Payload) -> Result<T> {
    payload.decode().map_err(|source| Error::Codec { what: "result of the execution".to_owned(), source })
}
