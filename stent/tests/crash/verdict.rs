//! The rules by which the ledger and the store must agree.

use std::collections::{BTreeMap, BTreeSet};

use stent::TaskId;
use stent::prelude::*;
use stent::view::{StepKind, TaskStatus, TaskView};

use crate::functions::Run;
use crate::ledger::{Event, Line, Place};

/// A run of a step according to the ledger.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// The process that it ran in.
    pub(crate) life: usize,
    nonce: usize,
    /// The line of its start.
    start: usize,
    /// Its outcome, and the line of it; `None` if it was cut off.
    outcome: Option<(Event, usize)>,
}

/// Every run of every step, in the order of their starts.
#[derive(Debug, Default)]
pub(crate) struct Attempts(BTreeMap<Place, Vec<Attempt>>);

/// Sorts the lines of the ledger.
pub(crate) fn attempts(lines: &[Line]) -> Attempts {
    let mut attempts = Attempts::default();
    for (number, line) in lines.iter().enumerate() {
        let known = attempts.0.entry(line.place.clone()).or_default();
        match line.event {
            Event::Start => {
                known.push(Attempt { life: line.life, nonce: line.nonce, start: number, outcome: None });
            }
            Event::End | Event::Fail => {
                let begun =
                    known.iter_mut().find(|known| (known.life, known.nonce) == (line.life, line.nonce));
                begun.expect("a run ends after it began").outcome = Some((line.event, number));
            }
        }
    }
    attempts
}

impl Attempts {
    /// Steps that ran at all.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The runs of one step.
    pub(crate) fn at(&self, place: &Place) -> &[Attempt] {
        self.0.get(place).map_or(&[], Vec::as_slice)
    }

    /// Runs of any step in one process.
    pub(crate) fn of_life(&self, life: usize) -> usize {
        self.0.values().flatten().filter(|attempt| attempt.life == life).count()
    }

    /// Checks that a step ran again only after a run that failed, or that may have been cut off; counts the latter.
    pub(crate) fn check_repeats(&self, may: impl Fn(&Attempt, &Attempt) -> bool) -> usize {
        let mut repeats = 0;
        for (place, attempts) in &self.0 {
            for pair in attempts.windows(2) {
                let (earlier, later) = (&pair[0], &pair[1]);
                if !matches!(earlier.outcome, Some((Event::Fail, line)) if line < later.start) {
                    assert!(may(earlier, later), "step {place} ran again: {earlier:?}, then {later:?}");
                    repeats += 1;
                }
            }
        }
        repeats
    }

    /// Checks that exactly the steps in the store ran to their ends.
    pub(crate) async fn check_complete(&self, stent: &Stent, runs: &[Run]) {
        let mut stored = BTreeSet::new();
        for run in runs {
            for (place, task) in noted_steps(stent, run).await {
                assert_eq!(task.status, TaskStatus::Completed, "step {place} of an execution that has ended");
                let ended = |attempt: &Attempt| matches!(attempt.outcome, Some((Event::End, _)));
                assert!(
                    self.at(&place).iter().any(ended),
                    "step {place} has a result, but no run of it ended"
                );
                stored.insert(place);
            }
        }
        let unknown: Vec<_> = self.0.keys().filter(|place| !stored.contains(place)).collect();
        assert!(unknown.is_empty(), "the store does not know these steps, which ran: {unknown:?}");
    }
}

/// Steps that had a result in the store when it was read, with the number of lines in the ledger at that time.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    steps: BTreeMap<Place, usize>,
    /// Executions that had ended: nothing more is to be learnt about them.
    ended: BTreeSet<Place>,
}

impl Recorded {
    /// Reads the store, and then the ledger: a step that starts later starts after the record.
    pub(crate) async fn read(&mut self, stent: &Stent, runs: &[Run], ledger_len: impl FnOnce() -> usize) {
        let mut found = Vec::new();
        for run in runs {
            if self.ended.contains(&run.place) {
                continue;
            }
            // Read before its steps, so that no step is missed.
            if stent.status(run.handle.id()).await.unwrap().is_terminal() {
                self.ended.insert(run.place.clone());
            }
            let steps = noted_steps(stent, run).await.into_iter();
            found.extend(steps.filter(|(_, task)| task.status.is_terminal()).map(|(place, _)| place));
        }
        let lines = ledger_len();
        for place in found {
            self.steps.entry(place).or_insert(lines);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Checks that no step started after its result was recorded, and that each had ended before that.
    pub(crate) fn check_never_started_again(&self, attempts: &Attempts) {
        for (place, recorded) in &self.steps {
            let runs = attempts.at(place);
            let again = runs.iter().find(|attempt| attempt.start >= *recorded);
            assert!(
                again.is_none(),
                "step {place} was recorded when the ledger had {recorded} lines: {runs:?}"
            );
            let ended =
                |attempt: &Attempt| matches!(attempt.outcome, Some((Event::End, line)) if line < *recorded);
            assert!(runs.iter().any(ended), "step {place} was recorded before it ended: {runs:?}");
        }
    }
}

/// The tasks of an execution that write to the ledger, by their places.
async fn noted_steps(stent: &Stent, run: &Run) -> Vec<(Place, TaskView)> {
    let tasks = stent.inspect().timeline(run.handle.id()).await.unwrap();
    let by_id: BTreeMap<TaskId, &TaskView> = tasks.iter().map(|task| (task.id, task)).collect();
    let noted = |task: &&TaskView| match task.kind {
        StepKind::Inline => true,
        StepKind::Call => ["leaf", "flaky", "meet", "linger"].contains(&task.name.as_str()),
        StepKind::Map
        | StepKind::Gather
        | StepKind::Sleep
        | StepKind::Signal
        | StepKind::Spawn
        | StepKind::Join => false,
    };
    tasks.iter().filter(noted).map(|task| (place(run, &by_id, task), task.clone())).collect()
}

fn place(run: &Run, tasks: &BTreeMap<TaskId, &TaskView>, task: &TaskView) -> Place {
    match task.parent {
        None => run.place.clone(),
        Some(parent) => place(run, tasks, tasks[&parent]).at(task.seq),
    }
}
