//! Catches panics of application code and of its destructors, and converts them to failures. Knows nothing of tasks.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};

use stent_core::Failure;

use crate::function::failure::from_panic;

/// Runs application code.
///
/// # Errors
/// The panic, as a failure.
pub(crate) fn catch_panic<T>(body: impl FnOnce() -> T) -> Result<T, Failure> {
    panic::catch_unwind(AssertUnwindSafe(body)).map_err(panic_failure)
}

/// Drops a value of the application.
///
/// # Errors
/// The panic of its destructors, as a failure.
pub(crate) fn try_drop<T>(value: T) -> Result<(), Failure> {
    catch_panic(|| drop(value))
}

/// Stack size of a thread that drops a deeply nested value: enough for some hundred thousand levels. Only the used part
/// takes memory.
const DEEP_STACK_BYTES: usize = 256 * 1024 * 1024;

/// Drops a value in place or, if it is nested so deeply that its destructors may overflow a normal stack, on a thread
/// with a larger stack. A stack overflow would end the process.
pub(crate) fn drop_if_deep(is_deep: bool, value: impl Send + 'static) {
    if is_deep {
        let thread = std::thread::Builder::new().name("stent-drop".into()).stack_size(DEEP_STACK_BYTES);
        // If no thread can be spawned, the closure and the value are dropped here.
        drop(thread.spawn(move || warn_if_panicked(try_drop(value))));
    }
}

/// The failure of a panic. Call it on the thread that panicked.
pub(crate) fn panic_failure(panic: Box<dyn Any + Send>) -> Failure {
    let failure = from_panic(&*panic);
    // The payload is a value of the application, so dropping it can panic. The payload of that second panic could do
    // the same again, so it is leaked.
    if let Err(again) = panic::catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
    failure
}

/// Logs a warning about a destructor that panicked.
pub(crate) fn warn_if_panicked(dropped: Result<(), Failure>) {
    if let Err(failure) = dropped {
        tracing::warn!(panic = failure.message, "a destructor panicked; nothing else is affected");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    struct Panics;

    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    #[test]
    fn a_panic_whose_payload_panics_goes_no_further() {
        let failure = catch_panic(|| panic::panic_any(Panics)).expect_err("it panicked");
        assert_eq!(failure.kind, Failure::PANIC);
    }

    #[test]
    fn values_are_destroyed_while_a_panic_unwinds() {
        struct Destroys(Arc<Mutex<Option<String>>>);
        impl Drop for Destroys {
            fn drop(&mut self) {
                let failure = try_drop(Panics).expect_err("it panicked");
                *self.0.lock().expect("whole") = Some(failure.message);
            }
        }
        let said = Arc::new(Mutex::new(None));
        let held = Destroys(said.clone());
        let first = catch_panic(move || {
            let _held = held;
            panic!("first");
        });
        assert_eq!(first.expect_err("it panicked").message, "first");
        assert_eq!(said.lock().expect("whole").as_deref(), Some("dropped"));
    }
}
