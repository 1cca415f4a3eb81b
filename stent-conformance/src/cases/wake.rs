//! Hints, the clock and closing: everything beside data.

use stent_core::backend::{ErrorKind, Purge, PurgeRequest, Topic};

use super::fate::dropped_after;
use super::words::*;

list! { wake:
    G17 work_is_found_without_any_hint,
    G17 a_dispatch_is_heard_of,
    G17 a_dispatch_on_another_handle_is_heard_of,
    G17 what_happens_while_nobody_waits_is_heard_of,
    G17 a_wake_up_of_a_parked_task_is_heard_of,
    G17 a_completion_below_a_running_task_is_heard_of,
    G17 an_end_is_heard_of,
    G17 a_signal_is_heard_of,
    G17 a_redrive_is_heard_of,
    G17 a_request_to_end_is_heard_of,
    G17 a_free_place_is_heard_of,
    G17 a_place_that_frees_far_below_is_heard_of,
    G17 a_place_that_a_purge_frees_is_heard_of,
    G17 a_key_that_changes_hands_is_heard_of,
    G17 every_kind_of_end_is_heard_of,
    G17 every_listener_hears,
    G17 every_handle_hears_every_time,
    G17 a_handle_that_comes_back_hears_again,
    G17 the_stores_clock_goes_on,
    G1 a_closed_handle_says_so,
    G1 closing_one_handle_leaves_the_others_open,
}

async fn work_is_found_without_any_hint(world: World) {
    let parent = world.running("checkout").await;
    let peer = world.peer().await;

    // Nobody listens; a worker that asks finds the work.
    let step = peer.spawn(parent.park(), peer.call("ship")).await;
    world.apply(step.complete("parcel")).await;
    same("claimed", peer.claim_one(t(0)).await.task.id, parent.task.id);
}

async fn a_dispatch_is_heard_of(world: World) {
    let mut listener = world.store().listen(Topic::Work);

    world.dispatch(world.call("charge")).await;

    listener.changed().await;
    world.claim_one(t(0)).await;
}

async fn a_dispatch_on_another_handle_is_heard_of(world: World) {
    let peer = world.peer().await;
    let mut listener = peer.store().listen(Topic::Work);

    world.dispatch(world.call("charge")).await;

    listener.changed().await;
    peer.claim_one(t(0)).await;
}

async fn what_happens_while_nobody_waits_is_heard_of(world: World) {
    let mut listener = world.store().listen(Topic::Work);
    for _ in 0..3 {
        world.dispatch(world.call("charge")).await;
        // A wait that is dropped consumes no hint.
        dropped_after(1, listener.changed()).await;
        world.dispatch(world.call("charge")).await;

        listener.changed().await;
    }
}

async fn a_wake_up_of_a_parked_task_is_heard_of(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.park(), world.call("ship")).await;
    let mut listener = world.store().listen(Topic::Work);

    world.apply(step.complete("parcel")).await;

    listener.changed().await;
    world.claim_one(t(0)).await;
}

/// The task's code may continue with the completion while it awaits other work.
async fn a_completion_below_a_running_task_is_heard_of(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.keep(), world.call("ship")).await;
    let peer = world.peer().await;
    let (mut here, mut there) = (world.store().listen(Topic::Work), peer.store().listen(Topic::Work));

    world.apply(step.complete("parcel")).await;

    here.changed().await;
    there.changed().await;
    same("completions", peer.completions(parent.task.id, 0).await.len(), 1);
}

async fn an_end_is_heard_of(world: World) {
    let claimed = world.running("charge").await;
    let peer = world.peer().await;
    let (mut here, mut there) = (world.store().listen(Topic::Ended), peer.store().listen(Topic::Ended));

    world.apply(claimed.complete("receipt")).await;

    here.changed().await;
    there.changed().await;
    let view = peer.execution(claimed.task.id).await.expect("is there");
    same("status", view.status, ExecutionStatus::Completed);
}

async fn a_signal_is_heard_of(world: World) {
    let root = world.running("checkout").await;
    world.apply(root.park().with(world.wait(root.task.id, "approval"))).await;
    let mut listener = world.store().listen(Topic::Work);

    world.peer().await.signal(root.task.id, "approval", "yes").await;

    listener.changed().await;
    world.claim_one(t(0)).await;
}

async fn a_redrive_is_heard_of(world: World) {
    let claimed = world.running("charge").await;
    world.apply(claimed.fail(declined())).await;
    let mut listener = world.store().listen(Topic::Work);

    world.apply(redrive(claimed.task.id)).await;

    listener.changed().await;
    world.claim_one(t(0)).await;
}

