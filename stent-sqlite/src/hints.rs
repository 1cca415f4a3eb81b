//! Commits of other processes, noticed.
//!
//! A commit grows or rewrites the write-ahead log beside the database, so the log's size and time of change tell that
//! somebody committed. Asking the file system for them is no query, needs no connection and takes a microsecond;
//! `PRAGMA data_version`, which tells the same, is a query each time, and an idle process may make one a second.
//!
//! The file itself is never opened here: closing a file drops all locks that the process has on it.

use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use stent_core::backend::{Result, Topic};
use stent_sql::hints::{Hub, Neighbours};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::files::Files;

/// Pause between two looks at the log: the longest that a commit of another process goes unnoticed.
const PAUSE: Duration = Duration::from_millis(20);

/// Watches the write-ahead log of a database, from the first listener on.
#[derive(Debug)]
pub(crate) struct WalWatch {
    shared: Arc<Shared>,
    runtime: Handle,
}

#[derive(Debug)]
struct Shared {
    files: Arc<Files>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The log as it was when it was last looked at. What it was before anybody listened is of no interest.
    seen: Option<Stamp>,
    /// Set while somebody listens.
    hub: Option<Hub>,
    task: Option<AbortHandle>,
}

/// What changes with a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp {
    len: u64,
    changed: Option<SystemTime>,
}

impl WalWatch {
    /// A watch over the log of this database. To be made within a runtime.
    pub(crate) fn new(files: Arc<Files>) -> Self {
        let shared = Shared { files, state: Mutex::default() };
        Self { shared: Arc::new(shared), runtime: Handle::current() }
    }
}

#[async_trait]
impl Neighbours for WalWatch {
    fn listening(&self, hub: &Hub) {
        let mut state = self.shared.state();
        if state.hub.is_none() {
            state.seen = Some(self.shared.stamp());
            state.hub = Some(hub.clone());
            let shared = Arc::clone(&self.shared);
            state.task = Some(self.runtime.spawn(watch(shared)).abort_handle());
        }
    }

    /// The write lock is held: what has changed in the log up to here, others did.
    fn began(&self) {
        self.shared.look();
    }

    /// What has changed in the log since is one's own doing, and was hinted at already. A commit of another process that
    /// comes between one's own and this look is lost as a hint; it is found by polling.
    fn committed(&self) {
        let mut state = self.shared.state();
        if state.hub.is_some() {
            state.seen = Some(self.shared.stamp());
        }
    }

    fn check_place(&self, operation: &'static str) -> Result<()> {
        self.shared.files.check(operation)
    }

    async fn close(&self) {
        self.shared.stop();
    }
}

impl Drop for WalWatch {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stamp(&self) -> Stamp {
        fs::metadata(self.files.log()).map_or_else(
            |_| Stamp::default(),
            |found| Stamp { len: found.len(), changed: found.modified().ok() },
        )
    }

    /// Hints if the log has changed since the last look.
    fn look(&self) {
        let mut state = self.state();
        let Some(hub) = state.hub.clone() else { return };
        let stamp = Some(self.stamp());
        if state.seen != stamp {
            state.seen = stamp;
            drop(state);
            hub.hint(Topic::Work);
            hub.hint(Topic::Ended);
        }
    }

    /// Whether somebody listens; if nobody does, the watch is over until somebody does again.
    fn goes_on(&self) -> bool {
        let mut state = self.state();
        if state.hub.as_ref().is_some_and(Hub::is_deserted) {
            *state = State::default();
        }
        state.hub.is_some()
    }

    fn stop(&self) {
        if let Some(task) = std::mem::take(&mut *self.state()).task {
            task.abort();
        }
    }
}

async fn watch(shared: Arc<Shared>) {
    while shared.goes_on() {
        shared.look();
        tokio::time::sleep(PAUSE).await;
    }
}
