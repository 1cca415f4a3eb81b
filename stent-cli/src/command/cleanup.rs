//! `stent cleanup`: deletes what is old enough, or counts it.

use std::collections::BTreeSet;

use futures::future::try_join_all;
use serde_json::{Value, json};
use stent::backend::limits::PAGE_MAX;
use stent::view::{ExecutionView, Filter};
use stent::{Error, ExecutionId, ExecutionStatus, Retention, Stent, Timestamp};

use crate::cli::{Cleanup, Format};
use crate::fault::{Fault, Result, USAGE};
use crate::out::{Out, tell};
use crate::table::Table;
use crate::text::{duration, moment};

/// How many executions of a kind a dry run counts before it stops and says so. It lists them, because stores count by status and not
/// by age.
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
        let letters = match executions || dead_letters {
            true => DeadLetters::read(stent, cutoff).await?,
            false => DeadLetters::default(),
        };
        if executions {
            counts.push(("executions", Some(count_executions(stent, cutoff, &letters).await?)));
        }
        if dead_letters {
            counts.push(("dead letters", Some(letters.old)));
        }
        if args.details {
            // Executions are deleted first, and none with details is left.
            let details = if executions { Count::default() } else { count_details(stent, cutoff).await? };
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
        .map(|(name, _, count)| (name, Some(Count { count, is_less: false })))
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
    counts: &[(&str, Option<Count>)],
    cutoff: Timestamp,
    out: &mut Out,
) -> Result<()> {
    if out.format != Format::Table {
        let key = |name: &str| name.replace(' ', "_");
        let number = |count: &Option<Count>| json!(count.map(|count| count.count));
        let mut json: serde_json::Map<String, Value> =
            counts.iter().map(|(name, count)| (key(name), number(count))).collect();
        let less = counts.iter().filter(|(_, count)| count.is_some_and(|count| count.is_less));
        json.insert("at_least".to_owned(), less.map(|(name, _)| key(name)).collect());
        json.insert("before".to_owned(), cutoff.to_string().into());
        json.insert("dry_run".to_owned(), (head != "DELETED").into());
        return out.json(&Value::Object(json));
    }
    let mut table = Table::new().column(head).number("COUNT");
    for (name, count) in counts {
        let count = match count {
            None => "not counted".to_owned(),
            Some(Count { count, is_less: true }) => format!("{count} or more"),
            Some(Count { count, is_less: false }) => count.to_string(),
        };
        table.row([(*name).into(), count.into()]);
    }
    out.table(&table)
}

/// A number of things.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    count: u64,
    /// Whether counting stopped before the end.
    is_less: bool,
}

impl Count {
    fn is_full(self) -> bool {
        self.count >= COUNTED_MAX
    }
}

/// The dead letters that ended before a moment.
#[derive(Debug, Default)]
struct DeadLetters {
    ids: BTreeSet<ExecutionId>,
    old: Count,
}

impl DeadLetters {
    async fn read(stent: &Stent, cutoff: Timestamp) -> Result<Self> {
        let (mut letters, mut before) = (Self::default(), None);
        loop {
            let page = stent.dead_letters().list(before, PAGE_MAX).await?;
            let is_old = |ended: Option<Timestamp>| ended.is_some_and(|ended| ended < cutoff);
            let old = page.iter().filter(|letter| is_old(letter.execution.ended_at));
            letters.ids.extend(old.map(|letter| letter.execution.id));
            letters.old.count = letters.ids.len() as u64;
            before = page.last().map(|letter| letter.execution.id);
            if page.len() < PAGE_MAX {
                return Ok(letters);
            }
            if letters.old.is_full() {
                letters.old.is_less = true;
                return Ok(letters);
            }
        }
    }
}

/// Counts ended executions that are no dead letters. If not all dead letters are known, none of those that failed counts.
async fn count_executions(stent: &Stent, cutoff: Timestamp, letters: &DeadLetters) -> Result<Count> {
    let is_counted = |status: ExecutionStatus| !(letters.old.is_less && status == ExecutionStatus::Failed);
    let is_none = |view: &&ExecutionView| !letters.ids.contains(&view.id);
    let of_page = async |old: &[ExecutionView]| Ok(old.iter().filter(is_none).count() as u64);
    let counted = count_ended(stent, cutoff, is_counted, of_page).await?;
    Ok(Count { is_less: counted.is_less || letters.old.is_less, ..counted })
}

/// Counts ended executions that are no dead letters and still have steps, ended claims or progress.
async fn count_details(stent: &Stent, cutoff: Timestamp) -> Result<Count> {
    let with_details = async |old: &[ExecutionView]| {
        let mut count = 0;
        for some in old.chunks(READS) {
            let found = try_join_all(some.iter().map(|view| has_details(stent, view))).await?;
            count += found.iter().filter(|has| **has).count() as u64;
        }
        Ok(count)
    };
    count_ended(stent, cutoff, |_| true, with_details).await
}

/// Adds up the counts of each page of executions that ended before this moment, dead letters among them.
async fn count_ended(
    stent: &Stent,
    cutoff: Timestamp,
    is_counted: impl Fn(ExecutionStatus) -> bool,
    of_page: impl AsyncFn(&[ExecutionView]) -> Result<u64>,
) -> Result<Count> {
    let is_old = |view: &ExecutionView| view.ended_at.is_some_and(|ended| ended < cutoff);
    let mut counted = Count::default();
    for status in ExecutionStatus::ALL.iter().filter(|status| status.is_terminal() && is_counted(**status)) {
        let filter = Filter::default().status(*status);
        let mut before = None;
        loop {
            if counted.is_full() {
                return Ok(Count { is_less: true, ..counted });
            }
            let mut page = stent.inspect().list(&filter, before, PAGE_MAX).await?;
            let is_last = page.len() < PAGE_MAX;
            before = page.last().map(|view| view.id);
            page.retain(is_old);
            counted.count += of_page(&page).await?;
            if is_last {
                break;
            }
        }
    }
    Ok(counted)
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
