//! Reads: what waiters and readers of the timeline see.

use stent_core::model::{Mark, Marks};

use super::words::*;

list! { inspect:
    G1 an_execution_is_seen_in_every_state_of_its_life,
    G1 a_task_is_seen_in_every_state_of_its_life,
    G1 a_task_began_when_it_was_first_claimed,
    G1 unknown_executions_are_left_out,
    G1 many_executions_are_read_at_once,
    G1 a_timeline_is_read_in_pages,
    G1 a_timeline_is_in_the_order_of_ids_whenever_they_were_written,
    G1 a_page_has_its_limit,
    G1 a_timeline_is_one_executions,
    G6 the_moment_a_task_waits_for_is_seen,
    G4 what_a_running_task_has_not_seen_is_read_in_order,
    G4 what_many_running_tasks_have_not_seen_is_read_at_once,
    G1 a_step_is_not_an_execution,
    G1 reading_changes_nothing,
    G1 a_task_tells_what_its_status_does_not,
}

async fn an_execution_is_seen_in_every_state_of_its_life(world: World) {
    let id = world.dispatch(world.call("checkout")).await;
    let status = async || world.execution(id).await.expect("is there").status;
    same("dispatched", status().await, ExecutionStatus::Pending);

    let claimed = world.claim_one(t(0)).await;
    same("claimed", status().await, ExecutionStatus::Running);
    world.apply(claimed.park_for(Wait::for_next(0).until(Some(t(1))))).await;
    same("parked", status().await, ExecutionStatus::Running);
    let claimed = world.claim_one(t(1)).await;
    world.apply(claimed.retry(t(2), declined())).await;
    same("to be tried again", status().await, ExecutionStatus::Running);
    let claimed = world.claim_one(t(2)).await;
    world.apply(claimed.release().at(t(2))).await;
    same("handed back", status().await, ExecutionStatus::Running);
    let claimed = world.claim_one(t(2)).await;
    world.apply(claimed.complete("summary")).await;
    same("completed", status().await, ExecutionStatus::Completed);
}

async fn a_task_is_seen_in_every_state_of_its_life(world: World) {
    let id = world.dispatch(world.call("checkout")).await;
    let status = async || world.task(id).await.status;
    same("dispatched", status().await, TaskStatus::Pending);

    let claimed = world.claim_one(t(0)).await;
    same("claimed", status().await, TaskStatus::Running);
    world.apply(claimed.park_for(Wait::for_next(0).until(Some(t(1))))).await;
    same("parked", status().await, TaskStatus::Waiting);
    let claimed = world.claim_one(t(1)).await;
    world.apply(claimed.retry(t(2), declined())).await;
    same("to be tried again", status().await, TaskStatus::Pending);
    let claimed = world.claim_one(t(2)).await;
    world.apply(claimed.fail(declined())).await;
    same("failed", status().await, TaskStatus::Failed);
}

async fn unknown_executions_are_left_out(world: World) {
    let known = world.dispatch(world.call("charge")).await;
    let ids = [world.id().execution(), known.execution(), world.id().execution()];

    let views = world.store().executions(&ids).await.expect("executions");

    same("found", views.iter().map(|view| view.id).collect::<Vec<_>>(), [known.execution()]);
    same("nothing asked", world.store().executions(&[]).await.expect("executions").len(), 0);
    same("timeline of an unknown one", world.timeline(world.id().execution()).await, Vec::new());
    same("items of an unknown map", world.items(world.id()).await, Vec::new());
}

async fn many_executions_are_read_at_once(world: World) {
    let tasks = world.dispatch_many(limits::PAGE_MAX, || world.call("charge")).await;
    let ids: Vec<_> = tasks.iter().map(|task| task.execution()).collect();

    let mut found: Vec<_> =
        world.store().executions(&ids).await.expect("executions").iter().map(|view| view.id).collect();

    found.sort_unstable();
    same("found", found, ids);
}

async fn a_timeline_is_read_in_pages(world: World) {
    let parent = world.running("checkout").await;
    let steps: Vec<_> = (0..25).map(|_| world.call("ship")).collect();
    let mut expected = vec![parent.task.id];
    expected.extend(steps.iter().map(|step| step.id));
    world.apply(steps.into_iter().fold(parent.keep(), Turn::with)).await;

    let (mut read, mut after) = (Vec::new(), None);
    loop {
        let page = world.store().tasks(parent.task.tree.execution, after, 7).await.expect("tasks");
        read.extend(page.iter().map(|task| task.id));
        after = read.last().copied();
        if page.len() < 7 {
            break;
        }
    }

    same("oldest first, each once", read, expected);
}

