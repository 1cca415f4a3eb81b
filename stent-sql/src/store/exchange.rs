//! The one verb: transitions in, work out, in one transaction.

use sea_orm::ConnectionTrait;
use stent_core::backend::{ClaimRequest, Exchanged, Result};
use stent_core::transition::Transition;

use super::SqlStore;
use super::claim::Agenda;
use super::run::Run;

const OPERATION: &str = "exchange";

impl SqlStore {
    pub(super) async fn run_exchange(
        &self,
        commit: &[Transition],
        claim: Option<&ClaimRequest<'_>>,
    ) -> Result<Exchanged> {
        let claim = claim.filter(|request| request.max > 0);
        if commit.is_empty() {
            // Who finds nothing to do must not write, nor keep others from writing: look before you begin.
            let Some(request) = claim else { return Ok(Exchanged::default()) };
            let agenda = self.agenda(&self.reading(OPERATION)?, request).await?;
            if agenda.is_empty() {
                return Ok(Exchanged { next_due: agenda.next_due, ..Exchanged::default() });
            }
        }

        // Dropping the transaction rolls it back, so a call that is dropped before its commit changes nothing.
        let transaction = self.begin(OPERATION).await?;
        let run = self.within(OPERATION, &transaction);
        let committed = self.apply(&run, commit).await?;
        let (claims, next_due) = match claim {
            Some(request) => self.pick(&run, request).await?,
            None => Default::default(),
        };
        let mut record = self.record(&run, &committed, &claims).await?;
        let wrote = committed.wrote || !claims.is_empty();
        let hints = committed.hints;
        let lanes = committed.lanes;
        let outcomes = record.complete(committed.outcomes);
        let claimed = match claim {
            Some(request) => self.take(&run, request, claims, &mut record).await?,
            None => Vec::new(),
        };

        if wrote {
            self.commit_transaction(OPERATION, transaction).await?;
            self.remember(lanes);
            hints.give(&self.hub);
        } else {
            transaction.rollback().await.map_err(|error| self.error(OPERATION, error))?;
        }
        Ok(Exchanged { outcomes, claimed, next_due })
    }

    async fn agenda<C: ConnectionTrait>(&self, run: &Run<'_, C>, request: &ClaimRequest<'_>) -> Result<Agenda> {
        Agenda::read(run, request).await
    }
}
