//! Rehearsals: code that is only compared with its record, and the questions of the test kit about how far it has come.

use super::*;

/// A rehearsal of this code against a record, until it is quiet; with the result, if the code ends.
fn rehearse(code: &Code, steps: Vec<Step>) -> (Run, Option<TaskResult>) {
    let done = steps.iter().filter_map(Step::order).max().unwrap_or(0);
    let mut run = Run::new(&Chain(Vec::new()), done, Vec::new());
    run.replay = Replay::new(t(0), done, steps).rehearsal();
    run.code = run.build(code);
    let result = run.until_quiet();
    (run, result)
}

#[test]
fn a_rehearsal_runs_no_closure_that_is_not_recorded() {
    let code = Chain(vec![Call("a"), Inline("x"), Call("b")]);

    let (mut run, result) = rehearse(&code, vec![done(0, "a", 1)]);

    assert_eq!((result, run.saw.as_slice()), (None, [(0, "a".to_owned(), t(1))].as_slice()));
    assert!(!run.replay.must_run(Seq(1)), "the code has asked for the step");
    assert_eq!(run.turn().own, [], "nothing was recorded");

    // The same code in a worker runs it.
    let ran = quiet(&code, vec![done(0, "a", 1)]).turn;
    assert_eq!((ran.own, ran.insert), (seqs(&[1]), vec![super::ran(1, "x", ok("x"))]));
}

#[test]
fn a_rehearsal_ends_no_sleep_and_finds_the_closures_that_are_recorded() {
    let recorded = Step { kind: StepKind::Inline, ..ended(0, "x", 1, ok("recorded")) };

    let (run, result) = rehearse(&Chain(vec![Inline("x"), Code::Sleep(0)]), vec![recorded.clone()]);
    assert_eq!((result, run.saw.len()), (None, 1));
    assert!(!run.replay.must_run(Seq(1)));

    let (_, result) = rehearse(&Chain(vec![Inline("x")]), vec![recorded]);
    assert_eq!(result, Some(ok("recorded")));
}

#[test]
fn a_rehearsal_finds_a_mismatch_as_a_replay_does() {
    let (run, result) = rehearse(&Chain(vec![Inline("x")]), vec![open(0, "a")]);

    assert_eq!(result, None);
    assert_eq!(run.replay.broken().map(|mismatch| mismatch.recorded.as_str()), Some("call `a`"));
}

#[test]
fn steps_of_the_record_are_unasked_until_the_code_asks_for_them() {
    let record = vec![done(0, "a", 1), open(1, "b")];
    let code = Chain(vec![Call("a"), World("w"), Call("b")]);

    let (mut run, _) = rehearse(&code, record);
    assert!(run.replay.has_unasked(), "the open step comes after the event");
    run.world.insert("w");
    assert_eq!(run.until_quiet(), None);
    assert!(!run.replay.has_unasked(), "the code waits for its last step");

    let (run, result) = rehearse(&Chain(vec![Call("a")]), vec![done(0, "a", 1), done(1, "b", 2)]);
    assert!(result.is_some() && run.replay.has_unasked(), "the code ended without a completed step");
}

#[test]
fn a_completion_whose_turn_came_before_its_request_is_unasked() {
    let (mut run, _) = rehearse(&Chain(vec![World("w"), Call("a")]), vec![done(0, "a", 1)]);

    assert_eq!((run.replay.seen(), run.replay.has_unasked()), (1, true));
    run.world.insert("w");
    assert!(run.until_quiet().is_some() && !run.replay.has_unasked());
}

#[test]
fn steps_that_were_given_up_or_are_new_are_not_unasked() {
    assert!(!Run::new(&Chain(Vec::new()), 0, Vec::new()).replay.has_unasked(), "there is no record");
    let given_up = vec![done(0, "a", 1), cancelled(1, "b")];
    assert!(!rehearse(&Chain(vec![Call("a")]), given_up).0.replay.has_unasked());
    assert!(!rehearse(&All(vec![Call("a"), Detached("b")]), Vec::new()).0.replay.has_unasked());
    assert!(!rehearse(&All(vec![Call("a"), Detached("b")]), vec![open(1, "b")]).0.replay.has_unasked());
}

#[test]
fn code_reads_from_its_first_hold_to_its_last_release() {
    let (mut run, _) = rehearse(&Chain(vec![Call("a")]), vec![open(0, "a")]);
    let mut read = Vec::new();

    let steps: [fn(&mut Replay); 4] = [Replay::hold, Replay::hold, Replay::release, Replay::release];
    read.push(run.replay.is_reading());
    for step in steps {
        step(&mut run.replay);
        read.push(run.replay.is_reading());
    }

    assert_eq!(read, [false, true, true, true, false]);
}
