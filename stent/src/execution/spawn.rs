//! Child executions.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use stent_core::ExecutionId;
use stent_core::model::{StepKind, split_version};

use crate::durable::call::{Call, describe};
use crate::durable::context::{Context, Pending, Wish};
use crate::durable::position::Position;
use crate::durable::progress::polled_after_completion;
use crate::error::{Error, Result};
use crate::execution::handle::Handle;
use crate::function::Function;
use crate::function::values::decode_result;

/// Starts an execution of its own from inside a durable function, and gives its handle: once, however often the function is
/// run again, because the start is recorded in the same commit that writes the new execution.
///
/// The new execution is nobody's child: it goes on when the function ends, fails or is cancelled. Its handle's
/// [`result`](Handle::result) is a recorded wait, which parks the function.
///
/// ```
/// # use stent::prelude::*;
/// # #[durable] async fn report(month: u32) -> Result<String, stent::Error> { Ok(String::new()) }
/// #[durable]
/// async fn close_month(month: u32) -> Result<String, stent::Error> {
///     let run = stent::spawn(report(month)).await?;
///     run.result().timeout("1h").await
/// }
/// ```
///
/// # Errors
/// As a dispatch has them. [`Error::OutsideDurable`]: elsewhere, use [`Stent::dispatch`](crate::Stent::dispatch).
#[track_caller]
pub fn spawn<F: Function>(call: Call<F>) -> Spawn<F> {
    Spawn {
        // The call has taken a position of its own when it was built, as every call does. It is this step's.
        position: match call.position() {
            Position::Outside => Position::here(),
            taken => taken,
        },
        call: Some(call),
        pending: None,
        location: Location::caller(),
    }
}

/// The start of an execution: see [`spawn`].
#[must_use = "futures do nothing unless awaited"]
pub struct Spawn<F: Function> {
    call: Option<Call<F>>,
    pending: Option<Pending>,
    position: Position,
    location: &'static Location<'static>,
}

impl<F: Function> Spawn<F> {
    fn start(&mut self, call: Call<F>) -> Result<Pending> {
        let Context::Durable(durable) = self.position.require("stent::spawn")? else {
            return Err(Error::OutsideDurable { name: "stent::spawn".to_owned() });
        };
        let (durable, seq) = self.position.take(durable);
        durable.engine.registry.get(F::NAME)?;
        let (args, overrides) = call.into_dispatch()?;
        if overrides.idempotency_key.is_some() {
            return Err(Error::Option {
                option: "idempotency_key",
                problem:
                    "a spawned execution is already identified by its position in the code; leave the key out"
                        .to_owned(),
            });
        }
        let now = durable.engine.clock.now();
        let name = split_version(F::NAME).0;
        let id = durable
            .replay(|replay| ExecutionId::of_spawn(&replay.origin(durable.task, seq, StepKind::Spawn, name)));
        let described = describe::<F>(args, overrides, &durable.engine)?;
        let digest = described.digest;
        let root = described.into_root(id, now);
        let result = durable.engine.encode(&id, || "id of a spawned execution".to_owned())?;
        let wish = Wish {
            spawn: Some(Box::new(root)),
            digest,
            ..Wish::new(StepKind::Spawn, F::NAME, self.location)
        };
        let pending = Pending::ask(durable, seq, wish)?;
        pending.durable().replay(|replay| {
            if replay.must_run(seq) {
                replay.record(seq, now, Ok(result));
            }
        });
        Ok(pending)
    }
}

impl<F: Function> Unpin for Spawn<F> {}

impl<F: Function> Future for Spawn<F> {
    type Output = Result<Handle<F::Output>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        if let Some(call) = self.call.take() {
            self.pending = Some(self.start(call)?);
        }
        let Some(pending) = &mut self.pending else {
            polled_after_completion("stent::spawn");
        };
        let (_, result) = ready!(pending.poll(cx));
        let engine = pending.durable().engine.clone();
        self.pending = None;
        let id: ExecutionId = decode_result("stent::spawn", result)?;
        Poll::Ready(Ok(Handle::new(engine, id)))
    }
}

impl<F: Function> fmt::Debug for Spawn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawn").field("function", &F::NAME).finish_non_exhaustive()
    }
}
