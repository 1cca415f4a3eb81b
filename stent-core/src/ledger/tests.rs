//! Transitions in, exact outcomes and rows out.
//!
//! Each test loads a ledger with nothing but the rows and key entries that [`Ledger::reads`] names, as a store does.
//!
//! | File | Holds |
//! |---|---|
//! | `tests.rs` | writes of leaseholders |
//! | `tests/keys.rs` | key entries, signals, joins, spawns |
//! | `tests/played.rs` | batches that are played over what was read |
//! | `tests/requests.rs` | cancellation, expiry, dead letters; ended claims, notes, slots |
//! | `tests/shelf.rs` | a store in a few lines, and random batches |

mod crowd;
mod keys;
mod played;
mod requests;
mod shelf;

use uuid::Uuid;

use super::*;
use crate::model::{
    KeyEntryKind, Keyed, Lane, Marks, Nonce, Note, RetryPolicy, Seq, TaskResult, Threshold, Wait,
};
use crate::{ExecutionId, Payload, WorkerId};

// Given: one execution and its rows. The root is task 1; each test says where the other tasks are in the tree.

const ROOT: TaskId = task(1);
const EXECUTION: ExecutionId = ROOT.execution();

const fn task(n: u128) -> TaskId {
    TaskId::from_uuid(Uuid::from_u128(n))
}

const fn t(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

const fn worker(n: u128) -> WorkerId {
    WorkerId::from_uuid(Uuid::from_u128(n))
}

fn ok(text: &str) -> TaskResult {
    Ok(Payload::new("text/plain", text.into()))
}

fn declined() -> Failure {
    Failure::new("Declined", "no funds")
}

fn pending(id: TaskId, tree: Tree) -> Row {
    Row { ready_at: Some(t(0)), ..Row::new(id, tree, StepKind::Call) }
}

fn running(id: TaskId, tree: Tree) -> Row {
    let mut row = pending(id, tree);
    row.claim(worker(7), Nonce::NONE, t(1), t(31), None);
    row
}

fn root() -> Row {
    running(ROOT, Tree::root(EXECUTION))
}

fn step(n: u128) -> Row {
    running(task(n), Tree::step(EXECUTION, ROOT))
}

/// A root that was claimed once and waits until this many steps have ended.
fn parked(wake_at: u32) -> Row {
    Row {
        status: TaskStatus::Waiting,
        uncommitted_claims: 0,
        commit: 1,
        commit_epoch: Epoch::plain(1),
        ready_at: None,
        worker: None,
        wake_threshold: Some(wake_at),
        ..root()
    }
}

fn sleep(n: u128, due: Timestamp) -> Row {
    let row = pending(task(n), Tree::step(EXECUTION, ROOT));
    Row {
        kind: StepKind::Sleep,
        status: TaskStatus::Waiting,
        ready_at: Some(due),
        started_at: Some(t(1)),
        ..row
    }
}

fn map(n: u128, done: u32, fed: u32, total: Option<u32>) -> Row {
    let row = pending(task(n), Tree::step(EXECUTION, ROOT));
    Row {
        kind: StepKind::Map,
        status: TaskStatus::Waiting,
        ready_at: None,
        started_at: Some(t(1)),
        done,
        fed,
        total,
        ..row
    }
}

fn item(n: u128, map: u128) -> Row {
    running(task(n), Tree::item(EXECUTION, task(map), ROOT))
}

fn completed(row: Row, order: Option<u32>) -> Row {
    let mut row = Row { done_order: order, ..row };
    row.end(TaskStatus::Completed, t(2));
    row
}

// When: the transitions.

fn leased(row: &Row, next: Next) -> Transition {
    Commit::new(row.fence(), row.tree, row.key, t(10), next).into()
}

/// A leaseholder's commit, to be filled in.
fn commit(transition: &mut Transition) -> &mut Commit {
    transition.commit_mut().expect("a leaseholder's")
}

fn request(execution: ExecutionId, action: Action) -> Transition {
    Request { execution, at: t(10), action }.into()
}

fn expire(row: &Row) -> Transition {
    Expire { task: row.id, tree: row.tree, key: row.key, at: t(10), failure: declined() }.into()
}

fn park(row: &Row, wait: Wait) -> Transition {
    leased(row, Next::Park(wait))
}

fn complete(row: &Row) -> Transition {
    leased(row, Next::End(ok("done")))
}

fn fail(row: &Row) -> Transition {
    leased(row, Next::End(Err(declined())))
}

fn retry(row: &Row) -> Transition {
    leased(row, Next::Retry { ready_at: t(20), failure: declined() })
}

fn unpark(row: &Row) -> Transition {
    Unpark { task: row.id, epoch: row.epoch, at: t(10) }.into()
}

fn new_task(n: u128, tree: Tree, kind: StepKind, state: NewTaskState) -> NewTask {
    NewTask {
        id: task(n),
        tree,
        seq: Seq(u32::try_from(n).expect("a small number")),
        kind,
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
        state,
    }
}

fn new_step(n: u128, state: NewTaskState) -> NewTask {
    new_task(n, Tree::step(EXECUTION, ROOT), StepKind::Call, state)
}

fn inline(n: u128) -> NewTask {
    let state = NewTaskState::Done { started_at: t(9), result: ok("inline") };
    new_task(n, Tree::step(EXECUTION, ROOT), StepKind::Inline, state)
}

fn start(state: NewTaskState) -> Transition {
    let root = new_task(1, Tree::root(EXECUTION), StepKind::Call, state);
    Dispatch { root, key: None, at: t(10) }.into()
}

// Then: outcomes and writes.

/// The part of these rows and key entries that a store loads: tasks by id; for each key its key entry, the open tasks
/// that have the key, and the tasks above them.
fn load<'a>(rows: &[Row], key_entries: &[KeyEntry], reads: &Reads) -> Ledger<'a> {
    let mut tasks = reads.tasks.clone();
    for row in rows.iter().filter(|row| !row.status.is_terminal()) {
        if row.key.is_some_and(|key| reads.keys.contains(&key)) {
            tasks.insert(row.id);
            tasks.extend(row.tree.ancestors());
        }
    }
    let rows = rows.iter().filter(|row| tasks.contains(&row.id)).cloned();
    Ledger::new(
        rows,
        key_entries.iter().filter(|key_entry| reads.key_entries.contains(&key_entry.key)).cloned(),
    )
}

fn apply<'a>(rows: &[Row], batch: &'a [Transition]) -> (Vec<Outcome>, Writes<'a>) {
    apply_under(rows, &[], batch)
}

