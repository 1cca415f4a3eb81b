//! Failures, panics, retries, and code that no longer matches its record.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use stent::Failure;
use stent::prelude::*;
use stent::view::TaskStatus;

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

/// Names each variant, and marks one of them as fatal.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
enum BankError {
    #[error("busy")]
    Busy,
    #[error("odd: {0}")]
    Odd(String),
    #[error("no such card")]
    NoCard,
}

impl stent::Classify for BankError {
    fn variant(&self) -> Option<&'static str> {
        Some(match self {
            Self::Busy => "Busy",
            Self::Odd(_) => "Odd",
            Self::NoCard => "NoCard",
        })
    }

    fn is_fatal(&self) -> bool {
        matches!(self, Self::NoCard)
    }
}

#[durable(retry(max_attempts = 3, initial_delay = "1ms", retry_for = [BankError::Busy, BankError::NoCard]))]
async fn fails_as(key: u64, error: BankError) -> Result<(), BankError> {
    ran::note(key, "fails_as");
    Err(error)
}

#[derive(Debug, thiserror::Error)]
#[error("no connection")]
struct Connection;

#[derive(Debug, thiserror::Error)]
#[error("no value")]
struct Value;

#[durable(retry(max_attempts = 3, initial_delay = "1ms", retry_for = [Connection]))]
async fn value_error(key: u64) -> Result<(), Value> {
    ran::note(key, "value");
    Err(Value)
}

#[durable(retry(max_attempts = 3, initial_delay = "1ms", retry_for = ["Connection", "NoSuchKind"]))]
async fn connection_error(key: u64) -> Result<(), Connection> {
    ran::note(key, "connection");
    Err(Connection)
}

#[durable(retry(max_attempts = 3, initial_delay = "1ms", retry_for = ["Panic"]))]
async fn only_panics_again(key: u64) -> Result<(), Value> {
    ran::note(key, "panics");
    if ran::count(key, "panics") < 2 {
        panic!("once");
    }
    Err(Value)
}

#[durable(retry(max_attempts = 3, initial_delay = "1ms", retry_for = ["Late"]))]
async fn named_by_hand(key: u64) -> Result<(), Failure> {
    ran::note(key, "named");
    let late = ran::count(key, "named") < 2;
    Err(stent::failure(Declined { late }).with_kind(if late { "Late" } else { "Declined" }))
}

#[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("declined")]
struct Declined {
    late: bool,
}

#[durable]
async fn level_1(key: u64, error: BankError) -> Result<(), stent::Error> {
    fails_as(key, error).await
}

#[durable]
async fn level_2(key: u64, error: BankError) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    Ok(level_1(key, error).await?)
}

#[durable]
async fn level_3(key: u64, error: BankError) -> Result<(), Failure> {
    level_2(key, error).await.map_err(|error| error.failure().expect("a failure").clone())
}

#[durable]
async fn parses(key: u64, text: String) -> Result<u64, Failure> {
    ran::note(key, "parses");
    text.parse().map_err(stent::fatal)
}

/// The same function after a careless change of its parameters, implemented by hand, so that it is only in this test's
/// registry.
struct Changed;

impl stent::Function for Changed {
    type Args = (Vec<String>,);
    type Output = u64;
    const NAME: &'static str = "one_argument";

    fn options() -> stent::FunctionOptions {
        stent::FunctionOptions::new()
    }

    fn needs() -> Vec<stent::functions::StateKey> {
        Vec::new()
    }

    fn invoke(
        (names,): Self::Args,
        _: &stent::functions::States,
    ) -> stent::functions::BoxFuture<'static, Result<u64, Failure>> {
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
        let tasks = world.stent.inspect().timeline(run.id()).await.expect("a timeline");
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
        let trace = failure.trace.as_deref().expect("a trace");
        assert!(trace.starts_with("at ") && trace.contains("failures.rs:"), "{trace}");
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

    async fn only_the_kinds_of_retry_for_are_tried_again(world) {
        let worker = world.worker().await;
        let key = unique();
        world.stent.run(value_error(key)).await.expect_err("it fails");
        world.stent.run(connection_error(key)).await.expect_err("it fails");
        assert_eq!((ran::count(key, "value"), ran::count(key, "connection")), (1, 3));

        world.stent.run(only_panics_again(key)).await.expect_err("it fails");
        assert_eq!(ran::count(key, "panics"), 2);
        let error = world.stent.run(named_by_hand(key)).await.expect_err("it fails");
        assert_eq!((ran::count(key, "named"), error.downcast()), (2, Some(Declined { late: false })));
        worker.drain().await.expect("drains");
    }

