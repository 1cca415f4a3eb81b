//! `stent show --timeline`: a bar for each task, over the life of its execution.

use stent::Timestamp;
use stent::view::{StepKind, TaskStatus, TaskView};
use unicode_width::UnicodeWidthStr as _;

use super::show::{fit, heading};
use super::tree::{by_parent, icon, name};
use crate::fault::Result;
use crate::out::Out;
use crate::text::{clock, cut, duration, task_colour, took};

/// The width of a drawing that is not for a terminal.
const WIDTH: usize = 100;

/// Least columns of a bar, and most of a name.
const BAR_MIN: usize = 10;
const NAME_MAX: usize = 32;

/// Columns for a duration.
const TOOK: usize = 7;

/// Draws each task: `·` while it waited to start, `█` while it ran or was parked, `─` while time passed in a sleep or a
/// wait; failures `▒`, and what was cancelled `░`.
pub(crate) fn draw(
    tasks: &[TaskView],
    from: Timestamp,
    ended: Option<Timestamp>,
    now: Timestamp,
    out: &mut Out,
) -> Result<()> {
    // Clocks of workers may be ahead of the store's.
    let last = tasks.iter().flat_map(|task| [task.started_at, task.ended_at]).flatten().max();
    let to = ended.unwrap_or(now).max(last.unwrap_or(from));
    let scale = Scale { from, to };
    let span = format!("TIMELINE  {} to {}, {}", clock(from), clock(to), duration(to.since(from)));
    heading(&fit(&span, out), out)?;

    let rows = rows(tasks);
    let width = out.width.unwrap_or(WIDTH);
    let names = rows.iter().map(|(depth, task)| 2 * depth + 2 + name(task).width()).max().unwrap_or(0);
    let names = names.min(NAME_MAX).min(width.saturating_sub(BAR_MIN + TOOK + 2)).max(4);
    let bar = width.saturating_sub(names + TOOK + 2).max(BAR_MIN);
    for (depth, task) in rows {
        let label = format!("{}{} {}", "  ".repeat(depth), icon(task), name(task));
        let label = cut(&label, names);
        let pad = " ".repeat(names - label.width());
        let drawn = scale.bar(task, bar, now);
        let drawn = if out.colour { task_colour(task.status).paint(&drawn) } else { drawn };
        let took = took(task.started_at, task.ended_at, now);
        out.line(format!("{label}{pad} {drawn} {took:>TOOK$}").trim_end())?;
    }
    Ok(())
}

/// The tasks with their depths, each before those below it.
fn rows(tasks: &[TaskView]) -> Vec<(usize, &TaskView)> {
    let below = by_parent(tasks);
    let mut rows = Vec::new();
    let mut open: Vec<_> = below.get(&None).into_iter().flatten().rev().map(|task| (0, *task)).collect();
    while let Some((depth, task)) = open.pop() {
        rows.push((depth, task));
        let children = below.get(&Some(task.id)).into_iter().flatten();
        open.extend(children.rev().map(|child| (depth + 1, *child)));
    }
    rows
}

/// A span of time.
#[derive(Clone, Copy, Debug)]
struct Scale {
    from: Timestamp,
    to: Timestamp,
}

impl Scale {
    /// The column of a moment.
    fn column(self, at: Timestamp, width: usize) -> usize {
        let (all, part) = (self.to.since(self.from).as_micros().max(1), at.since(self.from).as_micros());
        // The width is that of a terminal, so the product cannot overflow.
        ((part * width as u128 / all) as usize).min(width)
    }

    fn bar(self, task: &TaskView, width: usize, now: Timestamp) -> String {
        let end = task.ended_at.unwrap_or(now);
        let created = self.column(task.created_at, width).min(width - 1);
        let started = self.column(task.started_at.unwrap_or(end), width).clamp(created, width);
        // Also what took no time is seen.
        let ended = self.column(end, width).max(created + 1).max(started);
        let (started, ended) =
            if task.started_at.is_some() && started == ended { (ended - 1, ended) } else { (started, ended) };
        let passes = match (task.status, task.kind) {
            (TaskStatus::Failed, _) => '▒',
            (TaskStatus::Cancelled, _) => '░',
            (_, StepKind::Sleep | StepKind::Signal | StepKind::Join) => '─',
            _ => '█',
        };
        // Only calls wait for a worker; everything else begins when it is written.
        let waits = if task.kind == StepKind::Call { '·' } else { passes };
        let cell = |n| match n {
            n if n < created || n >= ended => ' ',
            n if n < started => waits,
            _ => passes,
        };
        (0..width).map(cell).collect()
    }
}