fn apply_under<'a>(
    rows: &[Row],
    key_entries: &[KeyEntry],
    batch: &'a [Transition],
) -> (Vec<Outcome>, Writes<'a>) {
    let mut ledger = load(rows, key_entries, &Ledger::reads(batch));
    let outcomes = batch
        .iter()
        .map(|transition| {
            assert!(ledger.can_apply(transition), "the ledger wants to be written before {transition:?}");
            ledger.apply(transition)
        })
        .collect();
    (outcomes, ledger.into_writes().expect("rows that belong together"))
}

fn apply_one<'a>(rows: &[Row], transition: &'a Transition) -> (Outcome, Writes<'a>) {
    let (mut outcomes, writes) = apply(rows, std::slice::from_ref(transition));
    (outcomes.remove(0), writes)
}

fn applied(done: u32) -> Outcome {
    Outcome::Applied(News { done, ..News::default() })
}

fn already(done: u32) -> Outcome {
    Outcome::Already(News { done, ..News::default() })
}

impl Writes<'_> {
    #[track_caller]
    fn row(&self, id: TaskId) -> &Row {
        let updated = self.update.iter().map(|update| &update.row);
        let mut rows = updated.chain(self.insert.iter().map(|insert| &insert.row));
        rows.find(|row| row.id == id).unwrap_or_else(|| panic!("{id} is not written"))
    }

    fn ids(&self) -> Vec<TaskId> {
        let updated = self.update.iter().map(|update| update.row.id);
        updated.chain(self.insert.iter().map(|insert| insert.row.id)).collect()
    }

    #[track_caller]
    fn result(&self, id: TaskId) -> Option<Written<'_>> {
        self.update.iter().find(|update| update.row.id == id).expect("is updated").result.clone()
    }
}

/// The row after a leaseholder's write, apart from the change itself.
fn committed(row: Row) -> Row {
    Row { commit: row.commit + 1, commit_epoch: row.epoch, ..row }
}

mod starting {
    use super::*;

    #[test]
    fn a_dispatch_inserts_a_pending_root() {
        let start = start(NewTaskState::Pending { ready_at: t(15) });

        let (outcome, writes) = apply_one(&[], &start);

        assert_eq!(outcome, applied(0));
        assert!(writes.update.is_empty() && writes.ready && !writes.ended);
        let expected = Row { ready_at: Some(t(15)), ..pending(ROOT, Tree::root(EXECUTION)) };
        assert_eq!(
            writes.insert,
            [Insert { task: &start.rows()[0], row: expected, created_at: t(10), result: None }]
        );
    }

    #[test]
    fn a_repeated_dispatch_writes_nothing_wherever_the_task_stands() {
        let start = start(NewTaskState::Pending { ready_at: t(15) });

        for there in [root(), parked(1), completed(root(), None)] {
            let (outcome, writes) = apply_one(&[there], &start);
            assert_eq!(outcome, already(0));
            assert!(writes.is_empty() && !writes.ready);
        }
    }

    #[test]
    fn a_dispatch_that_stands_in_a_batch_twice_inserts_once() {
        let start = start(NewTaskState::Pending { ready_at: t(15) });
        let batch = [start.clone(), start];

        let (outcomes, writes) = apply(&[], &batch);

        assert_eq!(outcomes, [applied(0), already(0)]);
        assert_eq!(writes.insert.len(), 1);
    }

    #[test]
    fn a_leased_root_begins_with_its_first_claim() {
        let start = start(NewTaskState::Leased {
            started_at: t(9),
            worker: worker(7),
            nonce: Nonce::NONE,
            until: t(40),
        });

        let (_, writes) = apply_one(&[], &start);

        let row = writes.row(ROOT);
        assert_eq!(
            (row.status, row.epoch, row.uncommitted_claims),
            (TaskStatus::Running, Epoch::plain(1), 1)
        );
        assert_eq!((row.worker, row.ready_at, row.started_at), (Some(worker(7)), Some(t(40)), Some(t(9))));
        assert!(!writes.ready);
    }

    #[test]
    fn a_root_that_is_written_ended_tells_that_an_execution_has_ended() {
        let start = start(NewTaskState::Done { started_at: t(9), result: ok("cached") });

        let (_, writes) = apply_one(&[], &start);

        assert!(writes.ended && !writes.ready);
        assert_eq!(writes.row(ROOT).status, TaskStatus::Completed);
        assert_eq!(writes.row(ROOT).done_order, None);
    }
}

