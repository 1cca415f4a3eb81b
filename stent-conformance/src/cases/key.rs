//! Calls under the same key: one runs, the others get its result.

use stent_core::backend::{Purge, PurgeRequest};
use stent_core::model::{Mark, Marks};

use super::words::*;

list! { key:
    G12 one_runs_and_the_others_wait_for_it,
    G12 a_call_after_the_result_is_a_hit_at_once,
    G12 results_that_count_as_nothing_are_hits,
    G14 hits_have_the_result_byte_by_byte,
    G12 keys_are_told_apart,
    G12 a_failure_is_not_kept_and_the_oldest_who_waits_runs,
    G12 who_takes_the_place_of_the_holder_is_as_it_was_given,
    G12 a_failure_that_nobody_waits_for_frees_the_key,
    G12 a_retry_keeps_the_key,
    G12 a_crash_keeps_the_key,
    G12 a_shutdown_keeps_the_key,
    G12 the_oldest_runs_when_the_holder_is_given_up,
    G12 the_oldest_runs_when_the_holder_is_swept,
    G12 the_oldest_runs_when_the_holder_leaves_the_record,
    G12 the_oldest_runs_when_the_holders_time_is_up,
    G12 the_oldest_runs_when_the_holders_execution_is_cancelled,
    G12 the_oldest_runs_when_the_holder_ends_with_its_map,
    G12 the_oldest_runs_when_the_holder_is_purged,
    G12 a_holder_that_goes_with_nobody_waiting_frees_the_key,
    G12 one_who_was_given_up_is_passed_over,
    G12 one_who_left_in_the_same_batch_is_passed_over,
    G12 all_who_wait_may_be_given_up,
    G12 a_result_is_good_for_its_time_and_not_longer,
    G12 a_result_is_good_for_the_shortest_time_and_for_the_longest,
    G12 a_result_that_is_over_is_computed_once,
    G12 a_result_outlives_its_execution,
    G16 results_are_purged_by_age,
    G16 results_whose_time_is_over_are_purged_whenever_they_came,
    G16 no_more_results_are_purged_than_asked_for,
    G12 items_of_a_map_are_hits_wait_and_run,
    G12 a_map_of_hits_ends_at_once,
    G12 a_map_whose_items_all_wait_for_one_ends_with_it,
    G12 a_hit_has_its_place_among_the_completions,
    G12 an_execution_that_is_a_hit_ends_at_once,
    G12 an_execution_that_waits_ends_with_the_holder,
    G12 an_execution_that_waits_can_be_cancelled,
    G12 batches_are_applied_as_if_one_by_one,
    G3 a_repeated_commit_neither_waits_nor_runs_again,
    G12 one_that_is_redriven_does_not_take_the_key_back,
    G12 a_hit_is_no_start,
    G12 of_many_first_calls_at_once_one_runs,
    G12 a_call_races_with_the_result_and_has_it,
    G12 a_call_races_with_a_failure_and_runs,
}

fn ok(value: &str) -> Option<Result<Payload, Failure>> {
    Some(Ok(text(value)))
}

/// A function that is parked for a call under the key `k`, and the call.
async fn caller(world: &World) -> (TaskId, TaskId) {
    let call = world.call("charge").keyed(key("k"));
    let id = call.id;
    let root = world.call("checkout");
    let parent = root.id;
    let park = claimed(world, world.dispatch(root).await).await.park().with(call);
    world.apply(park).await;
    (parent, id)
}

/// The claim of one task, which is the only task of its function that is due.
async fn claimed(world: &World, id: TaskId) -> Claimed {
    let claimed = world.claim(1).functions(["checkout"]).await.remove(0);
    same("the claimed task", claimed.task.id, id);
    claimed
}

/// Three callers: the first one's call holds the key and runs; the calls of the others wait. Returns callers and calls.
async fn three(world: &World) -> (Claimed, [(TaskId, TaskId); 3]) {
    let all = [caller(world).await, caller(world).await, caller(world).await];
    let holder = world.claim_one(t(0)).await;
    same("the holder", holder.task.id, all[0].1);
    (holder, all)
}

/// The second of three takes over at `now`, and the third gets its result.
async fn expect_takeover(world: &World, all: &[(TaskId, TaskId); 3], now: Timestamp) {
    let next = world.claim_one(now).await;
    same("who takes over", next.task.id, all[1].1);
    same("its claim", (next.lease.epoch.count, next.task.uncommitted_claims), (1, 1));
    world.expect_status(all[2].1, TaskStatus::Waiting).await;

    world.apply(next.complete("receipt").at(now)).await;

    let woken = world.claim(9).at(now).await;
    same("woken", woken.iter().map(|claimed| claimed.task.id).collect::<Vec<_>>(), [all[1].0, all[2].0]);
    same("its own result", given(&woken[0].steps, all[1].1), ok("receipt"));
    same("a hit", given(&woken[1].steps, all[2].1), ok("receipt"));
}

