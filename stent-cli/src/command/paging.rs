//! Reads lists page by page: bounded, without a gap and without an entry twice.

use stent::backend::limits::PAGE_MAX;
use stent::view::{DeadLetter, ExecutionView, Filter};
use stent::{ExecutionId, Stent};

use crate::cli::{Dead, Part, Select};
use crate::fault::{Fault, Result};

/// Fewest entries that a filtered read asks for at once: most of them may not match.
const FILTERED_MIN: usize = 100;

/// The part of a list that was asked for.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// Whether the list goes on.
    pub(crate) more: bool,
}

impl Part {
    pub(crate) const fn first(limit: usize) -> Self {
        Self { before: None, offset: 0, limit }
    }
}

/// The library's filter for the options.
pub(crate) fn filter(select: &Select) -> Filter {
    let Select { status, function, queue, tag, key, since, until } = select;
    let filter = status.iter().fold(Filter::default(), |filter, status| filter.status(*status));
    let filter = function.iter().fold(filter, Filter::function);
    let filter = queue.iter().fold(filter, Filter::queue);
    let filter = tag.iter().fold(filter, Filter::tag);
    let filter = function.iter().zip(key).fold(filter, |filter, (function, key)| filter.key(function, key));
    let filter = since.iter().fold(filter, |filter, since| filter.since(*since));
    until.iter().fold(filter, |filter, until| filter.until(*until))
}

/// Whether no option chooses among executions.
pub(crate) const fn selects_all(select: &Select) -> bool {
    // A key comes with its function.
    let Select { status, function, queue, tag, key: _, since, until } = select;
    status.is_none()
        && function.is_none()
        && queue.is_none()
        && tag.is_none()
        && since.is_none()
        && until.is_none()
}

/// Checks that a period does not end before it begins: nothing could match, which would look like good news.
pub(crate) fn check_period(select: &Select) -> Result<()> {
    match (select.since, select.until) {
        (Some(since), Some(until)) if since >= until => {
            Err(Fault::usage(format!("--since ({since}) is not before --until ({until})"))
                .hint("durations count back from now: --since 2h --until 1h is the hour before the last one"))
        }
        _ => Ok(()),
    }
}

/// Reads executions, newest first.
pub(crate) async fn executions(stent: &Stent, filter: &Filter, part: Part) -> Result<Page<ExecutionView>> {
    let inspect = stent.inspect();
    let read = async |before: Option<ExecutionId>, max: usize| -> Result<Vec<_>> {
        Ok(inspect.list(filter, before, max).await?)
    };
    // Stores may drop entries of a page that match a tag only in part, so a short page is not the last one then.
    collect(read, |view| view.id, |_| true, filter.tag.is_none(), 1, part).await
}

/// Reads dead letters, newest first. The store knows no filter for them, so all are read until enough match.
pub(crate) async fn dead_letters(stent: &Stent, dead: &Dead, part: Part) -> Result<Page<DeadLetter>> {
    let letters = stent.dead_letters();
    let read = async |before: Option<ExecutionId>, max: usize| -> Result<Vec<_>> {
        Ok(letters.list(before, max).await?)
    };
    let least = if matches_all(dead) { 1 } else { FILTERED_MIN };
    collect(read, |letter| letter.execution.id, |letter| matches(dead, letter), true, least, part).await
}

pub(crate) const fn matches_all(dead: &Dead) -> bool {
    let Dead { function, reason, queue, tag } = dead;
    function.is_none() && reason.is_none() && queue.is_none() && tag.is_none()
}

fn matches(dead: &Dead, letter: &DeadLetter) -> bool {
    let execution = &letter.execution;
    let kind =
        execution.result.as_ref().and_then(|result| result.as_ref().err()).map(|failure| &failure.kind);
    dead.function.as_ref().is_none_or(|function| execution.function == *function)
        && dead.queue.as_ref().is_none_or(|queue| execution.queue == *queue)
        && dead.tag.as_ref().is_none_or(|tag| execution.tags.contains(tag))
        && dead.reason.as_ref().is_none_or(|reason| kind.is_some_and(|kind| kind.is(reason)))
}

async fn collect<T>(
    read: impl AsyncFn(Option<ExecutionId>, usize) -> Result<Vec<T>>,
    id: impl Fn(&T) -> ExecutionId,
    fits: impl Fn(&T) -> bool,
    short_is_last: bool,
    least: usize,
    part: Part,
) -> Result<Page<T>> {
    let Part { mut before, mut offset, limit } = part;
    let mut items = Vec::new();
    loop {
        // One more than asked for tells whether the list goes on.
        let wanted = offset.saturating_add(limit).saturating_add(1) - items.len();
        let max = wanted.clamp(least, PAGE_MAX);
        let page = read(before, max).await?;
        let is_last = page.is_empty() || (short_is_last && page.len() < max);
        before = page.last().map(&id).or(before);
        for item in page.into_iter().filter(&fits) {
            if offset > 0 {
                offset -= 1;
            } else if items.len() == limit {
                return Ok(Page { items, more: true });
            } else {
                items.push(item);
            }
        }
        if is_last {
            return Ok(Page { items, more: false });
        }
    }
}
