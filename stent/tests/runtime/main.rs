//! The runtime on every store: the operations of user code, and its errors.

mod ahead;
mod at_the_call;
mod attempts;
mod beside;
mod cancelling;
mod chance;
mod cleaning;
mod clocks;
mod control_flow;
mod dead_letters;
mod declaring;
mod destroying;
mod dispatching;
mod durations;
mod errors;
mod expiring;
mod exports;
#[cfg(feature = "metrics")]
mod facade;
mod failures;
mod fan_out;
#[path = "../front/mod.rs"]
mod front;
mod hearing;
mod held;
mod identity;
mod importing;
mod in_step;
mod keys;
mod kinds;
mod levels;
mod limits;
mod listing;
mod logging;
mod logs;
mod metrics;
mod mistakes;
mod not_durable;
mod notes;
mod payloads;
mod polling;
#[cfg(feature = "http")]
mod probes;
mod quoting;
mod returning;
mod rigged;
mod sending;
mod signals;
mod spawning;
mod step_options;
mod steps;
mod telling;
mod testing;
mod transforms;
mod waiting;
#[cfg(feature = "redis")]
mod wake;
mod worker_life;
mod worker_status;

#[cfg(feature = "postgres")]
#[path = "../../../stent-postgres/tests/schema/mod.rs"]
mod schema;

#[cfg(feature = "redis")]
#[path = "../../../stent-redis/tests/namespace/mod.rs"]
mod namespace;

#[cfg(feature = "redis")]
#[path = "../../../stent-redis/tests/servers/server.rs"]
#[allow(dead_code, reason = "the tests of the backend use more of it")]
mod redis_server;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use stent::{Registry, Stent, Worker, WorkerBuilder};

/// One store to run a test on.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) stent: Stent,
    /// Removed with the test.
    #[allow(dead_code, reason = "held for its destructor")]
    place: Place,
}

/// The location of a test's store.
#[derive(Debug)]
#[allow(dead_code, reason = "held for their destructors")]
enum Place {
    Memory,
    #[cfg(feature = "sqlite")]
    Folder(tempfile::TempDir),
    #[cfg(feature = "postgres")]
    Schema(schema::Schema),
    #[cfg(feature = "redis")]
    Namespace(namespace::Namespace),
}

/// The number of stores on which [`on_every_store!`] runs each test.
const STORES: usize = 1
    + cfg!(feature = "sqlite") as usize
    + cfg!(feature = "postgres") as usize
    + cfg!(feature = "redis") as usize;

impl World {
    async fn memory() -> Self {
        Self { stent: Stent::connect("memory:").await.expect("memory opens"), place: Place::Memory }
    }

    #[cfg(feature = "sqlite")]
    async fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // Tests need not survive a power failure.
        let url = format!("sqlite://{}?durability=normal", folder.path().join("test.db").display());
        Self { stent: Stent::connect(&url).await.expect("sqlite opens"), place: Place::Folder(folder) }
    }

    #[cfg(feature = "postgres")]
    async fn postgres() -> Self {
        let schema = schema::Schema::new();
        let stent = Stent::connect(&schema.url()).await.expect("postgres opens");
        Self { stent, place: Place::Schema(schema) }
    }

    #[cfg(feature = "redis")]
    async fn redis() -> Self {
        let namespace = namespace::Namespace::new();
        let stent = Stent::connect(&namespace.url()).await.expect("redis opens");
        Self { stent, place: Place::Namespace(namespace) }
    }

    /// A second handle on the same store, with its own functions.
    pub(crate) async fn with_registry(&self, registry: Registry) -> Stent {
        Stent::builder().registry(registry).open(self.stent.store().clone()).await.expect("the store is open")
    }

    pub(crate) async fn worker(&self) -> Worker {
        self.worker_with(|worker| worker).await
    }

    /// A worker without a cache, so that everything is replayed from its record.
    pub(crate) async fn forgetful_worker(&self) -> Worker {
        self.worker_with(|worker| worker.cache(0)).await
    }

    pub(crate) async fn worker_with(&self, options: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> Worker {
        options(self.stent.worker().state(Db)).start().await.expect("a worker starts")
    }
}

/// Runs a test on one store, with a limit on the time that it may hang.
pub(crate) fn run<F: Future<Output = ()>>(
    world: impl Future<Output = World>,
    test: impl FnOnce(Arc<World>) -> F,
) {
    log();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let world = Arc::new(world.await);
        tokio::time::timeout(std::time::Duration::from_secs(60), test(world))
            .await
            .expect("the test does not hang");
    });
}

/// Prints the log that the environment asks for, and captures events for tests.
fn log() {
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::prelude::*;

    stent::install_panic_hook();
    let shown = tracing_subscriber::EnvFilter::from_default_env();
    let shown = tracing_subscriber::fmt::layer().with_test_writer().with_filter(shown);
    let kept = Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target("stent::execution::request", LevelFilter::DEBUG);
    let kept = logs::Collector.with_filter(kept);
    let _ = tracing_subscriber::registry().with(shown).with(kept).try_init();
}

/// Waits until a condition holds, by polling.
pub(crate) async fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

/// Declares tests that run on every store.
macro_rules! on_every_store {
    ($($(#[$attr:meta])* async fn $name:ident($world:ident) $body:block)+) => {
        $(
            $(#[$attr])*
            mod $name {
                #[allow(unused_imports, reason = "tests use what they need of their file")]
                use super::*;

                async fn body($world: std::sync::Arc<crate::World>) $body

                #[test]
                fn memory() {
                    crate::run(crate::World::memory(), body);
                }

                #[cfg(feature = "sqlite")]
                #[test]
                fn sqlite() {
                    crate::run(crate::World::sqlite(), body);
                }

                #[cfg(feature = "postgres")]
                #[test]
                fn postgres() {
                    crate::run(crate::World::postgres(), body);
                }

                #[cfg(feature = "redis")]
                #[test]
                fn redis() {
                    crate::run(crate::World::redis(), body);
                }
            }
        )+
    };
}
pub(crate) use on_every_store;

/// A state that a function of these tests asks for, so that every worker needs it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Db;

/// Waits until a condition holds, and gives up after a while.
pub(crate) async fn eventually(holds: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "it never came to hold");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// A number that no other test uses, to separate the tests of one process.
pub(crate) fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::SeqCst)
}

/// The runs of bodies, by the key of a test.
pub(crate) mod ran {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    static RAN: Mutex<BTreeMap<u64, Vec<String>>> = Mutex::new(BTreeMap::new());

    pub(crate) fn note(key: u64, what: impl Into<String>) {
        RAN.lock().expect("not poisoned").entry(key).or_default().push(what.into());
    }

    pub(crate) fn list(key: u64) -> Vec<String> {
        RAN.lock().expect("not poisoned").get(&key).cloned().unwrap_or_default()
    }

    pub(crate) fn count(key: u64, what: &str) -> usize {
        list(key).iter().filter(|ran| *ran == what).count()
    }
}
