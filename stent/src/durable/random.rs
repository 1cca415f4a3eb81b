//! Deterministic time, random numbers and ids for durable functions.

use stent_core::{TaskId, Timestamp};
use uuid::Uuid;

use crate::durable::closure::{NumberStream, StepClosure, draw_in_transaction};
use crate::durable::context::Context;

/// Returns the current time, deterministically: inside a durable function, the time of the last completion that the
/// code has observed, or of the function's start. It is free and records nothing. Elsewhere it is the host's time.
///
/// For the actual current time as a recorded value, use [`step`](crate::step()).
#[must_use]
pub fn now() -> Timestamp {
    let durable = Context::around().and_then(Context::into_durable);
    durable.map_or_else(|| crate::engine::clock::Clock::default().now(), |durable| durable.now())
}

/// Returns a number in `0.0..1.0`: deterministic in a durable function, arbitrary elsewhere. Not for secrets.
#[must_use]
pub fn random() -> f64 {
    (random_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Returns 64 random bits: deterministic in a durable function, arbitrary elsewhere. Not for secrets.
#[must_use]
pub fn random_u64() -> u64 {
    draw().0
}

/// Returns a UUID (in version 4 format): deterministic in a durable function, arbitrary elsewhere.
///
/// Its bits are derived from the unique id of the function's task, so it is just as unique. In the closure of a step or
/// of a transaction they are derived from the id of that step. A later attempt of a function with steps draws the same
/// values up to the failure that ended the previous attempt, and different values after it.
#[must_use]
pub fn uuid() -> Uuid {
    let (high, low) = draw();
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&high.to_be_bytes());
    bytes[8..].copy_from_slice(&low.to_be_bytes());
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

fn draw() -> (u64, u64) {
    // A closure does not run in every replay of its function, so it must not draw the function's numbers.
    let of_closure = match StepClosure::current() {
        Some(step) => Some(step.stream().map(NumberStream::next)),
        None => draw_in_transaction().map(Some),
    };
    match (of_closure, Context::durable()) {
        (Some(Some((step, n))), _) => nth(step, n),
        (None, Some(durable)) => {
            let (failure, n) = durable.draw();
            nth_after(durable.task, failure, n)
        }
        (Some(None), _) | (None, None) => nth(crate::engine::ids::task(), 0),
    }
}

/// The n-th pair of numbers of a task's code after the failure with this order, or before any failure (0). Two attempts
/// diverge at a failure, so their numbers must differ from there on.
fn nth_after(task: TaskId, failure: u32, n: u64) -> (u64, u64) {
    if failure == 0 {
        return nth(task, n);
    }
    let (high, low) = nth(task, u64::MAX - u64::from(failure));
    nth(TaskId::from_uuid(Uuid::from_u64_pair(high, low)), n)
}

/// The n-th pair of numbers of a task: SplitMix64, keyed by both halves of the task's id.
fn nth(task: TaskId, n: u64) -> (u64, u64) {
    let (high, low) = task.as_uuid().as_u64_pair();
    let first = mix(mix(high.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))) ^ low);
    (first, mix(first.wrapping_add(low) ^ high))
}

const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_tasks_numbers_are_its_own_and_always_the_same() {
        let (one, two) = (crate::engine::ids::task(), crate::engine::ids::task());
        let numbers = |task| (0..1_000).map(|n| nth(task, n)).collect::<BTreeSet<_>>();
        assert_eq!(numbers(one), numbers(one));
        assert_eq!(numbers(one).union(&numbers(two)).count(), 2_000);
    }

    #[test]
    fn numbers_after_each_failure_are_others() {
        let task = crate::engine::ids::task();
        let after = |failure| (0..1_000).map(move |n| nth_after(task, failure, n));
        assert!(after(0).eq((0..1_000).map(|n| nth(task, n))), "a function that has seen none draws as ever");
        assert_eq!((0..4).flat_map(after).collect::<BTreeSet<_>>().len(), 4_000);
    }

    #[test]
    fn numbers_spread_over_the_unit_interval() {
        let task = crate::engine::ids::task();
        let mean =
            (0..10_000).map(|n| (nth(task, n).0 >> 11) as f64 / (1_u64 << 53) as f64).sum::<f64>() / 10_000.0;
        assert!((0.48..0.52).contains(&mean), "{mean}");
    }
}
