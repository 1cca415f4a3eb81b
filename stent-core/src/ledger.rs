//! Applies transitions to rows.
//!
//! A store that can run Rust inside its transaction loads the rows that a batch [reads](Ledger::reads), applies the batch
//! here, and writes what came out. So the effect of a transition is written once, and two stores cannot differ in it; each
//! store still provides atomicity, claims and bytes. A store that must apply transitions elsewhere (a script in Redis,
//! say) is held to this by the conformance suite.
//!
//! The ledger applies; it does not decide. It counts, compares and copies: no delay is computed here, no retry considered.
//!
//! # How a store applies a batch
//!
//! In one transaction, which holds the rows that it reads against other writers until it ends:
//!
//! 1. Load what [`Ledger::reads`] names into [`Ledger::new`], as far as it exists: rows by id; for each key, its entry
//!    and the open rows that have the key, with their parents and owners.
//! 2. For each transition, in order: if the ledger [can apply](Ledger::can_apply) it, [`apply`](Ledger::apply) it. If
//!    not, do 3 to 5 first, and continue at 1 with the remaining transitions.
//! 3. Write [`Ledger::into_writes`], field by field in the order of [`Writes`]. If it fails, write nothing and fail the call.
//! 4. While [`Writes::cascade`] is not empty: find the rows that it names (see [`Cascade`]), load what
//!    [`CascadeStep::reads`] names, let a new ledger [`cascade`](Ledger::cascade) them, and write the result.
//! 5. Complete the news that [`lacks_steps`] names.
//!
//! A store that applies transitions one at a time, each with a ledger and a cascade of its own, never has to ask `can_apply`.
//!
//! | File | Holds |
//! |---|---|
//! | `ledger.rs` | transitions, one by one |
//! | `ledger/import.rs` | executions that come from another store, with their record |
//! | `ledger/keys.rs` | tasks that share a key: key entries, and the tasks that wait for them |
//! | `ledger/overlay.rs` | a batch played over the part of a store that was read, for stores that compare and write |
//! | `ledger/reach.rs` | which transitions wait until the store has run the cascade of earlier ones |
//! | `ledger/row.rs` | one task's row |
//! | `ledger/writes.rs` | the rows to read before a batch, and the changes to write after it |

mod import;
mod keys;
pub mod overlay;
mod reach;
mod row;
mod writes;

use std::collections::{BTreeMap, BTreeSet};

pub use keys::CascadeStep;
use keys::KeyEntries;
use reach::Reach;
pub use row::Row;
use row::status_of;
pub use writes::{Cascade, Insert, Noted, Reads, Update, Writes, Written};

use crate::backend::{Error, ErrorKind, Result};
use crate::model::{
    ClaimEnd, EndedClaim, Epoch, Fence, KeyEntry, Mark, NewTask, NewTaskState, RetryPolicy, Said, Slot,
    StepKind, TaskStatus, Tree,
};
use crate::transition::{
    Action, Commit, Dispatch, Expire, Feed, News, Next, Outcome, Postpone, Request, Transition, Unpark,
};
use crate::{ExecutionId, Failure, Key, TaskId, Timestamp};

/// Rows in memory to which a batch of transitions is applied.
#[derive(Debug, Default)]
pub struct Ledger<'a> {
    entries: BTreeMap<TaskId, Entry<'a>>,
    key_entries: KeyEntries,
    copy: Vec<(TaskId, TaskId)>,
    /// Signal values to return to their key entries, with the moment at which a wait took each.
    restore: Vec<(Option<Timestamp>, Option<u32>, TaskId)>,
    notes: Vec<Noted<'a>>,
    ended_claims: Vec<EndedClaim>,
    stop: Vec<(ExecutionId, Timestamp)>,
    sweep: Vec<TaskId>,
    erase: Vec<TaskId>,
    cascade: Cascade,
    reach: Reach,
    /// Tasks that were loaded, asked for or inserted. Kept in debug builds only.
    asked: BTreeSet<TaskId>,
    /// The first row that contradicts the store's own data.
    corrupt: Option<String>,
    ended: bool,
    ready: bool,
}

#[derive(Debug)]
struct Entry<'a> {
    row: Row,
    new: Option<(&'a NewTask, Timestamp)>,
    dirty: bool,
    /// The limit slot of the row when it was loaded. If the slot is free now, a claim may find work.
    slot: Option<Slot>,
    result: Option<Written<'a>>,
    retry: Option<&'a RetryPolicy>,
    queue: Option<&'a str>,
}

