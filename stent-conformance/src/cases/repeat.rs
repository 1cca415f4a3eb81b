//! Commits of unknown fate are sent again, and the repeat changes nothing.

use super::words::*;

list! { repeat:
    G3 every_change_of_a_lease_sent_twice_is_there_already,
    G3 every_part_of_a_turn_sent_twice_is_there_already,
    G3 a_hint_sent_twice_is_there_already,
    G3 a_repeat_is_known_on_another_handle,
    G3 a_repeat_is_known_after_a_crash,
    G3 a_repeat_is_known_after_the_next_claim,
    G3 a_repeat_after_the_next_holders_write_is_fenced,
    G3 all_writes_of_a_lease_sent_again_are_there_already,
    G3 a_batch_sent_again_is_there_already,
    G3 a_repeat_in_the_same_batch_is_there_already,
    G4 a_repeated_completion_counts_once,
    G4 a_repeat_brings_the_news_again,
    G7 the_repeat_of_an_end_is_told_from_a_late_write,
    G3 a_repeat_is_told_of_what_the_rest_of_its_batch_erases,
    G3 a_repeat_is_told_of_what_leaves_the_record_with_its_task,
}

/// Sends a transition twice; the second copy must be recognized and must change nothing.
async fn send_twice(world: &World, transition: impl Into<Transition>) {
    let transition = transition.into();
    let what = format!("{transition:?}");
    world.apply(transition.clone()).await;
    let before = world.snapshot().await;

    already(world.commit(transition).await);

    world.snapshot().await.expect_same(&format!("the repeat of {what} changed something"), &before);
}

async fn every_change_of_a_lease_sent_twice_is_there_already(world: World) {
    send_twice(&world, world.running("charge").await.complete("receipt")).await;
    send_twice(&world, world.running("charge").await.fail(declined())).await;
    let kept = world.running("charge").await;
    send_twice(&world, kept.keep()).await;
    send_twice(&world, later(&kept, 1, 0).complete("receipt")).await;
    send_twice(&world, world.running("charge").await.park()).await;
    send_twice(&world, world.running("charge").await.retry(t(9), declined())).await;
    let released = world.running("charge").await;
    send_twice(&world, released.release().at(t(9))).await;

    // Nothing was counted twice either.
    let claimed = world.claim(9).at(t(9)).await;
    let counts: Vec<_> =
        claimed.iter().map(|claimed| (claimed.task.attempts, claimed.task.uncommitted_claims)).collect();
    same("attempts and claims", counts, [(1, 1), (0, 1)]);
}

async fn every_part_of_a_turn_sent_twice_is_there_already(world: World) {
    let parent = world.running("checkout").await;
    let (nap, gone) = (world.sleep(t(0)), world.call("ship").due(t(900)));
    let (failed, map) = (world.call("ship").due(t(900)), world.map("mail"));
    let (nap_id, gone_id, failed_id, map_id) = (nap.id, gone.id, failed.id, map.id);

    let start =
        parent.keep().with(nap).with(gone).with(failed).with(map).with(world.inline("render", "note"));
    send_twice(&world, start).await;
    let feed = later(&parent, 1, 1).keep().items(map_id, [world.call("mail").seq(0).due(t(900))]);
    send_twice(&world, feed.feed(map_id, 1, None)).await;
    send_twice(&world, later(&parent, 2, 1).keep().fire(nap_id).cancel(gone_id)).await;
    send_twice(&world, later(&parent, 3, 2).retry(t(9), declined()).erase(failed_id)).await;

    let again = world.claim_one(t(9)).await;
    same("completions", again.task.done, 2);
    same("steps", again.steps.len(), 4);
}

async fn a_hint_sent_twice_is_there_already(world: World) {
    let claimed = world.running("checkout").await;
    world.apply(claimed.park()).await;

    send_twice(&world, claimed.unpark()).await;

    world.claim_one(t(0)).await;
}

async fn a_repeat_is_known_on_another_handle(world: World) {
    let claimed = world.running("charge").await;
    world.apply(claimed.complete("receipt")).await;

    already(world.peer().await.commit(claimed.complete("receipt")).await);
}

async fn a_repeat_is_known_after_a_crash(world: World) {
    let parent = world.running("checkout").await;
    let turn: Transition = parent.park().with(world.call("ship")).with(world.inline("render", "note")).into();
    world.apply(turn.clone()).await;
    let before = world.snapshot().await;

    let world = world.crash().await;
    already(world.commit(turn).await);

    world.snapshot().await.expect_same("the repeat changed something", &before);
}

async fn a_repeat_is_known_after_the_next_claim(world: World) {
    let first = world.running("charge").await;
    let turn: Transition = first.retry(t(5), declined()).into();
    world.apply(turn.clone()).await;
    let second = world.claim_one(t(5)).await;
    let before = world.snapshot().await;

    already(world.commit(turn).await);

    world.snapshot().await.expect_same("the repeat changed something", &before);
    world.apply(second.complete("receipt")).await;
}

