//! Spawns: executions that a function starts, in the same commit as the turn that records it.

use stent_core::backend::Topic;
use stent_core::model::Tree;

use super::words::*;
use crate::task::Draft;

list! { spawn:
    G1 what_is_spawned_is_a_root_of_its_own,
    G14 what_is_spawned_is_as_it_was_given,
    G4 the_step_is_a_completion_in_its_place,
    G1 many_are_spawned_in_one_turn,
    G1 every_change_of_a_lease_may_spawn,
    G7 an_ended_parent_spawns_nothing,
    G1 a_refused_spawn_stops_no_other_in_its_batch,
    G3 a_repeat_in_the_same_batch_spawns_once,
    G4 a_position_that_is_run_again_finds_its_execution_ended,
    G4 a_position_that_is_run_again_in_the_same_batch_spawns_once,
    G3 a_dispatch_of_what_was_spawned_is_there_already,
    G9 it_is_claimed_by_others_at_once,
    G9 it_is_claimed_in_the_exchange_that_spawns_it,
    G6 it_does_not_run_before_its_time,
    G17 it_is_heard_of,
    G15 it_outlives_the_end_of_its_parent,
    G15 it_outlives_the_cancellation_of_its_parent,
    G1 one_who_is_asked_to_end_spawns_wholly_or_not_at_all,
    G4 its_end_changes_nothing_in_its_parent,
    G16 it_outlives_the_purge_of_its_parent,
    G1 a_crash_leaves_both,
    G3 handles_that_run_a_position_at_once_spawn_once,
}

/// A turn that spawns a function, and the root's id.
fn spawning(world: &World, turn: Turn, function: &str) -> (Turn, TaskId) {
    let root = world.call(function);
    let id = root.id;
    (turn.spawn(world.start_of(id), root), id)
}

/// The same execution, from a position that runs again.
fn again(id: TaskId, root: Draft) -> Draft {
    let mut again = root;
    again.id = id;
    again
}

/// A parent that runs beside the executions that other parents have spawned.
async fn beside(world: &World) -> Claimed {
    world.dispatch(world.call("checkout")).await;
    world.claim(1).functions(["checkout"]).await.remove(0)
}

/// The step that records the start of an execution, if it exists.
async fn step_of(world: &World, parent: TaskId, root: TaskId) -> Option<Step> {
    let claimed = world.claim(9).at(t(30_000)).functions(["checkout"]).await;
    let parent = claimed.into_iter().find(|claimed| claimed.task.id == parent)?;
    parent.steps.into_iter().find(|step| {
        matches!(&step.state, StepState::Done { result, .. } if *result == Ok(text(&root.to_string())))
    })
}

/// A spawned execution has no parent, and its own timeline.
async fn what_is_spawned_is_a_root_of_its_own(world: World) {
    let parent = world.running("checkout").await;
    let (turn, id) = spawning(&world, parent.keep(), "ship");
    world.apply(turn).await;

    let claimed = world.claim_one(t(0)).await;

    same("id", claimed.task.id, id);
    same("place", claimed.task.tree, Tree::root(id.execution()));
    same("position", claimed.task.seq, Seq(0));
    let step = world.spawn(claimed.park(), world.call("pack")).await;
    same("its steps' execution", step.task.tree.execution, id.execution());
    same("its timeline", world.timeline(id.execution()).await.len(), 2);
    same("its parent's timeline", world.timeline(parent.task.tree.execution).await.len(), 2);
}

/// A spawned execution has its own queue, tags, priority, arguments, retry policy and deadline.
async fn what_is_spawned_is_as_it_was_given(world: World) {
    let parent = world.running("checkout").await;
    let policy = RetryPolicy::default().max_attempts(7);
    let args = Payload::new("application/cbor", (0..=255).collect());
    let root = world.call("ship").on("parcels").tags(["eu", "big"]).priority(-3).args(args.clone());
    let root = root.retry(policy.clone()).expires(t(500));
    let id = root.id;

    world.apply(parent.keep().spawn(world.start_of(id), root)).await;

    let view = world.execution(id).await.expect("is there");
    same("queue and priority", (view.queue.as_str(), view.priority), ("parcels", -3));
    same("tags", view.tags, ["big", "eu"].map(str::to_owned).into());
    same("the end of its time", view.expires_at, Some(t(500)));
    let claimed = world.claim_one(t(0)).await;
    same("arguments", claimed.task.args, args);
    same("policy", claimed.task.retry, Some(policy));
}

