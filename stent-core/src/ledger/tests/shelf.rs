//! A store in a few lines, and random batches: a batch has the same effect as its transitions one by one, and the
//! invariants of keys, signals and waits hold after each batch.

use proptest::prelude::*;

use super::*;

/// The data of a store, and the way in which it runs the cascade of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Shelf {
    pub(super) rows: BTreeMap<TaskId, Row>,
    pub(super) results: BTreeMap<TaskId, TaskResult>,
    pub(super) key_entries: BTreeMap<Key, KeyEntry>,
}

impl Shelf {
    pub(super) fn of(rows: impl IntoIterator<Item = Row>) -> Self {
        Self { rows: rows.into_iter().map(|row| (row.id, row)).collect(), ..Self::default() }
    }

    pub(super) fn apply(&mut self, batch: &[Transition]) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        while outcomes.len() < batch.len() {
            let rest = &batch[outcomes.len()..];
            let mut ledger = self.load(&Ledger::reads(rest));
            let before = outcomes.len();
            for next in rest {
                if !ledger.can_apply(next) {
                    break;
                }
                outcomes.push(ledger.apply(next));
            }
            assert!(outcomes.len() > before, "a new ledger takes anything");
            let follow = self.write(ledger.into_writes().expect("rows that belong together"));
            self.follow(follow);
        }
        outcomes
    }

    /// The only change that is not a transition.
    #[track_caller]
    pub(super) fn claim(&mut self, id: TaskId) -> Row {
        let row = self.rows.get_mut(&id).expect("is there");
        row.claim(worker(7), Nonce::NONE, t(10), t(40), None);
        row.clone()
    }

    fn load<'a>(&self, reads: &Reads) -> Ledger<'a> {
        let rows: Vec<Row> = self.rows.values().cloned().collect();
        let key_entries: Vec<KeyEntry> = self.key_entries.values().cloned().collect();
        load(&rows, &key_entries, reads)
    }

    fn follow(&mut self, mut follow: Cascade) {
        for _ in 0..100 {
            if follow.is_empty() {
                return;
            }
            let ups = self.follow_ups(follow);
            let mut ledger = self.load(&CascadeStep::reads(&ups));
            ups.iter().for_each(|up| ledger.cascade(up));
            follow = self.write(ledger.into_writes().expect("rows that belong together"));
        }
        panic!("there is no end to what follows");
    }

    fn follow_ups(&self, follow: Cascade) -> Vec<CascadeStep> {
        let mut ups = follow.steps;
        for (execution, at) in follow.executions {
            let vacant = self
                .key_entries
                .values()
                .filter(|key_entry| key_entry.execution == execution && self.is_vacant(key_entry));
            ups.extend(vacant.map(|key_entry| CascadeStep::Vacate { key: key_entry.key, at }));
            if self.is_to_close(execution) {
                ups.push(CascadeStep::Close { root: execution.root(), at });
            }
        }
        ups
    }

    pub(super) fn is_vacant(&self, key_entry: &KeyEntry) -> bool {
        let holder = key_entry.holder.and_then(|holder| self.rows.get(&holder));
        let gone = holder.is_none_or(|holder| holder.status.is_terminal());
        key_entry.kind == KeyEntryKind::Result && key_entry.value.is_none() && gone
    }

    pub(super) fn is_to_close(&self, execution: ExecutionId) -> bool {
        let root = self.rows.get(&execution.root());
        root.is_some_and(|root| root.is_stopping() && root.status != TaskStatus::Running)
            && self.open().all(|row| row.tree.execution != execution || row.tree.parent.is_none())
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &Row> {
        self.rows.values().filter(|row| !row.status.is_terminal())
    }

    fn write(&mut self, writes: Writes<'_>) -> Cascade {
        let mut result = |id, result: Option<Written<'_>>| {
            if let Some(result) = result {
                self.results.insert(id, result.as_result().cloned().map_err(Clone::clone));
            }
        };
        for insert in writes.insert {
            result(insert.row.id, insert.result);
            self.rows.insert(insert.row.id, insert.row);
        }
        for update in writes.update {
            result(update.row.id, update.result);
            self.rows.insert(update.row.id, update.row);
        }
        for (to, from) in writes.copy {
            let copied = self.results.get(&from).cloned();
            self.results.extend(copied.map(|copied| (to, copied)));
        }
        self.key_entries.extend(writes.key_entries.into_iter().map(|key_entry| (key_entry.key, key_entry)));
        self.key_entries.retain(|key, _| !writes.forget.contains(key));
        for id in writes.restore {
            let key_entry = self.rows[&id]
                .key
                .and_then(|key| self.key_entries.get_mut(&key))
                .expect("a signal has a memo");
            key_entry.value.get_or_insert_with(|| self.results[&id].clone().expect("a value"));
        }
        for (execution, at) in writes.stop {
            let below = |row: &&mut Row| row.tree.execution == execution && row.tree.parent.is_some();
            self.rows.values_mut().filter(below).for_each(|row| row.stop(at));
        }
        for swept in writes.sweep {
            let at = self.rows[&swept].ended_at.expect("who is swept has ended");
            for id in self.below(swept) {
                self.rows.get_mut(&id).expect("is there").cancel(at);
            }
        }
        for erased in writes.erase {
            for id in self.below(erased).into_iter().chain([erased]) {
                self.rows.remove(&id);
                self.results.remove(&id);
            }
        }
        writes.cascade
    }

    fn below(&self, root: TaskId) -> Vec<TaskId> {
        let direct = self.rows.values().filter(|row| row.tree.parent == Some(root)).map(|row| row.id);
        direct.flat_map(|id| [vec![id], self.below(id)].concat()).collect()
    }
}

