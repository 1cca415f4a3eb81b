//! `join!`, `join_all` and `select!` for durable code: they poll futures in the order in which they are written.

use std::future::Future;

use std::pin::Pin;
use std::task::Poll;

use futures::future::{self, Either};

/// Up to this many futures are polled together with the function's own waker, which lets Stent detect what else may
/// wake the function. Beyond it, each future has its own waker, and only woken futures are polled.
const POLLED_MAX: usize = 1_000;

/// A future and its output.
struct Joined<F: Future> {
    future: Option<Pin<Box<F>>>,
    output: Option<F::Output>,
}

impl<F: Future> Joined<F> {
    fn new(future: F) -> Self {
        Self { future: Some(Box::pin(future)), output: None }
    }
}

/// Waits for all futures. Each poll polls every future that has not completed.
async fn polled_together<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut all: Vec<_> = futures.into_iter().map(Joined::new).collect();
    let each = future::poll_fn(|cx| {
        for joined in &mut all {
            if let Some(future) = &mut joined.future
                && let Poll::Ready(output) = future.as_mut().poll(cx)
            {
                *joined = Joined { future: None, output: Some(output) };
            }
        }
        if all.iter().all(|joined| joined.future.is_none()) { Poll::Ready(()) } else { Poll::Pending }
    });
    each.await;
    all.into_iter().filter_map(|joined| joined.output).collect()
}

/// As [`polled_together`], but stops at the first failure.
async fn polled_together_until_one_fails<F, T, E>(futures: Vec<F>) -> Result<Vec<T>, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut all: Vec<_> = futures.into_iter().map(Joined::new).collect();
    let each = future::poll_fn(|cx| {
        for joined in &mut all {
            if let Some(future) = &mut joined.future
                && let Poll::Ready(output) = future.as_mut().poll(cx)
            {
                match output {
                    Ok(_) => *joined = Joined { future: None, output: Some(output) },
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
        }
        if all.iter().all(|joined| joined.future.is_none()) { Poll::Ready(Ok(())) } else { Poll::Pending }
    });
    each.await?;
    all.into_iter().filter_map(|joined| joined.output).collect()
}

/// Waits for any number of futures concurrently and returns their outputs in order. A failure is one of the outputs:
/// the other futures continue. The calls are built, and so take their positions in the record, before this function
/// returns.
///
/// To call one function for very many items, prefer `map`: it is a single step and holds a bounded window of items.
///
/// If a function fails because several of these futures failed, [retrying its dead letter](crate::DeadLetters::retry)
/// runs at most the last of them again.
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
/// Dropping it drops the futures, which cancels the calls that have not completed.
#[expect(
    clippy::redundant_async_block,
    reason = "a block panics when it is polled again, the future in it does not"
)]
pub fn join_all<I>(futures: I) -> impl Future<Output = Vec<<I::Item as Future>::Output>> + use<I>
where
    I: IntoIterator,
    I::Item: Future,
{
    let futures: Vec<_> = futures.into_iter().collect();
    // An async block panics when it is polled after completion; the future inside it does not.
    let all = if futures.len() <= POLLED_MAX {
        Either::Left(polled_together(futures))
    } else {
        Either::Right(future::join_all(futures))
    };
    async move { all.await }
}

/// Waits for any number of futures concurrently and returns their outputs in order, or the first failure. A failure
/// cancels the calls that have not completed.
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
/// The error of the first future that fails. "First" follows the recorded order, so a replay returns the same error.
///
/// # Cancel safety
/// As for [`join_all`].
#[expect(
    clippy::redundant_async_block,
    reason = "a block panics when it is polled again, the future in it does not"
)]
pub fn try_join_all<I, T, E>(futures: I) -> impl Future<Output = Result<Vec<T>, E>> + use<I, T, E>
where
    I: IntoIterator,
    I::Item: Future<Output = Result<T, E>>,
{
    let futures: Vec<_> = futures.into_iter().collect();
    let all = if futures.len() <= POLLED_MAX {
        Either::Left(polled_together_until_one_fails(futures))
    } else {
        Either::Right(future::try_join_all(futures))
    };
    async move { all.await }
}

/// Waits for several futures concurrently and returns all their outputs. Polls them in the order in which they are
/// written.
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

/// Waits for the first of several futures, like `tokio::select!`. Polls them in the order in which they are written.
/// Drops the losers, which cancels their steps. A replay picks the same winner.
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
