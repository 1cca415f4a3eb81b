//! `stent dlq` and `stent retry`: executions that failed for good.

use stent::view::{DeadLetter, DeadLetterStat, Mark};
use stent::{Error, ExecutionId, RetryDeadLetter, RetryPolicy, Stent, TaskId, Uuid};

use super::act::{self, Act};
use super::find;
use super::paging;
use super::show;
use crate::cli::{Discard, DlqList, DlqShow, Format, Letters, Part, Policy, Retry};
use crate::fault::{Fault, NOT_FOUND, Result};
use crate::json;
use crate::out::{Out, tell};
use crate::payload;
use crate::table::Table;
use crate::text::{moment, plain};

const AGAIN: &str = "run the command again for the others, or raise --max";
const RETRY: Act<'_> = Act { verb: "retry", done: "retried", noun: "dead letter", rest: AGAIN, place: "" };
const DISCARD: Act<'_> =
    Act { verb: "discard", done: "discarded", noun: "dead letter", rest: AGAIN, place: "" };

pub(crate) async fn list(stent: &Stent, args: &DlqList, out: &mut Out) -> Result<()> {
    let page = paging::dead_letters(stent, &args.dead, args.part).await?;
    out.list(&page.items, json::dead_letter, table)?;
    out.flush()?;
    match page.items.last() {
        None => tell("no dead letters match"),
        Some(last) if page.more => {
            tell(format!("hint: there are more; the next page: --before {}", last.execution.id));
        }
        Some(_) => {}
    }
    Ok(())
}

fn table(letters: &[DeadLetter]) -> Table {
    let table = Table::new().column("ID").wide("FUNCTION", 10).column("FAILED");
    let mut table = table.wide("REASON", 10).wide("MESSAGE", 12);
    for letter in letters {
        let execution = &letter.execution;
        let failure = execution.result.as_ref().and_then(|result| result.as_ref().err());
        table.row([
            execution.id.to_string().into(),
            (&execution.function).into(),
            execution.ended_at.map(moment).unwrap_or_default().into(),
            failure.map(|failure| failure.kind.as_str()).unwrap_or_default().into(),
            failure.map(|failure| failure.message.as_str()).unwrap_or_default().into(),
        ]);
    }
    table
}

pub(crate) async fn show(stent: &Stent, args: &DlqShow, out: &mut Out) -> Result<()> {
    let id = find::execution(stent, &args.id).await?;
    let letters = stent.dead_letters();
    let letter = match letters.show(id).await {
        Err(Error::NotFound(id)) => return Err(no_dead_letter(stent, id).await?),
        letter => letter?,
    };
    let history = letters.history(id.root()).await?;
    if out.format != Format::Table {
        let mut json = json::dead_letter(&letter);
        json["history"] = history.iter().map(json::ended_claim).collect();
        return out.json(&json);
    }
    let now = stent.store().clock().await?;
    show::head(&letter.execution, None, now, out)?;
    let mut lines = show::Lines::default();
    lines.add("attempts", format!("{} failed and were retried", letter.attempts));
    lines.add("crashes", letter.crashes.to_string());
    lines.add("releases", letter.releases.to_string());
    if let Some(policy) = &letter.retry {
        lines.add("policy", policy_text(policy));
    }
    lines.print(out)?;
    if let Some(Err(failure)) = &letter.execution.result {
        out.line("")?;
        show::failure(failure, out)?;
    }
    out.line(format!("\nargs  {}", payload::text(&letter.args)))?;
    show::history(&history, out)
}

/// Why there is no such dead letter.
async fn no_dead_letter(stent: &Stent, id: ExecutionId) -> Result<Fault> {
    let status = stent.status(id).await?;
    Ok(Fault::new(NOT_FOUND, format!("execution {id} is no dead letter: it is {status}"))
        .hint("a dead letter has failed, and was neither retried nor discarded; `stent dlq list` shows them"))
}

fn policy_text(policy: &RetryPolicy) -> String {
    let RetryPolicy { max_attempts, initial_delay, backoff_factor, max_delay, .. } = policy;
    let (initial, longest) = (crate::text::duration(*initial_delay), crate::text::duration(*max_delay));
    format!("at most {max_attempts} attempts, {initial} × {backoff_factor} (at most {longest})")
}

/// Checks before the store is opened that there are either ids, a filter, or `--all`.
pub(crate) fn check(letters: &Letters) -> Result<()> {
    match (letters.ids.is_empty(), paging::matches_all(&letters.dead)) {
        (true, true) if !letters.all => Err(Fault::usage("no dead letter is named")
            .hint("name ids, choose with --function, --reason, --queue or --tag, or say --all")),
        (false, false) => {
            Err(Fault::usage("ids and a filter exclude each other").hint("leave out one of them"))
        }
        _ => Ok(()),
    }
}

