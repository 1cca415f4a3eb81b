//! Reads rate literals while the user's crate compiles, by the grammar of the runtime.

/// A number of starts per number of nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    /// The number of starts, at least 1.
    pub(crate) max: u32,
    /// The period, greater than zero.
    pub(crate) per_ns: u64,
}

/// Reads a number, a slash and a unit or a duration from the whole of `text`: `"100/s"`, `"5/10s"`.
///
/// # Errors
/// A message for the compiler: the text, what was expected, and at which byte.
pub(crate) fn parse(text: &str) -> Result<Rate, String> {
    let (max, per) = stent_units::rate(text).map_err(|error| error.to_string())?;
    let per_ns = u64::try_from(per.as_nanos())
        .map_err(|_| format!("the time of {text:?} is too long; the longest is about 584 years"))?;
    Ok(Rate { max, per_ns })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_its_number_and_time_or_a_message() {
        assert_eq!(parse("5/10s"), Ok(Rate { max: 5, per_ns: 10_000_000_000 }));
        assert!(parse("5/10x").expect_err("x is no unit").starts_with("\"5/10x\" is not a rate"));
        assert!(parse("5/40000w").expect_err("too long").contains("584 years"));
    }
}
