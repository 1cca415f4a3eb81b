//! Executions that are asked to end: tasks that do not run end at once, running tasks have a grace.

use stent_core::model::{Mark, Marks};

use super::words::*;

list! { stop:
    G15 one_that_has_not_started_ends_at_once,
    G15 one_that_waits_to_be_tried_again_ends_at_once,
    G15 whatever_waits_below_it_ends_at_once,
    G15 what_runs_is_told_to_its_own_worker,
    G15 what_runs_below_ends_as_cancelled_however_it_ends,
    G15 a_root_that_runs_ends_as_cancelled_however_it_ends,
    G15 it_has_ended_when_the_last_of_what_runs_has,
    G15 items_that_run_end_as_cancelled,
    G15 nobody_takes_what_is_asked_to_end,
    G15 a_woken_function_that_is_asked_to_end_is_not_taken,
    G15 what_is_over_after_the_grace_ends_by_force,
    G15 what_was_lost_ends_with_the_grace,
    G15 its_own_deadline_may_come_before_the_grace_is_over,
    G15 a_late_result_changes_nothing,
    G15 it_may_tidy_up,
    G15 what_it_asks_for_is_not_written,
    G7 what_has_ended_stays_as_it_is,
    G3 asking_again_is_told_so,
    G15 a_shorter_grace_counts,
    G7 what_has_ended_cannot_be_cancelled,
    G15 those_who_wait_for_it_are_told,
    G15 an_execution_that_it_started_goes_on,
    G15 a_dispatch_and_its_cancellation_in_one_batch,
    G15 cancellation_and_end_in_one_batch_in_either_order,
    G15 a_cancellation_outlives_a_crash,
    G15 cancellation_races_with_the_end_and_one_of_them_wins,
    G15 cancellation_races_with_new_steps_and_leaves_none_open,
    G15 cancellation_races_with_parking_and_is_not_forgotten,
}

/// The ways in which a holder may end a task.
fn ends(world: &World, claimed: &Claimed) -> [Turn; 6] {
    [
        claimed.complete("result"),
        claimed.fail(declined()),
        claimed.retry(t(2), declined()),
        claimed.park(),
        claimed.park_for(Wait::for_next(claimed.task.done).until(Some(t(2)))).with(world.call("more")),
        claimed.release(),
    ]
}

async fn expect_cancelled(world: &World, root: TaskId, at: Timestamp) {
    let view = world.execution(root).await.expect("is there");
    same("the execution", (view.status, view.ended_at), (ExecutionStatus::Cancelled, Some(at)));
    same("its result", view.result, None);
    let open: Vec<_> = world
        .timeline(root.execution())
        .await
        .into_iter()
        .filter(|task| !task.status.is_terminal())
        .collect();
    same("what is open", open, Vec::new());
    same("claimed", world.claim(99).at(t(29)).await.len(), 0);
}

async fn one_that_has_not_started_ends_at_once(world: World) {
    let root = world.dispatch(world.call("checkout").due(t(9))).await;

    world.apply(cancel(root, 10, t(3))).await;

    expect_cancelled(&world, root, t(3)).await;
    same("over", world.expired(t(99)).await, Vec::new());
}

async fn one_that_waits_to_be_tried_again_ends_at_once(world: World) {
    for end in [0, 1, 2] {
        let root = world.running("checkout").await;
        world
            .apply(match end {
                0 => root.retry(t(9), declined()),
                1 => root.release(),
                _ => root.park_for(Wait::for_next(0).until(Some(t(9)))),
            })
            .await;

        world.apply(cancel(root.task.id, 10, t(3))).await;

        expect_cancelled(&world, root.task.id, t(3)).await;
    }
}

async fn whatever_waits_below_it_ends_at_once(world: World) {
    let elsewhere = world.dispatch(world.call("charge").keyed(key("k"))).await;
    let holder = world.claim_one(t(0)).await;
    let root = world.running("checkout").await;
    let id = root.task.id;
    let parked = world.spawn(root.keep(), world.call("ship")).await;
    let deep = world.spawn(parked.park(), world.call("pack")).await;
    world.apply(deep.park().with(world.sleep(t(50))).with(world.wait(id, "approval"))).await;
    let map = world.map("mail");
    let (map_id, items) = (map.id, [world.call("mail"), world.call("mail").due(t(9))]);
    let turn = later(&root, 1, 0)
        .park()
        .with(world.call("pending"))
        .with(world.call("delayed").due(t(9)))
        .with(world.sleep(t(5)))
        .with(world.wait(id, "approval"))
        .with(world.call("charge").keyed(key("k")))
        .with(world.join(elsewhere))
        .with(map)
        .with(world.gather("mail"));
    world.apply(turn.items(map_id, items).feed(map_id, 2, None)).await;

    world.apply(cancel(id, 10, t(3))).await;

    expect_cancelled(&world, id, t(3)).await;
    let timeline = world.timeline(id.execution()).await;
    same("how many there were", timeline.len(), 15);
    for task in &timeline[1..] {
        same(
            &format!("{} `{}`", task.kind, task.name),
            (task.status, task.ended_at),
            (TaskStatus::Cancelled, Some(t(3))),
        );
    }
    // The awaited execution continues and finds no waiter.
    world.signal(elsewhere, "approval", "yes").await;
    world.apply(holder.complete("receipt")).await;
    expect_cancelled(&world, id, t(3)).await;
}

