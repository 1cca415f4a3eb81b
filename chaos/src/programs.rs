//! The durable functions that the workers run.
//!
//! Every function passes its steps their places: the positions that Stent gives them, in the order in which they are built. All
//! functions return a number that can be computed beforehand ([`crate::plan`]), so the end shows whether a step returned a
//! wrong result, was left out or was confused with another one.

use std::time::Duration;

use stent::prelude::*;
use stent::sea_orm::ConnectionTrait;

use crate::ledger::{Effect, Ledger, Place};
use crate::mutant::Mutant;

/// The maximum number of concurrent runs of [`narrow()`].
pub(crate) const NARROW_MAX: usize = 2;
/// The maximum number of starts of [`paced()`] in a second.
pub(crate) const PACED_MAX: usize = 8;
/// How long a run of [`narrow()`] takes.
const NARROW_RUN: Duration = Duration::from_millis(120);
/// The duration of a step that races against a sleep of [`RACE`]: either may win.
const RACER_RUN: u64 = 60;
const RACE: &str = "60ms";

/// The state that workers provide to the functions.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) ledger: Ledger,
    pub(crate) mutant: Option<Mutant>,
}

impl World {
    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// The work of a step: takes this many milliseconds and writes to the ledger.
    async fn grow(&self, place: &Place, value: u64, millis: u64) -> stent::Result<u64> {
        let execution = stent::execution()?;
        let run = |_| async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok::<_, stent::Error>(grown(value))
        };
        let result = self.ledger.run(Effect::Plain, place, &execution, run).await?;
        if self.is(Mutant::Twice) && value.is_multiple_of(16) {
            self.ledger.run(Effect::Plain, place, &execution, run).await?;
        }
        if self.is(Mutant::Echo) && value.is_multiple_of(16) {
            let (world, place) = (self.clone(), place.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(5)).await;
                world
                    .ledger
                    .run(Effect::Plain, &place, &execution, |_| async { Ok::<_, stent::Error>(()) })
                    .await
            });
        }
        Ok(if self.is(Mutant::Wrong) && value.is_multiple_of(64) { result + 1 } else { result })
    }
}

/// The result of a step for its argument. Small enough that several can be added to it.
pub(crate) const fn grown(value: u64) -> u64 {
    value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 8
}

/// A step that takes up to four milliseconds, so that faults hit some of them in the middle.
#[durable]
pub(crate) async fn leaf(place: Place, value: u64, State(world): State<World>) -> stent::Result<u64> {
    world.grow(&place, value, value % 5).await
}

/// A slow step.
#[durable]
async fn slow(place: Place, value: u64, millis: u64, State(world): State<World>) -> stent::Result<u64> {
    world.grow(&place, value, millis).await
}

#[derive(Debug, serde::Serialize)]
struct Stumbled;

impl std::fmt::Display for Stumbled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stumbled")
    }
}

impl std::error::Error for Stumbled {}

/// A step whose first `failures` attempts fail.
#[durable(retry(max_attempts = 4, initial_delay = "20ms"))]
async fn flaky(place: Place, value: u64, failures: u32, State(world): State<World>) -> Result<u64, Stumbled> {
    let Ok(execution) = stent::execution() else { return Err(Stumbled) };
    let run =
        |_| async move { if execution.attempt() <= failures { Err(Stumbled) } else { Ok(grown(value)) } };
    let Ok(execution) = stent::execution() else { return Err(Stumbled) };
    world.ledger.run(Effect::Plain, &place, &execution, run).await
}

/// Sequential steps, each run in its parent's turn.
#[durable]
pub(crate) async fn chain(place: Place, value: u64, steps: u32) -> stent::Result<u64> {
    let mut value = value;
    for step in 0..steps {
        value = leaf(place.at(step), value).await?;
    }
    Ok(value)
}

/// Concurrent steps, which any worker may claim.
#[durable]
pub(crate) async fn fork(place: Place, value: u64) -> stent::Result<u64> {
    let value = leaf(place.at(0), value).await?;
    let (one, two, three) = stent::join!(
        leaf(place.at(1), value + 1),
        slow(place.at(2), value + 2, 30),
        leaf(place.at(3), value + 3),
    );
    leaf(place.at(4), one?.wrapping_add(two?).wrapping_add(three?)).await
}

/// Functions with steps of their own, sequential and concurrent.
#[durable]
pub(crate) async fn nest(place: Place, value: u64) -> stent::Result<u64> {
    let value = leaf(place.at(0), value).await?;
    let value = chain(place.at(1), value, 2).await?;
    let (one, two) = stent::join!(chain(place.at(2), value, 2), chain(place.at(3), value + 1, 2));
    Ok(one?.wrapping_add(two?))
}

/// A map over this many items.
#[durable]
pub(crate) async fn fan(place: Place, value: u64, items: u64) -> stent::Result<u64> {
    let value = leaf(place.at(0), value).await?;
    let map = place.at(1);
    let results = leaf::map((0..items).map(move |item| (map.at(item), value + item))).await?;
    leaf(place.at(2), weighed(&results)).await
}

