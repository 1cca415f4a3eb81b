//! Signals: a named slot that holds the latest value that nobody has taken, and the waits for it.

use super::words::*;

list! { signal:
    G11 a_value_that_came_before_the_wait_ends_it_at_once,
    G11 a_value_that_comes_during_the_wait_wakes_the_function,
    G11 of_two_values_before_the_wait_the_latest_counts,
    G11 of_two_values_during_the_wait_each_ends_one,
    G11 a_value_is_consumed_once,
    G11 names_are_told_apart,
    G11 executions_are_told_apart,
    G11 batches_are_delivered_as_if_one_by_one,
    G11 a_send_that_is_repeated_is_told,
    G11 a_send_that_is_repeated_late_is_told,
    G11 a_send_that_is_repeated_after_its_value_was_taken_brings_nothing,
    G11 a_signal_to_no_execution_is_gone,
    G11 a_step_is_no_execution,
    G11 a_cancelling_execution_takes_signals_and_does_nothing_with_them,
    G11 a_wait_that_was_given_up_leaves_the_value_to_the_next,
    G11 a_value_that_was_never_seen_goes_back,
    G11 a_value_that_goes_back_can_be_taken_in_the_same_turn,
    G11 a_value_that_goes_back_makes_way_for_a_newer_one,
    G11 a_value_that_goes_back_is_handed_on_at_once,
    G11 of_two_values_that_go_back_the_latest_counts,
    G3 a_value_goes_back_once,
    G11 a_retry_gives_back_what_it_takes_out_of_the_record,
    G11 what_a_batch_takes_and_erases_is_not_lost,
    G11 what_is_given_back_is_told_to_what_follows_in_the_batch,
    G11 the_one_who_waits_longest_gets_it,
    G11 a_wait_below_a_cancelled_step_takes_nothing,
    G5 it_wakes_at_the_count_and_not_before,
    G5 parking_and_signal_meet_in_one_batch_in_either_order,
    G5 parking_races_with_a_signal_and_no_wake_up_is_lost,
    G4 a_value_has_its_place_among_the_completions,
    G14 values_come_back_byte_by_byte,
    G11 a_value_outlives_a_crash,
    G11 many_senders_at_once_leave_one_value,
}

fn ok(value: &str) -> Option<Result<Payload, Failure>> {
    Some(Ok(text(value)))
}

/// A function that is parked until the signal `approval` arrives, and its wait.
async fn waiting(world: &World) -> (Claimed, TaskId) {
    let root = world.running("checkout").await;
    let wait = world.wait(root.task.id, "approval");
    let id = wait.id;
    world.apply(root.park().with(wait)).await;
    (root, id)
}

async fn a_value_that_came_before_the_wait_ends_it_at_once(world: World) {
    let root = world.running("checkout").await;
    world.signal(root.task.id, "approval", "yes").await;
    let wait = world.wait(root.task.id, "approval");
    let id = wait.id;

    let news = world.apply(root.keep().with(wait).at(t(3))).await;

    same("completions", news.done, 1);
    same("told at once", given(&news.steps, id), ok("yes"));
    let view = world.task(id).await;
    same("the wait", (view.status, view.ended_at), (TaskStatus::Completed, Some(t(3))));
}

async fn a_value_that_comes_during_the_wait_wakes_the_function(world: World) {
    let (root, wait) = waiting(&world).await;
    same("claimed before", world.claim(5).at(t(29)).await.len(), 0);

    let sender = world.peer().await;
    sender.apply(signal(root.task.id, "approval", world.id(), text("yes")).at(t(7))).await;

    let woken = world.claim_one(t(7)).await;
    same("woken", (woken.task.id, woken.task.done), (root.task.id, 1));
    same("value", given(&woken.steps, wait), ok("yes"));
    let StepState::Done { at, .. } = woken.steps[0].state else { panic!("{:?} is open", woken.steps) };
    same("when it came", at, t(7));
}

