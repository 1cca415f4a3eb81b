//! `stent show`: one execution as a whole, or one of its tasks.

use std::collections::{HashMap, HashSet};

use futures::future::try_join_all;
use serde_json::{Value, json};
use stent::backend::limits::{LOOKUP_MAX, PAGE_MAX};
use stent::backend::model::{StepState, TaskResult};
use stent::view::{EndedClaim, ExecutionView, NotesView, StepKind, TaskStatus, TaskView};
use stent::{ExecutionId, Failure, Payload, Stent, TaskId, Timestamp, Uuid};

use super::find;
use super::timeline;
use super::tree::{self, Details, Tree};
use crate::cli::{Format, Show};
use crate::fault::{Fault, NOT_FOUND, Result};
use crate::json;
use crate::out::{Out, tell};
use crate::payload;
use crate::table::{Cell, Colour, Table};
use crate::text::{
    clock, count, cut, due, duration, execution_status, moment, plain, task_colour, took, words,
};

/// Most tasks whose arguments are read: each takes a read of its own.
const PAYLOADS_MAX: usize = 1_000;

/// Most tasks that are read, hidden items among them.
const READ_MAX: usize = 1_000_000;

/// How many arguments are read at once.
const READS: usize = 16;

pub(crate) async fn run(stent: &Stent, args: &Show, out: &mut Out) -> Result<()> {
    let id = find::execution(stent, &args.id).await?;
    match args.task {
        Some(task) => one_task(stent, args, (id, task), out).await,
        None => whole(stent, args, id, out).await,
    }
}

async fn whole(stent: &Stent, args: &Show, id: ExecutionId, out: &mut Out) -> Result<()> {
    let inspect = stent.inspect();
    let view = inspect.describe(id).await?;
    let notes = stent.notes(id).await?;
    let (tasks, more) = read_tasks(stent, args, id).await?;
    let details = if args.payloads { payloads(stent, &tasks).await? } else { Details::default() };
    let now = stent.store().clock().await?;

    if out.format == Format::Table {
        head(&view, tasks.first().and_then(|root| root.ready_at), now, out)?;
        if let Some(Err(failure)) = &view.result {
            out.line("")?;
            self::failure(failure, out)?;
        }
        if args.payloads {
            values(&view, &details, out)?;
        }
        said(&notes, out)?;
        out.line("")?;
        if args.timeline {
            timeline::draw(&tasks, view.created_at, view.ended_at, now, out)?;
        } else {
            let tree = Tree { tasks: &tasks, details: &details, ids: args.ids, now };
            tree.draw(out)?;
        }
    } else {
        out.json(&as_json(&view, &notes, &tasks, &details, args.payloads, more))?;
    }
    out.flush()?;
    if more {
        tell(format!("hint: only {} are shown; --limit shows more", count(tasks.len(), "task")));
    }
    Ok(())
}

fn as_json(
    view: &ExecutionView,
    notes: &NotesView,
    tasks: &[TaskView],
    details: &Details,
    payloads: bool,
    more: bool,
) -> Value {
    let mut whole = json::execution(view);
    for (name, value) in json::notes(notes) {
        whole[name] = value;
    }
    let tasks = tasks.iter().map(|task| {
        let mut json = json::task(task);
        if payloads {
            json["args"] = details.args.get(&task.id).map_or(Value::Null, payload::json);
            json["result"] = details.results.get(&task.id).map_or(Value::Null, result);
        }
        json
    });
    whole["tasks"] = tasks.collect();
    whole["tasks_cut"] = more.into();
    if payloads {
        whole["args"] = details.args.get(&view.id.root()).map_or(Value::Null, payload::json);
        whole["result"] = view.result.as_ref().map_or(Value::Null, result);
    }
    whole
}

fn result(result: &TaskResult) -> Value {
    match result {
        Ok(payload) => payload::json(payload),
        Err(failure) => json!({ "failure": json::failure(failure) }),
    }
}