/// Workers that run a part of the execution should check at once, not when they renew their leases.
async fn a_request_to_end_is_heard_of(world: World) {
    let claimed = world.running("charge").await;
    let mut listener = world.store().listen(Topic::Work);

    world.peer().await.apply(cancel(claimed.task.id, 10, t(0))).await;

    listener.changed().await;
    same("told", world.stopping(t(0)).await, [claimed.task.id]);
}

async fn a_free_place_is_heard_of(world: World) {
    world.dispatch_many(2, || world.call("charge")).await;
    let claimed = world.claim(9).limit("charge", 1).await.remove(0);
    let mut listener = world.store().listen(Topic::Work);

    world.apply(claimed.complete("receipt")).await;

    listener.changed().await;
    same("claimed", world.claim(9).limit("charge", 1).await.len(), 1);
}

async fn a_key_that_changes_hands_is_heard_of(world: World) {
    let first = world.dispatch(world.call("charge").keyed(key("k"))).await;
    let second = world.dispatch(world.call("charge").keyed(key("k"))).await;
    let mut listener = world.store().listen(Topic::Work);

    world.apply(cancel(first, 10, t(0))).await;

    listener.changed().await;
    same("claimed", world.claim_one(t(0)).await.task.id, second);
}

async fn every_kind_of_end_is_heard_of(world: World) {
    // By the result of another call.
    world.dispatch(world.call("charge").keyed(key("k"))).await;
    let holder = world.claim_one(t(0)).await;
    let waiting = world.dispatch(world.call("charge").keyed(key("k"))).await;
    let mut listener = world.store().listen(Topic::Ended);
    world.apply(holder.complete("receipt")).await;
    listener.changed().await;
    same("one that waited", world.status(waiting).await, ExecutionStatus::Completed);

    // At once, by an existing result.
    let mut listener = world.store().listen(Topic::Ended);
    let hit = world.dispatch(world.call("charge").keyed(key("k"))).await;
    listener.changed().await;
    same("one with a kept result", world.status(hit).await, ExecutionStatus::Completed);

    // The same, of one that a task starts.
    let starter = world.running("checkout").await;
    let hit = world.call("charge").keyed(key("k"));
    let id = hit.id;
    let mut listener = world.store().listen(Topic::Ended);
    world.apply(starter.keep().spawn(world.start_of(id), hit)).await;
    listener.changed().await;
    same("one that was started", world.status(id).await, ExecutionStatus::Completed);

    // On request, without a worker.
    let pending = world.dispatch(world.call("ship")).await;
    let mut listener = world.store().listen(Topic::Ended);
    world.apply(cancel(pending, 10, t(0))).await;
    listener.changed().await;
    same("one that was cancelled", world.status(pending).await, ExecutionStatus::Cancelled);

    // On request, with the turn that ran, although its code waits for more.
    let root = world.running("checkout").await;
    world.apply(cancel(root.task.id, 10, t(0))).await;
    let mut listener = world.store().listen(Topic::Ended);
    world.apply(root.park().with(world.wait(root.task.id, "approval"))).await;
    listener.changed().await;
    same("one that was parked", world.status(root.task.id).await, ExecutionStatus::Cancelled);

    // With the last task that ran below it.
    let root = world.running("checkout").await;
    let step = world.spawn(root.park(), world.call("ship")).await;
    world.apply(cancel(root.task.id, 10, t(0))).await;
    let mut listener = world.store().listen(Topic::Ended);
    world.apply(step.complete("late")).await;
    listener.changed().await;
    same("one that was closed", world.status(root.task.id).await, ExecutionStatus::Cancelled);

    // Because its deadline has passed.
    world.dispatch(world.call("ship").due(t(9)).expires(t(5))).await;
    let mut listener = world.store().listen(Topic::Ended);
    world.expire_all(t(5)).await;
    listener.changed().await;
}

async fn every_listener_hears(world: World) {
    let mut listeners: Vec<_> = (0..10).map(|_| world.store().listen(Topic::Work)).collect();

    world.dispatch(world.call("charge")).await;

    for listener in &mut listeners {
        listener.changed().await;
    }
}

/// This case catches a hint that is sent only for the first change, or only to listeners in the sender's process.
async fn every_handle_hears_every_time(world: World) {
    let (one, other) = (world.peer().await, world.peer().await);
    let mut listeners = [&world, &one, &other].map(|world| world.store().listen(Topic::Work));
    for round in 0..9 {
        let sender = [&world, &one, &other][round % 3];
        sender.dispatch(sender.call("charge")).await;

        for listener in &mut listeners {
            listener.changed().await;
        }
    }
    same("claimed", world.claim(99).await.len(), 9);
}