async fn what_runs_is_told_to_its_own_worker(world: World) {
    let (other, third) = (world.peer().await, world.peer().await);
    let root = world.running("checkout").await;
    let steps = [world.call("ship"), world.call("ship"), world.call("ship")];
    let ids = steps.clone().map(|step| step.id);
    world.apply(steps.into_iter().fold(root.park(), Turn::with)).await;
    same("one worker", world.claim(2).ids().await, &ids[..2]);
    same("another", other.claim(1).ids().await, &ids[2..]);
    same("before", world.stopping(t(1)).await, []);

    world.apply(cancel(root.task.id, 10, t(1))).await;

    same("status", world.status(root.task.id).await, ExecutionStatus::Cancelling);
    for id in ids {
        let view = world.task(id).await;
        same("what runs", (view.status, view.marks), (TaskStatus::Running, Marks::of(Mark::Cancel)));
    }
    same("told to the worker", world.stopping(t(1)).await, &ids[..2]);
    same("told to the other", other.stopping(t(1)).await, &ids[2..]);
    same("told to a third", third.stopping(t(1)).await, []);
    same("told with other work, too", other.claim(9).with::<Transition>([]).await.stopping, &ids[2..]);
}

async fn what_runs_below_ends_as_cancelled_however_it_ends(world: World) {
    for n in 0..6 {
        let root = world.running("checkout").await;
        let step = world.spawn(root.park(), world.call("ship")).await;
        world.apply(cancel(root.task.id, 10, t(1))).await;

        world.apply(ends(&world, &step).into_iter().nth(n).expect("one of six").at(t(2))).await;

        world.expect_status(step.task.id, TaskStatus::Cancelled).await;
        expect_cancelled(&world, root.task.id, t(2)).await;
        same("told", world.stopping(t(2)).await, []);
    }
}

async fn a_root_that_runs_ends_as_cancelled_however_it_ends(world: World) {
    for n in 0..6 {
        let root = world.running("checkout").await;
        world.apply(cancel(root.task.id, 10, t(1))).await;
        same("status", world.status(root.task.id).await, ExecutionStatus::Cancelling);
        same("told", world.stopping(t(1)).await, [root.task.id]);

        world.apply(ends(&world, &root).into_iter().nth(n).expect("one of six").at(t(2))).await;

        expect_cancelled(&world, root.task.id, t(2)).await;
        same("tasks", world.timeline(root.task.tree.execution).await.len(), 1);
    }
}

async fn it_has_ended_when_the_last_of_what_runs_has(world: World) {
    for root_first in [true, false] {
        let root = world.running("checkout").await;
        let step = world.spawn(root.keep(), world.call("ship")).await;
        world.apply(cancel(root.task.id, 10, t(1))).await;
        let mut ends = [later(&root, 1, 0).complete("summary"), step.complete("parcel")];
        if !root_first {
            ends.reverse();
        }
        let [first, last] = ends;

        world.apply(first.at(t(2))).await;
        same("after the first", world.status(root.task.id).await, ExecutionStatus::Cancelling);
        same("claimed", world.claim(9).at(t(9)).await.len(), 0);
        world.apply(last.at(t(3))).await;

        expect_cancelled(&world, root.task.id, t(3)).await;
    }
}

async fn items_that_run_end_as_cancelled(world: World) {
    let root = world.running("checkout").await;
    let map = world.gather("mail");
    let (id, items): (_, Vec<_>) = (map.id, (0..5).map(|n| world.call("mail").seq(n)).collect());
    world.apply(root.park().with(map).items(id, items).feed(id, 5, Some(5))).await;
    let running = world.claim(3).await;
    world.apply(running[0].complete("sent").at(t(1))).await;

    world.apply(cancel(root.task.id, 10, t(2))).await;
    same("the map", world.task(id).await.status, TaskStatus::Cancelled);
    for item in &running[1..] {
        world.apply(item.complete("late").at(t(3))).await;
    }

    expect_cancelled(&world, root.task.id, t(3)).await;
    let statuses: Vec<_> = world.items(id).await.into_iter().map(|item| item.status).collect();
    let gone = TaskStatus::Cancelled;
    same("items", statuses, [TaskStatus::Completed, gone, gone, gone, gone]);
}

