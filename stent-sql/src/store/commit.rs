//! Applies transitions: loads what they read, lets the core's ledger apply them, writes what came out.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::ConnectionTrait;
use stent_core::TaskId;
use stent_core::backend::{Error, ErrorKind, Result, Topic};
use stent_core::ledger::{Insert, Ledger, Writes, lacks_steps};
use stent_core::model::{Lane, LaneKey, StepKind};
use stent_core::transition::{Outcome, Transition};

use super::SqlStore;
use super::record::{Record, Wanted};
use super::run::Run;
use crate::batch::Batch;
use crate::row::columns::ONE_ID;
use crate::row::{self, WANT_NONE};

/// What transitions have come to, in a transaction that is still open.
#[derive(Debug, Default)]
pub(super) struct Committed {
    outcomes: Vec<Outcome>,
    lacking: Vec<Lacking>,
    effects: Effects,
}

/// An outcome whose news must be completed with steps.
#[derive(Debug)]
struct Lacking {
    index: usize,
    task: TaskId,
    seen: u32,
}

/// What others learn once the transaction is committed.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) wrote: bool,
    ready: bool,
    ended: bool,
    lanes: BTreeMap<LaneKey, Lane>,
}

/// Applies transitions as if one by one.
pub(super) async fn apply<C: ConnectionTrait>(
    run: &Run<'_, C>,
    transitions: &[Transition],
) -> Result<Committed> {
    let mut committed = Committed::default();
    let mut rest = transitions;
    // Once around, but for a batch that goes on in an execution in which it has given up tasks.
    while !rest.is_empty() {
        let mut ledger = Ledger::new(read(run, rest).await?);
        let taken = rest.iter().take_while(|transition| committed.apply(&mut ledger, transition)).count();
        committed.write(run, ledger.into_writes()).await?;
        rest = &rest[taken..];
    }
    Ok(committed)
}

async fn read<C: ConnectionTrait>(
    run: &Run<'_, C>,
    transitions: &[Transition],
) -> Result<Vec<stent_core::ledger::Row>> {
    let ids = Ledger::reads(transitions).into_iter().map(|id| *id.as_uuid());
    let values = run.values(&Batch::of_ids(&ONE_ID, ids), []);
    run.read(&run.store.statements.read, values, row::row).await
}

impl Committed {
    /// Whether the ledger takes the transition; if so, it has been applied.
    fn apply<'a>(&mut self, ledger: &mut Ledger<'a>, transition: &'a Transition) -> bool {
        if !ledger.takes(transition) {
            return false;
        }
        let outcome = ledger.apply(transition);
        if lacks_steps(transition, &outcome) {
            let (index, task) = (self.outcomes.len(), transition.guard.task());
            self.lacking.push(Lacking { index, task, seen: transition.seen });
        }
        self.outcomes.push(outcome);
        true
    }

    async fn write<C: ConnectionTrait>(&mut self, run: &Run<'_, C>, writes: Writes<'_>) -> Result<()> {
        let statements = &run.store.statements;
        self.effects.ready |= writes.ready;
        self.effects.ended |= writes.ended;
        self.effects.wrote |= !writes.is_empty();
        if !writes.insert.is_empty() {
            self.effects.add_lanes(run, &writes.insert).await?;
            run.write(&statements.insert, run.values(&row::insert_batch(&writes.insert)?, [])).await?;
        }
        if !writes.update.is_empty() {
            run.write(&statements.update, run.values(&row::update_batch(&writes.update)?, [])).await?;
        }
        if !writes.sweep.is_empty() {
            let given_up: BTreeSet<_> = writes.sweep.iter().collect();
            let rows = writes
                .insert
                .iter()
                .map(|insert| &insert.row)
                .chain(writes.update.iter().map(|update| &update.row));
            let roots = row::sweep_batch(rows.filter(|row| given_up.contains(&row.id)));
            run.write(&statements.sweep, run.values(&roots, [])).await?;
        }
        if !writes.erase.is_empty() {
            let roots = Batch::of_ids(&ONE_ID, writes.erase.iter().map(|id| *id.as_uuid()));
            run.write(&statements.erase, run.values(&roots, [])).await?;
        }
        Ok(())
    }

    /// Asks for the steps that outcomes lack.
    pub(super) fn want(&self, wanted: &mut Wanted) {
        for lacking in &self.lacking {
            wanted.add(lacking.task, lacking.seen, WANT_NONE);
        }
    }

    /// The outcomes, with their news complete.
    pub(super) fn complete(self, record: &Record) -> Result<(Vec<Outcome>, Effects)> {
        let Self { mut outcomes, lacking, effects } = self;
        for Lacking { index, task, seen } in lacking {
            if let Outcome::Applied(news) | Outcome::Already(news) = &mut outcomes[index] {
                // What later transitions of the batch completed is no news yet.
                news.steps = record.ended(task, seen, news.done)?;
            }
        }
        Ok((outcomes, effects))
    }
}

impl Effects {
    /// Stores the lanes that this handle has not seen stored yet.
    async fn add_lanes<C: ConnectionTrait>(
        &mut self,
        run: &Run<'_, C>,
        inserts: &[Insert<'_>],
    ) -> Result<()> {
        let mut unknown = BTreeMap::new();
        {
            let known = run.store.known_lanes();
            for insert in inserts.iter().filter(|insert| insert.task.kind == StepKind::Call) {
                let lane = &insert.task.lane;
                let key = lane.key();
                match known.get(&key).or_else(|| self.lanes.get(&key)).or_else(|| unknown.get(&key).copied())
                {
                    Some(stored) => check(stored, lane)?,
                    None => drop(unknown.insert(key, lane)),
                }
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let values = run.values(&row::lane_batch(unknown.values().copied()), []);
        let stored = run.read(&run.store.statements.lane, values, row::lane).await?;
        run.store.tally.rows_written(stored.len() as u64);
        for (key, lane) in stored {
            if let Some(wanted) = unknown.get(&key) {
                check(&lane, wanted)?;
            }
            self.lanes.insert(key, lane);
        }
        Ok(())
    }

    /// Tells what has been committed to those whom it concerns.
    pub(super) fn publish(self, store: &SqlStore) {
        store.known_lanes().extend(self.lanes);
        if self.ready {
            store.hub.hint(Topic::Work);
        }
        if self.ended {
            store.hub.hint(Topic::Ended);
        }
    }
}

/// Two lanes under one key must never be taken for each other.
fn check(stored: &Lane, lane: &Lane) -> Result<()> {
    if stored == lane {
        return Ok(());
    }
    let message = format!(
        "{lane:?} and {stored:?} share the key {}; rename one of the functions or queues",
        lane.key().as_i64()
    );
    Err(Error::new(ErrorKind::Corrupt, "exchange").with_message(message))
}
