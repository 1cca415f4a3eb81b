//! The judge with invented evidence: what is a violation, what excuses it, and what does not.

use super::*;
use crate::plan::PULSES;

const SEED: u64 = 1;
const LEASE: Duration = Duration::from_secs(6);

/// A moment of the run, in milliseconds.
fn at(millis: u64) -> Moment {
    Moment(millis * 1_000)
}

fn id(number: u64) -> ExecutionId {
    ExecutionId::from_uuid(uuid::Uuid::from_u128(u128::from(number)))
}

/// Pulses: executions of one step, acknowledged and with the right end.
fn evidence(backend: Backend, pulses: u64) -> Evidence {
    let mut evidence = Evidence {
        seed: SEED,
        backend,
        lease: LEASE,
        ahead: 0,
        lines: Vec::new(),
        journal: Vec::new(),
        spells: Vec::new(),
        stalls: Vec::new(),
        lives: (1..=3)
            .map(|life| Life { life, target: Target::Worker(life as usize - 1), from: at(0), to: None })
            .chain([Life { life: 4, target: Target::Dispatcher, from: at(0), to: None }])
            .collect(),
        seen: Seen::default(),
        cases: BTreeMap::new(),
        rows: BTreeMap::new(),
    };
    for number in PULSES..PULSES + pulses {
        let plan = Plan::of(backend, SEED, number);
        let answer = Answer::Value(grown(plan.value));
        for told in [Told::Intended(id(number)), Told::Acknowledged, Told::Ended(answer.clone())] {
            evidence.journal.push(Entry { at: at(50_000), number, told });
        }
        let task = Task {
            id: TaskId::from_uuid(uuid::Uuid::from_u128(u128::from(number))),
            place: plan.place(),
            kind: StepKind::Call,
            name: "leaf".into(),
            status: TaskStatus::Completed,
            is_hit: false,
            started_at: None,
        };
        let case = Case {
            function: "leaf".into(),
            status: ExecutionStatus::Completed,
            answer: Some(answer),
            tasks: vec![task],
        };
        evidence.cases.insert(id(number), case);
    }
    evidence
}

impl Evidence {
    /// A run of a pulse in this life; without `end` it has no outcome.
    fn run(&mut self, pulse: u64, life: u64, begin: u64, end: Option<u64>) {
        self.run_of(Effect::Plain, pulse, life, begin, end);
    }

    fn run_of(&mut self, effect: Effect, pulse: u64, life: u64, begin: u64, end: Option<u64>) {
        let run = self.lines.len() as u64;
        let line = Line {
            at: at(begin),
            life,
            run,
            event: Event::Begin,
            place: Place::root(PULSES + pulse),
            attempt: 1,
            effect,
            execution: id(PULSES + pulse),
        };
        self.lines.push(line.clone());
        if let Some(end) = end {
            self.lines.push(Line { at: at(end), event: Event::End, ..line });
        }
    }

    /// The same step twice: in the first life from 1 to 2 s, and in the second from 20 to 21 s.
    fn repeated(backend: Backend) -> Self {
        let mut evidence = evidence(backend, 1);
        evidence.run(0, 1, 1_000, Some(2_000));
        evidence.run(0, 2, 20_000, Some(21_000));
        // Somebody is served at all times.
        let served =
            (0..50).map(|second| Entry { at: at(second * 1_000), number: PULSES, told: Told::Signalled });
        evidence.journal.splice(0..0, served);
        evidence
    }

    fn spell(mut self, fault: Fault, life: Option<u64>, from: u64, to: u64) -> Self {
        self.spells.push(Spell { fault, from: at(from), to: at(to), life, executions: Vec::new() });
        self
    }

    fn rules(&self) -> Vec<&'static str> {
        judge(self).violations.into_iter().map(|violation| violation.rule).collect()
    }
}

const fn pause() -> Fault {
    Fault::Pause(Target::Worker(0), Duration::ZERO)
}

const fn read_only() -> Fault {
    Fault::ReadOnly(Duration::ZERO)
}

#[test]
fn what_is_as_it_should_be_breaks_no_rule() {
    let mut evidence = evidence(Backend::Sqlite, 2);
    evidence.run(0, 1, 1_000, Some(2_000));
    evidence.run(1, 2, 1_000, Some(2_000));
    assert_eq!(evidence.rules(), [""; 0]);
}

#[test]
fn a_repeat_without_a_cause_is_doubled() {
    assert_eq!(Evidence::repeated(Backend::Postgres).rules(), ["doubled"]);
}

#[test]
fn the_end_of_its_life_excuses_a_repeat_and_that_of_another_does_not() {
    let mut evidence = Evidence::repeated(Backend::Postgres);
    evidence.lives[2].to = Some(at(3_000));
    assert_eq!(evidence.rules(), ["doubled"], "the third life has nothing to do with it");

    evidence.lives[0].to = Some(at(3_000));
    assert_eq!(evidence.rules(), [""; 0]);
    assert_eq!(judge(&evidence).tally.excused, 1);

    evidence.lives[0].to = Some(at(22_000));
    assert_eq!(evidence.rules(), ["doubled"], "it lived until after the repeat");
}

