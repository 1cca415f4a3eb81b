//! `stent queues`: the work that waits for a worker.

use stent::view::LaneView;
use stent::{Stent, Timestamp};

use crate::cli::Queues;
use crate::fault::Result;
use crate::json;
use crate::out::{Out, tell};
use crate::table::Table;
use crate::text::{duration, words};

pub(crate) async fn run(stent: &Stent, args: &Queues, out: &mut Out) -> Result<()> {
    let mut lanes = stent.inspect().lanes().await?;
    let fits = |asked: &Option<String>, name: &str| asked.as_ref().is_none_or(|asked| asked == name);
    lanes.retain(|view| fits(&args.queue, &view.lane.queue) && fits(&args.function, &view.lane.function));
    let now = stent.store().clock().await?;
    out.list(&lanes, json::lane, |lanes| table(lanes, now))?;
    if lanes.is_empty() {
        out.flush()?;
        tell("no work waits for a worker");
    }
    Ok(())
}

fn table(lanes: &[LaneView], now: Timestamp) -> Table {
    let table = Table::new().wide("QUEUE", 8).wide("FUNCTION", 10).wide("TAGS", 6);
    let mut table = table.number("DUE").number("DELAYED").number("OLDEST");
    for view in lanes {
        table.row([
            (&view.lane.queue).into(),
            (&view.lane.function).into(),
            words(&view.lane.tags).into(),
            view.due.to_string().into(),
            view.delayed.to_string().into(),
            view.oldest_due_at.map(|at| duration(now.since(at))).unwrap_or_default().into(),
        ]);
    }
    table
}
