//! The model: random operations, on the backend and on memory side by side.
//!
//! A seed gives a list of draws, one per operation. The meaning of a draw depends on the state of the two stores, so any part
//! of a list is itself a playable list: this is how a failure is shrunk.
//!
//! | File | Holds |
//! |---|---|
//! | `play.rs` | the knowledge and the next actions of a few confused workers |
//! | `watch.rs` | the comparisons, and when they are made |
//! | `tally.rs` | how often each thing happened: a model in which nothing is applied proves nothing |

mod play;
mod tally;
mod watch;

use std::any::Any;
use std::env;
use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use stent_core::backend::Store;
use stent_memory::MemoryStore;

use crate::chance::Chance;
use crate::harness::{BoxError, Fixture, Harness};
use crate::runner;
use crate::world::Trace;
use play::Play;
use tally::Tally;
use watch::Pace;

/// Seeds that are played unless `STENT_SEEDS` says otherwise.
const SEEDS: u64 = 200;

/// Operations of a seed: enough for some dozen executions to live and end, forty thousand in all seeds. Many short lives find
/// more than a few long ones, because few things are open at a time, and so they interact. On SQLite an operation takes 5 ms in
/// a debug build, mostly for comparing its effects.
const OPERATIONS: usize = 220;

/// Time for shrinking a failure; after it, the smallest list found is reported.
const SHRINKING: Duration = Duration::from_secs(60);

/// How many seeds to play.
pub(crate) fn seeds() -> u64 {
    match env::var("STENT_SEEDS") {
        Ok(seeds) => seeds.parse().unwrap_or_else(|_| panic!("STENT_SEEDS is a number, not {seeds:?}")),
        Err(_) => SEEDS,
    }
}

/// Plays a seed.
///
/// # Errors
/// If the two stores differ: the shortest list of operations found that shows it, and the difference.
pub(crate) async fn check(harness: &Arc<dyn Harness>, seed: u64, trace: &Trace) -> Result<(), String> {
    let draws = drawn(seed);
    let Err(difference) = play(harness, &draws, Pace::Quick).await else { return Ok(()) };

    let mut smallest = Smallest { draws, difference };
    smallest.draws.truncate(smallest.difference.operation + 1);
    let shrunk = tokio::time::timeout(SHRINKING, smallest.shrink(harness)).await.is_ok();
    smallest.replay(harness, smallest.draws.clone(), Pace::Thorough).await;

    let Smallest { draws, difference } = smallest;
    difference.trace.all().into_iter().for_each(|line| trace.note(line));
    trace.keep_all();
    Err(format!(
        "seed {seed}: the store differs from memory after {} operations{}\n{}",
        draws.len(),
        if shrunk { ", the fewest found that show it" } else { "; there was no time to find fewer" },
        difference.what
    ))
}

/// The draws of a seed.
fn drawn(seed: u64) -> Vec<u64> {
    let mut chance = Chance::new(seed);
    (0..OPERATIONS).map(|_| chance.next()).collect()
}

/// The point at which two stores diverged.
struct Difference {
    operation: usize,
    what: String,
    trace: Trace,
}

/// The shortest list of draws found that shows a difference.
struct Smallest {
    draws: Vec<u64>,
    difference: Difference,
}

impl Smallest {
    /// Removes draws that are not needed, in ever smaller parts. May be dropped at any time.
    async fn shrink(&mut self, harness: &Arc<dyn Harness>) {
        let mut part = self.draws.len() / 2;
        while part > 0 {
            let mut from = 0;
            while from < self.draws.len() {
                let mut fewer = self.draws.clone();
                fewer.drain(from..(from + part).min(fewer.len()));
                if !self.replay(harness, fewer, Pace::Quick).await {
                    from += part;
                }
            }
            part /= 2;
        }
    }

    /// Replaces the list if the new one also shows a difference. A quick play may notice the difference late.
    async fn replay(&mut self, harness: &Arc<dyn Harness>, mut draws: Vec<u64>, pace: Pace) -> bool {
        let Err(difference) = play(harness, &draws, pace).await else { return false };
        draws.truncate(difference.operation + 1);
        *self = Self { draws, difference };
        true
    }
}

