//! Calls the application's [`Metrics`]. A panic in a hook is logged and affects no task.

use std::fmt;
use std::sync::Arc;

use stent_core::Failure;
use stent_core::backend::Error as StoreError;

use crate::function::panics::catch_panic;
use crate::metrics::{DeadLettered, Metrics, StoreFailed, TaskRef};

/// The hooks of one `Stent`, if it has any.
#[derive(Clone, Default)]
pub(crate) struct Hooks(Option<Arc<dyn Metrics>>);

impl Hooks {
    pub(crate) fn new(metrics: impl Metrics) -> Self {
        Self(Some(Arc::new(metrics)))
    }

    /// Whether there are any.
    pub(crate) const fn listen(&self) -> bool {
        self.0.is_some()
    }

    /// Calls a hook and catches its panics.
    pub(crate) fn tell(&self, hook: impl FnOnce(&dyn Metrics)) {
        let Some(metrics) = &self.0 else { return };
        if let Err(failure) = catch_panic(|| hook(&**metrics)) {
            tracing::error!(
                panic = failure.message,
                "a metrics hook panicked; the task that it reported is not affected"
            );
        }
    }

    /// Reports that a call to the store failed.
    pub(crate) fn store_failed(&self, error: &StoreError) {
        let failed = StoreFailed { operation: error.operation(), kind: error.kind() };
        self.tell(|metrics| metrics.store_failed(&failed));
    }

    /// Reports that an execution failed for good.
    pub(crate) fn dead_lettered(&self, task: TaskRef<'_>, failure: &Failure) {
        self.tell(|metrics| metrics.dead_lettered(&DeadLettered { task, failure }));
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hooks").field(&self.0.is_some()).finish()
    }
}
