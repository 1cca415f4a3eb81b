//! What tasks under the same key have to do with each other: those who call the same, those who wait for a signal, and those
//! who wait for an execution.

use std::collections::{BTreeMap, BTreeSet};

use super::{Ledger, Reads, Row, Written};
use crate::limits::SIGNAL_SENDS_KEPT;
use crate::model::{KeyEntry, KeyEntryKind, Keyed, Mark, NewTask, NewTaskState, StepKind, TaskStatus};
use crate::{ExecutionId, Failure, Key, Payload, TaskId, Timestamp, own_failure};

/// What is to be done about tasks that ended out of a batch's sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CascadeStep {
    /// The holder of a key has ended without a result: the oldest who waits under the key takes its place.
    Vacate {
        /// The key.
        key: Key,
        /// When.
        at: Timestamp,
    },
    /// A value is there for whoever waits for the signal.
    Deliver {
        /// The signal's key.
        key: Key,
        /// When.
        at: Timestamp,
    },
    /// An execution that was asked to end has nothing running any more.
    Close {
        /// Its root.
        root: TaskId,
        /// When.
        at: Timestamp,
    },
    /// An execution has ended because of another one.
    Joined {
        /// The execution.
        execution: ExecutionId,
        /// When.
        at: Timestamp,
    },
}

impl CascadeStep {
    /// What a ledger must be loaded with to follow these up.
    #[must_use]
    pub fn reads(ups: &[Self]) -> Reads {
        let mut reads = Reads::default();
        for up in ups {
            match up {
                Self::Vacate { key, .. } | Self::Deliver { key, .. } => {
                    reads.add_key(*key);
                }
                Self::Close { root, .. } => {
                    reads.tasks.insert(*root);
                    reads.keys.insert(Key::of_execution(root.execution()));
                }
                Self::Joined { execution, .. } => {
                    reads.tasks.insert(execution.root());
                    reads.keys.insert(Key::of_execution(*execution));
                }
            }
        }
        reads
    }
}

/// The key entries of a ledger, and who waits under which key.
#[derive(Debug, Default)]
pub(super) struct Memos {
    memos: BTreeMap<Key, (KeyEntry, bool)>,
    forgotten: BTreeSet<Key>,
    waiters: BTreeMap<Key, BTreeSet<TaskId>>,
}

impl Memos {
    pub(super) fn new(memos: impl IntoIterator<Item = KeyEntry>) -> Self {
        let memos = memos.into_iter().map(|memo| (memo.key, (memo, false))).collect();
        Self { memos, ..Self::default() }
    }

    /// Takes in a row, which may wait.
    pub(super) fn notice(&mut self, row: &Row) {
        if let Some(key) = row.key.filter(|_| row.waits_for_key()) {
            self.waiters.entry(key).or_default().insert(row.id);
        }
    }

    pub(super) fn get(&self, key: Key) -> Option<&KeyEntry> {
        self.memos.get(&key).map(|(memo, _)| memo)
    }

    fn change(&mut self, key: Key) -> Option<&mut KeyEntry> {
        let (memo, dirty) = self.memos.get_mut(&key)?;
        *dirty = true;
        Some(memo)
    }

    fn put(&mut self, memo: KeyEntry) {
        self.forgotten.remove(&memo.key);
        self.memos.insert(memo.key, (memo, true));
    }

    fn forget(&mut self, key: Key) {
        if self.memos.remove(&key).is_some() {
            self.forgotten.insert(key);
        }
    }

    /// Whether a key entry under a key, or one who waits under it, belongs to one of these executions.
    pub(super) fn concern(
        &self,
        key: Key,
        executions: &BTreeMap<ExecutionId, Timestamp>,
        execution_of: impl Fn(TaskId) -> Option<ExecutionId>,
    ) -> bool {
        let waiters = self.waiters.get(&key).into_iter().flatten().filter_map(|waiter| execution_of(*waiter));
        let mut all = self.get(key).map(|memo| memo.execution).into_iter().chain(waiters);
        all.any(|execution| executions.contains_key(&execution))
    }

    /// Everyone who waits under a key, oldest first.
    fn take_waiters(&mut self, key: Key) -> BTreeSet<TaskId> {
        self.waiters.remove(&key).unwrap_or_default()
    }

    fn first_waiter(&mut self, key: Key) -> Option<TaskId> {
        self.waiters.get_mut(&key)?.pop_first()
    }

    /// Keeps an execution under the key that it was dispatched with.
    pub(super) fn dispatched(&mut self, key: Key, root: &NewTask) {
        let (execution, name) = (root.id.execution(), root.lane.function.clone());
        let holder = Some(root.id);
        self.put(KeyEntry { holder, ..KeyEntry::new(key, KeyEntryKind::Dispatch, execution, name) });
    }

