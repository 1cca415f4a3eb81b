//! Rows and key entries in, exact writes out: tasks that share a key within a batch.

use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::WorkerId;
use crate::decide;
use crate::ledger::{Cascade, Writes};
use crate::model::{Lane, Nonce, Seq, TaskResult, Tree};
use crate::transition::{Action, Commit, Next, Outcome, Request, Transition};

// Given: executions 1, 2, …, whose roots run, and steps 10·n + … below them.

const fn task(n: u128) -> TaskId {
    TaskId::from_uuid(Uuid::from_u128(n))
}

const fn t(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn text(text: &str) -> Payload {
    Payload::new("text/plain", text.into())
}

fn declined() -> Failure {
    Failure::new("Declined", "no funds")
}

fn key() -> Key {
    Key::of_user("charge", None, "k")
}

fn slot(root: u128) -> Key {
    Key::of_signal(task(root).execution(), "approval")
}

fn running(row: Row) -> Row {
    let mut row = Row { ready_at: Some(t(0)), ..row };
    row.claim(WorkerId::from_uuid(Uuid::from_u128(7)), Nonce::NONE, t(1), t(31), None);
    row
}

fn root(n: u128) -> Row {
    running(Row::new(task(n), Tree::root(task(n).execution()), StepKind::Call))
}

fn step(n: u128, root: u128, kind: StepKind) -> Row {
    Row::new(task(n), Tree::step(task(root).execution(), task(root)), kind)
}

/// A call that waits for its key's holder.
fn waiting(n: u128, root: u128) -> Row {
    Row { status: TaskStatus::Waiting, key: Some(key()), ..step(n, root, StepKind::Call) }
}

fn awaiting_signal(n: u128, root: u128) -> Row {
    Row { status: TaskStatus::Waiting, key: Some(slot(root)), ..step(n, root, StepKind::Signal) }
}

/// A wait that took its value at this moment.
fn taken(n: u128, root: u128, at: i64, order: u32) -> Row {
    let mut row = Row { done_order: Some(order), ..awaiting_signal(n, root) };
    row.end(TaskStatus::Completed, t(at));
    row
}

fn holding(n: u128, root: u128) -> Row {
    running(Row { key: Some(key()), ..step(n, root, StepKind::Call) })
}

fn held_by(holder: TaskId, root: u128) -> KeyEntry {
    let key_entry = KeyEntry::new(key(), KeyEntryKind::Result, task(root).execution(), "charge".to_owned());
    KeyEntry { holder: Some(holder), ..key_entry }
}

fn signal_entry(root: u128, value: Option<&str>) -> KeyEntry {
    let key_entry =
        KeyEntry::new(slot(root), KeyEntryKind::Signal, task(root).execution(), "approval".to_owned());
    KeyEntry { value: value.map(text), ..key_entry }
}

fn new_step(n: u128, root: u128, kind: StepKind, state: NewTaskState, key: Key) -> NewTask {
    NewTask {
        id: task(n),
        tree: Tree::step(task(root).execution(), task(root)),
        seq: Seq(3),
        kind,
        lane: Lane::new("default", "charge"),
        priority: 0,
        args: Payload::empty(),
        retry: None,
        attempts: 0,
        failure: None,
        keyed: Some(Keyed::new(key)),
        expires_at: None,
        trace: None,
        digest: None,
        state,
    }
}

fn new_call(n: u128, root: u128) -> NewTask {
    new_step(n, root, StepKind::Call, NewTaskState::Pending { ready_at: t(50) }, key())
}

// When: the transitions.

fn leased(row: &Row, next: Next) -> Commit {
    Commit::new(row.fence(), row.tree, row.key, t(10), next)
}

fn end(row: &Row, result: TaskResult) -> Transition {
    leased(row, Next::End(result)).into()
}

fn keep(row: &Row, insert: NewTask) -> Transition {
    Commit { insert: vec![insert], ..leased(row, Next::Keep) }.into()
}

fn retry_without(row: &Row, erase: &[u128]) -> Transition {
    let next = Next::Retry { ready_at: t(20), failure: declined() };
    Commit { erase: erase.iter().map(|step| task(*step)).collect(), ..leased(row, next) }.into()
}

fn apply<'a>(ledger: &mut Ledger<'a>, batch: &'a [Transition]) {
    for transition in batch {
        assert!(ledger.can_apply(transition), "{transition:?} needs a ledger of its own");
        assert!(matches!(ledger.apply(transition), Outcome::Applied(_)), "{transition:?} was refused");
    }
}

fn written<'a>(rows: &[Row], key_entries: &[KeyEntry], batch: &'a [Transition]) -> Writes<'a> {
    let mut ledger = Ledger::new(rows.to_vec(), key_entries.to_vec());
    apply(&mut ledger, batch);
    ledger.into_writes().expect("rows that belong together")
}

