//! Writes: all or nothing (G1), only by the holder of the task, and once (G3).

use super::words::*;

pub(super) fn mutants() -> Vec<Mutant> {
    vec![
        mutant("writes a part of a turn", "commit::a_turn_brings_all_of_its_rows", &["is not in the store"])
            .rewrites(|transition, _| {
                transition.commit_mut().into_iter().for_each(|commit| commit.insert.truncate(1));
            }),
        mutant(
            "fails a whole batch over one",
            "commit::a_refused_transition_does_not_stop_the_others",
            &["outcomes", "Fenced, Gone, Gone, Gone"],
        )
        .exchanges(|sound, batch, claim, _| {
            let mut exchanged = sound.exchange(&[], claim)?;
            for transition in batch {
                let refused = exchanged.outcomes.last().is_some_and(|outcome| !outcome.stands());
                exchanged.outcomes.push(match refused {
                    true => Outcome::Gone,
                    false => sound.exchange(std::slice::from_ref(transition), None)?.outcomes.remove(0),
                });
            }
            Ok(exchanged)
        }),
        mutant(
            "applies the dispatches of a batch first",
            "commit::what_stands_before_its_dispatch_in_a_batch_is_gone",
            &["outcomes"],
        )
        .exchanges(|sound, batch, claim, _| {
            sorted(sound, batch, claim, |one| !matches!(one, Transition::Dispatch(_)))
        }),
        mutant(
            "answers those who go on before the rest of their batch",
            "join::an_end_is_told_to_what_follows_it_in_its_batch",
            &["asked to end", "actual: (0, false)"],
        )
        .exchanges(|sound, batch, claim, _| {
            sorted(sound, batch, claim, |one| !matches!(one.next(), Some(Next::Keep)))
        }),
        mutant(
            "runs the cascades of a batch in the order of their executions",
            "join::ends_of_one_batch_are_told_in_its_order",
            &["told"],
        )
        .exchanges(|sound, batch, claim, _| sorted(sound, batch, claim, Transition::task)),
        mutant(
            "gives signals back once a batch is written",
            "signal::what_is_given_back_is_told_to_what_follows_in_the_batch",
            &["told", "actual: (0, None)"],
        )
        .exchanges(|sound, batch, claim, _| {
            sorted(sound, batch, claim, |one| one.commit().is_some_and(|commit| !commit.cancel.is_empty()))
        }),
        mutant(
            "reads the news of a batch when its tasks have left the record",
            "repeat::a_repeat_is_told_of_what_leaves_the_record_with_its_task",
            &["told", "actual: (1, None)"],
        )
        .exchanges(|sound, batch, claim, _| {
            let mut exchanged = sound.exchange(batch, claim)?;
            let erased: Vec<_> =
                batch.iter().filter_map(Transition::commit).flat_map(|commit| &commit.erase).collect();
            for (transition, outcome) in batch.iter().zip(&mut exchanged.outcomes) {
                if let Outcome::Already(news) = outcome
                    && erased.contains(&&transition.task())
                {
                    news.steps.clear();
                }
            }
            Ok(exchanged)
        }),
        mutant(
            "loses the last of a batch",
            "crash::a_batch_is_there_whole",
            &["steps to claim", "actual: 9"],
        )
        .exchanges(|sound, batch, claim, _| {
            let kept = if batch.len() > 1 { &batch[..batch.len() - 1] } else { batch };
            let mut exchanged = sound.exchange(kept, claim)?;
            exchanged.outcomes.resize(batch.len(), Outcome::Applied(News::default()));
            Ok(exchanged)
        }),
        mutant(
            "shuffles its answers",
            "commit::outcomes_stand_in_the_order_of_the_batch",
            &["which are refused"],
        )
        .brings(|exchanged, _| exchanged.outcomes.reverse()),
        mutant(
            "applies a batch backwards",
            "commit::transitions_of_one_batch_see_each_other",
            &["the outcome of a transition", "actual: Gone"],
        )
        .exchanges(|sound, batch, claim, _| {
            let backwards: Vec<_> = batch.iter().rev().cloned().collect();
            let mut exchanged = sound.exchange(&backwards, claim)?;
            exchanged.outcomes.reverse();
            Ok(exchanged)
        }),
        mutant(
            "claims before it commits",
            "start::a_dispatch_is_claimed_in_the_same_exchange",
            &["the claimed task", "actual: []"],
        )
        .exchanges(|sound, batch, claim, _| {
            let claimed = sound.exchange(&[], claim)?;
            let outcomes = sound.exchange(batch, None)?.outcomes;
            Ok(Exchanged { outcomes, ..claimed })
        }),
        mutant(
            "commits in two halves",
            "fate::a_dropped_batch_is_applied_whole_or_not_at_all",
            &["a batch that was dropped"],
        )
        .tears(|len| len / 2),
        mutant(
            "lets anyone write",
            "fence::a_stale_epoch_changes_nothing",
            &["expected: Fenced", "actual: Applied"],
        )
        .rewrites(|transition, past| {
            if let Transition::Commit(Commit { fence, .. }) = transition
                && let Some(current) = past.fences.get(&fence.task)
            {
                *fence = *current;
            }
        }),
        mutant(
            "does not count commits",
            "fence::a_count_that_is_ahead_changes_nothing",
            &["expected: Fenced", "actual: Applied"],
        )
        .rewrites(|transition, past| {
            if let Transition::Commit(Commit { fence, .. }) = transition
                && let Some(current) = past.fences.get(&fence.task)
                && current.epoch == fence.epoch
            {
                fence.commit = current.commit;
            }
        }),
        mutant(
            "knows a claim by its count",
            "fence::a_count_of_claims_that_recurs_does_not_let_the_old_holder_write",
            &["expected: Fenced", "actual: Applied"],
        )
        .rewrites(|transition, past| match transition {
            Transition::Commit(Commit { fence: Fence { task, epoch, .. }, .. })
            | Transition::Unpark(Unpark { task, epoch, .. })
            | Transition::Postpone(Postpone { task, epoch, .. }) => {
                if let Some(current) =
                    past.fences.get(task).filter(|current| current.epoch.count == epoch.count)
                {
                    *epoch = current.epoch;
                }
            }
            Transition::Dispatch(_)
            | Transition::Request(_)
            | Transition::Expire(_)
            | Transition::Import(_) => {}
        }),
        mutant(
            "takes hints from the past",
            "fence::a_stale_hint_wakes_nobody",
            &["a hint from the first parking", "actual: Applied"],
        )
        .rewrites(|transition, past| {
            if let Transition::Unpark(Unpark { task, epoch, .. })
            | Transition::Postpone(Postpone { task, epoch, .. }) = transition
                && let Some(fence) = past.fences.get(task)
            {
                *epoch = fence.epoch;
            }
        }),
        mutant(
            "applies a repeat again",
            "note::a_repeated_commit_says_it_once",
            &["counted", "actual: Some(2)"],
        )
        .rewrites(|transition, past| {
            if past.knows(transition)
                && let Transition::Commit(Commit { fence, .. }) = transition
                && let Some(current) = past.fences.get(&fence.task)
            {
                *fence = *current;
            }
        })
        .answers(|outcome, transition, past| {
            if let Outcome::Applied(news) = outcome
                && past.knows(transition)
            {
                *outcome = Outcome::Already(std::mem::take(news));
            }
        }),
        mutant(
            "takes a repeat for new",
            "repeat::a_batch_sent_again_is_there_already",
            &["expected: Already", "actual: Applied"],
        )
        .answers(|outcome, _, _| {
            if let Outcome::Already(news) = outcome {
                *outcome = Outcome::Applied(std::mem::take(news));
            }
        }),
        mutant(
            "takes a repeat for a stranger's",
            "repeat::a_repeat_is_known_after_a_crash",
            &["expected: Already", "actual: Fenced"],
        )
        .answers(|outcome, _, _| {
            if let Outcome::Already(_) = outcome {
                *outcome = Outcome::Fenced;
            }
        }),
        mutant(
            "forgets a commit with the next claim",
            "repeat::a_repeat_is_known_after_the_next_claim",
            &["expected: Already", "actual: Fenced"],
        )
        .answers(|outcome, transition, past| {
            if let (Outcome::Already(_), Some(fence)) = (&outcome, transition.fence())
                && past.fences.get(&fence.task).is_some_and(|last| last.epoch > fence.epoch)
            {
                *outcome = Outcome::Fenced;
            }
        }),
        mutant(
            "says that it has what it refused",
            "fence::a_retried_task_takes_no_write_of_its_last_lease",
            &["expected: Fenced", "actual: Already"],
        )
        .answers(|outcome, _, _| {
            if *outcome == Outcome::Fenced {
                *outcome = Outcome::Already(News::default());
            }
        }),
        mutant(
            "brings the first news only",
            "repeat::a_repeat_brings_the_news_again",
            &["news", "actual: News { done: 0, steps: []"],
        )
        .answers(|outcome, _, _| {
            if let Outcome::Already(news) = outcome {
                *news = News::default();
            }
        }),
    ]
}

/// Applies a batch in another order, and answers in its own.
fn sorted<K: Ord>(
    sound: &Sound,
    batch: &[Transition],
    claim: Option<&ClaimRequest<'_>>,
    key: impl Fn(&Transition) -> K,
) -> Result<Exchanged> {
    let mut order: Vec<usize> = (0..batch.len()).collect();
    order.sort_by_key(|n| key(&batch[*n]));
    let sorted: Vec<_> = order.iter().map(|n| batch[*n].clone()).collect();
    let mut exchanged = sound.exchange(&sorted, claim)?;
    let mut outcomes: Vec<_> = order.into_iter().zip(exchanged.outcomes).collect();
    outcomes.sort_by_key(|(n, _)| *n);
    exchanged.outcomes = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
    Ok(exchanged)
}
