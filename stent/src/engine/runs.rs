//! Counts the runs of steps in a strict test. Knows why a step may run again, and nothing of the code that runs it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use stent_core::TaskId;

/// The runs of all steps, and those that were not needed.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    state: Mutex<State>,
    /// How often workers have started. A step that was in flight when its worker crashed runs again.
    lives: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    begun: BTreeSet<(TaskId, Attempt)>,
    faults: Vec<String>,
}

/// What allows a further run: the attempts that failed before, of the step itself and of the function that it belongs to,
/// and another life of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Attempt {
    pub(crate) of_step: u32,
    pub(crate) of_function: u32,
    pub(crate) life: u64,
}

impl Runs {
    /// A step begins. It is a fault if it has begun before, in the same attempt and the same life of its worker.
    pub(crate) fn begins(&self, step: TaskId, attempt: Attempt, what: impl FnOnce() -> String) {
        if !self.state().begun.insert((step, attempt)) {
            self.fault(format!(
                "{} ran twice, although no attempt had failed and no worker had crashed between",
                what()
            ));
        }
    }

    /// Something ran again that is not recorded.
    pub(crate) fn fault(&self, fault: String) {
        self.state().faults.push(fault);
    }

    /// A worker starts, for the first time or after a crash.
    pub(crate) fn starts(&self) {
        self.lives.fetch_add(1, Ordering::AcqRel);
    }

    /// The life of the worker that starts code now.
    pub(crate) fn life(&self) -> u64 {
        self.lives.load(Ordering::Acquire)
    }

    pub(crate) fn faults(&self) -> Vec<String> {
        self.state().faults.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ids;

    #[test]
    fn a_second_run_is_a_fault_unless_an_attempt_failed_or_a_worker_crashed() {
        let (runs, step) = (Runs::default(), ids::task());
        let begins = |of_step, of_function| {
            runs.begins(step, Attempt { of_step, of_function, life: runs.life() }, || {
                "step `mail` of `order`".to_owned()
            });
            runs.faults().len()
        };
        assert_eq!(begins(0, 0), 0);
        assert_eq!(begins(1, 0), 0);
        assert_eq!(begins(0, 1), 0);
        runs.starts();
        assert_eq!(begins(0, 1), 0);
        assert_eq!(begins(0, 1), 1);
        assert!(runs.faults()[0].starts_with("step `mail` of `order` ran twice"), "{:?}", runs.faults());
    }
}
