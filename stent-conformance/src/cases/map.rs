//! Maps: one step with many items, counted and read in pages.

use stent_core::model::Threshold;

use super::words::*;

list! { map:
    G4 results_are_read_in_the_order_of_the_items,
    G14 arguments_are_read_back_item_by_item,
    G4 items_are_read_in_pages,
    G4 the_last_item_completes_the_map,
    G4 a_total_that_comes_late_completes_the_map,
    G4 a_map_over_nothing_completes_at_once,
    G5 completing_the_map_wakes_its_owner,
    G5 the_threshold_wakes_the_owner_for_more,
    G5 a_threshold_that_was_reached_before_the_parking_counts,
    G5 an_item_below_the_threshold_wakes_nobody,
    G2 the_threshold_leaves_the_lease_of_a_running_owner_alone,
    G6 the_threshold_does_not_hasten_a_retry_of_the_owner,
    G4 a_claim_tells_how_far_a_map_has_come,
    G15 the_first_failure_ends_the_map_and_cancels_the_rest,
    G15 a_late_item_of_a_failed_map_is_gone,
    G15 items_fed_to_a_map_that_has_failed_never_run,
    G15 cancelling_a_map_cancels_its_items,
    G4 an_item_can_have_steps_of_its_own,
    G6 an_item_is_retried_like_any_task,
    G14 steps_and_items_are_as_they_were_given,
    G5 each_of_several_maps_wakes_its_owner,
    G1 a_crash_between_two_chunks_loses_nothing,
    G5 many_workers_complete_a_map_while_it_is_fed,
}

/// An owner with a map and its first items; the owner continues.
async fn begin(world: &World, items: u32, total: Option<u32>) -> (Claimed, TaskId) {
    let owner = world.running("checkout").await;
    let map = world.map("ship");
    let id = map.id;
    world.apply(chunk(world, owner.keep().with(map), id, 0, items, total)).await;
    (later(&owner, 1, 0), id)
}

/// Adds items `from..to` to a turn.
fn chunk(world: &World, turn: Turn, map: TaskId, from: u32, to: u32, total: Option<u32>) -> Turn {
    let items = (from..to).map(|seq| world.call("ship").seq(seq).args(text(&format!("parcel {seq}"))));
    turn.items(map, items).feed(map, to, total)
}

async fn complete_all(world: &World, items: &[Claimed]) {
    for item in items {
        world.apply(item.complete(&format!("tracking {}", item.task.seq))).await;
    }
}

async fn results_are_read_in_the_order_of_the_items(world: World) {
    let (_, map) = begin(&world, 5, Some(5)).await;
    let mut items = world.claim(5).await;
    items.reverse();
    items.swap(1, 3);

    complete_all(&world, &items).await;

    let read = world.items(map).await;
    let results: Vec<_> = read.into_iter().map(|item| (item.seq, item.status, item.result)).collect();
    let expected: Vec<_> =
        (0..5).map(|n| (Seq(n), TaskStatus::Completed, Some(Ok(text(&format!("tracking {n}")))))).collect();
    same("results", results, expected);
}

async fn arguments_are_read_back_item_by_item(world: World) {
    let (_, map) = begin(&world, 3, None).await;

    let read = world.items(map).await;

    let arguments: Vec<_> = read.into_iter().map(|item| (item.args, item.status, item.result)).collect();
    let expected: Vec<_> =
        (0..3).map(|n| (text(&format!("parcel {n}")), TaskStatus::Pending, None)).collect();
    same("items", arguments, expected);
}

