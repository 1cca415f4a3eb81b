//! Durations and rates as people write them: `"10s"`, `"1h30m"`, `"100/s"`.
//!
//! Stent reads these texts in two places: the attribute, while the user's crate compiles, and the runtime, in builders and on the
//! command line. Both use this crate, so a text means the same in both. It depends on nothing, so the macro does not wait for the
//! rest of Stent to compile.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use self::Problem::{Expected, Refused};

/// Why a text is not a duration: what was wrong, and at which byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurationError {
    text: String,
    fault: Fault,
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, fault } = self;
        write!(f, "{text:?} is not a duration: {fault}; write it like \"10s\", \"1h30m\" or \"250ms\"")
    }
}

impl Error for DurationError {}

/// Why a text is not a rate: what was wrong, and at which byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateError {
    text: String,
    fault: Fault,
}

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, fault } = self;
        write!(f, "{text:?} is not a rate: {fault}; write it like \"100/s\", \"30/m\" or \"5/10s\"")
    }
}

impl Error for RateError {}

/// Where a text goes wrong, in bytes, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fault {
    at: usize,
    problem: Problem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    /// The text that the parser expected at this position: `a number`.
    Expected(&'static str),
    /// Why the value is refused, as a clause: `the number is zero`.
    Refused(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problem {
            Problem::Expected(what) => write!(f, "{what} was expected at position {}", self.at),
            Problem::Refused(why) => f.write_str(why),
        }
    }
}

/// The units, and how many seconds each one stands for.
const UNITS: [(&str, f64); 7] =
    [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3_600.0), ("d", 86_400.0), ("w", 604_800.0)];

/// Reads one or more `number unit` pairs, where a unit is `us`, `ms`, `s`, `m`, `h`, `d` or `w` and a number may have a
/// decimal part. The whole text must be used up; white space is allowed only around it.
///
/// ```
/// use std::time::Duration;
/// use stent_units::duration;
///
/// assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
/// assert!(duration("10x").is_err());
/// ```
///
/// # Errors
/// Names the position at which the text stops being a duration.
pub fn duration(text: &str) -> Result<Duration, DurationError> {
    read_duration(text).map_err(|fault| DurationError { text: text.to_owned(), fault })
}

fn read_duration(text: &str) -> Result<Duration, Fault> {
    let fault = |at: usize, problem| Err(Fault { at, problem });
    let offset = text.len() - text.trim_start().len();
    let body = text.trim();
    if body.is_empty() {
        return fault(0, Refused("it is empty"));
    }
    let mut total: f64 = 0.0;
    let mut at = 0;
    while at < body.len() {
        let number = prefix(&body[at..], |c| c.is_ascii_digit() || c == '.');
        let Ok(count) = number.parse::<f64>() else {
            return fault(offset + at, Expected("a number"));
        };
        at += number.len();
        let unit = prefix(&body[at..], |c| c.is_ascii_alphabetic());
        let Some((_, seconds)) = UNITS.into_iter().find(|(name, _)| *name == unit) else {
            return fault(offset + at, Expected("a unit (us, ms, s, m, h, d, w)"));
        };
        at += unit.len();
        total += count * seconds;
    }
    match Duration::try_from_secs_f64(total) {
        // A time shorter than a nanosecond is still more than none.
        Ok(duration) if total > 0.0 => Ok(duration.max(Duration::from_nanos(1))),
        Ok(duration) => Ok(duration),
        Err(_) => fault(0, Refused("it is too long")),
    }
}

/// Reads a number, a slash, and a unit or a duration: `"100/s"`, `"5/10s"`. The number is at least 1 and the time more than none.
///
/// ```
/// use std::time::Duration;
/// use stent_units::rate;
///
/// assert_eq!(rate("5/10s"), Ok((5, Duration::from_secs(10))));
/// assert!(rate("0/s").is_err());
/// ```
///
/// # Errors
/// Names the position at which the text stops being a rate.
pub fn rate(text: &str) -> Result<(u32, Duration), RateError> {
    read_rate(text).map_err(|fault| RateError { text: text.to_owned(), fault })
}

