//! Claims and turns in, exact transitions out.

use uuid::Uuid;

use super::*;
use crate::Payload;
use crate::model::{
    Lane, Lease, Marks, NewTaskState, Note, Said, Seq, StepKind, Task, TaskResult, TaskStatus, Threshold,
};
use crate::transition::Feed;

// Given: a step that runs under its third claim, and a turn with something of everything in it.

const EXECUTION: crate::ExecutionId = id(1).execution();
const TASK: TaskId = id(2);
const TREE: Tree = Tree::step(EXECUTION, id(1));
const FENCE: Fence = Fence { task: TASK, epoch: Epoch::plain(3), commit: 5 };
const NOW: Timestamp = t(100);

const fn id(n: u128) -> TaskId {
    TaskId::from_uuid(Uuid::from_u128(n))
}

const fn t(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn held(retry: Option<RetryPolicy>, attempts: u32) -> Held {
    Held { fence: FENCE, tree: TREE, retry, attempts, key: None, redriven: false }
}

/// A policy of three attempts, with delays of one and two seconds.
fn steady() -> RetryPolicy {
    RetryPolicy { jitter: 0.0, ..RetryPolicy::default() }
}

fn ok() -> TaskResult {
    Ok(Payload::new("text/plain", b"done".to_vec()))
}

fn declined() -> Failure {
    Failure::new("Declined", "no funds")
}

fn new_task(n: u128) -> NewTask {
    NewTask {
        id: id(n),
        tree: Tree::step(EXECUTION, TASK),
        seq: Seq(7),
        kind: StepKind::Call,
        lane: Lane::new("default", "charge"),
        priority: 3,
        args: Payload::new("text/plain", b"args".to_vec()),
        retry: Some(RetryPolicy::never()),
        attempts: 0,
        failure: None,
        keyed: None,
        expires_at: None,
        trace: None,
        digest: None,
        state: NewTaskState::Pending { ready_at: NOW },
    }
}

fn turn() -> Turn {
    Turn {
        insert: vec![new_task(10), new_task(11)],
        own: vec![Seq(7)],
        cancel: vec![id(12), id(13)],
        feed: vec![Feed { map: id(14), fed: 1_000, total: None, digest: None }],
        fire: vec![id(15)],
        seen: 4,
        notes: vec![Said { task: TASK, note: Note::Count { name: "rows".to_owned(), add: 2 } }],
    }
}

fn failed(had_steps: bool) -> End {
    End { result: Err(declined()), had_steps, redo: vec![id(13), id(16)] }
}

fn claimed(claims: u32) -> Claimed {
    let task = Task {
        id: TASK,
        tree: TREE,
        seq: Seq(0),
        kind: StepKind::Call,
        lane: Lane::new("default", "charge"),
        priority: 0,
        args: Payload::empty(),
        retry: Some(steady()),
        status: TaskStatus::Running,
        epoch: FENCE.epoch,
        uncommitted_claims: claims,
        attempts: 1,
        crashes: 0,
        releases: 0,
        done: 4,
        noted: 0,
        marks: Marks::NONE,
        key: None,
        expires_at: None,
        trace: None,
        created_at: t(0),
        started_at: Some(t(1)),
        ended_at: None,
    };
    let lease = Lease { task: TASK, epoch: FENCE.epoch, until: t(130) };
    Claimed { task, due_at: t(0), lease, fence: FENCE, cached: None, steps: Vec::new() }
}

// Then: the expected commit, with everything that the turn had.

fn expected(next: Next) -> Commit {
    let Turn { insert, own: _, cancel, feed, fire, seen, notes } = turn();
    Commit { insert, cancel, feed, fire, seen, notes, ..bare(next) }
}

fn bare(next: Next) -> Commit {
    Commit::new(FENCE, TREE, None, NOW, next)
}

#[test]
fn a_dispatch_writes_the_root_if_there_is_none() {
    let root = NewTask { tree: Tree::root(EXECUTION), ..new_task(1) };

    let transition = start(root.clone(), None, NOW);

    assert_eq!(transition, Transition::Dispatch(Dispatch { root, key: None, at: NOW }));
}

#[test]
fn a_claim_holds_what_its_next_write_needs() {
    assert_eq!(Held::claimed(&claimed(1)), held(Some(steady()), 1));
}

#[test]
fn a_turn_that_goes_on_records_all_that_it_brought() {
    assert_eq!(keep(&held(None, 0), turn(), NOW), expected(Next::Keep));
}

#[test]
fn a_turn_that_waits_records_all_that_it_brought_and_its_wait() {
    let wait =
        Wait { maps: vec![Threshold { map: id(14), done: 500 }], ..Wait::for_next(4).until(Some(t(200))) };
    assert_eq!(park(&held(None, 0), turn(), wait.clone(), NOW), expected(Next::Park(wait)));
}

#[test]
fn a_result_ends_the_task_whatever_it_could_redo() {
    for (retry, had_steps) in [(None, false), (None, true), (Some(steady()), true)] {
        let good = End { result: ok(), ..failed(had_steps) };

        assert_eq!(end(&held(retry, 0), turn(), good, NOW), expected(Next::End(ok())));
    }
}

#[test]
fn a_leaf_that_names_no_policy_is_tried_three_times() {
    let delays: Vec<Option<Duration>> = (0..3)
        .map(|attempts| match end(&held(None, attempts), turn(), failed(false), NOW).next {
            Next::Retry { ready_at, failure } => {
                assert_eq!(failure, declined());
                Some(ready_at.since(NOW))
            }
            next => {
                assert_eq!(next, Next::End(Err(declined())));
                None
            }
        })
        .collect();

    // One second, then two, give or take a tenth; the third failure is final.
    assert!(delays[0].is_some_and(|delay| (s(9) / 10..=s(11) / 10).contains(&delay)), "{delays:?}");
    assert!(delays[1].is_some_and(|delay| (s(18) / 10..=s(22) / 10).contains(&delay)), "{delays:?}");
    assert_eq!(delays[2], None);
}

#[test]
fn a_function_with_steps_that_names_no_policy_is_not_tried_again() {
    assert_eq!(end(&held(None, 0), turn(), failed(true), NOW), expected(Next::End(Err(declined()))));
}

#[test]
fn a_function_with_steps_is_tried_again_by_its_own_policy_and_its_record_is_cut() {
    let transition = end(&held(Some(steady()), 1), turn(), failed(true), NOW);

    let retry = Next::Retry { ready_at: NOW + s(2), failure: declined() };
    assert_eq!(
        transition,
        Commit {
            // Requests of the failed attempt are not written; steps that leave the record are not cancelled first.
            cancel: vec![id(12)],
            fire: vec![id(15)],
            erase: vec![id(13), id(16)],
            seen: 4,
            ..bare(retry)
        }
    );
}

#[test]
fn a_leaf_is_tried_again_with_nothing_to_cut() {
    let leaf = End { redo: Vec::new(), ..failed(false) };

    let transition = end(&held(Some(steady()), 0), Turn::default(), leaf, NOW);

    assert_eq!(transition, bare(Next::Retry { ready_at: NOW + s(1), failure: declined() }));
}

#[test]
fn the_last_failure_of_a_policy_is_final_and_cuts_nothing() {
    for (retry, attempts) in [(steady(), 2), (steady(), 9), (RetryPolicy::never(), 0)] {
        for had_steps in [false, true] {
            let transition = end(&held(Some(retry.clone()), attempts), turn(), failed(had_steps), NOW);

            assert_eq!(transition, expected(Next::End(Err(declined()))));
        }
    }
}

#[test]
fn a_fatal_failure_is_final_whatever_the_policy_says() {
    for retry in [None, Some(steady()), Some(RetryPolicy { max_attempts: u32::MAX, ..steady() })] {
        let fatal = End { result: Err(declined().fatal()), ..failed(false) };

        assert_eq!(end(&held(retry, 0), turn(), fatal, NOW), expected(Next::End(Err(declined().fatal()))));
    }
}

#[test]
fn delays_grow_by_the_policy_up_to_its_cap() {
    let policy = RetryPolicy {
        max_attempts: 6,
        initial_delay: s(2),
        backoff_factor: 3.0,
        max_delay: s(20),
        jitter: 0.0,
        retry_for: None,
    };
    let delays: Vec<_> =
        (0..6).map(|attempts| retry_delay(Some(&policy), true, TASK, attempts, &declined())).collect();
    assert_eq!(delays, [Some(s(2)), Some(s(6)), Some(s(18)), Some(s(20)), Some(s(20)), None]);
}

#[test]
fn jitter_stays_within_its_share_spreads_tasks_and_is_the_same_for_whoever_computes_it() {
    for (jitter, least, most) in [(0.5, 0.5, 1.5), (0.1, 0.9, 1.1), (7.0, 0.0, 2.0), (-1.0, 1.0, 1.0)] {
        let policy = RetryPolicy { jitter, ..RetryPolicy::default() };
        let delay = |task| retry_delay(Some(&policy), true, id(task), 0, &declined()).expect("one of three");
        let delays: Vec<f64> = (0..500).map(|task| delay(task).as_secs_f64()).collect();

        assert!(delays.iter().all(|delay| (least..=most).contains(delay)), "{jitter}: {delays:?}");
        assert!((0..500).all(|task| delay(task).as_secs_f64() == delays[task as usize]));
        // Half of the share is used on either side.
        let (below, above) = (1.0 - (1.0 - least) / 2.0, 1.0 + (most - 1.0) / 2.0);
        assert!(
            delays.iter().any(|delay| *delay <= below) && delays.iter().any(|delay| *delay >= above),
            "{jitter}"
        );
    }
}

#[test]
fn a_policy_out_of_all_bounds_gives_a_delay_all_the_same() {
    let wild = RetryPolicy {
        max_attempts: u32::MAX,
        backoff_factor: f64::MAX,
        max_delay: Duration::MAX,
        ..steady()
    };
    for attempts in [0, 1, 1_000, u32::MAX - 2] {
        let transition = end(&held(Some(wild.clone()), attempts), Turn::default(), failed(true), NOW);
        assert!(matches!(transition.next, Next::Retry { ready_at, .. } if ready_at > NOW), "{attempts}");
    }
}

#[test]
fn a_task_that_crashes_its_workers_is_given_up_before_its_code_runs_again() {
    // The current claim counts, too.
    assert_eq!(crashed(&claimed(1), NOW), None);
    assert_eq!(crashed(&claimed(CRASHES_MAX), NOW), None);

    let given_up = crashed(&claimed(CRASHES_MAX + 1), NOW).expect("it is given up");

    let Next::End(Err(failure)) = &given_up.next else { panic!("{given_up:?}") };
    assert_eq!((failure.kind.as_str(), failure.fatal), (Failure::CRASH_LOOP, true));
    for part in [TASK.to_string(), "`charge`".to_owned(), format!("claimed {CRASHES_MAX} times")] {
        assert!(failure.message.contains(&part), "{part} is not in: {failure}");
    }
    assert_eq!(given_up, bare(given_up.next.clone()));
}

#[test]
fn a_task_without_a_count_of_tries_is_not_given_up() {
    assert_eq!(crashed(&claimed(0), NOW), None);
}

#[test]
fn a_task_that_is_handed_back_changes_in_nothing_else() {
    assert_eq!(release(&held(Some(steady()), 1), NOW), bare(Next::Release));
}

#[test]
fn an_unpark_is_guarded_by_the_claim_that_parked_the_task() {
    let expected = Unpark { task: TASK, epoch: Epoch::plain(3), at: NOW };
    assert_eq!(unpark(TASK, Epoch::plain(3), NOW), Transition::Unpark(expected));
}

// Retried dead letters.

fn redriven(attempts: u32) -> Held {
    Held { redriven: true, ..held(Some(steady()), attempts) }
}

#[test]
fn a_redriven_dead_letter_is_cut_at_the_failure_that_it_has_on_record() {
    for attempts in [0, 2, 9] {
        let transition = end(&redriven(attempts), turn(), failed(true), NOW);

        // No request and no note of this run is written: the task runs again at once, from before the cut.
        let redo = Commit { erase: vec![id(13), id(16)], seen: 4, ..bare(Next::Redo) };
        assert_eq!(transition, redo);
    }
}

#[test]
fn a_redriven_dead_letter_that_fails_by_itself_or_ends_well_is_like_any_other() {
    let itself = End { redo: Vec::new(), ..failed(true) };
    assert_eq!(
        end(&redriven(9), turn(), itself.clone(), NOW),
        end(&held(Some(steady()), 9), turn(), itself, NOW)
    );
    let good = End { result: ok(), ..failed(true) };
    assert_eq!(end(&redriven(0), turn(), good, NOW), expected(Next::End(ok())));
}

#[test]
fn a_claim_knows_whether_its_task_was_redriven_and_which_key_it_has() {
    let key = Key::of_user("charge", None, "order 7");
    let mut claimed = claimed(1);
    claimed.task.marks = Marks::of(Mark::Redrive);
    claimed.task.key = Some(key);

    let held = Held::claimed(&claimed);

    assert_eq!(held, Held { key: Some(key), ..redriven(1) });
    assert_eq!(release(&held, NOW), Commit { key: Some(key), ..bare(Next::Release) });
}

// Asked to end.

#[test]
fn code_that_was_asked_to_end_ends_as_cancelled_with_all_that_its_last_turn_brought() {
    let cancelled = Next::End(Err(Failure::cancelled()));
    assert_eq!(stop(&held(None, 0), turn(), NOW), expected(cancelled));
    assert!(Failure::cancelled().fatal);
}

// Requests from outside.

fn from_outside(action: Action) -> Transition {
    Transition::Request(Request { execution: EXECUTION, at: NOW, action })
}

#[test]
fn a_task_expires_where_it_hangs_and_with_its_key() {
    let key = Some(Key::of_user("charge", None, "order 7"));
    let expired = Expired { task: TASK, tree: TREE, key, expires_at: t(90) };

    let transition = expire(&expired, NOW);

    let Transition::Expire(Expire { failure, .. }) = &transition else { panic!("{transition:?}") };
    assert_eq!((failure.kind.as_str(), failure.fatal), (Failure::TIMED_OUT, true));
    assert!(failure.message.contains(&t(90).to_string()), "{failure}");
    let failure = failure.clone();
    assert_eq!(transition, Transition::Expire(Expire { task: TASK, tree: TREE, key, at: NOW, failure }));
}

#[test]
fn a_cancellation_gives_what_runs_its_grace() {
    assert_eq!(cancel(EXECUTION, s(10), NOW), from_outside(Action::Cancel { until: NOW + s(10) }));
    assert_eq!(cancel(EXECUTION, s(0), NOW), from_outside(Action::Cancel { until: NOW }));
}

#[test]
fn a_signal_is_kept_under_the_key_that_waits_for_its_name() {
    let value = Payload::new("text/plain", b"yes".to_vec());
    let key = Key::of_signal(EXECUTION, "approval");
    let action = Action::Signal { key, name: "approval".to_owned(), id: id(80), value: value.clone() };
    assert_eq!(signal(EXECUTION, "approval", id(80), value, NOW), from_outside(action));
    assert_ne!(key, Key::of_signal(EXECUTION, "payment"));
    assert_ne!(key, Key::of_signal(id(9).execution(), "approval"));
}

#[test]
fn dead_letters_are_redriven_and_discarded_by_their_root() {
    for retry in [None, Some(steady())] {
        for queue in [None, Some("eu".to_owned())] {
            let action = Action::Redrive { retry: retry.clone(), queue: queue.clone() };
            assert_eq!(redrive(EXECUTION, retry.clone(), queue, NOW), from_outside(action));
        }
    }
    assert_eq!(discard(EXECUTION, NOW), from_outside(Action::Discard));
}
