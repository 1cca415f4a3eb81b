//! Scripted code against records.
//!
//! [`Code`] is a durable function as data, and [`Run`] polls it as a worker's turn does. Most tests are one call of [`quiet`]:
//! a script and a record in; the deliveries, the need and the data to commit out.

mod ahead;
mod asking;
mod identity;
mod interrupted;
mod lineage;
mod rehearsal;
mod script;

use std::collections::VecDeque;

use script::Code::{All, Call, Chain, Delayed, Detached, Handled, Inline, Race, Slow, Try, World};
use script::*;

use super::*;
use crate::limits::{MAP_CHUNK, MAP_WINDOW_CHUNKS};
use crate::model::{Lane, NewTask, NewTaskState, Progress, Threshold, Tree, Wait};
use crate::transition::Feed;
use crate::{Failure, Payload};

// Asking and delivering.

#[test]
fn a_new_ask_is_wished_for_and_a_recorded_one_is_answered() {
    let code = Chain(vec![Call("a"), Call("b")]);

    let quiet = quiet(&code, vec![done(0, "a", 1)]);

    assert_eq!(
        quiet,
        Quiet {
            delivered: vec![0],
            saw: vec![(0, "a".to_owned())],
            needs: Needs::Call(Seq(1)),
            turn: Turn { insert: vec![pending(1, "b")], seen: 1, ..Turn::default() },
            wait: Wait::for_next(1),
        }
    );
}

#[test]
fn each_kind_of_wish_becomes_its_row() {
    let code =
        All(vec![Call("a"), Delayed("b", 9), Code::Sleep(7), Detached("c"), Inline("x"), Code::Map(0)]);

    let turn = quiet(&code, Vec::new()).turn;

    let delayed = row(1, StepKind::Call, Lane::new("default", "b"), NewTaskState::Pending { ready_at: t(9) });
    let map = row(5, StepKind::Map, Lane::new("", "item"), NewTaskState::Map);
    assert_eq!(
        turn,
        Turn {
            // Ended steps come first, so that the order of completions is that of the rows.
            insert: vec![ran(4, "x", ok("x")), pending(0, "a"), delayed, timer(2, 7), pending(3, "c"), map],
            own: seqs(&[4]),
            feed: vec![Feed { map: new(5), fed: 0, total: Some(0), digest: None }],
            ..Turn::default()
        }
    );
}

#[test]
fn completions_are_delivered_in_their_order_however_steps_are_placed() {
    let code = All(vec![Call("a"), Call("b"), Call("c"), Call("d")]);

    let quiet = quiet(&code, vec![done(0, "a", 3), done(1, "b", 1), done(2, "c", 2), open(3, "d")]);

    assert_eq!(quiet.delivered, [1, 2, 0]);
    assert_eq!(quiet.saw.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 2, 0]);
    assert_eq!(quiet.turn, Turn { seen: 3, ..Turn::default() });
}

#[test]
fn completions_are_delivered_in_their_order_whatever_order_they_were_learned_in() {
    let steps = vec![open(0, "a"), open(1, "b"), open(2, "c"), open(3, "d")];
    let (mut run, _) = quiet_run(&All(vec![Call("a"), Call("b"), Call("c"), Call("d")]), steps);

    run.replay.resume(3, vec![done(2, "c", 3)]);
    run.replay.resume(2, vec![done(0, "a", 2), done(1, "b", 1)]);
    run.until_quiet();

    assert_eq!(run.delivered, [1, 0, 2]);
    assert_eq!(run.replay.seen(), 3);
}

#[test]
fn completions_are_delivered_one_at_a_time() {
    // Both are known before the code looks; the first must win although the second is polled before it.
    let code = Chain(vec![Race(vec![Call("a"), Call("b")]), Call("c")]);

    let quiet = quiet(&code, vec![done(0, "a", 2), done(1, "b", 1)]);

    assert_eq!(quiet.saw, [(1, "b".to_owned())]);
    assert_eq!((quiet.delivered, quiet.needs), (vec![1, 0], Needs::Call(Seq(2))));
}

#[test]
fn a_completion_that_was_erased_leaves_a_gap_and_nobody_waits_for_it() {
    let code = All(vec![Call("a"), Call("b"), Call("c")]);
    let mut run = Run::new(&code, 5, vec![done(0, "a", 2), done(1, "b", 4), open(2, "c")]);

    assert_eq!(run.until_quiet(), None);

    assert_eq!((run.delivered.as_slice(), run.replay.seen()), ([0, 1].as_slice(), 5));
    assert_eq!(run.replay.wait(), Wait::for_next(5));
    run.replay.resume(6, vec![done(2, "c", 6)]);
    assert_eq!(run.until_quiet(), Some(ok("a,b,c")));
}

#[test]
fn positions_are_given_in_the_order_of_building_and_not_of_polling() {
    // The chain is built first, but its call only when it is polled; the call beside it has its position by then.
    let code = All(vec![Chain(vec![Call("late")]), Call("early")]);

    let turn = quiet(&code, Vec::new()).turn;

    assert_eq!(turn.insert, [pending(1, "late"), pending(0, "early")]);
}

#[test]
fn the_time_is_that_of_the_last_completion_that_the_code_saw() {
    let code = All(vec![Call("a"), Call("b"), Detached("c"), Call("d")]);
    let late = ended(1, "b", 2, ok("b"));
    let early = Step { state: StepState::Done { order: 1, at: t(8), result: ok("a") }, ..done(0, "a", 1) };

    // A clock that went back, and a completion that the code did not see.
    let (run, _) = quiet_run(&code, vec![early, late, done(2, "c", 9), open(3, "d")]);

    assert_eq!(run.replay.now(), t(8));
}

