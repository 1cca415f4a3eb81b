//! Functions that wait for the end of other executions.

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
    G4 an_execution_that_was_cancelled_says_so,
    G4 an_execution_that_is_cancelled_while_it_is_waited_for_says_so,
    G4 an_execution_that_ends_at_once_when_asked_to_tells_who_waits,
    G4 an_execution_whose_time_was_up_says_so,
    G4 an_execution_whose_time_is_up_while_it_is_waited_for_says_so,
    G4 a_purged_execution_fails_the_wait,
    G4 a_step_is_no_execution_to_wait_for,
    G14 failures_come_back_whole,
    G4 one_function_may_wait_twice,
    G4 it_has_its_place_among_the_completions,
    G7 other_executions_tell_nothing,
    G4 the_failure_of_an_earlier_attempt_is_no_result,
    G4 a_dead_letter_that_was_redriven_is_waited_for_again,
    G4 what_was_told_stays_told,
    G15 a_wait_below_a_cancelled_execution_is_not_told,
    G7 a_function_that_has_ended_is_not_told,
    G15 of_those_who_wait_only_the_one_who_gave_up_is_left_out,
    G4 a_wait_that_left_the_record_is_not_told,
    G5 the_failure_and_the_wait_meet_in_one_batch_in_either_order,
    G15 the_end_and_the_giving_up_meet_in_one_batch_in_either_order,
    G4 many_ends_in_one_batch_are_told_each_to_its_own,
    G5 a_step_may_wait_for_an_execution,
    G3 a_repeated_end_is_told_once,
    G3 a_repeated_wait_waits_once,
    G3 a_fenced_end_is_not_told,
    G16 what_was_given_outlives_the_purge_of_its_giver,
    G4 an_end_is_told_to_what_follows_it_in_its_batch,
    G4 ends_of_one_batch_are_told_in_its_order,
}

fn ok(value: &str) -> Option<Result<Payload, Failure>> {
    Some(Ok(text(value)))
}

