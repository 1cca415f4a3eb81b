//! The history of a broken store, by which it can do the wrong thing at the right moment. Knows no mutant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stent_core::backend::{Claimed, PurgeRequest};
use stent_core::model::{Fence, NewTask, NewTaskState, StepKind};
use stent_core::transition::{Next, Outcome, Transition};
use stent_core::{ExecutionId, TaskId, Timestamp, WorkerId};

/// The history of one place, through all of its handles.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// Every transition, as it was received.
    pub(crate) sent: Vec<Transition>,
    /// The last claim of each task.
    pub(crate) claims: BTreeMap<TaskId, Claimed>,
    /// Workers that have claimed a task.
    pub(crate) claimers: BTreeSet<WorkerId>,
    /// The fence that the next write of a task under its last claim is checked against.
    pub(crate) fences: BTreeMap<TaskId, Fence>,
    /// Every purge request.
    pub(crate) purges: Vec<PurgeRequest>,
    /// How often any handle was called.
    pub(crate) calls: u32,
    /// Whether the last claim named a function twice.
    pub(crate) asked_twice: bool,
    /// Whether the last exchange sends no hint.
    pub(crate) is_silent: bool,
    /// How often the clock was read.
    pub(crate) ticks: i64,
    /// Every open handle has a clone of this.
    pub(crate) open: Arc<()>,
    parents: BTreeMap<TaskId, TaskId>,
    kinds: BTreeMap<TaskId, StepKind>,
}

impl Past {
    /// Records an exchange: the transitions as received, and the outcomes of the correct store.
    pub(crate) fn learn(&mut self, batch: &[Transition], outcomes: &[Outcome], claimed: &[Claimed]) {
        for (transition, outcome) in batch.iter().zip(outcomes) {
            for new in transition.rows() {
                self.kinds.insert(new.id, new.kind);
                self.parents.extend(new.tree.parent.map(|parent| (new.id, parent)));
            }
            let fence = self.fences.get_mut(&transition.task());
            if let (Transition::Commit(_), Outcome::Applied(_), Some(fence)) = (transition, outcome, fence) {
                *fence = fence.next();
            }
        }
        self.sent.extend_from_slice(batch);
        for claimed in claimed {
            self.claims.insert(claimed.task.id, claimed.clone());
            self.fences.insert(claimed.task.id, claimed.fence);
        }
    }

    /// Whether no handle is open: either the first is about to be opened, or all were lost in a crash.
    pub(crate) fn is_left(&self) -> bool {
        Arc::strong_count(&self.open) == 1
    }

    /// Whether exactly this transition was received before.
    pub(crate) fn knows(&self, transition: &Transition) -> bool {
        self.sent.contains(transition)
    }

    /// Whether a task is below one that is not its execution's root.
    pub(crate) fn is_deep(&self, task: TaskId) -> bool {
        self.parents.get(&task).is_some_and(|parent| self.parents.contains_key(parent))
    }

    /// The parent of a task.
    pub(crate) fn parent(&self, task: TaskId) -> Option<TaskId> {
        self.parents.get(&task).copied()
    }

    /// Every row that was written, in order of arrival.
    pub(crate) fn rows(&self) -> impl DoubleEndedIterator<Item = &NewTask> {
        self.sent.iter().flat_map(Transition::rows)
    }

    /// The moment since which a task is due: its due time, or the end of its last lease.
    pub(crate) fn due(&self, task: TaskId) -> Option<Timestamp> {
        if let Some(claimed) = self.claims.get(&task) {
            return Some(claimed.lease.until);
        }
        match self.rows().find(|row| row.id == task)?.state {
            NewTaskState::Pending { ready_at } => Some(ready_at),
            _ => None,
        }
    }

    /// Whether the last transition of a task's holder parked it.
    pub(crate) fn is_parked(&self, task: TaskId) -> bool {
        let last = self.sent.iter().rev().find(|sent| sent.task() == task);
        last.is_some_and(|sent| matches!(sent.next(), Some(Next::Park(_))))
    }

    /// Every dispatched execution, oldest first.
    pub(crate) fn executions(&self) -> impl Iterator<Item = ExecutionId> {
        let starts = self.sent.iter().filter(|sent| matches!(sent, Transition::Dispatch(_)));
        starts.map(|start| start.task().execution())
    }
}
