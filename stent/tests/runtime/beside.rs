//! Code that awaits non-durable work beside recorded steps.

use std::time::Duration;

use stent::Error;
use stent::prelude::*;
use stent::view::TaskStatus;

use crate::{eventually, logs, on_every_store, ran, unique};

/// Waits for a signal that never comes, with a non-durable timeout.
#[durable(name = "beside.times_out")]
async fn times_out(key: u64, ms: u64) -> Result<String, Error> {
    ran::note(key, "run");
    match tokio::time::timeout(Duration::from_millis(ms), stent::signal::<String>("never")).await {
        Ok(signal) => signal,
        Err(_) => Ok("timed out".to_owned()),
    }
}

#[durable(name = "beside.times_out_beside_many")]
async fn times_out_beside_many(key: u64, ms: u64) -> Result<String, Error> {
    ran::note(key, "run");
    let signals = stent::join_all((0..40).map(|n| stent::signal::<String>(format!("never {n}"))));
    match tokio::time::timeout(Duration::from_millis(ms), signals).await {
        Ok(_) => Ok("signalled".to_owned()),
        Err(_) => Ok("timed out".to_owned()),
    }
}

#[durable(name = "beside.durable")]
async fn durable(key: u64) -> Result<String, Error> {
    ran::note(key, "run");
    stent::select! {
        signal = stent::signal::<String>("go") => signal,
        () = stent::cancelled() => Err(Error::Cancelled),
    }
}

#[durable(name = "beside.durable_many")]
async fn durable_many(key: u64) -> Result<String, Error> {
    ran::note(key, "run");
    let all = stent::join_all((0..40).map(|n| stent::signal::<String>(format!("go {n}")))).await;
    Ok(all.into_iter().collect::<Result<Vec<_>, _>>()?.concat())
}

async fn root(run: &stent::Handle<String>, world: &crate::World) -> stent::view::TaskView {
    let tasks = world.stent.inspect().timeline(run.id()).await.expect("read");
    tasks.into_iter().find(|task| task.parent.is_none()).expect("a root")
}

fn warnings(function: &str) -> usize {
    let warns = |line: &logs::Line| line.level == tracing::Level::WARN && line.field("function") == function;
    logs::lines(warns).len()
}

on_every_store! {
    async fn what_dies_while_it_waits_for_the_world_is_due_again(world) {
        for (many, name) in [(false, "beside.times_out"), (true, "beside.times_out_beside_many")] {
            let key = unique();
            let first = world.worker_with(|worker| worker.lease("500ms")).await;
            let run = match many {
                false => world.stent.dispatch(times_out(key, 1_500)).await.expect("dispatched"),
                true => world.stent.dispatch(times_out_beside_many(key, 1_500)).await.expect("dispatched"),
            };
            eventually(async || root(&run, &world).await.status == TaskStatus::Waiting).await;
            if !many {
                assert!(warnings(name) > 0, "it is warned of when it is first seen");
            }
            // Its code is dropped, and with it the timer that would wake it.
            first.stop().await.expect("stops");
            assert_eq!(ran::count(key, "run"), 1);

            // The timer is longer than a lease: the code is kept, and the timer does not restart.
            let second = world.worker_with(|worker| worker.lease("500ms")).await;
            assert_eq!(run.result().timeout("20s").await.expect("due again"), "timed out");
            assert_eq!(ran::count(key, "run"), 2);
            second.drain().await.expect("drains");
        }
    }

    async fn it_ends_in_time_on_a_worker_that_keeps_nothing(world) {
        let key = unique();
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(times_out(key, 100)).await.expect("dispatched");
        assert_eq!(run.result().timeout("20s").await.expect("times out"), "timed out");
        assert_eq!(ran::count(key, "run"), 1);
        worker.drain().await.expect("drains");
    }

    async fn what_waits_for_what_is_recorded_only_is_parked_for_good(world) {
        let worker = world.worker_with(|worker| worker.lease("500ms")).await;
        let (one, many) = (unique(), unique());
        let run = world.stent.dispatch(durable(one)).await.expect("dispatched");
        let runs = world.stent.dispatch(durable_many(many)).await.expect("dispatched");
        for run in [&run, &runs] {
            eventually(async || root(run, &world).await.status == TaskStatus::Waiting).await;
            assert_eq!(root(run, &world).await.ready_at, None, "nothing wakes it but what it waits for");
        }
        assert_eq!((warnings("beside.durable"), warnings("beside.durable_many")), (0, 0));

        run.signal("go", &"went").await.expect("sent");
        assert_eq!(run.result().timeout("20s").await.expect("runs"), "went");
        for n in 0..40 {
            runs.signal(format!("go {n}"), &"w").await.expect("sent");
        }
        assert_eq!(runs.result().timeout("20s").await.expect("runs").len(), 40);
        worker.drain().await.expect("drains");
    }
}
