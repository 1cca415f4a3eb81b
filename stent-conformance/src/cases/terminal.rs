//! Ends are final.

use super::words::*;

list! { terminal:
    G7 a_completed_task_never_changes_again,
    G7 a_failed_task_never_changes_again,
    G7 a_cancelled_task_never_changes_again,
    G7 a_task_whose_time_was_up_never_changes_again,
    G7 an_execution_that_has_ended_takes_no_request,
    G7 an_end_is_final_on_every_handle,
    G7 an_ended_task_is_never_claimed,
    G7 the_end_of_a_step_does_not_reach_a_parent_that_has_ended,
    G7 the_first_of_two_ends_wins,
}

/// Sends everything that can be sent to a task that has ended.
async fn expect_final(world: &World, ended: &Claimed) {
    let id = ended.task.id;
    let before = world.snapshot().await;
    // Under the count at which the task ended, and as the next claim would write if there were one.
    let next = later(ended, 1, 0);
    let mut reclaimed = next.clone();
    reclaimed.fence.epoch = reclaimed.fence.epoch.next(world.nonce());
    for holder in [next, reclaimed] {
        for turn in [
            holder.keep().with(world.call("ship")).with(world.inline("render", "note")),
            holder.park_for(Wait::for_next(0).until(Some(t(1)))),
            holder.complete("again"),
            holder.fail(Failure::new("Other", "another failure")),
            holder.retry(t(1), declined()),
            holder.release(),
        ] {
            let what = format!("{turn:?}");
            same(&what, world.commit(turn).await, Outcome::Gone);
        }
    }
    same("a hint", world.commit(ended.unpark()).await, Outcome::Gone);
    let answers = world.store().renew(&[ended.lease], t(0), t(500)).await.expect("renew");
    same("renewal", answers, [Renewal::Lost]);
    world.snapshot().await.expect_same(&format!("{id:?} has ended and changed again"), &before);
}

async fn a_completed_task_never_changes_again(world: World) {
    let claimed = world.running("charge").await;
    world.apply(claimed.complete("receipt")).await;

    expect_final(&world, &claimed).await;
}

async fn a_failed_task_never_changes_again(world: World) {
    let claimed = world.running("charge").await;
    world.apply(claimed.fail(declined())).await;

    expect_final(&world, &claimed).await;
}

async fn a_cancelled_task_never_changes_again(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.keep(), world.call("ship")).await;
    world.apply(later(&parent, 1, 0).keep().cancel(step.task.id)).await;

    expect_final(&world, &step).await;
}

async fn a_task_whose_time_was_up_never_changes_again(world: World) {
    world.dispatch(world.call("charge").expires(t(5))).await;
    let claimed = world.claim_one(t(0)).await;
    world.expire_all(t(5)).await;

    expect_final(&world, &claimed).await;
}

async fn an_execution_that_has_ended_takes_no_request(world: World) {
    let completed = world.running("charge").await;
    world.apply(completed.complete("receipt")).await;
    let cancelled = world.dispatch(world.call("charge")).await;
    world.apply(cancel(cancelled, 5, t(0))).await;
    let over = world.dispatch(world.call("charge").expires(t(5))).await;
    world.expire_all(t(5)).await;
    let before = world.snapshot().await;

    for id in [completed.task.id, cancelled, over] {
        let requests = [
            signal(id, "approval", world.id(), text("late")),
            redrive(id).at(t(9)),
            redrive_by(id, RetryPolicy::default()).at(t(9)),
            discard(id).at(t(9)),
        ];
        for request in requests {
            let what = format!("{request:?}");
            same(&what, world.commit(request).await, Outcome::Gone);
        }
        let asked = world.commit(cancel(id, 9, t(9))).await;
        let expected = if id == cancelled { Outcome::Already(News::default()) } else { Outcome::Gone };
        same("asked to end", asked, expected);
    }
    world.snapshot().await.expect_same("something changed after its end", &before);
}

async fn an_end_is_final_on_every_handle(world: World) {
    for _ in 0..10 {
        let claimed = world.running("charge").await;
        let id = claimed.task.id;

        // Different ends, and a request, from everywhere: the first one stays.
        let outcomes = at_once(&world, 6, |peer, n| {
            let end: Transition = match n % 3 {
                0 => claimed.complete(&n.to_string()).into(),
                1 => claimed.retry(t(50), declined()).into(),
                _ => claimed.release().into(),
            };
            async move { peer.commit(end).await }
        })
        .await;

        let applied = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Applied(_))).count();
        same("applied", applied, 1);
        let first = world.execution(id).await;
        for _ in 0..3 {
            let views = at_once(&world, 4, |peer, _| async move { peer.execution(id).await }).await;
            same("seen from everywhere", views, vec![first.clone(); 4]);
        }
        if first.is_some_and(|view| !view.status.is_terminal()) {
            world.apply(cancel(id, 0, t(0))).await;
        }
    }
}

async fn an_ended_task_is_never_claimed(world: World) {
    for end in 0..3 {
        let parent = world.running("checkout").await;
        let step = world.spawn(parent.keep(), world.call("ship")).await;
        let parent = later(&parent, 1, 0);
        world.apply(parent.keep()).await;
        match end {
            0 => drop(world.apply(step.complete("parcel")).await),
            1 => drop(world.apply(step.fail(declined())).await),
            _ => drop(world.apply(later(&parent, 1, 0).keep().cancel(step.task.id)).await),
        }
        let commits = if end == 2 { 2 } else { 1 };
        world.apply(later(&parent, commits, 0).complete("summary")).await;
    }

    same("claimed", world.claim(99).at(Timestamp::MAX).await.len(), 0);
    same("next moment", world.claim(99).next_due().await, None);
}

async fn the_end_of_a_step_does_not_reach_a_parent_that_has_ended(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.keep(), world.call("mail")).await;
    world.apply(later(&parent, 1, 0).complete("summary")).await;
    let before = (world.task(parent.task.id).await, world.execution(parent.task.id).await);

    // The step was let go of and continues; its end is its own.
    world.apply(step.complete("sent").at(t(5))).await;

    same("the parent", (world.task(parent.task.id).await, world.execution(parent.task.id).await), before);
    let view = world.task(step.task.id).await;
    same("the step", (view.status, view.done_order), (TaskStatus::Completed, None));
}

async fn the_first_of_two_ends_wins(world: World) {
    let claimed = world.running("charge").await;

    let outcomes =
        world.commit_all([claimed.complete("first"), later(&claimed, 1, 0).fail(declined())]).await;

    same("the second", &outcomes[1], &Outcome::Gone);
    let execution = world.execution(claimed.task.id).await.expect("is there");
    same("result", execution.result, Some(Ok(text("first"))));
}
