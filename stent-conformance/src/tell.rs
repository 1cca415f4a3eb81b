//! Requests to a store and its answers, as readable lines.
//!
//! Ids and moments have no meaning outside of their case: `#3` is the third id that the case drew, `t+5s` is five seconds after
//! the case began.

use std::fmt::{self, Write};

use stent_core::backend::{ClaimRequest, Exchanged};
use stent_core::model::{NewTask, NewTaskState, StepKind, Wait};
use stent_core::transition::{
    Action, Commit, Dispatch, Expire, News, Next, Outcome, Postpone, Request, Transition, Unpark,
};

use crate::task::{id, t};

/// Characters of a key: enough to distinguish the keys of a case.
const KEY_LENGTH: usize = 6;

/// A transition and its outcome.
pub(crate) fn commit(transition: &Transition, outcome: &Outcome) -> String {
    let mut line = String::new();
    // Writing to a string cannot fail.
    let _ = write!(line, "{}: ", Subject(transition));
    let _ = write!(line, "{}", Verb(transition));
    for new in transition.rows() {
        let _ = write!(line, ", writes {}", Row(new));
    }
    if let Some(commit) = transition.commit() {
        for feed in &commit.feed {
            let _ = write!(line, ", feeds {} to {}", feed.map, feed.fed);
            let _ = feed.total.map_or(Ok(()), |total| write!(line, " of {total}"));
        }
        for (what, tasks) in
            [("fires", &commit.fire), ("gives up", &commit.cancel), ("erases", &commit.erase)]
        {
            for task in tasks {
                let _ = write!(line, ", {what} {task}");
            }
        }
        for said in &commit.notes {
            let _ = write!(line, ", says {:?} for {}", said.note, said.task);
        }
    }
    let _ = write!(line, "; at {}", transition.at());
    let _ = transition.commit().map_or(Ok(()), |commit| write!(line, ", {} seen", commit.seen));
    let _ = write!(line, "\n      -> {}", Answer(outcome));
    line
}

/// A claim and its result.
pub(crate) fn claim(request: &ClaimRequest<'_>, exchanged: &Exchanged) -> String {
    let mut line = format!("claim {} of {:?}", request.max, request.functions);
    if let Some(queues) = request.queues {
        let _ = write!(line, " on {queues:?}");
    }
    if !request.tags.is_empty() {
        let _ = write!(line, " with {:?}", request.tags);
    }
    for limit in request.limits {
        let _ = write!(line, ", {}", limit.function);
        let _ = limit.max_concurrent.map_or(Ok(()), |max| write!(line, " at most {max}"));
        let _ = limit.rate.map_or(Ok(()), |rate| write!(line, " at {rate:?}"));
    }
    let _ = write!(line, "; at {} until {}\n      ->", request.now, request.until);
    for claimed in &exchanged.claimed {
        let _ = write!(line, " {} in epoch {},", claimed.task.id, claimed.lease.epoch);
    }
    if exchanged.claimed.is_empty() {
        line.push_str(" nothing,");
    }
    for expired in &exchanged.expired {
        let _ = write!(line, " {} is over,", expired.task);
    }
    for task in &exchanged.stopping {
        let _ = write!(line, " {task} is to end,");
    }
    match exchanged.next_due {
        Some(next) => line.extend([" next at ", &next.to_string()]),
        None => line.push_str(" nothing due later"),
    }
    line
}

/// Shortens the ids and moments of a case, wherever they occur in a text.
pub(crate) fn short(text: &str) -> String {
    let (first, zero) = (id(0).to_string(), t(0).to_string());
    // Ids of a case differ only in their last group, moments only after the date.
    let (ids, day) = (&first[..first.len() - 12], &zero[..11]);
    let mut short = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = [ids, day].iter().filter_map(|begin| rest.find(begin)).min() {
        short.push_str(&rest[..at]);
        rest = &rest[at..];
        let (word, end) = numbered(rest, ids)
            .or_else(|| moment(rest, day, &zero))
            .unwrap_or_else(|| (rest[..day.len()].to_owned(), day.len()));
        rest = &rest[end..];
        let wrapper = ["TaskId(", "ExecutionId(", "WorkerId("].into_iter().find(|name| short.ends_with(name));
        if let Some((wrapper, inner)) = wrapper.zip(rest.strip_prefix(')')) {
            short.truncate(short.len() - wrapper.len());
            rest = inner;
        }
        short.push_str(&word);
    }
    short + rest
}

/// `#3` for the third id, and the length that it had in the text.
fn numbered(text: &str, ids: &str) -> Option<(String, usize)> {
    let end = ids.len() + 12;
    let n = u64::from_str_radix(text.strip_prefix(ids)?.get(..12)?, 16).ok()?;
    Some((format!("#{n}"), end))
}

/// `t+5s` for a moment of the first day, and the length that it had in the text.
fn moment(text: &str, day: &str, zero: &str) -> Option<(String, usize)> {
    let time = text.strip_prefix(day)?;
    let end = time.find('Z')?;
    let (clock, fraction) = time[..end].split_once('.')?;
    if !zero.ends_with(&format!(".{fraction}Z")) {
        return None;
    }
    let mut parts = clock.split(':').map(str::parse::<u32>);
    let mut next = || parts.next()?.ok();
    let seconds = (next()? * 60 + next()?) * 60 + next()?;
    Some((format!("t+{seconds}s"), day.len() + end + 1))
}

