//! A function receives completions while one of its steps runs in its own turn.

use std::future::pending;
use std::sync::atomic::Ordering;
use std::time::Duration;

use stent::prelude::*;
use stent::{Error, Stent};

use crate::rigged::Rigged;
use crate::{on_every_store, ran, unique, until};

/// Runs until something has run elsewhere.
async fn until_ran(key: u64, what: &str) -> Result<(), String> {
    ran::note(key, format!("awaits {what}"));
    while ran::count(key, what) == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

#[durable(name = "hearing.says")]
async fn says(key: u64, what: String) -> Result<String, String> {
    ran::note(key, what.clone());
    Ok(what)
}

#[durable(name = "hearing.awaits")]
async fn awaits(key: u64, what: String) -> Result<(), String> {
    until_ran(key, &what).await
}

/// A signal beside a step that never ends.
#[durable(name = "hearing.stops")]
async fn stops(key: u64) -> Result<String, Error> {
    let winner = stent::select! {
        stop = stent::signal::<String>("stop") => stop?,
        step = stent::step("endless", || async {
            ran::note(key, "step");
            pending::<Result<String, String>>().await
        }) => step?,
    };
    ran::note(key, format!("winner {winner}"));
    // Parked here, so that a worker without a cache replays it.
    stent::sleep("5ms").await?;
    ran::note(key, format!("winner {winner}"));
    says(key, "after".to_owned()).await?;
    Ok(winner)
}

/// Two calls in a row beside a step that does not end before the second one has run.
#[durable(name = "hearing.joins")]
async fn joins(key: u64) -> Result<Vec<String>, Error> {
    let order = std::sync::Mutex::new(Vec::new());
    let push = |what: String| order.lock().expect("not poisoned").push(what);
    let (step, calls) = stent::join!(
        async {
            stent::step("until b", || async { until_ran(key, "b").await }).await?;
            push("step".to_owned());
            Ok::<_, Error>(())
        },
        async {
            for name in ["a", "b", "c"] {
                push(says(key, name.to_owned()).await?);
            }
            Ok::<_, Error>(())
        }
    );
    step?;
    calls?;
    let order = order.into_inner().expect("not poisoned");
    ran::note(key, format!("order {}", order.join(" ")));
    stent::sleep("5ms").await?;
    stent::sleep("5ms").await?;
    Ok(order)
}

/// A call that runs in its parent's turn, beside code that makes another call after non-durable work.
#[durable(name = "hearing.looks")]
async fn looks(key: u64) -> Result<(), Error> {
    let (awaited, said) = stent::join!(awaits(key, "b".to_owned()), async {
        let started = format!("awaits {}", "b");
        while ran::count(key, &started) == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        says(key, "b".to_owned()).await
    });
    awaited?;
    said.map(drop)
}

/// A map that is fed more items than its window holds while a step runs.
#[durable(name = "hearing.maps")]
async fn maps(key: u64, items: u64) -> Result<usize, Error> {
    let mut calls = vec![(key, "item".to_owned()); items as usize - 1];
    calls.push((key, "last".to_owned()));
    let (step, said) = stent::join!(
        async { stent::step("until the last", || async { until_ran(key, "last").await }).await },
        says::map(calls)
    );
    step?;
    Ok(said?.len())
}

/// A child execution that ends while a step runs.
#[durable(name = "hearing.waits")]
async fn waits(key: u64) -> Result<String, Error> {
    let run = stent::spawn(says(key, "child".to_owned())).await?;
    stent::select! {
        said = run.result() => said,
        step = stent::step("endless", pending::<Result<String, String>>) => step,
    }
}

on_every_store! {
    async fn a_signal_is_heard_while_a_step_runs(world) {
        for worker in [world.worker().await, world.forgetful_worker().await] {
            let key = unique();
            let run = world.stent.dispatch(stops(key)).await.expect("dispatched");
            until(|| ran::count(key, "step") > 0).await;
            run.signal("stop", &"stopped").await.expect("sent");
            assert_eq!(run.result().timeout("20s").await.expect("it hears"), "stopped");
            assert!(ran::count(key, "winner stopped") >= 2 && ran::count(key, "after") == 1, "{:?}", ran::list(key));
            worker.drain().await.expect("drains");
        }
    }

    async fn what_follows_a_call_starts_while_a_step_beside_it_runs(world) {
        for worker in [world.worker().await, world.forgetful_worker().await] {
            let key = unique();
            let run = world.stent.dispatch(joins(key)).await.expect("dispatched");
            let order = run.result().timeout("20s").await.expect("it goes on");
            // The step ends only if `b` starts beside it. The order in which the two are recorded is not guaranteed.
            let calls: Vec<_> = order.iter().map(String::as_str).filter(|name| *name != "step").collect();
            assert_eq!((order.len(), order[0].as_str(), calls), (4, "a", vec!["a", "b", "c"]));
            // G4: every run has seen the completions in the same order.
            let runs: Vec<_> = ran::list(key).into_iter().filter(|ran| ran.starts_with("order")).collect();
            assert!(runs.iter().all(|run| *run == format!("order {}", order.join(" "))), "{runs:?}");
            for name in ["a", "b", "c"] {
                assert_eq!(ran::count(key, name), 1);
            }
            worker.drain().await.expect("drains");
        }
    }

    async fn what_is_called_while_a_call_runs_here_starts_at_once(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(looks(unique())).await.expect("dispatched");
        run.result().timeout("20s").await.expect("it goes on");
        worker.drain().await.expect("drains");
    }

    async fn a_child_execution_is_heard_of_while_a_step_runs(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(waits(unique())).await.expect("dispatched");
        assert_eq!(run.result().timeout("20s").await.expect("it hears"), "child");
        worker.drain().await.expect("drains");
    }

    async fn it_is_heard_without_any_hint(world) {
        let rigged = Rigged::deaf(world.stent.store());
        let deaf = Stent::builder().open(rigged.clone()).await.expect("opens");
        let worker = deaf.worker().state(crate::Db).start().await.expect("starts");
        let key = unique();
        // Sent by another handle, so nothing in memory notifies the worker.
        let run = world.stent.dispatch(stops(key)).await.expect("dispatched");
        until(|| ran::count(key, "step") > 0).await;
        // A listener reads twice when it begins; later signals are found by polling only.
        until(|| rigged.looks.load(Ordering::SeqCst) >= 2).await;
        run.signal("stop", &"stopped").await.expect("sent");
        assert_eq!(run.result().timeout("20s").await.expect("it looks"), "stopped");
        worker.drain().await.expect("drains");
    }
}

#[test]
fn a_map_is_fed_while_a_step_runs() {
    // In memory, as items of more than a window are many.
    crate::run(crate::World::memory(), async |world| {
        let worker = world.worker().await;
        let items =
            1 + (stent::backend::limits::MAP_CHUNK * stent::backend::limits::MAP_WINDOW_CHUNKS) as u64;
        let run = world.stent.dispatch(maps(unique(), items)).await.expect("dispatched");
        assert_eq!(run.result().timeout("50s").await.expect("it is fed") as u64, items);
        worker.drain().await.expect("drains");
    });
}
