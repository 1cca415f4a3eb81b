//! Plays a batch of transitions over the part of a store that has been read: for stores that compare and write.
//!
//! A store whose transactions can run Rust loads rows, applies the batch and writes, all inside one transaction. A store that can
//! only *compare and write*, such as a script in Redis, reads first, decides outside, and then writes if everything that it has
//! read is unchanged. For such a store, [`play`] runs a batch with all its cascades over the [known](Known) part of the store. It
//! returns either the [effects](Effects), or the [missing parts](Wanted) that the store must read. `play` is pure: a store calls it
//! again with more known parts until it returns effects, and each call starts from the beginning of the batch.
//!
//! ```text
//! Known ── play ──► Wanted ── the store reads ──► more Known ── play ──► Effects ── compare and write
//!   ▲                                                                                    │ something has changed
//!   └────────────────────────── the store reads that again ◄─────────────────────────────┘
//! ```
//!
//! A write is sound if every row, entry and set in [`Known`] is unchanged since it was read. This includes sets: the batch may have
//! to end a task that has joined the open tasks of an execution since then.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;

use super::{Cascade, CascadeStep, Ledger, Noted, Reads, Row, Update, Writes, Written, lacks_steps};
use crate::backend::{Result, StoredTask};
use crate::model::{
    EndedClaim, KeyEntry, KeyEntryKind, NewTask, RetryPolicy, Step, StepState, TaskResult, TaskStatus,
};
use crate::transition::{Outcome, Transition};
use crate::{ExecutionId, Key, TaskId, Timestamp};

/// The part of a store that has been read. `None` means that the store has no such row, entry, result or step.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Rows of tasks.
    pub rows: BTreeMap<TaskId, Option<Row>>,
    /// Key entries.
    pub key_entries: BTreeMap<Key, Option<KeyEntry>>,
    /// The open tasks that [have a key](Row::key).
    pub under_key: BTreeMap<Key, BTreeSet<TaskId>>,
    /// The open tasks of an execution, without its root.
    pub open_tasks: BTreeMap<ExecutionId, BTreeSet<TaskId>>,
    /// All children of a task.
    pub children: BTreeMap<TaskId, BTreeSet<TaskId>>,
    /// The keys of an execution's result entries that have no value yet.
    pub pending_keys: BTreeMap<ExecutionId, BTreeSet<Key>>,
    /// Results of tasks: of waits for signals whose value returns to its slot, and of executions that other tasks wait for.
    pub results: BTreeMap<TaskId, Option<TaskResult>>,
    /// Tasks as steps of their parent.
    pub steps: BTreeMap<TaskId, Option<Step>>,
    /// The steps of a task that ended after a number of completions, in order.
    pub news: BTreeMap<(TaskId, u32), Vec<Step>>,
}

/// The parts that a store must read before the batch can be played. The fields match those of [`Known`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is that of the same name in `Known`")]
pub struct Wanted {
    pub rows: BTreeSet<TaskId>,
    pub key_entries: BTreeSet<Key>,
    pub under_key: BTreeSet<Key>,
    pub open_tasks: BTreeSet<ExecutionId>,
    pub children: BTreeSet<TaskId>,
    pub pending_keys: BTreeSet<ExecutionId>,
    pub results: BTreeSet<TaskId>,
    pub steps: BTreeSet<TaskId>,
    pub news: BTreeSet<(TaskId, u32)>,
}

impl Wanted {
    /// Whether the play misses nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The outcome of a play.
#[derive(Debug)]
pub enum Played<'a> {
    /// The play reached the end of the batch.
    Done(Effects<'a>),
    /// The store must read these parts and play again.
    Wants(Wanted),
}

/// The effects of a batch on a store. A store first deletes the [erased](TaskEffect::erased) tasks, then copies results, and then
/// writes the rest.
#[derive(Debug, Default)]
pub struct Effects<'a> {
    /// The outcomes, in the order of the transitions.
    pub outcomes: Vec<Outcome>,
    /// The effects on each task that the batch touches.
    pub tasks: BTreeMap<TaskId, TaskEffect<'a>>,
    /// Key entries to write, or to delete if `None`.
    pub key_entries: BTreeMap<Key, Option<KeyEntry>>,
    /// Notes that code writes about its execution, in order.
    pub notes: Vec<Noted<'a>>,
    /// Claims that ended badly, in order.
    pub ended_claims: Vec<EndedClaim>,
    /// Whether a task may have become ready, or a slot of a limit may have become free.
    pub ready: bool,
    /// Whether an execution may have ended.
    pub ended: bool,
}

