//! Key entries: what a store keeps under a key, so that tasks which do not know each other share a value.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::status::ParseStatusError;
use crate::{ExecutionId, Key, Payload, TaskId, Timestamp};

/// The entry that a store keeps under a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyEntry {
    /// The key.
    pub key: Key,
    /// The kind of key entry.
    pub kind: KeyEntryKind,
    /// The execution that it belongs to: for a signal the receiver, otherwise the holder's execution.
    pub execution: ExecutionId,
    /// The signal's name; otherwise the function's name.
    pub name: String,
    /// The task that the key stands for: the task that produces the result. `None` for a signal.
    pub holder: Option<TaskId>,
    /// How long a result is valid.
    pub ttl: Option<Duration>,
    /// When the value came: when the holder ended, or when the signal was sent.
    pub ended_at: Option<Timestamp>,
    /// When the value expires.
    pub expires_at: Option<Timestamp>,
    /// A result, or a signal value that nobody has consumed yet.
    pub value: Option<Payload>,
    /// Ids of the last sends of a signal, newest last, so that a repeated send is recognized.
    pub sends: Vec<TaskId>,
}

impl KeyEntry {
    /// Whether it goes with its execution into an export: a result that has a value belongs to its key.
    #[must_use]
    pub fn goes_with_execution(&self) -> bool {
        self.kind != KeyEntryKind::Result || self.value.is_none()
    }
}

/// The kind of key entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyEntryKind {
    /// The latest value of a signal.
    Signal,
    /// The result of a call, which other calls under the same key get.
    Result,
    /// The execution that was dispatched under a key.
    Dispatch,
}

impl KeyEntryKind {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Signal, "signal"), (Self::Result, "result"), (Self::Dispatch, "dispatch")];

    /// The word for it in stores.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Result => "result",
            Self::Dispatch => "dispatch",
        }
    }
}

impl std::str::FromStr for KeyEntryKind {
    type Err = ParseStatusError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|(_, word)| *word == text)
            .map(|(kind, _)| kind)
            .ok_or_else(|| ParseStatusError::new(text, &["signal", "result", "dispatch"]))
    }
}

impl KeyEntry {
    /// A key entry without a value.
    #[must_use]
    pub const fn new(key: Key, kind: KeyEntryKind, execution: ExecutionId, name: String) -> Self {
        Self {
            key,
            kind,
            execution,
            name,
            holder: None,
            ttl: None,
            ended_at: None,
            expires_at: None,
            value: None,
            sends: Vec::new(),
        }
    }

    /// The value of a result that has not expired.
    #[must_use]
    pub fn result(&self, now: Timestamp) -> Option<&Payload> {
        let good =
            self.kind == KeyEntryKind::Result && self.expires_at.is_none_or(|expires_at| now < expires_at);
        self.value.as_ref().filter(|_| good)
    }
}
