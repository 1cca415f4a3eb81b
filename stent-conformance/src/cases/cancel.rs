//! Steps that are given up: everything below them ends too, and their late results change nothing.

use std::sync::Arc;

use super::words::*;

list! { cancel:
    G15 a_cancelled_step_never_completes_in_its_parent,
    G15 a_cancelled_step_is_not_claimed,
    G15 the_late_result_of_a_cancelled_step_changes_nothing,
    G15 cancel_reaches_every_descendant,
    G7 what_has_ended_below_a_cancelled_step_stays_as_it_is,
    G7 cancelling_an_ended_step_changes_nothing,
    G15 a_cancelled_task_starts_nothing_more,
    G15 cancel_with_the_end_reaches_what_is_left,
    G15 siblings_of_a_cancelled_step_go_on,
    G15 a_step_that_is_written_and_cancelled_in_one_turn_never_runs,
    G15 cancel_races_with_completion_and_one_of_them_wins,
}

async fn a_cancelled_step_never_completes_in_its_parent(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.keep(), world.call("ship")).await;

    world.apply(later(&parent, 1, 0).park().cancel(step.task.id).at(t(2))).await;
    same("outcome", world.commit(step.complete("late")).await, Outcome::Gone);

    same("claimed", world.claim(5).at(t(99)).await.len(), 0);
    let view = world.task(step.task.id).await;
    same(
        "the step",
        (view.status, view.ended_at, view.done_order),
        (TaskStatus::Cancelled, Some(t(2)), None),
    );
    world.apply(parent.unpark()).await;
    let again = world.claim_one(t(0)).await;
    same("the record", (again.task.done, again.steps[0].state.clone()), (0, StepState::Cancelled));
}

async fn a_cancelled_step_is_not_claimed(world: World) {
    let parent = world.running("checkout").await;
    let (pending, future) = (world.call("ship"), world.call("ship").due(t(5)));
    let ids = [pending.id, future.id];
    let parked = world.spawn(parent.keep(), world.call("pack")).await;
    world.apply(parked.park_for(Wait::for_next(0).until(Some(t(3))))).await;
    world.apply(later(&parent, 1, 0).keep().with(pending).with(future)).await;

    world.apply(later(&parent, 2, 0).keep().cancel(ids[0]).cancel(ids[1]).cancel(parked.task.id)).await;

    same("claimed", world.claim(9).at(t(29)).await.len(), 0);
    same("next moment", world.claim(9).functions(["ship", "pack"]).next_due().await, None);
}

async fn the_late_result_of_a_cancelled_step_changes_nothing(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.keep(), world.call("ship")).await;
    world.apply(later(&parent, 1, 0).keep().cancel(step.task.id)).await;
    let before = world.snapshot().await;

    for turn in [
        step.complete("late"),
        step.fail(declined()),
        step.keep(),
        step.park(),
        step.retry(t(1), declined()),
        step.release(),
    ] {
        same("outcome", world.commit(turn.with(world.call("ship"))).await, Outcome::Gone);
    }

    world.snapshot().await.expect_same("a late result changed something", &before);
    same("completions", world.apply(later(&parent, 2, 0).keep()).await.done, 0);
}

/// A root, and below it a step with one of each: a pending and a running step, a sleep, a parked step with a step below it, and
/// a map with an item that has a step.
async fn forest(world: &World) -> (Claimed, TaskId, Vec<TaskId>) {
    let root = world.running("checkout").await;
    let top = world.spawn(root.keep(), world.call("ship")).await;
    let mut below = Vec::new();
    let parked = world.spawn(top.keep(), world.call("parked")).await;
    let deep = world.spawn(parked.park(), world.call("deep")).await;
    let deeper = world.spawn(deep.keep(), world.call("deeper")).await;
    let (running, map) = (world.call("running"), world.map("mail"));
    let (nap, pending) = (world.sleep(t(3)), world.call("pending").due(t(2)));
    let item = world.call("mail");
    below.extend([parked.task.id, deep.task.id, deeper.task.id]);
    below.extend([running.id, map.id, nap.id, pending.id, item.id]);
    let map_id = map.id;
    let turn = later(&top, 1, 0).keep().with(running).with(map).with(nap).with(pending);
    world.apply(turn.items(map_id, [item]).feed(map_id, 1, Some(1))).await;
    let claimed = world.claim(2).await;
    let item = claimed.iter().find(|claimed| claimed.task.tree.owner.is_some()).expect("the item is due");
    let of_item = world.call("of the item").due(t(2));
    below.push(of_item.id);
    world.apply(item.keep().with(of_item)).await;
    (later(&root, 1, 0), top.task.id, below)
}

