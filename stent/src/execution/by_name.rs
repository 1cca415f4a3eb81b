//! Dispatch by name: starts executions of functions that this process need not know.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use stent_core::duration::IntoDuration;
use stent_core::model::{Lane, RetryPolicy, split_version};
use stent_core::transition::{Outcome, Transition};
use stent_core::{ExecutionId, Key, Payload, Timestamp, decide};
use tracing::Instrument as _;

use crate::durable::context;
use crate::durable::describe::Described;
use crate::durable::options::{CallOptions, StartAt};
use crate::engine::Engine;
use crate::engine::ids;
use crate::engine::writer::Way;
use crate::error::Result;
use crate::execution::dispatch::{DISPATCH, DISPATCH_REMEDY};
use crate::function::BoxFuture;
use crate::names::check_name;
use crate::trace;

/// A dispatch of a function by its name. Awaiting it writes a new execution and returns its id.
///
/// Any worker that knows the function runs it. If none does, the execution waits for one. The process that dispatches does
/// not know the function's attribute, so this call gives everything: without [`queue`](Self::queue) the execution runs on
/// the queue `default`, and priority, tags, retries and `max_duration` have their defaults, too. A call of an `idempotent`
/// or `cached` function always runs; give an [`idempotency_key`](Self::idempotency_key) to run it once. `max_concurrent` and
/// `rate` apply as always, because workers enforce them.
///
/// Arguments that the function cannot decode are not noticed here: the execution fails with the kind
/// [`Failure::CODEC`](crate::Failure::CODEC) when a worker starts it.
///
/// ```standalone_crate
/// # use stent::prelude::*;
/// #[durable(queue = "maths")]
/// async fn double(n: u64) -> Result<u64, String> {
///     Ok(n * 2)
/// }
///
/// # #[tokio::main] async fn main() -> stent::Result<()> {
/// let stent = Stent::connect("memory:").await?;
/// let worker = stent.worker().start().await?;
///
/// let id = stent.dispatch_by_name("double", &(21,)).queue("maths").await?;
/// let result = stent.wait_for(id).timeout("10s").await?;
/// assert_eq!(result.decode::<u64>().ok(), Some(42));
/// worker.drain().await
/// # }
/// ```
///
/// # Errors
/// Arguments that cannot be stored, invalid names and options, [`Error::InDurable`](crate::Error::InDurable) in a durable function without an
/// [`id`](Self::id) or a key, store errors. No execution has started then, unless the store failed in the middle of the
/// write.
///
/// # Cancel safety
/// If it is dropped, the dispatch has been written completely or not at all.
#[must_use = "a dispatch does nothing until it is awaited"]
pub struct DispatchByName {
    engine: Arc<Engine>,
    function: String,
    args: Result<Payload>,
    options: CallOptions,
    id: Option<ExecutionId>,
}

impl DispatchByName {
    pub(crate) fn new<A: Serialize>(engine: Arc<Engine>, function: String, args: &A) -> Self {
        let args = engine.encode_for_any(args, || format!("arguments of `{function}`"));
        Self { engine, function, args, options: CallOptions::default(), id: None }
    }

    /// Sets the execution's id. Dispatching twice under one id starts one execution.
    pub fn id(mut self, id: ExecutionId) -> Self {
        self.id = Some(id);
        self
    }

    /// Runs on this queue instead of `default`.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.options.queue = Some(queue.into());
        self
    }

    /// Runs before work of lower priority that is due.
    pub fn priority(mut self, priority: i16) -> Self {
        self.options.priority = Some(priority);
        self
    }

    /// Delays the start by this long.
    pub fn delay(mut self, delay: impl IntoDuration) -> Self {
        self.options.set_delay(delay);
        self
    }

    /// Starts the execution no earlier than this moment; replaces a [`delay`](Self::delay). A moment in the past means now.
    pub fn at(mut self, moment: impl Into<Timestamp>) -> Self {
        self.options.start = Some(StartAt::Moment(moment.into()));
        self
    }

    /// Restricts the execution to workers that have one of its tags, or that have no tags.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.options.add_tag(tag);
        self
    }

    /// Ends the execution as `timed_out` if it has not completed after this long. Zero means no limit.
    pub fn max_duration(mut self, limit: impl IntoDuration) -> Self {
        self.options.set_max_duration(limit);
        self
    }

    /// Dispatches at most once under this key: see [`Dispatch::idempotency_key`](crate::Dispatch::idempotency_key). Both kinds
    /// of dispatch share the keys of a function.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.options.idempotency_key = Some(key.into());
        self
    }

    /// Retries the function by this policy.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.options.retry = Some(policy);
        self
    }

    async fn write(self) -> Result<ExecutionId> {
        let Self { engine, function, args, options, id } = self;
        if id.is_none() && options.idempotency_key.is_none() {
            context::check_not_replayed(DISPATCH, DISPATCH_REMEDY)?;
        }
        let span = trace::dispatch(&function);
        let id = id.unwrap_or_else(ids::execution);
        let started = async {
            let transition = start(id, function, args?, options, engine.clock.now())?;
            Ok(match engine.write(Way::Grouped, transition).await? {
                Outcome::Exists(first) => first,
                _ => id,
            })
        };
        let dispatched: Result<_> = started.instrument(span.clone()).await;
        trace::dispatched(&span, dispatched.as_ref().ok().copied(), dispatched.as_ref().map(drop));
        dispatched
    }
}

fn start(
    id: ExecutionId,
    function: String,
    args: Payload,
    mut options: CallOptions,
    now: Timestamp,
) -> Result<Transition> {
    options.check()?;
    check_name("function", &function)?;
    options.validate()?;
    let queue = options.queue.as_deref().unwrap_or(Lane::DEFAULT_QUEUE);
    let tags = options.tags.unwrap_or_default();
    let key = options.idempotency_key.as_deref();
    let key = key.map(|text| Key::of_dispatch(split_version(&function).0, text));
    let described = Described {
        lane: Lane::new(queue, function).with_tags(tags),
        priority: options.priority.unwrap_or_default(),
        args,
        retry: options.retry,
        start: options.start,
        keyed: None,
        max_duration: options.max_duration.filter(|limit| !limit.is_zero()),
        limited: false,
        digest: None,
        trace: trace::current(),
    };
    Ok(decide::start(described.into_root(id, now), key, now))
}

impl fmt::Debug for DispatchByName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DispatchByName")
            .field("function", &self.function)
            .field("options", &self.options)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl IntoFuture for DispatchByName {
    type Output = Result<ExecutionId>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.write())
    }
}
