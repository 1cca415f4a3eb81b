//! Reads the options in the parentheses of `#[durable(…)]`. Knows nothing of the function below it.
//!
//! A new option is a field of [`Options`], its name in [`OPTIONS`], and an arm in [`Options::read`].

use std::str::FromStr;

use proc_macro2::{Span, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, Ident, Lit, LitInt, LitStr, Path, PathSegment, Result, Token, token};

use crate::rate::Rate;
use crate::{duration, rate};

/// The known options, as an error lists them.
const OPTIONS: [&str; 13] = [
    "cached",
    "idempotent",
    "key",
    "max_concurrent",
    "max_duration",
    "name",
    "priority",
    "queue",
    "rate",
    "retry",
    "tags",
    "unchecked_args",
    "version",
];

/// The settings of `retry`, as an error lists them.
const RETRY_SETTINGS: [&str; 6] =
    ["backoff_factor", "initial_delay", "jitter", "max_attempts", "max_delay", "retry_for"];

/// Maximum length in bytes of a function's name with its version, of a queue, or of a tag:
/// `stent_core::limits::NAME_BYTES_MAX`.
const NAME_BYTES_MAX: usize = 255;

/// The separator between a stored name and its version: `stent_core::model::versioned`.
pub(crate) const VERSION_SEPARATOR: char = '@';

/// The default policy's delays, for a policy that sets one of the two: `stent_core::model::RetryPolicy::default`.
const INITIAL_DELAY_NS: u64 = 1_000_000_000;
const MAX_DELAY_NS: u64 = 60_000_000_000;

/// The options of one durable function; `None` where the attribute does not set an option and the runtime's default applies.
#[derive(Default)]
pub(crate) struct Options {
    /// The stored name of the function, in place of its own.
    pub(crate) name: Option<LitStr>,
    /// The queue of its tasks.
    pub(crate) queue: Option<LitStr>,
    /// Its priority among due tasks; the larger goes first.
    pub(crate) priority: Option<i16>,
    /// When and how often it is retried.
    pub(crate) retry: Option<Retry>,
    /// Tags of which a worker needs one to run it.
    pub(crate) tags: Option<Vec<LitStr>>,
    /// How many of its tasks run at the same time, on all workers together.
    pub(crate) max_concurrent: Option<u32>,
    /// How many of its tasks start per period.
    pub(crate) rate: Option<Rate>,
    /// Equal calls of all callers run once.
    pub(crate) idempotent: Option<()>,
    /// An equal call gets the kept result.
    pub(crate) cached: Option<Cached>,
    /// The function that decides which calls are equal.
    pub(crate) key: Option<Path>,
    /// A replay does not compare the arguments of its calls.
    pub(crate) unchecked_args: Option<()>,
    /// The version of the function.
    pub(crate) version: Option<LitStr>,
    /// How long an execution of it may take, in nanoseconds; 0 for no limit.
    pub(crate) max_duration_ns: Option<u64>,
}

/// How long a cached result is valid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cached {
    /// As long as the store has it.
    Forever,
    /// This many nanoseconds.
    For(u64),
}

/// A kind of failure in `retry_for`.
pub(crate) enum Kind {
    /// A text, used as written.
    Text(LitStr),
    /// An error type, which stands for all of its failures.
    Type(Path),
    /// A variant of an error type: the type, and the path of the variant.
    Variant(Path, Path),
}

/// The settings of `retry(…)`; `None` where the default policy applies.
#[derive(Default)]
pub(crate) struct Retry {
    /// The maximum number of attempts, including the first.
    pub(crate) max_attempts: Option<u32>,
    /// The delay before the first retry, in nanoseconds.
    pub(crate) initial_delay_ns: Option<u64>,
    /// Multiplies each further delay.
    pub(crate) backoff_factor: Option<f64>,
    /// The longest delay, in nanoseconds.
    pub(crate) max_delay_ns: Option<u64>,
    /// The share of the delay by which it is spread.
    pub(crate) jitter: Option<f64>,
    /// The failures to retry.
    pub(crate) retry_for: Option<Vec<Kind>>,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut options = Self::default();
        each(input, "an option", &OPTIONS, |key, input| options.read(key, input))?;
        options.agree()?;
        Ok(options)
    }
}

