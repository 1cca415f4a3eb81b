//! Tasks that share a key.

use super::shelf::Shelf;
use super::*;
use crate::limits::SIGNAL_SENDS_KEPT;

const ELSEWHERE: TaskId = task(500);

fn key() -> Key {
    Key::of_user("charge", None, "order 7")
}

fn value(text: &str) -> Payload {
    Payload::new("text/plain", text.into())
}

// Given: rows under a key, and key entries.

fn under(key: Key, row: Row) -> Row {
    Row { key: Some(key), ..row }
}

/// A step that was given a key when it was written, and has never been claimed.
fn waiter(n: u128) -> Row {
    let row = pending(task(n), Tree::step(EXECUTION, ROOT));
    Row { status: TaskStatus::Waiting, ready_at: None, ..under(key(), row) }
}

/// Another execution, which is parked, and one of its steps that waits under the key.
fn elsewhere(n: u128) -> [Row; 2] {
    let tree = Tree::step(ELSEWHERE.execution(), ELSEWHERE);
    [Row { id: ELSEWHERE, tree: Tree::root(ELSEWHERE.execution()), ..parked(1) }, Row { tree, ..waiter(n) }]
}

fn holder(n: u128) -> Row {
    under(key(), step(n))
}

fn held(holder: u128) -> KeyEntry {
    KeyEntry {
        holder: Some(task(holder)),
        ..KeyEntry::new(key(), KeyEntryKind::Result, EXECUTION, "charge".to_owned())
    }
}

fn kept(holder: u128, text: &str) -> KeyEntry {
    KeyEntry { value: Some(value(text)), ended_at: Some(t(5)), ..held(holder) }
}

// When.

fn keyed(key: Key, new: NewTask) -> NewTask {
    NewTask { keyed: Some(Keyed::new(key)), ..new }
}

fn call(n: u128) -> NewTask {
    keyed(key(), new_step(n, NewTaskState::Pending { ready_at: t(10) }))
}

fn keep_with(row: &Row, insert: Vec<NewTask>) -> Transition {
    let mut keep = leased(row, Next::Keep);
    commit(&mut keep).insert = insert;
    keep
}

fn apply_one_under<'a>(
    rows: &[Row],
    key_entries: &[KeyEntry],
    transition: &'a Transition,
) -> (Outcome, Writes<'a>) {
    let (mut outcomes, writes) = apply_under(rows, key_entries, std::slice::from_ref(transition));
    (outcomes.remove(0), writes)
}

/// Applies one step of a cascade, with the rows that a store loads for it.
fn follow<'a>(rows: &[Row], key_entries: &[KeyEntry], up: CascadeStep) -> Writes<'a> {
    let mut ledger = load(rows, key_entries, &CascadeStep::reads(&[up]));
    ledger.cascade(&up);
    ledger.into_writes().expect("rows that belong together")
}

impl Writes<'_> {
    #[track_caller]
    fn inserted(&self, n: u128) -> &Insert<'_> {
        self.insert
            .iter()
            .find(|insert| insert.row.id == task(n))
            .unwrap_or_else(|| panic!("{n} is not inserted"))
    }
}

mod calls {
    use super::*;

    #[test]
    fn the_first_call_under_a_key_is_at_it() {
        let ttl = Some(std::time::Duration::from_secs(60));
        let mut keep = keep_with(&root(), vec![call(2)]);
        keep.rows_mut()[0].keyed = Some(Keyed { key: key(), ttl });

        let (outcome, writes) = apply_one_under(&[root()], &[], &keep);

        assert_eq!(outcome, applied(0));
        let expected = Row { ready_at: Some(t(10)), ..under(key(), pending(task(2), keep.rows()[0].tree)) };
        assert_eq!(*writes.row(task(2)), expected);
        assert_eq!(writes.key_entries, [KeyEntry { ttl, ..held(2) }]);
        assert!(writes.ready);
    }

    #[test]
    fn a_call_beside_the_one_who_is_at_it_waits() {
        let keep = keep_with(&root(), vec![call(3)]);

        let (outcome, writes) = apply_one_under(&[root(), holder(2)], &[held(2)], &keep);

        assert_eq!((outcome, writes.row(task(3))), (applied(0), &waiter(3)));
        assert!(writes.key_entries.is_empty());
    }

    #[test]
    fn of_two_calls_in_one_transition_the_second_waits_for_the_first() {
        let keep = keep_with(&root(), vec![call(2), call(3)]);
        let (_, writes) = apply_one_under(&[root()], &[], &keep);
        assert_eq!(writes.key_entries, [held(2)]);
        assert_eq!([2, 3].map(|n| writes.row(task(n)).status), [TaskStatus::Pending, TaskStatus::Waiting]);
    }

