//! The record in which a worker describes itself in its store. Nothing that a store or a worker decides depends on it.

use serde::{Deserialize, Serialize};

use super::status::{ParseStatusError, status};
use crate::limits::WORKER_SILENCE_MAX;
use crate::{Timestamp, WorkerId};

status! {
    /// A worker's lifecycle state. A worker moves through these states only forward.
    #[non_exhaustive]
    WorkerState {
        /// The worker has not reached its store yet.
        Starting = "starting",
        /// The worker has reached its store and takes work.
        Ready = "ready",
        /// The worker takes no more work and lets running turns reach a wait or their end.
        Draining = "draining",
        /// The worker has stopped: nothing runs, and nothing is left to write.
        Stopped = "stopped",
        /// The worker's loop ended without being asked to: it panicked, or its runtime was shut down. Start another worker, or
        /// restart the process.
        Crashed = "crashed",
    }
}

impl WorkerState {
    /// Whether the worker runs nothing any more.
    #[must_use]
    pub const fn is_over(self) -> bool {
        match self {
            Self::Starting | Self::Ready | Self::Draining => false,
            Self::Stopped | Self::Crashed => true,
        }
    }
}

/// A worker as it describes itself in its store: when it starts, when its state changes, and otherwise at most every
/// [`WORKER_REPORT`](crate::limits::WORKER_REPORT).
///
/// Stores keep it as one encoded value, beside the few columns by which they search. Later versions may add fields with defaults, so
/// programs of different versions read each other's records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorkerRecord {
    /// The worker's id, which its leases carry.
    pub id: WorkerId,
    /// Its name.
    pub name: String,
    /// The name of its machine; empty if it is unknown.
    #[serde(default)]
    pub host: String,
    /// The id of its process.
    #[serde(default)]
    pub pid: u32,
    /// The name of its program's file; empty if it is unknown.
    #[serde(default)]
    pub program: String,
    /// The version of its program, if the program says it.
    #[serde(default)]
    pub version: Option<String>,
    /// The version of Stent in it.
    #[serde(default)]
    pub stent: String,
    /// The queues that it takes work from. `None` means all queues.
    #[serde(default)]
    pub queues: Option<Vec<String>>,
    /// Its tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The functions that it knows; at most [`WORKER_NAMES_MAX`](crate::limits::WORKER_NAMES_MAX) of them.
    #[serde(default)]
    pub functions: Vec<String>,
    /// Its state.
    pub state: WorkerState,
    /// The number of turns that it runs at most.
    #[serde(default)]
    pub slots: u32,
    /// The number of turns that it ran when it said so.
    #[serde(default)]
    pub used: u32,
    /// How many microseconds the store's clock was ahead of its host's.
    #[serde(default)]
    pub drift_us: i64,
    /// When it started.
    pub started_at: Timestamp,
    /// When it said so.
    pub seen_at: Timestamp,
}

impl WorkerRecord {
    /// Creates the record of a worker that starts at this moment. The worker sets the other fields.
    #[must_use]
    pub const fn new(id: WorkerId, name: String, started_at: Timestamp) -> Self {
        Self {
            id,
            name,
            host: String::new(),
            pid: 0,
            program: String::new(),
            version: None,
            stent: String::new(),
            queues: None,
            tags: Vec::new(),
            functions: Vec::new(),
            state: WorkerState::Starting,
            slots: 0,
            used: 0,
            drift_us: 0,
            started_at,
            seen_at: started_at,
        }
    }

    /// Whether the worker has died without a word: it has not stopped, and was not seen for longer than
    /// [`WORKER_SILENCE_MAX`]. A process that was paused, or that cannot reach the store, is taken for dead until it is seen again;
    /// its leases decide what it may write.
    #[must_use]
    pub fn is_dead(&self, now: Timestamp) -> bool {
        !self.state.is_over() && self.seen_at < now - WORKER_SILENCE_MAX
    }

    /// Whether the worker has stopped, crashed or [died](Self::is_dead), so that a purge may delete its record.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.state.is_over() || self.is_dead(now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;

    fn record(state: WorkerState) -> WorkerRecord {
        let id = WorkerId::from_uuid(Uuid::from_u128(7));
        WorkerRecord { state, ..WorkerRecord::new(id, "mailer".to_owned(), Timestamp::EPOCH) }
    }

    #[test]
    fn a_worker_that_was_not_seen_for_four_reports_is_dead() {
        let last = Timestamp::EPOCH + WORKER_SILENCE_MAX;
        for state in [WorkerState::Starting, WorkerState::Ready, WorkerState::Draining] {
            let record = record(state);
            assert!(!record.is_dead(last) && !record.is_over(last), "{state}");
            assert!(record.is_dead(last + Duration::from_micros(1)), "{state}");
            assert!(record.is_over(last + Duration::from_micros(1)), "{state}");
        }
    }

    #[test]
    fn a_worker_that_has_stopped_does_not_die() {
        for state in [WorkerState::Stopped, WorkerState::Crashed] {
            let record = record(state);
            assert!(!record.is_dead(Timestamp::MAX) && record.is_over(Timestamp::EPOCH), "{state}");
        }
    }

    #[test]
    fn a_record_of_another_version_is_read() {
        let text = r#"{"id":"00000000-0000-0000-0000-000000000007","name":"mailer","state":"ready",
            "started_at":0,"seen_at":0,"moon":"full"}"#;
        assert_eq!(serde_json::from_str::<WorkerRecord>(text).expect("decodes"), record(WorkerState::Ready));
    }

    #[test]
    fn words_survive_the_round_trip() {
        for state in WorkerState::ALL {
            assert_eq!(state.as_str().parse(), Ok(*state));
            assert_eq!(serde_json::to_value(state).expect("encodes"), state.as_str());
        }
    }
}
