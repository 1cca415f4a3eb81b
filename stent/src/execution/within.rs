//! Writes that are part of the application's own transaction.

use sea_orm::DatabaseTransaction;

use crate::durable::call::Call;
use crate::engine::writer::Way;
use crate::error::Result;
use crate::execution::dispatch::{Dispatch, DispatchAll};
use crate::execution::handle::Handle;
use crate::execution::request::SendSignal;
use crate::function::{BoxFuture, Function};

/// A dispatch or a signal as part of the application's own transaction. Awaiting it writes to the transaction, and the
/// write takes effect if and only if the application commits. See [`Dispatch::within`].
///
/// # Errors
/// Those of the dispatch or the signal itself; [`NoTransactions`](crate::Error::NoTransactions); a
/// [`StoreError`](crate::StoreError) of kind `Config` if the transaction is in another database than the store, or if
/// it is `REPEATABLE READ` or `SERIALIZABLE` on Postgres, where a signal could be lost. After an error, the transaction
/// contains no part of the write, but roll it back all the same unless the application can do without the write.
///
/// A `StoreError` of kind `Contended` reports a conflict with another transaction, such as a deadlock: roll back and
/// run the whole transaction again. [`Error::is_transient`](crate::Error::is_transient) is true for it.
///
/// # Cancel safety
/// After dropping it, also drop the transaction or roll it back. The write runs under a savepoint; if it is dropped
/// while the savepoint is being set, the database driver may roll back the whole transaction without reporting it at
/// the commit.
#[must_use = "nothing is written until this is awaited"]
#[derive(Debug)]
pub struct Within<'t, R> {
    request: R,
    transaction: &'t DatabaseTransaction,
}

impl<F: Function> Dispatch<F> {
    /// Starts the execution as part of the application's own transaction, which must be in the database that holds the
    /// store: the execution exists if and only if the transaction commits. Until the commit nobody sees the execution;
    /// if the transaction is rolled back or dropped, the execution never existed. Waiting for the handle's
    /// [`result`](Handle::result) includes the commit.
    ///
    /// ```standalone_crate
    /// # use stent::prelude::*;
    /// use stent::sea_orm::{ConnectionTrait, Database, TransactionTrait};
    ///
    /// #[durable]
    /// async fn ship(order: u64) -> Result<(), stent::Error> {
    ///     Ok(())
    /// }
    ///
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = std::env::temp_dir().join(format!("stent-within-{}", stent::uuid()));
    /// # std::fs::create_dir(&folder)?;
    /// # let url = format!("sqlite://{}?mode=rwc", folder.join("shop.db").display());
    /// # let url = url.as_str();
    /// let database = Database::connect(url).await?;
    /// # let url = url.trim_end_matches("?mode=rwc");
    /// let stent = Stent::connect(url).await?;
    /// # database.execute_unprepared("CREATE TABLE orders (id INTEGER PRIMARY KEY)").await?;
    ///
    /// let txn = database.begin().await?;
    /// txn.execute_unprepared("INSERT INTO orders VALUES (7)").await?;
    /// let run = stent.dispatch(ship(7)).within(&txn).await?;
    /// txn.commit().await?;
    ///
    /// assert!(!run.status().await?.is_terminal());
    /// # stent.close().await?;
    /// # std::fs::remove_dir_all(&folder)?;
    /// # Ok(()) }
    /// ```
    ///
    /// If an execution already exists under the [idempotency key](Self::idempotency_key), the handle refers to that
    /// execution. Rows that the dispatch locks stay locked until the transaction ends, so keep it short. Do not use one
    /// transaction for several writes concurrently.
    pub const fn within(self, transaction: &DatabaseTransaction) -> Within<'_, Self> {
        Within { request: self, transaction }
    }
}

impl<F: Function, I: Iterator<Item = Call<F>>> DispatchAll<F, I> {
    /// Starts the executions as part of the application's own transaction: see [`Dispatch::within`]. If it commits, all
    /// of them exist, however many batches they take; otherwise none does.
    pub const fn within(self, transaction: &DatabaseTransaction) -> Within<'_, Self> {
        Within { request: self, transaction }
    }
}

impl SendSignal {
    /// Sends the value as part of the application's own transaction: see [`Dispatch::within`]. The commit wakes the
    /// waiting function. The receiver may be an execution that was dispatched in the same transaction.
    pub const fn within(self, transaction: &DatabaseTransaction) -> Within<'_, Self> {
        Within { request: self, transaction }
    }
}

impl<'t, F: Function> IntoFuture for Within<'t, Dispatch<F>> {
    type Output = Result<Handle<F::Output>>;
    type IntoFuture = BoxFuture<'t, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.request.write(Way::Within(self.transaction)))
    }
}

impl<'t, F, I> IntoFuture for Within<'t, DispatchAll<F, I>>
where
    F: Function,
    I: Iterator<Item = Call<F>> + Send + 't,
{
    type Output = Result<Vec<Handle<F::Output>>>;
    type IntoFuture = BoxFuture<'t, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.request.write(Way::Within(self.transaction)))
    }
}

impl<'t> IntoFuture for Within<'t, SendSignal> {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'t, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.request.send(Way::Within(self.transaction)))
    }
}
