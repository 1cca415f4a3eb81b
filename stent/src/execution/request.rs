//! Requests to executions that are under way: signals and cancellation.

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

/// How a durable function sends a signal.
const SIGNAL_REMEDY: &str = "send it in the closure of stent::step(…), which a replay does not run again";

/// A value on its way to an execution, for whoever of it waits, or will wait, for this [signal](crate::signal()): awaited, it
/// is sent.
///
/// In a durable function it is an error, because each replay of the code would send it again: send it in the closure of a
/// [`step`](crate::step()) there.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Ended`] when the execution has ended; [`Error::InDurable`] outside of a step; a value that cannot
/// be stored; store errors. The value has not been sent then, unless the store failed in the middle of the write.
///
/// # Cancel safety
/// A send that is dropped was made wholly or not at all.
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

/// Why nothing can be asked of an execution: it has ended, or is not there.
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

/// A request to an execution to end: awaited, it gives where the execution then stands.
///
/// Everything of it that does not run ends at once: pending calls, timers, waits, and everything below them. What runs is
/// told, and dropped at its next `await`, unless it listens to [`cancelled`](crate::cancelled) to tidy up; meanwhile the
/// execution is `cancelling`. It is `cancelled` when nothing of it runs any more, and at the latest when the grace is over.
///
/// Cancelling twice is no error, and a shorter grace wins. An execution that has ended stays as it is.
///
/// # Errors
/// [`Error::NotFound`]; a text that is no duration; store errors.
///
/// # Cancel safety
/// The request was made wholly or not at all.
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

    /// What runs may go on for this long; the default is 10 s. Zero is no limit: the execution is `cancelling` until its code
    /// has ended by itself. If the worker is lost meanwhile, nobody else ends it; cancel it again with a grace then.
    pub fn grace(mut self, grace: impl IntoTimeout) -> Self {
        self.grace = grace.into_timeout().map(|grace| grace.unwrap_or(Duration::MAX));
        self
    }

    /// Waits for nothing that runs: the execution is `cancelled` at once, and its code is dropped when its worker hears of it.
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
                // What still runs after it was asked is ended now.
                engine.expire().await?;
            }
            status(&engine, id).await?.ok_or(Error::NotFound(id))
        })
    }
}

/// Writes a request whose refusal means that the execution has ended or is not there.
pub(crate) async fn ask(engine: &Engine, transition: Transition) -> Result<bool> {
    Ok(engine.write(Way::Grouped, transition).await?.stands())
}
