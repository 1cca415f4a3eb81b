//! Shared parts of the tests of servers: stores, writes, errors, warnings of the log.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stent_core::backend::{
    Backend, ClaimRequest, Claimed, Error, ErrorKind, Listener, NoStickyCache, Reads, Result,
};
use stent_core::model::{NewTask, Nonce, Tree};
use stent_core::transition::{Commit, Dispatch, Next, Outcome, Transition};
use stent_core::{ExecutionId, Payload, Timestamp, WorkerId};
use stent_redis::{RedisOptions, RedisStore};
use tracing::Level;
use tracing::subscriber::DefaultGuard;
use uuid::Uuid;

use crate::server::Server;
use crate::work::{lane, task};

/// The time limit for an expected event on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

impl Server {
    /// Returns options for the server, with a namespace and short timeouts.
    pub(crate) fn options(&self) -> RedisOptions {
        RedisOptions::server("127.0.0.1", self.port())
            .namespace("test")
            .response_timeout(Duration::from_secs(5))
    }
}

pub(crate) async fn open(options: &RedisOptions) -> Arc<RedisStore> {
    RedisStore::open(options.clone()).await.unwrap_or_else(|error| panic!("{options}: {error}"))
}

/// Returns the message with which opening a store on this server fails.
pub(crate) async fn refused(options: &RedisOptions) -> String {
    let error = RedisStore::open(options.clone()).await.expect_err("the server is refused");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    error.to_string()
}

/// The moment of all writes: the tasks of [`start`] are due.
pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_763_683_200_123_456);

/// Returns the transition that starts an execution.
pub(crate) fn start(id: ExecutionId) -> Transition {
    let root = NewTask {
        args: Payload::new("application/octet-stream", b"order".to_vec()),
        ..task(id.root(), Tree::root(id), lane(&[]), NOW)
    };
    Dispatch { root, key: None, at: NOW }.into()
}

/// Claims tasks of [`start`], in the order of their ids.
pub(crate) async fn claim(store: &RedisStore, max: usize, nonce: Nonce) -> Vec<Claimed> {
    let functions = ["f".to_owned()];
    let request = ClaimRequest {
        worker: WorkerId::from_uuid(Uuid::new_v4()),
        nonce,
        now: NOW,
        until: NOW + Duration::from_secs(60),
        max,
        functions: &functions,
        queues: None,
        tags: &[],
        limits: &[],
        cache: &NoStickyCache,
    };
    store.exchange(&[], Some(&request)).await.expect("claims").claimed
}

/// Returns the commit that ends a claimed task with a result.
pub(crate) fn ended(claimed: &Claimed) -> Transition {
    let next = Next::End(Ok(Payload::new("text/plain", b"done".to_vec())));
    Commit::new(claimed.fence, claimed.task.tree, claimed.task.key, NOW, next).into()
}

pub(crate) fn new_id() -> ExecutionId {
    ExecutionId::from_uuid(Uuid::now_v7())
}

/// Writes an execution.
pub(crate) async fn write(store: &RedisStore, id: ExecutionId) -> Result<Outcome> {
    Ok(store.exchange(&[start(id)], None).await?.outcomes.remove(0))
}

/// Writes an execution and reads it back.
pub(crate) async fn works(store: &RedisStore) {
    let id = new_id();
    let outcome = write(store, id).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(matches!(outcome, Outcome::Applied(_)), "{outcome:?}");
    assert!(exists(store, id).await);
}

pub(crate) async fn exists(store: &RedisStore, id: ExecutionId) -> bool {
    !store.executions(&[id]).await.unwrap_or_else(|error| panic!("{error}")).is_empty()
}

/// Writes until a write succeeds. Every failure before must be transient.
pub(crate) async fn heals(store: &RedisStore) {
    let healed = tokio::time::timeout(PATIENCE, async {
        let id = new_id();
        loop {
            match write(store, id).await {
                Ok(outcome) => {
                    assert!(outcome.stands(), "{outcome:?}");
                    return;
                }
                Err(error) => {
                    assert!(error.is_transient(), "{error}");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    });
    healed.await.expect("the store heals");
}

/// Calls until a transient error contains this text.
pub(crate) async fn fails(store: &RedisStore, said: &str) -> Error {
    let failed = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Err(error) = write(store, new_id()).await {
                assert!(error.is_transient(), "{error}");
                if error.to_string().contains(said) {
                    return error;
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    failed.await.unwrap_or_else(|_| panic!("no error says {said:?}"))
}

/// Waits for a hint.
pub(crate) async fn hinted(listener: &mut dyn Listener) {
    tokio::time::timeout(PATIENCE, listener.changed()).await.expect("a hint comes");
}

/// Whether a hint has already arrived.
pub(crate) async fn is_hinted(listener: &mut dyn Listener) -> bool {
    tokio::time::timeout(Duration::ZERO, listener.changed()).await.is_ok()
}

/// Collects the warnings of this thread from now on.
pub(crate) struct Warnings {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: DefaultGuard,
}

impl Warnings {
    pub(crate) fn new() -> Self {
        Self::from(Level::WARN)
    }

    /// Collects lines of the level `INFO`, too.
    pub(crate) fn and_news() -> Self {
        Self::from(Level::INFO)
    }

    fn from(level: Level) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&text);
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_writer(move || Writer(Arc::clone(&written)))
            .finish();
        Self { text, _guard: tracing::subscriber::set_default(subscriber) }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
    }
}

struct Writer(Arc<Mutex<Vec<u8>>>);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
