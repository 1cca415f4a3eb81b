//! Executions that start others, and those who wait for them.

use stent_core::backend::Purge;

use super::words::*;

list! { join:
    G1 an_execution_is_started_with_the_step_that_says_so,
    G3 a_refused_turn_starts_nothing,
    G3 a_repeated_turn_starts_it_once,
    G4 the_same_position_starts_it_once_across_attempts,
    G7 it_lives_a_life_of_its_own,
    G12 it_may_be_a_hit_or_wait,
    G4 who_joins_one_that_runs_is_told_when_it_ends,
    G4 who_joins_one_that_has_ended_is_told_at_once,
    G4 who_joins_nobody_is_told_so,
    G4 a_retry_is_no_end,
    G4 everyone_who_joined_is_told,
    G4 joins_make_chains,
    G5 it_wakes_at_the_count_and_not_before,
    G15 a_join_that_was_given_up_is_told_nothing,
    G15 a_join_below_a_cancelled_step_is_told_nothing,
    G14 results_come_back_byte_by_byte,
    G4 it_can_be_started_and_joined_in_one_turn,
    G5 end_and_join_meet_in_one_batch_in_either_order,
    G5 parking_and_end_meet_in_one_batch_in_either_order,
    G5 a_join_outlives_a_crash,
    G5 an_end_races_with_joins_and_all_are_told,
}

fn ok(value: &str) -> Option<Result<Payload, Failure>> {
    Some(Ok(text(value)))
}

/// A function that is parked until the execution of a root has ended, and its join.
async fn joining(world: &World, root: TaskId) -> (TaskId, TaskId) {
    let parent = world.call("checkout");
    let id = world.dispatch(parent).await;
    let claimed = world.claim(1).functions(["checkout"]).await.remove(0);
    same("the claimed task", claimed.task.id, id);
    let join = world.join(root);
    let joined = join.id;
    world.apply(claimed.park().with(join)).await;
    (id, joined)
}

async fn an_execution_is_started_with_the_step_that_says_so(world: World) {
    let root = world.running("checkout").await;
    let child = world.call("ship").args(text("parcel")).on("eu").priority(3);
    let (child_id, step) = (child.id, world.start_of(child.id));
    let step_id = step.id;

    let news = world.apply(root.keep().spawn(step, child).at(t(2))).await;

    same("a completion of its own", (news.done, news.steps.len()), (1, 0));
    let view = world.execution(child_id).await.expect("is there");
    same("the execution", (view.status, view.created_at), (ExecutionStatus::Pending, t(2)));
    same("its queue and priority", (view.queue.as_str(), view.priority), ("eu", 3));
    same("its own timeline", world.timeline(child_id.execution()).await.len(), 1);
    same("the timeline of who started it", world.timeline(root.task.tree.execution).await.len(), 2);
    let claimed = world.claim_one(t(2)).await;
    same("claimed", (claimed.task.id, claimed.task.args), (child_id, text("parcel")));
    let again = world.claim(9).at(t(30)).functions(["checkout"]).await.remove(0);
    same("the record", given(&again.steps, step_id), ok(&child_id.to_string()));
    same("its kind", again.steps[0].kind, StepKind::Spawn);
}

async fn a_refused_turn_starts_nothing(world: World) {
    let stale = world.running("checkout").await;
    world.claim_one(t(30)).await;
    let child = world.call("ship");
    let id = child.id;

    same("outcome", world.commit(stale.keep().spawn(world.start_of(id), child)).await, Outcome::Fenced);

    same("the execution", world.execution(id).await, None);
}

async fn a_repeated_turn_starts_it_once(world: World) {
    let root = world.running("checkout").await;
    let child = world.call("ship");
    let id = child.id;
    let turn = root.keep().spawn(world.start_of(id), child);
    world.apply(turn.clone()).await;
    world.apply(world.claim_one(t(0)).await.complete("parcel")).await;

    already(world.commit(turn).await);

    same("result", world.result(id).await, ok("parcel"));
    same("claimed", world.claim(9).at(t(29)).await.len(), 0);
}

async fn the_same_position_starts_it_once_across_attempts(world: World) {
    let root = world.running("checkout").await;
    let child = world.call("ship");
    let (id, step) = (child.id, world.start_of(child.id));
    let step_id = step.id;
    world.apply(root.keep().spawn(step, child.clone())).await;
    let running = world.claim_one(t(0)).await;
    world.apply(later(&root, 1, 1).retry(t(1), declined()).erase(step_id)).await;

    // The next attempt asks for the same again.
    let again = world.claim_one(t(1)).await;
    world.apply(again.keep().spawn(world.start_of(id), child.args(text("other")))).await;

    same("claimed", world.claim(9).at(t(2)).await.len(), 0);
    world.apply(running.complete("parcel")).await;
    same("result", world.result(id).await, ok("parcel"));
}

