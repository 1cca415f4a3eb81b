//! Checks duration literals while the user's crate compiles.
//!
//! The grammar is the one that the runtime reads (`stent_core::duration`), so that a text means the same in an
//! attribute, in a builder and on the command line. It is written out here a second time because a macro that depended
//! on the core would make every user's build wait for both, one after the other.

use std::time::Duration;

/// The units, largest last, and how many seconds each one stands for.
const UNITS: [(&str, f64); 7] =
    [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3_600.0), ("d", 86_400.0), ("w", 604_800.0)];

/// Where a text stops being a duration, and why.
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) problem: &'static str,
}

/// Reads one or more `number unit` pairs from the whole of `text`, and gives the nanoseconds they add up to.
///
/// White space is allowed around the text, decimals in a number: `"90s"`, `"1h30m"`, `" 1.5d "`.
///
/// # Errors
/// A message for the compiler: the text, what was expected, and at which byte.
pub(crate) fn nanoseconds(text: &str) -> Result<u64, String> {
    read(text).map_err(|Fault { at, problem }| {
        if problem == TOO_LONG {
            return format!("{text:?} is {TOO_LONG} for a duration; the longest is about 584 years");
        }
        format!(
            "{text:?} is not a duration: {problem} at position {at}; \
             write it like \"10s\", \"1h30m\" or \"250ms\""
        )
    })
}

const TOO_LONG: &str = "too long";

/// As [`nanoseconds`], for texts that a duration is a part of.
pub(crate) fn read(text: &str) -> Result<u64, Fault> {
    let fault = |at: usize, problem| Err(Fault { at, problem });
    let body = text.trim();
    if body.is_empty() {
        return fault(0, "nothing there");
    }
    let offset = text.len() - text.trim_start().len();
    let mut seconds = 0.0;
    let mut at = 0;
    while at < body.len() {
        let (number, rest) = split(&body[at..], |c| c.is_ascii_digit() || c == '.');
        let Ok(number_of) = number.parse::<f64>() else {
            return fault(offset + at, "a number was expected");
        };
        at += number.len();
        let (unit, _) = split(rest, |c| c.is_ascii_alphabetic());
        let Some((_, unit_seconds)) = UNITS.into_iter().find(|(name, _)| *name == unit) else {
            return fault(offset + at, "a unit (us, ms, s, m, h, d, w) was expected");
        };
        at += unit.len();
        seconds += number_of * unit_seconds;
    }
    // A time shorter than a nanosecond is still more than none.
    let least = u64::from(seconds > 0.0);
    Duration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|duration| u64::try_from(duration.as_nanos()).ok())
        .map(|nanoseconds| nanoseconds.max(least))
        .ok_or(Fault { at: 0, problem: TOO_LONG })
}

/// The longest start of `text` that `accept` takes, and what follows it.
fn split(text: &str, accept: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !accept(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cases of the runtime's parser: see there for how a line reads.
    const CASES: &str = include_str!("../../stent-core/src/duration/cases.txt");

    #[test]
    fn every_case_means_what_it_means_to_the_runtime() {
        let mut cases = 0;
        for line in CASES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (text, expected) = line[1..].split_once("\" ").expect("a text in quotes");
            if let Some(at) = expected.strip_prefix("at ") {
                let error = nanoseconds(text).expect_err(line);
                assert!(error.contains(&format!("at position {at};")), "{line}: {error}");
            } else {
                assert_eq!(
                    nanoseconds(text).map(|nanos| nanos.to_string()).as_deref(),
                    Ok(expected),
                    "{line}"
                );
            }
            cases += 1;
        }
        assert!(cases > 20, "the cases are there");
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
