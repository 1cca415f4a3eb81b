//! Dispatch: an execution exists with its root, once, or not at all.

use super::words::*;

list! { start:
    G1 an_execution_is_there_with_its_root,
    G3 a_repeated_dispatch_changes_nothing,
    G3 a_repeated_dispatch_of_a_running_execution_changes_nothing,
    G3 a_repeated_dispatch_of_an_ended_execution_changes_nothing,
    G1 many_start_in_one_batch,
    G3 a_dispatch_that_stands_in_a_batch_twice_starts_once,
    G3 known_and_new_executions_mix_in_one_batch,
    G1 a_dispatch_is_claimed_in_the_same_exchange,
    G2 a_root_can_start_under_a_lease,
    G1 a_root_can_be_written_ended,
    G13 attempts_from_before_the_first_write_count,
}

async fn an_execution_is_there_with_its_root(world: World) {
    let charge = world.call("charge").on("payments").due(t(5));
    let id = charge.id;

    world.apply(charge.start(t(1))).await;

    let execution = world.execution(id).await.expect("the execution is there");
    same("id", execution.id, id.execution());
    same("function", execution.function.as_str(), "charge");
    same("queue", execution.queue.as_str(), "payments");
    same("status", execution.status, ExecutionStatus::Pending);
    same("result", execution.result, None);
    let moments = (execution.created_at, execution.started_at, execution.ended_at);
    same("created, started, ended", moments, (t(1), None, None));

    let timeline = world.timeline(id.execution()).await;
    same("number of tasks", timeline.len(), 1);
    let root = &timeline[0];
    same("root", (root.id, root.parent, root.seq), (id, None, Seq(0)));
    same("kind and name", (root.kind, root.name.as_str()), (StepKind::Call, "charge"));
    same("status", (root.status, root.ready_at), (TaskStatus::Pending, Some(t(5))));
}

async fn a_repeated_dispatch_changes_nothing(world: World) {
    let charge = world.call("charge").priority(3);
    world.apply(charge.clone().start(t(0))).await;
    let before = world.snapshot().await;

    // A caller that does not know the fate of a dispatch sends it again later.
    let again = charge.start(t(9));
    already(world.commit(again).await);

    world.snapshot().await.expect_same("the repeated dispatch changed something", &before);
    same("tasks to claim", world.claim(5).await.len(), 1);
}

async fn a_repeated_dispatch_of_a_running_execution_changes_nothing(world: World) {
    let charge = world.call("charge");
    world.apply(charge.clone().start(t(0))).await;
    let claimed = world.claim_one(t(0)).await;
    let before = world.snapshot().await;

    already(world.commit(charge.start(t(0))).await);

    world.snapshot().await.expect_same("the repeated dispatch changed something", &before);
    same("tasks to claim", world.claim(5).await.len(), 0);
    world.apply(claimed.complete("receipt")).await;
}

async fn a_repeated_dispatch_of_an_ended_execution_changes_nothing(world: World) {
    let charge = world.call("charge");
    world.apply(charge.clone().start(t(0))).await;
    world.apply(world.claim_one(t(0)).await.complete("receipt")).await;
    let before = world.snapshot().await;

    already(world.commit(charge.start(t(0))).await);

    world.snapshot().await.expect_same("the repeated dispatch changed something", &before);
    same("tasks to claim", world.claim(5).await.len(), 0);
}

async fn many_start_in_one_batch(world: World) {
    let drafts: Vec<_> = (0..limits::EXCHANGE_TRANSITIONS_MAX).map(|_| world.call("charge")).collect();

    let outcomes = world.commit_all(drafts.iter().map(|draft| draft.clone().start(t(0)))).await;

    outcomes.into_iter().for_each(|outcome| drop(applied(outcome)));
    let claimed = world.claim(limits::CLAIM_MAX).ids().await;
    let ids: Vec<_> = drafts.iter().map(|draft| draft.id).collect();
    same("the claimed tasks", claimed, ids);
}

async fn a_dispatch_that_stands_in_a_batch_twice_starts_once(world: World) {
    let start = world.call("charge").start(t(0));

    let mut outcomes = world.commit_all([start.clone(), start]).await;

    already(outcomes.remove(1));
    applied(outcomes.remove(0));
    same("tasks to claim", world.claim(5).await.len(), 1);
}

async fn known_and_new_executions_mix_in_one_batch(world: World) {
    let known = world.call("charge");
    world.apply(known.clone().start(t(0))).await;
    let (first, last) = (world.call("charge"), world.call("charge"));
    let ids = [known.id, first.id, last.id];

    let outcomes = world.commit_all([first, known, last].map(|draft| draft.start(t(0)))).await;

    let stands: Vec<_> = outcomes.iter().map(|outcome| matches!(outcome, Outcome::Applied(_))).collect();
    same("which were applied", stands, [true, false, true]);
    same("the claimed tasks", world.claim(5).ids().await, ids);
}

async fn a_dispatch_is_claimed_in_the_same_exchange(world: World) {
    let charge = world.call("charge");
    let id = charge.id;

    let exchanged = world.claim(5).with([charge.start(t(0))]).await;

    same("the claimed task", exchanged.claimed.iter().map(|c| c.task.id).collect::<Vec<_>>(), [id]);
}

async fn a_root_can_start_under_a_lease(world: World) {
    let charge = world.call("charge").leased(t(0), world.worker, t(30));
    let id = charge.id;
    world.apply(charge.start(t(2))).await;

    // Its writer holds it; nobody else gets it before the lease has expired.
    world.expect_status(id, TaskStatus::Running).await;
    same("tasks to claim", world.claim(5).at(t(29)).await.len(), 0);
    let claimed = world.claim_one(t(30)).await;
    same("epoch and claims", (claimed.lease.epoch.count, claimed.task.uncommitted_claims), (2, 2));
    same("started at", claimed.task.started_at, Some(t(0)));
}

async fn a_root_can_be_written_ended(world: World) {
    let charge = world.call("charge").done(t(0), Ok(text("cached")));
    let id = charge.id;

    world.apply(charge.start(t(2))).await;

    let execution = world.execution(id).await.expect("the execution is there");
    same("status", execution.status, ExecutionStatus::Completed);
    same("result", execution.result, Some(Ok(text("cached"))));
    same("started and ended", (execution.started_at, execution.ended_at), (Some(t(0)), Some(t(2))));
    same("tasks to claim", world.claim(5).at(t(99)).await.len(), 0);
}

async fn attempts_from_before_the_first_write_count(world: World) {
    let id = world.dispatch(world.call("charge").failed_before(2)).await;

    same("attempts in the timeline", world.task(id).await.attempts, 2);
    same("attempts at the claim", world.claim_one(t(0)).await.task.attempts, 2);
}
