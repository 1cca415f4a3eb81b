//! Requests from outside; ended claims, notes and slots.

use super::*;
use crate::model::{FunctionKey, Slot};

// Given.

fn stopping(row: Row) -> Row {
    Row { marks: Marks::of(Mark::Cancel), ..row }
}

/// A row whose deadline is at the tenth second.
fn expiring(row: Row) -> Row {
    Row { expires_at: Some(t(10)), ..row }
}

fn failed(row: Row) -> Row {
    let mut row = row;
    row.end(TaskStatus::Failed, t(2));
    row
}

/// A root that nobody has claimed yet.
fn new_root() -> Row {
    pending(ROOT, Tree::root(EXECUTION))
}

fn counted(row: Row) -> Row {
    Row { limit_key: Some(Slot::Taken(FunctionKey::of("charge"))), ..row }
}

// When.

fn cancel(until: i64) -> Transition {
    request(EXECUTION, Action::Cancel { until: t(until) })
}

fn close() -> CascadeStep {
    CascadeStep::Close { root: ROOT, at: t(12) }
}

fn follow<'a>(rows: &[Row], up: CascadeStep) -> Writes<'a> {
    let mut ledger = load(rows, &[], &CascadeStep::reads(&[up]));
    ledger.cascade(&up);
    ledger.into_writes().expect("rows that belong together")
}

const ALREADY: Outcome =
    Outcome::Already(News { done: 0, steps: Vec::new(), stopped: false, replaced: false });

mod cancelling {
    use super::*;

    #[test]
    fn what_does_not_run_waits_to_be_closed() {
        let asleep = Row { ready_at: Some(t(50)), wake_threshold: Some(1), ..parked(1) };
        for there in [new_root(), asleep] {
            let asking = cancel(20);

            let (outcome, writes) = apply_one(std::slice::from_ref(&there), &asking);

            assert_eq!(outcome, applied(0));
            let expected = Row {
                status: TaskStatus::Waiting,
                marks: Marks::of(Mark::Cancel),
                expires_at: Some(t(20)),
                ready_at: None,
                wake_threshold: None,
                ..there
            };
            assert_eq!(*writes.row(ROOT), expected);
            assert_eq!(writes.stop, [(EXECUTION, t(10))]);
            assert_eq!(writes.cascade.executions, [(EXECUTION, t(10))]);
            assert!(writes.ready, "those who run something of it look for what has changed");
        }
    }

    #[test]
    fn what_runs_keeps_its_lease_and_is_asked() {
        let asking = cancel(20);
        let (outcome, writes) = apply_one(&[root()], &asking);
        assert_eq!(outcome, applied(0));
        assert_eq!(*writes.row(ROOT), Row { expires_at: Some(t(20)), ..stopping(root()) });
        assert_eq!((writes.stop.len(), writes.sweep.len()), (1, 0));
    }

    #[test]
    fn a_second_request_may_shorten_the_time_and_never_lengthens_it() {
        let asked = Row { expires_at: Some(t(20)), ..stopping(root()) };
        for until in [20, 30] {
            let again = cancel(until);
            let (outcome, writes) = apply_one(std::slice::from_ref(&asked), &again);
            assert_eq!(outcome, ALREADY);
            assert!(writes.is_empty());
        }
        let sooner = cancel(15);
        let (outcome, writes) = apply_one(&[asked], &sooner);
        assert_eq!((outcome, writes.row(ROOT).expires_at), (applied(0), Some(t(15))));
    }

    #[test]
    fn the_end_of_its_own_time_comes_first_if_it_is_sooner() {
        let asking = cancel(20);
        let (_, writes) = apply_one(&[Row { expires_at: Some(t(12)), ..root() }], &asking);
        assert_eq!(writes.row(ROOT).expires_at, Some(t(12)));
    }

