//! Values of the command line, each with an error that says what would be right.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;
use serde_json::error::Category;
use stent::units::IntoDuration as _;
use stent::view::TaskStatus;
use stent::{ExecutionId, ExecutionStatus, TaskId, Timestamp, WorkerState};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::exact;

const ID: &str = "ids look like 0192f3c8-5d1e-7a40-8c31-000000000000; `stent list` shows them";

pub(crate) fn execution(text: &str) -> Result<ExecutionId, String> {
    ExecutionId::from_str(text.trim()).map_err(|error| format!("not an id: {error}; {ID}"))
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
