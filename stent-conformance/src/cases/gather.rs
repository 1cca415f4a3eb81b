//! Maps that continue when items fail.

use super::words::*;

list! { gather:
    G4 it_goes_on_past_failures_and_ends_when_all_have_ended,
    G4 results_and_failures_stand_in_the_order_of_the_items,
    G4 one_whose_items_all_fail_has_ended_well,
    G4 one_without_items_ends_at_once,
    G4 a_map_ends_where_a_gather_goes_on,
    G5 it_wakes_its_owner_for_more,
    G5 failures_count_for_the_window,
    G15 one_that_is_given_up_takes_its_items_along,
    G4 it_goes_on_after_a_crash,
    G4 a_memory_is_told_of_open_ones,
    G4 the_last_failure_completes_it,
    G14 failures_of_items_come_back_whole,
    G4 a_claim_tells_its_kind_and_how_far_it_has_come,
    G4 items_that_are_fed_after_a_failure_run,
    G4 a_total_that_comes_after_the_last_failure_completes_it,
    G4 the_last_failure_and_the_total_meet_in_one_batch_in_either_order,
    G4 failures_of_a_batch_are_counted_one_by_one,
    G3 a_failure_that_is_repeated_counts_once,
    G6 an_item_that_is_tried_again_has_not_ended,
    G15 an_item_whose_time_is_up_has_ended,
    G7 an_item_that_failed_stays_failed,
    G4 an_item_with_steps_of_its_own_may_fail,
    G4 the_owner_may_be_retried_and_its_items_are_not_run_again,
    G5 many_workers_fail_and_complete_items_while_it_is_fed,
}

/// A function that is parked for a gather of this many items; the gather, and its running items.
async fn gathering(world: &World, items: u32) -> (Claimed, TaskId, Vec<Claimed>) {
    let root = world.running("checkout").await;
    let gather = world.gather("mail");
    let id = gather.id;
    let drafts: Vec<_> = (0..items).map(|n| world.call("mail").seq(n)).collect();
    world.apply(root.park().with(gather).items(id, drafts).feed(id, items, Some(items))).await;
    let running = world.claim(items as usize).await;
    (root, id, running)
}

async fn it_goes_on_past_failures_and_ends_when_all_have_ended(world: World) {
    let (root, id, items) = gathering(&world, 4).await;

    world.apply(items[0].fail(declined())).await;
    world.apply(items[2].complete("sent")).await;
    world.apply(items[3].fail(declined())).await;
    same("claimed before", world.claim(9).at(t(29)).await.len(), 0);
    world.expect_status(id, TaskStatus::Waiting).await;
    world.apply(items[1].complete("sent").at(t(5))).await;

    let woken = world.claim_one(t(5)).await;
    same("woken", (woken.task.id, woken.task.done), (root.task.id, 1));
    same("how it ended", given(&woken.steps, id).map(|result| result.is_ok()), Some(true));
    let view = world.task(id).await;
    same("the gather", (view.status, view.ended_at), (TaskStatus::Completed, Some(t(5))));
    same("its progress", view.map, Some(Progress { fed: 4, total: Some(4), done: 4 }));
    same("its kind", woken.steps[0].kind, StepKind::Gather);
}

async fn results_and_failures_stand_in_the_order_of_the_items(world: World) {
    let (_, id, items) = gathering(&world, 5).await;
    for n in [3, 0, 4, 1, 2] {
        let turn = if n % 2 == 0 {
            items[n].complete(&n.to_string())
        } else {
            items[n].fail(Failure::new("Odd", n.to_string()))
        };
        world.apply(turn).await;
    }

    let results: Vec<_> = world.items(id).await.into_iter().map(|item| item.result).collect();

    let expected: Vec<_> = (0..5)
        .map(|n| {
            Some(if n % 2 == 0 { Ok(text(&n.to_string())) } else { Err(Failure::new("Odd", n.to_string())) })
        })
        .collect();
    same("results", results, expected);
}

async fn one_whose_items_all_fail_has_ended_well(world: World) {
    let (root, id, items) = gathering(&world, 3).await;

    world.commit_all(items.iter().map(|item| item.fail(declined()))).await;

    let woken = world.claim_one(t(0)).await;
    same("woken", woken.task.id, root.task.id);
    same("how it ended", given(&woken.steps, id).map(|result| result.is_ok()), Some(true));
    same("dead letters", world.dead_letters().await.len(), 0);
}