async fn a_page_has_its_limit(world: World) {
    let parent = world.running("checkout").await;
    let steps: Vec<_> = (0..limits::PAGE_MAX + 5).map(|_| world.call("ship")).collect();
    world.apply(steps.into_iter().fold(parent.keep(), Turn::with)).await;
    let map = world.map("mail");
    let (id, items) = (map.id, (0..limits::PAGE_MAX + 5).map(|_| world.call("mail")));
    world.apply(later(&parent, 1, 0).keep().with(map).items(id, items)).await;

    let tasks = world.store().tasks(parent.task.tree.execution, None, usize::MAX).await.expect("tasks");
    let items = world.store().items(id, Seq(0), usize::MAX).await.expect("items");

    same("tasks in a page", tasks.len(), limits::PAGE_MAX);
    same("items in a page", items.len(), limits::PAGE_MAX);
}

async fn a_timeline_is_one_executions(world: World) {
    let one = world.running("checkout").await;
    world.apply(one.keep().with(world.inline("render", "note"))).await;
    let other = world.running("checkout").await;
    world.apply(other.keep().with(world.inline("render", "note"))).await;

    let timeline = world.timeline(one.task.tree.execution).await;

    same("number of tasks", timeline.len(), 2);
    same("the parent of the step", timeline[1].parent, Some(one.task.id));
}

async fn the_moment_a_task_waits_for_is_seen(world: World) {
    let parent = world.running("checkout").await;
    let (nap, delayed) = (world.sleep(t(7)), world.call("ship").due(t(8)));
    let (nap_id, delayed_id) = (nap.id, delayed.id);
    world.apply(parent.park_for(Wait::for_next(0).until(Some(t(7)))).with(nap).with(delayed)).await;

    same("of a sleep", world.task(nap_id).await.ready_at, Some(t(7)));
    same("of a delayed call", world.task(delayed_id).await.ready_at, Some(t(8)));
    same("of a parked task", world.task(parent.task.id).await.ready_at, Some(t(7)));
}

async fn a_step_is_not_an_execution(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.keep(), world.call("ship")).await;

    same("an execution by the step's id", world.execution(step.task.id).await, None);
    same("a timeline by the step's id", world.timeline(step.task.id.execution()).await, Vec::new());
}

async fn reading_changes_nothing(world: World) {
    let parent = world.running("checkout").await;
    world.apply(parent.park().with(world.call("ship")).with(world.inline("render", "note"))).await;

    let first = world.snapshot().await;
    world.peer().await.snapshot().await.expect_same("another reader", &first);
    world.snapshot().await.expect_same("reading again", &first);

    same("claimed", world.claim(9).await.len(), 2);
}

/// A mark says why a task ended without running, is about to end, or is redriven.
async fn a_task_tells_what_its_status_does_not(world: World) {
    let mark = async |id| {
        let view = world.task(id).await;
        (view.status, view.marks)
    };
    let plain = world.running("charge").await.task.id;
    same("nothing to tell", mark(plain).await, (TaskStatus::Running, Marks::NONE));
    let asked = world.running("charge").await;
    world.apply(cancel(asked.task.id, 60, t(1))).await;
    same("asked to end", mark(asked.task.id).await, (TaskStatus::Running, Marks::of(Mark::Cancel)));
    let over = world.dispatch(world.call("charge").due(t(900)).expires(t(1))).await;
    world.expire_all(t(2)).await;
    same("its time was up", mark(over).await, (TaskStatus::Failed, Marks::of(Mark::Expire)));

    let failed = world.running("charge").await;
    world.apply(failed.fail(declined())).await;
    same("a dead letter", mark(failed.task.id).await, (TaskStatus::Failed, Marks::NONE));
    world.apply(redrive(failed.task.id)).await;
    same("redriven", mark(failed.task.id).await, (TaskStatus::Pending, Marks::of(Mark::Redrive)));
    let again = world.claim_one(t(0)).await;
    world.apply(again.keep()).await;
    same("come further", mark(failed.task.id).await, (TaskStatus::Running, Marks::NONE));
    world.apply(later(&again, 1, 0).fail(declined())).await;
    world.apply(discard(failed.task.id)).await;
    same("seen to", mark(failed.task.id).await, (TaskStatus::Failed, Marks::of(Mark::Discard)));

    let parent = world.running("checkout").await;
    let step = world.spawn(parent.keep(), world.call("ship").keyed(key("order 7"))).await;
    world.apply(step.complete("parcel")).await;
    let hit = world.call("ship").keyed(key("order 7"));
    let id = hit.id;
    world.apply(later(&parent, 1, 1).keep().with(hit)).await;
    same("a hit", mark(id).await, (TaskStatus::Completed, Marks::of(Mark::Hit)));
}

