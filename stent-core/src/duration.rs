//! Durations as people write them: `"10s"`, `"1h30m"`, `"2d8h"`.

use std::time::Duration;

pub use stent_units::DurationError;

/// A value that an option accepts as a duration: a [`Duration`], or a text such as `"1h30m"`.
pub trait IntoDuration {
    /// Converts the value to a duration.
    ///
    /// # Errors
    /// If a text as a whole is not a duration.
    fn into_duration(self) -> Result<Duration, DurationError>;
}

impl IntoDuration for Duration {
    fn into_duration(self) -> Result<Duration, DurationError> {
        Ok(self)
    }
}

impl IntoDuration for &str {
    fn into_duration(self) -> Result<Duration, DurationError> {
        parse(self)
    }
}

impl IntoDuration for &String {
    fn into_duration(self) -> Result<Duration, DurationError> {
        parse(self)
    }
}

impl IntoDuration for String {
    fn into_duration(self) -> Result<Duration, DurationError> {
        parse(&self)
    }
}

/// A value that an option accepts as a limit on a wait: a duration in any form, or `None`. Zero and `None` mean no limit.
///
/// ```
/// use std::time::Duration;
/// use stent_core::duration::IntoTimeout;
///
/// assert_eq!("90s".into_timeout()?, Some(Duration::from_secs(90)));
/// assert_eq!(None.into_timeout()?, None);
/// assert_eq!(Duration::ZERO.into_timeout()?, None);
/// # Ok::<(), stent_core::duration::DurationError>(())
/// ```
pub trait IntoTimeout {
    /// Converts the value to a limit, if there is one. It is never zero.
    ///
    /// # Errors
    /// If a text is not a duration.
    fn into_timeout(self) -> Result<Option<Duration>, DurationError>;
}

impl<D: IntoDuration> IntoTimeout for D {
    fn into_timeout(self) -> Result<Option<Duration>, DurationError> {
        Ok(Some(self.into_duration()?).filter(|limit| !limit.is_zero()))
    }
}

impl IntoTimeout for Option<Duration> {
    fn into_timeout(self) -> Result<Option<Duration>, DurationError> {
        Ok(self.filter(|limit| !limit.is_zero()))
    }
}

/// A duration in microseconds, as stores keep it: rounded up, so that a short duration never becomes zero, which means no
/// limit; and the largest number if it does not fit.
///
/// ```
/// use std::time::Duration;
/// use stent_core::duration::micros;
///
/// assert_eq!(micros(Duration::from_nanos(1)), 1);
/// assert_eq!(micros(Duration::MAX), i64::MAX);
/// ```
#[must_use]
pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos().div_ceil(1_000)).unwrap_or(i64::MAX)
}

/// A duration in milliseconds, rounded up, and at most `max`: for drivers and servers that count in milliseconds.
///
/// ```
/// use std::time::Duration;
/// use stent_core::duration::millis;
///
/// assert_eq!(millis(Duration::from_nanos(1), 1_000), 1);
/// assert_eq!(millis(Duration::MAX, 1_000), 1_000);
/// ```
#[must_use]
pub fn millis(duration: Duration, max: u64) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).min(max)
}

/// A duration times `factor`, at most `max`. The factor may be infinite, and zero stays zero.
///
/// ```
/// use std::time::Duration;
/// use stent_core::duration::scaled;
///
/// let minute = Duration::from_secs(60);
/// assert_eq!(scaled(Duration::from_secs(1), 2.0, minute), Duration::from_secs(2));
/// assert_eq!(scaled(Duration::from_secs(1), f64::INFINITY, minute), minute);
/// assert_eq!(scaled(Duration::ZERO, f64::INFINITY, minute), Duration::ZERO);
/// ```
#[must_use]
pub fn scaled(duration: Duration, factor: f64, max: Duration) -> Duration {
    if duration.is_zero() {
        return duration;
    }
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(max).min(max)
}

/// Parses one or more `number unit` pairs, where a unit is `us`, `ms`, `s`, `m`, `h`, `d` or `w` and a number may have a
/// decimal part. The text must match as a whole; white space is allowed only around it.
///
/// # Errors
/// The position at which the text stops being a duration.
///
/// ```
/// use std::time::Duration;
/// use stent_core::duration::parse;
///
/// assert_eq!(parse("1h30m")?, Duration::from_secs(5400));
/// assert_eq!(parse("250ms")?, Duration::from_millis(250));
/// assert!(parse("10sfoo").is_err());
/// # Ok::<(), stent_core::duration::DurationError>(())
/// ```
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    stent_units::duration(text)
}

/// Writes a duration as [`parse`] reads it, to the microsecond: `1h30m`.
///
/// ```
/// use stent_core::duration::{parse, text};
///
/// assert_eq!(text(parse("90m")?), "1h30m");
/// # Ok::<(), stent_core::duration::DurationError>(())
/// ```
#[must_use]
pub fn text(duration: Duration) -> String {
    let mut rest = duration.as_micros();
    let mut text = String::new();
    for (unit, micros) in [
        ("d", 86_400_000_000),
        ("h", 3_600_000_000),
        ("m", 60_000_000),
        ("s", 1_000_000),
        ("ms", 1_000),
        ("us", 1),
    ] {
        if rest >= micros {
            text += &format!("{}{unit}", rest / micros);
            rest %= micros;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_as_it_is_read() {
        for written in ["0s", "10s", "1h30m", "2d8h", "250ms", "1s7us"] {
            assert_eq!(text(parse(written).expect(written)), written);
        }
    }
}