    #[test]
    fn what_has_ended_stays_as_it_is() {
        let mut cancelled = root();
        cancelled.end(TaskStatus::Cancelled, t(2));
        for (there, expected) in
            [(completed(root(), None), Outcome::Gone), (failed(root()), Outcome::Gone), (cancelled, ALREADY)]
        {
            let asking = cancel(20);
            let (outcome, writes) = apply_one(&[there], &asking);
            assert_eq!(outcome, expected);
            assert!(writes.is_empty() && writes.cascade.is_empty());
        }
        assert_eq!(apply_one(&[], &cancel(20)).0, Outcome::Gone);
    }

    #[test]
    fn below_it_what_runs_is_asked_and_what_does_not_ends() {
        let rows =
            [step(2), pending(task(3), Tree::step(EXECUTION, ROOT)), sleep(4, t(50)), map(5, 0, 2, None)];
        let stopped = rows.map(|mut row| {
            row.stop(t(10));
            (row.status, row.marks, row.ended_at)
        });
        let ended = (TaskStatus::Cancelled, Marks::NONE, Some(t(10)));
        assert_eq!(stopped, [(TaskStatus::Running, Marks::of(Mark::Cancel), None), ended, ended, ended]);
    }

    #[test]
    fn a_cancelling_execution_is_woken_by_nothing() {
        let there = stopping(Row { wake_threshold: None, ..parked(1) });
        assert_eq!(apply_one(std::slice::from_ref(&there), &unpark(&there)).0, Outcome::Fenced);

        // A step that ended before its worker learned of the request is counted.
        let rows = [stopping(parked(1)), step(2)];
        let ending = complete(&rows[1]);
        let (_, writes) = apply_one(&rows, &ending);
        assert_eq!((writes.row(ROOT).done, writes.row(ROOT).ready_at, writes.ready), (1, None, false));

        let rows = [stopping(parked(9)), Row { wake_threshold: Some(2), ..map(2, 1, 4, None) }, item(3, 2)];
        let ending = complete(&rows[2]);
        assert_eq!(apply_one(&rows, &ending).1.ids(), [ROOT, task(2), task(3)]);
        assert_eq!(apply_one(&rows, &ending).1.row(ROOT).ready_at, None);
    }

    #[test]
    fn it_is_closed_when_nothing_of_it_runs_any_more() {
        let there = stopping(Row { expires_at: Some(t(20)), ..parked(1) });

        let writes = follow(std::slice::from_ref(&there), close());

        let mut expected = there;
        expected.end(TaskStatus::Cancelled, t(12));
        assert_eq!(*writes.row(ROOT), expected);
        assert_eq!(writes.result(ROOT), Some(Written::Kept(Err(Failure::cancelled()))));
        assert!(writes.ended);
        // The root may have held a key.
        assert_eq!(writes.cascade.executions, [(EXECUTION, t(12))]);
    }

    #[test]
    fn only_what_was_asked_to_end_is_closed_and_only_once() {
        for there in [parked(1), root(), stopping(completed(root(), None)), completed(root(), None)] {
            let writes = follow(&[there], close());
            assert!(writes.is_empty() && writes.cascade.is_empty() && !writes.ended);
        }
    }
}

mod stopping {
    use super::{stopping as asked, *};

    fn turn_ends(row: &Row) -> Vec<Transition> {
        vec![
            park(row, Wait::for_next(0).until(Some(t(50)))),
            retry(row),
            leased(row, Next::Redo),
            complete(row),
            fail(row),
            leased(row, Next::Release),
        ]
    }

    #[test]
    fn a_root_that_ends_its_turn_waits_to_be_closed_however_it_ends_it() {
        let there = asked(root());
        for ending in turn_ends(&there) {
            let (outcome, writes) = apply_one(std::slice::from_ref(&there), &ending);

            let stopped = Outcome::Applied(News { stopped: true, ..News::default() });
            assert_eq!(outcome, stopped, "{:?}", ending.next());
            let expected =
                Row { status: TaskStatus::Waiting, worker: None, ready_at: None, ..committed(there.clone()) };
            assert_eq!(writes.update, [Update { row: expected, result: None, retry: None, queue: None }]);
            assert_eq!(writes.cascade.executions, [(EXECUTION, t(10))]);
            assert!(writes.ended_claims.is_empty() && !writes.ended && writes.sweep.is_empty());
        }
    }