/// A sum that depends on the order of its parts.
pub(crate) fn weighed(results: &[u64]) -> u64 {
    results.iter().zip(1..).fold(0, |sum: u64, (result, n)| result.wrapping_mul(n).wrapping_add(sum))
}

/// A step that races against a sleep, which is given up.
#[durable]
pub(crate) async fn race(place: Place, value: u64) -> stent::Result<u64> {
    let value = leaf(place.at(0), value).await?;
    let value = stent::select! {
        value = leaf(place.at(1), value) => value?,
        slept = stent::sleep("10h") => { slept?; 0 }
    };
    leaf(place.at(3), value).await
}

/// A step that races against a sleep, where either may win; the winner is recorded and does not change.
#[durable]
pub(crate) async fn photo(place: Place, value: u64) -> stent::Result<u64> {
    let winner = stent::select! {
        value = slow(place.at(0), value, RACER_RUN) => value?,
        slept = stent::sleep(RACE) => { slept?; value }
    };
    stent::sleep("30ms").await?;
    leaf(place.at(3), winner).await
}

/// A wait for a signal, against a sleep that never ends.
#[durable]
pub(crate) async fn wait(place: Place, value: u64) -> stent::Result<u64> {
    let value = leaf(place.at(0), value).await?;
    let sent: u64 = stent::select! {
        sent = stent::signal(SIGNAL) => sent?,
        slept = stent::sleep("10h") => { slept?; 0 }
    };
    leaf(place.at(3), value.wrapping_add(sent)).await
}

/// The signal that [`wait()`] waits for.
pub(crate) const SIGNAL: &str = "go";

/// Steps that fail at first.
#[durable]
pub(crate) async fn stumble(place: Place, value: u64) -> stent::Result<u64> {
    let value = leaf(place.at(0), value).await?;
    let value = flaky(place.at(1), value, 1).await?;
    let (one, two) = stent::join!(flaky(place.at(2), value, 2), leaf(place.at(3), value + 1));
    Ok(one?.wrapping_add(two?))
}

/// A step that fails for good.
#[durable]
pub(crate) async fn doom(place: Place, value: u64) -> stent::Result<u64> {
    let value = leaf(place.at(0), value).await?;
    flaky(place.at(1), value, u32::MAX).await
}

/// The kind of the failure that [`doom()`] ends with.
pub(crate) const DOOM: &str = "stent_chaos::programs::Stumbled";

/// The table that [`post()`] writes to. It has no keys with which a second insert would conflict.
pub(crate) const TABLE: &str = "CREATE TABLE chaos_posted (place VARCHAR(64) NOT NULL, run BIGINT NOT NULL)";
/// The name of its writing steps in the timeline.
pub(crate) const ROW: &str = "row";

