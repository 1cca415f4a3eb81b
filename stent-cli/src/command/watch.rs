//! `stent watch`: a live view. One counting query for each reading; lists only when a count has changed.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stent::view::{ExecutionView, Filter, LaneView, RunningView};
use stent::{Error, ExecutionStatus, Stent, Timestamp};

use super::list;
use super::tasks::running_table;
use crate::cli::{Format, Watch};
use crate::fault::{Fault, Result};
use crate::json;
use crate::out::Out;
use crate::table::{Cell, Table};
use crate::text::{cut, duration, execution_status, moment, plain};

/// Entries of each list.
const SHOWN: usize = 10;

/// The lists are read again after so many readings, even if no count has changed.
const LISTS_EVERY: u64 = 5;

/// How long a reading may take before the store counts as silent.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The time over which throughput is computed.
const WINDOW: Duration = Duration::from_secs(60);

/// Enters a screen of its own without a cursor, and leaves it.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";

type Counts = BTreeMap<ExecutionStatus, u64>;

/// One reading, as it is shown.
#[derive(Debug)]
struct View {
    now: Timestamp,
    counts: Counts,
    /// Executions that ended, by minute; `None` until there are two readings.
    throughput: Option<f64>,
    /// The share of failures among the ends of the window.
    failed: Option<f64>,
    lists: Lists,
}

#[derive(Clone, Debug, Default)]
struct Lists {
    running: Vec<RunningView>,
    lanes: Vec<LaneView>,
    recent: Vec<ExecutionView>,
}

/// The readings of the window.
#[derive(Debug, Default)]
struct Readings(VecDeque<(Instant, Counts)>);

impl Readings {
    fn add(&mut self, at: Instant, counts: Counts) {
        self.0.push_back((at, counts));
        // The last one before the window is where the window begins.
        while self.0.get(1).is_some_and(|(second, _)| at.duration_since(*second) >= WINDOW) {
            self.0.pop_front();
        }
    }

    /// Executions that ended in the window: by minute, and the share of failed ones.
    fn rates(&self) -> (Option<f64>, Option<f64>) {
        let (Some((first, before)), Some((last, after))) = (self.0.front(), self.0.back()) else {
            return (None, None);
        };
        let passed = last.duration_since(*first).as_secs_f64();
        if passed <= 0.0 {
            return (None, None);
        }
        let grown = |status: &ExecutionStatus| {
            let count = |counts: &Counts| counts.get(status).copied().unwrap_or(0);
            // Cleaning makes counts smaller.
            count(after).saturating_sub(count(before)) as f64
        };
        let ended: f64 = ExecutionStatus::ALL.iter().filter(|status| status.is_terminal()).map(grown).sum();
        let failed = grown(&ExecutionStatus::Failed) + grown(&ExecutionStatus::TimedOut);
        (Some(ended * 60.0 / passed), (ended > 0.0).then(|| failed / ended))
    }
}

/// The terminal's other screen, which is left however the command ends.
#[derive(Debug)]
struct Screen;

impl Screen {
    fn enter() -> Result<Self> {
        let screen = Self;
        io::stdout().write_all(ENTER.as_bytes())?;
        Ok(screen)
    }

    fn draw(&self, frame: &str) -> Result<()> {
        // Overwrites line by line, so nothing flickers.
        let mut bytes = String::from("\u{1b}[H");
        for line in frame.lines() {
            let _ = write!(bytes, "{line}\u{1b}[K\r\n");
        }
        bytes += "\u{1b}[J";
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes.as_bytes())?;
        Ok(stdout.flush()?)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(LEAVE.as_bytes()).and_then(|()| stdout.flush());
    }
}

pub(crate) async fn run(stent: &Stent, args: &Watch, out: &mut Out) -> Result<()> {
    let is_live = out.is_terminal && out.format == Format::Table;
    let screen = if is_live { Some(Screen::enter()?) } else { None };
    let mut ticks = tokio::time::interval(args.interval);
    // After a slow reading, the next one keeps its distance.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut readings, mut lists, mut last) = (Readings::default(), Lists::default(), None);
    let (mut shown, mut silent_since): (Option<View>, Option<Timestamp>) = (None, None);
    for n in 0_u64.. {
        if args.count.is_some_and(|count| n >= count) {
            break;
        }
        ticks.tick().await;
        let asked =
            tokio::time::timeout(ANSWER_MAX, read(stent, last.as_ref(), n.is_multiple_of(LISTS_EVERY)));
        let now = Timestamp::from(std::time::SystemTime::now());
        let (counts, read) = match asked.await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) if shown.is_none() || !is_transient(&error) => return Err(error.into()),
            // An outage: says so, and goes on.
            silent => {
                let why = match silent {
                    Ok(Err(error)) => Fault::from(error).message().to_owned(),
                    _ => format!("no answer within {}", duration(ANSWER_MAX)),
                };
                let since = *silent_since.get_or_insert(now);
                let outage = Outage { now, since, why };
                match (&screen, &shown) {
                    (Some(screen), Some(view)) => {
                        out.measure();
                        let outage = Some(&outage);
                        screen.draw(&frame(
                            view,
                            outage,
                            out.width.unwrap_or(80),
                            out.height(),
                            out.colour,
                        ))?;
                    }
                    _ if out.format == Format::Table => out.line(outage.text())?,
                    _ => out.line(outage.as_json().to_string())?,
                }
                out.flush()?;
                continue;
            }
        };
        silent_since = None;
        readings.add(Instant::now(), counts.clone());
        last = Some(counts.clone());
        lists = read.unwrap_or(lists);
        let (throughput, failed) = readings.rates();
        let view = View { now, counts, throughput, failed, lists: std::mem::take(&mut lists) };
        match &screen {
            Some(screen) => {
                out.measure();
                screen.draw(&frame(&view, None, out.width.unwrap_or(80), out.height(), out.colour))?;
            }
            None if out.format == Format::Table => {
                out.text(&frame(&view, None, out.width.unwrap_or(usize::MAX), None, out.colour))?;
                out.line("")?;
            }
            None => out.line(as_json(&view).to_string())?,
        }
        out.flush()?;
        lists = view.lists.clone();
        shown = Some(view);
    }
    Ok(())
}

