//! Code that sees its own completions before they are committed.

use super::*;

/// A run whose first call has ended here with this result, and the turn to commit.
fn ran_here(code: &Code, steps: Vec<Step>, seq: u32, result: TaskResult) -> (Run, Turn) {
    let (mut run, _) = quiet_run_of(code, steps);
    assert_eq!(run.replay.needs(), Needs::Call(Seq(seq)));
    let turn = run.run_here(Seq(seq), result);
    (run, turn)
}

/// The run, without taking its turn.
fn quiet_run_of(code: &Code, steps: Vec<Step>) -> (Run, Option<TaskResult>) {
    let done = steps.iter().filter_map(Step::order).max().unwrap_or(0);
    let mut run = Run::new(code, done, steps);
    let result = run.until_quiet();
    (run, result)
}

#[test]
fn code_that_ends_after_its_last_step_ends_in_the_turn_that_records_the_step() {
    for (code, runs_call) in [(Call("a"), true), (Inline("a"), false), (Chain(vec![Call("a")]), true)] {
        let (mut run, turn) = if runs_call {
            ran_here(&code, Vec::new(), 0, ok("a"))
        } else {
            let (mut run, _) = quiet_run_of(&code, Vec::new());
            let turn = run.keep(None);
            (run, turn)
        };
        assert!(run.replay.run_ahead(&turn) && run.replay.is_ahead(), "{code:?}");

        assert_eq!(run.until_quiet(), Some(ok("a")), "{code:?}");

        let whole = turn.clone().then(run.turn());
        assert_eq!(whole, Turn { seen: 1, ..turn }, "{code:?}");
    }
}

#[test]
fn a_step_that_is_asked_for_ahead_is_in_the_next_turn() {
    let code = Chain(vec![Call("a"), Call("b")]);
    let (mut run, turn) = ran_here(&code, Vec::new(), 0, ok("a"));
    assert!(run.replay.run_ahead(&turn));

    assert_eq!(run.until_quiet(), None);
    assert_eq!(run.replay.needs(), Needs::Call(Seq(1)));
    run.replay.catch_up();
    assert!(!run.replay.is_ahead());
    let next = run.run_here(Seq(1), ok("b"));

    assert_eq!((turn.own, next.own), (seqs(&[0]), seqs(&[1])));
    assert!(run.replay.run_ahead(&Turn { own: seqs(&[1]), ..next }), "one after the other");
    assert_eq!(run.until_quiet(), Some(ok("a>b")));
    assert_eq!(run.replay.seen(), 2);
}

#[test]
fn code_does_not_run_ahead_of_what_could_change_its_order() {
    // A failure, which a retry forgets together with what follows it.
    let (mut run, turn) = ran_here(&Handled(Box::new(Call("a"))), Vec::new(), 0, failed("no"));
    assert!(!run.replay.run_ahead(&turn));

    // A step after a failure.
    let code = Chain(vec![Handled(Box::new(Call("a"))), Call("b")]);
    let (mut run, turn) = ran_here(&code, vec![ended(0, "a", 1, failed("no"))], 1, ok("b"));
    assert!(!run.replay.run_ahead(&turn));

    // Something else is open, which may have completed elsewhere.
    for other in [Call("b"), Code::Sleep(9), Code::Map(0), Detached("b")] {
        let (mut run, _) = quiet_run_of(&All(vec![Inline("x"), other.clone()]), Vec::new());
        let turn = run.keep(None);
        assert!(!run.replay.run_ahead(&turn), "{other:?}");
    }

    // The record has steps that the code has not reached.
    let code = Chain(vec![World("w"), Call("b")]);
    let (mut run, _) = quiet_run_of(&All(vec![Inline("x"), code]), vec![open(1, "b")]);
    let turn = run.keep(None);
    assert!(!run.replay.run_ahead(&turn));

    // A sleep that is due, and notes alone.
    let (mut run, _) = quiet_run_of(&Code::Sleep(3), vec![sleeping(0, 3)]);
    run.clock = t(5);
    let turn = run.keep(None);
    assert_eq!(turn.own, seqs(&[0]));
    assert!(!run.replay.run_ahead(&turn));
    assert!(!Run::new(&World("w"), 0, Vec::new()).replay.run_ahead(&Turn::default()));
    assert!(!run.replay.is_ahead());
}