/// Reads an execution's tasks page by page, without the items of maps and all that is below them unless they are asked for.
/// Returns whether there are more.
async fn read_tasks(stent: &Stent, args: &Show, id: ExecutionId) -> Result<(Vec<TaskView>, bool)> {
    let (mut tasks, mut after, mut read) = (Vec::new(), None, 0);
    // Maps, and everything below them. A task comes after its parent.
    let mut mapped: HashSet<TaskId> = HashSet::new();
    loop {
        let page = stent.inspect().tasks(id, after, PAGE_MAX).await?;
        let is_last = page.len() < PAGE_MAX;
        after = page.last().map(|task| task.id).or(after);
        read += page.len();
        for task in page {
            let is_item = task.parent.is_some_and(|parent| mapped.contains(&parent));
            if is_item || task.kind.is_map() {
                mapped.insert(task.id);
            }
            if is_item && !args.items {
                continue;
            }
            if tasks.len() == args.limit {
                return Ok((tasks, true));
            }
            tasks.push(task);
        }
        if is_last {
            return Ok((tasks, false));
        }
        if read >= READ_MAX {
            return Ok((tasks, true));
        }
    }
}

/// The arguments and results of tasks.
async fn payloads(stent: &Stent, tasks: &[TaskView]) -> Result<Details> {
    let mut details = Details::default();
    let called: Vec<_> = tasks.iter().filter(|task| task.kind == StepKind::Call).take(PAYLOADS_MAX).collect();
    for some in called.chunks(READS) {
        let reads = some
            .iter()
            .map(|task| async { Ok::<_, stent::Error>((task.id, stent.inspect().args(task.id).await?)) });
        let read = try_join_all(reads).await?;
        details.args.extend(read.into_iter().filter_map(|(id, args)| Some((id, args?))));
    }
    // A step's result is in its parent's record.
    let mut parents: Vec<_> = tasks.iter().filter_map(|task| task.parent).collect();
    parents.sort_unstable();
    parents.dedup();
    let seen: Vec<_> = parents.iter().take(LOOKUP_MAX).map(|id| (*id, 0)).collect();
    for (_, steps) in stent.store().completions(&seen).await? {
        details.results.extend(steps.into_iter().filter_map(|step| match step.state {
            StepState::Done { result, .. } => Some((step.id, result)),
            StepState::Open { .. } | StepState::Cancelled => None,
        }));
    }
    let maps: Vec<_> = tasks.iter().filter(|task| task.kind.is_map()).map(|task| task.id).collect();
    for map in maps {
        let items = tasks.iter().filter(|task| task.parent == Some(map)).take(PAYLOADS_MAX);
        let items: HashMap<_, _> = items.map(|item| (item.seq, item.id)).collect();
        if items.is_empty() {
            continue;
        }
        for item in stent.inspect().items(map, stent::view::Seq(0), PAYLOADS_MAX).await? {
            if let (Some(id), Some(result)) = (items.get(&item.seq), item.result) {
                details.results.insert(*id, result);
            }
        }
    }
    Ok(details)
}

/// The lines about an execution as a whole.
pub(crate) fn head(
    view: &ExecutionView,
    ready_at: Option<Timestamp>,
    now: Timestamp,
    out: &mut Out,
) -> Result<()> {
    let mut lines = Lines::default();
    lines.add("execution", view.id.to_string());
    lines.add("function", &view.function);
    lines.add("status", execution_status(view.status));
    lines.add("queue", &view.queue);
    if view.priority != 0 {
        lines.add("priority", view.priority.to_string());
    }
    if !view.tags.is_empty() {
        lines.add("tags", words(&view.tags));
    }
    if view.attempts > 0 {
        lines.add("retried", format!("{} times", view.attempts));
    }
    lines.add("dispatched", moment(view.created_at));
    if let Some(started) = view.started_at {
        lines.add(
            "started",
            format!("{}, after {}", moment(started), duration(started.since(view.created_at))),
        );
    }
    match (view.started_at, view.ended_at) {
        (Some(started), Some(ended)) => {
            lines.add("ended", format!("{}, took {}", moment(ended), duration(ended.since(started))));
        }
        (None, Some(ended)) => lines.add("ended", moment(ended)),
        (Some(started), None) => lines.add("running", duration(now.since(started))),
        (None, None) => match ready_at.filter(|at| *at > now) {
            Some(at) => lines.add("due", format!("{}, {}", moment(at), due(at, now))),
            None => lines.add("waiting", duration(now.since(ready_at.unwrap_or(view.created_at)))),
        },
    }
    if let Some(expires) = view.expires_at {
        lines.add("deadline", moment(expires));
    }
    lines.print(out)
}