async fn of_two_values_before_the_wait_the_latest_counts(world: World) {
    let root = world.running("checkout").await;
    world.signal(root.task.id, "approval", "no").await;
    world.signal(root.task.id, "approval", "yes").await;
    let (first, second) = (world.wait(root.task.id, "approval"), world.wait(root.task.id, "approval"));
    let ids = [first.id, second.id];

    let news = world.apply(root.keep().with(first).with(second)).await;

    same("the first wait", given(&news.steps, ids[0]), ok("yes"));
    same("the second wait", given(&news.steps, ids[1]), None);
    world.expect_status(ids[1], TaskStatus::Waiting).await;
}

async fn of_two_values_during_the_wait_each_ends_one(world: World) {
    let (root, first) = waiting(&world).await;
    world.signal(root.task.id, "approval", "one").await;
    world.signal(root.task.id, "approval", "two").await;

    let woken = world.claim_one(t(0)).await;
    same("completions", woken.task.done, 1);
    let wait = world.wait(root.task.id, "approval");
    let second = wait.id;
    let news = world.apply(woken.keep().with(wait)).await;

    same("the first wait", given(&woken.steps, first), ok("one"));
    same("the second wait", given(&news.steps, second), ok("two"));
}

async fn a_value_is_consumed_once(world: World) {
    let root = world.running("checkout").await;
    world.signal(root.task.id, "approval", "yes").await;
    world.apply(root.keep().with(world.wait(root.task.id, "approval"))).await;

    let again = world.wait(root.task.id, "approval");
    let id = again.id;
    world.apply(later(&root, 1, 1).park().with(again)).await;
    same("claimed without a new value", world.claim(5).at(t(29)).await.len(), 0);
    world.signal(root.task.id, "approval", "once more").await;

    same("the new value", given(&world.claim_one(t(0)).await.steps, id), ok("once more"));
}

async fn names_are_told_apart(world: World) {
    let root = world.running("checkout").await;
    let names = ["approval", "approva", "approvall", "Approval", "", "é"];
    let waits = names.map(|name| world.wait(root.task.id, name));
    let ids = waits.clone().map(|wait| wait.id);
    world.apply(waits.into_iter().fold(root.keep(), Turn::with)).await;

    for name in names.iter().rev() {
        world.signal(root.task.id, name, &format!("for {name:?}")).await;
    }

    let news = world.apply(later(&root, 1, 0).keep()).await;
    same("completions", news.done, 6);
    for (name, id) in names.iter().zip(ids) {
        same("value", given(&news.steps, id), ok(&format!("for {name:?}")));
    }
}

async fn executions_are_told_apart(world: World) {
    let (one, _) = waiting(&world).await;
    let (other, wait) = waiting(&world).await;

    world.signal(other.task.id, "approval", "for the other").await;

    let woken = world.claim_one(t(0)).await;
    same("woken", woken.task.id, other.task.id);
    same("value", given(&woken.steps, wait), ok("for the other"));
    world.expect_status(one.task.id, TaskStatus::Waiting).await;
}