async fn a_handle_that_comes_back_hears_again(world: World) {
    let mut peer = world.peer().await;
    for _ in 0..3 {
        let mut listener = peer.store().listen(Topic::Ended);
        let claimed = world.running("charge").await;

        world.apply(claimed.complete("receipt")).await;

        listener.changed().await;
        drop(listener);
        peer.crash_in_place().await;
    }
}

async fn the_stores_clock_goes_on(world: World) {
    let peer = world.peer().await;
    let mut last = Timestamp::EPOCH;
    for round in 0..20 {
        let store = if round % 2 == 0 { world.store() } else { peer.store() };
        let now = store.clock().await.expect("clock");
        assert!(now >= last, "the clock went back from {last} to {now}");
        last = now;
    }
}

async fn a_closed_handle_says_so(world: World) {
    let claimed = world.running("charge").await;
    let peer = world.peer().await;
    let store = peer.store();
    same("location", store.info().name.is_empty(), false);

    store.close().await.expect("close");

    let end: Transition = claimed.complete("receipt").into();
    let request = PurgeRequest { what: Purge::Executions, before: t(0), now: t(0), max: 1 };
    let errors = [
        store.clock().await.map(drop),
        store.exchange(&[end], None).await.map(drop),
        store.renew(&[claimed.lease], t(0), t(50)).await.map(drop),
        store.purge(&request).await.map(drop),
        store.executions(&[claimed.task.tree.execution]).await.map(drop),
        store.tasks(claimed.task.tree.execution, None, 1).await.map(drop),
        store.items(claimed.task.id, Seq(0), 1).await.map(drop),
    ];
    for (n, error) in errors.into_iter().enumerate() {
        let kind = error.expect_err("a closed handle does nothing").kind();
        same(&format!("error of call {n}"), kind, ErrorKind::Closed);
    }
    store.close().await.expect("closing a second time");
    world.expect_status(claimed.task.id, TaskStatus::Running).await;
}

async fn closing_one_handle_leaves_the_others_open(world: World) {
    let claimed = world.running("charge").await;
    world.peer().await.store().close().await.expect("close");

    world.apply(claimed.complete("receipt")).await;

    world.expect_status(claimed.task.id, TaskStatus::Completed).await;
}

/// A root, and a task two levels below it that runs in the only slot.
async fn place_far_below(world: &World, root: Claimed) -> (Claimed, TaskId) {
    let step = world.spawn(root.keep(), world.call("ship")).await;
    world.apply(step.park().with(world.call("charge"))).await;
    same("who runs", world.claim(9).limit("charge", 1).await.len(), 1);
    (later(&root, 1, 0), step.task.id)
}

async fn a_place_that_frees_far_below_is_heard_of(world: World) {
    let (root, step) = place_far_below(&world, world.running("checkout").await).await;
    let peer = world.peer().await;
    let mut listeners = [&world, &peer].map(|world| world.store().listen(Topic::Work));
    world.apply(root.keep().cancel(step)).await;
    for listener in &mut listeners {
        listener.changed().await;
    }

    world.dispatch(world.call("checkout").expires(t(5))).await;
    let root = world.claim_one(t(0)).await;
    place_far_below(&world, root).await;
    let over = world.expired(t(5)).await;
    let mut listeners = [&world, &peer].map(|world| world.store().listen(Topic::Work));
    world.commit_all(over.iter().map(|over| expire(over, t(5)))).await;
    for listener in &mut listeners {
        listener.changed().await;
    }
    world.dispatch(world.call("charge")).await;
    same("claimed", world.claim(9).at(t(5)).functions(["charge"]).limit("charge", 1).await.len(), 1);
}

/// A task below a function that has ended is purged with it.
async fn a_place_that_a_purge_frees_is_heard_of(world: World) {
    let (root, _) = place_far_below(&world, world.running("checkout").await).await;
    world.apply(root.complete("summary")).await;
    let peer = world.peer().await;
    let mut listeners = [&world, &peer].map(|world| world.store().listen(Topic::Work));

    same("purged", world.purge(t(1), 9).await, 1);

    for listener in &mut listeners {
        listener.changed().await;
    }
    world.dispatch(world.call("charge")).await;
    same("claimed", world.claim(9).functions(["charge"]).limit("charge", 1).await.len(), 1);
}
