//! A durable limit on any wait.

use std::future::{Future, IntoFuture};
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use stent_core::duration::{DurationError, IntoTimeout};

use crate::durable::position::Position;
use crate::durable::progress::Progress;
use crate::durable::sleep::Sleeping;
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
        progress: Progress::Built(Box::pin(future.into_future())),
        location: Location::caller(),
    }
}

/// A future with a durable limit: see [`timeout`].
#[must_use = "futures do nothing unless awaited"]
pub struct Timeout<F> {
    limit: Result<Option<Duration>, DurationError>,
    position: Position,
    progress: Progress<Pin<Box<F>>, Limited<F>>,
    location: &'static Location<'static>,
}

/// A future, and the timer that limits it, with its length. Without a limit there is no timer.
struct Limited<F> {
    future: Pin<Box<F>>,
    timer: Option<(Sleeping, Duration)>,
}

impl<F: Future> Limited<F> {
    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<F::Output>> {
        if let Poll::Ready(output) = self.future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let Some((timer, limit)) = &mut self.timer else { return Poll::Pending };
        timer.poll(cx).map(|slept| slept.and(Err(Error::Elapsed { limit: *limit })))
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let Self { limit, position, progress, location } = &mut *self;
        let ask = |future| {
            let timer = match limit.clone()? {
                Some(limit) => {
                    let entered = position.enter("stent::timeout")?;
                    Some((Sleeping::ask(entered, limit, "timeout", location)?, limit))
                }
                None => {
                    position.require("stent::timeout")?;
                    None
                }
            };
            Ok(Limited { future, timer })
        };
        progress.poll("a timeout", ask, |limited| limited.poll(cx))
    }
}

impl<F> Unpin for Timeout<F> {}

impl<F> std::fmt::Debug for Timeout<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timeout").field("limit", &self.limit).finish_non_exhaustive()
    }
}
