//! The data under the lock: every task, and what transitions do to them. Knows no lock, no clock and no waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::slice;

use stent_core::backend::{Renewal, StoredTask};
use stent_core::ledger::{Cascade, CascadeStep, Ledger, Reads, Row, Writes, lacks_steps};
use stent_core::model::{
    EndedClaim, FunctionKey, KeyEntry, KeyEntryKind, Lease, Seq, Step, TaskStatus, WorkerRecord,
};
use stent_core::transition::{Outcome, Transition};
use stent_core::{ExecutionId, Key, TaskId, Timestamp, WorkerId};

use crate::notes::Notes;

/// All tasks by id, and so by age, and everything that is kept beside them.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) tasks: BTreeMap<TaskId, StoredTask>,
    /// Parents and children, in the order of position.
    pub(crate) children: BTreeSet<(TaskId, Seq, TaskId)>,
    pub(crate) key_entries: BTreeMap<Key, KeyEntry>,
    pub(crate) notes: BTreeMap<ExecutionId, Notes>,
    /// Claims that ended badly, oldest first.
    pub(crate) ended_claims: BTreeMap<TaskId, Vec<EndedClaim>>,
    /// How many tasks of a function with a rate were claimed, by the start of the rate's bucket.
    pub(crate) started: BTreeMap<(FunctionKey, Timestamp), u64>,
    pub(crate) workers: BTreeMap<WorkerId, WorkerRecord>,
    pub(crate) hints: Changes,
}

/// Changes of which listeners get hints.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) ready: bool,
    pub(crate) ended: bool,
}

impl Records {
    /// Applies one transition. Batches are applied one by one: this defines "as if one by one" for the other stores.
    pub(crate) fn apply(&mut self, transition: &Transition) -> Outcome {
        let mut ledger = self.load(&Ledger::reads(slice::from_ref(transition)));
        let mut outcome = ledger.apply(transition);
        let follow = self.write(ledger.into_writes().expect("a task's parent is stored as long as the task"));
        self.follow(follow);
        if let Some((task, seen)) = lacks_steps(transition, &outcome)
            && let Outcome::Applied(news) | Outcome::Already(news) = &mut outcome
        {
            news.steps = self.steps_after(task, seen);
        }
        outcome
    }

    /// A ledger with the data that the reads name: tasks by id; for each key its key entry, the open tasks that have the
    /// key, and the tasks above them.
    fn load<'a>(&self, reads: &Reads) -> Ledger<'a> {
        let mut tasks = reads.tasks.clone();
        // Most transitions have no keys, and there may be many tasks.
        if !reads.keys.is_empty() {
            for StoredTask { row, .. } in self.tasks.values() {
                if !row.status.is_terminal() && row.key.is_some_and(|key| reads.keys.contains(&key)) {
                    tasks.insert(row.id);
                    tasks.extend(row.tree.ancestors());
                }
            }
        }
        let rows = tasks.iter().filter_map(|id| self.tasks.get(id)).map(|record| record.row.clone());
        let key_entries = reads.key_entries.iter().filter_map(|key| self.key_entries.get(key)).cloned();
        Ledger::new(rows, key_entries)
    }

    /// Cascades the ends of tasks that the transition could not see, until no step is left.
    pub(crate) fn follow(&mut self, mut follow: Cascade) {
        while !follow.is_empty() {
            let ups = self.follow_ups(follow);
            let mut ledger = self.load(&CascadeStep::reads(&ups));
            ups.iter().for_each(|up| ledger.cascade(up));
            follow = self.write(ledger.into_writes().expect("a task's parent is stored as long as the task"));
        }
    }

    fn follow_ups(&self, follow: Cascade) -> Vec<CascadeStep> {
        let mut ups = follow.steps;
        for (execution, at) in follow.executions {
            let vacant = self
                .key_entries
                .values()
                .filter(|key_entry| key_entry.execution == execution && self.is_vacant(key_entry));
            ups.extend(vacant.map(|key_entry| CascadeStep::Vacate { key: key_entry.key, at }));
            let root = execution.root();
            if self.tasks.get(&root).is_some_and(|record| {
                record.row.is_stopping()
                    && record.row.status != TaskStatus::Running
                    && !self.has_open_steps(execution)
            }) {
                ups.push(CascadeStep::Close { root, at });
            }
        }
        ups
    }

    /// Whether steps wait for a result that no task is producing any more.
    fn is_vacant(&self, key_entry: &KeyEntry) -> bool {
        let holder = key_entry.holder.and_then(|holder| self.tasks.get(&holder));
        key_entry.kind == KeyEntryKind::Result
            && key_entry.value.is_none()
            && holder.is_none_or(|holder| holder.row.status.is_terminal())
    }

    fn has_open_steps(&self, execution: ExecutionId) -> bool {
        self.below_root(execution).any(|record| !record.row.status.is_terminal())
    }

    /// Extends a lease if its claim is the task's last one and the task runs. If the task takes a slot of a limit, the lease
    /// must not have expired: another task may have taken the slot (G8).
    pub(crate) fn renew(&mut self, lease: &Lease, now: Timestamp, until: Timestamp) -> Renewal {
        let task = self.tasks.get_mut(&lease.task);
        task.map_or(Renewal::Lost, |StoredTask { row, .. }| row.renew(lease, now, until))
    }

    /// The changes since the last call.
    pub(crate) fn take_hints(&mut self) -> Changes {
        mem::take(&mut self.hints)
    }

