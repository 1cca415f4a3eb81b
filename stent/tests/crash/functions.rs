//! The functions that the workers run, and the expected result of each execution.
//!
//! Every function passes its steps their places: the positions that Stent assigns to them, in the order in which they are
//! built.

use std::io;
use std::time::Duration;

use stent::prelude::*;
use stent::{ExecutionId, Timestamp};

use crate::ledger::{Ledger, Place};

/// An execution and its expected result.
pub(crate) struct Run {
    pub(crate) handle: Handle<u64>,
    pub(crate) place: Place,
    pub(crate) expected: u64,
}

impl Run {
    /// Dispatches the execution of this number: the kinds take turns.
    pub(crate) async fn dispatch(stent: &Stent, number: usize) -> Self {
        let (place, value) = (Place::root(number), number as u64);
        let at = place.clone();
        let (dispatch, expected) = match number % 8 {
            0 => {
                let steps = 3 + (number as u32 / 8) % 8;
                (stent.dispatch(chain(at, value, steps)).await, grown_times(value, steps))
            }
            1 => {
                let first = grown(value);
                let sum = (1..=3).map(|n| grown(first + n)).fold(0, u64::wrapping_add);
                (stent.dispatch(fork(at, value)).await, grown(sum))
            }
            2 => {
                let first = grown_times(value, 3);
                let both = grown_times(first, 2).wrapping_add(grown_times(first + 1, 2));
                (stent.dispatch(nest(at, value)).await, both)
            }
            3 => {
                let first = grown(value);
                let sum = (0..5).map(|n| grown(first + n).wrapping_mul(n + 1)).fold(0, u64::wrapping_add);
                (stent.dispatch(fan(at, value)).await, grown(sum))
            }
            4 => (stent.dispatch(nap(at, value)).await, grown_times(value, 3)),
            5 => {
                let second = grown_times(value, 2);
                (stent.dispatch(stumble(at, value)).await, grown(second).wrapping_add(grown(second + 1)))
            }
            6 => (stent.dispatch(inline(at, value)).await, grown_times(value, 4)),
            _ => (stent.dispatch(race(at, value)).await, grown_times(value, 3)),
        };
        Self { handle: dispatch.unwrap(), place, expected }
    }
}

/// The result of a step for its argument. Small enough to add a few results.
fn grown(value: u64) -> u64 {
    value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 8
}

fn grown_times(value: u64, times: u32) -> u64 {
    (0..times).fold(value, |value, _| grown(value))
}

/// The work of a step: takes up to three milliseconds, so that kills hit some steps in flight.
async fn grow(value: u64) -> io::Result<u64> {
    tokio::time::sleep(Duration::from_millis(value % 4)).await;
    Ok(grown(value))
}

#[durable]
async fn leaf(place: Place, value: u64, State(ledger): State<Ledger>) -> io::Result<u64> {
    ledger.note(&place, grow(value)).await
}

/// A step that fails in its first run.
#[durable(retry(max_attempts = 4, initial_delay = "5ms"))]
async fn flaky(place: Place, value: u64, State(ledger): State<Ledger>) -> io::Result<u64> {
    let work = async {
        let value = grow(value).await?;
        if ledger.mark(&format!("stumbled-{place}"))? { Err(io::Error::other("stumbled")) } else { Ok(value) }
    };
    ledger.note(&place, work).await
}

/// One step after the other, each run in its parent's turn.
#[durable]
async fn chain(place: Place, value: u64, steps: u32) -> stent::Result<u64> {
    let mut value = value;
    for step in 0..steps {
        value = leaf(place.at(step), value).await?;
    }
    Ok(value)
}

/// Steps side by side, which any worker may claim.
#[durable]
async fn fork(place: Place, value: u64) -> stent::Result<u64> {
    let value = leaf(place.at(0), value).await?;
    let (one, two, three) = stent::join!(
        leaf(place.at(1), value + 1),
        leaf(place.at(2), value + 2),
        leaf(place.at(3), value + 3),
    );
    leaf(place.at(4), one?.wrapping_add(two?).wrapping_add(three?)).await
}

