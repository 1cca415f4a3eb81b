//! Keeps rows that this handle has claimed or written, so that most commits of a worker need no read of their own.
//!
//! Everything here is a guess: another handle may have changed the store since. The [checks](crate::apply::Check) of a write find
//! that out, and the store then reads what has changed. A play whose guesses lead to no write at all is not checked, so the store
//! repeats it on what it reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use stent_core::ledger::overlay::{Effects, Wanted};
use stent_core::{Key, TaskId};

use crate::apply::Check;
use crate::claim::Taken;
use crate::load::Loaded;
use crate::row::{Head, Revision};

/// How many rows this handle remembers at least; at most, twice as many. A row takes some 300 bytes.
const REMEMBERED: usize = 8_192;

/// Rows of tasks that this handle has claimed or written, and the executions that nobody waits for.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    parts: Mutex<Parts>,
}

#[derive(Debug, Default)]
struct Parts {
    rows: Generations<TaskId, (Head, Revision)>,
    /// Keys under which there was no open task: as a rule no task waits for the end of an execution.
    unused: Generations<Key, ()>,
}

impl Recent {
    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the parts that this handle remembers from `wanted` to `loaded`.
    pub(crate) fn guess(&self, loaded: &mut Loaded, wanted: &mut Wanted) {
        let parts = self.lock();
        wanted.rows.retain(|task| {
            let Some((head, revision)) = parts.rows.get(task) else { return true };
            loaded.known.rows.insert(*task, Some(head.row.clone()));
            loaded.heads.insert(*task, (head.clone(), *revision));
            loaded.is_guessed = true;
            false
        });
        wanted.under_key.retain(|key| {
            if parts.unused.get(key).is_none() {
                return true;
            }
            loaded.known.under_key.insert(*key, BTreeSet::new());
            loaded.is_guessed = true;
            false
        });
    }

    /// Remembers a task that was just claimed.
    pub(crate) fn claimed(&self, taken: &Taken, revision: Revision) {
        let row = &taken.head.row;
        let mut parts = self.lock();
        parts.rows.put(row.id, (taken.head.clone(), revision));
        if row.tree.parent.is_none() {
            parts.unused.put(Key::of_execution(row.tree.execution), ());
        }
    }

    /// Remembers the rows that a write has changed.
    pub(crate) fn written(&self, loaded: &Loaded, effects: &Effects<'_>, revision: Revision) {
        let mut parts = self.lock();
        for (task, effect) in &effects.tasks {
            match (&effect.row, loaded.heads.get(task)) {
                (Some(row), Some((old, _)))
                    if effect.insert.is_none() && effect.queue.is_none() && !row.status.is_terminal() =>
                {
                    parts.rows.put(*task, (Head { row: row.clone(), ..old.clone() }, revision));
                }
                // It has ended, is gone, waits for whoever claims it, or is in another lane than its old head.
                _ => parts.rows.remove(task),
            }
            if let Some(key) = effect.row.as_ref().and_then(|row| row.key) {
                parts.unused.remove(&key);
            }
        }
    }

    /// Forgets what a failed check was about.
    pub(crate) fn forget(&self, check: &Check) {
        match check {
            Check::Row(task) => self.lock().rows.remove(task),
            Check::UnderKey(key) => self.lock().unused.remove(key),
            _ => {}
        }
    }
}

/// A map of two generations. When the younger one is full it becomes the older one, whose content is dropped.
#[derive(Debug)]
struct Generations<K, V> {
    young: BTreeMap<K, V>,
    old: BTreeMap<K, V>,
}

impl<K, V> Default for Generations<K, V> {
    fn default() -> Self {
        Self { young: BTreeMap::new(), old: BTreeMap::new() }
    }
}

impl<K: Ord, V> Generations<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    fn put(&mut self, key: K, value: V) {
        self.old.remove(&key);
        self.young.insert(key, value);
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
    }

    fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use stent_core::ledger::Row;
    use stent_core::ledger::overlay::TaskEffect;
    use stent_core::model::{LaneKey, Seq, StepKind, TaskStatus, Tree};
    use stent_core::{ExecutionId, Timestamp};
    use uuid::Uuid;

    use super::*;

    const ROOT: TaskId = TaskId::from_uuid(Uuid::from_u128(1));
    const EXECUTION: ExecutionId = ROOT.execution();

    fn head(status: TaskStatus, key: Option<Key>) -> Head {
        let row = Row { status, key, ..Row::new(ROOT, Tree::root(EXECUTION), StepKind::Call) };
        Head {
            row,
            seq: Seq(0),
            priority: 0,
            lane: LaneKey::from_i64(1),
            created_at: Timestamp::from_micros(0),
        }
    }

    /// Claims the root, and then writes it with this status.
    fn recent(status: TaskStatus, key: Option<Key>) -> Recent {
        let recent = Recent::default();
        recent.lock().unused.put(Key::of_execution(EXECUTION), ());
        let mut loaded = Loaded::default();
        loaded.heads.insert(ROOT, (head(TaskStatus::Running, None), [1; 8]));
        let effect = TaskEffect { row: Some(head(status, key).row), ..TaskEffect::default() };
        recent.written(&loaded, &Effects { tasks: [(ROOT, effect)].into(), ..Effects::default() }, [2; 8]);
        recent
    }

    /// Returns the guessed revision of the root, whether the play may assume that no task waits for its end, and whether it guesses
    /// anything at all.
    fn guess(recent: &Recent) -> (Option<Revision>, bool, bool) {
        let mut loaded = Loaded::default();
        let key = Key::of_execution(EXECUTION);
        let mut wanted = Wanted { rows: [ROOT].into(), under_key: [key].into(), ..Wanted::default() };
        recent.guess(&mut loaded, &mut wanted);
        let revision = loaded.heads.get(&ROOT).map(|(_, revision)| *revision);
        assert_eq!(
            (wanted.rows.is_empty(), wanted.under_key.is_empty()),
            (revision.is_some(), loaded.known.under_key.contains_key(&key))
        );
        (revision, wanted.under_key.is_empty(), loaded.is_guessed)
    }

    #[test]
    fn a_row_is_remembered_as_it_was_written_until_it_ends() {
        assert_eq!(guess(&recent(TaskStatus::Waiting, None)), (Some([2; 8]), true, true));
        assert_eq!(guess(&recent(TaskStatus::Completed, None)), (None, true, true));
        assert_eq!(guess(&Recent::default()), (None, false, false));
    }

    #[test]
    fn a_key_under_which_a_task_waits_is_not_guessed() {
        let waits = recent(TaskStatus::Waiting, Some(Key::of_execution(EXECUTION)));
        assert_eq!(guess(&waits), (Some([2; 8]), false, true));
    }

    #[test]
    fn what_a_check_found_changed_is_forgotten() {
        let recent = recent(TaskStatus::Waiting, None);
        recent.forget(&Check::Row(ROOT));
        recent.forget(&Check::UnderKey(Key::of_execution(EXECUTION)));
        assert_eq!(guess(&recent), (None, false, false));
    }

    #[test]
    fn the_number_of_rows_is_bounded_and_the_oldest_go_first() {
        let mut rows = Generations::default();
        for n in 0..3 * REMEMBERED {
            rows.put(n, n);
        }
        assert!(rows.young.len() + rows.old.len() <= 2 * REMEMBERED);
        assert_eq!((rows.get(&0), rows.get(&(3 * REMEMBERED - 1))), (None, Some(&(3 * REMEMBERED - 1))));
    }
}
