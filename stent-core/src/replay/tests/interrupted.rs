//! Random code, random orders of completions, random crashes: the code takes the same path.

use proptest::prelude::*;

use super::script::*;
use super::*;
use Code::{All, Call, Chain, Delayed, Detached, Handled, Inline, Race, Slow, Try, World};

/// Non-durable events.
const WORLD: [&str; 3] = ["w", "s", "t"];

/// The store's side of one task.
#[derive(Debug, Default)]
struct Record {
    steps: Vec<Step>,
    done: u32,
    clock: i64,
    chance: u64,
}

impl Record {
    /// SplitMix64.
    fn draw(&mut self, below: usize) -> usize {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.chance;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((bits ^ (bits >> 31)) >> 33).expect("31 bits") % below
    }

    fn result(&mut self) -> TaskResult {
        let n = self.done;
        if self.draw(4) == 0 { failed(&format!("{n}")) } else { ok(&format!("{n}")) }
    }

    fn commit(&mut self, turn: &Turn, at: Timestamp) {
        for row in &turn.insert {
            assert!(
                self.steps.iter().all(|step| step.seq != row.seq),
                "position {} is written twice",
                row.seq
            );
            let state = match &row.state {
                NewTaskState::Done { result, .. } => {
                    self.done += 1;
                    StepState::Done { order: self.done, at, result: result.clone() }
                }
                NewTaskState::Timer { due } => StepState::Open { due: Some(*due) },
                NewTaskState::Pending { .. } => StepState::Open { due: None },
                NewTaskState::Leased { .. }
                | NewTaskState::Map
                | NewTaskState::Signal
                | NewTaskState::Join { .. } => unreachable!("not scripted"),
            };
            let name = row.lane.function.clone();
            self.steps.push(Step {
                id: row.id,
                seq: row.seq,
                kind: row.kind,
                name,
                state,
                map: None,
                digest: None,
            });
        }
        for id in &turn.fire {
            self.complete(*id, at, Ok(Payload::empty()));
        }
        for id in &turn.cancel {
            let step = self.steps.iter_mut().find(|step| step.id == *id).expect("a written step");
            assert_ne!(step.state, StepState::Cancelled, "cancelled twice");
            if step.order().is_none() {
                step.state = StepState::Cancelled;
            }
        }
    }

    fn complete(&mut self, id: TaskId, at: Timestamp, result: TaskResult) {
        let step = self.steps.iter_mut().find(|step| step.id == id).expect("a written step");
        assert!(matches!(step.state, StepState::Open { .. }), "{step:?} ends once");
        self.done += 1;
        step.state = StepState::Done { order: self.done, at, result };
    }

    /// Lets time pass, and some of the open steps end, until the wait is over. Returns false if nothing can end it.
    fn pass_until(&mut self, wait: &Wait) -> bool {
        while self.done < wait.done {
            let calls: Vec<TaskId> =
                self.open().filter(|step| step.kind == StepKind::Call).map(|step| step.id).collect();
            match (calls.is_empty(), wait.until) {
                (true, None) => return false,
                (false, until) if until.is_none() || self.draw(3) > 0 => {
                    for _ in 0..=self.draw(2) {
                        self.clock += 1;
                        let picked = calls[self.draw(calls.len())];
                        if self.open().any(|step| step.id == picked) {
                            let result = self.result();
                            self.complete(picked, t(self.clock), result);
                        }
                    }
                }
                (_, until) => {
                    self.clock = self.clock.max(until.map_or(0, |until| until.as_micros() / 1_000_000));
                    break;
                }
            }
        }
        true
    }

    fn open(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| matches!(step.state, StepState::Open { .. }))
    }

    /// The effect of a claim on due sleeps.
    fn claim(&mut self) {
        let due_by = t(self.clock);
        let mut due: Vec<(Timestamp, Seq, TaskId)> = self
            .open()
            .filter_map(|step| match step.state {
                StepState::Open { due: Some(due) } if due <= due_by => Some((due, step.seq, step.id)),
                _ => None,
            })
            .collect();
        due.sort_unstable();
        due.into_iter().for_each(|(.., id)| self.complete(id, due_by, Ok(Payload::empty())));
    }

    fn after(&self, seen: u32) -> Vec<Step> {
        self.steps.iter().filter(|step| step.order().is_some_and(|order| order > seen)).cloned().collect()
    }
}

