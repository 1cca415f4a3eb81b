//! Requests to open executions: signals and cancellation.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use stent_core::duration::{DurationError, IntoTimeout};
use stent_core::limits::CANCEL_GRACE;
use stent_core::model::ExecutionStatus;
use stent_core::transition::{Outcome, Transition};
use stent_core::{ExecutionId, Payload, decide};

use crate::durable::context;
use crate::engine::Engine;
use crate::engine::ids;
use crate::engine::writer::Way;
use crate::error::{Error, Result};
use crate::function::BoxFuture;
use crate::names::check_name;

/// How a durable function can send a signal.
const SIGNAL_REMEDY: &str = "send it in the closure of stent::step(…), which a replay does not run again";

/// A value to send to an execution's current or next wait for this [signal](crate::signal()). Awaiting it sends the
/// value.
///
/// In a durable function it is an error, because each replay would send the value again: send it in the closure of a
/// [`step`](crate::step()).
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Ended`] if the execution has ended; [`Error::InDurable`] in a durable function outside
/// a step; a value that cannot be stored; store errors. The value was not sent then, unless the store failed in the
/// middle of the write.
///
/// # Cancel safety
/// If it is dropped, the value has been sent or not; nothing is sent partially.
#[must_use = "nothing is sent until this is awaited"]
pub struct SendSignal {
    engine: Arc<Engine>,
    id: ExecutionId,
    name: String,
    value: Result<Payload>,
}

impl SendSignal {
    pub(crate) fn new<V: Serialize>(engine: Arc<Engine>, id: ExecutionId, name: String, value: &V) -> Self {
        let value = check_name("signal", &name)
            .and_then(|()| engine.encode_for_any(value, || format!("signal `{name}`")));
        Self { engine, id, name, value }
    }

    pub(crate) async fn send(self, way: Way<'_>) -> Result<()> {
        context::check_not_replayed("a signal", SIGNAL_REMEDY)?;
        let Self { engine, id, name, value } = self;
        let sent = decide::signal(id, name.clone(), ids::task(), value?, engine.clock.now());
        match engine.write(way, sent).await? {
            Outcome::Applied(news) => {
                if news.replaced {
                    tracing::debug!(execution = %id, signal = name, "replaced a signal value that was not consumed");
                }
                Ok(())
            }
            Outcome::Already(_) => Ok(()),
            _ => Err(ended(&engine, id, "it can receive no more signals; dispatch a new execution").await?),
        }
    }
}

impl fmt::Debug for SendSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendSignal").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

impl IntoFuture for SendSignal {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send(Way::Grouped))
    }
}

/// Why a request was refused: the execution has ended or does not exist.
pub(crate) async fn ended(engine: &Engine, id: ExecutionId, remedy: &'static str) -> Result<Error> {
    Ok(match status(engine, id).await? {
        Some(status) => Error::Ended { execution: id, status, remedy },
        None => Error::NotFound(id),
    })
}

async fn status(engine: &Engine, id: ExecutionId) -> Result<Option<ExecutionStatus>> {
    let views = engine.retrying(|| engine.store.executions(std::slice::from_ref(&id))).await?;
    Ok(views.first().map(|view| view.status))
}

/// A request to cancel an execution. Awaiting it returns the execution's status after the request.
///
/// Everything in the execution that is not running ends at once: pending calls, timers, waits, and everything below
/// them. Running code is notified and dropped at its next `await`, unless it listens to [`cancelled`](crate::cancelled)
/// to clean up; until then the execution is `cancelling`. It becomes `cancelled` when none of its code runs any more,
/// at the latest when the grace period is over.
///
/// Cancelling twice is not an error, and the shorter grace period wins. An execution that has ended stays as it is.
///
/// # Errors
/// [`Error::NotFound`]; a text that is not a duration; store errors.
///
/// # Cancel safety
/// If it is dropped, the request has been made completely or not at all.
#[must_use = "nothing is cancelled until this is awaited"]
pub struct Cancel {
    engine: Arc<Engine>,
    id: ExecutionId,
    grace: Result<Duration, DurationError>,
}

impl Cancel {
    pub(crate) const fn new(engine: Arc<Engine>, id: ExecutionId) -> Self {
        Self { engine, id, grace: Ok(CANCEL_GRACE) }
    }

    /// Lets running code continue for this long; the default is 10 s. Zero means no limit: the execution stays
    /// `cancelling` until its code ends by itself. If its worker is lost meanwhile, nobody else ends the execution;
    /// cancel it again with a grace period in that case.
    pub fn grace(mut self, grace: impl IntoTimeout) -> Self {
        self.grace = grace.into_timeout().map(|grace| grace.unwrap_or(Duration::MAX));
        self
    }

    /// Does not wait for running code: the execution is `cancelled` at once, and its worker drops the code when it
    /// learns of it.
    pub fn no_grace(mut self) -> Self {
        self.grace = Ok(Duration::ZERO);
        self
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancel").field("id", &self.id).field("grace", &self.grace).finish_non_exhaustive()
    }
}

impl IntoFuture for Cancel {
    type Output = Result<ExecutionStatus>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { engine, id, grace } = self;
            let grace = grace?;
            let request = || decide::cancel(id, grace, engine.clock.now());
            let outcome = engine.write(Way::Grouped, request()).await?;
            if grace.is_zero() && outcome.stands() {
                // Ends code that still runs although it was asked to end.
                engine.expire().await?;
            }
            status(&engine, id).await?.ok_or(Error::NotFound(id))
        })
    }
}

/// Writes a request that is refused if the execution has ended or does not exist.
pub(crate) async fn ask(engine: &Engine, transition: Transition) -> Result<bool> {
    Ok(engine.write(Way::Grouped, transition).await?.stands())
}
