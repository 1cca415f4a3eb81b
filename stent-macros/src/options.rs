//! Reads what stands in the parentheses of `#[durable(…)]`. Knows nothing of the function below it.
//!
//! A new option is a field of [`Options`], its name in [`OPTIONS`], and an arm in [`Options::read`].

use std::str::FromStr;

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Error, Ident, Lit, LitInt, LitStr, Result, Token, token};

use crate::duration;

/// The options there are, as an error lists them.
const OPTIONS: [&str; 4] = ["name", "priority", "queue", "retry"];

/// Options that the design has and the runtime does not have yet.
const PLANNED: [&str; 5] = ["cached", "idempotent", "max_concurrent", "tags", "version"];

/// The settings of `retry`, as an error lists them.
const RETRY_SETTINGS: [&str; 5] = ["backoff_factor", "initial_delay", "jitter", "max_attempts", "max_delay"];

/// Longest name of a function or a queue, in bytes: `stent_core::limits::NAME_BYTES_MAX`.
const NAME_BYTES_MAX: usize = 255;

/// The options of one durable function; `None` where the attribute is silent and the runtime's default holds.
#[derive(Default)]
pub(crate) struct Options {
    /// The name under which the function is stored, in place of its own.
    pub(crate) name: Option<LitStr>,
    /// The queue that its tasks wait in.
    pub(crate) queue: Option<LitStr>,
    /// Its place among tasks that are due; the larger goes first.
    pub(crate) priority: Option<i16>,
    /// When and how often it is tried again.
    pub(crate) retry: Option<Retry>,
}

/// The settings of `retry(…)`; `None` where the default policy holds.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Retry {
    /// How often the function runs at most, the first time included.
    pub(crate) max_attempts: Option<u32>,
    /// Wait before the first retry, in nanoseconds.
    pub(crate) initial_delay_ns: Option<u64>,
    /// What each further wait is multiplied by.
    pub(crate) backoff_factor: Option<f64>,
    /// Longest wait, in nanoseconds.
    pub(crate) max_delay_ns: Option<u64>,
    /// Share of the wait by which it is spread.
    pub(crate) jitter: Option<f64>,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut options = Self::default();
        each(input, "an option", &OPTIONS, |key, input| options.read(key, input))?;
        Ok(options)
    }
}

impl Options {
    fn read(&mut self, key: &Ident, input: ParseStream<'_>) -> Result<()> {
        match key.to_string().as_str() {
            "name" => once(&mut self.name, key, name(key, input, "name = \"billing.charge\"")?),
            "queue" => once(&mut self.queue, key, name(key, input, "queue = \"payments\"")?),
            "priority" => once(&mut self.priority, key, priority(key, input)?),
            "retry" => once(&mut self.retry, key, retry(key, input)?),
            planned if PLANNED.contains(&planned) => {
                Err(Error::new(key.span(), format!("option `{planned}` is not supported yet")))
            }
            _ => Err(unknown(key, "option", &OPTIONS)),
        }
    }
}

impl Parse for Retry {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut retry = Self::default();
        each(input, "a setting", &RETRY_SETTINGS, |key, input| retry.read(key, input))?;
        Ok(retry)
    }
}

impl Retry {
    fn read(&mut self, key: &Ident, input: ParseStream<'_>) -> Result<()> {
        match key.to_string().as_str() {
            "max_attempts" => once(&mut self.max_attempts, key, max_attempts(key, input)?),
            "initial_delay" => {
                once(&mut self.initial_delay_ns, key, delay(key, input, "initial_delay = \"1s\"")?)
            }
            "backoff_factor" => once(&mut self.backoff_factor, key, backoff_factor(key, input)?),
            "max_delay" => once(&mut self.max_delay_ns, key, delay(key, input, "max_delay = \"1m\"")?),
            "jitter" => once(&mut self.jitter, key, jitter(key, input)?),
            _ => Err(unknown(key, "setting", &RETRY_SETTINGS)),
        }
    }
}

/// Hands every key of a list to `read`, which takes the key's value from the input.
fn each(
    input: ParseStream<'_>,
    kind: &str,
    known: &[&str],
    mut read: impl FnMut(&Ident, ParseStream<'_>) -> Result<()>,
) -> Result<()> {
    while !input.is_empty() {
        if !input.peek(Ident::peek_any) {
            return Err(input.error(format!("the name of {kind} was expected: {}", listed(known))));
        }
        let key = input.call(Ident::parse_any)?;
        read(&key, input)?;
        if input.is_empty() {
            break;
        }
        if !input.peek(Token![,]) {
            return Err(input.error(format!("a comma was expected after `{key}`")));
        }
        input.parse::<Token![,]>()?;
    }
    Ok(())
}

fn once<T>(slot: &mut Option<T>, key: &Ident, value: T) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::new(key.span(), format!("`{key}` is given twice"))),
    }
}