    #[test]
    fn a_step_that_ends_its_turn_is_cancelled_and_is_no_completion() {
        let rows = [asked(root()), asked(step(2))];
        for ending in turn_ends(&rows[1]) {
            let (_, writes) = apply_one(&rows, &ending);

            let mut expected = committed(rows[1].clone());
            expected.end(TaskStatus::Cancelled, t(10));
            assert_eq!(writes.update, [Update { row: expected, result: None, retry: None, queue: None }]);
            assert_eq!(writes.sweep, [task(2)]);
            assert_eq!(writes.cascade.executions, [(EXECUTION, t(10))]);
        }
    }

    #[test]
    fn an_end_that_is_sent_again_is_told_again_that_the_task_was_stopped() {
        // Otherwise its worker would mistake the result for the execution's.
        for there in [vec![asked(root())], vec![asked(root()), asked(step(2))]] {
            let ending = complete(there.last().expect("a row"));
            let batch = [ending.clone(), ending];
            let outcomes = shelf::Shelf::of(there).apply(&batch);
            let news = News { stopped: true, ..News::default() };
            assert_eq!(outcomes, [Outcome::Applied(news.clone()), Outcome::Already(news)]);
        }
    }

    #[test]
    fn code_that_tidies_up_may_commit_and_keeps_its_lease() {
        let there = Row { uncommitted_claims: 3, ..asked(root()) };
        let keep = leased(&there, Next::Keep);
        let (outcome, writes) = apply_one(std::slice::from_ref(&there), &keep);
        assert_eq!(outcome, applied(0));
        assert_eq!(*writes.row(ROOT), Row { uncommitted_claims: 0, ..committed(there) });
        assert!(writes.cascade.is_empty());
    }

    #[test]
    fn what_another_attempt_would_have_cut_stays_on_record_and_is_given_up() {
        let rows = [asked(root()), failed(step(2)), asked(step(3)), completed(step(4), Some(1))];
        let cuts = vec![task(2), task(3), task(4)];
        for ending in [retry(&rows[0]), leased(&rows[0], Next::Redo)] {
            let mut ending = ending;
            commit(&mut ending).erase = cuts.clone();

            let (_, writes) = apply_one(&rows, &ending);

            assert!(writes.erase.is_empty());
            assert_eq!(writes.ids(), [ROOT, task(3)]);
            assert_eq!(
                (writes.row(task(3)).status, writes.sweep.as_slice()),
                (TaskStatus::Cancelled, &[task(3)][..])
            );
        }
    }

    #[test]
    fn what_it_has_done_is_recorded_and_what_it_asks_for_is_not() {
        let rows = [asked(root()), sleep(5, t(9)), step(6), map(7, 0, 0, None)];
        for change in [Next::Keep, Next::End(ok("done"))] {
            let mut turn = leased(&rows[0], change);
            commit(&mut turn).insert = vec![
                inline(2),
                new_step(3, NewTaskState::Pending { ready_at: t(10) }),
                new_step(4, NewTaskState::Timer { due: t(50) }),
                new_step(
                    8,
                    NewTaskState::Leased {
                        started_at: t(9),
                        worker: worker(7),
                        nonce: Nonce::NONE,
                        until: t(40),
                    },
                ),
                new_task(
                    9,
                    Tree::item(EXECUTION, task(7), ROOT),
                    StepKind::Call,
                    NewTaskState::Pending { ready_at: t(10) },
                ),
                new_step(10, NewTaskState::Map),
            ];
            commit(&mut turn).feed = vec![Feed { map: task(7), fed: 1, total: Some(1), digest: None }];
            commit(&mut turn).fire = vec![task(5)];
            commit(&mut turn).cancel = vec![task(6)];
            commit(&mut turn).notes =
                vec![Said { task: ROOT, note: Note::Count { name: "rows".to_owned(), add: 1 } }];

            let (outcome, writes) = apply_one(&rows, &turn);

            assert!(matches!(outcome, Outcome::Applied(News { done: 2, .. })), "{outcome:?}");
            assert_eq!(writes.ids(), [ROOT, task(5), task(6), task(2)]);
            assert_eq!([2, 5].map(|n| writes.row(task(n)).done_order), [Some(1), Some(2)]);
            assert_eq!(writes.row(task(6)).status, TaskStatus::Cancelled);
            assert_eq!((writes.notes.len(), writes.row(ROOT).noted), (1, 1));
        }
    }
}