impl Options {
    fn read(&mut self, key: &Ident, input: ParseStream<'_>) -> Result<()> {
        match key.to_string().as_str() {
            "name" => once(&mut self.name, key, plain_name(key, input, "name = \"billing.charge\"")?),
            "queue" => once(&mut self.queue, key, name(key, input, "queue = \"payments\"")?),
            "priority" => once(&mut self.priority, key, priority(key, input)?),
            "retry" => once(&mut self.retry, key, retry(key, input)?),
            "tags" => once(&mut self.tags, key, tags(key, input)?),
            "max_concurrent" => once(&mut self.max_concurrent, key, max_concurrent(key, input)?),
            "rate" => once(&mut self.rate, key, rate(key, input)?),
            "idempotent" => once(&mut self.idempotent, key, flag(key, input)?),
            "cached" => once(&mut self.cached, key, cached(key, input)?),
            "key" => once(&mut self.key, key, key_function(key, input)?),
            "unchecked_args" => once(&mut self.unchecked_args, key, flag(key, input)?),
            "version" => once(&mut self.version, key, plain_name(key, input, "version = \"2\"")?),
            "max_duration" => once(&mut self.max_duration_ns, key, max_duration(key, input)?),
            "expiry" => Err(Error::new(
                key.span(),
                "there is no option `expiry`; how long an execution may take is `max_duration = \"10m\"`",
            )),
            "timeout" => Err(Error::new(
                key.span(),
                "there is no option `timeout`; limit an execution with `max_duration = \"10m\"`, and a wait for its \
                 result with `run.result().timeout(\"10m\")`",
            )),
            _ => Err(unknown(key, "option", &OPTIONS)),
        }
    }

    /// Checks options against each other.
    fn agree(&self) -> Result<()> {
        if let Some(key) = &self.key
            && self.idempotent.is_none()
            && self.cached.is_none()
        {
            return Err(Error::new(
                key.span(),
                "`key` has no effect without `idempotent` or `cached`; add one of them",
            ));
        }
        if let (Some(name), Some(version)) = (&self.name, &self.version) {
            let bytes = name.value().len() + VERSION_SEPARATOR.len_utf8() + version.value().len();
            if bytes > NAME_BYTES_MAX {
                let message =
                    format!("name and version have {bytes} bytes; at most {NAME_BYTES_MAX} are allowed");
                return Err(Error::new(name.span(), message));
            }
        }
        Ok(())
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
            "retry_for" => once(&mut self.retry_for, key, retry_for(key, input)?),
            _ => Err(unknown(key, "setting", &RETRY_SETTINGS)),
        }
    }
}

/// Passes every key of a list to `read`, which reads the key's value from the input. Reading goes on behind the comma after a
/// fault, so that all faults are reported together.
fn each(
    input: ParseStream<'_>,
    kind: &str,
    known: &[&str],
    mut read: impl FnMut(&Ident, ParseStream<'_>) -> Result<()>,
) -> Result<()> {
    let mut one = |input: ParseStream<'_>| {
        if !input.peek(Ident::peek_any) {
            return Err(input.error(format!("expected the name of {kind}: {}", listed(known))));
        }
        let key = input.call(Ident::parse_any)?;
        read(&key, input)?;
        if !input.is_empty() && !input.peek(Token![,]) {
            return Err(input.error(format!("expected a comma after `{key}`")));
        }
        Ok(())
    };
    let mut faults: Option<Error> = None;
    while !input.is_empty() {
        if let Err(fault) = one(input) {
            match &mut faults {
                Some(faults) => faults.combine(fault),
                None => faults = Some(fault),
            }
            while !input.is_empty() && !input.peek(Token![,]) {
                input.parse::<TokenTree>()?;
            }
        }
        input.parse::<Option<Token![,]>>()?;
    }
    faults.map_or(Ok(()), Err)
}

fn once<T>(slot: &mut Option<T>, key: &Ident, value: T) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::new(key.span(), format!("`{key}` is given twice"))),
    }
}

