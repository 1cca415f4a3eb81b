//! Leases and what they are checked by.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{TaskId, Timestamp};

/// Counts the claims of a task. It grows by one with every claim and fences what older claimers still write (G2, G3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The epoch of the next claim.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The exclusive right to a task until a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The task that is held.
    pub task: TaskId,
    /// The claim that holds it.
    pub epoch: Epoch,
    /// When the right ends unless it is renewed.
    pub until: Timestamp,
}

/// What a leaseholder's write is checked against.
///
/// `commit` counts the task's transitions. A write names the count that it starts from, so that the same write sent
/// twice is told from the next one: the second copy finds the count one higher and is answered `Already`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence {
    /// The task that is written.
    pub task: TaskId,
    /// The claim that writes.
    pub epoch: Epoch,
    /// How many transitions of this task were committed before this one.
    pub commit: u32,
}

impl Fence {
    /// The fence of the leaseholder's next write.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { commit: self.commit + 1, ..self }
    }
}
