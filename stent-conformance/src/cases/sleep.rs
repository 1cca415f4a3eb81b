//! Sleeps: a sleep ends by being due, when its task is claimed or in the task's turn.

use super::words::*;

list! { sleep:
    G6 a_sleep_fires_when_its_task_is_claimed_in_time,
    G6 a_sleep_does_not_fire_early,
    G4 sleeps_fire_in_the_order_of_their_moments,
    G4 sleeps_of_one_moment_fire_by_position,
    G4 what_completed_before_the_claim_comes_before_the_sleep,
    G4 a_sleep_fires_once,
    G6 a_turn_can_fire_a_sleep,
    G15 a_cancelled_sleep_does_not_fire,
    G6 sleeps_of_other_tasks_are_left_alone,
    G6 a_sleep_fires_though_its_task_was_lost,
    G6 a_sleep_of_the_deep_future_holds_nothing_up,
}

/// A task with a sleep until each of these moments, parked until the first of them.
async fn sleeper(world: &World, moments: &[Timestamp]) -> (Claimed, Vec<TaskId>) {
    let parent = world.running("checkout").await;
    let sleeps: Vec<_> = moments.iter().map(|due| world.sleep(*due)).collect();
    let ids = sleeps.iter().map(|sleep| sleep.id).collect();
    let wait = Wait::for_next(0).until(moments.iter().min().copied());
    world.apply(sleeps.into_iter().fold(parent.park_for(wait), Turn::with)).await;
    (parent, ids)
}

async fn a_sleep_fires_when_its_task_is_claimed_in_time(world: World) {
    let (_, sleeps) = sleeper(&world, &[t(5)]).await;

    let claimed = world.claim_one(t(8)).await;

    same("completions", claimed.task.done, 1);
    let expected = StepState::Done { order: 1, at: t(8), result: Ok(Payload::empty()) };
    same("the sleep", (claimed.steps[0].id, claimed.steps[0].state.clone()), (sleeps[0], expected));
    let view = world.task(sleeps[0]).await;
    same(
        "in the timeline",
        (view.status, view.done_order, view.ended_at),
        (TaskStatus::Completed, Some(1), Some(t(8))),
    );
}

async fn a_sleep_does_not_fire_early(world: World) {
    let (_, sleeps) = sleeper(&world, &[t(5), t(9)]).await;

    same("claimed early", world.claim(5).at(t(5) - Duration::from_micros(1)).await.len(), 0);
    let claimed = world.claim_one(t(9) - Duration::from_micros(1)).await;

    same("completions", claimed.task.done, 1);
    same("the later one is open", claimed.steps[1].state.clone(), StepState::Open { due: Some(t(9)) });
    world.expect_status(sleeps[1], TaskStatus::Waiting).await;
}

async fn sleeps_fire_in_the_order_of_their_moments(world: World) {
    let (_, sleeps) = sleeper(&world, &[t(7), t(3), t(9), t(5), t(99)]).await;

    let claimed = world.claim_one(t(20)).await;

    let order: Vec<_> = claimed.steps.iter().take(4).map(|step| step.id).collect();
    same("order", order, [1, 3, 0, 2].map(|n: usize| sleeps[n]));
    same(
        "numbers",
        claimed.steps.iter().map(Step::order).collect::<Vec<_>>(),
        [Some(1), Some(2), Some(3), Some(4), None],
    );
}

async fn what_completed_before_the_claim_comes_before_the_sleep(world: World) {
    let parent = world.running("checkout").await;
    let nap = world.sleep(t(2));
    let nap_id = nap.id;
    let step =
        world.spawn(parent.park_for(Wait::for_next(0).until(Some(t(2)))).with(nap), world.call("ship")).await;
    world.apply(step.complete("parcel").at(t(6))).await;

    // The sleep was due before the step ended, but nobody had fired it.
    let claimed = world.claim_one(t(7)).await;

    let order: Vec<_> = claimed.steps.iter().map(|step| (step.id, step.order())).collect();
    same("order", order, [(step.task.id, Some(1)), (nap_id, Some(2))]);
}