    #[test]
    fn a_kept_result_answers_at_once_also_when_it_is_nothing() {
        for text in ["receipt", ""] {
            let keep = keep_with(&Row { done: 3, ..root() }, vec![call(3)]);

            let (outcome, writes) = apply_one_under(&[Row { done: 3, ..root() }], &[kept(2, text)], &keep);

            assert_eq!(outcome, applied(4));
            let mut keep = keep.clone();
            commit(&mut keep).seen = 3;
            assert_eq!(lacks_steps(&keep, &outcome), Some((ROOT, 3)), "the code must be told");
            let insert = writes.inserted(3);
            assert_eq!(insert.result, Some(Written::Kept(Ok(value(text)))));
            let expected = Row {
                status: TaskStatus::Completed,
                marks: Marks::of(Mark::Hit),
                ready_at: None,
                started_at: Some(t(10)),
                ended_at: Some(t(10)),
                done_order: Some(4),
                ..waiter(3)
            };
            assert_eq!(insert.row, expected);
            assert!(writes.key_entries.is_empty());
        }
    }

    #[test]
    fn a_result_is_good_until_its_moment_and_not_at_it() {
        for (expires_at, good) in [(t(11), true), (t(10), false), (t(9), false)] {
            let key_entry =
                KeyEntry { expires_at: Some(expires_at), ttl: Some(t(6).since(t(5))), ..kept(2, "old") };
            let keep = keep_with(&root(), vec![call(3)]);

            let (_, writes) = apply_one_under(&[root()], &[key_entry], &keep);

            let status = if good { TaskStatus::Completed } else { TaskStatus::Pending };
            assert_eq!(writes.row(task(3)).status, status);
            // An expired result is removed together with its time to live.
            assert_eq!(writes.key_entries, if good { vec![] } else { vec![held(3)] });
        }
    }

    #[test]
    fn the_result_completes_everyone_who_waits() {
        let rows = [vec![parked(2), holder(2), waiter(3)], elsewhere(4).to_vec()].concat();
        let key_entry = KeyEntry { ttl: Some(t(60).since(t(0))), ..held(2) };
        let ending = complete(&rows[1]);

        let (_, writes) = apply_one_under(&rows, std::slice::from_ref(&key_entry), &ending);

        let value = ok("done").ok();
        assert_eq!(
            writes.key_entries,
            [KeyEntry { value, ended_at: Some(t(10)), expires_at: Some(t(70)), ..key_entry }]
        );
        assert_eq!([3, 2, 4].map(|n| writes.row(task(n)).done_order), [Some(1), Some(2), Some(1)]);
        for n in [3, 4] {
            let row = writes.row(task(n));
            assert_eq!((row.status, row.marks), (TaskStatus::Completed, Marks::of(Mark::Hit)));
            assert_eq!((row.started_at, row.ended_at), (Some(t(10)), Some(t(10))));
            assert_eq!(writes.result(task(n)), Some(Written::Result(&ok("done"))));
        }
        assert_eq!([ROOT, ELSEWHERE].map(|root| writes.row(root).ready_at), [Some(t(10)); 2]);
    }

    #[test]
    fn when_it_fails_the_oldest_who_waits_is_at_it() {
        let rows = [vec![parked(1), holder(2)], elsewhere(4).to_vec(), vec![waiter(5)]].concat();
        let ending = fail(&rows[1]);

        let (_, writes) = apply_one_under(&rows, &[held(2)], &ending);

        assert_eq!(writes.key_entries, [KeyEntry { execution: ELSEWHERE.execution(), ..held(4) }]);
        let next = Row { status: TaskStatus::Pending, ready_at: Some(t(10)), ..rows[3].clone() };
        assert_eq!(*writes.row(task(4)), next);
        assert!(!writes.ids().contains(&task(5)) && writes.ready);
    }

    #[test]
    fn a_failure_that_nobody_waited_for_is_forgotten() {
        let rows = [parked(1), holder(2)];
        let ending = fail(&rows[1]);
        let (_, writes) = apply_one_under(&rows, &[held(2)], &ending);
        assert_eq!((writes.key_entries.as_slice(), writes.forget.as_slice()), (&[][..], &[key()][..]));
    }

    #[test]
    fn who_is_tried_again_or_handed_back_keeps_its_key() {
        let rows = [holder(2), waiter(3)];
        for going_on in [retry(&rows[0]), leased(&rows[0], Next::Release), park(&rows[0], Wait::for_next(0))]
        {
            let (_, writes) = apply_one_under(&rows, &[held(2)], &going_on);
            assert_eq!(writes.ids(), [task(2)]);
            assert!(writes.key_entries.is_empty() && writes.forget.is_empty());
        }
    }

