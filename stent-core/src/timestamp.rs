//! A moment: microseconds since the Unix epoch, UTC. Reading a clock is up to the caller.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::duration;

/// A moment in UTC, in microseconds since 1970-01-01T00:00:00Z. Stores keep it as a 64-bit integer.
///
/// Arithmetic saturates: the far future stays the far future. A duration is rounded up to whole microseconds.
///
/// ```
/// use std::time::Duration;
/// use stent_core::Timestamp;
///
/// let start = Timestamp::from_micros(1_000_000);
/// assert_eq!(start + Duration::from_millis(250), Timestamp::from_micros(1_250_000));
/// assert_eq!(start.to_string(), "1970-01-01T00:00:01Z");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(0);
    /// The latest moment that can be stored.
    pub const MAX: Self = Self(i64::MAX);

    /// A moment from microseconds since the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Time from `earlier` to this moment, or zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl From<OffsetDateTime> for Timestamp {
    fn from(moment: OffsetDateTime) -> Self {
        let micros = moment.unix_timestamp_nanos().div_euclid(1_000);
        Self(i64::try_from(micros).unwrap_or(if micros < 0 { i64::MIN } else { i64::MAX }))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(moment: SystemTime) -> Self {
        match moment.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Self::EPOCH + after,
            Err(before) => Self::EPOCH - before.duration(),
        }
    }
}

impl From<Timestamp> for OffsetDateTime {
    /// Moments beyond the range of `time` become its nearest moment.
    fn from(moment: Timestamp) -> Self {
        Self::from_unix_timestamp_nanos(i128::from(moment.0) * 1_000).unwrap_or(if moment.0 < 0 {
            time::PrimitiveDateTime::MIN.assume_utc()
        } else {
            time::PrimitiveDateTime::MAX.assume_utc()
        })
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration::micros(duration)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration::micros(duration)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match OffsetDateTime::from(*self).format(&Rfc3339) {
            Ok(text) => f.write_str(&text),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::MAX + Duration::from_secs(1), Timestamp::MAX);
        assert_eq!(Timestamp::EPOCH.since(Timestamp::from_micros(5)), Duration::ZERO);
        assert_eq!(Timestamp::EPOCH + Duration::MAX, Timestamp::MAX);
        assert_eq!(Timestamp::from_micros(-2) - Duration::MAX, Timestamp::from_micros(i64::MIN));
    }

    #[test]
    fn a_part_of_a_microsecond_is_a_whole_one() {
        let nanos = Duration::from_nanos;
        for (duration, micros) in [(nanos(0), 0), (nanos(1), 1), (nanos(1_000), 1), (nanos(1_001), 2)] {
            assert_eq!(Timestamp::EPOCH + duration, Timestamp::from_micros(micros), "{duration:?}");
            assert_eq!(Timestamp::EPOCH - duration, Timestamp::from_micros(-micros), "{duration:?}");
        }
    }

    #[test]
    fn the_systems_time_counts_from_the_same_moment() {
        let second = Duration::from_secs(1);
        assert_eq!(Timestamp::from(SystemTime::UNIX_EPOCH + second), Timestamp::from_micros(1_000_000));
        assert_eq!(Timestamp::from(SystemTime::UNIX_EPOCH - second), Timestamp::from_micros(-1_000_000));
    }

    #[test]
    fn a_date_survives_the_round_trip_to_the_microsecond() {
        let moment = Timestamp::from_micros(1_763_683_200_123_456);
        assert_eq!(Timestamp::from(OffsetDateTime::from(moment)), moment);
        assert_eq!(moment.to_string(), "2025-11-21T00:00:00.123456Z");
    }
}
