//! When a task may be claimed: its due time, its lease, its earlier claims.

use super::words::*;

const MICRO: Duration = Duration::from_micros(1);

list! { time:
    G6 nothing_is_claimed_before_its_moment,
    G6 a_moment_long_past_is_due,
    G6 the_far_future_stays_there,
    G2 a_live_lease_keeps_others_out,
    G2 a_lease_that_ran_out_lets_others_in,
    G2 the_epoch_grows_with_every_claim,
    G9 a_lost_task_stands_in_line_from_the_end_of_its_lease,
    G13 claims_without_a_committed_turn_are_counted,
    G13 a_committed_turn_ends_the_count,
    G13 a_handed_back_task_was_not_tried,
    G6 a_retry_is_not_claimed_before_its_moment,
    G6 a_released_task_is_due_at_once,
    G17 a_worker_whose_clock_is_late_takes_less_and_breaks_nothing,
}

async fn nothing_is_claimed_before_its_moment(world: World) {
    let id = world.dispatch(world.call("charge").due(t(10))).await;

    same("claimed just before", world.claim(5).at(t(10) - MICRO).await.len(), 0);
    same("claimed on time", world.claim(5).at(t(10)).ids().await, [id]);
}

async fn a_moment_long_past_is_due(world: World) {
    let id = world.dispatch(world.call("charge").due(Timestamp::EPOCH)).await;

    same("claimed", world.claim(5).ids().await, [id]);
}

async fn the_far_future_stays_there(world: World) {
    world.dispatch(world.call("charge").due(Timestamp::MAX)).await;

    same("claimed", world.claim(5).at(Timestamp::MAX - MICRO).await.len(), 0);
    same("next moment", world.claim(5).next_due().await, Some(Timestamp::MAX));
}

async fn a_live_lease_keeps_others_out(world: World) {
    world.dispatch(world.call("charge")).await;
    world.claim(1).lease(30).await;

    let peer = world.peer().await;
    same("claimed by another", peer.claim(5).at(t(30) - MICRO).await.len(), 0);
    same("claimed by the same", world.claim(5).at(t(30) - MICRO).await.len(), 0);
}

async fn a_lease_that_ran_out_lets_others_in(world: World) {
    let id = world.dispatch(world.call("charge")).await;
    world.claim(1).lease(30).await;

    let peer = world.peer().await;
    let claimed = peer.claim(5).at(t(30)).lease(30).await.remove(0);

    same("claimed", (claimed.task.id, claimed.task.status), (id, TaskStatus::Running));
    same("lease", claimed.lease, Lease { task: id, epoch: claimed.task.epoch, until: t(60) });
    same("started at", claimed.task.started_at, Some(t(0)));
}

async fn the_epoch_grows_with_every_claim(world: World) {
    world.dispatch(world.call("charge")).await;

    for round in 1..=5 {
        let claimed = world.claim(1).at(t(i64::from(round))).lease(1).await.remove(0);
        same(
            "epoch",
            (claimed.lease.epoch.count, claimed.fence.epoch.count, claimed.task.epoch.count),
            (round, round, round),
        );
    }
}

async fn a_lost_task_stands_in_line_from_the_end_of_its_lease(world: World) {
    let lost = world.dispatch(world.call("charge")).await;
    world.claim(1).lease(30).await;
    let before = world.dispatch(world.call("charge").due(t(29))).await;
    let after = world.dispatch(world.call("charge").due(t(31))).await;

    same("order", world.claim(5).at(t(40)).ids().await, [before, lost, after]);
}

async fn claims_without_a_committed_turn_are_counted(world: World) {
    world.dispatch(world.call("charge")).await;

    for round in 1..=4 {
        let claimed = world.claim(1).at(t(round)).lease(1).await.remove(0);
        same("uncommitted claims", i64::from(claimed.task.uncommitted_claims), round);
    }
}

async fn a_committed_turn_ends_the_count(world: World) {
    world.dispatch(world.call("charge")).await;
    for (start, commit) in [(0, true), (10, false)] {
        for round in 1..=3 {
            let claimed = world.claim(1).at(t(start + round)).lease(1).await.remove(0);
            same("uncommitted claims", i64::from(claimed.task.uncommitted_claims), round);
            if commit && round == 3 {
                world.apply(claimed.keep()).await;
            }
        }
    }
}

async fn a_handed_back_task_was_not_tried(world: World) {
    world.dispatch(world.call("charge")).await;
    world.claim(1).lease(1).await;
    let second = world.claim_one(t(1)).await;
    same("uncommitted claims", second.task.uncommitted_claims, 2);

    world.apply(second.release().at(t(2))).await;

    let third = world.claim_one(t(2)).await;
    same("claims and attempts", (third.task.uncommitted_claims, third.task.attempts), (2, 0));
    same("epoch", third.lease.epoch.count, 3);
}

async fn a_retry_is_not_claimed_before_its_moment(world: World) {
    let claimed = world.running("charge").await;

    world.apply(claimed.retry(t(7), declined()).at(t(1))).await;

    same("claimed just before", world.claim(5).at(t(7) - MICRO).await.len(), 0);
    same("next moment", world.claim(5).at(t(2)).next_due().await, Some(t(7)));
    same("claimed on time", world.claim(5).at(t(7)).ids().await, [claimed.task.id]);
}

async fn a_released_task_is_due_at_once(world: World) {
    let claimed = world.running("charge").await;

    world.apply(claimed.release().at(t(3))).await;

    world.expect_status(claimed.task.id, TaskStatus::Pending).await;
    same("claimed", world.peer().await.claim(5).at(t(3)).ids().await, [claimed.task.id]);
}

async fn a_worker_whose_clock_is_late_takes_less_and_breaks_nothing(world: World) {
    let held = world.running("charge").await;
    let peer = world.peer().await;
    let late = peer.dispatch(peer.call("charge").due(t(5))).await;

    // Two minutes slow: it sees neither due tasks nor lost ones.
    same("claimed", peer.claim(5).at(t(-120)).await.len(), 0);

    // Its writes count all the same, and other workers go by their own time.
    same("claimed on time", world.claim(5).at(t(5)).ids().await, [late]);
    world.apply(held.complete("receipt").at(t(-120))).await;
    world.expect_status(held.task.id, TaskStatus::Completed).await;
}
