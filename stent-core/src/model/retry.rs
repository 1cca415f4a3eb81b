//! How often and when a failed function is retried.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Failure, Kind, TaskId, duration};

/// A retry policy. It is stored with the task, so changes of the code do not change the policies of existing tasks.
///
/// The delay before the n-th retry is `initial_delay * backoff_factor^(n-1)`, at most `max_delay`, plus or minus `jitter` of
/// it.
///
/// ```
/// use std::time::Duration;
/// use stent_core::model::RetryPolicy;
///
/// let policy = RetryPolicy::default().max_attempts(5).initial_delay(Duration::from_millis(100));
/// assert_eq!(policy.max_attempts, 5);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// The maximum number of attempts, including the first.
    pub max_attempts: u32,
    /// The delay before the first retry. If it is zero, every retry follows at once.
    pub initial_delay: Duration,
    /// Multiplies each further delay.
    pub backoff_factor: f64,
    /// The longest delay, before jitter. Zero is no limit: delays grow without a bound.
    pub max_delay: Duration,
    /// The share of the delay by which it is spread, in either direction, from 0 to 1. It applies after `max_delay`.
    pub jitter: f64,
    /// The kinds of failures to retry; `None` for every kind. See [`Kind::is`](crate::Kind::is) for the kinds that a name
    /// matches. A misspelled name silently never matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_for: Option<Vec<String>>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            initial_delay: Duration::from_secs(1),
            backoff_factor: 2.0,
            max_delay: Duration::from_mins(1),
            jitter: 0.1,
            retry_for: None,
        }
    }
}

impl RetryPolicy {
    /// Sets the maximum number of attempts, including the first.
    #[must_use]
    pub const fn max_attempts(mut self, max_attempts: u32) -> Self {
        self.max_attempts = max_attempts;
        self
    }

    /// Sets the delay before the first retry.
    #[must_use]
    pub const fn initial_delay(mut self, initial_delay: Duration) -> Self {
        self.initial_delay = initial_delay;
        self
    }

    /// Sets the factor that multiplies each further delay.
    #[must_use]
    pub const fn backoff_factor(mut self, backoff_factor: f64) -> Self {
        self.backoff_factor = backoff_factor;
        self
    }

    /// Sets the longest delay, before jitter. Zero is no limit.
    #[must_use]
    pub const fn max_delay(mut self, max_delay: Duration) -> Self {
        self.max_delay = max_delay;
        self
    }

    /// Sets the share of the delay by which it is spread, from 0 to 1.
    #[must_use]
    pub const fn jitter(mut self, jitter: f64) -> Self {
        self.jitter = jitter;
        self
    }

    /// Retries failures of these kinds only.
    #[must_use]
    pub fn retry_for(mut self, kinds: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.retry_for = Some(kinds.into_iter().map(Into::into).collect());
        self
    }
}

/// Why a policy is not valid: the setting, and what would be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{setting}` {problem}")]
#[non_exhaustive]
pub struct RetryPolicyError {
    /// The setting.
    pub setting: &'static str,
    /// The problem, and what to do about it.
    pub problem: &'static str,
}

impl RetryPolicy {
    /// A policy with one attempt.
    #[must_use]
    pub fn never() -> Self {
        Self { max_attempts: 1, ..Self::default() }
    }

    /// Checks that the settings are valid.
    ///
    /// # Errors
    /// Names the first setting that is not valid, and what to do.
    pub fn validate(&self) -> Result<(), RetryPolicyError> {
        let fail = |setting, problem| Err(RetryPolicyError { setting, problem });
        if self.max_attempts == 0 {
            return fail("max_attempts", "is 0, but it includes the first attempt; use 1 or more");
        }
        if !(self.backoff_factor.is_finite() && self.backoff_factor >= 1.0) {
            return fail(
                "backoff_factor",
                "is below 1 or not a number, but a delay is never shorter than the one before; use 1 or more",
            );
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return fail("jitter", "is not a share of the delay; use a number from 0 to 1");
        }
        if self.initial_delay > self.longest() {
            return fail("initial_delay", "is longer than `max_delay`; shorten it, or raise `max_delay`");
        }
        if self.retry_for.as_ref().is_some_and(Vec::is_empty) {
            return fail(
                "retry_for",
                "is empty, so nothing would be retried; name a kind, leave it out to retry every failure, or use \
                 `max_attempts = 1`",
            );
        }
        if self.retry_for.iter().flatten().any(|name| Kind::is_nothing(name)) {
            return fail(
                "retry_for",
                "names a kind that begins with `stent::` but is not one of Stent's; see the constants of `Failure`",
            );
        }
        Ok(())
    }