async fn one_without_items_ends_at_once(world: World) {
    let root = world.running("checkout").await;
    let gather = world.gather("mail");
    let id = gather.id;

    let news = world.apply(root.keep().with(gather).feed(id, 0, Some(0))).await;

    same("told at once", (news.done, given(&news.steps, id).is_some()), (1, true));
}

async fn a_map_ends_where_a_gather_goes_on(world: World) {
    let root = world.running("checkout").await;
    let (map, gather) = (world.map("mail"), world.gather("mail"));
    let ids = [map.id, gather.id];
    let mut turn = root.park().with(map).with(gather);
    for id in ids {
        turn = turn.items(id, [world.call("mail").seq(0), world.call("mail").seq(1)]).feed(id, 2, Some(2));
    }
    world.apply(turn).await;
    for item in world.claim(9).await.iter().filter(|item| item.task.seq == Seq(0)) {
        world.apply(item.fail(declined())).await;
    }

    let woken = world.claim(9).functions(["checkout"]).await.remove(0);

    same("the map", given(&woken.steps, ids[0]), Some(Err(declined())));
    same("the gather", given(&woken.steps, ids[1]), None);
    let statuses = |items: Vec<stent_core::backend::ItemView>| {
        items.into_iter().map(|item| item.status).collect::<Vec<_>>()
    };
    same("of the map", statuses(world.items(ids[0]).await), [TaskStatus::Failed, TaskStatus::Cancelled]);
    same("of the gather", statuses(world.items(ids[1]).await), [TaskStatus::Failed, TaskStatus::Running]);
}

async fn it_wakes_its_owner_for_more(world: World) {
    let root = world.running("checkout").await;
    let gather = world.gather("mail");
    let id = gather.id;
    let items: Vec<_> = (0..4).map(|n| world.call("mail").seq(n)).collect();
    world
        .apply(root.park_for(wait_for_items(0, id, 2)).with(gather).items(id, items).feed(id, 4, None))
        .await;
    let items = world.claim(4).await;

    world.apply(items[0].fail(declined())).await;
    same("claimed before", world.claim(9).at(t(29)).await.len(), 0);
    world.apply(items[1].complete("sent")).await;

    let woken = world.claim_one(t(0)).await;
    same("woken", (woken.task.id, woken.task.done), (root.task.id, 0));
    same("progress", woken.steps[0].map, Some(Progress { fed: 4, total: None, done: 2 }));
    world.apply(woken.park().items(id, [world.call("mail").seq(4)]).feed(id, 5, Some(5))).await;
    let last = world.claim_one(t(0)).await;
    for item in items[2..].iter().chain([&last]) {
        world.apply(item.fail(declined())).await;
    }
    same("woken in the end", world.claim_one(t(0)).await.task.done, 1);
}

async fn failures_count_for_the_window(world: World) {
    let root = world.running("checkout").await;
    let gather = world.gather("mail");
    let id = gather.id;
    let items: Vec<_> = (0..3).map(|n| world.call("mail").seq(n)).collect();
    world.apply(root.keep().with(gather).items(id, items).feed(id, 3, None)).await;
    for item in world.claim(3).await {
        world.apply(item.fail(declined())).await;
    }

    // All items failed before the owner parked.
    world.apply(later(&root, 1, 0).park_for(wait_for_items(0, id, 2))).await;

    same("ready at once", world.claim_one(t(0)).await.task.id, root.task.id);
}

async fn one_that_is_given_up_takes_its_items_along(world: World) {
    let root = world.running("checkout").await;
    let gather = world.gather("mail");
    let id = gather.id;
    let items: Vec<_> = (0..3).map(|n| world.call("mail").seq(n)).collect();
    world.apply(root.keep().with(gather).items(id, items).feed(id, 3, Some(3))).await;
    let running = world.claim(2).await;
    world.apply(running[0].fail(declined())).await;

    world.apply(later(&root, 1, 0).park().cancel(id)).await;

    let statuses: Vec<_> = world.items(id).await.into_iter().map(|item| item.status).collect();
    same("items", statuses, [TaskStatus::Failed, TaskStatus::Cancelled, TaskStatus::Cancelled]);
    same("a late item", world.commit(running[1].complete("late")).await, Outcome::Gone);
    same("claimed", world.claim(9).at(t(29)).await.len(), 0);
}

async fn it_goes_on_after_a_crash(world: World) {
    let (root, id, items) = gathering(&world, 3).await;
    world.apply(items[1].fail(declined())).await;

    let world = world.crash().await;
    for item in world.claim(9).at(t(30)).await {
        world.apply(item.complete("sent").at(t(30))).await;
    }

    same("woken", world.claim_one(t(30)).await.task.id, root.task.id);
    let ok = world.items(id).await.iter().filter(|item| matches!(item.result, Some(Ok(_)))).count();
    same("those that went well", ok, 2);
}

