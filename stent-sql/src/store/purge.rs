//! Deletes what is old, in slices of a transaction each.
//!
//! A slice is bounded by executions and by rows, and made smaller when it turns out to have too many rows, or takes longer than
//! the database lets a statement take. An execution goes whole or not at all (G16), so one that has more rows than a slice
//! goes in a transaction of its own, by several statements.

use std::collections::BTreeSet;

use sea_orm::Value;
use stent_core::ExecutionId;
use stent_core::backend::{ErrorKind, Purge, PurgeRequest, Purged, Result};

use super::begin::Open;
use super::run::Run;
use super::{SqlStore, commit};
use crate::Statement;
use crate::batch::Batch;
use crate::row::{self, OneId, OneKey, Read, Shape, Whole};

const OPERATION: &str = "purge";

/// Most executions, or results, of one slice: their roots are locked, and written in a few tens of milliseconds.
const SLICE_MAX: usize = 500;

/// Most rows that one statement deletes, and one slice that has more than one execution. Writers wait for a slice; so many rows
/// take some tens of milliseconds.
const ROWS_MAX: usize = 5_000;

/// Executions that are looked at in one transaction to find some that have something to compact. What is written of most
/// of them is one number.
const WINDOW_MAX: usize = 1_000;

/// How much goes at once.
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

    /// It takes too long: half of it. None if there is no half.
    fn halved(self) -> Option<Self> {
        let half = |of: usize| (of / 2).max(1);
        let Self { executions, rows, window } = self;
        (executions > 1 || rows > 1 || window > 1).then(|| Self {
            executions: half(executions),
            rows: half(rows),
            window: half(window),
        })
    }

    /// So many executions have too many rows: half as many.
    fn fewer(self, executions: usize) -> Self {
        Self { executions: (executions / 2).max(1), ..self }
    }

    /// So many rows went: there may be room for more executions.
    fn after(self, rows: usize) -> Self {
        match rows * 4 <= self.rows {
            true => Self { executions: (self.executions * 2).min(SLICE_MAX), ..self },
            false => self,
        }
    }
}

/// What a slice came to.
enum Went {
    /// So many executions or results, of so many rows. There may be more.
    More { count: usize, rows: usize },
    /// So many, and there are no others.
    Last { count: usize },
    /// Nothing: so many executions have more rows than a slice.
    TooMany { executions: usize },
}

impl SqlStore {
    pub(super) async fn run_purge(&self, request: &PurgeRequest) -> Result<Purged> {
        self.check_open(OPERATION)?;
        let max = request.max as usize;
        let (mut slice, mut count) = (Slice::new(), 0);
        while count < max {
            let left = max - count;
            // One slice at a time is run again after a conflict: what went before it is counted, and stays so.
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
        // G16: an execution goes with all that is its own. Its root's id is its own.
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

    /// Puts numbers in the place of steps, in windows of a transaction each: most executions may have nothing to compact,
    /// and are passed over once and for all.
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

    /// Nothing is written.
    async fn nothing(&self, transaction: Open, went: Went) -> Result<Went> {
        self.rollback(OPERATION, transaction).await?;
        Ok(went)
    }
}

/// Deletes the steps, progress and ended claims of executions, and tells how many rows that were. None if they are more executions
/// than one, and have more rows than a slice: then some are deleted, and the transaction must not be committed.
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
