//! What transitions do to rows.
//!
//! A store that can run Rust inside its transaction loads the rows that a batch [reads](Ledger::reads), applies the batch
//! here, and writes what came out. So the effect of a transition is written once, and two stores cannot differ in it; what
//! remains a store's own is atomicity, the claim and the bytes. A store that must apply transitions elsewhere (a script in
//! Redis, say) is held to this by the conformance suite.
//!
//! The ledger applies; it does not decide. It counts, compares and copies: no delay is computed here, no retry considered.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Epoch, Fence, NewTask, NewTaskState, StepKind, TaskResult, TaskStatus, Tree};
use crate::transition::{Change, Feed, Guard, News, Outcome, Transition};
use crate::{ExecutionId, Failure, TaskId, Timestamp, WorkerId};

/// The part of a task that changes in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The task.
    pub id: TaskId,
    /// Where it hangs.
    pub tree: Tree,
    /// What kind of task it is.
    pub kind: StepKind,
    /// Where it stands.
    pub status: TaskStatus,
    /// Counts its claims.
    pub epoch: Epoch,
    /// Claims since the last committed turn.
    pub tries: u32,
    /// Attempts that failed and were retried.
    pub attempts: u32,
    /// Transitions committed by its leaseholders.
    pub commit: u32,
    /// The claim under which the last of them was committed.
    pub commit_epoch: Epoch,
    /// When it is worth claiming: the due time of a pending task, the end of a lease, the latest moment of a wait, the
    /// moment of a sleep.
    pub ready_at: Option<Timestamp>,
    /// Who holds the lease.
    pub worker: Option<WorkerId>,
    /// Steps, or items, that have ended.
    pub done: u32,
    /// The count of `done` at which it is woken: its own while it is parked; its owner's for a map.
    pub wake_at: Option<u32>,
    /// Which completion of its parent it was.
    pub done_order: Option<u32>,
    /// Items written, for a map.
    pub fed: u32,
    /// Items in all, for a map whose last item is written.
    pub total: Option<u32>,
    /// When it was first claimed.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl Row {
    fn of(new: &NewTask, at: Timestamp) -> Self {
        let mut row = Self {
            id: new.id,
            tree: new.tree,
            kind: new.kind,
            status: TaskStatus::Pending,
            epoch: Epoch(0),
            tries: 0,
            attempts: new.attempts,
            commit: 0,
            commit_epoch: Epoch(0),
            ready_at: None,
            worker: None,
            done: 0,
            wake_at: None,
            done_order: None,
            fed: 0,
            total: None,
            started_at: None,
            ended_at: None,
        };
        match &new.state {
            NewTaskState::Pending { ready_at } => row.ready_at = Some(*ready_at),
            NewTaskState::Leased { worker, until } => {
                row.status = TaskStatus::Running;
                row.epoch = Epoch(1);
                row.tries = 1;
                row.worker = Some(*worker);
                row.ready_at = Some(*until);
                row.started_at = Some(at);
            }
            NewTaskState::Timer { due } => {
                row.status = TaskStatus::Waiting;
                row.ready_at = Some(*due);
                row.started_at = Some(at);
            }
            NewTaskState::Map => {
                row.status = TaskStatus::Waiting;
                row.started_at = Some(at);
            }
            NewTaskState::Done { started_at, result } => {
                row.started_at = Some(*started_at);
                row.end(status_of(result), at);
            }
        }
        row
    }

    /// What a leaseholder's next write is checked against.
    #[must_use]
    pub const fn fence(&self) -> Fence {
        Fence { task: self.id, epoch: self.epoch, commit: self.commit }
    }

    /// Claims the task: the one change that a store makes without a transition.
    pub fn claim(&mut self, worker: WorkerId, now: Timestamp, until: Timestamp) {
        debug_assert!(!self.status.is_terminal() && self.ready_at.is_some_and(|ready_at| ready_at <= now));
        self.status = TaskStatus::Running;
        self.epoch = self.epoch.next();
        self.tries += 1;
        self.worker = Some(worker);
        self.ready_at = Some(until);
        self.wake_at = None;
        self.started_at = self.started_at.or(Some(now));
    }

    /// Completes a sleep as the next completion of its parent.
    pub fn fire(&mut self, parent: &mut Self, at: Timestamp) {
        debug_assert!(self.kind == StepKind::Sleep && !self.status.is_terminal());
        parent.done += 1;
        self.done_order = Some(parent.done);
        self.end(TaskStatus::Completed, at);
    }

    /// Gives up a task that is below one which was given up: what a store does to those that it [sweeps](Writes::sweep).
    pub fn cancel(&mut self, at: Timestamp) {
        if !self.status.is_terminal() {
            self.end(TaskStatus::Cancelled, at);
        }
    }

    fn end(&mut self, status: TaskStatus, at: Timestamp) {
        debug_assert!(status.is_terminal());
        self.status = status;
        self.ready_at = None;
        self.worker = None;
        self.wake_at = None;
        self.ended_at = Some(at);
    }

    /// Makes a parked task ready, no later than it was.
    fn wake(&mut self, at: Timestamp) {
        if self.status == TaskStatus::Waiting {
            self.ready_at = Some(self.ready_at.map_or(at, |ready_at| ready_at.min(at)));
        }
    }

    fn threshold_reached(&self) -> bool {
        self.wake_at.is_some_and(|wake_at| self.done >= wake_at)
    }
}

