//! The test kit, as an application's tests use it: `stent::testing`.
//!
//! Several modules define functions of the same name, as an application does from one version to the next. So each test
//! names its functions in a registry of its own.

mod crashing;
mod faking;
mod replaying;
mod skipping;

use std::future::Future;
use std::time::Duration;

/// A limit on the time that a test may hang.
pub(crate) async fn within_a_minute<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test does not hang")
}