#[test]
fn an_outage_excuses_what_is_longer_than_a_lease_bears() {
    let away = |from, to| Evidence::repeated(Backend::Postgres).spell(read_only(), None, from, to);
    assert_eq!(away(2_000, 3_900).rules(), ["doubled"], "a third of the lease is 2 s");
    assert_eq!(away(2_000, 4_100).rules(), [""; 0]);
    assert_eq!(away(21_000, 29_000).rules(), ["doubled"], "it came after the repeat");

    let twice = away(2_000, 3_500).spell(Fault::Restart(Duration::ZERO), None, 4_000, 5_000);
    assert_eq!(twice.rules(), [""; 0], "nobody recovers in half a second");
    let apart = away(2_000, 3_500).spell(Fault::Restart(Duration::ZERO), None, 10_000, 11_000);
    assert_eq!(apart.rules(), ["doubled"]);
}

#[test]
fn an_outage_that_ended_just_before_a_run_may_have_used_up_its_lease() {
    let away = |from, to| {
        let mut evidence = Evidence::repeated(Backend::Postgres).spell(read_only(), None, from, to);
        evidence.lines.iter_mut().for_each(|line| line.at = line.at.plus(Duration::from_secs(10)));
        evidence.rules()
    };
    assert_eq!(away(5_000, 10_500), [""; 0], "the run began at 11 s");
    assert_eq!(away(3_000, 8_500), ["doubled"], "it had been renewed by then");
}

#[test]
fn a_rate_is_counted_by_the_record_where_nothing_was_wrong() {
    let mut evidence = evidence(Backend::Postgres, PACED_MAX as u64 + 1);
    for pulse in 0..=PACED_MAX as u64 {
        evidence.run_of(Effect::Paced, pulse, 1, 20_000, Some(20_001));
    }
    for case in evidence.cases.values_mut() {
        case.tasks[0].name = "paced".into();
        case.tasks[0].started_at = Some(Timestamp::from_micros(20_000_000));
    }
    assert_eq!(evidence.rules(), ["rushed"]);
    let troubled = evidence.clone().spell(Fault::Kill(Target::Worker(0)), Some(1), 15_000, 15_001);
    assert_eq!(troubled.rules(), [""; 0]);
    let calm = evidence.spell(Fault::Kill(Target::Worker(0)), Some(1), 13_000, 13_001);
    assert_eq!(calm.rules(), ["rushed"]);
}

#[test]
fn locked_rows_excuse_their_own_execution_only() {
    let mut evidence =
        Evidence::repeated(Backend::Postgres).spell(Fault::LockRows(Duration::ZERO), None, 1_500, 9_000);
    evidence.spells[0].executions = vec![id(7)];
    assert_eq!(evidence.rules(), ["doubled"]);
    evidence.spells[0].executions = vec![id(PULSES)];
    assert_eq!(evidence.rules(), [""; 0]);
}

#[test]
fn a_pause_excuses_its_own_life_and_on_a_file_everybody() {
    let of = |backend, life| Evidence::repeated(backend).spell(pause(), Some(life), 1_500, 9_000).rules();
    assert_eq!(of(Backend::Postgres, 1), [""; 0]);
    assert_eq!(of(Backend::Postgres, 3), ["doubled"]);
    assert_eq!(of(Backend::Sqlite, 3), [""; 0], "it may have held the one write lock");
}

#[test]
fn a_machine_that_stood_still_excuses_what_a_pause_does() {
    let mut evidence = Evidence::repeated(Backend::Postgres);
    evidence.stalls.push(Stall { life: 1, from: at(1_500), to: at(3_000) });
    assert_eq!(evidence.rules(), ["doubled"]);
    evidence.stalls.push(Stall { life: 1, from: at(3_100), to: at(5_000) });
    assert_eq!(evidence.rules(), [""; 0]);
}

#[test]
fn nothing_excuses_what_begins_after_it_was_seen_to_be_recorded_but_a_daze() {
    let mut evidence = Evidence::repeated(Backend::Postgres);
    evidence.lives[0].to = Some(at(3_000));
    evidence.seen.tasks.insert(TaskId::from_uuid(uuid::Uuid::from_u128(u128::from(PULSES))), at(10_000));
    assert_eq!(evidence.rules(), ["repeated-record"]);

    let dazed = evidence.clone().spell(pause(), Some(2), 12_000, 19_500);
    assert_eq!(dazed.rules(), [""; 0], "it had been claimed before the pause");
    let awake = evidence.spell(pause(), Some(2), 5_000, 13_000);
    assert_eq!(awake.rules(), ["repeated-record"], "seven seconds are enough to know better");
}