/// The task that a transition changes.
struct Subject<'a>(&'a Transition);

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Transition::Dispatch(Dispatch { root, key: None, .. }) => write!(f, "{}", root.id),
            Transition::Dispatch(Dispatch { root, key: Some(key), .. }) => {
                write!(f, "{} unless under key {:.KEY_LENGTH$}", root.id, key.to_string())
            }
            Transition::Commit(Commit { fence, .. }) => {
                write!(f, "{} in epoch {} after {} commits", fence.task, fence.epoch, fence.commit)
            }
            Transition::Request(Request { execution, .. }) => write!(f, "{execution} from outside"),
            Transition::Expire(Expire { task, .. }) => write!(f, "{task} from outside"),
            Transition::Import(import) => write!(f, "{} from another store", import.execution),
            Transition::Unpark(Unpark { task, epoch, .. })
            | Transition::Postpone(Postpone { task, epoch, .. }) => {
                write!(f, "{task} parked in epoch {epoch}")
            }
        }
    }
}

/// The change.
struct Verb<'a>(&'a Transition);

impl fmt::Display for Verb<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Transition::Dispatch(_) => f.write_str("starts"),
            Transition::Commit(commit) => match &commit.next {
                Next::Keep => f.write_str("goes on"),
                Next::Park(Wait { done, until, maps }) => {
                    write!(f, "parks for {done} completions")?;
                    until.map_or(Ok(()), |until| write!(f, " or {until}"))?;
                    maps.iter().try_for_each(|map| write!(f, " or {} items of {}", map.done, map.map))
                }
                Next::Retry { ready_at, failure } => write!(f, "tries again at {ready_at} after {failure:?}"),
                Next::Redo => f.write_str("does the failed step again"),
                Next::End(Ok(result)) => write!(f, "ends with {result:?}"),
                Next::End(Err(failure)) => write!(f, "fails with {failure:?}"),
                Next::Release => f.write_str("is handed back"),
            },
            Transition::Unpark(_) => f.write_str("is woken by its own code"),
            Transition::Postpone(Postpone { from, until, .. }) => {
                write!(f, "is due at {until} and not at {from}")
            }
            Transition::Expire(_) => f.write_str("is over"),
            Transition::Import(import) => write!(f, "arrives with {} tasks", import.tasks.len()),
            Transition::Request(request) => match &request.action {
                Action::Cancel { until } => write!(f, "is asked to end until {until}"),
                Action::Signal { name, id, value, .. } => write!(f, "signal {name:?} {id} with {value:?}"),
                Action::Redrive { retry, queue } => {
                    write!(f, "is tried again by {retry:?}")?;
                    queue.as_ref().map_or(Ok(()), |queue| write!(f, " on queue {queue:?}"))
                }
                Action::Discard => f.write_str("is seen to"),
            },
        }
    }
}

/// A row that the transition writes.
struct Row<'a>(&'a NewTask);

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let new = self.0;
        let name = if new.kind == StepKind::Call { "" } else { new.kind.as_str() };
        write!(f, "{name}{}{} {}", if name.is_empty() { "" } else { " " }, new.lane.function, new.id)?;
        match &new.state {
            NewTaskState::Pending { ready_at } => write!(f, " due {ready_at}")?,
            NewTaskState::Leased { until, .. } => write!(f, " leased until {until}")?,
            NewTaskState::Timer { due } => write!(f, " due {due}")?,
            NewTaskState::Map | NewTaskState::Signal => {}
            NewTaskState::Join { execution } => write!(f, " of {execution}")?,
            NewTaskState::Done { result: Ok(_), .. } => f.write_str(" done")?,
            NewTaskState::Done { result: Err(failure), .. } => write!(f, " failed {}", failure.kind)?,
        }
        if new.priority != 0 {
            write!(f, " priority {}", new.priority)?;
        }
        if !new.lane.queue.is_empty() && new.lane.queue != stent_core::model::Lane::DEFAULT_QUEUE {
            write!(f, " on {}", new.lane.queue)?;
        }
        if !new.lane.tags.is_empty() {
            write!(f, " tags {:?}", new.lane.tags)?;
        }
        if let Some(keyed) = &new.keyed {
            write!(f, " key {:.KEY_LENGTH$}", keyed.key.to_string())?;
            keyed.ttl.map_or(Ok(()), |ttl| write!(f, " for {ttl:?}"))?;
        }
        new.expires_at.map_or(Ok(()), |expires_at| write!(f, " over {expires_at}"))
    }
}

/// The store's answer.
struct Answer<'a>(&'a Outcome);

impl fmt::Display for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, News { done, steps, stopped, replaced }) = match self.0 {
            Outcome::Applied(news) => ("Applied", news),
            Outcome::Already(news) => ("Already", news),
            other => return write!(f, "{other:?}"),
        };
        write!(f, "{word}, {done} done")?;
        for step in steps {
            write!(f, ", {} is {:?}", step.id, step.state)?;
        }
        f.write_str(if *stopped { ", stopped" } else { "" })?;
        f.write_str(if *replaced { ", another value replaced" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_moments_are_short() {
        let text = format!("{:?} at {} then {:?}, {}", id(3), t(3_725), id(17).execution(), id(4));
        assert_eq!(short(&text), "#3 at t+3725s then #17, #4");
    }

    #[test]
    fn what_only_looks_like_one_stays() {
        let first = id(1).to_string();
        let cut = &first[..first.len() - 5];
        for text in ["", "2025-11-21T", "2025-11-21T00:00:00Z", "1970-01-01T00:00:00Z", cut, "é"] {
            assert_eq!(short(text), text);
        }
    }
}
