//! Imports: executions that come from another store, with their record.

use stent_core::ExecutionId;
use stent_core::backend::StoredTask;
use stent_core::limits::PAGE_MAX;
use stent_core::model::Note;
use stent_core::transition::{Import, ImportedNote};

use super::words::*;
use crate::say;
use crate::world::Claim;

list! { import:
    G1 the_whole_record_arrives,
    G1 what_is_there_already_is_left_alone,
    G12 a_key_of_another_execution_keeps_it_out,
    G5 it_is_refused_without_the_execution_that_it_waits_for,
    G3 a_task_that_ran_is_due_and_its_worker_is_fenced,
    G5 a_parked_task_is_woken_where_it_arrives,
    G11 a_signal_reaches_the_wait_that_came_with_it,
    G5 a_wait_for_an_execution_that_has_ended_ends_at_once,
    G12 a_call_that_waited_for_a_holder_elsewhere_becomes_the_holder,
    G15 what_was_asked_to_end_ends,
    G7 an_ended_execution_stays_ended,
}

/// Another place of the same kind of store.
async fn elsewhere(world: &World) -> World {
    let other = world.elsewhere().await;
    other.store().migrate().await.expect("migrates");
    other
}

/// The only task of a claim.
async fn one(claim: Claim<'_>) -> Claimed {
    let mut claimed = claim.await;
    same("the number of claimed tasks", claimed.len(), 1);
    claimed.remove(0)
}

