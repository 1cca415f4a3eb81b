//! How often to poll a store when no hints arrive: workers poll for work, waits poll for the end of executions.

use std::time::Duration;

use stent_core::duration;

use crate::error::{Error, Result};

/// The pauses between polls of the store that find nothing. The first pause is `min`; each further pause is `factor`
/// times the previous one, up to `max`. A poll that finds something, or a hint, resets the pause to `min`.
///
/// Hints make these pauses short in practice: a store that announces commits at once (SQLite in one process, for
/// example) is polled then, and polling only covers lost hints. Without any hints everything still works, but changes
/// are noticed up to `max` later. The end of a sleep that began since the last claim is also noticed only by the next
/// poll, at least `min` later.
///
/// ```
/// use std::time::Duration;
/// use stent::{PollOptions, Stent};
///
/// let rarely = PollOptions::default().max(Duration::from_secs(10));
/// let builder = Stent::builder().poll(rarely);
/// # let _ = builder;
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PollOptions {
    /// The first and shortest pause. Default 50 ms, minimum 1 ms.
    pub min: Duration,
    /// The longest pause. Default 2 s, minimum `min`.
    pub max: Duration,
    /// The factor by which the pause grows after a poll that found nothing. Default 2, minimum 1.
    pub factor: f64,
}

impl Default for PollOptions {
    fn default() -> Self {
        Self { min: Duration::from_millis(50), max: Duration::from_secs(2), factor: 2.0 }
    }
}

/// The shortest interval of any periodic activity. A shorter interval would be a busy loop.
pub(crate) const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// Refuses an interval that is too short. This includes zero: an interval is not a limit that zero could switch off.
pub(crate) fn check_interval(option: &'static str, interval: Duration, usual: &str) -> Result<()> {
    if interval >= INTERVAL_MIN {
        return Ok(());
    }
    let problem =
        format!("{interval:?} is too short for an interval; use at least {INTERVAL_MIN:?} ({usual})");
    Err(Error::Option { option, problem })
}

impl PollOptions {
    /// Sets the first and shortest pause.
    #[must_use]
    pub const fn min(mut self, pause: Duration) -> Self {
        self.min = pause;
        self
    }

    /// Sets the longest pause.
    #[must_use]
    pub const fn max(mut self, pause: Duration) -> Self {
        self.max = pause;
        self
    }

    /// Sets the factor by which the pause grows after a poll that found nothing.
    #[must_use]
    pub const fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// The pause that follows `pause`.
    pub(crate) fn after(&self, pause: Duration) -> Duration {
        duration::scaled(pause, self.factor, self.max).max(self.min)
    }

    /// Replaces the longest pause, and lowers the shortest one if it is longer than that.
    pub(crate) fn with_max(self, max: Duration) -> Self {
        Self { min: self.min.min(max), max, ..self }
    }

    pub(crate) fn validated(self) -> Result<Self> {
        let problem = if self.min < INTERVAL_MIN {
            format!("min is {:?}; use at least {INTERVAL_MIN:?}", self.min)
        } else if self.max < self.min {
            format!("max is {:?}, which is below min ({:?}); raise max or lower min", self.max, self.min)
        } else if !self.factor.is_finite() || self.factor < 1.0 {
            format!("factor is {}; use 1 or more", self.factor)
        } else {
            return Ok(self);
        };
        Err(Error::Option { option: "poll", problem })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_50_ms_to_2_s() {
        let poll = PollOptions::default();
        let pauses = std::iter::successors(Some(poll.min), |pause| Some(poll.after(*pause)));
        let millis: Vec<_> = pauses.take(8).map(|pause| pause.as_millis()).collect();
        assert_eq!(millis, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
    }

    #[test]
    fn what_cannot_be_polled_by_is_refused_with_what_would_fit() {
        let poll = PollOptions::default();
        for (wrong, says) in [
            (PollOptions { min: Duration::ZERO, ..poll }, "min is 0ns; use at least 1ms"),
            (
                PollOptions { max: Duration::from_millis(10), ..poll },
                "max is 10ms, which is below min (50ms)",
            ),
            (PollOptions { factor: 0.5, ..poll }, "factor is 0.5; use 1 or more"),
            (PollOptions { factor: f64::NAN, ..poll }, "factor is NaN"),
        ] {
            let error = wrong.validated().expect_err(says).to_string();
            assert!(error.contains(says), "{error}");
        }
        assert!(poll.validated().is_ok());
    }

    #[test]
    fn a_pause_beyond_all_bounds_is_the_longest_one() {
        for factor in [f64::MAX, f64::INFINITY] {
            let poll = PollOptions { factor, ..PollOptions::default() };
            assert_eq!(poll.after(poll.max), poll.max);
        }
        let poll = PollOptions { min: Duration::MAX, max: Duration::MAX, ..PollOptions::default() };
        assert_eq!(poll.after(poll.min), poll.max);
    }
}
