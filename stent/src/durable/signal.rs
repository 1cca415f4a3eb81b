//! Signals: values from outside.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use serde::de::DeserializeOwned;
use stent_core::Key;
use stent_core::duration::{DurationError, IntoTimeout};
use stent_core::model::{Keyed, Seq, StepKind};

use crate::durable::context::{Context, Durable, Pending, Wish, polled_after_completion};
use crate::durable::position::Position;
use crate::error::{Error, Result};
use crate::function::values::decode_result;
use crate::names::check_name;

/// Waits for a value that is sent to the execution from outside, under a name: by
/// [`Handle::signal`](crate::Handle::signal) or [`Stent::send_signal`](crate::Stent::send_signal). The function is parked
/// meanwhile, and no worker is held.
///
/// A value may be sent before anyone waits for it. If several are sent before one is consumed, the latest counts. A value
/// is consumed once: the next wait under the same name waits for the next value. If several functions of one execution wait
/// under one name, the one that began first gets the value.
///
/// ```
/// # use stent::prelude::*;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)] struct Approval { by: String }
/// #[durable]
/// async fn approve(request: String) -> Result<String, stent::Error> {
///     let approval: Approval = stent::signal("approval").timeout("2d").await?;
///     Ok(format!("{request}: approved by {}", approval.by))
/// }
/// ```
///
/// # Errors
/// [`Error::SignalTimeout`] when it was given a [timeout](Signal::timeout) and none came in time; [`Error::Codec`] when the
/// value that was sent is not a `T`: it is consumed all the same; [`Error::OutsideDurable`].
///
/// # Cancel safety
/// Dropping it gives the wait up. A value that came and was not seen is there for the next wait.
#[track_caller]
pub fn signal<T: DeserializeOwned>(name: impl Into<String>) -> Signal<T> {
    Signal {
        name: name.into(),
        timeout: Ok(None),
        state: State::Built,
        position: Position::here(),
        clock: None,
        location: Location::caller(),
        value: PhantomData,
    }
}

/// A wait for a signal: see [`signal`].
#[must_use = "futures do nothing unless awaited"]
pub struct Signal<T> {
    name: String,
    timeout: Result<Option<Duration>, DurationError>,
    state: State,
    position: Position,
    /// The position of the timeout.
    clock: Option<(Arc<Durable>, Seq)>,
    location: &'static Location<'static>,
    value: PhantomData<fn() -> T>,
}

enum State {
    Built,
    Waiting { value: Pending, timeout: Option<Pending> },
    Done,
}

fn reserve(durable: Arc<Durable>) -> (Arc<Durable>, Seq) {
    let seq = durable.reserve();
    (durable, seq)
}

impl<T> Signal<T> {
    /// Waits no longer than this. The time is recorded: a crash does not start it over. Zero means no limit.
    pub fn timeout(mut self, timeout: impl IntoTimeout) -> Self {
        self.timeout = timeout.into_timeout();
        if matches!(self.timeout, Ok(Some(_))) && self.clock.is_none() {
            self.clock = Context::durable().map(reserve);
        }
        self
    }

    fn start(&mut self) -> Result<State> {
        check_name("signal", &self.name)?;
        let waited = self.timeout.clone()?;
        let Context::Durable(durable) = self.position.require("stent::signal")? else {
            return Err(Error::Option {
                option: "local",
                problem:
                    "a body that runs with .local() receives no signals; dispatch it to a store, such as \
                          memory:"
                        .to_owned(),
            });
        };
        let (durable, seq) = self.position.take(durable);
        let key = Key::of_signal(durable.execution(), &self.name);
        let wish =
            Wish { keyed: Some(Keyed::new(key)), ..Wish::new(StepKind::Signal, &self.name, self.location) };
        let value = Pending::ask(durable.clone(), seq, wish)?;
        let timeout = waited.map(|waited| {
            let (durable, seq) = self.clock.take().unwrap_or_else(|| reserve(durable));
            let due = Some(durable.engine.clock.now() + waited);
            let wish = Wish { due, ..Wish::new(StepKind::Sleep, "signal timeout", self.location) };
            Pending::ask(durable, seq, wish)
        });
        Ok(State::Waiting { value, timeout: timeout.transpose()? })
    }
}

impl<T: DeserializeOwned> Future for Signal<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if matches!(this.state, State::Built) {
            this.state = State::Done;
            this.state = this.start()?;
        }
        let State::Waiting { value, timeout } = &mut this.state else {
            polled_after_completion("a wait for a signal");
        };
        let output = match value.poll(cx) {
            Poll::Ready((_, result)) => decode_result(&this.name, result),
            Poll::Pending => match timeout.as_mut().map(|timeout| timeout.poll(cx)) {
                Some(Poll::Ready(_)) => Err(Error::SignalTimeout {
                    name: this.name.clone(),
                    waited: this.timeout.clone().ok().flatten().unwrap_or_default(),
                }),
                Some(Poll::Pending) | None => return Poll::Pending,
            },
        };
        this.state = State::Done;
        Poll::Ready(output)
    }
}

impl<T> Unpin for Signal<T> {}

impl<T> fmt::Debug for Signal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal")
            .field("name", &self.name)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
