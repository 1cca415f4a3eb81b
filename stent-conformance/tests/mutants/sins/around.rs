//! Hints and the clock (G17), handles and the schema (G1).

use super::words::*;
use stent_memory::MemoryStore;

pub(super) fn mutants() -> Vec<Mutant> {
    vec![
        mutant("never hears of work", "wake::a_dispatch_is_heard_of", &["hung"])
            .misses(|topic| topic == Topic::Work),
        mutant("never hears of ends", "wake::an_end_is_heard_of", &["hung"])
            .misses(|topic| topic == Topic::Ended),
        mutant(
            "tells nobody of what ends below running code",
            "wake::a_completion_below_a_running_task_is_heard_of",
            &["hung"],
        )
        .mutes(|transition, past| {
            let parent = transition.commit().and_then(|_| past.parent(transition.task()));
            matches!(transition.next(), Some(Next::End(_)))
                && parent.is_some_and(|parent| !past.is_parked(parent))
        }),
        mutant(
            "tells nobody of places that a sweep frees",
            "wake::a_place_that_frees_far_below_is_heard_of",
            &["hung"],
        )
        .mutes(|transition, _| transition.commit().is_some_and(|commit| !commit.cancel.is_empty())),
        mutant(
            "tells nobody of places that a deadline frees",
            "wake::a_place_that_frees_far_below_is_heard_of",
            &["hung"],
        )
        .mutes(|transition, _| matches!(transition, Transition::Expire(_))),
        mutant(
            "tells nobody of places that a purge frees",
            "wake::a_place_that_a_purge_frees_is_heard_of",
            &["hung"],
        )
        .hushes(()),
        mutant(
            "tells nobody of executions that end at once",
            "wake::every_kind_of_end_is_heard_of",
            &["hung"],
        )
        .mutes(|transition, _| matches!(transition, Transition::Dispatch(_))),
        mutant(
            "tells nobody of executions that a task starts",
            "wake::every_kind_of_end_is_heard_of",
            &["hung"],
        )
        .mutes(|transition, _| {
            let inserts = transition.commit().map(|commit| &commit.insert);
            inserts.is_some_and(|inserts| inserts.iter().any(|task| task.tree.parent.is_none()))
        }),
        mutant(
            "tells nobody of the end of a task that parks",
            "wake::every_kind_of_end_is_heard_of",
            &["hung"],
        )
        .mutes(|transition, _| matches!(transition.next(), Some(Next::Park(_)))),
        mutant(
            "hears nothing while nobody waits",
            "wake::what_happens_while_nobody_waits_is_heard_of",
            &["hung"],
        )
        .dozes(()),
        mutant("has a clock that goes back", "wake::the_stores_clock_goes_on", &["the clock went back"])
            .ticks(|now, past| {
                past.ticks += 1;
                Timestamp::from_micros(now.as_micros() - past.ticks * 60_000_000)
            }),
        mutant(
            "works on after it was closed",
            "wake::a_closed_handle_says_so",
            &["a closed handle does nothing"],
        )
        .closes(|| Ok(())),
        mutant(
            "closes every handle at once",
            "wake::closing_one_handle_leaves_the_others_open",
            &["exchange: Error { kind: Closed"],
        )
        .opens(|sound, _| sound.clone()),
        mutant(
            "shares nothing between handles",
            "repeat::a_repeat_is_known_on_another_handle",
            &["expected: Already", "actual: Gone"],
        )
        .opens(|_, _| MemoryStore::new()),
        mutant(
            "loses everything in a crash",
            "crash::nothing_is_lost_after_a_dispatch",
            &["something was lost"],
        )
        .opens(|sound, past| {
            if past.is_left() {
                *sound = MemoryStore::new();
            }
            sound.peer()
        }),
        mutant(
            "migrates by starting anew",
            "migrate::open_executions_survive_a_migration",
            &["the migration changed something"],
        )
        .migrates(|sound, past| {
            let ends = past
                .executions()
                .map(|execution| stent_core::decide::cancel(execution, Duration::ZERO, NEVER));
            sound.exchange(&ends.collect::<Vec<_>>(), None).ok();
        }),
        mutant(
            "misses a migration",
            "migrate::a_migrated_store_knows_every_migration",
            &["migrations", "actual: (0, 1)"],
        )
        .versions(|version| version.known += 1),
    ]
}
