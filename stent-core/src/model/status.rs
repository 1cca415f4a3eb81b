//! Statuses, as they stand in the store.

use serde::{Deserialize, Serialize};

use super::Marks;

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

            /// The status as a word, the same in Rust, SQL and on the command line.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
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
pub(super) use status;

/// A text that names no status or kind.
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
    /// The status of a task.
    TaskStatus {
        /// Can be claimed, at once or when it is due.
        Pending = "pending",
        /// Claimed: a worker holds its lease.
        Running = "running",
        /// Parked: it waits for completions, a signal or a moment.
        Waiting = "waiting",
        /// Ended with a result.
        Completed = "completed",
        /// Ended with a failure.
        Failed = "failed",
        /// Ended because its result is not wanted any more.
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
    /// The status of an execution.
    ExecutionStatus {
        /// Dispatched, not yet started.
        Pending = "pending",
        /// Started, not yet ended; it may be parked.
        Running = "running",
        /// Ended with a result.
        Completed = "completed",
        /// Ended with a failure.
        Failed = "failed",
        /// Ended because its deadline passed.
        TimedOut = "timed_out",
        /// Asked to end; its code may still clean up.
        Cancelling = "cancelling",
        /// Ended on request.
        Cancelled = "cancelled",
    }
}

status! {
    /// A fact about a task that its status does not express. A task has a [set](super::Marks) of them.
    Mark {
        /// The task has ended without running, with the result of another call under the same key.
        Hit = "hit",
        /// The task was asked to end. While it runs, its code may clean up.
        Cancel = "cancel",
        /// The task has ended because its deadline passed.
        Expire = "expire",
        /// The task was a dead letter and was redriven.
        Redrive = "redrive" | "revive",
        /// The task has failed for good and was discarded: it is no dead letter any more.
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

    /// The status of an execution, from its root task's status and marks, and from whether the root was ever claimed.
    #[must_use]
    pub const fn of_root(root: TaskStatus, started: bool, marks: Marks) -> Self {
        match root {
            TaskStatus::Pending | TaskStatus::Running | TaskStatus::Waiting
                if marks.contains(Mark::Cancel) =>
            {
                Self::Cancelling
            }
            // Also an execution whose root waits for another call under its key.
            TaskStatus::Pending | TaskStatus::Waiting if !started => Self::Pending,
            TaskStatus::Pending | TaskStatus::Running | TaskStatus::Waiting => Self::Running,
            TaskStatus::Completed => Self::Completed,
            TaskStatus::Failed if marks.contains(Mark::Expire) => Self::TimedOut,
            TaskStatus::Failed => Self::Failed,
            TaskStatus::Cancelled => Self::Cancelled,
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
        // Stores of earlier versions contain this word.
        assert_eq!("revive".parse(), Ok(Mark::Redrive));
        assert_eq!(serde_json::from_str::<Mark>("\"revive\"").expect("decodes"), Mark::Redrive);
        assert!("done".parse::<TaskStatus>().expect_err("no such word").to_string().contains("completed"));
    }
}
