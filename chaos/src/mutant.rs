//! Mutants: workers and dispatchers with one mistake each, to prove that the judge notices.

use serde::{Deserialize, Serialize};

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mutant {
    /// Some steps have their effect twice.
    Twice,
    /// Some steps have their effect again long after they were recorded.
    Echo,
    /// Some steps return a wrong result.
    Wrong,
    /// A function exceeds its limit.
    Crowd,
    /// A function exceeds its rate.
    Rush,
    /// Calls under one key run separately.
    Each,
    /// Transactions write their rows twice.
    Loose,
    /// The dispatcher reports some executions as dispatched, and does not dispatch them.
    Forget,
    /// The dispatcher reports some signals as sent, and does not send them.
    Mute,
    /// The dispatcher reports some executions as cancelled, and does not cancel them.
    Deaf,
}
