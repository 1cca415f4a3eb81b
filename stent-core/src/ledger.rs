//! What transitions do to rows.
//!
//! A store that can run Rust inside its transaction loads the rows that a batch [reads](Ledger::reads), applies the batch
//! here, and writes what came out. So the effect of a transition is written once, and two stores cannot differ in it; what
//! remains a store's own is atomicity, the claim and the bytes. A store that must apply transitions elsewhere (a script in
//! Redis, say) is held to this by the conformance suite.
//!
//! The ledger applies; it does not decide. It counts, compares and copies: no delay is computed here, no retry considered.
//!
//! # How a store applies a batch
//!
//! In one transaction, which holds the rows that it reads against other writers until it ends:
//!
//! 1. Load what [`Ledger::reads`] names into [`Ledger::new`], as far as it exists: rows by id; for each key, its entry and the open
//!    rows that have the key, with their parents and owners.
//! 2. For each transition, in order: if the ledger [can apply](Ledger::can_apply) it, [`apply`](Ledger::apply) it. If not, do 3 and 4
//!    first, and go on at 1 with the transitions that are left.
//! 3. Write [`Ledger::into_writes`], field by field in the order of [`Writes`]. If it fails, write nothing and fail the call.
//! 4. While [`Writes::cascade`] is not empty: find the rows that it names (see [`Cascade`]), load what [`CascadeStep::reads`] names,
//!    let a new ledger [`cascade`](Ledger::cascade) them, and write the result.
//! 5. Complete the news that [`lacks_steps`] names.
//!
//! A store that applies transitions one at a time, each with a ledger and a cascade of its own, never has to ask `can_apply`.
//!
//! | File | Holds |
//! |---|---|
//! | `ledger.rs` | transitions, one by one |
//! | `ledger/keys.rs` | what tasks under the same key have to do with each other |
//! | `ledger/row.rs` | one task's row |
//! | `ledger/writes.rs` | what is read before, and written after |

mod keys;
mod row;
mod writes;

use std::collections::{BTreeMap, BTreeSet};

pub use keys::CascadeStep;
use keys::Memos;
pub use row::Row;
use row::status_of;
pub use writes::{Cascade, Insert, Noted, Reads, Update, Writes, Written};

use crate::backend::{Error, ErrorKind, Result};
use crate::model::{
    ClaimEnd, EndedClaim, Epoch, Fence, FunctionKey, KeyEntry, Mark, NewTask, NewTaskState, RetryPolicy,
    Said, StepKind, TaskStatus, Tree,
};
use crate::transition::{
    Action, Commit, Dispatch, Expire, Feed, News, Next, Outcome, Postpone, Request, Transition, Unpark,
};
use crate::{ExecutionId, Failure, Key, TaskId, Timestamp};

/// Rows in memory to which a batch of transitions is applied.
#[derive(Debug, Default)]
pub struct Ledger<'a> {
    entries: BTreeMap<TaskId, Entry<'a>>,
    memos: Memos,
    copy: Vec<(TaskId, TaskId)>,
    /// Signals to give back, with when they were taken.
    restore: Vec<(Option<Timestamp>, Option<u32>, TaskId)>,
    notes: Vec<Noted<'a>>,
    ended_claims: Vec<EndedClaim>,
    stop: Vec<(ExecutionId, Timestamp)>,
    sweep: Vec<TaskId>,
    erase: Vec<TaskId>,
    cascade: Cascade,
    /// The keys of the cascade, as far as they are known.
    cascading: BTreeSet<Key>,
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
    /// The slot that it had when it was loaded: one that is free now is worth a claim.
    slot: Option<FunctionKey>,
    result: Option<Written<'a>>,
    retry: Option<&'a RetryPolicy>,
}

impl<'a> Entry<'a> {
    const fn loaded(row: Row) -> Self {
        Self { slot: row.limit_key, row, new: None, dirty: false, result: None, retry: None }
    }
}

impl<'a> Ledger<'a> {
    /// What a batch reads, beside the rows that it inserts itself.
    #[must_use]
    pub fn reads(batch: &[Transition]) -> Reads {
        let mut reads = Reads::default();
        for transition in batch {
            reads.add(transition);
        }
        reads
    }