async fn nobody_takes_what_is_asked_to_end(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.keep(), world.call("ship")).await;
    let behind = world.dispatch(world.call("ship").due(t(50))).await;
    world.apply(cancel(root.task.id, 100, t(1))).await;

    let peer = world.peer().await;
    same("while the leases live", peer.claim(9).at(t(29)).await.len(), 0);
    // Their leases have expired: none of their code starts again, whichever worker claims.
    same("after that", peer.claim(9).at(t(49)).await.len(), 0);
    same("by the same worker", world.claim(9).at(t(49)).await.len(), 0);
    same("what stands behind", peer.claim(9).at(t(50)).ids().await, [behind]);
    same("its claims", world.task(step.task.id).await.crashes, 0);
    // Their holders may still end them.
    world.apply(step.complete("late").at(t(51))).await;
    world.apply(later(&root, 1, 0).complete("late").at(t(52))).await;
    same("status", world.status(root.task.id).await, ExecutionStatus::Cancelled);
}

async fn a_woken_function_that_is_asked_to_end_is_not_taken(world: World) {
    let root = world.running("checkout").await;
    let (one, two) = (world.call("ship"), world.call("ship"));
    world.apply(root.park().with(one).with(two)).await;
    let steps = world.claim(2).await;
    world.apply(steps[0].complete("parcel")).await;

    // Its wait is satisfied, and no worker has claimed it yet.
    world.apply(cancel(root.task.id, 10, t(1))).await;

    same("claimed", world.claim(9).at(t(9)).await.len(), 0);
    same("a hint", world.commit(root.unpark().at(t(2))).await, Outcome::Fenced);
    world.apply(steps[1].complete("parcel").at(t(3))).await;
    expect_cancelled(&world, root.task.id, t(3)).await;
}

async fn what_is_over_after_the_grace_ends_by_force(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.keep(), world.call("ship")).await;
    world.apply(cancel(root.task.id, 10, t(1))).await;
    same("when to look", world.claim(9).functions(["mail"]).at(t(2)).next_due().await, Some(t(11)));
    same("before", world.expired(t(11) - Duration::from_micros(1)).await, Vec::new());

    same("over", world.peer().await.expire_all(t(11)).await, [root.task.id]);

    expect_cancelled(&world, root.task.id, t(11)).await;
    same("told", world.stopping(t(12)).await, []);
    same("a late result", world.commit(step.complete("late").at(t(12))).await, Outcome::Gone);
    same("a late root", world.commit(later(&root, 1, 0).keep().at(t(12))).await, Outcome::Gone);
    let renewals = world.store().renew(&[root.lease, step.lease], t(0), t(99)).await.expect("renew");
    same("renewals", renewals, [Renewal::Lost, Renewal::Lost]);
}

async fn what_was_lost_ends_with_the_grace(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.park(), world.call("ship")).await;
    world.apply(cancel(root.task.id, 60, t(1))).await;

    let world = world.crash().await;
    same("claimed after its lease", world.claim(9).at(t(40)).await.len(), 0);
    same("status", world.status(root.task.id).await, ExecutionStatus::Cancelling);
    same("over", world.expire_all(t(61)).await, [root.task.id]);

    expect_cancelled(&world, root.task.id, t(61)).await;
    same("ended claims", world.task(step.task.id).await.attempts, 0);
}

async fn its_own_deadline_may_come_before_the_grace_is_over(world: World) {
    let root = world.dispatch(world.call("checkout").expires(t(5))).await;
    world.claim_one(t(0)).await;

    world.apply(cancel(root, 10, t(1))).await;
    same("over", world.expire_all(t(5)).await, [root]);

    // The root's cancellation was requested before its deadline, so its status is cancelled.
    expect_cancelled(&world, root, t(5)).await;
}

async fn a_late_result_changes_nothing(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.park(), world.call("ship")).await;
    world.apply(cancel(root.task.id, 10, t(1))).await;
    world.expire_all(t(11)).await;
    let before = world.snapshot().await;

    for turn in ends(&world, &step) {
        same("outcome", world.commit(turn.at(t(12))).await, Outcome::Gone);
    }

    world.snapshot().await.expect_same("a late result changed something", &before);
}

