//! Unusual durations for every option that takes one: zero, less than a store can keep, and the longest one. Zero means the
//! same in all options, and no arithmetic overflows.
//!
//! [`CASES`] lists them, and a test compares it with the source, so that an option without a line here is noticed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stent::prelude::*;
use stent::{
    Error, ExecutionStatus, Failure, Handle, PollOptions, Retention, RetentionReport, RetryPolicy,
    WorkerBuilder,
};

use crate::{Db, eventually, on_every_store, ran, unique};

const ZERO: Duration = Duration::ZERO;
const NANO: Duration = Duration::from_nanos(1);
const MAX: Duration = Duration::MAX;

/// Every option that takes a duration, by its file and its name. Tests give each option the three durations above: the tests here
/// for options of functions, executions, workers and handles; for durations with which the core computes, its own tests
/// (`stent-core/src/model`), for transactions and stores, `stent/tests/transactions` and the tests of each store's options.
const CASES: [(&str, &str); 43] = [
    ("stent-core/src/model/key_entry.rs", "ttl"),
    ("stent-core/src/model/rate.rs", "per"),
    ("stent-core/src/model/retry.rs", "initial_delay"),
    ("stent-core/src/model/retry.rs", "max_delay"),
    ("stent-core/src/model/task.rs", "ttl"),
    ("stent-postgres/src/options.rs", "acquire_timeout"),
    ("stent-sqlite/src/options.rs", "busy_timeout"),
    ("stent/src/durable/call.rs", "delay"),
    ("stent/src/durable/call.rs", "max_duration"),
    ("stent/src/stent.rs", "call_timeout"),
    ("stent/src/stent.rs", "clock_check"),
    ("stent/src/stent.rs", "sample_lanes"),
    ("stent/src/stent.rs", "clock_drift_warn"),
    ("stent/src/stent.rs", "start_retention"),
    ("stent/src/stent.rs", "purge"),
    ("stent/src/execution/by_name.rs", "delay"),
    ("stent/src/execution/by_name.rs", "max_duration"),
    ("stent/src/execution/dead_letters.rs", "purge"),
    ("stent/src/execution/dispatch.rs", "delay"),
    ("stent/src/execution/dispatch.rs", "max_duration"),
    ("stent/src/function/mod.rs", "Cached"),
    ("stent/src/function/mod.rs", "max_duration"),
    ("stent/src/execution/result.rs", "timeout"),
    ("stent/src/durable/sleep.rs", "sleep"),
    ("stent/src/durable/map.rs", "max_duration"),
    ("stent/src/engine/poll.rs", "max"),
    ("stent/src/engine/poll.rs", "min"),
    ("stent/src/execution/request.rs", "grace"),
    ("stent/src/execution/retention.rs", "dead_letters"),
    ("stent/src/execution/retention.rs", "details"),
    ("stent/src/execution/retention.rs", "executions"),
    ("stent/src/execution/retention.rs", "results"),
    ("stent/src/execution/retention.rs", "workers"),
    ("stent/src/durable/signal.rs", "timeout"),
    ("stent/src/durable/step.rs", "timeout"),
    ("stent/src/durable/timeout.rs", "timeout"),
    ("stent/src/durable/transaction/step.rs", "timeout"),
    ("stent/src/worker/builder.rs", "grace"),
    ("stent/src/worker/builder.rs", "heartbeat"),
    ("stent/src/worker/builder.rs", "lease"),
    ("stent/src/worker/builder.rs", "poll_max"),
    ("stent/src/testing/clock.rs", "advance"),
    ("stent/src/testing/dispatched.rs", "delay"),
];

/// Public items with durations that are returned and not taken.
const TOLD: [&str; 1] = ["stent/src/metrics.rs"];

