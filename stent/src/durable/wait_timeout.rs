//! The timeout of a durable wait: a sleep beside the wait, with its own position.

use std::panic::Location;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use stent_core::duration::{DurationError, IntoTimeout};
use stent_core::model::TaskResult;
use stent_core::replay::{Ask, StepSpec};

use crate::durable::context::{Durable, Pending};
use crate::durable::position::Reserved;
use crate::error::Result;

/// The limit of a wait. Without a limit it takes no position.
#[derive(Debug)]
pub(crate) struct WaitTimeout {
    limit: Result<Option<Duration>, DurationError>,
    reserved: Option<Reserved>,
}

impl WaitTimeout {
    pub(crate) const fn none() -> Self {
        Self { limit: Ok(None), reserved: None }
    }

    /// Sets the limit. The first time that there is a limit, takes a position in this function for the sleep.
    pub(crate) fn set(&mut self, timeout: impl IntoTimeout, durable: Option<Arc<Durable>>) {
        self.limit = timeout.into_timeout();
        if matches!(self.limit, Ok(Some(_))) && self.reserved.is_none() {
            self.reserved = durable.map(Reserved::next);
        }
    }

    /// The limit, if there is one.
    pub(crate) fn limit(&self) -> Result<Option<Duration>, DurationError> {
        self.limit.clone()
    }

    /// Asks for the sleep that limits a wait.
    pub(crate) fn beside(
        &mut self,
        wait: Pending,
        name: &'static str,
        location: &'static Location<'static>,
    ) -> Result<TimedWait> {
        let Some(limit) = self.limit()? else { return Ok(TimedWait { wait, timeout: None }) };
        let reserved = self.reserved.take().unwrap_or_else(|| Reserved::next(wait.durable().clone()));
        let due = reserved.durable.engine.clock.now() + limit;
        let sleep = Ask::new(StepSpec::Sleep { due }, name, location);
        Ok(TimedWait { wait, timeout: Some(reserved.ask(sleep)?) })
    }
}

/// A wait, and the sleep that limits it.
#[derive(Debug)]
pub(crate) struct TimedWait {
    wait: Pending,
    timeout: Option<Pending>,
}

impl TimedWait {
    /// The result of the wait, or `None` if the time is up.
    pub(crate) fn poll(&mut self, cx: &TaskContext<'_>) -> Poll<Option<TaskResult>> {
        match self.wait.poll(cx) {
            Poll::Ready((_, result)) => Poll::Ready(Some(result)),
            Poll::Pending => match self.timeout.as_mut().map(|timeout| timeout.poll(cx)) {
                Some(Poll::Ready(_)) => Poll::Ready(None),
                Some(Poll::Pending) | None => Poll::Pending,
            },
        }
    }
}
