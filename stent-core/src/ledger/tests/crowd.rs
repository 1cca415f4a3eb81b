//! Executions that interact at random and in batches: they call under the same keys, send and await signals, join and spawn
//! each other, are cancelled and expire.

use proptest::prelude::*;

use super::shelf::Shelf;
use super::*;

const ROOTS: u128 = 4;

/// A random move.
#[derive(Clone, Debug)]
struct Move {
    who: usize,
    what: u8,
    other: usize,
}

fn moves() -> impl Strategy<Value = Vec<Vec<Move>>> {
    let one = (0..16_usize, 0..36_u8, 0..12_usize).prop_map(|(who, what, other)| Move { who, what, other });
    prop::collection::vec(prop::collection::vec(one, 1..4), 1..24)
}

/// A few executions at work.
fn crowd() -> Shelf {
    Shelf::of((1..=ROOTS).map(|n| running(task(n), Tree::root(task(n).execution()))))
}

fn key(n: usize) -> Key {
    Key::of_user("charge", None, &(n % 3).to_string())
}

fn signal_name(n: usize) -> &'static str {
    ["approval", "payment"][n % 2]
}

fn root_of(n: usize) -> TaskId {
    task(1 + (n as u128) % ROOTS)
}

struct Maker<'a> {
    shelf: &'a Shelf,
    next: &'a mut u128,
}

impl Maker<'_> {
    fn id(&mut self) -> TaskId {
        *self.next += 1;
        task(*self.next)
    }

    fn fresh(&mut self, tree: Tree, kind: StepKind, key: Option<Key>, state: NewTaskState) -> NewTask {
        let id = self.id();
        let fresh = NewTask { keyed: key.map(Keyed::new), ..new_task(9, tree, kind, state) };
        NewTask { id, ..fresh }
    }

    fn call(&mut self, tree: Tree, n: usize) -> NewTask {
        let call = self.fresh(tree, StepKind::Call, Some(key(n)), NewTaskState::Pending { ready_at: t(10) });
        NewTask { expires_at: (n % 4 == 3).then_some(t(10)), ..call }
    }

    /// A move as a transition, if some task can make it.
    fn transition(&mut self, one: &Move) -> Option<Transition> {
        let n = one.other;
        let pick = |rows: Vec<&Row>| rows.get(one.who % rows.len().max(1)).map(|row| (*row).clone());
        match one.what {
            30 => return Some(request(root_of(n).execution(), Action::Cancel { until: t(10) })),
            31 => {
                let due =
                    self.shelf.open().filter(|row| row.expires_at.is_some_and(|at| at <= t(10))).collect();
                return Some(expire(&pick(due)?));
            }
            26..=29 => {
                let root = root_of(n);
                let id = self.id();
                let (name, value) =
                    (signal_name(one.who).to_owned(), Payload::new("", id.to_string().into_bytes()));
                let key = Key::of_signal(root.execution(), &name);
                return Some(request(root.execution(), Action::Signal { key, name, id, value }));
            }
            _ => {}
        }
        if matches!(one.what, 34..=35) {
            // The same write, sent again.
            let written = |row: &&Row| row.commit > 0 && row.commit_epoch == row.epoch;
            let row = pick(self.shelf.rows.values().filter(written).collect())?;
            return Some(leased(&Row { commit: row.commit - 1, ..row }, Next::Keep));
        }
        let row = pick(self.shelf.open().filter(|row| row.status == TaskStatus::Running).collect())?;
        let steps = self.shelf.rows.values().filter(|step| step.tree.parent == Some(row.id));
        let steps: Vec<&Row> = steps.collect();
        let tree = Tree::step(row.tree.execution, row.id);
        let mut keep = leased(&row, Next::Keep);
        match one.what {
            0..=6 => commit(&mut keep).insert = vec![self.call(tree, n)],
            7..=8 => {
                let key = Key::of_signal(row.tree.execution, signal_name(n));
                commit(&mut keep).insert =
                    vec![self.fresh(tree, StepKind::Signal, Some(key), NewTaskState::Signal)];
            }
            9..=10 => {
                let execution = root_of(n).execution();
                let (key, state) = (Key::of_execution(execution), NewTaskState::Join { execution });
                commit(&mut keep).insert = vec![self.fresh(tree, StepKind::Join, Some(key), state)];
            }
            11 => {
                let root = self.id();
                let mut spawned = self.call(Tree::root(root.execution()), n);
                spawned.id = root;
                commit(&mut keep).insert = vec![spawned];
            }
            12..=13 => {
                let kind = if n.is_multiple_of(2) { StepKind::Map } else { StepKind::Gather };
                let map = self.fresh(tree, kind, None, NewTaskState::Map);
                let item = Tree::item(row.tree.execution, map.id, row.id);
                commit(&mut keep).feed = vec![Feed { map: map.id, fed: 2, total: Some(2), digest: None }];
                commit(&mut keep).insert = vec![map, self.call(item, n), self.call(item, n + 1)];
            }
            14..=15 => {
                commit(&mut keep).cancel =
                    steps.get(n % steps.len().max(1)).map(|step| step.id).into_iter().collect();
                if one.who.is_multiple_of(2) {
                    commit(&mut keep).insert = vec![self.call(tree, n)];
                }
            }
            16..=17 => {
                let mut again = retry(&row);
                // Successful steps stay, except signals that were not seen.
                let stays =
                    |step: &&&Row| step.status == TaskStatus::Completed && step.kind != StepKind::Signal;
                commit(&mut again).erase =
                    steps.iter().filter(|step| !stays(step)).map(|step| step.id).collect();
                return Some(again);
            }
            18..=19 => return Some(park(&row, Wait::for_next(row.done))),
            20 => return Some(leased(&row, Next::Release)),
            21..=22 => return Some(fail(&row)),
            _ => return Some(complete(&row)),
        }
        Some(keep)
    }
}

