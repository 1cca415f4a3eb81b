//! Lanes: tasks that the same workers may claim stand in one line.
//!
//! Whether a worker may run a task depends on nothing but the task's function and queue. Tasks that agree in
//! these form a lane. A claim first picks the lanes that are open to the worker and then takes the heads of those,
//! so that work which is blocked or meant for others is never even looked at (G9), however much of it there is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Identifies a lane: 64 bits drawn from its queue and function, the same in every process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LaneKey(i64);

impl LaneKey {
    /// A key as a store reads it back.
    #[must_use]
    pub const fn from_i64(key: i64) -> Self {
        Self(key)
    }

    /// The key as stores keep it.
    #[must_use]
    pub const fn as_i64(self) -> i64 {
        self.0
    }
}

/// A line of tasks of one function on one queue.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lane {
    /// The queue that the tasks wait in.
    pub queue: String,
    /// The function that runs them.
    pub function: String,
}

impl Lane {
    /// The queue of functions that name none.
    pub const DEFAULT_QUEUE: &'static str = "default";

    /// The lane of a function on a queue.
    pub fn new(queue: impl Into<String>, function: impl Into<String>) -> Self {
        Self { queue: queue.into(), function: function.into() }
    }

    /// The lane's key. Deterministic, so that no process has to ask the store for it; a store keeps the lane beside
    /// its key and refuses a second lane with the same one, so a collision is an error and never a mix-up.
    #[must_use]
    pub fn key(&self) -> LaneKey {
        // FNV-1a: fixed forever, unlike std's hashers. The zero byte keeps ("ab","c") and ("a","bc") apart.
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in self.queue.bytes().chain([0]).chain(self.function.bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        LaneKey(hash.cast_signed())
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lane({}/{})", self.queue, self.function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_fixed_forever() {
        assert_eq!(Lane::new("default", "charge").key(), LaneKey(-8_029_207_599_971_998_438));
        assert_ne!(Lane::new("ab", "c").key(), Lane::new("a", "bc").key());
    }
}