impl<'a> Entry<'a> {
    const fn loaded(row: Row) -> Self {
        let slot = row.limit_key;
        Self { row, new: None, dirty: false, slot, result: None, retry: None, queue: None }
    }
}

impl<'a> Ledger<'a> {
    /// The tasks and keys that a batch reads, beside the rows that it inserts itself.
    #[must_use]
    pub fn reads(batch: &[Transition]) -> Reads {
        let mut reads = Reads::default();
        for transition in batch {
            reads.add(transition);
        }
        reads
    }

    /// Creates a ledger from the store's data: the tasks and key entries that [`reads`](Self::reads) names, and the open tasks
    /// under those keys. A task may occur twice.
    pub fn new(rows: impl IntoIterator<Item = Row>, key_entries: impl IntoIterator<Item = KeyEntry>) -> Self {
        let mut ledger = Self { key_entries: KeyEntries::new(key_entries), ..Self::default() };
        for row in rows {
            ledger.key_entries.notice(&row);
            ledger.ask([row.id]);
            ledger.entries.insert(row.id, Entry::loaded(row));
        }
        ledger
    }

    /// Applies one transition.
    ///
    /// Ask [`can_apply`](Self::can_apply) first. The news of an applied transition has no steps. If `done` shows that other
    /// tasks completed steps in the meantime, the store adds those steps: see [`lacks_steps`].
    pub fn apply(&mut self, transition: &'a Transition) -> Outcome {
        if cfg!(debug_assertions) {
            self.ask(Self::reads(std::slice::from_ref(transition)).tasks);
        }
        let outcome = match transition {
            Transition::Dispatch(dispatch) => self.dispatch(dispatch),
            Transition::Commit(commit) => self.commit(commit),
            Transition::Request(request) => self.request(request),
            Transition::Expire(expire) => self.expire(expire),
            Transition::Unpark(unpark) => self.unpark(unpark),
            Transition::Postpone(postpone) => self.postpone(postpone),
            Transition::Import(import) => self.import(import),
        };
        if let Some(commit) = transition.commit().filter(|_| lacks_steps(transition, &outcome).is_some()) {
            self.reach.add_told(commit.tree.execution);
        }
        outcome
    }

