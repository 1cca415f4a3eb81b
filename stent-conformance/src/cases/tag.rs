//! Tags: which workers may take which tasks.

use super::words::*;

list! { tag:
    G10 a_worker_takes_what_has_one_of_its_tags,
    G10 what_has_no_tag_is_for_everyone,
    G10 a_worker_without_tags_takes_all,
    G10 workers_with_other_tags_keep_apart,
    G10 a_function_may_have_tasks_with_any_tags,
    G10 tags_come_back_with_the_task,
    G10 names_of_tags_are_told_apart,
    G10 as_many_tags_as_there_may_be,
    G10 tags_go_with_queues_and_functions,
    G10 steps_and_items_have_tags_of_their_own,
    G10 a_lost_task_is_still_for_its_tags,
    G9 the_order_holds_across_tags,
    G9 work_with_other_tags_hides_nothing,
    G10 the_next_moment_is_that_of_ones_own_tags,
}

async fn a_worker_takes_what_has_one_of_its_tags(world: World) {
    let both = world.dispatch(world.call("charge").tags(["gpu", "eu"])).await;
    let gpu = world.dispatch(world.call("charge").tags(["gpu"])).await;
    let us = world.dispatch(world.call("charge").tags(["us"])).await;

    same("eu", world.claim(9).tags(["eu"]).ids().await, [both]);
    same("gpu and disk", world.claim(9).tags(["disk", "gpu"]).ids().await, [gpu]);
    same("us", world.claim(9).tags(["us", "eu"]).ids().await, [us]);
}

async fn what_has_no_tag_is_for_everyone(world: World) {
    let ids = world.dispatch_many(2, || world.call("charge")).await;

    same("a worker with a tag", world.claim(1).tags(["gpu"]).ids().await, [ids[0]]);
    same("a worker without", world.claim(1).ids().await, [ids[1]]);
}

async fn a_worker_without_tags_takes_all(world: World) {
    let tagged = world.dispatch(world.call("charge").tags(["gpu"])).await;
    let plain = world.dispatch(world.call("charge")).await;
    let many = world.dispatch(world.call("charge").tags(["a", "b", "c"])).await;

    same("claimed", world.claim(9).ids().await, [tagged, plain, many]);
}

async fn workers_with_other_tags_keep_apart(world: World) {
    for n in 0..20 {
        world.dispatch(world.call("charge").tags([["eu", "us"][n % 2]])).await;
    }

    let claimed = at_once(&world, 6, |peer, n| async move {
        let tag = ["eu", "us"][n % 2];
        let mut count = 0;
        loop {
            let claimed = peer.claim(3).tags([tag]).await;
            if claimed.is_empty() {
                return count;
            }
            assert!(
                claimed.iter().all(|claimed| claimed.task.lane.tags.contains(tag)),
                "not for {tag}: {claimed:?}"
            );
            count += claimed.len();
        }
    })
    .await;

    let rest = world.claim(99).await.len();
    same("claimed in all", claimed.iter().sum::<usize>() + rest, 20);
}

async fn a_function_may_have_tasks_with_any_tags(world: World) {
    let mut ids = Vec::new();
    for tags in [["a", "b"], ["b", "c"], ["c", "d"], ["a", "b"]] {
        ids.push(world.dispatch(world.call("charge").tags(tags)).await);
    }

    same("for d", world.claim(9).tags(["d"]).ids().await, [ids[2]]);
    same("for b", world.claim(9).tags(["b"]).ids().await, [ids[0], ids[1], ids[3]]);
}

async fn tags_come_back_with_the_task(world: World) {
    let id = world.dispatch(world.call("charge").tags(["z", "a", "m", "a"])).await;

    let claimed = world.claim_one(t(0)).await;

    let tags: Vec<_> = claimed.task.lane.tags.into_iter().collect();
    same("of the task", &tags[..], ["a", "m", "z"]);
    let view = world.execution(id).await.expect("is there");
    same("of the execution", view.tags.into_iter().collect::<Vec<_>>(), tags);
}

async fn names_of_tags_are_told_apart(world: World) {
    let mut ids = Vec::new();
    for tags in [vec!["eu"], vec!["EU"], vec!["e", "u"], vec!["é"], vec!["e u"], vec!["[\"eu\"]"]] {
        let id = match tags[..] {
            [one] => world.dispatch(world.call("charge").tags([one])).await,
            [one, two] => world.dispatch(world.call("charge").tags([one, two])).await,
            _ => unreachable!("one or two"),
        };
        ids.push(id);
    }

    same("eu", world.claim(9).tags(["eu"]).ids().await, [ids[0]]);
    same("u", world.claim(9).tags(["u"]).ids().await, [ids[2]]);
    same("é", world.claim(9).tags(["é"]).ids().await, [ids[3]]);
    same("e u", world.claim(9).tags(["e u"]).ids().await, [ids[4]]);
    same("brackets", world.claim(9).tags(["[\"eu\"]"]).ids().await, [ids[5]]);
    same("EU", world.claim(9).tags(["EU"]).ids().await, [ids[1]]);
}