    /// Keeps the value of a signal: says whether it takes the place of one that nobody has consumed, and nothing if it was
    /// kept before.
    pub(super) fn send(
        &mut self,
        key: Key,
        execution: ExecutionId,
        name: &str,
        id: TaskId,
        value: &Payload,
        at: Timestamp,
    ) -> Option<bool> {
        match self.get(key) {
            Some(memo) if memo.sends.contains(&id) => return None,
            Some(_) => {}
            None => self.put(KeyEntry::new(key, KeyEntryKind::Signal, execution, name.to_owned())),
        }
        let memo = self.change(key)?;
        memo.sends.push(id);
        let old = memo.sends.len().saturating_sub(SIGNAL_SENDS_KEPT);
        memo.sends.drain(..old);
        let replaced = memo.value.replace(value.clone()).is_some();
        memo.ended_at = Some(at);
        Some(replaced)
    }

    pub(super) fn into_writes(self) -> (Vec<KeyEntry>, Vec<Key>) {
        let changed = self.memos.into_values().filter(|(_, dirty)| *dirty).map(|(memo, _)| memo);
        (changed.collect(), self.forgotten.into_iter().collect())
    }
}

impl<'a> Ledger<'a> {
    /// Does what is to be done about tasks that ended out of a batch's sight.
    pub fn cascade(&mut self, up: &CascadeStep) {
        if cfg!(debug_assertions) {
            self.ask(CascadeStep::reads(std::slice::from_ref(up)).tasks);
        }
        match *up {
            CascadeStep::Vacate { key, at } => self.vacate(key, at),
            CascadeStep::Deliver { key, at } => self.deliver(key, at),
            CascadeStep::Close { root, at } => {
                if let Some(tree) = self.row(root).filter(|row| row.is_stopping()).map(|row| row.tree) {
                    let written = Written::Kept(Err(Failure::cancelled()));
                    self.change(root, |row| row.end(TaskStatus::Cancelled, at));
                    self.write(root, written.clone());
                    self.settle(root, &tree, &written, at);
                    // It may have held a key.
                    self.look_after(tree.execution, at);
                }
            }
            CascadeStep::Joined { execution, at } => {
                for joiner in self.memos.take_waiters(Key::of_execution(execution)) {
                    self.join_ended(joiner, execution, at);
                }
            }
        }
    }

    /// What the key of a new row means for it.
    pub(super) fn insert_keyed(&mut self, new: &'a NewTask, at: Timestamp) {
        match (&new.state, new.keyed) {
            (NewTaskState::Signal, Some(Keyed { key, .. })) => {
                self.wait_under(key, new.id);
                self.deliver(key, at);
            }
            (NewTaskState::Join { execution }, Some(Keyed { key, .. })) => {
                if self.root(*execution).is_none_or(|root| root.status.is_terminal()) {
                    self.join_ended(new.id, *execution, at);
                } else {
                    self.wait_under(key, new.id);
                }
            }
            (NewTaskState::Pending { .. }, Some(keyed)) => self.insert_call(new, keyed, at),
            _ => {}
        }
    }

    /// A call under a key: it has the result at once, waits for the one who is at it, or is the one (G12).
    fn insert_call(&mut self, new: &'a NewTask, Keyed { key, ttl }: Keyed, at: Timestamp) {
        let memo = self.memos.get(key);
        if let Some(value) = memo.and_then(|memo| memo.result(at)).cloned() {
            self.complete(new.id, Some(Mark::Hit), Written::Kept(Ok(value)), at);
        } else if memo.is_some_and(|memo| memo.value.is_none()) {
            self.change(new.id, |row| {
                row.status = TaskStatus::Waiting;
                row.ready_at = None;
            });
            self.wait_under(key, new.id);
        } else {
            let memo =
                KeyEntry::new(key, KeyEntryKind::Result, new.tree.execution, new.lane.function.clone());
            self.memos.put(KeyEntry { holder: Some(new.id), ttl, ..memo });
        }
    }

    fn wait_under(&mut self, key: Key, task: TaskId) {
        self.memos.waiters.entry(key).or_default().insert(task);
    }

    /// The end of a task that holds a key.
    pub(super) fn settle_key(&mut self, task: TaskId, result: &Written<'a>, at: Timestamp) {
        let Some(key) = self.row(task).filter(|row| row.kind == StepKind::Call).and_then(|row| row.key)
        else {
            return;
        };
        if self.memos.get(key).is_none_or(|memo| memo.holder != Some(task)) {
            return;
        }
        match result.as_result() {
            Err(_) => self.vacate(key, at), // Failures are not kept.
            Ok(value) => {
                if let Some(memo) = self.memos.change(key) {
                    memo.value = Some(value.clone());
                    memo.ended_at = Some(at);
                    memo.expires_at = memo.ttl.map(|ttl| at + ttl);
                }
                for waiter in self.memos.take_waiters(key) {
                    self.complete(waiter, Some(Mark::Hit), result.clone(), at);
                }
            }
        }
    }

