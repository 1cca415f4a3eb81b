//! Extends leases.

use std::collections::BTreeSet;

use stent_core::backend::{Renewal, Result};
use stent_core::model::Lease;
use stent_core::{TaskId, Timestamp};

use super::SqlStore;
use crate::row;

const OPERATION: &str = "renew";

impl SqlStore {
    pub(super) async fn run_renew(
        &self,
        leases: &[Lease],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Renewal>> {
        if leases.is_empty() {
            self.check_open(OPERATION)?;
            return Ok(Vec::new());
        }
        self.run_again(|| self.try_renew(leases, now, until)).await
    }

    async fn try_renew(&self, leases: &[Lease], now: Timestamp, until: Timestamp) -> Result<Vec<Renewal>> {
        let transaction = self.begin(OPERATION).await?;
        let run = self.within(OPERATION, &transaction);
        let values =
            run.values(&row::lease_batch(leases), [until.as_micros().into(), now.as_micros().into()]);
        let renewed = run.read(&self.statements.renew, values, |reader| {
            Ok((reader.id(TaskId::from_uuid)?, reader.epoch()?))
        });
        let renewed: BTreeSet<_> = renewed.await?.into_iter().collect();
        self.tally.rows_written(renewed.len() as u64);
        self.commit(OPERATION, transaction).await?;

        let answers = leases.iter().map(|lease| match renewed.contains(&(lease.task, lease.epoch)) {
            true => Renewal::Renewed,
            false => Renewal::Lost,
        });
        Ok(answers.collect())
    }
}
