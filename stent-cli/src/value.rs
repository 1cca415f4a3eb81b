//! Values of the command line, each with an error that says what would be right.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use serde_json::error::Category;
use stent::backend::limits::NAME_BYTES_MAX;
use stent::units::IntoDuration as _;
use stent::view::TaskStatus;
use stent::{ExecutionId, ExecutionStatus, TaskId, Timestamp, Uuid, WorkerState};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::exact;

const ID: &str = "ids look like 0192f3c8-5d1e-7a40-8c31-000000000000; `stent list` shows them";

pub(crate) fn execution(text: &str) -> Result<ExecutionId, String> {
    ExecutionId::from_str(text.trim()).map_err(|error| format!("not an id: {error}; {ID}"))
}

/// Fewest characters of an id that stand for it: its first 8 are the minute in which it was drawn.
const PREFIX_MIN: usize = 8;

/// An execution's id, or the first characters of one.
#[derive(Clone, Debug)]
pub(crate) struct Prefix {
    pub(crate) text: String,
    /// The smallest and the largest id that begin with it: the same one if it is a whole id.
    pub(crate) first: ExecutionId,
    pub(crate) last: ExecutionId,
}

pub(crate) fn prefix(text: &str) -> Result<Prefix, String> {
    let text = text.trim().to_lowercase();
    let whole = match execution(&text) {
        Ok(id) => return Ok(Prefix { text, first: id, last: id }),
        Err(problem) => problem,
    };
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let padded = |digit: char| {
        let padding = std::iter::repeat_n(digit, 32_usize.saturating_sub(digits.len()));
        u128::from_str_radix(&digits.chars().chain(padding).collect::<String>(), 16).ok()
    };
    let (Some(first), Some(last)) = (padded('0'), padded('f')) else { return Err(whole) };
    let [first, last] = [first, last].map(|id| ExecutionId::from_uuid(Uuid::from_u128(id)));
    if !first.to_string().starts_with(&text) {
        return Err(whole);
    }
    if text.len() < PREFIX_MIN {
        return Err(format!("too short: at least {PREFIX_MIN} characters of an id are needed; {ID}"));
    }
    Ok(Prefix { text, first, last })
}

pub(crate) fn task(text: &str) -> Result<TaskId, String> {
    TaskId::from_str(text.trim()).map_err(|error| format!("not an id: {error}; {ID}"))
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    text.into_duration().map_err(|error| error.to_string())
}

/// A pause that is one.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        pause if pause < Duration::from_millis(100) => Err("too short; use at least 100ms".to_owned()),
        pause => Ok(pause),
    }
}

/// An age from which on data is deleted.
pub(crate) fn age(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        age if age.is_zero() => {
            Err("elsewhere zero keeps data forever; to delete everything that has ended, use 1us".to_owned())
        }
        age => Ok(age),
    }
}

/// How long to wait for an execution.
pub(crate) fn patience(text: &str) -> Result<Duration, String> {
    duration(text).map_err(|problem| {
        format!("{problem}; the word after --wait is a duration, and arguments come before it")
    })
}

/// A key that tells dispatches apart.
pub(crate) fn key(text: &str) -> Result<String, String> {
    match text {
        "" => Err("empty; all dispatches with the empty key would be one".to_owned()),
        key => Ok(key.to_owned()),
    }
}

/// The name of a queue to write.
pub(crate) fn queue(text: &str) -> Result<String, String> {
    match text.len() {
        0 => Err("empty; give the name of a queue".to_owned()),
        long if long > NAME_BYTES_MAX => {
            Err(format!("{long} bytes long; the name of a queue has at most {NAME_BYTES_MAX}"))
        }
        _ => Ok(text.to_owned()),
    }
}

/// A JSON value, exactly as it is written.
pub(crate) fn json(text: &str) -> Result<serde_json::Value, String> {
    exact::parse(text).map_err(|error| match error.classify() {
        // The text is JSON, but would change. It says what would, so the position says no more.
        Category::Data => {
            let text = error.to_string();
            text.rsplit_once(" at line ").map_or_else(|| text.clone(), |(problem, _)| problem.to_owned())
        }
        _ => format!("not JSON: {error}; texts need quotes, like '\"eu\"'"),
    })
}

/// A moment: a date, or how long ago.
pub(crate) fn past(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = text.into_duration() {
        return Ok(Timestamp::from(SystemTime::now()) - ago);
    }
    moment(text).map_err(|problem| format!("{problem}, or how long ago it was, like 2h"))
}

/// A moment as RFC 3339 writes it.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    match OffsetDateTime::parse(text, &Rfc3339) {
        Ok(moment) => Ok(moment.into()),
        Err(_) => Err("not a moment; write it like 2026-11-30T20:00:00Z".to_owned()),
    }
}

/// The words for an execution's status.
pub(crate) fn status() -> impl TypedValueParser<Value = ExecutionStatus> {
    let words = ExecutionStatus::ALL.iter().map(|status| status.as_str());
    PossibleValuesParser::new(words).try_map(|word| word.parse::<ExecutionStatus>())
}

/// The words for a task's status.
pub(crate) fn task_status() -> impl TypedValueParser<Value = TaskStatus> {
    let words = TaskStatus::ALL.iter().map(|status| status.as_str());
    PossibleValuesParser::new(words).try_map(|word| word.parse::<TaskStatus>())
}

/// The word for a worker that fell silent without having stopped. No worker says this of itself.
pub(crate) const DEAD: &str = "dead";

/// The words for a worker's state.
pub(crate) fn worker_state() -> PossibleValuesParser {
    PossibleValuesParser::new(WorkerState::ALL.iter().map(|state| state.as_str()).chain([DEAD]))
}
