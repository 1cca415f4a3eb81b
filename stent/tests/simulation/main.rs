//! Whole workers over a store that fails: real code, real leases, and everything that can happen between them drawn from a
//! seed.
//!
//! | File | Does |
//! |---|---|
//! | `program` | durable programs as data, the functions that run them, and programs by chance |
//! | `faulty` | a process's handle on the memory store, with faults |
//! | `fleet` | processes that start, die, are cut off and drained; first safety, then liveness |
//! | `judge` | what must be true of the store afterwards |
//! | `chance` | numbers from a seed |
//!
//! The seed decides on programs and faults, but not on time: workers read the host's clock. So a seed that has failed may
//! have to be run a few times before it fails again. `STENT_SIMULATION_SEEDS=1000` runs a thousand, `STENT_SEED=7` only that one.

mod chance;
mod faulty;
mod fleet;
mod judge;
mod program;

use std::time::Duration;

/// How many worlds run side by side, where nothing else is said.
const SEEDS: u64 = 60;
/// Worlds under way at the same time: they wait for leases and naps most of the time.
const AT_ONCE: usize = 4;
/// How long one world may take, once nothing fails any more, before it counts as stuck. Far more than it needs, also on a busy
/// machine.
const STUCK: Duration = Duration::from_secs(120);

fn seeds() -> Vec<u64> {
    let number = |name| {
        let text: String = std::env::var(name).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
    };
    match number("STENT_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("STENT_SIMULATION_SEEDS").unwrap_or(SEEDS)).collect(),
    }
}

#[test]
fn every_execution_ends_well_and_the_record_agrees_with_it() {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_test_writer()
        .try_init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let broken = runtime.block_on(async {
        use futures::stream::{self, StreamExt};
        let worlds = seeds().into_iter().map(|seed| async move {
            let world = tokio::spawn(fleet::world(seed, STUCK));
            let broken = world.await.unwrap_or_else(|panic| vec![format!("panicked: {panic}")]);
            (!broken.is_empty()).then(|| format!("seed {seed}:\n  {}", broken.join("\n  ")))
        });
        let broken: Vec<Option<String>> = stream::iter(worlds).buffer_unordered(AT_ONCE).collect().await;
        broken.into_iter().flatten().collect::<Vec<_>>()
    });
    // What still runs belongs to processes that are dead.
    runtime.shutdown_background();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
