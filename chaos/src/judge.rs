//! The judge: checks ledger, journal and store against each other. Pure: evidence in, violations out.
//!
//! | Rule | Holds |
//! |---|---|
//! | `lost` | an execution whose dispatch was acknowledged is in the store |
//! | `stuck` | it ends, once all faults are over |
//! | `wrong-end` | it ends with the result of its code, or as cancelled if its cancellation was acknowledged in time |
//! | `wrong-answer` | the waiter got the end that the store has |
//! | `unknown` | the store has only requested executions, and each child once |
//! | `doubled` | a step runs again only if its worker may have lost the lease: see below |
//! | `repeated-record` | a step does not begin again after it was seen recorded, or after its execution was seen ended |
//! | `no-effect` | a step that is recorded as completed has a run that ended, or the result of another call under its key |
//! | `no-record` | a step that ran is in the record of its execution |
//! | `crowded`, `rushed` | limits and rates hold; rates are checked in the store's record while there is no fault, and in the ledger, with some slack, always |
//! | `rows` | the rows of a transaction step exist once if the step is recorded, and not at all otherwise |
//! | `two-results` | all calls under one key have the result of the same run |
//! | `silent` | the store is used again soon after it recovers |
//! | `gave-up` | no transient error is reported as permanent |
//! | `died`, `drain`, `panic` | no process ends by itself, draining processes end, and none panics |
//! | `locked` | no process keeps the write lock of a file |
//!
//! **Effects are at least once, and the record exactly once.** A step may run twice if the first run's worker lost its lease
//! before the result was recorded. Causes of a lost lease are: the end of the worker's life; a pause of the worker; a store
//! that does not answer for longer than a lease can bear (at least two thirds of the lease are left after its last renewal, and
//! after an outage the worker may pause for one third, so an outage must be longer than one third); another session that locks
//! a row of the execution for that long; a machine that stalls for that long. If a step ran twice and none of these happened
//! between the starts of the two runs, or just before the first, the repeat is `doubled`. A shorter outage excuses nothing:
//! finished work must be kept and sent again.
//!
//! A paused process does not know at once that its leases are gone. Runs that it starts in the first moments after a pause are
//! not evidence against anyone (G2 of docs/semantics.md).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stent::view::{StepKind, TaskStatus};
use stent::{ExecutionId, ExecutionStatus, TaskId, Timestamp};

use crate::faults::{Backend, Fault, Target};
use crate::journal::{Answer, Entry, Told};
use crate::ledger::{Effect, Event, Line, Place};
use crate::moment::Moment;
use crate::observer::Seen;
use crate::plan::{End, Plan};
use crate::programs::{NARROW_MAX, PACED_MAX, ROW, grown};
use crate::stall::Stall;

/// How soon after the store recovers a request must have been served: generous, for a busy machine.
const SILENCE_MAX: Duration = Duration::from_secs(12);
/// How long after a pause a process may still start runs for which it has no lease.
const DAZE: Duration = Duration::from_secs(2);
/// Outages with a shorter gap count as one: nobody recovers in that time.
const GAP: Duration = Duration::from_secs(1);
/// The largest difference between the clocks of two workers, for counting starts within a second.
const CLOCKS: Duration = Duration::from_millis(150);
/// How long after its claim a task may begin: a task that waits for a slot is released after a quarter of the lease.
const BEGIN_MAX: Duration = Duration::from_millis(1_500);

/// All evidence about a run.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    pub(crate) seed: u64,
    pub(crate) backend: Backend,
    pub(crate) lease: Duration,
    /// Microseconds by which the time of day is ahead of the ledger's clock.
    pub(crate) ahead: i64,
    pub(crate) lines: Vec<Line>,
    pub(crate) journal: Vec<Entry>,
    pub(crate) spells: Vec<Spell>,
    pub(crate) stalls: Vec<Stall>,
    pub(crate) lives: Vec<Life>,
    pub(crate) seen: Seen,
    pub(crate) cases: BTreeMap<ExecutionId, Case>,
    pub(crate) rows: BTreeMap<Place, usize>,
}

/// A fault as it was played.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spell {
    pub(crate) fault: Fault,
    pub(crate) from: Moment,
    pub(crate) to: Moment,
    /// The life on which the fault was played.
    pub(crate) life: Option<u64>,
    /// Executions whose rows were locked.
    pub(crate) executions: Vec<ExecutionId>,
}

