//! `stent doctor`: what is wrong with a store or stuck in it, each with a remedy.
//!
//! The store examines its own settings, files and indexes. This file adds what every store shows: answers, clocks, workers, and work
//! that stands still.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use stent::backend::limits::PAGE_MAX;
use stent::backend::{SchemaVersion, Store};
use stent::view::{Filter, Finding, Lane, Verdict, WorkerRecord};
use stent::{ExecutionStatus, Stent, StoreError, StoreErrorKind, Timestamp, WorkerState};

use super::workers::DRIFT_MAX;
use crate::cli::{Doctor, Format, Global};
use crate::fault::{FAILED, Fault, Result};
use crate::out::Out;
use crate::store::{self, Place};
use crate::table::{Cell, Colour, Table};
use crate::text::{count, duration, words};

/// An answer that takes longer slows every step down.
const ANSWER_MAX: Duration = Duration::from_millis(250);

/// How long a lease may be over before its task is called lost: workers look for such tasks every few seconds.
const LOST_AFTER: Duration = Duration::from_secs(60);

/// How long ago a worker may have been lost to be worth a warning.
const LOST_LATELY: Duration = Duration::from_secs(60 * 60);

/// Names that a finding has room for.
const NAMES: usize = 5;

pub(crate) async fn run(global: &Global, args: &Doctor, out: &mut Out) -> Result<()> {
    let place = Place::find(global)?;
    let store = place.open_to_look().await?;
    let work = async {
        let mut findings = vec![reach(&store).await?];
        let looked = match store.version().await {
            Ok(version) => {
                let schema = schema(version);
                let is_current = schema.verdict == Verdict::Ok;
                findings.push(schema);
                if is_current { look(&store, args, &mut findings).await } else { Ok(()) }
            }
            Err(error) => why_unreadable(&store, error, &mut findings).await,
        };
        // The findings may say why the rest failed.
        let reported = report(&findings, args, out);
        looked.and(reported)
    };
    store::closing(&store, work).await
}

async fn reach(store: &Arc<dyn Store>) -> Result<Finding> {
    // The first call connects to a server.
    store.clock().await.map_err(|error| Fault::from(error).while_opening())?;
    // The second answer shows the way there and back, without the connection.
    let asked = Instant::now();
    store.clock().await?;
    let took = asked.elapsed();
    let info = store.info();
    let what = format!("{} at {} answers in {}", info.name, info.location, duration(took));
    Ok(if took > ANSWER_MAX {
        let remedy = "each commit takes at least that long: bring program and store closer together";
        Finding::warning("store", what, remedy)
    } else {
        Finding::ok("store", what)
    })
}

fn schema(version: SchemaVersion) -> Finding {
    let SchemaVersion { applied, known } = version;
    match (applied, known) {
        (0, 0) => Finding::ok("schema", "this kind of store has none"),
        (applied, known) if applied == known => {
            Finding::ok("schema", format!("all {known} migrations are applied"))
        }
        (0, _) => {
            Finding::problem("schema", "the store has no tables", "run `stent migrate`, or check --store")
        }
        (applied, known) if applied < known => Finding::problem(
            "schema",
            format!("{applied} of {known} migrations are applied"),
            "stop older programs, and run `stent migrate`",
        ),
        (applied, known) => Finding::problem(
            "schema",
            format!("{applied} migrations are applied, and this program knows {known}"),
            "use a newer version of this program",
        ),
    }
}

/// The store says itself why its schema cannot be read, if it can.
async fn why_unreadable(
    store: &Arc<dyn Store>,
    error: StoreError,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let examined = if error.is_transient() { Vec::new() } else { store.diagnose().await.unwrap_or_default() };
    let says_why = examined.iter().any(|finding| finding.verdict == Verdict::Problem);
    findings.extend(examined);
    if says_why { Ok(()) } else { Err(error.into()) }
}

async fn look(store: &Arc<dyn Store>, args: &Doctor, findings: &mut Vec<Finding>) -> Result<()> {
    match store.diagnose().await {
        Ok(examined) => findings.extend(examined),
        Err(error) => findings.push(settled("settings", Err(error.into()))?),
    }
    let stent = store::connect(Arc::clone(store)).await?;
    let now = store.clock().await?;
    findings.push(clock(now));
    let fleet = match fleet(&stent).await {
        Ok(fleet) => {
            findings.push(workers(&fleet, now));
            fleet
        }
        Err(fault) => {
            findings.push(settled("workers", Err(fault))?);
            Vec::new()
        }
    };
    findings.push(settled("leases", leases(&stent, now).await)?);
    findings.push(settled("work", work(&stent, &fleet, args.patience, now).await)?);
    findings.push(settled("deadlines", deadlines(&stent, now).await)?);
    findings.push(settled("dead letters", dead_letters(&stent).await)?);
    Ok(())
}

