//! Signals: sent before, during and twice; consumed once; with a timeout; to executions that do not exist.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use stent::prelude::*;
use stent::view::{StepKind, TaskStatus};
use stent::{Error, ExecutionStatus};

use crate::{eventually, logs, on_every_store, ran, unique};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Approval {
    by: String,
}

fn by(name: &str) -> Approval {
    Approval { by: name.to_owned() }
}

#[durable]
async fn approved() -> Result<String, Error> {
    let approval: Approval = stent::signal("approval").await?;
    Ok(approval.by)
}

#[durable]
async fn approved_twice(key: u64) -> Result<(String, String), Error> {
    let first: Approval = stent::signal("approval").await?;
    ran::note(key, "one");
    let second: Approval = stent::signal("approval").await?;
    Ok((first.by, second.by))
}

#[durable]
async fn two_names() -> Result<(u64, u64), Error> {
    let right: u64 = stent::signal("right").await?;
    let left: u64 = stent::signal("left").await?;
    Ok((left, right))
}

#[durable]
async fn in_time(limit: String) -> Result<u64, Error> {
    match stent::signal::<u64>("number").timeout(limit.as_str()).await {
        Err(Error::SignalTimeout { name, .. }) => {
            assert_eq!(name, "number");
            Ok(0)
        }
        outcome => outcome,
    }
}

/// The first wait times out; a later value is for the second one.
#[durable]
async fn second_wait() -> Result<u64, Error> {
    let first = stent::signal::<u64>("number").timeout("20ms").await;
    assert!(first.is_err());
    stent::signal("number").await
}

#[durable]
async fn waits_for_number() -> Result<u64, Error> {
    stent::signal("number").await
}

#[durable]
async fn both_wait() -> Result<u64, Error> {
    let (first, second) = futures::join!(waits_for_number(), waits_for_number());
    Ok(first? * 100 + second?)
}

#[durable(name = "signals.waits_twice_at_once")]
async fn waits_twice_at_once() -> Result<(u64, u64), Error> {
    let (first, second) = stent::join!(stent::signal("number"), stent::signal("number"));
    Ok((first?, second?))
}

