//! What is under the lock: every task, and the verbs that change them. Knows no lock, no clock and no waiting.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::slice;

use stent_core::backend::{ClaimRequest, Claimed, PurgeRequest, Renewal};
use stent_core::ledger::{Ledger, Row, Writes, Written, lacks_steps};
use stent_core::limits::CLAIM_MAX;
use stent_core::model::{Lease, NewTask, Seq, Step, StepKind, StepState, TaskResult, TaskStatus};
use stent_core::transition::{Outcome, Transition};
use stent_core::{TaskId, Timestamp};

/// All tasks by id, so in the order of their age.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) tasks: BTreeMap<TaskId, Record>,
    /// Who hangs below whom, in the order of position.
    pub(crate) children: BTreeSet<(TaskId, Seq, TaskId)>,
    hints: Hints,
}

/// One task.
#[derive(Debug)]
pub(crate) struct Record {
    /// What never changes; its `state` is how the task began.
    pub(crate) task: NewTask,
    /// What does.
    pub(crate) row: Row,
    pub(crate) created_at: Timestamp,
    /// The result, or the last failure of a task that is tried again.
    pub(crate) result: Option<TaskResult>,
}

/// What others may want to hear of.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    pub(crate) ready: bool,
    pub(crate) ended: bool,
}

impl Records {
    /// Applies one transition. Batches are applied one by one, which is what "as if one by one" is measured by.
    pub(crate) fn apply(&mut self, transition: &Transition) -> Outcome {
        let reads = Ledger::reads(slice::from_ref(transition));
        let mut ledger =
            Ledger::new(reads.iter().filter_map(|id| self.tasks.get(id)).map(|record| record.row.clone()));
        let mut outcome = ledger.apply(transition);
        self.write(ledger.into_writes(), transition.at);
        if lacks_steps(transition, &outcome)
            && let Outcome::Applied(news) | Outcome::Already(news) = &mut outcome
        {
            news.steps = self.steps_after(transition.guard.task(), transition.seen);
        }
        outcome
    }

    /// Claims what is due, in the order G9, and says when the next task is due.
    pub(crate) fn claim(&mut self, request: &ClaimRequest<'_>) -> (Vec<Claimed>, Option<Timestamp>) {
        let max = request.max.min(CLAIM_MAX);
        let mut due = Vec::new();
        let mut next_due = None;
        for record in
            self.tasks.values().filter(|record| record.claimable() && request.admits(&record.task.lane))
        {
            match record.row.ready_at {
                Some(ready_at) if ready_at <= request.now => {
                    due.push((Reverse(record.task.priority), ready_at, record.row.id)); // G9
                }
                Some(ready_at) => {
                    next_due = Some(next_due.map_or(ready_at, |next: Timestamp| next.min(ready_at)));
                }
                None => {}
            }
        }
        due.sort_unstable();
        let next_due = next_due.filter(|_| due.len() < max);
        due.truncate(max);
        (due.into_iter().filter_map(|(_, _, id)| self.claim_one(id, request)).collect(), next_due)
    }

    fn claim_one(&mut self, id: TaskId, request: &ClaimRequest<'_>) -> Option<Claimed> {
        let timers = self.due_timers(id, request.now);
        let recalled = request.recall.seen(id, self.tasks.get(&id)?.row.epoch);

        // The row leaves the map while it and the timers below it change together.
        let mut row = self.tasks.get(&id)?.row.clone();
        row.claim(request.worker, request.now, request.until);
        for timer in timers {
            self.tasks.get_mut(&timer)?.row.fire(&mut row, request.now);
        }
        let record = self.tasks.get_mut(&id)?;
        record.row = row;

        let task = record.as_task();
        let fence = record.row.fence();
        let lease = Lease { task: id, epoch: record.row.epoch, until: request.until };
        let steps = match recalled {
            Some(seen) => self.steps_since(id, seen),
            None => self.steps(id),
        };
        Some(Claimed { task, lease, fence, recalled, steps })
    }

    /// The sleeps of a task that are due, in the order of their moments.
    fn due_timers(&self, parent: TaskId, now: Timestamp) -> Vec<TaskId> {
        let mut timers: Vec<_> = self
            .below(parent)
            .filter(|record| record.task.kind == StepKind::Sleep && !record.row.status.is_terminal())
            .filter_map(|record| Some((record.row.ready_at?, record.task.seq, record.row.id)))
            .filter(|(due, ..)| *due <= now)
            .collect();
        timers.sort_unstable();
        timers.into_iter().map(|(.., id)| id).collect()
    }

    /// Extends a lease while its claim is the task's last one and the task runs.
    pub(crate) fn renew(&mut self, lease: &Lease, until: Timestamp) -> Renewal {
        match self.tasks.get_mut(&lease.task) {
            Some(Record { row, .. }) if row.status == TaskStatus::Running && row.epoch == lease.epoch => {
                row.ready_at = Some(until);
                Renewal::Renewed
            }
            _ => Renewal::Lost,
        }
    }