    #[test]
    fn who_is_no_longer_at_it_leaves_the_entry_alone() {
        // The holder failed and was redriven; another call is the holder now.
        let rows = [parked(1), holder(2), holder(3), waiter(4)];
        for ending in [complete(&rows[1]), fail(&rows[1])] {
            let (_, writes) = apply_one_under(&rows, &[held(3)], &ending);
            assert!(
                writes.key_entries.is_empty() && writes.forget.is_empty() && !writes.ids().contains(&task(4))
            );
        }
    }

    #[test]
    fn whose_time_is_up_makes_way() {
        let rows = [parked(9), Row { expires_at: Some(t(10)), ..holder(2) }, waiter(3)];
        let expiring = expire(&rows[1]);

        let (_, writes) = apply_one_under(&rows, &[held(2)], &expiring);

        assert_eq!(
            (writes.key_entries.as_slice(), writes.row(task(3)).status),
            (&[held(3)][..], TaskStatus::Pending)
        );
    }

    #[test]
    fn an_execution_under_a_key_waits_and_has_the_result_too() {
        let mut start = start(NewTaskState::Pending { ready_at: t(10) });
        start.rows_mut()[0].keyed = Some(Keyed::new(key()));
        let other = under(key(), running(ELSEWHERE, Tree::root(ELSEWHERE.execution())));
        let key_entry = KeyEntry { holder: Some(ELSEWHERE), execution: ELSEWHERE.execution(), ..held(2) };

        let (_, writes) =
            apply_one_under(std::slice::from_ref(&other), std::slice::from_ref(&key_entry), &start);
        let waits = writes.row(ROOT).clone();
        assert_eq!((waits.status, waits.waits_for_key(), writes.ended), (TaskStatus::Waiting, true, false));

        let ending = complete(&other);
        let (_, writes) = apply_one_under(&[other, waits], std::slice::from_ref(&key_entry), &ending);
        assert_eq!((writes.row(ROOT).status, writes.ended), (TaskStatus::Completed, true));
        // Only the store knows the waits for this execution.
        assert_eq!(writes.cascade.steps, [CascadeStep::Joined { execution: EXECUTION, at: t(10) }]);

        let hit = apply_one_under(&[], &[kept(2, "receipt")], &start).1;
        assert_eq!((hit.row(ROOT).status, hit.ended), (TaskStatus::Completed, true));
    }

    #[test]
    fn what_is_written_ended_or_leased_under_a_key_says_nothing_about_it() {
        let states = [
            NewTaskState::Done { started_at: t(9), result: ok("inline") },
            NewTaskState::Leased { started_at: t(9), worker: worker(7), nonce: Nonce::NONE, until: t(40) },
        ];
        for state in states {
            let keep = keep_with(&root(), vec![keyed(key(), new_step(2, state))]);
            assert!(apply_one_under(&[root()], &[], &keep).1.key_entries.is_empty());
        }
    }

    #[test]
    fn items_that_are_hits_or_wait_complete_their_map() {
        for kind in [StepKind::Map, StepKind::Gather] {
            let item = |n| NewTask { tree: Tree::item(EXECUTION, task(2), ROOT), ..call(n) };
            let mapping = new_task(2, Tree::step(EXECUTION, ROOT), kind, NewTaskState::Map);
            let mut feeding = keep_with(&root(), vec![mapping, item(3), item(4)]);
            commit(&mut feeding).feed = vec![Feed { map: task(2), fed: 2, total: Some(2), digest: None }];

            let (outcome, writes) = apply_one_under(&[root()], &[kept(9, "receipt")], &feeding);
            assert_eq!((outcome, writes.row(task(2)).done), (applied(1), 2));
            assert_eq!(
                (writes.row(task(2)).status, writes.row(task(3)).done_order),
                (TaskStatus::Completed, None)
            );

            let other = Row { tree: Tree::step(ELSEWHERE.execution(), ELSEWHERE), ..holder(9) };
            let (_, writes) = apply_one_under(&[root(), other.clone()], &[held(9)], &feeding);
            assert_eq!([3, 4].map(|n| writes.row(task(n)).status), [TaskStatus::Waiting; 2]);
            let mut rows: Vec<Row> = [1, 2, 3, 4].map(|n| writes.row(task(n)).clone()).into();
            rows.extend([running(ELSEWHERE, Tree::root(ELSEWHERE.execution())), other.clone()]);

            let ending = complete(&other);
            let (_, writes) = apply_one_under(&rows, &[held(9)], &ending);
            let map = writes.row(task(2));
            assert_eq!((map.status, map.done, map.done_order), (TaskStatus::Completed, 2, Some(1)));
        }
    }

