//! Text that is rendered when the store is created, and again once the schema of the tables is known.

use std::ops::Deref;
use std::sync::OnceLock;

/// The later value, if there is one.
#[derive(Debug)]
pub(super) struct Late<T> {
    first: T,
    settled: OnceLock<T>,
}

impl<T> Late<T> {
    pub(super) const fn new(first: T) -> Self {
        Self { first, settled: OnceLock::new() }
    }

    /// Replaces the first value, unless it was replaced already.
    pub(super) fn settle(&self, later: T) {
        let _ = self.settled.set(later);
    }
}

impl<T> Deref for Late<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.settled.get().unwrap_or(&self.first)
    }
}
