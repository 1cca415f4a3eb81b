//! Child executions.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use stent_core::ExecutionId;
use stent_core::model::{StepKind, split_version};
use stent_core::replay::{Ask, StepSpec};

use crate::durable::call::Call;
use crate::durable::context::Pending;
use crate::durable::describe::describe;
use crate::durable::position::{Entered, Position, Reserved};
use crate::durable::progress::Progress;
use crate::error::{Error, Result};
use crate::execution::handle::Handle;
use crate::function::Function;
use crate::function::values::decode_result;

/// Starts a separate execution from inside a durable function and returns its handle. The execution starts exactly
/// once, however often the function is replayed, because the commit that records the start also writes the new
/// execution.
///
/// The new execution is not a child: it continues when the function ends, fails or is cancelled. Waiting for the
/// [`result`](Handle::result) of its handle is recorded and parks the function.
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
/// Those of a dispatch; [`Error::OutsideDurable`] outside a durable function: use
/// [`Stent::dispatch`](crate::Stent::dispatch) there.
#[track_caller]
pub fn spawn<F: Function>(call: Call<F>) -> Spawn<F> {
    Spawn {
        // Every call takes a position when it is built. This step uses the position of its call.
        position: match call.position() {
            Position::Outside => Position::here(),
            taken => taken,
        },
        progress: Progress::Built(call),
        location: Location::caller(),
    }
}

/// The start of an execution: see [`spawn`].
#[must_use = "futures do nothing unless awaited"]
pub struct Spawn<F: Function> {
    progress: Progress<Call<F>, Pending>,
    position: Position,
    location: &'static Location<'static>,
}

/// Asks for the start, and records the new execution's id as the result.
fn ask<F: Function>(
    reserved: Reserved,
    call: Call<F>,
    location: &'static Location<'static>,
) -> Result<Pending> {
    let Reserved { durable, seq } = reserved.clone();
    let engine = &durable.engine;
    engine.registry.get(F::NAME)?;
    let (args, options) = call.into_parts()?;
    if options.idempotency_key.is_some() {
        return Err(Error::Option {
            option: "idempotency_key",
            problem:
                "a spawned execution is already identified by its position in the code; leave the key out"
                    .to_owned(),
        });
    }
    let now = engine.clock.now();
    let name = split_version(F::NAME).0;
    let id = durable
        .replay(|replay| ExecutionId::of_spawn(&replay.origin(durable.task, seq, StepKind::Spawn, name)));
    let described = describe::<F>(args, &options, engine)?;
    let digest = described.digest;
    let root = described.into_root(id, now);
    let result = engine.encode(&id, || "id of a spawned execution".to_owned())?;
    let ask = Ask::new(StepSpec::Spawn { root: Box::new(root) }, F::NAME, location);
    let pending = reserved.ask(Ask { digest, ..ask })?;
    durable.replay(|replay| {
        if replay.must_run(seq) {
            replay.record(seq, now, Ok(result));
        }
    });
    Ok(pending)
}

impl<F: Function> Unpin for Spawn<F> {}

impl<F: Function> Future for Spawn<F> {
    type Output = Result<Handle<F::Output>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let Self { progress, position, location } = &mut *self;
        let ask = |call| match position.enter("stent::spawn")? {
            Entered::Durable(reserved) => ask::<F>(reserved, call, location),
            Entered::Local(_) => Err(Error::outside_durable("stent::spawn")),
        };
        progress.poll("stent::spawn", ask, |pending| {
            pending.poll(cx).map(|(_, result)| {
                let id: ExecutionId = decode_result("stent::spawn", result)?;
                Ok(Handle::new(pending.durable().engine.clone(), id))
            })
        })
    }
}

impl<F: Function> fmt::Debug for Spawn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawn").field("function", &F::NAME).finish_non_exhaustive()
    }
}
