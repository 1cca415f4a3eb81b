//! Steps beyond plain calls: with a key, a limit or a deadline; signals, spawns, joins, gathers; and notes.

use super::script::*;
use super::*;
use crate::model::{Keyed, Said};
use crate::{Codec, ExecutionId, Key};

// Given: code that is polled by hand.

/// Asks for one more step.
fn ask(run: &mut Run, code: &Code, with: impl FnOnce(&mut Ask)) -> Seq {
    let seq = run.replay.reserve();
    let mut ask = ask_for(code);
    with(&mut ask);
    run.ask(seq, ask).expect("no mismatch");
    seq
}

/// The data of a call.
fn call(ask: &mut Ask) -> (&mut CallSpec, &mut Option<Keyed>) {
    match &mut ask.what {
        StepSpec::Call { spec, keyed } => (&mut **spec, keyed),
        _ => unreachable!("is a call"),
    }
}

fn blank(steps: Vec<Step>) -> Run {
    let done = steps.iter().filter_map(Step::order).max().unwrap_or(0);
    Run::new(&World("w"), done, steps)
}

fn key() -> Keyed {
    Keyed::new(Key::of_user("charge", None, "order 7"))
}

fn signal(run: &mut Run) -> Seq {
    ask(run, &Call("approval"), |ask| ask.what = StepSpec::Signal { keyed: key() })
}

fn signalled(seq: u32, state: StepState) -> Step {
    step(seq, StepKind::Signal, "approval", state)
}

fn took(seq: u32, order: u32) -> Step {
    signalled(seq, StepState::Done { order, at: t(order.into()), result: ok("yes") })
}

fn count(add: i64) -> Note {
    Note::Count { name: "rows".to_owned(), add }
}

// Calls that only a claim may start.