/// The life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Life {
    pub(crate) life: u64,
    pub(crate) target: Target,
    pub(crate) from: Moment,
    /// When it ended; `None` if it ran to the end.
    pub(crate) to: Option<Moment>,
}

/// An execution in its final state in the store.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Case {
    pub(crate) function: String,
    pub(crate) status: ExecutionStatus,
    pub(crate) answer: Option<Answer>,
    pub(crate) tasks: Vec<Task>,
}

/// A task of an execution.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Task {
    pub(crate) id: TaskId,
    pub(crate) place: Place,
    pub(crate) kind: StepKind,
    pub(crate) name: String,
    pub(crate) status: TaskStatus,
    /// Whether it has the result of another call.
    pub(crate) is_hit: bool,
    pub(crate) started_at: Option<Timestamp>,
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Violation {
    pub(crate) rule: &'static str,
    /// The execution or the process that it concerns.
    pub(crate) about: String,
    pub(crate) what: String,
}

impl Violation {
    pub(crate) fn new(rule: &'static str, about: impl ToString, what: impl Into<String>) -> Self {
        Self { rule, about: about.to_string(), what: what.into() }
    }
}

/// The judge's findings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) violations: Vec<Violation>,
    pub(crate) tally: Tally,
}

/// The figures of a run, for its report.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Tally {
    pub(crate) executions: usize,
    pub(crate) acknowledged: usize,
    pub(crate) steps: usize,
    pub(crate) runs: usize,
    /// Repeated runs with an excuse.
    pub(crate) excused: usize,
    pub(crate) refusals: usize,
    /// The longest time between the store's recovery and the next served request.
    pub(crate) silence: Duration,
}

/// A run of a step, from its lines.
#[derive(Clone, Debug)]
struct Run {
    life: u64,
    number: u64,
    begin: Moment,
    outcome: Option<(Event, Moment)>,
    place: Place,
    attempt: u32,
    effect: Effect,
    execution: ExecutionId,
}

/// The facts about an execution that was dispatched.
#[derive(Clone, Debug)]
struct Dispatched {
    number: u64,
    is_acknowledged: bool,
    cancelled: Option<ExecutionStatus>,
    answer: Option<Answer>,
}

pub(crate) fn judge(evidence: &Evidence) -> Verdict {
    let court = Court::open(evidence);
    let mut verdict = Verdict::default();
    court.ends(&mut verdict);
    court.repeats(&mut verdict);
    court.records(&mut verdict);
    court.limits(&mut verdict);
    court.rates(&mut verdict);
    court.rows(&mut verdict);
    court.keys(&mut verdict);
    court.silence(&mut verdict);
    court.refusals(&mut verdict);
    verdict.tally = Tally {
        executions: evidence.cases.len(),
        acknowledged: court.dispatched.values().filter(|known| known.is_acknowledged).count(),
        steps: evidence.cases.values().map(|case| case.tasks.len()).sum(),
        runs: court.runs.len(),
        ..verdict.tally
    };
    verdict
}

/// The evidence, sorted.
struct Court<'a> {
    evidence: &'a Evidence,
    runs: Vec<Run>,
    dispatched: BTreeMap<ExecutionId, Dispatched>,
    /// When the store did not answer anybody: periods in order; those with a short gap are merged.
    outages: Vec<(Moment, Moment)>,
}

impl<'a> Court<'a> {
    fn open(evidence: &'a Evidence) -> Self {
        let mut court = Self {
            evidence,
            runs: runs(&evidence.lines),
            dispatched: dispatched(&evidence.journal),
            outages: Vec::new(),
        };
        let outages = evidence.spells.iter().filter(|spell| court.is_outage(spell));
        court.outages = merged(outages.map(|spell| (spell.from, spell.to)).collect());
        court
    }

    /// The plan of an execution.
    fn plan(&self, number: u64) -> Plan {
        Plan::of(self.evidence.backend, self.evidence.seed, number)
    }

    /// Whether a fault keeps every process from the store.
    fn is_outage(&self, spell: &Spell) -> bool {
        match spell.fault {
            Fault::Restart(_)
            | Fault::Terminate
            | Fault::ReadOnly(_)
            | Fault::Freeze(_)
            | Fault::FillMemory(_)
            | Fault::LockFile(_)
            | Fault::FillDisk(..) => true,
            // The process may have been stopped while it held the only write lock.
            Fault::Pause(..) => self.evidence.backend == Backend::Sqlite,
            Fault::Kill(_) | Fault::Drain(_) | Fault::LockRows(_) => false,
        }
    }

