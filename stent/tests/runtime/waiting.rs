//! Waiting for results: typed, by id, with timeouts, by many at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use stent::prelude::*;
use stent::{Error, ExecutionStatus, PollOptions};

use crate::rigged::Rigged;
use crate::{Db, eventually, on_every_store, ran, unique, until};

#[durable]
async fn add(a: u64, b: u64) -> Result<u64, String> {
    Ok(a + b)
}

#[durable]
async fn adds_later() -> Result<u64, stent::Error> {
    add(1, 2).at(stent::now() + Duration::from_millis(80)).await
}

/// Waits, parked, for a step on another worker.
#[durable]
async fn adds_elsewhere(n: u64) -> Result<u64, stent::Error> {
    add(n, 1).queue("elsewhere").await
}

#[durable]
async fn never(_key: u64) -> Result<(), stent::Error> {
    stent::sleep("1w").await
}

#[durable(name = "waiting.fails", retry(max_attempts = 1))]
async fn fails() -> Result<u64, String> {
    Err("on purpose".to_owned())
}

/// The same store with and without hints: every wait means the same on both.
async fn both_modes(world: &crate::World) -> [(Stent, Arc<Rigged>); 2] {
    let inner = world.stent.store();
    let open =
        async |rigged: Arc<Rigged>| (Stent::builder().open(rigged.clone()).await.expect("opens"), rigged);
    [open(Rigged::new(inner)).await, open(Rigged::deaf(inner)).await]
}

#[durable(name = "waiting.second_try", retry(max_attempts = 2, initial_delay = "50ms"))]
async fn second_try(key: u64) -> Result<(), String> {
    ran::note(key, "tried");
    if ran::count(key, "tried") < 2 { Err("not yet".to_owned()) } else { Ok(()) }
}

#[durable(name = "waiting.third_try", retry(max_attempts = 3, initial_delay = "300ms"))]
async fn third_try(key: u64) -> Result<(), String> {
    ran::note(key, "tried");
    if ran::count(key, "tried") < 3 { Err("not yet".to_owned()) } else { Ok(()) }
}

