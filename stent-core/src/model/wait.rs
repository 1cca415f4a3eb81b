//! Waits of parked tasks.

use crate::{TaskId, Timestamp};

/// The wait of a parked task. The first of these events wakes the task.
///
/// Thresholds are absolute counts, not differences, so that parking can be guarded: if the count is reached when the task
/// parks, the store makes the task ready at once, whatever raced with the parking (G5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Wake once this many steps of the task have ended.
    pub done: u32,
    /// Wake at this moment at the latest: the earliest of the task's timers.
    pub until: Option<Timestamp>,
    /// Wake once this many items of an open map have ended, to feed it more.
    pub maps: Vec<Threshold>,
}

impl Wait {
    /// The same wait, but also no longer than until `moment`.
    #[must_use]
    pub fn no_longer_than(mut self, moment: Timestamp) -> Self {
        self.until = Some(self.until.map_or(moment, |until| until.min(moment)));
        self
    }

    /// Waits for the next completion after the `seen` completions that the code knows.
    #[must_use]
    pub const fn for_next(seen: u32) -> Self {
        Self { done: seen + 1, until: None, maps: Vec::new() }
    }

    /// The same wait, but no longer than until `moment`.
    #[must_use]
    pub fn until(mut self, moment: Option<Timestamp>) -> Self {
        self.until = moment;
        self
    }
}

/// How many items of a map must have ended before its parent is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// The map's task.
    pub map: TaskId,
    /// How many of its items must have ended.
    pub done: u32,
}