async fn a_sleep_fires_once(world: World) {
    let (_, sleeps) = sleeper(&world, &[t(5)]).await;
    let first = world.claim_one(t(5)).await;

    let second = world.claim_one(t(35)).await;
    same("completions", (first.task.done, second.task.done), (1, 1));
    let news = world.apply(second.keep().fire(sleeps[0])).await;
    same("completions", news.done, 1);
    same("the sleep", second.steps, first.steps);
}

async fn a_turn_can_fire_a_sleep(world: World) {
    let parent = world.running("checkout").await;
    let nap = world.sleep(t(5));
    let id = nap.id;
    world.apply(parent.keep().with(nap)).await;

    let news = world.apply(later(&parent, 1, 0).keep().fire(id).at(t(5))).await;

    same("completions", (news.done, news.steps.len()), (1, 0));
    let view = world.task(id).await;
    same(
        "the sleep",
        (view.status, view.done_order, view.ended_at),
        (TaskStatus::Completed, Some(1), Some(t(5))),
    );
}

async fn a_cancelled_sleep_does_not_fire(world: World) {
    let parent = world.running("checkout").await;
    let nap = world.sleep(t(5));
    let id = nap.id;
    world.apply(parent.keep().with(nap)).await;

    world.apply(later(&parent, 1, 0).park_for(Wait::for_next(0).until(Some(t(9)))).cancel(id)).await;

    let claimed = world.claim_one(t(9)).await;
    same("completions", claimed.task.done, 0);
    same("the sleep", claimed.steps[0].state.clone(), StepState::Cancelled);
}

async fn sleeps_of_other_tasks_are_left_alone(world: World) {
    let (_, sleeps) = sleeper(&world, &[t(5)]).await;
    let parent = world.running("checkout").await;
    let below = world.spawn(parent.park(), world.call("ship")).await;
    let nap = world.sleep(t(5));
    let nap_id = nap.id;
    world.apply(below.retry(t(9), declined()).with(nap)).await;
    world.apply(parent.unpark()).await;

    let claimed = world.claim(1).at(t(5)).functions(["checkout"]).await;

    // The task that parked last is due first here; neither its step's sleep nor another task's sleep has fired.
    same("claimed", claimed[0].task.id, parent.task.id);
    same("completions", claimed[0].task.done, 0);
    world.expect_status(nap_id, TaskStatus::Waiting).await;
    world.expect_status(sleeps[0], TaskStatus::Waiting).await;
}

async fn a_sleep_fires_though_its_task_was_lost(world: World) {
    let parent = world.running("checkout").await;
    world.apply(parent.keep().with(world.sleep(t(5)))).await;

    let claimed = world.claim_one(t(30)).await;

    same("completions", (claimed.lease.epoch.count, claimed.task.done), (2, 1));
}

async fn a_sleep_of_the_deep_future_holds_nothing_up(world: World) {
    let (_, sleeps) = sleeper(&world, &[Timestamp::MAX, t(3)]).await;

    let claimed = world.claim_one(t(3)).await;

    same("completions", claimed.task.done, 1);
    same("the other one", world.task(sleeps[0]).await.ready_at, Some(Timestamp::MAX));
}

/// Their order need not be that of their ids.
async fn sleeps_of_one_moment_fire_by_position(world: World) {
    let root = world.running("checkout").await;
    let sleeps: Vec<_> = [3, 1, 2].map(|seq| world.sleep(t(5)).seq(seq)).into();
    let ids: Vec<_> = sleeps.iter().map(|sleep| sleep.id).collect();
    world
        .apply(sleeps.into_iter().fold(root.park_for(Wait::for_next(0).until(Some(t(5)))), Turn::with))
        .await;

    let claimed = world.claim_one(t(9)).await;

    let order: Vec<_> = claimed.steps.iter().map(|step| (step.order(), step.id)).collect();
    same("order", order, [(Some(1), ids[1]), (Some(2), ids[2]), (Some(3), ids[0])]);
}
