//! The clock of a test. It skips the time in which nothing happens.

use std::fmt;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stent_core::Timestamp;
use stent_core::backend::TaskView;
use stent_core::duration::IntoDuration;
use stent_core::limits::LOOKUP_MAX;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use crate::engine::Engine;
use crate::engine::skip::Skip;
use crate::error::{Error, Result};
use crate::stent::Stent;

/// How often to look whether a test waits for a result now. Short, because each skip may be delayed by it.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// How long to pause before workers are asked again if they wait for nothing but the test: for a signal, for example.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// How long a test may wait for a result while nothing can happen by itself, in real time, until this is told.
const PATIENCE: Duration = Duration::from_secs(10);

/// Executions that are told, and their tasks that are read for it.
const TOLD_MAX: usize = 4;
const TASKS_MAX: usize = 100;

/// The longest time that a test may skip at once.
const ADVANCE_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

/// The clock of a test's store and worker.
///
/// While the test waits for the result of an execution, and no function has anything to do, the clock skips to the next
/// moment that something waits for: the end of a [`sleep`](crate::sleep()) or a [`timeout`](crate::timeout()), a retry, a
/// delayed dispatch, a deadline, or the end of a dead worker's lease. So a function that sleeps for two days ends in a
/// few milliseconds. Time stands still neither for running code nor for the test itself: a function that awaits an HTTP
/// call or `tokio::time::sleep` takes its real time, and nothing is skipped meanwhile.
///
/// While the test does not wait for a result, time is real. So a signal that the test is about to send is not overtaken by
/// the signal's timeout. Use [`advance`](Self::advance) to let time pass:
///
/// ```standalone_crate
/// use stent::prelude::*;
///
/// #[durable]
/// async fn remind(name: String) -> Result<String, stent::Error> {
///     stent::sleep("2d").await?;
///     Ok(format!("{name}, your trial ends"))
/// }
///
/// # #[tokio::main] async fn main() -> stent::Result<()> {
/// let test = stent::testing::start().await?;
///
/// // Skips two days.
/// assert_eq!(test.stent.run(remind("kim".to_owned())).await?, "kim, your trial ends");
///
/// // Skips one day, and nothing has happened yet.
/// let run = test.stent.dispatch(remind("lee".to_owned())).await?;
/// test.clock.advance("1d").await?;
/// assert!(!run.status().await?.is_terminal());
/// test.clock.advance("1d").await?;
/// assert!(run.status().await?.is_terminal());
/// # Ok(()) }
/// ```
///
/// A test that waits for something that nobody does, such as a signal, would hang without a word. So after ten seconds of real
/// time, a line on the standard error and a warning in the log name the execution and its open steps.
///
/// [`stent::now`](crate::now()), attempts, deadlines and leases follow this clock. Timers of tokio, the system's clock and
/// the timeout of a [`result`](crate::Handle::result) that the test awaits do not.
pub struct TestClock {
    engine: Arc<Engine>,
    /// `None` if time is real.
    skipping: Option<Skipping>,
}

struct Skipping {
    skip: Arc<Skip>,
    /// Held by whoever decides about the next skip.
    turn: Arc<Mutex<()>>,
    task: AbortHandle,
}

impl TestClock {
    pub(super) fn start(stent: &Stent, skip: Option<Arc<Skip>>) -> Self {
        let engine = stent.engine().clone();
        let skipping = skip.map(|skip| {
            let turn = Arc::new(Mutex::new(()));
            let task = tokio::spawn(skip_while_awaited(engine.clone(), skip.clone(), turn.clone()));
            Skipping { skip, turn, task: task.abort_handle() }
        });
        Self { engine, skipping }
    }