/// A function that is parked until a root's execution ends, and its join.
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
    use stent_core::transition::Next;
    for value in [
        Payload::empty(),
        Payload::new("application/json", b"null".to_vec()),
        Payload::new("é/\u{1F600}", (0..=255).cycle().take(100_000).collect::<Vec<u8>>()),
    ] {
        let joined = world.running("ship").await;
        let (_, before) = joining(&world, joined.task.id).await;
        world.apply(joined.turn(Next::End(Ok(value.clone())))).await;
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

/// The kind of a step's failure.
fn kind(steps: &[Step], step: TaskId) -> Option<String> {
    given(steps, step)?.err().map(|failure| failure.kind.into())
}

/// Dispatches a call and claims it, whatever else is due.
async fn claim(world: &World, function: &str) -> Claimed {
    let id = world.dispatch(world.call(function)).await;
    let claimed = world.claim(99).functions([function]).await;
    claimed.into_iter().find(|claimed| claimed.task.id == id).expect("what was dispatched is due")
}

/// A function that is parked until another execution ends, and its wait.
async fn waiting_for(world: &World, root: TaskId) -> (Claimed, TaskId) {
    let waiter = claim(world, "checkout").await;
    let join = world.join(root);
    let id = join.id;
    world.apply(waiter.park().with(join)).await;
    (waiter, id)
}

/// A running function, a function that is parked until the first one ends, and its wait.
async fn pair(world: &World) -> (Claimed, Claimed, TaskId) {
    let root = world.running("ship").await;
    let (waiter, join) = waiting_for(world, root.task.id).await;
    (root, waiter, join)
}

/// The answer that a function gets at once when it waits for an execution.
async fn heard(world: &World, root: TaskId) -> (Step, Vec<Step>) {
    let waiter = claim(world, "checkout").await;
    let join = world.join(root);
    let id = join.id;
    let news = world.apply(waiter.keep().with(join).at(t(50))).await;
    same("completions", news.done, 1);
    let step = news.steps.iter().find(|step| step.id == id).expect("the wait is over").clone();
    (step, news.steps)
}

/// An execution that was cancelled before the wait ends the wait with that failure.
async fn an_execution_that_was_cancelled_says_so(world: World) {
    let root = world.dispatch(world.call("ship").due(t(900))).await;
    world.apply(cancel(root, 0, t(1))).await;
    same("status", world.status(root).await, ExecutionStatus::Cancelled);

    let (step, steps) = heard(&world, root).await;

    same("failure", given(&steps, step.id), Some(Err(Failure::cancelled())));
}

/// An execution that runs when it is asked to end reports its end when it has ended, not before.
async fn an_execution_that_is_cancelled_while_it_is_waited_for_says_so(world: World) {
    let (root, waiter, join) = pair(&world).await;

    world.apply(cancel(root.task.id, 20, t(1))).await;
    same("claimed while it tidies up", world.claim(9).at(t(2)).await.len(), 0);
    world.apply(root.complete("too late").at(t(3))).await;

    let woken = world.claim_one(t(3)).await;
    same("woken", woken.task.id, waiter.task.id);
    same("failure", given(&woken.steps, join), Some(Err(Failure::cancelled())));
}

/// An execution that does not run when it is asked to end has ended at that moment, and so have the waits for it.
async fn an_execution_that_ends_at_once_when_asked_to_tells_who_waits(world: World) {
    let parked = world.running("ship").await;
    world.apply(parked.park()).await;
    let pending = world.dispatch(world.call("ship").due(t(900))).await;
    for root in [parked.task.id, pending] {
        let (waiter, join) = waiting_for(&world, root).await;

        world.apply(cancel(root, 20, t(1))).await;

        let woken = world.claim_one(t(1)).await;
        same("woken", woken.task.id, waiter.task.id);
        same("failure", given(&woken.steps, join), Some(Err(Failure::cancelled())));
    }
}

/// An execution that timed out before the wait says so.
async fn an_execution_whose_time_was_up_says_so(world: World) {
    let root = world.dispatch(world.call("ship").expires(t(5)).due(t(900))).await;
    world.expire_all(t(6)).await;
    let expected = world.result(root).await;

    let (step, steps) = heard(&world, root).await;

    same("kind", kind(&steps, step.id).as_deref(), Some(Failure::TIMED_OUT));
    same("failure", given(&steps, step.id), expected);
}

/// So does an execution that times out during the wait.
async fn an_execution_whose_time_is_up_while_it_is_waited_for_says_so(world: World) {
    let root = world.dispatch(world.call("ship").expires(t(5)).due(t(900))).await;
    let (waiter, join) = waiting_for(&world, root).await;

    same("expired", world.expire_all(t(6)).await, [root]);

    let woken = world.claim_one(t(6)).await;
    same("woken", woken.task.id, waiter.task.id);
    same("kind", kind(&woken.steps, join).as_deref(), Some(Failure::TIMED_OUT));
}

/// Nor does a wait for an execution that no longer exists.
async fn a_purged_execution_fails_the_wait(world: World) {
    let root = world.running("ship").await;
    world.apply(root.complete("shipped")).await;
    same("purged", world.purge(t(1), 9).await, 1);

    let (step, steps) = heard(&world, root.task.id).await;

    same("kind", kind(&steps, step.id).as_deref(), Some(Failure::NOT_FOUND));
}

/// A wait names an execution by the id of its root; a task below the root also ends, but is not an execution.
async fn a_step_is_no_execution_to_wait_for(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.keep(), world.call("ship")).await;

    let join = world.join(step.task.id);
    let id = join.id;
    let steps = world.apply(later(&parent, 1, 0).keep().with(join)).await.steps;

    same("kind", kind(&steps, id).as_deref(), Some(Failure::NOT_FOUND));
}

/// Kind, message, causes, trace, data and the fatal flag: the whole failure arrives, at once and later.
async fn failures_come_back_whole(world: World) {
    let mut failure = Failure::new("ShipError::Lost", "parcel\nwas é lost").fatal();
    failure.causes = vec!["no\u{0}van".to_owned(), String::new()];
    failure.trace = Some("at ship.rs:7".to_owned());
    failure.data = Some(Payload::new("application/cbor", (0..=255).collect()));
    let (root, _, join) = pair(&world).await;

    world.apply(root.fail(failure.clone())).await;

    same("later", given(&world.claim_one(t(0)).await.steps, join), Some(Err(failure.clone())));
    let (step, steps) = heard(&world, root.task.id).await;
    same("at once", given(&steps, step.id), Some(Err(failure)));
}

