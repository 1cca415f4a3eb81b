//! Notices commits of other processes.
//!
//! A commit grows or rewrites the write-ahead log beside the database, so the log's size and modification time show
//! that somebody committed. Reading them from the file system is no query, needs no connection and takes a microsecond.
//! `PRAGMA data_version` provides the same information, but each use is a query, and an idle process may make only one
//! query per second.
//!
//! Where the kernel reports writes to a file (`events`, on Linux), the log is looked at when it is written; and everywhere at
//! intervals, because no report is certain. A commit is written, then synced, and only then visible, and nothing tells when the
//! sync is over; so a change is hinted at several times, at growing distances.
//!
//! This module never opens the file, because closing a file drops all locks that the process holds on it.

mod events;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use stent_core::backend::{Result, Topic};
use stent_sql::OneWriter;
use stent_sql::hints::{Hub, Neighbours};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use self::events::Events;
use crate::files::Files;
use crate::still::StillWatch;

/// Pause between two looks at the log: the longest time until a commit of another process is noticed.
const PAUSE: Duration = Duration::from_millis(20);

/// Pauses before the hints at one change. Most commits are visible at the first; the others are for slow disks. A hint costs an
/// idle worker one query.
const HINTS: [Duration; 4] =
    [Duration::from_millis(1), Duration::from_millis(2), Duration::from_millis(6), Duration::from_millis(16)];

/// Pause between two attempts to be told of writes to the log, which fail if the process has too many watches, or the log is
/// not there.
const EVENTS_AGAIN: Duration = Duration::from_secs(1);

/// Watches the write-ahead log of a database while it has listeners.
#[derive(Debug)]
pub(crate) struct WalWatch {
    shared: Arc<Shared>,
    runtime: Handle,
}

#[derive(Debug)]
struct Shared {
    files: Arc<Files>,
    writer: Arc<OneWriter>,
    still: Option<StillWatch>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The log at the last look. Changes before the first listener are ignored.
    seen: Option<Stamp>,
    /// Set while there are listeners.
    hub: Option<Hub>,
    task: Option<AbortHandle>,
}

/// The properties of the log that change with a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    len: u64,
    changed: Option<SystemTime>,
}

impl Stamp {
    /// The properties of a file. A file that does not exist has none.
    pub(crate) fn of(file: &Path) -> Self {
        let found = fs::metadata(file);
        found.map_or_else(
            |_| Self::default(),
            |found| Self { len: found.len(), changed: found.modified().ok() },
        )
    }
}

impl WalWatch {
    /// A watch over the log of this database. Call it within a runtime.
    pub(crate) fn new(files: Arc<Files>, writer: Arc<OneWriter>, still: Option<StillWatch>) -> Self {
        let shared = Shared { files, writer, still, state: Mutex::default() };
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

    /// The write lock is held: other processes made all changes to the log up to here.
    fn began(&self) {
        if self.shared.look() {
            self.shared.hint();
        }
    }

    /// Later changes to the log are this process's own, and it has already hinted at them. If another process commits
    /// between this process's commit and this check, that hint is lost; polling finds the commit.
    fn committed(&self) {
        let mut state = self.shared.state();
        if state.hub.is_some() {
            state.seen = Some(self.shared.stamp());
        }
    }

    fn check_place(&self, operation: &'static str) -> Result<()> {
        if let Some(still) = &self.shared.still {
            still.look();
        }
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
        Stamp::of(self.files.log())
    }

    /// Whether the log has changed since the last look.
    fn look(&self) -> bool {
        let mut state = self.state();
        if state.hub.is_none() {
            return false;
        }
        let stamp = Some(self.stamp());
        std::mem::replace(&mut state.seen, stamp) != stamp
    }

    fn hint(&self) {
        let hub = self.state().hub.clone();
        if let Some(hub) = hub {
            hub.hint(Topic::Work);
            hub.hint(Topic::Ended);
        }
    }

    /// Whether there are still listeners. If not, the watch ends and starts again with the next listener.
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
    let mut events: Option<Events> = None;
    let mut events_at = Instant::now();
    let mut change = Change::default();
    while shared.goes_on() {
        let now = Instant::now();
        if events.as_ref().is_none_or(Events::is_over) && events_at <= now {
            events = Events::of(shared.files.log());
            events_at = now + EVENTS_AGAIN;
        }
        // While this process writes, the changes are its own; those of others are seen when its next write begins.
        if !shared.writer.is_writing() && shared.look() {
            change.came(now);
        }
        if change.is_due(now) {
            shared.hint();
        }
        let until = change.hint_at.map_or(now + PAUSE, |at| at.min(now + PAUSE));
        match &events {
            // The pause also ends if the events do.
            Some(events) => drop(tokio::time::timeout_at(until, events.written()).await),
            None => tokio::time::sleep_until(until).await,
        }
    }
}

/// The hints at the last change.
#[derive(Debug, Default)]
struct Change {
    hinted: usize,
    hint_at: Option<Instant>,
}

impl Change {
    /// The log has changed. A hint that is due before stays where it is: changes that go on must not put it off.
    fn came(&mut self, now: Instant) {
        self.hinted = 0;
        let first = now + HINTS[0];
        self.hint_at = Some(self.hint_at.map_or(first, |at| at.min(first)));
    }

    /// Whether it is time for a hint; then the next one is further away.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.hint_at.is_some_and(|at| at <= now);
        if is_due {
            self.hinted += 1;
            self.hint_at = HINTS.get(self.hinted).map(|pause| now + *pause);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_hinted_at_again_and_again_and_further_ones_put_nothing_off() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut change = Change::default();
        assert!(!change.is_due(at(0)));

        change.came(at(0));
        let hints: Vec<u64> = (0..100).filter(|ms| change.is_due(at(*ms))).collect();
        assert_eq!(hints, [1, 3, 9, 25]);

        let hints = (0..100).filter(|ms| {
            change.came(at(*ms));
            change.is_due(at(*ms))
        });
        assert_eq!(hints.count(), 50, "every other millisecond");
    }
}
