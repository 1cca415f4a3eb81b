//! `stent stats`: counts, which the store makes.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stent::backend::limits::COUNT_MAX;
use stent::view::LaneView;
use stent::{ExecutionStatus, Stent, Timestamp};

use super::tasks::running_table;
use crate::cli::Format;
use crate::fault::Result;
use crate::json;
use crate::out::Out;
use crate::table::{Cell, Table};
use crate::text::{bar, duration, execution_status};

/// Most running tasks that are shown.
const RUNNING_SHOWN: usize = 10;

/// Most blocks of a bar.
const BAR: usize = 30;

/// The waiting work of a queue.
#[derive(Debug, Default)]
struct Queue {
    due: u64,
    delayed: u64,
    oldest: Option<Timestamp>,
}

pub(crate) async fn run(stent: &Stent, out: &mut Out) -> Result<()> {
    let inspect = stent.inspect();
    let counts = inspect.count().await?;
    let dead: u64 = stent.dead_letters().stats().await?.iter().map(|stat| stat.count).sum();
    let queues = by_queue(&inspect.lanes().await?);
    let mut running = inspect.running(RUNNING_SHOWN + 1).await?;
    let more = running.len() > RUNNING_SHOWN;
    running.truncate(RUNNING_SHOWN);
    let now = stent.store().clock().await?;

    if out.format != Format::Table {
        return out.json(&json!({
            "executions": all(&counts).map(|(status, count)| (status.as_str().to_owned(), count.into()))
                .collect::<serde_json::Map<_, Value>>(),
            "dead_letters": dead,
            "queues": queues.iter().map(|(name, queue)| json!({
                "queue": name,
                "due": queue.due,
                "delayed": queue.delayed,
                "oldest_due_at": json::moment(queue.oldest),
            })).collect::<Vec<_>>(),
            "running": running.iter().map(json::running).collect::<Vec<_>>(),
        }));
    }

    let mut table = Table::new().column("EXECUTIONS").number("COUNT");
    for (status, count) in all(&counts) {
        table.row([execution_status(status), counted(count).into()]);
    }
    table.row(["total".into(), counts.values().sum::<u64>().to_string().into()]);
    table.row(["dead letters".into(), dead.to_string().into()]);
    out.table(&table)?;

    if !queues.is_empty() {
        let most = queues.values().map(|queue| queue.due).max().unwrap_or(0);
        let mut table =
            Table::new().wide("QUEUE", 8).number("DUE").number("DELAYED").number("OLDEST").wide("", 1);
        for (name, queue) in &queues {
            table.row([
                Cell::from(name),
                queue.due.to_string().into(),
                queue.delayed.to_string().into(),
                queue.oldest.map(|at| duration(now.since(at))).unwrap_or_default().into(),
                bar(queue.due, most, BAR).into(),
            ]);
        }
        out.line("")?;
        out.table(&table)?;
    }
    if !running.is_empty() {
        out.line("")?;
        out.table(&running_table(&running, now))?;
    }
    if more {
        out.line("… and more: `stent tasks` shows them")?;
    }
    Ok(())
}

/// Every status with its count.
fn all(counts: &BTreeMap<ExecutionStatus, u64>) -> impl Iterator<Item = (ExecutionStatus, u64)> + '_ {
    ExecutionStatus::ALL.iter().map(|status| (*status, counts.get(status).copied().unwrap_or(0)))
}

/// A count, with a sign if the store stopped counting there.
fn counted(count: u64) -> String {
    if count >= COUNT_MAX as u64 { format!("{count}+") } else { count.to_string() }
}

fn by_queue(lanes: &[LaneView]) -> BTreeMap<String, Queue> {
    let mut queues: BTreeMap<String, Queue> = BTreeMap::new();
    for view in lanes {
        let queue = queues.entry(view.lane.queue.clone()).or_default();
        queue.due += view.due;
        queue.delayed += view.delayed;
        queue.oldest = queue.oldest.into_iter().chain(view.oldest_due_at).min();
    }
    queues
}
