//! Workers: draining, stopping, leases, queues, crash loops.

use std::time::Duration;

use stent::prelude::*;
use stent::{ExecutionStatus, Registry};

use crate::{on_every_store, ran, unique};

#[durable]
async fn quick(n: u64) -> Result<u64, String> {
    Ok(n)
}

#[durable]
async fn slow(key: u64, ms: u64) -> Result<u64, String> {
    ran::note(key, "started");
    tokio::time::sleep(Duration::from_millis(ms)).await;
    ran::note(key, "ended");
    Ok(ms)
}

#[durable(queue = "mail", priority = 3)]
async fn mail(n: u64) -> Result<u64, String> {
    Ok(n)
}

#[durable]
async fn two_slow(key: u64) -> Result<(), stent::Error> {
    slow(key, 60).await?;
    slow(key, 60).await?;
    Ok(())
}

async fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

on_every_store! {
    async fn a_drain_lets_a_running_turn_end(world) {
        let worker = world.worker().await;
        let key = unique();
        let run = world.stent.dispatch(slow(key, 50)).await.expect("dispatched");
        until(|| ran::count(key, "started") == 1).await;
        worker.drain().await.expect("drains");
        assert_eq!(run.status().await.expect("known"), ExecutionStatus::Completed);
    }

    async fn a_drain_stops_between_two_steps(world) {
        let worker = world.worker().await;
        let key = unique();
        let run = world.stent.dispatch(two_slow(key)).await.expect("dispatched");
        until(|| ran::count(key, "started") == 1).await;
        worker.drain().await.expect("drains");
        assert_eq!((ran::count(key, "ended"), run.status().await.expect("known")), (1, ExecutionStatus::Running));

        let next = world.worker().await;
        run.result().timeout("20s").await.expect("the next worker goes on");
        assert_eq!(ran::count(key, "started"), 2);
        next.drain().await.expect("drains");
    }

    async fn a_stopped_worker_hands_its_work_back_at_once(world) {
        let worker = world.worker().await;
        let key = unique();
        let run = world.stent.dispatch(slow(key, 300)).await.expect("dispatched");
        until(|| ran::count(key, "started") == 1).await;
        worker.stop().await.expect("stops");

        // The lease was 30 s: only what was handed back can be claimed now.
        let next = world.worker().await;
        run.result().timeout("10s").await.expect("runs");
        assert_eq!((ran::count(key, "started"), ran::count(key, "ended")), (2, 1));
        next.drain().await.expect("drains");
    }

    async fn long_work_keeps_its_lease(world) {
        let short = |worker: stent::WorkerBuilder| worker.lease("150ms");
        let (one, two) = (world.worker_with(short).await, world.worker_with(short).await);
        let key = unique();
        let run = world.stent.dispatch(slow(key, 700)).await.expect("dispatched");
        run.result().timeout("20s").await.expect("runs");
        assert_eq!(ran::count(key, "started"), 1);
        one.drain().await.expect("drains");
        two.drain().await.expect("drains");
    }

    async fn queues_are_served_by_their_workers_only(world) {
        let other = world.worker_with(|worker| worker.queues(["default"])).await;
        let run = world.stent.dispatch(mail(1)).await.expect("dispatched");
        assert_eq!(world.stent.run(quick(1)).await.expect("runs"), 1);
        assert_eq!(run.status().await.expect("known"), ExecutionStatus::Pending);
        assert_eq!(world.stent.view(run.id()).await.expect("known").queue, "mail");

        let mailer = world.worker_with(|worker| worker.queues(["mail"])).await;
        assert_eq!(run.result().timeout("20s").await.expect("runs"), 1);
        other.drain().await.expect("drains");
        mailer.drain().await.expect("drains");
    }

    async fn work_that_a_worker_does_not_know_stays_for_one_that_does(world) {
        let stranger = world.with_registry(Registry::new().with::<mail>()).await;
        let stranger = stranger.worker().start().await.expect("starts");
        let run = world.stent.dispatch(quick(5)).await.expect("dispatched");
        let error = run.result().timeout("150ms").await.expect_err("nobody knows it");
        assert!(matches!(error, stent::Error::WaitTimeout { .. }), "{error}");

        let worker = world.worker().await;
        assert_eq!(run.result().timeout("20s").await.expect("runs"), 5);
        stranger.drain().await.expect("drains");
        worker.drain().await.expect("drains");
    }

    async fn several_workers_share_the_work(world) {
        let workers = [world.worker().await, world.worker().await, world.worker().await];
        let handles = world.stent.dispatch_all((0..500).map(quick)).await.expect("dispatched");
        for (n, run) in handles.iter().enumerate() {
            assert_eq!(run.result().timeout("20s").await.expect("runs"), n as u64);
        }
        for worker in workers {
            worker.drain().await.expect("drains");
        }
    }
}