fn unknown(key: &Ident, kind: &str, known: &[&str]) -> Error {
    Error::new(key.span(), format!("unknown {kind} `{key}`; there are {}", listed(known)))
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn name(key: &Ident, input: ParseStream<'_>, example: &str) -> Result<LitStr> {
    let literal: LitStr = value(key, input, "a text", example)?;
    let text = literal.value();
    let problem = match text.len() {
        0 => "is empty".to_owned(),
        bytes if bytes > NAME_BYTES_MAX => format!("has {bytes} bytes; {NAME_BYTES_MAX} is the most"),
        _ if text.chars().any(char::is_control) => "holds a control character".to_owned(),
        _ => return Ok(literal),
    };
    Err(Error::new(literal.span(), format!("this `{key}` {problem}")))
}

fn priority(key: &Ident, input: ParseStream<'_>) -> Result<i16> {
    whole(key, input, "a whole number from -32768 to 32767", "priority = 5").map(|(priority, _)| priority)
}

fn max_attempts(key: &Ident, input: ParseStream<'_>) -> Result<u32> {
    let (attempts, span) = whole(key, input, "a whole number from 1 to 4294967295", "max_attempts = 5")?;
    if attempts == 0 {
        return Err(Error::new(span, "`max_attempts` counts the first run too, so it is at least 1"));
    }
    Ok(attempts)
}

fn backoff_factor(key: &Ident, input: ParseStream<'_>) -> Result<f64> {
    let (factor, span) = number(key, input, "backoff_factor = 2.0")?;
    if !(factor.is_finite() && factor >= 1.0) {
        return Err(Error::new(
            span,
            "`backoff_factor` is at least 1: a wait is never shorter than the one before",
        ));
    }
    Ok(factor)
}

fn jitter(key: &Ident, input: ParseStream<'_>) -> Result<f64> {
    let (jitter, span) = number(key, input, "jitter = 0.1")?;
    if !(0.0..=1.0).contains(&jitter) {
        return Err(Error::new(span, "`jitter` is a share of the wait, from 0 to 1"));
    }
    Ok(jitter)
}

fn delay(key: &Ident, input: ParseStream<'_>, example: &str) -> Result<u64> {
    let literal: LitStr = value(key, input, "a duration in quotes", example)?;
    duration::nanoseconds(&literal.value()).map_err(|message| Error::new(literal.span(), message))
}

fn retry(key: &Ident, input: ParseStream<'_>) -> Result<Retry> {
    if input.is_empty() || input.peek(Token![,]) {
        return Ok(Retry::default());
    }
    if !input.peek(token::Paren) {
        let message = "`retry` takes its settings in parentheses, as in `retry(max_attempts = 5)`";
        return Err(Error::new(key.span(), message));
    }
    let settings;
    syn::parenthesized!(settings in input);
    settings.parse()
}

fn whole<T: FromStr>(key: &Ident, input: ParseStream<'_>, kind: &str, example: &str) -> Result<(T, Span)>
where
    T::Err: std::fmt::Display,
{
    let literal: LitInt = value(key, input, kind, example)?;
    let parsed = literal.base10_parse().map_err(|_| wants(key, literal.span(), kind, example))?;
    Ok((parsed, literal.span()))
}

fn number(key: &Ident, input: ParseStream<'_>, example: &str) -> Result<(f64, Span)> {
    let kind = "a number";
    let literal: Lit = value(key, input, kind, example)?;
    let parsed = match &literal {
        Lit::Float(float) => float.base10_parse().ok(),
        Lit::Int(int) => int.base10_parse().ok(),
        _ => None,
    };
    Ok((parsed.ok_or_else(|| wants(key, literal.span(), kind, example))?, literal.span()))
}

/// Reads `= literal`.
fn value<T: Parse>(key: &Ident, input: ParseStream<'_>, kind: &str, example: &str) -> Result<T> {
    if !input.peek(Token![=]) {
        return Err(wants(key, key.span(), kind, example));
    }
    input.parse::<Token![=]>()?;
    let at = if input.is_empty() { key.span() } else { input.span() };
    input.parse().map_err(|_| wants(key, at, kind, example))
}

fn wants(key: &Ident, at: Span, kind: &str, example: &str) -> Error {
    Error::new(at, format!("`{key}` takes {kind}, as in `{example}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Result<Options> {
        syn::parse_str(text)
    }

    fn error(text: &str) -> String {
        options(text).err().expect(text).to_string()
    }

    #[test]
    fn every_option_is_read() {
        let options = options(
            r#"name = "billing.charge", queue = "payments", priority = -5, retry(max_attempts = 5),"#,
        )
        .expect("all options");

        assert_eq!(options.name.expect("a name").value(), "billing.charge");
        assert_eq!(options.queue.expect("a queue").value(), "payments");
        assert_eq!(options.priority, Some(-5));
        assert_eq!(options.retry.expect("a policy").max_attempts, Some(5));
    }

    #[test]
    fn no_option_is_needed() {
        let options = options("").expect("nothing");
        assert!(options.name.is_none() && options.queue.is_none() && options.priority.is_none());
        assert!(options.retry.is_none());
    }

    #[test]
    fn every_retry_setting_is_read() {
        let text = r#"retry(max_attempts = 5, initial_delay = "1s", max_delay = "60s", backoff_factor = 2, jitter = 0.1)"#;
        let expected = Retry {
            max_attempts: Some(5),
            initial_delay_ns: Some(1_000_000_000),
            backoff_factor: Some(2.0),
            max_delay_ns: Some(60_000_000_000),
            jitter: Some(0.1),
        };
        assert_eq!(options(text).expect(text).retry, Some(expected));
    }

    #[test]
    fn retry_without_settings_is_the_default_policy() {
        for text in ["retry", "retry()", "retry, priority = 1"] {
            assert_eq!(options(text).expect(text).retry, Some(Retry::default()), "{text}");
        }
    }

    #[test]
    fn every_listed_option_has_an_arm() {
        for option in OPTIONS {
            assert!(!options(option).err().is_some_and(|e| e.to_string().contains("unknown")), "{option}");
        }
        for setting in RETRY_SETTINGS {
            assert!(!error(&format!("retry({setting})")).contains("unknown"), "{setting}");
        }
    }

    #[test]
    fn unknown_names_are_met_with_the_known_ones() {
        assert_eq!(
            error("quue = \"a\""),
            "unknown option `quue`; there are `name`, `priority`, `queue`, `retry`"
        );
        assert_eq!(
            error("retry(attempts = 3)"),
            "unknown setting `attempts`; there are \
             `backoff_factor`, `initial_delay`, `jitter`, `max_attempts`, `max_delay`"
        );
        assert_eq!(
            error("\"charge\""),
            "the name of an option was expected: `name`, `priority`, `queue`, `retry`"
        );
    }

    #[test]
    fn planned_options_say_so() {
        for option in PLANNED {
            assert_eq!(error(&format!("{option} = 10")), format!("option `{option}` is not supported yet"));
        }
    }

    #[test]
    fn an_option_is_given_once() {
        assert_eq!(error("priority = 1, priority = 1"), "`priority` is given twice");
        assert_eq!(error("retry, retry()"), "`retry` is given twice");
        assert_eq!(error("retry(jitter = 0, jitter = 0)"), "`jitter` is given twice");
    }

    #[test]
    fn values_of_the_wrong_kind_show_the_right_one() {
        for (text, message) in [
            ("queue", "`queue` takes a text, as in `queue = \"payments\"`"),
            ("queue =", "`queue` takes a text, as in `queue = \"payments\"`"),
            ("queue = payments", "`queue` takes a text, as in `queue = \"payments\"`"),
            (
                "priority = \"5\"",
                "`priority` takes a whole number from -32768 to 32767, as in `priority = 5`",
            ),
            ("priority = 1.5", "`priority` takes a whole number from -32768 to 32767, as in `priority = 5`"),
            (
                "priority = 32768",
                "`priority` takes a whole number from -32768 to 32767, as in `priority = 5`",
            ),
            ("retry = 5", "`retry` takes its settings in parentheses, as in `retry(max_attempts = 5)`"),
            (
                "retry(initial_delay = 1)",
                "`initial_delay` takes a duration in quotes, as in `initial_delay = \"1s\"`",
            ),
            (
                "retry(max_attempts = -1)",
                "`max_attempts` takes a whole number from 1 to 4294967295, as in `max_attempts = 5`",
            ),
            ("retry(jitter = \"0.1\")", "`jitter` takes a number, as in `jitter = 0.1`"),
            ("priority = 1 queue = \"a\"", "a comma was expected after `priority`"),
        ] {
            assert_eq!(error(text), message, "{text}");
        }
    }

    #[test]
    fn values_out_of_range_say_what_the_range_is_for() {
        for (text, message) in [
            ("retry(max_attempts = 0)", "`max_attempts` counts the first run too, so it is at least 1"),
            ("retry(backoff_factor = 0.5)", "`backoff_factor` is at least 1"),
            ("retry(backoff_factor = 1e999)", "`backoff_factor` is at least 1"),
            ("retry(jitter = 1.1)", "`jitter` is a share of the wait, from 0 to 1"),
            ("retry(jitter = -0.1)", "`jitter` is a share of the wait, from 0 to 1"),
            ("retry(max_delay = \"10x\")", "\"10x\" is not a duration"),
            ("name = \"\"", "this `name` is empty"),
            ("queue = \"a\\nb\"", "this `queue` holds a control character"),
        ] {
            assert!(error(text).starts_with(message), "{text}: {}", error(text));
        }
        assert_eq!(
            error(&format!("name = {:?}", "n".repeat(256))),
            "this `name` has 256 bytes; 255 is the most"
        );
    }
}