// Completions before their requests: the code awaits non-durable work first.

#[test]
fn a_completion_that_comes_before_its_ask_is_handed_over_when_it_is_asked_for() {
    let code = Chain(vec![World("w"), Call("a"), Call("b"), World("v"), Call("c")]);
    let (mut run, quiet) = quiet_run(&code, vec![done(0, "a", 1), done(1, "b", 2)]);
    assert_eq!((quiet.saw, quiet.needs), (Vec::new(), Needs::World));
    assert_eq!(run.replay.now(), t(0));

    run.world.insert("w");
    assert_eq!(run.until_quiet(), None);

    assert_eq!(run.saw, [(0, "a".to_owned(), t(1)), (1, "b".to_owned(), t(2))]);
    assert_eq!((run.replay.seen(), run.turn()), (2, Turn { seen: 2, ..Turn::default() }));
    assert_eq!(run.replay.needs(), Needs::World);
    run.world.insert("v");
    assert_eq!(run.until_quiet(), None);
    assert_eq!(run.replay.needs(), Needs::Call(Seq(2)));
}

#[test]
fn completions_that_come_before_their_asks_keep_their_order() {
    let code = Chain(vec![World("w"), Race(vec![Call("a"), Call("b")]), World("v")]);
    let (mut run, _) = quiet_run(&code, vec![done(0, "a", 2), done(1, "b", 1)]);

    run.world.insert("w");
    assert_eq!(run.until_quiet(), None);

    assert_eq!((run.saw, run.replay.seen()), (vec![(1, "b".to_owned(), t(1))], 2));
}

#[test]
fn nothing_is_delivered_into_a_read() {
    // The first branch reads the items of a map, while the record continues with completions after the read.
    let code =
        Race(vec![Chain(vec![Call("map"), World("read"), Call("a")]), Chain(vec![Call("b"), Call("c")])]);
    let record = vec![done(0, "map", 1), done(2, "a", 2), done(1, "b", 3), open(3, "c")];
    let mut run = Run::new(&code, 3, record);
    assert_eq!(run.poll_once(), None);
    assert_eq!(run.replay.deliver(), Some(Seq(0)));

    run.replay.hold();
    assert_eq!(run.until_quiet(), None);
    assert_eq!(
        (run.delivered.as_slice(), run.replay.seen(), run.replay.needs()),
        ([].as_slice(), 1, Needs::World)
    );

    run.replay.release();
    run.world.insert("read");
    assert_eq!(run.until_quiet(), Some(ok("0:map>read>a")));
}

#[test]
fn an_inline_step_that_is_recorded_does_not_run_again_however_late_it_is_asked_for() {
    let recorded = Step { kind: StepKind::Inline, ..ended(0, "x", 1, ok("recorded")) };
    let (mut run, _) = quiet_run(&Chain(vec![World("w"), Inline("x")]), vec![recorded]);

    run.world.insert("w");

    assert_eq!(run.until_quiet(), Some(ok("w>recorded")));
}

#[test]
fn a_step_that_ended_while_nobody_had_asked_for_it_again_is_handed_over_too() {
    let code = All(vec![Call("a"), Chain(vec![World("w"), Call("b")])]);
    let (mut run, quiet) = quiet_run(&code, vec![open(0, "a"), open(1, "b")]);
    assert_eq!(quiet.needs, Needs::Steps);

    run.replay.resume(1, vec![done(1, "b", 1)]);
    assert_eq!(run.until_quiet(), None);
    run.world.insert("w");
    assert_eq!(run.until_quiet(), None);

    assert_eq!(run.saw, [(1, "b".to_owned(), t(1))]);
}

#[test]
fn an_early_failure_is_the_last_thing_that_the_code_saw() {
    let (mut run, _) = quiet_run(&Chain(vec![World("w"), Call("a")]), vec![ended(0, "a", 1, failed("no"))]);
    run.world.insert("w");

    let result = run.until_quiet().expect("it ends");

    assert_eq!(run.replay.end(result).redo, [old(0)]);
}

// Drops.

#[test]
fn a_written_step_that_is_dropped_is_cancelled_once() {
    let code = Chain(vec![Race(vec![Call("a"), Call("b")]), World("w")]);

    let (mut run, quiet) = quiet_run(&code, vec![done(0, "a", 1), open(1, "b")]);

    assert_eq!(
        (quiet.needs, quiet.turn),
        (Needs::Commit, Turn { cancel: vec![old(1)], seen: 1, ..Turn::default() })
    );
    assert_eq!((run.replay.needs(), run.turn()), (Needs::World, Turn { seen: 1, ..Turn::default() }));
}

#[test]
fn an_unwritten_step_that_is_dropped_is_withdrawn() {
    for loser in [Call("b"), Inline("b"), Code::Sleep(9), Code::Map(3), Slow("b")] {
        let code = Chain(vec![Race(vec![Call("a"), loser]), World("w")]);

        let quiet = quiet(&code, vec![done(0, "a", 1)]);

        assert_eq!((quiet.needs, quiet.turn), (Needs::World, Turn { seen: 1, ..Turn::default() }));
    }
}