async fn what_a_running_task_has_not_seen_is_read_in_order(world: World) {
    let parent = world.running("checkout").await;
    let (charge, ship, map) = (world.call("charge"), world.call("ship"), world.map("pack"));
    let (charge_id, ship_id, map_id) = (charge.id, ship.id, map.id);
    let item = world.call("pack").priority(-1);
    let turn = parent.keep().with(charge).with(ship).with(map).items(map_id, [item]).feed(map_id, 1, None);
    world.apply(turn).await;
    let claimed = world.claim(3).at(t(0)).await;
    let of = |id| claimed.iter().find(|claimed| claimed.task.id == id).expect("it is due");
    same("nothing yet", ended(&world.completions(parent.task.id, 0).await), vec![]);

    world.apply(of(ship_id).complete("parcel").at(t(2))).await;
    world.peer().await.apply(of(charge_id).fail(declined()).at(t(1))).await;

    let news = world.completions(parent.task.id, 0).await;
    same("in the order of their ends", ended(&news), vec![(ship_id, 1), (charge_id, 2)]);
    same("what one gave", given(&news, ship_id), Some(Ok(text("parcel"))));
    let open: Vec<_> = news.iter().filter(|step| step.order().is_none()).map(|step| step.id).collect();
    same("what is open, but for calls", open, vec![map_id]);
    same("after the first", ended(&world.completions(parent.task.id, 1).await), vec![(charge_id, 2)]);
    same("after both", ended(&world.completions(parent.task.id, 2).await), vec![]);

    // Reading writes nothing: the holder continues, and gets the same answer.
    let Outcome::Applied(told) = world.commit(later(&parent, 1, 0).keep()).await else { panic!("fenced") };
    same("news of a commit", ended(&told.steps), vec![(ship_id, 1), (charge_id, 2)]);
}

async fn what_many_running_tasks_have_not_seen_is_read_at_once(world: World) {
    let (one, other, third) =
        (world.running("checkout").await, world.running("checkout").await, world.running("checkout").await);
    let first = world.spawn(one.keep(), world.call("ship")).await;
    world.apply(first.complete("parcel")).await;
    let second = world.spawn(other.keep(), world.call("ship")).await;
    world.apply(second.complete("parcel")).await;

    let asked = [(one.task.id, 0), (other.task.id, 1), (third.task.id, 0), (world.call("none").id, 0)];
    let read = world.store().completions(&asked).await.expect("reads");

    let told: Vec<_> = read.iter().filter(|(_, steps)| !steps.is_empty()).map(|(task, _)| *task).collect();
    same("of whom there is something new", told, vec![one.task.id]);
    same("nobody asks", world.store().completions(&[]).await.expect("reads").len(), 0);
}

fn ended(steps: &[Step]) -> Vec<(TaskId, u32)> {
    steps.iter().filter_map(|step| Some((step.id, step.order()?))).collect()
}

async fn a_timeline_is_in_the_order_of_ids_whenever_they_were_written(world: World) {
    let root = world.running("checkout").await;
    let (old, young) = (world.call("ship").due(t(99)), world.call("ship").due(t(99)));
    let expected = [root.task.id, old.id, young.id];
    world.apply(root.keep().with(young).at(t(1))).await;
    world.apply(later(&root, 1, 0).keep().with(old).at(t(2))).await;

    let read = world.timeline(root.task.tree.execution).await;

    same("oldest first", read.iter().map(|task| task.id).collect::<Vec<_>>(), expected);
    let page = world.store().tasks(root.task.tree.execution, Some(expected[1]), 9).await.expect("a page");
    same("after one", page.iter().map(|task| task.id).collect::<Vec<_>>(), &expected[2..]);
}

async fn a_task_began_when_it_was_first_claimed(world: World) {
    let draft = world.call("charge");
    let id = draft.id;
    world.apply(draft.start(t(0))).await;
    let mut claimed = world.claim_one(t(1)).await;
    for round in 0..4 {
        let now = t(40 * (round + 1));
        match round {
            0 => drop(world.apply(claimed.retry(now, declined()).at(t(2))).await),
            1 => drop(world.apply(claimed.release().at(now)).await),
            2 => drop(world.apply(claimed.park_for(Wait::for_next(0).until(Some(now)))).await),
            _ => {}
        }
        claimed = world.claim_one(now).await;
        same("created and started", (claimed.task.created_at, claimed.task.started_at), (t(0), Some(t(1))));
    }

    world.apply(claimed.complete("receipt").at(t(161))).await;

    let (execution, task) = (world.execution(id).await.expect("is there"), world.task(id).await);
    same("of the execution", (execution.created_at, execution.started_at), (t(0), Some(t(1))));
    same("of the task", (task.created_at, task.started_at, task.ended_at), (t(0), Some(t(1)), Some(t(161))));
}
