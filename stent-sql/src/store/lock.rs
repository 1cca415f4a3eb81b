//! Holds what a transaction goes by until it has written, where many write at once. Elsewhere all of this is nothing.
//!
//! Rows that are read to be written are locked as they are read. What is locked here has no row yet, or is more than what was
//! read: keys, the count of a limit, everything below a task. See `docs/decisions/0011-what-postgres-locks.md`.

use std::collections::BTreeSet;

use sea_orm::ConnectionTrait;
use stent_core::backend::Result;
use stent_core::model::FunctionKey;
use stent_core::{ExecutionId, Key, TaskId};
use uuid::Uuid;

use super::run::Run;
use crate::Statement;
use crate::batch::Batch;
use crate::row::{self, Lock, OneId, Shape};

impl<C: ConnectionTrait> Run<'_, C> {
    /// Holds keys under which there may be key entries: those, and who waits there.
    pub(super) async fn hold_keys(&self, keys: &BTreeSet<Key>) -> Result<()> {
        self.hold(keys.iter().map(number_of).collect()).await
    }

    /// Holds the counts of functions that are limited (G8).
    pub(super) async fn hold_counts(&self, functions: &[FunctionKey]) -> Result<()> {
        self.hold(functions.iter().map(|function| function.as_i64()).collect()).await
    }

    /// Holds every open task below these, so that nobody adds to them.
    pub(super) async fn hold_below(&self, tasks: &[TaskId]) -> Result<()> {
        let Some(locks) = self.locks else { return Ok(()) };
        let tasks = Batch::of_ids(OneId::COLUMNS, tasks.iter().map(|task| *task.as_uuid()));
        self.hold_rows(&locks.hold_below, &tasks).await
    }

    /// Holds every open task below the roots of these, so that nobody adds to them.
    pub(super) async fn hold_within(&self, executions: &[ExecutionId]) -> Result<()> {
        let Some(locks) = self.locks else { return Ok(()) };
        let executions =
            Batch::of_ids(OneId::COLUMNS, executions.iter().map(|execution| *execution.as_uuid()));
        self.hold_rows(&locks.hold_within, &executions).await
    }

    /// Holds the roots of executions that are asked to end, so that of those who stop parts of one at the same time the last
    /// sees what the others have stopped, and ends the whole.
    pub(super) async fn hold_roots(&self, executions: &[ExecutionId]) -> Result<()> {
        let Some(locks) = self.locks.filter(|_| !executions.is_empty()) else { return Ok(()) };
        let roots =
            Batch::of_ids(OneId::COLUMNS, executions.iter().map(|execution| *execution.root().as_uuid()));
        self.read(&locks.hold_roots, self.values(&roots, []), row::id::<Uuid>).await.map(drop)
    }

    /// Takes locks by number, in their order. Two things with one number wait for each other without need, and no more.
    async fn hold(&self, numbers: BTreeSet<i64>) -> Result<()> {
        match self.locks {
            Some(locks) if !numbers.is_empty() => {
                // What it gives is nothing, a row for each lock; and nothing is written.
                self.run(
                    &locks.hold,
                    self.values(&row::batch(numbers.into_iter().map(|lock| Lock { lock })), []),
                )
                .await
                .map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Locks rows until there are no others: whoever has added some was waited for at the row that they belong to.
    async fn hold_rows(&self, statement: &Statement, batch: &Batch<'_>) -> Result<()> {
        let mut held = 0;
        while !batch.is_empty() {
            let found = self.read(statement, self.values(batch, []), row::id::<Uuid>).await?.len();
            // What is held cannot end, so as many are the same ones.
            if found == held {
                break;
            }
            held = found;
        }
        Ok(())
    }
}

fn number_of(key: &Key) -> i64 {
    let (high, low) = key.as_uuid().as_u64_pair();
    (high ^ low).cast_signed()
}
