//! Each mistake that the guide's page on determinism names, with the error or the warning that it gives. The page quotes these texts.

use std::collections::{BTreeSet, HashSet};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use stent::prelude::*;
use stent::{Error, Failure};

use crate::{World, logs, run};

const PAGE: &str = include_str!("../../../docs/guide/determinism.md");

/// Counts the runs of one mistake's code, whose outcome is another one in each: like a clock, or the order of a hash map.
macro_rules! runs {
    () => {{
        static RUNS: AtomicU32 = AtomicU32::new(0);
        RUNS.fetch_add(1, Ordering::SeqCst)
    }};
}

#[durable(name = "mistakes.charge")]
async fn charge(name: String) -> Result<usize, String> {
    Ok(name.len())
}

#[durable(name = "mistakes.coffee")]
async fn coffee() -> Result<(), String> {
    Ok(())
}

#[durable(name = "mistakes.tea")]
async fn tea() -> Result<(), String> {
    Ok(())
}

#[durable(name = "mistakes.hash")]
async fn hash(path: String) -> Result<usize, String> {
    Ok(path.len())
}

#[durable(name = "mistakes.notify")]
async fn notify(names: HashSet<String>) -> Result<usize, String> {
    Ok(names.len())
}

#[durable(name = "mistakes.loops_over_a_hash_map")]
async fn loops_over_a_hash_map() -> Result<(), Error> {
    let names = if runs!() == 0 { ["carol", "alice"] } else { ["alice", "carol"] };
    for name in names {
        charge(name.to_owned()).await?;
    }
    stent::sleep("1ms").await
}

#[durable(name = "mistakes.reads_the_clock")]
async fn reads_the_clock() -> Result<(), Error> {
    let is_morning = runs!() == 0;
    if is_morning {
        coffee().await?;
    } else {
        tea().await?;
    }
    stent::sleep("1ms").await
}

#[durable(name = "mistakes.loses_a_step")]
async fn loses_a_step() -> Result<(), Error> {
    if runs!() == 0 {
        coffee().await?;
        stent::sleep("1ms").await?;
    }
    Ok(())
}

#[durable(name = "mistakes.gives_a_hash_set")]
async fn gives_a_hash_set() -> Result<(), Error> {
    // Sets of so many names that no two have the same order.
    let names = (0..20).map(|n| format!("name-{n}")).collect::<HashSet<_>>();
    notify(names).await?;
    stent::sleep("1ms").await
}

#[durable(name = "mistakes.maps_over_other_items")]
async fn maps_over_other_items() -> Result<(), Error> {
    let files = if runs!() == 0 { vec!["a.txt", "b.txt"] } else { vec!["a.txt", "c.txt"] };
    hash::map(files.into_iter().map(str::to_owned)).await?;
    stent::sleep("1ms").await
}

#[durable(name = "mistakes.awaits_a_request")]
async fn awaits_a_request() -> Result<(), Error> {
    coffee().await?;
    tokio::time::sleep(Duration::from_millis(2)).await; // a request, say
    stent::sleep("1ms").await
}

#[durable(name = "mistakes.awaits_tokios_timeout")]
async fn awaits_tokios_timeout() -> Result<(), Error> {
    let signal = tokio::time::timeout(Duration::from_millis(5), stent::signal::<u64>("never"));
    signal.await.map(drop).or(Ok(()))
}

#[durable(name = "mistakes.spawns_on_tokio", retry(max_attempts = 1))]
async fn spawns_on_tokio() -> Result<(), Error> {
    tokio::spawn(async { tea().await }).await.map_err(stent::fatal)?
}

#[durable(name = "mistakes.calls_in_a_step", retry(max_attempts = 1))]
async fn calls_in_a_step() -> Result<(), Error> {
    stent::step("breakfast", || async { tea().await }).await
}

/// Not a `State`, which all workers of these tests would need.
static STENT: OnceLock<Stent> = OnceLock::new();

#[durable(name = "mistakes.dispatches", retry(max_attempts = 1))]
async fn dispatches() -> Result<(), Error> {
    STENT.get().expect("the test has set it").dispatch(tea()).await.map(drop)
}

/// Whether the page has this text. Names of functions are those of the page, and lines may be wrapped in another way.
fn quoted(text: &str) -> bool {
    let words = |text: &str| text.replace("mistakes.", "").split_whitespace().collect::<Vec<_>>().join(" ");
    words(PAGE).contains(&words(text))
}

async fn failure<F: stent::Function>(world: &World, call: Call<F>) -> Failure
where
    F::Output: std::fmt::Debug,
{
    let worker = world.forgetful_worker().await;
    let error = world.stent.dispatch(call).await.expect("dispatched").result().timeout("30s").await;
    worker.drain().await.expect("drains");
    error.expect_err("fails").failure().expect("a failure").clone()
}

#[test]
fn the_page_quotes_the_mismatch_of_each_mistake() {
    run(World::memory(), async |world| {
        let mut seen = BTreeSet::new();
        for failure in [
            failure(&world, loops_over_a_hash_map()).await,
            failure(&world, reads_the_clock()).await,
            failure(&world, loses_a_step()).await,
            failure(&world, maps_over_other_items()).await,
        ] {
            assert_eq!(failure.kind, Failure::MISMATCH, "{failure}");
            let shown =
                failure.message.lines().filter(|line| !line.starts_with("    at ")).collect::<Vec<_>>();
            let (what, advice) = (shown[..3].join("\n"), shown[3..].join("\n"));
            assert!(quoted(&what), "quote this in docs/guide/determinism.md:\n{what}");
            assert!(quoted(advice.lines().next().expect("advice")), "quote the advice:\n{advice}");
            seen.insert(what);
        }
        assert_eq!(seen.len(), 4);

        let failure = failure(&world, gives_a_hash_set()).await;
        let hint = failure.message.lines().last().expect("a hint");
        assert!(failure.kind == Failure::MISMATCH && hint.contains("HashSet") && quoted(hint), "{failure}");
    });
}

#[test]
fn the_page_quotes_the_error_of_each_call_in_a_wrong_place() {
    run(World::memory(), async |world| {
        STENT.get_or_init(|| world.stent.clone());
        for (failure, code) in [
            (failure(&world, spawns_on_tokio()).await, "stent::OutsideDurable"),
            (failure(&world, calls_in_a_step()).await, "stent::InStep"),
            (failure(&world, dispatches()).await, "stent::InDurable"),
        ] {
            assert!(failure.message.ends_with(&format!("[{code}]")), "{failure}");
            assert!(
                quoted(&failure.message),
                "quote this in docs/guide/determinism.md:\n{}",
                failure.message
            );
        }
    });
}

#[test]
fn the_page_quotes_the_warning_of_each_wait_that_is_not_recorded() {
    run(World::memory(), async |world| {
        let worker = world.forgetful_worker().await;
        world.stent.run(awaits_a_request()).await.expect("runs");
        world.stent.run(awaits_tokios_timeout()).await.expect("runs");
        worker.drain().await.expect("drains");
        for function in ["mistakes.awaits_a_request", "mistakes.awaits_tokios_timeout"] {
            let warned =
                logs::lines(|line| line.level == tracing::Level::WARN && line.field("function") == function);
            let [warning] = &warned[..] else { panic!("one warning for {function}: {warned:#?}") };
            assert!(
                quoted(warning.message()),
                "quote this in docs/guide/determinism.md:\n{}",
                warning.message()
            );
        }
    });
}
