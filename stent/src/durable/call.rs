//! Calls: the value that a durable function returns when it is called.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use stent_core::duration::IntoDuration;
use stent_core::model::{Keyed, RetryPolicy, split_version};
use stent_core::replay::{Ask, CallSpec, StepSpec};
use stent_core::{Codec, Key, Timestamp};

use crate::durable::context::{Context, Pending};
use crate::durable::describe::describe;
use crate::durable::options::{CallOptions, StartAt};
use crate::durable::position::{Entered, Position, Reserved};
use crate::durable::progress::Progress;
use crate::error::{Error, Result};
use crate::function::state::{Local, States};
use crate::function::values::decode_result;
use crate::function::{BoxFuture, Function, invoke_locally};

/// A call of the durable function `F`. It describes the work and does nothing until it is used:
///
/// - Awaited inside a durable function it is a **step**: recorded, retried, never repeated.
/// - Given to [`Stent::dispatch`](crate::Stent::dispatch) it is a new **execution**.
/// - [`local`](Self::local) runs the body directly, for a unit test.
/// - Awaited anywhere else, it fails with [`Error::OutsideDurable`], which says what to do instead.
///
/// Options set here take precedence over those of the function's attribute. They have no effect after the first poll.
///
/// # Cancel safety
/// Dropping a call before it completes cancels its step and everything that the step has started. Use
/// [`detach`](Self::detach) to let the step continue.
#[must_use = "a call does nothing until it is awaited or dispatched"]
pub struct Call<F: Function> {
    progress: Progress<F::Args, Asked<F>>,
    options: CallOptions,
    position: Position,
    location: &'static Location<'static>,
}

enum Asked<F: Function> {
    Step(Pending),
    Local(BoxFuture<'static, Result<F::Output>>),
}

impl<F: Function> Unpin for Call<F> {}

#[track_caller]
pub(crate) fn call<F: Function>(args: F::Args) -> Call<F> {
    Call {
        progress: Progress::Built(args),
        options: CallOptions::default(),
        position: Position::here(),
        location: Location::caller(),
    }
}

impl<F: Function> Call<F> {
    /// Runs on this queue.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.options.queue = Some(queue.into());
        self
    }

    /// Runs before calls of lower priority that are due.
    pub fn priority(mut self, priority: i16) -> Self {
        self.options.priority = Some(priority);
        self
    }

    /// Delays the start by this long. Takes a [`Duration`](std::time::Duration) or text such as `"5m"`.
    pub fn delay(mut self, delay: impl IntoDuration) -> Self {
        self.options.set_delay(delay);
        self
    }

    /// Sets the earliest start, unless the call has one.
    pub(crate) fn or_starting(mut self, start: StartAt) -> Self {
        self.options.start.get_or_insert(start);
        self
    }

    /// Starts the call no earlier than this moment; replaces a [`delay`](Self::delay). Takes a [`Timestamp`], a
    /// [`SystemTime`](std::time::SystemTime) or a `time::OffsetDateTime`. A moment in the past means now.
    ///
    /// In a durable function, compute moments from [`now`](crate::now()), which is deterministic.
    pub fn at(mut self, moment: impl Into<Timestamp>) -> Self {
        self.options.start = Some(StartAt::Moment(moment.into()));
        self
    }