    /// A ledger of what exists: of the tasks and key entries that are [read](Self::reads), and of the open tasks under the keys
    /// that are. A task may come twice.
    pub fn new(rows: impl IntoIterator<Item = Row>, memos: impl IntoIterator<Item = KeyEntry>) -> Self {
        let mut ledger = Self { memos: Memos::new(memos), ..Self::default() };
        for row in rows {
            ledger.memos.notice(&row);
            ledger.ask([row.id]);
            ledger.entries.insert(row.id, Entry::loaded(row));
        }
        ledger
    }

    /// Applies one transition.
    ///
    /// Ask [`can_apply`](Self::can_apply) first. The news of an applied transition has no steps. If `done` shows that others
    /// completed steps in the meantime, the store adds them: see [`lacks_steps`].
    pub fn apply(&mut self, transition: &'a Transition) -> Outcome {
        if cfg!(debug_assertions) {
            self.ask(Self::reads(std::slice::from_ref(transition)).tasks);
        }
        match transition {
            Transition::Dispatch(dispatch) => self.dispatch(dispatch),
            Transition::Commit(commit) => self.commit(commit),
            Transition::Request(request) => self.request(request),
            Transition::Expire(expire) => self.expire(expire),
            Transition::Unpark(unpark) => self.unpark(unpark),
            Transition::Postpone(postpone) => self.postpone(postpone),
        }
    }

    /// Whether a transition can be applied to what is in memory. If not, write the changes, run their cascade, and go on with
    /// a new ledger, in the same transaction: the batch has ended tasks that are not here, and only the store knows which.
    #[must_use]
    pub fn can_apply(&self, transition: &Transition) -> bool {
        if self.cascade.is_empty() {
            return true;
        }
        let execution = match transition {
            Transition::Dispatch(_) => None,
            Transition::Commit(commit) => Some(commit.tree.execution),
            Transition::Request(request) => Some(request.execution),
            Transition::Expire(expire) => Some(expire.tree.execution),
            Transition::Unpark(Unpark { task, .. }) | Transition::Postpone(Postpone { task, .. }) => {
                row_execution(self.peek(*task))
            }
        };
        let swept = &self.cascade.executions;
        if execution.is_some_and(|execution| swept.contains_key(&execution)) {
            return false;
        }
        // Others end as if one by one, so that many which are over at once are still one batch.
        let reads = Self::reads(std::slice::from_ref(transition));
        let execution_of = |task| row_execution(self.peek(task));
        let waits_under = reads.tasks.iter().filter_map(|task| self.peek(*task)?.key);
        !reads
            .keys
            .iter()
            .copied()
            .chain(waits_under)
            .any(|key| self.cascading.contains(&key) || self.memos.concern(key, swept, execution_of))
    }