/// Each wait of a function is a separate step with a separate completion.
async fn one_function_may_wait_twice(world: World) {
    let root = world.running("ship").await;
    let waiter = claim(&world, "checkout").await;
    let (one, two) = (world.join(root.task.id), world.join(root.task.id));
    let ids = [one.id, two.id];
    world.apply(waiter.park_for(wait_for(2)).with(one).with(two)).await;

    world.apply(root.complete("shipped")).await;

    let woken = world.claim_one(t(0)).await;
    same("completions", woken.task.done, 2);
    same("numbers", woken.steps.iter().filter_map(Step::order).collect::<Vec<_>>(), [1, 2]);
    for id in ids {
        same("result", given(&woken.steps, id), ok("shipped"));
    }
}

/// The end of a wait is the next completion of the function, after the earlier ones.
async fn it_has_its_place_among_the_completions(world: World) {
    let root = world.running("ship").await;
    let waiter = claim(&world, "checkout").await;
    let (join, before, after) = (world.join(root.task.id), world.call("pack"), world.call("pack"));
    let ids = [before.id, join.id, after.id];
    let turn = waiter.park_for(wait_for(4)).with(world.inline("render", "note"));
    world.apply(turn.with(join).with(before).with(after)).await;
    let calls = world.claim(2).functions(["pack"]).await;

    world.apply(calls[0].complete("before")).await;
    world.apply(root.complete("shipped")).await;
    world.apply(calls[1].complete("after")).await;

    let woken = world.claim_one(t(0)).await;
    let completed: Vec<_> = woken.steps[1..].iter().map(|step| (step.id, step.order())).collect();
    same("completions", completed, [(ids[0], Some(2)), (ids[1], Some(3)), (ids[2], Some(4))]);
}

/// The end of one execution does not affect waits for another one.
async fn other_executions_tell_nothing(world: World) {
    let (root, _, join) = pair(&world).await;
    let other = world.running("ship").await;
    let step = world.spawn(root.keep(), world.call("pack")).await;

    world.apply(other.complete("another")).await;
    world.apply(step.complete("packed")).await;

    same("claimed", world.claim(9).at(t(9)).await.len(), 0);
    world.expect_status(join, TaskStatus::Waiting).await;
}

/// The stored failure of an earlier attempt is not a result for a wait that begins while the task is retried.
async fn the_failure_of_an_earlier_attempt_is_no_result(world: World) {
    let root = world.running("ship").await;
    world.apply(root.retry(t(50), declined())).await;

    let (_, join) = waiting_for(&world, root.task.id).await;

    world.expect_status(join, TaskStatus::Waiting).await;
    same("failure", world.task(join).await.failure, None);
    let again = world.claim_one(t(50)).await;
    world.apply(again.complete("shipped")).await;
    same("result", given(&world.claim_one(t(50)).await.steps, join), ok("shipped"));
}

/// A redriven dead letter is open again; a wait that begins now gets its new end.
async fn a_dead_letter_that_was_redriven_is_waited_for_again(world: World) {
    let root = world.running("ship").await;
    world.apply(root.fail(declined())).await;
    world.apply(redrive(root.task.id)).await;
    let again = world.claim_one(t(0)).await;

    let (waiter, join) = waiting_for(&world, root.task.id).await;
    world.expect_status(join, TaskStatus::Waiting).await;
    world.apply(again.complete("at last")).await;

    let woken = world.claim_one(t(0)).await;
    same("woken", (woken.task.id, given(&woken.steps, join)), (waiter.task.id, ok("at last")));
}

/// A function that received a failure has it on record, whatever happens to the dead letter.
async fn what_was_told_stays_told(world: World) {
    let (root, waiter, join) = pair(&world).await;
    world.apply(root.fail(declined())).await;
    world.apply(redrive(root.task.id)).await;
    let woken = world.claim(9).await;
    let again = woken.iter().find(|claimed| claimed.task.id == root.task.id).expect("redriven");

    world.apply(again.complete("at last")).await;

    let waiter = woken.iter().find(|claimed| claimed.task.id == waiter.task.id).expect("woken");
    let later = world.apply(waiter.keep().seen(0)).await;
    same("completions", later.done, 1);
    same("what is on record", given(&later.steps, join), Some(Err(declined())));
}

