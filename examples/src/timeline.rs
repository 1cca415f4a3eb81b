//! The tasks of an execution as a readable table.

use std::io::{self, Write};

use stent::view::{StepKind, TaskView};

const HEADS: [&str; 8] = ["seq", "kind", "name", "status", "attempts", "start", "duration", "last failure"];

/// Writes a line per task: children are indented below their parent, in the order in which its code asked for them. Moments
/// count from the start of the execution.
///
/// # Errors
/// Those of the writer.
pub fn write(tasks: &[TaskView], mut out: impl Write) -> io::Result<()> {
    let mut rows = vec![HEADS.map(ToOwned::to_owned)];
    if let Some(root) = tasks.iter().find(|task| task.parent.is_none()) {
        add(&mut rows, tasks, root, root, 0);
    }
    let widths: [usize; HEADS.len()] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    for row in rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn add(
    rows: &mut Vec<[String; HEADS.len()]>,
    tasks: &[TaskView],
    root: &TaskView,
    task: &TaskView,
    depth: usize,
) {
    rows.push([
        task.seq.to_string(),
        task.kind.to_string(),
        format!("{:indent$}{}", "", task.name, indent = depth * 2),
        task.status.to_string(),
        attempts(task),
        since(root, task),
        duration(task),
        task.failure.clone().unwrap_or_default(),
    ]);
    let mut children: Vec<_> = tasks.iter().filter(|child| child.parent == Some(task.id)).collect();
    children.sort_by_key(|child| child.seq);
    for child in children {
        add(rows, tasks, root, child, depth + 1);
    }
}

/// The number of failed attempts plus the current one. Only calls are retried.
fn attempts(task: &TaskView) -> String {
    match task.kind {
        StepKind::Call => (task.attempts + 1).to_string(),
        StepKind::Sleep
        | StepKind::Inline
        | StepKind::Map
        | StepKind::Gather
        | StepKind::Signal
        | StepKind::Spawn
        | StepKind::Join => "-".to_owned(),
    }
}

fn since(root: &TaskView, task: &TaskView) -> String {
    format!("{:.3}s", task.created_at.since(root.created_at).as_secs_f64())
}

/// Counted from the moment of the request, so it includes retries and waiting.
fn duration(task: &TaskView) -> String {
    task.ended_at
        .map_or_else(|| "-".to_owned(), |ended| format!("{:.3}s", ended.since(task.created_at).as_secs_f64()))
}
