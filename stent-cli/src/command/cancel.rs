//! `stent cancel`: by id, or by a filter.

use stent::view::ExecutionView;
use stent::{ExecutionId, ExecutionStatus, Stent};

use super::act::{self, Act};
use super::list;
use super::paging::{self, Page};
use crate::cli::{Cancel, Part, Select};
use crate::fault::{Fault, Result};
use crate::json;
use crate::out::Out;

const CANCEL: Act<'_> = Act {
    verb: "cancel",
    done: "cancelled",
    noun: "execution",
    rest: "run the command again for the others, or raise --max",
    place: "",
};

/// Checks before the store is opened that there are either ids or a filter.
pub(crate) fn check(args: &Cancel) -> Result<()> {
    if let Some(status) = args.select.status.filter(|status| status.is_terminal()) {
        return Err(Fault::usage(format!(
            "executions that are {status} have ended, and cannot be cancelled"
        ))
        .hint("use --status pending, running or cancelling"));
    }
    either(args.ids.is_empty(), &args.select)
}

/// Checks that there are either ids or a filter.
pub(crate) fn either(no_ids: bool, select: &Select) -> Result<()> {
    match (no_ids, paging::selects_all(select)) {
        (true, true) => Err(Fault::usage("no execution is named")
            .hint("name ids, or choose with --status, --function, --queue, --tag, --since or --until")),
        (false, false) => {
            Err(Fault::usage("ids and a filter exclude each other").hint("leave out one of them"))
        }
        (true, false) | (false, true) => paging::check_period(select),
    }
}

pub(crate) async fn run(stent: &Stent, args: &Cancel, out: &mut Out) -> Result<()> {
    let (mut ids, mut more) = (args.ids.clone(), false);
    if ids.is_empty() {
        let open = open(stent, &args.select, args.max).await?;
        let now = stent.store().clock().await?;
        let show = (json::execution, |matched: &[ExecutionView]| list::table(matched, now));
        if !act::confirmed(CANCEL, &args.confirm, &open.items, open.more, out, show)? {
            return Ok(());
        }
        ids.extend(open.items.iter().map(|view| view.id));
        more = open.more;
    }
    let one = async |id: ExecutionId| -> stent::Result<_> {
        let cancel = stent.cancel(id).grace(args.grace);
        let cancel = if args.no_grace { cancel.no_grace() } else { cancel };
        let status = cancel.await?;
        Ok(Some(status.as_str().to_owned()))
    };
    act::each(CANCEL, &ids, more, out, one).await
}

/// The open executions that a filter matches.
pub(crate) async fn open(stent: &Stent, select: &Select, max: usize) -> Result<Page<ExecutionView>> {
    let statuses = match select.status {
        Some(status) => vec![status],
        None => vec![ExecutionStatus::Pending, ExecutionStatus::Running],
    };
    let (mut items, mut more) = (Vec::new(), false);
    for status in statuses {
        let filter = paging::filter(&Select { status: Some(status), ..select.clone() });
        let page = paging::executions(stent, &filter, Part::first(max - items.len())).await?;
        items.extend(page.items);
        more |= page.more;
    }
    // An execution may have started between the two reads.
    items.sort_by_key(|view| std::cmp::Reverse(view.id));
    items.dedup_by_key(|view| view.id);
    Ok(Page { items, more })
}