async fn batches_are_delivered_as_if_one_by_one(world: World) {
    let send = |root: TaskId, value: &str| signal(root, "approval", world.id(), text(value));

    // Two values, then two waits: the first takes the latest value, the second has to wait.
    let root = world.running("checkout").await;
    let (first, second) = (world.wait(root.task.id, "approval"), world.wait(root.task.id, "approval"));
    let ids = [first.id, second.id];
    let one: Transition = root.keep().with(first).into();
    let two: Transition = later(&root, 1, 1).park().with(second).into();
    world.commit_all([send(root.task.id, "a"), send(root.task.id, "b"), one, two]).await;
    world.expect_status(ids[0], TaskStatus::Completed).await;
    world.expect_status(ids[1], TaskStatus::Waiting).await;
    world.commit(send(root.task.id, "c")).await;
    let woken = world.claim_one(t(0)).await;
    same("first", given(&woken.steps, ids[0]), ok("b"));
    same("second", given(&woken.steps, ids[1]), ok("c"));
    world.apply(woken.complete("summary")).await;

    // A wait between two values: it takes the first, and the second is there for the next wait.
    let root = world.running("checkout").await;
    let (first, second) = (world.wait(root.task.id, "approval"), world.wait(root.task.id, "approval"));
    let ids = [first.id, second.id];
    let one: Transition = root.keep().with(first).into();
    let two: Transition = later(&root, 1, 1).park().with(second).into();
    world.commit_all([send(root.task.id, "a"), one, send(root.task.id, "b"), two]).await;
    let woken = world.claim_one(t(0)).await;
    same("first", given(&woken.steps, ids[0]), ok("a"));
    same("second", given(&woken.steps, ids[1]), ok("b"));
}

async fn a_send_that_is_repeated_is_told(world: World) {
    let root = world.running("checkout").await;
    let send = signal(root.task.id, "approval", world.id(), text("yes"));

    let outcomes = world.commit_all([send.clone(), send.clone()]).await;
    applied(outcomes[0].clone());
    already(outcomes[1].clone());
    already(world.peer().await.commit(send.at(t(5))).await);

    let (first, second) = (world.wait(root.task.id, "approval"), world.wait(root.task.id, "approval"));
    let news = world.apply(root.keep().with(first).with(second)).await;
    same("delivered", news.done, 1);
}

/// Others may have sent values meanwhile: the repeat neither counts nor takes the slot back.
async fn a_send_that_is_repeated_late_is_told(world: World) {
    let root = world.running("checkout").await;
    let send = signal(root.task.id, "approval", world.id(), text("early"));
    world.apply(send.clone()).await;
    for n in 1..limits::SIGNAL_SENDS_KEPT {
        world.signal(root.task.id, "approval", &format!("later {n}")).await;
    }

    already(world.commit(send).await);

    let wait = world.wait(root.task.id, "approval");
    let id = wait.id;
    let news = world.apply(root.keep().with(wait)).await;
    let last = format!("later {}", limits::SIGNAL_SENDS_KEPT - 1);
    same("the latest value", given(&news.steps, id), ok(&last));
}

async fn a_send_that_is_repeated_after_its_value_was_taken_brings_nothing(world: World) {
    let root = world.running("checkout").await;
    let send = signal(root.task.id, "approval", world.id(), text("yes"));
    world.apply(send.clone()).await;
    world.apply(root.keep().with(world.wait(root.task.id, "approval"))).await;
    let again = world.wait(root.task.id, "approval");
    let id = again.id;
    world.apply(later(&root, 1, 1).park().with(again)).await;

    let world = world.crash().await;
    already(world.commit(send).await);

    world.expect_status(id, TaskStatus::Waiting).await;
    same("claimed", world.claim(5).at(t(29)).await.len(), 0);
}

async fn a_signal_to_no_execution_is_gone(world: World) {
    let send = |root: TaskId| signal(root, "approval", world.id(), text("yes"));
    same("to an unknown one", world.commit(send(world.id())).await, Outcome::Gone);

    let ended = world.running("checkout").await;
    world.apply(ended.complete("summary")).await;
    same("to one that has ended", world.commit(send(ended.task.id)).await, Outcome::Gone);
    world.purge(t(1), 9).await;
    same("to one that was purged", world.commit(send(ended.task.id)).await, Outcome::Gone);

    let failed = world.running("checkout").await;
    world.apply(failed.fail(declined())).await;
    same("to one that has failed", world.commit(send(failed.task.id)).await, Outcome::Gone);

    let cancelled = world.dispatch(world.call("checkout")).await;
    world.apply(cancel(cancelled, 10, t(0))).await;
    same("to one that was cancelled", world.commit(send(cancelled)).await, Outcome::Gone);
}