mod fence {
    use super::*;

    fn changes(row: &Row) -> Vec<Transition> {
        vec![
            leased(row, Next::Keep),
            park(row, Wait::for_next(0)),
            retry(row),
            complete(row),
            fail(row),
            leased(row, Next::Release),
        ]
    }

    #[test]
    fn every_change_of_a_stale_epoch_is_fenced() {
        let stale = root();
        let mut now = stale.clone();
        now.claim(worker(8), Nonce::NONE, t(31), t(61), None);

        for transition in changes(&stale) {
            let (outcome, writes) = apply_one(&[now.clone()], &transition);
            assert_eq!(outcome, Outcome::Fenced, "{:?}", transition.next());
            assert!(writes.is_empty() && !writes.ready && !writes.ended);
        }
    }

    #[test]
    fn every_change_of_a_parked_task_under_its_last_lease_is_fenced() {
        let there = parked(1);
        for transition in changes(&there) {
            assert_eq!(
                apply_one(std::slice::from_ref(&there), &transition).0,
                Outcome::Fenced,
                "{:?}",
                transition.next()
            );
        }
    }

    #[test]
    fn a_count_from_the_future_is_fenced() {
        let mut ahead = root();
        ahead.commit = 5;
        assert_eq!(apply_one(&[root()], &complete(&ahead)).0, Outcome::Fenced);
    }

    #[test]
    fn every_change_of_an_ended_task_is_gone() {
        let there = Row { commit: 4, ..completed(root(), None) };
        for transition in changes(&there) {
            let (outcome, writes) = apply_one(std::slice::from_ref(&there), &transition);
            assert_eq!(outcome, Outcome::Gone, "{:?}", transition.next());
            assert!(writes.is_empty());
        }
    }

    #[test]
    fn every_change_of_an_absent_task_is_gone() {
        for transition in changes(&root()) {
            assert_eq!(apply_one(&[], &transition).0, Outcome::Gone);
        }
    }

    #[test]
    fn every_change_sent_twice_is_already_there() {
        for transition in changes(&root()) {
            let batch = [transition.clone(), transition];
            let (once, expected) = apply(&[root()], &batch[..1]);
            let (twice, writes) = apply(&[root()], &batch);
            assert_eq!(twice, [once[0].clone(), already(0)], "{:?}", batch[0].next());
            assert_eq!(writes.update, expected.update);
        }
    }

    #[test]
    fn the_writes_of_a_lease_sent_again_together_are_all_already_there() {
        let first = leased(&root(), Next::Keep);
        let second = complete(&committed(root()));
        let batch = [first, second];

        let (outcomes, writes) = apply(&[root()], &batch);
        let there = writes.row(ROOT).clone();
        let (again, nothing) = apply(&[there], &batch);

        assert_eq!(outcomes, [applied(0), applied(0)]);
        assert_eq!(again, [already(0), already(0)]);
        assert!(nothing.is_empty());
    }

    #[test]
    fn a_write_is_known_again_after_a_later_claim_and_not_after_a_later_write() {
        let write = park(&root(), Wait::for_next(0));
        let mut later = committed(root());
        later.claim(worker(8), Nonce::NONE, t(31), t(61), None);

        assert_eq!(apply_one(&[later.clone()], &write).0, already(0));
        assert_eq!(apply_one(&[committed(later)], &write).0, Outcome::Fenced);
    }

    #[test]
    fn a_lease_that_ran_out_still_writes_until_somebody_else_claims() {
        let late = complete(&root()).decided_at(t(1_000));
        assert_eq!(apply_one(&[root()], &late).0, applied(0));
    }
}

mod changing {
    use super::*;

    #[test]
    fn keep_counts_the_commit_and_forgets_the_tries() {
        let there = Row { uncommitted_claims: 4, ..root() };
        let keep = leased(&there, Next::Keep);
        let (outcome, writes) = apply_one(std::slice::from_ref(&there), &keep);
        assert_eq!(outcome, applied(0));
        assert_eq!(
            writes.update,
            [Update {
                row: Row { uncommitted_claims: 0, ..committed(there) },
                result: None,
                retry: None,
                queue: None
            }]
        );
    }

    #[test]
    fn park_gives_the_lease_back_and_keeps_the_wait() {
        let parking = park(&root(), Wait::for_next(0).until(Some(t(50))));
        let (outcome, writes) = apply_one(&[root()], &parking);
        assert_eq!(outcome, applied(0));
        let expected = Row {
            status: TaskStatus::Waiting,
            uncommitted_claims: 0,
            worker: None,
            wake_threshold: Some(1),
            ready_at: Some(t(50)),
            ..committed(root())
        };
        assert_eq!(writes.update, [Update { row: expected, result: None, retry: None, queue: None }]);
    }

    #[test]
    fn park_on_what_has_happened_is_ready_at_once() {
        let there = Row { done: 2, ..root() };
        let parking = park(&there, Wait::for_next(1));
        let (_, writes) = apply_one(std::slice::from_ref(&there), &parking);
        assert_eq!(writes.row(ROOT).ready_at, Some(t(10)));
        assert!(writes.ready);
    }

    #[test]
    fn park_counts_the_completions_that_it_brings() {
        let mut parking = park(&root(), Wait::for_next(0));
        commit(&mut parking).insert.push(inline(2));
        let (outcome, writes) = apply_one(&[root()], &parking);
        assert_eq!(outcome, applied(1));
        assert_eq!(writes.row(ROOT).ready_at, Some(t(10)));
    }

