//! Leases: one per task, for exactly as long as requested (G2).

use super::words::*;

pub(super) fn mutants() -> Vec<Mutant> {
    vec![
        mutant(
            "gives out a task twice",
            "time::a_live_lease_keeps_others_out",
            &["claimed by another", "actual: 1"],
        )
        .brings(|exchanged, past| {
            if exchanged.claimed.is_empty() && exchanged.outcomes.is_empty() {
                exchanged.claimed.extend(past.claims.values().next().cloned());
            }
        }),
        mutant(
            "leaves the epoch as it is",
            "time::the_epoch_grows_with_every_claim",
            &["epoch", "actual: (1, 1, 1)"],
        )
        .hands_out(|claimed, _| {
            claimed.task.epoch.count = 1;
            claimed.lease.epoch.count = 1;
            claimed.fence.epoch.count = 1;
        }),
        mutant(
            "lets no lease run out",
            "crash::a_lease_outlives_its_holder",
            &["the number of tasks that are due", "actual: 0"],
        )
        .asks(|request, _| request.until = NEVER),
        mutant(
            "ends leases too early",
            "time::a_live_lease_keeps_others_out",
            &["claimed by another", "actual: 1"],
        )
        .asks(|request, _| request.until = request.now),
        mutant(
            "renews what is gone",
            "renew::a_lease_is_lost_once_another_has_claimed",
            &["answer", "actual: [Renewed]"],
        )
        .renews(|sound, leases, now, until| {
            sound.renew(leases, now, until)?;
            Ok(vec![Renewal::Renewed; leases.len()])
        }),
        mutant(
            "renews by the count of claims",
            "fence::a_count_of_claims_that_recurs_does_not_let_the_old_holder_write",
            &["renewals", "actual: [Renewed, Renewed]"],
        )
        .renews(|sound, leases, now, until| {
            let answers = sound.renew(leases, now, until)?;
            let stands = |lease: &Lease| {
                let same = leases.iter().zip(&answers).find(|(other, answer)| {
                    **answer == Renewal::Renewed
                        && (other.task, other.epoch.count) == (lease.task, lease.epoch.count)
                });
                same.map_or(Renewal::Lost, |_| Renewal::Renewed)
            };
            Ok(leases.iter().map(stands).collect())
        }),
        mutant(
            "says that it renews",
            "renew::a_renewed_lease_keeps_others_out",
            &["claimed before the new end", "actual: 1"],
        )
        .renews(|_, leases, _, _| Ok(vec![Renewal::Renewed; leases.len()])),
        mutant(
            "never lets a renewal end a lease earlier",
            "renew::a_lease_ends_when_its_last_renewal_says",
            &["claimed then", "actual: 0"],
        )
        .renews(|sound, leases, now, until| {
            let ends = leases.iter().map(|lease| lease.until).max();
            sound.renew(leases, now, ends.map_or(until, |ends| ends.max(until)))
        }),
        mutant("shuffles renewals", "renew::answers_stand_in_the_order_of_the_leases", &["which are lost"])
            .renews(|sound, leases, now, until| {
                let mut answers = sound.renew(leases, now, until)?;
                answers.reverse();
                Ok(answers)
            }),
        mutant(
            "believes who says that its lease still runs",
            "limit::a_renewal_that_comes_late_does_not_take_its_place_back",
            &["the renewal", "actual: [Renewed]"],
        )
        .renews(|sound, leases, now, until| {
            let mut answers = sound.renew(leases, now, until)?;
            let in_time = |lease: &Lease| now > Timestamp::EPOCH && now < lease.until;
            for (_, answer) in leases.iter().zip(&mut answers).filter(|(lease, _)| in_time(lease)) {
                *answer = Renewal::Renewed;
            }
            Ok(answers)
        }),
        mutant(
            "renews a place that it has given away",
            "limit::a_lease_that_ran_out_is_lost_before_its_place_is_taken",
            &["the renewal", "actual: [Renewed]"],
        )
        .renews(|sound, leases, _, until| sound.renew(leases, Timestamp::EPOCH, until)),
    ]
}