mod expiring {
    use super::{expiring as due, *};

    #[test]
    fn nothing_expires_before_its_time_or_without_one() {
        for there in [root(), Row { expires_at: Some(t(11)), ..root() }] {
            let expiring = expire(&there);
            let (outcome, writes) = apply_one(std::slice::from_ref(&there), &expiring);
            assert_eq!(outcome, Outcome::Fenced);
            assert!(writes.is_empty());
        }
    }

    #[test]
    fn an_execution_whose_time_is_up_fails_with_all_below_it() {
        for there in [due(new_root()), due(root()), due(parked(1))] {
            let expiring = expire(&there);

            let (outcome, writes) = apply_one(std::slice::from_ref(&there), &expiring);

            assert_eq!(outcome, applied(0));
            let mut expected = Row { marks: Marks::of(Mark::Expire), ..there };
            expected.end(TaskStatus::Failed, t(10));
            let result = Some(Written::Failure(&declined()));
            let result = writes.update[0].result.clone().filter(|written| Some(written) == result.as_ref());
            assert_eq!((&writes.update[0].row, result.is_some()), (&expected, true));
            assert_eq!(writes.sweep, [ROOT]);
            assert!(writes.ended && writes.ended_claims.is_empty());
        }
    }

    #[test]
    fn what_has_expired_does_not_do_so_again() {
        let there = due(root());
        let expiring = expire(&there);
        let (_, writes) = apply_one(std::slice::from_ref(&there), &expiring);
        let (outcome, nothing) = apply_one(&[writes.row(ROOT).clone()], &expiring);
        assert_eq!(outcome, ALREADY);
        assert!(nothing.is_empty());
        assert_eq!(apply_one(&[due(completed(root(), None))], &expiring).0, Outcome::Gone);
        assert_eq!(apply_one(&[], &expiring).0, Outcome::Gone);
    }

    #[test]
    fn what_did_not_end_in_time_when_it_was_asked_to_is_cancelled() {
        let there = due(stopping(root()));
        let expiring = expire(&there);

        let (outcome, writes) = apply_one(std::slice::from_ref(&there), &expiring);

        assert_eq!(outcome, applied(0));
        let row = writes.row(ROOT);
        assert_eq!(
            (row.status, row.marks, row.worker),
            (TaskStatus::Cancelled, Marks::of(Mark::Cancel), None)
        );
        assert_eq!(writes.result(ROOT), Some(Written::Kept(Err(Failure::cancelled()))));
        assert_eq!((writes.sweep.as_slice(), writes.ended), (&[ROOT][..], true));
    }

    #[test]
    fn a_step_whose_time_is_up_is_a_completion_of_its_parent() {
        let rows = [parked(1), due(step(2))];
        let expiring = expire(&rows[1]);

        let (_, writes) = apply_one(&rows, &expiring);

        let row = writes.row(task(2));
        assert_eq!(
            (row.status, row.marks, row.done_order),
            (TaskStatus::Failed, Marks::of(Mark::Expire), Some(1))
        );
        assert_eq!(writes.row(ROOT).ready_at, Some(t(10)));
        assert_eq!((writes.sweep.as_slice(), writes.ended), (&[task(2)][..], false));
    }