    /// Deletes executions that have ended, oldest first, and counts them.
    pub(crate) fn purge(&mut self, request: &PurgeRequest) -> u32 {
        let mut ended: Vec<_> = self
            .tasks
            .values()
            .filter(|record| record.task.tree.parent.is_none())
            .filter_map(|record| Some((record.row.ended_at?, record.row.id)))
            .filter(|(ended_at, _)| *ended_at < request.before)
            .collect();
        ended.sort_unstable();
        ended.truncate(usize::try_from(request.max).unwrap_or(usize::MAX));
        let executions: BTreeSet<_> = ended.into_iter().map(|(_, root)| root.execution()).collect();
        let gone: Vec<_> = self
            .tasks
            .values()
            .filter(|record| executions.contains(&record.task.tree.execution))
            .map(|record| record.row.id)
            .collect();
        gone.into_iter().for_each(|task| self.remove(task));
        u32::try_from(executions.len()).unwrap_or(u32::MAX)
    }

    /// What has happened since this was asked last.
    pub(crate) fn take_hints(&mut self) -> Hints {
        mem::take(&mut self.hints)
    }

    fn write(&mut self, writes: Writes<'_>, at: Timestamp) {
        for insert in writes.insert {
            let id = insert.row.id;
            if let Some(parent) = insert.task.tree.parent {
                self.children.insert((parent, insert.task.seq, id));
            }
            let result = insert.result.map(owned);
            let record =
                Record { task: insert.task.clone(), row: insert.row, created_at: insert.created_at, result };
            self.tasks.insert(id, record);
        }
        for update in writes.update {
            if let Some(record) = self.tasks.get_mut(&update.row.id) {
                record.row = update.row;
                record.result = update.result.map(owned).or(record.result.take());
            }
        }
        for root in writes.sweep {
            for id in self.descendants(root) {
                if let Some(Record { row, .. }) = self.tasks.get_mut(&id) {
                    row.cancel(at); // G15
                }
            }
        }
        for root in writes.erase {
            self.descendants(root).into_iter().chain([root]).for_each(|task| self.remove(task));
        }
        self.hints.ready |= writes.ready;
        self.hints.ended |= writes.ended;
    }

    fn remove(&mut self, id: TaskId) {
        if let Some(Record { task, .. }) = self.tasks.remove(&id)
            && let Some(parent) = task.tree.parent
        {
            self.children.remove(&(parent, task.seq, id));
        }
    }

    /// The tasks directly below one, by position.
    pub(crate) fn below(&self, parent: TaskId) -> impl Iterator<Item = &Record> {
        self.below_from(parent, Seq(0))
    }

    /// The tasks directly below one, by position, from one on.
    pub(crate) fn below_from(&self, parent: TaskId, from: Seq) -> impl Iterator<Item = &Record> {
        let nil = TaskId::from_uuid(Default::default());
        self.children
            .range((parent, from, nil)..)
            .take_while(move |(above, ..)| *above == parent)
            .filter_map(|(.., id)| self.tasks.get(id))
    }

    /// The tasks at any depth below one.
    fn descendants(&self, root: TaskId) -> Vec<TaskId> {
        let mut found: Vec<TaskId> = self.below(root).map(|record| record.row.id).collect();
        let mut next = 0;
        while let Some(id) = found.get(next).copied() {
            found.extend(self.below(id).map(|record| record.row.id));
            next += 1;
        }
        found
    }

    /// All steps of a task: completed ones in the order of their completion, then the others by position.
    fn steps(&self, parent: TaskId) -> Vec<Step> {
        let mut steps: Vec<Step> = self.below(parent).map(Record::as_step).collect();
        steps.sort_by_key(|step| (step.order().is_none(), step.order(), step.seq)); // G4
        steps
    }

    /// What has changed of a task's steps after the first `seen` completions: those that completed, and open maps.
    fn steps_since(&self, parent: TaskId, seen: u32) -> Vec<Step> {
        let mut steps = self.steps(parent);
        steps.retain(|step| match &step.state {
            StepState::Done { order, .. } => *order > seen,
            StepState::Open { .. } => step.kind == StepKind::Map,
            StepState::Cancelled => false,
        });
        steps
    }

    /// The steps of a task that completed after the first `seen`, in the order of their completion.
    fn steps_after(&self, parent: TaskId, seen: u32) -> Vec<Step> {
        let mut steps = self.steps(parent);
        steps.retain(|step| step.order().is_some_and(|order| order > seen));
        steps
    }
}

impl Record {
    /// Whether a worker may hold it, now or later. Sleeps, closures and maps are nobody's to claim.
    fn claimable(&self) -> bool {
        self.task.kind == StepKind::Call && !self.row.status.is_terminal()
    }
}

fn owned(written: Written<'_>) -> TaskResult {
    match written {
        Written::Result(result) => result.clone(),
        Written::Failure(failure) => Err(failure.clone()),
    }
}