/// Drives code to its end as workers do, with random crashes, evictions and attempts.
struct Driver {
    record: Record,
    code: Code,
    /// The completions that the longest run of this attempt has seen.
    saw: Vec<(u32, String, Timestamp)>,
    /// Steps that a retry removed from the record.
    erased: Vec<Step>,
}

impl Driver {
    fn activate(&mut self) -> Run {
        let mut run = Run::new(&self.code, self.record.done, self.record.steps.clone());
        run.ids = None;
        run.clock = t(self.record.clock);
        run
    }

    /// Every run of an attempt sees the same completions as the runs before, in the same order, at the same time. And it asks
    /// for each step with the step's id.
    fn check(&mut self, run: &Run) {
        for step in &self.record.steps {
            let asked = run.asked.get(&step.seq).copied().unwrap_or(step.id);
            assert_eq!(asked, step.id, "the id of {step:?} in another run of {:?}", self.code);
        }
        let both = self.saw.len().min(run.saw.len());
        assert_eq!(self.saw[..both], run.saw[..both], "G4 for {:?}", self.code);
        if run.saw.len() > both {
            self.saw.clone_from(&run.saw);
        }
    }

    /// A step that is written again under its id is the same step.
    fn check_new(&self, turn: &Turn) {
        for row in &turn.insert {
            assert!(self.record.steps.iter().all(|step| step.id != row.id), "the id of {row:?} is taken");
            for step in self.erased.iter().filter(|step| step.id == row.id) {
                assert_eq!(
                    (step.seq, step.kind, &step.name),
                    (row.seq, row.kind, &row.lane.function),
                    "{:?}",
                    self.code
                );
            }
        }
    }

    fn commit(&mut self, run: &mut Run, turn: &Turn) {
        self.check_new(turn);
        let at = run.clock;
        self.record.commit(turn, at);
        if self.record.done == turn.seen + u32::try_from(turn.own.len()).expect("few") {
            run.replay.committed(&turn.own);
        } else {
            run.replay.resume(self.record.done, self.record.after(turn.seen));
        }
    }

    fn run(&mut self, attempts: u32) -> TaskResult {
        let mut failures = 0;
        let mut run = self.activate();
        for _ in 0..10_000 {
            let result = run.until_quiet();
            self.check(&run);
            if let Some(result) = result {
                let turn = run.turn();
                let end = run.replay.end(result);
                let mismatch = end.result.as_ref().err().filter(|failure| failure.kind == Failure::MISMATCH);
                assert_eq!(mismatch, None, "{:?}", self.code);
                if end.result.is_ok() || failures + 1 >= attempts {
                    let at = run.clock;
                    self.record.commit(&turn, at);
                    return end.result;
                }
                failures += 1;
                let cancel = turn.cancel.into_iter().filter(|id| !end.redo.contains(id)).collect();
                self.record.commit(&Turn { cancel, ..Turn::default() }, run.clock);
                self.erased.extend(self.record.steps.extract_if(.., |step| end.redo.contains(&step.id)));
                // Steps that were cut are not seen again, or not as before.
                self.saw.clear();
                run = self.activate();
                continue;
            }
            // A crash before the commit, or after it: the code runs again from the record.
            let crash = self.record.draw(6);
            if crash == 0 {
                run = self.activate();
                continue;
            }
            self.record.clock += 1;
            run.clock = t(self.record.clock);
            match run.replay.needs() {
                Needs::Nothing(mismatch) => panic!("{mismatch}\nin {:?}", self.code),
                Needs::World => self.meanwhile(&mut run),
                Needs::Commit => {
                    let turn = run.keep(None);
                    self.others_end_something();
                    self.commit(&mut run, &turn);
                }
                Needs::Call(seq) if self.record.draw(2) == 0 => {
                    let result = self.record.result();
                    let turn = run.run_here(seq, result);
                    self.others_end_something();
                    self.commit(&mut run, &turn);
                }
                Needs::Call(_) | Needs::Steps => {
                    let turn = run.turn();
                    self.check_new(&turn);
                    self.record.commit(&turn, run.clock);
                    let woken = self.record.pass_until(&run.replay.wait());
                    assert!(woken, "{:?} waits for what never comes", self.code);
                    self.record.claim();
                    if self.record.draw(2) == 0 {
                        run.clock = t(self.record.clock);
                        run.replay.resume(self.record.done, self.record.after(run.replay.seen()));
                    } else {
                        run = self.activate();
                    }
                }
            }
            if crash == 1 {
                run = self.activate();
            }
        }
        panic!("{:?} does not end", self.code);
    }

