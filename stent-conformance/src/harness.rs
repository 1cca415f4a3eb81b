//! What a backend's author writes: how to get an empty store, and how to open it.

use std::error::Error;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use stent_core::backend::Store;

/// Any error. One from a harness fails the case that met it.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Makes empty places for stores: a new file, a new schema, a new key prefix.
///
/// Harness and fixture have one method each, and between them play all that a case needs:
///
/// | A case needs | Which is |
/// |---|---|
/// | an empty store | [`Harness::fresh`], then [`Fixture::open`] |
/// | another process beside it | [`Fixture::open`] while other handles are open |
/// | to come back after a crash | [`Fixture::open`] after a handle was dropped without being closed, perhaps in the middle of a call |
/// | a clock that it can move | nothing: time is an argument of every call of a store |
///
/// An error of either fails the case that met it. Nothing is skipped.
#[async_trait]
pub trait Harness: Debug + Send + Sync + 'static {
    /// Makes a place that nothing was ever stored in, apart from all others: cases run at the same time, and some use
    /// several places.
    async fn fresh(&self) -> Result<Box<dyn Fixture>, BoxError>;
}

/// One place for a store, for as long as a case runs. Dropping it removes what is there.
#[async_trait]
pub trait Fixture: Debug + Send + Sync + 'static {
    /// Opens a handle on what is stored here, as another process would: it shares nothing in memory with handles that are
    /// open already. The suite migrates the schema itself.
    ///
    /// This one method serves for the first handle, for a second one beside it, and for coming back after a crash: then
    /// the suite drops the handles that it holds, without closing them, and opens again. Up to 33 handles are open at a time,
    /// so a pool of connections behind each should begin with few.
    async fn open(&self) -> Result<Arc<dyn Store>, BoxError>;
}
