//! A test's clock skips the time in which nothing happens, and no other.

use std::time::Duration;

use stent::prelude::*;
use stent::testing::{self, Testing};
use stent::{Error, ExecutionStatus, Registry, Timestamp};

use crate::within_a_minute;

const DAY: Duration = Duration::from_hours(24);

#[durable(name = "skipping.nap")]
async fn nap() -> Result<(Timestamp, Timestamp), stent::Error> {
    let before = stent::now();
    stent::sleep("2d").await?;
    Ok((before, stent::now()))
}

#[durable(name = "skipping.approval")]
async fn approval() -> Result<String, stent::Error> {
    match stent::signal::<String>("approval").timeout("2d").await {
        Err(Error::SignalTimeout { .. }) => Ok("nobody".to_owned()),
        answer => answer,
    }
}

#[durable(
    name = "skipping.flaky",
    retry(max_attempts = 4, initial_delay = "1d", max_delay = "1d", jitter = 0.0)
)]
async fn flaky() -> Result<u32, stent::Error> {
    match stent::execution()?.attempt() {
        4 => Ok(4),
        _ => Err(stent::Failure::new("skipping::Flaky", "not yet").into()),
    }
}

#[durable(name = "skipping.in_step")]
async fn in_step() -> Result<u64, stent::Error> {
    let slow = stent::step("slow", || async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        7_u64
    });
    stent::timeout("1h", slow).await?
}

#[durable(name = "skipping.beside")]
async fn beside() -> Result<bool, stent::Error> {
    // Not durable: the clock must not skip past it.
    let slow = tokio::time::sleep(Duration::from_millis(60));
    let slept = stent::sleep("1h");
    tokio::select! {
        biased;
        () = slow => Ok(true),
        slept = slept => slept.map(|()| false),
    }
}

#[durable(name = "skipping.waits")]
async fn waits() -> Result<String, stent::Error> {
    stent::signal("never").await
}

async fn start() -> Testing {
    let registry = Registry::new()
        .with::<later>()
        .with::<leaves>()
        .with::<nap>()
        .with::<approval>()
        .with::<flaky>()
        .with::<in_step>()
        .with::<beside>()
        .with::<waits>();
    testing::builder().registry(registry).start().await.expect("starts")
}

#[tokio::test]
async fn a_sleep_of_two_days_is_skipped_while_the_test_waits_for_the_result() {
    within_a_minute(async {
        let test = start().await;
        let began = test.clock.now();
        let (before, after) = test.stent.run(nap()).await.expect("runs");
        assert!(after.since(before) >= DAY * 2);
        assert!(test.clock.now().since(began) < DAY * 3, "not further than needed");
    })
    .await;
}

#[tokio::test]
async fn delays_retries_and_timeouts_are_skipped() {
    within_a_minute(async {
        let test = start().await;
        let began = test.clock.now();
        assert_eq!(test.stent.run(flaky()).await.expect("runs"), 4);
        assert!(test.clock.now().since(began) >= DAY * 3);
        assert_eq!(test.stent.run(approval()).await.expect("runs"), "nobody");
        let run = test.stent.dispatch(approval()).delay("30d").await.expect("dispatched");
        assert_eq!(run.result().await.expect("runs"), "nobody");
        let run = test.stent.dispatch(waits()).max_duration("7d").await.expect("dispatched");
        assert!(matches!(run.result().await, Err(Error::TimedOut)));
    })
    .await;
}

#[tokio::test]
async fn nothing_is_skipped_before_the_test_waits_so_signals_are_in_time() {
    within_a_minute(async {
        let test = start().await;
        let run = test.stent.dispatch(approval()).await.expect("dispatched");
        test.clock.settle().await;
        assert_eq!(run.status().await.expect("known"), ExecutionStatus::Running);
        run.signal("approval", &"kim").await.expect("sent");
        assert_eq!(run.result().await.expect("runs"), "kim");
    })
    .await;
}