#[test]
fn every_option_that_takes_a_duration_has_a_case() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("crates are in a folder");
    let mut found = BTreeSet::new();
    for folder in ["stent/src", "stent-core/src/model", "stent-sqlite/src", "stent-postgres/src"] {
        for file in sources(&root.join(folder)) {
            let name =
                file.strip_prefix(root).expect("it is below").to_str().expect("a name").replace('\\', "/");
            let source = std::fs::read_to_string(&file).expect("readable");
            if !TOLD.contains(&name.as_str()) {
                found.extend(takes_durations(&source).into_iter().map(|option| (name.clone(), option)));
            }
        }
    }
    let cases = CASES.iter().map(|(file, option)| ((*file).to_owned(), (*option).to_owned()));
    assert_eq!(
        found,
        cases.collect(),
        "give a new option zero, a nanosecond and the longest duration, and list it"
    );
    // Options of the attribute: `cached`, `max_duration`, `initial_delay` and `max_delay`; and `rate`.
    let attribute = std::fs::read_to_string(root.join("stent-macros/src/options.rs")).expect("readable");
    let count = |text: &str| attribute.matches(text).count();
    assert_eq!((count("duration::nanoseconds("), count("delay(key,"), count("rate::parse(")), (3, 2, 1));
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable").path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let below = folders.iter().flat_map(|folder| sources(folder));
    files.into_iter().filter(|file| file.extension().is_some_and(|ext| ext == "rs")).chain(below).collect()
}

/// Public functions with a duration as a parameter, fields, and enums with a duration in a variant, by name.
fn takes_durations(source: &str) -> BTreeSet<String> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join(" ");
    let mut found = BTreeSet::new();
    for item in code.split("pub ").skip(1) {
        let function =
            item.split_once("fn ").filter(|(before, _)| matches!(*before, "" | "const " | "async "));
        let (name, text) = match function {
            Some((_, rest)) => {
                let head = rest.split(['{', ';']).next().unwrap_or_default();
                (rest, head.split("->").next().unwrap_or_default())
            }
            None if item.starts_with("enum ") => (&item[5..], item.split('}').next().unwrap_or_default()),
            None => (item, item.split([',', '{', '}', ';']).next().unwrap_or_default()),
        };
        let name = name.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        let kinds = ["IntoDuration", "IntoTimeout", ": Duration", "(Duration)", "Option<Duration>"];
        if kinds.iter().any(|kind| text.contains(kind)) {
            found.insert(name.to_owned());
        }
    }
    found
}

#[durable(name = "durations.quick", retry(max_attempts = 1))]
async fn quick(n: u64) -> Result<u64, String> {
    Ok(n)
}

/// A dispatch of [`quick`].
fn by_name(world: &crate::World) -> stent::DispatchByName {
    world.stent.dispatch_by_name("durations.quick", &(1_u64,))
}

#[durable(name = "durations.fails", retry(max_attempts = 2))]
async fn fails(key: u64) -> Result<(), String> {
    ran::note(key, "failed");
    Err("on purpose".to_owned())
}

#[durable(name = "durations.gated", retry(max_attempts = 1))]
async fn gated(key: u64) -> Result<u64, String> {
    ran::note(key, "started");
    while ran::count(key, "open") == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(key)
}

#[durable(name = "durations.tidies", retry(max_attempts = 1))]
async fn tidies(key: u64) -> Result<(), Error> {
    ran::note(key, "started");
    stent::cancelled().await;
    ran::note(key, "told");
    while ran::count(key, "open") == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    ran::note(key, "tidied");
    Ok(())
}

#[durable(name = "durations.sleeps")]
async fn sleeps(key: u64, duration: Duration) -> Result<(), Error> {
    stent::sleep(duration).await?;
    ran::note(key, "woke");
    Ok(())
}

#[durable(name = "durations.hears", retry(max_attempts = 1))]
async fn hears(timeout: Duration) -> Result<u64, Error> {
    stent::signal("value").timeout(timeout).await
}

#[durable(name = "durations.steps", retry(max_attempts = 1))]
async fn steps(delay: Duration, limit: Duration) -> Result<u64, Error> {
    quick(7).delay(delay).max_duration(limit).await
}

#[durable(name = "durations.maps", retry(max_attempts = 1))]
async fn maps(limit: Duration) -> Result<Vec<u64>, Error> {
    quick::map([1, 2]).max_duration(limit).await
}

#[durable(name = "durations.joins", retry(max_attempts = 1))]
async fn joins(key: u64, timeout: Duration) -> Result<u64, Error> {
    stent::spawn(gated(key)).await?.result().timeout(timeout).await
}