    /// Whether this policy retries a failure, as long as attempts are left.
    #[must_use]
    pub fn covers(&self, failure: &Failure) -> bool {
        !failure.fatal
            && self.retry_for.as_ref().is_none_or(|kinds| kinds.iter().any(|kind| failure.is(kind)))
    }

    /// The delay before the next attempt, if `failed` attempts have failed, the last one with `failure`; `None` if there is no
    /// next attempt.
    ///
    /// The jitter is derived from the task and the attempt, not random: every process computes the same delay.
    #[must_use]
    pub fn next_delay(&self, task: TaskId, failed: u32, failure: &Failure) -> Option<Duration> {
        if !self.covers(failure) || failed >= self.max_attempts {
            return None;
        }
        let exponent = i32::try_from(failed.saturating_sub(1)).unwrap_or(i32::MAX);
        let factor = self.backoff_factor.max(1.0).powi(exponent);
        let capped = duration::scaled(self.initial_delay, factor, self.longest());
        let spread = self.jitter.clamp(0.0, 1.0) * (2.0 * unit_interval(task, failed) - 1.0);
        Some(duration::scaled(capped, 1.0 + spread, Duration::MAX))
    }

    /// The longest delay before jitter.
    const fn longest(&self) -> Duration {
        if self.max_delay.is_zero() { Duration::MAX } else { self.max_delay }
    }
}

