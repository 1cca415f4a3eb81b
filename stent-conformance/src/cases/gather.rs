//! Maps that go on when items fail.

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
}

/// A function that is parked for a gather of so many items; the gather, and the items under way.
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

    // All of them failed before the owner parked.
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

    let memory = Memory([((root.task.id, Epoch(2)), 1)].into());
    let again = world.claim(1).functions(["checkout"]).recall(&memory).await.remove(0);

    same("recalled", again.recalled, Some(1));
    let steps: Vec<_> = again.steps.iter().map(|step| (step.id, step.map.map(|map| map.done))).collect();
    same("what has changed", steps, [(id, Some(2))]);
}