/// Nor does a wait of an execution that was asked to end.
async fn a_wait_below_a_cancelled_execution_is_not_told(world: World) {
    let (root, waiter, join) = pair(&world).await;
    world.apply(cancel(waiter.task.id, 0, t(1))).await;
    same("status", world.status(waiter.task.id).await, ExecutionStatus::Cancelled);
    let before = world.timeline(waiter.task.tree.execution).await;

    world.apply(root.complete("shipped")).await;

    same("the waiter's tasks", world.timeline(waiter.task.tree.execution).await, before);
    world.expect_status(join, TaskStatus::Cancelled).await;
    same("claimed", world.claim(9).at(t(9)).await.len(), 0);
}

/// A function that ended without its wait receives nothing, and its end does not change.
async fn a_function_that_has_ended_is_not_told(world: World) {
    let root = world.running("ship").await;
    let waiter = claim(&world, "checkout").await;
    world.apply(waiter.keep().with(world.join(root.task.id))).await;
    world.apply(later(&waiter, 1, 0).complete("without it")).await;
    let before = world.execution(waiter.task.id).await;

    world.apply(root.complete("shipped")).await;

    same("the waiter", world.execution(waiter.task.id).await, before);
    same("claimed", world.claim(9).at(t(9)).await.len(), 0);
}

/// The other waits complete, in their order.
async fn of_those_who_wait_only_the_one_who_gave_up_is_left_out(world: World) {
    let root = world.running("ship").await;
    let waiter = claim(&world, "checkout").await;
    let joins = [world.join(root.task.id), world.join(root.task.id), world.join(root.task.id)];
    let ids = joins.clone().map(|join| join.id);
    world.apply(joins.into_iter().fold(waiter.keep(), Turn::with)).await;
    world.apply(later(&waiter, 1, 0).park().cancel(ids[1])).await;

    world.apply(root.complete("shipped")).await;

    let woken = world.claim_one(t(0)).await;
    same("completions", woken.task.done, 2);
    same("the first", woken.steps[0].id, ids[0]);
    same("the last", (woken.steps[1].id, woken.steps[1].order()), (ids[2], Some(2)));
    same("the other", woken.steps[2].state.clone(), StepState::Cancelled);
}

/// A retried function removes its wait from the record; the next attempt waits again.
async fn a_wait_that_left_the_record_is_not_told(world: World) {
    let root = world.running("ship").await;
    let waiter = claim(&world, "checkout").await;
    let join = world.join(root.task.id);
    let id = join.id;
    world.apply(waiter.keep().with(join)).await;
    world.apply(later(&waiter, 1, 0).retry(t(5), declined()).erase(id)).await;

    world.apply(root.complete("shipped")).await;

    same("the wait", world.find(id).await, None);
    let again = world.claim_one(t(5)).await;
    same("completions", (again.task.done, again.steps.len()), (0, 0));
    let join = world.join(root.task.id);
    let id = join.id;
    same("asked anew", given(&world.apply(again.keep().with(join)).await.steps, id), ok("shipped"));
}

/// A failure, a timeout or a cancellation in the batch is found like a result.
async fn the_failure_and_the_wait_meet_in_one_batch_in_either_order(world: World) {
    for end_first in [true, false] {
        let failing = world.running("ship").await;
        let expiring = world.dispatch(world.call("ship").expires(t(5)).due(t(900))).await;
        let asked = world.dispatch(world.call("ship").due(t(900))).await;
        let waiter = claim(&world, "checkout").await;
        let joins = [failing.task.id, expiring, asked].map(|root| world.join(root));
        let ids = joins.clone().map(|join| join.id);
        let expired = world.expired(t(6)).await.remove(0);
        let wait = joins.into_iter().fold(waiter.park_for(wait_for(3)).at(t(6)), Turn::with).into();
        let ends = [failing.fail(declined()).at(t(6)).into(), expire(&expired, t(6)), cancel(asked, 0, t(6))];
        let batch: Vec<Transition> = match end_first {
            true => ends.into_iter().chain([wait]).collect(),
            false => [wait].into_iter().chain(ends).collect(),
        };

        for outcome in world.commit_all(batch).await {
            applied(outcome);
        }

        let woken = world.claim_one(t(6)).await;
        same("woken", (woken.task.id, woken.task.done), (waiter.task.id, 3));
        let kinds = ids.map(|id| kind(&woken.steps, id).unwrap_or_default());
        same(
            "failures",
            kinds.each_ref().map(String::as_str),
            ["Declined", Failure::TIMED_OUT, Failure::CANCELLED],
        );
        world.apply(woken.complete("summary")).await;
    }
}

