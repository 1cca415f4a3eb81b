//! The sticky cache: parked code that stays in memory, so that a task which this worker claims again continues without
//! a replay.
//!
//! Dropping an entry is always safe, because the record contains everything that a replay needs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stent_core::backend::StickyCache;
use stent_core::limits::CACHE_MAX;
use stent_core::model::{Epoch, Fence};
use stent_core::transition::Transition;
use stent_core::{ExecutionId, TaskId, Timestamp, decide};

use super::port::Parked;

/// The sticky cache of one worker. The least recently parked code is evicted first.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    inner: Arc<Mutex<Inner>>,
    max: usize,
}

/// A parked task in the cache.
#[derive(Debug)]
struct Entry {
    age: u64,
    parked: Parked,
    /// Whether its parking is known to be committed. Until then the parking may fail, and with it the steps that the
    /// code considers recorded.
    stands: bool,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<TaskId, Entry>,
    by_age: BTreeMap<u64, TaskId>,
    parked: u64,
    /// Tasks that the claim in flight relies on: their code must still be here when it returns.
    claiming: BTreeSet<TaskId>,
    /// Number of entries that wait for something outside the store.
    awaiting: usize,
    /// Tasks that are due in the store at a moment only because their code waits for something outside the store. The
    /// moment is postponed while the code is here.
    due: BTreeSet<(Timestamp, TaskId)>,
    /// Up to which age executions were asked about. The next query continues after it.
    asked: u64,
}

impl Cache {
    pub(super) fn new(max: usize) -> Self {
        Self { inner: Arc::default(), max }
    }

    pub(super) fn insert(&self, parked: Parked) {
        let mut inner = self.lock();
        inner.parked += 1;
        let (age, task) = (inner.parked, parked.task);
        inner.remove(task);
        inner.by_age.insert(age, task);
        inner.awaiting += usize::from(parked.due.is_some());
        inner.entries.insert(task, Entry { age, parked, stands: false });
    }

