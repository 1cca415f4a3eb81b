//! Deletes old data in slices, each in a transaction of its own.
//!
//! A slice is bounded by executions and by rows. It is made smaller if it has too many rows, or exceeds the database's
//! statement timeout. An execution is deleted as a whole or not at all (G16), so an execution with more rows than a slice is
//! deleted in a transaction of its own, by several statements.

use std::collections::BTreeSet;

use sea_orm::Value;
use stent_core::ExecutionId;
use stent_core::backend::{ErrorKind, Purge, PurgeRequest, Purged, Result};
use stent_core::limits::WORKER_SILENCE_MAX;

use super::begin::Open;
use super::run::Run;
use super::{SqlStore, commit};
use crate::Statement;
use crate::batch::Batch;
use crate::row::{self, OneId, OneKey, Read, Shape, Whole};

const OPERATION: &str = "purge";

/// Most executions, or results, of one slice: their roots are locked, and written in a few tens of milliseconds.
const SLICE_MAX: usize = 500;

/// Most rows that one statement deletes, and one slice that has more than one execution. Writers wait for a slice; this many
/// rows take some tens of milliseconds.
const ROWS_MAX: usize = 5_000;

/// Executions that one transaction reads to find some with details to compact. For most of them, the transaction writes
/// one number.
const WINDOW_MAX: usize = 1_000;

/// The size of a slice.
#[derive(Clone, Copy, Debug)]
struct Slice {
    executions: usize,
    rows: usize,
    window: usize,
}

impl Slice {
    const fn new() -> Self {
        Self { executions: SLICE_MAX, rows: ROWS_MAX, window: WINDOW_MAX }
    }

    /// Half the slice, after a timeout. `None` if it cannot be halved.
    fn halved(self) -> Option<Self> {
        let half = |of: usize| (of / 2).max(1);
        let Self { executions, rows, window } = self;
        (executions > 1 || rows > 1 || window > 1).then(|| Self {
            executions: half(executions),
            rows: half(rows),
            window: half(window),
        })
    }

    /// Half as many executions, because these have too many rows.
    fn fewer(self, executions: usize) -> Self {
        Self { executions: (executions / 2).max(1), ..self }
    }

    /// The next slice after one with this many rows: there may be room for more executions.
    fn after(self, rows: usize) -> Self {
        match rows * 4 <= self.rows {
            true => Self { executions: (self.executions * 2).min(SLICE_MAX), ..self },
            false => self,
        }
    }
}

/// The result of a slice.
enum Went {
    /// This many executions or results, with this many rows, were deleted. There may be more.
    More { count: usize, rows: usize },
    /// This many were deleted, and there are no more.
    Last { count: usize },
    /// Nothing was deleted: this many executions have more rows than a slice.
    TooMany { executions: usize },
}

impl SqlStore {
    pub(super) async fn run_purge(&self, request: &PurgeRequest) -> Result<Purged> {
        self.check_open(OPERATION)?;
        let max = request.max as usize;
        let (mut slice, mut count) = (Slice::new(), 0);
        while count < max {
            let left = max - count;
            // After a conflict, only the current slice is retried: earlier slices are committed and counted.
            match self.run_again(|| self.try_purge(request, slice, left)).await {
                Ok(Went::More { count: went, rows }) => {
                    count += went;
                    slice = slice.after(rows);
                }
                Ok(Went::Last { count: went }) => return Ok(purged(count + went)),
                Ok(Went::TooMany { executions }) => slice = slice.fewer(executions),
                Err(error) => match slice.halved().filter(|_| error.kind() == ErrorKind::Contended) {
                    Some(half) => slice = half,
                    None => return Err(error),
                },
            }
        }
        Ok(purged(count))
    }

    async fn try_purge(&self, request: &PurgeRequest, slice: Slice, left: usize) -> Result<Went> {
        let statements = &self.statements;
        match request.what {
            Purge::Executions => self.purge_executions(&statements.ended, request, slice, left).await,
            Purge::DeadLetters => self.purge_executions(&statements.dead, request, slice, left).await,
            Purge::Details => self.compact(request, slice, left).await,
            Purge::Results => self.purge_results(request, slice, left).await,
            Purge::Workers => self.purge_workers(request, slice, left).await,
        }
    }

    async fn purge_executions(
        &self,
        which: &Statement,
        request: &PurgeRequest,
        slice: Slice,
        left: usize,
    ) -> Result<Went> {
        let statements = &self.statements;
        let transaction = self.begin(OPERATION).await?;
        let run = self.within(OPERATION, &transaction);
        let asked = slice.executions.min(left);
        let roots = run.read(which, bounds(request, asked), row::id::<ExecutionId>).await?;
        if roots.is_empty() {
            return self.nothing(transaction, Went::Last { count: 0 }).await;
        }
        // G16: an execution is deleted with all of its data. The root has the execution's id.
        let batch = Batch::of_ids(OneId::COLUMNS, roots.iter().map(|id| *id.as_uuid()));
        let Some(rows) = delete_details(&run, &batch, slice).await? else {
            return self.nothing(transaction, Went::TooMany { executions: roots.len() }).await;
        };
        for delete in [&statements.purge_roots, &statements.purge_keys, &statements.purge_notes] {
            run.write_batch(delete, &batch).await?;
        }
        let effects = commit::cascade_from(&run, &roots, rows, request.now).await?;
        self.commit(OPERATION, transaction).await?;
        effects.publish(self);
        Ok(went(roots.len(), rows, roots.len() < asked))
    }