async fn cancel_reaches_every_descendant(world: World) {
    let (root, top, below) = forest(&world).await;

    world.apply(root.keep().cancel(top).at(t(4))).await;

    for task in below.into_iter().chain([top]) {
        let view = world.task(task).await;
        let what = format!("{} `{}`", view.kind, view.name);
        same(&what, (view.status, view.ended_at, view.ready_at), (TaskStatus::Cancelled, Some(t(4)), None));
    }
    same("claimed", world.claim(99).at(t(29)).await.len(), 0);
    world.expect_status(root.task.id, TaskStatus::Running).await;
}

async fn what_has_ended_below_a_cancelled_step_stays_as_it_is(world: World) {
    let root = world.running("checkout").await;
    let top = world.spawn(root.keep(), world.call("ship")).await;
    let completed = world.spawn(top.keep(), world.call("pack")).await;
    world.apply(completed.complete("packed").at(t(1))).await;
    let failed = world.spawn(later(&top, 1, 0).keep(), world.call("pack")).await;
    world.apply(failed.fail(declined()).at(t(2))).await;
    let before = [world.task(completed.task.id).await, world.task(failed.task.id).await];

    world.apply(later(&root, 1, 0).keep().cancel(top.task.id).at(t(4))).await;

    same("completed before", &world.task(completed.task.id).await, &before[0]);
    same("failed before", &world.task(failed.task.id).await, &before[1]);
}

async fn cancelling_an_ended_step_changes_nothing(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.keep(), world.call("ship")).await;
    let detached = world.spawn(step.keep(), world.call("mail")).await;
    world.apply(later(&step, 1, 0).complete("parcel")).await;
    let before = world.snapshot().await;

    let news = world.apply(later(&parent, 1, 0).keep().cancel(step.task.id)).await;

    world.snapshot().await.expect_same("the cancel changed something", &before);
    same("the completion stands", (news.done, news.steps[0].order()), (1, Some(1)));
    world.apply(detached.complete("sent")).await;
}

async fn a_cancelled_task_starts_nothing_more(world: World) {
    let root = world.running("checkout").await;
    let top = world.spawn(root.keep(), world.call("ship")).await;
    let step = world.spawn(top.keep(), world.call("pack")).await;
    world.apply(later(&root, 1, 0).keep().cancel(top.task.id)).await;

    let late = world.call("fold");
    let id = late.id;
    same("outcome", world.commit(step.park().with(late)).await, Outcome::Gone);

    same("the late row", world.find(id).await, None);
    same("claimed", world.claim(9).at(t(29)).await.len(), 0);
}

async fn cancel_with_the_end_reaches_what_is_left(world: World) {
    let (root, top, below) = forest(&world).await;

    world.apply(root.complete("summary").cancel(top).at(t(4))).await;

    for task in below.into_iter().chain([top]) {
        world.expect_status(task, TaskStatus::Cancelled).await;
    }
    let timeline = world.timeline(root.task.tree.execution).await;
    same("open tasks", timeline.iter().filter(|task| !task.status.is_terminal()).count(), 0);
}

async fn siblings_of_a_cancelled_step_go_on(world: World) {
    let parent = world.running("checkout").await;
    let (one, two) = (world.call("ship"), world.call("ship"));
    world.apply(parent.keep().with(one).with(two)).await;
    let steps = world.claim(2).await;

    world.apply(later(&parent, 1, 0).park().cancel(steps[0].task.id)).await;
    world.apply(steps[1].complete("parcel")).await;

    let again = world.claim_one(t(0)).await;
    let states: Vec<_> = again.steps.iter().map(|step| (step.id, step.order())).collect();
    same("steps", states, [(steps[1].task.id, Some(1)), (steps[0].task.id, None)]);
}

async fn a_step_that_is_written_and_cancelled_in_one_turn_never_runs(world: World) {
    let parent = world.running("checkout").await;
    let step = world.call("ship");
    let id = step.id;

    world.apply(parent.keep().with(step).cancel(id)).await;

    world.expect_status(id, TaskStatus::Cancelled).await;
    same("claimed", world.claim(9).at(t(29)).await.len(), 0);
}

async fn cancel_races_with_completion_and_one_of_them_wins(world: World) {
    let peer = Arc::new(world.peer().await);
    let root = world.running("checkout").await;
    for round in 0..30 {
        let top = world.spawn(later(&root, 2 * round, 0).keep(), world.call("ship")).await;
        let step = world.spawn(top.keep(), world.call("pack")).await;

        let (peer, completing) = (Arc::clone(&peer), step.complete("packed"));
        let completing = tokio::spawn(async move { peer.commit(completing).await });
        world.apply(later(&root, 2 * round + 1, 0).keep().cancel(top.task.id)).await;
        let completed = completing.await.expect("the completion is answered");

        world.expect_status(top.task.id, TaskStatus::Cancelled).await;
        let expected = match completed {
            Outcome::Applied(_) => TaskStatus::Completed,
            Outcome::Gone => TaskStatus::Cancelled,
            other => panic!("the outcome of a completion that races with a cancel: {other:?}"),
        };
        world.expect_status(step.task.id, expected).await;
    }
}