/// Values of signals that are kept, or that a wait has taken.
fn values(shelf: &Shelf) -> Vec<Payload> {
    let kept = shelf
        .key_entries
        .values()
        .filter(|key_entry| key_entry.kind == KeyEntryKind::Signal)
        .filter_map(|key_entry| key_entry.value.clone());
    let taken = shelf.rows.values().filter(|row| {
        row.kind == StepKind::Signal
            && row.status == TaskStatus::Completed
            && !row.marks.contains(Mark::Cancel)
    });
    let taken = taken.map(|row| shelf.results[&row.id].clone().expect("a value"));
    kept.chain(taken).collect()
}

/// Invariants between two batches.
fn broken(shelf: &Shelf) -> Option<String> {
    for key_entry in shelf.key_entries.values() {
        if shelf.is_vacant(key_entry) {
            return Some(format!("nobody is at {key_entry:?}"));
        }
    }
    for row in shelf.open().filter(|row| row.waits_for_key()) {
        let key_entry = row.key.and_then(|key| shelf.key_entries.get(&key));
        let in_vain = match row.kind {
            StepKind::Call => key_entry
                .is_none_or(|key_entry| key_entry.value.is_some() || key_entry.holder == Some(row.id)),
            StepKind::Signal => key_entry.is_some_and(|key_entry| key_entry.value.is_some()),
            _ => {
                let joined = (1..)
                    .map(task)
                    .take(ROOTS as usize)
                    .find(|root| row.key == Some(Key::of_execution(root.execution())));
                joined.is_none_or(|root| shelf.rows[&root].status.is_terminal())
            }
        };
        if in_vain {
            return Some(format!("{row:?} waits in vain; {key_entry:?}"));
        }
    }
    for n in 0..3 {
        let at_it = shelf.open().filter(|row| row.kind == StepKind::Call && row.key == Some(key(n)));
        let at_it: Vec<_> = at_it.filter(|row| !row.waits_for_key()).map(|row| row.id).collect();
        let holder = shelf
            .key_entries
            .get(&key(n))
            .filter(|key_entry| key_entry.value.is_none())
            .and_then(|key_entry| key_entry.holder);
        if at_it.iter().any(|id| Some(*id) != holder) || at_it.len() > 1 {
            return Some(format!("{at_it:?} are at one key, and its holder is {holder:?}"));
        }
    }
    let mut values: Vec<String> = values(shelf).iter().map(|value| format!("{:?}", value.bytes())).collect();
    values.sort();
    if values.windows(2).any(|two| two[0] == two[1]) {
        return Some(format!("a signal is there twice: {values:?}"));
    }
    shelf.rows.keys().find(|id| shelf.is_to_close(id.execution())).map(|id| format!("{id} is never closed"))
}

