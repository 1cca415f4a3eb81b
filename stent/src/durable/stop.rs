//! Being asked to end: how running code learns of it and tidies up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};

use tokio::sync::Notify;

use crate::durable::context::Context;
use crate::worker::Pulse;

/// Tells a task's running code that it is asked to end.
#[derive(Debug, Default)]
pub(crate) struct StopSign {
    set: AtomicBool,
    /// Whether the code has ever looked: then it gets time to tidy up, and is dropped at its next `await` otherwise.
    heeded: AtomicBool,
    notify: Notify,
    /// How long the code takes between two awaits, so that code which cannot be stopped is told apart.
    pub(crate) pulse: Pulse,
    /// Code that waits for it.
    wakers: Mutex<Vec<Waker>>,
}

impl StopSign {
    pub(crate) fn set(&self) {
        self.set.store(true, Ordering::Release);
        self.notify.notify_waiters();
        let wakers = std::mem::take(&mut *self.wakers());
        // A waker may be code of the application's: not under the lock.
        wakers.into_iter().for_each(Waker::wake);
    }

    /// As code waits for it. Its wakers are kept here and not in a `Notify`, so that they are told from foreign ones.
    fn poll(&self, cx: &TaskContext<'_>) -> Poll<()> {
        let mut wakers = self.wakers();
        if self.is_set() {
            return Poll::Ready(());
        }
        if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// How many of those who wait are woken by this waker.
    pub(crate) fn waits_with(&self, waker: &Waker) -> usize {
        self.wakers().iter().filter(|own| own.will_wake(waker)).count()
    }

    fn wakers(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_set(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }

    pub(crate) fn is_heeded(&self) -> bool {
        self.heeded.load(Ordering::Acquire)
    }

    /// Waits until it is set.
    pub(crate) async fn wait(&self) {
        let mut notified = std::pin::pin!(self.notify.notified());
        notified.as_mut().enable();
        if !self.is_set() {
            notified.await;
        }
    }
}

/// Resolves once the running function is asked to end, because its execution was cancelled. A function that awaits it,
/// beside its work, has the grace of the cancellation to tidy up; one that never does is dropped at its next `await`.
///
/// While it tidies up, new steps fail with [`Error::Cancelled`](crate::Error::Cancelled), and what the function gives in the
/// end counts for nothing.
///
/// ```
/// # use stent::prelude::*;
/// # async fn upload() {}
/// # async fn remove_half_of_it() {}
/// #[durable]
/// async fn publish() -> Result<(), stent::Error> {
///     tokio::select! {
///         () = upload() => Ok(()),
///         () = stent::cancelled() => {
///             remove_half_of_it().await;
///             Err(stent::Error::Cancelled)
///         }
///     }
/// }
/// ```
///
/// A function that waits for steps holds no worker, so nothing of it runs and nothing is told; those of its steps that run
/// are. Outside of a durable function it never resolves.
///
/// # Cancel safety
/// Safe.
pub async fn cancelled() {
    let Some(durable) = Context::around().and_then(Context::into_durable) else {
        return std::future::pending().await;
    };
    durable.stop.heeded.store(true, Ordering::Release);
    std::future::poll_fn(|cx| durable.stop.poll(cx)).await;
}
