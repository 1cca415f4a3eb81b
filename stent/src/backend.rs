//! What the author of a store needs: the contract that a store implements, its data, and the rules that it applies.
//! Applications do not need this module, except to pass an open store to
//! [`StentBuilder::open`](crate::StentBuilder::open).

pub use stent_core::backend::*;
pub use stent_core::{Digest, Key, Origin, ledger, limits, model, transition};