    #[test]
    fn a_kept_result_for_an_item_of_an_ended_map_changes_nothing_above_it() {
        let rows = [parked(2), completed(map(2, 1, 4, Some(4)), Some(1)), holder(9)];
        let late = Row { tree: Tree::item(EXECUTION, task(2), ROOT), ..waiter(3) };
        let rows = [&rows[..], &[late]].concat();
        let ending = complete(&rows[2]);
        let (_, writes) = apply_one_under(&rows, &[held(9)], &ending);
        assert_eq!((writes.row(task(3)).status, writes.row(ROOT).done), (TaskStatus::Completed, 1));
        assert!(!writes.ids().contains(&task(2)));
    }

    #[test]
    fn a_place_that_a_swept_task_held_is_given_to_the_oldest() {
        let rows = [root(), waiter(3), waiter(4)];
        let up = CascadeStep::Vacate { key: key(), at: t(12) };

        let writes = follow(&rows, &[held(2)], up);
        assert_eq!(writes.key_entries, [held(3)]);
        assert_eq!((writes.row(task(3)).ready_at, writes.ready), (Some(t(12)), true));

        assert_eq!(follow(&rows[..1], &[held(2)], up).forget, [key()]);
        assert!(follow(&rows, &[kept(2, "receipt")], up).is_empty(), "a result is no place");
    }

    #[test]
    fn a_place_is_not_given_to_one_who_ends_in_the_same_breath() {
        // The holder was swept, and an execution that waits for it is closed, in this order or the other.
        let waits = Row { id: ELSEWHERE, tree: Tree::root(ELSEWHERE.execution()), ..waiter(3) };
        let rows = [Row { marks: Marks::of(Mark::Cancel), ..waits }, waiter(600)];
        let ups = [
            CascadeStep::Close { root: ELSEWHERE, at: t(12) },
            CascadeStep::Vacate { key: key(), at: t(12) },
        ];
        for ups in [ups, [ups[1], ups[0]]] {
            let mut ledger = load(&rows, &[held(2)], &CascadeStep::reads(&ups));
            ups.iter().for_each(|up| ledger.cascade(up));
            let writes = ledger.into_writes().expect("rows that belong together");

            assert_eq!(writes.row(ELSEWHERE).status, TaskStatus::Cancelled);
            assert_eq!(writes.key_entries, [held(600)]);
            assert_eq!(writes.row(task(600)).status, TaskStatus::Pending);
        }
    }

    #[test]
    fn a_place_is_not_given_to_one_that_was_erased_in_the_same_batch() {
        let [away, next] = elsewhere(5);
        let rows = [
            root(),
            waiter(3),
            away,
            next,
            Row { tree: Tree::step(ELSEWHERE.execution(), ELSEWHERE), ..holder(4) },
        ];
        let key_entry = KeyEntry { execution: ELSEWHERE.execution(), ..held(4) };
        let mut retrying = retry(&rows[0]);
        commit(&mut retrying).erase = vec![task(3)];
        let mut shelf = Shelf { key_entries: [(key(), key_entry.clone())].into(), ..Shelf::of(rows.clone()) };

        shelf.apply(&[retrying, fail(&rows[4])]);

        assert_eq!(shelf.key_entries[&key()], KeyEntry { holder: Some(task(5)), ..key_entry });
        assert_eq!(shelf.rows[&task(5)].status, TaskStatus::Pending);
    }

    #[test]
    fn a_ledger_wants_to_be_written_before_it_goes_on_under_a_key_of_what_it_swept() {
        // The holder is somewhere below task 2, and so is a waiting task; only the store knows.
        let other = running(ELSEWHERE, Tree::root(ELSEWHERE.execution()));
        let mut keep = leased(&root(), Next::Keep);
        commit(&mut keep).cancel = vec![task(2)];
        let asks = keep_with(&other, vec![call(9)]);
        let free = keep_with(&other, vec![keyed(Key::of_user("charge", None, "order 8"), call(9))]);
        let there = Row { id: task(7), tree: Tree::step(ELSEWHERE.execution(), ELSEWHERE), ..holder(7) };
        let ends = complete(&there);
        let swept = Row { tree: Tree::step(EXECUTION, task(2)), ..waiter(8) };

        let mut ledger = Ledger::new([root(), step(2), other.clone()], [held(6)]);
        ledger.apply(&keep);
        assert!(!ledger.can_apply(&asks) && ledger.can_apply(&free));

        let key_entry = KeyEntry { execution: ELSEWHERE.execution(), ..held(7) };
        let mut ledger = Ledger::new([root(), step(2), other, there, swept], [key_entry]);
        assert!(ledger.can_apply(&ends));
        ledger.apply(&keep);
        assert!(!ledger.can_apply(&ends));
    }
}

mod dispatches {
    use super::*;