    #[test]
    fn an_item_whose_time_is_up_fails_its_map_and_not_one_that_gathers() {
        let rows = [parked(1), map(2, 0, 2, Some(2)), due(item(3, 2))];
        let expiring = expire(&rows[2]);
        let (_, writes) = apply_one(&rows, &expiring);
        assert_eq!((writes.row(task(2)).status, writes.row(ROOT).done), (TaskStatus::Failed, 1));
        assert_eq!(writes.result(task(2)), Some(Written::Failure(&declined())));
        assert_eq!(writes.sweep, [task(3), task(2)]);

        let gather = Row { kind: StepKind::Gather, ..rows[1].clone() };
        let (_, writes) = apply_one(&[rows[0].clone(), gather, rows[2].clone()], &expiring);
        assert_eq!((writes.row(task(2)).status, writes.row(task(2)).done), (TaskStatus::Waiting, 1));
    }

    #[test]
    fn the_late_result_of_what_has_expired_is_gone() {
        let there = due(root());
        let batch = [expire(&there), complete(&there)];
        let mut shelf = shelf::Shelf::of([there]);
        assert_eq!(shelf.apply(&batch), [applied(0), Outcome::Gone]);
        assert_eq!(shelf.results[&ROOT], Err(declined()));
    }
}

mod gathering {
    use super::*;

    #[test]
    fn it_goes_on_when_items_fail_and_ends_with_the_last_of_them() {
        let gather = Row { kind: StepKind::Gather, ..map(2, 0, 2, Some(2)) };
        let rows = [parked(1), gather, item(3, 2), item(4, 2)];
        let batch = [fail(&rows[2]), fail(&rows[3])];

        let (_, writes) = apply(&rows, &batch[..1]);
        assert_eq!((writes.row(task(2)).status, writes.row(task(2)).done), (TaskStatus::Waiting, 1));
        assert!(writes.sweep.is_empty());

        let (_, writes) = apply(&rows, &batch);
        let row = writes.row(task(2));
        assert_eq!((row.status, row.done, row.done_order), (TaskStatus::Completed, 2, Some(1)));
        assert_eq!(writes.result(task(2)), None, "its items are read apart");
    }
}

mod dead_letters {
    use super::*;

    fn redrive(retry: Option<RetryPolicy>) -> Transition {
        request(EXECUTION, Action::Redrive { retry, queue: None })
    }

    fn letter() -> Row {
        Row { attempts: 4, uncommitted_claims: 2, expires_at: Some(t(3)), ..failed(root()) }
    }

    #[test]
    fn a_dead_letter_is_tried_again_as_if_it_had_not_failed() {
        let policy = RetryPolicy { max_attempts: 9, ..RetryPolicy::default() };
        for retry in [None, Some(policy)] {
            let reviving = redrive(retry.clone());

            let (outcome, writes) = apply_one(&[letter()], &reviving);

            assert_eq!(outcome, applied(0));
            let expected = Row {
                status: TaskStatus::Pending,
                marks: Marks::of(Mark::Redrive),
                attempts: 0,
                uncommitted_claims: 0,
                ready_at: Some(t(10)),
                expires_at: None,
                ended_at: None,
                ..letter()
            };
            // The failure stays recorded until the task progresses.
            assert_eq!(
                writes.update,
                [Update { row: expected, result: None, retry: retry.as_ref(), queue: None }]
            );
            assert!(writes.ready && !writes.ended);
        }
    }

    #[test]
    fn a_redrive_on_another_queue_moves_the_root_and_keeps_its_policy() {
        let redriving = request(EXECUTION, Action::Redrive { retry: None, queue: Some("eu".to_owned()) });

        let (_, writes) = apply_one(&[letter()], &redriving);

        let [Update { row, retry: None, queue: Some("eu"), .. }] = writes.update.as_slice() else {
            panic!("{:?}", writes.update);
        };
        assert_eq!((row.id, row.status), (ROOT, TaskStatus::Pending));
    }

    #[test]
    fn a_repeated_redrive_moves_nothing() {
        let redriving =
            |queue: &str| request(EXECUTION, Action::Redrive { retry: None, queue: Some(queue.to_owned()) });
        let batch = [redriving("eu"), redriving("us")];

        let (outcomes, writes) = apply(&[letter()], &batch);

        assert_eq!(outcomes, [applied(0), ALREADY]);
        assert_eq!(writes.update.iter().map(|update| update.queue).collect::<Vec<_>>(), [Some("eu")]);
    }

