//! Whole workers over a store that fails: real code, real leases, and faults that are drawn from a seed.
//!
//! | File | Does |
//! |---|---|
//! | `program` | durable programs as data, the functions that run them, and random programs |
//! | `faulty` | a process's handle on the memory store, with faults |
//! | `fleet` | processes that start, die, are cut off and drained; first safety, then liveness |
//! | `judge` | the rules that the store must satisfy afterwards |
//! | `chance` | numbers from a seed |
//!
//! The seed decides on programs and faults, but not on time: workers read the host's clock. So a seed that has failed may
//! have to run a few times before it fails again, on a machine with a similar load. `STENT_SIMULATION_SEEDS=1000` runs a
//! thousand, `STENT_SEED=7` only that one; `STENT_SIMULATION_THREADS=32` makes the machine busier.

mod chance;
mod faulty;
mod fleet;
mod judge;
mod program;

use std::time::Duration;

/// The default number of worlds.
const SEEDS: u64 = 240;
/// The default number of threads: many more than a small machine has cores, so that code is interrupted at moments at which
/// it otherwise never would be.
const THREADS: u64 = 24;
/// Concurrent worlds on each thread: they wait for leases and sleeps most of the time.
const AT_ONCE: usize = 4;
/// How long one world may take after the faults stop before it counts as stuck. Far more than it needs, even on a busy
/// machine.
const STUCK: Duration = Duration::from_secs(120);

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// The seeds of each thread.
fn seeds() -> Vec<Vec<u64>> {
    let threads = number("STENT_SIMULATION_THREADS").unwrap_or(THREADS).max(1);
    match number("STENT_SEED") {
        Some(seed) => vec![vec![seed]],
        None => {
            let seeds = number("STENT_SIMULATION_SEEDS").unwrap_or(SEEDS);
            (0..threads).map(|thread| (thread..seeds).step_by(threads as usize).collect()).collect()
        }
    }
}

/// Runs the worlds of these seeds on this thread, and returns the broken guarantees.
fn run(seeds: Vec<u64>) -> Vec<String> {
    use futures::stream::{self, StreamExt};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let broken = runtime.block_on(async {
        let worlds = seeds.into_iter().map(|seed| async move {
            let world = tokio::spawn(fleet::world(seed, STUCK));
            let broken = world.await.unwrap_or_else(|panic| vec![format!("panicked: {panic}")]);
            (!broken.is_empty()).then(|| format!("seed {seed}:\n  {}", broken.join("\n  ")))
        });
        let broken: Vec<Option<String>> = stream::iter(worlds).buffer_unordered(AT_ONCE).collect().await;
        broken.into_iter().flatten().collect()
    });
    // Tasks that still run belong to dead processes.
    runtime.shutdown_background();
    broken
}

#[test]
fn every_execution_ends_well_and_the_record_agrees_with_it() {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_test_writer()
        .try_init();
    let threads: Vec<_> = seeds().into_iter().map(|seeds| std::thread::spawn(move || run(seeds))).collect();
    let broken: Vec<String> = threads
        .into_iter()
        .flat_map(|thread| thread.join().expect("worlds panic in tasks of their own"))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
