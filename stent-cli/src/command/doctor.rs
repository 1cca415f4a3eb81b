//! `stent doctor`: what is wrong with a store or stuck in it, each with a remedy.
//!
//! It sees what the library shows of every store. Facts that only a server or a file system knows are left to their own tools,
//! except the size of SQLite's log.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use stent::backend::limits::PAGE_MAX;
use stent::backend::{SchemaVersion, Store};
use stent::view::Filter;
use stent::{ExecutionStatus, Stent, Timestamp};

use crate::cli::{Doctor, Format, Global};
use crate::fault::{FAILED, Fault, Result};
use crate::out::Out;
use crate::store::{self, Missing, Place};
use crate::table::{Cell, Colour, Table};
use crate::text::{count, duration, words};

/// A difference of clocks that the library warns of, too.
const DRIFT_MAX: Duration = Duration::from_secs(1);

/// A log of SQLite that no longer shrinks by itself: the library cuts it to 64 MiB at each checkpoint.
const LOG_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// An answer that takes longer slows every step down.
const ANSWER_MAX: Duration = Duration::from_millis(250);

/// How long a lease may be over before its task is called lost: workers look for such tasks every few seconds.
const LOST_AFTER: Duration = Duration::from_secs(60);

/// Names that a finding has room for.
const NAMES: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    Warning,
    Problem,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// The result of one check.
#[derive(Debug)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    what: String,
    /// The remedy.
    remedy: &'static str,
}

impl Finding {
    fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, what: what.into(), remedy: "" }
    }

    fn warning(check: &'static str, what: impl Into<String>, remedy: &'static str) -> Self {
        Self { check, verdict: Verdict::Warning, what: what.into(), remedy }
    }

    fn problem(check: &'static str, what: impl Into<String>, remedy: &'static str) -> Self {
        Self { check, verdict: Verdict::Problem, what: what.into(), remedy }
    }
}

pub(crate) async fn run(global: &Global, args: &Doctor, out: &mut Out) -> Result<()> {
    let place = Place::find(global)?;
    let file = place.file();
    let store = place.open(Missing::IsAnError).await?;
    let work = async {
        let mut findings = vec![reach(&store).await?];
        if let Some(file) = file {
            findings.push(log(&file));
        }
        let schema = schema(store.version().await?);
        let is_current = schema.verdict == Verdict::Ok;
        findings.push(schema);
        if is_current {
            let stent = store::connect(Arc::clone(&store)).await?;
            look(&stent, args, &mut findings).await?;
        }
        report(&findings, args, out)
    };
    store::closing(&store, work).await
}

async fn reach(store: &Arc<dyn Store>) -> Result<Finding> {
    store.clock().await?;
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

fn log(file: &std::path::Path) -> Finding {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    let bytes = std::fs::metadata(log).map_or(0, |log| log.len());
    let what = format!("the log has {} MiB", bytes.div_ceil(1024 * 1024));
    if bytes > LOG_BYTES_MAX {
        let remedy =
            "a long reading transaction keeps it from shrinking: find the program that holds one open";
        Finding::warning("log", what, remedy)
    } else {
        Finding::ok("log", what)
    }
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

async fn look(stent: &Stent, args: &Doctor, findings: &mut Vec<Finding>) -> Result<()> {
    let now = stent.store().clock().await?;
    findings.push(clock(now));
    findings.push(leases(stent, now).await?);
    findings.push(work(stent, args.patience, now).await?);
    findings.push(deadlines(stent, now).await?);
    findings.push(dead_letters(stent).await?);
    Ok(())
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

async fn work(stent: &Stent, patience: Duration, now: Timestamp) -> Result<Finding> {
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
        format!("{} on queue {}{tags} ({} due)", view.lane.function, view.lane.queue, view.due)
    }));
    let what = format!("work is due since {}: {names}", duration(now.since(oldest)));
    let remedy = "no worker knows these functions, serves these queues and tags, or has room: see `stent tasks` and \
                  `stent queues`";
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
            for Finding { check, verdict, what, remedy } in findings {
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
    let is_bad = |finding: &&Finding| {
        finding.verdict == Verdict::Problem || (args.strict && finding.verdict == Verdict::Warning)
    };
    match findings.iter().filter(is_bad).count() {
        0 => Ok(()),
        n => Err(Fault::new(FAILED, format!("{} found", count(n, "problem")))),
    }
}

fn as_json(Finding { check, verdict, what, remedy }: &Finding) -> Value {
    let remedy = if remedy.is_empty() { Value::Null } else { (*remedy).into() };
    json!({ "check": check, "verdict": verdict.as_str(), "what": what, "remedy": remedy })
}
