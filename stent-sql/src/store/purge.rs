//! Deletes what is old.

use std::collections::BTreeSet;

use stent_core::ExecutionId;
use stent_core::backend::{Purge, PurgeRequest, Purged, Result};
use uuid::Uuid;

use super::begin::Open;
use super::{SqlStore, commit};
use crate::Statement;
use crate::batch::Batch;
use crate::row::Reader;
use crate::row::columns::{ONE_ID, ONE_KEY};

const OPERATION: &str = "purge";

/// Executions that are looked at in one transaction to find some that have something to compact. What is written of most
/// of them is one number.
const WINDOW: usize = 1_000;

impl SqlStore {
    pub(super) async fn run_purge(&self, request: &PurgeRequest) -> Result<Purged> {
        self.run_again(|| self.try_purge(request)).await
    }

    async fn try_purge(&self, request: &PurgeRequest) -> Result<Purged> {
        let statements = &self.statements;
        match request.what {
            Purge::Executions => self.purge_executions(&statements.ended, request).await,
            Purge::DeadLetters => self.purge_executions(&statements.dead, request).await,
            Purge::Details => self.compact(request).await,
            Purge::Results => self.purge_results(request).await,
        }
    }

    async fn purge_executions(&self, which: &Statement, request: &PurgeRequest) -> Result<Purged> {
        let statements = &self.statements;
        let transaction = self.begin(OPERATION).await?;
        let run = self.within(OPERATION, &transaction);
        let roots = run.read(which, bounds(request), |reader| reader.id(ExecutionId::from_uuid)).await?;
        if roots.is_empty() {
            return self.nothing(transaction).await;
        }
        // G16: an execution goes with all that is its own. Its root's id is its own.
        let batch = Batch::of_ids(&ONE_ID, roots.iter().map(|id| *id.as_uuid()));
        for delete in [
            &statements.purge_steps,
            &statements.purge_roots,
            &statements.purge_memos,
            &statements.purge_notes,
            &statements.purge_progress,
            &statements.purge_tried,
        ] {
            run.write_batch(delete, &batch).await?;
        }
        let effects = commit::follow_gone(&run, &roots, request.now).await?;
        self.commit(OPERATION, transaction).await?;
        effects.publish(self);
        Ok(purged(roots.len()))
    }

    /// Puts numbers in the place of steps, in windows of a transaction each: most executions may have nothing to compact,
    /// and are passed over once and for all.
    async fn compact(&self, request: &PurgeRequest) -> Result<Purged> {
        let mut count = 0;
        loop {
            let left = request.max as usize - count;
            let transaction = self.begin(OPERATION).await?;
            let run = self.within(OPERATION, &transaction);
            let window = vec![request.before.as_micros().into(), (WINDOW as i64).into()];
            let roots = run.read(&self.statements.whole, window, |reader| {
                Ok((reader.id(ExecutionId::from_uuid)?, reader.next::<i64>()? > 0))
            });
            let roots = roots.await?;
            if roots.is_empty() || left == 0 {
                self.nothing(transaction).await?;
                return Ok(purged(count));
            }
            let is_last = roots.len() < WINDOW;
            let detailed: Vec<_> = roots.iter().filter(|(_, details)| *details).map(|(id, _)| *id).collect();
            let (whole, later) = detailed.split_at(left.min(detailed.len()));
            let later: BTreeSet<_> = later.iter().collect();
            let seen = roots.iter().map(|(id, _)| id).filter(|id| !later.contains(id));
            let batch = Batch::of_ids(&ONE_ID, whole.iter().map(|id| *id.as_uuid()));
            let statements = &self.statements;
            for write in [
                &statements.summary,
                &statements.purge_steps,
                &statements.purge_progress,
                &statements.purge_tried,
            ] {
                run.write_batch(write, &batch).await?;
            }
            let seen = Batch::of_ids(&ONE_ID, seen.map(|id| *id.as_uuid()));
            run.write_batch(&statements.compacted, &seen).await?;
            let effects = commit::follow_gone(&run, whole, request.now).await?;
            self.commit(OPERATION, transaction).await?;
            effects.publish(self);
            count += whole.len();
            if is_last {
                return Ok(purged(count));
            }
        }
    }

    async fn purge_results(&self, request: &PurgeRequest) -> Result<Purged> {
        let statements = &self.statements;
        let transaction = self.begin(OPERATION).await?;
        let run = self.within(OPERATION, &transaction);
        let mut bounds = bounds(request);
        bounds.push(request.now.as_micros().into());
        let keys: Vec<Uuid> = run.read(&statements.results, bounds, Reader::next).await?;
        if keys.is_empty() {
            return self.nothing(transaction).await;
        }
        run.write_batch(&statements.forget, &Batch::of_ids(&ONE_KEY, keys.iter().copied())).await?;
        self.commit(OPERATION, transaction).await?;
        Ok(purged(keys.len()))
    }

    /// There was nothing to do, and nothing was done.
    async fn nothing(&self, transaction: Open) -> Result<Purged> {
        self.rollback(OPERATION, transaction).await?;
        Ok(Purged::default())
    }
}

fn bounds(request: &PurgeRequest) -> Vec<sea_orm::Value> {
    vec![request.before.as_micros().into(), i64::from(request.max).into()]
}

fn purged(count: usize) -> Purged {
    Purged { count: u32::try_from(count).unwrap_or(u32::MAX) }
}
