//! The recorded wait for the end of an execution: a step of the waiting function.

use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use stent_core::duration::IntoTimeout;
use stent_core::model::{ExecutionStatus, TaskResult};
use stent_core::replay::{Ask, StepSpec};
use stent_core::{Digest, ExecutionId, Payload};

use crate::durable::context::Durable;
use crate::durable::position::Reserved;
use crate::durable::progress::Progress;
use crate::durable::wait_timeout::{TimedWait, WaitTimeout};
use crate::error::{Error, Result};

/// A wait that parks its function. Every replay sees the same outcome.
pub(crate) struct ExecutionWait<T> {
    id: ExecutionId,
    timeout: WaitTimeout,
    decode: fn(Payload) -> Result<T>,
    progress: Progress<Reserved, TimedWait>,
    durable: Arc<Durable>,
    location: &'static Location<'static>,
}

impl<T> ExecutionWait<T> {
    pub(crate) fn new(
        id: ExecutionId,
        reserved: Reserved,
        decode: fn(Payload) -> Result<T>,
        location: &'static Location<'static>,
    ) -> Self {
        let durable = reserved.durable.clone();
        Self {
            id,
            timeout: WaitTimeout::none(),
            decode,
            progress: Progress::Built(reserved),
            durable,
            location,
        }
    }

    pub(crate) fn set_timeout(&mut self, timeout: impl IntoTimeout) {
        self.timeout.set(timeout, Some(self.durable.clone()));
    }

    pub(crate) const fn id(&self) -> ExecutionId {
        self.id
    }

    pub(crate) fn timeout(&self) -> &WaitTimeout {
        &self.timeout
    }

    fn ended(&self, result: Option<TaskResult>) -> Result<T> {
        match result {
            Some(Ok(payload)) => (self.decode)(payload),
            Some(Err(failure)) => Err(match failure.outcome() {
                Some(ExecutionStatus::Cancelled) => Error::Cancelled,
                Some(ExecutionStatus::TimedOut) => Error::TimedOut,
                _ if failure.is_not_found() => Error::NotFound(self.id),
                _ => Error::Failed(failure),
            }),
            None => Err(Error::WaitTimeout {
                execution: self.id,
                waited: self.timeout.limit()?.unwrap_or_default(),
            }),
        }
    }
}

impl<T> Future for ExecutionWait<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let Self { id, timeout, progress, location, .. } = &mut *self;
        let ask = |reserved: Reserved| {
            timeout.limit()?;
            let join = Ask::new(StepSpec::Join { execution: *id }, "execution", location);
            let join = Ask { digest: Digest::of(id).ok(), ..join };
            timeout.beside(reserved.ask(join)?, "wait timeout", location)
        };
        let result = ready!(progress.poll("a wait for an execution", ask, |wait| wait.poll(cx).map(Ok)))?;
        Poll::Ready(self.ended(result))
    }
}