/// All that the store has of an execution, in pages of two.
async fn stored(world: &World, execution: ExecutionId) -> Vec<StoredTask> {
    let mut all: Vec<StoredTask> = Vec::new();
    loop {
        let after = all.last().map(|task| task.row.id);
        let page = world.store().stored(execution, after, 2).await.expect("stored");
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

async fn export(world: &World, root: TaskId) -> Import {
    let mut import = Import::new(root.execution(), t(50));
    import.tasks = stored(world, import.execution).await;
    for task in &import.tasks {
        import.ended_claims.extend(world.ended_claims(task.row.id).await);
    }
    import.key_entries =
        world.store().key_entries(import.execution, None, PAGE_MAX).await.expect("key entries");
    let notes = world.notes(root).await;
    let of_root = |note| ImportedNote { task: root, at: t(50), note };
    import
        .notes
        .extend(notes.counters.into_iter().map(|(name, value)| of_root(Note::CountFrom { name, value })));
    import.notes.extend(notes.states.into_iter().map(|(name, value)| of_root(Note::SetFrom { name, value })));
    import.notes.extend(notes.progress.into_iter().map(|entry| ImportedNote {
        task: entry.task,
        at: entry.at,
        note: Note::Progress { id: entry.id, text: entry.text },
    }));
    import
}

/// The tasks without their nonces, which an import drops.
fn plain(mut tasks: Vec<StoredTask>) -> Vec<StoredTask> {
    for StoredTask { task, row, .. } in &mut tasks {
        row.epoch = Epoch::plain(row.epoch.count);
        row.commit_epoch = Epoch::plain(row.commit_epoch.count);
        // Not read any more: see `Inspect::stored`.
        (task.attempts, task.failure, task.keyed, task.expires_at, task.digest) = (0, None, None, None, None);
        task.state = stent_core::model::NewTaskState::Signal;
    }
    tasks
}

async fn the_whole_record_arrives(world: World) {
    let root = world.call("checkout").priority(3).tags(["eu"]).traced("00-1-2-01").args(text("order"));
    let id = root.id;
    world.apply(root.start_under(Some(dispatch_key("order-7")), t(0))).await;
    let claimed = one(world.claim(1).tags(["eu"]).at(t(0))).await;
    world.apply(claimed.retry(t(1), declined())).await;
    let claimed = one(world.claim(1).tags(["eu"]).at(t(1))).await;
    let map = world.map("pack");
    let (map_id, sleep, step) = (map.id, world.sleep(t(90)), world.call("charge").expires(t(500)));
    let items = [world.call("pack").args(text("bell")), world.call("pack").args(text("saddle"))];
    let turn = claimed.park_for(wait_for(2)).with(world.inline("price", "7")).with(sleep).with(step);
    let turn = turn.with(world.wait(id, "approval")).with(map).items(map_id, items).feed(map_id, 2, Some(3));
    let turn = turn.say(say::count("orders", 2)).say(say::set("phase", "packing"));
    world.apply(turn.say(say::progress(world.id(), "begun"))).await;
    world.signal(id, "later", "value").await;
    let import = export(&world, id).await;
    let other = elsewhere(&world).await;

    other.apply(import.clone()).await;

    same("tasks", plain(stored(&other, id.execution()).await), plain(import.tasks.clone()));
    let again = export(&other, id).await;
    same("key entries", again.key_entries, import.key_entries);
    same("ended claims", again.ended_claims, import.ended_claims);
    same("the history of the root", other.ended_claims(id).await.len(), 1);
    same("notes", other.notes(id).await, world.notes(id).await);
    same("what readers see", other.execution(id).await, world.execution(id).await);
}

async fn what_is_there_already_is_left_alone(world: World) {
    let id = world.dispatch(world.call("charge")).await;
    let mut import = export(&world, id).await;
    import.tasks[0].task.args = text("others");

    let outcome = world.commit(import).await;

    already(outcome);
    same("arguments", world.store().args(id).await.expect("args"), Some(text("args")));
}

async fn a_key_of_another_execution_keeps_it_out(world: World) {
    let (first, second) = (world.call("charge"), world.call("charge"));
    let (first_id, second_id) = (first.id, second.id);
    world.apply(first.start_under(Some(dispatch_key("order-7")), t(0))).await;
    let import = export(&world, first_id).await;
    let other = elsewhere(&world).await;
    other.apply(second.start_under(Some(dispatch_key("order-7")), t(0))).await;

    let outcome = other.commit(import).await;

    same("outcome", outcome, Outcome::Exists(second_id.execution()));
    same("the execution", other.execution(first_id).await, None);
}

/// An execution that waits for another one, exported.
struct Joined {
    awaited: TaskId,
    id: TaskId,
    join_id: TaskId,
    import: Import,
}

async fn joined(world: &World) -> Joined {
    let awaited = world.dispatch(world.call("ship").on("slow")).await;
    let id = world.dispatch(world.call("checkout")).await;
    let claimed = one(world.claim(1).queues(["default"]).at(t(0))).await;
    let join = world.join(awaited);
    let join_id = join.id;
    world.apply(claimed.park().with(join)).await;
    let mut import = export(world, id).await;
    import.awaits.push((join_id, awaited.execution()));
    Joined { awaited, id, join_id, import }
}

async fn it_is_refused_without_the_execution_that_it_waits_for(world: World) {
    let Joined { awaited, id, import, .. } = joined(&world).await;
    let other = elsewhere(&world).await;

    same("alone", other.commit(import.clone()).await, Outcome::Gone);
    same("the execution", other.execution(id).await, None);

    // Both in one batch, in this order.
    let outcomes = other.commit_all([export(&world, awaited).await, import]).await;
    outcomes.into_iter().for_each(|outcome| drop(applied(outcome)));
    let shipped = one(other.claim(1).queues(["slow"]).at(t(60))).await;
    other.apply(shipped.complete("shipped")).await;
    same("due", other.claim(9).at(t(60)).ids().await, [id]);
}

async fn a_task_that_ran_is_due_and_its_worker_is_fenced(world: World) {
    let id = world.dispatch(world.call("charge")).await;
    let stale = world.claim_one(t(0)).await;
    let import = export(&world, id).await;
    let other = elsewhere(&world).await;

    other.apply(import).await;

    same("a write of the old claim", other.commit(stale.complete("late")).await, Outcome::Fenced);
    let claimed = other.claim_one(t(50)).await;
    same(
        "epoch, crashes, releases, claims without a commit",
        (
            claimed.task.epoch.count,
            claimed.task.crashes,
            claimed.task.releases,
            claimed.task.uncommitted_claims,
        ),
        (2, 0, 0, 1),
    );
    same("a write of the old claim, again", other.commit(stale.complete("late")).await, Outcome::Fenced);
    other.apply(claimed.complete("receipt")).await;
    same("status", other.status(id).await, ExecutionStatus::Completed);
}

async fn a_parked_task_is_woken_where_it_arrives(world: World) {
    let id = world.dispatch(world.call("checkout")).await;
    let claimed = world.claim_one(t(0)).await;
    let (first, second) = (world.call("charge"), world.call("charge"));
    let inline = world.inline("price", "7");
    let inline_id = inline.id;
    world.apply(claimed.park_for(wait_for(3)).with(inline).with(first).with(second)).await;
    let import = export(&world, id).await;
    let other = elsewhere(&world).await;

    other.apply(import).await;

    for left in [1, 0] {
        let step = one(other.claim(1).at(t(60))).await;
        same("the function", step.task.lane.function.as_str(), "charge");
        other.apply(step.complete("receipt")).await;
        same("tasks that wait", other.find(id).await.map(|root| root.ready_at.is_none()), Some(left > 0));
    }
    let root = other.claim_one(t(60)).await;
    same("the root", root.task.id, id);
    same("its first step", given(&root.steps, inline_id), Some(Ok(text("7"))));
    same("its completions", root.task.done, 3);
}

async fn a_signal_reaches_the_wait_that_came_with_it(world: World) {
    let id = world.dispatch(world.call("checkout")).await;
    let claimed = world.claim_one(t(0)).await;
    let wait = world.wait(id, "approval");
    let wait_id = wait.id;
    world.apply(claimed.park().with(wait)).await;
    world.signal(id, "reload", "yes").await;
    let import = export(&world, id).await;
    let other = elsewhere(&world).await;

    // In one batch with the import.
    let send = signal(id, "approval", world.id(), text("kim"));
    let outcomes = other.commit_all([Transition::from(import), send]).await;
    outcomes.into_iter().for_each(|outcome| drop(applied(outcome)));

    let claimed = other.claim_one(t(60)).await;
    same("the value", given(&claimed.steps, wait_id), Some(Ok(text("kim"))));
    let wait = world.wait(id, "reload");
    let wait_id = wait.id;
    other.apply(claimed.park().with(wait)).await;
    let claimed = other.claim_one(t(60)).await;
    same("the value that came before", given(&claimed.steps, wait_id), Some(Ok(text("yes"))));
}

async fn a_wait_for_an_execution_that_has_ended_ends_at_once(world: World) {
    let Joined { awaited, join_id, import, .. } = joined(&world).await;
    let shipped = one(world.claim(1).queues(["slow"]).at(t(0))).await;
    world.apply(shipped.complete("shipped")).await;
    let other = elsewhere(&world).await;
    other.apply(export(&world, awaited).await).await;

    other.apply(import).await;

    let claimed = other.claim_one(t(60)).await;
    same("the result", given(&claimed.steps, join_id), Some(Ok(text("shipped"))));
}

async fn a_call_that_waited_for_a_holder_elsewhere_becomes_the_holder(world: World) {
    let holder = world.dispatch(world.call("charge").keyed(key("order-7")).on("slow")).await;
    let waiter = world.dispatch(world.call("charge").keyed(key("order-7"))).await;
    same("due where it waits", world.claim(9).queues(["default"]).ids().await, []);
    let other = elsewhere(&world).await;

    other.apply(export(&world, waiter).await).await;

    let claimed = other.claim_one(t(60)).await;
    same("the task", claimed.task.id, waiter);
    // The former holder finds the key held.
    same("the other", other.commit(export(&world, holder).await).await, Outcome::Exists(waiter.execution()));
    other.apply(claimed.complete("receipt")).await;
    same("status", other.status(waiter).await, ExecutionStatus::Completed);
}

async fn what_was_asked_to_end_ends(world: World) {
    let id = world.dispatch(world.call("checkout")).await;
    let claimed = world.claim_one(t(0)).await;
    let step = world.call("charge");
    let step_id = step.id;
    world.apply(claimed.park().with(step)).await;
    world.claim_one(t(0)).await;
    world.apply(cancel(id, 10_000, t(1))).await;
    let import = export(&world, id).await;
    let other = elsewhere(&world).await;

    other.apply(import).await;

    same("status", other.status(id).await, ExecutionStatus::Cancelled);
    other.expect_status(step_id, TaskStatus::Cancelled).await;
}

async fn an_ended_execution_stays_ended(world: World) {
    let other = elsewhere(&world).await;
    for end in ["completed", "failed", "discarded"] {
        let id = world.dispatch(world.call("charge")).await;
        let claimed = world.claim_one(t(0)).await;
        world
            .apply(if end == "completed" { claimed.complete("receipt") } else { claimed.fail(declined()) })
            .await;
        if end == "discarded" {
            world.apply(discard(id)).await;
        }

        other.apply(export(&world, id).await).await;

        same(end, other.execution(id).await, world.execution(id).await);
        let is_letter = async |world: &World| world.store().dead_letter(id.execution()).await.expect("read");
        same(end, is_letter(&other).await, is_letter(&world).await);
    }
    same("due", other.claim(9).at(t(99)).functions(["charge"]).ids().await, []);
    same("dead letters", other.dead_letters().await.len(), 1);
}