async fn play(harness: &Arc<dyn Harness>, draws: &[u64], pace: Pace) -> Result<Tally, Difference> {
    let (trace, operation) = (Trace::default(), AtomicUsize::new(0));
    let all = async {
        let mut play = Play::new(Arc::clone(harness), &trace).await;
        for (n, draw) in draws.iter().enumerate() {
            operation.store(n, Ordering::Relaxed);
            trace.note(format_args!("operation {}", n + 1));
            play.step(&mut Chance::new(*draw), pace).await?;
        }
        play.end().await
    };
    let ended = caught(all).await.unwrap_or_else(|panic| Err(runner::message_of(panic.as_ref())));
    ended.map_err(|what| Difference { operation: operation.into_inner(), what, trace })
}

/// A store that panics, or that fails a call, also differs from memory, and the list that led there can be shrunk.
async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        match panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await
}

/// Memory, as the other side of the comparison.
#[derive(Debug)]
struct Oracle;

#[async_trait]
impl Harness for Oracle {
    async fn fresh(&self) -> Result<Box<dyn Fixture>, BoxError> {
        Ok(Box::new(Place(MemoryStore::new())))
    }
}

#[derive(Debug)]
struct Place(MemoryStore);

#[async_trait]
impl Fixture for Place {
    async fn open(&self) -> Result<Arc<dyn Store>, BoxError> {
        Ok(Arc::new(self.0.peer()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seeds that this test plays: enough for every kind to occur, few enough for a unit test.
    const TALLIED: u64 = 24;

    /// Everything that the model must produce, and the minimum count over [`TALLIED`] seeds.
    const COMES_UP: &[(u32, &[&str])] = &[
        (100, &["start applied", "keep applied", "park applied", "call written pending"]),
        (30, &["complete applied", "fail applied", "retry applied", "release applied", "expire applied"]),
        (
            20,
            &[
                "cancel applied",
                "signal applied",
                "start exists",
                "dispatch under a key",
                "map fed",
                "step given up",
            ],
        ),
        (
            10,
            &[
                "redrive applied",
                "call written leased",
                "call written done",
                "step erased",
                "a lease taken over",
            ],
        ),
        (20, &["inline is completed", "inline is failed", "spawn is completed", "sleep is completed"]),
        (
            5,
            &[
                "signal is completed",
                "join is completed",
                "join is failed",
                "map is completed",
                "map is cancelled",
            ],
        ),
        (3, &["gather is completed", "item is completed", "item is failed", "sleep fired", "mark Hit"]),
        (20, &["note count", "note count from", "note set", "note set from", "note progress"]),
        (3, &["redo applied", "wake applied", "discard applied", "a signal replaced", "a turn stopped"]),
        (2, &["purge of Executions", "purge of DeadLetters", "purge of Details", "purge of Results"]),
        (1, &["release already", "retry fenced"]),
        (20, &["lease Renewed", "lease Lost"]),
        (
            3,
            &[
                "keep already",
                "complete already",
                "fail already",
                "park already",
                "retry already",
                "cancel already",
            ],
        ),
        (3, &["start already", "expire already", "signal already", "redrive already"]),
        (3, &["keep fenced", "complete fenced", "fail fenced", "park fenced", "wake fenced"]),
        (
            3,
            &[
                "keep gone",
                "complete gone",
                "fail gone",
                "signal gone",
                "redrive gone",
                "discard gone",
                "cancel gone",
            ],
        ),
    ];

    #[test]
    fn every_kind_of_operation_is_applied() {
        let oracle: Arc<dyn Harness> = Arc::new(Oracle);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut tally = Tally::default();
        for seed in 0..TALLIED {
            match runtime.block_on(play(&oracle, &drawn(seed), Pace::Quick)) {
                Ok(of_seed) => tally.add(of_seed),
                Err(difference) => panic!("memory differs from itself: {}", difference.what),
            }
        }

        let rare: Vec<_> = COMES_UP
            .iter()
            .flat_map(|(least, names)| names.iter().map(move |name| (*name, *least)))
            .filter(|(name, least)| tally.of(name) < *least)
            .map(|(name, least)| format!("{name}: {} of {least}", tally.of(name)))
            .collect();
        assert!(
            rare.is_empty(),
            "the model does not do enough of\n{}\nin all it did\n{tally}",
            rare.join("\n")
        );
    }
}
