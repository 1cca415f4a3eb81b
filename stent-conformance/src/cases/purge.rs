//! Purging: old executions leave, whole, and nothing else does.

use stent_core::backend::Purge;

use super::words::*;

list! { purge:
    G16 only_what_ended_before_the_bound_leaves,
    G16 the_oldest_end_leaves_first,
    G16 no_more_leave_than_asked_for,
    G16 an_open_execution_stays_however_old,
    G16 an_execution_leaves_with_all_of_its_tasks,
    G16 other_executions_stay_whole,
    G16 failed_executions_leave_when_dead_letters_are_asked_for,
    G16 purging_again_finds_nothing,
    G7 a_purged_task_is_gone,
    G16 handles_that_purge_at_once_count_each_execution_once,
}

/// An execution that ended at this moment.
async fn ended_at(world: &World, moment: Timestamp) -> TaskId {
    let claimed = world.running("charge").await;
    world.apply(claimed.complete("receipt").at(moment)).await;
    claimed.task.id
}

async fn only_what_ended_before_the_bound_leaves(world: World) {
    let before = ended_at(&world, t(9)).await;
    let on = ended_at(&world, t(10)).await;
    let after = ended_at(&world, t(11)).await;

    same("purged", world.purge(t(10), 99).await, 1);

    same("ended before", world.execution(before).await, None);
    same("ended on the bound", world.execution(on).await.is_some(), true);
    same("ended after", world.execution(after).await.is_some(), true);
}

async fn the_oldest_end_leaves_first(world: World) {
    let mut ids = Vec::new();
    for second in [5, 2, 8, 1] {
        ids.push(ended_at(&world, t(second)).await);
    }

    same("purged", world.purge(t(99), 2).await, 2);

    let mut left = Vec::new();
    for id in ids {
        left.push(world.execution(id).await.is_some());
    }
    same("which are left", left, [true, false, true, false]);
}

async fn no_more_leave_than_asked_for(world: World) {
    world.dispatch_many(25, || world.call("charge")).await;
    let claimed = world.claim(25).await;
    world.commit_all(claimed.iter().map(|claimed| claimed.complete("receipt"))).await;

    same("purged", world.purge(t(99), 0).await, 0);
    same("purged", world.purge(t(99), 10).await, 10);
    same("purged", world.purge(t(99), 10).await, 10);
    same("purged", world.purge(t(99), 10).await, 5);
}

async fn an_open_execution_stays_however_old(world: World) {
    let parked = world.running("checkout").await;
    world.apply(parked.park_for(Wait::for_next(1)).with(world.inline("render", "note"))).await;
    let retried = world.running("checkout").await;
    world.apply(retried.retry(t(900), declined())).await;
    let running = world.running("checkout").await;
    let pending = world.dispatch(world.call("checkout").due(t(900))).await;
    // Steps that have ended do not make their execution an ended one.
    world.apply(running.keep().with(world.inline("render", "note"))).await;
    let before = world.snapshot().await;

    same("purged", world.purge(Timestamp::MAX, 99).await, 0);

    world.snapshot().await.expect_same("an open execution was touched", &before);
    same("claimed", world.claim(9).at(t(900)).await.len(), 3);
    world.expect_status(pending, TaskStatus::Running).await;
}

async fn an_execution_leaves_with_all_of_its_tasks(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.keep(), world.call("ship")).await;
    let (below, map) = (world.inline("pack", "packed"), world.map("mail"));
    let (item, detached, map_id) = (world.call("mail"), world.call("audit").due(t(5)), map.id);
    world.apply(step.keep().with(below)).await;
    world.apply(later(&step, 1, 1).complete("parcel")).await;
    let turn = later(&root, 1, 1).keep().with(map).with(detached).items(map_id, [item]);
    world.apply(turn.feed(map_id, 1, Some(1))).await;
    let item = world.claim_one(t(0)).await;
    world.apply(item.complete("sent")).await;
    world.apply(later(&root, 2, 2).complete("summary").at(t(3))).await;

    same("purged", world.purge(t(4), 99).await, 1);

    same("execution", world.execution(root.task.id).await, None);
    same("timeline", world.timeline(root.task.tree.execution).await, Vec::new());
    same("items", world.items(map_id).await, Vec::new());
    same("claimed", world.claim(9).at(t(99)).await.len(), 0);
}

async fn other_executions_stay_whole(world: World) {
    let old = ended_at(&world, t(1)).await;
    let parent = world.running("checkout").await;
    let turn = parent.park_for(Wait::for_next(1)).with(world.inline("render", "note"));
    let step = world.spawn(turn, world.call("ship")).await;
    let young = ended_at(&world, t(50)).await;
    let (open, ended) =
        (world.timeline(parent.task.tree.execution).await, world.timeline(young.execution()).await);

    same("purged", world.purge(t(10), 99).await, 1);

    same("the old one", world.timeline(old.execution()).await, Vec::new());
    same("the open one", world.timeline(parent.task.tree.execution).await, open);
    same("the young one", world.timeline(young.execution()).await, ended);
    world.apply(step.complete("parcel")).await;
    same("steps", world.claim_one(t(0)).await.steps.len(), 2);
}

async fn failed_executions_leave_when_dead_letters_are_asked_for(world: World) {
    let claimed = world.running("charge").await;
    world.apply(claimed.fail(declined())).await;

    same("purged with what ended well", world.purge(t(1), 99).await, 0);
    same("purged", world.purge_of(Purge::DeadLetters, t(1), 99).await, 1);

    same("execution", world.execution(claimed.task.id).await, None);
}

async fn purging_again_finds_nothing(world: World) {
    same("purged from an empty store", world.purge(Timestamp::MAX, 99).await, 0);
    ended_at(&world, t(1)).await;

    same("purged", world.purge(t(10), 99).await, 1);
    same("purged again", world.purge(t(10), 99).await, 0);
}

async fn a_purged_task_is_gone(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.keep(), world.call("ship")).await;
    world.apply(later(&root, 1, 0).complete("summary")).await;
    world.purge(t(1), 1).await;

    // A step that was let go of is still at work: its execution is not there any more.
    same("a late result", world.commit(step.complete("parcel")).await, Outcome::Gone);
    same("a repeated end", world.commit(later(&root, 1, 0).complete("summary")).await, Outcome::Gone);
    let answers = world.store().renew(&[step.lease], t(500)).await.expect("renew");
    same("renewal", answers, [Renewal::Lost]);
}

async fn handles_that_purge_at_once_count_each_execution_once(world: World) {
    world.dispatch_many(60, || world.call("charge")).await;
    let claimed = world.claim(60).await;
    world.commit_all(claimed.iter().map(|claimed| claimed.complete("receipt"))).await;

    let mut purges = Vec::new();
    for _ in 0..4 {
        let peer = world.peer().await;
        purges.push(tokio::spawn(async move {
            let mut purged = 0;
            loop {
                match peer.purge(t(99), 7).await {
                    0 => return purged,
                    some => purged += some,
                }
            }
        }));
    }
    let mut purged = 0;
    for purge in purges {
        purged += purge.await.expect("a purge ends");
    }

    same("purged in all", purged, 60);
}