async fn it_lives_a_life_of_its_own(world: World) {
    let root = world.running("checkout").await;
    let children = [world.call("ship"), world.call("ship"), world.call("ship")];
    let ids = children.clone().map(|child| child.id);
    let mut turn = root.keep();
    for child in children {
        turn = turn.spawn(world.start_of(child.id), child);
    }
    world.apply(turn).await;

    world.apply(later(&root, 1, 3).complete("summary")).await;
    let running = world.claim(9).await;
    world.apply(running[0].complete("parcel")).await;
    world.apply(running[1].fail(declined())).await;
    world.apply(cancel(ids[2], 10, t(0))).await;

    same("one", world.status(ids[0]).await, ExecutionStatus::Completed);
    same("another", world.status(ids[1]).await, ExecutionStatus::Failed);
    same("a third", world.status(ids[2]).await, ExecutionStatus::Cancelling);
    same("a dead letter", world.dead_letters().await.len(), 1);
    same("purged", world.purge(t(1), 9).await, 2);
    same("what is left", world.status(ids[1]).await, ExecutionStatus::Failed);
}

async fn it_may_be_a_hit_or_wait(world: World) {
    world.dispatch(world.call("ship").keyed(key("had"))).await;
    world.apply(world.claim_one(t(0)).await.complete("parcel")).await;
    world.dispatch(world.call("ship").keyed(key("awaited"))).await;
    let holder = world.claim_one(t(0)).await;
    let root = world.running("checkout").await;
    let (hit, waiting) = (world.call("ship").keyed(key("had")), world.call("ship").keyed(key("awaited")));
    let (ids, joins) = ([hit.id, waiting.id], [world.join(hit.id), world.join(waiting.id)]);
    let join_ids = joins.clone().map(|join| join.id);
    let turn = root.keep().spawn(world.start_of(ids[0]), hit).spawn(world.start_of(ids[1]), waiting);
    world.apply(joins.into_iter().fold(turn, Turn::with)).await;

    same("the hit", world.result(ids[0]).await, ok("parcel"));
    same("the other", world.status(ids[1]).await, ExecutionStatus::Pending);
    world.apply(holder.complete("another")).await;

    same("the other then", world.result(ids[1]).await, ok("another"));
    let again = world.claim(9).at(t(30)).await.remove(0);
    same("told of both", join_ids.map(|id| given(&again.steps, id)), [ok("parcel"), ok("another")]);
}

async fn who_joins_one_that_runs_is_told_when_it_ends(world: World) {
    for fails in [false, true] {
        let joined = world.running("ship").await;
        let (parent, join) = joining(&world, joined.task.id).await;
        same("claimed before", world.claim(9).at(t(29)).await.len(), 0);
        world.expect_status(join, TaskStatus::Waiting).await;

        let end = if fails { joined.fail(declined()) } else { joined.complete("parcel") };
        world.apply(end.at(t(4))).await;

        let woken = world.claim_one(t(4)).await;
        same("woken", woken.task.id, parent);
        let expected = if fails { Some(Err(declined())) } else { ok("parcel") };
        same("told", given(&woken.steps, join), expected);
        same("when", world.task(join).await.ended_at, Some(t(4)));
        world.apply(woken.complete("summary")).await;
    }
}

async fn who_joins_one_that_has_ended_is_told_at_once(world: World) {
    let completed = world.running("ship").await;
    world.apply(completed.complete("parcel")).await;
    let failed = world.running("ship").await;
    world.apply(failed.fail(declined())).await;
    let cancelled = world.dispatch(world.call("ship")).await;
    world.apply(cancel(cancelled, 1, t(0))).await;
    let over = world.dispatch(world.call("ship").due(t(99)).expires(t(1))).await;
    world.expire_all(t(1)).await;
    let root = world.running("checkout").await;
    let joins = [completed.task.id, failed.task.id, cancelled, over].map(|root| world.join(root));
    let ids = joins.clone().map(|join| join.id);

    let news = world.apply(joins.into_iter().fold(root.keep(), Turn::with)).await;

    same("completions", news.done, 4);
    same("one that completed", given(&news.steps, ids[0]), ok("parcel"));
    same("one that failed", given(&news.steps, ids[1]), Some(Err(declined())));
    same("one that was cancelled", given(&news.steps, ids[2]), Some(Err(Failure::cancelled())));
    let failure = given(&news.steps, ids[3]).expect("it has ended").expect_err("a failure");
    same("one whose time was up", failure.kind.as_str(), Failure::TIMED_OUT);
}