    /// Retries by this policy. An invalid policy, such as one with zero attempts, is an error when the call is used.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.options.retry = Some(policy);
        self
    }

    /// Restricts the call to workers that have one of its tags, or that have no tags. Adds to tags set earlier on this
    /// call; replaces the tags of the attribute.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.options.add_tag(tag);
        self
    }

    /// Ends the call, with everything that it has started, if it has not completed after this long. The time runs from
    /// the moment at which the call may start, that is, after its [delay](Self::delay); waiting for a worker, retries
    /// and sleeps count. Zero means no limit, even if the attribute sets one.
    ///
    /// A step that exceeds its limit fails with the kind [`Failure::TIMED_OUT`](crate::Failure::TIMED_OUT); an
    /// execution ends as `timed_out`.
    pub fn max_duration(mut self, limit: impl IntoDuration) -> Self {
        self.options.set_max_duration(limit);
        self
    }

    /// Deduplicates calls of this function by key. Dispatching under a key that is in use returns the handle of the
    /// existing execution, whatever its status, until that execution is purged. A step under a key returns the result
    /// of the first step under that key that succeeds; steps that arrive while it runs wait for it.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.options.idempotency_key = Some(key.into());
        self
    }

    /// Starts the step without waiting for it. No future is left whose drop could cancel the step.
    ///
    /// # Errors
    /// [`Error::OutsideDurable`] if it is not called inside a durable function; an error if the arguments cannot be
    /// stored.
    pub fn detach(mut self) -> Result<()> {
        let Some(args) = self.progress.take_built() else { return Ok(()) };
        let Entered::Durable(reserved) = self.position.enter(F::NAME)? else {
            return Err(Error::outside_durable(F::NAME));
        };
        ask::<F>(reserved, args, &mut self.options, true, self.location).map(Pending::detach)
    }

    /// Runs the body directly, without a store: for unit tests. Calls inside it also run directly, sleeps take real
    /// time, and nothing is recorded or retried. Arguments and results still pass through the codec and its limits, so
    /// a value that a store would refuse is refused here too.
    ///
    /// ```
    /// # use stent::prelude::*;
    /// #[durable]
    /// async fn double(n: u64) -> Result<u64, String> {
    ///     Ok(n * 2)
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stent::Result<()> {
    /// assert_eq!(double(21).local().await?, 42);
    /// # Ok(()) }
    /// ```
    pub fn local(self) -> LocalCall<F> {
        LocalCall { call: self, states: States::default(), codec: Codec::default() }
    }

    /// Where the call was built.
    pub(crate) fn position(&self) -> Position {
        self.position.clone()
    }

    pub(crate) const fn has_idempotency_key(&self) -> bool {
        self.options.idempotency_key.is_some()
    }

    /// Splits the call into its parts, to use it as something other than a step.
    ///
    /// # Errors
    /// An option is invalid, or the call was polled before.
    pub(crate) fn into_parts(mut self) -> Result<(F::Args, CallOptions)> {
        self.options.check()?;
        let polled = || Error::Option { option: "call", problem: "it was polled before".to_owned() };
        let args = self.progress.take_built().ok_or_else(polled)?;
        Ok((args, self.options))
    }
}

/// Asks for a call as a step.
fn ask<F: Function>(
    reserved: Reserved,
    args: F::Args,
    options: &mut CallOptions,
    detached: bool,
    location: &'static Location<'static>,
) -> Result<Pending> {
    options.check()?;
    let engine = &reserved.durable.engine;
    engine.registry.get(F::NAME)?;
    let spec = describe::<F>(args, options, engine)?;
    let now = engine.clock.now();
    let ready_at = spec.start.map(|start| start.resolve(now));
    let keyed = match &options.idempotency_key {
        Some(text) => {
            let (name, version) = split_version(F::NAME);
            let ttl = spec.keyed.and_then(|keyed| keyed.ttl);
            Some(Keyed { key: Key::of_user(name, version, text), ttl })
        }
        None => spec.keyed,
    };
    let call = CallSpec {
        lane: spec.lane,
        priority: spec.priority,
        args: spec.args,
        retry: spec.retry,
        ready_at,
        expires_at: spec.max_duration.map(|limit| ready_at.unwrap_or(now) + limit),
        trace: spec.trace,
        limited: spec.limited,
    };
    let call = Ask::new(StepSpec::Call { spec: Box::new(call), keyed }, F::NAME, location);
    reserved.ask(Ask { digest: spec.digest, detached, ..call })
}

impl<F: Function> Future for Call<F> {
    type Output = Result<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let Self { progress, options, position, location } = &mut *self;
        let ask = |args| {
            Ok(match position.enter(F::NAME)? {
                Entered::Local(local) => Asked::Local(invoke_locally::<F>(args, &local)?),
                Entered::Durable(reserved) => {
                    Asked::Step(ask::<F>(reserved, args, options, false, location)?)
                }
            })
        };
        progress.poll(F::NAME, ask, |asked| match asked {
            Asked::Step(pending) => pending.poll(cx).map(|(_, result)| decode_result(F::NAME, result)),
            Asked::Local(body) => body.as_mut().poll(cx),
        })
    }
}

impl<F: Function> fmt::Debug for Call<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("function", &F::NAME)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A call whose body runs directly: see [`Call::local`].
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct LocalCall<F: Function> {
    call: Call<F>,
    states: States,
    codec: Codec,
}

impl<F: Function> LocalCall<F> {
    /// Provides a state to the body.
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, state: T) -> Self {
        self.states.insert(state);
        self
    }

    /// Uses this codec instead of the default, as a store opened with that codec would.
    pub const fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }
}

impl<F: Function> IntoFuture for LocalCall<F> {
    type Output = Result<F::Output>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (args, _) = self.call.into_parts()?;
            let local = Arc::new(Local { states: self.states, codec: self.codec });
            let body = invoke_locally::<F>(args, &local)?;
            Context::Local(local).scope(body).await
        })
    }
}