async fn one_runs_and_the_others_wait_for_it(world: World) {
    let (holder, all) = three(&world).await;
    same("claimed beside the holder", world.claim(9).at(t(29)).await.len(), 0);
    for (_, call) in &all[1..] {
        let view = world.task(*call).await;
        same("one who waits", (view.status, view.ready_at), (TaskStatus::Waiting, None));
    }

    world.apply(holder.complete("receipt").at(t(4))).await;

    for (_, call) in &all[1..] {
        let view = world.task(*call).await;
        same("a hit", (view.status, view.marks), (TaskStatus::Completed, Marks::of(Mark::Hit)));
        same("when it ended", view.ended_at, Some(t(4)));
    }
    same("the holder is none", world.task(all[0].1).await.marks, Marks::NONE);
    let woken = world.claim(9).at(t(4)).await;
    same(
        "woken",
        woken.iter().map(|claimed| claimed.task.id).collect::<Vec<_>>(),
        all.map(|(caller, _)| caller),
    );
    for (woken, (_, call)) in woken.iter().zip(all) {
        same("its result", given(&woken.steps, call), ok("receipt"));
    }
}

/// An execution that ran a call under this key, with this result.
async fn result_under(world: &World, call: &str, result: &str) -> TaskId {
    let root = world.dispatch(world.call("charge").keyed(key(call))).await;
    let holder = world.claim_one(t(0)).await;
    world.apply(holder.complete(result)).await;
    root
}

async fn a_call_after_the_result_is_a_hit_at_once(world: World) {
    result_under(&world, "k", "receipt").await;
    let root = world.running("checkout").await;
    let call = world.call("charge").keyed(key("k")).due(t(99));
    let id = call.id;

    let news = world.apply(root.keep().with(call).at(t(3))).await;

    same("told at once", (news.done, given(&news.steps, id)), (1, ok("receipt")));
    let view = world.task(id).await;
    same("the call", (view.status, view.marks), (TaskStatus::Completed, Marks::of(Mark::Hit)));
    same("when it ended", (view.ended_at, view.ready_at), (Some(t(3)), None));
    same("claimed", world.claim(9).functions(["charge"]).at(t(999)).await.len(), 0);
}

async fn results_that_count_as_nothing_are_hits(world: World) {
    for (n, bytes) in ["0", "false", "\"\"", "[]", "{}", "null", ""].into_iter().enumerate() {
        let same_key = key(&n.to_string());
        let result = Payload::new("application/json", bytes.as_bytes().to_vec());
        let first = world.dispatch(world.call("charge").keyed(same_key)).await;
        let waiting = world.dispatch(world.call("charge").keyed(same_key)).await;
        let holder = world.claim_one(t(0)).await;
        world.apply(holder.turn(stent_core::transition::Next::End(Ok(result.clone())))).await;

        let after = world.dispatch(world.call("charge").keyed(same_key)).await;

        for root in [first, waiting, after] {
            same(&format!("the result {bytes:?}"), world.result(root).await, Some(Ok(result.clone())));
        }
        same("claimed", world.claim(9).at(t(99)).await.len(), 0);
    }
}

async fn hits_have_the_result_byte_by_byte(world: World) {
    let result = Payload::new("é/\u{1F600}", (0..=255).cycle().take(100_000).collect::<Vec<u8>>());
    world.dispatch(world.call("charge").keyed(key("k"))).await;
    let waiting = world.dispatch(world.call("charge").keyed(key("k"))).await;
    let holder = world.claim_one(t(0)).await;
    world.apply(holder.turn(stent_core::transition::Next::End(Ok(result.clone())))).await;

    let world = world.crash().await;
    let after = world.dispatch(world.call("charge").keyed(key("k"))).await;

    same("of one who waited", world.result(waiting).await, Some(Ok(result.clone())));
    same("of one who came after", world.result(after).await, Some(Ok(result)));
}

async fn keys_are_told_apart(world: World) {
    for name in ["", "k", "K", "kk", "k ", "é"] {
        world.dispatch(world.call("charge").keyed(key(name))).await;
    }
    world.dispatch(world.call("charge")).await;
    world.dispatch(world.call("charge")).await;

    same("claimed", world.claim(99).await.len(), 8);
}

async fn a_failure_is_not_kept_and_the_oldest_who_waits_runs(world: World) {
    let (holder, all) = three(&world).await;

    world.apply(holder.fail(declined()).at(t(2))).await;

    let caller = world.claim(1).functions(["checkout"]).at(t(2)).await.remove(0);
    same("the caller hears of it", given(&caller.steps, all[0].1), Some(Err(declined())));
    expect_takeover(&world, &all, t(2)).await;
}