    /// The holder has ended without a result: the oldest who waits takes its place.
    fn vacate(&mut self, key: Key, at: Timestamp) {
        if self.memos.get(key).is_none_or(|memo| memo.kind != KeyEntryKind::Result || memo.value.is_some()) {
            return;
        }
        let Some(next) = self.first_waiter(key) else {
            self.memos.forget(key);
            return;
        };
        let execution = self.row(next).map(|row| row.tree.execution);
        if let (Some(memo), Some(execution)) = (self.memos.change(key), execution) {
            memo.holder = Some(next);
            memo.execution = execution;
        }
        self.change(next, |row| {
            row.status = TaskStatus::Pending;
            row.ready_at = Some(at);
        });
        self.ready = true;
    }

    /// The oldest who still waits under a key; others may have been given up by the same batch.
    fn first_waiter(&mut self, key: Key) -> Option<TaskId> {
        loop {
            let next = self.memos.first_waiter(key)?;
            if self.row(next).is_some_and(|row| row.waits_for_key() && !row.is_stopping()) {
                return Some(next);
            }
        }
    }

    /// Gives the value of a signal back that was taken in this very batch and never seen.
    pub(super) fn give_back(&mut self, key: Key, value: Payload) {
        if let Some(memo) = self.memos.change(key) {
            memo.value.get_or_insert(value);
        }
    }

    /// Hands the value of a signal to the oldest who waits for it (G11).
    pub(super) fn deliver(&mut self, key: Key, at: Timestamp) {
        if self.memos.get(key).is_none_or(|memo| memo.kind != KeyEntryKind::Signal || memo.value.is_none()) {
            return;
        }
        let Some(waiter) = self.first_waiter(key) else { return };
        if let Some(value) = self.memos.change(key).and_then(|memo| memo.value.take()) {
            self.complete(waiter, None, Written::Kept(Ok(value)), at);
        }
    }

    /// Tells those who wait for an execution how it has ended.
    pub(super) fn settle_joins(&mut self, execution: ExecutionId, result: &Written<'a>, at: Timestamp) {
        for joiner in self.memos.take_waiters(Key::of_execution(execution)) {
            self.complete(joiner, None, result.clone(), at);
        }
    }

    /// The root of an execution. A step has an id of the same form, but is none.
    pub(super) fn root(&self, execution: ExecutionId) -> Option<&Row> {
        self.row(execution.root()).filter(|row| row.tree.parent.is_none())
    }

    /// An execution that is waited for has ended before, or was never there.
    fn join_ended(&mut self, joiner: TaskId, execution: ExecutionId, at: Timestamp) {
        let root = execution.root();
        match self.root(execution).map(|row| row.status) {
            Some(status) if status.is_terminal() => {
                let status = if status == TaskStatus::Completed { status } else { TaskStatus::Failed };
                self.change(joiner, |row| row.end(status, at));
                self.copy.push((joiner, root));
                self.count(joiner, at);
            }
            Some(_) => {}
            None => {
                let failure = own_failure(
                    Failure::NOT_FOUND,
                    format!("there is no execution {execution}; it was purged, or never dispatched"),
                );
                self.complete(joiner, None, Written::Kept(Err(failure.fatal())), at);
            }
        }
    }

    /// Ends a task that waited under a key.
    fn complete(&mut self, task: TaskId, mark: Option<Mark>, result: Written<'a>, at: Timestamp) {
        let Some(tree) = self.row(task).filter(|row| !row.status.is_terminal()).map(|row| row.tree) else {
            return;
        };
        let status = if result.as_result().is_ok() { TaskStatus::Completed } else { TaskStatus::Failed };
        self.change(task, |row| {
            row.started_at = row.started_at.or(Some(at));
            row.mark = mark;
            row.end(status, at);
        });
        self.write(task, result.clone());
        match (tree.parent, tree.owner) {
            (None, _) => {
                self.ended = true;
                // Who waits for this execution is known to the store only.
                let execution = tree.execution;
                self.follow_up(Key::of_execution(execution), CascadeStep::Joined { execution, at });
            }
            (Some(map), Some(owner))
                if self.related(map, task).is_some_and(|row| !row.status.is_terminal()) =>
            {
                self.complete_item(map, owner, &result, at);
            }
            (Some(_), Some(_)) => {}
            (Some(_), None) => self.count(task, at),
        }
    }

    /// Counts a step that has ended in its parent.
    fn count(&mut self, step: TaskId, at: Timestamp) {
        let parent = self.row(step).and_then(|row| row.tree.parent);
        if let Some(parent) = parent
            && self.related(parent, step).is_some_and(|row| !row.status.is_terminal())
        {
            self.complete_step(step, parent, at);
        }
    }
}

#[cfg(test)]
mod tests;