#[test]
fn a_drop_that_is_recorded_is_not_recorded_again() {
    let code = Chain(vec![Race(vec![Call("a"), Call("b")]), Call("c")]);

    let quiet = quiet(&code, vec![done(0, "a", 1), cancelled(1, "b")]);

    assert_eq!(quiet.needs, Needs::Call(Seq(2)));
    assert_eq!(quiet.turn, Turn { insert: vec![pending(2, "c")], seen: 1, ..Turn::default() });
}

#[test]
fn a_completion_of_a_dropped_step_is_counted_and_seen_by_nobody() {
    let code = Chain(vec![Race(vec![Call("a"), Call("b")]), World("w")]);
    // The step ended before it could be cancelled: known at once, or learned later.
    for (recorded, news) in [(done(1, "b", 2), vec![]), (open(1, "b"), vec![done(1, "b", 2)])] {
        let (mut run, quiet) = quiet_run(&code, vec![done(0, "a", 1), recorded.clone()]);
        run.replay.resume(2, news);
        assert_eq!(run.until_quiet(), None);

        assert_eq!((run.delivered.as_slice(), run.replay.seen()), ([0, 1].as_slice(), 2));
        assert_eq!((run.saw.len(), run.replay.now()), (1, t(1)));
        // Ended steps are not given up.
        assert_eq!(quiet.turn.cancel.is_empty(), recorded.order().is_some());
        run.world.insert("w");
        let result = run.until_quiet().expect("it ends");
        assert_eq!(run.replay.end(result).result, ok("0:a>w"));
    }
}

#[test]
fn a_dropped_delivery_is_gone() {
    let mut replay = Replay::new(t(0), 1, vec![done(0, "a", 1)]);
    let seq = replay.reserve();
    replay.ask(seq, id(1_000), t(0), ask_for(&Call("a"))).expect("no mismatch");
    assert_eq!(replay.deliver(), Some(seq));

    replay.forget(seq);

    assert_eq!(replay.take(seq), None);
    assert_eq!(
        (replay.turn(TASK, &TREE), replay.needs()),
        (Turn { seen: 1, ..Turn::default() }, Needs::World)
    );
}

#[test]
fn a_detached_step_is_written_and_nobody_waits_for_it() {
    let code = Chain(vec![Detached("d"), World("w"), Call("a")]);
    let (mut run, quiet) = quiet_run(&code, Vec::new());
    assert_eq!((quiet.needs, quiet.turn.insert), (Needs::Commit, vec![pending(0, "d")]));

    run.replay.committed(&[]);
    run.replay.resume(1, vec![Step { id: new(0), ..ended(0, "d", 1, failed("no")) }]);
    assert_eq!(run.until_quiet(), None);
    assert_eq!(
        (run.delivered.as_slice(), run.saw.len(), run.replay.needs()),
        ([0].as_slice(), 0, Needs::World)
    );

    run.world.insert("w");
    assert_eq!(run.until_quiet(), None);
    assert_eq!((run.replay.needs(), run.replay.seen()), (Needs::Call(Seq(1)), 1));
}

#[test]
fn a_detached_step_is_the_same_on_replay_wherever_it_has_come_to() {
    let code = Chain(vec![Detached("d"), Call("a")]);
    for recorded in [open(0, "d"), done(0, "d", 1), ended(0, "d", 1, failed("no"))] {
        let (turn, end) = end(&code, vec![recorded.clone(), done(1, "a", 2)]);

        assert_eq!(turn, Turn { seen: 2, ..Turn::default() });
        assert_eq!(end, End { result: ok("d>a"), had_steps: true, redo: Vec::new() }, "{recorded:?}");
    }
}

#[test]
fn a_step_that_was_detached_in_time_is_not_cancelled() {
    let mut run = Run::new(&World("w"), 0, Vec::new());
    let (written, unwritten) = (run.replay.reserve(), run.replay.reserve());
    for seq in [written, unwritten] {
        assert_eq!(run.ask(seq, ask_for(&Call("a"))), Ok(Asked::New));
        if seq == written {
            assert_eq!(run.turn().insert, [pending(0, "a")]);
        }
        run.replay.detach(seq);
        run.replay.forget(seq);
    }

    assert_eq!(run.turn(), Turn { insert: vec![pending(1, "a")], ..Turn::default() });
}

// Code that does not match.

#[test]
fn another_step_than_the_recorded_one_is_a_mismatch_that_shows_both_and_where() {
    let cases = [
        (Call("b"), "call `b`"),
        (Code::Sleep(1), "sleep `sleep`"),
        (Inline("a"), "inline `a`"),
        (Code::Map(1), "map `item`"),
        (Detached("b"), "call `b`"),
    ];
    for (code, asked) in cases {
        for recorded in [open(0, "a"), done(0, "a", 1), cancelled(0, "a")] {
            let quiet = quiet(&Chain(vec![code.clone(), World("w")]), vec![recorded]);

            let Needs::Nothing(mismatch) = quiet.needs else { panic!("{:?}", quiet.needs) };
            assert_eq!((mismatch.seq, mismatch.recorded.as_str()), (Seq(0), "call `a`"));
            assert_eq!(mismatch.asked.as_deref(), Some(asked));
            assert!(mismatch.location.is_some_and(|at| at.contains("replay/tests/script.rs:")));
            assert_eq!(quiet.saw, []);
        }
    }
}

