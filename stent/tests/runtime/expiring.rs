//! Time limits: when they begin, what they end, and which process ends it.

use std::time::Duration;

use stent::prelude::*;
use stent::{Error, ExecutionStatus, Failure};

use crate::{eventually, on_every_store, ran, unique};

#[durable]
async fn forever(key: u64) -> Result<(), Error> {
    ran::note(key, "runs");
    std::future::pending().await
}

#[durable]
async fn sleeps_forever(key: u64) -> Result<(), Error> {
    ran::note(key, "runs");
    stent::sleep("1w").await
}

#[durable(max_duration = "40ms")]
async fn limited(key: u64) -> Result<(), Error> {
    ran::note(key, "runs");
    std::future::pending().await
}

#[durable]
async fn gives_up_on_a_step(key: u64) -> Result<String, Error> {
    let outcome = forever(key).max_duration("40ms").await;
    let Err(Error::Failed(failure)) = outcome else { panic!("{outcome:?}") };
    Ok(failure.kind.into())
}

#[durable]
async fn at_once() -> Result<u64, Error> {
    Ok(1)
}

/// Fails like a client whose own request has timed out.
#[durable(retry(max_attempts = 2, initial_delay = "5ms"))]
async fn times_out_itself(key: u64) -> Result<(), std::io::Error> {
    ran::note(key, "tried");
    Err(std::io::Error::from(std::io::ErrorKind::TimedOut))
}

/// Fails with the error of its own wait, or of another execution: kinds that are Stent's own.
#[durable(retry(max_attempts = 2, initial_delay = "5ms"))]
async fn fails_in_stents_words(key: u64, word: u8) -> Result<(), Error> {
    ran::note(key, "tried");
    Err(match word {
        0 => Error::TimedOut,
        1 => {
            let execution = stent::execution()?.id();
            Error::WaitTimeout { execution, waited: Duration::from_secs(1) }
        }
        2 => Error::SignalTimeout { name: "go".to_owned(), waited: Duration::from_secs(1) },
        _ => Error::Failed(Failure::new(Failure::TIMED_OUT, "as of a step whose time was up")),
    })
}

#[durable]
async fn calls_what_fails(key: u64, word: u8) -> Result<(), Error> {
    ran::note(key, "parent");
    fails_in_stents_words(key, word).await
}

async fn is_timed_out(world: &crate::World, id: stent::ExecutionId) {
    let error = world.stent.wait_for(id).timeout("20s").await.expect_err("its time is up");
    assert!(matches!(error, Error::TimedOut), "{error}");
    let error = world.stent.result_of(id).await.expect_err("its time is up");
    assert!(matches!(error, Error::TimedOut), "{error}");
    assert_eq!(world.stent.status(id).await.expect("known"), ExecutionStatus::TimedOut);
}

on_every_store! {
    async fn an_execution_expires_although_no_worker_is_there(world) {
        let key = unique();
        let run = world.stent.dispatch(forever(key)).max_duration("40ms").await.expect("dispatched");
        is_timed_out(&world, run.id()).await;
        let error = run.result().await.expect_err("its time is up");
        assert!(matches!(error, Error::TimedOut), "{error}");
        assert_eq!(ran::list(key), Vec::<String>::new());
    }

    async fn what_runs_and_what_sleeps_is_ended(world) {
        let key = unique();
        let worker = world.worker().await;
        let runs = world.stent.dispatch(forever(key)).max_duration("200ms").await.expect("dispatched");
        let sleeps = world.stent.dispatch(sleeps_forever(key)).max_duration("200ms").await.expect("dispatched");
        is_timed_out(&world, runs.id()).await;
        is_timed_out(&world, sleeps.id()).await;
        eventually(async || worker.status().running == 0).await;
        worker.drain().await.expect("drains");
        assert_eq!(ran::count(key, "runs"), 2);
    }

    async fn the_attribute_sets_a_limit_and_zero_takes_it_away(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(limited(key)).await.expect("dispatched");
        is_timed_out(&world, run.id()).await;
        let unlimited = world.stent.dispatch(limited(key)).max_duration("0s").await.expect("dispatched");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(unlimited.status().await.expect("known"), ExecutionStatus::Running);
        worker.stop().await.expect("stops");
    }

    async fn time_counts_from_the_scheduled_start(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(at_once()).delay("150ms").max_duration("100ms").await.expect("dispatched");
        assert_eq!(run.result().timeout("20s").await.expect("there is time left when it starts"), 1);
        let view = world.stent.inspect().describe(run.id()).await.expect("known");
        let granted = view.expires_at.expect("a limit").since(view.created_at);
        assert_eq!(granted, Duration::from_millis(250));
        worker.drain().await.expect("drains");
    }

    async fn the_limit_that_is_given_last_counts(world) {
        let run = world.stent.dispatch(at_once().max_duration("1h")).max_duration("2h").await.expect("dispatched");
        let view = world.stent.inspect().describe(run.id()).await.expect("known");
        let granted = view.expires_at.expect("a limit").since(view.created_at);
        assert_eq!(granted, Duration::from_secs(2 * 3_600));
    }

    async fn a_step_that_takes_too_long_fails_and_its_caller_goes_on(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(gives_up_on_a_step(key)).await.expect("dispatched");
        assert_eq!(run.result().timeout("20s").await.expect("runs"), Failure::TIMED_OUT);
        worker.drain().await.expect("drains");
    }

    async fn a_timeout_of_the_users_own_is_a_failure_like_any_other(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(times_out_itself(key)).max_duration("1h").await.expect("dispatched");
        let error = run.result().timeout("20s").await.expect_err("it fails");
        assert!(matches!(error, Error::Failed(_)), "{error}");
        assert_eq!(run.status().await.expect("known"), ExecutionStatus::Failed);
        assert_eq!(ran::count(key, "tried"), 2);
        worker.drain().await.expect("drains");
    }

    async fn an_error_in_stents_own_words_ends_no_execution_as_timed_out(world) {
        let worker = world.worker().await;
        for word in 0..4 {
            let key = unique();
            let root = world.stent.dispatch(fails_in_stents_words(key, word)).max_duration("1h").await.expect("dispatched");
            let error = root.result().timeout("20s").await.expect_err("it fails");
            assert!(matches!(error, Error::Failed(_)), "{word}: {error:?}");
            assert_eq!(root.status().await.expect("known"), ExecutionStatus::Failed, "{word}");
            assert_eq!(ran::count(key, "tried"), 2, "{word}: it is retried like any other");

            let key = unique();
            let parent = world.stent.dispatch(calls_what_fails(key, word)).max_duration("1h").await.expect("dispatched");
            let error = parent.result().timeout("20s").await.expect_err("its step fails");
            assert!(matches!(error, Error::Failed(_)), "{word}: {error:?}");
            assert_eq!(parent.status().await.expect("known"), ExecutionStatus::Failed, "{word}");
            assert_eq!((ran::count(key, "tried"), ran::count(key, "parent")), (2, 1), "{word}");
        }
        worker.drain().await.expect("drains");
    }
}
