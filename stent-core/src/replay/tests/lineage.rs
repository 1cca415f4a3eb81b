//! Which steps keep their identity in the next attempt, and which do not.

use super::script::*;
use super::*;
use Code::{All, Call, Chain, Handled};

/// The ids with which a run asks for steps, from its first line until it is quiet or ends.
///
/// All ended steps ended at one moment, so that no two ids differ by their time alone.
fn asked(code: &Code, done: u32, mut record: Vec<Step>) -> Vec<TaskId> {
    for step in &mut record {
        if let StepState::Done { at, .. } = &mut step.state {
            *at = t(1);
        }
    }
    let mut run = Run { ids: None, ..Run::new(code, done, record) };
    run.until_quiet();
    run.asked.into_values().collect()
}

/// Its middle step may fail; then it cleans up, at a position that another step has otherwise.
fn charge_or_refund(charged: bool) -> Code {
    let third = if charged { Call("ship") } else { Call("refund") };
    Chain(vec![Call("reserve"), Handled(Box::new(Call("charge"))), third])
}

#[test]
fn a_failed_step_keeps_its_id_in_the_next_attempt_and_what_was_asked_for_after_it_does_not() {
    let (same, declined) = (Call("tidy"), || ended(1, "charge", 2, failed("declined")));
    let code = Chain(vec![Call("reserve"), Handled(Box::new(Call("charge"))), same]);

    let first = asked(&code, 2, vec![done(0, "reserve", 1), declined()]);
    // The record is cut at the failure, and the attempt fails there again.
    let again = ended(1, "charge", 4, failed("declined"));
    let second = asked(&code, 4, vec![done(0, "reserve", 1), again]);
    // And does not fail.
    let third = asked(&code, 6, vec![done(0, "reserve", 1), done(1, "charge", 6)]);

    assert_eq!([first[1], second[1]], [third[1]; 2], "the failed step");
    let after = [first[2], second[2], third[2]];
    assert!(after[0] != after[1] && after[1] != after[2] && after[2] != after[0], "{after:?}");
}

#[test]
fn two_attempts_that_take_two_ways_ask_for_two_steps_at_one_position() {
    let declined = ended(1, "charge", 2, failed("declined"));
    let refund = asked(&charge_or_refund(false), 2, vec![done(0, "reserve", 1), declined]);
    let ship = asked(&charge_or_refund(true), 3, vec![done(0, "reserve", 1), done(1, "charge", 3)]);

    assert_eq!(refund[..2], ship[..2]);
    assert_ne!(refund[2], ship[2]);
}

#[test]
fn a_failure_that_stays_in_the_record_changes_no_id_in_the_next_attempt() {
    let declined = || ended(0, "charge", 1, failed("declined"));
    let code = Chain(vec![Handled(Box::new(Call("charge"))), Call("refund"), Call("mail")]);

    let first = asked(&code, 2, vec![declined(), done(1, "refund", 2)]);
    let second = asked(&code, 4, vec![declined(), done(1, "refund", 2)]);

    assert_eq!(first, second);
}

#[test]
fn neither_gaps_nor_completions_that_the_code_has_not_seen_change_an_id() {
    let code = All(vec![Call("a"), Chain(vec![Call("b"), Call("c")])]);

    let first = asked(&code, 1, vec![open(0, "a"), done(1, "b", 1)]);
    let later = asked(&code, 9, vec![done(0, "a", 7), done(1, "b", 1)]);

    assert_eq!(first, later);
}

#[test]
fn a_step_that_is_written_has_the_id_that_is_derived() {
    let mut run = Run { ids: None, ..Run::new(&All(vec![Call("a"), Code::Sleep(9)]), 0, Vec::new()) };
    run.until_quiet();

    let expected = TaskId::of_step(&Origin {
        parent: TASK,
        seq: Seq(0),
        failure: 0,
        kind: StepKind::Call,
        name: "a",
        now: t(0),
    });
    assert_eq!(run.replay.id_of(Seq(0)), Some(expected));
    assert_eq!(run.turn().insert[0].id, expected);
}