/// Functions with steps of their own, in a row and side by side.
#[durable]
async fn nest(place: Place, value: u64) -> stent::Result<u64> {
    let value = leaf(place.at(0), value).await?;
    let value = chain(place.at(1), value, 2).await?;
    let (one, two) = stent::join!(chain(place.at(2), value, 2), chain(place.at(3), value + 1, 2));
    Ok(one?.wrapping_add(two?))
}

#[durable]
async fn fan(place: Place, value: u64) -> stent::Result<u64> {
    let value = leaf(place.at(0), value).await?;
    let map = place.at(1);
    let results = leaf::map((0..5).map(move |item| (map.at(item), value + item))).await?;
    let sum = results
        .iter()
        .zip(1..)
        .fold(0, |sum, (result, n): (_, u64)| result.wrapping_mul(n).wrapping_add(sum));
    leaf(place.at(2), sum).await
}

#[durable]
async fn nap(place: Place, value: u64) -> stent::Result<u64> {
    let value = leaf(place.at(0), value).await?;
    stent::sleep("10ms").await?;
    let value = leaf(place.at(2), value).await?;
    stent::sleep("25ms").await?;
    leaf(place.at(4), value).await
}

#[durable]
async fn stumble(place: Place, value: u64) -> stent::Result<u64> {
    let value = leaf(place.at(0), value).await?;
    let value = flaky(place.at(1), value).await?;
    let (one, two) = stent::join!(flaky(place.at(2), value), leaf(place.at(3), value + 1));
    Ok(one?.wrapping_add(two?))
}

#[durable]
async fn inline(place: Place, value: u64, State(ledger): State<Ledger>) -> stent::Result<u64> {
    let value = stent::step("first", || async { ledger.note(&place.at(0), grow(value)).await }).await?;
    let value = leaf(place.at(1), value).await?;
    let value = stent::step("second", || async { ledger.note(&place.at(2), grow(value)).await }).await?;
    stent::sleep("5ms").await?;
    stent::step("third", || async { ledger.note(&place.at(4), grow(value)).await }).await
}

/// A race of a step and a sleep that is given up.
#[durable]
async fn race(place: Place, value: u64) -> stent::Result<u64> {
    let value = leaf(place.at(0), value).await?;
    let value = stent::select! {
        value = leaf(place.at(1), value) => value?,
        slept = stent::sleep("10h") => { slept?; 0 }
    };
    leaf(place.at(3), value).await
}

/// Ends once it has begun in this many worker processes. Holds its turn until then.
#[durable]
pub(crate) async fn meet(place: Place, workers: usize, State(ledger): State<Ledger>) -> io::Result<u64> {
    let work = async {
        ledger.mark(&format!("here-{}", ledger.life))?;
        while !(0..workers).all(|life| ledger.is_marked(&format!("here-{life}"))) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(workers as u64)
    };
    ledger.note(&place, work).await
}

/// Branches by the order of a hash map, which differs in every process.
#[durable]
pub(crate) async fn shuffle(place: Place, life: usize) -> stent::Result<u64> {
    let keys: std::collections::HashMap<u64, u32> = (0..20).zip(0..).collect();
    let mut sum = 0;
    for (n, key) in (0..).zip(keys.into_keys()) {
        sum += leaf(place.at(n), key).await?;
    }
    linger(place.at(20), life).await.map(|_| sum)
}

/// Never ends in the worker process of this number, and at once in any other.
#[durable]
pub(crate) async fn linger(place: Place, life: usize, State(ledger): State<Ledger>) -> io::Result<u64> {
    let work = async {
        if ledger.life == life {
            std::future::pending::<()>().await;
        }
        Ok(0)
    };
    ledger.note(&place, work).await
}

/// The time that a worker process uses, as a number and as text; an execution that starts in an hour; and the number of
/// the process.
#[durable]
pub(crate) async fn tell_time(
    place: Place,
    State(ledger): State<Ledger>,
) -> stent::Result<(Timestamp, String, ExecutionId, usize)> {
    let now = stent::now();
    let later = stent::spawn(leaf(place.at("later"), 1).delay("1h")).await?;
    // Sleeps are due by the same clock.
    stent::select! {
        slept = stent::sleep("1h") => slept?,
        woken = stent::sleep("1ms") => woken?,
    }
    Ok((now, now.to_string(), later.id(), ledger.life))
}