async fn a_memory_is_told_of_open_ones(world: World) {
    let root = world.running("checkout").await;
    let gather = world.gather("mail");
    let id = gather.id;
    let items: Vec<_> = (0..4).map(|n| world.call("mail").seq(n)).collect();
    let turn = root.park_for(wait_for_items(0, id, 2)).with(gather).with(world.inline("render", "note"));
    world.apply(turn.seen(1).items(id, items).feed(id, 4, None)).await;
    let woken = world.claim(9).functions(["checkout"]).await.remove(0);
    world.apply(woken.park_for(wait_for_items(1, id, 2))).await;
    for item in &world.claim(2).await {
        world.apply(item.fail(declined())).await;
    }

    let memory = Memory::of(woken.fence.next(), 1);
    let again = world.claim(1).functions(["checkout"]).cache(&memory).await.remove(0);

    same("recalled", again.cached, Some(1));
    let steps: Vec<_> = again.steps.iter().map(|step| (step.id, step.map.map(|map| map.done))).collect();
    same("what has changed", steps, [(id, Some(2))]);
}

/// An owner with a gather and its first items; the owner continues.
async fn begin(world: &World, items: u32, total: Option<u32>) -> (Claimed, TaskId) {
    let owner = world.running("checkout").await;
    let gather = world.gather("ship");
    let id = gather.id;
    world.apply(chunk(world, owner.keep().with(gather), id, 0, items, total)).await;
    (later(&owner, 1, 0), id)
}

/// Adds items `from..to` to a turn.
fn chunk(world: &World, turn: Turn, map: TaskId, from: u32, to: u32, total: Option<u32>) -> Turn {
    let items = (from..to).map(|seq| world.call("ship").seq(seq).args(text(&format!("parcel {seq}"))));
    turn.items(map, items).feed(map, to, total)
}

/// The outcome of an item: odd ones fail.
fn ending(item: &Claimed) -> Turn {
    let seq = item.task.seq;
    if seq.0 % 2 == 1 {
        item.fail(Failure::new("Lost", format!("parcel {seq}")))
    } else {
        item.complete(&format!("tracking {seq}"))
    }
}

async fn statuses(world: &World, map: TaskId) -> Vec<TaskStatus> {
    world.items(map).await.iter().map(|item| item.status).collect()
}

/// A failure completes it like any other end.
async fn the_last_failure_completes_it(world: World) {
    let (owner, gather) = begin(&world, 2, Some(2)).await;
    let items = world.claim(2).await;
    world.apply(owner.park()).await;
    world.apply(items[0].complete("tracking")).await;
    same("claimed", world.claim(9).at(t(9)).await.len(), 0);

    world.apply(items[1].fail(declined()).at(t(3))).await;

    let woken = world.claim_one(t(3)).await;
    same("woken", (woken.task.id, woken.task.done), (owner.task.id, 1));
    same("result", given(&woken.steps, gather), Some(Ok(Payload::empty())));
}

/// Kind, message, causes, trace, data and the fatal flag: an item's failure is kept whole.
async fn failures_of_items_come_back_whole(world: World) {
    let (_, gather) = begin(&world, 1, Some(1)).await;
    let mut failure = Failure::new("ShipError::Lost", "parcel\nwas é lost").fatal();
    failure.causes = vec!["no\u{0}funds".to_owned(), String::new()];
    failure.trace = Some("at ship.rs:7".to_owned());
    failure.data = Some(Payload::new("application/cbor", (0..=255).collect()));

    world.apply(world.claim_one(t(0)).await.fail(failure.clone())).await;

    same("failure", world.peer().await.items(gather).await[0].result.clone(), Some(Err(failure)));
}

/// Failed items are counted as done.
async fn a_claim_tells_its_kind_and_how_far_it_has_come(world: World) {
    let (owner, gather) = begin(&world, 4, None).await;
    for item in world.claim(3).await {
        world.apply(ending(&item)).await;
    }

    let again = world.claim(1).at(t(30)).functions(["checkout"]).await.remove(0);

    same("the owner", again.task.id, owner.task.id);
    same("the gather", (again.steps[0].id, again.steps[0].kind), (gather, StepKind::Gather));
    same("progress", again.steps[0].map, Some(Progress { fed: 4, total: None, done: 3 }));
    same("state", again.steps[0].state.clone(), StepState::Open { due: None });
    same("as it is read", world.task(gather).await.map, Some(Progress { fed: 4, total: None, done: 3 }));
}