const fn status_of(result: &TaskResult) -> TaskStatus {
    match result {
        Ok(_) => TaskStatus::Completed,
        Err(_) => TaskStatus::Failed,
    }
}

/// Rows in memory to which a batch of transitions is applied.
#[derive(Debug, Default)]
pub struct Ledger<'a> {
    entries: BTreeMap<TaskId, Entry<'a>>,
    sweep: Vec<TaskId>,
    erase: Vec<TaskId>,
    /// Executions in which tasks were given up whose rows are not here.
    given_up: BTreeSet<ExecutionId>,
    ended: bool,
    ready: bool,
}

#[derive(Debug)]
struct Entry<'a> {
    row: Row,
    new: Option<(&'a NewTask, Timestamp)>,
    dirty: bool,
    result: Option<Written<'a>>,
}

/// What a row's result columns are set to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Written<'a> {
    /// The task's result.
    Result(&'a TaskResult),
    /// The last failure of a task that is tried again.
    Failure(&'a Failure),
}

/// What a batch of transitions changes.
#[derive(Debug, Default)]
pub struct Writes<'a> {
    /// Rows to insert, in the order of their ids.
    pub insert: Vec<Insert<'a>>,
    /// Rows to update, in the order of their ids.
    pub update: Vec<Update<'a>>,
    /// Every open task below these is to be cancelled, at the moment at which they themselves ended, once all else is
    /// written; they themselves are in `update` or `insert`.
    pub sweep: Vec<TaskId>,
    /// These are to be deleted with everything below them, after all else.
    pub erase: Vec<TaskId>,
    /// Whether an execution may have ended.
    pub ended: bool,
    /// Whether a task may have become ready.
    pub ready: bool,
}

impl Writes<'_> {
    /// Whether there is nothing to write.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.insert.is_empty() && self.update.is_empty() && self.sweep.is_empty() && self.erase.is_empty()
    }
}

/// A row to insert.
#[derive(Clone, Debug, PartialEq)]
pub struct Insert<'a> {
    /// What never changes.
    pub task: &'a NewTask,
    /// What does.
    pub row: Row,
    /// When it was written.
    pub created_at: Timestamp,
    /// Its result, if it is written ended.
    pub result: Option<Written<'a>>,
}

/// A row to update.
#[derive(Clone, Debug, PartialEq)]
pub struct Update<'a> {
    /// Its new state.
    pub row: Row,
    /// What its result columns are set to; none leaves them as they are.
    pub result: Option<Written<'a>>,
}

impl<'a> Ledger<'a> {
    /// The rows that a batch reads, beside those that it inserts itself. A store loads those that exist, and holds them
    /// against others until it has written.
    #[must_use]
    pub fn reads(batch: &[Transition]) -> BTreeSet<TaskId> {
        let mut reads = BTreeSet::new();
        for transition in batch {
            reads.insert(transition.guard.task());
            if let Guard::Leased { tree, .. } = &transition.guard
                && matches!(transition.change, Change::End(_))
            {
                reads.extend(tree.ancestors());
            }
            reads.extend(&transition.fire);
            reads.extend(&transition.cancel);
            reads.extend(&transition.erase);
            reads.extend(transition.feed.iter().map(|feed| feed.map));
            if let Change::Park(wait) = &transition.change {
                reads.extend(wait.maps.iter().map(|threshold| threshold.map));
            }
        }
        reads
    }

    /// A ledger of the rows that exist.
    pub fn new(rows: impl IntoIterator<Item = Row>) -> Self {
        let entries =
            rows.into_iter().map(|row| (row.id, Entry { row, new: None, dirty: false, result: None }));
        Self { entries: entries.collect(), ..Self::default() }
    }

    /// Applies one transition.
    ///
    /// Ask [`takes`](Self::takes) before. The news of an applied transition has no steps; where `done` shows that others completed steps meanwhile, the store
    /// adds them: see [`lacks_steps`].
    pub fn apply(&mut self, transition: &'a Transition) -> Outcome {
        match &transition.guard {
            Guard::Absent(task) => self.start(*task, transition),
            Guard::Leased { fence, tree } => self.leased(fence, tree, transition),
            Guard::Parked { task, epoch } => self.nudge(*task, *epoch, transition),
        }
    }