#[test]
fn a_mismatch_reads_as_a_diff() {
    let mismatch = Mismatch {
        seq: Seq(3),
        recorded: "call `charge`".to_owned(),
        asked: Some("sleep `sleep`".to_owned()),
        location: Some("src/checkout.rs:12:5".to_owned()),
        difference: Difference::Step,
        reordered: None,
    };
    let why = "\nThe function was changed while this execution was in progress, or its code is not deterministic \
               (the clock, random numbers, a hash map's order, tokio's unbiased select!).";

    assert_eq!(
        mismatch.to_string(),
        format!(
            "the code does not match its record at step 3\n  - recorded: call `charge`\n  + the code:  sleep `sleep`\n    \
             at src/checkout.rs:12:5{why}"
        )
    );
    let unasked = Mismatch { asked: None, location: None, ..mismatch };
    assert_eq!(
        unasked.to_string(),
        format!(
            "the code does not match its record at step 3\n  - recorded: call `charge`\n  + the code:  ended without this \
             step{why}"
        )
    );
    let failure = Failure::from(&unasked);
    assert_eq!((failure.kind.as_str(), failure.fatal), (Failure::MISMATCH, true));
}

#[test]
fn nothing_is_appended_to_a_record_that_the_code_does_not_match() {
    let code = All(vec![Call("before"), Call("changed"), Inline("x"), Detached("d"), Code::Map(3)]);

    let (run, quiet) = quiet_run(&code, vec![open(1, "a")]);

    assert!(matches!(quiet.needs, Needs::Nothing(_)));
    assert_eq!(quiet.turn, Turn::default());
    let end = run.replay.end(ok("all is well"));
    assert_eq!(end.result.expect_err("a mismatch").kind, Failure::MISMATCH);
}

#[test]
fn a_recorded_step_that_is_never_asked_for_is_a_mismatch_at_the_end() {
    let code = Chain(vec![Call("a")]);
    for unasked in [open(1, "b"), done(1, "b", 2), sleeping(1, 9)] {
        let what = unasked.described();

        let (_, end) = end(&code, vec![done(0, "a", 1), unasked]);

        let failure = end.result.expect_err("a mismatch");
        assert_eq!(failure.kind, Failure::MISMATCH);
        assert!(
            failure.message.contains(&what) && failure.message.contains("ended without this step"),
            "{failure}"
        );
    }
}

#[test]
fn a_step_that_was_given_up_need_not_be_asked_for() {
    let (_, end) = end(&Chain(vec![Call("a")]), vec![done(0, "a", 1), cancelled(1, "b")]);
    assert_eq!(end, End { result: ok("a"), had_steps: true, redo: Vec::new() });
}

#[test]
fn code_that_fails_before_it_comes_as_far_as_its_record_fails_as_itself() {
    // Its first await is not recorded, and succeeded the last time.
    let mut run = Run::new(&World("w"), 1, vec![done(0, "a", 1), open(1, "b")]);
    run.until_quiet();

    let end = run.replay.end(failed("the database is away"));

    assert_eq!(end, End { result: failed("the database is away"), had_steps: true, redo: Vec::new() });
}

// Needs of quiet code.

#[test]
fn needs_says_what_the_code_waits_for() {
    let window = MAP_CHUNK * MAP_WINDOW_CHUNKS;
    let full = u32::try_from(window).expect("small");
    let last = u32::try_from(MAP_CHUNK).expect("small");
    let cases: Vec<(&str, Code, Vec<Step>, Needs)> = vec![
        ("one call", Call("a"), vec![], Needs::Call(Seq(0))),
        (
            "one call after another",
            Chain(vec![Call("a"), Call("b")]),
            vec![done(0, "a", 1)],
            Needs::Call(Seq(1)),
        ),
        ("one delayed call", Delayed("a", 9), vec![], Needs::Steps),
        ("one call that is written", Call("a"), vec![open(0, "a")], Needs::Steps),
        ("two calls", All(vec![Call("a"), Call("b")]), vec![], Needs::Steps),
        ("a new call beside an open one", All(vec![Call("a"), Call("b")]), vec![open(0, "a")], Needs::Steps),
        ("a call and a sleep", All(vec![Call("a"), Code::Sleep(9)]), vec![], Needs::Steps),
        ("a call beside a detached one", All(vec![Call("a"), Detached("d")]), vec![], Needs::Steps),
        ("a sleep", Code::Sleep(9), vec![], Needs::Steps),
        ("an open sleep", Code::Sleep(9), vec![sleeping(0, 9)], Needs::Steps),
        ("the world", World("w"), vec![], Needs::World),
        ("a call and the world", All(vec![Call("a"), World("w")]), vec![], Needs::Call(Seq(0))),
        ("a detached call and the world", All(vec![Detached("a"), World("w")]), vec![], Needs::Commit),
        (
            "a detached call that is written",
            All(vec![Detached("a"), World("w")]),
            vec![open(0, "a")],
            Needs::World,
        ),
        ("an inline result", Inline("x"), vec![], Needs::Commit),
        ("an inline failure", Inline("!x"), vec![], Needs::Commit),
        ("an inline result and a call", All(vec![Inline("x"), Call("a")]), vec![], Needs::Commit),
        ("running inline", Slow("x"), vec![], Needs::World),
        ("running inline beside a wish", All(vec![Slow("x"), Call("a")]), vec![], Needs::Commit),
        ("running inline beside a detached wish", All(vec![Slow("x"), Detached("a")]), vec![], Needs::Commit),
        (
            "running inline beside an open step",
            All(vec![Slow("x"), Call("a")]),
            vec![open(1, "a")],
            Needs::World,
        ),
        (
            "running inline beside a sleep",
            All(vec![Slow("x"), Code::Sleep(9)]),
            vec![sleeping(1, 9)],
            Needs::World,
        ),
        (
            "running inline after a drop",
            All(vec![Slow("x"), Chain(vec![Race(vec![Call("a"), Call("b")]), World("w")])]),
            vec![done(1, "a", 1), open(2, "b")],
            Needs::Commit,
        ),
        ("a map with room for more", Code::Map(full), vec![], Needs::Commit),
        ("a map of one chunk", Code::Map(last), vec![], Needs::Steps),
        ("a map without items", Code::Map(0), vec![], Needs::Steps),
        ("a map whose window is full", Code::Map(2 * full), vec![mapping(0, full, 0)], Needs::Steps),
        (
            "a map whose window was filled",
            Code::Map(2 * full),
            vec![mapping(0, full - last, 0)],
            Needs::Steps,
        ),
        (
            "running inline beside a map whose window was filled",
            All(vec![Slow("x"), Code::Map(2 * full)]),
            vec![mapping(1, full - last, 0)],
            Needs::Commit,
        ),
        (
            "running inline beside a map that was given its last items",
            All(vec![Slow("x"), Code::Map(full)]),
            vec![mapping(1, full - last, 0)],
            Needs::Commit,
        ),
    ];
    for (name, code, record, needs) in cases {
        assert_eq!(quiet(&code, record).needs, needs, "{name}");
    }
}

