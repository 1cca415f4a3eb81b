//! Applies transitions: loads the data that they read, lets the core's ledger apply them, and writes the changes.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::ConnectionTrait;
use stent_core::backend::{Error, ErrorKind, Result, Topic};
use stent_core::ledger::{Cascade, CascadeStep, Insert, Ledger, Reads, Row, Update, Writes, lacks_steps};
use stent_core::model::{Lane, LaneKey, Mark, NewTask, StepKind};
use stent_core::transition::{Outcome, Transition};
use stent_core::{ExecutionId, Key, TaskId, Timestamp};

use super::SqlStore;
use super::record::{Record, Wanted};
use super::run::Run;
use crate::Statement;
use crate::batch::Batch;
use crate::row::{self, Copy, Notes, OneId, OneKey, OneLane, Read, Restore, Shape, WANT_NONE};
use crate::table::task::{insert_batches, is_rare, moved_batch, task_lane, update_batches};

/// The results of transitions, in a transaction that is still open.
#[derive(Debug, Default)]
pub(super) struct Committed {
    outcomes: Vec<Outcome>,
    lacking: Vec<Lacking>,
    effects: Effects,
    /// Executions in which the batch writes tasks that were asked to end.
    stopping: BTreeSet<ExecutionId>,
    /// Executions whose roots are written, and so locked since they were read.
    rooted: BTreeSet<ExecutionId>,
}

/// An outcome whose news must be completed with steps.
#[derive(Debug)]
struct Lacking {
    index: usize,
    task: TaskId,
    seen: u32,
}

/// The hints to send once the transaction is committed.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) wrote: bool,
    pub(super) ready: bool,
    ended: bool,
    lanes: BTreeMap<LaneKey, Lane>,
}

/// The maximum number of rounds of a cascade. One round leads to another if a key is vacated, if an execution closes,
/// and if a task waits for that execution; no chain is longer.
const ROUNDS_MAX: usize = 8;

/// Applies transitions as if one by one.
pub(super) async fn apply<C: ConnectionTrait>(
    run: &Run<'_, C>,
    transitions: &[Transition],
) -> Result<Committed> {
    apply_knowing(run, BTreeMap::new(), transitions).await
}

/// The same, if these lanes are known to be stored.
pub(super) async fn apply_knowing<C: ConnectionTrait>(
    run: &Run<'_, C>,
    lanes: BTreeMap<LaneKey, Lane>,
    transitions: &[Transition],
) -> Result<Committed> {
    let effects = Effects { lanes, ..Effects::default() };
    let mut committed = Committed { effects, ..Committed::default() };
    let mut rest = transitions;
    // One round, unless the batch continues in an execution in which it has given up tasks.
    while !rest.is_empty() {
        let (mut ledger, known) = load(run, &Ledger::reads(rest)).await?;
        let taken = rest.iter().take_while(|transition| committed.apply(&mut ledger, transition)).count();
        let cascade = committed.write(run, ledger.into_writes()?, &known).await?;
        committed.cascade(run, cascade).await?;
        rest = &rest[taken..];
        if !rest.is_empty() {
            committed.settle(run).await?;
        }
    }
    Ok(committed)
}

/// Runs the cascade of executions that were deleted, or whose steps were: the next waiting task takes over each key that
/// they held (G12). Deleted rows may have been running tasks, each of which frees a slot of a limit (G8).
pub(super) async fn cascade_from<C: ConnectionTrait>(
    run: &Run<'_, C>,
    executions: &[ExecutionId],
    rows: usize,
    at: Timestamp,
) -> Result<Effects> {
    let effects = Effects { ready: rows > 0, ..Effects::default() };
    let mut committed = Committed { effects, ..Committed::default() };
    let executions = executions.iter().map(|execution| (*execution, at)).collect();
    committed.cascade(run, Cascade { executions, steps: Vec::new() }).await?;
    Ok(committed.effects)
}

/// Facts about rows as they were read.
#[derive(Debug, Default)]
struct Known {
    /// Rows with rare columns.
    rare: BTreeSet<TaskId>,
    /// The keys of rows that have one.
    keys: BTreeMap<TaskId, Key>,
}