async fn a_failure_that_nobody_waits_for_frees_the_key(world: World) {
    let first = world.dispatch(world.call("charge").keyed(key("k"))).await;
    world.apply(world.claim_one(t(0)).await.fail(declined())).await;

    let second = world.dispatch(world.call("charge").keyed(key("k"))).await;

    same("claimed", world.claim_one(t(0)).await.task.id, second);
    same("the first", world.status(first).await, ExecutionStatus::Failed);
}

async fn a_retry_keeps_the_key(world: World) {
    let (holder, all) = three(&world).await;

    world.apply(holder.retry(t(5), declined())).await;

    same("claimed before", world.claim(9).at(t(4)).await.len(), 0);
    let again = world.claim_one(t(5)).await;
    same("who runs", again.task.id, all[0].1);
    world.apply(again.complete("receipt")).await;
    same("woken", world.claim(9).at(t(5)).await.len(), 3);
}

async fn a_crash_keeps_the_key(world: World) {
    let (_, all) = three(&world).await;

    let world = world.crash().await;

    let again = world.claim_one(t(30)).await;
    same("who runs", (again.task.id, again.lease.epoch.count), (all[0].1, 2));
    let late = world.dispatch(world.call("charge").keyed(key("k"))).await;
    same("claimed", world.claim(9).at(t(30)).await.len(), 0);
    world.apply(again.complete("receipt").at(t(30))).await;
    same("one who came after the crash", world.result(late).await, ok("receipt"));
}

async fn a_shutdown_keeps_the_key(world: World) {
    let (holder, all) = three(&world).await;

    world.apply(holder.release()).await;

    same("who runs", world.claim_one(t(0)).await.task.id, all[0].1);
}

/// A running caller; its first step is written, and no one has claimed it.
async fn holding(world: &World) -> (Claimed, [(TaskId, TaskId); 3]) {
    let root = world.running("checkout").await;
    let call = world.call("charge").keyed(key("k"));
    let own = (root.task.id, call.id);
    world.apply(root.keep().with(call)).await;
    let all = [own, caller(world).await, caller(world).await];
    (later(&root, 1, 0), all)
}

async fn the_oldest_runs_when_the_holder_is_given_up(world: World) {
    for running in [false, true] {
        let (root, all) = holding(&world).await;
        if running {
            same("the holder", world.claim_one(t(0)).await.task.id, all[0].1);
        }

        world.apply(root.park().cancel(all[0].1).at(t(2))).await;

        expect_takeover(&world, &all, t(2)).await;
        let old = PurgeRequest { what: Purge::Results, before: Timestamp::MAX, now: t(0), max: 9 };
        same("results purged", world.purge_as(old).await, 1);
    }
}

async fn the_oldest_runs_when_the_holder_is_swept(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.keep(), world.call("ship")).await;
    let deep = world.spawn(step.park(), world.call("pack")).await;
    let call = world.call("charge").keyed(key("k"));
    let holder = call.id;
    world.apply(deep.park().with(call)).await;
    let all = [(deep.task.id, holder), caller(&world).await, caller(&world).await];

    world.apply(later(&root, 1, 0).park().cancel(step.task.id).at(t(2))).await;

    world.expect_status(holder, TaskStatus::Cancelled).await;
    expect_takeover(&world, &all, t(2)).await;
}

async fn the_oldest_runs_when_the_holder_leaves_the_record(world: World) {
    let (root, all) = holding(&world).await;

    world.apply(root.retry(t(99), declined()).erase(all[0].1).at(t(2))).await;

    same("the holder", world.find(all[0].1).await, None);
    expect_takeover(&world, &all, t(2)).await;
}

async fn the_oldest_runs_when_the_holders_time_is_up(world: World) {
    let root = world.running("checkout").await;
    let call = world.call("charge").keyed(key("k")).expires(t(5));
    let holder = call.id;
    world.apply(root.park().with(call)).await;
    let all = [(root.task.id, holder), caller(&world).await, caller(&world).await];

    same("over", world.expire_all(t(5)).await, [holder]);

    let caller = world.claim(1).functions(["checkout"]).at(t(5)).await.remove(0);
    same("the caller hears of it", caller.task.id, root.task.id);
    expect_takeover(&world, &all, t(5)).await;
}

