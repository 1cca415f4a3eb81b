//! Tasks that share a key: equal calls, waits for the same signal, and waits for the same execution.

use std::collections::{BTreeMap, BTreeSet};

use super::{Ledger, Reads, Row, Written};
use crate::limits::SIGNAL_SENDS_KEPT;
use crate::model::{KeyEntry, KeyEntryKind, Keyed, Mark, Marks, NewTask, NewTaskState, StepKind, TaskStatus};
use crate::{ExecutionId, Failure, Key, Payload, TaskId, Timestamp, own_failure};

/// A step of a cascade: the consequence of tasks that ended outside the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CascadeStep {
    /// The holder of a key has ended without a result: the oldest waiting task becomes the holder.
    Vacate {
        /// The key.
        key: Key,
        /// When.
        at: Timestamp,
    },
    /// A signal has a value that a wait can take.
    Deliver {
        /// The signal's key.
        key: Key,
        /// When.
        at: Timestamp,
    },
    /// An execution that was asked to end has no running task any more.
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
    /// The data with which a ledger must be loaded to apply these steps.
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

/// The key entries of a ledger, and the tasks that wait under each key.
#[derive(Debug, Default)]
pub(super) struct KeyEntries {
    key_entries: BTreeMap<Key, (KeyEntry, bool)>,
    forgotten: BTreeSet<Key>,
    waiters: BTreeMap<Key, BTreeSet<TaskId>>,
}

impl KeyEntries {
    pub(super) fn new(key_entries: impl IntoIterator<Item = KeyEntry>) -> Self {
        let key_entries =
            key_entries.into_iter().map(|key_entry| (key_entry.key, (key_entry, false))).collect();
        Self { key_entries, ..Self::default() }
    }

    /// Registers a row under its key if it waits.
    pub(super) fn notice(&mut self, row: &Row) {
        if let Some(key) = row.key.filter(|_| row.waits_for_key()) {
            self.waiters.entry(key).or_default().insert(row.id);
        }
    }

    pub(super) fn get(&self, key: Key) -> Option<&KeyEntry> {
        self.key_entries.get(&key).map(|(key_entry, _)| key_entry)
    }

    fn change(&mut self, key: Key) -> Option<&mut KeyEntry> {
        let (key_entry, dirty) = self.key_entries.get_mut(&key)?;
        *dirty = true;
        Some(key_entry)
    }

    pub(super) fn put(&mut self, key_entry: KeyEntry) {
        self.forgotten.remove(&key_entry.key);
        self.key_entries.insert(key_entry.key, (key_entry, true));
    }

    fn forget(&mut self, key: Key) {
        if self.key_entries.remove(&key).is_some() {
            self.forgotten.insert(key);
        }
    }

    /// Whether a key's entry, or a task that waits under the key, belongs to one of these executions.
    pub(super) fn concern(
        &self,
        key: Key,
        executions: &BTreeSet<ExecutionId>,
        execution_of: impl Fn(TaskId) -> Option<ExecutionId>,
    ) -> bool {
        let waiters = self.waiters(key).filter_map(execution_of);
        let mut all = self.get(key).map(|key_entry| key_entry.execution).into_iter().chain(waiters);
        all.any(|execution| executions.contains(&execution))
    }

    /// The loaded tasks that wait under a key.
    pub(super) fn waiters(&self, key: Key) -> impl Iterator<Item = TaskId> {
        self.waiters.get(&key).into_iter().flatten().copied()
    }

    /// Removes and returns all tasks that wait under a key, oldest first.
    fn take_waiters(&mut self, key: Key) -> BTreeSet<TaskId> {
        self.waiters.remove(&key).unwrap_or_default()
    }

    fn first_waiter(&mut self, key: Key) -> Option<TaskId> {
        self.waiters.get_mut(&key)?.pop_first()
    }

    /// Adds the key entry of an execution that was dispatched under a key.
    pub(super) fn dispatched(&mut self, key: Key, root: &NewTask) {
        let (execution, name) = (root.id.execution(), root.lane.function.clone());
        let holder = Some(root.id);
        self.put(KeyEntry { holder, ..KeyEntry::new(key, KeyEntryKind::Dispatch, execution, name) });
    }

    /// Stores the value of a signal. Returns whether it replaced a value that no wait had consumed; `None` if the same
    /// send was stored before.
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
            Some(key_entry) if key_entry.sends.contains(&id) => return None,
            Some(_) => {}
            None => self.put(KeyEntry::new(key, KeyEntryKind::Signal, execution, name.to_owned())),
        }
        let key_entry = self.change(key)?;
        key_entry.sends.push(id);
        let old = key_entry.sends.len().saturating_sub(SIGNAL_SENDS_KEPT);
        key_entry.sends.drain(..old);
        let replaced = key_entry.value.replace(value.clone()).is_some();
        key_entry.ended_at = Some(at);
        Some(replaced)
    }

    pub(super) fn into_writes(self) -> (Vec<KeyEntry>, Vec<Key>) {
        let changed =
            self.key_entries.into_values().filter(|(_, dirty)| *dirty).map(|(key_entry, _)| key_entry);
        (changed.collect(), self.forgotten.into_iter().collect())
    }
}