async fn load<'a, C: ConnectionTrait>(run: &Run<'_, C>, reads: &Reads) -> Result<(Ledger<'a>, Known)> {
    run.hold_keys(&reads.key_entries).await?;
    let statements = &run.store.statements;
    let ids = Batch::of_ids(OneId::COLUMNS, reads.tasks.iter().map(|id| *id.as_uuid()));
    // Waits for an execution are under the execution's key, which is locked with its root. So the root is locked first;
    // then no other transaction can add waits, and the waits are read.
    let apart = run.locks.is_some() && reads.keys.len() > reads.key_entries.len();
    let mut rows = Vec::new();
    if apart || reads.keys.is_empty() {
        rows = run.read(&statements.read, run.values(&ids, []), Row::read).await?;
    }
    if !reads.keys.is_empty() {
        let ids = if apart { Batch::new(OneId::COLUMNS, 0) } else { ids };
        let keys = Batch::of_ids(OneKey::COLUMNS, reads.keys.iter().map(|key| *key.as_uuid()));
        rows.extend(run.read(&statements.read_keyed, run.values_of_two(&ids, [], &keys), Row::read).await?);
    }
    let entries = if reads.key_entries.is_empty() {
        Vec::new()
    } else {
        let keys = Batch::of_ids(OneKey::COLUMNS, reads.key_entries.iter().map(|key| *key.as_uuid()));
        run.read(&statements.keys, run.values(&keys, []), row::key_entry).await?
    };
    let mut known = Known::default();
    known.rare.extend(rows.iter().filter(|row| is_rare(row)).map(|row| row.id));
    known.keys.extend(rows.iter().filter_map(|row| Some((row.id, row.key?))));
    Ok((Ledger::new(rows, entries), known))
}