/// A check that fails has found something, unless nobody answers any more: then no other check can succeed.
fn settled(check: &'static str, looked: Result<Finding>) -> Result<Finding> {
    let fault = match looked {
        Err(fault) if fault.code() == FAILED => fault,
        looked => return looked,
    };
    let remedy = match fault.kind() {
        // The migrations are applied.
        Some(StoreErrorKind::Schema) => {
            "a table was dropped, and its data with it: restore a backup; `stent migrate` creates no table twice".to_owned()
        }
        Some(StoreErrorKind::Corrupt) if fault.hints().is_empty() => {
            "keep a copy of the store as it is, and restore a backup, unless the message says what to delete".to_owned()
        }
        _ if fault.hints().is_empty() => "the error index in Stent's guide says what the message means".to_owned(),
        _ => fault.hints().join("; "),
    };
    Ok(Finding::problem(check, fault.message(), remedy))
}

/// The workers that have not stopped by their own word.
async fn fleet(stent: &Stent) -> Result<Vec<WorkerRecord>> {
    let (mut fleet, mut after) = (Vec::new(), None);
    loop {
        let page = stent.inspect().workers(after, PAGE_MAX).await?;
        let is_last = page.len() < PAGE_MAX;
        after = page.last().map(|record| record.id).or(after);
        fleet.extend(page.into_iter().filter(|record| record.state != WorkerState::Stopped));
        if is_last {
            return Ok(fleet);
        }
    }
}

fn workers(fleet: &[WorkerRecord], now: Timestamp) -> Finding {
    const CHECK: &str = "workers";
    let alive: Vec<_> = fleet.iter().filter(|record| !record.is_over(now)).collect();
    let named = |record: &WorkerRecord| match record.host.as_str() {
        "" => record.name.clone(),
        host => format!("{} on {host}", record.name),
    };
    let skewed =
        alive.iter().filter(|record| Duration::from_micros(record.drift_us.unsigned_abs()) > DRIFT_MAX);
    let skewed: Vec<_> = skewed.map(|record| named(record)).collect();
    // Workers that died long ago are history.
    let lost = fleet.iter().filter(|record| record.is_over(now) && record.seen_at > now - LOST_LATELY);
    let lost: Vec<_> = lost.map(named).collect();
    let there = format!("{} alive", count(alive.len(), "worker"));
    if !lost.is_empty() {
        let (n, names) = (lost.len(), names(lost.into_iter()));
        let what = format!("{there}, {n} lost within {}: {names}", duration(LOST_LATELY));
        return Finding::warning(
            CHECK,
            what,
            "see the logs of their processes; `stent workers --all` shows when each was last seen",
        );
    }
    if !skewed.is_empty() {
        let (n, names) = (skewed.len(), names(skewed.into_iter()));
        let what = format!(
            "{there}, {n} with a clock that differs from the store's by more than {}: {names}",
            duration(DRIFT_MAX)
        );
        return Finding::warning(CHECK, what, "run NTP on their hosts, and on the store's");
    }
    Finding::ok(CHECK, there)
}

/// Why nobody takes the work of a lane, as far as the fleet's records tell.
fn why(lane: &Lane, fleet: &[WorkerRecord], now: Timestamp) -> &'static str {
    let mut alive = fleet.iter().filter(|record| !record.is_over(now));
    let known: Vec<_> = alive.by_ref().filter(|record| record.functions.contains(&lane.function)).collect();
    let serves = |record: &&WorkerRecord| {
        record.queues.as_ref().is_none_or(|queues| queues.contains(&lane.queue))
            && (record.tags.is_empty()
                || lane.tags.is_empty()
                || record.tags.iter().any(|tag| lane.tags.contains(tag)))
    };
    if known.is_empty() {
        "no live worker knows it"
    } else if !known.iter().any(serves) {
        "no live worker that knows it serves the queue and tags"
    } else {
        "the workers that know it have no room, or a limit holds it back"
    }
}

fn clock(now: Timestamp) -> Finding {
    let host = Timestamp::from(SystemTime::now());
    let drift = host.since(now).max(now.since(host));
    let what = format!("this host's clock and the store's differ by {}", duration(drift));
    if drift > DRIFT_MAX {
        Finding::warning(
            "clock",
            what,
            "run NTP on every host: delays and deadlines are computed with these clocks",
        )
    } else {
        Finding::ok("clock", what)
    }
}

async fn leases(stent: &Stent, now: Timestamp) -> Result<Finding> {
    // Those whose lease ended first come last, and so may be missing if more tasks are running than a page has.
    let running = stent.inspect().running(PAGE_MAX).await?;
    let is_lost = |until: Option<Timestamp>| until.is_some_and(|until| until + LOST_AFTER < now);
    let lost: Vec<_> = running.iter().filter(|task| is_lost(task.lease_until)).collect();
    if lost.is_empty() {
        let more = if running.len() == PAGE_MAX { " (the first ones were checked)" } else { "" };
        return Ok(Finding::ok(
            "leases",
            format!("{} running, none of a lost worker{more}", count(running.len(), "task")),
        ));
    }
    let names = names(lost.iter().map(|task| format!("{} on queue {}", task.function, task.queue)));
    let what = format!("{} of workers that are gone: {names}", count(lost.len(), "task"));
    Ok(Finding::problem("leases", what, "start a worker that knows these functions and serves these queues"))
}