async fn items_are_read_in_pages(world: World) {
    let (_, map) = begin(&world, 250, None).await;

    for (from, max, expected) in
        [(0, 100, 0..100), (200, 100, 200..250), (250, 10, 250..250), (17, 1, 17..18)]
    {
        let page = world.store().items(map, Seq(from), max).await.expect("items");
        same("page", page.iter().map(|item| item.seq.0).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }
}

async fn the_last_item_completes_the_map(world: World) {
    let (owner, map) = begin(&world, 2, Some(2)).await;
    let items = world.claim(2).await;
    world.apply(items[1].complete("late one first").at(t(4))).await;
    world.expect_status(map, TaskStatus::Waiting).await;

    world.apply(items[0].complete("the last").at(t(5))).await;

    let view = world.task(map).await;
    same(
        "the map",
        (view.status, view.done_order, view.ended_at),
        (TaskStatus::Completed, Some(1), Some(t(5))),
    );
    let news = world.apply(owner.keep()).await;
    same("completions", news.done, 1);
    let expected = StepState::Done { order: 1, at: t(5), result: Ok(Payload::empty()) };
    same("the step", news.steps[0].state.clone(), expected);
    same("progress", news.steps[0].map, Some(Progress { fed: 2, total: Some(2), done: 2 }));
}

async fn a_total_that_comes_late_completes_the_map(world: World) {
    let (owner, map) = begin(&world, 2, None).await;
    complete_all(&world, &world.claim(2).await).await;
    world.expect_status(map, TaskStatus::Waiting).await;

    let news = world.apply(owner.keep().feed(map, 2, Some(2))).await;

    same("completions", news.done, 1);
    world.expect_status(map, TaskStatus::Completed).await;
}

async fn a_map_over_nothing_completes_at_once(world: World) {
    let owner = world.running("checkout").await;
    let map = world.map("ship");
    let id = map.id;

    world.apply(owner.park().with(map).feed(id, 0, Some(0))).await;

    same("completions", world.claim_one(t(0)).await.task.done, 1);
    same("items", world.items(id).await, Vec::new());
}

async fn completing_the_map_wakes_its_owner(world: World) {
    let (owner, _) = begin(&world, 2, Some(2)).await;
    let items = world.claim(2).await;
    world.apply(owner.park()).await;

    complete_all(&world, &items[..1]).await;
    same("claimed", world.claim(5).at(t(9)).await.len(), 0);
    complete_all(&world, &items[1..]).await;

    same("woken", world.claim_one(t(0)).await.task.id, owner.task.id);
}

async fn the_threshold_wakes_the_owner_for_more(world: World) {
    let (owner, map) = begin(&world, 4, None).await;
    let items = world.claim(4).await;
    world.apply(owner.park_for(wait_for_items(0, map, 2))).await;

    complete_all(&world, &items[..1]).await;
    same("claimed below the threshold", world.claim(5).at(t(9)).await.len(), 0);
    complete_all(&world, &items[1..2]).await;
    let woken = world.claim_one(t(0)).await;
    same("woken", (woken.task.id, woken.task.done), (owner.task.id, 0));

    // The owner feeds the rest, parks again, and is woken by the end only.
    world.apply(chunk(&world, woken.park(), map, 4, 6, Some(6))).await;
    complete_all(&world, &items[2..]).await;
    let rest = world.claim(9).await;
    same("the new items", rest.len(), 2);
    complete_all(&world, &rest).await;
    same("completions", world.claim_one(t(0)).await.task.done, 1);
}

async fn a_threshold_that_was_reached_before_the_parking_counts(world: World) {
    let (owner, map) = begin(&world, 4, None).await;
    complete_all(&world, &world.claim(3).await).await;

    world.apply(owner.park_for(wait_for_items(0, map, 2)).at(t(1))).await;

    same("woken", world.claim(5).functions(["checkout"]).at(t(1)).ids().await, [owner.task.id]);
}

async fn an_item_below_the_threshold_wakes_nobody(world: World) {
    let (owner, map) = begin(&world, 9, None).await;
    let items = world.claim(9).await;
    world.apply(owner.park_for(wait_for_items(0, map, 9))).await;

    complete_all(&world, &items[..8]).await;

    same("claimed", world.claim(5).at(t(9)).await.len(), 0);
}

async fn the_threshold_leaves_the_lease_of_a_running_owner_alone(world: World) {
    let (owner, map) = begin(&world, 3, None).await;
    let items = world.claim(3).await;
    world.apply(owner.park_for(wait_for_items(0, map, 2).until(Some(t(1))))).await;
    let awake = world.claim_one(t(1)).await;

    complete_all(&world, &items).await;

    same("claimed by another", world.claim(5).at(t(30)).await.len(), 0);
    world.apply(awake.park_for(wait_for_items(0, map, 4)).at(t(30))).await;
    same("the old threshold is forgotten", world.claim(5).at(t(99)).await.len(), 0);
}

async fn the_threshold_does_not_hasten_a_retry_of_the_owner(world: World) {
    let (owner, map) = begin(&world, 3, None).await;
    let items = world.claim(3).await;
    world.apply(owner.park_for(wait_for_items(0, map, 2).until(Some(t(1))))).await;
    let awake = world.claim_one(t(1)).await;
    world.apply(awake.retry(t(60), declined())).await;

    complete_all(&world, &items).await;

    same("claimed early", world.claim(5).at(t(59)).await.len(), 0);
    same("claimed on time", world.claim_one(t(60)).await.task.id, owner.task.id);
}

async fn a_claim_tells_how_far_a_map_has_come(world: World) {
    let (owner, map) = begin(&world, 4, None).await;
    complete_all(&world, &world.claim(3).await).await;
    let first = world.claim(1).at(t(30)).functions(["checkout"]).await.remove(0);
    same("the map", (first.steps[0].id, first.steps[0].kind), (map, StepKind::Map));
    same("progress", first.steps[0].map, Some(Progress { fed: 4, total: None, done: 3 }));

    world.apply(chunk(&world, first.keep(), map, 4, 6, Some(6))).await;

    let second = world.claim(1).at(t(60)).functions(["checkout"]).await.remove(0);
    same("progress", second.steps[0].map, Some(Progress { fed: 6, total: Some(6), done: 3 }));
    same("state", second.steps[0].state.clone(), StepState::Open { due: None });
    same("the owner", second.task.id, owner.task.id);
}

async fn the_first_failure_ends_the_map_and_cancels_the_rest(world: World) {
    let (owner, map) = begin(&world, 5, Some(5)).await;
    let items = world.claim(3).await;
    world.apply(owner.park()).await;
    complete_all(&world, &items[..1]).await;

    world.apply(items[1].fail(declined()).at(t(6))).await;

    let view = world.task(map).await;
    same("the map", (view.status, view.ended_at), (TaskStatus::Failed, Some(t(6))));
    let statuses: Vec<_> = world.items(map).await.iter().map(|item| item.status).collect();
    let cancelled = TaskStatus::Cancelled;
    same("items", statuses, [TaskStatus::Completed, TaskStatus::Failed, cancelled, cancelled, cancelled]);
    let woken = world.claim_one(t(6)).await;
    let expected = StepState::Done { order: 1, at: t(6), result: Err(declined()) };
    same("woken with the failure", (woken.task.id, woken.steps[0].state.clone()), (owner.task.id, expected));
}

async fn a_late_item_of_a_failed_map_is_gone(world: World) {
    let (owner, map) = begin(&world, 3, Some(3)).await;
    let items = world.claim(3).await;
    world.apply(items[0].fail(declined())).await;
    let before = world.snapshot().await;

    same("outcome", world.commit(items[1].complete("late")).await, Outcome::Gone);
    same("outcome", world.commit(items[2].fail(declined())).await, Outcome::Gone);
    already(world.commit(items[0].fail(declined())).await);

    world.snapshot().await.expect_same("a late item changed something", &before);
    same("completions", world.apply(owner.keep()).await.done, 1);
    world.expect_status(map, TaskStatus::Failed).await;
}

async fn items_fed_to_a_map_that_has_failed_never_run(world: World) {
    let (owner, map) = begin(&world, 2, None).await;
    let items = world.claim(2).await;

    // An item fails while the owner, which does not know it yet, writes the next chunk.
    world.apply(items[0].fail(declined())).await;
    let news = world.apply(chunk(&world, owner.keep(), map, 2, 5, Some(5)).at(t(3))).await;

    same("the owner hears of it", (news.done, news.steps.len()), (1, 1));
    same("claimed", world.claim(9).at(t(9)).functions(["ship"]).await.len(), 0);
    let statuses: Vec<_> = world.items(map).await.iter().skip(1).map(|item| item.status).collect();
    same("items", statuses, [TaskStatus::Cancelled; 4]);
    world.expect_status(map, TaskStatus::Failed).await;
}

async fn cancelling_a_map_cancels_its_items(world: World) {
    let (owner, map) = begin(&world, 3, None).await;
    let items = world.claim(2).await;
    complete_all(&world, &items[..1]).await;

    world.apply(owner.keep().cancel(map)).await;

    let statuses: Vec<_> = world.items(map).await.iter().map(|item| item.status).collect();
    same("items", statuses, [TaskStatus::Completed, TaskStatus::Cancelled, TaskStatus::Cancelled]);
    same("outcome", world.commit(items[1].complete("late")).await, Outcome::Gone);
    same("completions", world.apply(later(&owner, 1, 0).keep()).await.done, 0);
}

async fn an_item_can_have_steps_of_its_own(world: World) {
    let (owner, map) = begin(&world, 1, Some(1)).await;
    let item = world.claim_one(t(0)).await;
    same("the item's place", (item.task.tree.parent, item.task.tree.owner), (Some(map), Some(owner.task.id)));
    let step = world.spawn(item.park(), world.call("pack")).await;

    world.apply(step.complete("packed")).await;

    let item = world.claim_one(t(0)).await;
    same("the item", (item.task.tree.owner, item.task.done), (Some(owner.task.id), 1));
    world.apply(item.complete("tracking")).await;
    world.expect_status(map, TaskStatus::Completed).await;
}

async fn an_item_is_retried_like_any_task(world: World) {
    let (owner, map) = begin(&world, 1, Some(1)).await;
    let item = world.claim_one(t(0)).await;

    world.apply(item.retry(t(3), declined())).await;

    world.expect_status(map, TaskStatus::Waiting).await;
    same("result so far", world.items(map).await[0].result.clone(), None);
    let again = world.claim_one(t(3)).await;
    same("attempts", again.task.attempts, 1);
    world.apply(again.complete("tracking")).await;
    same("completions", world.apply(owner.keep()).await.done, 1);
}

async fn a_crash_between_two_chunks_loses_nothing(world: World) {
    let (owner, map) = begin(&world, 3, None).await;
    complete_all(&world, &world.claim(2).await).await;

    let world = world.crash().await;
    let again = world.claim(1).at(t(30)).functions(["checkout"]).await.remove(0);

    same("progress", again.steps[0].map, Some(Progress { fed: 3, total: None, done: 2 }));
    world.apply(chunk(&world, again.park(), map, 3, 4, Some(4))).await;
    complete_all(&world, &world.claim(9).at(t(30)).await).await;
    same("completions", world.claim_one(t(30)).await.task.done, 1);
    same("the owner", owner.task.id, again.task.id);
}

async fn many_workers_complete_a_map_while_it_is_fed(world: World) {
    const CHUNK: u32 = 20;
    const TOTAL: u32 = 200;
    let (owner, map) = begin(&world, CHUNK, None).await;
    let mut workers = Vec::new();
    for _ in 0..3 {
        let peer = world.peer().await;
        workers.push(tokio::spawn(async move {
            let mut completed = 0;
            while peer.task(map).await.status == TaskStatus::Waiting {
                let items = peer.claim(7).functions(["ship"]).await;
                let results = peer.commit_all(items.iter().map(|item| item.complete("tracking"))).await;
                completed += results.into_iter().map(applied).count();
            }
            completed
        }));
    }

    let mut owner = owner;
    for from in (CHUNK..TOTAL).step_by(CHUNK as usize) {
        let to = from + CHUNK;
        world.apply(chunk(&world, owner.keep(), map, from, to, (to == TOTAL).then_some(TOTAL))).await;
        owner = later(&owner, 1, 0);
    }
    world.apply(owner.park()).await;
    let mut completed = 0;
    for worker in workers {
        completed += worker.await.expect("a worker ends");
    }

    same("items that were completed", completed, TOTAL as usize);
    let woken = world.claim_one(t(0)).await;
    same("woken", (woken.task.id, woken.task.done), (owner.task.id, 1));
    same("progress", woken.steps[0].map, Some(Progress { fed: TOTAL, total: Some(TOTAL), done: TOTAL }));
}

/// All options of a call also work for a step and for an item.
async fn steps_and_items_are_as_they_were_given(world: World) {
    let policy = RetryPolicy::default().max_attempts(7);
    let failure = Failure::new("Busy", "before it was written");
    let call = || {
        let call = world.call("ship").on("parcels").tags(["eu"]).priority(-3).args(text("parcel"));
        let call = call.retry(policy.clone()).traced("a trace").expires(t(500)).due(t(5));
        call.failed_before(2).failure(failure.clone())
    };
    let owner = world.running("checkout").await;
    let map = world.map("ship");
    let (id, step, item) = (map.id, call(), call().seq(0));
    let ids = [step.id, item.id];
    // Another step and another item, without priority and delay.
    let plain = [world.call("ship"), world.call("ship").seq(1)];
    let plain_ids = [plain[0].id, plain[1].id];
    let [plain_step, plain_item] = plain;
    let turn = owner.park().with(step).with(plain_step).with(map).items(id, [item, plain_item]);
    world.apply(turn.feed(id, 2, None)).await;

    same("due at once", world.claim(9).at(t(4)).lease(1).ids().await, plain_ids);
    let claimed = world.claim(9).at(t(5)).lease(100).await;
    // Tasks without a priority come first, although their leases ended when these came due.
    let order: Vec<_> = claimed.iter().map(|claimed| claimed.task.id).collect();
    same("order", order, [plain_ids[0], plain_ids[1], ids[0], ids[1]]);
    for (claimed, id) in claimed[2..].iter().zip(ids) {
        let task = &claimed.task;
        same("lane", (task.lane.queue.as_str(), task.lane.tags.contains("eu")), ("parcels", true));
        same("priority", task.priority, -3);
        same("arguments", task.args.clone(), text("parcel"));
        same("policy", task.retry.clone(), Some(policy.clone()));
        same("trace", task.trace.as_deref(), Some("a trace"));
        same("the end of its time", task.expires_at, Some(t(500)));
        same("attempts", task.attempts, 2);
        same("the failure before", world.ended_claims(id).await[0].failure.clone(), Some(failure.clone()));
    }
    same("over", world.expired(t(500)).await.iter().map(|over| over.task).collect::<Vec<_>>(), ids);
}

/// An owner that feeds two maps at once waits for either.
async fn each_of_several_maps_wakes_its_owner(world: World) {
    let owner = world.running("checkout").await;
    let maps = [world.map("ship"), world.map("mail")];
    let ids = [maps[0].id, maps[1].id];
    let [one, other] = maps;
    let items = |name: &str| [0, 1].map(|seq| world.call(name).seq(seq));
    let turn = owner.keep().with(one).items(ids[0], items("ship")).feed(ids[0], 2, Some(2));
    world.apply(turn.with(other).items(ids[1], items("mail")).feed(ids[1], 2, Some(2))).await;
    let items = world.claim(9).await;
    same("items", items.len(), 4);
    let mut owner = later(&owner, 1, 0);
    for (n, function) in ["ship", "mail"].into_iter().enumerate() {
        // The first map had one completed item before.
        let done = |map| if map == ids[0] && n == 1 { 2 } else { 1 };
        let maps = ids.map(|map| Threshold { map, done: done(map) });
        world.apply(owner.park_for(Wait { maps: maps.into(), ..Wait::for_next(0) })).await;
        same("before", world.claim(9).functions(["checkout"]).await.len(), 0);

        let is_first = |item: &&Claimed| item.task.lane.function == function && item.task.seq == Seq(0);
        let item = items.iter().find(is_first).expect("one of its items");
        world.apply(item.complete("done")).await;

        let woken = world.claim(9).functions(["checkout"]).await;
        same("woken", woken.iter().map(|woken| woken.task.id).collect::<Vec<_>>(), [owner.task.id]);
        owner = woken[0].clone();
    }

    let rest: Vec<_> = items.iter().filter(|item| item.task.seq == Seq(1)).collect();
    world.commit_all(rest.iter().map(|item| item.complete("done"))).await;
    for id in ids {
        same("the map", world.task(id).await.status, TaskStatus::Completed);
    }
    same("completions", world.apply(owner.keep()).await.done, 2);
}