async fn as_many_tags_as_there_may_be(world: World) {
    let names: Vec<_> = (0..limits::TAGS_MAX).map(|n| format!("{n:0>250}")).collect();
    let tags: [&str; limits::TAGS_MAX] = std::array::from_fn(|n| names[n].as_str());
    let id = world.dispatch(world.call("charge").tags(tags)).await;

    same("for another", world.claim(9).tags(["other"]).await.len(), 0);
    same("for the last of them", world.claim(9).tags([tags[limits::TAGS_MAX - 1]]).ids().await, [id]);
}

async fn tags_go_with_queues_and_functions(world: World) {
    let here = world.dispatch(world.call("charge").on("eu").tags(["gpu"])).await;
    let other_queue = world.dispatch(world.call("charge").on("us").tags(["gpu"])).await;
    let other_function = world.dispatch(world.call("ship").on("eu").tags(["gpu"])).await;
    let other_tag = world.dispatch(world.call("charge").on("eu").tags(["disk"])).await;

    let mine = world.claim(9).functions(["charge"]).queues(["eu"]).tags(["gpu"]).ids().await;

    same("mine", mine, [here]);
    same("the others", world.claim(9).ids().await, [other_queue, other_function, other_tag]);
}

async fn steps_and_items_have_tags_of_their_own(world: World) {
    let root = world.running("checkout").await;
    let (step, map) = (world.call("ship").tags(["gpu"]), world.map("mail"));
    let (id, item) = (map.id, world.call("mail").tags(["eu"]));
    let ids = [step.id, item.id];
    world.apply(root.park().with(step).with(map).items(id, [item]).feed(id, 1, Some(1))).await;

    same("nobody's", world.claim(9).tags(["us"]).await.len(), 0);
    same("the item", world.claim(9).tags(["eu"]).ids().await, [ids[1]]);
    let step = world.claim(9).tags(["gpu"]).await.remove(0);
    same("the step", step.task.id, ids[0]);
    world.apply(step.complete("parcel")).await;
    same("the function has none", world.claim(9).tags(["us"]).ids().await, [root.task.id]);
}

async fn a_lost_task_is_still_for_its_tags(world: World) {
    let id = world.dispatch(world.call("charge").tags(["gpu"])).await;
    same("claimed", world.claim(1).tags(["gpu"]).ids().await, [id]);

    same("by another", world.claim(1).at(t(30)).tags(["eu"]).await.len(), 0);
    same("by one with the tag", world.claim(1).at(t(30)).tags(["gpu"]).ids().await, [id]);
}

async fn the_order_holds_across_tags(world: World) {
    let mut expected = Vec::new();
    for n in 0..40_i16 {
        let call = world.call("charge").priority(n % 3).due(t(i64::from(n % 4)));
        let call = match n % 5 {
            0 => call,
            1 => call.tags(["eu"]),
            2 => call.tags(["eu", "gpu"]),
            3 => call.tags(["gpu"]),
            _ => call.tags(["us"]),
        };
        let id = world.dispatch(call).await;
        if n % 5 != 4 {
            expected.push((-(n % 3), t(i64::from(n % 4)), id));
        }
    }
    expected.sort_unstable();

    let mut claimed = Vec::new();
    for max in [1, 7, 99] {
        claimed.append(&mut world.claim(max).at(t(9)).tags(["gpu", "eu"]).ids().await);
    }

    same("order", claimed, expected.into_iter().map(|(.., id)| id).collect::<Vec<_>>());
}

async fn work_with_other_tags_hides_nothing(world: World) {
    world.dispatch_many(1_000, || world.call("charge").tags(["other"]).priority(9)).await;
    let mine = world.dispatch(world.call("charge").tags(["mine"])).await;
    let plain = world.dispatch(world.call("charge")).await;

    same("claimed", world.claim(9).tags(["mine"]).ids().await, [mine, plain]);
}

async fn the_next_moment_is_that_of_ones_own_tags(world: World) {
    world.dispatch(world.call("charge").tags(["other"]).due(t(3))).await;
    world.dispatch(world.call("charge").tags(["mine"]).due(t(7))).await;

    same("mine", world.claim(9).tags(["mine"]).next_due().await, Some(t(7)));
    same("of one without tags", world.claim(9).next_due().await, Some(t(3)));
    same("of another", world.claim(9).tags(["third"]).next_due().await, None);
}