#[test]
fn an_execution_that_was_acknowledged_has_to_be_there_and_one_that_was_not_need_not() {
    let mut evidence = evidence(Backend::Sqlite, 1);
    evidence.run(0, 1, 1_000, Some(2_000));
    evidence.cases.clear();
    assert_eq!(evidence.rules(), ["lost"]);
    evidence.journal.retain(|entry| matches!(entry.told, Told::Intended(_)));
    assert_eq!(evidence.rules(), [""; 0]);
}

#[test]
fn ends_answers_and_records_are_held_against_each_other() {
    let mut sound = evidence(Backend::Sqlite, 1);
    sound.run(0, 1, 1_000, Some(2_000));
    let rules = |change: fn(&mut Case)| {
        let mut evidence = sound.clone();
        change(evidence.cases.get_mut(&id(PULSES)).expect("it is there"));
        evidence.rules()
    };
    assert_eq!(rules(|case| case.status = ExecutionStatus::Running), ["stuck"]);
    assert_eq!(rules(|case| case.answer = Some(Answer::Value(1))), ["wrong-end", "wrong-answer"]);
    assert_eq!(rules(|case| case.tasks.clear()), ["no-record"]);
    assert_eq!(rules(|case| case.tasks[0].place = Place::root("elsewhere")), ["no-effect", "no-record"]);

    let mut cut = sound.clone();
    cut.lines.truncate(1);
    assert_eq!(cut.rules(), ["no-effect"], "a run without an outcome is no effect");

    let mut stranger = sound.clone();
    let case = stranger.cases[&id(PULSES)].clone();
    stranger.cases.insert(id(3), Case { tasks: Vec::new(), ..case });
    assert_eq!(stranger.rules(), ["unknown"]);
}

#[test]
fn no_more_than_its_limit_run_under_leases_at_once() {
    let mut evidence = evidence(Backend::Postgres, 3);
    evidence.run_of(Effect::Narrow, 0, 1, 1_000, None);
    evidence.run_of(Effect::Narrow, 1, 2, 4_000, Some(9_000));
    evidence.run_of(Effect::Narrow, 2, 3, 5_000, Some(9_000));
    evidence.cases.values_mut().for_each(|case| case.tasks[0].is_hit = true);

    evidence.lives[0].to = Some(at(6_000));
    assert_eq!(evidence.rules(), ["crowded"], "the first ran until its life ended");
    evidence.lives[0].to = Some(at(4_500));
    assert_eq!(evidence.rules(), [""; 0]);
    evidence.lives[0].to = Some(at(20_000));
    let paused = evidence.spell(pause(), Some(1), 3_000, 12_000);
    assert_eq!(paused.rules(), [""; 0], "from the pause on it ran without a lease");
}

#[test]
fn a_store_that_is_well_is_used_again_soon() {
    let mut evidence = evidence(Backend::Postgres, 1).spell(read_only(), None, 10_000, 11_000);
    evidence.run(0, 1, 1_000, Some(2_000));
    assert_eq!(evidence.rules(), ["silent"], "what is told comes at 50 s");
    let paused = evidence.clone().spell(Fault::Pause(Target::Dispatcher, LEASE), Some(4), 10_500, 19_000);
    assert_eq!(paused.rules(), [""; 0], "the dispatcher could not be served");
    for entry in &mut evidence.journal {
        entry.at = at(15_000);
    }
    assert_eq!(evidence.rules(), [""; 0]);
}

#[test]
fn an_error_that_is_said_to_be_for_good_is_a_violation_as_every_fault_here_passes() {
    let mut evidence = evidence(Backend::Postgres, 1);
    evidence.run(0, 1, 1_000, Some(2_000));
    let refused = |passes| Told::Refused { what: "dispatch".into(), error: "no".into(), passes };
    evidence.journal.insert(1, Entry { at: at(50_000), number: PULSES, told: refused(true) });
    assert_eq!(evidence.rules(), [""; 0]);
    evidence.journal.insert(1, Entry { at: at(50_000), number: PULSES, told: refused(false) });
    assert_eq!(evidence.rules(), ["gave-up"]);
}

#[test]
fn a_row_is_there_if_and_only_if_its_step_is_recorded() {
    let mut evidence = evidence(Backend::Sqlite, 1);
    evidence.run_of(Effect::Row, 0, 1, 1_000, Some(2_000));
    let place = Place::root(PULSES);
    let case = evidence.cases.get_mut(&id(PULSES)).expect("it is there");
    (case.tasks[0].kind, case.tasks[0].name) = (StepKind::Inline, ROW.into());
    assert_eq!(evidence.rules(), ["rows"]);
    evidence.rows.insert(place.clone(), 1);
    assert_eq!(evidence.rules(), [""; 0]);
    evidence.rows.insert(place, 2);
    assert_eq!(evidence.rules(), ["rows"]);
    evidence.rows = [(Place::root("nowhere"), 1), (Place::root(PULSES), 1)].into();
    assert_eq!(evidence.rules(), ["rows"]);
}
