//! The helpers for an application's tests: a store and a worker in one line.

use stent::prelude::*;
use stent::{Error, Registry, WorkerState, testing};

#[durable(name = "testing.greet")]
async fn greet(name: String) -> Result<String, String> {
    Ok(format!("hello {name}"))
}

#[tokio::test]
async fn a_store_and_a_worker_are_there_in_one_line_and_ready() {
    // Other tests of this file's program have functions that need a state; a program of its own just calls `start`.
    let test = testing::builder().state(crate::Db).start().await.expect("starts");
    assert_eq!(test.worker.status().state, WorkerState::Ready);
    assert_eq!(test.stent.run(greet("kim".to_owned())).await.expect("runs"), "hello kim");
}

#[tokio::test]
async fn a_registry_and_options_can_be_given() {
    let test = testing::builder()
        .registry(Registry::new().with::<greet>())
        .stent(|stent| stent.payload_max(1_000))
        .worker(|worker| worker.name("in a test").concurrency(1))
        .start()
        .await
        .expect("starts");
    assert_eq!(test.worker.name(), "in a test");
    let error = test.stent.run(greet("x".repeat(2_000))).await.expect_err("too large");
    assert!(matches!(error, Error::PayloadTooLarge { max: 1_000, .. }), "{error}");
}

#[tokio::test]
async fn a_state_that_is_missing_is_named() {
    let error = testing::start().await.expect_err("needs a state").to_string();
    assert!(error.contains(".state("), "{error}");
}

#[tokio::test]
async fn two_of_them_share_nothing() {
    let start = || testing::builder().registry(Registry::new().with::<greet>()).start();
    let (one, two) = (start().await.expect("starts"), start().await.expect("starts"));
    let run = one.stent.dispatch(greet("kim".to_owned())).await.expect("dispatched");
    run.result().timeout("20s").await.expect("runs");
    assert!(matches!(two.stent.status(run.id()).await, Err(Error::NotFound(_))));
}

#[durable(name = "testing.asks")]
async fn asks() -> Result<String, Error> {
    stent::signal("testing approval").await
}

#[tokio::test]
async fn a_test_that_waits_for_a_signal_that_nobody_sends_is_told() {
    crate::log();
    let test = testing::builder().registry(Registry::new().with::<asks>()).start().await.expect("starts");
    let run = test.stent.dispatch(asks()).await.expect("dispatched");
    let told = || crate::logs::lines(|line| line.message().contains(&run.id().to_string()));

    run.result().timeout("12s").await.expect_err("nobody sends it");

    let told: Vec<_> = told().into_iter().filter(|line| line.target.starts_with("stent::testing")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let said = format!("execution {} of `testing.asks` waits for signal `testing approval`", run.id());
    assert!(told[0].level == tracing::Level::WARN && told[0].message().contains(&said), "{told:?}");
}
