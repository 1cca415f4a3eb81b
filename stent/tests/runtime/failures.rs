//! Failures, panics, retries, and code that no longer matches its record.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use stent::prelude::*;
use stent::{Failure, TaskStatus};

use crate::{on_every_store, ran, unique};

#[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
enum ChargeError {
    #[error("declined with code {code}")]
    Declined { code: u16 },
}

#[durable(retry(max_attempts = 3, initial_delay = "5ms"))]
async fn flaky(key: u64, failures: usize) -> Result<usize, ChargeError> {
    ran::note(key, "flaky");
    let ran = ran::count(key, "flaky");
    if ran <= failures { Err(ChargeError::Declined { code: ran as u16 }) } else { Ok(ran) }
}

#[durable]
async fn calls_flaky(key: u64, failures: usize) -> Result<usize, stent::Error> {
    ran::note(key, "parent");
    flaky(key, failures).await
}

#[durable(retry(max_attempts = 1))]
async fn panics(message: String) -> Result<(), String> {
    panic!("{message}");
}

#[durable]
async fn fatal(key: u64) -> Result<(), Failure> {
    ran::note(key, "fatal");
    Err(stent::fatal("no retry helps"))
}

#[durable(retry(max_attempts = 3, initial_delay = "5ms"))]
async fn retried_parent(key: u64) -> Result<usize, stent::Error> {
    ran::note(key, "parent");
    let kept = once(key).await?;
    let flaked = flaky_once_exhausted(key).await?;
    Ok(kept + flaked)
}

#[durable]
async fn once(key: u64) -> Result<usize, String> {
    ran::note(key, "once");
    Ok(100)
}

#[durable(retry(max_attempts = 1))]
async fn flaky_once_exhausted(key: u64) -> Result<usize, String> {
    ran::note(key, "exhausted");
    if ran::count(key, "exhausted") < 3 { Err("not yet".into()) } else { Ok(1) }
}

#[durable]
async fn unretried_parent(key: u64) -> Result<usize, stent::Error> {
    ran::note(key, "parent");
    once(key).await?;
    flaky_once_exhausted(key).await
}

static CHANGED: AtomicBool = AtomicBool::new(false);

#[durable]
async fn changes(key: u64) -> Result<(), stent::Error> {
    if CHANGED.load(Ordering::SeqCst) {
        stent::sleep("1ms").await?;
    } else {
        once(key).await?;
    }
    CHANGED.store(true, Ordering::SeqCst);
    stent::sleep("10ms").await?;
    Ok(())
}

#[durable]
async fn one_argument(n: u64) -> Result<u64, String> {
    Ok(n)
}

/// The same function after a careless change of its parameters, by hand, so that it is in no registry but ours.
struct Changed;

impl stent::Function for Changed {
    type Args = (Vec<String>,);
    type Output = u64;
    const NAME: &'static str = "one_argument";

    fn options() -> stent::FunctionOptions {
        stent::FunctionOptions::new()
    }

    fn needs() -> Vec<stent::__private::StateKey> {
        Vec::new()
    }

    fn invoke(
        (names,): Self::Args,
        _: &stent::__private::States,
    ) -> stent::__private::BoxFuture<'static, Result<u64, Failure>> {
        Box::pin(async move { Ok(names.len() as u64) })
    }
}

on_every_store! {
    async fn a_step_is_retried_and_its_parent_is_not(world) {
        let worker = world.worker().await;
        let key = unique();
        let run = world.stent.dispatch(calls_flaky(key, 2)).await.expect("dispatched");
        assert_eq!(run.result().timeout("20s").await.expect("runs"), 3);
        assert_eq!((ran::count(key, "flaky"), ran::count(key, "parent")), (3, 1));
        let tasks = world.stent.timeline(run.id()).await.expect("a timeline");
        assert_eq!(tasks.iter().map(|task| task.attempts).max(), Some(2));
        worker.drain().await.expect("drains");
    }

    async fn exhausted_attempts_give_the_users_own_error_to_the_caller(world) {
        let worker = world.worker().await;
        let key = unique();
        let error = world.stent.run(calls_flaky(key, 9)).await.expect_err("it fails");
        assert_eq!(error.downcast(), Some(ChargeError::Declined { code: 3 }));
        assert_eq!(error.to_string(), "ChargeError: declined with code 3");
        // The caller has steps and no policy of its own: attempts do not multiply.
        assert_eq!((ran::count(key, "flaky"), ran::count(key, "parent")), (3, 1));
        worker.drain().await.expect("drains");
    }

    async fn a_panic_is_a_failure(world) {
        let worker = world.worker().await;
        let error = world.stent.run(panics("boom 7".into())).await.expect_err("it fails");
        let failure = error.failure().expect("a failure");
        assert_eq!((failure.kind.as_str(), failure.message.as_str()), (Failure::PANIC, "boom 7"));
        assert_eq!(world.stent.run(once(unique())).await.expect("the worker lives"), 100);
        worker.drain().await.expect("drains");
    }

    async fn a_fatal_failure_is_not_retried(world) {
        let worker = world.worker().await;
        let key = unique();
        world.stent.run(fatal(key)).await.expect_err("it fails");
        assert_eq!(ran::count(key, "fatal"), 1);
        worker.drain().await.expect("drains");
    }

    async fn a_retried_parent_keeps_the_steps_before_the_failure(world) {
        let worker = world.worker().await;
        let key = unique();
        let run = world.stent.dispatch(retried_parent(key)).await.expect("dispatched");
        assert_eq!(run.result().timeout("20s").await.expect("runs"), 101);
        assert_eq!((ran::count(key, "once"), ran::count(key, "exhausted")), (1, 3));
        worker.drain().await.expect("drains");
    }

    async fn a_parent_without_a_policy_is_not_retried(world) {
        let worker = world.worker().await;
        let key = unique();
        world.stent.run(unretried_parent(key)).await.expect_err("it fails");
        assert_eq!((ran::count(key, "parent"), ran::count(key, "exhausted")), (1, 1));
        worker.drain().await.expect("drains");
    }

    async fn arguments_that_do_not_decode_fail_at_once_and_say_why(world) {
        use stent::Registry;
        let run = world.stent.dispatch(one_argument(1)).await.expect("dispatched");
        let other = world.with_registry(Registry::new().with::<Changed>()).await;
        let worker = other.worker().start().await.expect("starts");
        let error = run.result().timeout("20s").await.expect_err("it fails");
        let failure = error.failure().expect("a failure");
        assert_eq!(failure.kind, Failure::CODEC);
        assert!(failure.message.contains("arguments of `one_argument`"), "{failure}");
        worker.drain().await.expect("drains");
    }
}

/// On one store only: the function is changed through a global.
#[test]
fn code_that_does_not_match_its_record_fails_with_a_diff() {
    crate::run(crate::World::memory(), |world| async move {
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(changes(unique())).await.expect("dispatched");
        let error = run.result().timeout("20s").await.expect_err("it fails");
        let failure = error.failure().expect("a failure");
        assert_eq!(failure.kind, Failure::MISMATCH);
        for part in ["step 0", "- recorded: call `once`", "+ the code:  sleep `sleep`", "failures.rs:"] {
            assert!(failure.message.contains(part), "{part} is not in: {failure}");
        }
        let tasks = world.stent.timeline(run.id()).await.expect("a timeline");
        assert!(tasks.iter().all(|task| task.status.is_terminal()), "{tasks:#?}");
        assert_eq!(tasks.iter().filter(|task| task.status == TaskStatus::Completed).count(), 2);
        worker.drain().await.expect("drains");
    });
}