    /// The time, as durable functions see it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.engine.clock.now()
    }

    /// Moves time forward by this long, and returns when no function has anything to do. Everything that is due on the
    /// way happens at its moment. Takes a [`Duration`] or text such as `"2d"`. In [real time](super::TestingBuilder::real_time),
    /// this waits as long.
    ///
    /// # Errors
    /// The text is not a duration, or it is longer than a hundred years.
    ///
    /// # Cancel safety
    /// If it is dropped, part of the time has passed.
    pub async fn advance(&self, by: impl IntoDuration) -> Result<()> {
        let by = by.into_duration()?;
        if by > ADVANCE_MAX {
            let problem = format!(
                "{by:?} is longer than a hundred years; leases and timers would pass the end of time"
            );
            return Err(Error::Option { option: "advance", problem });
        }
        let Some(Skipping { skip, turn, .. }) = &self.skipping else {
            tokio::time::sleep(by).await;
            return Ok(());
        };
        let turn = turn.lock().await;
        let mut next = skip.rest().await;
        let end = self.now() + by;
        loop {
            let now = self.now();
            if now >= end {
                break;
            }
            let to = next.filter(|next| *next > now && *next < end).unwrap_or(end);
            skip.advance(to.since(now));
            next = skip.rest().await;
        }
        drop(turn);
        Ok(())
    }

    /// Waits until no function has anything to do before time goes on: all have ended, or wait for a moment, a signal or
    /// another execution. In [real time](super::TestingBuilder::real_time), this returns at once.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn settle(&self) {
        if let Some(Skipping { skip, turn, .. }) = &self.skipping {
            let _turn = turn.lock().await;
            skip.rest().await;
        }
    }
}

impl fmt::Debug for TestClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestClock")
            .field("now", &self.now())
            .field("skips", &self.skipping.is_some())
            .finish_non_exhaustive()
    }
}

impl Drop for Skipping {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Skips to the next moment whenever the test waits for a result and no worker has anything to do.
async fn skip_while_awaited(engine: Arc<Engine>, skip: Arc<Skip>, turn: Arc<Mutex<()>>) {
    let mut idle = Idle::default();
    loop {
        if engine.waiters.awaited().is_empty() {
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        }
        let turn = turn.lock().await;
        let next = skip.rest().await;
        let now = engine.clock.now();
        if idle.has_lasted(skip.work(), next) {
            tell(&engine).await;
        }
        match next.filter(|next| *next > now) {
            Some(next) if waits_for_open(&engine).await => skip.advance(next.since(now)),
            _ => {
                drop(turn);
                tokio::time::sleep(ASK_EVERY).await;
            }
        }
    }
}

/// How long nothing has happened, in real time.
#[derive(Debug, Default)]
struct Idle {
    /// The work that was done when it began, and the moment.
    since: Option<(u64, Instant)>,
    is_told: bool,
}

impl Idle {
    /// Whether nothing was done for long, and nothing will be by itself. True once.
    fn has_lasted(&mut self, work: u64, next: Option<Timestamp>) -> bool {
        let (before, began) = *self.since.get_or_insert_with(|| (work, Instant::now()));
        if next.is_some() || work != before {
            *self = Self::default();
            return false;
        }
        let lasted = began.elapsed() >= PATIENCE;
        lasted && !std::mem::replace(&mut self.is_told, true)
    }
}

/// Says what the test waits for. Past the capture of the test runner, which shows the output of a test only when it has ended.
async fn tell(engine: &Engine) {
    let mut waits = Vec::new();
    for execution in engine.waiters.awaited().into_iter().take(TOLD_MAX) {
        let tasks = engine.store.tasks(execution, None, TASKS_MAX).await.unwrap_or_default();
        let is_open = |task: &&TaskView| task.ended_at.is_none();
        let is_root = |task: &TaskView| task.parent.is_none();
        let root = tasks.iter().find(|task| is_root(task)).map_or("?", |task| task.name.as_str());
        let steps = tasks.iter().filter(is_open).filter(|task| !is_root(task));
        let steps: Vec<_> = steps.map(|task| format!("{} `{}`", task.kind, task.name)).collect();
        let what = if steps.is_empty() {
            "has no open step".to_owned()
        } else {
            format!("waits for {}", steps.join(", "))
        };
        waits.push(format!("execution {execution} of `{root}` {what}"));
    }
    let waits = waits.join("; ");
    let text = format!(
        "the test has waited for {} s for a result, and no worker has anything to do: {waits}; send the signal, or register the \
         function that nobody runs",
        PATIENCE.as_secs()
    );
    tracing::warn!("{text}");
    let _ = writeln!(io::stderr(), "stent::testing: {text}");
}

/// Whether the test waits, and everything that it waits for is open. The result of an execution that has ended is on its way, and the
/// test goes on with it at the time of the end.
async fn waits_for_open(engine: &Engine) -> bool {
    let awaited = engine.waiters.awaited();
    for page in awaited.chunks(LOOKUP_MAX) {
        let Ok(views) = engine.store.executions(page).await else { return false };
        if views.len() < page.len() || views.iter().any(|view| view.status.is_terminal()) {
            return false;
        }
    }
    !awaited.is_empty()
}