fn read_rate(text: &str) -> Result<(u32, Duration), Fault> {
    let fault = |at: usize, problem| Fault { at, problem };
    let start = text.len() - text.trim_start().len();
    let body = text.trim();
    let number = prefix(body, |c| c.is_ascii_digit());
    if number.is_empty() {
        return Err(fault(start, Expected("a whole number")));
    }
    let max = number.parse().map_err(|_| fault(start, Refused("the number is too large")))?;
    if max == 0 {
        return Err(fault(start, Refused("the number is zero, so nothing could ever start")));
    }
    let Some(per) = body[number.len()..].strip_prefix('/') else {
        return Err(fault(start + number.len(), Expected("a slash")));
    };
    let after_slash = start + number.len() + 1;
    if per.starts_with(char::is_whitespace) {
        return Err(fault(after_slash, Expected("a unit or a duration")));
    }
    // A unit alone stands for one of it.
    let given = if per.starts_with(|c: char| c.is_ascii_alphabetic()) { "1" } else { "" };
    match read_duration(&format!("{given}{per}")) {
        Ok(per) if per.is_zero() => Err(fault(after_slash, Refused("the time is zero"))),
        Ok(per) => Ok((max, per)),
        Err(Fault { at, problem }) => Err(fault(after_slash + at.saturating_sub(given.len()), problem)),
    }
}

/// The longest start of a text that `accept` takes.
fn prefix(text: &str, accept: impl Fn(char) -> bool) -> &str {
    &text[..text.find(|c| !accept(c)).unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line per case: a text in quotes, then what it stands for, or `at` and the position at which it goes wrong. A duration
    /// stands for its nanoseconds, a rate for its number and nanoseconds.
    fn cases(lines: &str) -> Vec<(&str, &str)> {
        let lines = lines.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let cases: Vec<_> =
            lines.map(|line| line[1..].split_once("\" ").expect("a text in quotes")).collect();
        assert!(cases.len() > 20, "the cases are there");
        cases
    }

    fn said(found: Result<String, Fault>) -> String {
        found.unwrap_or_else(|fault| format!("at {}", fault.at))
    }

    #[test]
    fn every_duration_is_read_or_refused_where_it_goes_wrong() {
        for (text, expected) in cases(include_str!("durations.txt")) {
            let found = read_duration(text).map(|duration| duration.as_nanos().to_string());
            assert_eq!(said(found), expected.trim(), "{text:?}");
        }
    }

    #[test]
    fn every_rate_is_read_or_refused_where_it_goes_wrong() {
        for (text, expected) in cases(include_str!("rates.txt")) {
            let found = read_rate(text).map(|(max, per)| format!("{max} {}", per.as_nanos()));
            assert_eq!(said(found), expected.trim(), "{text:?}");
        }
    }

    #[test]
    fn a_duration_that_does_not_fit_is_too_long() {
        let error = duration("99999999999999999999999999w").expect_err("longer than any duration");
        assert!(error.to_string().contains("too long"), "{error}");
    }

    #[test]
    fn a_message_names_the_text_the_fault_and_the_remedy() {
        assert_eq!(
            duration("10x").expect_err("x is no unit").to_string(),
            "\"10x\" is not a duration: a unit (us, ms, s, m, h, d, w) was expected at position 2; \
             write it like \"10s\", \"1h30m\" or \"250ms\""
        );
        assert_eq!(
            rate("100/10x").expect_err("x is no unit").to_string(),
            "\"100/10x\" is not a rate: a unit (us, ms, s, m, h, d, w) was expected at position 6; \
             write it like \"100/s\", \"30/m\" or \"5/10s\""
        );
        assert_eq!(
            rate("0/s").expect_err("nothing starts").to_string(),
            "\"0/s\" is not a rate: the number is zero, so nothing could ever start; \
             write it like \"100/s\", \"30/m\" or \"5/10s\""
        );
    }
}
