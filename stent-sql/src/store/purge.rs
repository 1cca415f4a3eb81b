//! Deletes executions that have ended.

use stent_core::TaskId;
use stent_core::backend::{PurgeRequest, Purged, Result};

use super::SqlStore;
use crate::batch::Batch;
use crate::row::columns::ONE_ID;

const OPERATION: &str = "purge";

impl SqlStore {
    pub(super) async fn run_purge(&self, request: &PurgeRequest) -> Result<Purged> {
        let transaction = self.begin(OPERATION).await?;
        let run = self.within(OPERATION, &transaction);
        let bounds = vec![request.before.as_micros().into(), i64::from(request.max).into()];
        let roots = run.read(&self.statements.ended, bounds, |reader| reader.id(TaskId::from_uuid)).await?;
        if roots.is_empty() {
            transaction.rollback().await.map_err(|error| self.error(OPERATION, error))?;
            return Ok(Purged::default());
        }
        // G16: an execution goes with all of its tasks. Its root's id is its own.
        let batch = Batch::of_ids(&ONE_ID, roots.iter().map(|id| *id.as_uuid()));
        run.write(&self.statements.purge_steps, run.values(&batch, [])).await?;
        run.write(&self.statements.purge_roots, run.values(&batch, [])).await?;
        self.commit(OPERATION, transaction).await?;
        Ok(Purged { executions: u32::try_from(roots.len()).unwrap_or(u32::MAX) })
    }
}