/// A number in [0, 1) derived from a task and an attempt: SplitMix64 over the id's bits.
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
    use crate::own_failure;

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
    fn no_delay_stays_none_and_the_longest_one_has_no_end() {
        let policy = |initial_delay, max_delay| RetryPolicy {
            max_attempts: u32::MAX,
            initial_delay,
            max_delay,
            ..RetryPolicy::default()
        };
        let (second, nano) = (Duration::from_secs(1), Duration::from_nanos(1));
        for failed in [1, 2, 309, 310, 1_024, 1_025, 2_000, u32::MAX - 1] {
            let delay = |initial, max| policy(initial, max).next_delay(task(1), failed, &failure());
            for max in [Duration::ZERO, nano, second, Duration::MAX] {
                assert_eq!(delay(Duration::ZERO, max), Some(Duration::ZERO), "{failed} failed, {max:?}");
            }
            assert!(delay(nano, nano) <= Some(nano * 2), "{failed} failed");
            assert!(delay(second, Duration::MAX) >= delay(second, second), "{failed} failed");
            assert!(delay(Duration::MAX, Duration::MAX) > Some(Duration::MAX / 2), "{failed} failed");
            assert_eq!(delay(second, Duration::ZERO), delay(second, Duration::MAX), "{failed} failed");
        }
        policy(second, Duration::ZERO).validate().expect("zero is no limit");
        policy(Duration::ZERO, Duration::ZERO).validate().expect("no delay, no limit");
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

    fn only_for(kinds: &[&str]) -> RetryPolicy {
        let kinds = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        RetryPolicy { retry_for: Some(kinds), ..RetryPolicy::default() }
    }

    #[test]
    fn only_the_kinds_of_the_list_are_retried() {
        for (kinds, kind, retried) in [
            (&["Timeout", "Declined"][..], "Declined", true),
            (&["Timeout"], "Declined", false),
            (&["ChargeError"], "ChargeError::Timeout", true),
            (&["ChargeError::Timeout"], "ChargeError::Timeout", true),
            (&["ChargeError::Timeout"], "ChargeError::Declined", false),
            (&["ChargeError::Timeout"], "ChargeError", false),
            (&["Charge"], "ChargeError", false),
            (&["NoSuchKind"], "Declined", false),
            (&[], "Declined", false),
            (&["ChargeError"], "shop::ChargeError::Timeout", true),
            (&["::shop::ChargeError"], "shop::ChargeError::Timeout", true),
            (&["::shop::ChargeError"], "other::ChargeError", false),
            (&["ChargeError::Timeout"], "shop::ChargeError::Declined", false),
            (&[Failure::PANIC, "Panic"], "shop::PanicError", false),
            (&[Failure::PANIC], "Panic", false),
            (&[Failure::PANIC], Failure::PANIC, false),
        ] {
            let delay = only_for(kinds).next_delay(task(1), 1, &Failure::new(kind, ""));
            assert_eq!(delay.is_some(), retried, "{kinds:?} and {kind}");
        }
    }

    #[test]
    fn stents_own_kinds_are_listed_with_their_namespace_or_as_older_versions_stored_them() {
        let panic = own_failure(Failure::PANIC, "boom");
        for (kind, retried) in
            [("stent::Panic", true), ("Panic", true), ("stent::Codec", false), ("::shop::Panic", false)]
        {
            assert_eq!(only_for(&[kind]).next_delay(task(1), 1, &panic).is_some(), retried, "{kind}");
        }
    }

    #[test]
    fn being_fatal_wins_over_the_list() {
        assert_eq!(only_for(&["Declined"]).next_delay(task(1), 1, &failure().fatal()), None);
    }

    #[test]
    fn the_list_is_stored_with_the_policy_and_may_be_missing() {
        let stored = serde_json::to_string(&only_for(&["Timeout"])).expect("encodes");
        assert!(stored.contains(r#""retry_for":["Timeout"]"#), "{stored}");
        assert_eq!(serde_json::from_str::<RetryPolicy>(&stored).expect("decodes"), only_for(&["Timeout"]));

        let old = r#"{"max_attempts":5,"initial_delay":{"secs":1,"nanos":0},"backoff_factor":2.0,
                      "max_delay":{"secs":60,"nanos":0},"jitter":0.1}"#;
        let expected = RetryPolicy { max_attempts: 5, ..RetryPolicy::default() };
        assert_eq!(serde_json::from_str::<RetryPolicy>(old).expect("decodes"), expected);
    }

    #[test]
    fn a_setting_that_means_nothing_is_named() {
        let policy = RetryPolicy::default;
        assert_eq!(policy().validate(), Ok(()));
        assert_eq!(RetryPolicy::never().validate(), Ok(()));
        for (wrong, setting) in [
            (RetryPolicy { max_attempts: 0, ..policy() }, "max_attempts"),
            (RetryPolicy { backoff_factor: 0.99, ..policy() }, "backoff_factor"),
            (RetryPolicy { backoff_factor: f64::INFINITY, ..policy() }, "backoff_factor"),
            (RetryPolicy { backoff_factor: f64::NAN, ..policy() }, "backoff_factor"),
            (RetryPolicy { jitter: -0.1, ..policy() }, "jitter"),
            (RetryPolicy { jitter: 1.1, ..policy() }, "jitter"),
            (RetryPolicy { jitter: f64::NAN, ..policy() }, "jitter"),
            (RetryPolicy { initial_delay: Duration::from_secs(61), ..policy() }, "initial_delay"),
            (only_for(&[]), "retry_for"),
            (only_for(&["Timeout", "stent::Panik"]), "retry_for"),
        ] {
            assert_eq!(wrong.validate().expect_err(setting).setting, setting);
        }
    }

    #[test]
    fn jitter_comes_after_the_cap() {
        let policy = RetryPolicy { max_attempts: 100, ..RetryPolicy::default() };
        let longest = (0..1_000).filter_map(|n| policy.next_delay(task(n), 50, &failure())).max();
        let longest = longest.expect("delays").as_secs_f64();
        assert!((65.0..=66.0).contains(&longest), "{longest}");
    }

    #[test]
    fn a_fatal_failure_is_not_retried() {
        assert_eq!(RetryPolicy::default().next_delay(task(1), 1, &failure().fatal()), None);
    }
}