    /// The code awaits non-durable work. Others may complete its steps meanwhile, which it learns without a commit, and its
    /// sleeps may become due.
    fn meanwhile(&mut self, run: &mut Run) {
        if run.replay.listens().is_some() && self.record.draw(2) == 0 {
            self.others_end_something();
            run.replay.resume(0, self.record.after(run.replay.seen()));
            return;
        }
        if let Some(due) = run.replay.next_due()
            && self.record.draw(2) == 0
        {
            self.record.clock = self.record.clock.max(due.as_micros() / 1_000_000);
            run.clock = t(self.record.clock);
            let turn = run.keep(None);
            self.others_end_something();
            self.commit(run, &turn);
            return;
        }
        let left: Vec<_> = WORLD.into_iter().filter(|what| !run.world.contains(what)).collect();
        assert!(!left.is_empty(), "{:?} waits for what never comes", self.code);
        run.world.insert(left[self.record.draw(left.len())]);
    }

    fn others_end_something(&mut self) {
        let open: Vec<TaskId> =
            self.record.open().filter(|step| step.kind == StepKind::Call).map(|step| step.id).collect();
        if !open.is_empty() && self.record.draw(3) == 0 {
            let picked = open[self.record.draw(open.len())];
            let result = self.record.result();
            self.record.complete(picked, t(self.record.clock), result);
        }
    }
}

fn any_code() -> impl Strategy<Value = Code> {
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    let leaf = prop_oneof![
        6 => name().prop_map(Call),
        2 => (0..60_i64).prop_map(Code::Sleep),
        2 => prop::sample::select(vec!["x", "y", "!z"]).prop_map(Inline),
        2 => prop::sample::select(vec!["s", "t"]).prop_map(Slow),
        1 => name().prop_map(Detached),
        1 => (name(), 0..60_i64).prop_map(|(name, at)| Delayed(name, at)),
    ];
    let nested = leaf.prop_recursive(4, 24, 4, |inner| {
        let some = || prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            3 => some().prop_map(Chain),
            2 => some().prop_map(All),
            2 => some().prop_map(Try),
            3 => some().prop_map(Race),
            1 => inner.clone().prop_map(|code| Handled(Box::new(code))),
        ]
    });
    // Non-durable work only if nothing runs beside it: otherwise the record does not determine the order.
    (any::<bool>(), prop::collection::vec(nested, 1..4)).prop_map(|(world, mut codes)| {
        if world {
            codes.insert(codes.len() / 2, World("w"));
        }
        Chain(codes)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_code_takes_the_same_way_however_it_is_interrupted(code in any_code(), chance: u64, attempts in 1..4_u32) {
        let record = Record { chance, ..Record::default() };
        let mut driver = Driver { record, code, saw: Vec::new(), erased: Vec::new() };

        let result = driver.run(attempts);

        // Read back from its record, it gives the same result and asks for nothing new.
        let mut again = driver.activate();
        let steps = again.until_quiet();
        again.world.extend(WORLD);
        let replayed = steps.or_else(|| again.until_quiet()).expect("all is recorded");
        driver.check(&again);
        prop_assert_eq!(&again.replay.end(replayed).result, &result);
        let turn = again.turn();
        prop_assert_eq!((turn.insert.len(), turn.cancel.len(), turn.fire.len()), (0, 0, 0));
        // Nothing is left open except detached steps.
        let waited_for = driver.record.open().filter(|step| step.kind != StepKind::Call).count();
        prop_assert_eq!(waited_for, 0);
    }
}