    /// Returns the changes to write.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`], if the store lacks a row that must be there, or a task whose position in the tree differs from
    /// its worker's copy: a task with a parent that does not exist, say. The store then writes nothing and fails the call, so
    /// that the worker keeps the commit and reports it. If the ledger dropped the completion, the parent would wait forever
    /// and nobody would notice; if it panicked, one bad row would end a worker's loop.
    pub fn into_writes(mut self) -> Result<Writes<'a>> {
        if let Some(message) = self.corrupt {
            return Err(Error::new(ErrorKind::Corrupt, "exchange").with_message(message));
        }
        self.restore.sort_unstable();
        let mut writes = Writes {
            copy: self.copy,
            restore: self.restore.into_iter().rev().map(|(.., step)| step).collect(),
            notes: self.notes,
            ended_claims: self.ended_claims,
            stop: self.stop,
            sweep: self.sweep,
            erase: self.erase,
            cascade: self.cascade,
            ended: self.ended,
            ready: self.ready,
            ..Writes::default()
        };
        (writes.key_entries, writes.forget) = self.key_entries.into_writes();
        for entry in self.entries.into_values() {
            writes.ready |= entry.slot.is_some() && entry.row.limit_key.is_none(); // G8: a slot is free
            match entry.new {
                Some((task, created_at)) => {
                    writes.insert.push(Insert { task, row: entry.row, created_at, result: entry.result });
                }
                None if entry.dirty => {
                    let Entry { row, result, retry, queue, .. } = entry;
                    writes.update.push(Update { row, result, retry, queue });
                }
                None => {}
            }
        }
        Ok(writes)
    }

    fn dispatch(&mut self, dispatch: &'a Dispatch) -> Outcome {
        let Dispatch { root, key, at } = dispatch;
        if self.entries.contains_key(&root.id) {
            return Outcome::Already(News::default());
        }
        if let Some(key) = *key {
            match self.key_entries.get(key) {
                Some(key_entry) => return Outcome::Exists(key_entry.execution), // G12
                None => self.key_entries.dispatched(key, root),
            }
        }
        self.insert(root, *at);
        Outcome::Applied(News::default())
    }

    // Writes of the worker that has a parked task's code in memory.

    fn unpark(&mut self, unpark: &Unpark) -> Outcome {
        let Unpark { task, epoch, at } = *unpark;
        match self.parked(task, epoch) {
            Err(refused) => refused,
            Ok(Some(ready_at)) if ready_at <= at => Outcome::Already(News::default()),
            Ok(_) => {
                self.change(task, |row| row.wake(at));
                self.ready = true;
                Outcome::Applied(News::default())
            }
        }
    }

    fn postpone(&mut self, postpone: &Postpone) -> Outcome {
        let Postpone { task, epoch, at, from, until } = *postpone;
        match self.parked(task, epoch) {
            Err(refused) => refused,
            Ok(ready_at) if ready_at == Some(until) => Outcome::Already(News::default()),
            // G5: if the task became ready meanwhile, its due moment has changed.
            Ok(ready_at) if ready_at != Some(from) || from <= at => Outcome::Fenced,
            Ok(_) => {
                self.change(task, |row| row.ready_at = Some(until));
                Outcome::Applied(News::default())
            }
        }
    }

    /// The due moment of a task that is still parked as this claim left it.
    fn parked(&self, task: TaskId, epoch: Epoch) -> std::result::Result<Option<Timestamp>, Outcome> {
        let Some(row) = self.row(task) else { return Err(Outcome::Gone) };
        if row.status.is_terminal() {
            return Err(Outcome::Gone);
        }
        if row.status != TaskStatus::Waiting || row.epoch != epoch || row.is_stopping() {
            return Err(Outcome::Fenced);
        }
        Ok(row.ready_at)
    }

    // Writes of leaseholders.

    fn commit(&mut self, commit: &'a Commit) -> Outcome {
        let Commit { fence, tree, at, .. } = commit;
        let Some(row) = self.row(fence.task) else { return Outcome::Gone };
        // A repeated write: the count is higher under the same claim, and only the claim's holder raises it.
        if row.commit > fence.commit && row.commit_epoch == fence.epoch {
            // The task may have been asked to end before this write ended it: answer as the first time.
            let stopped = matches!(commit.next, Next::End(_)) && row.marks.contains(Mark::Cancel);
            return Outcome::Already(News { done: row.done, stopped, ..News::default() });
        }
        if row.status.is_terminal() {
            return Outcome::Gone; // G7
        }
        if row.status != TaskStatus::Running || row.fence() != *fence {
            return Outcome::Fenced; // G3: a stale epoch changes nothing.
        }
        if row.tree != *tree {
            return self.misplaced(fence.task, tree);
        }

        let stopping = row.is_stopping();
        self.change(fence.task, |row| {
            row.commit += 1;
            row.commit_epoch = fence.epoch;
        });
        self.note(commit);
        if stopping {
            // The task's new steps are not wanted any more; steps that have ended are recorded.
            self.insert_ended(commit);
        } else {
            self.insert_all(commit);
        }
        for step in &commit.fire {
            self.fire(*step, fence.task, *at);
        }
        self.cancel(&commit.cancel, *at);
        if stopping {
            // G4: without a retry, nothing leaves the record.
            self.cancel(&commit.erase, *at);
        } else {
            self.erase(&commit.erase, fence.task, *at);
            for feed in &commit.feed {
                self.feed(feed, fence.task, *at);
            }
        }
        let stopped = stopping && !matches!(commit.next, Next::Keep);
        if stopped {
            self.stopped(commit);
        } else {
            self.turn(commit);
        }
        let done = self.row(fence.task).map_or(0, |row| row.done);
        Outcome::Applied(News { done, stopped, ..News::default() })
    }

    /// Applies the next state of the task itself.
    fn turn(&mut self, commit: &'a Commit) {
        let Commit { fence: Fence { task, .. }, tree, at, next, .. } = commit;
        let (task, at) = (*task, *at);
        match next {
            Next::Keep => self.change(task, Row::progress),
            Next::Park(wait) => {
                let mut ready = false;
                for threshold in &wait.maps {
                    ready |= self.row(threshold.map).is_some_and(|map| map.done >= threshold.done);
                    self.change(threshold.map, |map| map.wake_threshold = Some(threshold.done));
                }
                self.change(task, |row| {
                    row.status = TaskStatus::Waiting;
                    row.progress();
                    row.rest();
                    row.wake_threshold = Some(wait.done);
                    // G5: steps that completed between the claim and this commit count here.
                    row.ready_at = if ready || row.threshold_reached() { Some(at) } else { wait.until };
                });
                self.ready |= ready || self.row(task).is_some_and(Row::threshold_reached);
            }
            Next::Retry { ready_at, failure } => {
                self.end_claim(task, ClaimEnd::Failed, Some(failure), at);
                self.change(task, |row| {
                    row.progress();
                    row.attempts += 1;
                });
                self.again(task, *ready_at);
                self.write(task, Written::Failure(failure));
            }
            Next::Redo => {
                self.change(task, Row::progress);
                self.again(task, at);
            }
            Next::Release => {
                self.end_claim(task, ClaimEnd::Released, None, at);
                self.change(task, |row| {
                    row.uncommitted_claims = row.uncommitted_claims.saturating_sub(1);
                    row.releases += 1;
                });
                self.again(task, at);
            }
            Next::End(result) => {
                if let Err(failure) = result {
                    self.end_claim(task, ClaimEnd::Failed, Some(failure), at);
                }
                self.change(task, |row| {
                    row.clear_redrive();
                    row.end(status_of(result), at);
                });
                self.write(task, Written::Result(result));
                self.settle(task, tree, &Written::Result(result), at);
            }
        }
    }

    /// Makes a task pending, due from this moment on.
    fn again(&mut self, task: TaskId, ready_at: Timestamp) {
        self.change(task, |row| {
            row.status = TaskStatus::Pending;
            row.rest();
            row.ready_at = Some(ready_at);
        });
        self.ready = true;
    }

    /// Ends the run of a task that was asked to end, whatever its code returned.
    fn stopped(&mut self, commit: &Commit) {
        let Commit { fence: Fence { task, .. }, tree, at, next, .. } = commit;
        let (task, at, ends) = (*task, *at, matches!(next, Next::End(_)));
        if tree.parent.is_none() {
            // A root ends when no task below it runs any more.
            self.change(task, |row| {
                row.status = TaskStatus::Waiting;
                row.rest();
                row.ready_at = None;
                row.wake_threshold = None;
            });
        } else {
            self.change(task, |row| row.end(TaskStatus::Cancelled, at));
            self.sweep(task, at);
        }
        self.cascade_execution(tree.execution, at);
        // The end of a root reads the tasks that wait for the execution.
        self.may_close(tree.execution, tree.parent.is_none() && ends);
    }

    // Requests from outside.

    fn request(&mut self, request: &'a Request) -> Outcome {
        let Request { execution, at, action } = request;
        let (task, at) = (execution.root(), *at);
        let Some(row) = self.root(*execution) else { return Outcome::Gone }; // A step is no execution.
        let (status, marks) = (row.status, row.marks);
        let is_dead_letter = row.is_dead_letter();
        match action {
            Action::Redrive { .. } if marks.contains(Mark::Redrive) => Outcome::Already(News::default()),
            Action::Redrive { retry, queue } if is_dead_letter => {
                self.change(task, |row| {
                    row.marks = row.marks.with(Mark::Redrive);
                    row.attempts = 0;
                    row.uncommitted_claims = 0;
                    row.ended_at = None;
                    row.expires_at = None;
                });
                self.again(task, at);
                if let Some(entry) = self.entries.get_mut(&task) {
                    entry.retry = retry.as_ref().or(entry.retry);
                    entry.queue = queue.as_deref().or(entry.queue);
                }
                Outcome::Applied(News::default())
            }
            Action::Discard if marks.contains(Mark::Discard) => Outcome::Already(News::default()),
            Action::Discard if is_dead_letter => {
                self.change(task, |row| row.marks = row.marks.with(Mark::Discard));
                Outcome::Applied(News::default())
            }
            Action::Redrive { .. } | Action::Discard => Outcome::Gone,
            Action::Cancel { .. } if status == TaskStatus::Cancelled => Outcome::Already(News::default()),
            Action::Cancel { .. } | Action::Signal { .. } if status.is_terminal() => Outcome::Gone, // G7
            Action::Cancel { until } => {
                if marks.contains(Mark::Cancel)
                    && row.expires_at.is_some_and(|expires_at| expires_at <= *until)
                {
                    return Outcome::Already(News::default());
                }
                self.change(task, |row| {
                    row.ask_to_end();
                    row.expires_at = Some(row.expires_at.map_or(*until, |expires_at| expires_at.min(*until)));
                    if row.status != TaskStatus::Running {
                        row.status = TaskStatus::Waiting;
                        row.ready_at = None;
                        row.wake_threshold = None;
                    }
                });
                self.stop.push((*execution, at));
                self.cascade_execution(*execution, at);
                self.may_close(*execution, true);
                self.ready = true; // Workers that run tasks of this execution check for changes.
                Outcome::Applied(News::default())
            }
            Action::Signal { key, name, id, value } => {
                let Some(replaced) = self.key_entries.send(*key, *execution, name, *id, value, at) else {
                    return Outcome::Already(News::default()); // G3
                };
                self.deliver(*key, at);
                Outcome::Applied(News { replaced, ..News::default() })
            }
        }
    }

    fn expire(&mut self, expire: &'a Expire) -> Outcome {
        let Expire { task, tree, at, failure, .. } = expire;
        let (task, at) = (*task, *at);
        let Some(row) = self.row(task) else { return Outcome::Gone };
        if row.marks.contains(Mark::Expire) {
            return Outcome::Already(News::default());
        }
        if row.status.is_terminal() {
            return Outcome::Gone; // G7
        }
        if row.expires_at.is_none_or(|expires_at| at < expires_at) {
            return Outcome::Fenced;
        }
        if row.tree != *tree {
            return self.misplaced(task, tree);
        }
        let written = if row.is_stopping() {
            self.change(task, |row| row.end(TaskStatus::Cancelled, at));
            if tree.parent.is_some() {
                self.may_close(tree.execution, false);
            }
            Written::Kept(Err(Failure::cancelled()))
        } else {
            self.change(task, |row| {
                row.end(TaskStatus::Failed, at);
                row.marks = row.marks.without(Mark::Redrive).with(Mark::Expire);
            });
            Written::Failure(failure)
        };
        self.sweep(task, at);
        self.write(task, written.clone());
        self.settle(task, tree, &written, at);
        Outcome::Applied(News::default())
    }

    // Effects of a task's end on other tasks.

    /// Counts the end of a task in its parent, wakes the parent if its wait is satisfied, and completes the tasks that
    /// wait under the task's keys.
    fn settle(&mut self, task: TaskId, tree: &Tree, result: &Written<'a>, at: Timestamp) {
        self.settle_key(task, result, at);
        let Some(parent) = tree.parent else {
            self.ended = true;
            self.settle_joins(tree.execution, result, at);
            return;
        };
        let Some(above) = self.related(parent, task) else { return };
        if above.status.is_terminal() {
            return;
        }
        match tree.owner {
            None => self.complete_step(task, parent, at),
            Some(owner) => self.complete_item(parent, owner, result, at),
        }
    }

    fn complete_step(&mut self, step: TaskId, parent: TaskId, at: Timestamp) {
        let mut order = None;
        let mut concerns = false;
        self.change(parent, |row| {
            row.done += 1;
            order = Some(row.done);
            if row.threshold_reached() && !row.is_stopping() {
                row.wake(at);
                concerns = true;
            }
            // Running code may await this step beside other work.
            concerns |= row.status == TaskStatus::Running;
        });
        self.ready |= concerns;
        self.change(step, |row| row.done_order = order);
    }

    fn complete_item(&mut self, map: TaskId, owner: TaskId, result: &Written<'a>, at: Timestamp) {
        self.change(map, |row| row.done += 1);
        let ends_map = self.row(map).is_some_and(|row| row.kind == StepKind::Map);
        if result.as_result().is_err() && ends_map {
            // The first failure ends the map; its other items are not wanted any more.
            self.change(map, |row| row.end(TaskStatus::Failed, at));
            self.write(map, result.clone());
            self.sweep(map, at);
            self.settle_map(map, owner, at);
        } else {
            self.check_map(map, owner, at);
        }
    }

    fn feed(&mut self, feed: &Feed, owner: TaskId, at: Timestamp) {
        let Some(row) = self.related(feed.map, owner) else { return };
        if row.status.is_terminal() {
            // The map ended while its owner wrote this chunk, and the transition that ended it did not see the chunk's
            // items: G15.
            let items = self.entries.values_mut().filter(|entry| entry.row.tree.parent == Some(feed.map));
            items.filter(|entry| entry.new.is_some()).for_each(|entry| entry.row.cancel(at));
            let execution = row_execution(self.row(feed.map));
            execution.into_iter().for_each(|execution| self.cascade_execution(execution, at));
            return;
        }
        let parent = row.tree.parent;
        self.change(feed.map, |row| {
            row.fed = feed.fed;
            row.total = feed.total;
            row.digest = feed.digest;
        });
        if let Some(owner) = parent {
            self.check_map(feed.map, owner, at);
        }
    }

    /// Completes a map whose items have all ended, or wakes its owner if the map needs more items.
    fn check_map(&mut self, map: TaskId, owner: TaskId, at: Timestamp) {
        let Some(row) = self.row(map) else { return };
        if row.status.is_terminal() {
            return;
        }
        if row.total == Some(row.done) {
            self.change(map, |row| row.end(TaskStatus::Completed, at));
            self.settle_map(map, owner, at);
        } else if row.threshold_reached() {
            self.change(map, |row| row.wake_threshold = None);
            self.change(owner, |row| {
                if !row.is_stopping() {
                    row.wake(at);
                }
            });
            self.ready = true;
        }
    }

    fn settle_map(&mut self, map: TaskId, owner: TaskId, at: Timestamp) {
        if self.related(owner, map).is_some_and(|row| !row.status.is_terminal()) {
            self.complete_step(map, owner, at);
        }
    }

    fn fire(&mut self, step: TaskId, parent: TaskId, at: Timestamp) {
        if self.row(step).is_none_or(|row| row.status.is_terminal()) {
            return;
        }
        let mut order = None;
        self.change(parent, |row| {
            row.done += 1;
            order = Some(row.done);
        });
        self.change(step, |row| {
            row.done_order = order;
            row.end(TaskStatus::Completed, at);
        });
    }

    fn cancel(&mut self, steps: &[TaskId], at: Timestamp) {
        for step in steps {
            let Some(row) = self.row(*step) else { continue };
            if !row.status.is_terminal() {
                self.change(*step, |row| row.cancel(at));
                self.sweep(*step, at);
            } else if row.has_unseen_signal() {
                let row = row.clone();
                let value = self.entries.get(step).and_then(|entry| entry.result.clone());
                self.change(*step, Row::ask_to_end);
                self.take_back(&row, value, at);
            }
        }
    }

    /// Returns a signal's value to its slot if a wait took it and the code has never seen it (G11).
    fn take_back(&mut self, wait: &Row, result: Option<Written<'a>>, at: Timestamp) {
        let Some(key) = wait.key else { return };
        match result {
            // The wait took the value in this batch, so the store does not have it yet.
            Some(Written::Kept(Ok(value))) => self.give_back(key, value),
            _ => self.restore.push((wait.ended_at, wait.done_order, wait.id)),
        }
        self.reach.add_key(key);
        self.reach.add_execution(wait.tree.execution);
        self.cascade.steps.push(CascadeStep::Deliver { key, at });
    }

    fn erase(&mut self, steps: &[TaskId], owner: TaskId, at: Timestamp) {
        if steps.is_empty() {
            return;
        }
        for step in steps {
            let Some(Entry { row, result, .. }) = self.entries.remove(step) else { continue };
            if row.has_unseen_signal() {
                self.take_back(&row, result, at);
            }
            self.cascade_execution(row.tree.execution, at);
            self.erase.push(*step);
        }
        // Loaded tasks below the erased ones go, too, so that nothing else in this batch completes such a task.
        let mut gone: BTreeSet<TaskId> = steps.iter().copied().collect();
        loop {
            let is_below = |entry: &Entry<'_>| {
                entry.row.id != owner && entry.row.tree.parent.is_some_and(|parent| gone.contains(&parent))
            };
            let below: Vec<_> =
                self.entries.extract_if(.., |_, entry| is_below(entry)).map(|(id, _)| id).collect();
            if below.is_empty() {
                break;
            }
            gone.extend(below);
        }
    }

    /// Records that tasks of an execution end which are not loaded. The execution itself may end with them, and waits
    /// for it then complete.
    fn cascade_execution(&mut self, execution: ExecutionId, at: Timestamp) {
        self.reach.add_key(Key::of_execution(execution));
        self.reach.add_execution(execution);
        self.cascade.add(execution, at);
    }

    fn sweep(&mut self, root: TaskId, at: Timestamp) {
        let execution = row_execution(self.row(root));
        execution.into_iter().for_each(|execution| self.cascade_execution(execution, at));
        self.sweep.push(root);
    }

    fn note(&mut self, commit: &'a Commit) {
        let Commit { fence: Fence { task, .. }, tree, at, notes, .. } = commit;
        let noted =
            |said: &'a Said| Noted { execution: tree.execution, task: said.task, at: *at, note: &said.note };
        self.notes.extend(notes.iter().map(noted));
        let own = notes.iter().filter(|said| said.task == *task).count();
        self.change(*task, |row| {
            row.noted = row.noted.saturating_add(u32::try_from(own).unwrap_or(u32::MAX));
        });
    }

    fn end_claim(&mut self, task: TaskId, end: ClaimEnd, failure: Option<&Failure>, at: Timestamp) {
        let tried = self.row(task).map(|row| EndedClaim {
            task,
            execution: row.tree.execution,
            epoch: row.epoch,
            worker: row.worker,
            end,
            at,
            failure: failure.cloned(),
        });
        self.ended_claims.extend(tried);
    }

    fn insert_all(&mut self, commit: &'a Commit) {
        for new in &commit.insert {
            self.insert(new, commit.at);
        }
    }

    /// Inserts only the rows of a commit that have ended already, and the executions that these rows started (G1).
    fn insert_ended(&mut self, commit: &'a Commit) {
        let stands =
            |new: &NewTask| matches!(new.state, NewTaskState::Done { .. }) || new.tree.parent.is_none();
        for new in commit.insert.iter().filter(|new| stands(new)) {
            self.insert(new, commit.at);
        }
    }

    fn insert(&mut self, new: &'a NewTask, at: Timestamp) {
        if new.tree.parent.is_none() && self.entries.contains_key(&new.id) {
            return; // An earlier run spawned this execution from the same position.
        }
        let row = Row::of(new, at);
        let result = match &new.state {
            // A sleep ends without a result of its own, whether it was over at once or its timer fired.
            NewTaskState::Done { result: Ok(_), .. } if new.kind == StepKind::Sleep => None,
            NewTaskState::Done { result, .. } => Some(Written::Result(result)),
            _ => new.failure.as_ref().map(Written::Failure),
        };
        if let Some(failure) = &new.failure {
            self.ended_claims.push(EndedClaim {
                task: new.id,
                execution: new.tree.execution,
                epoch: Epoch::NEVER,
                worker: None,
                end: ClaimEnd::Failed,
                at,
                failure: Some(failure.clone()),
            });
        }
        let ended = row.status.is_terminal();
        self.ready |= matches!(new.state, NewTaskState::Pending { .. });
        self.ended |= new.tree.parent.is_none() && ended;
        self.ask([new.id]);
        let entry = Entry { new: Some((new, at)), dirty: true, slot: None, result, ..Entry::loaded(row) };
        self.entries.insert(new.id, entry);
        if ended
            && let Some(parent) = new.tree.parent
            && self.related(parent, new.id).is_some()
        {
            let mut order = None;
            self.change(parent, |above| {
                above.done += 1;
                order = Some(above.done);
            });
            self.change(new.id, |row| row.done_order = order);
        }
        self.insert_keyed(new, at);
    }

    /// Remembers the tasks that the store was asked for.
    fn ask(&mut self, tasks: impl IntoIterator<Item = TaskId>) {
        if cfg!(debug_assertions) {
            self.asked.extend(tasks);
        }
    }

    /// A task's row, if there is one. The store must have been asked for it, or its absence means nothing.
    fn row(&self, task: TaskId) -> Option<&Row> {
        debug_assert!(
            self.asked.contains(&task),
            "task {task} is used, but not in the reads of its transition"
        );
        self.peek(task)
    }

    /// A task's row, if it is loaded. The store may have a row that it was not asked for.
    fn peek(&self, task: TaskId) -> Option<&Row> {
        self.entries.get(&task).map(|entry| &entry.row)
    }

    /// The row of a task that must exist, because `task` names it: its parent, its owner, its map. If the store has none, the
    /// batch is not written.
    fn related(&mut self, related: TaskId, task: TaskId) -> Option<&Row> {
        if self.row(related).is_none() {
            self.corrupt.get_or_insert_with(|| {
                format!("task {task} belongs to task {related}, which is not in the store")
            });
        }
        self.row(related)
    }

    /// Records that a task's tree in the store differs from the one in the transition. The batch is not written.
    fn misplaced(&mut self, task: TaskId, tree: &Tree) -> Outcome {
        let stored = self.row(task).map(|row| row.tree);
        self.corrupt.get_or_insert_with(|| {
            format!("task {task} was claimed as a task at {tree:?}, but is stored at {stored:?}")
        });
        Outcome::Gone
    }

    fn change(&mut self, task: TaskId, change: impl FnOnce(&mut Row)) {
        debug_assert!(
            self.asked.contains(&task),
            "task {task} is changed, but not in the reads of its transition"
        );
        if let Some(entry) = self.entries.get_mut(&task) {
            change(&mut entry.row);
            entry.dirty = true;
        }
    }

    fn write(&mut self, task: TaskId, result: Written<'a>) {
        if let Some(entry) = self.entries.get_mut(&task) {
            entry.result = Some(result);
        }
    }
}

