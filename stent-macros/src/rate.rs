//! Checks rate literals while the user's crate compiles: the grammar of `stent_core::model::Rate`, for the reason that
//! `duration` gives.

use crate::duration;

/// So many starts in so many nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    /// How many, at least 1.
    pub(crate) max: u32,
    /// In how long a time, more than none.
    pub(crate) per_ns: u64,
}

/// Reads a number, a slash and a unit or a duration from the whole of `text`: `"100/s"`, `"5/10s"`.
///
/// # Errors
/// A message for the compiler: the text, what was expected, and at which byte.
pub(crate) fn parse(text: &str) -> Result<Rate, String> {
    let problem = |at: usize, problem: &str| {
        format!(
            "{text:?} is not a rate: {problem} at position {at}; write it like \"100/s\", \"30/m\" or \"5/10s\""
        )
    };
    let start = text.len() - text.trim_start().len();
    let body = text.trim();
    let digits = body.find(|c: char| !c.is_ascii_digit()).unwrap_or(body.len());
    let (number, rest) = body.split_at(digits);
    if number.is_empty() {
        return Err(problem(start, "a whole number was expected"));
    }
    let max = number.parse().map_err(|_| problem(start, "the number is too large"))?;
    if max == 0 {
        return Err(problem(start, "the number is zero, so nothing could ever start"));
    }
    let Some(per) = rest.strip_prefix('/') else {
        return Err(problem(start + digits, "a slash was expected"));
    };
    let after_slash = start + digits + 1;
    if per.starts_with(char::is_whitespace) {
        return Err(problem(after_slash, "a unit or a duration was expected"));
    }
    // A unit alone stands for one of it.
    let given = if per.starts_with(|c: char| c.is_ascii_alphabetic()) { "1" } else { "" };
    match duration::read(&format!("{given}{per}")) {
        Ok(0) => Err(problem(after_slash, "the time is zero")),
        Ok(per_ns) => Ok(Rate { max, per_ns }),
        Err(fault) => Err(problem(after_slash + fault.at.saturating_sub(given.len()), fault.problem)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cases of the runtime's parser: see there for how a line reads.
    const CASES: &str = include_str!("../../stent-core/src/model/rate/cases.txt");

    #[test]
    fn every_case_means_what_it_means_to_the_runtime() {
        let mut cases = 0;
        for line in CASES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (text, expected) = line[1..].split_once("\" ").expect("a text in quotes");
            if let Some(at) = expected.strip_prefix("at ") {
                let error = parse(text).expect_err(line);
                assert!(error.contains(&format!("at position {at};")), "{line}: {error}");
            } else {
                let found = parse(text).map(|rate| format!("{} {}", rate.max, rate.per_ns));
                assert_eq!(found.as_deref(), Ok(expected), "{line}");
            }
            cases += 1;
        }
        assert!(cases > 20, "the cases are there");
    }
}