#[test]
fn what_was_committed_is_not_committed_again() {
    let window = u32::try_from(MAP_CHUNK * MAP_WINDOW_CHUNKS).expect("small");
    let codes = [
        All(vec![Slow("x"), Call("a"), Detached("d"), Code::Sleep(9), Code::Map(3)]),
        All(vec![Slow("x"), Code::Map(window)]),
        All(vec![World("w"), Inline("x"), Detached("d")]),
    ];
    for code in codes {
        let mut run = Run::new(&code, 0, Vec::new());
        let mut commits = 0;
        while run.until_quiet().is_none() && run.replay.needs() == Needs::Commit {
            let turn = run.keep(None);
            run.replay.committed(&turn.own);
            commits += 1;
            // One for each chunk of the window, and few others.
            assert!(commits < MAP_WINDOW_CHUNKS + 6, "{code:?} never comes to rest: {turn:?}");
        }
        assert_eq!(run.replay.needs(), Needs::World, "{code:?}");
        assert_eq!(Turn { seen: 0, ..run.turn() }, Turn::default(), "{code:?}");
    }
}

#[test]
fn a_wait_is_for_the_next_completion_the_earliest_sleep_and_room_in_each_map() {
    let window = u32::try_from(MAP_CHUNK * MAP_WINDOW_CHUNKS).expect("small");
    let code = All(vec![
        Call("a"),
        Code::Sleep(30),
        Code::Sleep(20),
        Code::Map(2 * window),
        Chain(vec![Race(vec![Call("b"), Code::Sleep(10)]), Call("c")]),
    ]);
    let record = vec![
        done(4, "b", 7),
        open(0, "a"),
        sleeping(1, 30),
        sleeping(2, 20),
        mapping(3, window, 5),
        // The code gives the step up in this turn, so it wakes nothing.
        sleeping(5, 10),
    ];

    let quiet = quiet(&code, record);

    assert_eq!(
        quiet.wait,
        Wait { done: 8, until: Some(t(20)), maps: vec![Threshold { map: old(3), done: window / 2 }] }
    );
}

#[test]
fn the_next_due_sleep_is_one_that_is_written_and_wanted() {
    let code = All(vec![Code::Sleep(5), Code::Sleep(9), Slow("x")]);
    let mut run = Run::new(&code, 0, vec![sleeping(1, 9)]);
    run.until_quiet();
    assert_eq!(run.replay.next_due(), Some(t(9)));

    run.turn();

    assert_eq!(run.replay.next_due(), Some(t(5)));
}

// Completions in the turn itself.

#[test]
fn due_sleeps_are_fired_in_the_order_of_their_moments_after_what_else_ended() {
    let code =
        All(vec![Code::Sleep(6), Code::Sleep(3), Code::Sleep(3), Code::Sleep(8), Inline("x"), Slow("y")]);
    let mut run = Run::new(&code, 0, vec![sleeping(0, 6), sleeping(1, 3), sleeping(2, 3), sleeping(3, 8)]);
    run.until_quiet();
    run.clock = t(7);

    let turn = run.keep(None);

    assert_eq!((turn.fire.clone(), turn.own.clone()), (vec![old(1), old(2), old(0)], seqs(&[4, 1, 2, 0])));
    run.replay.committed(&turn.own);
    assert_eq!(run.until_quiet(), None);
    assert_eq!(run.delivered, [4, 1, 2, 0]);
    assert_eq!(run.keep(None), Turn { seen: 4, ..Turn::default() });
}

