//! `map`: order, windows, failures, replay.

use stent::TaskStatus;
use stent::prelude::*;

use crate::{on_every_store, ran, unique};

#[durable]
async fn square(n: u64) -> Result<u64, String> {
    Ok(n * n)
}

#[durable]
async fn squares(n: u64) -> Result<u64, stent::Error> {
    let all = square::map(0..n).await?;
    for (i, squared) in all.iter().enumerate() {
        assert_eq!(*squared, (i * i) as u64, "results stand in the order of the items");
    }
    Ok(all.len() as u64)
}

#[durable(retry(max_attempts = 1))]
async fn picky(key: u64, n: u64) -> Result<u64, String> {
    ran::note(key, n.to_string());
    if n == 5 {
        return Err(format!("not {n}"));
    }
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    Ok(n)
}

#[durable]
async fn picky_map(key: u64) -> Result<usize, stent::Error> {
    let all = picky::map((0..2_000).map(move |n| (key, n))).await?;
    Ok(all.len())
}

#[durable]
async fn step_in_item(n: u64) -> Result<u64, stent::Error> {
    stent::sleep("1ms").await?;
    square(n).await
}

#[durable]
async fn nested_maps(n: u64) -> Result<u64, stent::Error> {
    let (a, b) = stent::join!(step_in_item::map(0..n), squares::map([3, 4, 5]));
    Ok(a?.len() as u64 + b?.iter().sum::<u64>())
}

/// The sum of what went well, and how many items did not.
#[durable]
async fn picky_outcomes(key: u64, n: u64) -> Result<(u64, Vec<usize>), stent::Error> {
    let outcomes = picky::map((0..n).map(move |n| (key, n))).chunk(7).outcomes().await?;
    let bad = outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_err()).map(|(at, _)| at);
    let bad = bad.collect();
    Ok((outcomes.into_iter().flatten().sum(), bad))
}

#[durable]
async fn chunk_of_none() -> Result<Vec<u64>, stent::Error> {
    square::map([1]).chunk(0).await
}

on_every_store! {
    async fn results_come_in_order_whatever_the_number(world) {
        let worker = world.worker().await;
        for n in [0, 1, 999, 1_000, 1_001, 18_000] {
            let run = world.stent.dispatch(squares(n)).await.expect("dispatched");
            assert_eq!(run.result().timeout("40s").await.expect("runs"), n);
        }
        worker.drain().await.expect("drains");
    }

    async fn a_map_is_replayed_from_its_record(world) {
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(squares(18_000)).await.expect("dispatched");
        assert_eq!(run.result().timeout("40s").await.expect("runs"), 18_000);
        worker.drain().await.expect("drains");
    }

    async fn the_first_failure_ends_the_map_and_cancels_the_rest(world) {
        let worker = world.worker_with(|worker| worker.concurrency(2)).await;
        let key = unique();
        let run = world.stent.dispatch(picky_map(key)).await.expect("dispatched");
        let error = run.result().timeout("30s").await.expect_err("it fails");
        assert_eq!(error.failure().map(|failure| failure.message.as_str()), Some("not 5"));
        assert_eq!(ran::count(key, "5"), 1);
        let tasks = world.stent.timeline(run.id()).await.expect("a timeline");
        assert!(tasks.iter().all(|task| task.status.is_terminal()));
        assert!(tasks.iter().any(|task| task.status == TaskStatus::Cancelled), "some items never ran");
        worker.drain().await.expect("drains");
    }

    async fn items_may_have_steps_and_maps_may_be_joined(world) {
        for worker in [world.worker().await, world.forgetful_worker().await] {
            let run = world.stent.dispatch(nested_maps(50)).await.expect("dispatched");
            assert_eq!(run.result().timeout("30s").await.expect("runs"), 50 + 12);
            worker.drain().await.expect("drains");
        }
    }

    async fn outcomes_are_collected_in_order_and_a_failure_stops_nothing(world) {
        let key = unique();
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(picky_outcomes(key, 40)).await.expect("dispatched");
        let (sum, bad) = run.result().timeout("30s").await.expect("runs");
        assert_eq!((sum, bad), ((0..40).sum::<u64>() - 5, vec![5]));
        assert_eq!(ran::list(key).len(), 40, "every item runs once");
        let local = picky_outcomes(unique(), 8).local().await.expect("runs in place too");
        assert_eq!(local, (23, vec![5]));
        worker.drain().await.expect("drains");
    }

    async fn a_chunk_that_does_not_fit_is_named(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(chunk_of_none()).await.expect("dispatched");
        let error = run.result().timeout("20s").await.expect_err("nothing would ever be written");
        assert!(error.to_string().contains("chunk"), "{error}");
        worker.drain().await.expect("drains");
    }
}
