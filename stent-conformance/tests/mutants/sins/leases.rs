//! Leases: one per task, for as long as was said (G2).

use super::words::*;

pub(super) fn mutants() -> Vec<Mutant> {
    vec![
        mutant("gives out a task twice", "time::a_live_lease_keeps_others_out", "").brings(|exchanged, past| {
            if exchanged.claimed.is_empty() && exchanged.outcomes.is_empty() {
                exchanged.claimed.extend(past.claims.values().next().cloned());
            }
        }),
        mutant("leaves the epoch as it is", "time::the_epoch_grows_with_every_claim", "").hands_out(|claimed, _| {
            claimed.task.epoch = Epoch(1);
            claimed.lease.epoch = Epoch(1);
            claimed.fence.epoch = Epoch(1);
        }),
        mutant("lets no lease run out", "time::a_lease_that_ran_out_lets_others_in", "")
            .asks(|request, _| request.until = NEVER),
        mutant("ends leases too early", "time::a_live_lease_keeps_others_out", "")
            .asks(|request, _| request.until = request.now),
        mutant("renews what is gone", "renew::a_lease_is_lost_once_another_has_claimed", "")
            .renews(|sound, leases, now, until| {
                sound.renew(leases, now, until)?;
                Ok(vec![Renewal::Renewed; leases.len()])
            }),
        mutant("says that it renews", "renew::a_renewed_lease_keeps_others_out", "")
            .renews(|_, leases, _, _| Ok(vec![Renewal::Renewed; leases.len()])),
        mutant("shuffles renewals", "renew::answers_stand_in_the_order_of_the_leases", "").renews(
            |sound, leases, now, until| {
                let mut answers = sound.renew(leases, now, until)?;
                answers.reverse();
                Ok(answers)
            },
        ),
        mutant("renews a place that it has given away", "limit::a_lease_that_ran_out_does_not_take_its_place_back", "")
            .renews(|sound, leases, _, until| sound.renew(leases, Timestamp::EPOCH, until)),
    ]
}