async fn the_oldest_runs_when_the_holders_execution_is_cancelled(world: World) {
    // The holder is a step that has not started.
    let (root, all) = holding(&world).await;
    world.apply(root.park().at(t(1))).await;
    world.apply(cancel(root.task.id, 10, t(2))).await;
    expect_takeover(&world, &all, t(2)).await;

    // The holder is the root itself, while it runs.
    let root = world.dispatch(world.call("charge").keyed(key("other"))).await;
    let holder = world.claim_one(t(2)).await;
    let next = world.dispatch(world.call("charge").keyed(key("other"))).await;
    world.apply(cancel(root, 10, t(3))).await;
    same("claimed while it runs", world.claim(9).at(t(4)).await.len(), 0);
    world.apply(holder.complete("late").at(t(4))).await;
    same("who takes over", world.claim_one(t(4)).await.task.id, next);
    same("the late result", world.result(next).await, None);

    // The holder is a root that has not started.
    let root = world.dispatch(world.call("charge").keyed(key("third"))).await;
    let next = world.dispatch(world.call("charge").keyed(key("third"))).await;
    world.apply(cancel(root, 10, t(4))).await;
    same("who takes over", world.claim_one(t(4)).await.task.id, next);
}

async fn the_oldest_runs_when_the_holder_ends_with_its_map(world: World) {
    let root = world.running("checkout").await;
    let map = world.map("charge");
    let (id, failing, call) = (map.id, world.call("charge"), world.call("charge").keyed(key("k")).due(t(50)));
    let holder = call.id;
    world.apply(root.park().with(map).items(id, [failing, call]).feed(id, 2, Some(2))).await;
    let failing = world.claim_one(t(0)).await;
    let all = [(root.task.id, holder), caller(&world).await, caller(&world).await];

    world.apply(failing.fail(declined()).at(t(2))).await;

    world.expect_status(holder, TaskStatus::Cancelled).await;
    let owner = world.claim(1).functions(["checkout"]).at(t(2)).await.remove(0);
    same("the owner hears of it", owner.task.id, root.task.id);
    expect_takeover(&world, &all, t(2)).await;
}

/// A step that its parent let go of is still open when the execution has ended, and is purged with it.
async fn the_oldest_runs_when_the_holder_is_purged(world: World) {
    let (root, all) = holding(&world).await;
    world.apply(root.complete("summary").at(t(1))).await;
    same("the holder", world.claim_one(t(1)).await.task.id, all[0].1);

    let request = PurgeRequest { what: Purge::Executions, before: t(2), now: t(3), max: 9 };
    same("purged", world.purge_as(request).await, 1);

    expect_takeover(&world, &all, t(3)).await;
}

async fn a_holder_that_goes_with_nobody_waiting_frees_the_key(world: World) {
    let root = world.running("checkout").await;
    let call = world.call("charge").keyed(key("k"));
    let id = call.id;
    world.apply(root.keep().with(call)).await;
    world.apply(later(&root, 1, 0).park().cancel(id)).await;

    let next = world.dispatch(world.call("charge").keyed(key("k"))).await;

    same("claimed", world.claim_one(t(0)).await.task.id, next);
}

async fn one_who_was_given_up_is_passed_over(world: World) {
    let root = world.running("checkout").await;
    let first = world.dispatch(world.call("charge").keyed(key("k"))).await;
    let holder = world.claim_one(t(0)).await;
    same("the holder", holder.task.id, first);
    let call = world.call("charge").keyed(key("k"));
    let given_up = call.id;
    world.apply(root.keep().with(call)).await;
    let next = world.dispatch(world.call("charge").keyed(key("k"))).await;

    world.apply(later(&root, 1, 0).park().cancel(given_up)).await;
    world.apply(holder.fail(declined())).await;

    same("who runs", world.claim_one(t(0)).await.task.id, next);
    world.expect_status(given_up, TaskStatus::Cancelled).await;
}

async fn one_who_left_in_the_same_batch_is_passed_over(world: World) {
    for erased in [true, false] {
        let root = world.running("checkout").await;
        world.dispatch(world.call("charge").keyed(key("k"))).await;
        let holder = world.claim_one(t(0)).await;
        let call = world.call("charge").keyed(key("k"));
        let left = call.id;
        world.apply(root.keep().with(call)).await;
        let next = world.dispatch(world.call("charge").keyed(key("k"))).await;

        let leaving = later(&root, 1, 0).retry(t(99), declined());
        let leaving = if erased { leaving.erase(left) } else { leaving.cancel(left) };
        for outcome in world.commit_all([leaving, holder.fail(declined())]).await {
            applied(outcome);
        }

        let next_claim = world.claim_one(t(0)).await;
        same("who runs", next_claim.task.id, next);
        world.apply(next_claim.fail(declined())).await;
    }
}