/// Lets workers claim all due tasks.
fn claim_all(shelf: &mut Shelf) {
    let due = |row: &&Row| {
        row.status != TaskStatus::Running && row.ready_at.is_some() && row.kind == StepKind::Call
    };
    let due: Vec<TaskId> =
        shelf.open().filter(due).filter(|row| !row.is_stopping()).map(|row| row.id).collect();
    for id in due {
        let row = shelf.rows.get_mut(&id).expect("is there");
        row.ready_at = Some(t(10));
        shelf.claim(id);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn keys_signals_and_waits_hold_whatever_a_crowd_does_at_once(batches in moves()) {
        let mut shelf = crowd();
        let mut next = 100;
        for (n, moves) in batches.iter().enumerate() {
            let before = shelf.clone();
            let mut maker = Maker { shelf: &before, next: &mut next };
            let batch: Vec<Transition> = moves.iter().filter_map(|one| maker.transition(one)).collect();
            let (kept, sent) = (values(&before), batch.clone());

            shelf.apply(&batch);

            prop_assert_eq!(broken(&shelf), None, "after {:?}", batch);
            for row in before.rows.values().filter(|row| row.status.is_terminal()) {
                if let Some(now) = shelf.rows.get(&row.id) {
                    // A wait whose value returns to the slot is marked, and nothing else changes.
                    prop_assert_eq!(&Row { marks: now.marks, ..row.clone() }, now);
                }
            }
            // A kept value stays, unless a later one replaces it.
            if sent.len() == 1 && !matches!(sent[0].action(), Some(Action::Signal { .. })) {
                let seen_by = |value: &Payload| values(&shelf).contains(value);
                let dropped: Vec<_> = kept.iter().filter(|value| !seen_by(value)).collect();
                prop_assert!(lost_lawfully(&before, &shelf, &dropped), "{:?} lost after {:#?}", dropped, batch);
            }
            if n % 2 == 1 {
                claim_all(&mut shelf);
            }
        }
    }

    #[test]
    fn a_crowd_in_a_batch_is_the_same_as_one_by_one(batches in moves()) {
        let mut together = crowd();
        let mut next = 100;
        for moves in &batches {
            let before = together.clone();
            let mut apart = together.clone();
            let mut maker = Maker { shelf: &before, next: &mut next };
            let mut batch: Vec<Transition> = moves.iter().filter_map(|one| maker.transition(one)).collect();
            // A worker sends a write only after the previous one was answered.
            let mut writers = std::collections::BTreeSet::new();
            batch.retain(|one| one.fence().is_none_or(|fence| writers.insert(fence.task)));

            let outcomes = together.apply(&batch);
            let one_by_one: Vec<_> = batch.iter().flat_map(|one| apart.apply(std::slice::from_ref(one))).collect();

            prop_assert_eq!(outcomes, one_by_one, "{:?}", batch);
            prop_assert_eq!(differences(&together, &apart), "", "{:?}", batch);
            claim_all(&mut together);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_that_is_played_over_what_was_read_is_the_same_as_one_by_one(batches in moves()) {
        let mut played = crowd();
        let mut next = 100;
        for moves in &batches {
            let before = played.clone();
            let mut apart = played.clone();
            let mut maker = Maker { shelf: &before, next: &mut next };
            let batch: Vec<Transition> = moves.iter().filter_map(|one| maker.transition(one)).collect();

            let outcomes = played.play(&batch);
            let one_by_one: Vec<_> = batch.iter().flat_map(|one| apart.apply(std::slice::from_ref(one))).collect();

            prop_assert_eq!(outcomes, one_by_one, "{:?}", batch);
            prop_assert_eq!(differences(&played, &apart), "", "{:?}", batch);
            claim_all(&mut played);
        }
    }
}

fn differences(one: &Shelf, other: &Shelf) -> String {
    let rows = one.rows.keys().chain(other.rows.keys()).filter(|id| one.rows.get(id) != other.rows.get(id));
    let rows = rows.map(|id| format!("{:?}\n{:?}\n", one.rows.get(id), other.rows.get(id)));
    let key_entries = one
        .key_entries
        .keys()
        .chain(other.key_entries.keys())
        .filter(|id| one.key_entries.get(id) != other.key_entries.get(id));
    let key_entries =
        key_entries.map(|id| format!("{:?}\n{:?}\n", one.key_entries.get(id), other.key_entries.get(id)));
    let all: String = rows.chain(key_entries).collect();
    if all.is_empty() && one != other { "results".to_owned() } else { all }
}

/// A value disappears only with the record of the wait that saw it, or if a later value was there already.
fn lost_lawfully(before: &Shelf, after: &Shelf, dropped: &[&Payload]) -> bool {
    dropped.iter().all(|value| {
        let holder =
            before.rows.values().find(|row| before.results.get(&row.id) == Some(&Ok((*value).clone())));
        holder.is_some_and(|row| {
            let below_erased = row.tree.parent.is_some_and(|parent| !after.rows.contains_key(&parent));
            let later = row
                .key
                .and_then(|key| after.key_entries.get(&key))
                .is_some_and(|key_entry| key_entry.value.is_some());
            below_erased || later
        })
    })
}
