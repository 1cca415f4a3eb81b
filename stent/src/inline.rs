//! Inline steps and sleeps.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use serde::Serialize;
use serde::de::DeserializeOwned;
use stent_core::duration::{DurationError, IntoDuration};
use stent_core::model::StepKind;

use crate::call::{check_name, decode_result, encode_result};
use crate::context::{Context, Pending, Wish};
use crate::{Error, Result};

/// Runs a closure once and records what it gives: a step without a function of its own.
///
/// The closure may borrow. It runs in the function that contains it, on the worker that has it. What it returns is
/// recorded before the code goes on, so it never runs again; if the process dies while it runs, it runs again. A failure
/// is recorded too, and not retried: use a durable function for what is worth retrying.
///
/// Inside `select!`, a step that loses is dropped where it stands, and may be started again when the code is replayed.
///
/// ```
/// # use stent::prelude::*;
/// #[durable]
/// async fn invoice(cents: Vec<u64>) -> Result<u64, stent::Error> {
///     let total = stent::step("total", || async { Ok::<_, stent::Error>(cents.iter().sum::<u64>()) }).await?;
///     Ok(total)
/// }
/// ```
///
/// # Errors
/// What the closure fails with, as [`Error::Failed`]; [`Error::OutsideDurable`] when there is no durable function around.
#[track_caller]
pub fn step<F, Fut, T, E>(name: impl Into<String>, body: F) -> Step<F, Fut>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    T: Serialize + DeserializeOwned,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    let name = name.into();
    let position = Context::durable().map(|durable| {
        let seq = durable.reserve();
        (durable, seq)
    });
    Step { name, body: Some(body), running: None, pending: None, position, location: Location::caller() }
}

/// An inline step: see [`step`].
#[must_use = "futures do nothing unless awaited"]
pub struct Step<F, Fut> {
    name: String,
    body: Option<F>,
    running: Option<Pin<Box<Fut>>>,
    pending: Option<Pending>,
    position: Option<(std::sync::Arc<crate::context::Durable>, stent_core::model::Seq)>,
    location: &'static Location<'static>,
}

impl<F, Fut> Unpin for Step<F, Fut> {}

impl<F, Fut> fmt::Debug for Step<F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<F, Fut, T, E> Future for Step<F, Fut>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    T: Serialize + DeserializeOwned,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.pending.is_none() && this.running.is_none() {
            check_name("step", &this.name)?;
            match Context::require(&this.name)? {
                Context::Local(_) => this.running = this.body.take().map(|body| Box::pin(body())),
                Context::Durable(durable) => {
                    let (durable, seq) = this.position.take().unwrap_or_else(|| {
                        let seq = durable.reserve();
                        (durable, seq)
                    });
                    let wish = Wish::new(StepKind::Inline, &this.name, this.location);
                    let pending = Pending::ask(durable, seq, wish)?;
                    if pending.durable().replay(|replay| replay.must_run(seq)) {
                        this.running = this.body.take().map(|body| Box::pin(body()));
                    }
                    this.pending = Some(pending);
                }
            }
        }
        if let Some(running) = &mut this.running {
            let result = ready!(running.as_mut().poll(cx));
            this.running = None;
            let Some(pending) = &this.pending else {
                // In a unit test: through the codec all the same, so that what would not survive the store shows.
                return Poll::Ready(decode_result(
                    &this.name,
                    encode_result(&this.name, Default::default(), result),
                ));
            };
            let shared = &pending.durable().shared;
            let result = shared.checked(&this.name, encode_result(&this.name, shared.codec, result));
            let (seq, at) = (pending.seq(), shared.clock.now());
            pending.durable().replay(|replay| replay.record(seq, at, result));
        }
        match &mut this.pending {
            Some(pending) => {
                let (_, result) = ready!(pending.poll(cx));
                Poll::Ready(decode_result(&this.name, result))
            }
            None => Poll::Pending,
        }
    }
}

/// Sleeps durably: the function is parked, and no worker, lease or memory is held until the time has passed. A crash does
/// not start the sleep over.
///
/// Takes a [`Duration`](std::time::Duration) or a text such as `"10m"`.
///
/// # Errors
/// When a text is not a duration; [`Error::OutsideDurable`] when there is no durable function around.
///
/// # Cancel safety
/// Dropping it gives the sleep up.
#[track_caller]
pub fn sleep(duration: impl IntoDuration) -> Sleep {
    let position = Context::durable().map(|durable| {
        let seq = durable.reserve();
        (durable, seq)
    });
    Sleep {
        duration: duration.into_duration(),
        state: SleepState::Built,
        position,
        location: Location::caller(),
    }
}

/// A durable sleep: see [`sleep`].
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct Sleep {
    duration: Result<std::time::Duration, DurationError>,
    state: SleepState,
    position: Option<(std::sync::Arc<crate::context::Durable>, stent_core::model::Seq)>,
    location: &'static Location<'static>,
}

#[derive(Debug)]
enum SleepState {
    Built,
    Asked(Pending),
    Local(Pin<Box<tokio::time::Sleep>>),
}

impl Future for Sleep {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        if matches!(self.state, SleepState::Built) {
            let duration = self.duration.clone()?;
            self.state = match Context::require("stent::sleep")? {
                Context::Local(_) => SleepState::Local(Box::pin(tokio::time::sleep(duration))),
                Context::Durable(durable) => {
                    let (durable, seq) = self.position.take().unwrap_or_else(|| {
                        let seq = durable.reserve();
                        (durable, seq)
                    });
                    let due = Some(durable.shared.clock.now() + duration);
                    let wish = Wish { due, ..Wish::new(StepKind::Sleep, "sleep", self.location) };
                    SleepState::Asked(Pending::ask(durable, seq, wish)?)
                }
            };
        }
        match &mut self.state {
            SleepState::Asked(pending) => {
                let (_, result) = ready!(pending.poll(cx));
                Poll::Ready(result.map(|_| ()).map_err(Error::Failed))
            }
            SleepState::Local(sleep) => sleep.as_mut().poll(cx).map(Ok),
            SleepState::Built => Poll::Pending,
        }
    }
}