    /// Replaces steps by their numbers, in windows of one transaction each. Most executions may have nothing to compact;
    /// they are marked, and never read again.
    async fn compact(&self, request: &PurgeRequest, slice: Slice, left: usize) -> Result<Went> {
        let transaction = self.begin(OPERATION).await?;
        let run = self.within(OPERATION, &transaction);
        let roots = run.read(&self.statements.whole, bounds(request, slice.window), Whole::read).await?;
        if roots.is_empty() {
            return self.nothing(transaction, Went::Last { count: 0 }).await;
        }
        let detailed: Vec<_> = roots.iter().filter(|root| root.details).map(|root| root.id).collect();
        let (whole, later) = detailed.split_at(slice.executions.min(left).min(detailed.len()));
        let is_last = roots.len() < slice.window && later.is_empty();
        let later: BTreeSet<_> = later.iter().collect();
        let seen = roots.iter().map(|root| &root.id).filter(|id| !later.contains(id));
        let batch = Batch::of_ids(OneId::COLUMNS, whole.iter().map(|id| *id.as_uuid()));
        let statements = &self.statements;
        run.write_batch(&statements.summary, &batch).await?;
        let Some(rows) = delete_details(&run, &batch, slice).await? else {
            return self.nothing(transaction, Went::TooMany { executions: whole.len() }).await;
        };
        let seen = Batch::of_ids(OneId::COLUMNS, seen.map(|id| *id.as_uuid()));
        run.write_batch(&statements.compacted, &seen).await?;
        let effects = commit::cascade_from(&run, whole, rows, request.now).await?;
        self.commit(OPERATION, transaction).await?;
        effects.publish(self);
        Ok(went(whole.len(), rows, is_last))
    }

    async fn purge_results(&self, request: &PurgeRequest, slice: Slice, left: usize) -> Result<Went> {
        let statements = &self.statements;
        let transaction = self.begin(OPERATION).await?;
        let run = self.within(OPERATION, &transaction);
        let asked = slice.executions.min(left);
        let mut bounds = bounds(request, asked);
        bounds.push(request.now.as_micros().into());
        let keys = run.read(&statements.results, bounds, OneKey::read).await?;
        if keys.is_empty() {
            return self.nothing(transaction, Went::Last { count: 0 }).await;
        }
        run.write_batch(
            &statements.forget,
            &Batch::of_ids(OneKey::COLUMNS, keys.iter().map(|key| *key.key.as_uuid())),
        )
        .await?;
        self.commit(OPERATION, transaction).await?;
        Ok(went(keys.len(), keys.len(), keys.len() < asked))
    }

    async fn purge_workers(&self, request: &PurgeRequest, slice: Slice, left: usize) -> Result<Went> {
        let transaction = self.begin(OPERATION).await?;
        let run = self.within(OPERATION, &transaction);
        let asked = slice.executions.min(left);
        let mut bounds = bounds(request, asked);
        bounds.push((request.now - WORKER_SILENCE_MAX).as_micros().into());
        let rows = run.run(&self.statements.purge_workers, bounds).await?;
        self.tally.rows_written(rows);
        self.commit(OPERATION, transaction).await?;
        let count = usize::try_from(rows).unwrap_or(usize::MAX);
        Ok(went(count, count, count < asked))
    }

    /// Ends the transaction without a write.
    async fn nothing(&self, transaction: Open, went: Went) -> Result<Went> {
        self.rollback(OPERATION, transaction).await?;
        Ok(went)
    }
}

/// Deletes the steps, progress and ended claims of executions, and returns the number of rows. `None` if these are several
/// executions with more rows than a slice: then some are deleted, and the transaction must not be committed.
async fn delete_details<C: sea_orm::ConnectionTrait>(
    run: &Run<'_, C>,
    batch: &Batch<'_>,
    slice: Slice,
) -> Result<Option<usize>> {
    let statements = &run.store.statements;
    let mut all = 0;
    for delete in [&statements.purge_steps, &statements.purge_progress, &statements.purge_ended_claims] {
        while !batch.is_empty() {
            let values = run.values(batch, [Value::from(slice.rows as i64)]);
            let rows = usize::try_from(run.run(delete, values).await?).unwrap_or(usize::MAX);
            run.store.tally.rows_written(rows as u64);
            all += rows;
            if rows < slice.rows {
                break;
            }
            if batch.len() > 1 {
                return Ok(None);
            }
        }
    }
    Ok(Some(all))
}

fn bounds(request: &PurgeRequest, most: usize) -> Vec<Value> {
    vec![request.before.as_micros().into(), (most as i64).into()]
}

fn went(count: usize, rows: usize, is_last: bool) -> Went {
    if is_last { Went::Last { count } } else { Went::More { count, rows } }
}

fn purged(count: usize) -> Purged {
    Purged { count: u32::try_from(count).unwrap_or(u32::MAX) }
}