fn followed(rows: &[Row], key_entries: &[KeyEntry], up: CascadeStep) -> Writes<'static> {
    let mut ledger = Ledger::new(rows.to_vec(), key_entries.to_vec());
    ledger.cascade(&up);
    ledger.into_writes().expect("rows that belong together")
}

fn row(writes: &Writes<'_>, n: u128) -> Row {
    let inserted = writes.insert.iter().map(|insert| &insert.row);
    let mut rows = inserted.chain(writes.update.iter().map(|update| &update.row));
    rows.find(|row| row.id == task(n)).unwrap_or_else(|| panic!("task {n} is not written")).clone()
}

fn result(writes: &Writes<'_>, n: u128) -> Option<TaskResult> {
    let inserted = writes.insert.iter().map(|insert| (insert.row.id, &insert.result));
    let mut all = inserted.chain(writes.update.iter().map(|update| (update.row.id, &update.result)));
    let written = all.find(|(id, _)| *id == task(n))?.1.as_ref()?;
    Some(written.as_result().cloned().map_err(Clone::clone))
}

// Reads.

#[test]
fn the_end_of_a_keyed_step_reads_its_parent_and_its_key() {
    let reads = Ledger::reads(&[end(&holding(10, 1), Ok(text("x")))]);

    assert_eq!(reads.tasks, [task(1), task(10)].into());
    assert_eq!(reads.keys, [key()].into());
    assert_eq!(reads.key_entries, [key()].into());
}

#[test]
fn the_end_of_a_root_reads_who_waits_for_its_execution() {
    let reads = Ledger::reads(&[end(&root(1), Ok(text("x")))]);

    assert_eq!(reads.keys, [Key::of_execution(task(1).execution())].into());
    assert!(reads.key_entries.is_empty(), "there is no memo under the key of an execution");
}

#[test]
fn a_turn_that_goes_on_reads_no_key_of_its_own() {
    assert!(Ledger::reads(&[leased(&holding(10, 1), Next::Keep).into()]).keys.is_empty());
}

#[test]
fn a_join_reads_the_root_that_it_waits_for() {
    let execution = task(2).execution();
    let join =
        new_step(10, 1, StepKind::Join, NewTaskState::Join { execution }, Key::of_execution(execution));

    let reads = Ledger::reads(&[keep(&root(1), join)]);

    assert_eq!(reads.tasks, [task(1), task(2)].into());
    assert_eq!(reads.keys, [Key::of_execution(execution)].into());
}

// Calls.

#[test]
fn the_first_call_holds_the_key_and_the_second_waits() {
    let (one, two) = (root(1), root(2));
    let batch = [keep(&one, new_call(10, 1)), keep(&two, new_call(20, 2))];

    let writes = written(&[one, two], &[], &batch);

    assert_eq!(writes.key_entries, [held_by(task(10), 1)]);
    assert_eq!(row(&writes, 10).status, TaskStatus::Pending);
    assert_eq!((row(&writes, 20).status, row(&writes, 20).ready_at), (TaskStatus::Waiting, None));
}

#[test]
fn a_result_ends_those_who_wait_and_is_kept_for_its_time() {
    let key_entry = KeyEntry { ttl: Some(Duration::from_secs(5)), ..held_by(task(10), 1) };
    let rows = [root(1), root(2), holding(10, 1), waiting(20, 2)];
    let batch = [end(&rows[2], Ok(text("receipt")))];

    let writes = written(&rows, &[key_entry], &batch);

    let key_entry = &writes.key_entries[0];
    assert_eq!(
        (key_entry.value.clone(), key_entry.ended_at, key_entry.expires_at),
        (Some(text("receipt")), Some(t(10)), Some(t(15)))
    );
    let hit = row(&writes, 20);
    assert_eq!(
        (hit.status, hit.marks, hit.done_order),
        (TaskStatus::Completed, Marks::of(Mark::Hit), Some(1))
    );
    assert_eq!(result(&writes, 20), Some(Ok(text("receipt"))));
    assert_eq!(row(&writes, 2).done, 1);
}

#[test]
fn a_hit_is_a_completion_of_the_turn_that_asks() {
    let key_entry = KeyEntry { value: Some(text("")), ended_at: Some(t(2)), ..held_by(task(90), 9) };
    let rows = [root(1)];
    let batch = [keep(&rows[0], new_call(10, 1))];

    let writes = written(&rows, &[key_entry], &batch);

    assert_eq!((row(&writes, 10).marks, row(&writes, 10).done_order), (Marks::of(Mark::Hit), Some(1)));
    assert_eq!(result(&writes, 10), Some(Ok(text(""))));
    assert!(writes.key_entries.is_empty());
}

