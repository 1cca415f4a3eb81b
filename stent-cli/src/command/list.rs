//! `stent list`: executions, newest first.

use stent::view::ExecutionView;
use stent::{Stent, Timestamp};

use super::paging;
use crate::cli::List;
use crate::fault::Result;
use crate::json;
use crate::out::{Out, tell};
use crate::table::Table;
use crate::text::{execution_status, moment, took};

pub(crate) async fn run(stent: &Stent, args: &List, out: &mut Out) -> Result<()> {
    let page = paging::executions(stent, &paging::filter(&args.select), args.part).await?;
    let now = stent.store().clock().await?;
    out.list(&page.items, json::execution, |items| table(items, now))?;
    out.flush()?;
    match page.items.last() {
        None => tell("no executions match"),
        Some(last) if page.more => tell(format!("hint: there are more; the next page: --before {}", last.id)),
        Some(_) => {}
    }
    Ok(())
}

/// Executions as a table.
pub(crate) fn table(executions: &[ExecutionView], now: Timestamp) -> Table {
    let table = Table::new().column("ID").column("STATUS").wide("FUNCTION", 10).wide("QUEUE", 7);
    // Lists are in the order of dispatch, and what waits has no other moment.
    let mut table = table.column("DISPATCHED").number("DURATION");
    for view in executions {
        table.row([
            view.id.to_string().into(),
            execution_status(view.status),
            (&view.function).into(),
            (&view.queue).into(),
            moment(view.created_at).into(),
            took(view.started_at, view.ended_at, now).into(),
        ]);
    }
    table
}