/// A failure with its chain and its trace.
pub(crate) fn failure(failure: &Failure, out: &mut Out) -> Result<()> {
    heading("FAILURE", out)?;
    let kind = plain(failure.kind.as_str());
    let kind = if out.colour { Colour::Bad.paint(&kind) } else { kind };
    out.line(format!("  {kind}: {}", block(&failure.message, 4)))?;
    for cause in &failure.causes {
        out.line(format!("  caused by: {}", block(cause, 4)))?;
    }
    if failure.fatal {
        out.line("  fatal: it is not retried")?;
    }
    if let Some(data) = &failure.data {
        out.line(format!("  value: {}", payload::text(data)))?;
    }
    if let Some(trace) = &failure.trace {
        out.line(format!("  where: {}", block(trace, 4)))?;
    }
    Ok(())
}

/// A text of several lines, with the later ones indented.
fn block(text: &str, indent: usize) -> String {
    let lines: Vec<_> = text.lines().map(plain).collect();
    lines.join(&format!("\n{}", " ".repeat(indent)))
}

/// The arguments and the result of the execution.
fn values(view: &ExecutionView, details: &Details, out: &mut Out) -> Result<()> {
    out.line("")?;
    heading("PAYLOADS", out)?;
    if let Some(args) = details.args.get(&view.id.root()) {
        out.line(format!("  args    {}", payload::text(args)))?;
    }
    if let Some(Ok(result)) = &view.result {
        out.line(format!("  result  {}", payload::text(result)))?;
    }
    Ok(())
}

/// The notes that the code made about itself.
fn said(notes: &NotesView, out: &mut Out) -> Result<()> {
    if !notes.counters.is_empty() {
        out.line("")?;
        heading("COUNTERS", out)?;
        for (name, count) in &notes.counters {
            out.line(format!("  {}  {count}", plain(name)))?;
        }
    }
    if !notes.states.is_empty() {
        out.line("")?;
        heading("STATES", out)?;
        for (name, value) in &notes.states {
            let line = format!("  {}  {}", plain(name), payload::text(value));
            out.line(fit(&line, out))?;
        }
    }
    if !notes.progress.is_empty() {
        out.line("")?;
        heading("PROGRESS", out)?;
        for entry in &notes.progress {
            let line = format!("  {}  {}", clock(entry.at), plain(&entry.text));
            out.line(fit(&line, out))?;
        }
    }
    if !notes.summary.is_empty() {
        out.line("")?;
        heading("SUMMARY OF DELETED STEPS", out)?;
        for line in &notes.summary {
            out.line(format!("  {} {} {}: {}", line.kind, plain(&line.name), line.status, line.count))?;
        }
    }
    Ok(())
}

pub(crate) fn fit(line: &str, out: &Out) -> String {
    out.width.map_or_else(|| line.to_owned(), |width| cut(line, width))
}

pub(crate) fn heading(text: &str, out: &mut Out) -> Result<()> {
    let line = if out.colour { Colour::Dim.paint(text) } else { text.to_owned() };
    out.line(line)
}

