//! The API for authors of stores: the contract that a store implements, its data, and the rules that it applies.
//! Applications do not need this module, except to pass an open store to
//! [`StentBuilder::open`](crate::StentBuilder::open).
//!
//! The traits have `async fn`s and are used as trait objects, by means of the crate `async-trait`: a crate that implements them
//! depends on `async-trait = "0.1"` and marks each `impl` with `#[async_trait]`. The guide "Writing a backend" has a whole store.

pub use stent_core::backend::*;
pub use stent_core::{Digest, Key, Origin, ledger, limits, model, transition};
