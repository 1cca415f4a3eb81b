//! Options of inline steps, values that cannot fail, and `stent::timeout`: the same live and replayed.

use std::collections::BTreeMap;
use std::time::Duration;

use stent::prelude::*;
use stent::view::TaskStatus;
use stent::{Error, ExecutionStatus, Failure, PollOptions, RetryPolicy};

use crate::{eventually, on_every_store, ran, unique};

/// A policy of this many attempts, with this delay between them.
fn attempts(max: u32, wait: Duration) -> RetryPolicy {
    RetryPolicy::default()
        .max_attempts(max)
        .initial_delay(wait)
        .max_delay(wait)
        .backoff_factor(1.0)
        .jitter(0.0)
}

const SOON: Duration = Duration::from_millis(5);

type Fallible<T> = std::result::Result<T, std::io::Error>;

async fn aliased(n: u64) -> Fallible<u64> {
    Ok(n)
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Summary {
    lines: usize,
}

impl stent::Plain for Summary {}

#[durable(name = "step_options.plain")]
async fn plain(text: String) -> Result<(u64, usize, String), Error> {
    let n: u64 = stent::step("number", || async { 42 }).await?;
    let length = stent::step("length", async || text.len()).await?;
    let map = stent::step("map", || async { BTreeMap::from([(1_u8, text.clone())]) }).await?;
    let summary = stent::step("summary", || async { Summary { lines: text.lines().count() } }).await?;
    stent::step("nothing", || async {}).await?;
    let m = stent::step("alias", || aliased(n)).await?;
    let text: Result<String, _> =
        stent::step("fails", || async { Err::<String, String>("no".to_owned()) }).await;
    Ok((n + m, length + map.len() + summary.lines, text.expect_err("it failed").to_string()))
}

/// Fails this many times, then returns the number of its attempt and a random number.
#[durable(name = "step_options.flaky", retry(max_attempts = 1))]
async fn flaky(key: u64, failures: usize, max: u32) -> Result<(usize, u64), Error> {
    let first = stent::step("flaky", || async {
        ran::note(key, format!("drew {}", stent::random_u64()));
        ran::note(key, "attempt");
        let attempt = ran::count(key, "attempt");
        if attempt <= failures { Err(format!("attempt {attempt} fails")) } else { Ok(attempt) }
    })
    .retry(attempts(max, SOON))
    .await?;
    // Parked here, so that a worker without a cache replays the step.
    stent::sleep("5ms").await?;
    Ok((first, 7))
}

/// No durable function returns it, so only `known_error!` makes its classification known.
#[derive(Debug)]
enum Card {
    Declined,
    Busy,
}

impl std::fmt::Display for Card {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no money")
    }
}

impl std::error::Error for Card {}

impl stent::Classify for Card {
    fn variant(&self) -> Option<&'static str> {
        Some(match self {
            Self::Declined => "Declined",
            Self::Busy => "Busy",
        })
    }

    fn is_fatal(&self) -> bool {
        matches!(self, Self::Declined)
    }
}

stent::known_error!(Card);

#[durable(name = "step_options.card", retry(max_attempts = 1))]
async fn card(key: u64, is_declined: bool) -> Result<u64, Error> {
    let policy = attempts(3, SOON).retry_for(["Card::Busy"]);
    stent::step("card", || async {
        ran::note(key, "attempt");
        Err::<u64, _>(if is_declined { Card::Declined } else { Card::Busy })
    })
    .retry(policy)
    .await
}

#[durable(name = "step_options.panics", retry(max_attempts = 1))]
async fn panics(key: u64, max: u32) -> Result<usize, Error> {
    stent::step("panics", || async {
        ran::note(key, "attempt");
        let attempt = ran::count(key, "attempt");
        assert!(attempt > 2, "attempt {attempt} panics");
        attempt
    })
    .retry(attempts(max, SOON))
    .await
}

/// Other steps surround a step that is retried, and end meanwhile.
#[durable(name = "step_options.beside")]
async fn beside(key: u64) -> Result<Vec<String>, Error> {
    let retried = stent::step("retried", || async {
        ran::note(key, "attempt");
        if ran::count(key, "attempt") < 4 { Err("not yet".to_owned()) } else { Ok("retried".to_owned()) }
    })
    .retry(attempts(9, Duration::from_millis(20)));
    let (one, two, three) =
        stent::join!(retried, stent::sleep("30ms"), stent::step("other", || async { 1_u8 }));
    two?;
    stent::sleep("1ms").await?;
    Ok(vec![one?, three?.to_string()])
}