/// Names and values, one below the other.
#[derive(Debug, Default)]
pub(crate) struct Lines(Vec<(&'static str, Cell)>);

impl Lines {
    pub(crate) fn add(&mut self, name: &'static str, value: impl Into<Cell>) {
        self.0.push((name, value.into()));
    }

    pub(crate) fn print(self, out: &mut Out) -> Result<()> {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in self.0 {
            // In a narrow terminal, the value has a line of its own.
            let fits = out.width.is_none_or(|most| width + 2 + value.width() <= most);
            let value = value.painted(out.colour);
            if fits {
                out.line(format!("{name:width$}  {value}"))?;
            } else {
                out.line(name)?;
                out.line(format!("  {value}"))?;
            }
        }
        Ok(())
    }
}

async fn one_task(stent: &Stent, args: &Show, (of, id): (ExecutionId, TaskId), out: &mut Out) -> Result<()> {
    let inspect = stent.inspect();
    let execution = inspect.describe(of).await?;
    // The page that begins with the task.
    let before = id.as_uuid().as_u128().checked_sub(1).map(|id| TaskId::from_uuid(Uuid::from_u128(id)));
    let task = inspect.tasks(of, before, 1).await?.into_iter().next().filter(|task| task.id == id);
    let Some(task) = task else {
        return Err(Fault::new(NOT_FOUND, format!("execution {of} has no task {id}"))
            .hint("`stent show ID --ids` shows the ids of its tasks"));
    };
    let history = inspect.ended_claims(id).await?;
    let running = match task.status {
        TaskStatus::Running => inspect.running(PAGE_MAX).await?.into_iter().find(|task| task.id == id),
        _ => None,
    };
    let (called, result) = if args.payloads { of_one(stent, &execution, &task).await? } else { (None, None) };
    let now = stent.store().clock().await?;

    if out.format != Format::Table {
        let mut json = json::task(&task);
        json["execution"] = of.to_string().into();
        json["history"] = history.iter().map(json::ended_claim).collect();
        json["running"] = running.as_ref().map_or(Value::Null, json::running);
        if args.payloads {
            json["args"] = called.as_ref().map_or(Value::Null, payload::json);
            json["result"] = result.as_ref().map_or(Value::Null, self::result);
        }
        return out.json(&json);
    }

    let mut lines = Lines::default();
    lines.add("task", task.id.to_string());
    lines.add("execution", of.to_string());
    lines.add("kind", task.kind.as_str());
    lines.add("name", &task.name);
    if let Some(parent) = task.parent {
        lines.add("parent", format!("{parent}, position {}", task.seq));
    }
    let status = Cell::from(tree::stands(&task, &[], now));
    lines.add("status", status.colour(task_colour(task.status)));
    if let Some(running) = &running {
        lines.add("queue", &running.queue);
        lines.add("worker", running.worker.map(|id| id.to_string()).unwrap_or_default());
        lines.add("lease", running.lease_until.map(moment).unwrap_or_default());
    } else if task.parent.is_none() {
        lines.add("queue", &execution.queue);
        lines.add("tags", words(&execution.tags));
    }
    lines.add("failed", format!("{} times", task.attempts));
    lines.add("crashed", format!("{} times", task.crashes));
    lines.add("released", format!("{} times", task.releases));
    lines.add("created", moment(task.created_at));
    if let Some(started) = task.started_at {
        lines.add("started", moment(started));
    }
    if let Some(ended) = task.ended_at {
        lines.add("ended", format!("{}, took {}", moment(ended), took(task.started_at, task.ended_at, now)));
    }
    lines.print(out)?;
    if let Some(args) = &called {
        out.line(format!("\nargs    {}", payload::text(args)))?;
    }
    match &result {
        Some(Ok(result)) => out.line(format!("result  {}", payload::text(result)))?,
        Some(Err(failure)) => {
            out.line("")?;
            self::failure(failure, out)?;
        }
        None => {
            if let Some(message) = &task.failure {
                out.line(format!("\nfailure: {}", block(message, 2)))?;
            }
        }
    }
    self::history(&history, out)
}

/// The arguments and the result of one task.
async fn of_one(
    stent: &Stent,
    execution: &ExecutionView,
    task: &TaskView,
) -> Result<(Option<Payload>, Option<TaskResult>)> {
    let args = stent.inspect().args(task.id).await?;
    let Some(parent) = task.parent else { return Ok((args, execution.result.clone())) };
    let steps = stent.store().completions(&[(parent, 0)]).await?;
    let step = steps.into_iter().flat_map(|(_, steps)| steps).find(|step| step.id == task.id);
    let result = match step.map(|step| step.state) {
        Some(StepState::Done { result, .. }) => Some(result),
        // An item of a map is not in a record.
        _ => {
            let items = stent.inspect().items(parent, task.seq, 1).await?;
            items.into_iter().find(|item| item.seq == task.seq).and_then(|item| item.result)
        }
    };
    Ok((args, result))
}

/// The claims that ended badly.
pub(crate) fn history(claims: &[EndedClaim], out: &mut Out) -> Result<()> {
    if claims.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let mut table = Table::new().column("CLAIM ENDED").column("HOW").column("WORKER").wide("FAILURE", 12);
    for claim in claims {
        let failure =
            claim.failure.as_ref().map(|failure| format!("{}: {}", failure.kind.as_str(), failure.message));
        table.row([
            moment(claim.at).into(),
            claim.end.as_str().into(),
            claim.worker.map(|id| id.to_string()).unwrap_or_default().into(),
            failure.unwrap_or_default().into(),
        ]);
    }
    out.table(&table)
}
