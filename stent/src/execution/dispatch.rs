//! Dispatch: starts executions.

use std::sync::Arc;

use stent_core::decide;
use stent_core::duration::{DurationError, IntoDuration};
use stent_core::limits::{CHUNK_BYTES_MAX, EXCHANGE_TRANSITIONS_MAX};
use stent_core::model::{RetryPolicy, split_version};
use stent_core::transition::{Outcome, Transition};
use stent_core::{ExecutionId, Key, Timestamp};
use tracing::Instrument as _;

use crate::durable::call::Call;
use crate::durable::context;
use crate::durable::describe::describe;
use crate::durable::options::StartAt;
use crate::engine::Engine;
use crate::engine::ids;
use crate::engine::writer::Way;
use crate::error::Result;
use crate::execution::handle::Handle;
use crate::function::{BoxFuture, Function};
use crate::metrics::{DispatchOutcome, Dispatched};
use crate::trace;

/// How errors name a dispatch.
pub(crate) const DISPATCH: &str = "a dispatch";
pub(crate) const DISPATCH_REMEDY: &str = "use stent::spawn(call), which starts one execution however often the code is replayed; or give the \
                               dispatch an id or an idempotency key; or dispatch in the closure of stent::step(…)";

/// A dispatch. Awaiting it writes a new execution and returns its handle.
///
/// Inside a durable function a dispatch is an error, unless it has an [id](Self::id) or an [idempotency
/// key](Self::idempotency_key): each replay would start another execution. Use [`spawn`](crate::spawn()) there. The
/// closure of a [`step`](crate::step()) may dispatch, because it only runs again if the process dies, or the attempt
/// fails, before the step is recorded.
///
/// # Errors
/// [`Error::NotRegistered`](crate::Error::NotRegistered), arguments that cannot be stored, invalid options,
/// [`Error::InDurable`](crate::Error::InDurable), store errors. No execution has started then, unless the store failed
/// in the middle of the write.
///
/// # Cancel safety
/// If it is dropped, the dispatch has been written completely or not at all.
#[must_use = "a dispatch does nothing until it is awaited"]
#[derive(Debug)]
pub struct Dispatch<F: Function> {
    engine: Arc<Engine>,
    call: Call<F>,
    id: Option<ExecutionId>,
}

impl<F: Function> Dispatch<F> {
    pub(crate) const fn new(engine: Arc<Engine>, call: Call<F>) -> Self {
        Self { engine, call, id: None }
    }

    /// Sets the execution's id. Dispatching twice under one id starts one execution, so a caller that does not know
    /// whether its dispatch arrived can safely repeat it.
    pub fn id(mut self, id: ExecutionId) -> Self {
        self.id = Some(id);
        self
    }

    /// Runs on this queue.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.call = self.call.queue(queue);
        self
    }

    /// Runs before work of lower priority that is due.
    pub fn priority(mut self, priority: i16) -> Self {
        self.call = self.call.priority(priority);
        self
    }

    /// Delays the start by this long.
    pub fn delay(mut self, delay: impl IntoDuration) -> Self {
        self.call = self.call.delay(delay);
        self
    }

    /// Starts the execution no earlier than this moment; replaces a [`delay`](Self::delay). Takes a [`Timestamp`], a
    /// [`SystemTime`](std::time::SystemTime) or a `time::OffsetDateTime`. A moment in the past means now.
    pub fn at(mut self, moment: impl Into<Timestamp>) -> Self {
        self.call = self.call.at(moment);
        self
    }

    /// Restricts the execution to workers that have one of its tags, or that have no tags: see [`Call::tag`].
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.call = self.call.tag(tag);
        self
    }

    /// Ends the execution as `timed_out` if it has not completed after this long: see [`Call::max_duration`].
    pub fn max_duration(mut self, limit: impl IntoDuration) -> Self {
        self.call = self.call.max_duration(limit);
        self
    }

    /// Dispatches at most once under this key. If an execution of the same function was dispatched under it before, the
    /// dispatch returns the handle of that execution, whatever its status, and starts nothing. The key becomes free
    /// when that execution is purged.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.call = self.call.idempotency_key(key);
        self
    }

    /// Retries the function by this policy.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.call = self.call.retry(policy);
        self
    }

    pub(crate) async fn write(self, way: Way<'_>) -> Result<Handle<F::Output>> {
        let Self { engine, call, id } = self;
        if id.is_none() && !call.has_idempotency_key() {
            context::check_not_replayed(DISPATCH, DISPATCH_REMEDY)?;
        }
        let span = trace::dispatch(F::NAME);
        let dispatched = write(&engine, way, call, id).instrument(span.clone()).await;
        trace::dispatched(&span, dispatched.as_ref().ok().copied(), dispatched.as_ref().map(drop));
        Ok(handle(way, engine, dispatched?))
    }
}

impl<F: Function> IntoFuture for Dispatch<F> {
    type Output = Result<Handle<F::Output>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.write(Way::Grouped))
    }
}

/// A dispatch of many calls. Awaiting it writes them in large batches and returns their handles in order.
///
/// # Errors
/// Those of [`Dispatch`]. The calls of earlier batches have started.
///
/// # Cancel safety
/// Batches that were sent stay written.
#[must_use = "a dispatch does nothing until it is awaited"]
#[derive(Debug)]
pub struct DispatchAll<F: Function, I: Iterator<Item = Call<F>>> {
    engine: Arc<Engine>,
    calls: I,
    start: Result<Option<StartAt>, DurationError>,
}

impl<F: Function, I: Iterator<Item = Call<F>>> DispatchAll<F, I> {
    pub(crate) const fn new(engine: Arc<Engine>, calls: I) -> Self {
        Self { engine, calls, start: Ok(None) }
    }