    /// How long a lease can bear a store that does not answer.
    fn bearable(&self) -> Duration {
        self.evidence.lease / 3
    }

    /// Whether an event until this moment can have taken the lease of a run.
    fn may_have_lost_lease(&self, run: &Run, until: Moment) -> bool {
        // A lease that is nearly over when the store answers again may be lost to the first claim.
        let begin = run.begin.minus(self.bearable());
        let meets = |from: Moment, to: Moment| from <= until && to >= begin;
        let ended =
            self.evidence.lives.iter().any(|life| {
                life.life == run.life && life.to.is_some_and(|to| to >= run.begin && to <= until)
            });
        // A drain begins before the life ends.
        let done_to_it = self.evidence.spells.iter().any(|spell| {
            spell.life == Some(run.life) && meets(spell.from, spell.to)
                || spell.executions.contains(&run.execution)
                    && spell.to.since(spell.from) > self.bearable()
                    && meets(spell.from, spell.to)
        });
        let stalls = self.evidence.stalls.iter().filter(|stall| stall.life == run.life);
        let still = stalls.map(|stall| (stall.from, stall.to));
        let away = merged(self.outages.iter().copied().chain(still).collect());
        let was_away = away.iter().any(|(from, to)| to.since(*from) > self.bearable() && meets(*from, *to));
        ended || done_to_it || was_away
    }

    /// Whether a run began just after its process was paused or stalled, before the process could notice.
    fn began_dazed(&self, run: &Run) -> bool {
        let dazed = |from: Moment, to: Moment| run.begin >= from && run.begin <= to.plus(DAZE);
        let paused = self.evidence.spells.iter().any(|spell| {
            spell.life == Some(run.life)
                && matches!(spell.fault, Fault::Pause(..))
                && dazed(spell.from, spell.to)
        });
        let stood_still = self.evidence.stalls.iter().any(|stall| {
            stall.life == run.life
                && stall.to.since(stall.from) > self.bearable()
                && dazed(stall.from, stall.to)
        });
        paused || stood_still
    }

    fn about(&self, id: ExecutionId) -> String {
        let plan = self.dispatched.get(&id).map(|known| self.plan(known.number));
        plan.map_or_else(|| id.to_string(), |plan| format!("{id} ({}: {:?})", plan.number, plan.program))
    }

    /// `lost`, `stuck`, `wrong-end`, `wrong-answer`, `unknown`.
    fn ends(&self, verdict: &mut Verdict) {
        let mut children = BTreeMap::<Place, Vec<ExecutionId>>::new();
        for line in &self.evidence.lines {
            if !self.dispatched.contains_key(&line.execution) {
                let known = children.entry(line.place.of_root()).or_default();
                if !known.contains(&line.execution) {
                    known.push(line.execution);
                }
            }
        }
        let mut broken = |rule, id, what: String| {
            verdict.violations.push(Violation::new(rule, self.about(id), what));
        };
        let mut expected = BTreeMap::<ExecutionId, Option<u64>>::new();
        for (id, known) in &self.dispatched {
            let plan = self.plan(known.number);
            let Some(case) = self.evidence.cases.get(id) else {
                if known.is_acknowledged {
                    broken(
                        "lost",
                        *id,
                        "its dispatch was acknowledged, but the store does not have it".into(),
                    );
                }
                continue;
            };
            if !case.status.is_terminal() {
                broken("stuck", *id, format!("it is {}: {}", case.status, open_tasks(case)));
                continue;
            }
            if let Some(what) = wrong_end(&plan, known, case) {
                broken("wrong-end", *id, what);
            }
            if known.answer.is_some() && known.answer != case.answer {
                broken(
                    "wrong-answer",
                    *id,
                    format!("its waiter was told {:?}, but the store has {:?}", known.answer, case.answer),
                );
            }
            if case.status == ExecutionStatus::Completed {
                for place in plan.children() {
                    let found = children.get(&place).map_or(&[][..], Vec::as_slice);
                    match found {
                        [child] => drop(expected.insert(*child, Some(grown(grown(plan.value))))),
                        _ => broken("unknown", *id, format!("its child {place} is {found:?}")),
                    }
                }
            }
        }
        // Children of executions that failed or were given up are children, too.
        for ids in children.values() {
            for id in ids {
                expected.entry(*id).or_insert(None);
            }
        }
        for (id, case) in &self.evidence.cases {
            match expected.get(id) {
                _ if self.dispatched.contains_key(id) => {}
                _ if !case.status.is_terminal() => {
                    broken("stuck", *id, format!("a child is {}: {}", case.status, open_tasks(case)));
                }
                Some(Some(value)) if case.answer != Some(Answer::Value(*value)) => {
                    broken("wrong-end", *id, format!("a child gave {:?} instead of {value}", case.answer));
                }
                Some(_) => {}
                None => broken("unknown", *id, format!("nobody requested this {}", case.function)),
            }
        }
    }