async fn all_who_wait_may_be_given_up(world: World) {
    let root = world.running("checkout").await;
    world.dispatch(world.call("charge").keyed(key("k"))).await;
    let holder = world.claim_one(t(0)).await;
    let (one, two) = (world.call("charge").keyed(key("k")), world.call("charge").keyed(key("k")));
    let ids = [one.id, two.id];
    world.apply(root.keep().with(one).with(two)).await;

    let leaving = later(&root, 1, 0).retry(t(99), declined()).erase(ids[0]).erase(ids[1]);
    world.commit_all([leaving, holder.fail(declined())]).await;

    let next = world.dispatch(world.call("charge").keyed(key("k"))).await;
    same("who runs", world.claim_one(t(0)).await.task.id, next);
}

async fn a_result_is_good_for_its_time_and_not_longer(world: World) {
    world.dispatch(world.call("charge").keyed(key("k")).ttl(60)).await;
    world.apply(world.claim_one(t(0)).await.complete("receipt").at(t(10))).await;

    let moment = Duration::from_micros(1);
    let hit = world.call("charge").keyed(key("k"));
    let hit_id = hit.id;
    world.apply(hit.start(t(70) - moment)).await;
    same("before its end", world.result(hit_id).await, ok("receipt"));

    let anew = world.call("charge").keyed(key("k"));
    let anew_id = anew.id;
    world.apply(anew.start(t(70))).await;
    let claimed = world.claim_one(t(70)).await;
    same("from its end on", claimed.task.id, anew_id);
    world.apply(claimed.complete("another").at(t(71))).await;

    // The call that ran last has no time limit: its result is valid forever.
    let after = world.call("charge").keyed(key("k"));
    let after_id = after.id;
    world.apply(after.start(t(900_000))).await;
    same("the new result", world.result(after_id).await, ok("another"));
}

/// Stores count microseconds: a fraction of one rounds up to a whole one, and no duration is too long.
async fn a_result_is_good_for_the_shortest_time_and_for_the_longest(world: World) {
    for (name, ttl) in [("short", Duration::from_nanos(1)), ("long", Duration::MAX)] {
        world.dispatch(world.call("charge").keyed(key(name)).good_for(ttl)).await;
        world.apply(world.claim_one(t(0)).await.complete("receipt").at(t(10))).await;
    }

    same("within the microsecond", would_run(&world, "short", t(10)).await, false);
    same("after it", would_run(&world, "short", t(10) + Duration::from_micros(1)).await, true);
    same("in a thousand years", would_run(&world, "long", t(31_557_600_000)).await, false);
}

async fn a_result_that_is_over_is_computed_once(world: World) {
    world.dispatch(world.call("charge").keyed(key("k")).ttl(5)).await;
    world.apply(world.claim_one(t(0)).await.complete("receipt")).await;

    let calls: Vec<_> = (0..4).map(|_| world.call("charge").keyed(key("k")).ttl(5)).collect();
    let ids: Vec<_> = calls.iter().map(|call| call.id).collect();
    world.commit_all(calls.into_iter().map(|call| call.start(t(8)))).await;

    let again = world.claim_one(t(8)).await;
    same("who runs", again.task.id, ids[0]);
    world.apply(again.complete("another").at(t(9))).await;
    for id in ids {
        same("result", world.result(id).await, ok("another"));
    }
}

async fn a_result_outlives_its_execution(world: World) {
    let old = result_under(&world, "k", "receipt").await;

    same("purged", world.purge(t(1), 9).await, 1);

    same("the execution", world.execution(old).await, None);
    let hit = world.crash().await;
    let id = hit.dispatch(hit.call("charge").keyed(key("k"))).await;
    same("a hit", hit.result(id).await, ok("receipt"));
}

/// Whether a call under this key would run.
async fn would_run(world: &World, name: &str, now: Timestamp) -> bool {
    let call = world.call("charge").keyed(key(name));
    let id = call.id;
    world.apply(call.start(now)).await;
    world.task(id).await.status == TaskStatus::Pending
}

async fn results_are_purged_by_age(world: World) {
    for (name, ended_at) in [("old", t(9)), ("on", t(10)), ("young", t(11))] {
        world.dispatch(world.call("charge").keyed(key(name))).await;
        world.apply(world.claim_one(t(0)).await.complete("receipt").at(ended_at)).await;
    }
    world.dispatch(world.call("charge").keyed(key("open"))).await;

    same("purged", world.purge_of(Purge::Results, t(10), 99).await, 1);
    same("purged again", world.purge_of(Purge::Results, t(10), 99).await, 0);

    same("the old one", would_run(&world, "old", t(20)).await, true);
    same("on the bound", would_run(&world, "on", t(20)).await, false);
    same("the young one", would_run(&world, "young", t(20)).await, false);
    same("one that is still at work", would_run(&world, "open", t(20)).await, false);
    same("executions stay", world.purge_of(Purge::Executions, t(99), 99).await, 5);
}