async fn a_repeat_after_the_next_holders_write_is_fenced(world: World) {
    let first = world.running("charge").await;
    let turn: Transition = first.release().into();
    world.apply(turn.clone()).await;
    let second = world.claim_one(t(0)).await;
    world.apply(second.keep()).await;
    let before = world.snapshot().await;

    same("outcome", world.commit(turn).await, Outcome::Fenced);

    world.snapshot().await.expect_same("the repeat changed something", &before);
}

async fn all_writes_of_a_lease_sent_again_are_there_already(world: World) {
    let parent = world.running("checkout").await;
    let writes: Vec<Transition> = vec![
        parent.keep().with(world.inline("render", "one")).into(),
        later(&parent, 1, 1).keep().with(world.inline("render", "two")).into(),
        later(&parent, 2, 2).park().with(world.inline("render", "three")).into(),
    ];
    for outcome in world.commit_all(writes.clone()).await {
        applied(outcome);
    }
    let before = world.snapshot().await;

    for outcome in world.commit_all(writes).await {
        already(outcome);
    }

    world.snapshot().await.expect_same("the repeat changed something", &before);
}

async fn a_batch_sent_again_is_there_already(world: World) {
    world.dispatch_many(50, || world.call("charge")).await;
    let claimed = world.claim(50).await;
    let batch: Vec<Transition> = (0..)
        .zip(&claimed)
        .map(|(n, claimed)| match n % 5 {
            0 => claimed.complete("receipt").into(),
            1 => claimed.park().with(world.call("ship")).into(),
            2 => claimed.retry(t(9), declined()).into(),
            3 => claimed.keep().with(world.inline("render", "note")).into(),
            _ => world.call("charge").start(t(0)),
        })
        .collect();
    world.commit_all(batch.clone()).await;
    let before = world.snapshot().await;

    for outcome in world.commit_all(batch).await {
        already(outcome);
    }

    world.snapshot().await.expect_same("the repeat changed something", &before);
}

async fn a_repeat_in_the_same_batch_is_there_already(world: World) {
    let claimed = world.running("checkout").await;
    let turn: Transition = claimed.keep().with(world.inline("render", "note")).into();

    let mut outcomes = world.commit_all([turn.clone(), turn]).await;

    already(outcomes.remove(1));
    same("completions", applied(outcomes.remove(0)).done, 1);
    same("number of tasks", world.timeline(claimed.task.tree.execution).await.len(), 2);
}

async fn a_repeated_completion_counts_once(world: World) {
    let parent = world.running("checkout").await;
    let (one, two) = (world.call("ship"), world.call("ship"));
    world.apply(parent.park_for(Wait { done: 2, until: None, maps: Vec::new() }).with(one).with(two)).await;
    let steps = world.claim(2).await;

    world.apply(steps[0].complete("parcel")).await;
    already(world.commit(steps[0].complete("parcel")).await);
    already(world.peer().await.commit(steps[0].complete("parcel")).await);

    same("the parent still waits", world.claim(5).at(t(9)).await.len(), 0);
    world.apply(steps[1].complete("parcel")).await;
    same("completions", world.claim_one(t(9)).await.task.done, 2);
}

async fn a_repeat_brings_the_news_again(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.keep(), world.call("ship")).await;
    world.apply(step.complete("parcel")).await;
    let turn: Transition = later(&parent, 1, 0).keep().with(world.inline("render", "note")).into();
    let first = world.apply(turn.clone()).await;

    let again = already(world.commit(turn).await);

    same("news", &again, &first);
    same("completions", (again.done, again.steps.len()), (2, 2));
}

async fn the_repeat_of_an_end_is_told_from_a_late_write(world: World) {
    let claimed = world.running("charge").await;
    world.apply(claimed.complete("receipt")).await;

    already(world.commit(claimed.complete("receipt")).await);
    same("the next write", world.commit(later(&claimed, 1, 0).keep()).await, Outcome::Gone);
}

async fn a_repeat_is_told_of_what_the_rest_of_its_batch_erases(world: World) {
    let root = world.running("checkout").await;
    let first: Transition = root.keep().into();
    world.apply(first.clone()).await;
    let note = world.inline("render", "note");
    let id = note.id;
    world.apply(later(&root, 1, 0).keep().with(note)).await;

    let erasing: Transition = later(&root, 2, 1).keep().erase(id).into();
    let outcomes = world.commit_all([first, erasing]).await;

    let news = already(outcomes[0].clone());
    same("told", (news.done, given(&news.steps, id)), (1, Some(Ok(text("note")))));
    same("erased", applied(outcomes[1].clone()).steps, []);
    same("tasks", world.timeline(root.task.tree.execution).await.len(), 1);
}

async fn a_repeat_is_told_of_what_leaves_the_record_with_its_task(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.keep(), world.call("ship")).await;
    let first: Transition = step.keep().into();
    world.apply(first.clone()).await;
    let note = world.inline("render", "note");
    let id = note.id;
    world.apply(later(&step, 1, 0).keep().with(note)).await;

    let erasing: Transition = later(&root, 1, 0).keep().erase(step.task.id).into();
    let outcomes = world.commit_all([first, erasing]).await;

    let news = already(outcomes[0].clone());
    same("told", (news.done, given(&news.steps, id)), (1, Some(Ok(text("note")))));
    same("tasks", world.timeline(root.task.tree.execution).await.len(), 1);
}