/// A spawn counts among the completions of its parent's turn, in the order in which they are written.
async fn the_step_is_a_completion_in_its_place(world: World) {
    let parent = world.running("checkout").await;
    let turn = parent.keep().with(world.inline("render", "one"));
    let (turn, id) = spawning(&world, turn, "ship");

    let news = world.apply(turn.with(world.inline("render", "two"))).await;

    same("completions", news.done, 3);
    let step = step_of(&world, parent.task.id, id).await.expect("the step is there");
    same("its number", step.order(), Some(2));
}

/// Each is a separate execution.
async fn many_are_spawned_in_one_turn(world: World) {
    let parent = world.running("checkout").await;
    let (mut turn, mut ids) = (parent.park(), Vec::new());
    for _ in 0..50 {
        let (more, id) = spawning(&world, turn, "ship");
        turn = more;
        ids.push(id);
    }

    world.apply(turn).await;

    let claimed = world.claim(99).functions(["ship"]).ids().await;
    same("claimed", claimed, ids.clone());
    for id in ids {
        same("its timeline", world.timeline(id.execution()).await.len(), 1);
    }
}

/// Every kind of change of the parent spawns what its turn spawns.
async fn every_change_of_a_lease_may_spawn(world: World) {
    for what in ["keep", "park", "retry", "complete", "fail"] {
        let parent = world.running("checkout").await;
        let turn = match what {
            "keep" => parent.keep(),
            "park" => parent.park_for(wait_for(99)),
            "retry" => parent.retry(t(900), declined()),
            "complete" => parent.complete("summary"),
            _ => parent.fail(declined()),
        };
        let (turn, id) = spawning(&world, turn, "ship");

        world.apply(turn).await;

        same(what, world.claim_one(t(0)).await.task.id, id);
    }
}

/// Nor does a parent whose task has ended.
async fn an_ended_parent_spawns_nothing(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.keep(), world.call("ship")).await;
    world.apply(later(&parent, 1, 0).keep().cancel(step.task.id)).await;

    let (turn, id) = spawning(&world, step.complete("late"), "mail");
    same("outcome", world.commit(turn).await, Outcome::Gone);

    same("the execution", world.execution(id).await, None);
    same("claimed", world.claim(9).at(t(9)).await.len(), 0);
}

/// In a batch, only the spawns of applied turns start.
async fn a_refused_spawn_stops_no_other_in_its_batch(world: World) {
    world.dispatch_many(3, || world.call("checkout")).await;
    let lost = world.claim(3).await;
    let taken = world.claim(1).at(t(30)).await.remove(0);
    let (mut turns, mut ids) = (Vec::new(), Vec::new());
    for parent in &lost {
        let (turn, id) = spawning(&world, parent.park(), "ship");
        turns.push(turn);
        ids.push(id);
    }

    let outcomes = world.commit_all(turns).await;

    same("the one that was taken over", taken.task.id, lost[0].task.id);
    same("applied", outcomes.iter().map(Outcome::stands).collect::<Vec<_>>(), [false, true, true]);
    same("claimed", world.claim(9).functions(["ship"]).ids().await, ids[1..].to_vec());
    same("the refused one", world.execution(ids[0]).await, None);
}

/// Two copies in one batch are one turn.
async fn a_repeat_in_the_same_batch_spawns_once(world: World) {
    let parent = world.running("checkout").await;
    let (turn, id) = spawning(&world, parent.park_for(wait_for(99)), "ship");
    let turn: Transition = turn.into();

    let mut outcomes = world.commit_all([turn.clone(), turn]).await;

    already(outcomes.remove(1));
    same("claimed", world.claim(9).ids().await, [id]);
    same("tasks of the parent", world.timeline(parent.task.tree.execution).await.len(), 2);
}

