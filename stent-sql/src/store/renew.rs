//! Extends leases.

use std::collections::BTreeSet;

use stent_core::Timestamp;
use stent_core::backend::{Renewal, Result};
use stent_core::model::Lease;

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
        let transaction = self.begin_renewal(OPERATION).await?;
        let run = self.within(OPERATION, &transaction);
        let values =
            run.values(&row::lease_batch(leases), [until.as_micros().into(), now.as_micros().into()]);
        let renewed: BTreeSet<_> =
            run.read(&self.statements.renew, values, row::held).await?.into_iter().collect();
        self.tally.rows_written(renewed.len() as u64);
        let is_renewed = |lease: &&Lease| renewed.contains(&(lease.task, lease.epoch));
        let left: Vec<Lease> = leases.iter().filter(|lease| !is_renewed(lease)).copied().collect();
        let held: BTreeSet<_> = match &self.locks {
            Some(locks) if !left.is_empty() => {
                let values = run.values(&row::lease_batch(&left), [now.as_micros().into()]);
                run.read(&locks.held, values, row::held).await?.into_iter().collect()
            }
            _ => BTreeSet::new(),
        };
        self.commit(OPERATION, transaction).await?;

        let answers = leases.iter().map(|lease| match lease {
            lease if is_renewed(&lease) => Renewal::Renewed,
            lease if held.contains(&(lease.task, lease.epoch)) => Renewal::Held,
            _ => Renewal::Lost,
        });
        Ok(answers.collect())
    }
}
