//! `join!`, `select!`, futures of other crates, drops and detached steps: the same branches live and replayed.

use std::time::Duration;

use stent::ExecutionStatus;
use stent::prelude::*;
use stent::view::TaskStatus;

use crate::{on_every_store, ran, unique};

#[durable]
async fn work(key: u64, name: String, ms: u64) -> Result<String, String> {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    ran::note(key, name.clone());
    Ok(name)
}

#[durable]
async fn joined(key: u64) -> Result<Vec<String>, stent::Error> {
    let (a, b, c) = stent::join!(
        work(key, "a".into(), 30),
        work(key, "b".into(), 1),
        stent::step("c", || async { Ok::<_, String>("c".to_owned()) }),
    );
    let last = work(key, "last".into(), 0).await?;
    Ok(vec![a?, b?, c?, last])
}

/// Returns the results in the order of the calls: later calls take less time.
#[durable]
async fn joined_all(key: u64, n: u64) -> Result<Vec<String>, stent::Error> {
    let calls = (0..n).map(|i| work(key, format!("{i}"), (n - i) % 7 * 3));
    let all = stent::join_all(calls).await;
    // Parked here, so that a worker without a cache replays all of them.
    stent::sleep("5ms").await?;
    all.into_iter().collect()
}

#[durable(retry(max_attempts = 1))]
async fn unlucky(key: u64, n: u64) -> Result<u64, String> {
    if n == 1 {
        return Err(format!("not {n}"));
    }
    tokio::time::sleep(Duration::from_millis(n)).await;
    ran::note(key, format!("{n}"));
    Ok(n)
}

#[durable]
async fn joined_with_one_failing(key: u64) -> Result<Vec<Result<u64, String>>, stent::Error> {
    let all = stent::join_all([20, 1, 30].map(|n| unlucky(key, n))).await;
    stent::sleep("5ms").await?;
    Ok(all.into_iter().map(|result| result.map_err(|error| error.to_string())).collect())
}

#[durable]
async fn joined_until_one_fails(key: u64) -> Result<Vec<u64>, stent::Error> {
    stent::try_join_all([0, 1, 60_000].map(|n| unlucky(key, n))).await
}

#[durable]
async fn joined_of_nothing() -> Result<usize, stent::Error> {
    let none: [Call<joined>; 0] = [];
    Ok(stent::join_all(none).await.len())
}

#[durable]
async fn raced(key: u64) -> Result<String, stent::Error> {
    let winner = stent::select! {
        slow = work(key, "slow".into(), 10_000) => slow?,
        quick = work(key, "quick".into(), 1) => quick?,
    };
    ran::note(key, format!("winner {winner}"));
    // Parked here, so that a worker without a cache replays the race.
    stent::sleep("20ms").await?;
    ran::note(key, format!("winner {winner}"));
    Ok(winner)
}

#[durable]
async fn with_timeout(key: u64) -> Result<bool, stent::Error> {
    Ok(stent::select! {
        done = work(key, "never".into(), 60_000) => { done?; true }
        slept = stent::sleep("30ms") => { slept?; false }
    })
}

#[durable]
async fn unordered(key: u64, n: u64) -> Result<Vec<String>, stent::Error> {
    use futures::stream::{FuturesUnordered, StreamExt};
    let mut all: FuturesUnordered<_> = (0..n).map(|i| work(key, format!("{i}"), (n - i) * 3)).collect();
    let mut order = Vec::new();
    while let Some(one) = all.next().await {
        order.push(one?);
    }
    stent::sleep("5ms").await?;
    Ok(order)
}

#[durable]
async fn question_mark(key: u64) -> Result<(), stent::Error> {
    failing(key).await?;
    ran::note(key, "after");
    Ok(())
}

#[durable(retry(max_attempts = 1))]
async fn failing(key: u64) -> Result<(), String> {
    ran::note(key, "failing");
    Err("on purpose".into())
}

#[durable]
async fn handled(key: u64) -> Result<String, stent::Error> {
    match failing(key).await {
        Ok(()) => Ok("fine".into()),
        Err(error) => Ok(error.failure().map(|failure| failure.message.clone()).unwrap_or_default()),
    }
}

#[durable]
async fn detaches(key: u64) -> Result<(), stent::Error> {
    work(key, "detached".into(), 5).detach()?;
    work(key, "awaited".into(), 0).await?;
    Ok(())
}

#[durable]
async fn lets_go(key: u64) -> Result<(), stent::Error> {
    work(key, "let go".into(), 1).detach()
}

#[durable]
async fn calls_one_that_lets_go(key: u64) -> Result<(), stent::Error> {
    lets_go(key).await
}

#[durable]
async fn step_and_world(key: u64) -> Result<(String, u32), stent::Error> {
    // The second future is non-durable; it ends while the function is parked for the first two.
    let (a, b, world) = stent::join!(work(key, "a".into(), 100), stent::sleep("150ms"), async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        ran::note(key, "world");
        stent::step("after the world", || async { Ok::<_, String>(7) }).await
    });
    b?;
    Ok((a?, world?))
}