/// Nor is an execution started again that has ended meanwhile.
async fn a_position_that_is_run_again_finds_its_execution_ended(world: World) {
    let first = world.running("checkout").await;
    let (turn, id) = spawning(&world, first.retry(t(5), declined()), "ship");
    world.apply(turn).await;
    world.apply(world.claim_one(t(0)).await.complete("shipped")).await;
    let before = world.execution(id).await;

    let second = world.claim_one(t(5)).await;
    let root = again(id, world.call("ship"));
    world.apply(second.keep().spawn(world.start_of(id), root)).await;

    same("the execution", world.execution(id).await, before);
    same("claimed", world.claim(9).at(t(6)).await.len(), 0);
}

/// As if one by one: the second of two turns in a batch finds what the first one spawned.
async fn a_position_that_is_run_again_in_the_same_batch_spawns_once(world: World) {
    let (one, two) = (world.running("checkout").await, world.running("checkout").await);
    let root = world.call("ship").args(text("the first"));
    let (id, second) = (root.id, again(root.id, world.call("ship").args(text("the second"))));

    let batch = [one.keep().spawn(world.start_of(id), root), two.keep().spawn(world.start_of(id), second)];
    for outcome in world.commit_all(batch).await {
        same("completions", applied(outcome).done, 1);
    }

    let claimed = world.claim_one(t(0)).await;
    same("the one that was started", (claimed.task.id, claimed.task.args.clone()), (id, text("the first")));
}

/// Its id is taken, and a dispatch with that id learns so.
async fn a_dispatch_of_what_was_spawned_is_there_already(world: World) {
    let parent = world.running("checkout").await;
    let root = world.call("ship");
    let start = root.clone().start(t(0));
    world.apply(parent.keep().spawn(world.start_of(root.id), root)).await;

    already(world.commit(start).await);

    same("claimed", world.claim(9).await.len(), 1);
}

/// A spawned execution does not wait for the parent's end: another worker claims it while the parent runs.
async fn it_is_claimed_by_others_at_once(world: World) {
    let other = world.peer().await;
    let parent = world.running("checkout").await;
    let (turn, id) = spawning(&world, parent.keep(), "ship");
    world.apply(turn).await;

    let claimed = other.claim_one(t(0)).await;

    same("claimed", claimed.task.id, id);
    other.apply(claimed.complete("shipped")).await;
    same("status", world.status(id).await, ExecutionStatus::Completed);
    world.expect_status(parent.task.id, TaskStatus::Running).await;
}

/// The claim of an exchange sees what its commits have started.
async fn it_is_claimed_in_the_exchange_that_spawns_it(world: World) {
    let parent = world.running("checkout").await;
    let (turn, id) = spawning(&world, parent.complete("summary"), "ship");

    let exchanged = world.claim(9).with([turn]).await;

    let claimed: Vec<_> = exchanged.claimed.iter().map(|claimed| claimed.task.id).collect();
    same("claimed", claimed, [id]);
}

/// A delay applies to it as to any dispatch.
async fn it_does_not_run_before_its_time(world: World) {
    let parent = world.running("checkout").await;
    let root = world.call("ship").due(t(60));
    let id = root.id;
    world.apply(parent.complete("summary").spawn(world.start_of(id), root)).await;

    same("the next moment", world.claim(9).at(t(59)).next_due().await, Some(t(60)));
    same("on time", world.claim_one(t(60)).await.task.id, id);
}

/// Sleeping workers get the hint that there is work.
async fn it_is_heard_of(world: World) {
    let parent = world.running("checkout").await;
    let peer = world.peer().await;
    let mut listener = peer.store().listen(Topic::Work);
    let (turn, id) = spawning(&world, parent.complete("summary"), "ship");

    world.apply(turn).await;

    listener.changed().await;
    same("claimed", peer.claim_one(t(0)).await.task.id, id);
}

/// However the parent ends, and even if its step leaves the record, the execution continues.
async fn it_outlives_the_end_of_its_parent(world: World) {
    let parent = world.running("checkout").await;
    let (turn, completed) = spawning(&world, parent.keep(), "ship");
    world.apply(turn).await;
    world.apply(later(&parent, 1, 1).complete("summary")).await;
    let parent = beside(&world).await;
    let (turn, failed) = spawning(&world, parent.keep(), "ship");
    world.apply(turn).await;
    world.apply(later(&parent, 1, 1).fail(declined())).await;

    same("claimed", world.claim(9).ids().await, [completed, failed]);
}

