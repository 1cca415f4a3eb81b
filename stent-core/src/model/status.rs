//! Statuses, as they stand in the store.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! status {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal $(| $old:literal)*,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$vdoc])* $(#[serde(alias = $old)])* $variant,)+
        }

        impl $name {
            /// Every status, in the order of a life.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word for it, the same in Rust, SQL and on the command line.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = ParseStatusError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text $(| $old)* => Ok(Self::$variant),)+
                    _ => Err(ParseStatusError::new(text, &[$($text),+])),
                }
            }
        }
    };
}

/// A text that is none of the words of a status or a kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown word {text:?}; known words: {}", known.join(", "))]
pub struct ParseStatusError {
    text: String,
    known: &'static [&'static str],
}

impl ParseStatusError {
    pub(super) fn new(text: &str, known: &'static [&'static str]) -> Self {
        Self { text: text.to_owned(), known }
    }
}

status! {
    /// Where a task stands.
    TaskStatus {
        /// Ready to be claimed, at once or when its time comes.
        Pending = "pending",
        /// Claimed: a worker holds its lease.
        Running = "running",
        /// Parked: it needs completions, a signal or a moment before it is worth waking.
        Waiting = "waiting",
        /// Ended with a result.
        Completed = "completed",
        /// Ended with a failure.
        Failed = "failed",
        /// Ended because nobody wants its result any more.
        Cancelled = "cancelled",
    }
}

impl TaskStatus {
    /// Whether nothing can change it any more (G7).
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Running | Self::Waiting => false,
            Self::Completed | Self::Failed | Self::Cancelled => true,
        }
    }
}

status! {
    /// Where an execution stands.
    ExecutionStatus {
        /// Dispatched, not yet started.
        Pending = "pending",
        /// Started, not yet ended; it may be parked.
        Running = "running",
        /// Ended with a result.
        Completed = "completed",
        /// Ended with a failure.
        Failed = "failed",
        /// Ended because its time was up.
        TimedOut = "timed_out",
        /// Asked to end; its code may still tidy up.
        Cancelling = "cancelling",
        /// Ended on request.
        Cancelled = "cancelled",
    }
}

status! {
    /// What a task's status does not say by itself.
    Mark {
        /// It has ended without running: another call under the same key gave the result.
        Hit = "hit",
        /// It was asked to end. While it runs it may tidy up.
        Cancel = "cancel",
        /// It has ended because its time was up.
        Expire = "expire",
        /// It had failed for good, and is tried again on request.
        Redrive = "redrive" | "revive",
        /// It has failed for good, and somebody has seen to that: it is no dead letter any more.
        Discard = "discard",
    }
}

impl ExecutionStatus {
    /// Whether nothing can change it any more (G7).
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Running | Self::Cancelling => false,
            Self::Completed | Self::Failed | Self::TimedOut | Self::Cancelled => true,
        }
    }

    /// The status of an execution whose root task stands at `root`, has been claimed before or not, and is marked so.
    #[must_use]
    pub const fn of_root(root: TaskStatus, started: bool, mark: Option<Mark>) -> Self {
        match (root, mark) {
            (TaskStatus::Pending | TaskStatus::Running | TaskStatus::Waiting, Some(Mark::Cancel)) => {
                Self::Cancelling
            }
            // Also one that waits for another call under its key.
            (TaskStatus::Pending | TaskStatus::Waiting, _) if !started => Self::Pending,
            (TaskStatus::Pending | TaskStatus::Running | TaskStatus::Waiting, _) => Self::Running,
            (TaskStatus::Completed, _) => Self::Completed,
            (TaskStatus::Failed, Some(Mark::Expire)) => Self::TimedOut,
            (TaskStatus::Failed, _) => Self::Failed,
            (TaskStatus::Cancelled, _) => Self::Cancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_round_trip() {
        for status in TaskStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(*status));
        }
        for status in ExecutionStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(*status));
        }
        for mark in Mark::ALL {
            assert_eq!(mark.as_str().parse(), Ok(*mark));
            assert_eq!(serde_json::to_value(mark).expect("encodes"), mark.as_str());
        }
        // Stores of earlier versions have this word.
        assert_eq!("revive".parse(), Ok(Mark::Redrive));
        assert_eq!(serde_json::from_str::<Mark>("\"revive\"").expect("decodes"), Mark::Redrive);
        assert!("done".parse::<TaskStatus>().expect_err("no such word").to_string().contains("completed"));
    }
}
