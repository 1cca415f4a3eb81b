//! Key entries: what a store keeps under a key, so that tasks which know nothing of each other agree.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::status::ParseStatusError;
use crate::{ExecutionId, Key, Payload, TaskId, Timestamp};

/// What is kept under a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyEntry {
    /// The key.
    pub key: Key,
    /// What kind of key entry it is.
    pub kind: KeyEntryKind,
    /// The execution that it belongs to: of a signal the one that it is sent to, of others the holder's.
    pub execution: ExecutionId,
    /// The signal's name; for others the function's.
    pub name: String,
    /// The task that the key stands for: the one whose result it is or will be. None for a signal.
    pub holder: Option<TaskId>,
    /// How long a result is good for.
    pub ttl: Option<Duration>,
    /// When the value came: when the holder ended, when the signal was sent.
    pub ended_at: Option<Timestamp>,
    /// When the value is no good any more.
    pub expires_at: Option<Timestamp>,
    /// A result, or a signal that nobody has consumed yet.
    pub value: Option<Payload>,
    /// Ids of the last sends of a signal, newest last, so that one which is sent again is told.
    pub sends: Vec<TaskId>,
}

/// What kind of key entry it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyEntryKind {
    /// The latest value of a signal.
    Signal,
    /// The result of a call, which answers other calls under the same key.
    Result,
    /// The execution that was dispatched under a key.
    Dispatch,
}

impl KeyEntryKind {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Signal, "signal"), (Self::Result, "result"), (Self::Dispatch, "dispatch")];

    /// The word for it.
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
    /// A key entry that says nothing yet.
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

    /// The value of a result that is still good.
    #[must_use]
    pub fn result(&self, now: Timestamp) -> Option<&Payload> {
        let good =
            self.kind == KeyEntryKind::Result && self.expires_at.is_none_or(|expires_at| now < expires_at);
        self.value.as_ref().filter(|_| good)
    }
}