/// The next action of a task's leaseholder, drawn at random.
#[derive(Clone, Debug)]
struct Move {
    task: usize,
    stale: bool,
    what: u8,
    other: usize,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = (0..8_usize, prop::bool::weighted(0.1), 0..12_u8, 0..8_usize);
    prop::collection::vec(one.prop_map(|(task, stale, what, other)| Move { task, stale, what, other }), 1..12)
}

/// A root with two steps, one of which has a step of its own, a map with two items and a sleep: all in progress.
fn family() -> Shelf {
    let rows = [
        root(),
        step(2),
        step(3),
        running(task(4), Tree::step(EXECUTION, task(2))),
        map(5, 0, 2, Some(2)),
        item(6, 5),
        item(7, 5),
        sleep(8, t(9)),
    ];
    Shelf::of(rows)
}

/// Turns a move into a transition, given how often each task was written to before.
fn transition(shelf: &Shelf, writes: &mut BTreeMap<TaskId, u32>, n: u128, step: &Move) -> Transition {
    let ids: Vec<_> = (1..=8).map(task).collect();
    let row = shelf.rows[&ids[step.task]].clone();
    let written = writes.entry(row.id).or_default();
    let row = Row { commit: *written - u32::from(step.stale && *written > 0), ..row };
    let other = ids[step.other];
    let mut transition = match step.what {
        0 => unpark(&row),
        1 | 2 => complete(&row),
        3 => fail(&row),
        4 => park(&row, Wait::for_next(0)),
        5 => retry(&row),
        6 => leased(&row, Next::Release),
        _ => leased(&row, Next::Keep),
    };
    match step.what {
        7 => commit(&mut transition)
            .insert
            .push(NewTask { tree: Tree::step(EXECUTION, row.id), ..inline(100 + n) }),
        8 => commit(&mut transition).cancel.push(other),
        9 if other != row.id => commit(&mut transition).erase.push(other),
        10 if row.id == ROOT => commit(&mut transition).fire.push(task(8)),
        _ => {}
    }
    *written += 1;
    transition
}

proptest! {
    #[test]
    fn a_batch_is_the_same_as_its_transitions_one_by_one(moves in moves()) {
        let mut written = BTreeMap::new();
        let batch: Vec<_> =
            (0..).zip(&moves).map(|(n, step)| transition(&family(), &mut written, n, step)).collect();

        let (mut together, mut apart) = (family(), family());
        let outcomes = together.apply(&batch);
        let one_by_one: Vec<_> = batch.iter().flat_map(|next| apart.apply(std::slice::from_ref(next))).collect();

        prop_assert_eq!(outcomes, one_by_one);
        prop_assert_eq!(together, apart);
    }

    #[test]
    fn ends_are_final_and_completions_are_numbered_once(moves in moves()) {
        let mut written = BTreeMap::new();
        let mut shelf = family();
        for (n, step) in (0..).zip(&moves) {
            let before = shelf.clone();
            let next = transition(&family(), &mut written, n, step);
            let outcome = shelf.apply(std::slice::from_ref(&next)).remove(0);

            if !matches!(outcome, Outcome::Applied(_)) {
                prop_assert_eq!(&before, &shelf, "a refused transition changes nothing");
            }
            let ended = before.rows.values().filter(|row| row.status.is_terminal());
            for row in ended.filter(|row| shelf.rows.contains_key(&row.id)) {
                prop_assert_eq!(&shelf.rows[&row.id], row, "what has ended stays as it is");
            }
            let mut orders: Vec<_> =
                shelf.rows.values().filter_map(|row| Some((row.tree.parent, row.done_order?))).collect();
            orders.sort_unstable();
            let count = orders.len();
            orders.dedup();
            prop_assert_eq!(orders.len(), count, "a number is given once");
        }
    }
}
