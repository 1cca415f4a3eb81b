//! Durable sleeps.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use stent_core::duration::{DurationError, IntoDuration};
use stent_core::replay::{Ask, StepSpec};

use crate::durable::context::Pending;
use crate::durable::position::{Entered, Position};
use crate::durable::progress::Progress;
use crate::error::{Error, Result};

/// Sleeps durably: the function is parked and holds no worker, lease or memory until the time has passed. A crash does
/// not restart the sleep.
///
/// Takes a [`Duration`](std::time::Duration) or text such as `"10m"`. A sleep of zero is recorded and goes on at once, without
/// parking the function.
///
/// # Errors
/// [`Error::Duration`](crate::Error::Duration) if the text is not a duration; [`Error::OutsideDurable`] outside a
/// durable function.
///
/// # Cancel safety
/// Dropping it cancels the sleep.
#[track_caller]
pub fn sleep(duration: impl IntoDuration) -> Sleep {
    let position = Position::here();
    Sleep { progress: Progress::Built(duration.into_duration()), position, location: Location::caller() }
}

/// A durable sleep: see [`sleep`].
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    progress: Progress<Result<Duration, DurationError>, Sleeping>,
    position: Position,
    location: &'static Location<'static>,
}

/// A timer that has been asked for: a durable sleep or, in a unit test by `.local()`, a timer of tokio.
pub(crate) enum Sleeping {
    Asked(Pending),
    Local(Pin<Box<tokio::time::Sleep>>),
}

impl Sleeping {
    /// Asks for a timer where a future has entered.
    ///
    /// # Errors
    /// Those of [`Pending::ask`].
    pub(crate) fn ask(
        entered: Entered,
        duration: Duration,
        name: &'static str,
        location: &'static Location<'static>,
    ) -> Result<Self> {
        Ok(match entered {
            Entered::Local(_) => Self::Local(Box::pin(tokio::time::sleep(duration))),
            Entered::Durable(reserved) => {
                let now = reserved.durable.engine.clock.now();
                let ask = Ask::new(StepSpec::Sleep { due: now + duration }, name, location);
                let pending = reserved.ask(ask)?;
                if duration.is_zero() {
                    pending.record_if_new(now);
                }
                Self::Asked(pending)
            }
        })
    }

    pub(crate) fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<()>> {
        match self {
            Self::Asked(pending) => pending.poll(cx).map(|(_, slept)| slept.map(drop).map_err(Error::Failed)),
            Self::Local(sleep) => sleep.as_mut().poll(cx).map(Ok),
        }
    }
}

impl Future for Sleep {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let Self { progress, position, location } = &mut *self;
        let ask = |duration: Result<Duration, DurationError>| {
            let duration = duration?;
            Sleeping::ask(position.enter("stent::sleep")?, duration, "sleep", location)
        };
        progress.poll("a sleep", ask, |sleeping| sleeping.poll(cx))
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").finish_non_exhaustive()
    }
}