    #[test]
    fn retry_keeps_the_failure_and_counts_the_attempt() {
        let there = Row { uncommitted_claims: 2, attempts: 1, ..root() };
        let retrying = retry(&there);
        let (outcome, writes) = apply_one(std::slice::from_ref(&there), &retrying);
        assert_eq!(outcome, applied(0));
        let expected = Row {
            status: TaskStatus::Pending,
            uncommitted_claims: 0,
            attempts: 2,
            worker: None,
            ready_at: Some(t(20)),
            ..committed(there)
        };
        assert_eq!(*writes.row(ROOT), expected);
        assert_eq!(writes.result(ROOT), Some(Written::Failure(&declined())));
        assert!(writes.ready && !writes.ended);
    }

    #[test]
    fn release_gives_the_try_back_and_counts_no_attempt() {
        let there = Row { uncommitted_claims: 3, attempts: 1, ..root() };
        let release = leased(&there, Next::Release);
        let (_, writes) = apply_one(std::slice::from_ref(&there), &release);
        let expected = Row {
            status: TaskStatus::Pending,
            uncommitted_claims: 2,
            releases: 1,
            worker: None,
            ready_at: Some(t(10)),
            ..committed(there)
        };
        assert_eq!(writes.update, [Update { row: expected, result: None, retry: None, queue: None }]);
    }

    #[test]
    fn end_of_a_root_ends_the_execution() {
        for (ending, status) in
            [(complete(&root()), TaskStatus::Completed), (fail(&root()), TaskStatus::Failed)]
        {
            let (outcome, writes) = apply_one(&[root()], &ending);
            assert_eq!(outcome, applied(0));
            let Some(Next::End(result)) = ending.next() else { unreachable!("it is an end") };
            let expected =
                Row { status, worker: None, ready_at: None, ended_at: Some(t(10)), ..committed(root()) };
            assert_eq!(
                writes.update,
                [Update { row: expected, result: Some(Written::Result(result)), retry: None, queue: None }]
            );
            assert!(writes.ended);
        }
    }
}

mod completing {
    use super::*;

    #[test]
    fn a_step_that_ends_takes_the_next_number_and_wakes_who_waits_for_it() {
        let rows = [Row { done: 4, ..parked(5) }, step(2)];
        let ending = complete(&rows[1]);

        let (_, writes) = apply_one(&rows, &ending);

        assert_eq!(writes.row(task(2)).done_order, Some(5));
        assert_eq!(*writes.row(ROOT), Row { done: 5, ready_at: Some(t(10)), ..rows[0].clone() });
        assert!(writes.ready && !writes.ended);
    }

    #[test]
    fn a_step_below_the_threshold_wakes_nobody() {
        let rows = [parked(2), step(2)];
        let ending = complete(&rows[1]);
        let (_, writes) = apply_one(&rows, &ending);
        assert_eq!(writes.row(ROOT).ready_at, None);
        assert!(!writes.ready);
    }

    #[test]
    fn a_completion_does_not_postpone_a_moment_that_comes_first() {
        let rows = [Row { ready_at: Some(t(5)), ..parked(1) }, step(2)];
        let ending = complete(&rows[1]);
        assert_eq!(apply_one(&rows, &ending).1.row(ROOT).ready_at, Some(t(5)));
    }

    #[test]
    fn a_completion_leaves_the_lease_of_a_running_parent_alone() {
        let rows = [root(), step(2)];
        let ending = complete(&rows[1]);
        let (_, writes) = apply_one(&rows, &ending);
        assert_eq!(*writes.row(ROOT), Row { done: 1, ..root() });
        assert!(writes.ready, "its holder is to look");
    }

    #[test]
    fn a_step_whose_parent_has_ended_ends_alone() {
        let rows = [completed(root(), None), step(2)];
        let ending = complete(&rows[1]);
        let (outcome, writes) = apply_one(&rows, &ending);
        assert_eq!(outcome, applied(0));
        assert_eq!((writes.ids(), writes.row(task(2)).done_order), (vec![task(2)], None));
    }

    #[test]
    fn completions_of_one_batch_count_one_by_one() {
        let rows = [parked(2), step(2), step(3), step(4)];
        let batch = [complete(&rows[2]), fail(&rows[3]), complete(&rows[1])];

        let (_, writes) = apply(&rows, &batch);

        let orders: Vec<_> = [3, 4, 2].map(|n| writes.row(task(n)).done_order).into();
        assert_eq!(orders, [Some(1), Some(2), Some(3)]);
        assert_eq!((writes.row(ROOT).done, writes.row(ROOT).ready_at), (3, Some(t(10))));
    }

    #[test]
    fn parking_and_completion_meet_in_either_order() {
        let rows = [root(), step(2)];
        for batch in [
            [park(&rows[0], Wait::for_next(0)), complete(&rows[1])],
            [complete(&rows[1]), park(&rows[0], Wait::for_next(0))],
        ] {
            let (_, writes) = apply(&rows, &batch);
            let row = writes.row(ROOT);
            assert_eq!((row.status, row.done, row.ready_at), (TaskStatus::Waiting, 1, Some(t(10))));
            assert!(writes.ready);
        }
    }