impl Committed {
    /// Applies a transition if the ledger can. Returns whether it did.
    fn apply<'a>(&mut self, ledger: &mut Ledger<'a>, transition: &'a Transition) -> bool {
        if !ledger.can_apply(transition) {
            return false;
        }
        let outcome = ledger.apply(transition);
        if let Some((task, seen)) = lacks_steps(transition, &outcome) {
            self.lacking.push(Lacking { index: self.outcomes.len(), task, seen });
        }
        self.outcomes.push(outcome);
        true
    }

    /// Writes a ledger's changes in the order of [`Writes`], and returns the cascade to run.
    async fn write<C: ConnectionTrait>(
        &mut self,
        run: &Run<'_, C>,
        writes: Writes<'_>,
        known: &Known,
    ) -> Result<Cascade> {
        let statements = &run.store.statements;
        self.effects.ready |= writes.ready;
        self.effects.ended |= writes.ended;
        self.effects.wrote |= !writes.is_empty();
        let stopping = rows(&writes).filter(|row| row.marks.contains(Mark::Cancel));
        self.stopping.extend(stopping.map(|row| row.tree.execution));
        let roots = rows(&writes).filter(|row| row.tree.parent.is_none());
        self.rooted.extend(roots.map(|row| row.tree.execution));
        if !writes.insert.is_empty() {
            self.effects.add_lanes(run, &writes.insert).await?;
            let (plain, rare) = insert_batches(&writes.insert)?;
            self.effects.insert(run, &statements.insert, &plain, &writes.insert).await?;
            self.effects.insert(run, &statements.insert_rare, &rare, &writes.insert).await?;
        }
        if !writes.update.is_empty() {
            let (plain, rare) = update_batches(&writes.update, |id| known.rare.contains(&id))?;
            run.write_batch(&statements.update, &plain).await?;
            run.write_batch(&statements.update_rare, &rare).await?;
            self.effects.relane(run, &writes.update).await?;
        }
        let copies = writes.copy.iter().map(|(id, source)| Copy { id: *id, source: *source });
        run.write_batch(&statements.copy, &row::batch(copies)).await?;
        run.write_batch(&statements.write_keys, &row::key_batch(&writes.key_entries)?).await?;
        let forgotten = Batch::of_ids(OneKey::COLUMNS, writes.forget.iter().map(|key| *key.as_uuid()));
        run.write_batch(&statements.forget, &forgotten).await?;
        run.write_batch(&statements.restore, &restored(&writes, known)).await?;
        if !writes.notes.is_empty() {
            write_notes(run, &Notes::fold(&writes.notes)).await?;
        }
        run.write_batch(&statements.ended_claims, &row::ended_claim_batch(&writes.ended_claims)?).await?;
        let stopped: Vec<_> = writes.stop.iter().map(|(execution, _)| *execution).collect();
        run.hold_within(&stopped).await?;
        run.write_batch(&statements.stop, &row::since_batch(writes.stop.iter().copied())).await?;
        if !writes.sweep.is_empty() {
            let given_up: BTreeSet<_> = writes.sweep.iter().collect();
            // A running task among them frees a slot of a limit (G8).
            self.effects.ready = true;
            run.hold_below(&writes.sweep).await?;
            let roots = row::sweep_batch(rows(&writes).filter(|row| given_up.contains(&row.id)));
            run.write(&statements.sweep, run.values(&roots, [])).await?;
        }
        run.hold_below(&writes.erase).await?;
        let erased = Batch::of_ids(OneId::COLUMNS, writes.erase.iter().map(|id| *id.as_uuid()));
        run.write_batch(&statements.erase_ended_claims, &erased).await?;
        run.write_batch(&statements.erase, &erased).await?;
        Ok(writes.cascade)
    }

    /// Finds the consequences of tasks that ended outside the ledger, and applies them.
    async fn cascade<C: ConnectionTrait>(&mut self, run: &Run<'_, C>, mut cascade: Cascade) -> Result<()> {
        for _ in 0..ROUNDS_MAX {
            let Cascade { executions, mut steps } = cascade;
            if !executions.is_empty() {
                // G15: the transaction that stops the last part of an execution ends it, so transactions that stop
                // parts of the same execution are serialized.
                let named = executions.iter().map(|(execution, _)| *execution);
                let stopping = named.filter(|execution| self.stopping.contains(execution));
                let unheld = stopping.filter(|execution| !self.rooted.contains(execution));
                run.hold_roots(&unheld.collect::<Vec<_>>()).await?;
                let values = run.values(&row::since_batch(executions.iter().copied()), []);
                let mut found = run.read(&run.store.statements.cascade, values, row::cascade_step).await?;
                found.sort_by_cached_key(|step| match step {
                    CascadeStep::Close { root, .. } => {
                        executions.iter().position(|(execution, _)| *execution == root.execution())
                    }
                    CascadeStep::Vacate { .. } | CascadeStep::Deliver { .. } | CascadeStep::Joined { .. } => {
                        None
                    }
                });
                steps.extend(found);
            }
            if steps.is_empty() {
                return Ok(());
            }
            let (mut ledger, known) = load(run, &CascadeStep::reads(&steps)).await?;
            steps.iter().for_each(|step| ledger.cascade(step));
            cascade = self.write(run, ledger.into_writes()?, &known).await?;
        }
        let message = format!("cascades did not converge after {ROUNDS_MAX} rounds");
        Err(Error::new(ErrorKind::Corrupt, "exchange").with_message(message))
    }

    /// Requests the steps that outcomes lack.
    pub(super) fn want(&self, wanted: &mut Wanted) {
        for lacking in &self.lacking {
            wanted.add(lacking.task, lacking.seen, WANT_NONE);
        }
    }

    /// Completes the news so far, before the rest of the batch deletes the steps that they report.
    async fn settle<C: ConnectionTrait>(&mut self, run: &Run<'_, C>) -> Result<()> {
        let mut wanted = Wanted::default();
        self.want(&mut wanted);
        self.tell(&Record::read(run, wanted).await?)
    }

    fn tell(&mut self, record: &Record) -> Result<()> {
        for Lacking { index, task, seen } in std::mem::take(&mut self.lacking) {
            if let Outcome::Applied(news) | Outcome::Already(news) = &mut self.outcomes[index] {
                // Steps that later transitions of the batch completed are not part of this news.
                news.steps = record.ended(task, seen, news.done)?;
            }
        }
        Ok(())
    }

    /// The outcomes, if no other steps are read with those that their news lack.
    pub(super) async fn finish<C: ConnectionTrait>(
        mut self,
        run: &Run<'_, C>,
    ) -> Result<(Vec<Outcome>, Effects)> {
        self.settle(run).await?;
        Ok((self.outcomes, self.effects))
    }

    /// The outcomes, with their news complete.
    pub(super) fn complete(mut self, record: &Record) -> Result<(Vec<Outcome>, Effects)> {
        self.tell(record)?;
        Ok((self.outcomes, self.effects))
    }
}

