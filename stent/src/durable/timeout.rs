//! A durable limit on any wait.

use std::future::{Future, IntoFuture};
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use stent_core::duration::{DurationError, IntoTimeout};
use stent_core::replay::{Ask, StepSpec};

use crate::durable::context::{Context, Pending};
use crate::durable::position::Position;
use crate::durable::progress::polled_after_completion;
use crate::error::{Error, Result};

/// Awaits a future, but no longer than this. The limit is a durable timer: it is recorded when the future is first polled, a crash
/// does not start it over, and the function is parked meanwhile if the future lets it be.
///
/// Takes a [`Duration`], a text such as `"10m"`, or an `Option<Duration>`. `None` and zero mean no limit.
///
/// ```
/// # use stent::prelude::*;
/// #[durable]
/// async fn quote(cents: u64) -> Result<u64, String> {
///     Ok(cents)
/// }
///
/// #[durable]
/// async fn best(cents: u64) -> Result<u64, stent::Error> {
///     match stent::timeout("10m", quote(cents)).await {
///         Ok(quoted) => quoted,
///         Err(stent::Error::Elapsed { .. }) => Ok(cents), // the call was cancelled
///         Err(error) => Err(error),
///     }
/// }
/// ```
///
/// Calls, signals and waits for executions have limits of their own ([`Call::max_duration`](crate::Call::max_duration),
/// [`Signal::timeout`](crate::Signal::timeout)); this one holds over anything, such as several calls in a
/// [`join!`](crate::join!).
///
/// # Errors
/// [`Error::Elapsed`] when the time is up first. Returned from the function by `?`, it is a failure of the kind
/// [`Failure::TIMED_OUT`](crate::Failure::TIMED_OUT). [`Error::OutsideDurable`] when there is no durable function around; when a
/// text is not a duration.
///
/// # Cancel safety
/// Dropping it drops the future and gives the timer up. If the time is up, the future is dropped, as by `select!`: a call is
/// cancelled, with all that it has started.
#[track_caller]
pub fn timeout<F: IntoFuture>(limit: impl IntoTimeout, future: F) -> Timeout<F::IntoFuture> {
    Timeout {
        limit: limit.into_timeout(),
        // Its position comes before any that the future takes when it is polled.
        position: Position::here(),
        state: State::Built(Box::pin(future.into_future())),
        location: Location::caller(),
    }
}

/// A future with a durable limit: see [`timeout`].
#[must_use = "futures do nothing unless awaited"]
pub struct Timeout<F> {
    limit: Result<Option<Duration>, DurationError>,
    position: Position,
    state: State<F>,
    location: &'static Location<'static>,
}

enum State<F> {
    Built(Pin<Box<F>>),
    Waiting { future: Pin<Box<F>>, timer: Option<Timer> },
    Done,
}

enum Timer {
    Durable(Pending),
    /// In a unit test, by `.local()`.
    Local(Pin<Box<tokio::time::Sleep>>),
}

impl<F> Timeout<F> {
    fn start(&mut self) -> Result<Option<Timer>> {
        let Some(limit) = self.limit.clone()? else {
            self.position.require("stent::timeout")?;
            return Ok(None);
        };
        let Context::Durable(durable) = self.position.require("stent::timeout")? else {
            return Ok(Some(Timer::Local(Box::pin(tokio::time::sleep(limit)))));
        };
        let (durable, seq) = self.position.take(durable);
        let due = durable.engine.clock.now() + limit;
        let sleep = Ask::new(StepSpec::Sleep { due }, "timeout", self.location);
        Pending::ask(durable, seq, sleep).map(|pending| Some(Timer::Durable(pending)))
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if matches!(this.state, State::Built(_))
            && let State::Built(future) = std::mem::replace(&mut this.state, State::Done)
        {
            let timer = this.start()?;
            this.state = State::Waiting { future, timer };
        }
        let State::Waiting { future, timer } = &mut this.state else {
            polled_after_completion("a timeout");
        };
        let output = match future.as_mut().poll(cx) {
            Poll::Ready(output) => Ok(output),
            Poll::Pending => {
                let elapsed = match timer {
                    Some(Timer::Durable(pending)) => {
                        pending.poll(cx).map(|(_, slept)| slept.map(drop).map_err(Error::Failed))
                    }
                    Some(Timer::Local(sleep)) => sleep.as_mut().poll(cx).map(Ok),
                    None => Poll::Pending,
                };
                match elapsed {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(error)) => Err(error),
                    Poll::Ready(Ok(_)) => {
                        Err(Error::Elapsed { limit: this.limit.clone().ok().flatten().unwrap_or_default() })
                    }
                }
            }
        };
        this.state = State::Done;
        Poll::Ready(output)
    }
}

impl<F> Unpin for Timeout<F> {}

impl<F> std::fmt::Debug for Timeout<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timeout").field("limit", &self.limit).finish_non_exhaustive()
    }
}
