//! Tells running code that its task is asked to end. Knows nothing of the code but its wakers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};

use tokio::sync::Notify;

use crate::durable::poll_timer::PollTimer;

/// Tells a task's running code that it is asked to end.
#[derive(Debug, Default)]
pub(crate) struct StopSign {
    set: AtomicBool,
    /// Whether the code has ever looked: then it gets time to tidy up, and is dropped at its next `await` otherwise.
    heeded: AtomicBool,
    notify: Notify,
    /// How long the code takes between two awaits, so that code which cannot be stopped is told apart.
    pub(crate) polls: PollTimer,
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

    /// The code waits for it from now on, so it gets time to tidy up.
    pub(super) fn heed(&self) {
        self.heeded.store(true, Ordering::Release);
    }

    /// As code waits for it. Its wakers are kept here and not in a `Notify`, so that they are told from foreign ones.
    pub(super) fn poll(&self, cx: &TaskContext<'_>) -> Poll<()> {
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