/// The option that an error names, and its problem.
fn refused<T>(result: Result<T, Error>) -> (&'static str, String) {
    match result {
        Err(Error::Option { option, problem }) => (option, problem),
        Err(error) => panic!("it is no option that it is about: {error}"),
        Ok(_) => panic!("such a duration is taken"),
    }
}

async fn gives<T: serde::de::DeserializeOwned + 'static>(run: &Handle<T>) -> Result<T, Error> {
    run.result().timeout("20s").await
}

/// Checks for a while that an execution keeps its status.
async fn stays<T>(run: &Handle<T>, status: ExecutionStatus) {
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(run.status().await.expect("known"), status);
    }
}

on_every_store! {
    async fn no_delay_is_none_and_the_longest_one_never_ends(world) {
        let worker = world.worker().await;
        for delay in [ZERO, NANO, MAX] {
            let by_call = world.stent.dispatch(quick(1).delay(delay)).await.expect("dispatched");
            let by_dispatch = world.stent.dispatch(quick(1)).delay(delay).await.expect("dispatched");
            let mut by_batch = world.stent.dispatch_all([quick(1)]).delay(delay).await.expect("dispatched");
            let named = by_name(&world).delay(delay).await.map(|id| world.stent.handle(id)).expect("dispatched");
            for run in [by_call, by_dispatch, by_batch.remove(0), named] {
                if delay == MAX {
                    stays(&run, ExecutionStatus::Pending).await;
                } else {
                    assert_eq!(gives(&run).await.expect("runs"), 1, "{delay:?}");
                }
            }
            let step = world.stent.dispatch(steps(delay, ZERO)).await.expect("dispatched");
            if delay == MAX {
                eventually(async || world.stent.inspect().timeline(step.id()).await.expect("read").len() == 2).await;
                stays(&step, ExecutionStatus::Running).await;
            } else {
                assert_eq!(gives(&step).await.expect("runs"), 7, "{delay:?}");
            }
            let key = unique();
            let sleep = world.stent.dispatch(sleeps(key, delay)).await.expect("dispatched");
            if delay == MAX {
                eventually(async || world.stent.inspect().timeline(sleep.id()).await.expect("read").len() == 2).await;
                stays(&sleep, ExecutionStatus::Running).await;
                assert_eq!(ran::count(key, "woke"), 0);
            } else {
                gives(&sleep).await.expect("it sleeps and wakes");
            }
        }
        worker.drain().await.expect("drains");
    }

    async fn an_execution_a_step_and_an_item_have_no_limit_or_run_out_of_the_shortest_one(world) {
        let worker = world.worker().await;
        for limit in [ZERO, NANO, MAX] {
            let runs = [
                world.stent.dispatch(quick(1).max_duration(limit)).await.expect("dispatched"),
                world.stent.dispatch(quick(1)).max_duration(limit).await.expect("dispatched"),
                by_name(&world).max_duration(limit).await.map(|id| world.stent.handle(id)).expect("dispatched"),
            ];
            for run in runs {
                match gives(&run).await {
                    Err(Error::TimedOut) => assert_eq!(limit, NANO),
                    given => assert_eq!((given.expect("runs"), limit == NANO), (1, false), "{limit:?}"),
                }
            }
            let (step, map) = (
                world.stent.dispatch(steps(ZERO, limit)).await.expect("dispatched"),
                world.stent.dispatch(maps(limit)).await.expect("dispatched"),
            );
            let (step, map) = (gives(&step).await, gives(&map).await);
            if limit == NANO {
                for error in [step.expect_err("its time is up"), map.expect_err("their time is up")] {
                    let kind = error.failure().map(|failure| failure.kind.clone());
                    assert_eq!(kind.as_deref(), Some(Failure::TIMED_OUT), "{error}");
                }
            } else {
                assert_eq!((step.expect("runs"), map.expect("runs")), (7, vec![1, 2]), "{limit:?}");
            }
        }
        worker.drain().await.expect("drains");
    }

    async fn a_wait_has_no_limit_or_runs_out_of_the_shortest_one(world) {
        let worker = world.worker().await;
        for timeout in [ZERO, NANO, MAX] {
            let key = unique();
            let run = world.stent.dispatch(gated(key)).await.expect("dispatched");
            let outside = run.result().timeout(timeout).into_future();
            let inside = unique();
            let joined = world.stent.dispatch(joins(inside, timeout)).await.expect("dispatched");
            let heard = world.stent.dispatch(hears(timeout)).await.expect("dispatched");
            if timeout == NANO {
                assert!(matches!(outside.await, Err(Error::WaitTimeout { waited: NANO, .. })));
                let error = gives(&joined).await.expect_err("the wait is over");
                assert!(error.to_string().contains("1ns"), "{error}");
                let error = gives(&heard).await.expect_err("the wait is over");
                assert!(error.to_string().contains("1ns"), "{error}");
                ran::note(key, "open");
            } else {
                let mut outside = outside;
                let early = tokio::time::timeout(Duration::from_millis(50), &mut outside).await;
                early.expect_err("it waits");
                ran::note(key, "open");
                assert_eq!(outside.await.expect("it has ended"), key, "{timeout:?}");
                stays(&joined, ExecutionStatus::Running).await;
                stays(&heard, ExecutionStatus::Running).await;
                heard.signal("value", &5_u64).await.expect("sent");
                assert_eq!(gives(&heard).await.expect("heard"), 5, "{timeout:?}");
            }
            ran::note(inside, "open");
            if timeout != NANO {
                assert_eq!(gives(&joined).await.expect("joined"), inside, "{timeout:?}");
            }
        }
        worker.drain().await.expect("drains");
    }

    async fn retries_follow_at_once_or_never(world) {
        let worker = world.worker().await;
        for delay in [ZERO, NANO, MAX] {
            let key = unique();
            let policy =
                RetryPolicy::default().max_attempts(2).initial_delay(delay).max_delay(delay);
            let run = world.stent.dispatch(fails(key)).retry(policy).await.expect("dispatched");
            if delay == MAX {
                eventually(async || ran::count(key, "failed") == 1).await;
                stays(&run, ExecutionStatus::Running).await;
                assert_eq!(ran::count(key, "failed"), 1);
            } else {
                gives(&run).await.expect_err("it always fails");
                assert_eq!(ran::count(key, "failed"), 2, "{delay:?}");
            }
        }
        worker.drain().await.expect("drains");
    }

    async fn what_has_ended_is_kept_for_good_or_goes_at_once(world) {
        let _worker = world.worker().await;
        let ended = async || {
            let fine = world.stent.dispatch(quick(1)).await.expect("dispatched");
            gives(&fine).await.expect("runs");
            let failed = world.stent.dispatch(fails(unique())).retry(RetryPolicy::never()).await.expect("dispatched");
            gives(&failed).await.expect_err("it always fails");
            tokio::time::sleep(Duration::from_millis(3)).await;
            (fine, failed)
        };
        ended().await;
        for age in [ZERO, MAX] {
            let age = Some(age);
            let retention = Retention::default().executions(age).dead_letters(age).details(age).results(age).workers(age);
            assert_eq!(world.stent.apply_retention(&retention).await.expect("cleans"), RetentionReport::default(), "{age:?}");
            let _cleaner = world.stent.start_retention(retention, "1ms").expect("starts");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        let (fine, failed) = ended().await;
        for (run, status) in [(fine.id(), ExecutionStatus::Completed), (failed.id(), ExecutionStatus::Failed)] {
            assert_eq!(world.stent.status(run).await.expect("it is kept"), status);
        }
        assert_eq!(world.stent.purge(MAX, 100).await.expect("purges"), 0);
        assert_eq!(world.stent.dead_letters().purge(MAX, 100).await.expect("purges"), 0);
        for zero in [world.stent.purge(ZERO, 100).await, world.stent.dead_letters().purge("0s", 100).await] {
            let (option, problem) = refused(zero);
            assert_eq!(option, "age");
            assert!(problem.contains("purge_all"), "{problem}");
        }
        assert_eq!(world.stent.purge(NANO, 1).await.expect("purges"), 1);
        assert_eq!(world.stent.dead_letters().purge(NANO, 1).await.expect("purges"), 1);
        let age = Some(NANO);
        let retention = Retention::default().executions(age).dead_letters(age).details(age).results(age).workers(age);
        let cleaned = world.stent.apply_retention(&retention).await.expect("cleans");
        assert_eq!((cleaned.executions, cleaned.dead_letters), (1, 1));
        ended().await;
        assert_eq!(world.stent.purge_all(100).await.expect("purges"), 1);
        assert_eq!(world.stent.dead_letters().purge_all(100).await.expect("purges"), 1);
    }

    async fn a_drain_has_no_limit_or_hands_back_at_once(world) {
        for grace in [ZERO, NANO, MAX] {
            let key = unique();
            let worker = world.worker_with(|worker| worker.grace(grace)).await;
            let run = world.stent.dispatch(gated(key)).await.expect("dispatched");
            eventually(async || ran::count(key, "started") == 1).await;
            let drained = tokio::spawn(worker.drain());
            if grace == NANO {
                drained.await.expect("no panic").expect("drains");
                stays(&run, ExecutionStatus::Running).await;
                ran::note(key, "open");
                let worker = world.worker().await;
                assert_eq!(gives(&run).await.expect("runs again"), key);
                assert_eq!(ran::count(key, "started"), 2);
                worker.drain().await.expect("drains");
            } else {
                stays(&run, ExecutionStatus::Running).await;
                assert!(!drained.is_finished(), "{grace:?}");
                ran::note(key, "open");
                drained.await.expect("no panic").expect("drains");
                assert_eq!(gives(&run).await.expect("no result is lost"), key, "{grace:?}");
                assert_eq!(ran::count(key, "started"), 1, "{grace:?}");
            }
        }
    }

    async fn no_grace_is_said_in_words(world) {
        let key = unique();
        let worker = world.worker_with(WorkerBuilder::no_grace).await;
        let run = world.stent.dispatch(gated(key)).await.expect("dispatched");
        eventually(async || ran::count(key, "started") == 1).await;
        worker.drain().await.expect("hands back at once");
        assert_eq!(run.status().await.expect("known"), ExecutionStatus::Running);
        let worker = world.worker().await;
        eventually(async || ran::count(key, "started") == 2).await;
        assert_eq!(run.cancel().no_grace().await.expect("asked"), ExecutionStatus::Cancelled);
        worker.drain().await.expect("drains");
    }

    async fn a_cancellation_has_no_limit_or_closes_at_once(world) {
        let worker = world.worker().await;
        for grace in [ZERO, NANO, MAX] {
            let key = unique();
            let run = world.stent.dispatch(tidies(key)).await.expect("dispatched");
            eventually(async || ran::count(key, "started") == 1).await;
            let status = run.cancel().grace(grace).await.expect("asked");
            if grace == NANO {
                assert!(matches!(gives(&run).await, Err(Error::Cancelled)));
                ran::note(key, "open");
            } else {
                assert_eq!(status, ExecutionStatus::Cancelling, "{grace:?}");
                eventually(async || ran::count(key, "told") == 1).await;
                stays(&run, ExecutionStatus::Cancelling).await;
                ran::note(key, "open");
                assert!(matches!(gives(&run).await, Err(Error::Cancelled)));
                assert_eq!(ran::count(key, "tidied"), 1, "{grace:?}");
            }
        }
        worker.drain().await.expect("drains");
    }

    async fn leases_have_a_length_and_heartbeats_and_polls_an_interval(world) {
        let worker = || world.stent.worker().state(Db);
        for duration in [ZERO, NANO] {
            for (builder, option) in [
                (worker().lease(duration), "lease"),
                (worker().heartbeat(duration), "heartbeat"),
                (worker().poll_max(duration), "poll_max"),
                (worker().poll(PollOptions::default().min(duration)), "poll"),
            ] {
                let (refused, problem) = refused(builder.start().await);
                assert_eq!(refused, option);
                assert!(problem.contains(&format!("{duration:?}")) && problem.contains("use"), "{problem}");
            }
        }
        assert_eq!(refused(worker().heartbeat(MAX).start().await).0, "heartbeat");
        let poll = PollOptions::default().min(MAX).max(MAX).factor(f64::MAX);
        for builder in [
            worker().lease(MAX),
            worker().lease(MAX).heartbeat(MAX / 2).grace(MAX),
            worker().poll_max(MAX),
            worker().poll(poll),
            worker().poll(PollOptions::default().max(MAX).factor(f64::MAX)).lease(MAX),
        ] {
            let worker = builder.start().await.expect("starts");
            let run = world.stent.dispatch(steps(ZERO, ZERO)).await.expect("dispatched");
            assert_eq!(gives(&run).await.expect("runs"), 7);
            let key = unique();
            let run = world.stent.dispatch(gated(key)).await.expect("dispatched");
            eventually(async || ran::count(key, "started") == 1).await;
            let drained = tokio::spawn(worker.drain());
            ran::note(key, "open");
            drained.await.expect("no panic").expect("drains");
            assert_eq!(gives(&run).await.expect("no result is lost"), key);
        }
    }

    async fn a_handle_on_a_store_takes_no_limit_and_no_interval_of_none(world) {
        let store = || world.stent.store().clone();
        for duration in [ZERO, NANO] {
            let poll = PollOptions::default().min(duration);
            assert_eq!(refused(Stent::builder().poll(poll).open(store()).await).0, "poll");
            let (option, problem) = refused(Stent::builder().clock_check(duration).open(store()).await);
            assert_eq!(option, "clock_check");
            assert!(problem.contains(&format!("{duration:?}")) && problem.contains("use"), "{problem}");
            let (option, _) = refused(Stent::builder().sample_lanes(duration).open(store()).await);
            assert_eq!(option, "sample_lanes");
            let (option, _) = refused(world.stent.start_retention(Retention::default(), duration));
            assert_eq!(option, "every");
            // No call can meet this timeout, and the error names it.
            if let Err(error) = Stent::builder().call_timeout(NANO).open(store()).await {
                assert!(error.to_string().contains("1ns"), "{error}");
            }
        }
        let poll = PollOptions::default().min(MAX).max(MAX).factor(f64::MAX);
        for builder in [
            Stent::builder().call_timeout(ZERO),
            Stent::builder().call_timeout(MAX),
            Stent::builder().clock_check(MAX),
            Stent::builder().sample_lanes(MAX),
            Stent::builder().clock_drift_warn(ZERO),
            Stent::builder().clock_drift_warn(NANO),
            Stent::builder().clock_drift_warn(MAX),
            Stent::builder().poll(poll),
        ] {
            let stent = builder.open(store()).await.expect("opens");
            let _cleaner = stent.start_retention(Retention::default(), MAX).expect("starts");
            let worker = stent.worker().state(Db).start().await.expect("starts");
            let run = stent.dispatch(steps(ZERO, ZERO)).await.expect("dispatched");
            assert_eq!(run.result().await.expect("runs"), 7);
            worker.drain().await.expect("drains");
        }
    }
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_busy_timeout_has_no_limit_or_an_end() {
    let folder = tempfile::tempdir().expect("a folder");
    for (n, timeout) in ["0s", "0.001us", "999999999999h"].into_iter().enumerate() {
        for place in ["sqlite::memory:".to_owned(), format!("sqlite://{}/{n}.db", folder.path().display())] {
            let stent = Stent::connect(&format!("{place}?busy_timeout={timeout}")).await.expect("opens");
            let worker = stent.worker().state(Db).start().await.expect("starts");
            assert_eq!(stent.run(steps(ZERO, ZERO)).await.expect("runs"), 7, "{timeout}");
            worker.drain().await.expect("drains");
        }
    }
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn a_wait_for_a_connection_has_no_limit_or_an_end() {
    let schema = crate::schema::Schema::new();
    let url = |timeout: &str| {
        let url = schema.url();
        format!("{url}{}acquire_timeout={timeout}", if url.contains('?') { '&' } else { '?' })
    };
    for timeout in ["0s", "999999999999h"] {
        let stent = Stent::connect(&url(timeout)).await.expect("opens");
        let worker = stent.worker().state(Db).start().await.expect("starts");
        assert_eq!(stent.run(steps(ZERO, ZERO)).await.expect("runs"), 7, "{timeout}");
        worker.drain().await.expect("drains");
    }
    let error = Stent::connect(&url("0.001us")).await.expect_err("no connection is there so soon");
    assert!(error.to_string().contains("acquire_timeout"), "{error}");
}
