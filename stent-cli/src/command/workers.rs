//! `stent workers`: the fleet, as its workers describe themselves in the store.

use std::collections::BTreeMap;
use std::time::Duration;

use stent::backend::limits::PAGE_MAX;
use stent::view::WorkerRecord;
use stent::{Stent, Timestamp, WorkerState};

use crate::cli::Workers;
use crate::fault::Result;
use crate::json;
use crate::out::{Out, tell};
use crate::table::{Cell, Colour, Table};
use crate::text::{duration, words};
use crate::value::DEAD;

/// A difference of clocks that the library warns of, too.
pub(crate) const DRIFT_MAX: Duration = Duration::from_secs(1);

pub(crate) async fn run(stent: &Stent, args: &Workers, out: &mut Out) -> Result<()> {
    let now = stent.store().clock().await?;
    let (mut shown, mut more) = (Vec::new(), false);
    let mut hidden: BTreeMap<&str, usize> = BTreeMap::new();
    let mut after = None;
    loop {
        let page = stent.inspect().workers(after, PAGE_MAX).await?;
        let is_last = page.len() < PAGE_MAX;
        after = page.last().map(|record| record.id).or(after);
        for record in page.into_iter().filter(|record| fits(args, record)) {
            let state = state(&record, now);
            match &args.state {
                Some(asked) if *asked != state => {}
                None if !args.all && record.is_over(now) => *hidden.entry(state).or_default() += 1,
                _ if shown.len() == args.limit => more = true,
                _ => shown.push(record),
            }
        }
        if is_last || more {
            break;
        }
    }
    out.list(&shown, |record| json::worker(record, state(record, now)), |shown| table(shown, now))?;
    out.flush()?;
    if more {
        tell("hint: there are more; --limit shows them");
    } else if !hidden.is_empty() {
        let hidden: Vec<_> = hidden.iter().map(|(state, n)| format!("{n} {state}")).collect();
        tell(format!("hint: {} not shown; --all shows them, too", hidden.join(", ")));
    }
    if shown.is_empty() {
        tell(if args.all || args.state.is_some() { "no workers match" } else { "no live workers match" });
    }
    Ok(())
}

fn fits(args: &Workers, record: &WorkerRecord) -> bool {
    args.function.as_ref().is_none_or(|function| record.functions.contains(function))
        && args
            .queue
            .as_ref()
            .is_none_or(|queue| record.queues.as_ref().is_none_or(|queues| queues.contains(queue)))
}

/// The state in which the worker is: dead if it fell silent, and otherwise the one that it reported.
pub(crate) fn state(record: &WorkerRecord, now: Timestamp) -> &'static str {
    if record.is_dead(now) { DEAD } else { record.state.as_str() }
}

fn table(records: &[WorkerRecord], now: Timestamp) -> Table {
    let table = Table::new().column("ID").wide("NAME", 8).wide("HOST", 8).number("PID").column("STATE");
    let table = table.number("SLOTS").wide("QUEUES", 8).number("DRIFT").wide("VERSION", 7);
    let mut table = table.column("SEEN");
    for record in records {
        let queues = record.queues.as_ref().map_or_else(|| "(all)".to_owned(), words);
        table.row([
            record.id.to_string().into(),
            (&record.name).into(),
            (&record.host).into(),
            record.pid.to_string().into(),
            Cell::from(state(record, now)).colour(colour(record, now)),
            format!("{}/{}", record.used, record.slots).into(),
            queues.into(),
            drift(record),
            record.version.as_deref().unwrap_or_default().into(),
            format!("{} ago", duration(now.since(record.seen_at))).into(),
        ]);
    }
    table
}

fn colour(record: &WorkerRecord, now: Timestamp) -> Colour {
    match record.state {
        _ if record.is_dead(now) => Colour::Bad,
        WorkerState::Ready => Colour::Good,
        WorkerState::Starting | WorkerState::Draining => Colour::Waiting,
        WorkerState::Stopped => Colour::Dim,
        _ => Colour::Bad,
    }
}

/// How far the store's clock is ahead of the worker's host, or behind it.
fn drift(record: &WorkerRecord) -> Cell {
    let drift = Duration::from_micros(record.drift_us.unsigned_abs());
    let sign = if record.drift_us < 0 { "-" } else { "" };
    if drift > DRIFT_MAX {
        return Cell::from(format!("{sign}{}", duration(drift))).colour(Colour::Bad);
    }
    format!("{sign}{}", duration(drift)).into()
}