#[test]
fn own_completions_are_delivered_after_those_that_came_before_and_in_the_order_of_their_rows() {
    let code = Chain(vec![Call("a"), All(vec![Inline("x"), Inline("y"), Call("b")])]);
    let (mut run, _) = quiet_run(&code, Vec::new());
    // The row was taken by the turn above.
    run.replay.resume(1, vec![Step { id: new(0), ..done(0, "a", 1) }]);
    assert_eq!(run.until_quiet(), None);

    let turn = run.run_here(Seq(3), ok("b"));

    assert_eq!(turn.own, seqs(&[1, 2, 3]));
    run.replay.committed(&turn.own);
    assert_eq!(run.until_quiet(), Some(ok("a>x,y,b")));
    assert_eq!((run.delivered.as_slice(), run.replay.seen()), ([0, 1, 2, 3].as_slice(), 4));
}

#[test]
fn completions_of_others_that_came_before_a_turns_own_are_delivered_before_them() {
    let code = Race(vec![Call("a"), Inline("x")]);
    let mut run = Run::new(&code, 0, vec![open(0, "a")]);
    assert_eq!(run.until_quiet(), None);
    let turn = run.keep(None);
    assert_eq!(turn.own, seqs(&[1]));

    // Another worker ended `a` while this turn was being written.
    let own = Step { id: new(1), kind: StepKind::Inline, ..done(1, "x", 2) };
    run.replay.resume(2, vec![done(0, "a", 1), own]);

    assert_eq!(run.until_quiet(), Some(ok("0:a")));
    assert_eq!(run.saw, [(0, "a".to_owned(), t(1))]);
}

#[test]
fn the_same_completions_learned_twice_are_delivered_once() {
    let code = All(vec![Inline("x"), Call("a"), World("w")]);
    let mut run = Run::new(&code, 0, vec![open(1, "a")]);
    run.until_quiet();
    let turn = run.keep(None);
    // The fate of the commit was unknown: the second answer contains everything after the completions that the code had seen.
    let own = Step { id: new(0), kind: StepKind::Inline, ..done(0, "x", 1) };
    run.replay.committed(&turn.own);
    run.replay.resume(1, vec![own.clone()]);
    assert_eq!(run.until_quiet(), None);
    run.replay.resume(2, vec![own, done(1, "a", 2)]);
    assert_eq!(run.until_quiet(), None);

    assert_eq!(run.delivered, [0, 1]);
    assert_eq!((run.replay.seen(), run.replay.wait()), (2, Wait::for_next(2)));
}

#[test]
fn the_time_after_a_turns_own_completions_is_the_moment_of_its_commit() {
    // A replay reads the moment of the commit from the record: the first run must see the same.
    let code = Chain(vec![Inline("x"), Call("a"), Code::Sleep(30), World("w")]);
    let mut run = Run::new(&code, 0, Vec::new());
    for (committed_at, seen) in [(t(10), 1), (t(20), 2), (t(40), 3)] {
        assert_eq!(run.until_quiet(), None);
        let turn = match run.replay.needs() {
            Needs::Call(seq) => {
                // The call ends some time before its turn is committed.
                let state = NewTaskState::Done { started_at: run.clock, result: ok("a") };
                let row = run.replay.write_call(TASK, &TREE, seq, state).expect("wished for");
                run.replay.ended(seq, run.clock, ok("a"));
                run.clock = committed_at;
                run.keep(Some((seq, row)))
            }
            _ => {
                run.clock = committed_at;
                run.keep(None)
            }
        };
        run.replay.committed(&turn.own);
        assert_eq!(run.until_quiet(), None);

        assert_eq!((run.replay.seen(), run.replay.now()), (seen, committed_at));
    }
}

// News about finished steps.

#[test]
fn news_of_a_step_that_is_over_changes_nothing() {
    let code = Chain(vec![Call("a"), Race(vec![Call("b"), Call("c")]), World("w")]);
    let record = vec![done(0, "a", 1), done(1, "b", 2), open(2, "c")];
    let (mut run, _) = quiet_run(&code, record.clone());

    // A store may repeat completions that were seen, and report the end of a step that was given up.
    run.replay.resume(2, record);
    run.replay.resume(2, vec![cancelled(2, "c"), mapping(1, 9, 9)]);
    run.replay.resume(3, vec![done(2, "c", 3)]);
    assert_eq!(run.until_quiet(), None);

    assert_eq!((run.saw.len(), run.replay.seen()), (2, 3));
    assert_eq!(run.turn(), Turn { seen: 3, ..Turn::default() });
    run.world.insert("w");
    let result = run.until_quiet().expect("it ends");
    assert_eq!(run.replay.end(result).result, ok("a>0:b>w"));
}

// Maps.

#[test]
fn a_map_is_fed_chunk_by_chunk_until_its_window_is_full() {
    let chunk = u32::try_from(MAP_CHUNK).expect("small");
    let window = chunk * u32::try_from(MAP_WINDOW_CHUNKS).expect("small");
    let mut run = Run::new(&Code::Map(window + 10), 0, Vec::new());
    let mut fed = 0;
    for n in 1..=u32::try_from(MAP_WINDOW_CHUNKS).expect("small") {
        assert_eq!(run.until_quiet(), None);
        let needs = run.replay.needs();
        let turn = run.turn();

        let rows = turn.insert.iter().filter(|row| row.tree.parent == Some(new(0)));
        assert!(rows.map(|row| row.seq.0).eq(fed..n * chunk));
        fed = n * chunk;
        assert_eq!(turn.feed, [Feed { map: new(0), fed, total: None, digest: None }]);
        // The map's own row goes with the first of them.
        assert_eq!(turn.insert.len(), MAP_CHUNK + usize::from(n == 1));
        assert_eq!(needs, if fed < window { Needs::Commit } else { Needs::Steps });
        run.replay.committed(&[]);
    }
    assert_eq!(run.replay.wait().maps, [Threshold { map: new(0), done: window / 2 }]);

    let half = Step { id: new(0), ..mapping(0, window, window / 2) };
    run.replay.resume(0, vec![half]);
    assert_eq!(run.until_quiet(), None);
    let turn = run.turn();
    assert_eq!(
        (turn.insert.len(), turn.feed),
        (10, vec![Feed { map: new(0), fed: window + 10, total: Some(window + 10), digest: None }])
    );
    assert_eq!((run.replay.needs(), run.replay.wait().maps), (Needs::Steps, Vec::new()));
}