/// Steps that are transactions: two that commit, and between them one that rolls back.
#[durable]
pub(crate) async fn post(place: Place, value: u64, State(world): State<World>) -> stent::Result<u64> {
    let first = row(&world, &place.at(0), value, Commit::Yes).await?;
    let value = leaf(place.at(1), first).await?;
    let Err(_) = row(&world, &place.at(2), value, Commit::No).await else { return Ok(0) };
    let value = row(&world, &place.at(3), value, Commit::Yes).await?;
    leaf(place.at(4), value).await
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Commit {
    Yes,
    No,
}

async fn row(world: &World, place: &Place, value: u64, commit: Commit) -> stent::Result<u64> {
    let execution = stent::execution()?;
    let (execution, times) = (&execution, if world.is(Mutant::Loose) { 2 } else { 1 });
    stent::transaction(async |txn| {
        let write = |run: u64| async move {
            for _ in 0..times {
                let insert = format!("INSERT INTO chaos_posted (place, run) VALUES ('{place}', {run})");
                txn.execute_unprepared(&insert).await?;
            }
            // The closure waits for nothing; the pause lets some faults find the transaction open.
            tokio::time::sleep(Duration::from_millis(value % 8)).await;
            if commit == Commit::No {
                return Err(stent::fatal(Stumbled).into());
            }
            Ok::<_, stent::Error>(grown(value))
        };
        world.ledger.run(Effect::Row, place, execution, write).await
    })
    .name(ROW)
    .await
}

/// Closures that are recorded in their parent's turn.
#[durable]
pub(crate) async fn inline(place: Place, value: u64, State(world): State<World>) -> stent::Result<u64> {
    let execution = stent::execution()?;
    let (world, execution) = (&world, &execution);
    let step = |place: Place, value: u64| async move {
        let work = |_| async move {
            tokio::time::sleep(Duration::from_millis(value % 5)).await;
            Ok::<_, stent::Error>(grown(value))
        };
        world.ledger.run(Effect::Plain, &place, execution, work).await
    };
    let value = stent::step("first", || step(place.at(0), value)).await?;
    let value = leaf(place.at(1), value).await?;
    let value = stent::step("second", || step(place.at(2), value)).await?;
    stent::sleep("20ms").await?;
    stent::step("third", || step(place.at(4), value)).await
}

/// Steps that run for seconds, each under leases that are renewed.
#[durable]
pub(crate) async fn plod(place: Place, value: u64, millis: u64) -> stent::Result<u64> {
    let (one, two) =
        stent::join!(slow(place.at(0), value, millis), slow(place.at(1), value + 1, millis / 2 + 1));
    slow(place.at(2), one?.wrapping_add(two?), millis / 3 + 1).await
}

#[durable(max_concurrent = 2)]
async fn narrow(place: Place, value: u64, State(world): State<World>) -> stent::Result<u64> {
    be_narrow(&place, value, &world).await
}

/// [`narrow`] without its limit.
#[durable]
async fn unbounded(place: Place, value: u64, State(world): State<World>) -> stent::Result<u64> {
    be_narrow(&place, value, &world).await
}

async fn be_narrow(place: &Place, value: u64, world: &World) -> stent::Result<u64> {
    let execution = stent::execution()?;
    let work = |_| async move {
        tokio::time::sleep(NARROW_RUN).await;
        Ok::<_, stent::Error>(grown(value))
    };
    world.ledger.run(Effect::Narrow, place, &execution, work).await
}

/// A map over a function that runs at most [`NARROW_MAX`] at once.
#[durable]
pub(crate) async fn squeeze(
    place: Place,
    value: u64,
    items: u64,
    State(world): State<World>,
) -> stent::Result<u64> {
    let map = place.at(0);
    let items = (0..items).map(move |item| (map.at(item), value + item));
    let results =
        if world.is(Mutant::Crowd) { unbounded::map(items).await? } else { narrow::map(items).await? };
    leaf(place.at(1), weighed(&results)).await
}

#[durable(rate = "8/s")]
async fn paced(place: Place, value: u64, State(world): State<World>) -> stent::Result<u64> {
    be_paced(&place, value, &world).await
}

/// [`paced`] without its rate.
#[durable]
async fn unpaced(place: Place, value: u64, State(world): State<World>) -> stent::Result<u64> {
    be_paced(&place, value, &world).await
}

async fn be_paced(place: &Place, value: u64, world: &World) -> stent::Result<u64> {
    let execution = stent::execution()?;
    let work = |_| async move { Ok::<_, stent::Error>(grown(value)) };
    world.ledger.run(Effect::Paced, place, &execution, work).await
}

/// A map over a function that starts at most [`PACED_MAX`] times in a second.
#[durable]
pub(crate) async fn march(
    place: Place,
    value: u64,
    items: u64,
    State(world): State<World>,
) -> stent::Result<u64> {
    let map = place.at(0);
    let items = (0..items).map(move |item| (map.at(item), value + item));
    let results = if world.is(Mutant::Rush) { unpaced::map(items).await? } else { paced::map(items).await? };
    leaf(place.at(1), weighed(&results)).await
}

fn key_of(key: &u64, _place: &Place) -> u64 {
    *key
}

/// Returns the number of its run, which shows that all calls under a key share one run.
#[durable(idempotent, key = key_of)]
async fn once(key: u64, place: Place, State(world): State<World>) -> stent::Result<u64> {
    be_once(key, &place, &world).await
}

/// [`once`] without a key.
#[durable]
async fn each(key: u64, place: Place, State(world): State<World>) -> stent::Result<u64> {
    be_once(key, &place, &world).await
}

async fn be_once(key: u64, place: &Place, world: &World) -> stent::Result<u64> {
    let execution = stent::execution()?;
    let work = |run: u64| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok::<_, stent::Error>(run)
    };
    world.ledger.run(Effect::Once(key), place, &execution, work).await
}

/// Calls under a key that other executions use, too; two of them concurrently.
#[durable]
pub(crate) async fn share(place: Place, key: u64, State(world): State<World>) -> stent::Result<u64> {
    let (one, two) = if world.is(Mutant::Each) {
        stent::join!(each(key, place.at(0)), each(key, place.at(1)))
    } else {
        stent::join!(once(key, place.at(0)), once(key, place.at(1)))
    };
    let (one, two) = (one?, two?);
    if one == two || world.is(Mutant::Each) {
        Ok(one)
    } else {
        Err(stent::Error::Failed(stent::failure(Unequal)))
    }
}

#[derive(Debug, serde::Serialize)]
struct Unequal;

impl std::fmt::Display for Unequal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("two calls under one key gave different results")
    }
}

impl std::error::Error for Unequal {}

/// Runs for a while, so that it can be cancelled in the middle.
#[durable]
pub(crate) async fn linger(place: Place, value: u64, rounds: u32) -> stent::Result<u64> {
    let mut value = value;
    for round in 0..rounds {
        value = slow(place.at(2 * round), value, value % 100).await?;
        stent::sleep("100ms").await?;
    }
    Ok(value)
}

/// Spawns two executions, and waits for one of them.
#[durable]
pub(crate) async fn parent(place: Place, value: u64) -> stent::Result<u64> {
    let one = stent::spawn(chain(child(&place, 'a'), value, 2)).await?;
    let _other = stent::spawn(chain(child(&place, 'b'), value, 2)).await?;
    let value = one.result().await?;
    leaf(place.at(3), value).await
}

/// The name of a child execution.
pub(crate) fn child(parent: &Place, which: char) -> Place {
    Place::root(format!("{parent}{which}"))
}
