//! Only the last claim may write, and only from its current commit count.

use super::words::*;

list! { fence:
    G3 a_stale_epoch_changes_nothing,
    G3 a_stale_write_brings_none_of_its_rows,
    G3 a_stale_write_reaches_no_other_task,
    G3 a_count_that_is_ahead_changes_nothing,
    G3 an_unclaimed_task_takes_no_write,
    G3 a_parked_task_takes_no_write_of_its_last_lease,
    G3 a_released_task_takes_no_write_of_its_last_lease,
    G3 a_retried_task_takes_no_write_of_its_last_lease,
    G3 a_stale_hint_wakes_nobody,
    G2 a_lease_that_ran_out_still_writes_while_nobody_has_claimed,
    G2 the_new_holder_writes_where_the_old_one_stopped,
    G3 a_count_of_claims_that_recurs_does_not_let_the_old_holder_write,
    G3 a_turn_that_never_stood_is_not_there_already,
    G3 a_hint_of_a_claim_that_never_stood_wakes_nobody,
    G7 an_unknown_task_is_gone,
}

/// Every change that a leaseholder can make.
fn changes(claimed: &Claimed) -> Vec<Turn> {
    vec![
        claimed.keep(),
        claimed.park(),
        claimed.park_for(Wait::for_next(0).until(Some(t(5)))),
        claimed.complete("late"),
        claimed.fail(declined()),
        claimed.retry(t(5), declined()),
        claimed.release(),
    ]
}

async fn expect_fenced(world: &World, turns: Vec<Turn>) {
    let before = world.snapshot().await;
    for turn in turns {
        let what = format!("{turn:?}");
        same(&what, world.commit(turn).await, Outcome::Fenced);
        world.snapshot().await.expect_same(&what, &before);
    }
}

async fn a_stale_epoch_changes_nothing(world: World) {
    let stale = world.running("charge").await;
    let now = world.peer().await.claim_one(t(30)).await;

    expect_fenced(&world, changes(&stale)).await;

    world.apply(now.complete("receipt")).await;
}

async fn a_stale_write_brings_none_of_its_rows(world: World) {
    let stale = world.running("checkout").await;
    let (ship, nap, note) = (world.call("ship"), world.sleep(t(1)), world.inline("render", "note"));
    let rows = [ship.id, nap.id, note.id];
    let now = world.claim(1).at(t(30)).lease(1_000).await.remove(0);

    let turn = stale.keep().with(ship).with(nap).with(note);
    same("outcome", world.commit(turn).await, Outcome::Fenced);

    for row in rows {
        same("the row", world.find(row).await, None);
    }
    same("tasks to claim", world.claim(9).at(t(31)).await.len(), 0);
    same("completions", world.apply(now.keep()).await.done, 0);
}

async fn a_stale_write_reaches_no_other_task(world: World) {
    let parent = world.running("checkout").await;
    let (ship, nap, map) = (world.call("ship"), world.sleep(t(500)), world.map("ship"));
    let (ship_id, nap_id, map_id) = (ship.id, nap.id, map.id);
    world.apply(parent.keep().with(ship).with(nap).with(map)).await;
    let stale = later(&parent, 1, 0);
    let reclaimed = world.claim(9).at(t(30)).lease(1_000).await;
    let before = world.snapshot().await;

    let turn = stale.keep().cancel(ship_id).fire(nap_id).feed(map_id, 0, Some(0));
    same("outcome", world.commit(turn).await, Outcome::Fenced);
    same("outcome", world.commit(stale.retry(t(31), declined()).erase(ship_id)).await, Outcome::Fenced);

    world.snapshot().await.expect_same("the stale write reached something", &before);
    for claimed in reclaimed {
        world.apply(claimed.keep()).await;
    }
}

async fn a_count_that_is_ahead_changes_nothing(world: World) {
    let claimed = world.running("charge").await;

    expect_fenced(&world, changes(&later(&claimed, 1, 0))).await;

    world.apply(claimed.complete("receipt")).await;
}

async fn an_unclaimed_task_takes_no_write(world: World) {
    let claimed = world.running("charge").await;
    let mut never = claimed.clone();
    never.fence.task = world.dispatch(world.call("charge")).await;
    never.task.tree = stent_core::model::Tree::root(never.fence.task.execution());
    never.fence.epoch = Epoch::NEVER;

    expect_fenced(&world, changes(&never)).await;
    never.fence.epoch = Epoch::plain(1);
    expect_fenced(&world, changes(&never)).await;
}

async fn a_parked_task_takes_no_write_of_its_last_lease(world: World) {
    let claimed = world.running("charge").await;
    world.apply(claimed.park()).await;

    expect_fenced(&world, changes(&later(&claimed, 1, 0))).await;
}