async fn results_whose_time_is_over_are_purged_whenever_they_came(world: World) {
    for (name, seconds) in [("short", 5), ("long", 50)] {
        world.dispatch(world.call("charge").keyed(key(name)).ttl(seconds)).await;
        world.apply(world.claim_one(t(0)).await.complete("receipt").at(t(10))).await;
    }

    let request = PurgeRequest { what: Purge::Results, before: t(0), now: t(15), max: 9 };
    same("purged", world.purge_as(request).await, 1);
    same("purged again", world.purge_as(request).await, 0);

    same("the long one", would_run(&world, "long", t(16)).await, false);
}

async fn no_more_results_are_purged_than_asked_for(world: World) {
    for n in 0..5_u32 {
        world.dispatch(world.call("charge").keyed(key(&n.to_string()))).await;
        world.apply(world.claim_one(t(0)).await.complete("receipt").at(t(i64::from(n)))).await;
    }

    same("purged", world.purge_of(Purge::Results, t(99), 0).await, 0);
    same("purged", world.purge_of(Purge::Results, t(99), 2).await, 2);

    same("the oldest", would_run(&world, "1", t(20)).await, true);
    same("the next", would_run(&world, "2", t(20)).await, false);
    same("purged", world.purge_of(Purge::Results, t(99), 9).await, 3);
}

async fn items_of_a_map_are_hits_wait_and_run(world: World) {
    result_under(&world, "had", "had").await;
    let elsewhere = world.dispatch(world.call("charge").keyed(key("awaited"))).await;
    let holder = world.claim_one(t(0)).await;
    same("the holder", holder.task.id, elsewhere);
    let root = world.running("checkout").await;
    let map = world.map("charge");
    let id = map.id;
    let names = ["had", "awaited", "own", "own", "had"];
    let items: Vec<_> =
        (0..5).zip(names).map(|(n, name)| world.call("charge").seq(n).keyed(key(name))).collect();

    world.apply(root.park().with(map).items(id, items).feed(id, 5, Some(5))).await;

    let own = world.claim_one(t(0)).await;
    same("which of the items runs", (own.task.seq, own.task.tree.owner), (Seq(2), Some(root.task.id)));
    let map_of = async || world.task(id).await.map.expect("it is a map").done;
    same("hits count at once", map_of().await, 2);
    world.apply(holder.complete("awaited")).await;
    same("one who waited counts", map_of().await, 3);
    world.apply(own.complete("own")).await;

    same("woken", world.claim_one(t(0)).await.task.id, root.task.id);
    let items: Vec<_> = world.items(id).await.into_iter().map(|item| item.result).collect();
    same("results in order", items, names.map(ok));
}

async fn a_map_of_hits_ends_at_once(world: World) {
    for name in ["a", "b", "c"] {
        result_under(&world, name, name).await;
    }
    let root = world.running("checkout").await;
    let map = world.map("charge");
    let id = map.id;
    let items: Vec<_> =
        (0..3).zip(["c", "a", "b"]).map(|(n, name)| world.call("charge").seq(n).keyed(key(name))).collect();

    let news = world.apply(root.keep().with(map).items(id, items).feed(id, 3, Some(3))).await;

    same("completions", (news.done, news.steps.len()), (1, 1));
    same("the map", given(&news.steps, id).is_some_and(|result| result.is_ok()), true);
    let items: Vec<_> = world.items(id).await.into_iter().map(|item| item.result).collect();
    same("results in order", items, ["c", "a", "b"].map(ok));
    same("claimed", world.claim(9).functions(["charge"]).at(t(29)).await.len(), 0);
}

async fn a_map_whose_items_all_wait_for_one_ends_with_it(world: World) {
    world.dispatch(world.call("charge").keyed(key("k"))).await;
    let holder = world.claim_one(t(0)).await;
    let root = world.running("checkout").await;
    let map = world.map("charge");
    let id = map.id;
    let items: Vec<_> = (0..20).map(|n| world.call("charge").seq(n).keyed(key("k"))).collect();
    world.apply(root.park().with(map).items(id, items).feed(id, 20, Some(20))).await;
    same("claimed", world.claim(9).at(t(29)).await.len(), 0);

    world.apply(holder.complete("receipt")).await;

    let woken = world.claim_one(t(0)).await;
    same("woken", (woken.task.id, woken.task.done), (root.task.id, 1));
    same("results", world.items(id).await.iter().filter(|item| item.result == ok("receipt")).count(), 20);
}

