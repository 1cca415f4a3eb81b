//! The ledger: what effects note of themselves, past the store and past Stent.
//!
//! A *run* is one time that the code of a step is run. It notes its begin, and how it came out: `end`, `fail`, or `drop`
//! where its future was dropped in the middle. A run of a process that was killed has no outcome. What a run has noted is with
//! the operating system before the run goes on.

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

/// A step by where it stands: the name of its execution, then the position in its parent, and so on. The code that calls the
/// step knows it, and so does a reader of the timeline: positions are taken in the order in which steps are built.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Place(String);

impl Place {
    pub(crate) fn root(execution: impl fmt::Display) -> Self {
        Self(execution.to_string())
    }

    pub(crate) fn at(&self, seq: impl fmt::Display) -> Self {
        Self(format!("{}.{seq}", self.0))
    }

    /// The name of the execution that it is in.
    pub(crate) fn of_root(&self) -> Self {
        Self(self.0.split('.').next().unwrap_or_default().to_owned())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What a run is of: the judge holds limits and keys against it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Effect {
    /// A step without any rule of its own.
    Plain,
    /// The closure of a transaction, which may run again before it is committed.
    Row,
    /// A function that runs at most so often at once: [`crate::programs::NARROW_MAX`].
    Narrow,
    /// A function that starts at most so often in a second: [`crate::programs::PACED_MAX`].
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
    /// The life of a worker process: each start of one is another life.
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

/// The ledger as the steps of one worker process see it.
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

    /// Notes a run of a step around its work, which is told the number of the run: no other run of any process has it.
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

/// Notes the outcome when it goes, also where the future that it is in is dropped.
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
            // Nothing that this process does from here on could be judged.
            eprintln!("the ledger cannot be written: {error}");
            std::process::abort();
        }
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.note(self.outcome);
    }
}
