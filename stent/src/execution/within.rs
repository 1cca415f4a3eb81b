//! Writes as part of a transaction of the application's own.

use sea_orm::DatabaseTransaction;

use crate::durable::call::Call;
use crate::engine::writer::Way;
use crate::error::Result;
use crate::execution::dispatch::{Dispatch, DispatchAll};
use crate::execution::handle::Handle;
use crate::execution::request::SendSignal;
use crate::function::{BoxFuture, Function};

/// A dispatch, or a signal, as part of a transaction of the application's own: awaited, it is written there, and exists if and
/// only if the application commits. See [`Dispatch::within`].
///
/// # Errors
/// Those of the dispatch or the signal itself; [`NoTransactions`](crate::Error::NoTransactions); a
/// [`StoreError`](crate::StoreError) of the kind `Config` when the transaction is in another database than the store, or, on
/// Postgres, is `REPEATABLE READ` or `SERIALIZABLE`, where a signal could be lost. Nothing of it is in the transaction then, but
/// roll it back all the same, unless the application can do without.
///
/// One of the kind `Contended` says that another transaction was in the way, as in a deadlock: roll back, and run all of the
/// transaction again. [`Error::is_transient`](crate::Error::is_transient) is true then.
///
/// # Cancel safety
/// If it is dropped, drop the transaction too, or roll it back. It runs under a savepoint, and when one is given up while it is
/// being set, the database driver may roll back all of the transaction, and say nothing of it when that is committed.
#[must_use = "nothing is written until this is awaited"]
#[derive(Debug)]
pub struct Within<'t, R> {
    request: R,
    transaction: &'t DatabaseTransaction,
}

impl<F: Function> Dispatch<F> {
    /// Starts the execution as part of a transaction of the application's own, on the database that the store is in: it exists
    /// if and only if that transaction is committed. Until then nobody sees the execution, and if the transaction is rolled
    /// back, or dropped, there never was one. A wait for the handle's [`result`](Handle::result) also waits for the commit.
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
    /// Under an [idempotency key](Self::idempotency_key) that an execution has already, the handle is that one's. What the
    /// dispatch locks stays locked until the transaction ends, so keep it short. Use a transaction for one thing at a time.
    pub const fn within(self, transaction: &DatabaseTransaction) -> Within<'_, Self> {
        Within { request: self, transaction }
    }
}

impl<F: Function, I: Iterator<Item = Call<F>>> DispatchAll<F, I> {
    /// Starts the executions as part of a transaction of the application's own: see [`Dispatch::within`]. All of them exist if
    /// it is committed, however many batches they take, and none if it is not.
    pub const fn within(self, transaction: &DatabaseTransaction) -> Within<'_, Self> {
        Within { request: self, transaction }
    }
}

impl SendSignal {
    /// Sends the value as part of a transaction of the application's own: see [`Dispatch::within`]. Whoever waits for it goes
    /// on if and when that is committed. It may go to an execution that was dispatched in the same transaction.
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
