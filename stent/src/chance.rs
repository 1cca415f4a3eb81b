//! Time, chance and ids that are the same in every run of a durable function.

use stent_core::model::Seq;
use stent_core::{TaskId, Timestamp};
use uuid::Uuid;

use crate::context::{Context, InStep};

/// The time, the same in every run: inside a durable function, the moment of the last completion that the code has seen,
/// or of the function's start. It costs nothing and records nothing. Elsewhere it is the host's time.
///
/// For the time *right now*, as a recorded value, use [`step`](crate::step()).
#[must_use]
pub fn now() -> Timestamp {
    let durable = Context::around().and_then(Context::into_durable);
    durable.map_or_else(|| crate::clock::Clock::default().now(), |durable| durable.now())
}

/// A number in `0.0..1.0`, the same in every run of a durable function; elsewhere, any. Not for secrets.
#[must_use]
pub fn random() -> f64 {
    (random_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// 64 random bits, the same in every run of a durable function; elsewhere, any. Not for secrets.
#[must_use]
pub fn random_u64() -> u64 {
    draw().0
}

/// A UUID (version 4 in form), the same in every run of a durable function; elsewhere, any.
///
/// Its bits are drawn from the task's own id, which is unique, so it is as unique as that.
#[must_use]
pub fn uuid() -> Uuid {
    let (high, low) = draw();
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&high.to_be_bytes());
    bytes[8..].copy_from_slice(&low.to_be_bytes());
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

fn draw() -> (u64, u64) {
    if let Some(step) = InStep::current() {
        // The closure does not run in every run of its function, so it must not draw of the function's numbers.
        return match step.draw() {
            Some((task, seq, n)) => nth_of_step(task, seq, n),
            None => nth(crate::ids::task(), 0),
        };
    }
    match Context::durable() {
        Some(durable) => nth(durable.task, durable.draw()),
        None => nth(crate::ids::task(), 0),
    }
}

/// The n-th pair of numbers of a step's closure.
fn nth_of_step(task: TaskId, seq: Seq, n: u64) -> (u64, u64) {
    let (high, low) = nth(task, u64::MAX - u64::from(seq.0));
    let stream = TaskId::from_uuid(Uuid::from_u64_pair(high, low));
    nth(stream, n)
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
        let (one, two) = (crate::ids::task(), crate::ids::task());
        let numbers = |task| (0..1_000).map(|n| nth(task, n)).collect::<BTreeSet<_>>();
        assert_eq!(numbers(one), numbers(one));
        assert_eq!(numbers(one).union(&numbers(two)).count(), 2_000);
    }

    #[test]
    fn numbers_spread_over_the_unit_interval() {
        let task = crate::ids::task();
        let mean =
            (0..10_000).map(|n| (nth(task, n).0 >> 11) as f64 / (1_u64 << 53) as f64).sum::<f64>() / 10_000.0;
        assert!((0.48..0.52).contains(&mean), "{mean}");
    }
}
