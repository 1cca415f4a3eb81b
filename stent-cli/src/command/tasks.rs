//! `stent tasks`: what workers run now, or the tasks of one execution.

use stent::backend::limits::PAGE_MAX;
use stent::view::{RunningView, TaskView};
use stent::{ExecutionId, Stent, Timestamp};

use super::find;
use crate::cli::Tasks;
use crate::fault::Result;
use crate::json;
use crate::out::{Out, tell};
use crate::table::{Cell, Colour, Table};
use crate::text::{due, task_colour, took};

pub(crate) async fn run(stent: &Stent, args: &Tasks, out: &mut Out) -> Result<()> {
    match &args.execution {
        Some(prefix) => of_execution(stent, find::execution(stent, prefix).await?, args, out).await,
        None => running(stent, args, out).await,
    }
}

async fn running(stent: &Stent, args: &Tasks, out: &mut Out) -> Result<()> {
    // The store cannot choose by function, so the largest page is read for that.
    let max = if args.function.is_some() { PAGE_MAX } else { args.limit };
    let mut tasks = stent.inspect().running(max).await?;
    tasks.retain(|task| args.function.as_ref().is_none_or(|function| task.function == *function));
    tasks.truncate(args.limit);
    // By worker; within one, the task that runs longest comes first.
    tasks.sort_by_key(|task| (task.worker, task.started_at));
    let now = stent.store().clock().await?;
    out.list(&tasks, json::running, |tasks| running_table(tasks, now))?;
    out.flush()?;
    if tasks.is_empty() {
        tell("no task is running");
    } else if tasks.len() == args.limit {
        tell(format!("hint: there may be more; --limit shows up to {PAGE_MAX}"));
    }
    Ok(())
}

/// Running tasks as a table.
pub(crate) fn running_table(tasks: &[RunningView], now: Timestamp) -> Table {
    let table = Table::new().column("WORKER").wide("FUNCTION", 10).wide("QUEUE", 7).number("RUNNING");
    let mut table = table.column("LEASE").column("EXECUTION");
    for task in tasks {
        let lease = match task.lease_until {
            Some(until) if until > now => Cell::from(due(until, now)),
            Some(until) => Cell::from(format!("over {}", due(until, now))).colour(Colour::Bad),
            None => Cell::from(""),
        };
        table.row([
            task.worker.map(|id| id.to_string()).unwrap_or_default().into(),
            (&task.function).into(),
            (&task.queue).into(),
            took(task.started_at, None, now).into(),
            lease,
            task.execution.to_string().into(),
        ]);
    }
    table
}

async fn of_execution(stent: &Stent, id: ExecutionId, args: &Tasks, out: &mut Out) -> Result<()> {
    let inspect = stent.inspect();
    inspect.describe(id).await?;
    let fits = |task: &TaskView| {
        args.status.is_none_or(|status| task.status == status)
            && args.function.as_ref().is_none_or(|name| task.name == *name)
    };
    let (mut tasks, mut after, mut more) = (Vec::new(), None, false);
    while !more {
        let page = inspect.tasks(id, after, PAGE_MAX).await?;
        let is_last = page.len() < PAGE_MAX;
        after = page.last().map(|task| task.id).or(after);
        let fitting = page.into_iter().filter(fits);
        tasks.extend(fitting.take(args.limit + 1 - tasks.len()));
        more = tasks.len() > args.limit;
        if is_last {
            break;
        }
    }
    tasks.truncate(args.limit);
    let now = stent.store().clock().await?;
    out.list(&tasks, json::task, |tasks| table(tasks, now))?;
    out.flush()?;
    if tasks.is_empty() {
        tell("no tasks match");
    } else if more {
        tell("hint: there are more; --limit shows them");
    }
    Ok(())
}

fn table(tasks: &[TaskView], now: Timestamp) -> Table {
    let table = Table::new().column("ID").column("KIND").wide("NAME", 10).column("STATUS");
    let mut table = table.number("ATTEMPTS").number("DURATION").wide("FAILURE", 10);
    for task in tasks {
        table.row([
            task.id.to_string().into(),
            task.kind.as_str().into(),
            (&task.name).into(),
            Cell::from(task.status.as_str()).colour(task_colour(task.status)),
            // The failed ones, and the one that ended or is under way.
            (task.attempts + u32::from(task.started_at.is_some())).to_string().into(),
            took(task.started_at, task.ended_at, now).into(),
            task.failure.as_deref().unwrap_or_default().into(),
        ]);
    }
    table
}
