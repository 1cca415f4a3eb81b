//! The whole content of a store as a value in memory, and what a transition does to it. Knows nothing of files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stent_core::backend::{NotesView, ProgressView, StoredTask};
use stent_core::ledger::{Cascade, CascadeStep, Ledger, Noted, Reads, Row, Writes, lacks_steps};
use stent_core::limits::PROGRESS_MAX;
use stent_core::model::{
    EndedClaim, FunctionKey, KeyEntry, KeyEntryKind, Note, Step, TaskStatus, WorkerRecord,
};
use stent_core::transition::{Outcome, Transition};
use stent_core::{ExecutionId, Key, TaskId, Timestamp, WorkerId};

/// Everything, in BTreeMaps, because ids sort by age.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Data {
    pub(crate) tasks: BTreeMap<TaskId, StoredTask>,
    pub(crate) key_entries: BTreeMap<Key, KeyEntry>,
    pub(crate) notes: BTreeMap<ExecutionId, NotesView>,
    pub(crate) ended_claims: BTreeMap<TaskId, Vec<EndedClaim>>,
    pub(crate) started: BTreeMap<FunctionKey, BTreeMap<Timestamp, u64>>,
    #[serde(default)]
    pub(crate) workers: BTreeMap<WorkerId, WorkerRecord>,
    /// How often a task may have become ready, and an execution may have ended.
    pub(crate) work: u64,
    pub(crate) ended: u64,
}

impl Data {
    /// Applies one transition.
    pub(crate) fn apply(&mut self, transition: &Transition) -> Outcome {
        let mut ledger = self.load(&Ledger::reads(std::slice::from_ref(transition)));
        let mut outcome = ledger.apply(transition);
        let follow = self.write(ledger.into_writes().expect("a task's parent is stored as long as the task"));
        self.follow(follow);
        if let Some((task, seen)) = lacks_steps(transition, &outcome)
            && let Outcome::Applied(news) | Outcome::Already(news) = &mut outcome
        {
            news.steps = self.steps(task);
            news.steps.retain(|step| step.order().is_some_and(|order| order > seen));
        }
        outcome
    }

    fn load<'a>(&self, reads: &Reads) -> Ledger<'a> {
        let mut ids = reads.tasks.clone();
        for record in self.tasks.values().filter(|record| !record.row.status.is_terminal()) {
            if record.row.key.is_some_and(|key| reads.keys.contains(&key)) {
                ids.insert(record.row.id);
                ids.extend(record.row.tree.ancestors());
            }
        }
        let rows = ids.iter().filter_map(|id| self.tasks.get(id)).map(|record| record.row.clone());
        let key_entries = reads.key_entries.iter().filter_map(|key| self.key_entries.get(key)).cloned();
        Ledger::new(rows, key_entries)
    }

    fn write(&mut self, writes: Writes<'_>) -> Cascade {
        for insert in writes.insert {
            self.tasks.insert(insert.row.id, StoredTask::of(insert));
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
            if let Some(StoredTask { row, result: Some(Ok(value)), .. }) = self.tasks.get(&task)
                && let Some(key_entry) = row.key.and_then(|key| self.key_entries.get_mut(&key))
            {
                key_entry.value.get_or_insert_with(|| value.clone()); // G11
            }
        }
        for noted in writes.notes {
            say(self.notes.entry(noted.execution).or_default(), &noted);
        }
        for ended in writes.ended_claims {
            self.ended_claims.entry(ended.task).or_default().push(ended);
        }
        for (execution, at) in writes.stop {
            let open: Vec<_> = self.open_steps(execution).collect();
            self.end(open, |row| row.stop(at)); // G15
        }
        for root in writes.sweep {
            if let Some(at) = self.tasks.get(&root).and_then(|record| record.row.ended_at) {
                let open = self.descendants(root).into_iter().filter(|id| self.is_open(*id)).collect();
                self.end(open, |row| row.cancel(at)); // G15
            }
        }
        for root in writes.erase {
            self.descendants(root).into_iter().chain([root]).for_each(|task| self.remove(task));
        }
        self.work += u64::from(writes.ready);
        self.ended += u64::from(writes.ended);
        writes.cascade
    }

