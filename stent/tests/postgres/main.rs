//! Poolers between a `Stent` and its Postgres, and servers that stop.

#![cfg(all(unix, feature = "postgres"))]
#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]

mod bouncer;
mod database;
mod guests;
#[path = "../runtime/logs.rs"]
#[allow(dead_code, reason = "it keeps more than is asked for here")]
mod logs;
mod passing;
mod pooler;
mod proxy;
mod restart;
mod rigged;
#[path = "../../../stent-postgres/tests/schema/mod.rs"]
#[allow(dead_code, reason = "only where the server is; these tests have a database each")]
mod schema;
mod schemas;
mod sending;
mod server;
mod system;

use std::future::Future;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Runs a test, with a limit on the time that it may hang.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let shown =
        tracing_subscriber::fmt::layer().with_test_writer().with_filter(EnvFilter::from_default_env());
    let _ = tracing_subscriber::registry().with(shown).with(logs::Collector).try_init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(120), test).await.expect("the test does not hang");
    });
}