    #[test]
    fn a_task_of_the_same_batch_is_written_before_it_moves() {
        let dispatch = start(NewTaskState::Done { started_at: t(1), result: Err(declined()) });
        let policy = Action::Redrive { retry: Some(RetryPolicy::never()), queue: None };
        let queue = Action::Redrive { retry: None, queue: Some("eu".to_owned()) };
        let plain = Action::Redrive { retry: None, queue: None };

        let mut ledger = load(&[], &[], &Ledger::reads(std::slice::from_ref(&dispatch)));
        assert_eq!(ledger.apply(&dispatch), applied(0));

        let can = [policy, queue, plain].map(|action| ledger.can_apply(&request(EXECUTION, action)));
        assert_eq!(can, [false, false, true]);
    }

    #[test]
    fn only_a_dead_letter_is_redriven_or_discarded() {
        let marked = |mark| Row { marks: Marks::of(mark), ..letter() };
        let redriven = Row { marks: Marks::of(Mark::Redrive), ..root() };
        for (there, redrive_gives, discard_gives) in [
            (root(), Outcome::Gone, Outcome::Gone),
            (parked(1), Outcome::Gone, Outcome::Gone),
            (completed(root(), None), Outcome::Gone, Outcome::Gone),
            (marked(Mark::Expire), Outcome::Gone, Outcome::Gone),
            (marked(Mark::Discard), Outcome::Gone, ALREADY),
            (redriven, ALREADY, Outcome::Gone),
        ] {
            for (asking, gives) in
                [(redrive(None), redrive_gives), (request(EXECUTION, Action::Discard), discard_gives)]
            {
                let (outcome, writes) = apply_one(std::slice::from_ref(&there), &asking);
                assert_eq!(outcome, gives, "{:?} of {there:?}", asking.action());
                assert!(writes.is_empty() && !writes.ready);
            }
        }
    }

    #[test]
    fn a_discarded_one_stays_as_failed() {
        let discarding = request(EXECUTION, Action::Discard);
        let (outcome, writes) = apply_one(&[letter()], &discarding);
        assert_eq!(outcome, applied(0));
        let expected = Row { marks: Marks::of(Mark::Discard), ..letter() };
        assert_eq!(writes.update, [Update { row: expected, result: None, retry: None, queue: None }]);
    }

    #[test]
    fn it_goes_on_from_a_cut_at_once_and_that_is_no_attempt() {
        let there = Row { marks: Marks::of(Mark::Redrive), uncommitted_claims: 1, ..root() };
        let mut redo = leased(&there, Next::Redo);
        commit(&mut redo).erase = vec![task(2)];

        let (outcome, writes) = apply_one(&[there.clone(), failed(step(2))], &redo);

        assert_eq!(outcome, applied(0));
        let expected = Row {
            status: TaskStatus::Pending,
            marks: Marks::NONE,
            uncommitted_claims: 0,
            worker: None,
            ready_at: Some(t(10)),
            ..committed(there)
        };
        assert_eq!(writes.update, [Update { row: expected, result: None, retry: None, queue: None }]);
        assert_eq!((writes.erase.as_slice(), writes.ready), (&[task(2)][..], true));
        assert!(writes.ended_claims.is_empty());
    }

    #[test]
    fn what_was_redriven_and_is_asked_to_end_or_is_over_is_not_redriven_any_more() {
        let redriven = expiring(Row { marks: Marks::of(Mark::Redrive), ..root() });
        let (asking, expiring) = (cancel(20), expire(&redriven));
        let (_, writes) = apply_one(std::slice::from_ref(&redriven), &asking);
        assert_eq!(writes.row(ROOT).marks, Marks::of(Mark::Cancel));
        let (_, writes) = apply_one(std::slice::from_ref(&redriven), &expiring);
        assert_eq!(writes.row(ROOT).marks, Marks::of(Mark::Expire));
    }

