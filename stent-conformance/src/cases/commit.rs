//! The effect of each change, and of a batch.

use super::words::*;

list! { commit:
    G1 a_result_ends_the_execution,
    G1 a_failure_ends_the_execution,
    G2 a_turn_that_is_kept_goes_on_under_the_same_lease,
    G1 a_turn_brings_all_of_its_rows,
    G1 a_turn_of_a_thousand_rows_is_written_whole,
    G1 a_refused_transition_does_not_stop_the_others,
    G1 outcomes_stand_in_the_order_of_the_batch,
    G1 transitions_of_one_batch_see_each_other,
    G1 what_stands_before_its_dispatch_in_a_batch_is_gone,
    G15 a_result_that_follows_its_cancel_in_the_batch_is_gone,
    G15 an_item_that_follows_the_first_failure_in_the_batch_is_gone,
    G15 a_result_that_follows_its_erasure_in_the_batch_is_gone,
    G15 a_hint_that_follows_its_cancel_in_the_batch_is_gone,
    G1 an_empty_exchange_is_fine,
    G1 commit_and_claim_travel_together,
    G1 a_step_that_is_started_under_a_lease_is_its_writers,
}

async fn a_result_ends_the_execution(world: World) {
    let claimed = world.running("charge").await;

    world.apply(claimed.complete("receipt").at(t(4))).await;

    let execution = world.execution(claimed.task.id).await.expect("is there");
    same("status", execution.status, ExecutionStatus::Completed);
    same("result", execution.result, Some(Ok(text("receipt"))));
    same("ended at", execution.ended_at, Some(t(4)));
    let root = world.task(claimed.task.id).await;
    same("root", (root.status, root.ended_at, root.ready_at), (TaskStatus::Completed, Some(t(4)), None));
    same("tasks to claim", world.claim(5).at(t(99)).await.len(), 0);
}

async fn a_failure_ends_the_execution(world: World) {
    let claimed = world.running("charge").await;

    world.apply(claimed.fail(declined()).at(t(4))).await;

    let execution = world.execution(claimed.task.id).await.expect("is there");
    same("status", execution.status, ExecutionStatus::Failed);
    same("result", execution.result, Some(Err(declined())));
    same("failure in the timeline", world.task(claimed.task.id).await.failure.as_deref(), Some("no funds"));
    same("tasks to claim", world.claim(5).at(t(99)).await.len(), 0);
}

async fn a_turn_that_is_kept_goes_on_under_the_same_lease(world: World) {
    let claimed = world.running("checkout").await;

    let news = world.apply(claimed.keep().at(t(20))).await;

    same("news", news, News::default());
    world.expect_status(claimed.task.id, TaskStatus::Running).await;
    same("claimed before the lease ends", world.claim(5).at(t(29)).await.len(), 0);
    world.apply(later(&claimed, 1, 0).complete("summary")).await;
}

async fn a_turn_brings_all_of_its_rows(world: World) {
    let parent = world.running("checkout").await;
    let ship = world.call("ship").on("parcels").seq(0);
    let (nap, map) = (world.sleep(t(50)).seq(1), world.map("mail").seq(2));
    let (note, item) = (world.inline("render", "note").seq(3), world.call("mail").seq(0));
    let ids = [ship.id, nap.id, map.id, note.id, item.id];
    let map_id = map.id;

    let turn = parent.park().with(ship).with(nap).with(map).with(note).items(map_id, [item]);
    world.apply(turn.feed(map_id, 1, None).at(t(2))).await;

    let mut found = Vec::new();
    for id in ids {
        let task = world.task(id).await;
        same("created at", task.created_at, t(2));
        found.push((task.parent == Some(parent.task.id), task.seq, task.kind, task.status, task.name));
    }
    let expected = [
        (true, Seq(0), StepKind::Call, TaskStatus::Pending, "ship".to_owned()),
        (true, Seq(1), StepKind::Sleep, TaskStatus::Waiting, "sleep".to_owned()),
        (true, Seq(2), StepKind::Map, TaskStatus::Waiting, "mail".to_owned()),
        (true, Seq(3), StepKind::Inline, TaskStatus::Completed, "render".to_owned()),
        (false, Seq(0), StepKind::Call, TaskStatus::Pending, "mail".to_owned()),
    ];
    same("rows", found, expected);
    same("the item's parent", world.task(ids[4]).await.parent, Some(map_id));
}

