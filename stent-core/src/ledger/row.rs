//! One task's row: the part that changes.

use serde::{Deserialize, Serialize};

use crate::backend::Renewal;
use crate::model::{
    ClaimEnd, EndedClaim, Epoch, Fence, FunctionKey, Lease, Mark, Marks, NewTask, NewTaskState, Nonce,
    Progress, Seq, Slot, Step, StepKind, StepState, TaskResult, TaskStatus, Tree,
};
use crate::{Digest, Key, Payload, TaskId, Timestamp, WorkerId};

/// The part of a task that changes in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The task.
    pub id: TaskId,
    /// Its position in the execution's tree.
    pub tree: Tree,
    /// Its kind.
    pub kind: StepKind,
    /// Its status.
    pub status: TaskStatus,
    /// Its last claim.
    pub epoch: Epoch,
    /// Claims since the last committed turn.
    #[serde(rename = "tries")]
    pub uncommitted_claims: u32,
    /// Attempts that failed and were retried.
    pub attempts: u32,
    /// Claims whose lease ran out.
    pub crashes: u32,
    /// Claims that were released.
    pub releases: u32,
    /// Transitions committed by its leaseholders.
    pub commit: u32,
    /// The claim under which the last of them was committed.
    pub commit_epoch: Epoch,
    /// When it is due: the due time of a pending task, the end of a lease, the latest moment of a wait, the moment of
    /// a sleep.
    pub ready_at: Option<Timestamp>,
    /// The worker that holds the lease.
    pub worker: Option<WorkerId>,
    /// Steps, or items, that have ended.
    pub done: u32,
    /// The count of `done` at which a parked task is woken; for a map, the count at which its owner is woken.
    #[serde(rename = "wake_at")]
    pub wake_threshold: Option<u32>,
    /// The number of its completion in the parent.
    pub done_order: Option<u32>,
    /// Items written, for a map.
    pub fed: u32,
    /// Items in all, for a map whose last item is written.
    pub total: Option<u32>,
    /// The digest of its arguments, or of the items that a map was fed with so far.
    #[serde(default)]
    pub digest: Option<Digest>,
    /// The number of notes that its code has written.
    pub noted: u32,
    /// Facts that its status does not express.
    #[serde(rename = "mark", default)]
    pub marks: Marks,
    /// The key under which other tasks find it.
    pub key: Option<Key>,
    /// Its deadline.
    pub expires_at: Option<Timestamp>,
    /// Set while the task runs and takes a slot of its function's limit. A task whose lease (`ready_at`) has expired does not
    /// count, and [loses](Self::vacate) its slot when a claim gives the slot to another task.
    #[serde(rename = "slot")]
    pub limit_key: Option<Slot>,
    /// When it was first claimed, or its code began in its parent's turn.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl Row {
    /// A new row of a task of this kind at this position: pending, and never due.
    #[must_use]
    pub const fn new(id: TaskId, tree: Tree, kind: StepKind) -> Self {
        Self {
            id,
            tree,
            kind,
            status: TaskStatus::Pending,
            epoch: Epoch::NEVER,
            uncommitted_claims: 0,
            attempts: 0,
            crashes: 0,
            releases: 0,
            commit: 0,
            commit_epoch: Epoch::NEVER,
            ready_at: None,
            worker: None,
            done: 0,
            wake_threshold: None,
            done_order: None,
            fed: 0,
            total: None,
            digest: None,
            noted: 0,
            marks: Marks::NONE,
            key: None,
            expires_at: None,
            limit_key: None,
            started_at: None,
            ended_at: None,
        }
    }

    pub(super) fn of(new: &NewTask, at: Timestamp) -> Self {
        let mut row = Self {
            attempts: new.attempts,
            digest: new.digest,
            key: new.keyed.map(|keyed| keyed.key),
            expires_at: new.expires_at,
            ..Self::new(new.id, new.tree, new.kind)
        };
        match &new.state {
            NewTaskState::Pending { ready_at } => row.ready_at = Some(*ready_at),
            NewTaskState::Leased { started_at, worker, nonce, until } => {
                row.status = TaskStatus::Running;
                row.epoch = Epoch::new(1, *nonce);
                row.uncommitted_claims = 1;
                row.worker = Some(*worker);
                row.ready_at = Some(*until);
                row.started_at = Some(*started_at);
            }
            NewTaskState::Timer { due } => {
                row.status = TaskStatus::Waiting;
                row.ready_at = Some(*due);
                row.started_at = Some(at);
            }
            NewTaskState::Map | NewTaskState::Signal | NewTaskState::Join { .. } => {
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

    /// The fence that a leaseholder's next write must pass.
    #[must_use]
    pub const fn fence(&self) -> Fence {
        Fence { task: self.id, epoch: self.epoch, commit: self.commit }
    }

    /// Claims the task: the only change that a store makes without a transition. `slot` is set if the request limits how
    /// many tasks of the function run at once, so that running tasks are counted. If the task is taken over from a worker
    /// whose lease has expired, returns that worker's ended claim, which the store writes.
    ///
    /// The store then [fires](Self::fire) the sleeps below the task that are due, by moment and then position.
    pub fn claim(
        &mut self,
        worker: WorkerId,
        nonce: Nonce,
        now: Timestamp,
        until: Timestamp,
        slot: Option<FunctionKey>,
    ) -> Option<EndedClaim> {
        debug_assert!(!self.status.is_terminal() && self.ready_at.is_some_and(|ready_at| ready_at <= now));
        let crashed = (self.status == TaskStatus::Running).then_some(EndedClaim {
            task: self.id,
            execution: self.tree.execution,
            epoch: self.epoch,
            worker: self.worker,
            end: ClaimEnd::Crashed,
            at: now,
            failure: None,
        });
        self.crashes += u32::from(crashed.is_some());
        self.status = TaskStatus::Running;
        self.epoch = self.epoch.next(nonce);
        self.uncommitted_claims += 1;
        self.worker = Some(worker);
        self.ready_at = Some(until);
        self.wake_threshold = None;
        self.limit_key = slot.map(Slot::Taken);
        self.started_at = self.started_at.or(Some(now));
        crashed
    }

    /// Frees the task's slot of a function's limit, if its lease has expired. A claim that counts the slots (G8) and finds
    /// room does this for every task of the function. From then on the lease cannot be [renewed](Self::renew); its holder can
    /// still write.
    pub fn vacate(&mut self, function: FunctionKey, now: Timestamp) {
        if self.limit_key == Some(Slot::Taken(function))
            && self.ready_at.is_some_and(|ends_at| ends_at <= now)
        {
            self.limit_key = Some(Slot::Vacated);
        }
    }

    /// The task as a step of its parent, given the parts that never change and the result that the task ended with.
    #[must_use]
    pub fn to_step(&self, seq: Seq, name: String, result: Option<TaskResult>) -> Step {
        let state = match (self.status, self.done_order, self.ended_at) {
            (TaskStatus::Cancelled, ..) => StepState::Cancelled,
            (TaskStatus::Completed | TaskStatus::Failed, Some(order), Some(at)) => {
                // A sleep and a map end without a result of their own.
                StepState::Done { order, at, result: result.unwrap_or(Ok(Payload::empty())) }
            }
            _ => StepState::Open { due: self.ready_at.filter(|_| self.kind == StepKind::Sleep) },
        };
        Step { id: self.id, seq, kind: self.kind, name, state, map: self.map_progress(), digest: self.digest }
    }

    /// Whether the row is the root of an execution that failed for good, and that nobody has redriven or discarded yet.
    #[must_use]
    pub fn is_dead_letter(&self) -> bool {
        self.tree.parent.is_none() && self.status == TaskStatus::Failed && self.marks.is_empty()
    }

    /// The progress of a map; `None` for other tasks.
    #[must_use]
    pub fn map_progress(&self) -> Option<Progress> {
        self.kind.is_map().then_some(Progress { fed: self.fed, total: self.total, done: self.done })
    }

    /// Extends the lease to `until`, if the task still runs under the lease's claim. An expired lease can be extended, as long
    /// as nobody has claimed the task since (G2). But a lease that takes a slot of a limit is lost once it has expired at `now`,
    /// or once a claim has [given the slot away](Self::vacate); a renewal that was decided earlier and arrives later does not
    /// take the slot back (G8).
    pub fn renew(&mut self, lease: &Lease, now: Timestamp, until: Timestamp) -> Renewal {
        let has_slot = match self.limit_key {
            None => true,
            Some(Slot::Vacated) => false,
            Some(Slot::Taken(_)) => self.ready_at.is_some_and(|ends_at| ends_at > now),
        };
        if self.status != TaskStatus::Running || self.epoch != lease.epoch || !has_slot {
            return Renewal::Lost;
        }
        self.ready_at = Some(until);
        Renewal::Renewed
    }

    /// Completes a sleep as the next completion of its parent.
    pub fn fire(&mut self, parent: &mut Self, at: Timestamp) {
        debug_assert!(self.kind == StepKind::Sleep && !self.status.is_terminal());
        parent.done += 1;
        self.done_order = Some(parent.done);
        self.end(TaskStatus::Completed, at);
    }

    /// Cancels a task below a cancelled one. A store calls this for each task that it [sweeps](super::Writes::sweep).
    pub fn cancel(&mut self, at: Timestamp) {
        if !self.status.is_terminal() {
            self.end(TaskStatus::Cancelled, at);
        }
    }

    /// Asks an open task to end because its execution was asked to. A store calls this for each task that
    /// it [stops](super::Writes::stop). A task that does not run ends at once.
    pub fn stop(&mut self, at: Timestamp) {
        match self.status {
            TaskStatus::Running => self.ask_to_end(),
            _ => self.cancel(at),
        }
    }

    /// Marks the task as asked to end, or a wait as given up. A request to end replaces a redrive: the task is not retried any more.
    pub(super) const fn ask_to_end(&mut self) {
        self.marks = self.marks.without(Mark::Redrive).with(Mark::Cancel);
    }

    /// Whether the task was asked to end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.marks.contains(Mark::Cancel) && !self.status.is_terminal()
    }

    /// Whether the task waits only for a value under its key.
    #[must_use]
    pub const fn waits_for_key(&self) -> bool {
        self.key.is_some() && matches!(self.status, TaskStatus::Waiting) && self.epoch.count == 0
    }

    /// Whether the wait took a signal's value that the code has never seen: if the wait is given up now, other waits
    /// may need the value (G11).
    pub(super) fn has_unseen_signal(&self) -> bool {
        self.kind == StepKind::Signal
            && self.status == TaskStatus::Completed
            && !self.marks.contains(Mark::Cancel)
    }

    pub(super) fn end(&mut self, status: TaskStatus, at: Timestamp) {
        debug_assert!(status.is_terminal());
        self.status = status;
        self.rest();
        self.ready_at = None;
        self.wake_threshold = None;
        self.ended_at = Some(at);
    }

    /// Clears the worker and the limit slot: no worker runs the task any more.
    pub(super) const fn rest(&mut self) {
        self.worker = None;
        self.limit_key = None;
    }

    /// Records that a turn of the task was committed.
    pub(super) fn progress(&mut self) {
        self.uncommitted_claims = 0;
        self.clear_redrive();
    }

    /// Records that the task has progressed beyond the point of its redrive.
    pub(super) fn clear_redrive(&mut self) {
        self.marks = self.marks.without(Mark::Redrive);
    }

    /// Makes a parked task ready, no later than it was.
    pub(super) fn wake(&mut self, at: Timestamp) {
        if self.status == TaskStatus::Waiting {
            self.ready_at = Some(self.ready_at.map_or(at, |ready_at| ready_at.min(at)));
        }
    }

    pub(super) fn threshold_reached(&self) -> bool {
        self.wake_threshold.is_some_and(|wake_at| self.done >= wake_at)
    }
}

pub(super) const fn status_of(result: &TaskResult) -> TaskStatus {
    match result {
        Ok(_) => TaskStatus::Completed,
        Err(_) => TaskStatus::Failed,
    }
}