async fn who_joins_nobody_is_told_so(world: World) {
    let purged = world.running("ship").await;
    world.apply(purged.complete("parcel")).await;
    world.purge_of(Purge::Executions, t(1), 1).await;
    let root = world.running("checkout").await;
    let joins = [world.join(purged.task.id), world.join(world.id())];
    let ids = joins.clone().map(|join| join.id);

    let news = world.apply(joins.into_iter().fold(root.keep(), Turn::with)).await;

    for id in ids {
        let failure = given(&news.steps, id).expect("it has ended").expect_err("a failure");
        same("failure", (failure.kind.as_str(), failure.fatal), (Failure::NOT_FOUND, true));
    }
}

async fn a_retry_is_no_end(world: World) {
    let joined = world.running("ship").await;
    let (parent, join) = joining(&world, joined.task.id).await;

    world.apply(joined.retry(t(1), declined())).await;
    let again = world.claim_one(t(1)).await;
    same("who is claimed", again.task.id, joined.task.id);
    world.apply(again.release().at(t(1))).await;
    let again = world.claim_one(t(31)).await;
    world.apply(again.complete("parcel").at(t(32))).await;

    let woken = world.claim_one(t(32)).await;
    same("told", (woken.task.id, given(&woken.steps, join)), (parent, ok("parcel")));
}

async fn everyone_who_joined_is_told(world: World) {
    let joined = world.running("ship").await;
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(joining(&world, joined.task.id).await);
    }
    let root = world.running("checkout").await;
    let (one, two) = (world.join(joined.task.id), world.join(joined.task.id));
    let ids = [one.id, two.id];
    world.apply(root.park_for(wait_for(2)).with(one).with(two)).await;

    world.apply(joined.complete("parcel")).await;

    let woken = world.claim(9).await;
    same("woken", woken.len(), 6);
    for (claimed, (parent, join)) in woken.iter().zip(&all) {
        same("told", (claimed.task.id, given(&claimed.steps, *join)), (*parent, ok("parcel")));
    }
    same("told twice", ids.map(|id| given(&woken[5].steps, id)), [ok("parcel"), ok("parcel")]);
}

async fn joins_make_chains(world: World) {
    let first = world.running("ship").await;
    let (second, second_join) = joining(&world, first.task.id).await;
    let (third, third_join) = joining(&world, second).await;

    world.apply(first.complete("parcel")).await;
    let woken = world.claim_one(t(0)).await;
    same("the second", given(&woken.steps, second_join), ok("parcel"));
    world.apply(woken.complete("summary")).await;

    let woken = world.claim_one(t(0)).await;
    same("the third", (woken.task.id, given(&woken.steps, third_join)), (third, ok("summary")));
}

async fn it_wakes_at_the_count_and_not_before(world: World) {
    let (one, two) = (world.running("ship").await, world.running("ship").await);
    let root = world.running("checkout").await;
    let turn = root.park_for(wait_for(2)).with(world.join(one.task.id)).with(world.join(two.task.id));
    world.apply(turn).await;

    world.apply(two.complete("parcel")).await;
    same("claimed after one", world.claim(9).at(t(29)).await.len(), 0);
    world.apply(one.fail(declined())).await;

    same("completions", world.claim_one(t(0)).await.task.done, 2);
}

async fn a_join_that_was_given_up_is_told_nothing(world: World) {
    let joined = world.running("ship").await;
    let root = world.running("checkout").await;
    let join = world.join(joined.task.id);
    let id = join.id;
    world.apply(root.keep().with(join)).await;
    world.apply(later(&root, 1, 0).park().cancel(id)).await;

    world.apply(joined.complete("parcel")).await;

    world.expect_status(id, TaskStatus::Cancelled).await;
    same("claimed", world.claim(9).at(t(29)).await.len(), 0);
}

async fn a_join_below_a_cancelled_step_is_told_nothing(world: World) {
    let joined = world.running("ship").await;
    let root = world.running("checkout").await;
    let step = world.spawn(root.keep(), world.call("pack")).await;
    let join = world.join(joined.task.id);
    let id = join.id;
    world.apply(step.park().with(join)).await;

    world.apply(later(&root, 1, 0).park().cancel(step.task.id)).await;
    world.apply(joined.complete("parcel")).await;

    world.expect_status(id, TaskStatus::Cancelled).await;
    same("claimed", world.claim(9).at(t(29)).await.len(), 0);
}

