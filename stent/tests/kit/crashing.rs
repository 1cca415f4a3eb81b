//! Workers that crash around their commits, and strict tests.

use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use stent::prelude::*;
use stent::testing::{self, Testing, TestingBuilder};
use stent::{Registry, WorkerState};

use crate::within_a_minute;

thread_local! {
    /// The steps that have run in this test, which has one thread.
    static RAN: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
    static FLAKY: Cell<bool> = const { Cell::new(true) };
}

fn ran(step: &'static str) {
    RAN.with_borrow_mut(|ran| ran.push(step));
}

fn count(step: &str) -> usize {
    RAN.with_borrow(|ran| ran.iter().filter(|one| **one == step).count())
}

#[durable(name = "crashing.double")]
async fn double(n: u64) -> Result<u64, String> {
    ran("double");
    Ok(n * 2)
}

#[durable(name = "crashing.order")]
async fn order(n: u64) -> Result<u64, stent::Error> {
    let doubled = double(n).await?;
    let more = stent::step("add", || async move {
        ran("add");
        doubled + 1
    });
    let more = more.await?;
    stent::sleep("1h").await?;
    let (one, two) = stent::join!(double(more), double(more + 1));
    let all: u64 = double::map(vec![1, 2, 3]).await?.into_iter().sum();
    Ok(more + one? + two? + all)
}

const RESULT: u64 = 7 + 14 + 16 + 12;

#[durable(name = "crashing.retried", retry(max_attempts = 3, initial_delay = "1s"))]
async fn retried() -> Result<u64, stent::Error> {
    let n = stent::step("add", || async {
        ran("add");
        if FLAKY.replace(false) { Err("not yet") } else { Ok(1_u64) }
    });
    n.await
}

#[durable(name = "crashing.careless")]
async fn careless() -> Result<u64, stent::Error> {
    let n = double(1).await?;
    // Not durable, and so awaited again by each replay.
    tokio::time::sleep(Duration::from_millis(1)).await;
    stent::sleep("1h").await?;
    Ok(n)
}

#[cfg(feature = "sqlite")]
mod ledger {
    use stent::sea_orm::{ConnectionTrait as _, DbErr};

    use super::*;

    /// Adds a row to a table of the application's own, and counts the rows.
    #[durable(name = "crashing.entry")]
    pub(super) async fn entry() -> Result<i64, stent::Error> {
        let added = stent::transaction(async |txn| {
            ran("entry");
            txn.execute_unprepared("CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY)").await?;
            txn.execute_unprepared("INSERT INTO entries DEFAULT VALUES").await?;
            let counted = txn.query_one_raw(stent::sea_orm::Statement::from_string(
                txn.get_database_backend(),
                "SELECT COUNT(*) AS n FROM entries",
            ));
            let counted = counted.await?.ok_or_else(|| DbErr::Custom("no row".to_owned()))?;
            counted.try_get::<i64>("", "n")
        });
        added.name("entry").await
    }
}

fn builder() -> TestingBuilder {
    let registry = Registry::new().with::<double>().with::<order>().with::<retried>().with::<careless>();
    testing::builder().registry(registry)
}

#[tokio::test]
async fn a_crash_around_a_steps_record_repeats_the_step_once_and_changes_no_result() {
    within_a_minute(async {
        let test = builder().crash_at("add").start().await.expect("starts");
        assert_eq!(test.stent.run(order(3)).await.expect("runs"), RESULT);
        assert_eq!((test.crashes(), count("add"), count("double")), (2, 2, 6));
        assert_eq!(test.worker.status().state, WorkerState::Ready);
        test.worker.drain().await.expect("drains");
    })
    .await;
}

#[tokio::test]
async fn a_crash_around_a_function_is_one_too_and_several_steps_can_be_named() {
    within_a_minute(async {
        let test =
            builder().crash_at("crashing.double").crash_at("crashing.order").start().await.expect("starts");
        assert_eq!(test.stent.run(order(3)).await.expect("runs"), RESULT);
        assert_eq!((test.crashes(), count("add"), count("double")), (4, 1, 7));
    })
    .await;
}

#[tokio::test]
async fn random_crashes_change_no_result() {
    within_a_minute(async {
        let mut crashes = 0;
        for seed in 0..20 {
            let test = builder().crash_randomly(seed).strict().start().await.expect("starts");
            assert_eq!(test.stent.run(order(3)).await.expect("runs"), RESULT, "seed {seed}");
            crashes += test.crashes();
        }
        assert!(crashes > 20, "{crashes}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_crashes_change_no_result_on_several_threads() {
    within_a_minute(async {
        for seed in 100..110 {
            let test = builder().crash_randomly(seed).strict().start().await.expect("starts");
            let runs = [test.stent.run(order(3)), test.stent.run(order(3)), test.stent.run(order(3))];
            let results = futures::future::join_all(runs).await;
            assert!(results.iter().all(|result| matches!(result, Ok(RESULT))), "seed {seed}: {results:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_crash_on_a_step_that_never_comes_fails_the_test() {
    within_a_minute(async {
        let test = builder().crash_at("ad").start().await.expect("starts");
        test.stent.run(order(3)).await.expect("runs");
        let text = panic_of(test).await;
        assert!(text.contains("crash_at(\"ad\")") && text.contains("\"add\""), "{text}");
    })
    .await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_crash_around_a_transaction_repeats_it_and_it_has_its_effect_once() {
    within_a_minute(async {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}", folder.path().join("test.db").display());
        let registry = || Registry::new().with::<ledger::entry>();
        let test = testing::builder().registry(registry()).url(url).crash_at("entry");
        let test = test.start().await.expect("starts");
        let run = test.stent.dispatch(ledger::entry()).await.expect("dispatched");
        assert_eq!(run.result().await.expect("runs"), 1);
        assert_eq!((test.crashes(), count("entry")), (2, 2));

        // A recorded transaction needs no database to be replayed.
        let recording = testing::Recording::of(&test.stent, run.id()).await.expect("exported");
        let replayed = testing::replay(recording).registry(registry()).await.expect("agrees");
        assert_eq!((replayed.steps, count("entry")), (1, 2));
    })
    .await;
}

/// The panic of a test that ends.
async fn panic_of(test: Testing) -> String {
    let panic = AssertUnwindSafe(async { drop(test) }).catch_unwind().await.expect_err("it fails");
    panic.downcast_ref::<String>().expect("a text").clone()
}

#[tokio::test]
async fn a_strict_test_repeats_no_step_but_after_a_failure_or_a_crash() {
    within_a_minute(async {
        let test = builder().strict().crash_at("add").start().await.expect("starts");
        assert_eq!(test.stent.run(order(3)).await.expect("runs"), RESULT);
        assert_eq!(test.stent.run(retried()).await.expect("runs"), 1);
        assert_eq!(count("add"), 4);
    })
    .await;
}

#[tokio::test]
async fn a_strict_test_fails_if_non_durable_work_is_awaited_again() {
    within_a_minute(async {
        let test = builder().strict().start().await.expect("starts");
        test.stent.run(careless()).await.expect("runs");
        let text = panic_of(test).await;
        assert!(text.contains("`crashing.careless` awaits non-durable work between its steps"), "{text}");

        let test = builder().worker(|worker| worker.cache(0)).start().await.expect("starts");
        test.stent.run(careless()).await.expect("runs");
    })
    .await;
}