#[test]
fn one_who_left_the_record_in_the_same_batch_is_passed_over() {
    let rows = [root(1), root(2), root(3), holding(10, 1), waiting(20, 2), waiting(30, 3)];
    let batch = [retry_without(&rows[1], &[20]), end(&rows[3], Err(declined()))];

    let writes = written(&rows, &[held_by(task(10), 1)], &batch);

    assert_eq!(writes.key_entries, [held_by(task(30), 3)]);
    assert_eq!(row(&writes, 30).status, TaskStatus::Pending);
    assert_eq!(writes.erase, [task(20)]);
}

#[test]
fn a_key_that_nobody_wants_any_more_is_forgotten() {
    let rows = [root(1), root(2), holding(10, 1), waiting(20, 2)];
    let batch = [retry_without(&rows[1], &[20]), end(&rows[2], Err(declined()))];

    let writes = written(&rows, &[held_by(task(10), 1)], &batch);

    assert_eq!((writes.key_entries, writes.forget), (Vec::new(), vec![key()]));
}

#[test]
fn what_may_have_ended_out_of_sight_is_looked_for_before_its_key_is_touched() {
    // The holder may be below the step that is given up: only the store knows.
    let rows = [root(1), root(2), running(step(11, 1, StepKind::Call))];
    let giving_up = Commit { cancel: vec![task(11)], ..leased(&rows[0], Next::Keep) }.into();
    let asking = keep(&rows[1], new_call(20, 2));
    let mut ledger = Ledger::new(rows.to_vec(), [held_by(task(12), 1)]);

    ledger.apply(&giving_up);

    assert!(!ledger.can_apply(&asking));
    assert!(ledger.can_apply(&end(&rows[1], Ok(text("of another execution")))));
    let Cascade { executions, steps: ups } = ledger.into_writes().expect("rows that belong together").cascade;
    assert_eq!((executions.len(), ups), (1, Vec::new()));
}

#[test]
fn a_vacant_key_goes_to_the_oldest_who_waits() {
    let writes = followed(
        &[root(2), root(3), waiting(30, 3), waiting(20, 2)],
        &[held_by(task(10), 1)],
        CascadeStep::Vacate { key: key(), at: t(10) },
    );

    assert_eq!(writes.key_entries, [held_by(task(20), 2)]);
    assert_eq!((row(&writes, 20).status, row(&writes, 20).ready_at), (TaskStatus::Pending, Some(t(10))));
    assert!(writes.ready && writes.update.len() == 1);
}

#[test]
fn a_key_with_a_value_is_not_vacant() {
    let key_entry = KeyEntry { value: Some(text("x")), ..held_by(task(10), 1) };

    let writes = followed(&[], &[key_entry], CascadeStep::Vacate { key: key(), at: t(10) });

    assert!(writes.is_empty());
}

// Signals.

#[test]
fn only_the_last_sends_are_remembered() {
    let root = root(1);
    let batch: Vec<_> = (100..100 + SIGNAL_SENDS_KEPT as u128 + 1)
        .map(|send| decide::signal(task(1).execution(), "approval", task(send), text("x"), t(10)))
        .collect();

    let writes = written(&[root], &[], &batch);

    let sends = &writes.key_entries[0].sends;
    assert_eq!((sends.len(), sends.first()), (SIGNAL_SENDS_KEPT, Some(&task(101))));
}

#[test]
fn what_was_taken_and_left_the_record_in_one_batch_is_in_its_slot_again() {
    let root = root(1);
    let wait = new_step(10, 1, StepKind::Signal, NewTaskState::Signal, slot(1));
    let later = Row { commit: 1, commit_epoch: root.epoch, ..root.clone() };
    let (name, value) = ("approval".to_owned(), text("yes"));
    let action = Action::Signal { key: slot(1), name, id: task(90), value };
    let send: Transition = Request { execution: task(1).execution(), at: t(10), action }.into();
    let batch = [keep(&root, wait), send, retry_without(&later, &[10])];

    let writes = written(&[root], &[signal_entry(1, None)], &batch);

    let there = signal_entry(1, Some("yes"));
    assert_eq!(writes.key_entries, [KeyEntry { sends: vec![task(90)], ended_at: Some(t(10)), ..there }]);
    assert!(writes.insert.is_empty() && writes.restore.is_empty());
    assert_eq!(writes.cascade.steps, [CascadeStep::Deliver { key: slot(1), at: t(10) }]);
}

