//! Checks duration literals while the user's crate compiles.
//!
//! The grammar is the one that the runtime reads (`stent_core::duration`), so that a text means the same in an
//! attribute, in a builder and on the command line. It is written out here a second time because a macro that depended
//! on the core would make every user's build wait for both, one after the other.

use std::time::Duration;

/// The units, largest last, and how many seconds each one stands for.
const UNITS: [(&str, f64); 7] =
    [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3_600.0), ("d", 86_400.0), ("w", 604_800.0)];

/// Reads one or more `number unit` pairs from the whole of `text`, and gives the nanoseconds they add up to.
///
/// White space is allowed around the text, decimals in a number: `"90s"`, `"1h30m"`, `" 1.5d "`.
///
/// # Errors
/// A message for the compiler: the text, what was expected, and at which byte.
pub(crate) fn nanoseconds(text: &str) -> Result<u64, String> {
    let problem = |at: usize, problem: &str| {
        format!(
            "{text:?} is not a duration: {problem} at position {at}; \
             write it like \"10s\", \"1h30m\" or \"250ms\""
        )
    };
    let body = text.trim();
    if body.is_empty() {
        return Err(problem(0, "nothing there"));
    }
    let offset = text.len() - text.trim_start().len();
    let mut seconds = 0.0;
    let mut at = 0;
    while at < body.len() {
        let (number, rest) = split(&body[at..], |c| c.is_ascii_digit() || c == '.');
        let Ok(number_of) = number.parse::<f64>() else {
            return Err(problem(offset + at, "a number was expected"));
        };
        at += number.len();
        let (unit, _) = split(rest, |c| c.is_ascii_alphabetic());
        let Some((_, unit_seconds)) = UNITS.into_iter().find(|(name, _)| *name == unit) else {
            return Err(problem(offset + at, "a unit (us, ms, s, m, h, d, w) was expected"));
        };
        at += unit.len();
        seconds += number_of * unit_seconds;
    }
    Duration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|duration| u64::try_from(duration.as_nanos()).ok())
        .ok_or_else(|| format!("{text:?} is too long for a duration; the longest is about 584 years"))
}

/// The longest start of `text` that `accept` takes, and what follows it.
fn split(text: &str, accept: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !accept(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_texts_are_read() {
        for (text, expected) in [
            ("10s", 10_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("2d8h", 201_600_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            (" 1w ", 604_800_000_000_000),
            ("250ms", 250_000_000),
            ("7us", 7_000),
            ("0s", 0),
        ] {
            assert_eq!(nanoseconds(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn anything_left_over_is_an_error_that_shows_where() {
        for (text, at) in [
            ("", 0),
            ("   ", 0),
            ("10", 2),
            ("10x", 2),
            ("10S", 2),
            ("10sfoo", 2),
            ("foo10s", 0),
            ("1h 30m", 2),
            ("1h.m", 2),
            ("1.2.3s", 0),
            ("-1s", 0),
            ("  10x", 4),
            ("10µs", 2),
        ] {
            let error = nanoseconds(text).expect_err(text);
            assert!(error.contains(&format!("at position {at};")), "{text}: {error}");
        }
    }

    #[test]
    fn the_message_names_the_text_the_fault_and_the_remedy() {
        assert_eq!(
            nanoseconds("10x").expect_err("x is no unit"),
            "\"10x\" is not a duration: a unit (us, ms, s, m, h, d, w) was expected at position 2; \
             write it like \"10s\", \"1h30m\" or \"250ms\""
        );
    }

    #[test]
    fn what_does_not_fit_is_too_long() {
        for text in ["40000w", "99999999999999999999999999w"] {
            assert!(nanoseconds(text).expect_err(text).contains("too long"), "{text}");
        }
    }
}