fn unknown(key: &Ident, kind: &str, known: &[&str]) -> Error {
    let given = key.to_string();
    let message = match nearest(&given, known) {
        Some(name) => format!("unknown {kind} `{given}`; did you mean `{name}`?"),
        None => format!("unknown {kind} `{given}`; there are {}", listed(known)),
    };
    Error::new(key.span(), message)
}

/// The known name that a misspelled one was most likely meant to be.
fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    misspelled(given, known)
        .or_else(|| only(known, |name| name.split('_').any(|word| word == given)))
        .or_else(|| only(known, |name| same_stem(given, name)))
}

/// The known name of which one letter differs, or fewer than half of the letters, if it is the only one that near.
fn misspelled<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let mut by_distance: Vec<_> = known.iter().map(|name| (distance(given, name), *name)).collect();
    by_distance.sort_unstable();
    let (least, name) = *by_distance.first()?;
    let is_only = by_distance.get(1).is_none_or(|(next, _)| *next > least);
    let shorter = name.len().min(given.len());
    (is_only && (2 * least < shorter || (least == 1 && shorter > 1))).then_some(name)
}

/// Whether two names differ only in their last letters, as `retries` and `retry` do.
fn same_stem(one: &str, other: &str) -> bool {
    let same = one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
    same >= STEM_MIN && other.chars().count() - same <= 2
}

/// Fewest letters of a stem.
const STEM_MIN: usize = 4;

fn only<'a>(known: &[&'a str], fits: impl Fn(&str) -> bool) -> Option<&'a str> {
    let mut fitting = known.iter().filter(|name| fits(name));
    let name = fitting.next()?;
    fitting.next().is_none().then_some(*name)
}

