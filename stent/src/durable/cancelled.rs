//! Lets code notice a cancellation and clean up.

use crate::durable::context::Context;

/// Completes when the running function is asked to end because its execution was cancelled. A function that awaits it
/// beside its work may use the grace period of the cancellation to clean up; any other function is dropped at its next
/// `await`.
///
/// During the clean-up, new steps fail with [`Error::Cancelled`](crate::Error::Cancelled), and the function's return
/// value is ignored.
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
/// A function that is parked on its steps holds no worker, so it is not notified; its running steps are. Outside a
/// durable function, `cancelled` never completes.
///
/// # Cancel safety
/// Cancel safe.
pub async fn cancelled() {
    let Some(durable) = Context::around().and_then(Context::into_durable) else {
        return std::future::pending().await;
    };
    durable.stop.heed();
    std::future::poll_fn(|cx| durable.stop.poll(cx)).await;
}
