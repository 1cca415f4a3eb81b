//! The one verb: applies transitions and claims tasks in one transaction.

use stent_core::Timestamp;
use stent_core::backend::{ClaimRequest, Claimed, Exchanged, Result};
use stent_core::transition::{Outcome, Transition};

use super::SqlStore;
use super::claim::{self, Claimable, Picks, TasksToEnd};
use super::commit;
use super::record::{Record, Wanted};

const OPERATION: &str = "exchange";

impl SqlStore {
    pub(super) async fn run_exchange(
        &self,
        transitions: &[Transition],
        claim: Option<&ClaimRequest<'_>>,
    ) -> Result<Exchanged> {
        self.run_again(|| self.try_exchange(transitions, claim)).await
    }

    async fn try_exchange(
        &self,
        transitions: &[Transition],
        claim: Option<&ClaimRequest<'_>>,
    ) -> Result<Exchanged> {
        let mut claimable = None;
        if transitions.is_empty() {
            // An idle claim must not write, nor block other writers: read before the transaction begins.
            let Some(request) = claim else {
                return self.check_open(OPERATION).map(|()| Exchanged::default());
            };
            let run = self.reading(OPERATION)?;
            if request.max == 0 {
                let ends = TasksToEnd::read(&run, request).await?;
                return Ok(exchanged(Vec::new(), Vec::new(), None, ends));
            }
            let seen = Claimable::read(&run, request, false).await?;
            if seen.is_empty() {
                let ends = TasksToEnd::if_any(&run, request, seen.end_hints()).await?;
                return Ok(exchanged(Vec::new(), Vec::new(), seen.next_due(), ends));
            }
            claimable = seen.if_it_holds();
        }

        // A transaction that is dropped is rolled back: a call that is dropped before its commit changes nothing.
        let transaction = self.begin(OPERATION).await?;
        let run = self.within(OPERATION, &transaction);
        let committed = commit::apply(&run, transitions).await?;
        let picks = match claim {
            Some(request) => claim::pick(&run, request, claimable).await?,
            None => Picks::default(),
        };
        let ends = match claim {
            Some(request) => TasksToEnd::if_any(&run, request, picks.end_hints()).await?,
            None => TasksToEnd::default(),
        };
        let mut wanted = Wanted::default();
        committed.want(&mut wanted);
        picks.want(&mut wanted);
        let mut record = Record::read(&run, wanted).await?;
        let (outcomes, mut effects) = committed.complete(&record)?;
        let next_due = picks.next_due();
        let (leaves_locked, wrote) = (picks.leaves_locked(), effects.wrote || !picks.is_empty());
        let claimed = match claim {
            Some(request) => picks.take(&run, request, &mut record).await?,
            None => Vec::new(),
        };
        // Nobody need wake for what is taken already. Tasks that were locked but not claimed are free again; other workers may
        // have skipped them, so hint once more.
        effects.ready &= !is_all_claimed(transitions, &outcomes, &claimed);
        effects.ready |= leaves_locked;

        if wrote {
            self.commit(OPERATION, transaction).await?;
            effects.publish(self);
        } else {
            self.rollback(OPERATION, transaction).await?;
        }
        Ok(exchanged(outcomes, claimed, next_due, ends))
    }
}

/// Whether the transitions are dispatches, and the claim has taken every task that they started.
fn is_all_claimed(transitions: &[Transition], outcomes: &[Outcome], claimed: &[Claimed]) -> bool {
    transitions.iter().zip(outcomes).all(|(transition, outcome)| match (transition, outcome) {
        (Transition::Dispatch(dispatch), Outcome::Applied(_)) => {
            claimed.iter().any(|claimed| claimed.task.id == dispatch.root.id)
        }
        (Transition::Dispatch(_), _) => true,
        _ => false,
    })
}

fn exchanged(
    outcomes: Vec<Outcome>,
    claimed: Vec<Claimed>,
    next_due: Option<Timestamp>,
    ends: TasksToEnd,
) -> Exchanged {
    let TasksToEnd { expired, stopping, next } = ends;
    Exchanged { outcomes, claimed, next_due: next_due.into_iter().chain(next).min(), expired, stopping }
}