#[test]
fn a_call_runs_here_only_if_nothing_has_a_say_in_it() {
    type Case = (&'static str, fn(&mut Ask), bool);
    let cases: [Case; 4] = [
        ("plain", |_| {}, true),
        ("under a key", |ask| *call(ask).1 = Some(key()), false),
        ("limited", |ask| call(ask).0.limited = true, false),
        ("with a time", |ask| call(ask).0.expires_at = Some(t(9)), false),
    ];
    for (name, with, here) in cases {
        let mut run = blank(Vec::new());
        let seq = ask(&mut run, &Call("a"), with);
        assert_eq!(run.replay.needs(), if here { Needs::Call(seq) } else { Needs::Steps }, "{name}");

        let row = run.turn().insert.remove(0);
        let mut expected = pending(0, "a");
        if name == "under a key" {
            expected.keyed = Some(key());
        }
        if name == "with a time" {
            expected.expires_at = Some(t(9));
        }
        assert_eq!(row, expected, "{name}");
    }
}

// Signals.

#[test]
fn a_wait_for_a_signal_is_written_under_its_key() {
    let mut run = blank(Vec::new());
    signal(&mut run);

    assert_eq!(run.replay.needs(), Needs::Steps);
    let expected = row(0, StepKind::Signal, Lane::new("", "approval"), NewTaskState::Signal);
    assert_eq!(run.turn().insert, [NewTask { keyed: Some(key()), ..expected }]);
    assert_eq!(run.replay.wait(), Wait::for_next(0));
}

#[test]
fn a_value_that_came_and_was_not_seen_is_given_back_when_the_wait_is_dropped() {
    let mut run = blank(vec![took(0, 1)]);
    let seq = signal(&mut run);

    run.replay.forget(seq);

    assert_eq!(run.turn(), Turn { cancel: vec![old(0)], ..Turn::default() });
    assert_eq!(run.replay.deliver(), Some(seq), "it is counted");
    assert_eq!(run.replay.take(seq), None);
}

#[test]
fn a_value_that_was_seen_is_not_given_back() {
    for takes in [true, false] {
        let mut run = blank(vec![took(0, 1)]);
        let seq = signal(&mut run);
        assert_eq!(run.replay.deliver(), Some(seq));
        if takes {
            assert_eq!(run.replay.take(seq), Some((old(0), ok("yes"))));
        }
        run.replay.forget(seq);
        assert_eq!(run.turn(), Turn { seen: 1, ..Turn::default() });
    }
}

#[test]
fn a_wait_that_is_dropped_before_its_value_is_cancelled_and_may_be_cut() {
    let mut run = blank(vec![signalled(0, StepState::Open { due: None })]);
    let seq = signal(&mut run);
    run.replay.forget(seq);
    assert_eq!(run.replay.end(failed("no")).redo, [old(0)]);
    assert_eq!(run.turn().cancel, [old(0)]);

    let mut unwritten = blank(Vec::new());
    let seq = signal(&mut unwritten);
    unwritten.replay.forget(seq);
    assert_eq!(unwritten.turn(), Turn::default());
}

#[test]
fn a_value_that_another_step_came_before_is_given_back_in_every_run() {
    // The other step is delivered first, and the code drops the wait.
    for _ in 0..2 {
        let mut run = blank(vec![done(1, "a", 1), took(0, 2)]);
        let waits = signal(&mut run);
        let other = ask(&mut run, &Call("a"), |_| {});
        assert_eq!(run.replay.deliver(), Some(other));
        run.replay.forget(waits);
        assert_eq!(run.turn(), Turn { cancel: vec![old(0)], seen: 1, ..Turn::default() });
    }
}

// Spawns and joins.

fn spawned() -> NewTask {
    let execution = id(9_000).execution();
    NewTask { id: id(9_000), tree: Tree::root(execution), ..pending(0, "report") }
}

fn spawn(run: &mut Run) -> Seq {
    let root = Box::new(spawned());
    let seq = ask(run, &Call("report"), |ask| ask.what = StepSpec::Spawn { root });
    if run.replay.must_run(seq) {
        run.replay.record(seq, t(3), ok("9000"));
    }
    seq
}

#[test]
fn a_spawn_is_committed_at_once_with_the_root_that_it_starts() {
    let mut run = blank(Vec::new());
    let seq = spawn(&mut run);
    assert_eq!(run.replay.needs(), Needs::Commit);

    let turn = run.turn();

    let state = NewTaskState::Done { started_at: t(0), result: ok("9000") };
    let record = row(0, StepKind::Spawn, Lane::new("", "report"), state);
    assert_eq!(turn, Turn { insert: vec![spawned(), record], own: vec![seq], ..Turn::default() });
    run.replay.committed(&turn.own);
    assert_eq!(run.replay.deliver(), Some(seq));
    assert_eq!(run.replay.take(seq), Some((new(0), ok("9000"))));
    assert_eq!(run.turn(), Turn { seen: 1, ..Turn::default() });
}

#[test]
fn a_spawn_that_is_recorded_starts_nothing_again() {
    let state = StepState::Done { order: 1, at: t(1), result: ok("9000") };
    let mut run = blank(vec![step(0, StepKind::Spawn, "report", state)]);
    let seq = spawn(&mut run);
    assert!(!run.replay.must_run(seq));
    assert_eq!(run.turn(), Turn::default());
    assert_eq!(run.replay.deliver(), Some(seq));
}

#[test]
fn a_spawn_that_is_dropped_before_its_commit_starts_nothing() {
    let mut run = blank(Vec::new());
    let seq = spawn(&mut run);
    run.replay.forget(seq);
    assert_eq!(run.turn(), Turn::default());
}

#[test]
fn a_join_waits_for_an_execution_under_its_key() {
    let execution: ExecutionId = id(9_000).execution();
    let keyed = Keyed::new(Key::of_execution(execution));
    let mut run = blank(Vec::new());
    ask(&mut run, &Call("report"), |ask| ask.what = StepSpec::Join { execution });

    assert_eq!(run.replay.needs(), Needs::Steps);
    let expected = row(0, StepKind::Join, Lane::new("", "report"), NewTaskState::Join { execution });
    let args = Codec::Json.encode(&(execution,)).expect("encodes");
    assert_eq!(run.turn().insert, [NewTask { keyed: Some(keyed), args, ..expected }]);
}

// Gathers.

#[test]
fn a_gather_is_fed_in_windows_as_a_map_is() {
    let chunk = u32::try_from(MAP_CHUNK).expect("small");
    let window = chunk * u32::try_from(MAP_WINDOW_CHUNKS).expect("small");
    let gather = |run: &mut Run| ask(run, &Code::Map(0), |ask| ask.what = StepSpec::Gather);
    let mut run = blank(Vec::new());
    let seq = gather(&mut run);
    for n in 0..window / chunk {
        assert_eq!(run.replay.map_room(seq).map(|(_, room, _)| room), Some(MAP_CHUNK));
        let items = (n * chunk..(n + 1) * chunk).map(|n| item(new(0), n)).collect();
        run.replay.feed(seq, items, false, None);
        let turn = run.turn();
        assert_eq!(turn.feed, [Feed { map: new(0), fed: (n + 1) * chunk, total: None, digest: None }]);
        if n == 0 {
            assert_eq!((turn.insert[0].kind, &turn.insert[0].state), (StepKind::Gather, &NewTaskState::Map));
        }
    }
    assert_eq!(run.replay.map_room(seq).map(|(_, room, _)| room), Some(0));
    assert_eq!(run.replay.wait().maps, [Threshold { map: new(0), done: window / 2 }]);

    let recorded = Step { kind: StepKind::Gather, ..mapping(0, window, window / 2) };
    let mut again = blank(vec![recorded]);
    let seq = gather(&mut again);
    assert_eq!(again.replay.map_room(seq).map(|(_, room, _)| room), Some(MAP_CHUNK));
}

#[test]
fn a_gather_is_no_map() {
    let mut run = blank(vec![mapping(0, 3, 1)]);
    let seq = run.replay.reserve();
    let gather = Ask { what: StepSpec::Gather, ..ask_for(&Code::Map(3)) };
    let mismatch = run.ask(seq, gather).expect_err("another kind");
    assert_eq!(mismatch.recorded, "map `item`");
    assert_eq!(mismatch.asked.as_deref(), Some("gather `item`"));
}

// Notes.

#[test]
fn what_the_code_says_goes_with_its_next_turn_and_once() {
    let mut run = blank(Vec::new());
    run.replay.note(count(1));
    run.replay.note(count(2));
    assert!(run.replay.has_notes());
    assert_eq!(run.replay.needs(), Needs::World, "it is no reason for a commit by itself");

    let notes = [1, 2].map(|add| Said { task: TASK, note: count(add) });
    assert_eq!(run.turn(), Turn { notes: notes.into(), ..Turn::default() });
    assert!(!run.replay.has_notes());
    assert_eq!(run.turn(), Turn::default());
}

#[test]
fn what_is_on_record_is_not_said_again() {
    let mut run = blank(Vec::new());
    run.replay = Replay::new(t(0), 0, Vec::new()).noted(2);
    for add in 1..=3 {
        run.replay.note(count(add));
    }
    assert_eq!(run.turn().notes, [Said { task: TASK, note: count(3) }]);
    run.replay.note(count(4));
    assert_eq!(run.turn().notes, [Said { task: TASK, note: count(4) }]);
}

#[test]
fn what_a_step_says_that_runs_here_is_for_its_parent_to_commit() {
    let mut step = Replay::new(t(0), 0, Vec::new());
    step.note(count(1));
    assert_eq!(step.needs(), Needs::World, "it is still a leaf");
    assert_eq!(step.take_notes(), [count(1)]);
    assert!(!step.has_notes());
}

#[test]
fn what_the_closure_of_a_step_says_is_the_steps_and_shifts_nothing() {
    // One note of the function is on record, and the step's closure runs again.
    let mut run = blank(Vec::new());
    run.replay = Replay::new(t(0), 0, Vec::new()).noted(1);
    let step = ask(&mut run, &Slow("x"), |_| {});

    run.replay.note_in_step(step, count(1));
    run.replay.note(count(2));
    run.replay.note(count(3));

    let of_step = Said { task: new(step.0), note: count(1) };
    assert_eq!(run.turn().notes, [of_step, Said { task: TASK, note: count(3) }]);
    run.replay.forget(step);
    run.replay.note_in_step(step, count(4));
    assert!(!run.replay.has_notes(), "a closure that is gone says nothing");
}

#[test]
fn code_that_does_not_match_its_record_says_nothing() {
    let mut run = blank(vec![open(0, "a")]);
    run.replay.note(count(1));
    let seq = run.replay.reserve();
    run.ask(seq, ask_for(&Call("b"))).expect_err("a mismatch");
    assert_eq!(run.turn().notes, []);
}

// News.

#[test]
fn steps_that_were_read_later_than_they_were_counted_are_counted() {
    // A commit found one completion, and the steps that it reported were read when there were two.
    let mut run = blank(vec![open(0, "a"), open(1, "b")]);
    for name in ["a", "b"] {
        ask(&mut run, &Call(name), |_| {});
    }
    run.replay.resume(1, vec![done(0, "a", 1), done(1, "b", 2)]);
    while run.replay.deliver().is_some() {}
    let inline = ask(&mut run, &Inline("x"), |_| {});
    run.replay.record(inline, t(5), ok("x"));
    let turn = run.turn();

    run.replay.committed(&turn.own);
    assert_eq!(run.replay.deliver(), Some(inline));

    assert_eq!(run.replay.seen(), 3);
}
