//! How often and when a failed function is tried again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Failure, TaskId};

/// A retry policy. It is stored with the task, so a task keeps its policy whatever becomes of the code.
///
/// The n-th retry waits `initial_delay * backoff_factor^(n-1)`, at most `max_delay`, give or take `jitter` of it.
///
/// ```
/// use std::time::Duration;
/// use stent_core::model::RetryPolicy;
///
/// let policy = RetryPolicy { max_attempts: 5, initial_delay: Duration::from_millis(100), ..RetryPolicy::default() };
/// assert_eq!(policy.max_attempts, 5);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetryPolicy {
    /// How often the function runs at most, the first time included.
    pub max_attempts: u32,
    /// Wait before the first retry.
    pub initial_delay: Duration,
    /// What each further wait is multiplied by.
    pub backoff_factor: f64,
    /// Longest wait, before jitter.
    pub max_delay: Duration,
    /// Share of the wait by which it is spread, in either direction, from 0 to 1.
    pub jitter: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            initial_delay: Duration::from_secs(1),
            backoff_factor: 2.0,
            max_delay: Duration::from_mins(1),
            jitter: 0.1,
        }
    }
}

impl RetryPolicy {
    /// A policy that tries once.
    #[must_use]
    pub fn never() -> Self {
        Self { max_attempts: 1, ..Self::default() }
    }

    /// How long to wait before the next attempt, when `failed` attempts have failed, the last one with `failure`; `None`
    /// when there is none to come.
    ///
    /// The jitter is drawn from the task and the attempt, not from chance: whoever computes it gets the same.
    #[must_use]
    pub fn next_delay(&self, task: TaskId, failed: u32, failure: &Failure) -> Option<Duration> {
        if failure.fatal || failed >= self.max_attempts {
            return None;
        }
        let exponent = i32::try_from(failed.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.initial_delay.as_secs_f64() * self.backoff_factor.max(1.0).powi(exponent);
        let capped = grown.min(self.max_delay.as_secs_f64());
        let spread = capped * self.jitter.clamp(0.0, 1.0) * (2.0 * unit_interval(task, failed) - 1.0);
        Some(Duration::try_from_secs_f64((capped + spread).max(0.0)).unwrap_or(self.max_delay))
    }
}

/// A number in [0, 1) drawn from a task and an attempt: SplitMix64 over the id's bits.
fn unit_interval(task: TaskId, attempt: u32) -> f64 {
    let (high, low) = task.as_uuid().as_u64_pair();
    let mut bits = high ^ low.rotate_left(32) ^ u64::from(attempt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn task(n: u128) -> TaskId {
        TaskId::from_uuid(Uuid::from_u128(n))
    }

    fn failure() -> Failure {
        Failure::new("Declined", "no funds")
    }

    #[test]
    fn delays_double_up_to_the_cap_and_end_with_the_attempts() {
        let policy = RetryPolicy {
            jitter: 0.0,
            max_attempts: 5,
            max_delay: Duration::from_secs(3),
            ..RetryPolicy::default()
        };
        let delays: Vec<_> = (1..=5).map(|failed| policy.next_delay(task(1), failed, &failure())).collect();
        assert_eq!(delays, [Some(1), Some(2), Some(3), Some(3), None].map(|s| s.map(Duration::from_secs)));
    }

    #[test]
    fn jitter_stays_within_its_share_and_is_the_same_each_time() {
        let policy = RetryPolicy::default();
        for n in 0..1_000 {
            let delay = policy.next_delay(task(n), 1, &failure()).expect("one failure of three");
            assert!((0.9..=1.1).contains(&delay.as_secs_f64()), "{delay:?}");
            assert_eq!(Some(delay), policy.next_delay(task(n), 1, &failure()));
        }
    }

    #[test]
    fn a_fatal_failure_is_not_retried() {
        assert_eq!(RetryPolicy::default().next_delay(task(1), 1, &failure().fatal()), None);
    }
}
