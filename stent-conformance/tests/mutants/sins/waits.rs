//! Waits: whoever waits is woken (G5), and hears of signals (G11).

use super::words::*;

pub(super) fn mutants() -> Vec<Mutant> {
    vec![
        mutant("waits for one too many", "park::the_awaited_completion_wakes_it", "").rewrites(|transition, _| {
            if let Change::Park(wait) = &mut transition.change {
                wait.done += 1;
            }
        }),
        // Looks at nothing when it parks: what came before is not what it waits for.
        mutant("parks without looking", "park::what_happened_before_the_parking_counts", "").exchanges(
            |sound, batch, claim, _| {
                let mut batch = batch.to_vec();
                for transition in &mut batch {
                    if let (Change::Park(wait), Guard::Leased { fence, .. }) =
                        (&mut transition.change, &mut transition.guard)
                    {
                        let keep = Transition::new(
                            Guard::Leased { fence: *fence, tree: Tree::root(fence.task.execution()), key: None },
                            transition.at,
                            Change::Keep,
                        );
                        if let Outcome::Applied(news) = &sound.exchange(&[keep], None)?.outcomes[0] {
                            *fence = fence.next();
                            wait.done = wait.done.max(news.done + 1);
                        }
                    }
                }
                sound.exchange(&batch, claim)
            },
        ),
        mutant("forgets when to wake", "park::it_wakes_at_its_moment_and_not_before", "").rewrites(|transition, _| {
            if let Change::Park(wait) = &mut transition.change {
                wait.until = None;
            }
        }),
        mutant("lets a map run dry", "map::the_threshold_wakes_the_owner_for_more", "").rewrites(|transition, _| {
            if let Change::Park(wait) = &mut transition.change {
                wait.maps.clear();
            }
        }),
        mutant("takes hints and does nothing", "park::a_hint_wakes_it", "")
            .drops(|transition, _| transition.change == Change::Wake),
        mutant("swallows signals", "signal::a_value_that_came_before_the_wait_ends_it_at_once", "")
            .drops(|transition, _| matches!(transition.change, Change::Signal { .. })),
        mutant("keeps the first value", "signal::of_two_values_before_the_wait_the_latest_counts", "").drops(
            |transition, past| {
                let Change::Signal { key, .. } = &transition.change else { return false };
                let of_this_key = |sent: &Transition| matches!(&sent.change, Change::Signal { key: sent, .. } if sent == key);
                past.sent.iter().any(of_this_key)
            },
        ),
        mutant("hears a signal twice", "signal::a_value_is_consumed_once", "").exchanges(|sound, batch, claim, _| {
            let exchanged = sound.exchange(batch, claim)?;
            let again = batch.iter().cloned().filter_map(|mut transition| {
                let Change::Signal { id, .. } = &mut transition.change else { return None };
                *id = stent_core::TaskId::from_uuid(uuid::Uuid::from_u128(!id.as_uuid().as_u128()));
                Some(transition)
            });
            sound.exchange(&again.collect::<Vec<_>>(), None)?;
            Ok(exchanged)
        }),
        mutant("takes one signal for another", "signal::names_are_told_apart", "").rewrites(|transition, _| {
            let task = transition.guard.task();
            if let Change::Signal { key, .. } = &mut transition.change {
                *key = Key::of_signal(task.execution(), "");
            }
            for new in transition.insert.iter_mut().filter(|new| new.kind == StepKind::Signal) {
                new.keyed = Some(Keyed::new(Key::of_signal(new.tree.execution, "")));
            }
        }),
        mutant("takes a repeated send for another", "signal::a_send_that_is_repeated_late_is_told", "").answers(
            |outcome, transition, _| {
                if let (Change::Signal { .. }, Outcome::Already(news)) = (&transition.change, &mut *outcome) {
                    *outcome = Outcome::Applied(std::mem::take(news));
                }
            },
        ),
    ]
}
