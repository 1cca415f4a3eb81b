//! Tasks that are retried: what counts, what stays, what is removed.

use super::words::*;

list! { retry:
    G6 a_failed_attempt_is_kept_readable_until_the_next,
    G13 the_last_failure_is_seen_while_it_runs_again,
    G4 a_retried_step_has_not_ended,
    G13 attempts_and_claims_are_counted_apart,
    G4 recorded_steps_survive_a_retry,
    G4 erased_steps_leave_no_trace,
    G15 what_is_below_an_erased_step_leaves_with_it,
    G15 the_late_result_of_an_erased_step_is_gone,
    G4 numbers_of_erased_completions_are_not_given_again,
    G4 a_position_can_be_taken_again_after_an_erasure,
    G4 an_erased_map_is_written_again_under_its_ids_and_starts_over,
    G5 completions_go_on_counting_between_two_attempts,
}

async fn a_failed_attempt_is_kept_readable_until_the_next(world: World) {
    let claimed = world.running("charge").await;

    world.apply(claimed.retry(t(7), declined()).at(t(1))).await;

    let view = world.task(claimed.task.id).await;
    same("status and moment", (view.status, view.ready_at), (TaskStatus::Pending, Some(t(7))));
    same("attempts and failure", (view.attempts, view.failure.as_deref()), (1, Some("no funds")));
    let execution = world.execution(claimed.task.id).await.expect("is there");
    same("execution", (execution.status, execution.result), (ExecutionStatus::Running, None));
    same("moments", (execution.started_at, execution.ended_at), (Some(t(0)), None));

    let again = world.claim_one(t(7)).await;
    same("attempts", again.task.attempts, 1);
    world.apply(again.complete("receipt")).await;
    let execution = world.execution(claimed.task.id).await.expect("is there");
    same("result", execution.result, Some(Ok(text("receipt"))));
}

async fn a_retried_step_has_not_ended(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.park(), world.call("charge")).await;

    world.apply(step.retry(t(3), declined())).await;

    same("claimed", world.claim(5).at(t(2)).await.len(), 0);
    let again = world.claim_one(t(3)).await;
    same("the step", (again.task.id, again.task.attempts), (step.task.id, 1));
    world.apply(again.complete("receipt")).await;
    same("completions", world.claim_one(t(3)).await.task.done, 1);
}

async fn attempts_and_claims_are_counted_apart(world: World) {
    world.dispatch(world.call("charge")).await;
    let mut counts = Vec::new();
    for (second, fails) in [(0, false), (1, true), (2, false), (3, true), (4, false)] {
        let claimed = world.claim(1).at(t(second)).lease(1).await.remove(0);
        counts.push((claimed.task.attempts, claimed.task.uncommitted_claims));
        if fails {
            world.apply(claimed.retry(t(second + 1), declined())).await;
        }
    }

    // Attempts that failed; claims since the last committed turn.
    same("attempts and claims", counts, [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1)]);
}

async fn recorded_steps_survive_a_retry(world: World) {
    let parent = world.running("checkout").await;
    world
        .apply(parent.keep().with(world.inline("render", "note")).with(world.call("ship").due(t(900))))
        .await;
    let before = world.claim_one(t(30)).await;

    world.apply(before.retry(t(40), declined())).await;

    let after = world.claim_one(t(40)).await;
    same("steps", &after.steps, &before.steps);
    same("completions and commits", (after.task.done, after.fence.commit), (1, 2));
}

/// A parent with three completed steps, the second of which has a step below it.
async fn recorded(world: &World) -> (Claimed, Vec<Claimed>, TaskId) {
    let parent = world.running("checkout").await;
    let drafts: Vec<_> = (0..3).map(|seq| world.call("ship").seq(seq)).collect();
    world.apply(drafts.into_iter().fold(parent.keep(), Turn::with)).await;
    let steps = world.claim(3).await;
    let below = world.inline("pack", "packed");
    let below_id = below.id;
    world.apply(steps[1].keep().with(below)).await;
    world.apply(steps[0].complete("parcel")).await;
    world.apply(later(&steps[1], 1, 1).fail(declined())).await;
    world.apply(steps[2].complete("parcel")).await;
    (later(&parent, 1, 3), steps, below_id)
}

async fn erased_steps_leave_no_trace(world: World) {
    let (parent, steps, _) = recorded(&world).await;

    world.apply(parent.retry(t(9), declined()).erase(steps[1].task.id)).await;

    same("the erased step", world.find(steps[1].task.id).await, None);
    let again = world.claim_one(t(9)).await;
    let kept: Vec<_> = again.steps.iter().map(|step| (step.id, step.order())).collect();
    same("what is kept", kept, [(steps[0].task.id, Some(1)), (steps[2].task.id, Some(3))]);
}