    /// What is to be written.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`], if the store lacks a row that must be there, or has a task in another place than its worker: a
    /// task with a parent that does not exist, say. The store then writes nothing and fails the call, so that the worker
    /// keeps the commit and reports it. To drop the completion would leave the parent waiting forever without a word, and
    /// a panic would end the loop of a worker over one bad row.
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
        (writes.memos, writes.forget) = self.memos.into_writes();
        for entry in self.entries.into_values() {
            writes.ready |= entry.slot.is_some() && entry.row.limit_key.is_none(); // G8: a place is free
            match entry.new {
                Some((task, created_at)) => {
                    writes.insert.push(Insert { task, row: entry.row, created_at, result: entry.result });
                }
                None if entry.dirty => {
                    writes.update.push(Update { row: entry.row, result: entry.result, retry: entry.retry });
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
            match self.memos.get(key) {
                Some(memo) => return Outcome::Exists(memo.execution), // G12
                None => self.memos.dispatched(key, root),
            }
        }
        self.insert(root, *at);
        Outcome::Applied(News::default())
    }

    // What the worker that holds a parked task's code says.

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
            // G5: whatever has made it ready meanwhile has made it due at another moment.
            Ok(ready_at) if ready_at != Some(from) || from <= at => Outcome::Fenced,
            Ok(_) => {
                self.change(task, |row| row.ready_at = Some(until));
                Outcome::Applied(News::default())
            }
        }
    }

    /// When a task is due that is parked where this claim left it.
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

    // What leaseholders write.

    fn commit(&mut self, commit: &'a Commit) -> Outcome {
        let Commit { fence, tree, at, .. } = commit;
        let Some(row) = self.row(fence.task) else { return Outcome::Gone };
        // The same write again: the count has moved past it, under this very claim. Only its holder could move it.
        if row.commit > fence.commit && row.commit_epoch == fence.epoch {
            // What ended the task may have found it asked to end: that is answered as it was the first time.
            let stopped = matches!(commit.next, Next::End(_)) && row.mark == Some(Mark::Cancel);
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
            // What it asks for now is not wanted any more; what it has done is recorded.
            self.insert_ended(commit);
        } else {
            self.insert_all(commit);
        }
        for step in &commit.fire {
            self.fire(*step, fence.task, *at);
        }
        self.cancel(&commit.cancel, *at);
        if stopping {
            // G4: nothing is tried again, so nothing leaves the record.
            self.cancel(&commit.erase, *at);
        } else {
            self.erase(&commit.erase, *at);
            for feed in &commit.feed {
                self.feed(feed, fence.task, *at);
            }
        }
        let stopped = stopping && !matches!(commit.next, Next::Keep);
        if stopped {
            self.stopped(fence.task, tree, *at);
        } else {
            self.turn(commit);
        }
        let done = self.row(fence.task).map_or(0, |row| row.done);
        Outcome::Applied(News { done, stopped, ..News::default() })
    }

    /// What becomes of the task itself.
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
                    // G5: what completed between the claim and this parking is counted here.
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

    /// It is to be claimed again from this moment on.
    fn again(&mut self, task: TaskId, ready_at: Timestamp) {
        self.change(task, |row| {
            row.status = TaskStatus::Pending;
            row.rest();
            row.ready_at = Some(ready_at);
        });
        self.ready = true;
    }

    /// A task that was asked to end stops working, however it does so.
    fn stopped(&mut self, task: TaskId, tree: &Tree, at: Timestamp) {
        if tree.parent.is_none() {
            // It ends once nothing below it runs any more.
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
        self.look_after(tree.execution, at);
    }

    // What is asked for from outside.

    fn request(&mut self, request: &'a Request) -> Outcome {
        let Request { execution, at, action } = request;
        let (task, at) = (execution.root(), *at);
        let Some(row) = self.root(*execution) else { return Outcome::Gone }; // A step is no execution.
        let (status, mark) = (row.status, row.mark);
        let is_dead_letter = status == TaskStatus::Failed && mark.is_none();
        match action {
            Action::Redrive { .. } if mark == Some(Mark::Redrive) => Outcome::Already(News::default()),
            Action::Redrive { retry } if is_dead_letter => {
                self.change(task, |row| {
                    row.mark = Some(Mark::Redrive);
                    row.attempts = 0;
                    row.uncommitted_claims = 0;
                    row.ended_at = None;
                    row.expires_at = None;
                });
                self.again(task, at);
                if let (Some(retry), Some(entry)) = (retry, self.entries.get_mut(&task)) {
                    entry.retry = Some(retry);
                }
                Outcome::Applied(News::default())
            }
            Action::Discard if mark == Some(Mark::Discard) => Outcome::Already(News::default()),
            Action::Discard if is_dead_letter => {
                self.change(task, |row| row.mark = Some(Mark::Discard));
                Outcome::Applied(News::default())
            }
            Action::Redrive { .. } | Action::Discard => Outcome::Gone,
            Action::Cancel { .. } if status == TaskStatus::Cancelled => Outcome::Already(News::default()),
            Action::Cancel { .. } | Action::Signal { .. } if status.is_terminal() => Outcome::Gone, // G7
            Action::Cancel { until } => {
                if mark == Some(Mark::Cancel) && row.expires_at.is_some_and(|expires_at| expires_at <= *until)
                {
                    return Outcome::Already(News::default());
                }
                self.change(task, |row| {
                    row.mark = Some(Mark::Cancel);
                    row.expires_at = Some(row.expires_at.map_or(*until, |expires_at| expires_at.min(*until)));
                    if row.status != TaskStatus::Running {
                        row.status = TaskStatus::Waiting;
                        row.ready_at = None;
                        row.wake_threshold = None;
                    }
                });
                self.stop.push((*execution, at));
                self.look_after(*execution, at);
                self.ready = true; // Those who run something of it look for what has changed.
                Outcome::Applied(News::default())
            }
            Action::Signal { key, name, id, value } => {
                let Some(replaced) = self.memos.send(*key, *execution, name, *id, value, at) else {
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
        if row.mark == Some(Mark::Expire) {
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
            Written::Kept(Err(Failure::cancelled()))
        } else {
            self.change(task, |row| {
                row.end(TaskStatus::Failed, at);
                row.mark = Some(Mark::Expire);
            });
            Written::Failure(failure)
        };
        self.sweep(task, at);
        self.write(task, written.clone());
        self.settle(task, tree, &written, at);
        Outcome::Applied(News::default())
    }

    // What the end of a task means for others.

    /// Counts the end of a task in the task above it, wakes whom that satisfies, and tells those who wait under its keys.
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
            // Its code may go on with this while it does something else.
            concerns |= row.status == TaskStatus::Running;
        });
        self.ready |= concerns;
        self.change(step, |row| row.done_order = order);
    }

    fn complete_item(&mut self, map: TaskId, owner: TaskId, result: &Written<'a>, at: Timestamp) {
        self.change(map, |row| row.done += 1);
        let ends_map = self.row(map).is_some_and(|row| row.kind == StepKind::Map);
        if result.as_result().is_err() && ends_map {
            // The first failure ends the map; what else it holds is not wanted any more.
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
            // The map ended while its owner wrote this chunk, and what ended it saw no item of the chunk: G15.
            let items = self.entries.values_mut().filter(|entry| entry.row.tree.parent == Some(feed.map));
            items.filter(|entry| entry.new.is_some()).for_each(|entry| entry.row.cancel(at));
            let execution = row_execution(self.row(feed.map));
            execution.into_iter().for_each(|execution| self.look_after(execution, at));
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

    /// Completes a map whose items have all ended, or wakes its owner if it is time for more.
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
                self.change(*step, |row| row.mark = Some(Mark::Cancel));
                self.take_back(&row, value, at);
            }
        }
    }

    /// Takes the value back that a wait for a signal has taken and the code has never seen (G11).
    fn take_back(&mut self, wait: &Row, result: Option<Written<'a>>, at: Timestamp) {
        let Some(key) = wait.key else { return };
        match result {
            // It was taken in this batch, so no store has it yet.
            Some(Written::Kept(Ok(value))) => self.give_back(key, value),
            _ => self.restore.push((wait.ended_at, wait.done_order, wait.id)),
        }
        self.follow_up(key, CascadeStep::Deliver { key, at });
    }

    fn erase(&mut self, steps: &[TaskId], at: Timestamp) {
        for step in steps {
            let Some(Entry { row, result, .. }) = self.entries.remove(step) else { continue };
            if row.has_unseen_signal() {
                self.take_back(&row, result, at);
            }
            self.look_after(row.tree.execution, at);
            self.erase.push(*step);
        }
    }

    /// Tasks of an execution end that are not here; so may it itself, and who waits for it be told.
    fn look_after(&mut self, execution: ExecutionId, at: Timestamp) {
        self.cascading.insert(Key::of_execution(execution));
        self.cascade.executions.insert(execution, at);
    }

    fn follow_up(&mut self, key: Key, up: CascadeStep) {
        self.cascading.insert(key);
        self.cascade.steps.push(up);
    }

    fn sweep(&mut self, root: TaskId, at: Timestamp) {
        let execution = row_execution(self.row(root));
        execution.into_iter().for_each(|execution| self.look_after(execution, at));
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

    /// Of what is to be inserted, that which has ended already, and the executions that it says were started (G1).
    fn insert_ended(&mut self, commit: &'a Commit) {
        let stands =
            |new: &NewTask| matches!(new.state, NewTaskState::Done { .. }) || new.tree.parent.is_none();
        for new in commit.insert.iter().filter(|new| stands(new)) {
            self.insert(new, commit.at);
        }
    }

    fn insert(&mut self, new: &'a NewTask, at: Timestamp) {
        if new.tree.parent.is_none() && self.entries.contains_key(&new.id) {
            return; // An execution that was spawned from this position before.
        }
        let row = Row::of(new, at);
        let result = match &new.state {
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
        let entry = Entry { row, new: Some((new, at)), dirty: true, slot: None, result, retry: None };
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

    /// Takes note of tasks that the store was asked for.
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

    /// A task's row, if it is here: the store may have it and was not asked.
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

    /// A task has another place in the store than in the transition. The batch is not written.
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
                Action::Cancel { .. } | Action::Redrive { .. } | Action::Discard => {}
            },
            Transition::Expire(expire) => self.add_end(&expire.tree, expire.key),
            Transition::Unpark(_) | Transition::Postpone(_) => {}
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

    /// The task may end: that changes the tasks above it, and concerns those who wait under its keys.
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
        self.memos.insert(key);
    }
}

/// Whose steps must be read to complete an outcome's news, and how many of their completions its code has seen: those of a
/// task whose holder goes on while others have completed steps of it.
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