async fn it_may_tidy_up(world: World) {
    let root = world.running("checkout").await;
    world.apply(cancel(root.task.id, 10, t(1))).await;

    let note = world.inline("tidy", "done");
    let id = note.id;
    let renewals = world.store().renew(&[root.lease], t(0), t(60)).await.expect("renew");
    same("renewal", renewals, [Renewal::Renewed]);
    same("completions", world.apply(root.keep().with(note).at(t(2))).await.done, 1);
    world.apply(later(&root, 1, 1).complete("tidy").at(t(3))).await;

    expect_cancelled(&world, root.task.id, t(3)).await;
    world.expect_status(id, TaskStatus::Completed).await;
}

async fn what_it_asks_for_is_not_written(world: World) {
    let root = world.running("checkout").await;
    world.apply(cancel(root.task.id, 10, t(1))).await;
    let map = world.map("mail");
    let map_id = map.id;
    let (call, nap, wait) = (world.call("ship"), world.sleep(t(2)), world.wait(root.task.id, "approval"));
    let keyed = world.call("charge").keyed(key("k"));
    let ids = [call.id, nap.id, wait.id, keyed.id, map_id];

    let turn = root.keep().with(call).with(nap).with(wait).with(keyed).with(map);
    world.apply(turn.items(map_id, [world.call("mail")]).feed(map_id, 1, Some(1))).await;

    for id in ids {
        same("what was asked for", world.find(id).await, None);
    }
    same("claimed", world.claim(9).at(t(20)).await.len(), 0);
    let other = world.dispatch(world.call("charge").keyed(key("k"))).await;
    world.expect_status(other, TaskStatus::Pending).await;
}

async fn what_has_ended_stays_as_it_is(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.keep(), world.call("ship")).await;
    world.apply(step.complete("parcel").at(t(1))).await;
    let failed = world.spawn(later(&root, 1, 1).keep(), world.call("ship")).await;
    world.apply(failed.fail(declined()).at(t(1))).await;
    let before = [world.task(step.task.id).await, world.task(failed.task.id).await];

    world.apply(cancel(root.task.id, 10, t(2))).await;
    world.apply(later(&root, 2, 2).complete("summary").at(t(3))).await;

    same("completed before", world.task(step.task.id).await, before[0].clone());
    same("failed before", world.task(failed.task.id).await, before[1].clone());
    same("status", world.status(root.task.id).await, ExecutionStatus::Cancelled);
}

async fn asking_again_is_told_so(world: World) {
    let root = world.running("checkout").await;
    let ask = cancel(root.task.id, 10, t(1));
    let outcomes = world.commit_all([ask.clone(), ask.clone()]).await;
    applied(outcomes[0].clone());
    already(outcomes[1].clone());
    let before = world.snapshot().await;

    already(world.commit(ask.clone()).await);
    already(world.commit(cancel(root.task.id, 10, t(5))).await);
    world.snapshot().await.expect_same("asking again changed something", &before);

    world.apply(root.complete("late").at(t(6))).await;
    already(world.commit(ask).await);
    already(world.commit(cancel(root.task.id, 10, t(7))).await);
    expect_cancelled(&world, root.task.id, t(6)).await;
}

async fn a_shorter_grace_counts(world: World) {
    let root = world.running("checkout").await;
    world.apply(cancel(root.task.id, 60, t(1))).await;

    world.apply(cancel(root.task.id, 2, t(3))).await;

    same("over", world.expire_all(t(5)).await, [root.task.id]);
    expect_cancelled(&world, root.task.id, t(5)).await;
}

async fn what_has_ended_cannot_be_cancelled(world: World) {
    let ask = |root: TaskId| cancel(root, 10, t(20));
    same("unknown", world.commit(ask(world.id())).await, Outcome::Gone);

    let completed = world.running("checkout").await;
    world.apply(completed.complete("summary")).await;
    let failed = world.running("checkout").await;
    world.apply(failed.fail(declined())).await;
    let over = world.dispatch(world.call("checkout").expires(t(5))).await;
    world.expire_all(t(5)).await;
    let before = world.snapshot().await;

    for root in [completed.task.id, failed.task.id, over] {
        same("outcome", world.commit(ask(root)).await, Outcome::Gone);
    }
    world.snapshot().await.expect_same("what has ended was changed", &before);
    world.purge(t(99), 99).await;
    same("purged", world.commit(ask(completed.task.id)).await, Outcome::Gone);
}

