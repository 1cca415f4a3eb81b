//! Handles: executions that can be waited for.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stent_core::backend::NotesView;
use stent_core::duration::{DurationError, IntoTimeout};
use stent_core::model::{ExecutionStatus, Keyed, Seq, StepKind, TaskResult};
use stent_core::{Digest, ExecutionId, Key, Kind, Payload, own_failure};

use crate::durable::context::{Context, Durable, Pending, Wish};
use crate::durable::position::Position;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::execution::request::{Cancel, SendSignal};
use crate::function::BoxFuture;

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
        ResultOf { may_come: self.may_come, ..ResultOf::new(self.engine.clone(), self.id, decode::<T>) }
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

/// A wait for the end of an execution. Without a timeout, or with one of zero, it waits as long as it takes.
///
/// Inside a durable function it is a step: the function is parked, the end is recorded, and every run of the code sees the
/// same.
///
/// # Errors
/// [`Error::Failed`], [`Error::Cancelled`], [`Error::TimedOut`] as the execution ended; [`Error::WaitTimeout`] if it did not
/// end in time; [`Error::NotFound`]; store errors.
///
/// # Cancel safety
/// Safe: the execution goes on and can be waited for again.
#[must_use = "a wait does nothing until it is awaited"]
pub struct ResultOf<T> {
    engine: Arc<Engine>,
    id: ExecutionId,
    /// Whether the execution may still come to be.
    may_come: bool,
    timeout: Result<Option<Duration>, DurationError>,
    decode: fn(Payload) -> Result<T>,
    /// Where in a durable function the wait is, and where its timeout.
    position: Position,
    clock: Option<Seq>,
    location: &'static Location<'static>,
}

impl ResultOf<Payload> {
    #[track_caller]
    pub(crate) fn raw(engine: Arc<Engine>, id: ExecutionId) -> Self {
        Self::new(engine, id, Ok)
    }
}

impl<T> ResultOf<T> {
    #[track_caller]
    fn new(engine: Arc<Engine>, id: ExecutionId, decode: fn(Payload) -> Result<T>) -> Self {
        let position = Position::here();
        let (may_come, location) = (false, Location::caller());
        Self { engine, id, may_come, timeout: Ok(None), decode, position, clock: None, location }
    }

    /// Waits no longer than this: a [`Duration`], a text such as `"90s"`, or an `Option<Duration>`. `None` and zero mean no
    /// limit, which is also what holds if this is not called.
    ///
    /// When the time is up the wait is [`Error::WaitTimeout`], however the end would have been heard of; the execution goes
    /// on.
    pub fn timeout(mut self, timeout: impl IntoTimeout) -> Self {
        self.timeout = timeout.into_timeout();
        if let (Position::Taken(durable, _), Ok(Some(_)), None) = (&self.position, &self.timeout, self.clock)
        {
            self.clock = Some(durable.reserve());
        }
        self
    }

    /// The wait as steps of the durable function that it is in.
    async fn join(self, durable: Arc<Durable>, seq: Seq) -> Result<T> {
        let waited = self.timeout?;
        let wish = Wish {
            keyed: Some(Keyed::new(Key::of_execution(self.id))),
            join: Some(self.id),
            digest: Digest::of(&self.id).ok(),
            ..Wish::new(StepKind::Join, "execution", self.location)
        };
        let mut end = Pending::ask(durable.clone(), seq, wish)?;
        let mut timeout = match (waited, self.clock) {
            (Some(waited), Some(seq)) => {
                let due = Some(durable.engine.clock.now() + waited);
                let wish = Wish { due, ..Wish::new(StepKind::Sleep, "wait timeout", self.location) };
                Some(Pending::ask(durable, seq, wish)?)
            }
            _ => None,
        };
        let result = std::future::poll_fn(|cx| match end.poll(cx) {
            Poll::Ready((_, result)) => Poll::Ready(Some(result)),
            Poll::Pending => match timeout.as_mut().map(|timeout| timeout.poll(cx)) {
                Some(Poll::Ready(_)) => Poll::Ready(None),
                Some(Poll::Pending) | None => Poll::Pending,
            },
        });
        match result.await {
            Some(Ok(payload)) => (self.decode)(payload),
            Some(Err(failure)) => Err(match failure.outcome() {
                Some(ExecutionStatus::Cancelled) => Error::Cancelled,
                Some(ExecutionStatus::TimedOut) => Error::TimedOut,
                _ if failure.is_not_found() => Error::NotFound(self.id),
                _ => Error::Failed(failure),
            }),
            None => Err(Error::WaitTimeout { execution: self.id, waited: waited.unwrap_or_default() }),
        }
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
        let this = self;
        if let Position::Taken(durable, seq) = &this.position {
            let (durable, seq) = (durable.clone(), *seq);
            return Box::pin(this.join(durable, seq));
        }
        Box::pin(async move {
            // In the closure it waits for the store itself. In the function that would not be recorded.
            if Context::durable().is_some() {
                this.position.check("the result of an execution")?;
            }
            let timeout = this.timeout?;
            let ended = this.engine.waiters.ended(this.id, this.may_come);
            let (status, result) = match timeout {
                None => ended.await?,
                Some(waited) => match tokio::time::timeout(waited, ended).await {
                    Ok(ended) => ended?,
                    Err(_) => return Err(Error::WaitTimeout { execution: this.id, waited }),
                },
            };
            (this.decode)(decode_outcome(status, result)?)
        })
    }
}

/// What an execution that has ended gives to whoever waits for it.
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
