//! Limits on functions and the routing of their work: `max_concurrent`, rates, queues and tags.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use stent::Error;
use stent::prelude::*;

use crate::{on_every_store, ran, unique};

static RUNNING: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];
static MOST: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];

async fn counted(which: usize) {
    let now = RUNNING[which].fetch_add(1, Ordering::SeqCst) + 1;
    MOST[which].fetch_max(now, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(10)).await;
    RUNNING[which].fetch_sub(1, Ordering::SeqCst);
}

#[durable(max_concurrent = 2)]
async fn two_at_once_in_memory(_n: u64) -> Result<(), String> {
    counted(0).await;
    Ok(())
}

#[durable(max_concurrent = 2)]
async fn two_at_once_in_sqlite(_n: u64) -> Result<(), String> {
    counted(1).await;
    Ok(())
}

#[durable(max_concurrent = 2)]
async fn two_at_once_in_postgres(_n: u64) -> Result<(), String> {
    counted(2).await;
    Ok(())
}

#[durable]
async fn free(key: u64) -> Result<(), String> {
    ran::note(key, "free");
    Ok(())
}

#[durable(max_concurrent = 1)]
async fn parks(key: u64) -> Result<(), Error> {
    ran::note(key, "parked");
    stent::signal::<()>("go").await
}

#[durable(rate = "5/200ms")]
async fn rated(_n: u64) -> Result<(), String> {
    Ok(())
}

#[durable(tags = ["gpu"])]
async fn tagged(key: u64) -> Result<(), String> {
    ran::note(key, "tagged");
    Ok(())
}

async fn limit_holds(world: &crate::World, which: usize) {
    let workers = [world.worker().await, world.worker().await, world.forgetful_worker().await];
    let runs = match which {
        0 => world.stent.dispatch_all((0..30).map(two_at_once_in_memory)).await,
        1 => world.stent.dispatch_all((0..30).map(two_at_once_in_sqlite)).await,
        _ => world.stent.dispatch_all((0..30).map(two_at_once_in_postgres)).await,
    };
    let runs = runs.expect("dispatched");
    let key = unique();
    let free = world.stent.dispatch_all((0..20).map(move |_| free(key))).await.expect("dispatched");
    for run in free {
        run.result().timeout("20s").await.expect("is not held up");
    }
    for run in runs {
        run.result().timeout("30s").await.expect("runs");
    }
    assert_eq!(MOST[which].load(Ordering::SeqCst), 2, "as many as may, and no more");
    for worker in workers {
        worker.drain().await.expect("drains");
    }
}

#[test]
fn no_more_run_than_the_limit_says_in_memory() {
    crate::run(crate::World::memory(), async |world| limit_holds(&world, 0).await);
}

#[cfg(feature = "sqlite")]
#[test]
fn no_more_run_than_the_limit_says_in_sqlite() {
    crate::run(crate::World::sqlite(), async |world| limit_holds(&world, 1).await);
}

#[cfg(feature = "postgres")]
#[test]
fn no_more_run_than_the_limit_says_in_postgres() {
    crate::run(crate::World::postgres(), async |world| limit_holds(&world, 2).await);
}

on_every_store! {
    async fn a_function_that_waits_takes_no_place(world) {
        let key = unique();
        let worker = world.worker().await;
        let runs = world.stent.dispatch_all((0..3).map(move |_| parks(key))).await.expect("dispatched");
        crate::eventually(async || ran::count(key, "parked") >= 3).await;
        for run in &runs {
            run.signal("go", &()).await.expect("sent");
            run.result().timeout("20s").await.expect("runs");
        }
        worker.drain().await.expect("drains");
    }

    async fn no_more_start_than_the_rate_says(world) {
        let worker = world.worker().await;
        let started = Instant::now();
        let runs = world.stent.dispatch_all((0..16).map(rated)).await.expect("dispatched");
        let mut starts = Vec::new();
        for run in runs {
            run.result().timeout("30s").await.expect("runs");
            starts.push(world.stent.inspect().describe(run.id()).await.expect("known").started_at.expect("started"));
        }
        starts.sort();
        for six in starts.windows(6) {
            assert!(six[5].since(six[0]) >= Duration::from_millis(200), "{starts:?}");
        }
        assert!(started.elapsed() >= Duration::from_millis(600));
        worker.drain().await.expect("drains");
    }

    async fn workers_take_what_their_tags_allow(world) {
        let key = unique();
        let other = world.worker_with(|worker| worker.tags(["eu"])).await;
        let run = world.stent.dispatch(tagged(key)).await.expect("dispatched");
        let untagged = world.stent.dispatch(free(key)).await.expect("dispatched");
        untagged.result().timeout("20s").await.expect("is for everyone");
        let moved = world.stent.dispatch(tagged(key)).tag("eu").await.expect("dispatched");
        moved.result().timeout("20s").await.expect("the call's tags count");
        assert_eq!(ran::count(key, "tagged"), 1);
        let right = world.worker_with(|worker| worker.tags(["gpu", "us"])).await;
        run.result().timeout("20s").await.expect("runs");
        other.drain().await.expect("drains");
        right.drain().await.expect("drains");
    }

    async fn workers_serve_the_queues_that_they_name(world) {
        let key = unique();
        let other = world.worker_with(|worker| worker.queues(["mails"])).await;
        let here = world.stent.dispatch(free(key)).queue("mails").await.expect("dispatched");
        let there = world.stent.dispatch(free(key)).queue("media").await.expect("dispatched");
        here.result().timeout("20s").await.expect("runs");
        assert_eq!(world.stent.inspect().queue_depth(Some("media")).await.expect("counted"), 1);
        assert_eq!(world.stent.inspect().queue_depth(Some("mails")).await.expect("counted"), 0);
        let everything = world.worker().await;
        there.result().timeout("20s").await.expect("runs");
        other.drain().await.expect("drains");
        everything.drain().await.expect("drains");
    }
}