    #[test]
    fn a_second_mark_hides_none() {
        let with = |mark, row: Row| Row { marks: row.marks.with(mark), ..row };
        let discarded = with(Mark::Discard, with(Mark::Cancel, letter()));
        assert_eq!(apply_one(std::slice::from_ref(&discarded), &redrive(None)).0, Outcome::Gone);
        assert_eq!(apply_one(&[discarded], &request(EXECUTION, Action::Discard)).0, ALREADY);
        let redriven = with(Mark::Redrive, stopping(root()));
        assert_eq!(apply_one(std::slice::from_ref(&redriven), &redrive(None)).0, ALREADY);
        // Its end is that of any task that was asked to end.
        let completing = complete(&redriven);
        let (outcome, writes) = apply_one(std::slice::from_ref(&redriven), &completing);
        let (alone, of_one) = apply_one(&[stopping(root())], &completing);
        assert_eq!((outcome, &writes.result(ROOT)), (alone, &of_one.result(ROOT)));
        assert_eq!(Row { marks: Marks::of(Mark::Cancel), ..writes.row(ROOT).clone() }, *of_one.row(ROOT));
    }

    #[test]
    fn it_is_redriven_until_it_has_come_further() {
        let there = Row { marks: Marks::of(Mark::Redrive), ..root() };
        for (turn, marks) in [
            (leased(&there, Next::Keep), Marks::NONE),
            (park(&there, Wait::for_next(0)), Marks::NONE),
            (retry(&there), Marks::NONE),
            (fail(&there), Marks::NONE),
            (complete(&there), Marks::NONE),
            (leased(&there, Next::Release), Marks::of(Mark::Redrive)),
        ] {
            let (_, writes) = apply_one(std::slice::from_ref(&there), &turn);
            assert_eq!(writes.row(ROOT).marks, marks, "{:?}", turn.next());
        }
    }
}

mod ended_claims {
    use super::*;

    fn tried(end: ClaimEnd, failure: Option<Failure>) -> EndedClaim {
        let worker = Some(worker(7));
        EndedClaim {
            task: ROOT,
            execution: EXECUTION,
            epoch: Epoch::plain(1),
            worker,
            end,
            at: t(10),
            failure,
        }
    }

    #[test]
    fn a_try_that_does_not_end_well_is_written_down() {
        for (turn, expected) in [
            (retry(&root()), Some(tried(ClaimEnd::Failed, Some(declined())))),
            (fail(&root()), Some(tried(ClaimEnd::Failed, Some(declined())))),
            (leased(&root(), Next::Release), Some(tried(ClaimEnd::Released, None))),
            (leased(&root(), Next::Redo), None),
            (leased(&root(), Next::Keep), None),
            (park(&root(), Wait::for_next(0)), None),
            (complete(&root()), None),
        ] {
            let (_, writes) = apply_one(&[root()], &turn);
            assert_eq!(writes.ended_claims, Vec::from_iter(expected), "{:?}", turn.next());
        }
    }

    #[test]
    fn a_claim_of_what_runs_is_a_crash_of_who_ran_it() {
        let mut row = root();
        let crashed = row.claim(worker(8), Nonce::NONE, t(31), t(61), None).expect("its lease ran out");
        assert_eq!(crashed, EndedClaim { at: t(31), ..tried(ClaimEnd::Crashed, None) });
        assert_eq!((row.crashes, row.releases, row.uncommitted_claims, row.attempts), (1, 0, 2, 0));

        let mut fresh = new_root();
        assert_eq!(fresh.claim(worker(8), Nonce::NONE, t(31), t(61), None), None);
        let mut woken = Row { ready_at: Some(t(31)), ..parked(1) };
        assert_eq!(woken.claim(worker(8), Nonce::NONE, t(31), t(61), None), None);
        assert_eq!((fresh.crashes, woken.crashes), (0, 0));
    }

