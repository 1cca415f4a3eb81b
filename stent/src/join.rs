//! `join!` and `select!` that poll in the order in which they are written, as durable code must.

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