    /// `doubled`, `repeated-record`.
    fn repeats(&self, verdict: &mut Verdict) {
        let places: BTreeMap<TaskId, &Place> = self
            .evidence
            .cases
            .values()
            .flat_map(|case| case.tasks.iter().map(|task| (task.id, &task.place)))
            .collect();
        let recorded: BTreeMap<&Place, Moment> =
            self.evidence.seen.tasks.iter().filter_map(|(id, at)| Some((*places.get(id)?, *at))).collect();
        let mut before = BTreeMap::<(&Place, u32), &Run>::new();
        for run in &self.runs {
            let seen = [recorded.get(&run.place), self.evidence.seen.executions.get(&run.execution)];
            let seen = seen.into_iter().flatten().min();
            if let Some(seen) = seen.filter(|seen| run.begin > **seen && !self.began_dazed(run)) {
                verdict.violations.push(Violation::new(
                    "repeated-record",
                    self.about(run.execution),
                    format!(
                        "{} began in life {} at {}, and was seen to have ended at {seen}",
                        run.place, run.life, run.begin
                    ),
                ));
            }
            // A closure may run again before its transaction is committed.
            if run.effect == Effect::Row {
                continue;
            }
            if let Some(earlier) = before.insert((&run.place, run.attempt), run) {
                let excused = self.may_have_lost_lease(earlier, run.begin) || self.began_dazed(run);
                if excused {
                    verdict.tally.excused += 1;
                } else {
                    verdict.violations.push(Violation::new(
                        "doubled",
                        self.about(run.execution),
                        format!(
                            "{} (attempt {}) ran in life {} from {} ({}), and again in life {} at {}",
                            run.place,
                            run.attempt,
                            earlier.life,
                            earlier.begin,
                            outcome(earlier),
                            run.life,
                            run.begin
                        ),
                    ));
                }
            }
        }
    }

    /// `no-effect`, `no-record`.
    fn records(&self, verdict: &mut Verdict) {
        let ended: BTreeSet<&Place> = self
            .runs
            .iter()
            .filter(|run| matches!(run.outcome, Some((Event::End, _))))
            .map(|run| &run.place)
            .collect();
        for (id, case) in &self.evidence.cases {
            let notes = case.tasks.iter().filter(|task| is_noted(task));
            for task in notes.filter(|task| task.status == TaskStatus::Completed && !task.is_hit) {
                if !ended.contains(&task.place) {
                    verdict.violations.push(Violation::new(
                        "no-effect",
                        self.about(*id),
                        format!("{} is recorded as completed, but no run of it ended", task.place),
                    ));
                }
            }
            // A cancelled or failed execution may have had steps in flight that were never written.
            if case.status != ExecutionStatus::Completed {
                continue;
            }
            let known: BTreeSet<&Place> = case.tasks.iter().map(|task| &task.place).collect();
            let unknown = self.runs.iter().filter(|run| run.execution == *id && !known.contains(&run.place));
            let unknown: BTreeSet<&Place> = unknown.map(|run| &run.place).collect();
            if !unknown.is_empty() {
                let unknown: Vec<_> = unknown.iter().map(ToString::to_string).collect();
                verdict.violations.push(Violation::new(
                    "no-record",
                    self.about(*id),
                    format!("these ran and are not in its record: {}", unknown.join(", ")),
                ));
            }
        }
    }

