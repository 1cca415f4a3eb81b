//! Leases, and the fences that protect them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{TaskId, Timestamp};

/// Identifies a claim of a task: a count of claims and a random nonce. It fences writes under earlier claims (G2, G3).
///
/// The count grows by one with every claim, but a count can recur: a step that a retry removed from the record is written again
/// under the same id, and a store that is restored, or fails over to a replica without the last transactions, forgets claims
/// that it has granted. The nonce distinguishes two claims with the same count.
///
/// Stores keep an epoch as one integer, see [`to_i64`](Self::to_i64), and so does its serialized form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Epoch {
    /// The number of claims, including this one. Zero before the first claim.
    pub count: u32,
    /// The random part.
    pub nonce: Nonce,
}

impl Epoch {
    /// The epoch of a task that was never claimed.
    pub const NEVER: Self = Self::plain(0);

    /// The epoch of a claim.
    #[must_use]
    pub const fn new(count: u32, nonce: Nonce) -> Self {
        Self { count, nonce }
    }

    /// An epoch without a nonce: of a task that was never claimed, or was claimed before there were nonces.
    #[must_use]
    pub const fn plain(count: u32) -> Self {
        Self::new(count, Nonce::NONE)
    }

    /// The epoch of the next claim.
    #[must_use]
    pub const fn next(self, nonce: Nonce) -> Self {
        Self::new(self.count + 1, nonce)
    }

    /// The epoch in its stored form. The integers sort like the epochs of a task; an epoch without a nonce is its count.
    #[must_use]
    pub const fn to_i64(self) -> i64 {
        if self.nonce.0 == 0 {
            return self.count as i64;
        }
        debug_assert!(self.count > 0, "only a claim has a nonce");
        (self.count as i64) << Nonce::BITS | self.nonce.0 as i64
    }

    /// Reads an integer that [`to_i64`](Self::to_i64) wrote; `None` for any other integer.
    #[must_use]
    pub fn from_i64(value: i64) -> Option<Self> {
        let low = u32::try_from(value & i64::from(Nonce::MASK)).ok()?;
        match u32::try_from(value >> Nonce::BITS).ok()? {
            0 => Some(Self::plain(low)),
            _ if low == 0 => None,
            count => Some(Self::new(count, Nonce(low))),
        }
    }
}

impl From<Epoch> for i64 {
    fn from(epoch: Epoch) -> Self {
        epoch.to_i64()
    }
}

impl TryFrom<i64> for Epoch {
    type Error = &'static str;

    fn try_from(value: i64) -> Result<Self, Self::Error> {
        Self::from_i64(value).ok_or("this integer is not an epoch")
    }
}

/// Shows the count; the nonce means nothing to people.
impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.count.fmt(f)
    }
}

/// The random part of an epoch. A worker draws it for each claim and passes it with all writes under the claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nonce(u32);

impl Nonce {
    /// The nonce of tasks that were never claimed, or were last claimed before there were nonces.
    pub const NONE: Self = Self(0);

    /// The number of random bits: with them, any count of claims fits a store's integer.
    const BITS: u32 = 31;
    const MASK: u32 = u32::MAX >> 1;

    /// The random bits; 0 for [`NONE`](Self::NONE).
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// A nonce from random bits. It is never [`NONE`](Self::NONE).
    #[must_use]
    pub const fn new(chance: u32) -> Self {
        match chance & Self::MASK {
            0 => Self(1),
            nonce => Self(nonce),
        }
    }
}

/// The exclusive right to run a task until a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The task.
    pub task: TaskId,
    /// The claim that holds the task.
    pub epoch: Epoch,
    /// When the lease ends unless it is renewed.
    pub until: Timestamp,
}

/// The fence that a leaseholder's write must pass.
///
/// `commit` counts the task's transitions. A write names the count that it starts from, which distinguishes a repeated write
/// from the next one: the second copy finds the count one higher and is answered `Already`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence {
    /// The task that is written.
    pub task: TaskId,
    /// The claim that writes.
    pub epoch: Epoch,
    /// The number of transitions of this task that were committed before this one.
    pub commit: u32,
}

impl Fence {
    /// The fence of the leaseholder's next write.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { commit: self.commit + 1, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_come_back_from_integers_as_they_were() {
        let nonces = [1, 7, u32::MAX].map(Nonce::new);
        let claims =
            [1, 2, u32::MAX].into_iter().flat_map(|count| nonces.map(|nonce| Epoch::new(count, nonce)));
        let plain = [0, 1, 2, 70_000].map(Epoch::plain);

        for epoch in claims.chain(plain) {
            assert_eq!(Epoch::from_i64(epoch.to_i64()), Some(epoch));
            let json = serde_json::to_string(&epoch).expect("encodes");
            assert_eq!(serde_json::from_str::<Epoch>(&json).expect("decodes"), epoch);
        }
        for no_epoch in [-1, i64::MIN, 1 << 31, 5 << 31] {
            assert_eq!(Epoch::from_i64(no_epoch), None);
        }
    }

    #[test]
    fn integers_are_ordered_as_the_claims_of_a_task() {
        let claims = [
            Epoch::NEVER,
            Epoch::plain(1),
            Epoch::plain(2),
            Epoch::new(3, Nonce::new(9)),
            Epoch::new(4, Nonce::new(1)),
            Epoch::new(5, Nonce::new(u32::MAX)),
        ];

        assert!(claims.is_sorted_by_key(|epoch| epoch.to_i64()));
    }

    #[test]
    fn no_chance_makes_no_nonce() {
        assert_ne!(Nonce::new(0), Nonce::NONE);
        assert_ne!(Nonce::new(1 << 31), Nonce::NONE);
    }
}
