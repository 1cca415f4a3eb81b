//! What surrounds a store: hints and the clock (G17), handles and the schema (G1).

use super::words::*;
use stent_memory::MemoryStore;

pub(super) fn mutants() -> Vec<Mutant> {
    vec![
        mutant("never hears of work", "wake::a_dispatch_is_heard_of", "").misses(|topic| topic == Topic::Work),
        mutant("never hears of ends", "wake::an_end_is_heard_of", "").misses(|topic| topic == Topic::Ended),
        mutant("hears nothing while nobody waits", "wake::what_happens_while_nobody_waits_is_heard_of", "").dozes(()),
        mutant("has a clock that goes back", "wake::the_stores_clock_goes_on", "").ticks(|now, past| {
            past.ticks += 1;
            Timestamp::from_micros(now.as_micros() - past.ticks * 60_000_000)
        }),
        mutant("works on after it was closed", "wake::a_closed_handle_says_so", "").closes(|| Ok(())),
        mutant("closes every handle at once", "wake::closing_one_handle_leaves_the_others_open", "")
            .opens(|sound, _| sound.clone()),
        mutant("shares nothing between handles", "repeat::a_repeat_is_known_on_another_handle", "")
            .opens(|_, _| MemoryStore::new()),
        mutant("loses everything in a crash", "crash::nothing_is_lost_after_a_dispatch", "").opens(|sound, past| {
            if past.is_left() {
                *sound = MemoryStore::new();
            }
            sound.peer()
        }),
        mutant("migrates by starting anew", "migrate::open_executions_survive_a_migration", "").migrates(
            |sound, past| {
                let ends = past
                    .executions()
                    .map(|execution| stent_core::decide::cancel(execution, Duration::ZERO, NEVER));
                sound.exchange(&ends.collect::<Vec<_>>(), None).ok();
            },
        ),
        mutant("misses a migration", "migrate::a_migrated_store_knows_every_migration", "")
            .versions(|version| version.known += 1),
    ]
}
