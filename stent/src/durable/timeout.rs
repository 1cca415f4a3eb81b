//! A durable limit on any wait.

use std::future::{Future, IntoFuture};
use std::mem::take;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use stent_core::duration::{DurationError, IntoTimeout};

use crate::durable::position::{Entered, Position};
use crate::durable::progress::Progress;
use crate::durable::sleep::Sleeping;
use crate::error::{Error, Result};

/// Awaits a future for at most this long. The limit is a durable timer: it is recorded when the future is first polled, and a
/// crash does not restart it. The function is parked meanwhile if the future awaits only durable work.
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
/// [`Signal::timeout`](crate::Signal::timeout)); this one limits any future, such as several calls in a
/// [`join!`](crate::join!).
///
/// # Errors
/// [`Error::Elapsed`] if the limit passes first; returned from the function with `?`, it becomes a failure of the kind
/// [`Failure::TIMED_OUT`](crate::Failure::TIMED_OUT). [`Error::OutsideDurable`] outside a durable function. [`Error::Duration`]
/// if a text is not a duration.
///
/// # Cancel safety
/// Dropping it drops the future and gives up the timer. When the limit passes, the future is dropped, as by `select!`: a
/// call is cancelled, with everything that it has started.
#[track_caller]
pub fn timeout<F: IntoFuture>(limit: impl IntoTimeout, future: F) -> Timeout<F::IntoFuture> {
    Timeout {
        limit: limit.into_timeout(),
        // The timer's position precedes all positions that the future takes when it is polled.
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

/// A future, and the timer that limits it. Without a limit there is no timer.
struct Limited<F> {
    future: Pin<Box<F>>,
    timer: Option<Timer>,
}

struct Timer {
    sleeping: Sleeping,
    limit: Duration,
    /// Where the timeout is, for its error.
    place: String,
}

impl<F: Future> Limited<F> {
    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<F::Output>> {
        if let Poll::Ready(output) = self.future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let Some(Timer { sleeping, limit, place }) = &mut self.timer else { return Poll::Pending };
        sleeping.poll(cx).map(|slept| slept.and(Err(Error::Elapsed { limit: *limit, place: take(place) })))
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
                    let place = match &entered {
                        Entered::Durable(reserved) => {
                            format!("function `{}` at {location}", reserved.durable.function)
                        }
                        Entered::Local(_) => format!("a function that runs locally, at {location}"),
                    };
                    let sleeping = Sleeping::ask(entered, limit, "timeout", location)?;
                    Some(Timer { sleeping, limit, place })
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