    #[test]
    fn own_completions_stand_in_the_order_of_the_turn() {
        let rows = [Row { done: 1, ..root() }, sleep(5, t(8)), sleep(6, t(9))];
        let mut keep = leased(&rows[0], Next::Keep);
        commit(&mut keep).insert =
            vec![inline(3), new_step(4, NewTaskState::Pending { ready_at: t(10) }), inline(2)];
        commit(&mut keep).fire = vec![task(6), task(5)];
        commit(&mut keep).seen = 1;

        let (outcome, writes) = apply_one(&rows, &keep);

        assert_eq!(outcome, applied(5));
        let orders: Vec<_> = [3, 2, 6, 5, 4].map(|n| writes.row(task(n)).done_order).into();
        assert_eq!(orders, [Some(2), Some(3), Some(4), Some(5), None]);
        assert_eq!(lacks_steps(&keep, &outcome), None, "nobody else completed anything");
    }

    #[test]
    fn news_lacks_steps_when_others_completed_some() {
        let mut keep = leased(&root(), Next::Keep);
        commit(&mut keep).insert.push(inline(2));
        assert_eq!(lacks_steps(&keep, &applied(1)), None);
        assert_eq!(lacks_steps(&keep, &applied(2)), Some((ROOT, 0)));
        assert_eq!(lacks_steps(&keep, &already(1)), Some((ROOT, 0)));
        assert_eq!(
            lacks_steps(&complete(&root()), &applied(2)),
            None,
            "who gives the task back needs no news"
        );
    }

    #[test]
    fn a_sleep_that_has_fired_does_not_fire_again() {
        let rows = [Row { done: 1, ..root() }, completed(sleep(2, t(5)), Some(1))];
        let mut keep = leased(&rows[0], Next::Keep);
        commit(&mut keep).fire = vec![task(2)];
        let (outcome, writes) = apply_one(&rows, &keep);
        assert_eq!((outcome, writes.ids()), (applied(1), vec![ROOT]));
    }
}

mod renewing {
    use super::*;
    use crate::backend::Renewal;
    use crate::model::{FunctionKey, Lease, Slot};

    #[test]
    fn a_lease_is_extended_as_long_as_its_claim_is_the_last_and_has_its_slot() {
        let renew = |row: Row, epoch, now| {
            let mut renewed = row.clone();
            let lease = Lease { task: row.id, epoch, until: t(31) };
            let answer = renewed.renew(&lease, t(now), t(90));
            let moved = Row { ready_at: Some(t(90)), ..row.clone() };
            assert_eq!(renewed, if answer == Renewal::Renewed { moved } else { row });
            answer == Renewal::Renewed
        };
        let epoch = root().epoch;
        let with_slot = |key| Row { limit_key: Some(key), ..root() };

        assert!(renew(root(), epoch, 20));
        assert!(renew(root(), epoch, 40), "it has run out, and nobody else has claimed the task");
        assert!(!renew(root(), Epoch::plain(9), 20));
        assert!(!renew(parked(1), epoch, 20));
        assert!(renew(with_slot(Slot::Taken(FunctionKey::of("charge"))), epoch, 20));
        assert!(
            !renew(with_slot(Slot::Taken(FunctionKey::of("charge"))), epoch, 31),
            "its slot may be another task's"
        );
        assert!(!renew(with_slot(Slot::Vacated), epoch, 20), "its slot is another task's");
    }
}

mod corrupt {
    use super::*;

    fn refused(rows: &[Row], transition: &Transition) -> String {
        let batch = std::slice::from_ref(transition);
        let mut ledger = load(rows, &[], &Ledger::reads(batch));
        ledger.apply(transition);
        let error = ledger.into_writes().expect_err("rows contradict each other");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        error.to_string()
    }

    #[test]
    fn an_end_whose_parent_is_missing_is_not_dropped() {
        let error = refused(&[step(2)], &complete(&step(2)));
        assert!(error.contains(&format!("task {} belongs to task {ROOT}", task(2))), "{error}");
    }

    #[test]
    fn an_item_whose_map_or_owner_is_missing_is_not_dropped() {
        refused(&[parked(1), item(3, 2)], &complete(&item(3, 2)));
        refused(&[map(2, 1, 2, Some(2)), item(3, 2)], &complete(&item(3, 2)));
    }

    #[test]
    fn a_map_that_is_fed_must_be_there() {
        let mut keep = leased(&root(), Next::Keep);
        commit(&mut keep).feed = vec![Feed { map: task(2), fed: 1, total: None, digest: None }];
        refused(&[root()], &keep);
    }

    #[test]
    fn a_task_is_where_its_transition_says() {
        let elsewhere = Row { tree: Tree::step(EXECUTION, task(9)), ..step(2) };
        refused(&[parked(1), step(2)], &complete(&elsewhere));
        let over = Row { expires_at: Some(t(5)), ..step(2) };
        refused(&[parked(1), over], &expire(&elsewhere));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "not in the reads")]
    fn a_row_that_was_not_asked_for_is_not_looked_up() {
        let ledger = load(&[root()], &[], &Reads::default());
        ledger.row(ROOT);
    }
}

mod nudging {
    use super::*;

    #[test]
    fn a_parked_task_becomes_ready() {
        let unpark = unpark(&parked(1));
        let (outcome, writes) = apply_one(&[parked(1)], &unpark);
        assert_eq!(outcome, applied(0));
        assert_eq!(*writes.row(ROOT), Row { ready_at: Some(t(10)), ..parked(1) });
        assert!(writes.ready);
    }

    #[test]
    fn a_task_that_is_ready_already_stays_as_it_is() {
        let there = Row { ready_at: Some(t(9)), ..parked(1) };
        let unpark = unpark(&there);
        let (outcome, writes) = apply_one(std::slice::from_ref(&there), &unpark);
        assert_eq!(outcome, already(0));
        assert!(writes.is_empty());
    }

