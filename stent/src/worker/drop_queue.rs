//! Drops abandoned code on threads that may block, so that a destructor of the application does not hold up the
//! worker's loop.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::function::panics::{try_drop, warn_if_panicked};

/// Threads that drop values of one worker. A blocking destructor holds up later values only when all of these threads
/// are busy.
const THREADS_MAX: usize = 4;

/// The values that one worker has handed over to be dropped.
#[derive(Default)]
pub(super) struct DropQueue {
    state: Mutex<State>,
    drained: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Box<dyn Any + Send>>,
    threads: usize,
}

impl DropQueue {
    /// Drops a value soon, on a thread that may block. Outside a runtime it is dropped at once.
    pub(super) fn push(self: &Arc<Self>, value: impl Any + Send) {
        let Ok(runtime) = Handle::try_current() else { return warn_if_panicked(try_drop(value)) };
        let mut state = self.state();
        state.waiting.push_back(Box::new(value));
        if state.threads < THREADS_MAX {
            state.threads += 1;
            drop(state);
            let queue = self.clone();
            // A runtime that is shutting down does not run this; the values are then dropped with the worker.
            drop(runtime.spawn_blocking(move || queue.run()));
        }
    }

    /// Waits until every value has been dropped.
    pub(super) async fn drained(&self) {
        loop {
            let mut drained = std::pin::pin!(self.drained.notified());
            drained.as_mut().enable();
            if self.state().threads == 0 {
                return;
            }
            drained.await;
        }
    }

    fn run(&self) {
        while let Some(value) = self.next() {
            warn_if_panicked(try_drop(value));
        }
        self.drained.notify_waiters();
    }

    /// The next value to drop. If there is none, the calling thread ends.
    fn next(&self) -> Option<Box<dyn Any + Send>> {
        let mut state = self.state();
        let next = state.waiting.pop_front();
        if next.is_none() {
            state.threads -= 1;
        }
        next
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for DropQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DropQueue").field("waiting", &self.state().waiting.len()).finish()
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
        let queue = Arc::new(DropQueue::default());
        let (release, blocked) = std::sync::mpsc::channel();
        let (told, hears) = tokio::sync::oneshot::channel();

        queue.push(Blocks(blocked));
        queue.push(Panics);
        queue.push(Tells(Some(told)));

        hears.await.expect("it is dropped though another destructor blocks");
        release.send(()).expect("it still blocks");
        queue.drained().await;
    }
}