async fn a_released_task_takes_no_write_of_its_last_lease(world: World) {
    let claimed = world.running("charge").await;
    world.apply(claimed.release()).await;

    expect_fenced(&world, changes(&later(&claimed, 1, 0))).await;
}

async fn a_retried_task_takes_no_write_of_its_last_lease(world: World) {
    let claimed = world.running("charge").await;
    world.apply(claimed.retry(t(9), declined())).await;

    expect_fenced(&world, changes(&later(&claimed, 1, 0))).await;
}

async fn a_stale_hint_wakes_nobody(world: World) {
    // Given a task that was parked, woken, claimed and parked again.
    let first = world.running("checkout").await;
    same("a hint while it runs", world.commit(first.unpark()).await, Outcome::Fenced);
    world.apply(first.park_for(Wait::for_next(0).until(Some(t(1))))).await;
    let second = world.claim_one(t(1)).await;
    world.apply(second.park()).await;

    same("a hint from the first parking", world.commit(first.unpark()).await, Outcome::Fenced);

    same("tasks to claim", world.claim(5).at(t(9)).await.len(), 0);
}

async fn a_lease_that_ran_out_still_writes_while_nobody_has_claimed(world: World) {
    let claimed = world.running("charge").await;

    world.apply(claimed.complete("receipt").at(t(3_600))).await;

    world.expect_status(claimed.task.id, TaskStatus::Completed).await;
}

async fn the_new_holder_writes_where_the_old_one_stopped(world: World) {
    let first = world.running("checkout").await;
    world.apply(first.keep().with(world.inline("render", "note"))).await;
    let second = world.claim_one(t(30)).await;
    same("commits so far", (second.fence.epoch.count, second.fence.commit), (2, 1));

    world.apply(second.keep().with(world.inline("render", "again")).at(t(31))).await;
    world.apply(later(&second, 1, 2).complete("summary").at(t(32))).await;

    world.expect_status(first.task.id, TaskStatus::Completed).await;
}

/// A task that is claimed for the first time twice: a retry of its parent removed it from the record, and the next attempt
/// created it again. The same happens when a store is restored, or fails over, to a state before a claim that it had granted.
async fn claimed_twice_for_the_first_time(world: &World) -> (Claimed, Claimed) {
    let parent = world.running("checkout").await;
    let ship = world.call("ship");
    let (id, again) = (ship.id, ship.clone());
    world.apply(parent.keep().with(ship)).await;
    let old = world.claim(1).functions(["ship"]).lease(1_000).await.remove(0);
    world.apply(later(&parent, 1, 0).retry(t(0), declined()).erase(id)).await;
    let parent = world.claim(1).functions(["checkout"]).lease(1_000).await.remove(0);
    world.apply(parent.keep().with(again)).await;
    let new = world.peer().await.claim(1).functions(["ship"]).lease(1_000).await.remove(0);

    same("the task and its count of claims", (new.task.id, new.lease.epoch.count), (id, 1));
    same("the old one's", (old.task.id, old.lease.epoch.count), (id, 1));
    (old, new)
}

async fn a_count_of_claims_that_recurs_does_not_let_the_old_holder_write(world: World) {
    let (old, new) = claimed_twice_for_the_first_time(&world).await;

    expect_fenced(&world, changes(&old)).await;
    let renewed = world.store().renew(&[old.lease, new.lease], t(1), t(2_000)).await.expect("renews");
    same("renewals", renewed, [Renewal::Lost, Renewal::Renewed]);

    world.apply(new.complete("parcel")).await;
}

async fn a_turn_that_never_stood_is_not_there_already(world: World) {
    let (old, new) = claimed_twice_for_the_first_time(&world).await;
    world.apply(new.keep().with(world.inline("render", "note"))).await;

    expect_fenced(&world, changes(&old)).await;
    already(world.commit(new.keep()).await);
    world.apply(later(&new, 1, 1).complete("parcel")).await;
    same("outcome", world.commit(old.complete("late")).await, Outcome::Gone);
    already(world.commit(later(&new, 1, 1).complete("parcel")).await);
}

async fn a_hint_of_a_claim_that_never_stood_wakes_nobody(world: World) {
    let (old, new) = claimed_twice_for_the_first_time(&world).await;
    world.apply(new.park()).await;

    same("a hint from the old holder", world.commit(old.unpark()).await, Outcome::Fenced);
    same("tasks to claim", world.claim(5).functions(["ship"]).at(t(9)).await.len(), 0);
    world.apply(new.unpark()).await;
}

async fn an_unknown_task_is_gone(world: World) {
    let mut nobody = world.running("charge").await;
    nobody.fence.task = world.id();

    for turn in changes(&nobody) {
        let what = format!("{turn:?}");
        same(&what, world.commit(turn).await, Outcome::Gone);
    }
    same("a hint", world.commit(nobody.unpark()).await, Outcome::Gone);
}
