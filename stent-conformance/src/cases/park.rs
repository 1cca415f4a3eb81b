//! Parking and waking: a parked task learns of everything that it waits for.

use std::sync::Arc;

use super::words::*;

list! { park:
    G5 a_parked_task_is_not_claimed,
    G5 the_awaited_completion_wakes_it,
    G5 a_failed_step_wakes_it_too,
    G5 it_wakes_at_the_count_and_not_before,
    G5 what_happened_before_the_parking_counts,
    G5 what_the_turn_itself_brings_counts,
    G5 parking_and_completion_meet_in_one_batch_in_either_order,
    G6 it_wakes_at_its_moment_and_not_before,
    G5 a_completion_comes_before_the_moment,
    G6 a_completion_does_not_postpone_the_moment,
    G6 a_moment_that_has_passed_is_due_at_once,
    G5 a_hint_wakes_it,
    G5 a_completion_after_a_hint_keeps_it_awake,
    G6 what_is_postponed_is_due_later,
    G5 what_was_woken_is_not_postponed,
    G3 only_the_last_parking_can_be_postponed,
    G5 it_can_park_again_and_again,
    G5 parking_races_with_completion_and_no_wake_up_is_lost,
    G5 the_last_of_many_completions_wakes_it_whoever_races,
}

async fn a_parked_task_is_not_claimed(world: World) {
    let parent = world.running("checkout").await;

    world.apply(parent.park().with(world.call("ship").due(t(9_999)))).await;

    world.expect_status(parent.task.id, TaskStatus::Waiting).await;
    same("claimed", world.claim(5).at(t(9_000)).await.len(), 0);
    same(
        "status",
        world.execution(parent.task.id).await.map(|view| view.status),
        Some(ExecutionStatus::Running),
    );
}

async fn the_awaited_completion_wakes_it(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.park(), world.call("ship")).await;

    world.peer().await.apply(step.complete("parcel").at(t(3))).await;

    let claimed = world.claim_one(t(3)).await;
    same("woken", (claimed.task.id, claimed.lease.epoch.count, claimed.task.done), (parent.task.id, 2, 1));
    same("claims start anew", claimed.task.uncommitted_claims, 1);
}

async fn a_failed_step_wakes_it_too(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.park(), world.call("ship")).await;

    world.apply(step.fail(declined())).await;

    let claimed = world.claim_one(t(0)).await;
    let StepState::Done { result, .. } = &claimed.steps[0].state else {
        panic!("{:?} is open", claimed.steps)
    };
    same("result", result.clone(), Err(declined()));
}

async fn it_wakes_at_the_count_and_not_before(world: World) {
    let parent = world.running("checkout").await;
    let steps: Vec<_> = (0..3).map(|_| world.call("ship")).collect();
    world.apply(steps.into_iter().fold(parent.park_for(wait_for(3)), Turn::with)).await;
    let steps = world.claim(3).await;

    for step in &steps[..2] {
        world.apply(step.complete("parcel")).await;
        same("claimed", world.claim(5).at(t(9)).await.len(), 0);
    }
    world.apply(steps[2].complete("parcel")).await;

    same("completions", world.claim_one(t(0)).await.task.done, 3);
}

async fn what_happened_before_the_parking_counts(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.keep(), world.call("ship")).await;
    world.apply(step.complete("parcel").at(t(1))).await;

    // The code has not seen the completion when it parks.
    let news = world.apply(later(&parent, 1, 0).park().at(t(2))).await;

    same("completions", news.done, 1);
    same("claimed", world.claim_one(t(2)).await.task.id, parent.task.id);
}

async fn what_the_turn_itself_brings_counts(world: World) {
    let parent = world.running("checkout").await;

    world.apply(parent.park().with(world.inline("render", "note")).at(t(2))).await;

    same("claimed", world.claim_one(t(2)).await.task.id, parent.task.id);
}

async fn parking_and_completion_meet_in_one_batch_in_either_order(world: World) {
    for parking_first in [true, false] {
        let parent = world.running("checkout").await;
        let step = world.spawn(parent.keep(), world.call("ship")).await;
        let mut batch = [later(&parent, 1, 0).park(), step.complete("parcel")];
        if !parking_first {
            batch.reverse();
        }

        for outcome in world.commit_all(batch).await {
            applied(outcome);
        }

        let woken = world.claim_one(t(0)).await;
        same("woken", (woken.task.id, woken.task.done), (parent.task.id, 1));
        world.apply(woken.complete("summary")).await;
    }
}

async fn it_wakes_at_its_moment_and_not_before(world: World) {
    let parent = world.running("checkout").await;

    world.apply(parent.park_for(wait_for(1).until(Some(t(7))))).await;

    same("claimed early", world.claim(5).at(t(7) - Duration::from_micros(1)).await.len(), 0);
    same("next moment", world.claim(5).at(t(1)).next_due().await, Some(t(7)));
    same("claimed on time", world.claim_one(t(7)).await.task.done, 0);
}

async fn a_completion_comes_before_the_moment(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.park_for(wait_for(1).until(Some(t(700)))), world.call("ship")).await;

    world.apply(step.complete("parcel").at(t(5))).await;

    same("claimed", world.claim_one(t(5)).await.task.done, 1);
}

async fn a_completion_does_not_postpone_the_moment(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.park_for(wait_for(1).until(Some(t(7)))), world.call("ship")).await;

    // The worker of the step has a fast clock.
    world.apply(step.complete("parcel").at(t(20))).await;

    same("claimed", world.claim_one(t(7)).await.task.done, 1);
}