#[test]
fn a_map_that_is_resumed_after_a_crash_skips_nothing_and_counts_nothing_twice() {
    let chunk = u32::try_from(MAP_CHUNK).expect("small");
    for (fed, done) in [(chunk, 0), (chunk, chunk), (3 * chunk, chunk + 1), (17, 3)] {
        // The code had fed more than was recorded; the rest is lost.
        let (mut run, quiet) = quiet_run(&Code::Map(10 * chunk), vec![mapping(0, fed, done)]);

        let rows: Vec<u32> = quiet.turn.insert.iter().map(|row| row.seq.0).collect();
        assert!(rows.iter().copied().eq(fed..fed + chunk), "{fed}: {:?}", rows.first());
        assert_eq!(quiet.turn.feed, [Feed { map: old(0), fed: fed + chunk, total: None, digest: None }]);
        // Repeated news about the map does not reset it.
        run.replay.resume(0, vec![mapping(0, fed, done)]);
        assert_eq!(run.replay.map_room(Seq(0)).map(|(.., progress)| progress.fed), Some(fed + chunk));
    }
}

#[test]
fn a_map_that_has_ended_takes_no_more() {
    let window = u32::try_from(MAP_CHUNK * MAP_WINDOW_CHUNKS).expect("small");
    let code = Chain(vec![Handled(Box::new(Code::Map(2 * window))), World("w")]);
    let (mut run, _) = quiet_run(&code, vec![mapping(0, window, 0)]);

    let state = StepState::Done { order: 1, at: t(1), result: failed("item 3") };
    let over =
        Step { state, map: Some(Progress { fed: window, total: None, done: 4 }), ..mapping(0, window, 4) };
    run.replay.resume(1, vec![over]);
    assert_eq!(run.replay.map_room(Seq(0)), None);
    assert_eq!(run.until_quiet(), None);

    assert_eq!((run.saw.len(), run.turn()), (1, Turn { seen: 1, ..Turn::default() }));
}

// Steps that leave the record when the code is retried.

#[test]
fn a_failure_that_was_the_last_thing_seen_is_run_again_with_all_that_came_after_it() {
    let code =
        Chain(vec![Call("a"), Handled(Box::new(Call("b"))), Try(vec![World("w"), Call("c"), Detached("d")])]);
    let record = vec![done(0, "a", 1), ended(1, "b", 2, failed("no")), open(2, "c"), open(3, "d")];
    let (mut run, _) = quiet_run(&code, record);

    // The non-durable work fails.
    let node = std::mem::replace(&mut run.code, Node::Over);
    run.drop(node);

    assert_eq!(run.replay.end(failed("no")).redo, [old(1), old(2), old(3)]);
    assert_eq!(run.turn().cancel, [old(2)]);
}

#[test]
fn what_was_asked_for_before_a_failure_and_went_well_stays() {
    let code = Try(vec![Chain(vec![Call("a"), Call("b")]), Call("c")]);
    let record = vec![done(1, "a", 1), ended(0, "c", 2, failed("no")), done(2, "b", 3)];

    let (turn, end) = end(&code, record);

    assert_eq!((end.redo, turn.cancel), (vec![old(0)], Vec::new()));
}

#[test]
fn siblings_that_a_failure_ended_are_run_again_too() {
    // The siblings are cancelled when the code drops them. If they stayed in the record as cancelled, the next attempt would
    // wait for them forever.
    let code = Try(vec![Call("a"), Call("b"), Call("c"), Call("d"), Call("e")]);
    let record = vec![
        ended(0, "a", 1, failed("no")),
        open(1, "b"),
        // Given up because of this failure in an earlier run of the same attempt, which crashed later.
        cancelled(2, "c"),
        ended(3, "d", 2, failed("neither")),
        // The code has not seen it, but it succeeded.
        done(4, "e", 3),
    ];

    let (turn, end) = end(&code, record);

    assert_eq!(
        end,
        End { result: failed("no"), had_steps: true, redo: vec![old(0), old(1), old(2), old(3)] }
    );
    assert_eq!(turn.cancel, [old(1)]);
}

#[test]
fn steps_that_the_codes_own_failure_ended_are_run_again() {
    let code = Chain(vec![Call("a"), Try(vec![Call("b"), World("w")])]);
    let (mut run, _) = quiet_run(&code, vec![done(0, "a", 1), open(1, "b")]);

    // The non-durable work fails.
    let node = std::mem::replace(&mut run.code, Node::Over);
    run.drop(node);

    assert_eq!(run.replay.end(failed("the database is away")).redo, [old(1)]);
}

#[test]
fn a_success_after_a_failure_was_seen_keeps_everything() {
    let code = Chain(vec![Handled(Box::new(Race(vec![Call("a"), Call("x")]))), Call("b"), World("w")]);
    let record = vec![ended(0, "a", 1, failed("no")), cancelled(1, "x"), done(2, "b", 2)];
    let (run, _) = quiet_run(&code, record);

    assert_eq!(run.replay.end(failed("by itself")).redo, []);
}

