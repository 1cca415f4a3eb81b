//! Transactions of the application's own, in which transitions take part.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{ErrorKind, Result};
use crate::transition::{Outcome, Transition};

/// A transaction as the library of its database knows it, of which the core knows nothing. Each store says which type it
/// takes: an SQL store takes sea-orm's `DatabaseTransaction`.
pub type HostTransaction = dyn Any + Send + Sync;

/// What a store offers whose database is the application's too: transitions that stand if, and only if, the application's
/// own rows do.
///
/// A store has it behind [`Backend::transactions`](super::Backend::transactions). A store in front of another one implements
/// it if the other one does, and treats transitions here as it does in `exchange`.
#[async_trait]
pub trait Transactions: Debug + Send + Sync {
    /// Begins a transaction on a connection of the store's own, such that what it reads holds until it has written. It is
    /// rolled back if it is dropped.
    ///
    /// # Errors
    /// Nothing has begun then.
    ///
    /// # Cancel safety
    /// Safe.
    async fn begin(&self) -> Result<Arc<HostTransaction>>;

    /// Begins a transaction, as [`begin`](Self::begin) does, that code of the application's runs in for no longer than
    /// `limit`. The runtime gives up the transaction then; a store whose statements run on a server sees to it that they end
    /// there, too. Begun this way, the application's statements run under its own settings, and what they change of the
    /// connection is undone before Stent uses that connection again.
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

    /// Applies transitions in a transaction that is open, whoever began it. They stand once it is committed, and nobody sees
    /// them before; if it is rolled back, they have never been.
    ///
    /// # Behaviour
    /// 1. The outcomes are those of [`exchange`](super::Backend::exchange), as long as the transaction is committed.
    /// 2. If this fails, nothing of the transitions is in the transaction, and what the application has done in it before
    ///    still is.
    /// 3. What the application's commit makes ready is hinted at no later than a poll would find it.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] when it is no transaction of this store's database, or one that does not see what others have
    /// committed since it began. [`ErrorKind::Contended`] when it met another one and is to be run again, by whoever began it.
    /// [`ErrorKind::Ended`] when it is not open any more, whatever the driver says.
    ///
    /// # Concurrency
    /// Calls in one transaction take place one after the other. What a transition locks stays locked until the end of the
    /// transaction.
    ///
    /// # Cancel safety
    /// The transaction of a call that is dropped may only be rolled back.
    async fn exchange_within(
        &self,
        transaction: &HostTransaction,
        commit: &[Transition],
    ) -> Result<Vec<Outcome>>;

    /// Commits a transaction that [`begin`](Self::begin) has begun.
    ///
    /// # Errors
    /// Its fate is unknown then, as that of a failed exchange is. Sending its transitions in another transaction tells: those
    /// that are `Already` there were committed. [`ErrorKind::Config`] when somebody else still holds it, and
    /// [`ErrorKind::Ended`] when it was ended by a statement in it: then it was not.
    ///
    /// # Cancel safety
    /// Its fate is unknown if the call is dropped.
    async fn commit(&self, transaction: Arc<HostTransaction>) -> Result<()>;

    /// The kind of an error that code has met in a transaction, if it is one of the database's. The code runs again
    /// if it is `Contended` or `Unavailable`, so it is that only if the database says that the same transaction may succeed if it
    /// is made again: it met another one (a serialization failure, a deadlock, a lock that was not had), or its connection was
    /// lost. It is `Limit` if the database has ended a statement for the time that it took.
    fn classify(&self, error: &(dyn StdError + 'static)) -> Option<ErrorKind>;
}