/// The policy that the options give, if they give one.
pub(crate) fn policy(args: &Policy) -> Result<Option<RetryPolicy>> {
    let Policy { max_attempts, initial_delay, backoff_factor, max_delay } = args;
    if max_attempts.is_none() && initial_delay.is_none() && backoff_factor.is_none() && max_delay.is_none() {
        return Ok(None);
    }
    let policy = max_attempts.iter().fold(RetryPolicy::default(), |policy, most| policy.max_attempts(*most));
    let policy = initial_delay.iter().fold(policy, |policy, delay| policy.initial_delay(*delay));
    let policy = backoff_factor.iter().fold(policy, |policy, factor| policy.backoff_factor(*factor));
    let policy = max_delay.iter().fold(policy, |policy, delay| policy.max_delay(*delay));
    match policy.validate() {
        Ok(()) => Ok(Some(policy)),
        Err(error) => {
            Err(Fault::usage(format!("--{}", plain(&error.to_string()).replace('`', "").replace('_', "-"))))
        }
    }
}

/// The dead letters to act on, and whether more match; `None` if they are only shown.
async fn chosen(
    stent: &Stent,
    act: Act<'_>,
    letters: &Letters,
    out: &mut Out,
) -> Result<Option<(Vec<ExecutionId>, bool)>> {
    let Letters { ids, dead, confirm, max, .. } = letters;
    if !ids.is_empty() {
        return Ok(Some((ids.clone(), false)));
    }
    let page = paging::dead_letters(stent, dead, Part::first(*max)).await?;
    let is_confirmed = act::confirmed(act, confirm, &page.items, page.more, out, (json::dead_letter, table))?;
    let ids = page.items.iter().map(|letter| letter.execution.id).collect();
    Ok(is_confirmed.then_some((ids, page.more)))
}

pub(crate) async fn retry(
    stent: &Stent,
    args: &Retry,
    policy: Option<RetryPolicy>,
    out: &mut Out,
) -> Result<()> {
    let place = args.to_queue.as_ref().map(|queue| format!(" on queue {queue:?}")).unwrap_or_default();
    let act = Act { place: &place, ..RETRY };
    let Some((ids, more)) = chosen(stent, act, &args.letters, out).await? else { return Ok(()) };
    let letters = stent.dead_letters();
    let one = async |id: ExecutionId| {
        check_not_done(stent, id).await?;
        let retry = letters.retry(id);
        let retry = policy.iter().cloned().fold(retry, RetryDeadLetter::policy);
        let retry = args.to_queue.iter().fold(retry, RetryDeadLetter::queue);
        retry.await.map(|()| None)
    };
    act::each(act, &ids, more, out, one).await
}

pub(crate) async fn discard(stent: &Stent, args: &Discard, out: &mut Out) -> Result<()> {
    let Some((ids, more)) = chosen(stent, DISCARD, &args.letters, out).await? else { return Ok(()) };
    let letters = stent.dead_letters();
    let one = async |id: ExecutionId| {
        check_not_done(stent, id).await?;
        letters.discard(id).await.map(|()| None)
    };
    act::each(DISCARD, &ids, more, out, one).await
}

/// Checks that the execution was not retried or discarded before. The library answers the same request again without an error, so
/// that it can be repeated after a lost answer, but a person should know that nothing happens.
async fn check_not_done(stent: &Stent, execution: ExecutionId) -> stent::Result<()> {
    let root = execution.root();
    let before = root.as_uuid().as_u128().checked_sub(1).map(|id| TaskId::from_uuid(Uuid::from_u128(id)));
    let tasks = stent.inspect().tasks(execution, before, 1).await?;
    let Some(root) = tasks.into_iter().find(|task| task.id == root) else { return Ok(()) };
    let remedy = if root.marks.contains(Mark::Redrive) {
        "it was retried before, and nothing was changed"
    } else if root.marks.contains(Mark::Discard) {
        "it is not a dead letter any more, because it was discarded before; nothing was changed"
    } else {
        return Ok(());
    };
    Err(Error::Ended { execution, status: stent.status(execution).await?, remedy })
}

pub(crate) async fn stats(stent: &Stent, out: &mut Out) -> Result<()> {
    let mut stats = stent.dead_letters().stats().await?;
    stats.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.cmp(other)));
    out.list(&stats, json::dead_letter_stat, stats_table)?;
    if stats.is_empty() {
        out.flush()?;
        tell("there are no dead letters");
    }
    Ok(())
}

fn stats_table(stats: &[DeadLetterStat]) -> Table {
    let mut table = Table::new().number("COUNT").wide("REASON", 12).wide("FUNCTION", 10);
    for stat in stats {
        table.row([stat.count.to_string().into(), (&stat.reason).into(), (&stat.function).into()]);
    }
    table
}