fn row_execution(row: Option<&Row>) -> Option<ExecutionId> {
    row.map(|row| row.tree.execution)
}

impl Reads {
    fn add(&mut self, transition: &Transition) {
        self.tasks.insert(transition.task());
        match transition {
            Transition::Dispatch(dispatch) => dispatch.key.iter().for_each(|key| self.add_key(*key)),
            Transition::Commit(commit) => self.add_commit(commit),
            Transition::Request(request) => match &request.action {
                Action::Signal { key, .. } => self.add_key(*key),
                // The execution may close, which completes the tasks that wait for it.
                Action::Cancel { .. } => {
                    self.keys.insert(Key::of_execution(request.execution));
                }
                Action::Redrive { .. } | Action::Discard => {}
            },
            Transition::Expire(expire) => self.add_end(&expire.tree, expire.key),
            Transition::Unpark(_) | Transition::Postpone(_) => {}
            Transition::Import(import) => self.add_import(import),
        }
        transition.rows().iter().for_each(|new| self.add_new(new));
    }

    fn add_commit(&mut self, commit: &Commit) {
        self.tasks.extend(&commit.fire);
        self.tasks.extend(&commit.cancel);
        self.tasks.extend(&commit.erase);
        self.tasks.extend(commit.feed.iter().map(|feed| feed.map));
        match &commit.next {
            Next::End(_) => self.add_end(&commit.tree, commit.key),
            Next::Park(wait) => self.tasks.extend(wait.maps.iter().map(|threshold| threshold.map)),
            Next::Keep | Next::Retry { .. } | Next::Redo | Next::Release => {}
        }
    }

