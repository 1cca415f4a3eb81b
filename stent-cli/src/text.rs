//! Data as people read it: durations, moments, and texts without control characters.

use std::time::Duration;

use stent::view::TaskStatus;
use stent::{ExecutionStatus, Timestamp};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use unicode_width::UnicodeWidthChar as _;
use unicode_width::UnicodeWidthStr as _;

use crate::table::{Cell, Colour};

/// The text without characters that move the cursor, change colours or reverse the direction: data must not be able to
/// fake the output of this program.
pub(crate) fn plain(text: &str) -> String {
    let is_odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
    };
    if !text.contains(is_odd) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_odd(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// The text cut to this many columns, with an ellipsis for what is missing.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (mut shown, mut used) = (String::new(), 1);
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide > width {
            break;
        }
        shown.push(c);
        used += wide;
    }
    if width > 0 {
        shown.push('…');
    }
    shown
}

/// A moment to the second, in UTC: `2026-11-30 20:05:06Z`.
pub(crate) fn moment(at: Timestamp) -> String {
    let date = OffsetDateTime::from(at).replace_nanosecond(0).ok();
    match date.and_then(|date| date.format(&Rfc3339).ok()) {
        Some(text) => text.replacen('T', " ", 1),
        None => at.to_string(),
    }
}

/// The time of day of a moment, in UTC.
pub(crate) fn clock(at: Timestamp) -> String {
    moment(at).split_once(' ').map_or_else(|| moment(at), |(_, time)| time.to_owned())
}

/// A duration in its two largest units: `3m12s`, `2d4h`, `1.24s`, `45ms`.
pub(crate) fn duration(duration: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let seconds = duration.as_secs();
    if duration < Duration::from_millis(1) {
        return format!("{}us", duration.as_micros());
    }
    if seconds < 1 {
        return format!("{}ms", duration.as_millis());
    }
    if seconds < 10 {
        return format!("{:.2}s", duration.as_secs_f64());
    }
    let largest = UNITS.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(UNITS.len() - 1);
    let (unit, name) = UNITS[largest];
    let mut text = format!("{}{name}", seconds / unit);
    if let Some((smaller, name)) = UNITS.get(largest + 1)
        && seconds % unit / smaller > 0
    {
        text += &format!("{}{name}", seconds % unit / smaller);
    }
    text
}

/// How long something took, or has taken so far.
pub(crate) fn took(started: Option<Timestamp>, ended: Option<Timestamp>, now: Timestamp) -> String {
    started.map_or_else(String::new, |started| duration(ended.unwrap_or(now).since(started)))
}

/// When something is due, as seen from now: `in 3m12s`, or `since 5s`.
pub(crate) fn due(at: Timestamp, now: Timestamp) -> String {
    if at > now {
        format!("in {}", duration(at.since(now)))
    } else {
        format!("since {}", duration(now.since(at)))
    }
}

/// A count with its noun.
pub(crate) fn count(n: usize, noun: &str) -> String {
    match (n, noun) {
        (1, _) => format!("1 {noun}"),
        _ => format!("{n} {noun}s"),
    }
}

/// Tags as one text.
pub(crate) fn words<'a>(words: impl IntoIterator<Item = &'a String>) -> String {
    words.into_iter().map(String::as_str).collect::<Vec<_>>().join(",")
}

/// A bar of this share of a width.
pub(crate) fn bar(part: u64, whole: u64, width: usize) -> String {
    if part == 0 || whole == 0 {
        return String::new();
    }
    let blocks = (part as f64 / whole as f64 * width as f64).ceil();
    "█".repeat((blocks as usize).clamp(1, width.max(1)))
}

/// An execution's status as a cell.
pub(crate) fn execution_status(status: ExecutionStatus) -> Cell {
    Cell::from(status.as_str()).colour(match status {
        ExecutionStatus::Completed => Colour::Good,
        ExecutionStatus::Failed | ExecutionStatus::TimedOut => Colour::Bad,
        ExecutionStatus::Running => Colour::Busy,
        ExecutionStatus::Pending | ExecutionStatus::Cancelling => Colour::Waiting,
        ExecutionStatus::Cancelled => Colour::Dim,
    })
}

/// The colour of a task's status.
pub(crate) const fn task_colour(status: TaskStatus) -> Colour {
    match status {
        TaskStatus::Completed => Colour::Good,
        TaskStatus::Failed => Colour::Bad,
        TaskStatus::Running => Colour::Busy,
        TaskStatus::Pending | TaskStatus::Waiting => Colour::Waiting,
        TaskStatus::Cancelled => Colour::Dim,
    }
}