on_every_store! {
    async fn join_all_keeps_the_order_of_its_calls_and_runs_each_once(world) {
        for n in [3, 100] {
            let worker = world.forgetful_worker().await;
            let key = unique();
            let run = world.stent.dispatch(joined_all(key, n)).await.expect("dispatched");
            let expected: Vec<_> = (0..n).map(|i| i.to_string()).collect();
            assert_eq!(run.result().timeout("30s").await.expect("runs"), expected);
            assert_eq!(ran::list(key).len() as u64, n, "each ran once");
            worker.drain().await.expect("drains");
        }
    }

    async fn a_failure_in_join_all_is_one_of_its_results(world) {
        let worker = world.forgetful_worker().await;
        let key = unique();
        let results = world.stent.run(joined_with_one_failing(key)).await.expect("runs");
        assert_eq!(results, [Ok(20), Err("not 1".to_owned()), Ok(30)]);
        assert_eq!(ran::list(key).len(), 2);
        assert_eq!(world.stent.run(joined_of_nothing()).await.expect("runs"), 0);
        worker.drain().await.expect("drains");
    }

    async fn try_join_all_ends_with_the_first_failure_and_gives_up_the_rest(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(joined_until_one_fails(unique())).await.expect("dispatched");
        let error = run.result().timeout("20s").await.expect_err("one fails");
        assert_eq!(error.to_string(), "not 1");
        let tasks = world.stent.inspect().timeline(run.id()).await.expect("a timeline");
        assert!(tasks.iter().any(|task| task.status == TaskStatus::Cancelled), "{tasks:#?}");
        assert!(tasks.iter().all(|task| task.status.is_terminal()), "{tasks:#?}");
        worker.drain().await.expect("drains");
    }

    async fn join_waits_for_all_and_goes_on_once(world) {
        for worker in [world.worker().await, world.forgetful_worker().await] {
            let key = unique();
            let run = world.stent.dispatch(joined(key)).await.expect("dispatched");
            assert_eq!(run.result().timeout("20s").await.expect("runs"), ["a", "b", "c", "last"]);
            let mut ran = ran::list(key);
            ran.sort();
            assert_eq!(ran, ["a", "b", "last"]);
            worker.drain().await.expect("drains");
        }
    }

    async fn select_picks_the_same_winner_again_and_cancels_the_loser(world) {
        let worker = world.forgetful_worker().await;
        let key = unique();
        let run = world.stent.dispatch(raced(key)).await.expect("dispatched");
        assert_eq!(run.result().timeout("9s").await.expect("runs"), "quick");
        assert!(ran::count(key, "winner quick") >= 3, "it was replayed: {:?}", ran::list(key));
        assert_eq!(ran::count(key, "winner slow"), 0);

        let tasks = world.stent.inspect().timeline(run.id()).await.expect("a timeline");
        let slow = tasks.iter().find(|task| task.seq.0 == 0 && task.parent.is_some()).expect("the loser's row");
        assert_eq!(slow.status, TaskStatus::Cancelled);
        worker.stop().await.expect("stops");
    }

    async fn a_sleep_in_a_select_is_a_timeout(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(with_timeout(unique())).await.expect("dispatched");
        assert!(!run.result().timeout("10s").await.expect("runs"));
        worker.stop().await.expect("stops");
    }

    async fn futures_of_other_crates_work_and_keep_their_order(world) {
        for worker in [world.worker().await, world.forgetful_worker().await] {
            let key = unique();
            let run = world.stent.dispatch(unordered(key, 8)).await.expect("dispatched");
            let order = run.result().timeout("20s").await.expect("runs");
            let mut all = order.clone();
            all.sort();
            assert_eq!(all, (0..8).map(|i| i.to_string()).collect::<Vec<_>>());
            assert_eq!(ran::list(key).len(), 8);
            worker.drain().await.expect("drains");
        }
    }

    async fn a_question_mark_ends_the_function(world) {
        let worker = world.worker().await;
        let key = unique();
        let error = world.stent.run(question_mark(key)).await.expect_err("it fails");
        assert_eq!(error.failure().map(|failure| failure.message.as_str()), Some("on purpose"));
        assert_eq!(ran::list(key), ["failing"]);
        worker.drain().await.expect("drains");
    }

    async fn a_failure_can_be_handled(world) {
        let worker = world.worker().await;
        assert_eq!(world.stent.run(handled(unique())).await.expect("runs"), "on purpose");
        worker.drain().await.expect("drains");
    }

    async fn a_detached_step_goes_on_without_its_caller(world) {
        let worker = world.worker().await;
        let key = unique();
        let run = world.stent.dispatch(detaches(key)).await.expect("dispatched");
        run.result().timeout("20s").await.expect("runs");
        while ran::count(key, "detached") == 0 {
            tokio::task::yield_now().await;
        }
        worker.drain().await.expect("drains");
        assert_eq!(world.stent.status(run.id()).await.expect("known"), ExecutionStatus::Completed);
    }

    async fn a_step_that_only_lets_go_of_another_is_recorded_with_it(world) {
        let worker = world.worker().await;
        let key = unique();
        let run = world.stent.dispatch(calls_one_that_lets_go(key)).await.expect("dispatched");
        run.result().timeout("20s").await.expect("runs");
        assert_eq!(world.stent.inspect().timeline(run.id()).await.expect("a timeline").len(), 3);
        while ran::count(key, "let go") == 0 {
            tokio::task::yield_now().await;
        }
        worker.drain().await.expect("drains");
    }

    async fn code_that_also_waits_for_the_world_is_woken_while_parked(world) {
        let worker = world.worker().await;
        let key = unique();
        let run = world.stent.dispatch(step_and_world(key)).await.expect("dispatched");
        assert_eq!(run.result().timeout("20s").await.expect("runs"), ("a".to_owned(), 7));
        assert_eq!(ran::count(key, "world"), 1);
        worker.drain().await.expect("drains");
    }
}
