//! The ledger: notes that effects write about themselves, independent of the store and of Stent.
//!
//! A *run* is one execution of a step's code. It notes its begin and its outcome: `end`, `fail`, or `drop` if its future was
//! dropped in the middle. A run in a killed process has no outcome. Each note is handed to the operating system before the run
//! continues.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use stent::{Execution, ExecutionId};

use crate::log::{self, Log};
use crate::moment::Moment;

/// The place of a step: the name of its execution, then the position in its parent, and so on. Both the calling code and a
/// reader of the timeline know it, because positions are taken in the order in which steps are built.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Place(String);

impl Place {
    pub(crate) fn root(execution: impl fmt::Display) -> Self {
        Self(execution.to_string())
    }

    pub(crate) fn at(&self, seq: impl fmt::Display) -> Self {
        Self(format!("{}.{seq}", self.0))
    }

    /// The name of its execution.
    pub(crate) fn of_root(&self) -> Self {
        Self(self.0.split('.').next().unwrap_or_default().to_owned())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The kind of step that ran: the judge checks limits and keys by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Effect {
    /// A step without a rule of its own.
    Plain,
    /// The closure of a transaction, which may run again before it is committed.
    Row,
    /// A function with a limit on concurrent runs: [`crate::programs::NARROW_MAX`].
    Narrow,
    /// A function with a limit on starts per second: [`crate::programs::PACED_MAX`].
    Paced,
    /// An idempotent function, under this key.
    Once(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Event {
    Begin,
    End,
    Fail,
    Drop,
}

/// A line of the ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) at: Moment,
    /// The life of a worker process: each start of a process is another life.
    pub(crate) life: u64,
    /// The run, by its number in this life.
    pub(crate) run: u64,
    pub(crate) event: Event,
    pub(crate) place: Place,
    pub(crate) attempt: u32,
    pub(crate) effect: Effect,
    pub(crate) execution: ExecutionId,
}

/// All lines, in the order of their moments.
pub(crate) fn read(folder: &Path) -> anyhow::Result<Vec<Line>> {
    let lines = log::read(folder)?;
    let mut lines: Vec<Line> =
        lines.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>()?;
    lines.sort_by_key(|line| line.at);
    Ok(lines)
}

/// The ledger, as the steps of one worker process see it.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    life: u64,
    log: Log,
    runs: Arc<AtomicU64>,
}

impl Ledger {
    pub(crate) fn open(folder: &Path, life: u64) -> io::Result<Self> {
        Ok(Self { life, log: Log::open(folder, &format!("life{life:04}"))?, runs: Arc::default() })
    }

    /// Notes a run around its work, which gets the run's number: no other run of any process has this number.
    pub(crate) async fn run<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        effect: Effect,
        place: &Place,
        execution: &Execution,
        work: impl FnOnce(u64) -> F,
    ) -> Result<T, E> {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let mut run = Run {
            ledger: self,
            outcome: Event::Drop,
            line: Line {
                at: Moment::now(),
                life: self.life,
                run: number,
                event: Event::Begin,
                place: place.clone(),
                attempt: execution.attempt(),
                effect,
                execution: execution.id(),
            },
        };
        run.note(Event::Begin);
        let result = work(self.life * 1_000_000 + number).await;
        run.outcome = if result.is_ok() { Event::End } else { Event::Fail };
        result
    }
}

/// Notes the outcome when it is dropped, including when its future is dropped.
struct Run<'a> {
    ledger: &'a Ledger,
    outcome: Event,
    line: Line,
}

impl Run<'_> {
    fn note(&mut self, event: Event) {
        self.line.at = Moment::now();
        self.line.event = event;
        let line = serde_json::to_string(&self.line).unwrap_or_default();
        if let Err(error) = self.ledger.log.append(&line) {
            // Without the ledger, the judge could not check anything that this process does from here on.
            eprintln!("cannot write the ledger: {error}");
            std::process::abort();
        }
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.note(self.outcome);
    }
}
