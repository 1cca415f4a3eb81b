//! What stores that misbehave on command have in common. Knows nothing of what is rigged; `rigged.rs` of each program that
//! takes this module by its path does.

use std::sync::atomic::{AtomicU64, Ordering};

use stent::backend::{Error, ErrorKind};

/// Whether there was one left to take.
pub(crate) fn takes_one(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

/// What a call fails with that was rigged to.
pub(crate) fn refused(kind: ErrorKind, operation: &'static str) -> Error {
    Error::new(kind, operation).with_message("rigged")
}
