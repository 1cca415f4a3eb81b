//! Notifies running code that its task is asked to end. Knows only the wakers of the code.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};

use tokio::sync::Notify;

use crate::durable::poll_timer::PollTimer;

/// Notifies a task's running code that it is asked to end.
#[derive(Debug, Default)]
pub(crate) struct StopSign {
    set: AtomicBool,
    /// Whether the code has ever listened. If so, it gets time to clean up; otherwise it is dropped at its next
    /// `await`.
    heeded: AtomicBool,
    notify: Notify,
    /// How long the code runs between two awaits, which identifies code that cannot be stopped.
    pub(crate) polls: PollTimer,
    /// Wakers of code that waits for the notification.
    wakers: Mutex<Vec<Waker>>,
}

impl StopSign {
    pub(crate) fn set(&self) {
        self.set.store(true, Ordering::Release);
        self.notify.notify_waiters();
        let wakers = std::mem::take(&mut *self.wakers());
        // Outside the lock, because a waker may be code of the application.
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The code listens from now on, so it gets time to clean up.
    pub(super) fn heed(&self) {
        self.heeded.store(true, Ordering::Release);
    }

    /// Waits on behalf of the code. Its wakers are kept here and not in a `Notify`, to distinguish them from foreign
    /// wakers.
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

    /// Number of waiting futures that this waker wakes.
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

    /// Waits until the task is asked to end.
    pub(crate) async fn wait(&self) {
        let mut notified = std::pin::pin!(self.notify.notified());
        notified.as_mut().enable();
        if !self.is_set() {
            notified.await;
        }
    }
}
