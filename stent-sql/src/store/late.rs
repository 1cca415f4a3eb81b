//! Text that is rendered when the store is made, and once more when it is known which schema the tables are in.

use std::ops::Deref;
use std::sync::OnceLock;

/// The later one, if there is one.
#[derive(Debug)]
pub(super) struct Late<T> {
    first: T,
    settled: OnceLock<T>,
}

impl<T> Late<T> {
    pub(super) const fn new(first: T) -> Self {
        Self { first, settled: OnceLock::new() }
    }

    /// Takes the place of the first one, unless another has.
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
