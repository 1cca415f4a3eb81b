//! Transactions of the application, in which transitions take part.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{ErrorKind, Result};
use crate::transition::{Outcome, Transition};

/// A transaction as its database library knows it; the core does not know the type. Each store documents the type that it
/// takes: an SQL store takes sea-orm's `DatabaseTransaction`.
pub type HostTransaction = dyn Any + Send + Sync;

/// Offered by a store whose database is also the application's: transitions are committed if, and only if, the application's
/// rows are.
///
/// A store returns it from [`Backend::transactions`](super::Backend::transactions). A wrapper of a store implements it if the
/// inner store does, and treats transitions here as in `exchange`.
#[async_trait]
pub trait Transactions: Debug + Send + Sync {
    /// Begins a transaction on a connection of the store, such that its reads stay valid until it has written. Dropping the
    /// transaction rolls it back.
    ///
    /// # Errors
    /// Nothing has begun then.
    ///
    /// # Cancel safety
    /// Safe.
    async fn begin(&self) -> Result<Arc<HostTransaction>>;

    /// Begins a transaction, as [`begin`](Self::begin) does, in which the application's code runs for at most `limit`. The
    /// runtime gives up the transaction after `limit`; a store whose statements run on a server must make them end there, too.
    /// In such a transaction, the application's statements run under its own settings, and its changes of the connection are
    /// undone before Stent uses the connection again.
    ///
    /// # Errors
    /// Nothing has begun then.
    ///
    /// # Cancel safety
    /// Safe.
    async fn begin_for(&self, limit: Duration) -> Result<Arc<HostTransaction>> {
        let _ = limit;
        self.begin().await
    }

    /// Applies transitions in an open transaction of the store or of the application. They become visible when it is
    /// committed; if it is rolled back, they never existed.
    ///
    /// # Behaviour
    /// 1. The outcomes are those of [`exchange`](super::Backend::exchange), provided that the transaction is committed.
    /// 2. If this fails, the transaction contains none of the transitions, and the application's earlier work in it stays.
    /// 3. Listeners learn of work that the application's commit makes ready no later than a poll would find it.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if it is not a transaction of this store's database, or does not see commits since it began.
    /// [`ErrorKind::Contended`] if it conflicted with another transaction, and the code that began it must run it again.
    /// [`ErrorKind::Ended`] if it is no longer open, whatever the driver says.
    ///
    /// # Concurrency
    /// Calls in one transaction are serialized. Rows that a transition locks stay locked until the transaction ends.
    ///
    /// # Cancel safety
    /// If a call is dropped, its transaction may only be rolled back.
    async fn exchange_within(
        &self,
        transaction: &HostTransaction,
        commit: &[Transition],
    ) -> Result<Vec<Outcome>>;

    /// Commits a transaction that [`begin`](Self::begin) began.
    ///
    /// # Errors
    /// The fate of the commit is unknown then, as after a failed exchange. To find out, send its transitions in another
    /// transaction: those answered `Already` were committed. [`ErrorKind::Config`] if other code still holds the transaction,
    /// and [`ErrorKind::Ended`] if a statement in it ended it: then it was not committed.
    ///
    /// # Cancel safety
    /// If the call is dropped, the fate of the commit is unknown.
    async fn commit(&self, transaction: Arc<HostTransaction>) -> Result<()>;

    /// The kind of an error that code got in a transaction, if it is a database error. `Contended` and `Unavailable` make the
    /// code run again, so return them only if the database says that the same transaction may succeed when it is repeated: it
    /// conflicted with another one (a serialization failure, a deadlock, a lock timeout), or its connection was lost. It is
    /// `Limit` if the database ended a statement because of a time limit.
    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind>;
}