async fn a_hit_has_its_place_among_the_completions(world: World) {
    result_under(&world, "k", "receipt").await;
    let root = world.running("checkout").await;
    let (note, hit, last) =
        (world.inline("render", "1"), world.call("charge").keyed(key("k")), world.inline("render", "3"));
    let ids = [note.id, hit.id, last.id];

    world.apply(root.keep().with(note).with(hit).with(last)).await;

    let world = world.crash().await;
    let again = world.claim_one(t(30)).await;
    let order: Vec<_> = again.steps.iter().map(|step| (step.order(), step.id)).collect();
    same("the record", order, [(Some(1), ids[0]), (Some(2), ids[1]), (Some(3), ids[2])]);
}

async fn an_execution_that_is_a_hit_ends_at_once(world: World) {
    result_under(&world, "k", "receipt").await;

    let id = world.dispatch(world.call("charge").keyed(key("k"))).await;

    let view = world.execution(id).await.expect("is there");
    same("status", (view.status, view.ended_at), (ExecutionStatus::Completed, Some(t(0))));
    same("result", view.result, ok("receipt"));
    same("mark", world.task(id).await.marks, Marks::of(Mark::Hit));
    same("claimed", world.claim(9).at(t(99)).await.len(), 0);
}

async fn an_execution_that_waits_ends_with_the_holder(world: World) {
    world.dispatch(world.call("charge").keyed(key("k"))).await;
    let holder = world.claim_one(t(0)).await;
    let waiting = world.dispatch(world.call("charge").keyed(key("k"))).await;
    let root = world.running("checkout").await;
    let join = world.join(waiting);
    let joined = join.id;
    world.apply(root.park().with(join)).await;
    same("claimed before", world.claim(9).at(t(29)).await.len(), 0);

    world.apply(holder.complete("receipt").at(t(2))).await;

    same("status", world.status(waiting).await, ExecutionStatus::Completed);
    let woken = world.claim_one(t(2)).await;
    same("who joined is told", given(&woken.steps, joined), ok("receipt"));
}

async fn an_execution_that_waits_can_be_cancelled(world: World) {
    world.dispatch(world.call("charge").keyed(key("k"))).await;
    let holder = world.claim_one(t(0)).await;
    let waiting = world.dispatch(world.call("charge").keyed(key("k"))).await;
    let next = world.dispatch(world.call("charge").keyed(key("k"))).await;

    world.apply(cancel(waiting, 10, t(1))).await;
    world.apply(holder.complete("receipt").at(t(2))).await;

    same("the cancelled one", world.status(waiting).await, ExecutionStatus::Cancelled);
    same("its result", world.result(waiting).await, None);
    same("the other", world.result(next).await, ok("receipt"));
}

async fn batches_are_applied_as_if_one_by_one(world: World) {
    let calls: Vec<_> = (0..4).map(|_| world.call("charge").keyed(key("k"))).collect();
    let ids: Vec<_> = calls.iter().map(|call| call.id).collect();
    let mut starts: Vec<_> = calls.into_iter().map(|call| call.start(t(0))).collect();
    let after = starts.pop().expect("some");

    world.commit_all(starts).await;
    let holder = world.claim_one(t(0)).await;
    same("who runs", holder.task.id, ids[0]);
    // The result and a later call, in one batch.
    world.commit_all([holder.complete("receipt").into(), after]).await;

    for id in ids {
        same("result", world.result(id).await, ok("receipt"));
    }
    same("claimed", world.claim(9).at(t(99)).await.len(), 0);

    // A failure and a later call: nobody waits, so the later call runs.
    world.dispatch(world.call("charge").keyed(key("other"))).await;
    let holder = world.claim_one(t(0)).await;
    let (one, two) = (world.call("charge").keyed(key("other")), world.call("charge").keyed(key("other")));
    let ids = [one.id, two.id];
    world.commit_all([holder.fail(declined()).into(), one.start(t(0)), two.start(t(0))]).await;
    same("who runs", world.claim_one(t(0)).await.task.id, ids[0]);
    world.expect_status(ids[1], TaskStatus::Waiting).await;
}

async fn a_repeated_commit_neither_waits_nor_runs_again(world: World) {
    let root = world.running("checkout").await;
    let call = world.call("charge").keyed(key("k"));
    let turn = root.park().with(call);
    world.apply(turn.clone()).await;
    already(world.commit(turn.clone()).await);

    let holder = world.claim_one(t(0)).await;
    let end = holder.complete("receipt");
    world.apply(end.clone()).await;
    let hit = world.dispatch(world.call("charge").keyed(key("k"))).await;
    already(world.commit(end).await);
    already(world.commit(turn).await);

    same("result", world.result(hit).await, ok("receipt"));
    same("completions", world.claim_one(t(0)).await.task.done, 1);
}

