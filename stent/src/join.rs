//! `join!`, `join_all` and `select!` that poll in the order in which they are written, as durable code must.

use std::future::Future;

use futures::future;

/// Waits for any number of futures at once and gives all that they give, in their order. A failure is one of the results:
/// the others go on. The calls are built, and so take their positions, before this returns.
///
/// A `map` is the better way to call one function for very many items: it is one step, and holds a window of them.
///
/// ```
/// # use stent::prelude::*;
/// # #[durable] async fn charge(cents: u64) -> Result<u64, String> { Ok(cents) }
/// #[durable]
/// async fn charge_all(orders: Vec<u64>) -> Result<usize, stent::Error> {
///     let charged = stent::join_all(orders.into_iter().map(charge)).await;
///     Ok(charged.iter().filter(|result| result.is_ok()).count())
/// }
/// ```
///
/// # Cancel safety
/// Dropping it drops the futures: calls that are not done are cancelled.
pub fn join_all<I>(futures: I) -> impl Future<Output = Vec<<I::Item as Future>::Output>> + use<I>
where
    I: IntoIterator,
    I::Item: Future,
{
    // A block of code, because it panics when it is polled after it has completed, and the future in it does not.
    let all = future::join_all(futures);
    async move { all.await }
}

/// Waits for any number of futures at once and gives all that they give, in their order, or the first failure. The calls
/// that are not done by then are cancelled.
///
/// ```
/// # use stent::prelude::*;
/// # #[durable] async fn charge(cents: u64) -> Result<u64, String> { Ok(cents) }
/// #[durable]
/// async fn charge_all(orders: Vec<u64>) -> Result<u64, stent::Error> {
///     Ok(stent::try_join_all(orders.into_iter().map(charge)).await?.into_iter().sum())
/// }
/// ```
///
/// # Errors
/// That of the first future that fails. "First" is in the recorded order, so a replay gives the same.
///
/// # Cancel safety
/// As [`join_all`].
pub fn try_join_all<I, T, E>(futures: I) -> impl Future<Output = Result<Vec<T>, E>> + use<I, T, E>
where
    I: IntoIterator,
    I::Item: Future<Output = Result<T, E>>,
{
    let all = future::try_join_all(futures);
    async move { all.await }
}

/// Waits for several futures at once and gives all that they give. Polls them in the order in which they are written.
///
/// ```
/// # use stent::prelude::*;
/// # #[durable] async fn charge(cents: u64) -> Result<u64, String> { Ok(cents) }
/// # #[durable] async fn reserve(item: String) -> Result<u64, String> { Ok(1) }
/// #[durable]
/// async fn order(item: String) -> Result<u64, stent::Error> {
///     let (charged, reserved) = stent::join!(charge(100), reserve(item));
///     Ok(charged? + reserved?)
/// }
/// ```
#[macro_export]
macro_rules! join {
    ($($future:expr),+ $(,)?) => {
        $crate::__private::tokio::join!(biased; $($future),+)
    };
}

/// Waits for the first of several futures, in the manner of `tokio::select!`. Polls them in the order in which they are
/// written; the losers are dropped, so the steps among them are cancelled. A replay picks the same winner.
///
/// ```
/// # use stent::prelude::*;
/// # #[durable] async fn quote(shop: String) -> Result<u64, String> { Ok(100) }
/// #[durable]
/// async fn cheapest(shop: String) -> Result<Option<u64>, stent::Error> {
///     stent::select! {
///         quote = quote(shop) => Ok(Some(quote?)),
///         timeout = stent::sleep("10s") => { timeout?; Ok(None) }
///     }
/// }
/// ```
#[macro_export]
macro_rules! select {
    ($($branches:tt)+) => {
        $crate::__private::tokio::select! { biased; $($branches)+ }
    };
}
