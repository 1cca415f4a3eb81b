//! Inline steps: closures that run in the function itself, and whose results are recorded.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use serde::Serialize;
use serde::de::DeserializeOwned;
use stent_core::limits::PAYLOAD_BYTES_MAX;
use stent_core::model::StepKind;

use crate::durable::closure::StepClosure;
use crate::durable::context::{Context, Pending, Wish};
use crate::durable::position::Position;
use crate::durable::progress::polled_after_completion;
use crate::error::Result;
use crate::function::values::{decode_result, encode_result, fit_output};
use crate::names::check_name;

/// Runs a closure once and records what it gives: a step without a function of its own.
///
/// The closure may borrow. It runs in the function that contains it, on the worker that has it. What it returns is
/// recorded before the code goes on, so it never runs again; if the process dies while it runs, it runs again. A failure
/// is recorded too, and not retried: use a durable function for what is worth retrying.
///
/// The closure is no code of its function: in it, durable calls, sleeps, signals, maps, spawns and other steps are
/// [`Error::InStep`](crate::Error::InStep), also if they are made in it and awaited after it; [`uuid`](crate::uuid()) and
/// [`random`](crate::random()) draw from a stream of the step's own; and what it says of the
/// [`execution`](crate::execution()) is the step's.
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
/// What the closure fails with, as [`Error::Failed`](crate::Error::Failed);
/// [`Error::OutsideDurable`](crate::Error::OutsideDurable) when there is no durable function around.
#[track_caller]
pub fn step<F, Fut, T, E>(name: impl Into<String>, body: F) -> Step<F, Fut>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    T: Serialize + DeserializeOwned,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    let name = name.into();
    let position = Position::here();
    Step { name, state: StepState::Built(body), position, location: Location::caller() }
}

/// An inline step: see [`step`].
#[must_use = "futures do nothing unless awaited"]
pub struct Step<F, Fut> {
    name: String,
    state: StepState<F, Fut>,
    position: Position,
    location: &'static Location<'static>,
}

enum StepState<F, Fut> {
    Built(F),
    /// In a unit test the closure runs without being asked for.
    Running {
        body: Pin<Box<Fut>>,
        step: Arc<StepClosure>,
        pending: Option<Pending>,
    },
    Recorded(Pending),
    Done,
}

impl<F, Fut> Unpin for Step<F, Fut> {}

impl<F, Fut> fmt::Debug for Step<F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<F, Fut, T, E> Step<F, Fut>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    /// Asks for the step, and starts the closure if the record does not have it.
    fn start(&mut self, body: F) -> Result<StepState<F, Fut>> {
        check_name("step", &self.name)?;
        let Context::Durable(durable) = self.position.require(&self.name)? else {
            let step = StepClosure::new(&self.name, None);
            let body = step.enter(|| Box::pin(body()));
            return Ok(StepState::Running { body, step, pending: None });
        };
        let (durable, seq) = self.position.take(durable);
        let wish = Wish::new(StepKind::Inline, &self.name, self.location);
        let pending = Pending::ask(durable, seq, wish)?;
        if !pending.durable().replay(|replay| replay.must_run(seq)) {
            return Ok(StepState::Recorded(pending));
        }
        let step = StepClosure::new(&self.name, Some((seq, pending.durable().id_of(seq))));
        let body = step.enter(|| Box::pin(body()));
        Ok(StepState::Running { body, step, pending: Some(pending) })
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
        if matches!(this.state, StepState::Built(_))
            && let StepState::Built(body) = std::mem::replace(&mut this.state, StepState::Done)
        {
            this.state = this.start(body)?;
        }
        if let StepState::Running { body, step, .. } = &mut this.state {
            let result = ready!(step.enter(|| body.as_mut().poll(cx)));
            let ran = std::mem::replace(&mut this.state, StepState::Done);
            let StepState::Running { pending: Some(pending), .. } = ran else {
                // In a unit test: through the codec all the same, so that what would not survive the store shows.
                let codec = Context::around().map_or_else(Default::default, |context| context.codec());
                let result = encode_result(&this.name, codec, result);
                let result = result.and_then(|output| fit_output(&this.name, output, PAYLOAD_BYTES_MAX));
                return Poll::Ready(decode_result(&this.name, result));
            };
            let engine = &pending.durable().engine;
            let result = engine.checked(&this.name, encode_result(&this.name, engine.codec, result));
            let (seq, at) = (pending.seq(), engine.clock.now());
            pending.durable().replay(|replay| replay.record(seq, at, result));
            this.state = StepState::Recorded(pending);
        }
        let StepState::Recorded(pending) = &mut this.state else {
            polled_after_completion("a step");
        };
        let (_, result) = ready!(pending.poll(cx));
        this.state = StepState::Done;
        Poll::Ready(decode_result(&this.name, result))
    }
}