/// The order in the batch decides whether the wait was over.
async fn the_end_and_the_giving_up_meet_in_one_batch_in_either_order(world: World) {
    for end_first in [true, false] {
        let root = world.running("ship").await;
        let waiter = claim(&world, "checkout").await;
        let join = world.join(root.task.id);
        let id = join.id;
        world.apply(waiter.keep().with(join)).await;
        let (end, give_up) = (root.complete("shipped"), later(&waiter, 1, 0).park().cancel(id));

        for outcome in world.commit_all(if end_first { [end, give_up] } else { [give_up, end] }).await {
            applied(outcome);
        }

        let (status, woken) = if end_first { (TaskStatus::Completed, 1) } else { (TaskStatus::Cancelled, 0) };
        world.expect_status(id, status).await;
        same("woken", world.claim(9).await.len(), woken);
    }
}

/// Results are not mixed up, however many executions end and are awaited in one batch.
async fn many_ends_in_one_batch_are_told_each_to_its_own(world: World) {
    world.dispatch_many(30, || world.call("ship")).await;
    let roots = world.claim(30).await;
    world.dispatch_many(30, || world.call("checkout")).await;
    let waiters = world.claim(30).functions(["checkout"]).await;
    let (mut batch, mut joins) = (Vec::<Transition>::new(), Vec::new());
    for (n, (root, waiter)) in roots.iter().zip(&waiters).enumerate() {
        let join = world.join(root.task.id);
        joins.push(join.id);
        let (wait, end) = (waiter.park().with(join), root.complete(&format!("shipped {n}")));
        if n % 2 == 0 {
            batch.push(wait.into());
            batch.insert(0, end.into());
        } else {
            batch.insert(0, wait.into());
            batch.push(end.into());
        }
    }

    for outcome in world.commit_all(batch).await {
        applied(outcome);
    }

    let woken = world.claim(99).await;
    same("woken", woken.len(), 30);
    for (n, (waiter, join)) in waiters.iter().zip(joins).enumerate() {
        let woken = woken.iter().find(|woken| woken.task.id == waiter.task.id).expect("each is woken");
        same("result", given(&woken.steps, join), ok(&format!("shipped {n}")));
    }
}

/// Any function may wait, at any depth, including items of a map.
async fn a_step_may_wait_for_an_execution(world: World) {
    let root = world.running("ship").await;
    let parent = claim(&world, "checkout").await;
    let map = world.map("mail");
    let (map_id, item) = (map.id, world.call("mail"));
    world.apply(parent.park().with(map).items(map_id, [item]).feed(map_id, 1, Some(1))).await;
    let item = world.claim_one(t(0)).await;
    let join = world.join(root.task.id);
    let id = join.id;
    world.apply(item.park().with(join)).await;

    world.apply(root.complete("shipped")).await;

    let woken = world.claim_one(t(0)).await;
    same("woken", (woken.task.id, given(&woken.steps, id)), (item.task.id, ok("shipped")));
    world.apply(woken.complete("sent")).await;
    same("and then its owner", world.claim_one(t(0)).await.task.id, parent.task.id);
}

/// An end that is sent again, in the batch or later, is not a second completion.
async fn a_repeated_end_is_told_once(world: World) {
    let (root, waiter, join) = pair(&world).await;

    world.commit_all([root.complete("shipped"), root.complete("shipped")]).await;
    already(world.peer().await.commit(root.complete("shipped")).await);
    let woken = world.claim_one(t(0)).await;
    already(world.commit(root.complete("shipped")).await);

    same("completions", world.apply(woken.keep()).await.done, 1);
    same("the wait", world.task(join).await.done_order, Some(1));
    same("tasks of the waiter", world.timeline(waiter.task.tree.execution).await.len(), 2);
}

/// A turn of unknown fate is sent again after the end: the wait exists, and is over, once.
async fn a_repeated_wait_waits_once(world: World) {
    let root = world.running("ship").await;
    let waiter = claim(&world, "checkout").await;
    let join = world.join(root.task.id);
    let id = join.id;
    let turn: Transition = waiter.keep().with(join).into();
    world.apply(turn.clone()).await;
    world.apply(root.complete("shipped")).await;
    let before = world.snapshot().await;

    let news = already(world.commit(turn).await);

    world.snapshot().await.expect_same("the repeat changed something", &before);
    same("told with the repeat", (news.done, given(&news.steps, id)), (1, ok("shipped")));
}