async fn results_come_back_byte_by_byte(world: World) {
    use stent_core::transition::Change;
    for value in [
        Payload::empty(),
        Payload::new("application/json", b"null".to_vec()),
        Payload::new("é/\u{1F600}", (0..=255).cycle().take(100_000).collect::<Vec<u8>>()),
    ] {
        let joined = world.running("ship").await;
        let (_, before) = joining(&world, joined.task.id).await;
        world.apply(joined.turn(Change::End(Ok(value.clone())))).await;
        let woken = world.claim_one(t(0)).await;
        let join = world.join(joined.task.id);
        let after = join.id;

        let news = world.apply(woken.keep().with(join)).await;

        same("of one who waited", given(&woken.steps, before), Some(Ok(value.clone())));
        same("of one who came after", given(&news.steps, after), Some(Ok(value)));
        world.apply(later(&woken, 1, 2).complete("summary")).await;
    }
}

async fn it_can_be_started_and_joined_in_one_turn(world: World) {
    let root = world.running("checkout").await;
    let child = world.call("ship");
    let (id, join) = (child.id, world.join(child.id));
    let joined = join.id;

    world.apply(root.park_for(wait_for(2)).spawn(world.start_of(id), child).with(join)).await;

    let child = world.claim_one(t(0)).await;
    same("claimed", child.task.id, id);
    world.apply(child.complete("parcel")).await;
    same("told", given(&world.claim_one(t(0)).await.steps, joined), ok("parcel"));
}

async fn end_and_join_meet_in_one_batch_in_either_order(world: World) {
    for end_first in [true, false] {
        let joined = world.running("ship").await;
        let root = world.running("checkout").await;
        let join = world.join(joined.task.id);
        let id = join.id;
        let mut batch = [joined.complete("parcel"), root.park().with(join)];
        if !end_first {
            batch.reverse();
        }

        for outcome in world.commit_all(batch).await {
            applied(outcome);
        }

        let woken = world.claim_one(t(0)).await;
        same("told", (woken.task.id, given(&woken.steps, id)), (root.task.id, ok("parcel")));
        world.apply(woken.complete("summary")).await;
    }
}

async fn parking_and_end_meet_in_one_batch_in_either_order(world: World) {
    for end_first in [true, false] {
        let joined = world.running("ship").await;
        let root = world.running("checkout").await;
        world.apply(root.keep().with(world.join(joined.task.id))).await;
        let mut batch = [joined.complete("parcel"), later(&root, 1, 0).park()];
        if !end_first {
            batch.reverse();
        }

        for outcome in world.commit_all(batch).await {
            applied(outcome);
        }

        let woken = world.claim_one(t(0)).await;
        same("woken", (woken.task.id, woken.task.done), (root.task.id, 1));
        world.apply(woken.complete("summary")).await;
    }
}

async fn a_join_outlives_a_crash(world: World) {
    let joined = world.running("ship").await;
    let (parent, join) = joining(&world, joined.task.id).await;

    let world = world.crash().await;
    world.apply(joined.complete("parcel")).await;
    let world = world.crash().await;

    let woken = world.claim_one(t(0)).await;
    same("told", (woken.task.id, given(&woken.steps, join)), (parent, ok("parcel")));
}

async fn an_end_races_with_joins_and_all_are_told(world: World) {
    for _ in 0..15 {
        let joined = world.running("ship").await;
        world.dispatch_many(3, || world.call("checkout")).await;
        let parents = world.claim(3).await;

        let joins = at_once(&world, 4, |peer, n| {
            let (end, parent) = (joined.complete("parcel"), parents.get(n.wrapping_sub(1)).cloned());
            let root = joined.task.id;
            async move {
                let Some(parent) = parent else {
                    peer.apply(end).await;
                    return None;
                };
                let join = peer.join(root);
                let id = join.id;
                peer.apply(parent.park().with(join)).await;
                Some(id)
            }
        })
        .await;

        let woken = world.claim(9).await;
        same("woken", woken.len(), 3);
        for join in joins.into_iter().flatten() {
            let told = woken.iter().find_map(|claimed| given(&claimed.steps, join));
            same("told", told, ok("parcel"));
        }
        world.commit_all(woken.iter().map(|claimed| claimed.complete("summary"))).await;
    }
}