async fn a_step_is_no_execution(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.keep(), world.call("ship")).await;
    let before = world.snapshot().await;

    let send = signal(step.task.id, "approval", world.id(), text("yes"));
    same("a signal", world.commit(send).await, Outcome::Gone);
    same("a cancel", world.commit(cancel(step.task.id, 10, t(0))).await, Outcome::Gone);
    same("a revival", world.commit(redrive(step.task.id)).await, Outcome::Gone);
    same("a discard", world.commit(discard(step.task.id)).await, Outcome::Gone);

    world.snapshot().await.expect_same("a step was taken for an execution", &before);
    world.apply(step.complete("parcel")).await;
}

async fn a_cancelling_execution_takes_signals_and_does_nothing_with_them(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.park().with(world.wait(root.task.id, "approval")), world.call("ship")).await;
    world.apply(cancel(root.task.id, 10, t(0))).await;

    world.signal(root.task.id, "approval", "yes").await;

    same("claimed", world.claim(5).at(t(5)).await.len(), 0);
    world.apply(step.complete("parcel")).await;
    same("status", world.status(root.task.id).await, ExecutionStatus::Cancelled);
}

async fn a_wait_that_was_given_up_leaves_the_value_to_the_next(world: World) {
    let root = world.running("checkout").await;
    let wait = world.wait(root.task.id, "approval");
    let given_up = wait.id;
    world.apply(root.keep().with(wait)).await;
    world.apply(later(&root, 1, 0).keep().cancel(given_up)).await;

    world.signal(root.task.id, "approval", "yes").await;

    world.expect_status(given_up, TaskStatus::Cancelled).await;
    let next = world.wait(root.task.id, "approval");
    let id = next.id;
    let news = world.apply(later(&root, 2, 0).keep().with(next)).await;
    same("completions", news.done, 1);
    same("the next wait", given(&news.steps, id), ok("yes"));
}

/// A running function with a wait that took the value `yes`, which the code has not seen.
async fn taken_unseen(world: &World) -> (Claimed, TaskId) {
    let root = world.running("checkout").await;
    let wait = world.wait(root.task.id, "approval");
    let id = wait.id;
    world.apply(root.keep().with(wait)).await;
    world.signal(root.task.id, "approval", "yes").await;
    (later(&root, 1, 0), id)
}

async fn a_value_that_was_never_seen_goes_back(world: World) {
    let (root, unseen) = taken_unseen(&world).await;

    let news = world.apply(root.keep().cancel(unseen)).await;
    same("the completion stands", news.done, 1);

    let next = world.wait(root.task.id, "approval");
    let id = next.id;
    let news = world.apply(later(&root, 1, 1).keep().with(next)).await;
    same("the next wait", given(&news.steps, id), ok("yes"));
    let third = world.wait(root.task.id, "approval");
    same("and none after it", world.apply(later(&root, 2, 2).keep().with(third)).await.done, 2);
}

async fn a_value_that_goes_back_can_be_taken_in_the_same_turn(world: World) {
    let (root, unseen) = taken_unseen(&world).await;
    let next = world.wait(root.task.id, "approval");
    let id = next.id;

    world.apply(root.park().seen(1).cancel(unseen).with(next)).await;

    let woken = world.claim_one(t(0)).await;
    same("completions", woken.task.done, 2);
    same("the next wait", given(&woken.steps, id), ok("yes"));
}

async fn a_value_that_goes_back_makes_way_for_a_newer_one(world: World) {
    let (root, unseen) = taken_unseen(&world).await;
    world.signal(root.task.id, "approval", "newer").await;

    world.apply(root.keep().cancel(unseen)).await;

    let (next, after) = (world.wait(root.task.id, "approval"), world.wait(root.task.id, "approval"));
    let ids = [next.id, after.id];
    let news = world.apply(later(&root, 1, 1).keep().with(next).with(after)).await;
    same("the next wait", given(&news.steps, ids[0]), ok("newer"));
    world.expect_status(ids[1], TaskStatus::Waiting).await;
}