/// Items that are fed later run all the same.
async fn items_that_are_fed_after_a_failure_run(world: World) {
    let (owner, gather) = begin(&world, 2, None).await;
    for item in world.claim(2).await {
        world.apply(item.fail(declined())).await;
    }

    world.apply(chunk(&world, owner.park(), gather, 2, 4, Some(4))).await;

    let items = world.claim(9).await;
    same("claimed", items.iter().map(|item| item.task.seq.0).collect::<Vec<_>>(), [2, 3]);
    for item in &items {
        world.apply(item.complete("tracking")).await;
    }
    same("woken", world.claim_one(t(0)).await.task.done, 1);
    world.expect_status(gather, TaskStatus::Completed).await;
}

/// The owner did not know that it had fed the last item, and reports the total afterwards.
async fn a_total_that_comes_after_the_last_failure_completes_it(world: World) {
    let (owner, gather) = begin(&world, 2, None).await;
    for item in world.claim(2).await {
        world.apply(item.fail(declined())).await;
    }
    world.expect_status(gather, TaskStatus::Waiting).await;

    let news = world.apply(owner.keep().feed(gather, 2, Some(2))).await;

    same("completions", news.done, 1);
    same("result", given(&news.steps, gather), Some(Ok(Payload::empty())));
}

/// Whichever comes first in a batch, the gather completes once, and its owner is woken.
async fn the_last_failure_and_the_total_meet_in_one_batch_in_either_order(world: World) {
    for fail_first in [true, false] {
        let (owner, gather) = begin(&world, 1, None).await;
        let item = world.claim_one(t(0)).await;
        let (fail, tell) = (item.fail(declined()), owner.park().feed(gather, 1, Some(1)));
        let batch = if fail_first { [fail, tell] } else { [tell, fail] };

        for outcome in world.commit_all(batch).await {
            applied(outcome);
        }

        world.expect_status(gather, TaskStatus::Completed).await;
        let woken = world.claim_one(t(0)).await;
        same("woken", (woken.task.id, woken.task.done), (owner.task.id, 1));
    }
}

/// Many ends in one batch are counted each, and the last one in it completes the gather.
async fn failures_of_a_batch_are_counted_one_by_one(world: World) {
    let (owner, gather) = begin(&world, 40, Some(40)).await;
    let items = world.claim(40).await;

    let first = world.commit_all(items[..39].iter().map(ending)).await;
    same("applied", first.iter().filter(|outcome| outcome.stands()).count(), 39);
    same("so far", world.task(gather).await.map, Some(Progress { fed: 40, total: Some(40), done: 39 }));
    // Thirty-eight of them are sent again together with the last one.
    world.commit_all(items[1..].iter().map(ending)).await;

    same("in the end", world.task(gather).await.map, Some(Progress { fed: 40, total: Some(40), done: 40 }));
    same("completions", world.apply(owner.keep()).await.done, 1);
}

/// A failure that is sent again is recognized, and not counted again.
async fn a_failure_that_is_repeated_counts_once(world: World) {
    let (owner, gather) = begin(&world, 2, Some(2)).await;
    let item = world.claim(1).await.remove(0);

    world.commit_all([item.fail(declined()), item.fail(declined())]).await;
    already(world.peer().await.commit(item.fail(declined())).await);

    same("progress", world.task(gather).await.map, Some(Progress { fed: 2, total: Some(2), done: 1 }));
    same("completions", world.apply(owner.keep()).await.done, 0);
}

/// A failed attempt is not an end.
async fn an_item_that_is_tried_again_has_not_ended(world: World) {
    let (owner, gather) = begin(&world, 1, Some(1)).await;
    let item = world.claim_one(t(0)).await;

    world.apply(item.retry(t(3), declined())).await;
    world.expect_status(gather, TaskStatus::Waiting).await;
    same("result so far", world.items(gather).await[0].result.clone(), None);
    world.apply(world.claim_one(t(3)).await.fail(declined())).await;

    same("completions", world.apply(owner.keep()).await.done, 1);
    same("result", world.items(gather).await[0].result.clone(), Some(Err(declined())));
}

