//! Fakes of durable functions, and assertions about dispatches.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use serde::{Deserialize, Serialize};
use stent::prelude::*;
use stent::testing::{self, Testing};
use stent::{ExecutionStatus, Failure, Registry};

use crate::within_a_minute;

#[derive(Clone)]
struct Bank;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
}

#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
#[error("declined: {0}")]
struct Declined(String);

#[durable(name = "faking.charge", retry(max_attempts = 3, initial_delay = "30s"))]
async fn charge(order: Order, cents: u64, State(bank): State<Bank>) -> Result<String, Declined> {
    let Bank = bank;
    unreachable!("calls the bank for {order:?}, {cents}")
}

#[durable(name = "faking.ping")]
async fn ping() -> Result<u64, String> {
    Ok(1)
}

#[durable(name = "faking.checkout")]
async fn checkout(order: u64) -> Result<String, stent::Error> {
    match charge(Order { id: order }, 5).await {
        Err(stent::Error::Failed(failure)) => {
            Ok(failure.downcast::<Declined>().map_or_else(|| failure.to_string(), |declined| declined.0))
        }
        receipt => receipt,
    }
}

#[durable(name = "faking.batch")]
async fn batch(orders: Vec<u64>) -> Result<Vec<String>, stent::Error> {
    charge::map(orders.into_iter().map(|id| (Order { id }, 1))).await
}

#[durable(name = "faking.remind", queue = "mail")]
async fn remind(customer: String) -> Result<(), String> {
    let _ = customer;
    Ok(())
}

#[durable(name = "faking.spawns")]
async fn spawns() -> Result<(), stent::Error> {
    stent::spawn(remind("lee".to_owned()).delay("1h")).await?;
    Ok(())
}

fn registry() -> Registry {
    Registry::new()
        .with::<charge>()
        .with::<ping>()
        .with::<checkout>()
        .with::<batch>()
        .with::<remind>()
        .with::<spawns>()
}

#[tokio::test]
async fn a_fake_replaces_a_body_and_its_states_and_its_calls_are_kept() {
    within_a_minute(async {
        let test = testing::builder()
            .registry(registry())
            .fake(charge, |order: Order, cents: u64| async move { Ok(format!("{} for {cents}", order.id)) })
            .start()
            .await
            .expect("needs no state");
        assert_eq!(test.stent.run(checkout(7)).await.expect("runs"), "7 for 5");
        assert_eq!(test.stent.run(batch(vec![1, 2])).await.expect("runs"), ["1 for 1", "2 for 1"]);
        let mut calls = test.calls(charge);
        calls.sort_by_key(|(order, _)| order.id);
        assert_eq!(calls, [(Order { id: 1 }, 1), (Order { id: 2 }, 1), (Order { id: 7 }, 5)]);
    })
    .await;
}

#[tokio::test]
async fn a_fake_fails_as_the_function_would_and_is_retried_as_it_is() {
    within_a_minute(async {
        let test = testing::builder()
            .registry(registry())
            .fake(
                charge,
                |_: Order, _: u64| async move { Err(stent::failure(Declined("no funds".to_owned()))) },
            )
            .fake(ping, || async { Err(Failure::new("faking::Down", "down").fatal()) })
            .start()
            .await
            .expect("starts");
        assert_eq!(test.stent.run(checkout(7)).await.expect("handled"), "no funds");
        assert_eq!(test.calls(charge).len(), 3, "once for each attempt");
        let error = test.stent.run(ping()).await.expect_err("fails").to_string();
        assert!(error.contains("down"), "{error}");
        assert_eq!(test.calls(ping), [()]);
    })
    .await;
}

async fn start() -> Testing {
    testing::builder().registry(registry()).worker(|worker| worker.state(Bank)).start().await.expect("starts")
}

#[tokio::test]
async fn dispatches_are_listed_and_asserted_with_their_options() {
    within_a_minute(async {
        let test = start().await;
        test.assert_not_dispatched(remind).await;
        let late = remind("kim".to_owned());
        let late = test.stent.dispatch(late).delay("3d").tag("eu").priority(4).idempotency_key("k");
        let id = late.await.expect("dispatched").id();
        test.stent.run(spawns()).await.expect("runs");

        let all = test.dispatched(remind).await.expect("read");
        assert_eq!(all.iter().map(|one| one.args.0.as_str()).collect::<Vec<_>>(), ["kim", "lee"]);
        assert_eq!((all[0].id, all[0].status), (id, ExecutionStatus::Pending));
        assert_eq!(all[0].delay, Some(std::time::Duration::from_hours(72)));

        let kim = || ("kim".to_owned(),);
        test.assert_dispatched(remind).times(2).await;
        test.assert_dispatched(remind)
            .args(kim())
            .queue("mail")
            .delay("3d")
            .tag("eu")
            .key("k")
            .priority(4)
            .await;
        test.assert_dispatched(remind).args_matching(|(name,)| name == "lee").delay("1h").await;
        test.assert_not_dispatched(remind).args(kim()).delay("2d").await;
        test.assert_not_dispatched(remind).key("other").await;
        test.assert_not_dispatched(charge).await;
    })
    .await;
}

#[tokio::test]
async fn an_assertion_that_fails_lists_what_was_dispatched() {
    within_a_minute(async {
        let test = start().await;
        test.stent.dispatch(remind("kim".to_owned())).delay("3d").await.expect("dispatched");
        let assertion = test.assert_dispatched(remind).args(("lee".to_owned(),)).key("k").into_future();
        let panic = AssertUnwindSafe(assertion).catch_unwind().await.expect_err("nothing matches");
        let text = panic.downcast_ref::<String>().expect("a text");
        for part in [
            "`faking.remind` was dispatched at least once with args [\"lee\"], key \"k\"; 0 matched",
            "faking.remind(\"kim\") on queue \"mail\", pending, delayed by 259200s",
            "faking.rs:",
        ] {
            assert!(text.contains(part), "`{part}` is not in:\n{text}");
        }
    })
    .await;
}

#[tokio::test]
#[should_panic(expected = "`faking.charge` has no fake in this test")]
async fn calls_of_a_function_without_a_fake_panic() {
    let test = start().await;
    let _ = test.calls(charge);
}
