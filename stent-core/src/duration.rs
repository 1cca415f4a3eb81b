//! Durations as people write them: `"10s"`, `"1h30m"`, `"2d8h"`.

use std::time::Duration;

/// Why a text is not a duration: what was wrong, and at which byte.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a duration: {problem} at position {at}; write it like \"10s\", \"1h30m\" or \"250ms\""
)]
pub struct DurationError {
    text: String,
    pub(crate) at: usize,
    pub(crate) problem: &'static str,
}

/// What can stand for a duration in an option: a [`Duration`], or a text such as `"1h30m"`.
pub trait IntoDuration {
    /// The duration that is meant.
    ///
    /// # Errors
    /// When a text is not a duration from its first to its last character.
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

/// What can stand for a limit on a wait: whatever can stand for a duration, or `None`. Zero and `None` mean no limit.
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
    /// The limit that is meant, if there is one. It is never zero.
    ///
    /// # Errors
    /// When a text is not a duration.
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

/// A duration in microseconds, as stores keep it: rounded up, so that a short one is never taken for zero, which means no
/// limit; and the largest number for one that does not fit.
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

/// A duration in milliseconds, rounded up, and at most `max`: for drivers and servers that count in them.
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

/// A duration times `factor`, at most `max`. A factor of infinity is one too, and zero stays zero.
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

/// Reads one or more `number unit` pairs, where a unit is `us`, `ms`, `s`, `m`, `h`, `d` or `w` and a number may have a
/// decimal part. The whole text must be used up; white space is allowed only around it.
///
/// # Errors
/// Names the position at which the text stops being a duration.
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
    let fail = |at: usize, problem| Err(DurationError { text: text.to_owned(), at, problem });
    let offset = text.len() - text.trim_start().len();
    let body = text.trim();
    if body.is_empty() {
        return fail(0, "nothing there");
    }
    let mut total: f64 = 0.0;
    let mut at = 0;
    while at < body.len() {
        let number_len = span(&body[at..], |c| c.is_ascii_digit() || c == '.');
        let Ok(number) = body[at..at + number_len].parse::<f64>() else {
            return fail(offset + at, "a number was expected");
        };
        at += number_len;
        let unit_len = span(&body[at..], |c| c.is_ascii_alphabetic());
        let Some(seconds) = unit_seconds(&body[at..at + unit_len]) else {
            return fail(offset + at, "a unit (us, ms, s, m, h, d, w) was expected");
        };
        at += unit_len;
        total += number * seconds;
    }
    match Duration::try_from_secs_f64(total) {
        // A time shorter than a nanosecond is still more than none.
        Ok(duration) if total > 0.0 => Ok(duration.max(Duration::from_nanos(1))),
        Ok(duration) => Ok(duration),
        Err(_) => fail(0, "too long"),
    }
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

fn span(text: &str, accept: impl Fn(char) -> bool) -> usize {
    text.find(|c| !accept(c)).unwrap_or(text.len())
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        "w" => 604_800.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line per case: a text in quotes, then the nanoseconds that it stands for, or `at` and the position at which it
    /// stops being a duration. The macro has a parser of its own, and reads the same cases.
    const CASES: &str = include_str!("duration/cases.txt");

    #[test]
    fn every_case_is_read_or_refused_where_it_goes_wrong() {
        let mut cases = 0;
        for line in CASES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (text, expected) = line[1..].split_once("\" ").expect("a text in quotes");
            match expected.trim().strip_prefix("at ") {
                Some(at) => {
                    let at: usize = at.parse().expect("a position");
                    assert_eq!(parse(text).expect_err(line).at, at, "{line}");
                }
                None => {
                    let nanos: u64 = expected.trim().parse().expect("nanoseconds");
                    assert_eq!(parse(text).expect(line), Duration::from_nanos(nanos), "{line}");
                }
            }
            cases += 1;
        }
        assert!(cases > 20, "the cases are there");
    }

    #[test]
    fn what_does_not_fit_is_too_long() {
        let error = parse("99999999999999999999999999w").expect_err("longer than any duration");
        assert!(error.to_string().contains("too long"), "{error}");
    }

    #[test]
    fn the_message_names_the_text_the_fault_and_the_remedy() {
        assert_eq!(
            parse("10x").expect_err("x is no unit").to_string(),
            "\"10x\" is not a duration: a unit (us, ms, s, m, h, d, w) was expected at position 2; \
             write it like \"10s\", \"1h30m\" or \"250ms\""
        );
    }

    #[test]
    fn a_duration_is_written_as_it_is_read() {
        for written in ["0s", "10s", "1h30m", "2d8h", "250ms", "1s7us"] {
            assert_eq!(text(parse(written).expect(written)), written);
        }
    }
}