/// An item that times out counts as a failed one.
async fn an_item_whose_time_is_up_has_ended(world: World) {
    let owner = world.running("checkout").await;
    let gather = world.gather("ship");
    let id = gather.id;
    let items = [world.call("ship").seq(0).expires(t(5)), world.call("ship").seq(1)];
    world.apply(owner.park().with(gather).items(id, items).feed(id, 2, Some(2))).await;
    let item = world.claim(2).await.remove(1);
    world.apply(item.complete("tracking")).await;

    same("expired", world.expire_all(t(6)).await.len(), 1);

    let kind = world.items(id).await[0]
        .result
        .clone()
        .and_then(Result::err)
        .map(|failure| String::from(failure.kind));
    same("the item's failure", kind.as_deref(), Some(Failure::TIMED_OUT));
    world.expect_status(id, TaskStatus::Completed).await;
    same("woken", world.claim_one(t(6)).await.task.id, owner.task.id);
}

/// Nothing later changes an item's end.
async fn an_item_that_failed_stays_failed(world: World) {
    let (_, gather) = begin(&world, 2, Some(2)).await;
    let items = world.claim(2).await;
    world.apply(items[0].fail(declined())).await;
    let before = world.snapshot().await;

    same("outcome", world.commit(later(&items[0], 1, 0).complete("after all")).await, Outcome::Gone);
    world.snapshot().await.expect_same("a late result changed something", &before);
    world.apply(items[1].complete("tracking")).await;

    same("items", statuses(&world, gather).await, [TaskStatus::Failed, TaskStatus::Completed]);
}

/// The failure of a step concerns its item; only the item's own failure counts.
async fn an_item_with_steps_of_its_own_may_fail(world: World) {
    let (owner, gather) = begin(&world, 1, Some(1)).await;
    let item = world.claim_one(t(0)).await;
    same(
        "the item's place",
        (item.task.tree.parent, item.task.tree.owner),
        (Some(gather), Some(owner.task.id)),
    );
    let step = world.spawn(item.park(), world.call("pack")).await;

    world.apply(step.fail(declined())).await;
    world.expect_status(gather, TaskStatus::Waiting).await;
    world.apply(world.claim_one(t(0)).await.fail(declined())).await;

    world.expect_status(gather, TaskStatus::Completed).await;
    same("completions", world.apply(owner.keep()).await.done, 1);
}

/// A retry of the owner that keeps the gather keeps its items, including failed ones.
async fn the_owner_may_be_retried_and_its_items_are_not_run_again(world: World) {
    let (owner, gather) = begin(&world, 3, Some(3)).await;
    let items = world.claim(2).await;
    world.apply(items[0].fail(declined())).await;

    world.apply(owner.retry(t(5), declined())).await;
    world.apply(items[1].fail(declined())).await;

    let again = world.claim(9).at(t(5)).functions(["checkout"]).await.remove(0);
    same("progress", again.steps[0].map, Some(Progress { fed: 3, total: Some(3), done: 2 }));
    let last = world.claim(9).at(t(5)).functions(["ship"]).await;
    same("the rest", last.iter().map(|item| item.task.seq.0).collect::<Vec<_>>(), [2]);
    world.apply(last[0].complete("tracking")).await;
    same("completions", world.apply(again.keep()).await.done, 1);
    world.expect_status(gather, TaskStatus::Completed).await;
}

/// Ends of both kinds on many handles are each counted once while the owner feeds.
async fn many_workers_fail_and_complete_items_while_it_is_fed(world: World) {
    const CHUNK: u32 = 20;
    const TOTAL: u32 = 200;
    let (owner, gather) = begin(&world, CHUNK, None).await;
    let mut workers = Vec::new();
    for _ in 0..3 {
        let peer = world.peer().await;
        workers.push(tokio::spawn(async move {
            let mut ended = 0;
            while peer.task(gather).await.status == TaskStatus::Waiting {
                let items = peer.claim(7).functions(["ship"]).await;
                ended += peer.commit_all(items.iter().map(ending)).await.into_iter().map(applied).count();
            }
            ended
        }));
    }

    let mut owner = owner;
    for from in (CHUNK..TOTAL).step_by(CHUNK as usize) {
        let to = from + CHUNK;
        world.apply(chunk(&world, owner.keep(), gather, from, to, (to == TOTAL).then_some(TOTAL))).await;
        owner = later(&owner, 1, 0);
    }
    world.apply(owner.park()).await;
    let mut ended = 0;
    for worker in workers {
        ended += worker.await.expect("a worker ends");
    }

    same("items that have ended", ended, TOTAL as usize);
    let failed =
        statuses(&world, gather).await.iter().filter(|status| **status == TaskStatus::Failed).count();
    same("of which failed", failed, TOTAL as usize / 2);
    let woken = world.claim_one(t(0)).await;
    same("woken", (woken.task.id, woken.task.done), (owner.task.id, 1));
}