impl<'a> Ledger<'a> {
    /// Applies a step of a cascade.
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
                    // The root may have held a key.
                    self.cascade_execution(tree.execution, at);
                }
            }
            CascadeStep::Joined { execution, at } => {
                for joiner in self.key_entries.take_waiters(Key::of_execution(execution)) {
                    self.join_ended(joiner, execution, at);
                }
            }
        }
    }

    /// Applies the key of a new row.
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

    /// A call under a key: it gets the kept result at once, waits for the key's holder, or becomes the holder (G12).
    pub(super) fn insert_call(&mut self, new: &'a NewTask, Keyed { key, ttl }: Keyed, at: Timestamp) {
        let key_entry = self.key_entries.get(key);
        if let Some(value) = key_entry.and_then(|key_entry| key_entry.result(at)).cloned() {
            self.complete(new.id, Marks::of(Mark::Hit), Written::Kept(Ok(value)), at);
        } else if key_entry.is_some_and(|key_entry| key_entry.value.is_none()) {
            self.change(new.id, |row| {
                row.status = TaskStatus::Waiting;
                row.ready_at = None;
            });
            self.wait_under(key, new.id);
        } else {
            let key_entry =
                KeyEntry::new(key, KeyEntryKind::Result, new.tree.execution, new.lane.function.clone());
            self.key_entries.put(KeyEntry { holder: Some(new.id), ttl, ..key_entry });
        }
    }

    pub(super) fn wait_under(&mut self, key: Key, task: TaskId) {
        self.key_entries.waiters.entry(key).or_default().insert(task);
    }

    /// Ends a key's computation with the result of its holder.
    pub(super) fn settle_key(&mut self, task: TaskId, result: &Written<'a>, at: Timestamp) {
        let Some(key) = self.row(task).filter(|row| row.kind == StepKind::Call).and_then(|row| row.key)
        else {
            return;
        };
        if self.key_entries.get(key).is_none_or(|key_entry| key_entry.holder != Some(task)) {
            return;
        }
        match result.as_result() {
            Err(_) => self.vacate(key, at), // Failures are not kept.
            Ok(value) => {
                if let Some(key_entry) = self.key_entries.change(key) {
                    key_entry.value = Some(value.clone());
                    key_entry.ended_at = Some(at);
                    key_entry.expires_at = key_entry.ttl.map(|ttl| at + ttl);
                }
                for waiter in self.key_entries.take_waiters(key) {
                    self.complete(waiter, Marks::of(Mark::Hit), result.clone(), at);
                }
            }
        }
    }

    /// Makes the oldest waiting task the key's holder, after the holder ended without a result.
    fn vacate(&mut self, key: Key, at: Timestamp) {
        if self
            .key_entries
            .get(key)
            .is_none_or(|key_entry| key_entry.kind != KeyEntryKind::Result || key_entry.value.is_some())
        {
            return;
        }
        let Some(next) = self.first_waiter(key) else {
            self.key_entries.forget(key);
            return;
        };
        let execution = self.row(next).map(|row| row.tree.execution);
        if let (Some(key_entry), Some(execution)) = (self.key_entries.change(key), execution) {
            key_entry.holder = Some(next);
            key_entry.execution = execution;
        }
        self.change(next, |row| {
            row.status = TaskStatus::Pending;
            row.ready_at = Some(at);
        });
        self.ready = true;
    }

    /// The oldest task that still waits under a key; the same batch may have given up others.
    fn first_waiter(&mut self, key: Key) -> Option<TaskId> {
        loop {
            let next = self.key_entries.first_waiter(key)?;
            if self.row(next).is_some_and(|row| row.waits_for_key() && !row.is_stopping()) {
                return Some(next);
            }
        }
    }

    /// Returns a signal's value that was taken in this batch and never seen.
    pub(super) fn give_back(&mut self, key: Key, value: Payload) {
        if let Some(key_entry) = self.key_entries.change(key) {
            key_entry.value.get_or_insert(value);
        }
    }

    /// Gives a signal's value to the oldest wait for it (G11).
    pub(super) fn deliver(&mut self, key: Key, at: Timestamp) {
        if self
            .key_entries
            .get(key)
            .is_none_or(|key_entry| key_entry.kind != KeyEntryKind::Signal || key_entry.value.is_none())
        {
            return;
        }
        let Some(waiter) = self.first_waiter(key) else { return };
        if let Some(value) = self.key_entries.change(key).and_then(|key_entry| key_entry.value.take()) {
            self.complete(waiter, Marks::NONE, Written::Kept(Ok(value)), at);
        }
    }

    /// Completes the waits for an execution with its result.
    pub(super) fn settle_joins(&mut self, execution: ExecutionId, result: &Written<'a>, at: Timestamp) {
        for joiner in self.key_entries.take_waiters(Key::of_execution(execution)) {
            self.complete(joiner, Marks::NONE, result.clone(), at);
        }
    }

    /// The root of an execution. A step's id has the same form, but names no execution.
    pub(super) fn root(&self, execution: ExecutionId) -> Option<&Row> {
        self.row(execution.root()).filter(|row| row.tree.parent.is_none())
    }

    /// Completes a new wait for an execution that has ended already, or does not exist.
    pub(super) fn join_ended(&mut self, joiner: TaskId, execution: ExecutionId, at: Timestamp) {
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
                self.complete(joiner, Marks::NONE, Written::Kept(Err(failure.fatal())), at);
            }
        }
    }

    /// Ends a task that waited under a key, with these marks alone.
    fn complete(&mut self, task: TaskId, marks: Marks, result: Written<'a>, at: Timestamp) {
        let Some(tree) = self.row(task).filter(|row| !row.status.is_terminal()).map(|row| row.tree) else {
            return;
        };
        let status = if result.as_result().is_ok() { TaskStatus::Completed } else { TaskStatus::Failed };
        self.change(task, |row| {
            row.started_at = row.started_at.or(Some(at));
            row.marks = marks;
            row.end(status, at);
        });
        self.write(task, result.clone());
        match (tree.parent, tree.owner) {
            (None, _) => {
                self.ended = true;
                // Only the store knows the waits for this execution.
                let execution = tree.execution;
                self.ended_with_another(execution);
                self.cascade.steps.push(CascadeStep::Joined { execution, at });
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

    /// Counts an ended step in its parent.
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