async fn a_value_that_goes_back_is_handed_on_at_once(world: World) {
    let root = world.running("checkout").await;
    let (first, second) = (world.wait(root.task.id, "approval"), world.wait(root.task.id, "approval"));
    let ids = [first.id, second.id];
    world.apply(root.keep().with(first).with(second)).await;
    world.signal(root.task.id, "approval", "yes").await;
    world.expect_status(ids[1], TaskStatus::Waiting).await;

    world.apply(later(&root, 1, 0).park_for(wait_for(2)).cancel(ids[0])).await;

    let woken = world.claim_one(t(0)).await;
    same("completions", woken.task.done, 2);
    same("the second wait", given(&woken.steps, ids[1]), ok("yes"));
}

async fn of_two_values_that_go_back_the_latest_counts(world: World) {
    let root = world.running("checkout").await;
    let (first, second) = (world.wait(root.task.id, "approval"), world.wait(root.task.id, "approval"));
    let ids = [first.id, second.id];
    world.apply(root.keep().with(first).with(second)).await;
    world.signal(root.task.id, "approval", "older").await;
    world.signal(root.task.id, "approval", "newer").await;

    world.apply(later(&root, 1, 0).keep().cancel(ids[0]).cancel(ids[1])).await;

    let next = world.wait(root.task.id, "approval");
    let id = next.id;
    let news = world.apply(later(&root, 2, 2).keep().with(next)).await;
    same("the next wait", given(&news.steps, id), ok("newer"));
}

async fn a_value_goes_back_once(world: World) {
    let (root, unseen) = taken_unseen(&world).await;
    let next = world.wait(root.task.id, "approval");
    let id = next.id;
    let give_back = root.keep().cancel(unseen);

    world.apply(give_back.clone()).await;
    world.apply(later(&root, 1, 1).keep().cancel(unseen).with(next)).await;
    already(world.commit(give_back).await);
    world.apply(later(&root, 2, 2).keep().cancel(unseen)).await;

    world.expect_status(id, TaskStatus::Completed).await;
    let after = world.wait(root.task.id, "approval");
    same("completions", world.apply(later(&root, 3, 2).keep().with(after)).await.done, 2);
}

/// The step and its record are removed; the value was for the execution, and the next attempt may wait for it.
async fn a_retry_gives_back_what_it_takes_out_of_the_record(world: World) {
    let (root, unseen) = taken_unseen(&world).await;

    world.apply(root.retry(t(1), declined()).erase(unseen)).await;

    same("the step", world.find(unseen).await, None);
    let again = world.claim_one(t(1)).await;
    let wait = world.wait(root.task.id, "approval");
    let id = wait.id;
    let news = world.apply(again.keep().with(wait)).await;
    same("the next attempt", given(&news.steps, id), ok("yes"));
}

async fn what_a_batch_takes_and_erases_is_not_lost(world: World) {
    let root = world.running("checkout").await;
    world.signal(root.task.id, "approval", "yes").await;
    let wait = world.wait(root.task.id, "approval");
    let erased = wait.id;

    let taking = root.keep().with(wait);
    let erasing = later(&root, 1, 0).retry(t(1), declined()).erase(erased);
    for outcome in world.commit_all([taking, erasing]).await {
        applied(outcome);
    }

    let again = world.claim_one(t(1)).await;
    let wait = world.wait(root.task.id, "approval");
    let id = wait.id;
    same("the next attempt", given(&world.apply(again.keep().with(wait)).await.steps, id), ok("yes"));
}