#[tokio::test]
async fn running_code_holds_the_time() {
    within_a_minute(async {
        let test = start().await;
        let began = test.clock.now();
        assert_eq!(test.stent.run(in_step()).await.expect("not timed out"), 7);
        assert!(test.stent.run(beside()).await.expect("runs"));
        assert!(test.clock.now().since(began) < Duration::from_mins(30), "no hour was skipped");
    })
    .await;
}

#[tokio::test]
async fn time_is_advanced_by_hand_and_everything_due_on_the_way_happens_at_its_moment() {
    within_a_minute(async {
        let test = start().await;
        let early = test.stent.dispatch(nap()).await.expect("dispatched");
        let late = test.stent.dispatch(nap()).delay("1d").await.expect("dispatched");
        test.clock.advance(DAY * 2 - Duration::from_hours(1)).await.expect("a duration");
        assert_eq!(early.status().await.expect("known"), ExecutionStatus::Running);

        test.clock.advance("2h").await.expect("a duration");
        assert_eq!(early.status().await.expect("known"), ExecutionStatus::Completed);
        assert_eq!(late.status().await.expect("known"), ExecutionStatus::Running);

        test.clock.advance("10d").await.expect("a duration");
        let (before, after) = late.result().await.expect("runs");
        assert!(after.since(before) < DAY * 2 + Duration::from_hours(1), "it woke at its moment");
    })
    .await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn time_is_skipped_on_a_store_on_disk_too() {
    within_a_minute(async {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}", folder.path().join("test.db").display());
        let registry = Registry::new().with::<nap>();
        let test = testing::builder().url(url).registry(registry).start().await.expect("starts");
        let (before, after) = test.stent.run(nap()).await.expect("runs");
        assert!(after.since(before) >= DAY * 2);
    })
    .await;
}

#[tokio::test]
async fn real_time_is_not_skipped() {
    within_a_minute(async {
        let registry = Registry::new().with::<nap>();
        let test = testing::builder().registry(registry).real_time().start().await.expect("starts");
        let run = test.stent.dispatch(nap()).await.expect("dispatched");
        let error = run.result().timeout("100ms").await.expect_err("it sleeps");
        assert!(matches!(error, Error::WaitTimeout { .. }), "{error}");
    })
    .await;
}

#[tokio::test]
async fn any_duration_can_be_skipped() {
    within_a_minute(async {
        let test = start().await;
        let began = test.clock.now();
        for by in [Duration::ZERO, Duration::from_nanos(1), DAY * 36_500] {
            test.clock.advance(by).await.expect("a duration");
        }
        assert!(test.clock.now().since(began) >= DAY * 36_500);
        let error = test.clock.advance(Duration::MAX).await.expect_err("time ends before");
        assert!(error.to_string().contains("a hundred years"), "{error}");
        assert!(test.clock.advance("soon").await.is_err());
    })
    .await;
}

#[tokio::test]
async fn two_workers_are_waited_for() {
    within_a_minute(async {
        let test = start().await;
        let second = test.stent.worker().start().await.expect("starts");
        second.wait_until_ready().await.expect("ready");
        test.stent.run(nap()).await.expect("runs");
        second.drain().await.expect("drains");
        test.stent.run(nap()).await.expect("runs");
    })
    .await;
}

#[durable(name = "skipping.later")]
async fn later() -> Result<(), String> {
    Ok(())
}

#[durable(name = "skipping.leaves")]
async fn leaves() -> Result<(), Error> {
    stent::spawn(later().delay("3d")).await.map(drop)
}

/// An execution that has ended and whose result is on its way is not waited for.
#[tokio::test]
async fn nothing_is_skipped_once_the_awaited_execution_has_ended() {
    within_a_minute(async {
        let test = start().await;
        for _ in 0..100 {
            let began = test.clock.now();
            test.stent.run(leaves()).await.expect("runs");
            assert!(test.clock.now().since(began) < DAY, "the delay of what it has spawned was skipped");
        }
    })
    .await;
}