    /// The parking by the claim of this epoch is committed: from now on claims may rely on the code.
    pub(super) fn stands(&self, task: TaskId, epoch: Epoch) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        if let Some(entry) = inner.entries.get_mut(&task).filter(|entry| entry.parked.epoch == epoch) {
            entry.stands = true;
            let due = entry.parked.due;
            inner.due.extend(due.map(|due| (due, task)));
        }
    }

    /// Transitions that postpone the due moments of code in this cache, once a third of a lease has passed.
    pub(super) fn postpone(&self, now: Timestamp, lease: Duration) -> Vec<Transition> {
        let mut inner = self.lock();
        let mut postpone = Vec::new();
        while let Some((from, task)) = inner.due.first().copied()
            && from.since(now) <= lease / 3 * 2
        {
            inner.due.pop_first();
            let Some(Entry { parked, .. }) = inner.entries.get_mut(&task) else { continue };
            let sleeps_until = parked.activation.durable.replay(|replay| replay.wait().until);
            let until = sleeps_until.map_or(now + lease, |due| due.min(now + lease));
            // Its own sleep is due first, or it is due already: the worker that claims it next continues it.
            if until <= from || from <= now {
                continue;
            }
            postpone.push(decide::postpone(task, parked.epoch, from, until, now));
            parked.due = Some(until);
            inner.due.insert((until, task));
        }
        postpone
    }

    /// When the next due moment is to be postponed.
    pub(super) fn postpone_at(&self, lease: Duration) -> Option<Timestamp> {
        self.lock().due.first().map(|(due, _)| *due - lease / 3 * 2)
    }

    /// Takes the code that was parked by the claim before `epoch`.
    pub(super) fn take(&self, task: TaskId, epoch: Epoch) -> Option<Parked> {
        let parked = self.lock().remove(task)?;
        (parked.epoch.count + 1 == epoch.count).then_some(parked)
    }

    /// Since when code is parked here.
    pub(super) fn parked_at(&self, task: TaskId) -> Option<Timestamp> {
        self.lock().entries.get(&task).map(|entry| entry.parked.at)
    }

    pub(super) fn forget(&self, task: TaskId) {
        let forgotten = self.lock().remove(task);
        // Outside the lock, because dropping code may run the application's destructors.
        drop(forgotten);
    }

    /// Evicts entries beyond the bound, except those that the claim in flight relies on. Code that waits for something
    /// outside the store has a bound of its own and does not count here, because evicting it would lose that wait.
    pub(super) fn shrink(&self) {
        let mut inner = self.lock();
        let awaiting = inner.awaiting;
        let over = (inner.entries.len() - awaiting).saturating_sub(self.max);
        let awaiting_over = awaiting.saturating_sub(self.max.max(CACHE_MAX));
        let mut evicted = Vec::new();
        for (over, awaits) in [(over, false), (awaiting_over, true)] {
            if over == 0 {
                continue;
            }
            let idle = inner.by_age.values().filter(|task| {
                let entry = inner.entries.get(task);
                !inner.claiming.contains(task)
                    && entry.is_some_and(|entry| entry.parked.due.is_some() == awaits)
            });
            let oldest: Vec<TaskId> = idle.take(over).copied().collect();
            evicted.extend(oldest.into_iter().filter_map(|task| inner.remove(task)));
        }
        drop(inner);
        drop(evicted);
    }

    /// The claim returned, so the code that it relied on was taken or was not claimed after all.
    pub(super) fn claimed(&self) {
        self.lock().claiming.clear();
    }

    /// At most `max` executions whose code is here. Successive calls rotate through all of them.
    pub(super) fn to_ask(&self, max: usize) -> BTreeSet<ExecutionId> {
        let mut inner = self.lock();
        let behind = (Bound::Excluded(inner.asked), Bound::Unbounded);
        let before = (Bound::Unbounded, Bound::Included(inner.asked));
        let (mut asked, mut executions) = (inner.asked, BTreeSet::new());
        for (age, task) in inner.by_age.range(behind).chain(inner.by_age.range(before)) {
            let Some(entry) = inner.entries.get(task) else { continue };
            if executions.len() == max && !executions.contains(&entry.parked.execution()) {
                break;
            }
            asked = *age;
            executions.insert(entry.parked.execution());
        }
        inner.asked = asked;
        executions
    }

    /// Takes out the code of executions that have ended or are gone.
    pub(super) fn take_ended(&self, ended: &BTreeSet<ExecutionId>) -> Vec<Parked> {
        self.take_where(|parked| ended.contains(&parked.execution()))
    }

    /// Takes out the code of tasks that were given up, and of the tasks below them that are here. Most tasks that are
    /// given up are timers, which have no code, so only below the found ones are further tasks looked up.
    pub(super) fn take_below(&self, given_up: &[TaskId]) -> Vec<Parked> {
        let mut inner = self.lock();
        let mut taken: Vec<Parked> = given_up.iter().filter_map(|task| inner.remove(*task)).collect();
        drop(inner);
        let mut looked_below = 0;
        while looked_below < taken.len() {
            let tops: BTreeSet<TaskId> = taken[looked_below..].iter().map(|parked| parked.task).collect();
            looked_below = taken.len();
            taken.extend(
                self.take_where(|parked| parked.parent().is_some_and(|parent| tops.contains(&parent))),
            );
        }
        taken
    }

    fn take_where(&self, is_meant: impl Fn(&Parked) -> bool) -> Vec<Parked> {
        let mut inner = self.lock();
        let meant = inner.entries.iter().filter(|(_, entry)| is_meant(&entry.parked));
        let meant: Vec<TaskId> = meant.map(|(task, _)| *task).collect();
        meant.into_iter().filter_map(|task| inner.remove(task)).collect()
    }

    /// Whether code here waits for something outside the store.
    pub(super) fn awaits_the_world(&self) -> bool {
        self.lock().awaiting > 0
    }

    pub(super) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn remove(&mut self, task: TaskId) -> Option<Parked> {
        let entry = self.entries.remove(&task)?;
        self.by_age.remove(&entry.age);
        if let Some(due) = entry.parked.due {
            self.awaiting -= 1;
            self.due.remove(&(due, task));
        }
        Some(entry.parked)
    }
}

impl StickyCache for Cache {
    /// A store that has lost an acknowledged parking has an earlier count of commits.
    fn seen(&self, fence: &Fence) -> Option<u32> {
        let mut inner = self.lock();
        let entry = inner.entries.get(&fence.task)?;
        let Parked { epoch, commit, seen, .. } = entry.parked;
        if !entry.stands || (epoch, commit) != (fence.epoch, fence.commit) {
            return None;
        }
        inner.claiming.insert(fence.task);
        Some(seen)
    }
}