/// The rows to write.
fn rows<'w>(writes: &'w Writes<'_>) -> impl Iterator<Item = &'w Row> {
    let inserted = writes.insert.iter().map(|insert| &insert.row);
    inserted.chain(writes.update.iter().map(|update| &update.row))
}

/// Signal values to return to their key entries. Of two under one key, only the first is returned: then the key entry
/// has a value.
fn restored(writes: &Writes<'_>, known: &Known) -> Batch<'static> {
    let mut given = BTreeSet::new();
    let taken = writes.restore.iter().filter_map(|task| {
        let new = || writes.insert.iter().find(|insert| insert.row.id == *task)?.row.key;
        Some((known.keys.get(task).copied().or_else(new)?, *task))
    });
    let taken = taken.filter(|(key, _)| given.insert(*key));
    row::batch(taken.map(|(key, id)| Restore { key, id }))
}

async fn write_notes<C: ConnectionTrait>(run: &Run<'_, C>, notes: &Notes<'_>) -> Result<()> {
    let statements = &run.store.statements;
    run.write_batch(&statements.first, &notes.firsts()).await?;
    run.write_batch(&statements.count, &notes.counts()).await?;
    run.write_batch(&statements.recount, &notes.recounts()).await?;
    run.write_batch(&statements.set, &notes.states()).await?;
    run.write_batch(&statements.progress, &notes.progress()).await?;
    let progressed = notes.progressed();
    let executions = Batch::of_ids(OneId::COLUMNS, progressed.iter().map(|execution| *execution.as_uuid()));
    run.write_batch(&statements.trim_progress, &executions).await
}

/// Writes a batch of tasks, if all of their lanes are stored. Otherwise nothing is written.
async fn insert_among<C: ConnectionTrait>(
    run: &Run<'_, C>,
    statement: &Statement,
    batch: &Batch<'_>,
    inserts: &[Insert<'_>],
) -> Result<bool> {
    let calls = inserts.iter().filter(|insert| insert.task.kind == StepKind::Call);
    let lanes: BTreeSet<_> = calls.map(|insert| insert.task.lane.key()).collect();
    let number = [sea_orm::Value::from(lanes.len() as i64)];
    let values = run.values_of_two(batch, number, &row::batch(lanes.into_iter().map(|key| OneLane { key })));
    let written = run.run(statement, values).await?;
    run.store.tally.rows_written(written);
    Ok(written > 0)
}

impl Effects {
    /// Stores the lanes that this handle has not seen stored yet.
    async fn add_lanes<C: ConnectionTrait>(
        &mut self,
        run: &Run<'_, C>,
        inserts: &[Insert<'_>],
    ) -> Result<()> {
        let mut unknown = run.store.unknown_lanes(inserts.iter().map(|insert| insert.task))?;
        for (key, stored) in &self.lanes {
            if let Some(lane) = unknown.remove(key) {
                check(stored, lane)?;
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        self.store_lanes(run, unknown).await
    }

    /// Stores lanes that may be stored already.
    async fn store_lanes<C: ConnectionTrait>(
        &mut self,
        run: &Run<'_, C>,
        lanes: BTreeMap<LaneKey, &Lane>,
    ) -> Result<()> {
        let values = run.values(&row::lane_batch(lanes.values().copied()), []);
        let stored = run.read(&run.store.statements.lane, values, row::lane).await?;
        run.store.tally.rows_written(stored.len() as u64);
        for (key, lane) in stored {
            if let Some(wanted) = lanes.get(&key) {
                check(&lane, wanted)?;
            }
            self.lanes.insert(key, lane);
        }
        Ok(())
    }

    /// Writes a batch of tasks, and their lanes again if lanes that this handle remembers were deleted.
    async fn insert<C: ConnectionTrait>(
        &mut self,
        run: &Run<'_, C>,
        statement: &Statement,
        batch: &Batch<'_>,
        inserts: &[Insert<'_>],
    ) -> Result<()> {
        if batch.is_empty() || insert_among(run, statement, batch, inserts).await? {
            return Ok(());
        }
        run.store.known_lanes().clear();
        self.lanes.clear();
        self.add_lanes(run, inserts).await?;
        match insert_among(run, statement, batch, inserts).await? {
            true => Ok(()),
            false => {
                let message = "the lanes of new tasks are deleted as soon as they are written";
                Err(Error::new(ErrorKind::Contended, "exchange").with_message(message))
            }
        }
    }

    /// Moves tasks to other queues. A lane is written even if this handle remembers it as stored: somebody may have deleted it,
    /// and no claim would find the tasks.
    async fn relane<C: ConnectionTrait>(&mut self, run: &Run<'_, C>, updates: &[Update<'_>]) -> Result<()> {
        let queues: BTreeMap<_, _> =
            updates.iter().filter_map(|update| Some((update.row.id, update.queue?))).collect();
        if queues.is_empty() {
            return Ok(());
        }
        let ids = Batch::of_ids(OneId::COLUMNS, queues.keys().map(|id| *id.as_uuid()));
        let mut moved = run.read(&run.store.statements.lanes_of, run.values(&ids, []), task_lane).await?;
        for (id, lane) in &mut moved {
            if let Some(queue) = queues.get(id) {
                (*queue).clone_into(&mut lane.queue);
            }
        }
        self.store_lanes(run, moved.iter().map(|(_, lane)| (lane.key(), lane)).collect()).await?;
        run.write_batch(&run.store.statements.relane, &moved_batch(&moved)).await
    }

    /// The topics of the hints to send once the transaction is committed.
    pub(super) fn topics(&self) -> impl Iterator<Item = Topic> + use<> {
        [(self.ready, Topic::Work), (self.ended, Topic::Ended)]
            .into_iter()
            .filter_map(|(concerned, topic)| concerned.then_some(topic))
    }

    /// Sends the hints after the commit.
    pub(super) fn publish(self, store: &SqlStore) {
        let topics = self.topics();
        store.known_lanes().extend(self.lanes);
        topics.for_each(|topic| store.hint(topic));
    }
}

impl SqlStore {
    /// The lanes of calls that this handle has not seen stored yet.
    pub(super) fn unknown_lanes<'t>(
        &self,
        tasks: impl Iterator<Item = &'t NewTask>,
    ) -> Result<BTreeMap<LaneKey, &'t Lane>> {
        let known = self.known_lanes();
        let mut unknown = BTreeMap::new();
        for task in tasks.filter(|task| task.kind == StepKind::Call) {
            let (key, lane) = (task.lane.key(), &task.lane);
            match known.get(&key).or_else(|| unknown.get(&key).copied()) {
                Some(stored) => check(stored, lane)?,
                None => drop(unknown.insert(key, lane)),
            }
        }
        Ok(unknown)
    }
}

/// Fails if a different lane is stored under the same key.
fn check(stored: &Lane, lane: &Lane) -> Result<()> {
    if stored == lane {
        return Ok(());
    }
    let message = format!(
        "the lanes {lane:?} and {stored:?} have the same key {}; rename one of their functions, queues or tags",
        lane.key().as_i64()
    );
    Err(Error::new(ErrorKind::Corrupt, "exchange").with_message(message))
}