async fn what_is_given_back_is_told_to_what_follows_in_the_batch(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.keep(), world.call("ship")).await;
    world.signal(root.task.id, "approval", "yes").await;
    let (taking, waiting) = (world.wait(root.task.id, "approval"), world.wait(root.task.id, "approval"));
    let (taken, id) = (taking.id, waiting.id);
    same("taken", world.apply(step.keep().with(taking)).await.done, 1);
    world.apply(later(&root, 1, 0).keep().with(waiting)).await;

    let giving_up: Transition = later(&step, 1, 0).park_for(wait_for(9)).cancel(taken).into();
    let outcomes = world.commit_all([giving_up, later(&root, 2, 0).keep().into()]).await;

    let news = applied(outcomes[1].clone());
    same("told", (news.done, given(&news.steps, id)), (1, ok("yes")));
}

async fn the_one_who_waits_longest_gets_it(world: World) {
    let root = world.running("checkout").await;
    let (old, young) = (world.wait(root.task.id, "approval"), world.wait(root.task.id, "approval"));
    let ids = [old.id, young.id];
    let step = world.spawn(root.park().with(old), world.call("ship")).await;
    world.apply(step.park().with(young)).await;

    world.signal(root.task.id, "approval", "one").await;
    let woken = world.claim_one(t(0)).await;
    same("woken first", (woken.task.id, given(&woken.steps, ids[0])), (root.task.id, ok("one")));

    world.signal(root.task.id, "approval", "two").await;
    let woken = world.claim_one(t(0)).await;
    same("woken second", (woken.task.id, given(&woken.steps, ids[1])), (step.task.id, ok("two")));
}

async fn a_wait_below_a_cancelled_step_takes_nothing(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.keep(), world.call("ship")).await;
    let below = world.wait(root.task.id, "approval");
    let own = world.wait(root.task.id, "approval");
    let ids = [below.id, own.id];
    world.apply(step.park().with(below)).await;

    world.apply(later(&root, 1, 0).park().with(own).cancel(step.task.id)).await;
    world.signal(root.task.id, "approval", "yes").await;

    world.expect_status(ids[0], TaskStatus::Cancelled).await;
    same("who gets it", given(&world.claim_one(t(0)).await.steps, ids[1]), ok("yes"));
}

async fn it_wakes_at_the_count_and_not_before(world: World) {
    let root = world.running("checkout").await;
    let (one, two) = (world.wait(root.task.id, "one"), world.wait(root.task.id, "two"));
    world.apply(root.park_for(wait_for(2)).with(one).with(two)).await;

    world.signal(root.task.id, "two", "second").await;
    same("claimed after one", world.claim(5).at(t(29)).await.len(), 0);
    world.signal(root.task.id, "one", "first").await;

    same("completions", world.claim_one(t(0)).await.task.done, 2);
}

async fn parking_and_signal_meet_in_one_batch_in_either_order(world: World) {
    for parking_first in [true, false] {
        let root = world.running("checkout").await;
        world.apply(root.keep().with(world.wait(root.task.id, "approval"))).await;
        let park: Transition = later(&root, 1, 0).park().into();
        let mut batch = [park, signal(root.task.id, "approval", world.id(), text("yes"))];
        if !parking_first {
            batch.reverse();
        }

        for outcome in world.commit_all(batch).await {
            applied(outcome);
        }

        let woken = world.claim_one(t(0)).await;
        same("woken", (woken.task.id, woken.task.done), (root.task.id, 1));
        world.apply(woken.complete("summary")).await;
    }
}

async fn parking_races_with_a_signal_and_no_wake_up_is_lost(world: World) {
    for round in 0..30 {
        let root = world.running("checkout").await;
        // The wait exists before the parking, or is part of it.
        let mut park = root.park().with(world.wait(root.task.id, "approval"));
        if round % 2 == 0 {
            world.apply(root.keep().with(world.wait(root.task.id, "approval"))).await;
            park = later(&root, 1, 0).park();
        }
        let id = root.task.id;

        at_once(&world, 2, |peer, n| {
            let park = park.clone();
            async move {
                if n == 0 {
                    peer.apply(park).await;
                } else {
                    peer.signal(id, "approval", "yes").await;
                }
            }
        })
        .await;

        let woken = world.claim_one(t(0)).await;
        same("woken", (woken.task.id, woken.task.done), (id, 1));
        world.apply(woken.complete("summary")).await;
    }
}

