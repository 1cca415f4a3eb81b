//! Signals: values that are sent to an execution from outside.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use serde::de::DeserializeOwned;
use stent_core::Key;
use stent_core::duration::IntoTimeout;
use stent_core::model::Keyed;
use stent_core::replay::{Ask, StepSpec};

use crate::durable::context::Context;
use crate::durable::position::{Entered, Position};
use crate::durable::progress::Progress;
use crate::durable::wait_timeout::{TimedWait, WaitTimeout};
use crate::error::{Error, Result};
use crate::function::values::decode_result;
use crate::names::check_name;

/// Waits for a value that [`Handle::signal`](crate::Handle::signal) or
/// [`Stent::send_signal`](crate::Stent::send_signal) sends to the execution under this name. The function is parked
/// while it waits and holds no worker.
///
/// A value can be sent before the wait begins. If several values are sent before one is consumed, the latest wins. Each
/// value is consumed once: the next wait under the same name waits for the next value. If several functions of one
/// execution wait under the same name, the wait that began first gets the value.
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
/// [`Error::SignalTimeout`] if no value arrives within the [timeout](Signal::timeout); [`Error::Codec`] if the value is
/// not a `T` (the value is consumed all the same); [`Error::OutsideDurable`].
///
/// # Cancel safety
/// Dropping it cancels the wait. A value that arrived but that your code has not observed stays available to the next
/// wait.
#[track_caller]
pub fn signal<T: DeserializeOwned>(name: impl Into<String>) -> Signal<T> {
    Signal {
        name: name.into(),
        timeout: WaitTimeout::none(),
        progress: Progress::Built(()),
        position: Position::here(),
        location: Location::caller(),
        value: PhantomData,
    }
}

/// A wait for a signal: see [`signal`].
#[must_use = "futures do nothing unless awaited"]
pub struct Signal<T> {
    name: String,
    timeout: WaitTimeout,
    progress: Progress<(), TimedWait>,
    position: Position,
    location: &'static Location<'static>,
    value: PhantomData<fn() -> T>,
}

impl<T> Signal<T> {
    /// Limits the wait. The deadline is recorded, so a crash does not restart it. Zero means no limit.
    pub fn timeout(mut self, timeout: impl IntoTimeout) -> Self {
        self.timeout.set(timeout, Context::durable());
        self
    }
}

impl<T: DeserializeOwned> Future for Signal<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let Self { name, timeout, progress, position, location, .. } = &mut *self;
        let limit = timeout.limit();
        let ask = |()| {
            check_name("signal", name)?;
            timeout.limit()?;
            match position.enter("stent::signal")? {
                Entered::Local(_) => Err(Error::Option {
                    option: "local",
                    problem:
                        "a body that runs with .local() receives no signals; dispatch it to a store, such as \
                          memory:"
                            .to_owned(),
                }),
                Entered::Durable(reserved) => {
                    let keyed = Keyed::new(Key::of_signal(reserved.durable.execution(), name));
                    let signal = Ask::new(StepSpec::Signal { keyed }, &*name, location);
                    timeout.beside(reserved.ask(signal)?, "signal timeout", location)
                }
            }
        };
        progress.poll("a wait for a signal", ask, |wait| {
            wait.poll(cx).map(|result| match result {
                Some(result) => decode_result(name, result),
                None => Err(Error::SignalTimeout { name: name.clone(), waited: limit?.unwrap_or_default() }),
            })
        })
    }
}

impl<T> Unpin for Signal<T> {}

impl<T> fmt::Debug for Signal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal")
            .field("name", &self.name)
            .field("timeout", &self.timeout.limit())
            .finish_non_exhaustive()
    }
}
