//! The state of a durable future: built, waiting since its first poll, done. Knows nothing of what it asks for.

use std::task::{Poll, ready};

use crate::error::Result;

/// The state of a durable future. `B` is the data that it was built from; `A` is what it awaits after its first poll.
pub(crate) enum Progress<B, A> {
    Built(B),
    Asked(A),
    Done,
}

impl<B, A> Progress<B, A> {
    /// Asks at the first poll, and polls the result of asking.
    ///
    /// # Panics
    /// If it is polled after completion, like the futures of the standard library. Returning `Pending` would mean to
    /// wait forever.
    #[track_caller]
    pub(crate) fn poll<T>(
        &mut self,
        what: &str,
        ask: impl FnOnce(B) -> Result<A>,
        poll: impl FnOnce(&mut A) -> Poll<Result<T>>,
    ) -> Poll<Result<T>> {
        if let Some(built) = self.take_built() {
            *self = Self::Asked(ask(built)?);
        }
        let Self::Asked(asked) = self else { polled_after_completion(what) };
        let output = ready!(poll(asked));
        *self = Self::Done;
        Poll::Ready(output)
    }

    /// The data that the future was built from, unless it has asked already.
    pub(crate) fn take_built(&mut self) -> Option<B> {
        match std::mem::replace(self, Self::Done) {
            Self::Built(built) => Some(built),
            asked => {
                *self = asked;
                None
            }
        }
    }
}

/// Panics because a future was polled after completion.
#[track_caller]
pub(crate) fn polled_after_completion(what: &str) -> ! {
    panic!("{what} was polled after it had completed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn it_asks_once_and_completes_once() {
        let mut progress = Progress::Built(20);
        let pending = progress.poll("it", |built| Ok(built + 1), |_| Poll::<Result<i32>>::Pending);
        assert!(pending.is_pending());
        let ready = progress.poll("it", |_: i32| panic!("it has asked"), |asked| Poll::Ready(Ok(*asked + 1)));
        assert!(matches!(ready, Poll::Ready(Ok(22))));

        let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            progress.poll("it", |_| Ok(0), |_| Poll::Ready(Ok(0)))
        }));
        let message = again.expect_err("it has completed");
        assert_eq!(message.downcast_ref::<String>().expect("a text"), "it was polled after it had completed");
    }

    #[test]
    fn what_cannot_be_asked_for_is_an_error_once() {
        let mut progress = Progress::<(), ()>::Built(());
        let refused = progress.poll("it", |()| Err(Error::Cancelled), |()| Poll::Ready(Ok(())));
        assert!(matches!(refused, Poll::Ready(Err(Error::Cancelled))));
        assert!(matches!(progress, Progress::Done));
    }
}