#[durable(name = "step_options.slow", retry(max_attempts = 1))]
async fn slow(key: u64, max: u32) -> Result<u64, Error> {
    stent::step("slow", || async {
        ran::note(key, "attempt");
        if ran::count(key, "attempt") < 3 {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        Ok::<_, String>(1)
    })
    .timeout("30ms")
    .retry(attempts(max, SOON))
    .await
}

#[durable(name = "step_options.patient")]
async fn patient(key: u64) -> Result<u64, Error> {
    stent::step("patient", || async {
        ran::note(key, "attempt");
        Err::<u64, _>("try later")
    })
    .retry(attempts(2, Duration::from_secs(3_600)))
    .await
}

#[durable(name = "step_options.refused")]
async fn refused() -> Result<u64, Error> {
    stent::step("refused", || async { 1_u64 }).retry(attempts(0, SOON)).await
}

#[durable(name = "step_options.long", retry(max_attempts = 1))]
async fn long(key: u64, ms: u64) -> Result<u64, String> {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    ran::note(key, "done");
    Ok(ms)
}

/// Reports whether the timeout passed, now and in each replay.
#[durable(name = "step_options.limited")]
async fn limited(key: u64, ms: u64, limit: String) -> Result<Option<u64>, Error> {
    let given = match stent::timeout(&limit, long(key, ms)).await {
        Ok(given) => Some(given?),
        Err(Error::Elapsed { .. }) => None,
        Err(error) => return Err(error),
    };
    ran::note(key, format!("{given:?}"));
    stent::sleep("5ms").await?;
    Ok(given)
}

#[durable(name = "step_options.over", retry(max_attempts = 1))]
async fn over(key: u64) -> Result<(u64, u64), Error> {
    let both = stent::timeout("20ms", async {
        let (one, two) = stent::join!(long(key, 1), long(key, 60_000));
        Ok((one?, two?))
    });
    both.await?
}

#[durable(name = "step_options.waits")]
async fn waits(limit: Option<Duration>) -> Result<u64, Error> {
    stent::timeout(limit, stent::signal::<u64>("go")).await?
}

/// Unusual limits: none, the shortest and the longest.
#[durable(name = "step_options.extreme")]
async fn extreme(limit: Duration) -> Result<(bool, bool), Error> {
    let brief = || tokio::time::sleep(Duration::from_millis(20));
    let in_step = stent::step("brief", || async { brief().await }).timeout(limit).await.is_ok();
    let nap = stent::timeout(limit, stent::sleep("20ms")).await.is_ok();
    Ok((in_step, nap))
}

/// Sleeps for nothing, and is parked and replayed behind it.
#[durable(name = "step_options.naps")]
async fn naps(key: u64) -> Result<stent::Timestamp, Error> {
    ran::note(key, "ran");
    stent::sleep("0s").await?;
    let woke = stent::now();
    ran::note(key, woke.to_string());
    stent::sleep("5ms").await?;
    Ok(woke)
}

/// Sleeps and is retried without a delay: nothing of it waits.
#[durable(name = "step_options.at_once", retry(max_attempts = 1))]
async fn at_once(key: u64) -> Result<Vec<u32>, Error> {
    stent::sleep("0s").await?;
    let attempts = stent::step("at once", || async {
        let execution = stent::execution().expect("in a function");
        let attempt = execution.step_attempt();
        assert_eq!(execution.attempt(), 1);
        ran::note(key, format!("attempt {attempt}"));
        if attempt < 4 { Err(format!("attempt {attempt} fails")) } else { Ok(attempt) }
    })
    .retry(attempts(9, Duration::ZERO))
    .await?;
    stent::sleep(Duration::ZERO).await?;
    Ok(vec![attempts, stent::execution()?.step_attempt()])
}

on_every_store! {
    async fn without_a_delay_nothing_waits_for_the_next_poll(world) {
        let rarely = Duration::from_secs(600);
        let poll = PollOptions::default().min(rarely).max(rarely);
        for cache in [0, 100] {
            let key = unique();
            let worker = world.worker_with(|worker| worker.poll(poll).cache(cache)).await;
            let run = world.stent.dispatch(at_once(key)).await.expect("dispatched");
            assert_eq!(run.result().timeout("20s").await.expect("runs"), [4, 1]);
            assert_eq!(ran::list(key), ["attempt 1", "attempt 2", "attempt 3", "attempt 4"]);
            let tasks = world.stent.inspect().timeline(run.id()).await.expect("a timeline");
            let names: Vec<_> = tasks.iter().map(|task| (task.name.as_str(), task.status)).collect();
            assert_eq!(names.iter().filter(|(name, _)| *name == "backoff of at once").count(), 3, "{names:?}");
            assert!(names.iter().all(|(_, status)| *status == TaskStatus::Completed), "{names:?}");
            worker.drain().await.expect("drains");
        }
    }

    async fn a_zero_sleep_is_replayed(world) {
        let key = unique();
        let run = world.stent.dispatch(naps(key)).await.expect("dispatched");
        let worker = world.forgetful_worker().await;
        let seen = run.result().timeout("20s").await.expect("runs");
        assert!(ran::count(key, "ran") > 1, "it was replayed");
        assert!(ran::list(key).iter().all(|note| note == "ran" || *note == seen.to_string()), "{:?}", ran::list(key));
        worker.drain().await.expect("drains");
    }

    async fn an_elapsed_timeout_says_where_and_how_long(world) {
        let worker = world.worker().await;
        let error = world.stent.run(over(unique())).await.expect_err("the time is up").to_string();
        assert!(error.contains("stent::timeout of 20ms expired in function `step_options.over` at "), "{error}");
        assert!(error.contains("step_options.rs:"), "{error}");
        worker.drain().await.expect("drains");
    }

    async fn no_limit_is_none_and_the_shortest_is_over_at_once(world) {
        let worker = world.worker().await;
        for limit in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            let run = world.stent.dispatch(extreme(limit)).await.expect("dispatched");
            let in_time = limit != Duration::from_nanos(1);
            assert_eq!(run.result().timeout("20s").await.expect("runs"), (in_time, in_time), "{limit:?}");
        }
        worker.drain().await.expect("drains");
    }

    async fn a_closure_that_cannot_fail_gives_its_value(world) {
        for _ in 0..2 {
            let worker = world.forgetful_worker().await;
            let run = world.stent.dispatch(plain("a\nb".to_owned())).await.expect("dispatched");
            let (n, length, failed) = run.result().timeout("20s").await.expect("runs");
            assert_eq!((n, length), (84, 3 + 1 + 2));
            assert!(failed.contains("no"), "{failed}");
            worker.drain().await.expect("drains");
        }
        assert_eq!(plain("a".to_owned()).local().await.expect("runs").0, 84);
    }

    async fn a_step_is_retried_by_its_policy_and_recorded_once(world) {
        for (failures, max) in [(0, 1), (2, 3), (2, 9)] {
            let key = unique();
            let worker = world.forgetful_worker().await;
            let run = world.stent.dispatch(flaky(key, failures, max)).await.expect("dispatched");
            assert_eq!(run.result().timeout("20s").await.expect("runs").0, failures + 1);
            assert_eq!(ran::count(key, "attempt"), failures + 1, "no attempt was made twice");
            let drew = ran::list(key).into_iter().filter(|note| note.starts_with("drew"));
            assert_eq!(drew.collect::<std::collections::BTreeSet<_>>().len(), 1, "all attempts draw the same");
            let tasks = world.stent.inspect().timeline(run.id()).await.expect("a timeline");
            assert_eq!(tasks.iter().filter(|task| task.name == "flaky").count(), 1, "{tasks:?}");
            assert_eq!(tasks.iter().filter(|task| task.name == "backoff of flaky").count(), failures);
            worker.drain().await.expect("drains");
        }
    }

    async fn a_step_whose_attempts_are_used_up_fails_and_runs_again_as_a_whole(world) {
        let key = unique();
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(flaky(key, 5, 3)).await.expect("dispatched");
        let error = run.result().timeout("20s").await.expect_err("it fails three times");
        assert!(error.to_string().contains("attempt 3 fails"), "{error}");
        world.stent.dead_letters().retry(run.id()).await.expect("is a dead letter");
        assert_eq!(run.result().timeout("20s").await.expect("there are three attempts more").0, 6);
        assert_eq!(ran::count(key, "attempt"), 6);
        worker.drain().await.expect("drains");
    }

    async fn a_policy_hears_what_a_known_error_says_of_itself(world) {
        let worker = world.worker().await;
        for (is_declined, expected) in [(true, 1), (false, 3)] {
            let key = unique();
            let run = world.stent.dispatch(card(key, is_declined)).await.expect("dispatched");
            let error = run.result().timeout("20s").await.expect_err("no money");
            let failure = error.failure().expect("a failure");
            assert!(failure.kind.as_str().ends_with(if is_declined { "Card::Declined" } else { "Card::Busy" }), "{failure}");
            assert_eq!(ran::count(key, "attempt"), expected);
        }
        worker.drain().await.expect("drains");
    }

    async fn an_attempt_that_panics_is_retried(world) {
        let worker = world.worker().await;
        let (often, twice) = (unique(), unique());
        let run = world.stent.dispatch(panics(often, 5)).await.expect("dispatched");
        assert_eq!(run.result().timeout("20s").await.expect("the third is calm"), 3);
        let run = world.stent.dispatch(panics(twice, 2)).await.expect("dispatched");
        let error = run.result().timeout("20s").await.expect_err("both panic");
        let failure = error.failure().expect("a failure");
        assert_eq!(failure.kind.as_str(), Failure::PANIC, "{failure}");
        assert_eq!(ran::count(twice, "attempt"), 2);
        worker.drain().await.expect("drains");
    }

    async fn other_steps_end_while_one_is_retried(world) {
        let key = unique();
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(beside(key)).await.expect("dispatched");
        assert_eq!(run.result().timeout("20s").await.expect("runs"), ["retried", "1"]);
        assert_eq!(ran::count(key, "attempt"), 4);
        worker.drain().await.expect("drains");
    }

    async fn an_attempt_that_takes_too_long_has_timed_out_and_is_retried(world) {
        let worker = world.worker().await;
        let (once, often) = (unique(), unique());
        let run = world.stent.dispatch(slow(once, 1)).await.expect("dispatched");
        let error = run.result().timeout("20s").await.expect_err("the time is up");
        let failure = error.failure().expect("a failure");
        assert_eq!(failure.kind.as_str(), Failure::TIMED_OUT, "{failure}");
        assert!(failure.message.contains("`slow`"), "{failure}");
        let run = world.stent.dispatch(slow(often, 3)).await.expect("dispatched");
        assert_eq!(run.result().timeout("20s").await.expect("the third is quick"), 1);
        worker.drain().await.expect("drains");
    }

    async fn a_long_wait_holds_no_worker_and_ends_with_the_execution(world) {
        let key = unique();
        let worker = world.worker_with(|worker| worker.concurrency(1)).await;
        let run = world.stent.dispatch(patient(key)).await.expect("dispatched");
        eventually(async || {
            let tasks = world.stent.inspect().timeline(run.id()).await.expect("a timeline");
            tasks.iter().any(|task| task.name == "backoff of patient") && tasks[0].status == TaskStatus::Waiting
        })
        .await;
        // The only slot is free.
        let other = world.stent.dispatch(plain("a".to_owned())).await.expect("dispatched");
        other.result().timeout("20s").await.expect("runs");
        run.cancel().await.expect("cancelled");
        eventually(async || run.status().await.expect("known") == ExecutionStatus::Cancelled).await;
        assert_eq!(ran::count(key, "attempt"), 1);
        worker.drain().await.expect("drains");
    }

    async fn a_policy_that_means_nothing_is_refused(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(refused()).await.expect("dispatched");
        let error = run.result().timeout("20s").await.expect_err("no attempt at all").to_string();
        assert!(error.contains("`retry`"), "{error}");
        worker.drain().await.expect("drains");
    }

    async fn a_timeout_gives_what_was_done_in_time_and_the_same_in_a_replay(world) {
        for (ms, limit, expected) in [(1, "20s", Some(1)), (60_000, "30ms", None), (2, "0s", Some(2))] {
            let key = unique();
            let worker = world.forgetful_worker().await;
            let run = world.stent.dispatch(limited(key, ms, limit.to_owned())).await.expect("dispatched");
            assert_eq!(run.result().timeout("20s").await.expect("runs"), expected, "{limit}");
            let said = ran::list(key).into_iter().filter(|note| note != "done");
            assert!(said.clone().count() >= 1);
            assert!(said.into_iter().all(|note| note == format!("{expected:?}")), "the same in each replay");
            worker.drain().await.expect("drains");
        }
    }

    async fn what_was_not_done_in_time_is_cancelled_and_the_failure_has_timed_out(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(over(key)).await.expect("dispatched");
        let error = run.result().timeout("20s").await.expect_err("the time is up");
        assert_eq!(error.failure().expect("a failure").kind.as_str(), Failure::TIMED_OUT, "{error}");
        eventually(async || {
            let tasks = world.stent.inspect().timeline(run.id()).await.expect("a timeline");
            let calls = tasks.iter().filter(|task| task.name == "step_options.long");
            calls.filter(|task| task.status == TaskStatus::Cancelled).count() >= 1
        })
        .await;
        worker.drain().await.expect("drains");
    }

    async fn a_timeout_holds_over_a_signal_and_none_is_none(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(waits(Some(Duration::from_millis(20)))).await.expect("dispatched");
        run.result().timeout("20s").await.expect_err("nobody sends");
        let run = world.stent.dispatch(waits(None)).await.expect("dispatched");
        run.signal("go", &3_u64).await.expect("sent");
        assert_eq!(run.result().timeout("20s").await.expect("it waits as long as it takes"), 3);
        worker.drain().await.expect("drains");
    }
}