    /// Whether a transition can be applied to the rows in memory. If not, write what there is and go on with a new
    /// ledger, in the same transaction: the batch has given up tasks of this execution, and only the store knows
    /// which others hang below those.
    #[must_use]
    pub fn takes(&self, transition: &Transition) -> bool {
        let execution = match &transition.guard {
            Guard::Absent(_) => None,
            Guard::Leased { tree, .. } => Some(tree.execution),
            Guard::Parked { task, .. } => self.row(*task).map(|row| row.tree.execution),
        };
        execution.is_none_or(|execution| !self.given_up.contains(&execution))
    }

    /// What is to be written.
    #[must_use]
    pub fn into_writes(self) -> Writes<'a> {
        let mut writes = Writes {
            sweep: self.sweep,
            erase: self.erase,
            ended: self.ended,
            ready: self.ready,
            ..Writes::default()
        };
        for entry in self.entries.into_values() {
            match entry.new {
                Some((task, created_at)) => {
                    writes.insert.push(Insert { task, row: entry.row, created_at, result: entry.result });
                }
                None if entry.dirty => writes.update.push(Update { row: entry.row, result: entry.result }),
                None => {}
            }
        }
        writes
    }

    fn start(&mut self, task: TaskId, transition: &'a Transition) -> Outcome {
        debug_assert!(matches!(transition.change, Change::Start), "an absent task can only be started");
        if self.entries.contains_key(&task) {
            return Outcome::Already(News::default());
        }
        self.insert_all(transition);
        Outcome::Applied(News::default())
    }

    fn nudge(&mut self, task: TaskId, epoch: Epoch, transition: &Transition) -> Outcome {
        let Some(row) = self.row(task) else { return Outcome::Gone };
        if row.status.is_terminal() {
            return Outcome::Gone;
        }
        if row.status != TaskStatus::Waiting || row.epoch != epoch {
            return Outcome::Fenced;
        }
        let at = transition.at;
        if row.ready_at.is_some_and(|ready_at| ready_at <= at) {
            return Outcome::Already(News::default());
        }
        self.change(task, |row| row.wake(at));
        self.ready = true;
        Outcome::Applied(News::default())
    }

    fn leased(&mut self, fence: &Fence, tree: &Tree, transition: &'a Transition) -> Outcome {
        let Some(row) = self.row(fence.task) else { return Outcome::Gone };
        // The same write again: the count has moved past it, under this very claim. Only its holder could move it.
        if row.commit > fence.commit && row.commit_epoch == fence.epoch {
            return Outcome::Already(News { done: row.done, steps: Vec::new() });
        }
        if row.status.is_terminal() {
            return Outcome::Gone; // G7
        }
        if row.status != TaskStatus::Running || row.fence() != *fence {
            return Outcome::Fenced; // G3: a stale epoch changes nothing.
        }

        self.change(fence.task, |row| {
            row.commit += 1;
            row.commit_epoch = fence.epoch;
        });
        self.insert_all(transition);
        for step in &transition.fire {
            self.fire(*step, fence.task, transition.at);
        }
        self.cancel(&transition.cancel, transition.at);
        self.erase(&transition.erase);
        for feed in &transition.feed {
            self.feed(feed, transition.at);
        }
        self.turn(fence.task, tree, transition);
        let done = self.row(fence.task).map_or(0, |row| row.done);
        Outcome::Applied(News { done, steps: Vec::new() })
    }

    /// What becomes of the guarded task itself.
    fn turn(&mut self, task: TaskId, tree: &Tree, transition: &'a Transition) {
        let at = transition.at;
        match &transition.change {
            Change::Keep => self.change(task, |row| row.tries = 0),
            Change::Park(wait) => {
                let mut ready = false;
                for threshold in &wait.maps {
                    ready |= self.row(threshold.map).is_some_and(|map| map.done >= threshold.done);
                    self.change(threshold.map, |map| map.wake_at = Some(threshold.done));
                }
                self.change(task, |row| {
                    row.status = TaskStatus::Waiting;
                    row.tries = 0;
                    row.worker = None;
                    row.wake_at = Some(wait.done);
                    // G5: what completed between the claim and this parking is counted here.
                    row.ready_at = if ready || row.threshold_reached() { Some(at) } else { wait.until };
                });
                self.ready |= ready || self.row(task).is_some_and(Row::threshold_reached);
            }
            Change::Retry { ready_at, failure } => {
                self.change(task, |row| {
                    row.status = TaskStatus::Pending;
                    row.tries = 0;
                    row.attempts += 1;
                    row.worker = None;
                    row.ready_at = Some(*ready_at);
                });
                self.write(task, Written::Failure(failure));
                self.ready = true;
            }
            Change::Release => {
                self.change(task, |row| {
                    row.status = TaskStatus::Pending;
                    row.tries = row.tries.saturating_sub(1);
                    row.worker = None;
                    row.ready_at = Some(at);
                });
                self.ready = true;
            }
            Change::End(result) => {
                self.change(task, |row| row.end(status_of(result), at));
                self.write(task, Written::Result(result));
                self.settle(task, tree, result, at);
            }
            Change::Start | Change::Wake => {
                debug_assert!(false, "{:?} does not go with a leased guard", transition.change);
            }
        }
    }

    /// Counts the end of a task in the task above it, and wakes whom that satisfies.
    fn settle(&mut self, task: TaskId, tree: &Tree, result: &'a TaskResult, at: Timestamp) {
        let Some(parent) = tree.parent else {
            self.ended = true;
            return;
        };
        let Some(above) = self.row(parent) else { return };
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
        let mut woken = false;
        self.change(parent, |row| {
            row.done += 1;
            order = Some(row.done);
            if row.threshold_reached() {
                row.wake(at);
                woken = true;
            }
        });
        self.ready |= woken;
        self.change(step, |row| row.done_order = order);
    }

    fn complete_item(&mut self, map: TaskId, owner: TaskId, result: &'a TaskResult, at: Timestamp) {
        self.change(map, |row| row.done += 1);
        if result.is_err() {
            // The first failure ends the map; what else it holds is not wanted any more.
            self.change(map, |row| row.end(TaskStatus::Failed, at));
            self.write(map, Written::Result(result));
            self.sweep(map);
            self.settle_map(map, owner, at);
        } else {
            self.check_map(map, owner, at);
        }
    }

    fn feed(&mut self, feed: &Feed, at: Timestamp) {
        let Some(row) = self.row(feed.map) else { return };
        if row.status.is_terminal() {
            // The map ended while its owner wrote this chunk, and what ended it saw no item of the chunk: G15.
            let items = self.entries.values_mut().filter(|entry| entry.row.tree.parent == Some(feed.map));
            items.filter(|entry| entry.new.is_some()).for_each(|entry| entry.row.cancel(at));
            return;
        }
        let parent = row.tree.parent;
        self.change(feed.map, |row| {
            row.fed = feed.fed;
            row.total = feed.total;
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
            self.change(map, |row| row.wake_at = None);
            self.change(owner, |row| row.wake(at));
            self.ready = true;
        }
    }

    fn settle_map(&mut self, map: TaskId, owner: TaskId, at: Timestamp) {
        if self.row(owner).is_some_and(|row| !row.status.is_terminal()) {
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
            if self.row(*step).is_some_and(|row| !row.status.is_terminal()) {
                self.change(*step, |row| row.cancel(at));
                self.sweep(*step);
            }
        }
    }

    fn erase(&mut self, steps: &[TaskId]) {
        for step in steps {
            if let Some(entry) = self.entries.remove(step) {
                self.given_up.insert(entry.row.tree.execution);
                self.erase.push(*step);
            }
        }
    }

    fn sweep(&mut self, root: TaskId) {
        self.given_up.extend(self.row(root).map(|row| row.tree.execution));
        self.sweep.push(root);
    }

    fn insert_all(&mut self, transition: &'a Transition) {
        for new in &transition.insert {
            let mut row = Row::of(new, transition.at);
            let mut result = None;
            if let NewTaskState::Done { result: ended, .. } = &new.state {
                result = Some(Written::Result(ended));
                if let Some(parent) = new.tree.parent {
                    self.change(parent, |above| {
                        above.done += 1;
                        row.done_order = Some(above.done);
                    });
                }
            }
            self.ready |= matches!(new.state, NewTaskState::Pending { .. });
            self.ended |= new.tree.parent.is_none() && row.status.is_terminal();
            self.entries.insert(new.id, Entry { row, new: Some((new, transition.at)), dirty: true, result });
        }
    }

    fn row(&self, task: TaskId) -> Option<&Row> {
        self.entries.get(&task).map(|entry| &entry.row)
    }

    fn change(&mut self, task: TaskId, change: impl FnOnce(&mut Row)) {
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

/// Whether an outcome's news must be completed by reading the task's steps: its holder goes on, and others have completed
/// steps of it that its code has not seen.
#[must_use]
pub fn lacks_steps(transition: &Transition, outcome: &Outcome) -> bool {
    matches!(transition.change, Change::Keep)
        && match outcome {
            Outcome::Applied(news) => news.done != transition.seen + transition.own_completions(),
            Outcome::Already(_) => true,
            Outcome::Fenced | Outcome::Gone => false,
        }
}

#[cfg(test)]
mod tests;
