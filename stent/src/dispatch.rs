//! Dispatch: how executions start.

use std::sync::Arc;

use stent_core::decide;
use stent_core::duration::IntoDuration;
use stent_core::limits::EXCHANGE_TRANSITIONS_MAX;
use stent_core::model::{NewTask, NewTaskState, RetryPolicy, Seq, StepKind, Tree};
use stent_core::transition::Transition;
use stent_core::{ExecutionId, Timestamp};

use crate::call::{Call, describe};
use crate::client::Shared;
use crate::function::{BoxFuture, Function};
use crate::handle::Handle;
use crate::{Result, ids};

/// A dispatch: awaited, it writes a new execution and gives its handle.
///
/// # Errors
/// [`Error::NotRegistered`](crate::Error::NotRegistered), arguments that cannot be stored, options that do not fit, store
/// errors. Nothing has been started then, unless the store failed in the middle of the write.
///
/// # Cancel safety
/// A dispatch that is dropped has been written wholly or not at all.
#[must_use = "a dispatch does nothing until it is awaited"]
#[derive(Debug)]
pub struct Dispatch<F: Function> {
    shared: Arc<Shared>,
    call: Call<F>,
    id: Option<ExecutionId>,
}

impl<F: Function> Dispatch<F> {
    pub(crate) const fn new(shared: Arc<Shared>, call: Call<F>) -> Self {
        Self { shared, call, id: None }
    }

    /// Gives the execution this id. Dispatching twice under one id starts one execution, so a caller that does not know
    /// whether its dispatch arrived can send it again.
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

    /// Starts not before this time has passed.
    pub fn delay(mut self, delay: impl IntoDuration) -> Self {
        self.call = self.call.delay(delay);
        self
    }

    /// Starts not before this moment, in place of a [`delay`](Self::delay). Takes a [`Timestamp`], a
    /// [`SystemTime`](std::time::SystemTime) or a `time::OffsetDateTime`. A moment that has passed is now.
    pub fn at(mut self, moment: impl Into<Timestamp>) -> Self {
        self.call = self.call.at(moment);
        self
    }

    /// Retries the function by this policy.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.call = self.call.retry(policy);
        self
    }
}

impl<F: Function> IntoFuture for Dispatch<F> {
    type Output = Result<Handle<F::Output>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let id = self.id.unwrap_or_else(ids::execution);
            let transition = start(&self.shared, id, self.call)?;
            self.shared.writer.write(transition).await?;
            Ok(Handle::new(self.shared, id))
        })
    }
}

/// A dispatch of many calls: awaited, it writes them in large batches and gives their handles in order.
///
/// # Errors
/// Those of [`Dispatch`]. Calls of earlier batches have been started then.
///
/// # Cancel safety
/// Batches that were sent are written.
#[must_use = "a dispatch does nothing until it is awaited"]
#[derive(Debug)]
pub struct DispatchAll<F: Function, I: Iterator<Item = Call<F>>> {
    shared: Arc<Shared>,
    calls: I,
}

impl<F: Function, I: Iterator<Item = Call<F>>> DispatchAll<F, I> {
    pub(crate) const fn new(shared: Arc<Shared>, calls: I) -> Self {
        Self { shared, calls }
    }
}

impl<F, I> IntoFuture for DispatchAll<F, I>
where
    F: Function,
    I: Iterator<Item = Call<F>> + Send + 'static,
{
    type Output = Result<Vec<Handle<F::Output>>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move {
            let mut handles = Vec::new();
            loop {
                let mut batch = Vec::with_capacity(EXCHANGE_TRANSITIONS_MAX);
                for call in self.calls.by_ref().take(EXCHANGE_TRANSITIONS_MAX) {
                    let id = ids::execution();
                    batch.push(start(&self.shared, id, call)?);
                    handles.push(Handle::new(self.shared.clone(), id));
                }
                if batch.is_empty() {
                    return Ok(handles);
                }
                self.shared.writer.write_all(batch).await?;
            }
        })
    }
}

fn start<F: Function>(shared: &Shared, id: ExecutionId, call: Call<F>) -> Result<Transition> {
    shared.registry.get(F::NAME)?;
    let (args, overrides) = call.into_dispatch()?;
    let described = describe::<F>(&args, overrides, shared)?;
    let now = shared.clock.now();
    let root = NewTask {
        id: id.root(),
        tree: Tree::root(id),
        seq: Seq(0),
        kind: StepKind::Call,
        lane: described.lane,
        priority: described.priority,
        args: described.args,
        retry: described.retry,
        attempts: 0,
        state: NewTaskState::Pending { ready_at: described.start.map_or(now, |start| start.resolve(now)) },
    };
    Ok(decide::start(root, now))
}