/// A spawned execution is not a descendant: a cancellation of the parent does not reach it.
async fn it_outlives_the_cancellation_of_its_parent(world: World) {
    let parent = world.running("checkout").await;
    let (turn, waits) = spawning(&world, parent.keep(), "ship");
    let (turn, runs) = spawning(&world, turn, "ship");
    world.apply(turn).await;
    let running = world.claim(2).await.remove(1);

    world.apply(cancel(parent.task.id, 5, t(1))).await;
    world.expire_all(t(9)).await;

    same("the parent", world.status(parent.task.id).await, ExecutionStatus::Cancelled);
    same("one that waits", world.status(waits).await, ExecutionStatus::Running);
    same("one that runs", (running.task.id, world.stopping(t(9)).await), (runs, Vec::new()));
    world.apply(running.complete("shipped")).await;
    same("result", world.result(runs).await, Some(Ok(text("shipped"))));
}

/// A turn that commits while its task is asked to end spawns wholly or not at all: no step records an execution that does not
/// exist.
async fn one_who_is_asked_to_end_spawns_wholly_or_not_at_all(world: World) {
    for ends in [false, true] {
        let parent = world.running("checkout").await;
        world.apply(cancel(parent.task.id, 60, t(1))).await;
        let (turn, id) =
            spawning(&world, if ends { parent.complete("summary") } else { parent.keep() }, "ship");

        world.apply(turn.at(t(2))).await;

        let timeline = world.timeline(parent.task.tree.execution).await;
        let step = timeline.iter().any(|task| task.kind == StepKind::Spawn);
        same("the execution is there if the step is", world.execution(id).await.is_some(), step);
        world.claim(9).at(t(2)).await;
    }
}

/// Nobody waits for it: its end is no completion of the parent, and does not wake it.
async fn its_end_changes_nothing_in_its_parent(world: World) {
    let parent = world.running("checkout").await;
    let (turn, _) = spawning(&world, parent.park_for(wait_for(2)), "ship");
    world.apply(turn).await;
    let before = world.timeline(parent.task.tree.execution).await;

    world.apply(world.claim_one(t(0)).await.fail(declined())).await;

    same("claimed", world.claim(9).at(t(99)).await.len(), 0);
    same("the parent", world.timeline(parent.task.tree.execution).await, before);
}

/// Purging the one leaves the other.
async fn it_outlives_the_purge_of_its_parent(world: World) {
    let parent = world.running("checkout").await;
    let (turn, id) = spawning(&world, parent.complete("summary"), "ship");
    world.apply(turn.at(t(1))).await;

    same("purged", world.purge(t(10), 9).await, 1);

    same("the parent", world.execution(parent.task.id).await, None);
    same("claimed", world.claim_one(t(0)).await.task.id, id);
}

/// After a crash, both parts of the commit are there.
async fn a_crash_leaves_both(world: World) {
    let parent = world.running("checkout").await;
    let (turn, id) = spawning(&world, parent.keep(), "ship");
    let turn: Transition = turn.into();
    world.apply(turn.clone()).await;

    let world = world.crash().await;

    already(world.commit(turn).await);
    same("the execution", world.claim_one(t(0)).await.task.id, id);
    same("the step", step_of(&world, parent.task.id, id).await.is_some(), true);
}

/// Two functions that name the same execution at the same moment start it once.
async fn handles_that_run_a_position_at_once_spawn_once(world: World) {
    for _ in 0..5 {
        world.dispatch_many(4, || world.call("checkout")).await;
        let parents = world.claim(4).await;
        let root = world.call("ship");
        let id = root.id;

        at_once(&world, 4, |peer, n| {
            let turn = parents[n].complete("summary").spawn(peer.start_of(id), root.clone());
            async move { peer.apply(turn).await }
        })
        .await;

        same("claimed", world.claim(9).functions(["ship"]).ids().await, [id]);
        same("tasks of the execution", world.timeline(id.execution()).await.len(), 1);
    }
}
