//! The one verb: transitions in, work out, in one transaction.

use stent_core::backend::{ClaimRequest, Exchanged, Result};
use stent_core::transition::Transition;

use super::SqlStore;
use super::claim::{self, Agenda, Picks};
use super::commit;
use super::record::{Record, Wanted};

const OPERATION: &str = "exchange";

impl SqlStore {
    pub(super) async fn run_exchange(
        &self,
        transitions: &[Transition],
        claim: Option<&ClaimRequest<'_>>,
    ) -> Result<Exchanged> {
        let claim = claim.filter(|request| request.max > 0);
        if transitions.is_empty() {
            // Who finds nothing to do must not write, nor keep others from writing: look before you begin.
            let Some(request) = claim else {
                return self.check_open(OPERATION).map(|()| Exchanged::default());
            };
            let agenda = Agenda::read(&self.reading(OPERATION)?, request).await?;
            if agenda.is_empty() {
                return Ok(Exchanged { next_due: agenda.next_due(), ..Exchanged::default() });
            }
        }

        // A transaction that is dropped is rolled back: a call that is dropped before its commit changes nothing.
        let transaction = self.begin(OPERATION).await?;
        let run = self.within(OPERATION, &transaction);
        let committed = commit::apply(&run, transitions).await?;
        let picks = match claim {
            Some(request) => claim::pick(&run, request).await?,
            None => Picks::default(),
        };
        let mut wanted = Wanted::default();
        committed.want(&mut wanted);
        picks.want(&mut wanted);
        let mut record = Record::read(&run, wanted).await?;
        let (outcomes, effects) = committed.complete(&record)?;
        let next_due = picks.next_due();
        let wrote = effects.wrote || !picks.is_empty();
        let claimed = match claim {
            Some(request) => picks.take(&run, request, &mut record).await?,
            None => Vec::new(),
        };

        if wrote {
            self.commit(OPERATION, transaction).await?;
            effects.publish(self);
        } else {
            transaction.rollback().await.map_err(|error| self.error(OPERATION, error))?;
        }
        Ok(Exchanged { outcomes, claimed, next_due })
    }
}
