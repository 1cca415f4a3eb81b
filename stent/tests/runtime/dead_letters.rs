//! Dead letters: which executions become one, which data they keep, and how they are retried.

use std::sync::atomic::Ordering;
use std::time::Duration;

use stent::prelude::*;
use stent::view::ClaimEnd;
use stent::{Error, ExecutionStatus, RetryPolicy};
use tokio::task::JoinHandle;

use crate::rigged::Rigged;
use crate::{Db, eventually, on_every_store, ran, unique, until};

#[durable]
async fn good(key: u64) -> Result<u64, String> {
    ran::note(key, "good");
    Ok(1)
}

#[durable(retry(max_attempts = 2, initial_delay = "5ms"))]
async fn broken_until_mended(key: u64) -> Result<u64, String> {
    ran::note(key, "broken");
    if ran::count(key, "mended") == 0 { Err("out of order".to_owned()) } else { Ok(2) }
}

#[durable]
async fn order(key: u64) -> Result<u64, Error> {
    ran::note(key, "order");
    let first = good(key).await?;
    let second = broken_until_mended(key).await?;
    Ok(first + second + good(key).await?)
}

#[durable]
async fn handles(key: u64) -> Result<u64, Error> {
    Ok(broken_until_mended(key).await.unwrap_or(0))
}

#[durable(retry(max_attempts = 1))]
async fn tried_once(key: u64) -> Result<u64, String> {
    ran::note(key, "tried");
    if ran::count(key, "tried") < 3 { Err("not yet".to_owned()) } else { Ok(3) }
}

#[durable(name = "dead_letters.item", retry(max_attempts = 1))]
async fn item(key: u64, n: u64) -> Result<u64, String> {
    ran::note(key, n.to_string());
    if [2, 5].contains(&n) && ran::count(key, "mended") == 0 { Err(format!("{n} is broken")) } else { Ok(n) }
}

/// Fails because some of seven steps have failed, after all have ended.
#[durable(name = "dead_letters.collects", retry(max_attempts = 1))]
async fn collects(key: u64, how: String) -> Result<Vec<u64>, Error> {
    let results: Vec<Result<u64, Error>> = match how.as_str() {
        "outcomes" => item::map((0..7).map(move |n| (key, n))).outcomes().await?,
        "join_all" => stent::join_all((0..7).map(|n| item(key, n))).await,
        _ => {
            let mut results = Vec::new();
            for n in 0..7 {
                results.push(item(key, n).await);
            }
            results
        }
    };
    ran::note(key, "collected");
    results.into_iter().collect()
}

fn twice() -> RetryPolicy {
    RetryPolicy::default().max_attempts(2).initial_delay(Duration::from_millis(5))
}

/// A wait that has begun.
async fn begun(run: Handle<u64>) -> JoinHandle<Result<u64, Error>> {
    let mut wait = run.result().timeout("20s").into_future();
    assert!(futures::poll!(&mut wait).is_pending());
    tokio::spawn(wait)
}

