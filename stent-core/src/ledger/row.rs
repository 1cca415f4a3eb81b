//! One task's row: the part that changes.

use serde::{Deserialize, Serialize};

use crate::backend::Renewal;
use crate::model::{
    ClaimEnd, EndedClaim, Epoch, Fence, FunctionKey, Lease, Mark, NewTask, NewTaskState, Nonce, StepKind,
    TaskResult, TaskStatus, Tree,
};
use crate::{Digest, Key, TaskId, Timestamp, WorkerId};

/// The part of a task that changes in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The task.
    pub id: TaskId,
    /// Where it hangs.
    pub tree: Tree,
    /// What kind of task it is.
    pub kind: StepKind,
    /// Where it stands.
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
    /// Claims that were handed back.
    pub releases: u32,
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
    #[serde(rename = "wake_at")]
    pub wake_threshold: Option<u32>,
    /// Which completion of its parent it was.
    pub done_order: Option<u32>,
    /// Items written, for a map.
    pub fed: u32,
    /// Items in all, for a map whose last item is written.
    pub total: Option<u32>,
    /// The digest of its arguments, or of the items that a map was fed with so far.
    #[serde(default)]
    pub digest: Option<Digest>,
    /// Notes that its code has written.
    pub noted: u32,
    /// What its status does not say.
    pub mark: Option<Mark>,
    /// The key under which it is found.
    pub key: Option<Key>,
    /// When its time is up.
    pub expires_at: Option<Timestamp>,
    /// Set while it runs and its function's running tasks are counted. Those whose lease (`ready_at`) is over do not count, and
    /// [lose](Self::vacate) their place when it is given away.
    #[serde(rename = "slot")]
    pub limit_key: Option<FunctionKey>,
    /// When it was first claimed, or its code began in its parent's turn.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl Row {
    /// A row of which nothing is known but what and where it is: pending, and never due.
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
            mark: None,
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

    /// What a leaseholder's next write is checked against.
    #[must_use]
    pub const fn fence(&self) -> Fence {
        Fence { task: self.id, epoch: self.epoch, commit: self.commit }
    }

    /// Claims the task: the one change that a store makes without a transition. `slot` is set if the running tasks of its
    /// function are counted, that is if the request limits how many of it run at once. Gives the try that this claim puts an
    /// end to, if the task is taken over from a worker whose lease has run out: the store writes it.
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
        self.limit_key = slot;
        self.started_at = self.started_at.or(Some(now));
        crashed
    }

    /// Takes its place of a function's limit away, if its lease has run out: what a claim does with every task of the function
    /// when it counts the places (G8) and finds room. From then on its lease cannot be [renewed](Self::renew); it can
    /// still write.
    pub fn vacate(&mut self, function: FunctionKey, now: Timestamp) {
        if self.limit_key == Some(function) && self.ready_at.is_some_and(|ends_at| ends_at <= now) {
            self.limit_key = Some(FunctionKey::VACATED);
        }
    }

    /// Extends its lease to `until`, if the task still runs under that lease's claim: that the lease has run out does not
    /// matter, as long as nobody has claimed the task since (G2). But if it took a slot of a limit, it lost the slot when it ran
    /// out at `now`, or when a claim has [given it away](Self::vacate); a renewal that was decided earlier and comes later does
    /// not take it back (G8).
    pub fn renew(&mut self, lease: &Lease, now: Timestamp, until: Timestamp) -> Renewal {
        let has_slot = match self.limit_key {
            None => true,
            Some(FunctionKey::VACATED) => false,
            Some(_) => self.ready_at.is_some_and(|ends_at| ends_at > now),
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

    /// Gives up a task that is below one which was given up: what a store does to those that it [sweeps](super::Writes::sweep).
    pub fn cancel(&mut self, at: Timestamp) {
        if !self.status.is_terminal() {
            self.end(TaskStatus::Cancelled, at);
        }
    }

    /// Asks an open task below one that was asked to end to do so too: what a store does to those that it
    /// [stops](super::Writes::stop). What does not run ends at once.
    pub fn stop(&mut self, at: Timestamp) {
        match self.status {
            TaskStatus::Running => self.mark = Some(Mark::Cancel),
            _ => self.cancel(at),
        }
    }

    /// Whether it is asked to end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.mark == Some(Mark::Cancel) && !self.status.is_terminal()
    }

    /// Whether it waits for a value under its key, and for nothing else.
    #[must_use]
    pub const fn waits_for_key(&self) -> bool {
        self.key.is_some() && matches!(self.status, TaskStatus::Waiting) && self.epoch.count == 0
    }

    /// Whether it took a signal that, if it is given up now, the code has never seen and others may want (G11).
    pub(super) fn has_unseen_signal(&self) -> bool {
        self.kind == StepKind::Signal && self.status == TaskStatus::Completed && self.mark.is_none()
    }

    pub(super) fn end(&mut self, status: TaskStatus, at: Timestamp) {
        debug_assert!(status.is_terminal());
        self.status = status;
        self.rest();
        self.ready_at = None;
        self.wake_threshold = None;
        self.ended_at = Some(at);
    }

    /// Nobody works on it any more.
    pub(super) const fn rest(&mut self) {
        self.worker = None;
        self.limit_key = None;
    }

    /// A turn of it was committed.
    pub(super) fn progress(&mut self) {
        self.uncommitted_claims = 0;
        self.clear_redrive();
    }

    /// It has come further than where it was redriven.
    pub(super) fn clear_redrive(&mut self) {
        self.mark = self.mark.filter(|mark| *mark != Mark::Redrive);
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
