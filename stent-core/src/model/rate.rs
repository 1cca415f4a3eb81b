//! Rates as people write them: `"100/s"`, `"5/10s"`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
pub use stent_units::RateError;

use crate::limits::CLAIM_LATE_MAX;
use crate::{Timestamp, duration};

/// How many tasks of a function may start in any period: `max` tasks per `per`.
///
/// Written as a number, a slash and a unit or a [duration](mod@crate::duration):
///
/// ```
/// use std::time::Duration;
/// use stent_core::model::Rate;
///
/// assert_eq!("100/s".parse(), Ok(Rate { max: 100, per: Duration::from_secs(1) }));
/// assert_eq!("5/10s".parse(), Ok(Rate { max: 5, per: Duration::from_secs(10) }));
/// assert!("100/x".parse::<Rate>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// The number of starts, at least 1.
    pub max: u32,
    /// The period, greater than zero.
    pub per: Duration,
}

impl Rate {
    /// The error of this rate, if it has one, with a hint.
    #[must_use]
    pub const fn problem(&self) -> Option<&'static str> {
        if self.max == 0 {
            return Some("with 0, nothing could ever start; use 1 or more");
        }
        if self.per.is_zero() {
            return Some("the period is zero; give a duration, as in \"100/s\"");
        }
        None
    }

    /// The beginning of a moment's bucket. Stores count starts in buckets of a tenth of the period, and keep each count under
    /// the beginning of its bucket.
    #[must_use]
    pub fn bucket(&self, at: Timestamp) -> Timestamp {
        Timestamp::from_micros(at.as_micros().saturating_sub(at.as_micros().rem_euclid(self.width())))
    }

    /// The bucket in which a start that was requested at `at` counts, if `last` is the last bucket with a start.
    ///
    /// A claim may arrive late: it has waited for a lock, or its clock is slow. Its tasks start when it arrives, not when it
    /// was requested, so it counts with the starts before it; otherwise it would be forgotten too early. A bucket that is
    /// further ahead than [`CLAIM_LATE_MAX`] comes from a wrong clock, and delays others no longer than it would by itself.
    #[must_use]
    pub fn counts_in(&self, at: Timestamp, last: Option<Timestamp>) -> Timestamp {
        let own = self.bucket(at);
        let latest = own + CLAIM_LATE_MAX;
        last.filter(|last| (own..=latest).contains(last)).unwrap_or(own)
    }

    /// The first bucket that counts at a moment: this bucket and later ones are all that reach into the period before the
    /// moment. Some may begin after the moment, from workers with fast clocks; they count too.
    #[must_use]
    pub fn since(&self, now: Timestamp) -> Timestamp {
        let reach = BUCKETS.saturating_mul(self.width());
        Timestamp::from_micros(self.bucket(now).as_micros().saturating_sub(reach))
    }

    /// How many more tasks may start, if the buckets that count have this many starts.
    #[must_use]
    pub fn room(&self, started: u64) -> u64 {
        u64::from(self.max).saturating_sub(started)
    }

    /// When a bucket stops counting.
    #[must_use]
    pub fn forgets(&self, bucket: Timestamp) -> Timestamp {
        let reach = (BUCKETS + 1).saturating_mul(self.width());
        Timestamp::from_micros(bucket.as_micros().saturating_add(reach))
    }

    /// The width of a bucket in microseconds. Rounded up, so that the buckets that count are never shorter than the period.
    fn width(&self) -> i64 {
        let per = duration::micros(self.per);
        (per / BUCKETS + i64::from(per % BUCKETS != 0)).max(1)
    }
}

/// Buckets in a period. With one more, the bucket of the present moment, they cover the whole period.
const BUCKETS: i64 = 10;

/// A value that an option accepts as a rate: a [`Rate`], or a text such as `"100/s"`.
pub trait IntoRate {
    /// Converts the value to a rate.
    ///
    /// # Errors
    /// If a text as a whole is not a rate.
    fn into_rate(self) -> Result<Rate, RateError>;
}

impl IntoRate for Rate {
    fn into_rate(self) -> Result<Rate, RateError> {
        Ok(self)
    }
}

impl IntoRate for &str {
    fn into_rate(self) -> Result<Rate, RateError> {
        self.parse()
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        stent_units::rate(text).map(|(max, per)| Self { max, per })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.max, duration::text(self.per))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_counts_as_long_as_it_reaches_into_the_time() {
        for (text, now) in
            [("7/10s", 0), ("7/10s", 999_999), ("7/10s", -1), ("7/1s", 1_763_683_200_123_456), ("7/25us", 7)]
        {
            let rate: Rate = text.parse().expect(text);
            let now = Timestamp::from_micros(now);
            let (width, bucket, since) =
                (rate.width(), rate.bucket(now).as_micros(), rate.since(now).as_micros());

            assert!((bucket..bucket + width).contains(&now.as_micros()), "{text} at {now:?}");
            let begins = now - rate.per;
            assert!(since <= begins.as_micros(), "what started since {begins:?} counts");
            assert!(since + 3 * width > begins.as_micros(), "and little before that");
            // A bucket stops counting exactly at the moment at which it is forgotten.
            let forgets = rate.forgets(rate.since(now));
            assert!(rate.since(forgets) > rate.since(now));
            assert_eq!(rate.since(forgets - Duration::from_micros(1)), rate.since(now));
        }
    }

    #[test]
    fn a_start_that_comes_late_counts_with_those_before_it() {
        let rate: Rate = "8/10s".parse().expect("a rate");
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        assert_eq!(rate.counts_in(at(100), None), at(100));
        assert_eq!(rate.counts_in(at(100), Some(at(99))), at(100), "it begins a bucket");
        assert_eq!(rate.counts_in(at(100), Some(at(107))), at(107));
        assert_eq!(rate.counts_in(at(100), Some(at(130))), at(130));
        assert_eq!(rate.counts_in(at(100), Some(at(131))), at(100), "that clock is wrong");
    }

    #[test]
    fn no_stretch_of_time_has_more_than_the_rate_says() {
        let rate: Rate = "5/1s".parse().expect("a rate");
        let mut started: Vec<i64> = Vec::new();
        for now in (0..5_000_000).step_by(37_000).map(Timestamp::from_micros) {
            let counted =
                started.iter().filter(|at| rate.bucket(Timestamp::from_micros(**at)) >= rate.since(now));
            let room = rate.room(counted.count() as u64);
            started.extend((0..room.min(2)).map(|_| now.as_micros()));
        }
        assert!(started.len() > 20, "{started:?}");
        for first in &started {
            let within = started.iter().filter(|at| (*first..*first + 1_000_000).contains(*at)).count();
            assert!(within <= 5, "{within} within a second of {first}");
        }
    }

    #[test]
    fn times_of_any_length_have_buckets() {
        for per in [Duration::from_nanos(1), Duration::MAX] {
            let rate = Rate { max: 1, per };
            assert!(rate.width() > 0);
            assert!(rate.since(Timestamp::from_micros(7)) <= rate.bucket(Timestamp::from_micros(7)));
        }
        assert_eq!(Rate { max: 3, per: Duration::from_secs(1) }.room(5), 0);
    }

    #[test]
    fn a_rate_is_written_as_it_is_read() {
        for text in ["100/s", "5/10s", "3/1h30m", "7/250ms", "1/7us"] {
            let rate: Rate = text.parse().expect(text);
            assert_eq!(rate.to_string().parse(), Ok(rate), "{rate}");
        }
    }
}