/// The effects of a batch on one task.
#[derive(Clone, Debug, Default)]
pub struct TaskEffect<'a> {
    /// Whether the store must delete its stored task, with the task's result and ended claims.
    pub erased: bool,
    /// The task to insert, and the moment of its creation.
    pub insert: Option<(&'a NewTask, Timestamp)>,
    /// The task's row after the batch, if the task then exists.
    pub row: Option<Row>,
    /// The task's new result.
    pub result: Option<ResultEffect<'a>>,
    /// The task's new retry policy.
    pub retry: Option<&'a RetryPolicy>,
    /// The task's new queue.
    pub queue: Option<&'a str>,
}

/// The source of a task's new result.
#[derive(Clone, Debug)]
pub enum ResultEffect<'a> {
    /// The batch contains the result.
    Written(Written<'a>),
    /// The store copies the stored result of this task.
    Copy(TaskId),
}

/// Plays a batch over the known part of a store: one transition after the other, each with its cascades.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::backend::ErrorKind::Corrupt), if the store lacks a row that must be there.
pub fn play<'a>(known: &Known, batch: &'a [Transition]) -> Result<Played<'a>> {
    let mut play = Play::new(known);
    // The first play wants everything that is certain to be needed, so most batches need one round of reads.
    play.look_up(&Ledger::reads(batch));
    if play.wanted.is_empty() {
        for transition in batch {
            match play.apply(transition) {
                Ok(()) => {}
                Err(Stop::Missing) => break,
                Err(Stop::Corrupt(error)) => return Err(error),
            }
        }
    }
    Ok(play.finish())
}

/// Deletes tasks of an execution for a purge, and follows up the keys that these tasks held (G12).
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::backend::ErrorKind::Corrupt), if the store lacks a row that must be there.
pub fn purge<'a>(
    known: &Known,
    execution: ExecutionId,
    tasks: &BTreeSet<TaskId>,
    at: Timestamp,
) -> Result<Played<'a>> {
    let mut play = Play::new(known);
    let mut purge = || {
        play.need_rows(tasks)?;
        tasks.iter().for_each(|task| play.erase(*task));
        play.follow(Cascade { executions: [(execution, at)].into(), ..Cascade::default() })
    };
    match purge() {
        Ok(()) | Err(Stop::Missing) => Ok(play.finish()),
        Err(Stop::Corrupt(error)) => Err(error),
    }
}

/// The reason why a play stops before the end of its batch.
enum Stop {
    /// The store must read more.
    Missing,
    /// The store contradicts itself.
    Corrupt(crate::backend::Error),
}

impl From<crate::backend::Error> for Stop {
    fn from(error: crate::backend::Error) -> Self {
        Self::Corrupt(error)
    }
}

type Reached<T> = std::result::Result<T, Stop>;

struct Play<'a, 'k> {
    known: &'k Known,
    wanted: Wanted,
    effects: Effects<'a>,
    /// Tasks that the batch inserts, by parent.
    inserted: BTreeMap<TaskId, BTreeSet<TaskId>>,
}

impl<'a, 'k> Play<'a, 'k> {
    fn new(known: &'k Known) -> Self {
        Self { known, wanted: Wanted::default(), effects: Effects::default(), inserted: BTreeMap::new() }
    }