on_every_store! {
    /// The limitation that the guide warns of, until an execution can be restarted from a step.
    async fn code_that_collects_failures_runs_none_of_them_again(world) {
        // One at a time, so that the failure is not the last completion that the code sees.
        let worker = world.worker_with(|worker| worker.concurrency(1).cache(0)).await;
        for how in ["outcomes", "join_all", "loop"] {
            let key = unique();
            let run = world.stent.dispatch(collects(key, how.to_owned())).await.expect("dispatched");
            let first = run.result().timeout("20s").await.expect_err("two are broken");

            ran::note(key, "mended");
            world.stent.dead_letters().retry(run.id()).await.expect("retried");
            eventually(async || ran::count(key, "collected") == 2).await;
            let again = run.result().timeout("20s").await.expect_err("nothing of it has changed");

            assert_eq!(again.to_string(), first.to_string(), "{how}");
            for n in 0..7 {
                assert_eq!(ran::count(key, &n.to_string()), 1, "{how}: {n}");
            }
        }
        worker.drain().await.expect("drains");
    }

    async fn one_fault_is_one_dead_letter_and_a_replay_goes_on_where_it_stood(world) {
        let key = unique();
        let worker = world.forgetful_worker().await;
        let run = world.stent.dispatch(order(key)).await.expect("dispatched");
        run.result().timeout("20s").await.expect_err("it is broken");
        let letters = world.stent.dead_letters();
        let list = letters.list(None, 10).await.expect("listed");
        assert_eq!(list.len(), 1, "{list:#?}");
        let letter = letters.show(run.id()).await.expect("shown");
        assert_eq!(letter, list[0]);
        assert_eq!(letter.args.decode::<(u64,)>().expect("the arguments"), (key,));
        let failure = letter.execution.result.expect("a result").expect_err("a failure");
        assert!(failure.message.contains("out of order"), "{failure}");
        let stats = letters.stats().await.expect("counted");
        assert_eq!((stats.len(), stats[0].function.as_str(), stats[0].count), (1, "order", 1));

        ran::note(key, "mended");
        letters.retry(run.id()).await.expect("retried");
        assert_eq!(run.result().timeout("20s").await.expect("goes on"), 4);
        assert_eq!(ran::count(key, "good"), 2, "what had gone well is not run again");
        assert_eq!(ran::count(key, "broken"), 3);
        assert!(letters.list(None, 10).await.expect("listed").is_empty());
        worker.drain().await.expect("drains");
    }

    async fn a_handled_failure_is_no_dead_letter(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(handles(key)).await.expect("dispatched");
        assert_eq!(run.result().timeout("20s").await.expect("it handles the failure"), 0);
        assert!(world.stent.dead_letters().list(None, 10).await.expect("listed").is_empty());
        worker.drain().await.expect("drains");
    }

    async fn a_replay_may_have_another_policy(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(tried_once(key)).await.expect("dispatched");
        run.result().timeout("20s").await.expect_err("it is tried once");
        world.stent.dead_letters().retry(run.id()).policy(twice()).await.expect("retried");
        assert_eq!(run.result().timeout("20s").await.expect("the third try is good"), 3);
        assert_eq!(ran::count(key, "tried"), 3);
        let history = world.stent.dead_letters().history(run.id().root()).await.expect("a history");
        assert_eq!(history.iter().filter(|tried| tried.end == ClaimEnd::Failed).count(), 2, "{history:#?}");
        worker.drain().await.expect("drains");
    }

    async fn a_retry_may_move_to_another_queue_and_only_the_function_itself_moves(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(order(key)).await.expect("dispatched");
        run.result().timeout("20s").await.expect_err("it is broken");
        worker.drain().await.expect("drains");
        ran::note(key, "mended");
        let letters = world.stent.dead_letters();

        for name in ["", "a\0b", &"q".repeat(1_000)] {
            let error = letters.retry(run.id()).queue(name).await.expect_err("no name of a queue");
            assert!(error.to_string().starts_with("option `queue`: it "), "{error}");
        }
        letters.retry(run.id()).policy(twice()).queue("moved").await.expect("retried");

        let there = world.stent.inspect().describe(run.id()).await.expect("there").queue;
        assert_eq!(there, "moved");
        // No worker of the old queue takes the function; none of the new queue takes its steps.
        let on = async |queue: &str| world.stent.worker().state(Db).queues([queue]).start().await.expect("starts");
        let (old, new) = (on("default").await, on("moved").await);
        assert_eq!(run.result().timeout("20s").await.expect("goes on"), 4);
        assert_eq!(ran::count(key, "good"), 2, "what had gone well is not run again");
        for worker in [old, new] {
            worker.drain().await.expect("drains");
        }
    }

    async fn a_dead_letter_that_moved_waits_for_a_worker_of_its_new_queue(world) {
        let key = unique();
        let on = async |queue: &str| world.stent.worker().state(Db).queues([queue]).start().await.expect("starts");
        let old = on("default").await;
        let run = world.stent.dispatch(tried_once(key)).await.expect("dispatched");
        run.result().timeout("20s").await.expect_err("it is tried once");
        world.stent.dead_letters().retry(run.id()).policy(twice()).queue("moved").await.expect("retried");

        let other = world.stent.dispatch(good(unique())).await.expect("dispatched");
        other.result().timeout("20s").await.expect("the worker of the old queue works");
        assert_eq!(ran::count(key, "tried"), 1, "and leaves the function alone");
        let new = on("moved").await;
        assert_eq!(run.result().timeout("20s").await.expect("the third try is good"), 3);
        for worker in [old, new] {
            worker.drain().await.expect("drains");
        }
    }

    /// The worker's process learns of the failure after the retry, because the answer to its commit comes late.
    async fn a_wait_after_a_retry_is_not_answered_by_an_earlier_commit(world) {
        let key = unique();
        let rigged = Rigged::new(world.stent.store());
        let stent = Stent::builder().open(rigged.clone()).await.expect("opens");
        let worker = stent.worker().state(Db).start().await.expect("starts");
        rigged.holds_answers.store(true, Ordering::SeqCst);
        let run = world.stent.dispatch(tried_once(key)).await.expect("dispatched");
        run.result().timeout("20s").await.expect_err("it is tried once");
        until(|| rigged.held_answers.load(Ordering::SeqCst) >= 1).await;
        world.stent.dead_letters().retry(run.id()).policy(twice()).await.expect("retried");
        let again = begun(stent.handle::<u64>(run.id())).await;
        rigged.holds_answers.store(false, Ordering::SeqCst);
        assert_eq!(again.await.expect("no panic").expect("the third try is good"), 3);
        worker.drain().await.expect("drains");
    }

    /// The process had asked for the execution before the retry, for a wait that is gone.
    async fn a_wait_after_a_retry_is_not_answered_by_an_earlier_read(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(tried_once(key)).await.expect("dispatched");
        run.result().timeout("20s").await.expect_err("it is tried once");
        let rigged = Rigged::new(world.stent.store());
        let stent = Stent::builder().open(rigged.clone()).await.expect("opens");
        rigged.holds_answers.store(true, Ordering::SeqCst);
        let first = begun(stent.handle::<u64>(run.id())).await;
        until(|| rigged.held_answers.load(Ordering::SeqCst) >= 1).await;
        first.abort();
        world.stent.dead_letters().retry(run.id()).policy(twice()).await.expect("retried");
        let again = begun(stent.handle::<u64>(run.id())).await;
        rigged.holds_answers.store(false, Ordering::SeqCst);
        assert_eq!(again.await.expect("no panic").expect("the third try is good"), 3);
        worker.drain().await.expect("drains");
    }

    async fn a_discarded_one_stays_as_failed(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(tried_once(key)).await.expect("dispatched");
        run.result().timeout("20s").await.expect_err("it is tried once");
        let letters = world.stent.dead_letters();
        letters.discard(run.id()).await.expect("discarded");
        assert!(letters.list(None, 10).await.expect("listed").is_empty());
        assert_eq!(run.status().await.expect("known"), ExecutionStatus::Failed);
        let error = letters.retry(run.id()).await.expect_err("it is no dead letter");
        assert!(matches!(error, Error::Ended { status: ExecutionStatus::Failed, .. }), "{error}");
        worker.drain().await.expect("drains");
    }

    async fn what_is_no_dead_letter_can_be_neither_replayed_nor_discarded(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(good(unique())).await.expect("dispatched");
        run.result().timeout("20s").await.expect("runs");
        let letters = world.stent.dead_letters();
        for error in [
            letters.retry(run.id()).await.expect_err("it has completed"),
            letters.discard(run.id()).await.expect_err("it has completed"),
        ] {
            assert!(matches!(error, Error::Ended { status: ExecutionStatus::Completed, .. }), "{error}");
        }
        let unknown = stent::ExecutionId::from_uuid(uuid::Uuid::now_v7());
        let error = letters.retry(unknown).await.expect_err("it is not there");
        assert!(matches!(error, Error::NotFound(_)), "{error}");
        assert!(matches!(letters.show(run.id()).await, Err(Error::NotFound(_))));
        worker.drain().await.expect("drains");
    }

    async fn executions_and_dead_letters_are_purged_apart(world) {
        let key = unique();
        let worker = world.worker().await;
        let bad = world.stent.dispatch(tried_once(key)).await.expect("dispatched");
        bad.result().timeout("20s").await.expect_err("it is tried once");
        let fine = world.stent.dispatch(good(key)).await.expect("dispatched");
        fine.result().timeout("20s").await.expect("runs");
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(world.stent.purge("1ms", 10).await.expect("purged"), 1);
        assert!(matches!(fine.status().await, Err(Error::NotFound(_))));
        assert_eq!(bad.status().await.expect("still there"), ExecutionStatus::Failed);
        assert_eq!(world.stent.dead_letters().purge("1h", 10).await.expect("purged"), 0);
        assert_eq!(world.stent.dead_letters().purge("1ms", 10).await.expect("purged"), 1);
        assert!(matches!(bad.status().await, Err(Error::NotFound(_))));
        worker.drain().await.expect("drains");
    }

    async fn they_are_listed_newest_first_in_pages_and_counted(world) {
        let worker = world.worker().await;
        let mut all = Vec::new();
        for _ in 0..5 {
            let run = world.stent.dispatch(broken_until_mended(unique())).await.expect("dispatched");
            run.result().timeout("20s").await.expect_err("it is broken");
            all.insert(0, run.id());
        }
        let fine = world.stent.dispatch(good(unique())).await.expect("dispatched");
        fine.result().timeout("20s").await.expect("runs");
        let letters = world.stent.dead_letters();
        let page = async |before, max| {
            let page = letters.list(before, max).await.expect("listed");
            page.into_iter().map(|letter| letter.execution.id).collect::<Vec<_>>()
        };
        assert_eq!(page(None, 2).await, all[..2]);
        assert_eq!(page(Some(all[1]), 2).await, all[2..4]);
        assert_eq!(page(Some(all[3]), 2).await, all[4..]);
        let count = async || letters.stats().await.expect("counted").iter().map(|stat| stat.count).sum::<u64>();
        assert_eq!(count().await, 5);
        letters.discard(all[2]).await.expect("discarded");
        assert_eq!(page(None, 9).await, [all[0], all[1], all[3], all[4]]);
        assert_eq!(count().await, 4);
        worker.drain().await.expect("drains");
    }
}
