//! Reads the store during the run, and notes which steps have a result, and since when at the latest. A run that begins after
//! that has no excuse.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stent::prelude::*;
use stent::view::Filter;
use stent::{ExecutionId, ExecutionStatus, TaskId};

use crate::moment::Moment;

/// The executions that each look found ended, with the first moment after its answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) tasks: BTreeMap<TaskId, Moment>,
    pub(crate) executions: BTreeMap<ExecutionId, Moment>,
}

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(400);
/// The timeout of one look; a store that does not answer is looked at again.
const PATIENCE: Duration = Duration::from_secs(5);
/// Executions whose timelines are read in one look.
const TIMELINES: usize = 12;
/// Executions that are listed in one look.
const LISTED: usize = 150;

/// Looks until its task is aborted.
pub(crate) fn watch(stent: Stent) -> (tokio::task::JoinHandle<()>, Arc<Mutex<Seen>>) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let noted = seen.clone();
    let watching = tokio::spawn(async move {
        for look in 0.. {
            let _ = tokio::time::timeout(PATIENCE, self::look(&stent, look, &noted)).await;
            tokio::time::sleep(PAUSE).await;
        }
    });
    (watching, seen)
}

async fn look(stent: &Stent, number: usize, seen: &Mutex<Seen>) -> stent::Result<()> {
    let recent = stent.inspect().list(&Filter::default(), None, LISTED).await?;
    let now = Moment::now();
    {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        for view in recent.iter().filter(|view| view.status.is_terminal()) {
            seen.executions.entry(view.id).or_insert(now);
        }
    }
    let running = Filter::default().status(ExecutionStatus::Running);
    let running = stent.inspect().list(&running, None, LISTED).await?;
    // Different executions each time.
    let first = if running.is_empty() { 0 } else { number * TIMELINES % running.len() };
    for view in running.iter().cycle().skip(first).take(TIMELINES.min(running.len())) {
        let tasks = stent.inspect().timeline(view.id).await?;
        let now = Moment::now();
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        for task in tasks.iter().filter(|task| task.status.is_terminal()) {
            seen.tasks.entry(task.id).or_insert(now);
        }
    }
    Ok(())
}
