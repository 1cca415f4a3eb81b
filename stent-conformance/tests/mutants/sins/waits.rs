//! Waits: a satisfied wait wakes its task (G5), and signals are delivered (G11).

use stent_core::TaskId;
use uuid::Uuid;

use super::words::*;

pub(super) fn mutants() -> Vec<Mutant> {
    vec![
        mutant(
            "waits for one too many",
            "park::the_awaited_completion_wakes_it",
            &["the number of tasks that are due", "actual: 0"],
        )
        .rewrites(|transition, _| {
            if let Some(Next::Park(wait)) = next(transition) {
                wait.done += 1;
            }
        }),
        // Checks nothing when it parks: earlier completions do not satisfy the wait.
        mutant(
            "parks without looking",
            "park::what_happened_before_the_parking_counts",
            &["the number of tasks that are due", "actual: 0"],
        )
        .exchanges(|sound, batch, claim, _| {
            let mut batch = batch.to_vec();
            for transition in &mut batch {
                if let Transition::Commit(Commit { next: Next::Park(wait), fence, at, tree, .. }) = transition {
                    let keep = Commit::new(*fence, *tree, None, *at, Next::Keep);
                    if let Outcome::Applied(news) = &sound.exchange(&[keep.into()], None)?.outcomes[0] {
                        *fence = fence.next();
                        wait.done = wait.done.max(news.done + 1);
                    }
                }
            }
            sound.exchange(&batch, claim)
        }),
        mutant(
            "forgets when to wake",
            "park::it_wakes_at_its_moment_and_not_before",
            &["next moment", "actual: None"],
        )
        .rewrites(|transition, _| {
            if let Some(Next::Park(wait)) = next(transition) {
                wait.until = None;
            }
        }),
        mutant(
            "lets a map run dry",
            "map::the_threshold_wakes_the_owner_for_more",
            &["the number of tasks that are due", "actual: 0"],
        )
        .rewrites(|transition, _| {
            if let Some(Next::Park(wait)) = next(transition) {
                wait.maps.clear();
            }
        }),
        mutant(
            "waits for the last of several maps",
            "map::each_of_several_maps_wakes_its_owner",
            &["woken", "actual: []"],
        )
        .rewrites(|transition, _| {
            if let Some(Next::Park(wait)) = next(transition) {
                let others = wait.maps.len().saturating_sub(1);
                wait.maps.drain(..others);
            }
        }),
        mutant(
            "takes hints and does nothing",
            "park::a_hint_wakes_it",
            &["the number of tasks that are due", "actual: 0"],
        )
        .drops(|transition, _| matches!(transition, Transition::Unpark(_))),
        mutant("puts nothing off", "park::what_is_postponed_is_due_later", &["sent again", "actual: Applied"])
            .drops(|transition, _| matches!(transition, Transition::Postpone(_))),
        mutant(
            "puts off what was woken",
            "park::what_was_woken_is_not_postponed",
            &["put off", "expected: Fenced"],
        )
        .rewrites(|transition, past| {
            let task = transition.task();
            let woken = past
                .sent
                .iter()
                .rev()
                .find(|sent| sent.task() == task && matches!(sent, Transition::Unpark(_)));
            if let (Transition::Postpone(Postpone { from, .. }), Some(woken)) = (transition, woken) {
                *from = woken.at();
            }
        }),
        mutant(
            "swallows signals",
            "signal::a_value_that_came_before_the_wait_ends_it_at_once",
            &["completions", "actual: 0"],
        )
        .drops(|transition, _| matches!(transition.action(), Some(Action::Signal { .. }))),
        mutant(
            "keeps the first value",
            "signal::of_two_values_before_the_wait_the_latest_counts",
            &["the first wait"],
        )
        .drops(|transition, past| {
            let Some(Action::Signal { key, .. }) = transition.action() else { return false };
            let of_this_key = |sent: &Transition| {
                matches!(sent.action(), Some(Action::Signal { key: sent, .. }) if sent == key)
            };
            past.sent.iter().any(of_this_key)
        }),
        // A consumed signal value is still there: it comes again under another id.
        mutant(
            "gives a value twice",
            "signal::a_value_is_consumed_once",
            &["claimed without a new value", "actual: 1"],
        )
        .exchanges(|sound, batch, claim, past| {
            let exchanged = sound.exchange(batch, claim)?;
            let waits = batch.iter().flat_map(Transition::rows);
            let keys: Vec<_> =
                waits.filter(|new| new.kind == StepKind::Signal).filter_map(|new| new.keyed).collect();
            let again = past.sent.iter().rev().cloned().filter_map(|mut sent| {
                let Some(Action::Signal { key, id, .. }) = action(&mut sent) else { return None };
                *id = TaskId::from_uuid(Uuid::from_u128(!id.as_uuid().as_u128()));
                keys.iter().any(|keyed| keyed.key == *key).then_some(sent)
            });
            sound.exchange(&again.take(1).collect::<Vec<_>>(), None)?;
            Ok(exchanged)
        }),
        mutant("takes one signal for another", "signal::names_are_told_apart", &["value"]).rewrites(
            |transition, _| {
                let task = transition.task();
                if let Some(Action::Signal { key, .. }) = action(transition) {
                    *key = Key::of_signal(task.execution(), "");
                }
                for new in transition.rows_mut().iter_mut().filter(|new| new.kind == StepKind::Signal) {
                    new.keyed = Some(Keyed::new(Key::of_signal(new.tree.execution, "")));
                }
            },
        ),
        mutant(
            "takes a repeated send for another",
            "signal::a_send_that_is_repeated_late_is_told",
            &["expected: Already", "actual: Applied"],
        )
        .answers(|outcome, transition, _| {
            if let (Some(Action::Signal { .. }), Outcome::Already(news)) = (transition.action(), &mut *outcome) {
                *outcome = Outcome::Applied(std::mem::take(news));
            }
        }),
    ]
}
