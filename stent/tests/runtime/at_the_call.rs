//! Options that a step takes from its function's declaration, and options that its call overrides.

use std::collections::BTreeSet;
use std::time::Duration;

use stent::prelude::*;
use stent::{Error, RetryPolicy};

use crate::{eventually, on_every_store, ran, unique};

#[durable(
    name = "at_the_call.work",
    queue = "declared",
    tags = ["gpu"],
    retry(max_attempts = 2, initial_delay = "1ms")
)]
async fn work(key: u64) -> Result<(), String> {
    ran::note(key, "tried");
    Err("on purpose".to_owned())
}

#[durable(name = "at_the_call.as_declared")]
async fn as_declared(key: u64) -> Result<(), Error> {
    work(key).await
}

fn four_times() -> RetryPolicy {
    RetryPolicy::default().max_attempts(4).initial_delay(Duration::from_millis(1))
}

#[durable(name = "at_the_call.otherwise")]
async fn otherwise(key: u64) -> Result<(), Error> {
    work(key).queue("said").tag("cpu").tag("eu").retry(four_times()).await
}

#[durable(name = "at_the_call.maps")]
async fn maps(key: u64) -> Result<(), Error> {
    work::map([key]).queue("mapped").tag("npu").retry(four_times()).await.map(drop)
}

#[durable(name = "at_the_call.naps", queue = "declared", tags = ["gpu"])]
async fn naps(key: u64) -> Result<u64, Error> {
    stent::sleep("5ms").await?;
    stent::signal::<()>("go").timeout("5ms").await.expect_err("nobody sends one");
    ran::note(key, "awake");
    Ok(key)
}

#[durable(name = "at_the_call.ranked", queue = "ranked", priority = 5)]
async fn ranked(key: u64, name: String) -> Result<(), String> {
    ran::note(key, name);
    Ok(())
}

#[durable(name = "at_the_call.ranks")]
async fn ranks(key: u64) -> Result<(), Error> {
    let (low, declared, high, mapped) = stent::join!(
        ranked(key, "low".to_owned()).priority(-1),
        ranked(key, "declared".to_owned()),
        ranked(key, "high".to_owned()).priority(9),
        ranked::map([(key, "mapped".to_owned())]).priority(7),
    );
    low?;
    declared?;
    high?;
    mapped.map(drop)
}

/// The queues, with tags, in which steps wait that no worker serves.
async fn lanes(world: &crate::World) -> Vec<(String, Vec<String>)> {
    let lanes = world.stent.inspect().lanes().await.expect("read");
    let waiting = lanes.into_iter().filter(|view| view.lane.function == "at_the_call.work" && view.due > 0);
    waiting.map(|view| (view.lane.queue, view.lane.tags.into_iter().collect())).collect()
}

on_every_store! {
    async fn a_step_has_the_queue_and_the_tags_of_its_call_or_else_of_its_declaration(world) {
        let callers = world.worker_with(|worker| worker.queues(["default"])).await;
        let (declared, said, mapped) = (unique(), unique(), unique());
        let runs = [
            world.stent.dispatch(as_declared(declared)).await.expect("dispatched"),
            world.stent.dispatch(otherwise(said)).await.expect("dispatched"),
            world.stent.dispatch(maps(mapped)).await.expect("dispatched"),
        ];

        eventually(async || lanes(&world).await.len() == 3).await;
        let found: BTreeSet<_> = lanes(&world).await.into_iter().collect();
        let lane = |queue: &str, tags: &[&str]| {
            (queue.to_owned(), tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>())
        };
        let expected = [lane("declared", &["gpu"]), lane("said", &["cpu", "eu"]), lane("mapped", &["npu"])];
        assert_eq!(found, BTreeSet::from(expected));

        // A worker that serves the queues without a matching tag takes nothing; a worker with a tag takes its own work.
        let stranger = world.worker_with(|worker| worker.tags(["fpga"])).await;
        let gpu = world.worker_with(|worker| worker.tags(["gpu"])).await;
        runs[0].result().timeout("20s").await.expect_err("it fails");
        assert_eq!((ran::count(declared, "tried"), ran::count(said, "tried"), ran::count(mapped, "tried")), (2, 0, 0));
        // The call's number of attempts replaces that of the declaration.
        let others = world.worker_with(|worker| worker.tags(["eu", "npu"])).await;
        for run in &runs[1..] {
            run.result().timeout("20s").await.expect_err("it fails");
        }
        assert_eq!((ran::count(declared, "tried"), ran::count(said, "tried"), ran::count(mapped, "tried")), (2, 4, 4));
        for worker in [callers, stranger, gpu, others] {
            worker.drain().await.expect("drains");
        }
    }

    async fn a_timer_needs_no_worker_but_the_one_that_goes_on_with_the_code(world) {
        let key = unique();
        let gpu = world.worker_with(|worker| worker.queues(["declared"]).tags(["gpu"]).cache(0)).await;
        let run = world.stent.dispatch(naps(key)).await.expect("dispatched");
        assert_eq!(run.result().timeout("20s").await.expect("runs"), key);
        assert_eq!(ran::count(key, "awake"), 1);
        gpu.drain().await.expect("drains");
    }

    async fn steps_are_claimed_by_the_priority_of_their_call_or_else_of_their_declaration(world) {
        let key = unique();
        let callers = world.worker_with(|worker| worker.queues(["default"])).await;
        let run = world.stent.dispatch(ranks(key)).await.expect("dispatched");
        eventually(async || world.stent.inspect().queue_depth(Some("ranked")).await.expect("counted") == 4).await;

        let worker = world.worker_with(|worker| worker.queues(["ranked"]).concurrency(1)).await;
        run.result().timeout("20s").await.expect("runs");

        assert_eq!(ran::list(key), ["high", "mapped", "declared", "low"]);
        callers.drain().await.expect("drains");
        worker.drain().await.expect("drains");
    }
}
