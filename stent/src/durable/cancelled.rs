//! How code learns that it is asked to end, and tidies up.

use crate::durable::context::Context;

/// Resolves once the running function is asked to end, because its execution was cancelled. A function that awaits it,
/// beside its work, has the grace of the cancellation to tidy up; one that never does is dropped at its next `await`.
///
/// While it tidies up, new steps fail with [`Error::Cancelled`](crate::Error::Cancelled), and what the function gives in the
/// end counts for nothing.
///
/// ```
/// # use stent::prelude::*;
/// # async fn upload() {}
/// # async fn remove_half_of_it() {}
/// #[durable]
/// async fn publish() -> Result<(), stent::Error> {
///     tokio::select! {
///         () = upload() => Ok(()),
///         () = stent::cancelled() => {
///             remove_half_of_it().await;
///             Err(stent::Error::Cancelled)
///         }
///     }
/// }
/// ```
///
/// A function that waits for steps holds no worker, so nothing of it runs and nothing is told; those of its steps that run
/// are. Outside of a durable function it never resolves.
///
/// # Cancel safety
/// Safe.
pub async fn cancelled() {
    let Some(durable) = Context::around().and_then(Context::into_durable) else {
        return std::future::pending().await;
    };
    durable.stop.heed();
    std::future::poll_fn(|cx| durable.stop.poll(cx)).await;
}
