//! The handle is lost between any two calls, and everything committed is still there.

use super::words::*;

list! { crash:
    G1 nothing_is_lost_after_a_dispatch,
    G2 a_lease_outlives_its_holder,
    G5 a_parked_task_is_woken_after_a_crash,
    G5 a_completion_before_a_crash_is_not_forgotten,
    G6 a_retry_keeps_its_moment,
    G1 an_end_stays_an_end,
    G1 a_batch_is_there_whole,
    G4 a_whole_life_goes_on_across_crashes,
}

async fn nothing_is_lost_after_a_dispatch(world: World) {
    let ids = world.dispatch_many(20, || world.call("charge").priority(2)).await;
    let before = world.snapshot().await;

    let world = world.crash().await;

    world.snapshot().await.expect_same("something was lost", &before);
    same("claimed", world.claim(99).ids().await, ids);
}

async fn a_lease_outlives_its_holder(world: World) {
    let claimed = world.running("charge").await;

    let world = world.crash().await;

    same("claimed before it ends", world.claim(9).at(t(29)).await.len(), 0);
    let again = world.claim_one(t(30)).await;
    same("epoch and claims", (again.lease.epoch.count, again.task.uncommitted_claims), (2, 2));
    same("the lost holder", world.commit(claimed.complete("late")).await, Outcome::Fenced);
}

async fn a_parked_task_is_woken_after_a_crash(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.park_for(Wait::for_next(0).until(Some(t(99)))), world.call("ship")).await;

    let world = world.crash().await;
    same("claimed", world.claim(9).at(t(29)).await.len(), 0);
    world.apply(step.complete("parcel").at(t(2))).await;

    let world = world.crash().await;
    same("completions", world.claim_one(t(2)).await.task.done, 1);
}

async fn a_completion_before_a_crash_is_not_forgotten(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.keep(), world.call("ship")).await;
    world.apply(step.complete("parcel")).await;

    let world = world.crash().await;
    world.apply(later(&parent, 1, 0).park()).await;

    let world = world.crash().await;
    same("completions", world.claim_one(t(0)).await.task.done, 1);
}

async fn a_retry_keeps_its_moment(world: World) {
    let claimed = world.running("charge").await;
    world.apply(claimed.retry(t(60), declined())).await;

    let world = world.crash().await;

    same("claimed early", world.claim(9).at(t(59)).await.len(), 0);
    let again = world.claim_one(t(60)).await;
    same("attempts and claims", (again.task.attempts, again.task.uncommitted_claims), (1, 1));
}

async fn an_end_stays_an_end(world: World) {
    let completed = world.running("charge").await;
    world.apply(completed.complete("receipt")).await;
    let failed = world.running("charge").await;
    world.apply(failed.fail(declined())).await;
    let before = world.snapshot().await;

    let world = world.crash().await;

    world.snapshot().await.expect_same("an end was lost", &before);
    same("claimed", world.claim(9).at(t(9_999)).await.len(), 0);
    already(world.commit(completed.complete("receipt")).await);
    already(world.commit(failed.fail(declined())).await);
}

async fn a_batch_is_there_whole(world: World) {
    world.dispatch_many(30, || world.call("charge")).await;
    let claimed = world.claim(30).await;
    let outcomes = world
        .commit_all((0..).zip(&claimed).map(|(n, claimed)| match n % 3 {
            0 => claimed.complete("receipt"),
            1 => later(claimed, 7, 0).complete("refused"),
            _ => claimed.park().with(world.call("ship")),
        }))
        .await;
    let applied = outcomes.iter().filter(|outcome| outcome.stands()).count();
    let before = world.snapshot().await;

    let world = world.crash().await;

    same("applied", applied, 20);
    world.snapshot().await.expect_same("a part of the batch was lost", &before);
    same("steps to claim", world.claim(99).await.len(), 10);
}

async fn a_whole_life_goes_on_across_crashes(world: World) {
    let id = world.dispatch(world.call("checkout")).await;
    let mut world = world.crash().await;
    for round in 0..4 {
        let parent = world.claim_one(t(0)).await;
        same("the parent", (parent.task.id, parent.task.done), (id, 2 * round));
        world
            .apply(
                parent
                    .park_for(Wait { done: 2 * round + 2, until: None, maps: Vec::new() })
                    .with(world.inline("render", "note"))
                    .with(world.call("ship")),
            )
            .await;
        world = world.crash().await;
        let step = world.claim_one(t(0)).await;
        world = world.crash().await;
        world.apply(step.complete("parcel")).await;
        world = world.crash().await;
    }
    let parent = world.claim_one(t(0)).await;
    same(
        "numbers",
        parent.steps.iter().filter_map(Step::order).collect::<Vec<_>>(),
        (1..=8).collect::<Vec<_>>(),
    );
    world.apply(parent.complete("summary")).await;
    let world = world.crash().await;
    world.expect_status(id, TaskStatus::Completed).await;
}