/// Reads the counts, and the lists if they are wanted or a count has changed.
async fn read(stent: &Stent, last: Option<&Counts>, lists: bool) -> stent::Result<(Counts, Option<Lists>)> {
    let counts = stent.inspect().count().await?;
    let lists = if lists || last != Some(&counts) { Some(read_lists(stent).await?) } else { None };
    Ok((counts, lists))
}

fn is_transient(error: &Error) -> bool {
    matches!(error, Error::Store(error) if error.is_transient())
}

/// A store that does not answer.
#[derive(Debug)]
struct Outage {
    now: Timestamp,
    since: Timestamp,
    why: String,
}

impl Outage {
    fn text(&self) -> String {
        let Self { now, since, why } = self;
        format!(
            "stent watch  {}  the store has not answered for {}: {}",
            moment(*now),
            duration(now.since(*since)),
            plain(why)
        )
    }

    fn as_json(&self) -> Value {
        json!({ "at": self.now.to_string(), "silent_since": self.since.to_string(), "error": self.why })
    }
}

async fn read_lists(stent: &Stent) -> stent::Result<Lists> {
    let inspect = stent.inspect();
    Ok(Lists {
        running: inspect.running(SHOWN).await?,
        lanes: inspect.lanes().await?,
        recent: inspect.list(&Filter::default(), None, SHOWN).await?,
    })
}

/// The lines of a view that fit the terminal. In an outage it is the last one that was read.
fn frame(view: &View, outage: Option<&Outage>, width: usize, height: Option<usize>, colour: bool) -> String {
    let line = |text: &str| cut(text, width);
    let head = outage.map_or_else(|| format!("stent watch  {}", moment(view.now)), Outage::text);
    let mut parts = vec![line(&head)];

    let mut counts = Table::new().column("STATUS").number("COUNT");
    for status in ExecutionStatus::ALL {
        counts.row([
            execution_status(*status),
            view.counts.get(status).copied().unwrap_or(0).to_string().into(),
        ]);
    }
    parts.push(counts.render(Some(width), colour));

    parts.push(line(&rates(view)));

    let mut lanes: Vec<_> = view.lists.lanes.iter().collect();
    lanes.sort_by_key(|lane| std::cmp::Reverse((lane.due, lane.delayed)));
    let mut queues = Table::new().wide("QUEUE", 8).wide("FUNCTION", 8).number("DUE").number("DELAYED");
    for lane in lanes.into_iter().take(SHOWN) {
        queues.row([
            Cell::from(&lane.lane.queue),
            (&lane.lane.function).into(),
            lane.due.to_string().into(),
            lane.delayed.to_string().into(),
        ]);
    }
    parts.push(queues.render(Some(width), colour));
    parts.push(running_table(&view.lists.running, view.now).render(Some(width), colour));
    parts.push(list::table(&view.lists.recent, view.now).render(Some(width), colour));

    let parts: Vec<_> = parts.iter().map(|part| part.trim_end()).filter(|part| !part.is_empty()).collect();
    let text = parts.join("\n\n");
    // The last line stays free: a line feed there would scroll the screen.
    let lines = text.lines().take(height.map_or(usize::MAX, |height| height.saturating_sub(1)));
    let mut frame = String::new();
    lines.for_each(|line| {
        frame += line;
        frame.push('\n');
    });
    frame
}

/// The throughput of the window. A rate needs two readings, and a share or an average something that has ended.
fn rates(view: &View) -> String {
    let average = average(&view.lists.recent).map(|average| format!("{} on average", duration(average)));
    let ended = match view.throughput {
        None => "- ended a minute (from the second reading on)".to_owned(),
        Some(ended) => format!("{ended:.0} ended a minute"),
    };
    let failed = view.failed.map(|failed| format!("{:.1}% failed", failed * 100.0));
    [Some(ended), failed, average].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// How long the executions among these that have completed took.
fn average(executions: &[ExecutionView]) -> Option<Duration> {
    let took: Vec<_> = executions
        .iter()
        .filter(|view| view.status == ExecutionStatus::Completed)
        .filter_map(|view| Some(view.ended_at?.since(view.started_at?)))
        .collect();
    let count = u32::try_from(took.len()).ok().filter(|count| *count > 0)?;
    Some(took.iter().sum::<Duration>() / count)
}

fn as_json(view: &View) -> Value {
    let counts = view.counts.iter().map(|(status, count)| (status.as_str().to_owned(), json!(count)));
    json!({
        "at": view.now.to_string(),
        "executions": counts.collect::<serde_json::Map<_, _>>(),
        "ended_per_minute": view.throughput,
        "failed_share": view.failed,
        "queues": view.lists.lanes.iter().map(json::lane).collect::<Vec<_>>(),
        "running": view.lists.running.iter().map(json::running).collect::<Vec<_>>(),
        "recent": view.lists.recent.iter().map(json::execution).collect::<Vec<_>>(),
    })
}