    async fn an_error_says_which_variant_it_is_and_whether_a_retry_helps(world) {
        let worker = world.worker().await;
        for (error, kind, attempts) in [
            (BankError::Busy, "runtime::failures::BankError::Busy", 3),
            (BankError::Odd("7".into()), "runtime::failures::BankError::Odd", 1),
            // The kind is in the list, but the error itself is fatal.
            (BankError::NoCard, "runtime::failures::BankError::NoCard", 1),
        ] {
            let key = unique();
            let failed = world.stent.run(fails_as(key, error.clone())).await.expect_err("it fails");
            assert_eq!(failed.failure().expect("a failure").kind, kind);
            assert_eq!(failed.downcast(), Some(error));
            assert_eq!(ran::count(key, "fails_as"), attempts, "{kind}");
        }
        worker.drain().await.expect("drains");
    }

    async fn a_failure_is_the_same_after_three_levels(world) {
        let worker = world.worker().await;
        let error = BankError::Odd("boom".into());
        let near = world.stent.run(fails_as(unique(), error.clone())).await.expect_err("it fails");
        let key = unique();
        let far = world.stent.run(level_3(key, error.clone())).await.expect_err("it fails");
        assert_eq!(ran::count(key, "fails_as"), 1, "a step is no more retried than an execution");

        assert_eq!(far.failure(), near.failure());
        assert_eq!(far.to_string(), "BankError::Odd: odd: boom");
        assert_eq!(far.downcast(), Some(error));
        let trace = far.failure().and_then(|failure| failure.trace.clone()).expect("a trace");
        assert!(trace.starts_with("in `fails_as` (") && trace.contains("failures::fails_as"), "{trace}");
        worker.drain().await.expect("drains");
    }

    async fn an_error_is_made_fatal_on_its_way_out(world) {
        let worker = world.worker().await;
        let key = unique();
        let error = world.stent.run(parses(key, "x".into())).await.expect_err("it fails");
        assert_eq!(error.failure().expect("a failure").kind, "std::num::ParseIntError");
        assert_eq!(ran::count(key, "parses"), 1);
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
        assert_eq!(world.stent.inspect().describe(run.id()).await.expect("known").attempts, 0, "no attempt was made again");
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
        let tasks = world.stent.inspect().timeline(run.id()).await.expect("a timeline");
        assert!(tasks.iter().all(|task| task.status.is_terminal()), "{tasks:#?}");
        assert_eq!(tasks.iter().filter(|task| task.status == TaskStatus::Completed).count(), 2);
        worker.drain().await.expect("drains");
    });
}

/// The policy comes from the store: the second process has a function of that name without a retry policy.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod retry_for_is_kept_when_the_store_is_opened_again {
    use super::*;

    async fn body(url: &str) {
        let key = unique();

        let before = Stent::connect(url).await.expect("opens");
        let only_for = |kind: &str| {
            stent::RetryPolicy::default().initial_delay(std::time::Duration::from_millis(1)).retry_for([kind])
        };
        let mut runs = Vec::new();
        for kind in ["Connection", "ChargeError"] {
            let run = before.dispatch(flaky(key, 9)).retry(only_for(kind)).delay("1ms").await;
            runs.push(run.expect("dispatched").id());
        }
        before.close().await.expect("closes");

        let after = Stent::connect(url).await.expect("opens again");
        let worker = after.worker().state(crate::Db).start().await.expect("starts");
        for (run, attempts) in runs.into_iter().zip([1, 3]) {
            after.wait_for(run).await.expect_err("it fails");
            let tasks = after.inspect().timeline(run).await.expect("a timeline");
            assert_eq!(tasks[0].attempts + 1, attempts);
        }
        assert_eq!(ran::count(key, "flaky"), 4);
        worker.drain().await.expect("drains");
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn sqlite() {
        crate::run(crate::World::memory(), async |_| {
            let folder = tempfile::tempdir().expect("a folder");
            body(&format!("sqlite://{}?durability=normal", folder.path().join("test.db").display())).await;
        });
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn postgres() {
        crate::run(crate::World::memory(), async |_| body(&crate::schema::Schema::new().url()).await);
    }
}