    /// Adds the reads for a task that may end: the tasks above it, and the tasks that wait under its keys.
    fn add_end(&mut self, tree: &Tree, key: Option<Key>) {
        self.tasks.extend(tree.ancestors());
        key.iter().for_each(|key| self.add_key(*key));
        if tree.parent.is_none() {
            self.keys.insert(Key::of_execution(tree.execution));
        }
    }

    fn add_new(&mut self, new: &NewTask) {
        match (&new.state, new.keyed) {
            (NewTaskState::Join { execution }, keyed) => {
                self.tasks.insert(execution.root());
                self.keys.extend(keyed.map(|keyed| keyed.key));
            }
            (_, Some(keyed)) => self.add_key(keyed.key),
            (_, None) => {}
        }
        if new.tree.parent.is_none() {
            self.tasks.insert(new.id);
        }
    }

    /// A key under which there may be a key entry.
    fn add_key(&mut self, key: Key) {
        self.keys.insert(key);
        self.key_entries.insert(key);
    }
}

/// The task whose steps a store must read to complete an outcome's news, and how many completions the task's code has
/// seen. `None` if the holder gives the task up, or if no other task has completed a step of it meanwhile.
#[must_use]
pub fn lacks_steps(transition: &Transition, outcome: &Outcome) -> Option<(TaskId, u32)> {
    let commit = transition.commit().filter(|commit| matches!(commit.next, Next::Keep))?;
    let lacks = match outcome {
        Outcome::Applied(news) => news.done != commit.seen + commit.own_completions(),
        Outcome::Already(_) => true,
        Outcome::Fenced | Outcome::Exists(_) | Outcome::Gone => false,
    };
    lacks.then_some((commit.fence.task, commit.seen))
}

#[cfg(test)]
mod tests;