async fn a_value_has_its_place_among_the_completions(world: World) {
    let root = world.running("checkout").await;
    let (wait, step) = (world.wait(root.task.id, "approval"), world.call("ship"));
    let id = wait.id;
    let step = world.spawn(root.keep().with(wait), step).await;
    world.apply(later(&root, 1, 0).keep().with(world.inline("render", "note"))).await;
    world.signal(root.task.id, "approval", "yes").await;
    world.apply(step.complete("parcel")).await;

    let world = world.crash().await;
    let again = world.claim(5).at(t(30)).await.remove(0);
    let kinds: Vec<_> = again.steps.iter().map(|step| (step.order(), step.kind)).collect();
    let expected = [(Some(1), StepKind::Inline), (Some(2), StepKind::Signal), (Some(3), StepKind::Call)];
    same("the record", kinds, expected);
    same("its name", again.steps[1].name.as_str(), "approval");
    same("its value", given(&again.steps, id), ok("yes"));
}

async fn values_come_back_byte_by_byte(world: World) {
    let root = world.running("checkout").await;
    let mut commits = 0;
    for (content_type, bytes) in [
        ("application/json", b"0".to_vec()),
        ("application/json", b"false".to_vec()),
        ("application/json", b"null".to_vec()),
        ("application/json", b"\"\"".to_vec()),
        ("application/cbor", vec![0xf6]),
        ("", Vec::new()),
        ("image/png", (0..=255).cycle().take(100_000).collect()),
        ("é/\u{1F600}", b"\0\n'\"\\".to_vec()),
    ] {
        let value = Payload::new(content_type, bytes);
        // Once the value comes before the wait, once after it.
        for before in [true, false] {
            let wait = world.wait(root.task.id, "approval");
            let (id, send) = (wait.id, signal(root.task.id, "approval", world.id(), value.clone()));
            let wait: Transition = later(&root, commits, commits).keep().with(wait).into();
            world.commit_all(if before { [send, wait] } else { [wait, send] }).await;
            commits += 1;
            let again = world.store().tasks(root.task.tree.execution, None, 99).await.expect("tasks");
            let view = again.iter().find(|task| task.id == id).expect("is there");
            same("status", view.status, TaskStatus::Completed);
            let done = commits - 1;
            let news = already(world.commit(later(&root, done, done).keep()).await);
            same("value", given(&news.steps, id), Some(Ok(value.clone())));
        }
    }
}

async fn a_value_outlives_a_crash(world: World) {
    let root = world.running("checkout").await;
    world.signal(root.task.id, "approval", "yes").await;

    let world = world.crash().await;

    let again = world.claim_one(t(30)).await;
    let wait = world.wait(root.task.id, "approval");
    let id = wait.id;
    same("value", given(&world.apply(again.keep().with(wait)).await.steps, id), ok("yes"));
}

async fn many_senders_at_once_leave_one_value(world: World) {
    for _ in 0..5 {
        let (root, first) = waiting(&world).await;
        let id = root.task.id;

        at_once(&world, 8, |peer, n| async move { peer.signal(id, "approval", &n.to_string()).await }).await;

        let woken = world.claim_one(t(0)).await;
        let (next, after) = (world.wait(id, "approval"), world.wait(id, "approval"));
        let ids = [next.id, after.id];
        let news = world.apply(woken.keep().with(next).with(after)).await;
        let (one, two) = (given(&woken.steps, first), given(&news.steps, ids[0]));
        assert!(one.is_some() && two.is_some() && one != two, "two of the values: {one:?} and {two:?}");
        same("and no third", given(&news.steps, ids[1]), None);
        world.apply(later(&woken, 1, 2).complete("summary")).await;
    }
}
