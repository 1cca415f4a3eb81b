//! Deletes what is old.

use sea_orm::DatabaseTransaction;
use stent_core::TaskId;
use stent_core::backend::{Purge, PurgeRequest, Purged, Result};
use uuid::Uuid;

use super::SqlStore;
use crate::Statement;
use crate::batch::Batch;
use crate::row::Reader;
use crate::row::columns::{ONE_ID, ONE_KEY};

const OPERATION: &str = "purge";

impl SqlStore {
    pub(super) async fn run_purge(&self, request: &PurgeRequest) -> Result<Purged> {
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
        let roots = run.read(which, bounds(request), |reader| reader.id(TaskId::from_uuid)).await?;
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
        self.commit(OPERATION, transaction).await?;
        Ok(purged(roots.len()))
    }

    /// Puts numbers in the place of steps.
    async fn compact(&self, request: &PurgeRequest) -> Result<Purged> {
        let statements = &self.statements;
        let transaction = self.begin(OPERATION).await?;
        let run = self.within(OPERATION, &transaction);
        let roots =
            run.read(&statements.whole, bounds(request), |reader| reader.id(TaskId::from_uuid)).await?;
        if roots.is_empty() {
            return self.nothing(transaction).await;
        }
        let batch = Batch::of_ids(&ONE_ID, roots.iter().map(|id| *id.as_uuid()));
        for write in [
            &statements.summary,
            &statements.purge_steps,
            &statements.purge_progress,
            &statements.purge_tried,
            &statements.compacted,
        ] {
            run.write_batch(write, &batch).await?;
        }
        self.commit(OPERATION, transaction).await?;
        Ok(purged(roots.len()))
    }

    async fn purge_results(&self, request: &PurgeRequest) -> Result<Purged> {
        let statements = &self.statements;
        let transaction = self.begin(OPERATION).await?;
        let run = self.within(OPERATION, &transaction);
        let keys: Vec<Uuid> = run.read(&statements.results, bounds(request), Reader::next).await?;
        if keys.is_empty() {
            return self.nothing(transaction).await;
        }
        run.write_batch(&statements.forget, &Batch::of_ids(&ONE_KEY, keys.iter().copied())).await?;
        self.commit(OPERATION, transaction).await?;
        Ok(purged(keys.len()))
    }

    /// There was nothing to do, and nothing was done.
    async fn nothing(&self, transaction: DatabaseTransaction) -> Result<Purged> {
        transaction.rollback().await.map_err(|error| self.error(OPERATION, error))?;
        Ok(Purged::default())
    }
}

fn bounds(request: &PurgeRequest) -> Vec<sea_orm::Value> {
    vec![request.before.as_micros().into(), i64::from(request.max).into()]
}

fn purged(count: usize) -> Purged {
    Purged { count: u32::try_from(count).unwrap_or(u32::MAX) }
}