/// How many letters are to be added, removed or replaced, or swapped with their neighbour, to come from one name to the other.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows = vec![(0..=other.len()).collect::<Vec<_>>()];
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=other.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(one[i - 1] != other[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn name(key: &Ident, input: ParseStream<'_>, example: &str) -> Result<LitStr> {
    let literal: LitStr = value(key, input, "a text", example)?;
    let text = literal.value();
    let problem = match text.len() {
        0 => "is empty".to_owned(),
        bytes if bytes > NAME_BYTES_MAX => format!("has {bytes} bytes; at most {NAME_BYTES_MAX} are allowed"),
        _ if text.chars().any(char::is_control) => "contains a control character".to_owned(),
        _ => return Ok(literal),
    };
    Err(Error::new(literal.span(), format!("this `{key}` {problem}")))
}

/// A name without a version, or a version: neither may contain the separator.
fn plain_name(key: &Ident, input: ParseStream<'_>, example: &str) -> Result<LitStr> {
    let literal = name(key, input, example)?;
    if literal.value().contains(VERSION_SEPARATOR) {
        let message = format!(
            "this `{key}` contains `{VERSION_SEPARATOR}`, which separates a name from its version; write `name = \
             \"charge\", version = \"2\"`"
        );
        return Err(Error::new(literal.span(), message));
    }
    Ok(literal)
}

fn flag(key: &Ident, input: ParseStream<'_>) -> Result<()> {
    if !input.is_empty() && !input.peek(Token![,]) {
        return Err(Error::new(
            input.span(),
            format!("`{key}` takes no value; write `{key}` alone, or leave it out"),
        ));
    }
    Ok(())
}

fn tags(key: &Ident, input: ParseStream<'_>) -> Result<Vec<LitStr>> {
    let example = "tags = [\"gpu\", \"eu\"]";
    let tags: Vec<LitStr> = list(key, input, "a list of texts", example)?;
    for (n, tag) in tags.iter().enumerate() {
        let text = tag.value();
        let problem = if text.is_empty() {
            "is empty".to_owned()
        } else if text.len() > NAME_BYTES_MAX {
            format!("has {} bytes; at most {NAME_BYTES_MAX} are allowed", text.len())
        } else if text.chars().any(char::is_control) {
            "contains a control character".to_owned()
        } else if tags[..n].iter().any(|other| other.value() == text) {
            "is given twice".to_owned()
        } else {
            continue;
        };
        return Err(Error::new(tag.span(), format!("this tag in `tags` {problem}")));
    }
    Ok(tags)
}

fn max_concurrent(key: &Ident, input: ParseStream<'_>) -> Result<u32> {
    let (max, span) = whole(key, input, "a whole number from 1 to 4294967295", "max_concurrent = 10")?;
    if max == 0 {
        return Err(Error::new(
            span,
            "`max_concurrent` of 0 lets nothing run; use 1 or more, or leave it out",
        ));
    }
    Ok(max)
}

fn rate(key: &Ident, input: ParseStream<'_>) -> Result<Rate> {
    let literal: LitStr = value(key, input, "a text", "rate = \"100/s\"")?;
    rate::parse(&literal.value()).map_err(|message| Error::new(literal.span(), message))
}

fn cached(key: &Ident, input: ParseStream<'_>) -> Result<Cached> {
    if input.is_empty() || input.peek(Token![,]) {
        return Ok(Cached::Forever);
    }
    let literal: LitStr = value(key, input, "nothing, or a duration in quotes", "cached = \"1h\"")?;
    match duration::nanoseconds(&literal.value()).map_err(|message| Error::new(literal.span(), message))? {
        0 => Err(Error::new(
            literal.span(),
            "`cached` for a duration of zero caches nothing; leave it out, or write `cached` alone for no limit",
        )),
        nanoseconds => Ok(Cached::For(nanoseconds)),
    }
}

fn key_function(key: &Ident, input: ParseStream<'_>) -> Result<Path> {
    value(key, input, "the path of a function that takes the arguments by reference", "key = order_number")
}

fn max_duration(key: &Ident, input: ParseStream<'_>) -> Result<u64> {
    let literal: LitStr = value(key, input, "a duration in quotes", &format!("{key} = \"10m\""))?;
    duration::nanoseconds(&literal.value()).map_err(|message| Error::new(literal.span(), message))
}

fn retry_for(key: &Ident, input: ParseStream<'_>) -> Result<Vec<Kind>> {
    let example = "retry_for = [\"Timeout\", ChargeError::Declined]";
    let kinds: Vec<Kind> = list(key, input, "a list of error types, their variants, or texts", example)?;
    if let Some(Kind::Text(empty)) =
        kinds.iter().find(|kind| matches!(kind, Kind::Text(text) if text.value().is_empty()))
    {
        return Err(Error::new(
            empty.span(),
            "this kind in `retry_for` is empty; give the name of an error type",
        ));
    }
    Ok(kinds)
}

impl Parse for Kind {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.peek(LitStr) {
            return input.parse().map(Self::Text);
        }
        let path: Path = input.parse()?;
        let is_type =
            |segment: &PathSegment| segment.ident.unraw().to_string().starts_with(char::is_uppercase);
        let count = path.segments.len();
        // `errors::ChargeError` is a type in a module, and `ChargeError::Declined` a variant of a type: the macro goes by the
        // spelling of the names, and the compiler rejects a wrong guess.
        if count < 2 || !is_type(&path.segments[count - 2]) {
            return Ok(Self::Type(path));
        }
        let segments = path.segments.iter().take(count - 1).cloned().collect();
        Ok(Self::Variant(Path { leading_colon: path.leading_colon, segments }, path))
    }
}

fn priority(key: &Ident, input: ParseStream<'_>) -> Result<i16> {
    whole(key, input, "a whole number from -32768 to 32767", "priority = 5").map(|(priority, _)| priority)
}

fn max_attempts(key: &Ident, input: ParseStream<'_>) -> Result<u32> {
    let (attempts, span) = whole(key, input, "a whole number from 1 to 4294967295", "max_attempts = 5")?;
    if attempts == 0 {
        return Err(Error::new(span, "`max_attempts` includes the first attempt, so it must be at least 1"));
    }
    Ok(attempts)
}

fn backoff_factor(key: &Ident, input: ParseStream<'_>) -> Result<f64> {
    let (factor, span) = number(key, input, "backoff_factor = 2.0")?;
    if !(factor.is_finite() && factor >= 1.0) {
        return Err(Error::new(
            span,
            "`backoff_factor` must be at least 1: a delay is never shorter than the one before",
        ));
    }
    Ok(factor)
}

fn jitter(key: &Ident, input: ParseStream<'_>) -> Result<f64> {
    let (jitter, span) = number(key, input, "jitter = 0.1")?;
    if !(0.0..=1.0).contains(&jitter) {
        return Err(Error::new(span, "`jitter` must be a share of the delay, from 0 to 1"));
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
    let retry: Retry = settings.parse()?;
    let initial = retry.initial_delay_ns.unwrap_or(INITIAL_DELAY_NS);
    let longest = retry.max_delay_ns.unwrap_or(MAX_DELAY_NS);
    // Zero is no limit.
    if longest > 0 && initial > longest {
        let message = "`initial_delay` (\"1s\" by default) is longer than `max_delay` (\"1m\" by default); shorten \
                       the one, or raise the other";
        return Err(Error::new(key.span(), message));
    }
    Ok(retry)
}

/// Reads `= [one, after, another]`, a list with at least one element.
fn list<T: Parse>(key: &Ident, input: ParseStream<'_>, kind: &str, example: &str) -> Result<Vec<T>> {
    if !input.peek(Token![=]) {
        return Err(wants(key, key.span(), kind, example));
    }
    input.parse::<Token![=]>()?;
    if !input.peek(token::Bracket) {
        let at = if input.is_empty() { key.span() } else { input.span() };
        return Err(wants(key, at, kind, example));
    }
    let items;
    let bracket = syn::bracketed!(items in input);
    let mut found = Vec::new();
    while !items.is_empty() {
        let at = items.span();
        found.push(items.parse().map_err(|_| wants(key, at, kind, example))?);
        if items.is_empty() {
            break;
        }
        items
            .parse::<Token![,]>()
            .map_err(|error| Error::new(error.span(), format!("expected a comma in `{key}`")))?;
    }
    if found.is_empty() {
        return Err(Error::new(
            bracket.span.join(),
            format!("`{key}` is empty; leave it out, or write `{example}`"),
        ));
    }
    Ok(found)
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
        let retry = options(text).expect(text).retry.expect("a policy");
        assert_eq!(retry.max_attempts, Some(5));
        assert_eq!(retry.initial_delay_ns, Some(1_000_000_000));
        assert_eq!(retry.backoff_factor, Some(2.0));
        assert_eq!(retry.max_delay_ns, Some(60_000_000_000));
        assert_eq!(retry.jitter, Some(0.1));
        assert!(retry.retry_for.is_none());
    }

    #[test]
    fn retry_without_settings_is_the_default_policy() {
        for text in ["retry", "retry()", "retry, priority = 1"] {
            let retry = options(text).expect(text).retry.expect(text);
            assert!(retry.max_attempts.is_none() && retry.retry_for.is_none(), "{text}");
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
            error("colour = \"a\""),
            format!("unknown option `colour`; there are {}", listed(&OPTIONS))
        );
        assert_eq!(
            error("retry(times = 3)"),
            "unknown setting `times`; there are \
             `backoff_factor`, `initial_delay`, `jitter`, `max_attempts`, `max_delay`, `retry_for`"
        );
        assert_eq!(error("\"charge\""), format!("expected the name of an option: {}", listed(&OPTIONS)));
    }

    #[test]
    fn the_options_of_limits_keys_and_versions_are_read() {
        let options = options(
            r#"tags = ["gpu", "eu",], max_concurrent = 10, rate = "100/10s", idempotent, cached = "1h",
               key = orders::number, version = "2", max_duration = "10m", unchecked_args"#,
        )
        .expect("all options");

        let tags: Vec<_> = options.tags.expect("tags").iter().map(LitStr::value).collect();
        assert_eq!(tags, ["gpu", "eu"]);
        assert_eq!(options.max_concurrent, Some(10));
        assert_eq!(options.rate, Some(Rate { max: 100, per_ns: 10_000_000_000 }));
        assert!(options.idempotent.is_some() && options.key.is_some());
        assert!(options.unchecked_args.is_some());
        assert_eq!(options.cached, Some(Cached::For(3_600_000_000_000)));
        assert_eq!(options.version.expect("a version").value(), "2");
        assert_eq!(options.max_duration_ns, Some(600_000_000_000));
    }

    #[test]
    fn cached_alone_is_for_ever() {
        let options = options(r#"cached, max_duration = "1s""#).expect("options");
        assert_eq!(options.cached, Some(Cached::Forever));
        assert_eq!(options.max_duration_ns, Some(1_000_000_000));
    }

    #[test]
    fn retry_for_takes_texts_types_and_variants() {
        let options = options(
            r#"retry(retry_for = ["Timeout", errors::Timeout, ::shop::errors::ChargeError::Declined])"#,
        )
        .expect("kinds");
        let kinds = options.retry.expect("a policy").retry_for.expect("a list");
        let text = |path: &Path| quote::quote!(#path).to_string().replace(' ', "");
        let [Kind::Text(literal), Kind::Type(ty), Kind::Variant(parent, variant)] = kinds.as_slice() else {
            panic!("not a text, a type and a variant")
        };
        assert_eq!(literal.value(), "Timeout");
        assert_eq!(text(ty), "errors::Timeout");
        assert_eq!(text(parent), "::shop::errors::ChargeError");
        assert_eq!(text(variant), "::shop::errors::ChargeError::Declined");
    }

    #[test]
    fn options_that_contradict_each_other_say_which_to_give() {
        for (text, message) in [
            ("max_duration = \"1m\", max_duration = \"1m\"", "`max_duration` is given twice"),
            (
                "expiry = \"1m\"",
                "there is no option `expiry`; how long an execution may take is `max_duration",
            ),
            ("timeout = \"1m\"", "there is no option `timeout`; limit an execution with `max_duration"),
            ("key = f", "`key` has no effect without `idempotent` or `cached`; add one of them"),
            (
                "retry(initial_delay = \"2m\")",
                "`initial_delay` (\"1s\" by default) is longer than `max_delay`",
            ),
            ("retry(max_delay = \"1ms\")", "`initial_delay` (\"1s\" by default) is longer than `max_delay`"),
            ("name = \"a@b\"", "this `name` contains `@`, which separates a name from its version"),
            ("version = \"1@2\"", "this `version` contains `@`, which separates a name from its version"),
        ] {
            assert!(error(text).starts_with(message), "{text}: {}", error(text));
        }
        assert!(
            error(&format!("name = {:?}, version = \"2\"", "n".repeat(254)))
                .starts_with("name and version have 256")
        );
        assert!(options("key = f, cached").is_ok() && options("key = f, idempotent").is_ok());
    }

    #[test]
    fn a_misspelled_option_is_answered_with_the_nearest() {
        for (given, meant) in [
            ("quue = \"mail\"", "unknown option `quue`; did you mean `queue`?"),
            ("prioritiy = 1", "unknown option `prioritiy`; did you mean `priority`?"),
            ("max_concurent = 1", "unknown option `max_concurent`; did you mean `max_concurrent`?"),
            ("cache", "unknown option `cache`; did you mean `cached`?"),
            ("tgas = []", "unknown option `tgas`; did you mean `tags`?"),
            ("retry(max_atempts = 1)", "unknown setting `max_atempts`; did you mean `max_attempts`?"),
            ("ky = number", "unknown option `ky`; did you mean `key`?"),
            ("retries = 3", "unknown option `retries`; did you mean `retry`?"),
            ("duration = \"1m\"", "unknown option `duration`; did you mean `max_duration`?"),
            ("retry(attempts = 1)", "unknown setting `attempts`; did you mean `max_attempts`?"),
            ("retry(intial_delay = \"1s\")", "unknown setting `intial_delay`; did you mean `initial_delay`?"),
        ] {
            assert_eq!(error(given), meant);
        }
        // Two settings are as near.
        assert!(
            error("retry(delay = \"1s\")")
                .starts_with("unknown setting `delay`; there are `backoff_factor`, ")
        );
        assert!(error("colour = 1").starts_with("unknown option `colour`; there are `cached`, "));
        assert!(error("retry(x = 1)").starts_with("unknown setting `x`; there are `backoff_factor`, "));
    }

    #[test]
    fn all_faults_are_reported_together() {
        let text =
            r#"quue = "mail", priority = high, retry(attempts = 3, jitter = 7), tags = [1, 2], rate = "0/s""#;
        let faults = options(text).err().expect(text).into_iter();
        let texts: Vec<_> = faults.map(|fault| fault.to_string()).collect();
        assert_eq!(
            texts,
            [
                "unknown option `quue`; did you mean `queue`?",
                "`priority` takes a whole number from -32768 to 32767, as in `priority = 5`",
                "unknown setting `attempts`; did you mean `max_attempts`?",
                "`jitter` must be a share of the delay, from 0 to 1",
                "`tags` takes a list of texts, as in `tags = [\"gpu\", \"eu\"]`",
                "\"0/s\" is not a rate: the number is zero, so nothing could ever start; write it like \"100/s\", \"30/m\" or \
             \"5/10s\"",
            ]
        );
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
            ("tags", "`tags` takes a list of texts, as in `tags = [\"gpu\", \"eu\"]`"),
            ("tags = \"gpu\"", "`tags` takes a list of texts, as in `tags = [\"gpu\", \"eu\"]`"),
            ("tags = [gpu]", "`tags` takes a list of texts, as in `tags = [\"gpu\", \"eu\"]`"),
            ("tags = [\"gpu\" \"eu\"]", "expected a comma in `tags`"),
            (
                "max_concurrent = -1",
                "`max_concurrent` takes a whole number from 1 to 4294967295, as in `max_concurrent = 10`",
            ),
            ("rate = 100", "`rate` takes a text, as in `rate = \"100/s\"`"),
            ("idempotent = true", "`idempotent` takes no value; write `idempotent` alone, or leave it out"),
            ("cached = true", "`cached` takes nothing, or a duration in quotes, as in `cached = \"1h\"`"),
            ("version = 2", "`version` takes a text, as in `version = \"2\"`"),
            (
                "max_duration = 10",
                "`max_duration` takes a duration in quotes, as in `max_duration = \"10m\"`",
            ),
            (
                "idempotent, key = \"number\"",
                "`key` takes the path of a function that takes the arguments by reference, as in `key = order_number`",
            ),
            (
                "retry(retry_for = \"Timeout\")",
                "`retry_for` takes a list of error types, their variants, or texts, \
                 as in `retry_for = [\"Timeout\", ChargeError::Declined]`",
            ),
            ("priority = 1 queue = \"a\"", "expected a comma after `priority`"),
        ] {
            assert_eq!(error(text), message, "{text}");
        }
    }

    #[test]
    fn values_out_of_range_say_what_the_range_is_for() {
        for (text, message) in [
            (
                "retry(max_attempts = 0)",
                "`max_attempts` includes the first attempt, so it must be at least 1",
            ),
            ("retry(backoff_factor = 0.5)", "`backoff_factor` must be at least 1"),
            ("retry(backoff_factor = 1e999)", "`backoff_factor` must be at least 1"),
            ("retry(jitter = 1.1)", "`jitter` must be a share of the delay, from 0 to 1"),
            ("retry(jitter = -0.1)", "`jitter` must be a share of the delay, from 0 to 1"),
            ("retry(max_delay = \"10x\")", "\"10x\" is not a duration"),
            ("name = \"\"", "this `name` is empty"),
            ("version = \"\"", "this `version` is empty"),
            ("tags = []", "`tags` is empty"),
            ("tags = [\"a\", \"\"]", "this tag in `tags` is empty"),
            ("tags = [\"a\", \"a\"]", "this tag in `tags` is given twice"),
            ("max_concurrent = 0", "`max_concurrent` of 0 lets nothing run"),
            ("rate = \"0/s\"", "\"0/s\" is not a rate: the number is zero"),
            ("cached = \"0s\"", "`cached` for a duration of zero caches nothing"),
            ("cached = \"1x\"", "\"1x\" is not a duration"),
            ("max_duration = \"1x\"", "\"1x\" is not a duration"),
            ("retry(retry_for = [])", "`retry_for` is empty"),
            ("retry(retry_for = [\"\"])", "this kind in `retry_for` is empty"),
            ("queue = \"a\\nb\"", "this `queue` contains a control character"),
        ] {
            assert!(error(text).starts_with(message), "{text}: {}", error(text));
        }
        assert_eq!(
            error(&format!("name = {:?}", "n".repeat(256))),
            "this `name` has 256 bytes; at most 255 are allowed"
        );
    }
}