async fn what_is_below_an_erased_step_leaves_with_it(world: World) {
    let (parent, steps, below) = recorded(&world).await;
    let map = world.map("mail");
    let (map_id, item) = (map.id, world.call("mail"));
    let item_id = item.id;
    world.apply(parent.keep().with(map).items(map_id, [item]).feed(map_id, 1, None)).await;

    let turn = later(&parent, 1, 3).retry(t(9), declined()).erase(steps[1].task.id).erase(map_id);
    world.apply(turn).await;

    for gone in [steps[1].task.id, below, map_id, item_id] {
        same("what is left", world.find(gone).await, None);
    }
    same("items", world.items(map_id).await, Vec::new());
    same("number of tasks", world.timeline(parent.task.tree.execution).await.len(), 3);
    same("claimed", world.claim(9).at(t(9)).ids().await, [parent.task.id]);
}

async fn the_late_result_of_an_erased_step_is_gone(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.keep(), world.call("ship")).await;
    world.apply(later(&parent, 1, 0).retry(t(9), declined()).erase(step.task.id)).await;

    same("outcome", world.commit(step.complete("late").with(world.inline("a", "b"))).await, Outcome::Gone);

    let again = world.claim_one(t(9)).await;
    same("completions and steps", (again.task.done, again.steps.len()), (0, 0));
}

async fn numbers_of_erased_completions_are_not_given_again(world: World) {
    let (parent, steps, _) = recorded(&world).await;
    world.apply(parent.retry(t(9), declined()).erase(steps[2].task.id)).await;
    let again = world.claim_one(t(9)).await;
    same("completions", again.task.done, 3);

    let redone = world.inline("ship", "again");
    let id = redone.id;
    let news = world.apply(again.keep().with(redone)).await;

    same("completions", news.done, 4);
    same("number", world.task(id).await.done_order, Some(4));
}

async fn a_position_can_be_taken_again_after_an_erasure(world: World) {
    let (parent, steps, _) = recorded(&world).await;
    world.apply(parent.retry(t(9), declined()).erase(steps[1].task.id)).await;
    let again = world.claim_one(t(9)).await;

    let step = world.spawn(again.keep(), world.call("ship").seq(1)).await;

    same("position", step.task.seq, Seq(1));
}

/// The ids of a step and of its items are derived from their position in the tree, so the next attempt produces the same
/// ids.
async fn an_erased_map_is_written_again_under_its_ids_and_starts_over(world: World) {
    let parent = world.running("checkout").await;
    let (map, items) = (world.map("mail"), [0, 1, 2].map(|seq| world.call("mail").seq(seq)));
    let id = map.id;
    let whole = |turn: Turn| turn.with(map.clone()).items(id, items.clone()).feed(id, 3, Some(3));
    world.apply(whole(parent.keep())).await;
    let old = world.claim(3).functions(["mail"]).lease(1_000).await;
    world.apply(old[0].complete("sent")).await;
    world.apply(old[1].fail(declined())).await;
    world.apply(later(&parent, 1, 1).retry(t(9), declined()).erase(id)).await;

    let again = world.claim(1).functions(["checkout"]).at(t(9)).await.remove(0);
    world.apply(whole(again.keep())).await;

    let read: Vec<_> = world.items(id).await.into_iter().map(|item| (item.status, item.result)).collect();
    same("items", read, vec![(TaskStatus::Pending, None); 3]);
    same("a late result of the first attempt", world.commit(old[2].complete("late")).await, Outcome::Fenced);
    let new = world.claim(3).functions(["mail"]).at(t(10)).await;
    same("claims of each", new.iter().map(|item| item.fence.epoch.count).collect::<Vec<_>>(), [1, 1, 1]);
    world.apply(new[0].complete("sent again").at(t(11))).await;
    let owner = world.claim(1).functions(["checkout"]).at(t(60)).await.remove(0);
    same("how far the map has come", owner.steps[0].map, Some(Progress { fed: 3, total: Some(3), done: 1 }));
    for item in &new[1..] {
        world.apply(item.complete("sent again").at(t(12))).await;
    }
    same("which completion it is", world.task(id).await.done_order, Some(2));
}

async fn completions_go_on_counting_between_two_attempts(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.keep(), world.call("ship")).await;
    world.apply(later(&parent, 1, 0).retry(t(50), declined())).await;

    world.apply(step.complete("parcel").at(t(2))).await;

    same("a completion does not hasten the retry", world.claim(5).at(t(49)).await.len(), 0);
    let again = world.claim_one(t(50)).await;
    same("completions", (again.task.done, again.steps[0].order()), (1, Some(1)));
}

async fn the_last_failure_is_seen_while_it_runs_again(world: World) {
    let claimed = world.running("charge").await;
    let id = claimed.task.id;
    world.apply(claimed.retry(t(0), Failure::new("Busy", "first"))).await;
    let claimed = world.claim_one(t(0)).await;
    same("while it runs", world.task(id).await.failure.as_deref(), Some("first"));
    world.apply(claimed.park_for(Wait::for_next(0).until(Some(t(1))))).await;
    same("while it waits", world.task(id).await.failure.as_deref(), Some("first"));
    let claimed = world.claim_one(t(1)).await;
    world.apply(claimed.retry(t(1), Failure::new("Busy", "second"))).await;
    let claimed = world.claim_one(t(1)).await;
    same("after another one", world.task(id).await.failure.as_deref(), Some("second"));

    world.apply(claimed.complete("receipt")).await;

    same("after it went well", world.task(id).await.failure, None);
}