#[test]
fn completions_that_nobody_saw_say_nothing_about_what_the_code_saw_last() {
    // `x` is dropped when `a` ends, and fails or succeeds after that; `d` is detached.
    let race =
        |then: Code| Chain(vec![Detached("d"), Handled(Box::new(Race(vec![Call("a"), Call("x")]))), then]);
    let last = |result: TaskResult, unseen: TaskResult| {
        let record =
            vec![ended(1, "a", 1, result), ended(2, "x", 2, unseen.clone()), ended(0, "d", 3, unseen)];
        let (run, _) = quiet_run(&race(World("w")), record);
        run.replay.end(failed("no")).redo
    };

    // `a` is not run again after `x` has failed unseen, but `x` may be; and `a` is, although `x` has not.
    assert_eq!(last(ok("a"), failed("unseen")), [old(2)]);
    assert_eq!(last(failed("no"), ok("unseen")), [old(1)]);
}

#[test]
fn wishes_that_were_never_written_are_not_in_the_record_and_so_do_not_leave_it() {
    let code = Chain(vec![
        Handled(Box::new(Call("a"))),
        Try(vec![Call("b"), Inline("x"), Code::Sleep(4), World("w")]),
    ]);
    let (mut run, _) = quiet_run(&code, vec![ended(0, "a", 1, failed("no"))]);
    let mut unwritten = Run::new(&code, 1, vec![ended(0, "a", 1, failed("no"))]);
    unwritten.until_quiet();

    for run in [&mut run, &mut unwritten] {
        let node = std::mem::replace(&mut run.code, Node::Over);
        run.drop(node);
    }

    assert_eq!(unwritten.replay.end(failed("no")).redo, [old(0)]);
    assert_eq!(run.replay.end(failed("no")).redo, [old(0), new(1), new(2), new(3)]);
}

#[test]
fn had_steps_tells_a_leaf_from_a_function_with_steps() {
    assert!(!end(&Chain(vec![]), Vec::new()).1.had_steps);
    assert!(end(&Call("a"), vec![done(0, "a", 1)]).1.had_steps);
    // Also if it fails before it reaches the end of its record.
    let run = Run::new(&World("w"), 1, vec![done(0, "a", 1)]);
    assert!(run.replay.end(failed("no")).had_steps);
    assert!(run.replay.has_steps());
}

// Long functions.

/// Slots and queues of a replay: the number of entries that its operations may have to examine.
fn held(replay: &Replay) -> usize {
    replay.slots.len()
        + replay.undelivered.len()
        + replay.wished.len()
        + replay.cancelled.len()
        + replay.fresh_inline.len()
}

const LONG: u32 = 10_000;

#[test]
fn the_last_of_many_steps_costs_what_the_first_costs() {
    let leaves = [Call("a"), Inline("x"), Detached("d"), Race(vec![Code::Sleep(1_000_000), Call("b")])];
    let code = Chain((0..LONG).map(|n| leaves[n as usize % leaves.len()].clone()).collect());
    let mut run = Run::new(&code, 0, Vec::new());
    let mut open: VecDeque<(Seq, TaskId)> = VecDeque::new();
    let (mut done, mut turns, mut most) = (0, 0, 0);
    let result = loop {
        if let Some(result) = run.until_quiet() {
            break result;
        }
        turns += 1;
        most = most.max(held(&run.replay));
        let turn = match run.replay.needs() {
            Needs::Call(seq) => run.run_here(seq, ok("a")),
            Needs::Commit | Needs::Steps => run.keep(None),
            needs => panic!("{needs:?}"),
        };
        let calls = turn.insert.iter().filter(|row| matches!(row.state, NewTaskState::Pending { .. }));
        open.extend(calls.map(|row| (row.seq, row.id)));
        done += u32::try_from(turn.own.len()).expect("few");
        run.replay.committed(&turn.own);
        // Detached steps and the quick branches of races end elsewhere.
        let news = open.drain(..).map(|(seq, id)| {
            done += 1;
            Step { id, ..ended(seq.0, "b", done, ok("b")) }
        });
        let news = news.collect();
        run.replay.resume(done, news);
    };

    assert!(result.is_ok());
    assert!(turns <= 2 * LONG, "{turns} turns");
    assert!(most <= 8, "{most} slots at most");
    // The loser of the last race is still to be cancelled.
    run.turn();
    assert_eq!(held(&run.replay), 0);
}

#[test]
fn a_replay_of_many_steps_shrinks_with_each_that_the_code_takes() {
    let names = ["a", "b", "c"];
    let code = Chain((0..LONG).map(|n| Call(names[n as usize % 3])).chain([World("w")]).collect());
    let record = (0..LONG).map(|n| done(n, names[n as usize % 3], n + 1)).collect();
    let mut run = Run::new(&code, LONG, record);
    let mut before = held(&run.replay);
    for n in 0..LONG {
        assert_eq!(run.poll_once(), None);
        assert_eq!(run.replay.deliver(), Some(Seq(n)));
        assert!(held(&run.replay) < before);
        before = held(&run.replay);
    }
    assert_eq!(run.until_quiet(), None);
    assert_eq!((held(&run.replay), run.replay.seen(), run.replay.needs()), (0, LONG, Needs::World));
}