    #[test]
    fn a_moment_is_postponed_if_it_is_still_the_one() {
        let due = |at| Row { ready_at: Some(t(at)), ..parked(1) };
        let postpone = |from, until| {
            let (from, until) = (t(from), t(until));
            Postpone { task: ROOT, epoch: parked(1).epoch, at: t(10), from, until }.into()
        };

        let later = postpone(20, 30);
        let (outcome, writes) = apply_one(&[due(20)], &later);
        assert_eq!((outcome, writes.ready), (applied(0), false));
        assert_eq!(*writes.row(ROOT), due(30));

        assert_eq!(apply_one(&[due(30)], &postpone(20, 30)).0, already(0));
        for (row, why) in
            [(due(9), "it was woken"), (parked(1), "it waits for no moment"), (root(), "it runs")]
        {
            assert_eq!(apply_one(&[row], &postpone(20, 30)).0, Outcome::Fenced, "{why}");
        }
        assert_eq!(apply_one(&[due(10)], &postpone(10, 30)).0, Outcome::Fenced, "it is due");
    }

    #[test]
    fn a_task_that_has_moved_on_is_fenced() {
        let mut moved = parked(1);
        moved.epoch = Epoch::plain(2);
        assert_eq!(apply_one(&[moved], &unpark(&parked(1))).0, Outcome::Fenced);
        assert_eq!(apply_one(&[root()], &unpark(&root())).0, Outcome::Fenced);
    }

    #[test]
    fn an_ended_or_absent_task_is_gone() {
        let ended = completed(parked(1), None);
        assert_eq!(apply_one(&[ended], &unpark(&parked(1))).0, Outcome::Gone);
        assert_eq!(apply_one(&[], &unpark(&parked(1))).0, Outcome::Gone);
    }
}

mod maps {
    use super::*;

    fn feed(row: &Row, fed: u32, total: Option<u32>, items: impl IntoIterator<Item = u128>) -> Transition {
        let mut feeding = leased(row, Next::Keep);
        let tree = Tree::item(EXECUTION, task(2), ROOT);
        commit(&mut feeding).insert = items
            .into_iter()
            .map(|n| new_task(n, tree, StepKind::Call, NewTaskState::Pending { ready_at: t(10) }))
            .collect();
        commit(&mut feeding).feed = vec![Feed { map: task(2), fed, total, digest: None }];
        feeding
    }

    #[test]
    fn feeding_writes_items_and_how_far_it_has_come() {
        let rows = [root(), map(2, 0, 0, None)];
        let feeding = feed(&rows[0], 2, None, [3, 4]);
        let (_, writes) = apply_one(&rows, &feeding);
        assert_eq!(*writes.row(task(2)), map(2, 0, 2, None));
        assert_eq!(writes.insert.len(), 2);
    }

    #[test]
    fn a_map_is_begun_and_fed_in_one_transition() {
        let mut feeding = feed(&root(), 1, Some(1), [3]);
        commit(&mut feeding)
            .insert
            .insert(0, new_task(2, Tree::step(EXECUTION, ROOT), StepKind::Map, NewTaskState::Map));
        let (_, writes) = apply_one(&[root()], &feeding);
        let row = writes.row(task(2));
        assert_eq!((row.status, row.fed, row.total), (TaskStatus::Waiting, 1, Some(1)));
    }

    #[test]
    fn the_last_item_completes_the_map_as_a_step_of_its_owner() {
        let rows = [parked(1), map(2, 1, 2, Some(2)), item(3, 2)];
        let ending = complete(&rows[2]);

        let (_, writes) = apply_one(&rows, &ending);

        let row = writes.row(task(2));
        assert_eq!((row.status, row.done, row.done_order), (TaskStatus::Completed, 2, Some(1)));
        assert_eq!((writes.row(ROOT).done, writes.row(ROOT).ready_at), (1, Some(t(10))));
        assert_eq!(writes.result(task(2)), None, "its items are read apart");
    }

    #[test]
    fn a_map_completes_when_the_total_comes_after_the_last_item() {
        let rows = [root(), map(2, 2, 2, None)];
        let feeding = feed(&rows[0], 2, Some(2), []);
        let (outcome, writes) = apply_one(&rows, &feeding);
        assert_eq!(outcome, applied(1));
        assert_eq!(writes.row(task(2)).status, TaskStatus::Completed);
    }

    #[test]
    fn a_map_over_nothing_completes_at_once() {
        let mut feeding = feed(&root(), 0, Some(0), []);
        commit(&mut feeding).insert.push(new_task(
            2,
            Tree::step(EXECUTION, ROOT),
            StepKind::Map,
            NewTaskState::Map,
        ));
        let (outcome, writes) = apply_one(&[root()], &feeding);
        assert_eq!((outcome, writes.row(task(2)).status), (applied(1), TaskStatus::Completed));
    }

    #[test]
    fn an_item_below_the_threshold_counts_and_wakes_nobody() {
        let rows = [parked(1), Row { wake_threshold: Some(3), ..map(2, 1, 4, None) }, item(3, 2)];
        let ending = complete(&rows[2]);
        let (_, writes) = apply_one(&rows, &ending);
        assert_eq!(writes.ids(), [task(2), task(3)], "the owner is not written once per item");
        assert_eq!(*writes.row(task(2)), Row { wake_threshold: Some(3), ..map(2, 2, 4, None) });
        assert!(!writes.ready);
    }