    /// `crowded`.
    fn limits(&self, verdict: &mut Verdict) {
        let mut moves = Vec::new();
        for run in self.runs.iter().filter(|run| run.effect == Effect::Narrow && !self.began_dazed(run)) {
            let end = self.end_under_lease(run);
            if end > run.begin {
                moves.push((run.begin, 1_i64, run));
                moves.push((end, -1, run));
            }
        }
        // Among events of one moment, ends come first.
        moves.sort_by_key(|(at, step, _)| (*at, *step));
        let (mut inside, mut worst) = (0, None::<(i64, Moment, &Run)>);
        for (at, step, run) in moves {
            inside += step;
            if inside > NARROW_MAX as i64 && worst.is_none_or(|(most, ..)| inside > most) {
                worst = Some((inside, at, run));
            }
        }
        if let Some((inside, at, run)) = worst {
            verdict.violations.push(Violation::new(
                "crowded",
                self.about(run.execution),
                format!(
                    "{inside} runs of a function with max_concurrent = {NARROW_MAX} at {at}, {} the last",
                    run.place
                ),
            ));
        }
    }

    /// When a run ended, or continued without a lease: from then on it takes no slot.
    fn end_under_lease(&self, run: &Run) -> Moment {
        let noted = run.outcome.map(|(_, at)| at);
        let of_life = self.evidence.lives.iter().find(|life| life.life == run.life).and_then(|life| life.to);
        let end = noted.or(of_life).unwrap_or(run.begin);
        let paused = self.evidence.spells.iter().filter(|spell| {
            spell.life == Some(run.life) && matches!(spell.fault, Fault::Pause(..))
                || spell.executions.contains(&run.execution)
        });
        let stalls = self.evidence.stalls.iter().filter(|stall| stall.life == run.life);
        let away = self.outages.iter().copied();
        let away = away.chain(paused.map(|spell| (spell.from, spell.to)));
        let away = away.chain(stalls.map(|stall| (stall.from, stall.to)));
        let starts =
            away.filter(|(from, to)| to.since(*from) > self.bearable() && *to >= run.begin && *from <= end);
        starts.map(|(from, _)| from.max(run.begin)).fold(end, Moment::min)
    }

    /// `rushed`: by the store's moments of first claims, and by the ledger with the possible delay of a start.
    fn rates(&self, verdict: &mut Verdict) {
        // A map over the function has its name, too.
        let is_paced =
            |task: &&Task| task.kind == StepKind::Call && ["paced", "unpaced"].contains(&task.name.as_str());
        let tasks = self.evidence.cases.values().flat_map(|case| &case.tasks);
        let started = tasks.filter(is_paced).filter_map(|task| task.started_at);
        let mut claims: Vec<_> =
            started.map(|at| self.by_our_clock(at)).filter(|at| !self.is_troubled(*at)).collect();
        let begun = self.runs.iter().filter(|run| run.effect == Effect::Paced && !self.began_dazed(run));
        let mut begins: Vec<_> = begun.map(|run| run.begin).collect();
        let second = Duration::from_secs(1);
        let late = PACED_MAX * (1 + usize::try_from(BEGIN_MAX.as_millis()).unwrap_or(usize::MAX) / 1_000 + 1);
        for (what, moments, window, most) in [
            ("claims, by the store's own record,", &mut claims, second - CLOCKS, PACED_MAX),
            ("starts", &mut begins, second, late),
        ] {
            moments.sort_unstable();
            let crowded = moments.windows(most + 1).find(|some| some[most].since(some[0]) < window);
            if let Some(some) = crowded {
                verdict.violations.push(Violation::new(
                    "rushed",
                    "paced",
                    format!(
                        "{} {what} within {:?} of a function with rate = {PACED_MAX}/s, at {}",
                        most + 1,
                        some[most].since(some[0]),
                        some[0]
                    ),
                ));
            }
        }
    }

    /// Converts a moment of the store to the ledger's clock. Both clocks are this machine's.
    fn by_our_clock(&self, at: Timestamp) -> Moment {
        Moment(at.as_micros().saturating_sub(self.evidence.ahead).unsigned_abs())
    }

    /// Whether there was a fault at this moment, or within a lease before it. A claim that had to wait is recorded with the
    /// moment of the request, not of the claim.
    fn is_troubled(&self, at: Moment) -> bool {
        self.evidence.spells.iter().any(|spell| at >= spell.from && at <= spell.to.plus(self.evidence.lease))
    }