    /// Delays the start by this long, except of calls that have a delay or a start of their own.
    pub fn delay(mut self, delay: impl IntoDuration) -> Self {
        self.start = delay.into_duration().map(|delay| Some(StartAt::After(delay)));
        self
    }

    /// Starts the calls no earlier than this moment, except those that have a delay or a start of their own: see
    /// [`Dispatch::at`].
    pub fn at(mut self, moment: impl Into<Timestamp>) -> Self {
        self.start = Ok(Some(StartAt::Moment(moment.into())));
        self
    }
}

impl<F: Function, I: Iterator<Item = Call<F>> + Send> DispatchAll<F, I> {
    pub(crate) async fn write(self, way: Way<'_>) -> Result<Vec<Handle<F::Output>>> {
        let start = self.start?;
        let mut calls =
            self.calls.map(|call| if let Some(start) = start { call.or_starting(start) } else { call });
        // One span for all calls.
        let span = trace::dispatch(F::NAME);
        let written = write_all(&self.engine, way, &mut calls).instrument(span.clone()).await;
        trace::dispatched(&span, None, written.as_ref().map(drop));
        Ok(written?.into_iter().map(|id| handle(way, self.engine.clone(), id)).collect())
    }
}

impl<F, I> IntoFuture for DispatchAll<F, I>
where
    F: Function,
    I: Iterator<Item = Call<F>> + Send + 'static,
{
    type Output = Result<Vec<Handle<F::Output>>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.write(Way::Grouped))
    }
}

fn handle<T>(way: Way<'_>, engine: Arc<Engine>, id: ExecutionId) -> Handle<T> {
    match way {
        Way::Grouped => Handle::new(engine, id),
        Way::Within(_) => Handle::uncommitted(engine, id),
    }
}

/// Writes an execution. Returns its id, or the id of the execution that already exists.
async fn write<F: Function>(
    engine: &Engine,
    way: Way<'_>,
    call: Call<F>,
    id: Option<ExecutionId>,
) -> Result<ExecutionId> {
    let (is_new, id) = (id.is_none(), id.unwrap_or_else(ids::execution));
    let transition = start(engine, id, call)?;
    let mut queues = queues(engine, std::slice::from_ref(&transition)).into_iter();
    let outcome = engine.write(way, transition).await?;
    if let Some(queue) = queues.next() {
        report::<F>(engine, way, is_new, id, &queue, &outcome);
    }
    Ok(if let Outcome::Exists(first) = outcome { first } else { id })
}

/// The queues of dispatches, if somebody listens to reports of them.
fn queues(engine: &Engine, dispatches: &[Transition]) -> Vec<String> {
    if !engine.hooks.listen() {
        return Vec::new();
    }
    dispatches.iter().flat_map(Transition::rows).map(|root| root.lane.queue.clone()).collect()
}

/// Reports a dispatch to the hooks. `is_new` is whether its id was drawn for it.
fn report<F: Function>(
    engine: &Engine,
    way: Way<'_>,
    is_new: bool,
    id: ExecutionId,
    queue: &str,
    outcome: &Outcome,
) {
    let (execution, outcome) = match (outcome, way) {
        (Outcome::Exists(first), _) => (*first, DispatchOutcome::Existing),
        // Without an id of its own, this is the answer to a repetition of the write.
        (Outcome::Already(_), _) if !is_new => (id, DispatchOutcome::Existing),
        (_, Way::Within(_)) => (id, DispatchOutcome::Uncommitted),
        (_, Way::Grouped) => (id, DispatchOutcome::Started),
    };
    let dispatched = Dispatched { execution, function: F::NAME, queue, outcome };
    engine.hooks.tell(|metrics| metrics.dispatched(&dispatched));
}

/// Writes executions batch by batch and returns their ids.
async fn write_all<F: Function>(
    engine: &Engine,
    way: Way<'_>,
    calls: &mut (impl Iterator<Item = Call<F>> + Send),
) -> Result<Vec<ExecutionId>> {
    let mut written = Vec::new();
    loop {
        let mut batch = Vec::with_capacity(EXCHANGE_TRANSITIONS_MAX);
        let mut ids = Vec::with_capacity(EXCHANGE_TRANSITIONS_MAX);
        let mut bytes = 0;
        while batch.len() < EXCHANGE_TRANSITIONS_MAX && bytes < CHUNK_BYTES_MAX {
            let Some(call) = calls.next() else { break };
            if !call.has_idempotency_key() {
                context::check_not_replayed(DISPATCH, DISPATCH_REMEDY)?;
            }
            let id = ids::execution();
            let transition = start(engine, id, call)?;
            bytes += transition.rows().iter().map(|root| root.args.len()).sum::<usize>();
            batch.push(transition);
            ids.push(id);
        }
        if batch.is_empty() {
            return Ok(written);
        }
        let queues = queues(engine, &batch);
        let outcomes = engine.write_all(way, batch).await?;
        for ((id, queue), outcome) in ids.iter().zip(&queues).zip(&outcomes) {
            report::<F>(engine, way, true, *id, queue, outcome);
        }
        let stands = |(id, outcome)| if let Outcome::Exists(first) = outcome { first } else { id };
        written.extend(ids.into_iter().zip(outcomes).map(stands));
    }
}

fn start<F: Function>(engine: &Engine, id: ExecutionId, call: Call<F>) -> Result<Transition> {
    engine.registry.get(F::NAME)?;
    let (args, options) = call.into_parts()?;
    let key = options.idempotency_key.as_deref().map(|text| Key::of_dispatch(split_version(F::NAME).0, text));
    let now = engine.clock.now();
    let root = describe::<F>(args, &options, engine)?.into_root(id, now);
    Ok(decide::start(root, key, now))
}
