//! The common part of stores that misbehave on command. The faults are in `rigged.rs` of each program that includes this
//! module by its path.

use std::sync::atomic::{AtomicU64, Ordering};

use stent::backend::{Error, ErrorKind};

/// Takes one from a counter. Returns whether one was left.
pub(crate) fn takes_one(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

/// The error of a call that was made to fail.
pub(crate) fn refused(kind: ErrorKind, operation: &'static str) -> Error {
    Error::new(kind, operation).with_message("rigged")
}