    /// Ends open tasks, or asks them to end. A slot that becomes free is a reason for a hint.
    fn end(&mut self, tasks: Vec<TaskId>, end: impl Fn(&mut Row)) {
        for task in tasks {
            if let Some(StoredTask { row, .. }) = self.tasks.get_mut(&task) {
                let counted = row.limit_key.is_some();
                end(row);
                self.work += u64::from(counted && row.limit_key.is_none());
            }
        }
    }

    pub(crate) fn remove(&mut self, task: TaskId) {
        self.ended_claims.remove(&task);
        let removed = self.tasks.remove(&task);
        self.work += u64::from(removed.is_some_and(|record| record.row.limit_key.is_some()));
    }

    /// Cascades the ends of tasks that the transition could not see, until no step is left.
    pub(crate) fn follow(&mut self, mut follow: Cascade) {
        while !follow.is_empty() {
            let mut ups = follow.steps;
            for (execution, at) in follow.executions {
                let key_entries =
                    self.key_entries.values().filter(|key_entry| key_entry.execution == execution);
                let vacant = key_entries.filter(|key_entry| {
                    key_entry.kind == KeyEntryKind::Result
                        && key_entry.value.is_none()
                        && !key_entry.holder.is_some_and(|holder| self.is_open(holder))
                });
                ups.extend(vacant.map(|key_entry| CascadeStep::Vacate { key: key_entry.key, at }));
                let root = execution.root();
                if self.tasks.get(&root).is_some_and(|record| record.row.is_stopping())
                    && self.tasks[&root].row.status != TaskStatus::Running
                    && self.open_steps(execution).next().is_none()
                {
                    ups.push(CascadeStep::Close { root, at });
                }
            }
            let mut ledger = self.load(&CascadeStep::reads(&ups));
            ups.iter().for_each(|up| ledger.cascade(up));
            follow = self.write(ledger.into_writes().expect("a task's parent is stored as long as the task"));
        }
    }

    fn is_open(&self, task: TaskId) -> bool {
        self.tasks.get(&task).is_some_and(|record| !record.row.status.is_terminal())
    }

    /// The open tasks of an execution except its root.
    fn open_steps(&self, execution: ExecutionId) -> impl Iterator<Item = TaskId> {
        let steps = self.of(execution).filter(|record| !record.is_root());
        steps.filter(|record| !record.row.status.is_terminal()).map(|record| record.row.id)
    }

    /// All tasks of an execution, including its root.
    pub(crate) fn of(&self, execution: ExecutionId) -> impl Iterator<Item = &StoredTask> {
        self.tasks.values().filter(move |record| record.row.tree.execution == execution)
    }

    /// The children of a task, by position.
    pub(crate) fn below(&self, parent: TaskId) -> Vec<&StoredTask> {
        let all = self.tasks.values();
        let mut below: Vec<_> = all.filter(|record| record.row.tree.parent == Some(parent)).collect();
        below.sort_by_key(|record| record.task.seq);
        below
    }

    /// The descendants of a task.
    fn descendants(&self, root: TaskId) -> Vec<TaskId> {
        let mut found = vec![root];
        let mut next = 0;
        while let Some(id) = found.get(next).copied() {
            found.extend(self.below(id).into_iter().map(|record| record.row.id));
            next += 1;
        }
        found.split_off(1)
    }

    /// All steps of a task: completed ones in the order of their completion, then the others by position (G4).
    pub(crate) fn steps(&self, parent: TaskId) -> Vec<Step> {
        let mut steps: Vec<_> = self.below(parent).into_iter().map(StoredTask::to_step).collect();
        steps.sort_by_key(|step| (step.order().is_none(), step.order(), step.seq));
        steps
    }
}

/// Applies a note.
fn say(notes: &mut NotesView, noted: &Noted<'_>) {
    match noted.note.clone() {
        Note::Count { name, add } => {
            let counter = notes.counters.entry(name).or_default();
            *counter = counter.saturating_add(add);
        }
        Note::CountFrom { name, value } => drop(notes.counters.entry(name).or_insert(value)),
        Note::Set { name, value } => drop(notes.states.insert(name, value)),
        Note::SetFrom { name, value } => drop(notes.states.entry(name).or_insert(value)),
        Note::Progress { id, text } => {
            if let Err(place) = notes.progress.binary_search_by_key(&id, |entry| entry.id) {
                let entry = ProgressView::new(id, noted.task, noted.at, text);
                notes.progress.insert(place, entry);
            }
            let old = notes.progress.len().saturating_sub(PROGRESS_MAX);
            notes.progress.drain(..old);
        }
    }
}