    fn keyed_start(root: TaskId) -> Transition {
        let state = NewTaskState::Pending { ready_at: t(10) };
        let new = new_task(1, Tree::root(root.execution()), StepKind::Call, state);
        Dispatch { root: NewTask { id: root, ..new }, key: Some(key()), at: t(10) }.into()
    }

    #[test]
    fn only_the_first_dispatch_under_a_key_starts_an_execution() {
        let batch = [keyed_start(ROOT), keyed_start(ELSEWHERE), keyed_start(ROOT)];

        let (outcomes, writes) = apply(&[], &batch);

        assert_eq!(outcomes, [applied(0), Outcome::Exists(EXECUTION), already(0)]);
        assert_eq!(writes.insert.len(), 1);
        let key_entry = KeyEntry::new(key(), KeyEntryKind::Dispatch, EXECUTION, "charge".to_owned());
        assert_eq!(writes.key_entries, [KeyEntry { holder: Some(ROOT), ..key_entry }]);
    }

    #[test]
    fn it_stands_after_its_execution_has_ended() {
        let key_entry = KeyEntry::new(key(), KeyEntryKind::Dispatch, EXECUTION, "charge".to_owned());
        let start = keyed_start(ELSEWHERE);
        let (outcome, writes) = apply_one_under(&[completed(root(), None)], &[key_entry], &start);
        assert_eq!(outcome, Outcome::Exists(EXECUTION));
        assert!(writes.is_empty());
    }
}

mod signals {
    use super::*;

    fn slot() -> Key {
        Key::of_signal(EXECUTION, "approval")
    }

    fn send(id: u128, text: &str) -> Transition {
        let action =
            Action::Signal { key: slot(), name: "approval".to_owned(), id: task(id), value: value(text) };
        request(EXECUTION, action)
    }

    fn slot_entry(sends: &[u128], there: Option<&str>) -> KeyEntry {
        KeyEntry {
            value: there.map(value),
            ended_at: Some(t(10)),
            sends: sends.iter().copied().map(task).collect(),
            ..KeyEntry::new(slot(), KeyEntryKind::Signal, EXECUTION, "approval".to_owned())
        }
    }

    fn wait(n: u128) -> Row {
        let row = pending(task(n), Tree::step(EXECUTION, ROOT));
        let row = Row { status: TaskStatus::Waiting, kind: StepKind::Signal, ready_at: None, ..row };
        Row { started_at: Some(t(1)), ..under(slot(), row) }
    }

    fn taken(n: u128, order: u32) -> Row {
        completed(wait(n), Some(order))
    }

    fn new_wait(n: u128) -> NewTask {
        NewTask { kind: StepKind::Signal, ..keyed(slot(), new_step(n, NewTaskState::Signal)) }
    }

    #[test]
    fn a_value_that_nobody_waits_for_is_kept() {
        let sending = send(80, "yes");
        let (outcome, writes) = apply_one_under(&[root()], &[], &sending);
        assert_eq!(outcome, applied(0));
        assert_eq!(writes.key_entries, [slot_entry(&[80], Some("yes"))]);
        assert!(writes.update.is_empty() && !writes.ready);
    }

    #[test]
    fn the_latest_value_counts_and_a_send_that_is_repeated_does_not() {
        let batch = [send(80, "yes"), send(81, "no"), send(80, "yes")];
        let (outcomes, writes) = apply_under(&[root()], &[], &batch);
        let replacing = Outcome::Applied(News { replaced: true, ..News::default() });
        assert_eq!(outcomes, [applied(0), replacing, already(0)]);
        assert_eq!(writes.key_entries, [slot_entry(&[80, 81], Some("no"))]);

        let (outcome, writes) = apply_one_under(&[root()], &[slot_entry(&[80, 81], None)], &batch[0]);
        assert_eq!(outcome, already(0));
        assert!(writes.is_empty(), "also when it was taken long ago");
    }

    #[test]
    fn so_many_sends_are_known_again_and_no_more() {
        let ids: Vec<u128> = (0..SIGNAL_SENDS_KEPT as u128).map(|n| 80 + n).collect();
        let sending = send(700, "yes");

        let (_, writes) = apply_one_under(&[root()], &[slot_entry(&ids, None)], &sending);

        let expected = [&ids[1..], &[700]].concat();
        assert_eq!(writes.key_entries, [slot_entry(&expected, Some("yes"))]);
    }

    #[test]
    fn a_value_goes_to_the_oldest_who_waits() {
        let rows = [parked(1), wait(2), wait(3)];
        let sending = send(80, "yes");

        let (_, writes) = apply_one_under(&rows, &[], &sending);

        let expected =
            Row { status: TaskStatus::Completed, done_order: Some(1), ended_at: Some(t(10)), ..wait(2) };
        assert_eq!(*writes.row(task(2)), expected);
        assert_eq!(writes.result(task(2)), Some(Written::Kept(Ok(value("yes")))));
        assert_eq!(writes.key_entries, [slot_entry(&[80], None)]);
        assert_eq!(writes.row(ROOT).ready_at, Some(t(10)));
        assert!(!writes.ids().contains(&task(3)));
    }

