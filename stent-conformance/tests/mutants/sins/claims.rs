//! Claims: not early (G6), within the limits (G8), in order (G9), only for the right workers (G10).

use std::cmp::Reverse;

use super::words::*;

pub(super) fn mutants() -> Vec<Mutant> {
    vec![
        mutant(
            "runs things early",
            "time::nothing_is_claimed_before_its_moment",
            &["claimed just before", "actual: 1"],
        )
        .asks(|request, _| request.now = request.now + Duration::from_secs(1)),
        mutant(
            "runs things a moment late",
            "park::it_wakes_at_its_moment_and_not_before",
            &["the number of tasks that are due", "actual: 0"],
        )
        .asks(|request, _| request.now = Timestamp::from_micros(request.now.as_micros() - 1)),
        mutant("forgets delays", "time::the_far_future_stays_there", &["claimed", "actual: 1"]).rewrites(
            |transition, _| {
                let at = transition.at();
                for new in transition.rows_mut() {
                    if let NewTaskState::Pending { ready_at } = &mut new.state {
                        *ready_at = at;
                    }
                }
            },
        ),
        mutant(
            "tries again at once",
            "time::a_retry_is_not_claimed_before_its_moment",
            &["claimed just before", "actual: 1"],
        )
        .rewrites(|transition, _| {
            if let Transition::Commit(Commit { next: Next::Retry { ready_at, .. }, at, .. }) = transition {
                *ready_at = *at;
            }
        }),
        mutant(
            "does not say when to come back",
            "claim::the_next_moment_is_told",
            &["next moment", "actual: None"],
        )
        .brings(|exchanged, _| exchanged.next_due = None),
        mutant(
            "takes the moment of the claim for the moment since when a task was due",
            "claim::a_claim_says_since_when_its_task_was_due",
            &["due after its delay"],
        )
        .brings(|exchanged, _| {
            for claimed in &mut exchanged.claimed {
                claimed.due_at = claimed.task.started_at.unwrap_or(claimed.lease.until);
            }
        }),
        mutant("has no limits", "limit::no_more_run_than_the_limit_says", &["claimed"])
            .asks(|request, _| request.limits = &[]),
        mutant("limits each worker for itself", "limit::it_counts_across_workers", &["another", "actual: 7"])
            .asks(|request, past| {
                if !past.claimers.contains(&request.worker) {
                    request.limits = &[];
                }
            }),
        mutant(
            "has no rates",
            "limit::a_rate_bounds_what_starts_in_a_stretch_of_time",
            &["started within 10s, at a rate of 5/10s"],
        )
        .exchanges(|sound, batch, claim, _| {
            let Some(claim) = claim else { return sound.exchange(batch, claim) };
            let limits: Vec<_> =
                claim.limits.iter().map(|limit| Limit { rate: None, ..limit.clone() }).collect();
            sound.exchange(batch, Some(&ClaimRequest { limits: &limits, ..*claim }))
        }),
        mutant(
            "counts slots of leases that ran out when it tells the next moment",
            "limit::a_lease_that_ran_out_does_not_put_off_the_next_start",
            &["the next start is told for"],
        )
        .brings(|exchanged, past| {
            let ends = past.claims.values().map(|claimed| claimed.lease.until);
            if let (Some(next), Some(end)) = (&mut exchanged.next_due, ends.max()) {
                *next = end.max(*next);
            }
        }),
        mutant(
            "forgets the start of a claim that comes late",
            "limit::a_claim_that_comes_late_starts_when_it_comes",
            &["claimed when the late one counts", "actual: 1"],
        )
        .exchanges(|sound, batch, claim, past| {
            let is_late = |claim: &&ClaimRequest<'_>| {
                past.claims.values().any(|earlier| earlier.lease.until > claim.until)
            };
            let Some(claim) = claim.filter(is_late) else { return sound.exchange(batch, claim) };
            let limits: Vec<_> =
                claim.limits.iter().map(|limit| Limit { rate: None, ..limit.clone() }).collect();
            sound.exchange(batch, Some(&ClaimRequest { limits: &limits, max: claim.max.min(1), ..*claim }))
        }),
        mutant("serves the last first", "claim::higher_priority_comes_first", &["order"])
            .brings(|exchanged, _| exchanged.claimed.reverse()),
        mutant("knows no priorities", "claim::priority_beats_due_time_and_due_time_beats_age", &["order"])
            .rewrites(|transition, _| transition.rows_mut().iter_mut().for_each(|new| new.priority = 0)),
        mutant(
            "takes more than it is asked for",
            "claim::never_more_than_asked_for",
            &["claimed", "actual: 8"],
        )
        .asks(|request, _| request.max += 1),
        // Takes the first tasks, keeps those that the worker may have, and releases the rest.
        mutant(
            "filters after the fact",
            "tag::work_with_other_tags_hides_nothing",
            &["claimed", "actual: []"],
        )
        .exchanges(|sound, batch, claim, _| {
            let Some(claim) = claim else { return sound.exchange(batch, claim) };
            let mut exchanged = sound.exchange(batch, Some(&ClaimRequest { tags: &[], ..*claim }))?;
            let (mine, others) =
                exchanged.claimed.into_iter().partition(|claimed| claim.admits(&claimed.task.lane));
            exchanged.claimed = mine;
            let others: Vec<Claimed> = others;
            let back = others.into_iter().map(|Claimed { task, fence, .. }| {
                Commit::new(fence, task.tree, task.key, claim.now, Next::Release).into()
            });
            sound.exchange(&back.collect::<Vec<_>>(), None)?;
            Ok(exchanged)
        }),
        mutant(
            "serves its functions one by one while work is overdue",
            "claim::overdue_work_costs_its_lane_no_turn",
            &["claimed"],
        )
        .exchanges(|sound, batch, claim, _| {
            let Some(claim) = claim else { return sound.exchange(batch, claim) };
            let mut exchanged = sound.exchange(batch, Some(&ClaimRequest { max: 0, ..*claim }))?;
            if exchanged.expired.is_empty() {
                let claimed = sound.exchange(&[], Some(claim))?;
                return Ok(Exchanged { outcomes: exchanged.outcomes, ..claimed });
            }
            for function in claim.functions.iter().rev() {
                let (functions, max) = (std::slice::from_ref(function), claim.max - exchanged.claimed.len());
                let claimed = sound.exchange(&[], Some(&ClaimRequest { functions, max, ..*claim }))?;
                exchanged.claimed.extend(claimed.claimed);
            }
            Ok(exchanged)
        }),
        mutant("serves every queue", "claim::other_queues_stay_for_those_who_serve_them", &["served"])
            .asks(|request, _| request.queues = None),
        mutant("knows no tags", "tag::workers_with_other_tags_keep_apart", &["not for "])
            .asks(|request, _| request.tags = &[]),
        mutant(
            "keeps untagged work from the tagged",
            "tag::what_has_no_tag_is_for_everyone",
            &["a worker with a tag", "actual: []"],
        )
        .rewrites(|transition, _| {
            for new in transition.rows_mut().iter_mut().filter(|new| new.lane.tags.is_empty()) {
                new.lane.tags.insert("untagged".to_owned());
            }
        }),
        mutant(
            "tries again with the priority of those that have none",
            "claim::a_task_keeps_its_place_in_line_whatever_it_went_through",
            &["after a retry"],
        )
        .brings(|exchanged, _| {
            exchanged.claimed.sort_by_key(|claimed| {
                let is_retried = claimed.task.attempts > 0;
                Reverse(if is_retried { 0 } else { claimed.task.priority })
            });
        }),
        mutant(
            "puts what is handed back behind all others",
            "claim::a_task_keeps_its_place_in_line_whatever_it_went_through",
            &["after a shutdown"],
        )
        .brings(|exchanged, _| {
            exchanged
                .claimed
                .sort_by_key(|claimed| (Reverse(claimed.task.priority), claimed.task.releases > 0));
        }),
        mutant("keeps sixteen bits of a nonce", "claim::an_epoch_has_the_chance_of_its_claim", &["nonce"])
            .asks(|request, _| {
                let Ok(low) = u32::try_from(i64::from(Epoch::new(1, request.nonce)) & 0xffff) else { return };
                request.nonce = Nonce::new(low);
            }),
        mutant(
            "claims twice for one that names a function twice",
            "claim::names_that_come_twice_count_once",
            &["claimed"],
        )
        .brings(|exchanged, past| {
            let twice = past.asked_twice;
            let again: Vec<_> = exchanged.claimed.iter().filter(|_| twice).cloned().collect();
            exchanged.claimed.extend(again);
        }),
        mutant(
            "claims what is not a call",
            "claim::sleeps_closures_and_maps_are_not_claimed",
            &["claimed", "actual: 1"],
        )
        .rewrites(|transition, _| {
            for new in transition.rows_mut().iter_mut().filter(|new| new.kind == StepKind::Sleep) {
                if let NewTaskState::Timer { due } = new.state {
                    (new.kind, new.state) = (StepKind::Call, NewTaskState::Pending { ready_at: due });
                }
            }
        }),
    ]
}