on_every_store! {
    async fn a_value_that_came_before_the_wait_is_there(world) {
        let run = world.stent.dispatch(approved()).await.expect("dispatched");
        run.signal("approval", &by("kim")).await.expect("sent");
        let worker = world.worker().await;
        assert_eq!(run.result().timeout("20s").await.expect("runs"), "kim");
        worker.drain().await.expect("drains");
    }

    async fn a_value_wakes_who_waits_for_it(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(approved()).await.expect("dispatched");
        eventually(async || world.stent.inspect().timeline(run.id()).await.expect("a timeline").len() == 2).await;
        world.stent.send_signal(run.id(), "approval", &by("kim")).await.expect("sent");
        assert_eq!(run.result().timeout("20s").await.expect("runs"), "kim");
        worker.drain().await.expect("drains");
    }

    async fn of_two_values_before_the_wait_the_latest_counts(world) {
        let run = world.stent.dispatch(approved()).await.expect("dispatched");
        run.signal("approval", &by("kim")).await.expect("sent");
        run.signal("approval", &by("lee")).await.expect("sent");
        let worker = world.worker().await;
        assert_eq!(run.result().timeout("20s").await.expect("runs"), "lee");
        worker.drain().await.expect("drains");
    }

    async fn a_value_is_consumed_once_and_the_next_wait_gets_the_next(world) {
        let worker = world.forgetful_worker().await;
        let key = unique();
        let run = world.stent.dispatch(approved_twice(key)).await.expect("dispatched");
        run.signal("approval", &by("kim")).await.expect("sent");
        eventually(async || ran::count(key, "one") > 0).await;
        assert!(!run.status().await.expect("known").is_terminal());
        run.signal("approval", &by("lee")).await.expect("sent");
        let both = run.result().timeout("20s").await.expect("runs");
        assert_eq!(both, ("kim".to_owned(), "lee".to_owned()));
        worker.drain().await.expect("drains");
    }

    async fn names_are_independent_of_each_other(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(two_names()).await.expect("dispatched");
        run.signal("left", &1_u64).await.expect("sent");
        run.signal("right", &2_u64).await.expect("sent");
        assert_eq!(run.result().timeout("20s").await.expect("runs"), (1, 2));
        worker.drain().await.expect("drains");
    }

    async fn a_wait_ends_with_its_timeout_and_zero_is_none(world) {
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(in_time("30ms".to_owned())).await.expect("dispatched");
        assert_eq!(run.result().timeout("20s").await.expect("runs"), 0);

        let unlimited = world.stent.dispatch(in_time("0s".to_owned())).await.expect("dispatched");
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert!(!unlimited.status().await.expect("known").is_terminal());
        unlimited.signal("number", &7_u64).await.expect("sent");
        assert_eq!(unlimited.result().timeout("20s").await.expect("runs"), 7);
        worker.drain().await.expect("drains");
    }

    async fn a_wait_that_was_given_up_leaves_the_value_to_the_next(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(second_wait()).await.expect("dispatched");
        eventually(async || world.stent.inspect().timeline(run.id()).await.expect("a timeline").len() == 4).await;
        run.signal("number", &5_u64).await.expect("sent");
        assert_eq!(run.result().timeout("20s").await.expect("runs"), 5);
        worker.drain().await.expect("drains");
    }

    async fn of_two_waits_the_older_gets_the_first_value(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(both_wait()).await.expect("dispatched");
        eventually(async || {
            let timeline = world.stent.inspect().timeline(run.id()).await.expect("a timeline");
            timeline.iter().filter(|task| task.kind == stent::view::StepKind::Signal).count() == 2
        }).await;
        run.signal("number", &1_u64).await.expect("sent");
        run.signal("number", &2_u64).await.expect("sent");
        let sum = run.result().timeout("20s").await.expect("runs");
        assert!(sum == 102 || sum == 201, "each gets one value: {sum}");

        // Of the waits of one function, the one that it began first.
        let run = world.stent.dispatch(waits_twice_at_once()).await.expect("dispatched");
        eventually(async || world.stent.inspect().timeline(run.id()).await.expect("a timeline").len() == 3).await;
        run.signal("number", &1_u64).await.expect("sent");
        run.signal("number", &2_u64).await.expect("sent");
        assert_eq!(run.result().timeout("20s").await.expect("runs"), (1, 2));
        worker.drain().await.expect("drains");
    }

    async fn nobody_is_there_to_get_it(world) {
        let unknown = world.stent.handle::<()>(stent::ExecutionId::from_uuid(uuid::Uuid::now_v7()));
        let error = unknown.signal("approval", &1).await.expect_err("there is no such execution");
        assert!(matches!(error, Error::NotFound(id) if id == unknown.id()), "{error}");

        let worker = world.worker().await;
        let run = world.stent.dispatch(in_time("1ms".to_owned())).await.expect("dispatched");
        run.result().timeout("20s").await.expect("runs");
        let error = run.signal("number", &1_u64).await.expect_err("it has ended");
        assert!(matches!(error, Error::Ended { status: ExecutionStatus::Completed, .. }), "{error}");
        worker.drain().await.expect("drains");
    }

    async fn a_value_of_another_type_is_a_clear_error(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(approved()).await.expect("dispatched");
        run.signal("approval", &7_u64).await.expect("sent");
        let error = run.result().timeout("20s").await.expect_err("a number is no approval");
        assert!(error.to_string().contains("approval"), "{error}");
        worker.drain().await.expect("drains");
    }

    async fn a_wait_is_seen_in_the_timeline(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(approved_twice(key)).await.expect("dispatched");
        let waits = async || {
            let timeline = world.stent.inspect().timeline(run.id()).await.expect("a timeline");
            let waits = timeline.iter().filter(|task| task.kind == StepKind::Signal);
            waits.map(|task| (task.name.clone(), task.status)).collect::<Vec<_>>()
        };
        let wait = |status| ("approval".to_owned(), status);
        eventually(async || waits().await == [wait(TaskStatus::Waiting)]).await;
        run.signal("approval", &by("kim")).await.expect("sent");
        eventually(async || waits().await == [wait(TaskStatus::Completed), wait(TaskStatus::Waiting)]).await;
        run.signal("approval", &by("lee")).await.expect("sent");
        run.result().timeout("20s").await.expect("runs");
        assert_eq!(waits().await, [wait(TaskStatus::Completed), wait(TaskStatus::Completed)]);

        // A value that was there before the wait ends it at once.
        let early = world.stent.dispatch(approved()).delay("20ms").await.expect("dispatched");
        early.signal("approval", &by("kim")).await.expect("sent");
        early.result().timeout("20s").await.expect("runs");
        let timeline = world.stent.inspect().timeline(early.id()).await.expect("a timeline");
        let seen = (timeline[1].kind, timeline[1].name.as_str(), timeline[1].status);
        assert_eq!(seen, (StepKind::Signal, "approval", TaskStatus::Completed));
        worker.drain().await.expect("drains");
    }

    async fn a_value_that_replaces_one_nobody_consumed_is_logged(world) {
        let key = unique();
        let run = world.stent.dispatch(approved_twice(key)).await.expect("dispatched");
        let logged = || {
            let id = run.id().to_string();
            let lines = logs::lines(|line| line.field("execution") == id && line.field("signal") == "approval");
            assert!(lines.iter().all(|line| line.level == tracing::Level::DEBUG), "{lines:#?}");
            lines.len()
        };
        run.signal("approval", &by("kim")).await.expect("sent");
        run.signal("other", &by("kim")).await.expect("sent");
        assert_eq!(logged(), 0, "nothing was there");
        run.signal("approval", &by("lee")).await.expect("sent");
        assert_eq!(logged(), 1);
        let worker = world.worker().await;
        eventually(async || ran::count(key, "one") > 0).await;
        run.signal("approval", &by("kim")).await.expect("sent");
        run.result().timeout("20s").await.expect("runs");
        assert_eq!(logged(), 1, "the one before was consumed");
        worker.drain().await.expect("drains");
    }
}