    #[test]
    fn the_threshold_wakes_the_owner_once() {
        let rows = [parked(1), Row { wake_threshold: Some(2), ..map(2, 1, 4, None) }, item(3, 2), item(4, 2)];
        let batch = [complete(&rows[2]), complete(&rows[3])];

        let (_, writes) = apply(&rows, &batch[..1]);
        assert_eq!(*writes.row(ROOT), Row { ready_at: Some(t(10)), ..parked(1) });
        assert_eq!(*writes.row(task(2)), map(2, 2, 4, None));

        let (_, writes) = apply(&[parked(1), writes.row(task(2)).clone(), item(4, 2)], &batch[1..]);
        assert_eq!(writes.ids(), [task(2), task(4)]);
    }

    #[test]
    fn parking_sets_the_threshold_or_finds_it_reached() {
        let wait = |done| Wait { maps: vec![Threshold { map: task(2), done }], ..Wait::for_next(0) };
        let rows = [root(), map(2, 2, 4, None)];

        let far = park(&rows[0], wait(3));
        let (_, writes) = apply_one(&rows, &far);
        assert_eq!((writes.row(task(2)).wake_threshold, writes.row(ROOT).ready_at), (Some(3), None));
        assert!(!writes.ready);

        let near = park(&rows[0], wait(2));
        let (_, writes) = apply_one(&rows, &near);
        assert_eq!(writes.row(ROOT).ready_at, Some(t(10)));
        assert!(writes.ready);
    }

    #[test]
    fn the_first_failure_ends_the_map_and_gives_up_the_rest() {
        let rows = [parked(1), map(2, 1, 4, Some(4)), item(3, 2)];
        let ending = fail(&rows[2]);

        let (_, writes) = apply_one(&rows, &ending);

        let row = writes.row(task(2));
        assert_eq!((row.status, row.done_order, row.ended_at), (TaskStatus::Failed, Some(1), Some(t(10))));
        assert_eq!(writes.result(task(2)), Some(Written::Result(&Err(declined()))));
        assert_eq!(writes.sweep, [task(2)]);
        assert_eq!(writes.row(ROOT).ready_at, Some(t(10)));
    }

    #[test]
    fn an_item_of_an_ended_map_changes_nothing_above_it() {
        let rows = [parked(2), completed(map(2, 1, 4, Some(4)), Some(1)), item(3, 2)];
        let ending = complete(&rows[2]);
        assert_eq!(apply_one(&rows, &ending).1.ids(), [task(3)]);
    }

    #[test]
    fn items_that_are_fed_to_an_ended_map_are_given_up() {
        // An item failed, and the map with it, while its owner wrote the next chunk.
        let failed = completed(map(2, 1, 4, None), Some(1));
        let rows = [Row { done: 1, ..root() }, failed.clone()];
        let feeding = feed(&rows[0], 6, None, [3, 4]);

        let (outcome, writes) = apply_one(&rows, &feeding);

        assert_eq!(outcome, applied(1));
        assert_eq!([3, 4].map(|n| writes.row(task(n)).status), [TaskStatus::Cancelled; 2]);
        assert_eq!(writes.row(task(3)).ended_at, Some(t(10)));
        assert!(!writes.ids().contains(&task(2)), "what has ended stays as it is");
    }

    #[test]
    fn a_map_whose_owner_has_ended_completes_alone() {
        let rows = [completed(root(), None), map(2, 0, 1, Some(1)), item(3, 2)];
        let ending = complete(&rows[2]);
        let (_, writes) = apply_one(&rows, &ending);
        assert_eq!(writes.row(task(2)).status, TaskStatus::Completed);
        assert!(!writes.ids().contains(&ROOT));
    }
}

mod giving_up {
    use super::*;

    #[test]
    fn cancelled_steps_end_and_what_is_below_them_is_swept() {
        let rows = [root(), step(2), sleep(3, t(50)), completed(step(4), Some(1))];
        let mut keep = leased(&rows[0], Next::Keep);
        commit(&mut keep).cancel = vec![task(2), task(3), task(4), task(99)];

        let (outcome, writes) = apply_one(&rows, &keep);

        assert_eq!(outcome, applied(0));
        for n in [2, 3] {
            let row = writes.row(task(n));
            assert_eq!((row.status, row.worker, row.ready_at), (TaskStatus::Cancelled, None, None));
            assert_eq!((row.done_order, row.ended_at), (None, Some(t(10))));
        }
        assert_eq!(writes.sweep, [task(2), task(3)]);
        assert!(!writes.ids().contains(&task(4)), "what has ended stays as it is");
    }

    #[test]
    fn the_late_result_of_a_cancelled_step_is_gone() {
        let mut cancelled = step(2);
        cancelled.cancel(t(9));
        let rows = [parked(1), cancelled];
        let late = complete(&step(2));
        let (outcome, writes) = apply_one(&rows, &late);
        assert_eq!(outcome, Outcome::Gone);
        assert!(writes.is_empty());
    }

    #[test]
    fn the_last_write_before_a_cancel_is_known_again() {
        let mut cancelled = committed(step(2));
        cancelled.cancel(t(9));
        assert_eq!(apply_one(&[cancelled], &park(&step(2), Wait::for_next(0))).0, already(0));
    }

    #[test]
    fn erased_steps_leave_with_all_that_is_below_them() {
        let rows = [Row { done: 2, ..root() }, completed(step(2), Some(2)), step(3)];
        let mut retrying = retry(&rows[0]);
        commit(&mut retrying).erase = vec![task(2), task(3), task(99)];

        let (_, writes) = apply_one(&rows, &retrying);

        assert_eq!(writes.erase, [task(2), task(3)]);
        assert_eq!(writes.ids(), [ROOT]);
        assert_eq!(writes.row(ROOT).done, 2, "numbers of completions are never given twice");
    }

