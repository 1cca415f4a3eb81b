//! The end of a test: fails it for what its worker did. Knows nothing of the test's own assertions.

use std::sync::Arc;

use super::crash::CrashStore;
use crate::engine::runs::Runs;

/// Fails the test when it is dropped, if there is a reason to.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) runs: Option<Arc<Runs>>,
    pub(super) crashes: Option<Arc<CrashStore>>,
}

impl Drop for Verdict {
    fn drop(&mut self) {
        let crashes = self.crashes.as_ref();
        if std::thread::panicking() {
            if let Some(seed) = crashes.and_then(|crashes| crashes.seed()) {
                eprintln!(
                    "stent: this test crashed its worker at random moments; repeat them with .crash_randomly({seed})"
                );
            }
            return;
        }
        let faults = self.runs.as_ref().map(|runs| runs.faults()).unwrap_or_default();
        assert!(
            faults.is_empty(),
            "this test is strict, and its worker ran work again:\n  {}",
            faults.join("\n  ")
        );
        if let Some(problem) = crashes.and_then(|crashes| crashes.problem()) {
            panic!("{problem}");
        }
    }
}
