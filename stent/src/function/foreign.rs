//! Values of the application, such as code and its captures: panics of their destructors are contained. Knows nothing of tasks.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stent_core::Failure;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::function::failure::from_panic;

/// Threads that destroy what one worker does not go on with. A destructor that blocks holds up only what waits behind it once
/// all of them are taken.
const DESTROYERS_MAX: usize = 4;

/// Runs code of the application's.
///
/// # Errors
/// What it panicked with.
pub(crate) fn caught<T>(body: impl FnOnce() -> T) -> Result<T, Failure> {
    panic::catch_unwind(AssertUnwindSafe(body)).map_err(panicked)
}

/// Drops a value of the application's.
///
/// # Errors
/// What its destructors panicked with.
pub(crate) fn destroy<T>(value: T) -> Result<(), Failure> {
    caught(|| drop(value))
}

/// Stack of a thread that drops a value which is nested too deeply: for some hundred thousand levels, and only what is used of
/// it is taken from memory.
const DEEP_STACK_BYTES: usize = 256 * 1024 * 1024;

/// Drops a value here, or, if it is nested so deeply that its destructors may need more stack than threads have, on a thread
/// that has more. An overflow would end the process.
pub(crate) fn bury_if(is_deep: bool, value: impl Send + 'static) {
    if is_deep {
        let thread = std::thread::Builder::new().name("stent-drop".into()).stack_size(DEEP_STACK_BYTES);
        // Without a thread the value goes with the closure, here.
        drop(thread.spawn(move || said(destroy(value))));
    }
}

/// The failure that a panic becomes. To be called on the thread that panicked.
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Failure {
    let failure = from_panic(&*panic);
    // The payload is a value of the application's, too. The payload of a second panic may do the same for ever, so it stays.
    if let Err(again) = panic::catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
    failure
}

/// Where a worker puts values of the application's to have them destroyed on threads that may block.
#[derive(Default)]
pub(crate) struct Disposal {
    heap: Mutex<Heap>,
    emptied: Notify,
}

#[derive(Default)]
struct Heap {
    waiting: VecDeque<Box<dyn Any + Send>>,
    destroyers: usize,
}

impl Disposal {
    /// Has a value destroyed soon. Outside of a runtime it is destroyed at once.
    pub(crate) fn take(self: &Arc<Self>, value: impl Any + Send) {
        let Ok(runtime) = Handle::try_current() else { return said(destroy(value)) };
        let mut heap = self.heap();
        heap.waiting.push_back(Box::new(value));
        if heap.destroyers < DESTROYERS_MAX {
            heap.destroyers += 1;
            drop(heap);
            let disposal = self.clone();
            // A runtime that shuts down does not run it; then the heap goes with the worker.
            drop(runtime.spawn_blocking(move || disposal.empty()));
        }
    }

    /// Waits until everything is destroyed.
    pub(crate) async fn emptied(&self) {
        loop {
            let mut emptied = std::pin::pin!(self.emptied.notified());
            emptied.as_mut().enable();
            if self.heap().destroyers == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn empty(&self) {
        while let Some(value) = self.next() {
            said(destroy(value));
        }
        self.emptied.notify_waiters();
    }

    /// The next value to destroy. Without one the thread that asks is done.
    fn next(&self) -> Option<Box<dyn Any + Send>> {
        let mut heap = self.heap();
        let next = heap.waiting.pop_front();
        if next.is_none() {
            heap.destroyers -= 1;
        }
        next
    }

    fn heap(&self) -> MutexGuard<'_, Heap> {
        self.heap.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Disposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disposal").field("waiting", &self.heap().waiting.len()).finish()
    }
}

fn said(destroyed: Result<(), Failure>) {
    if let Err(failure) = destroyed {
        tracing::warn!(panic = failure.message, "a destructor panicked; nothing else is affected");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Panics;

    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    #[test]
    fn a_panic_whose_payload_panics_goes_no_further() {
        let failure = caught(|| panic::panic_any(Panics)).expect_err("it panicked");
        assert_eq!(failure.kind, Failure::PANIC);
    }

    #[test]
    fn values_are_destroyed_while_a_panic_unwinds() {
        struct Destroys(Arc<Mutex<Option<String>>>);
        impl Drop for Destroys {
            fn drop(&mut self) {
                let failure = destroy(Panics).expect_err("it panicked");
                *self.0.lock().expect("whole") = Some(failure.message);
            }
        }
        let said = Arc::new(Mutex::new(None));
        let held = Destroys(said.clone());
        let first = caught(move || {
            let _held = held;
            panic!("first");
        });
        assert_eq!(first.expect_err("it panicked").message, "first");
        assert_eq!(said.lock().expect("whole").as_deref(), Some("dropped"));
    }

    #[tokio::test]
    async fn a_destructor_that_blocks_holds_up_nothing_else() {
        struct Blocks(std::sync::mpsc::Receiver<()>);
        impl Drop for Blocks {
            fn drop(&mut self) {
                let _ = self.0.recv();
            }
        }
        struct Tells(Option<tokio::sync::oneshot::Sender<()>>);
        impl Drop for Tells {
            fn drop(&mut self) {
                let _ = self.0.take().map(|told| told.send(()));
            }
        }
        let disposal = Arc::new(Disposal::default());
        let (release, blocked) = std::sync::mpsc::channel();
        let (told, hears) = tokio::sync::oneshot::channel();

        disposal.take(Blocks(blocked));
        disposal.take(Panics);
        disposal.take(Tells(Some(told)));

        hears.await.expect("it is destroyed though another destructor blocks");
        release.send(()).expect("it still blocks");
        disposal.emptied().await;
    }
}
