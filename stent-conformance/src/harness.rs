//! The part that a backend's author writes: how to get an empty store, and how to open it.

use std::error::Error;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use stent_core::backend::Store;

/// Any error. An error from a harness fails the case that received it.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Creates empty places for stores: a new file, a new schema, a new key prefix.
///
/// Harness and fixture have one method each, which together provide all that a case needs:
///
/// | A case needs | Provided by |
/// |---|---|
/// | an empty store | [`Harness::fresh`], then [`Fixture::open`] |
/// | a second process | [`Fixture::open`] while other handles are open |
/// | recovery after a crash | [`Fixture::open`] after a handle was dropped without being closed, perhaps in the middle of a call |
/// | a clock that it can move | nothing: every call of a store takes the time as an argument |
///
/// An error from either one fails the case that received it. No case is skipped.
#[async_trait]
pub trait Harness: Debug + Send + Sync + 'static {
    /// Creates a place in which nothing was ever stored, separate from all others: cases run at the same time, and some use
    /// several places.
    async fn fresh(&self) -> Result<Box<dyn Fixture>, BoxError>;
}

/// A store's database, for the duration of a case. Dropping the fixture removes its data.
#[async_trait]
pub trait Fixture: Debug + Send + Sync + 'static {
    /// Opens a handle on the data of this place, as another process would: it shares no memory with handles that are already
    /// open. The suite migrates the schema itself.
    ///
    /// The suite uses this method for the first handle, for a second handle beside it, and for recovery after a crash: then it
    /// drops the handles that it has without closing them, and opens again. Up to 33 handles are open at a time, so start each
    /// one with a small connection pool.
    async fn open(&self) -> Result<Arc<dyn Store>, BoxError>;
}
