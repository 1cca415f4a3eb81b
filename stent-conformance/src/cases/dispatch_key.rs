//! Dispatches under the same key: the first one starts an execution, the others learn its id.

use stent_core::backend::Purge;

use super::words::*;

list! { dispatch_key:
    G12 a_second_dispatch_is_told_of_the_first,
    G12 the_first_may_stand_anywhere,
    G3 the_same_dispatch_again_is_told_so,
    G12 keys_are_told_apart,
    G12 a_dispatch_without_a_key_is_nobodys_second,
    G12 within_a_batch_the_first_one_starts,
    G12 after_the_first_was_purged_a_new_one_starts,
    G12 a_compacted_first_is_still_the_first,
    G12 the_key_outlives_a_crash,
    G12 a_refused_dispatch_leaves_nothing,
    G12 of_many_at_once_one_starts,
}

async fn a_second_dispatch_is_told_of_the_first(world: World) {
    let (first, second) = (world.call("charge"), world.call("charge"));
    let id = first.id;
    world.apply(first.start_under(Some(dispatch_key("order-7")), t(0))).await;

    let outcome = world.commit(second.start_under(Some(dispatch_key("order-7")), t(5))).await;

    same("outcome", outcome, Outcome::Exists(id.execution()));
    same("claimed", world.claim(9).at(t(9)).ids().await, [id]);
}

async fn the_first_may_stand_anywhere(world: World) {
    let again = async |name: &str| {
        world.commit(world.call("charge").start_under(Some(dispatch_key(name)), t(0))).await
    };
    for (name, end) in [("completed", 0), ("failed", 1), ("parked", 2), ("cancelled", 3), ("redriven", 4)] {
        let first = world.call("charge");
        let id = first.id;
        world.apply(first.start_under(Some(dispatch_key(name)), t(0))).await;
        let claimed = world.claim_one(t(0)).await;
        match end {
            0 => drop(world.apply(claimed.complete("receipt")).await),
            1 => drop(world.apply(claimed.fail(declined())).await),
            2 => drop(world.apply(claimed.park()).await),
            3 => {
                world.apply(cancel(id, 10, t(0))).await;
                world.apply(claimed.complete("late")).await;
            }
            _ => {
                world.apply(claimed.fail(declined())).await;
                world.apply(redrive(id)).await;
            }
        }

        same(name, again(name).await, Outcome::Exists(id.execution()));
    }
}

async fn the_same_dispatch_again_is_told_so(world: World) {
    let start = world.call("charge").start_under(Some(dispatch_key("order-7")), t(0));

    let outcomes = world.commit_all([start.clone(), start.clone()]).await;
    applied(outcomes[0].clone());
    already(outcomes[1].clone());
    already(world.peer().await.commit(start).await);

    same("claimed", world.claim(9).await.len(), 1);
}

async fn keys_are_told_apart(world: World) {
    for name in ["", "a", "A", "aa", "é"] {
        world.apply(world.call("charge").start_under(Some(dispatch_key(name)), t(0))).await;
    }
    // The key of a call is not the key of a dispatch.
    world.dispatch(world.call("charge").keyed(key("a"))).await;
    same("claimed", world.claim(9).await.len(), 6);
}

async fn a_dispatch_without_a_key_is_nobodys_second(world: World) {
    world.apply(world.call("charge").start_under(Some(dispatch_key("order-7")), t(0))).await;
    world.apply(world.call("charge").start(t(0))).await;
    world.apply(world.call("charge").start(t(0))).await;

    same("claimed", world.claim(9).await.len(), 3);
}

async fn within_a_batch_the_first_one_starts(world: World) {
    let calls: Vec<_> = (0..3).map(|_| world.call("charge")).collect();
    let first = calls[0].id;

    let outcomes = world
        .commit_all(calls.into_iter().map(|call| call.start_under(Some(dispatch_key("order-7")), t(0))))
        .await;

    applied(outcomes[0].clone());
    same(
        "the others",
        &outcomes[1..],
        [Outcome::Exists(first.execution()), Outcome::Exists(first.execution())],
    );
    same("claimed", world.claim(9).ids().await, [first]);
}

async fn after_the_first_was_purged_a_new_one_starts(world: World) {
    let first = world.call("charge");
    world.apply(first.start_under(Some(dispatch_key("order-7")), t(0))).await;
    world.apply(world.claim_one(t(0)).await.complete("receipt")).await;
    same("purged", world.purge(t(1), 9).await, 1);

    let second = world.call("charge");
    let id = second.id;
    world.apply(second.start_under(Some(dispatch_key("order-7")), t(2))).await;

    same("claimed", world.claim_one(t(2)).await.task.id, id);
    let third = world.call("charge").start_under(Some(dispatch_key("order-7")), t(3));
    same("a third", world.commit(third).await, Outcome::Exists(id.execution()));
}

async fn a_compacted_first_is_still_the_first(world: World) {
    let first = world.call("checkout");
    let id = first.id;
    world.apply(first.start_under(Some(dispatch_key("order-7")), t(0))).await;
    let claimed = world.claim_one(t(0)).await;
    world.apply(claimed.complete("summary").with(world.inline("render", "note"))).await;
    same("compacted", world.purge_of(Purge::Details, t(1), 9).await, 1);

    let second = world.call("checkout").start_under(Some(dispatch_key("order-7")), t(2));

    same("outcome", world.commit(second).await, Outcome::Exists(id.execution()));
}

async fn the_key_outlives_a_crash(world: World) {
    let first = world.call("charge");
    let id = first.id;
    world.apply(first.start_under(Some(dispatch_key("order-7")), t(0))).await;

    let world = world.crash().await;

    let second = world.call("charge").start_under(Some(dispatch_key("order-7")), t(0));
    same("outcome", world.commit(second).await, Outcome::Exists(id.execution()));
}

async fn a_refused_dispatch_leaves_nothing(world: World) {
    world.apply(world.call("charge").start_under(Some(dispatch_key("order-7")), t(0))).await;
    let second = world.call("charge").keyed(key("k"));
    let id = second.id;

    world.commit(second.start_under(Some(dispatch_key("order-7")), t(0))).await;

    same("its root", world.execution(id).await, None);
    let third = world.dispatch(world.call("charge").keyed(key("k"))).await;
    world.expect_status(third, TaskStatus::Pending).await;
}

async fn of_many_at_once_one_starts(world: World) {
    for round in 0..10 {
        let same_key = dispatch_key(&round.to_string());

        let outcomes = at_once(&world, 8, |peer, _| async move {
            let call = peer.call("charge");
            let id = call.id;
            (id, peer.commit(call.start_under(Some(same_key), t(0))).await)
        })
        .await;

        let started: Vec<_> =
            outcomes.iter().filter(|(_, outcome)| outcome.stands()).map(|(id, _)| *id).collect();
        same("how many start", started.len(), 1);
        let told = outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Exists(started[0].execution()));
        same("how many are told", told.count(), 7);
        same("claimed", world.claim(99).ids().await, started);
    }
}
