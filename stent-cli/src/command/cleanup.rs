//! `stent cleanup`: deletes what is old enough, or counts it.

use futures::future::try_join_all;
use serde_json::{Value, json};
use stent::backend::limits::PAGE_MAX;
use stent::view::{ExecutionView, Filter};
use stent::{Error, ExecutionStatus, Retention, Stent, Timestamp};

use crate::cli::{Cleanup, Format};
use crate::fault::{Fault, Result, USAGE};
use crate::out::{Out, tell};
use crate::table::Table;
use crate::text::{duration, moment};

/// Most executions of each kind that a dry run counts. It lists them, because stores count by status and not by age.
const COUNTED_MAX: u64 = 10_000;

/// Executions of which is read at once whether they have details.
const READS: usize = 16;

pub(crate) async fn run(stent: &Stent, args: &Cleanup, out: &mut Out) -> Result<()> {
    let none = !(args.executions || args.dead_letters || args.details || args.results);
    let (executions, dead_letters) = (args.executions || none, args.dead_letters || none);
    let now = stent.store().clock().await?;
    let cutoff = now - args.older_than;
    if !args.confirm.yes {
        let mut counts = Vec::new();
        if executions {
            counts.push(("executions", Some(count_executions(stent, cutoff).await?)));
        }
        if dead_letters {
            counts.push(("dead letters", Some(count_dead_letters(stent, cutoff).await?)));
        }
        if args.details {
            // Executions are deleted first, and none with details is left.
            let details = if executions { 0 } else { count_details(stent, cutoff).await? };
            counts.push(("details", Some(details)));
        }
        counts.extend(args.results.then_some(("results", None)));
        report("WOULD DELETE", &counts, cutoff, out)?;
        out.flush()?;
        if args.confirm.dry_run {
            return Ok(());
        }
        return Err(Fault::new(USAGE, "nothing was deleted")
            .hint("add --yes to delete this, or --dry-run to only look"));
    }
    let age = |chosen: bool| chosen.then_some(args.older_than);
    let retention = Retention::default()
        .executions(age(executions))
        .dead_letters(age(dead_letters))
        .details(age(args.details))
        .results(age(args.results));
    let deleted = stent.apply_retention(&retention).await?;
    let all = [
        ("executions", executions, deleted.executions),
        ("dead letters", dead_letters, deleted.dead_letters),
        ("details", args.details, deleted.details),
        // Results with a time to live of their own go in any case.
        ("results", args.results || deleted.results > 0, deleted.results),
    ];
    let counts: Vec<_> = all
        .into_iter()
        .filter(|(_, chosen, _)| *chosen)
        .map(|(name, _, count)| (name, Some(count)))
        .collect();
    report("DELETED", &counts, cutoff, out)?;
    out.flush()?;
    if out.format == Format::Table {
        tell(format!("all that ended before {}, {} ago", moment(cutoff), duration(args.older_than)));
    }
    Ok(())
}

fn report(
    head: &'static str,
    counts: &[(&str, Option<u64>)],
    cutoff: Timestamp,
    out: &mut Out,
) -> Result<()> {
    if out.format != Format::Table {
        let mut json: serde_json::Map<String, Value> =
            counts.iter().map(|(name, count)| (name.replace(' ', "_"), json!(count))).collect();
        json.insert("before".to_owned(), cutoff.to_string().into());
        json.insert("dry_run".to_owned(), (head != "DELETED").into());
        return out.json(&Value::Object(json));
    }
    let mut table = Table::new().column(head).number("COUNT");
    for (name, count) in counts {
        let count = match count {
            None => "not counted".to_owned(),
            Some(count) if *count >= COUNTED_MAX && head != "DELETED" => format!("{count} or more"),
            Some(count) => count.to_string(),
        };
        table.row([(*name).into(), count.into()]);
    }
    out.table(&table)
}

/// Counts ended executions that are no dead letters.
async fn count_executions(stent: &Stent, cutoff: Timestamp) -> Result<u64> {
    let count = count_ended(stent, cutoff, async |old| Ok(old.len() as u64)).await?;
    // Among the failed ones are dead letters, which are counted apart.
    Ok(count.saturating_sub(count_dead_letters(stent, cutoff).await?).min(COUNTED_MAX))
}

/// Counts ended executions that are no dead letters and still have steps, ended claims or progress.
async fn count_details(stent: &Stent, cutoff: Timestamp) -> Result<u64> {
    let with_details = async |old: &[ExecutionView]| {
        let mut count = 0;
        for some in old.chunks(READS) {
            let found = try_join_all(some.iter().map(|view| has_details(stent, view))).await?;
            count += found.iter().filter(|has| **has).count() as u64;
        }
        Ok(count)
    };
    Ok(count_ended(stent, cutoff, with_details).await?.min(COUNTED_MAX))
}

/// Adds up the counts of each page of executions that ended before this moment, dead letters among them.
async fn count_ended(
    stent: &Stent,
    cutoff: Timestamp,
    of_page: impl AsyncFn(&[ExecutionView]) -> Result<u64>,
) -> Result<u64> {
    let is_old = |view: &ExecutionView| view.ended_at.is_some_and(|ended| ended < cutoff);
    let mut count = 0;
    for status in ExecutionStatus::ALL.iter().filter(|status| status.is_terminal()) {
        let filter = Filter::default().status(*status);
        let mut before = None;
        while count < COUNTED_MAX {
            let mut page = stent.inspect().list(&filter, before, PAGE_MAX).await?;
            let is_last = page.len() < PAGE_MAX;
            before = page.last().map(|view| view.id);
            page.retain(is_old);
            count += of_page(&page).await?;
            if is_last {
                break;
            }
        }
    }
    Ok(count)
}

async fn has_details(stent: &Stent, view: &ExecutionView) -> Result<bool> {
    if view.status == ExecutionStatus::Failed {
        match stent.dead_letters().show(view.id).await {
            Ok(_) => return Ok(false),
            Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let inspect = stent.inspect();
    let tasks = inspect.tasks(view.id, None, 2).await?;
    Ok(tasks.len() > 1
        || !inspect.ended_claims(view.id.root()).await?.is_empty()
        || !stent.notes(view.id).await?.progress.is_empty())
}

async fn count_dead_letters(stent: &Stent, cutoff: Timestamp) -> Result<u64> {
    let (mut count, mut before) = (0, None);
    while count < COUNTED_MAX {
        let page = stent.dead_letters().list(before, PAGE_MAX).await?;
        let is_old = |ended: Option<Timestamp>| ended.is_some_and(|ended| ended < cutoff);
        count += page.iter().filter(|letter| is_old(letter.execution.ended_at)).count() as u64;
        before = page.last().map(|letter| letter.execution.id);
        if page.len() < PAGE_MAX {
            break;
        }
    }
    Ok(count.min(COUNTED_MAX))
}