async fn work(stent: &Stent, fleet: &[WorkerRecord], patience: Duration, now: Timestamp) -> Result<Finding> {
    let lanes = stent.inspect().lanes().await?;
    let due: u64 = lanes.iter().map(|lane| lane.due).sum();
    let is_late = |at: Option<Timestamp>| at.is_some_and(|at| at + patience < now);
    let late: Vec<_> = lanes.iter().filter(|lane| is_late(lane.oldest_due_at)).collect();
    let Some(oldest) = late.iter().filter_map(|lane| lane.oldest_due_at).min() else {
        return Ok(Finding::ok(
            "work",
            format!("{due} due, none of it for longer than {}", duration(patience)),
        ));
    };
    let names = names(late.iter().map(|view| {
        let tags = words(&view.lane.tags);
        let tags = if tags.is_empty() { tags } else { format!(" with tags {tags}") };
        let why = why(&view.lane, fleet, now);
        format!("{} on queue {}{tags} ({} due; {why})", view.lane.function, view.lane.queue, view.due)
    }));
    let what = format!("work is due since {}: {names}", duration(now.since(oldest)));
    let remedy = "start workers that know these functions and serve these queues and tags, or give them more slots: see \
                  `stent workers`, `stent tasks` and `stent queues`";
    Ok(Finding::problem("work", what, remedy))
}

async fn deadlines(stent: &Stent, now: Timestamp) -> Result<Finding> {
    let mut over = 0;
    for status in [ExecutionStatus::Pending, ExecutionStatus::Running] {
        let open = stent.inspect().list(&Filter::default().status(status), None, PAGE_MAX).await?;
        let is_over = |at: Option<Timestamp>| at.is_some_and(|at| at + LOST_AFTER < now);
        over += open.iter().filter(|view| is_over(view.expires_at)).count();
    }
    Ok(if over > 0 {
        let what = format!("{} open past their deadlines", count(over, "execution"));
        Finding::problem("deadlines", what, "any worker or waiter on this store ends them: start one")
    } else {
        Finding::ok("deadlines", "no execution among the newest is past its deadline")
    })
}

async fn dead_letters(stent: &Stent) -> Result<Finding> {
    let dead: u64 = stent.dead_letters().stats().await?.iter().map(|stat| stat.count).sum();
    let what = count(usize::try_from(dead).unwrap_or(usize::MAX), "dead letter");
    Ok(if dead > 0 {
        Finding::warning(
            "dead letters",
            what,
            "`stent dlq stats` shows why they failed; retry or discard them",
        )
    } else {
        Finding::ok("dead letters", what)
    })
}

fn names(all: impl Iterator<Item = String>) -> String {
    let mut names: Vec<_> = all.collect();
    names.sort_unstable();
    names.dedup();
    let more = names.len().saturating_sub(NAMES);
    names.truncate(NAMES);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names.join(", ")
}

fn report(findings: &[Finding], args: &Doctor, out: &mut Out) -> Result<()> {
    match out.format {
        Format::Table => {
            for Finding { check, verdict, what, remedy, .. } in findings {
                let colour = match verdict {
                    Verdict::Ok => Colour::Good,
                    Verdict::Warning => Colour::Waiting,
                    Verdict::Problem => Colour::Bad,
                };
                let verdict =
                    Cell::from(format!("{:<7}", verdict.as_str())).colour(colour).painted(out.colour);
                out.line(format!("{verdict}  {check}: {what}"))?;
                if !remedy.is_empty() {
                    out.line(format!("{:9}→ {remedy}", ""))?;
                }
            }
        }
        Format::Json | Format::Jsonl => out.list(findings, as_json, |_| Table::new())?,
    }
    out.flush()?;
    match bad(findings, args.strict) {
        Some(found) => Err(Fault::new(FAILED, format!("{found} found"))),
        None => Ok(()),
    }
}

/// The number of findings that make the command fail, by their kind; `None` if there is none.
fn bad(findings: &[Finding], strict: bool) -> Option<String> {
    let of = |verdict: Verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let (problems, warnings) = (of(Verdict::Problem), if strict { of(Verdict::Warning) } else { 0 });
    let counted = [(problems, "problem"), (warnings, "warning")];
    let counted = counted.into_iter().filter(|(n, _)| *n > 0).map(|(n, noun)| count(n, noun));
    let counted: Vec<_> = counted.collect();
    (!counted.is_empty()).then(|| counted.join(" and "))
}

fn as_json(Finding { check, verdict, what, remedy, .. }: &Finding) -> Value {
    let remedy = if remedy.is_empty() { Value::Null } else { remedy.as_str().into() };
    json!({ "check": check, "verdict": verdict.as_str(), "what": what, "remedy": remedy })
}