#[test]
fn what_hangs_below_an_erased_task_is_told_nothing_in_the_same_batch() {
    // The holder of a key ends, and erases the map whose item waits under that key.
    let execution = task(1).execution();
    let holder = Row { key: Some(key()), ..root(1) };
    let map = Row { status: TaskStatus::Waiting, ..step(10, 1, StepKind::Gather) };
    let item = Row { tree: Tree::item(execution, map.id, holder.id), ..waiting(11, 1) };
    let rows = [holder, map, item];
    let end = Commit { erase: vec![task(10)], ..leased(&rows[0], Next::End(Ok(text("yes")))) };

    let batch = [end.into()];
    let writes = written(&rows, &[held_by(task(1), 1)], &batch);

    assert_eq!(writes.update.iter().map(|update| update.row.id).collect::<Vec<_>>(), [task(1)]);
}

#[test]
fn what_news_are_to_tell_is_not_erased_before_they_are_told() {
    // The wait has its value at once, and the store reads this value for the news. Task 20 erases a step that
    // may be above the wait.
    let (root, other) = (root(1), running(step(20, 1, StepKind::Call)));
    let wait = new_step(10, 1, StepKind::Signal, NewTaskState::Signal, slot(1));
    let later = Row { commit: 1, commit_epoch: root.epoch, ..root.clone() };
    let batch = [keep(&root, wait), retry_without(&later, &[10]), retry_without(&other, &[30])];
    let mut ledger = Ledger::new([root, other], [signal_entry(1, Some("yes"))]);
    assert!(ledger.can_apply(&batch[2]));

    ledger.apply(&batch[0]);

    assert!(!ledger.can_apply(&batch[1]) && !ledger.can_apply(&batch[2]));
}

#[test]
fn the_signal_that_was_taken_last_goes_back_first() {
    let rows = [root(1), taken(10, 1, 4, 1), taken(11, 1, 5, 2), taken(12, 1, 5, 3)];
    let cancel = [11, 12, 10].map(task).to_vec();
    let batch = [Commit { cancel, ..leased(&rows[0], Next::Keep) }.into()];

    let writes = written(&rows, &[], &batch);

    assert_eq!(writes.restore, [task(12), task(11), task(10)]);
    assert_eq!(row(&writes, 11).marks, Marks::of(Mark::Cancel));
}

#[test]
fn a_wait_that_left_the_record_takes_no_value_along() {
    let rows = [root(1), root(2), awaiting_signal(10, 1), awaiting_signal(11, 1)];
    let batch = [retry_without(&rows[0], &[10])];
    let mut ledger = Ledger::new(rows.to_vec(), [signal_entry(1, None)]);
    apply(&mut ledger, &batch);

    // A store runs the cascade first; here the ledger is asked as if it had not.
    ledger.key_entries.put(signal_entry(1, Some("yes")));
    ledger.cascade(&CascadeStep::Deliver { key: slot(1), at: t(10) });

    let writes = ledger.into_writes().expect("rows that belong together");
    assert_eq!(result(&writes, 11), Some(Ok(text("yes"))));
}

// Executions.

#[test]
fn a_join_of_one_that_has_ended_copies_its_result() {
    let mut ended = root(2);
    ended.end(TaskStatus::Completed, t(5));
    let execution = task(2).execution();
    let join =
        new_step(10, 1, StepKind::Join, NewTaskState::Join { execution }, Key::of_execution(execution));
    let rows = [root(1), ended];
    let batch = [keep(&rows[0], join)];

    let writes = written(&rows, &[], &batch);

    assert_eq!(writes.copy, [(task(10), task(2))]);
    assert_eq!((row(&writes, 10).status, row(&writes, 10).done_order), (TaskStatus::Completed, Some(1)));
}

#[test]
fn closing_ends_a_root_that_was_asked_to_end_and_tells_who_waits() {
    let stopping =
        Row { status: TaskStatus::Waiting, worker: None, marks: Marks::of(Mark::Cancel), ..root(1) };
    let join = Row {
        status: TaskStatus::Waiting,
        key: Some(Key::of_execution(task(1).execution())),
        ..step(20, 2, StepKind::Join)
    };

    let writes = followed(&[stopping, root(2), join], &[], CascadeStep::Close { root: task(1), at: t(10) });

    assert_eq!((row(&writes, 1).status, row(&writes, 1).ended_at), (TaskStatus::Cancelled, Some(t(10))));
    assert_eq!(result(&writes, 20), Some(Err(Failure::cancelled())));
    assert_eq!(row(&writes, 2).done, 1);
    assert!(writes.ended);
}

#[test]
fn closing_leaves_a_root_alone_that_was_not_asked_to_end() {
    let writes = followed(&[root(1)], &[], CascadeStep::Close { root: task(1), at: t(10) });

    assert!(writes.is_empty());
}