    #[test]
    fn two_values_in_a_batch_go_to_two_who_wait() {
        let rows = [parked(1), wait(2), wait(3)];
        let batch = [send(80, "yes"), send(81, "no")];
        let (_, writes) = apply_under(&rows, &[], &batch);
        assert_eq!(writes.result(task(2)), Some(Written::Kept(Ok(value("yes")))));
        assert_eq!(writes.result(task(3)), Some(Written::Kept(Ok(value("no")))));
        assert_eq!(writes.key_entries, [slot_entry(&[80, 81], None)]);
    }

    #[test]
    fn a_wait_takes_what_is_there() {
        let keep = keep_with(&root(), vec![new_wait(2), new_wait(3)]);

        let (outcome, writes) = apply_one_under(&[root()], &[slot_entry(&[80], Some(""))], &keep);

        assert_eq!(outcome, applied(1));
        let insert = writes.inserted(2);
        assert_eq!(
            (insert.row.status, insert.row.done_order, insert.row.marks),
            (TaskStatus::Completed, Some(1), Marks::NONE)
        );
        assert_eq!(insert.result, Some(Written::Kept(Ok(value("")))));
        assert_eq!(writes.row(task(3)).status, TaskStatus::Waiting, "it is consumed once");
        assert_eq!(writes.key_entries, [slot_entry(&[80], None)]);
    }

    #[test]
    fn nothing_is_sent_to_an_execution_that_has_ended_or_never_was() {
        let sending = send(80, "yes");
        for rows in [vec![completed(root(), None)], Vec::new()] {
            let (outcome, writes) = apply_one_under(&rows, &[], &sending);
            assert_eq!(outcome, Outcome::Gone);
            assert!(writes.is_empty());
        }
    }

    #[test]
    fn a_value_that_was_taken_and_not_seen_is_given_back_once() {
        let mut keep = leased(&root(), Next::Keep);
        commit(&mut keep).cancel = vec![task(2)];

        let (_, writes) = apply_one_under(&[root(), taken(2, 1)], &[], &keep);

        assert_eq!(writes.restore, [task(2)]);
        assert_eq!(*writes.row(task(2)), Row { marks: Marks::of(Mark::Cancel), ..taken(2, 1) });
        assert_eq!(writes.cascade.steps, [CascadeStep::Deliver { key: slot(), at: t(10) }]);

        let again = Row { marks: Marks::of(Mark::Cancel), ..taken(2, 1) };
        let (_, writes) = apply_one_under(&[root(), again], &[], &keep);
        assert!(writes.restore.is_empty() && writes.cascade.is_empty());
    }

    #[test]
    fn a_value_is_given_back_by_a_wait_that_leaves_the_record_too() {
        // The value came while the code failed: the wait is cut from its record, and the next attempt waits anew.
        let mut retrying = retry(&root());
        commit(&mut retrying).erase = vec![task(2), task(3)];

        let (_, writes) = apply_one_under(&[root(), taken(2, 1), wait(3)], &[], &retrying);

        assert_eq!(
            (writes.restore.as_slice(), writes.erase.as_slice()),
            (&[task(2)][..], &[task(2), task(3)][..])
        );
        assert_eq!(writes.cascade.steps, [CascadeStep::Deliver { key: slot(), at: t(10) }]);
    }

    #[test]
    fn a_value_that_came_in_the_very_batch_is_given_back_too() {
        let mut keep = leased(&root(), Next::Keep);
        commit(&mut keep).cancel = vec![task(2)];
        let mut retrying = retry(&root());
        commit(&mut retrying).erase = vec![task(2)];
        for giving_back in [keep, retrying] {
            let batch = [send(80, "yes"), giving_back];
            let (_, writes) = apply_under(&[root(), wait(2)], &[], &batch);
            assert_eq!(writes.key_entries, [slot_entry(&[80], Some("yes"))]);
            assert!(writes.restore.is_empty());
            assert_eq!(writes.cascade.steps, [CascadeStep::Deliver { key: slot(), at: t(10) }]);
        }
    }

