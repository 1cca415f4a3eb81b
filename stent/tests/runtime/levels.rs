//! A fault deep in the tree is retried as often as its own function says, whatever its callers say.

use stent::Error;
use stent::prelude::*;
use stent::view::TaskStatus;

use crate::{on_every_store, ran, unique};

/// Attempted three times, the default of a function without steps.
#[durable(name = "levels.leaf", retry(max_attempts = 3, initial_delay = "1ms"))]
async fn leaf(key: u64) -> Result<u64, String> {
    ran::note(key, "leaf");
    if ran::count(key, "mended") == 0 { Err("out of order".to_owned()) } else { Ok(1) }
}

#[durable(name = "levels.beside")]
async fn beside(key: u64) -> Result<u64, String> {
    ran::note(key, "beside");
    Ok(10)
}

#[durable(name = "levels.third")]
async fn third(key: u64) -> Result<u64, Error> {
    ran::note(key, "third");
    Ok(beside(key).await? + leaf(key).await?)
}

#[durable(name = "levels.second")]
async fn second(key: u64) -> Result<u64, Error> {
    ran::note(key, "second");
    Ok(beside(key).await? + third(key).await?)
}

#[durable(name = "levels.first")]
async fn first(key: u64) -> Result<u64, Error> {
    ran::note(key, "first");
    // On another queue, so that it does not run in this function's turn.
    Ok(beside(key).await? + second(key).queue("deeper").await?)
}

/// With three attempts on every level, attempts multiply, as requested, and the successful steps of each level still run
/// once.
#[durable(name = "levels.stubborn", retry(max_attempts = 2, initial_delay = "1ms"))]
async fn stubborn(key: u64) -> Result<u64, Error> {
    ran::note(key, "stubborn");
    Ok(beside(key).await? + leaf(key).await?)
}

on_every_store! {
    async fn attempts_do_not_multiply_down_three_levels_and_one_fault_is_one_dead_letter(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(first(key)).await.expect("dispatched");
        let error = run.result().timeout("20s").await.expect_err("the leaf fails");
        assert_eq!(error.failure().expect("a failure").message, "out of order");

        assert_eq!(ran::count(key, "leaf"), 3, "and not 3 for each level above");
        for level in ["first", "second", "third"] {
            assert_eq!(ran::count(key, level), 1, "{level}");
        }
        assert_eq!(ran::count(key, "beside"), 3, "what went well ran once on each level");
        let letters = world.stent.dead_letters().list(None, 99).await.expect("listed");
        assert_eq!(letters.iter().map(|letter| letter.execution.id).collect::<Vec<_>>(), [run.id()]);
        let tasks = world.stent.inspect().timeline(run.id()).await.expect("a timeline");
        let failed = tasks.iter().filter(|task| task.status == TaskStatus::Failed);
        let mut attempts: Vec<_> = failed.map(|task| (task.name.as_str(), task.attempts)).collect();
        attempts.sort_unstable();
        let expected = [("levels.first", 0), ("levels.leaf", 2), ("levels.second", 0), ("levels.third", 0)];
        assert_eq!(attempts, expected, "each level has failed once");
        worker.drain().await.expect("drains");
    }

    async fn a_parent_that_asks_to_be_tried_again_runs_again_only_what_failed(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(stubborn(key)).await.expect("dispatched");
        run.result().timeout("20s").await.expect_err("the leaf fails");
        let ran = ["stubborn", "beside", "leaf"].map(|what| ran::count(key, what));
        assert_eq!(ran, [2, 1, 6]);
        assert_eq!(world.stent.dead_letters().list(None, 99).await.expect("listed").len(), 1);
        worker.drain().await.expect("drains");
    }
}
