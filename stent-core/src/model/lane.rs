//! Lanes: a lane contains the tasks that the same workers may claim.
//!
//! Only a task's function, queue and tags decide whether a worker may run it. Tasks with the same function, queue and tags form
//! a lane. A claim first selects the lanes that are open to the worker and then takes the heads of these lanes, so it never
//! reads work that is blocked or meant for other workers (G9), however much of that work there is.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Identifies a lane: 64 bits derived from its queue, function and tags, the same in every process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LaneKey(i64);

impl LaneKey {
    /// A key from its stored form.
    #[must_use]
    pub const fn from_i64(key: i64) -> Self {
        Self(key)
    }

    /// The key in its stored form.
    #[must_use]
    pub const fn as_i64(self) -> i64 {
        self.0
    }
}

/// Identifies a function among those whose running tasks are counted: 64 bits derived from its name, the same in every process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FunctionKey(i64);

impl FunctionKey {
    /// The key of a function.
    #[must_use]
    pub fn of(function: &str) -> Self {
        match hash(function.bytes()) {
            0 => Self(1),
            key => Self(key),
        }
    }

    /// A key from its stored form.
    #[must_use]
    pub const fn from_i64(key: i64) -> Self {
        Self(key)
    }

    /// The key in its stored form.
    #[must_use]
    pub const fn as_i64(self) -> i64 {
        self.0
    }
}

/// The slot of its function's limit that a running task holds, or held (G8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "i64", into = "i64")]
pub enum Slot {
    /// One of the function's slots.
    Taken(FunctionKey),
    /// None any more: the task's lease has expired, and another task may have taken its slot.
    Vacated,
}

impl Slot {
    /// The stored form of [`Vacated`](Self::Vacated), which is the key of no function.
    const VACATED: i64 = 0;

    /// A slot from its stored form.
    #[must_use]
    pub const fn from_i64(slot: i64) -> Self {
        match slot {
            Self::VACATED => Self::Vacated,
            key => Self::Taken(FunctionKey::from_i64(key)),
        }
    }

    /// The slot in its stored form: the function's key, or a number that is no function's.
    #[must_use]
    pub const fn as_i64(self) -> i64 {
        match self {
            Self::Taken(function) => function.as_i64(),
            Self::Vacated => Self::VACATED,
        }
    }
}

impl From<i64> for Slot {
    fn from(slot: i64) -> Self {
        Self::from_i64(slot)
    }
}

impl From<Slot> for i64 {
    fn from(slot: Slot) -> Self {
        slot.as_i64()
    }
}

/// The tasks of one function on one queue with the same tags.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lane {
    /// The queue of the tasks.
    pub queue: String,
    /// The function that runs them.
    pub function: String,
    /// If not empty, a worker that has tags must have one of these.
    pub tags: BTreeSet<String>,
}

impl Lane {
    /// The queue of functions that do not set one.
    pub const DEFAULT_QUEUE: &'static str = "default";

    /// The lane of a function on a queue.
    pub fn new(queue: impl Into<String>, function: impl Into<String>) -> Self {
        Self { queue: queue.into(), function: function.into(), tags: BTreeSet::new() }
    }

    /// The lane of the same function and queue with these tags.
    #[must_use]
    pub fn with_tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags = tags.into_iter().map(Into::into).collect();
        self
    }

    /// The lane's key. It is deterministic, so that no process has to ask the store for it. A store keeps the lane beside its
    /// key and refuses a second lane with the same key, so a collision is an error and never a mix-up.
    #[must_use]
    pub fn key(&self) -> LaneKey {
        // The zero bytes separate ("ab","c") from ("a","bc"); no name contains a zero byte.
        let tags = self.tags.iter().flat_map(|tag| [0].into_iter().chain(tag.bytes()));
        LaneKey(hash(self.queue.bytes().chain([0]).chain(self.function.bytes()).chain(tags)))
    }
}

/// FNV-1a: fixed forever, unlike std's hashers.
fn hash(bytes: impl Iterator<Item = u8>) -> i64 {
    bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        .cast_signed()
}

/// Shows the queue, the function and the tags, as in `payments/charge #eu #gpu`.
impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.queue, self.function)?;
        self.tags.iter().try_for_each(|tag| write!(f, " #{tag}"))
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lane({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_fixed_forever() {
        assert_eq!(Lane::new("default", "charge").key(), LaneKey(-8_029_207_599_971_998_438));
        assert_ne!(Lane::new("ab", "c").key(), Lane::new("a", "bc").key());
        assert_ne!(Lane::new("a", "b").with_tags(["c"]).key(), Lane::new("a", "bc").key());
        let tagged = |tags: [&str; 2]| Lane::new("a", "b").with_tags(tags).key();
        assert_eq!(tagged(["x", "y"]), tagged(["y", "x"]));
    }

    #[test]
    fn people_read_its_queue_function_and_tags() {
        let lane = Lane::new("payments", "charge");
        assert_eq!(
            (lane.to_string(), format!("{lane:?}")),
            ("payments/charge".into(), "Lane(payments/charge)".into())
        );
        assert_eq!(lane.with_tags(["gpu", "eu"]).to_string(), "payments/charge #eu #gpu");
    }

    #[test]
    fn a_slot_is_stored_as_a_number() {
        let function = FunctionKey::of("charge");
        for (slot, stored) in [(Slot::Taken(function), function.as_i64()), (Slot::Vacated, 0)] {
            assert_eq!(serde_json::to_value(slot).expect("encodes"), stored);
            assert_eq!(serde_json::from_value::<Slot>(stored.into()).expect("decodes"), slot);
            assert_eq!(Slot::from_i64(stored), slot);
        }
    }
}