    fn finish(self) -> Played<'a> {
        if self.wanted.is_empty() { Played::Done(self.effects) } else { Played::Wants(self.wanted) }
    }

    fn apply(&mut self, transition: &'a Transition) -> Reached<()> {
        let mut ledger = self.load(&Ledger::reads(slice::from_ref(transition)))?;
        let mut outcome = ledger.apply(transition);
        let cascade = self.write(ledger.into_writes()?)?;
        self.follow(cascade)?;
        if let Some((task, seen)) = lacks_steps(transition, &outcome)
            && let Outcome::Applied(news) | Outcome::Already(news) = &mut outcome
        {
            news.steps = self.news(task, seen)?;
        }
        self.effects.outcomes.push(outcome);
        Ok(())
    }

    /// Returns the steps of a task that ended after a number of completions, as of this point of the batch.
    fn news(&mut self, task: TaskId, seen: u32) -> Reached<Vec<Step>> {
        let Some(known) = self.known.news.get(&(task, seen)) else {
            self.wanted.news.insert((task, seen));
            return Err(Stop::Missing);
        };
        let mut steps: BTreeMap<TaskId, Step> = known.iter().map(|step| (step.id, step.clone())).collect();
        for (id, effect) in &self.effects.tasks {
            steps.remove(id);
            let Some(row) = effect.row.as_ref().filter(|row| row.tree.parent == Some(task)) else { continue };
            if row.done_order.is_none_or(|order| order <= seen) {
                continue;
            }
            let result = match &effect.result {
                Some(ResultEffect::Written(written)) => Some(written.clone().into_result()),
                Some(ResultEffect::Copy(from)) => match self.known.results.get(from) {
                    Some(result) => result.clone(),
                    None => {
                        self.wanted.results.insert(*from);
                        continue;
                    }
                },
                None => None,
            };
            let step = match effect.insert {
                Some((new, created_at)) => {
                    StoredTask { task: new.clone(), row: row.clone(), created_at, result }.to_step()
                }
                None => match self.known.steps.get(id) {
                    Some(Some(step)) => changed(step, row, result),
                    Some(None) => continue,
                    None => {
                        self.wanted.steps.insert(*id);
                        continue;
                    }
                },
            };
            steps.insert(*id, step);
        }
        if !self.wanted.is_empty() {
            return Err(Stop::Missing);
        }
        let mut steps: Vec<_> = steps.into_values().filter(|step| step.order().is_some()).collect();
        steps.sort_by_key(Step::order); // G4
        Ok(steps)
    }

    /// Follows up ends that a ledger could not see, until a round causes no further ones.
    fn follow(&mut self, mut cascade: Cascade) -> Reached<()> {
        while !cascade.is_empty() {
            let steps = self.steps(cascade)?;
            let mut ledger = self.load(&CascadeStep::reads(&steps))?;
            steps.iter().for_each(|step| ledger.cascade(step));
            cascade = self.write(ledger.into_writes()?)?;
        }
        Ok(())
    }

    fn steps(&mut self, cascade: Cascade) -> Reached<Vec<CascadeStep>> {
        let mut steps = cascade.steps;
        for (execution, at) in cascade.executions {
            for key in self.pending_keys(execution)? {
                let holder = self.key_entry(key)?.and_then(|entry| entry.holder);
                let holds = match holder {
                    Some(holder) => self.row(holder)?.is_some_and(|row| !row.status.is_terminal()),
                    None => false,
                };
                if !holds {
                    steps.push(CascadeStep::Vacate { key, at });
                }
            }
            let root = execution.root();
            let waits = |row: &Row| row.is_stopping() && row.status != TaskStatus::Running;
            if self.row(root)?.is_some_and(waits) && self.open_tasks(execution)?.is_empty() {
                steps.push(CascadeStep::Close { root, at });
            }
        }
        Ok(steps)
    }

    // Reads.

    /// Loads the rows and entries of the reads into a ledger.
    fn load(&mut self, reads: &Reads) -> Reached<Ledger<'a>> {
        let tasks = self.look_up(reads);
        if !self.wanted.is_empty() {
            return Err(Stop::Missing);
        }
        let mut rows = Vec::with_capacity(tasks.len());
        for task in tasks {
            rows.extend(self.row(task)?.cloned());
        }
        let mut entries = Vec::new();
        for key in &reads.key_entries {
            entries.extend(self.key_entry(*key)?.cloned());
        }
        Ok(Ledger::new(rows, entries))
    }

    /// Returns the tasks of the reads: by id, and the open tasks under keys with their ancestors. Adds missing parts to `wanted`.
    fn look_up(&mut self, reads: &Reads) -> BTreeSet<TaskId> {
        let mut tasks = reads.tasks.clone();
        for key in &reads.keys {
            for task in self.under_key(*key).unwrap_or_default() {
                tasks.insert(task);
                if let Ok(Some(row)) = self.row(task) {
                    tasks.extend(row.tree.ancestors());
                }
            }
        }
        // These calls add missing rows and entries to `wanted`, where `load` finds them.
        tasks.iter().for_each(|task| drop(self.row(*task)));
        reads.key_entries.iter().for_each(|key| drop(self.key_entry(*key)));
        tasks
    }

    fn need_rows(&mut self, tasks: &BTreeSet<TaskId>) -> Reached<()> {
        tasks.iter().for_each(|task| drop(self.row(*task)));
        if self.wanted.is_empty() { Ok(()) } else { Err(Stop::Missing) }
    }

    fn row(&mut self, task: TaskId) -> Reached<Option<&Row>> {
        if let Some(effect) = self.effects.tasks.get(&task) {
            return Ok(effect.row.as_ref());
        }
        let Some(row) = self.known.rows.get(&task) else {
            self.wanted.rows.insert(task);
            return Err(Stop::Missing);
        };
        Ok(row.as_ref())
    }

    fn key_entry(&mut self, key: Key) -> Reached<Option<&KeyEntry>> {
        if let Some(entry) = self.effects.key_entries.get(&key) {
            return Ok(entry.as_ref());
        }
        let Some(entry) = self.known.key_entries.get(&key) else {
            self.wanted.key_entries.insert(key);
            return Err(Stop::Missing);
        };
        Ok(entry.as_ref())
    }

    fn under_key(&mut self, key: Key) -> Reached<BTreeSet<TaskId>> {
        let Some(known) = self.known.under_key.get(&key) else {
            self.wanted.under_key.insert(key);
            return Err(Stop::Missing);
        };
        Ok(self.open(known.clone(), |row| row.key == Some(key)))
    }

    fn open_tasks(&mut self, execution: ExecutionId) -> Reached<BTreeSet<TaskId>> {
        let Some(known) = self.known.open_tasks.get(&execution) else {
            self.wanted.open_tasks.insert(execution);
            return Err(Stop::Missing);
        };
        Ok(self.open(known.clone(), |row| row.tree.execution == execution && row.tree.parent.is_some()))
    }

    /// Returns a known set of open tasks with the changes of the batch.
    fn open(&self, known: BTreeSet<TaskId>, belongs: impl Fn(&Row) -> bool) -> BTreeSet<TaskId> {
        let mut open = known;
        for (task, effect) in &self.effects.tasks {
            if effect.row.as_ref().is_some_and(|row| !row.status.is_terminal() && belongs(row)) {
                open.insert(*task);
            } else {
                open.remove(task);
            }
        }
        open
    }

    fn pending_keys(&mut self, execution: ExecutionId) -> Reached<BTreeSet<Key>> {
        let Some(known) = self.known.pending_keys.get(&execution) else {
            self.wanted.pending_keys.insert(execution);
            return Err(Stop::Missing);
        };
        let mut keys = known.clone();
        for (key, entry) in &self.effects.key_entries {
            if entry.as_ref().is_some_and(|entry| entry.execution == execution && is_pending(entry)) {
                keys.insert(*key);
            } else {
                keys.remove(key);
            }
        }
        Ok(keys)
    }

    /// Returns a task's descendants at any depth.
    fn descendants(&mut self, root: TaskId) -> Reached<Vec<TaskId>> {
        let (mut found, mut next) = (vec![root], 0);
        while let Some(above) = found.get(next).copied() {
            next += 1;
            let is_new = self.effects.tasks.get(&above).is_some_and(|effect| effect.insert.is_some());
            if !is_new {
                match self.known.children.get(&above) {
                    Some(children) => found.extend(children),
                    None => drop(self.wanted.children.insert(above)),
                }
            }
            found.extend(self.inserted.get(&above).into_iter().flatten());
        }
        if !self.wanted.is_empty() {
            return Err(Stop::Missing);
        }
        found.remove(0);
        Ok(found)
    }

    // Writes.

    /// Merges the changes of a ledger into the effects, in the ledger's order.
    fn write(&mut self, writes: Writes<'a>) -> Reached<Cascade> {
        for insert in writes.insert {
            let (task, row) = (insert.task, insert.row);
            if let Some(parent) = row.tree.parent {
                self.inserted.entry(parent).or_default().insert(row.id);
            }
            let effect = self.effects.tasks.entry(row.id).or_default();
            effect.insert = Some((task, insert.created_at));
            effect.row = Some(row);
            effect.retry = None;
            effect.queue = None;
            effect.result = insert.result.map(ResultEffect::Written);
        }
        for Update { row, result, retry, queue } in writes.update {
            let effect = self.effects.tasks.entry(row.id).or_default();
            effect.row = Some(row);
            effect.retry = retry.or(effect.retry);
            effect.queue = queue.or(effect.queue);
            if let Some(result) = result {
                effect.result = Some(ResultEffect::Written(result));
            }
        }
        for (to, from) in writes.copy {
            let written = self.effects.tasks.get(&from).and_then(|effect| effect.result.clone());
            if let Some(effect) = self.effects.tasks.get_mut(&to) {
                effect.result = Some(written.unwrap_or(ResultEffect::Copy(from)));
            }
        }
        self.effects.key_entries.extend(writes.key_entries.into_iter().map(|entry| (entry.key, Some(entry))));
        self.effects.key_entries.extend(writes.forget.into_iter().map(|key| (key, None)));
        for task in writes.restore {
            self.restore(task)?; // G11
        }
        self.effects.notes.extend(writes.notes);
        self.effects.ended_claims.extend(writes.ended_claims);
        for (execution, at) in writes.stop {
            let open = self.open_tasks(execution)?;
            self.need_rows(&open)?;
            self.end_each(open, |row| row.stop(at))?; // G15
        }
        for root in writes.sweep {
            self.sweep(root)?;
        }
        for root in writes.erase {
            let below = self.descendants(root)?;
            let tasks = below.into_iter().chain([root]).collect();
            self.need_rows(&tasks)?;
            tasks.into_iter().for_each(|task| self.erase(task));
        }
        self.effects.ready |= writes.ready;
        self.effects.ended |= writes.ended;
        Ok(writes.cascade)
    }

    /// Cancels the open tasks below a task that has ended (G15).
    fn sweep(&mut self, root: TaskId) -> Reached<()> {
        let Some(row) = self.row(root)? else { return Ok(()) };
        // A task whose code has never run has no descendants.
        if row.epoch.count == 0 && !row.kind.is_map() {
            return Ok(());
        }
        let (execution, at) = (row.tree.execution, row.ended_at);
        let Some(at) = at else { return Ok(()) };
        let open = self.open_tasks(execution)?;
        self.need_rows(&open)?;
        let below = if row_is_root(self.row(root)?) { open } else { self.below(root, open)? };
        self.end_each(below, |row| row.cancel(at))
    }

    /// Returns the tasks that are descendants of `root`.
    fn below(&mut self, root: TaskId, tasks: BTreeSet<TaskId>) -> Reached<BTreeSet<TaskId>> {
        let mut below = BTreeSet::new();
        for task in tasks {
            let mut above = Some(task);
            while let Some(one) = above {
                // If the row is not known yet, `row` adds it to `wanted`, and the next play walks this chain again.
                above = match self.row(one) {
                    Ok(row) => row.and_then(|row| row.tree.parent),
                    Err(_) => None,
                };
                if above == Some(root) {
                    below.insert(task);
                    break;
                }
            }
        }
        if self.wanted.is_empty() { Ok(below) } else { Err(Stop::Missing) }
    }

    fn end_each(&mut self, tasks: BTreeSet<TaskId>, end: impl Fn(&mut Row)) -> Reached<()> {
        for task in tasks {
            let Some(mut row) = self.row(task)?.cloned() else { continue };
            let counted = row.limit_key.is_some();
            end(&mut row);
            self.effects.ready |= counted && row.limit_key.is_none(); // G8: a slot is free.
            self.effects.tasks.entry(task).or_default().row = Some(row);
        }
        Ok(())
    }

    /// Returns a signal's value to its slot if a wait took it but the code has not seen it.
    fn restore(&mut self, task: TaskId) -> Reached<()> {
        let Some(key) = self.row(task)?.and_then(|row| row.key) else { return Ok(()) };
        let value = match self.effects.tasks.get(&task).and_then(|effect| effect.result.as_ref()) {
            Some(ResultEffect::Written(written)) => written.clone().into_result().ok(),
            Some(ResultEffect::Copy(_)) => None, // A wait for a signal copies nothing.
            None => match self.known.results.get(&task) {
                Some(result) => result.clone().and_then(std::result::Result::ok),
                None => {
                    self.wanted.results.insert(task);
                    return Err(Stop::Missing);
                }
            },
        };
        if let (Some(value), Some(entry)) = (value, self.key_entry(key)?.cloned()) {
            let value = Some(entry.value.unwrap_or(value));
            self.effects.key_entries.insert(key, Some(KeyEntry { value, ..entry }));
        }
        Ok(())
    }

    /// Deletes a task with everything that belongs only to this task.
    fn erase(&mut self, task: TaskId) {
        let row = match self.row(task) {
            Ok(Some(row)) => row.clone(),
            Ok(None) | Err(_) => return,
        };
        self.effects.ready |= row.limit_key.is_some(); // G8: a slot is free.
        if let Some(parent) = row.tree.parent
            && let Some(inserted) = self.inserted.get_mut(&parent)
        {
            inserted.remove(&task);
        }
        self.effects.ended_claims.retain(|ended| ended.task != task);
        self.effects.tasks.insert(task, TaskEffect { erased: true, ..TaskEffect::default() });
    }
}

/// Returns a step with the state of its current row.
fn changed(step: &Step, row: &Row, result: Option<TaskResult>) -> Step {
    let result = result.or_else(|| match &step.state {
        StepState::Done { result, .. } => Some(result.clone()),
        StepState::Open { .. } | StepState::Cancelled => None,
    });
    row.to_step(step.seq, step.name.clone(), result)
}

fn row_is_root(row: Option<&Row>) -> bool {
    row.is_some_and(|row| row.tree.parent.is_none())
}

/// Whether an entry is for a result that a task has yet to produce.
#[must_use]
pub fn is_pending(entry: &KeyEntry) -> bool {
    entry.kind == KeyEntryKind::Result && entry.value.is_none()
}