async fn a_turn_of_a_thousand_rows_is_written_whole(world: World) {
    let parent = world.running("checkout").await;
    let steps: Vec<_> = (0..1_000).map(|_| world.call("ship")).collect();
    let ids: Vec<_> = steps.iter().map(|step| step.id).collect();

    world.apply(steps.into_iter().fold(parent.park(), Turn::with)).await;

    let timeline = world.timeline(parent.task.tree.execution).await;
    let written: Vec<_> = timeline.iter().skip(1).map(|task| task.id).collect();
    same("rows", written, ids);
}

async fn a_refused_transition_does_not_stop_the_others(world: World) {
    world.dispatch_many(5, || world.call("charge")).await;
    let claimed = world.claim(5).await;
    let mut stale = claimed[1].clone();
    stale.fence.epoch = Epoch::plain(9);
    let mut unknown = claimed[3].clone();
    unknown.fence.task = world.id();

    let batch =
        [&claimed[0], &stale, &claimed[2], &unknown, &claimed[4]].map(|claimed| claimed.complete("receipt"));
    let outcomes = world.commit_all(batch).await;

    let fine = || Outcome::Applied(News::default());
    same("outcomes", outcomes, [fine(), Outcome::Fenced, fine(), Outcome::Gone, fine()]);
    for (n, status) in [TaskStatus::Completed, TaskStatus::Running].into_iter().cycle().take(5).enumerate() {
        world.expect_status(claimed[n].task.id, status).await;
    }
}

async fn outcomes_stand_in_the_order_of_the_batch(world: World) {
    world.dispatch_many(300, || world.call("charge")).await;
    let claimed = world.claim(300).await;
    // Every third transition is refused, and the batch is in no order into which a store might sort it.
    let mut batch: Vec<_> = (0..300).collect();
    let mut chance = Chance::new(11);
    (1..300).rev().for_each(|n| batch.swap(n, chance.below(n + 1)));

    let outcomes = world
        .commit_all(batch.iter().map(|n| later(&claimed[*n], u32::from(n % 3 == 0), 0).complete("receipt")))
        .await;

    let refused: Vec<_> = outcomes.iter().map(|outcome| *outcome == Outcome::Fenced).collect();
    same("which are refused", refused, batch.iter().map(|n| n % 3 == 0).collect::<Vec<_>>());
}

async fn transitions_of_one_batch_see_each_other(world: World) {
    let charge = world.call("charge").leased(t(0), world.worker, t(30));
    let mut held = world.running("charge").await;
    held.task.tree = stent_core::model::Tree::root(charge.id.execution());
    held.fence.task = charge.id;
    let ship = world.call("ship").leased(t(0), world.worker, t(30));
    let mut step = held.clone();
    step.task.tree = stent_core::model::Tree::step(charge.id.execution(), charge.id);
    step.fence.task = ship.id;

    // A whole life in one batch: dispatched, a step, the step's result, the parking, the end.
    let batch: [Transition; 4] = [
        charge.start(t(0)),
        held.keep().with(ship).into(),
        step.complete("parcel").into(),
        later(&held, 1, 1).complete("receipt").into(),
    ];
    let outcomes = world.commit_all(batch).await;

    let done: Vec<_> = outcomes.into_iter().map(|outcome| applied(outcome).done).collect();
    same("completions that each one saw", done, [0, 0, 0, 1]);
    world.expect_status(held.fence.task, TaskStatus::Completed).await;
    same("the step's number", world.task(step.fence.task).await.done_order, Some(1));
}

async fn a_result_that_follows_its_cancel_in_the_batch_is_gone(world: World) {
    let root = world.running("checkout").await;
    let child = world.spawn(root.keep(), world.call("ship")).await;
    let grandchild = world.spawn(child.keep(), world.call("pack")).await;
    let last = world.spawn(grandchild.keep(), world.call("fold")).await;

    // As if one by one: the cancel reaches everything below the child, so their results in the same batch are late.
    let outcomes = world
        .commit_all([
            later(&root, 1, 0).keep().cancel(child.task.id).at(t(3)),
            last.complete("folded"),
            later(&grandchild, 1, 0).park().with(world.call("fold")),
            later(&child, 1, 0).complete("parcel"),
        ])
        .await;

    same("outcomes", &outcomes[1..], [Outcome::Gone, Outcome::Gone, Outcome::Gone]);
    for task in [&child, &grandchild, &last] {
        let view = world.task(task.task.id).await;
        same(
            "cancelled",
            (view.status, view.ended_at, view.done_order),
            (TaskStatus::Cancelled, Some(t(3)), None),
        );
    }
    same("number of tasks", world.timeline(root.task.tree.execution).await.len(), 4);
}

