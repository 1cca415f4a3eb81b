//! Reads duration literals while the user's crate compiles, by the grammar of the runtime.

/// Reads the whole of `text` as a duration, and gives its nanoseconds.
///
/// # Errors
/// A message for the compiler: the text, what was expected, and at which byte.
pub(crate) fn nanoseconds(text: &str) -> Result<u64, String> {
    let duration = stent_units::duration(text).map_err(|error| error.to_string())?;
    u64::try_from(duration.as_nanos())
        .map_err(|_| format!("{text:?} is too long for a duration; the longest is about 584 years"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_its_nanoseconds_or_a_message() {
        assert_eq!(nanoseconds("1m30s"), Ok(90_000_000_000));
        assert!(nanoseconds("10x").expect_err("x is no unit").starts_with("\"10x\" is not a duration"));
    }

    #[test]
    fn what_does_not_fit_is_too_long() {
        for text in ["40000w", "99999999999999999999999999w"] {
            assert!(nanoseconds(text).expect_err(text).contains("too long"), "{text}");
        }
    }
}