    #[test]
    fn what_is_given_back_goes_to_the_next_and_never_over_a_later_value() {
        let shelf = |rows: Vec<Row>, there| Shelf {
            key_entries: [(slot(), slot_entry(&[80], there))].into(),
            results: [(task(2), Ok(value("yes")))].into(),
            ..Shelf::of(rows)
        };
        for giving_back in [Next::Keep, Next::Retry { ready_at: t(20), failure: declined() }] {
            let mut keep = leased(&root(), giving_back);
            match keep.next() {
                Some(Next::Keep) => commit(&mut keep).cancel = vec![task(2)],
                _ => commit(&mut keep).erase = vec![task(2)],
            }
            let mut waited_for = shelf(vec![root(), taken(2, 1), wait(3)], None);
            waited_for.apply(std::slice::from_ref(&keep));
            assert_eq!(waited_for.results[&task(3)], Ok(value("yes")));
            assert_eq!(waited_for.key_entries[&slot()].value, None);

            let mut alone = shelf(vec![root(), taken(2, 1)], None);
            alone.apply(std::slice::from_ref(&keep));
            assert_eq!(alone.key_entries[&slot()].value, Some(value("yes")));

            let mut later = shelf(vec![root(), taken(2, 1)], Some("no"));
            later.apply(&[keep]);
            assert_eq!(later.key_entries[&slot()].value, Some(value("no")));
        }
    }

    #[test]
    fn a_kept_value_is_handed_out_when_that_is_followed_up() {
        let up = CascadeStep::Deliver { key: slot(), at: t(12) };
        let writes = follow(&[parked(1), wait(2)], &[slot_entry(&[80], Some("yes"))], up);
        assert_eq!((writes.row(task(2)).ended_at, writes.row(ROOT).ready_at), (Some(t(12)), Some(t(12))));
        assert!(follow(&[parked(1), wait(2)], &[slot_entry(&[80], None)], up).is_empty());
        assert!(follow(&[parked(1)], &[slot_entry(&[80], Some("yes"))], up).is_empty());
    }
}

mod joins {
    use super::*;

    fn joins() -> Key {
        Key::of_execution(ELSEWHERE.execution())
    }

    fn join(n: u128) -> NewTask {
        let state = NewTaskState::Join { execution: ELSEWHERE.execution() };
        NewTask { kind: StepKind::Join, ..keyed(joins(), new_step(n, state)) }
    }

    fn joining(n: u128) -> Row {
        let row = pending(task(n), Tree::step(EXECUTION, ROOT));
        let row = Row { status: TaskStatus::Waiting, kind: StepKind::Join, ready_at: None, ..row };
        Row { started_at: Some(t(1)), ..under(joins(), row) }
    }

    fn other() -> Row {
        running(ELSEWHERE, Tree::root(ELSEWHERE.execution()))
    }

    #[test]
    fn a_join_waits_for_an_execution_that_is_under_way() {
        let keep = keep_with(&root(), vec![join(2)]);
        assert!(
            Ledger::reads(std::slice::from_ref(&keep)).key_entries.is_empty(),
            "executions have no memos"
        );
        let (outcome, writes) = apply_one_under(&[root(), other()], &[], &keep);
        assert_eq!((outcome, writes.row(task(2)).status), (applied(0), TaskStatus::Waiting));
    }

    #[test]
    fn a_join_copies_what_has_ended_and_fails_unless_that_went_well() {
        for (ended, expected) in [
            (TaskStatus::Completed, TaskStatus::Completed),
            (TaskStatus::Failed, TaskStatus::Failed),
            (TaskStatus::Cancelled, TaskStatus::Failed),
        ] {
            let mut there = other();
            there.end(ended, t(5));
            let keep = keep_with(&root(), vec![join(2)]);

            let (outcome, writes) = apply_one_under(&[root(), there], &[], &keep);

            assert_eq!(outcome, applied(1));
            assert_eq!(writes.copy, [(task(2), ELSEWHERE)]);
            assert_eq!((writes.row(task(2)).status, writes.row(task(2)).done_order), (expected, Some(1)));
        }
    }

    #[test]
    fn a_join_of_nothing_fails_for_good() {
        let keep = keep_with(&root(), vec![join(2)]);
        let (outcome, writes) = apply_one_under(&[root()], &[], &keep);
        assert_eq!((outcome, writes.row(task(2)).status), (applied(1), TaskStatus::Failed));
        let Some(Written::Kept(Err(failure))) = &writes.inserted(2).result else { panic!("{writes:?}") };
        assert_eq!((failure.kind.as_str(), failure.fatal), (Failure::NOT_FOUND, true));
        assert!(failure.message.contains(&ELSEWHERE.to_string()), "{failure}");
    }