    /// `rows`.
    fn rows(&self, verdict: &mut Verdict) {
        let mut known = BTreeSet::new();
        for (id, case) in &self.evidence.cases {
            for task in case.tasks.iter().filter(|task| task.kind == StepKind::Inline && task.name == ROW) {
                known.insert(&task.place);
                let recorded = usize::from(task.status == TaskStatus::Completed);
                let rows = self.evidence.rows.get(&task.place).copied().unwrap_or_default();
                if rows != recorded {
                    verdict.violations.push(Violation::new(
                        "rows",
                        self.about(*id),
                        format!("{} is recorded as {}, and has {rows} rows", task.place, task.status),
                    ));
                }
            }
        }
        for (place, rows) in self.evidence.rows.iter().filter(|(place, _)| !known.contains(place)) {
            let what = format!("it has {rows} rows and no record");
            verdict.violations.push(Violation::new("rows", place, what));
        }
    }

    /// `two-results`.
    fn keys(&self, verdict: &mut Verdict) {
        let mut results = BTreeMap::<u64, BTreeSet<u64>>::new();
        for (id, known) in &self.dispatched {
            let End::Shared(key) = self.plan(known.number).end() else { continue };
            let case = self.evidence.cases.get(id);
            if let Some(Answer::Value(value)) = case.and_then(|case| case.answer.as_ref()) {
                results.entry(key).or_default().insert(*value);
            }
        }
        for (key, results) in results {
            let of_run = |result: &u64| {
                self.runs.iter().any(|run| {
                    run.effect == Effect::Once(key)
                        && run.life * 1_000_000 + run.number == *result
                        && matches!(run.outcome, Some((Event::End, _)))
                })
            };
            if results.len() > 1 || !results.iter().all(of_run) {
                verdict.violations.push(Violation::new(
                    "two-results",
                    format!("key {key}"),
                    format!("calls under it have the results of these runs: {results:?}"),
                ));
            }
        }
    }

    /// `silent`.
    fn silence(&self, verdict: &mut Verdict) {
        let served =
            |entry: &&Entry| !matches!(entry.told, Told::Intended(_) | Told::Refused { .. } | Told::Left);
        let last = self.evidence.journal.last().map(|entry| entry.at).unwrap_or_default();
        for (_, well) in &self.outages {
            // The dispatcher itself may have been down.
            let dispatcher = self.evidence.lives.iter().filter(|life| life.target == Target::Dispatcher);
            let deaf = dispatcher.clone().any(|life| {
                life.to.is_some_and(|to| to.plus(SILENCE_MAX) > *well && to < well.plus(SILENCE_MAX))
            });
            let ids: BTreeSet<u64> = dispatcher.map(|life| life.life).collect();
            let paused = self.evidence.spells.iter().any(|spell| {
                spell.life.is_some_and(|life| ids.contains(&life))
                    && spell.to.plus(DAZE) > *well
                    && spell.from < well.plus(SILENCE_MAX)
            });
            if deaf || paused {
                continue;
            }
            let next =
                self.evidence.journal.iter().filter(served).map(|entry| entry.at).find(|at| at >= well);
            let silence = next.unwrap_or(last).since(*well);
            verdict.tally.silence = verdict.tally.silence.max(silence);
            if silence > SILENCE_MAX {
                verdict.violations.push(Violation::new(
                    "silent",
                    "the store",
                    format!(
                        "it recovered at {well}, but nobody was served for {:.1} s",
                        silence.as_secs_f64()
                    ),
                ));
            }
        }
    }

    /// `gave-up`.
    fn refusals(&self, verdict: &mut Verdict) {
        let mut told = BTreeMap::<(&str, &str), (usize, u64)>::new();
        for entry in &self.evidence.journal {
            let Told::Refused { what, error, passes } = &entry.told else { continue };
            verdict.tally.refusals += 1;
            if !passes {
                let (count, number) = told.entry((what, error)).or_insert((0, entry.number));
                *count += 1;
                *number = entry.number;
            }
        }
        for ((what, error), (count, number)) in told {
            verdict.violations.push(Violation::new(
                "gave-up",
                format!("execution {number}"),
                format!("{what} failed {count} times with an error that is not transient: {error}"),
            ));
        }
    }
}

