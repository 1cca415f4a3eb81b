//! Records of workers.

use stent_core::WorkerId;
use stent_core::backend::Result;
use stent_core::model::WorkerRecord;

use super::SqlStore;
use super::inspect::{first_after, page};
use crate::batch::Batch;
use crate::row;

const OPERATION: &str = "report";

impl SqlStore {
    pub(super) async fn run_report(&self, worker: &WorkerRecord) -> Result<()> {
        let batch = row::worker_batch(worker)?;
        self.run_again(|| self.try_report(&batch)).await
    }

    async fn try_report(&self, worker: &Batch<'_>) -> Result<()> {
        let transaction = self.begin(OPERATION).await?;
        self.within(OPERATION, &transaction).write_batch(&self.statements.report, worker).await?;
        self.commit(OPERATION, transaction).await
    }

    pub(super) async fn read_workers(
        &self,
        after: Option<WorkerId>,
        max: usize,
    ) -> Result<Vec<WorkerRecord>> {
        let Some(from) = first_after(after.map(|id| *id.as_uuid())) else { return Ok(Vec::new()) };
        let values = vec![from.into(), page(max).into()];
        self.reading("workers")?.read(&self.statements.workers, values, row::worker).await
    }
}