    #[test]
    fn who_joins_is_told_how_it_ended() {
        let rows = [parked(1), other(), joining(2), joining(3)];
        let expiring = Row { expires_at: Some(t(10)), ..other() };
        let expire = expire(&other());
        for (row, ending, status) in [
            (other(), complete(&other()), TaskStatus::Completed),
            (other(), fail(&other()), TaskStatus::Failed),
            (expiring, expire, TaskStatus::Failed),
        ] {
            let rows = [&rows[..1], &[row], &rows[2..]].concat();

            let (_, writes) = apply_one_under(&rows, &[], &ending);

            assert_eq!([2, 3].map(|n| writes.row(task(n)).status), [status; 2]);
            assert_eq!([2, 3].map(|n| writes.row(task(n)).done_order), [Some(1), Some(2)]);
            assert_eq!(writes.result(task(2)), writes.result(ELSEWHERE));
            assert_eq!(writes.row(ROOT).ready_at, Some(t(10)));
        }
    }

    #[test]
    fn who_joins_an_execution_that_had_the_result_of_another_is_told_too() {
        let mut there = other();
        there.end(TaskStatus::Completed, t(10));
        let up = CascadeStep::Joined { execution: ELSEWHERE.execution(), at: t(10) };

        let writes = follow(&[parked(1), there, joining(2)], &[], up);

        assert_eq!((writes.row(task(2)).status, writes.row(ROOT).done), (TaskStatus::Completed, 1));
        assert_eq!(writes.copy, [(task(2), ELSEWHERE)]);
        assert!(follow(&[parked(1), other(), joining(2)], &[], up).is_empty(), "it has not ended");
    }

    #[test]
    fn who_joins_an_execution_that_is_closed_is_told_that_it_was_cancelled() {
        let there = Row { status: TaskStatus::Waiting, marks: Marks::of(Mark::Cancel), ..other() };
        let up = CascadeStep::Close { root: ELSEWHERE, at: t(12) };
        let writes = follow(&[parked(1), there, joining(2)], &[], up);
        assert_eq!(writes.row(task(2)).status, TaskStatus::Failed);
        assert_eq!(writes.result(task(2)), Some(Written::Kept(Err(Failure::cancelled()))));
    }
}

mod spawns {
    use super::*;

    fn spawned() -> NewTask {
        let state = NewTaskState::Pending { ready_at: t(10) };
        NewTask { id: ELSEWHERE, ..new_task(0, Tree::root(ELSEWHERE.execution()), StepKind::Call, state) }
    }

    fn spawn(n: u128) -> Vec<NewTask> {
        vec![spawned(), NewTask { kind: StepKind::Spawn, ..inline(n) }]
    }

    #[test]
    fn an_execution_is_started_with_the_record_of_its_start() {
        let keep = keep_with(&root(), spawn(2));
        let (outcome, writes) = apply_one_under(&[root()], &[], &keep);
        assert_eq!(outcome, applied(1));
        assert_eq!(lacks_steps(&keep, &outcome), None, "the new root is no completion of this one");
        let there = writes.row(ELSEWHERE);
        assert_eq!((there.status, there.tree), (TaskStatus::Pending, Tree::root(ELSEWHERE.execution())));
        assert!(writes.ready && !writes.ended);
    }

    #[test]
    fn an_execution_that_is_there_is_not_started_again() {
        let keep = keep_with(&root(), spawn(2));
        let there = running(ELSEWHERE, Tree::root(ELSEWHERE.execution()));
        let (outcome, writes) = apply_one_under(&[root(), there], &[], &keep);
        assert_eq!((outcome, writes.ids()), (applied(1), vec![ROOT, task(2)]));
    }

    #[test]
    fn an_execution_that_is_spawned_and_joined_at_once_is_waited_for() {
        let joins = Key::of_execution(ELSEWHERE.execution());
        let state = NewTaskState::Join { execution: ELSEWHERE.execution() };
        let join = NewTask { kind: StepKind::Join, ..keyed(joins, new_step(3, state)) };
        let keep = keep_with(&root(), [spawn(2), vec![join]].concat());
        assert_eq!(apply_one_under(&[root()], &[], &keep).1.row(task(3)).status, TaskStatus::Waiting);
    }

    #[test]
    fn a_spawned_execution_whose_result_is_kept_has_it_at_once() {
        let mut keep = keep_with(&root(), spawn(2));
        keep.rows_mut()[0].keyed = Some(Keyed::new(key()));
        let (_, writes) = apply_one_under(&[root()], &[kept(9, "receipt")], &keep);
        assert_eq!((writes.row(ELSEWHERE).status, writes.ended), (TaskStatus::Completed, true));
    }

    #[test]
    fn what_a_function_that_is_stopped_has_started_is_there() {
        let stopping = Row { marks: Marks::of(Mark::Cancel), ..root() };
        let keep = keep_with(&stopping, spawn(2));
        let (_, writes) = apply_one_under(&[stopping], &[], &keep);
        assert_eq!(writes.ids(), [ROOT, task(2), ELSEWHERE], "its record tells of it");
    }
}