    #[test]
    fn who_waits_for_what_is_to_be_followed_up_waits_for_that() {
        // Execution 80 may close once its cancellation is written; task 2 waits for it, task 90 is unrelated.
        let (closing, unrelated) = (task(80), running(task(90), Tree::root(task(90).execution())));
        let joiner = Row {
            kind: StepKind::Join,
            status: TaskStatus::Waiting,
            ready_at: None,
            key: Some(Key::of_execution(closing.execution())),
            ..step(2)
        };
        let rows = [root(), joiner, pending(closing, Tree::root(closing.execution())), unrelated];
        let cancel = request(closing.execution(), Action::Cancel { until: t(20) });
        let mut keep = leased(&rows[0], Next::Keep);
        commit(&mut keep).cancel = vec![task(2)];
        let end = complete(&rows[3]);

        let mut ledger = Ledger::new(rows.iter().cloned(), []);
        assert!(ledger.can_apply(&keep) && ledger.can_apply(&end));
        ledger.apply(&cancel);

        assert!(!ledger.can_apply(&keep) && ledger.can_apply(&end));
    }

    #[test]
    fn a_ledger_that_gave_up_a_subtree_wants_to_be_written_before_it_goes_on_there() {
        // Task 5 is somewhere below task 2; only the store knows.
        let rows = [root(), step(2)];
        let mut keep = leased(&rows[0], Next::Keep);
        commit(&mut keep).cancel = vec![task(2)];
        let below = running(task(5), Tree::step(EXECUTION, task(4)));
        let elsewhere = task(80).execution();
        let other = running(task(81), Tree::step(elsewhere, task(80)));

        let mut ledger = Ledger::new(rows.iter().chain([&below, &other]).cloned(), []);
        let (mine, others, unpark) = (complete(&below), complete(&other), unpark(&below));
        assert!(ledger.can_apply(&mine) && ledger.can_apply(&unpark));
        ledger.apply(&keep);

        assert!(!ledger.can_apply(&mine) && !ledger.can_apply(&unpark));
        assert!(ledger.can_apply(&others) && ledger.can_apply(&start(NewTaskState::Map)));
    }
}

mod rows {
    use super::*;

    #[test]
    fn a_claim_raises_epoch_and_tries_and_ends_the_wait() {
        let mut row = Row { ready_at: Some(t(40)), ..parked(3) };
        row.claim(worker(9), Nonce::NONE, t(40), t(70), None);
        let expected = Row {
            status: TaskStatus::Running,
            epoch: Epoch::plain(2),
            uncommitted_claims: 1,
            worker: Some(worker(9)),
            ready_at: Some(t(70)),
            wake_threshold: None,
            started_at: Some(t(1)),
            ..parked(3)
        };
        assert_eq!(row, expected);
    }

    #[test]
    fn a_sleep_fires_as_the_next_completion() {
        let mut parent = Row { done: 2, ..root() };
        let mut row = sleep(2, t(30));
        row.fire(&mut parent, t(33));
        assert_eq!((row.status, row.done_order, row.ended_at), (TaskStatus::Completed, Some(3), Some(t(33))));
        assert_eq!((row.ready_at, parent.done), (None, 3));
    }

    #[test]
    fn a_sleep_that_is_over_at_once_ends_without_a_result_as_one_that_fires_does() {
        let state = || NewTaskState::Done { started_at: t(9), result: Ok(Payload::empty()) };
        let rows = [root()];
        let mut turn = leased(&rows[0], Next::Keep);
        commit(&mut turn).insert = vec![
            new_task(2, Tree::step(EXECUTION, ROOT), StepKind::Sleep, state()),
            new_task(3, Tree::step(EXECUTION, ROOT), StepKind::Inline, state()),
        ];

        let (_, writes) = apply_one(&rows, &turn);

        let written = writes.insert.iter().map(|insert| (insert.row.status, insert.result.is_some()));
        let ended = TaskStatus::Completed;
        assert_eq!(written.collect::<Vec<_>>(), [(ended, false), (ended, true)]);
    }

    #[test]
    fn reads_name_every_row_that_a_transition_may_change() {
        let rows = [root(), step(2), item(3, 2)];
        let mut keep = leased(&rows[0], Next::Keep);
        let turn = commit(&mut keep);
        (turn.fire, turn.cancel, turn.erase) = (vec![task(10)], vec![task(11)], vec![task(12)]);
        turn.feed = vec![Feed { map: task(13), fed: 0, total: None, digest: None }];
        let wait = Wait { maps: vec![Threshold { map: task(14), done: 1 }], ..Wait::for_next(0) };

        let reads = |transition| Ledger::reads(&[transition]).tasks.into_iter().collect::<Vec<_>>();
        assert_eq!(reads(keep), [1, 10, 11, 12, 13].map(task));
        assert_eq!(reads(park(&rows[0], wait)), [1, 14].map(task));
        assert_eq!(reads(complete(&rows[1])), [1, 2].map(task));
        assert_eq!(reads(complete(&rows[2])), [1, 2, 3].map(task));
        assert_eq!(reads(park(&rows[2], Wait::for_next(0))), [3].map(task));
        assert_eq!(reads(unpark(&rows[1])), [2].map(task));
    }
}