    /// Writes the result of a ledger, in the ledger's order. Returns the cascade to run.
    fn write(&mut self, writes: Writes<'_>) -> Cascade {
        for insert in writes.insert {
            let id = insert.row.id;
            if let Some(parent) = insert.task.tree.parent {
                self.children.insert((parent, insert.task.seq, id));
            }
            self.tasks.insert(id, StoredTask::of(insert));
        }
        for update in writes.update {
            if let Some(record) = self.tasks.get_mut(&update.row.id) {
                record.update(update);
            }
        }
        for (to, from) in writes.copy {
            let result = self.tasks.get(&from).and_then(|record| record.result.clone());
            if let Some(record) = self.tasks.get_mut(&to) {
                record.result = result;
            }
        }
        self.key_entries.extend(writes.key_entries.into_iter().map(|key_entry| (key_entry.key, key_entry)));
        for key in writes.forget {
            self.key_entries.remove(&key);
        }
        for task in writes.restore {
            self.restore(task); // G11
        }
        for noted in writes.notes {
            self.notes.entry(noted.execution).or_default().add(&noted);
        }
        for ended in writes.ended_claims {
            self.ended_claims.entry(ended.task).or_default().push(ended);
        }
        for (execution, at) in writes.stop {
            let open: Vec<_> = self.below_root(execution).map(|record| record.row.id).collect();
            self.end_each(open, |row| {
                if !row.status.is_terminal() {
                    row.stop(at); // G15
                }
            });
        }
        for root in writes.sweep {
            if let Some(at) = self.tasks.get(&root).and_then(|record| record.row.ended_at) {
                self.end_each(self.descendants(root), |row| row.cancel(at)); // G15
            }
        }
        for root in writes.erase {
            self.descendants(root).into_iter().chain([root]).for_each(|task| self.remove(task));
        }
        self.hints.ready |= writes.ready;
        self.hints.ended |= writes.ended;
        writes.cascade
    }

    fn end_each(&mut self, tasks: Vec<TaskId>, end: impl Fn(&mut Row)) {
        for task in tasks {
            if let Some(StoredTask { row, .. }) = self.tasks.get_mut(&task) {
                let counted = row.limit_key.is_some();
                end(row);
                self.hints.ready |= counted && row.limit_key.is_none(); // G8: a slot is free.
            }
        }
    }

    /// Returns a signal value that a wait took and the code never saw.
    fn restore(&mut self, task: TaskId) {
        let Some(record) = self.tasks.get(&task) else { return };
        if let (Some(Ok(value)), Some(key_entry)) =
            (&record.result, record.row.key.and_then(|key| self.key_entries.get_mut(&key)))
        {
            key_entry.value.get_or_insert_with(|| value.clone());
        }
    }

    /// Deletes a task, with everything that belongs to it alone.
    pub(crate) fn remove(&mut self, id: TaskId) {
        self.ended_claims.remove(&id);
        if let Some(StoredTask { task, row, .. }) = self.tasks.remove(&id) {
            self.hints.ready |= row.limit_key.is_some(); // G8: a slot is free.
            if let Some(parent) = task.tree.parent {
                self.children.remove(&(parent, task.seq, id));
            }
        }
    }

    /// The tasks of an execution except its root.
    pub(crate) fn below_root(&self, execution: ExecutionId) -> impl Iterator<Item = &StoredTask> {
        self.tasks
            .values()
            .filter(move |record| record.row.tree.execution == execution && record.row.tree.parent.is_some())
    }

    /// The children of a task, by position.
    pub(crate) fn below(&self, parent: TaskId) -> impl Iterator<Item = &StoredTask> {
        self.below_from(parent, Seq(0))
    }

    /// The children of a task, by position, from one position on.
    pub(crate) fn below_from(&self, parent: TaskId, from: Seq) -> impl Iterator<Item = &StoredTask> {
        let nil = TaskId::from_uuid(Default::default());
        self.children
            .range((parent, from, nil)..)
            .take_while(move |(above, ..)| *above == parent)
            .filter_map(|(.., id)| self.tasks.get(id))
    }

    /// The descendants of a task.
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
    pub(crate) fn steps(&self, parent: TaskId) -> Vec<Step> {
        let mut steps: Vec<Step> = self.below(parent).map(StoredTask::to_step).collect();
        steps.sort_by_key(|step| (step.order().is_none(), step.order(), step.seq)); // G4
        steps
    }

    /// Changes among a task's steps after the first `seen` completions: those that completed, and open maps.
    pub(crate) fn steps_since(&self, parent: TaskId, seen: u32) -> Vec<Step> {
        let mut steps = self.steps(parent);
        // A map that ended after its parent had ended is not among the completions, and is not open any more.
        let is_open =
            |step: TaskId| self.tasks.get(&step).is_some_and(|record| record.row.ended_at.is_none());
        steps.retain(|step| step.is_news(seen) && (step.order().is_some() || is_open(step.id)));
        steps
    }

    /// Steps that the holder of the task's code has not seen: those that ended after the first `seen` completions, in the order
    /// of completion, and open maps.
    pub(crate) fn news(&self, parent: TaskId, seen: u32) -> Vec<Step> {
        let mut steps = self.steps(parent);
        steps.retain(|step| step.is_news(seen));
        steps
    }

    fn steps_after(&self, parent: TaskId, seen: u32) -> Vec<Step> {
        let mut steps = self.steps(parent);
        steps.retain(|step| step.order().is_some_and(|order| order > seen));
        steps
    }
}