#[durable(name = "waiting.runs_on")]
async fn runs_on(key: u64) -> Result<(), Error> {
    struct Dropped(u64);
    impl Drop for Dropped {
        fn drop(&mut self) {
            ran::note(self.0, "dropped");
        }
    }
    let _dropped = Dropped(key);
    ran::note(key, "runs");
    std::future::pending().await
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
        assert_eq!(world.stent.inspect().timeline(id).await.expect("a timeline").len(), 1);
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
            world.stent.inspect().timeline(run.id()).await.expect("a timeline")[0].ready_at.expect("it waits for a moment")
        };

        assert_eq!(due(world.stent.dispatch(add(1, 1)).at(now + hour)).await, now + hour);
        let system = std::time::SystemTime::now() + hour;
        assert_eq!(due(world.stent.dispatch(add(1, 1)).at(system)).await, system.into());
        // The last call wins.
        assert_eq!(due(world.stent.dispatch(add(1, 1)).delay("2h").at(now + hour)).await, now + hour);
        assert_eq!(due(world.stent.dispatch(add(1, 1).at(now + hour))).await, now + hour);
        // A batch has a start for the calls that have none of their own.
        let calls = || [add(1, 1), add(1, 2).at(now + 3 * hour), add(1, 3).at(now + hour / 2)];
        for batch in [world.stent.dispatch_all(calls()).at(now + hour), world.stent.dispatch_all(calls()).delay("1h")] {
            let runs = batch.await.expect("dispatched");
            let mut starts = Vec::new();
            for run in runs {
                let root = &world.stent.inspect().timeline(run.id()).await.expect("a timeline")[0];
                starts.push(root.ready_at.expect("it waits for a moment"));
            }
            assert!(starts[0] >= now + hour && starts[0] < now + 2 * hour, "{starts:?}");
            assert_eq!(starts[1..], [now + 3 * hour, now + hour / 2]);
        }
        let before = stent::Timestamp::from(std::time::SystemTime::now());
        let scheduled = due(world.stent.dispatch(add(1, 1)).delay("2h")).await;
        let after = stent::Timestamp::from(std::time::SystemTime::now());
        // The store's clock may be read to the millisecond.
        let millisecond = Duration::from_millis(1);
        let hours = before + 2 * hour - millisecond..=after + 2 * hour + millisecond;
        assert!(hours.contains(&scheduled), "{scheduled} is not two hours after {before}");

        let worker = world.worker().await;
        let run = world.stent.dispatch(add(1, 2)).delay("0s").await.expect("dispatched");
        assert_eq!(run.result().timeout("20s").await.expect("no delay"), 3);
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
        assert_eq!(world.stent.purge_all(100).await.expect("purges"), 1);
        assert!(matches!(ended.status().await, Err(Error::NotFound(_))));
        assert!(!open.status().await.expect("known").is_terminal());
        worker.drain().await.expect("drains");
    }

    async fn a_wait_has_a_limit_or_none_by_every_way_and_in_both_modes(world) {
        for (stent, _) in both_modes(&world).await {
            let run = stent.dispatch(add(1, 2)).delay("1h").await.expect("dispatched");
            let (typed, raw) = (|| run.result(), || stent.wait_for(run.id()));

            // Above zero it is a limit.
            let over = |error: &Error| {
                matches!(error, Error::WaitTimeout { execution, waited }
                    if *execution == run.id() && *waited == Duration::from_millis(30))
            };
            let started = Instant::now();
                let error = typed().timeout("30ms").await.expect_err("nobody runs it");
                assert!(over(&error), "{error}");
                let error = raw().timeout(Some(Duration::from_millis(30))).await.expect_err("nobody runs it");
                assert!(over(&error), "{error}");
                assert!(started.elapsed() >= Duration::from_millis(60), "{:?}", started.elapsed());

            // `None` and zero are no limit.
            let (one, two) = (typed().timeout(None).into_future(), typed().timeout(Duration::ZERO).into_future());
            let (three, four) = (raw().timeout("0s").into_future(), raw().timeout(None).into_future());
            let unlimited = futures::future::select(
                futures::future::select(one, two),
                futures::future::select(three, four),
            );
            assert!(tokio::time::timeout(Duration::from_millis(150), unlimited).await.is_err());

            // Asking does not wait at all.
            assert_eq!(stent.result_of(run.id()).await.expect("known"), None);
            assert_eq!(run.status().await.expect("known"), ExecutionStatus::Pending);
        }
    }

    async fn a_wait_ends_with_the_execution_in_both_modes(world) {
        let worker = world.worker().await;
        for (stent, _) in both_modes(&world).await {
            // A wait without a limit, a wait with a distant limit, and a wait by id.
            let run = stent.dispatch(add(20, 22)).delay("50ms").await.expect("dispatched");
            let (one, two, three) = tokio::join!(
                run.result().timeout(None).into_future(),
                run.result().timeout("1h").into_future(),
                stent.wait_for(run.id()).into_future(),
            );
            assert_eq!((one.expect("runs"), two.expect("runs")), (42, 42));
            assert_eq!(three.expect("runs").decode::<u64>().expect("a number"), 42);
        }
        worker.drain().await.expect("drains");
    }

    async fn work_is_found_and_ends_are_heard_of_without_any_hint(world) {
        // Each is on its own handle, like a separate process: nothing in memory notifies the others.
        let deaf = async || Stent::builder().open(Rigged::deaf(world.stent.store())).await.expect("opens");
        let (calls, works, waits) = (deaf().await, deaf().await, deaf().await);
        let caller = calls.worker().state(Db).queues(["default"]).start().await.expect("starts");
        let worker = works.worker().state(Db).queues(["elsewhere"]).start().await.expect("starts");
        for n in 0..2 {
            let run = world.stent.dispatch(adds_elsewhere(n)).await.expect("dispatched");
            let waiting = waits.handle::<u64>(run.id());
            assert_eq!(waiting.result().timeout("20s").await.expect("runs"), n + 1);
        }
        let run = world.stent.dispatch(fails()).queue("elsewhere").await.expect("dispatched");
        waits.wait_for(run.id()).timeout("20s").await.expect_err("a failure is heard of too");
        let run = world.stent.dispatch(never(unique())).await.expect("dispatched");
        let waiting = tokio::spawn(waits.handle::<()>(run.id()).result().timeout("20s").into_future());
        world.stent.cancel(run.id()).await.expect("asked");
        let error = waiting.await.expect("no panic").expect_err("so is a cancellation");
        assert!(matches!(error, Error::Cancelled), "{error}");
        caller.drain().await.expect("drains");
        worker.drain().await.expect("drains");
    }

    async fn a_store_is_asked_less_and_less_often_and_as_told(world) {
        let poll = PollOptions::default().min(Duration::from_millis(4)).max(Duration::from_millis(64)).factor(4.0);
        let rigged = Rigged::deaf(world.stent.store());
        let stent = Stent::builder().poll(poll).open(rigged.clone()).await.expect("opens");
        let run = stent.dispatch(add(1, 1)).delay("1h").await.expect("dispatched");
        let waiting = tokio::spawn(run.result().into_future());
        // At 0, 4, 20, 84, 148 ms and so on; a busy machine only makes it later.
        let started = Instant::now();
        until(|| rigged.reads.load(Ordering::SeqCst) >= 6).await;
        assert!(started.elapsed() >= Duration::from_millis(4 + 16 + 64 + 64), "{:?}", started.elapsed());
        waiting.abort();
    }

    async fn polling_that_does_not_fit_is_refused(world) {
        let poll = PollOptions::default().factor(0.0);
        let error = Stent::builder().poll(poll).open(world.stent.store().clone()).await.expect_err("no factor");
        assert!(error.to_string().starts_with("option `poll`: factor is 0"), "{error}");
        let error = world.stent.worker().state(Db).poll(poll).start().await.expect_err("no factor");
        assert!(error.to_string().starts_with("option `poll`: factor is 0"), "{error}");
    }

    async fn every_way_of_asking_agrees_on_every_end(world) {
        let worker = world.worker().await;
        let completed = world.stent.dispatch(add(1, 2)).await.expect("dispatched");
        let failed = world.stent.dispatch(fails()).await.expect("dispatched");
        completed.result().timeout("20s").await.expect("runs");
        failed.result().timeout("20s").await.expect_err("fails");
        worker.drain().await.expect("drains");

        let word = |error: Error| match error {
            Error::Failed(failure) => format!("failed: {}", failure.message),
            Error::Cancelled => "cancelled".to_owned(),
            Error::TimedOut => "timed out".to_owned(),
            other => format!("unexpected: {other}"),
        };
        for (stent, rigged) in both_modes(&world).await {
            for (id, shown, expected) in [
                (completed.id(), ExecutionStatus::Completed, "3"),
                (failed.id(), ExecutionStatus::Failed, "failed: on purpose"),
                (completed.id(), ExecutionStatus::Cancelled, "cancelled"),
                (failed.id(), ExecutionStatus::TimedOut, "timed out"),
            ] {
                *rigged.shown.lock().await = Some(shown);
                let handle = stent.handle::<u64>(id);
                let number = |payload: stent::Payload| payload.decode::<u64>().expect("a number").to_string();
                let said = [
                    handle.result().timeout("20s").await.map_or_else(word, |n| n.to_string()),
                    stent.wait_for(id).timeout("20s").await.map_or_else(word, number),
                    stent.result_of(id).await.map(|payload| payload.expect("ended")).map_or_else(word, number),
                ];
                assert_eq!(said, [expected; 3]);
                assert_eq!((handle.status().await.expect("known"), stent.status(id).await.expect("known")), (shown, shown));
            }
        }
    }

    async fn nobody_has_heard_of_an_id_by_any_way(world) {
        let id = stent::ExecutionId::from_uuid(uuid::Uuid::from_u128(3));
        let is_unknown = |error: Option<Error>| matches!(error, Some(Error::NotFound(unknown)) if unknown == id);
        assert!(is_unknown(world.stent.handle::<u64>(id).result().timeout("20s").await.err()));
        assert!(is_unknown(world.stent.wait_for(id).timeout("20s").await.err()));
        assert!(is_unknown(world.stent.result_of(id).await.err()));
        assert!(is_unknown(world.stent.status(id).await.err()));
    }

    async fn retries_and_cancels_are_heard_of_long_before_the_next_poll(world) {
        let key = unique();
        let hour = Duration::from_secs(3_600);
        let seldom = PollOptions::default().min(hour).max(hour);
        let open = async || Stent::builder().poll(seldom).open(world.stent.store().clone()).await.expect("opens");
        // Neither a poll nor a renewal comes while this test runs.
        let start = async |stent: &Stent| {
            let worker = stent.worker().state(Db).lease("1h").start().await.expect("starts");
            worker.wait_until_ready().await.expect("becomes ready");
            worker
        };
        let (mine, other) = (open().await, open().await);
        let (first, second) = (start(&mine).await, start(&other).await);

        let run = mine.dispatch(second_try(key)).await.expect("dispatched");
        eventually(async || ran::count(key, "tried") == 1).await;
        run.result().timeout("20s").await.expect("is tried again when it is due");

        // The worker of the first attempt may be gone by then.
        let key = unique();
        let run = mine.dispatch(third_try(key)).await.expect("dispatched");
        eventually(async || world.stent.inspect().describe(run.id()).await.expect("known").attempts == 1).await;
        first.drain().await.expect("drains");
        run.result().timeout("20s").await.expect("the other worker has heard of it");

        let key = unique();
        let run = mine.dispatch(runs_on(key)).await.expect("dispatched");
        eventually(async || ran::count(key, "runs") == 1).await;
        mine.cancel(run.id()).await.expect("asked");
        let error = run.result().timeout("20s").await.expect_err("it is cancelled");
        assert!(matches!(error, Error::Cancelled), "{error}");
        eventually(async || ran::count(key, "dropped") == 1).await;
        second.drain().await.expect("drains");
    }
}