async fn an_item_that_follows_the_first_failure_in_the_batch_is_gone(world: World) {
    let owner = world.running("checkout").await;
    let map = world.map("ship");
    let items: Vec<_> = (0..3).map(|n| world.call("ship").seq(n)).collect();
    let id = map.id;
    world.apply(owner.park().with(map).items(id, items).feed(id, 3, Some(3))).await;
    let claimed = world.claim(3).await;

    let outcomes = world
        .commit_all([claimed[1].fail(declined()), claimed[0].complete("late"), claimed[2].fail(declined())])
        .await;

    same("outcomes", &outcomes[1..], [Outcome::Gone, Outcome::Gone]);
    let statuses: Vec<_> = world.items(id).await.iter().map(|item| item.status).collect();
    same("items", statuses, [TaskStatus::Cancelled, TaskStatus::Failed, TaskStatus::Cancelled]);
}

async fn a_result_that_follows_its_erasure_in_the_batch_is_gone(world: World) {
    let root = world.running("checkout").await;
    let child = world.spawn(root.keep(), world.call("ship")).await;
    let grandchild = world.spawn(child.keep(), world.call("pack")).await;

    let outcomes = world
        .commit_all([
            later(&root, 1, 0).retry(t(9), declined()).erase(child.task.id),
            grandchild.complete("packed"),
            later(&child, 1, 0).keep().with(world.call("pack")),
        ])
        .await;

    same("outcomes", &outcomes[1..], [Outcome::Gone, Outcome::Gone]);
    same("number of tasks", world.timeline(root.task.tree.execution).await.len(), 1);
}

async fn a_hint_that_follows_its_cancel_in_the_batch_is_gone(world: World) {
    let root = world.running("checkout").await;
    let child = world.spawn(root.keep(), world.call("ship")).await;
    let grandchild = world.spawn(child.keep(), world.call("pack")).await;
    world.apply(grandchild.park()).await;

    let cancel = later(&root, 1, 0).keep().cancel(child.task.id).into();
    let outcomes = world.commit_all([cancel, grandchild.unpark()]).await;

    same("outcome", &outcomes[1], &Outcome::Gone);
    same("tasks to claim", world.claim(5).at(t(1)).await.len(), 0);
}

async fn an_empty_exchange_is_fine(world: World) {
    let exchanged = world.exchange(&[], None).await;

    same("claimed", exchanged.claimed.len(), 0);
    same("next moment", exchanged.next_due, None);
}

async fn commit_and_claim_travel_together(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.park(), world.call("ship")).await;

    // The step's end makes the parent ready, and the same exchange claims it.
    let exchanged = world.claim(5).at(t(2)).with([step.complete("parcel").at(t(2))]).await;

    same("claimed", exchanged.claimed.len(), 1);
    let claimed = &exchanged.claimed[0];
    same("claimed", (claimed.task.id, claimed.task.done), (parent.task.id, 1));
    same("steps", claimed.steps.iter().map(Step::order).collect::<Vec<_>>(), [Some(1)]);
}

async fn a_step_that_is_started_under_a_lease_is_its_writers(world: World) {
    let parent = world.running("checkout").await;
    let ship = world.call("ship").leased(t(0), world.worker, t(30));
    let mut step = parent.clone();
    step.fence.task = ship.id;
    step.task.tree = stent_core::model::Tree::step(parent.task.tree.execution, parent.task.id);

    world.apply(parent.park().with(ship)).await;

    same("tasks to claim", world.claim(5).at(t(29)).await.len(), 0);
    world.apply(step.complete("parcel")).await;
    same("steps that have ended", world.claim_one(t(1)).await.task.done, 1);
}

/// As if one by one: a request to an execution that precedes its dispatch in the batch finds no execution.
async fn what_stands_before_its_dispatch_in_a_batch_is_gone(world: World) {
    let draft = world.call("charge");
    let id = draft.id;
    let batch = [
        signal(id, "approval", world.id(), text("early")),
        cancel(id, 0, t(0)),
        draft.start(t(0)),
        signal(id, "approval", world.id(), text("in time")),
    ];

    let outcomes = world.commit_all(batch).await;

    let fine = Outcome::Applied(News::default());
    same("outcomes", outcomes, [Outcome::Gone, Outcome::Gone, fine.clone(), fine]);
    same("status", world.status(id).await, ExecutionStatus::Pending);
}