async fn one_that_is_redriven_does_not_take_the_key_back(world: World) {
    let first = world.dispatch(world.call("charge").keyed(key("k"))).await;
    world.apply(world.claim_one(t(0)).await.fail(declined())).await;
    let second = world.dispatch(world.call("charge").keyed(key("k"))).await;
    let second_claim = world.claim_one(t(0)).await;
    same("who runs", second_claim.task.id, second);

    world.apply(redrive(first)).await;
    let redriven = world.claim_one(t(0)).await;
    same("who runs again", redriven.task.id, first);
    world.apply(redriven.complete("old")).await;
    let third = world.dispatch(world.call("charge").keyed(key("k"))).await;
    same("the third waits", world.result(third).await, None);
    world.apply(second_claim.complete("new")).await;

    same("the third", world.result(third).await, ok("new"));
    same("the first", world.result(first).await, ok("old"));
}

async fn a_hit_is_no_start(world: World) {
    result_under(&world, "k", "receipt").await;
    let limited = || world.claim(9).limit("charge", 1);

    world.dispatch(world.call("charge").keyed(key("k"))).await;
    let runs = world.dispatch(world.call("charge")).await;

    same("claimed", limited().ids().await, [runs]);
}

async fn of_many_first_calls_at_once_one_runs(world: World) {
    for round in 0..5 {
        let same_key = key(&round.to_string());
        let ids = at_once(&world, 8, |peer, n| async move {
            let calls: Vec<_> = (0..4).map(|_| peer.call("charge").keyed(same_key)).collect();
            let ids: Vec<_> = calls.iter().map(|call| call.id).collect();
            if n % 2 == 0 {
                peer.commit_all(calls.into_iter().map(|call| call.start(t(0)))).await;
            } else {
                for call in calls {
                    peer.dispatch(call).await;
                }
            }
            ids
        })
        .await;

        let claimed = world.claim(99).at(t(1)).await;
        same("how many run", claimed.len(), 1);
        world.apply(claimed[0].complete("receipt").at(t(1))).await;
        for id in ids.into_iter().flatten() {
            same("result", world.result(id).await, ok("receipt"));
        }
        same("claimed after", world.claim(99).at(t(99)).await.len(), 0);
    }
}

async fn a_call_races_with_the_result_and_has_it(world: World) {
    for round in 0..20 {
        let same_key = key(&round.to_string());
        world.dispatch(world.call("charge").keyed(same_key)).await;
        let holder = world.claim_one(t(0)).await;

        let ids = at_once(&world, 4, |peer, n| {
            let end = holder.complete("receipt");
            async move {
                if n == 0 {
                    peer.apply(end).await;
                    return None;
                }
                Some(peer.dispatch(peer.call("charge").keyed(same_key)).await)
            }
        })
        .await;

        for id in ids.into_iter().flatten() {
            same("result", world.result(id).await, ok("receipt"));
        }
    }
}

async fn a_call_races_with_a_failure_and_runs(world: World) {
    for round in 0..20 {
        let same_key = key(&round.to_string());
        world.dispatch(world.call("charge").keyed(same_key)).await;
        let holder = world.claim_one(t(0)).await;

        at_once(&world, 4, |peer, n| {
            let end = holder.fail(declined());
            async move {
                if n == 0 {
                    peer.apply(end).await;
                } else {
                    peer.dispatch(peer.call("charge").keyed(same_key)).await;
                }
            }
        })
        .await;

        let next = world.claim_one(t(0)).await;
        world.apply(next.complete("receipt")).await;
        same("claimed after", world.claim(9).at(t(99)).await.len(), 0);
    }
}

/// The task that waited has the key in common with the previous holder, and nothing else.
async fn who_takes_the_place_of_the_holder_is_as_it_was_given(world: World) {
    let policy = RetryPolicy::default().max_attempts(7);
    let holder = world.call("charge").keyed(key("k")).priority(1).traced("the first").tags(["eu"]);
    world.dispatch(holder.retry(RetryPolicy::never()).args(text("one"))).await;
    let claimed = world.claim_one(t(0)).await;
    let next = world.call("ship").on("parcels").keyed(key("k")).priority(-3).traced("the second");
    let id = world.dispatch(next.tags(["us"]).retry(policy.clone()).args(text("two")).expires(t(900))).await;

    world.apply(claimed.fail(declined())).await;

    let task = world.claim_one(t(0)).await.task;
    same("id", task.id, id);
    same("lane", (task.lane.function.as_str(), task.lane.queue.as_str()), ("ship", "parcels"));
    same("tags", task.lane.tags, ["us".to_owned()].into());
    same("priority and attempts", (task.priority, task.attempts), (-3, 0));
    same("policy", task.retry, Some(policy));
    same("trace", task.trace.as_deref(), Some("the second"));
    same("arguments", task.args, text("two"));
    same("the end of its time", task.expires_at, Some(t(900)));
}
