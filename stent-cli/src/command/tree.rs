//! The tasks of an execution as a tree, each with its state and what it waits for.

use std::collections::HashMap;

use stent::backend::model::TaskResult;
use stent::view::{Mark, StepKind, TaskStatus, TaskView};
use stent::{Payload, TaskId, Timestamp};

use super::show::{fit, heading};
use crate::fault::Result;
use crate::out::Out;
use crate::payload;
use crate::text::{clock, due, duration, plain, task_colour, took};

/// Names of steps that a line has room for.
const NAMES: usize = 3;

/// Facts about tasks beyond their views.
#[derive(Debug, Default)]
pub(crate) struct Details {
    pub(crate) args: HashMap<TaskId, Payload>,
    pub(crate) results: HashMap<TaskId, TaskResult>,
}

/// A tree to draw.
#[derive(Debug)]
pub(crate) struct Tree<'a> {
    pub(crate) tasks: &'a [TaskView],
    pub(crate) details: &'a Details,
    pub(crate) ids: bool,
    pub(crate) now: Timestamp,
}

/// Tasks by their parents, in the order of their positions.
type Below<'a> = HashMap<Option<TaskId>, Vec<&'a TaskView>>;

impl Tree<'_> {
    pub(crate) fn draw(&self, out: &mut Out) -> Result<()> {
        heading("TASKS", out)?;
        let below = by_parent(self.tasks);
        // A loop and not a recursion: an execution may be deeper than a stack.
        let mut open: Vec<(&TaskView, String, String)> = Vec::new();
        for root in below.get(&None).into_iter().flatten().rev() {
            open.push((*root, String::new(), String::new()));
        }
        while let Some((task, before, under)) = open.pop() {
            let children = below.get(&Some(task.id)).map_or(&[][..], Vec::as_slice);
            self.line(task, children, &before, &under, out)?;
            for (n, child) in children.iter().enumerate().rev() {
                let (branch, rest) =
                    if n + 1 == children.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
                open.push((*child, format!("{under}{branch}"), format!("{under}{rest}")));
            }
        }
        Ok(())
    }

    fn line(
        &self,
        task: &TaskView,
        children: &[&TaskView],
        before: &str,
        under: &str,
        out: &mut Out,
    ) -> Result<()> {
        let mut line = format!("{before}{} {}", icon(task), name(task));
        let stands = stands(task, children, self.now);
        if !stands.is_empty() {
            line += &format!("  {stands}");
        }
        if self.ids {
            line += &format!("  {}", task.id);
        }
        let line = fit(&line, out);
        out.line(if out.colour { coloured(&line, task) } else { line })?;
        let mut value = |name: &str, text: String| {
            let bar = if children.is_empty() { "  " } else { "│ " };
            let line = fit(&format!("{under}{bar}{name} {text}"), out);
            out.line(line)
        };
        if let Some(args) = self.details.args.get(&task.id) {
            value("args", payload::text(args))?;
        }
        match self.details.results.get(&task.id) {
            Some(Ok(result)) if !result.is_empty() => value("result", payload::text(result))?,
            Some(Ok(_) | Err(_)) | None => {}
        }
        Ok(())
    }
}

pub(crate) fn by_parent(tasks: &[TaskView]) -> Below<'_> {
    let mut below: Below<'_> = HashMap::new();
    for task in tasks {
        below.entry(task.parent).or_default().push(task);
    }
    below.values_mut().for_each(|tasks| tasks.sort_by_key(|task| (task.seq, task.created_at)));
    below
}

/// The icon in the colour of the task's status.
fn coloured(line: &str, task: &TaskView) -> String {
    let icon = icon(task);
    line.replacen(icon, &task_colour(task.status).paint(icon), 1)
}

pub(crate) fn icon(task: &TaskView) -> &'static str {
    match task.status {
        _ if task.marks.contains(Mark::Hit) => "⚡",
        TaskStatus::Completed => "✓",
        TaskStatus::Failed => "✗",
        TaskStatus::Running => "▶",
        TaskStatus::Pending => "○",
        TaskStatus::Waiting => "◷",
        TaskStatus::Cancelled => "⊘",
    }
}

/// The task's name, with its kind where the name does not say it.
pub(crate) fn name(task: &TaskView) -> String {
    let name = plain(&task.name);
    match task.kind {
        StepKind::Call | StepKind::Sleep => name,
        kind if name == kind.as_str() => name,
        kind => format!("{kind} {name}"),
    }
}

/// How a task stands, with what it waits for.
pub(crate) fn stands(task: &TaskView, children: &[&TaskView], now: Timestamp) -> String {
    let mut parts = Vec::new();
    let took = took(task.started_at, task.ended_at, now);
    match task.status {
        TaskStatus::Completed | TaskStatus::Failed | TaskStatus::Cancelled => {
            parts.push(task.status.as_str().to_owned());
            parts.extend(Some(took).filter(|took| !took.is_empty()));
        }
        TaskStatus::Running => parts.push(format!("running {took}")),
        TaskStatus::Pending => parts.push(match task.ready_at {
            Some(at) if at > now => format!("pending, due {}", due(at, now)),
            // A task that was delayed has waited for a worker only since it became due.
            since => format!("pending for {}", duration(now.since(since.unwrap_or(task.created_at)))),
        }),
        TaskStatus::Waiting => parts.push(waits(task, children, now)),
    }
    if let Some(map) = task.map {
        let of = map.total.map_or_else(|| format!("{}+", map.fed), |total| total.to_string());
        parts.push(format!("{}/{of} items", map.done));
    }
    if task.attempts > 0 {
        parts.push(format!("{} failed", times(task.attempts, "attempt")));
    }
    if task.crashes > 0 {
        parts.push(times(task.crashes, "crash"));
    }
    for mark in task.marks.iter() {
        parts.push(
            match mark {
                Mark::Hit => "result of an equal call",
                Mark::Cancel if task.status.is_terminal() => continue,
                Mark::Cancel => "asked to end",
                Mark::Expire => "its deadline passed",
                Mark::Redrive => "retried as a dead letter",
                Mark::Discard => "discarded",
            }
            .to_owned(),
        );
    }
    if let Some(failure) = &task.failure {
        parts.push(plain(failure.lines().next().unwrap_or_default()));
    }
    parts.join(", ")
}

/// The reason why a parked task waits.
fn waits(task: &TaskView, children: &[&TaskView], now: Timestamp) -> String {
    let until = task.ready_at.map(|at| format!("{} ({})", clock(at), due(at, now)));
    match (task.kind, until) {
        (StepKind::Sleep, Some(until)) => format!("until {until}"),
        (StepKind::Signal, _) => "waits for a value".to_owned(),
        (StepKind::Join, _) => "waits for the end of an execution".to_owned(),
        (StepKind::Map | StepKind::Gather, _) => "waits for its items".to_owned(),
        (_, until) => {
            let open: Vec<_> = children.iter().filter(|child| !child.status.is_terminal()).collect();
            let mut names: Vec<_> = open.iter().take(NAMES).map(|child| name(child)).collect();
            if open.len() > NAMES {
                names.push(format!("{} more", open.len() - NAMES));
            }
            match (names.is_empty(), until) {
                (false, _) => format!("waits for {}", names.join(", ")),
                (true, Some(until)) => format!("waiting, due {until}"),
                (true, None) => "waiting".to_owned(),
            }
        }
    }
}

fn times(n: u32, noun: &str) -> String {
    let plural = if noun.ends_with("sh") { "es" } else { "s" };
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}{plural}") }
}
