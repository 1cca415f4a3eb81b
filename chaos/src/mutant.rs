//! Mutants: workers and dispatchers that do one thing wrong, to prove that the judge notices.

use serde::{Deserialize, Serialize};

/// One thing done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mutant {
    /// Some steps have their effect twice.
    Twice,
    /// Some steps have their effect again long after they were recorded.
    Echo,
    /// Some steps give a wrong result.
    Wrong,
    /// The limit of a function is not kept.
    Crowd,
    /// The rate of a function is not kept.
    Rush,
    /// Calls under one key run each for itself.
    Each,
    /// Transactions write their rows twice.
    Loose,
    /// The dispatcher says of some executions that they were dispatched, and does not dispatch them.
    Forget,
    /// The dispatcher says of some signals that they were sent, and does not send them.
    Mute,
    /// The dispatcher says of some executions that they were cancelled, and does not cancel them.
    Deaf,
}
