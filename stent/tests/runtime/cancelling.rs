//! Cancellation: its reach, the executions that it spares, and the results of waits.

use std::time::Duration;

use stent::prelude::*;
use stent::{Error, ExecutionStatus};

use crate::{eventually, on_every_store, ran, unique};

#[durable]
async fn sleeper(key: u64) -> Result<(), Error> {
    ran::note(key, "slept");
    stent::sleep("1w").await?;
    ran::note(key, "woke");
    Ok(())
}

#[durable]
async fn waiter(key: u64) -> Result<u64, Error> {
    ran::note(key, "waits");
    let value = stent::signal("value").await;
    ran::note(key, "goes on");
    value
}

/// Runs until it is dropped.
#[durable]
async fn runner(key: u64) -> Result<(), Error> {
    let dropped = Dropped(key);
    ran::note(key, "runs");
    std::future::pending::<()>().await;
    drop(dropped);
    Ok(())
}

struct Dropped(u64);

impl Drop for Dropped {
    fn drop(&mut self) {
        ran::note(self.0, "dropped");
    }
}

#[durable]
async fn calls_runner(key: u64) -> Result<(), Error> {
    let (runs, sleeps) = futures::join!(runner(key), sleeper(key));
    runs?;
    sleeps
}

#[durable]
async fn tidy(key: u64) -> Result<(), Error> {
    ran::note(key, "runs");
    stent::cancelled().await;
    ran::note(key, "tidies");
    while ran::count(key, "may end") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let refused = sleeper(key).await.expect_err("nothing new is started");
    assert!(matches!(refused, Error::Cancelled), "{refused}");
    ran::note(key, "tidied");
    Ok(())
}

#[durable]
async fn stubborn(key: u64) -> Result<(), Error> {
    ran::note(key, "runs");
    stent::cancelled().await;
    std::future::pending().await
}

async fn is_cancelled(world: &crate::World, id: stent::ExecutionId) {
    let error = world.stent.wait_for(id).timeout("20s").await.expect_err("it is cancelled");
    assert!(matches!(error, Error::Cancelled), "{error}");
    let error = world.stent.result_of(id).await.expect_err("it is cancelled");
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert_eq!(world.stent.status(id).await.expect("known"), ExecutionStatus::Cancelled);
}

on_every_store! {
    async fn what_has_not_started_never_does(world) {
        let key = unique();
        let run = world.stent.dispatch(sleeper(key)).await.expect("dispatched");
        assert_eq!(run.cancel().await.expect("asked"), ExecutionStatus::Cancelled);
        let worker = world.worker().await;
        is_cancelled(&world, run.id()).await;
        let error = run.result().await.expect_err("it is cancelled");
        assert!(matches!(error, Error::Cancelled), "{error}");
        worker.drain().await.expect("drains");
        assert_eq!(ran::list(key), Vec::<String>::new());
    }

    async fn code_behind_a_sleep_and_behind_a_wait_never_runs(world) {
        let key = unique();
        let worker = world.worker().await;
        let sleeps = world.stent.dispatch(sleeper(key)).await.expect("dispatched");
        let waits = world.stent.dispatch(waiter(key)).await.expect("dispatched");
        for run in [sleeps.id(), waits.id()] {
            eventually(async || world.stent.inspect().timeline(run).await.expect("a timeline").len() == 2).await;
            assert_eq!(world.stent.cancel(run).await.expect("asked"), ExecutionStatus::Cancelled);
            is_cancelled(&world, run).await;
        }
        let refused = waits.signal("value", &1_u64).await.expect_err("it has ended");
        assert!(matches!(refused, Error::Ended { status: ExecutionStatus::Cancelled, .. }), "{refused}");
        worker.drain().await.expect("drains");
        let mut list = ran::list(key);
        list.sort();
        assert_eq!(list, ["slept", "waits"]);
    }

    async fn what_runs_is_dropped_at_its_next_await(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(runner(key)).await.expect("dispatched");
        eventually(async || ran::count(key, "runs") == 1).await;
        run.cancel().await.expect("asked");
        is_cancelled(&world, run.id()).await;
        eventually(async || ran::count(key, "dropped") == 1).await;
        worker.drain().await.expect("drains");
    }

    async fn a_worker_that_is_busy_all_over_hears_of_it_too(world) {
        let key = unique();
        let worker = world.worker_with(|worker| worker.concurrency(1)).await;
        let run = world.stent.dispatch(runner(key)).await.expect("dispatched");
        eventually(async || ran::count(key, "runs") == 1).await;
        run.cancel().await.expect("asked");
        is_cancelled(&world, run.id()).await;
        worker.drain().await.expect("drains");
        assert_eq!(ran::count(key, "dropped"), 1);
    }

    async fn a_worker_that_drains_hears_of_it_too(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(runner(key)).await.expect("dispatched");
        eventually(async || ran::count(key, "runs") == 1).await;
        let drained = tokio::spawn(worker.drain());
        eventually(async || world.stent.workers().draining).await;
        run.cancel().await.expect("asked");
        drained.await.expect("no panic").expect("drains");
        is_cancelled(&world, run.id()).await;
    }

    async fn it_reaches_what_runs_and_what_sleeps_below(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(calls_runner(key)).await.expect("dispatched");
        eventually(async || ran::count(key, "runs") == 1 && ran::count(key, "slept") == 1).await;
        run.cancel().await.expect("asked");
        is_cancelled(&world, run.id()).await;
        eventually(async || ran::count(key, "dropped") == 1).await;
        let timeline = world.stent.inspect().timeline(run.id()).await.expect("a timeline");
        assert!(timeline.iter().all(|task| task.status.is_terminal()), "{timeline:#?}");
        worker.drain().await.expect("drains");
        assert_eq!(ran::count(key, "woke"), 0);
    }

    async fn a_function_that_listens_may_tidy_up(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(tidy(key)).await.expect("dispatched");
        eventually(async || ran::count(key, "runs") == 1).await;
        assert_eq!(run.cancel().grace("30s").await.expect("asked"), ExecutionStatus::Cancelling);
        assert_eq!(run.cancel().grace("30s").await.expect("asked twice"), ExecutionStatus::Cancelling);
        eventually(async || ran::count(key, "tidies") == 1).await;
        assert_eq!(run.status().await.expect("known"), ExecutionStatus::Cancelling);
        ran::note(key, "may end");
        is_cancelled(&world, run.id()).await;
        assert_eq!(ran::count(key, "tidied"), 1);
        worker.drain().await.expect("drains");
    }

    async fn the_grace_ends_what_does_not(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(stubborn(key)).await.expect("dispatched");
        eventually(async || ran::count(key, "runs") == 1).await;
        run.cancel().grace("50ms").await.expect("asked");
        is_cancelled(&world, run.id()).await;
        worker.stop().await.expect("stops");
    }

    async fn what_has_ended_stays_as_it_is_and_what_is_not_there_is_an_error(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(done_at_once()).await.expect("dispatched");
        assert_eq!(run.result().timeout("20s").await.expect("runs"), 1);
        assert_eq!(run.cancel().await.expect("asked"), ExecutionStatus::Completed);
        assert_eq!(run.result().await.expect("still"), 1);

        let unknown = stent::ExecutionId::from_uuid(uuid::Uuid::now_v7());
        let error = world.stent.cancel(unknown).await.expect_err("there is no such execution");
        assert!(matches!(error, Error::NotFound(id) if id == unknown), "{error}");
        worker.drain().await.expect("drains");
    }
}

#[durable]
async fn done_at_once() -> Result<u64, Error> {
    Ok(1)
}