fn runs(lines: &[Line]) -> Vec<Run> {
    let mut runs = BTreeMap::<(u64, u64), Run>::new();
    for line in lines {
        match line.event {
            Event::Begin => {
                let run = Run {
                    life: line.life,
                    number: line.run,
                    begin: line.at,
                    outcome: None,
                    place: line.place.clone(),
                    attempt: line.attempt,
                    effect: line.effect.clone(),
                    execution: line.execution,
                };
                runs.insert((line.life, line.run), run);
            }
            Event::End | Event::Fail | Event::Drop => {
                if let Some(run) = runs.get_mut(&(line.life, line.run)) {
                    run.outcome = Some((line.event, line.at));
                }
            }
        }
    }
    let mut runs: Vec<_> = runs.into_values().collect();
    runs.sort_by_key(|run| run.begin);
    runs
}

fn dispatched(journal: &[Entry]) -> BTreeMap<ExecutionId, Dispatched> {
    let mut by_number = BTreeMap::<u64, (ExecutionId, Dispatched)>::new();
    for entry in journal {
        let number = entry.number;
        if let Told::Intended(id) = entry.told {
            let known = Dispatched { number, is_acknowledged: false, cancelled: None, answer: None };
            by_number.entry(number).or_insert((id, known));
            continue;
        }
        let Some((_, known)) = by_number.get_mut(&number) else { continue };
        match &entry.told {
            Told::Acknowledged => known.is_acknowledged = true,
            Told::Cancelled(status) => known.cancelled = Some(*status),
            Told::Ended(answer) => known.answer = Some(answer.clone()),
            Told::Intended(_) | Told::Refused { .. } | Told::Left | Told::Signalled => {}
        }
    }
    by_number.into_values().collect()
}

/// The fault of an end, if it has one.
fn wrong_end(plan: &Plan, known: &Dispatched, case: &Case) -> Option<String> {
    let is_as_planned = match (plan.end(), &case.answer) {
        (End::Value(value), Some(Answer::Value(given))) => value == *given,
        (End::OneOf(values), Some(Answer::Value(given))) => values.contains(given),
        // Another rule checks which run's result it is.
        (End::Shared(_), Some(Answer::Value(_))) => true,
        (End::Failure(kind), Some(Answer::Failed(given))) => kind == given,
        _ => false,
    };
    // A dispatcher that was killed before it wrote the answer may have cancelled it.
    let may_be_cancelled = plan.cancel_after.is_some();
    let was_cancelled = case.status == ExecutionStatus::Cancelled;
    let must_be_cancelled =
        matches!(known.cancelled, Some(ExecutionStatus::Cancelling | ExecutionStatus::Cancelled));
    match (was_cancelled, must_be_cancelled) {
        (true, _) if may_be_cancelled => None,
        (false, false) if is_as_planned => None,
        _ => Some(format!(
            "it is {} with {:?}; planned: {:?}{}",
            case.status,
            case.answer,
            plan.end(),
            if must_be_cancelled { ", and its cancellation was acknowledged" } else { "" }
        )),
    }
}

fn open_tasks(case: &Case) -> String {
    let open = case.tasks.iter().filter(|task| !task.status.is_terminal());
    let open: Vec<_> = open.map(|task| format!("{} {} is {}", task.place, task.name, task.status)).collect();
    open.join(", ")
}

/// Whether a task's code writes to the ledger.
fn is_noted(task: &Task) -> bool {
    const CALLS: [&str; 9] =
        ["leaf", "slow", "flaky", "narrow", "unbounded", "paced", "unpaced", "once", "each"];
    match task.kind {
        StepKind::Inline => true,
        StepKind::Call => CALLS.contains(&task.name.as_str()),
        StepKind::Map
        | StepKind::Gather
        | StepKind::Sleep
        | StepKind::Signal
        | StepKind::Spawn
        | StepKind::Join => false,
    }
}

fn outcome(run: &Run) -> String {
    run.outcome.map_or_else(|| "no outcome".into(), |(event, at)| format!("{event:?} at {at}"))
}

/// Periods in order; those that touch or nearly touch are merged.
fn merged(mut stretches: Vec<(Moment, Moment)>) -> Vec<(Moment, Moment)> {
    stretches.sort_unstable();
    let mut merged: Vec<(Moment, Moment)> = Vec::new();
    for (from, to) in stretches {
        match merged.last_mut() {
            Some((_, end)) if from <= end.plus(GAP) => *end = to.max(*end),
            _ => merged.push((from, to)),
        }
    }
    merged
}

#[cfg(test)]
mod tests;