async fn those_who_wait_for_it_are_told(world: World) {
    let cancelled = world.running("checkout").await;
    let other = world.running("checkout").await;
    let join = world.join(cancelled.task.id);
    let id = join.id;
    world.apply(other.park().with(join)).await;

    world.apply(cancel(cancelled.task.id, 10, t(1))).await;
    same("claimed while it may tidy up", world.claim(9).at(t(2)).await.len(), 0);
    world.apply(cancelled.complete("late").at(t(3))).await;

    let woken = world.claim_one(t(3)).await;
    same("woken", woken.task.id, other.task.id);
    same("told", given(&woken.steps, id), Some(Err(Failure::cancelled())));
}

async fn an_execution_that_it_started_goes_on(world: World) {
    let root = world.running("checkout").await;
    let child = world.call("ship");
    let child_id = child.id;
    world.apply(root.keep().spawn(world.start_of(child_id), child)).await;

    world.apply(cancel(root.task.id, 10, t(1))).await;
    world.apply(later(&root, 1, 1).complete("late")).await;

    same("the other execution", world.claim_one(t(2)).await.task.id, child_id);
}

async fn a_dispatch_and_its_cancellation_in_one_batch(world: World) {
    let root = world.call("checkout");
    let id = root.id;

    let outcomes = world.commit_all([root.start(t(1)), cancel(id, 10, t(1))]).await;

    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Applied(_))), "{outcomes:?}");
    expect_cancelled(&world, id, t(1)).await;
}

async fn cancellation_and_end_in_one_batch_in_either_order(world: World) {
    for cancel_first in [true, false] {
        let root = world.running("checkout").await;
        let step = world.spawn(root.park(), world.call("ship")).await;
        let ask = cancel(root.task.id, 10, t(1));
        let end: Transition = step.complete("parcel").at(t(1)).into();

        let batch = if cancel_first { [ask, end] } else { [end, ask] };
        for outcome in world.commit_all(batch).await {
            applied(outcome);
        }

        let expected = if cancel_first { TaskStatus::Cancelled } else { TaskStatus::Completed };
        world.expect_status(step.task.id, expected).await;
        expect_cancelled(&world, root.task.id, t(1)).await;
    }
}

async fn a_cancellation_outlives_a_crash(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.park(), world.call("ship")).await;
    world.apply(cancel(root.task.id, 10, t(1))).await;

    let world = world.crash().await;

    same("told", world.stopping(t(2)).await, [step.task.id]);
    world.apply(step.complete("parcel").at(t(2))).await;
    expect_cancelled(&world, root.task.id, t(2)).await;
}

async fn cancellation_races_with_the_end_and_one_of_them_wins(world: World) {
    for _ in 0..30 {
        let root = world.running("checkout").await;
        let id = root.task.id;

        let outcomes = at_once(&world, 2, |peer, n| {
            let end: Transition = root.complete("summary").into();
            let ask = cancel(id, 10, t(0));
            async move { peer.commit(if n == 0 { end } else { ask }).await }
        })
        .await;

        applied(outcomes[0].clone());
        let expected = match outcomes[1] {
            Outcome::Applied(_) => ExecutionStatus::Cancelled,
            Outcome::Gone => ExecutionStatus::Completed,
            ref other => panic!("the outcome of a cancel that races with the end: {other:?}"),
        };
        same("status", world.status(id).await, expected);
    }
}

async fn cancellation_races_with_new_steps_and_leaves_none_open(world: World) {
    for _ in 0..20 {
        let root = world.running("checkout").await;
        let id = root.task.id;
        let step = world.spawn(root.park(), world.call("ship")).await;

        at_once(&world, 3, |peer, n| {
            let step = step.clone();
            async move {
                match n {
                    0 => drop(peer.apply(cancel(id, 10, t(0))).await),
                    1 => drop(peer.apply(step.park().with(peer.call("pack")).with(peer.sleep(t(9)))).await),
                    // The signal may come too late.
                    _ => drop(peer.commit(signal(id, "approval", peer.id(), text("yes"))).await),
                }
            }
        })
        .await;

        expect_cancelled(&world, id, t(0)).await;
    }
}

async fn cancellation_races_with_parking_and_is_not_forgotten(world: World) {
    for _ in 0..20 {
        let root = world.running("checkout").await;
        let id = root.task.id;
        let step = world.spawn(root.keep(), world.call("ship")).await;

        at_once(&world, 3, |peer, n| {
            let (park, end) = (later(&root, 1, 0).park(), step.complete("parcel"));
            async move {
                match n {
                    0 => drop(peer.apply(cancel(id, 10, t(0))).await),
                    1 => drop(peer.apply(park).await),
                    _ => drop(peer.apply(end).await),
                }
            }
        })
        .await;

        expect_cancelled(&world, id, t(0)).await;
    }
}