/// A worker that lost the execution to another worker ends nothing.
async fn a_fenced_end_is_not_told(world: World) {
    let (lost, _, join) = pair(&world).await;
    let taken = world.peer().await.claim_one(t(30)).await;

    same("outcome", world.commit(lost.complete("late")).await, Outcome::Fenced);
    world.expect_status(join, TaskStatus::Waiting).await;
    world.apply(taken.complete("in time")).await;

    same("result", given(&world.claim_one(t(30)).await.steps, join), ok("in time"));
}

/// A function that received a result has its own copy.
async fn what_was_given_outlives_the_purge_of_its_giver(world: World) {
    let (root, _, join) = pair(&world).await;
    world.apply(root.complete("shipped")).await;
    let (step, steps) = heard_beside(&world, root.task.id).await;
    same("told at once", given(&steps, step), ok("shipped"));

    same("purged", world.purge(t(1), 9).await, 1);

    let woken = world.claim(9).at(t(60)).await;
    let results: Vec<_> =
        [join, step].into_iter().map(|id| woken.iter().find_map(|woken| given(&woken.steps, id))).collect();
    same("results", results, [ok("shipped"), ok("shipped")]);
}

/// A function that waits while others are woken, and what it receives.
async fn heard_beside(world: &World, root: TaskId) -> (TaskId, Vec<Step>) {
    let waiter = claim(world, "checkout").await;
    let join = world.join(root);
    let id = join.id;
    (id, world.apply(waiter.keep().with(join)).await.steps)
}

/// An execution that a transition ends has ended for the later transitions of the batch, even if only the store knows it: new
/// writes of a task that waits for the execution and repeated ones are answered with that completion.
async fn an_end_is_told_to_what_follows_it_in_its_batch(world: World) {
    for how in ["asked to end", "stopped", "ended with another"] {
        for repeats in [false, true] {
            let (joined, end) = about_to_end(&world, how).await;
            let waiter = claim(&world, "checkout").await;
            let join = world.join(joined);
            let id = join.id;
            let first: Transition = waiter.keep().with(join).into();
            world.apply(first.clone()).await;

            let next = if repeats { first } else { later(&waiter, 1, 0).keep().into() };
            let outcomes = world.commit_all([end, next]).await;

            let news = if repeats { already(outcomes[1].clone()) } else { applied(outcomes[1].clone()) };
            same(how, (news.done, given(&news.steps, id).is_some()), (1, true));
        }
    }
}

/// Tasks of one function that waits for two executions are completed in the order in which a batch ends these.
async fn ends_of_one_batch_are_told_in_its_order(world: World) {
    for hows in
        [["asked to end"; 2], ["stopped"; 2], ["stopped", "asked to end"], ["asked to end", "stopped"]]
    {
        let (one, end_one) = about_to_end(&world, hows[0]).await;
        let (two, end_two) = about_to_end(&world, hows[1]).await;
        let waiter = claim(&world, "checkout").await;
        let joins = [world.join(one), world.join(two)];
        let [one, two] = joins.clone().map(|join| join.id);
        world.apply(joins.into_iter().fold(waiter.keep(), Turn::with)).await;

        world.commit_all([end_two, end_one]).await;

        let news = world.apply(later(&waiter, 1, 0).keep()).await;
        let told: Vec<_> = news.steps.iter().map(|step| (step.id, step.order())).collect();
        same("told", told, [(two, Some(1)), (one, Some(2))]);
    }
}

/// An execution, and a transition of which only the store knows that it ends the execution.
async fn about_to_end(world: &World, how: &str) -> (TaskId, Transition) {
    match how {
        "asked to end" => {
            let root = world.dispatch(world.call("ship").due(t(900))).await;
            (root, cancel(root, 20, t(1)))
        }
        "stopped" => {
            let root = world.running("ship").await;
            world.apply(cancel(root.task.id, 20, t(1))).await;
            (root.task.id, root.park().into())
        }
        _ => {
            let key = key(&world.id().to_string());
            world.dispatch(world.call("ship").keyed(key)).await;
            let holder = world.claim(1).functions(["ship"]).await.remove(0);
            let root = world.dispatch(world.call("ship").keyed(key)).await;
            (root, holder.complete("parcel").into())
        }
    }
}
