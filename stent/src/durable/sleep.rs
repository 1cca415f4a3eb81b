//! Durable sleeps.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use stent_core::duration::{DurationError, IntoDuration};
use stent_core::model::StepKind;

use crate::durable::context::{Context, Pending, Wish, polled_after_completion};
use crate::durable::position::Position;
use crate::error::{Error, Result};

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
    let position = Position::here();
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
    position: Position,
    location: &'static Location<'static>,
}

#[derive(Debug)]
enum SleepState {
    Built,
    Asked(Pending),
    Local(Pin<Box<tokio::time::Sleep>>),
    Done,
}

impl Sleep {
    fn start(&mut self) -> Result<SleepState> {
        let duration = self.duration.clone()?;
        let Context::Durable(durable) = self.position.require("stent::sleep")? else {
            return Ok(SleepState::Local(Box::pin(tokio::time::sleep(duration))));
        };
        let (durable, seq) = self.position.take(durable);
        let due = Some(durable.engine.clock.now() + duration);
        let wish = Wish { due, ..Wish::new(StepKind::Sleep, "sleep", self.location) };
        Pending::ask(durable, seq, wish).map(SleepState::Asked)
    }
}

impl Future for Sleep {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        if matches!(self.state, SleepState::Built) {
            self.state = SleepState::Done;
            self.state = self.start()?;
        }
        let slept = match &mut self.state {
            SleepState::Asked(pending) => ready!(pending.poll(cx)).1.map(|_| ()).map_err(Error::Failed),
            SleepState::Local(sleep) => {
                ready!(sleep.as_mut().poll(cx));
                Ok(())
            }
            SleepState::Built | SleepState::Done => polled_after_completion("a sleep"),
        };
        self.state = SleepState::Done;
        Poll::Ready(slept)
    }
}