    #[test]
    fn a_step_that_failed_before_it_was_written_is_written_with_that() {
        let mut parking = park(&root(), Wait::for_next(0));
        let retried = new_step(2, NewTaskState::Pending { ready_at: t(20) });
        commit(&mut parking).insert = vec![NewTask { attempts: 1, failure: Some(declined()), ..retried }];

        let (_, writes) = apply_one(&[root()], &parking);

        let first = EndedClaim {
            task: task(2),
            epoch: Epoch::NEVER,
            worker: None,
            ..tried(ClaimEnd::Failed, Some(declined()))
        };
        assert_eq!(writes.ended_claims, [first]);
        assert_eq!(writes.insert[0].result, Some(Written::Failure(&declined())));
        assert_eq!(writes.row(task(2)).attempts, 1);
    }
}

mod notes {
    use super::*;

    fn said(by: u128, add: i64) -> Said {
        Said { task: task(by), note: Note::Count { name: "rows".to_owned(), add } }
    }

    #[test]
    fn all_are_written_in_their_order_and_only_its_own_are_counted() {
        let there = Row { noted: 3, ..root() };
        let mut keep = leased(&there, Next::Keep);
        commit(&mut keep).insert = vec![inline(2)];
        commit(&mut keep).notes = vec![said(1, 5), said(2, 7), said(1, 9)];

        let (_, writes) = apply_one(std::slice::from_ref(&there), &keep);

        let said = &keep.commit().expect("a leaseholder's").notes;
        let expected: Vec<_> = said
            .iter()
            .map(|said| Noted { execution: EXECUTION, task: said.task, at: t(10), note: &said.note })
            .collect();
        assert_eq!(writes.notes, expected);
        assert_eq!((writes.row(ROOT).noted, writes.row(task(2)).noted), (5, 0));
    }

    #[test]
    fn none_is_written_of_a_turn_that_is_refused_or_sent_again() {
        let mut keep = leased(&root(), Next::Keep);
        commit(&mut keep).notes = vec![said(1, 5)];
        let mut later = root();
        later.claim(worker(8), Nonce::NONE, t(31), t(61), None);
        for there in [later, committed(root()), completed(root(), None)] {
            assert!(apply_one(&[there], &keep).1.notes.is_empty());
        }
    }
}

mod slots {
    use super::*;

    #[test]
    fn a_place_that_is_free_is_worth_a_claim() {
        let there = counted(root());
        for (turn, frees) in [
            (leased(&there, Next::Keep), false),
            (park(&there, Wait::for_next(0)), true),
            (complete(&there), true),
            (fail(&there), true),
            (retry(&there), true),
            (leased(&there, Next::Release), true),
        ] {
            let (_, writes) = apply_one(std::slice::from_ref(&there), &turn);
            assert_eq!(
                (writes.ready, writes.row(ROOT).limit_key.is_none()),
                (frees, frees),
                "{:?}",
                turn.next()
            );
            let (_, writes) = apply_one(&[root()], &turn);
            assert!(!writes.ready || matches!(turn.next(), Some(Next::Retry { .. } | Next::Release)));
        }
    }

    #[test]
    fn a_step_that_is_given_up_or_expires_or_is_stopped_gives_its_place_back() {
        let rows = [root(), counted(expiring(step(2)))];
        let mut giving_up = leased(&rows[0], Next::Keep);
        commit(&mut giving_up).cancel = vec![task(2)];
        let expire = expire(&rows[1]);
        for change in [giving_up, expire] {
            let (_, writes) = apply_one(&rows, &change);
            assert_eq!((writes.row(task(2)).limit_key, writes.ready), (None, true));
        }
        let asked = counted(stopping(step(2)));
        let ending = complete(&asked);
        assert!(apply_one(&[root(), asked], &ending).1.ready);
    }

    #[test]
    fn a_claim_takes_a_place_only_if_its_function_is_counted() {
        for slot in [None, Some(FunctionKey::of("charge"))] {
            let mut row = counted(pending(task(2), Tree::step(EXECUTION, ROOT)));
            row.claim(worker(8), Nonce::NONE, t(31), t(61), slot);
            assert_eq!(row.limit_key, slot.map(Slot::Taken));
        }
    }
}
