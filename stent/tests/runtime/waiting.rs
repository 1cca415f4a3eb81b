//! Waiting for results: typed, by id, with timeouts, by many at once.

use std::time::Duration;

use stent::prelude::*;
use stent::{Error, ExecutionStatus};

use crate::{on_every_store, unique};

#[durable]
async fn add(a: u64, b: u64) -> Result<u64, String> {
    Ok(a + b)
}

#[durable]
async fn adds_later() -> Result<u64, stent::Error> {
    add(1, 2).at(stent::now() + Duration::from_millis(80)).await
}

#[durable]
async fn never(_key: u64) -> Result<(), stent::Error> {
    stent::sleep("1w").await
}

on_every_store! {
    async fn results_are_there_by_handle_and_by_id(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(add(1, 2)).await.expect("dispatched");
        assert_eq!(run.result().await.expect("runs"), 3);
        assert_eq!(world.stent.handle::<u64>(run.id()).result().await.expect("ended"), 3);
        assert_eq!(world.stent.wait_for(run.id()).await.expect("ended").decode::<u64>().expect("a number"), 3);
        let payload = world.stent.result_of(run.id()).await.expect("known").expect("ended");
        assert_eq!(payload.decode::<u64>().expect("a number"), 3);
        assert_eq!(run.status().await.expect("known"), ExecutionStatus::Completed);
        worker.drain().await.expect("drains");
    }

    async fn a_wait_that_is_over_is_a_timeout_and_zero_means_none(world) {
        let run = world.stent.dispatch(add(1, 2)).delay("1h").await.expect("dispatched");
        let error = run.result().timeout("20ms").await.expect_err("nobody runs it");
        assert!(matches!(&error, Error::WaitTimeout { execution, .. } if *execution == run.id()), "{error}");
        assert_eq!(run.status().await.expect("known"), ExecutionStatus::Pending);
        assert!(world.stent.result_of(run.id()).await.expect("known").is_none());

        let unlimited = run.result().timeout(Duration::ZERO);
        let waited = tokio::time::timeout(Duration::from_millis(100), unlimited.into_future()).await;
        assert!(waited.is_err(), "zero is no limit");
    }

    async fn thousands_of_waiters_are_all_answered(world) {
        let worker = world.worker().await;
        let handles = world.stent.dispatch_all((0..2_000).map(|n| add(n, 1))).await.expect("dispatched");
        let waits = handles.iter().map(|run| run.result().into_future());
        let results = futures::future::try_join_all(waits).await.expect("all run");
        assert_eq!(results, (1..=2_000).collect::<Vec<u64>>());
        worker.drain().await.expect("drains");
    }

    async fn a_waiter_of_another_handle_is_answered_too(world) {
        let other = world.with_registry(stent::Registry::linked()).await;
        let run = world.stent.dispatch(add(20, 22)).await.expect("dispatched");
        let waiting = other.handle::<u64>(run.id());
        let waiting = tokio::spawn(async move { waiting.result().timeout("20s").await });
        let worker = world.worker().await;
        assert_eq!(waiting.await.expect("no panic").expect("ended"), 42);
        worker.drain().await.expect("drains");
    }

    async fn a_dispatch_under_one_id_starts_one_execution(world) {
        let id = world.stent.dispatch(never(unique())).await.expect("dispatched").id();
        let again = world.stent.dispatch(never(unique())).id(id).await.expect("dispatched again");
        assert_eq!(again.id(), id);
        assert_eq!(world.stent.timeline(id).await.expect("a timeline").len(), 1);
    }

    async fn a_delayed_execution_starts_not_before_its_time(world) {
        let worker = world.worker().await;
        let started = std::time::Instant::now();
        let run = world.stent.dispatch(add(1, 1)).delay("80ms").await.expect("dispatched");
        run.result().timeout("20s").await.expect("runs");
        assert!(started.elapsed() >= Duration::from_millis(80));
        worker.drain().await.expect("drains");
    }

    async fn a_start_is_given_as_a_delay_or_as_a_moment(world) {
        let hour = Duration::from_secs(3_600);
        let now = stent::Timestamp::from(std::time::SystemTime::now());
        let due = async |dispatch: stent::Dispatch<add>| {
            let run = dispatch.await.expect("dispatched");
            world.stent.timeline(run.id()).await.expect("a timeline")[0].ready_at.expect("it waits for a moment")
        };

        assert_eq!(due(world.stent.dispatch(add(1, 1)).at(now + hour)).await, now + hour);
        let system = std::time::SystemTime::now() + hour;
        assert_eq!(due(world.stent.dispatch(add(1, 1)).at(system)).await, system.into());
        // The last word counts.
        assert_eq!(due(world.stent.dispatch(add(1, 1)).delay("2h").at(now + hour)).await, now + hour);
        assert_eq!(due(world.stent.dispatch(add(1, 1).at(now + hour))).await, now + hour);
        let scheduled = due(world.stent.schedule("2h", add(1, 1))).await;
        assert!(scheduled >= now + hour, "{scheduled}");

        let worker = world.worker().await;
        let run = world.stent.dispatch(add(1, 2)).at(stent::Timestamp::EPOCH).await.expect("dispatched");
        assert_eq!(run.result().timeout("20s").await.expect("what has passed is now"), 3);
        worker.drain().await.expect("drains");
    }

    async fn a_step_starts_not_before_its_moment(world) {
        let worker = world.forgetful_worker().await;
        let started = std::time::Instant::now();
        world.stent.run(adds_later()).await.expect("runs");
        assert!(started.elapsed() >= Duration::from_millis(80));
        worker.drain().await.expect("drains");
    }

    async fn purge_takes_what_ended_and_leaves_what_is_open(world) {
        let worker = world.worker().await;
        let open = world.stent.dispatch(never(unique())).await.expect("dispatched");
        let ended = world.stent.dispatch(add(1, 1)).await.expect("dispatched");
        ended.result().await.expect("runs");
        assert_eq!(world.stent.purge("1h", 100).await.expect("purges"), 0);
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(world.stent.purge(Duration::ZERO, 100).await.expect("purges"), 1);
        assert!(matches!(ended.status().await, Err(Error::NotFound(_))));
        assert!(!open.status().await.expect("known").is_terminal());
        worker.drain().await.expect("drains");
    }
}
