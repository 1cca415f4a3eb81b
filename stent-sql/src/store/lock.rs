//! Locks the data on which a transaction relies until it has written, for databases with many concurrent writers. With
//! one writer, these calls do nothing.
//!
//! Rows that are read to be written are locked as they are read. This module locks things that have no row yet, or more rows
//! than were read: keys, the count of a limit, everything below a task. See `docs/decisions/0011-what-postgres-locks.md`.

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
    /// Locks keys that may have key entries: the entries, and the tasks that wait under the keys.
    pub(super) async fn hold_keys(&self, keys: &BTreeSet<Key>) -> Result<()> {
        self.hold(keys.iter().map(number_of).collect()).await
    }

    /// Locks the counts of limited functions (G8).
    pub(super) async fn hold_counts(&self, functions: &[FunctionKey]) -> Result<()> {
        self.hold(functions.iter().map(|function| function.as_i64()).collect()).await
    }

    /// Locks every open task below these, so that no other transaction adds tasks to them.
    pub(super) async fn hold_below(&self, tasks: &[TaskId]) -> Result<()> {
        let Some(locks) = self.locks else { return Ok(()) };
        let tasks = Batch::of_ids(OneId::COLUMNS, tasks.iter().map(|task| *task.as_uuid()));
        self.hold_rows(&locks.hold_below, &tasks).await
    }

    /// Locks every open task below the roots of these executions, so that no other transaction adds tasks to them.
    pub(super) async fn hold_within(&self, executions: &[ExecutionId]) -> Result<()> {
        let Some(locks) = self.locks else { return Ok(()) };
        let executions =
            Batch::of_ids(OneId::COLUMNS, executions.iter().map(|execution| *execution.as_uuid()));
        self.hold_rows(&locks.hold_within, &executions).await
    }

    /// Locks the roots of executions that were asked to end. If several transactions stop parts of one execution at the same
    /// time, the last one then sees the parts that the others have stopped, and ends the execution.
    pub(super) async fn hold_roots(&self, executions: &[ExecutionId]) -> Result<()> {
        let Some(locks) = self.locks.filter(|_| !executions.is_empty()) else { return Ok(()) };
        let roots =
            Batch::of_ids(OneId::COLUMNS, executions.iter().map(|execution| *execution.root().as_uuid()));
        self.read(&locks.hold_roots, self.values(&roots, []), row::id::<Uuid>).await.map(drop)
    }

    /// Takes locks by number, in ascending order. Two things with the same number wait for each other needlessly, which
    /// has no other effect.
    async fn hold(&self, numbers: BTreeSet<i64>) -> Result<()> {
        match self.locks {
            Some(locks) if !numbers.is_empty() => {
                // The statement returns an empty row for each lock, and writes nothing.
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

    /// Locks rows until there are no further ones: a transaction that added rows has locked their parent, so this call
    /// has waited for it.
    async fn hold_rows(&self, statement: &Statement, batch: &Batch<'_>) -> Result<()> {
        let mut held = 0;
        while !batch.is_empty() {
            let found = self.read(statement, self.values(batch, []), row::id::<Uuid>).await?.len();
            // Locked tasks cannot end, so an equal number means the same tasks.
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