async fn a_moment_that_has_passed_is_due_at_once(world: World) {
    let parent = world.running("checkout").await;

    world.apply(parent.park_for(wait_for(1).until(Some(t(1)))).at(t(4))).await;

    world.claim_one(t(4)).await;
}

async fn a_hint_wakes_it(world: World) {
    let parent = world.running("checkout").await;
    world.apply(parent.park_for(wait_for(1).until(Some(t(700))))).await;

    world.apply(parent.unpark().decided_at(t(3))).await;

    same("claimed early", world.claim(5).at(t(2)).await.len(), 0);
    same("claimed", world.claim_one(t(3)).await.lease.epoch.count, 2);
}

async fn a_completion_after_a_hint_keeps_it_awake(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.park(), world.call("ship")).await;

    world.apply(parent.unpark().decided_at(t(3))).await;
    world.apply(step.complete("parcel").at(t(4))).await;

    same("completions", world.claim_one(t(3)).await.task.done, 1);
}

async fn what_is_postponed_is_due_later(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.park_for(wait_for(1).until(Some(t(10)))), world.call("ship")).await;

    let postpone = parent.postpone(t(10), t(20)).decided_at(t(5));
    world.apply(postpone.clone()).await;
    same("sent again", world.commit(postpone).await, Outcome::Already(News::default()));

    same("claimed early", world.claim(5).at(t(15)).await.len(), 0);
    // The awaited completion still comes first.
    world.apply(step.complete("parcel").at(t(16))).await;
    same("claimed", world.claim_one(t(16)).await.task.done, 1);

    let other = world.running("checkout").await;
    world.apply(other.park_for(wait_for(1).until(Some(t(10))))).await;
    world.apply(other.postpone(t(10), t(20)).decided_at(t(5))).await;
    same("claimed in time", world.claim_one(t(20)).await.task.id, other.task.id);
}

async fn what_was_woken_is_not_postponed(world: World) {
    let parent = world.running("checkout").await;
    world.apply(parent.park_for(wait_for(1).until(Some(t(10))))).await;
    world.apply(parent.unpark().decided_at(t(3))).await;

    // The worker that postpones has not seen the completion, and its clock is a little slow.
    let postpone = parent.postpone(t(10), t(20)).decided_at(t(2));
    same("put off", world.commit(postpone).await, Outcome::Fenced);
    let postpone = parent.postpone(t(10), t(20)).decided_at(t(11));
    same("put off when it is due", world.commit(postpone).await, Outcome::Fenced);

    world.claim_one(t(3)).await;
}

async fn only_the_last_parking_can_be_postponed(world: World) {
    let first = world.running("checkout").await;
    let postpone = |claimed: &Claimed| claimed.postpone(t(10), t(20)).decided_at(t(1));
    same("while it runs", world.commit(postpone(&first)).await, Outcome::Fenced);
    world.apply(first.park_for(wait_for(1).until(Some(t(0))))).await;
    let second = world.claim_one(t(0)).await;
    world.apply(second.park_for(wait_for(1).until(Some(t(10))))).await;

    same("the first parking", world.commit(postpone(&first)).await, Outcome::Fenced);

    same("claimed", world.claim_one(t(10)).await.task.id, first.task.id);
}

async fn it_can_park_again_and_again(world: World) {
    let mut parent = world.running("checkout").await;
    for round in 1..=5 {
        let step = world.spawn(parent.park(), world.call("ship")).await;
        world.apply(step.complete("parcel")).await;

        parent = world.claim_one(t(0)).await;
        same("round", (parent.task.done, parent.fence.commit), (round, round));
        same("steps", parent.steps.len(), round as usize);
    }
    world.apply(parent.complete("summary")).await;
}

async fn parking_races_with_completion_and_no_wake_up_is_lost(world: World) {
    let (parker, completer) = (Arc::new(world.peer().await), Arc::new(world.peer().await));
    for _ in 0..60 {
        let parent = world.running("checkout").await;
        let step = world.spawn(parent.keep(), world.call("ship")).await;

        // On two threads, so that either may come first.
        let (parking, completing) = (later(&parent, 1, 0).park(), step.complete("parcel"));
        let (parker, completer) = (Arc::clone(&parker), Arc::clone(&completer));
        let parking = tokio::spawn(async move { parker.apply(parking).await });
        let completing = tokio::spawn(async move { completer.apply(completing).await });
        parking.await.expect("the parking is applied");
        completing.await.expect("the completion is applied");

        let woken = world.claim_one(t(0)).await;
        same("woken", (woken.task.id, woken.task.done), (parent.task.id, 1));
        world.apply(woken.complete("summary")).await;
    }
}

async fn the_last_of_many_completions_wakes_it_whoever_races(world: World) {
    const WORKERS: usize = 4;
    const STEPS: u32 = 40;
    let parent = world.running("checkout").await;
    let steps: Vec<_> = (0..STEPS).map(|_| world.call("ship")).collect();
    world.apply(steps.into_iter().fold(parent.keep(), Turn::with)).await;

    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        let peer = world.peer().await;
        let steps = peer.claim(STEPS as usize / WORKERS).await;
        workers.push(tokio::spawn(async move {
            for step in steps {
                peer.apply(step.complete("parcel")).await;
            }
        }));
    }
    world.apply(later(&parent, 1, 0).park_for(wait_for(STEPS))).await;
    for worker in workers {
        worker.await.expect("a worker ends");
    }

    let woken = world.claim_one(t(0)).await;
    same("completions", (woken.task.id, woken.task.done), (parent.task.id, STEPS));
    let orders: Vec<_> = woken.steps.iter().filter_map(Step::order).collect();
    same("numbers", orders, (1..=STEPS).collect::<Vec<_>>());
}
