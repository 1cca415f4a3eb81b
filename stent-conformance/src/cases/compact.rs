//! Compaction: an execution that has ended keeps its outline and loses its details.

use std::collections::BTreeSet;

use stent_core::backend::{Purge, SummaryView};

use super::words::*;
use crate::say::{count, progress, set};

list! { compact:
    G16 steps_are_summed_up_by_kind_name_and_status,
    G16 steps_below_steps_are_summed_up_too,
    G16 names_of_any_text_are_summed_up,
    G16 steps_are_summed_up_as_they_stood_before_the_call,
    G16 the_root_stays_as_it_is,
    G16 ended_claims_leave,
    G16 ended_claims_or_progress_alone_are_details,
    G16 counters_and_states_stay_where_no_steps_are,
    G16 what_has_no_details_is_not_counted,
    G16 every_other_end_is_compacted,
    G16 the_oldest_is_compacted_first_within_the_bound,
    G16 other_executions_keep_their_details,
    G7 a_compacted_execution_takes_no_late_writes,
    G16 a_compaction_outlives_a_crash,
    G16 handles_that_compact_at_once_count_each_once,
}

fn alike(kind: StepKind, name: &str, status: TaskStatus, count: u64) -> SummaryView {
    SummaryView::new(kind, name.to_owned(), status, count)
}

/// The summary of an execution's steps, in any order.
async fn summary(world: &World, root: TaskId) -> BTreeSet<SummaryView> {
    let summary = world.notes(root).await.summary;
    let set: BTreeSet<_> = summary.iter().cloned().collect();
    same("each of them once", set.len(), summary.len());
    set
}

async fn compact(world: &World, before: Timestamp, max: u32) -> u32 {
    world.purge_of(Purge::Details, before, max).await
}

/// An execution with a step, an ended claim and notes, that ended at this moment.
async fn ended_at(world: &World, at: Timestamp) -> TaskId {
    let root = world.running("checkout").await;
    let turn = root.release().with(world.inline("render", "note")).say(count("parcels", 3));
    world.apply(turn.say(set("phase", "over")).say(progress(world.id(), "on"))).await;
    let again = world.claim_one(t(0)).await;
    world.apply(again.complete("summary").at(at)).await;
    root.task.id
}

/// Whether an execution has been compacted.
async fn is_compact(world: &World, root: TaskId) -> bool {
    let notes = world.notes(root).await;
    let tasks = world.timeline(root.execution()).await;
    let compact = tasks.len() == 1;
    same(
        "all of it or nothing",
        (notes.progress.is_empty(), world.ended_claims(root).await.is_empty()),
        (compact, compact),
    );
    same("a summary stands for what is gone", notes.summary.is_empty(), !compact);
    compact
}

/// Steps that differ in kind, name or status are counted separately; the root is not counted.
async fn steps_are_summed_up_by_kind_name_and_status(world: World) {
    let root = world.running("checkout").await;
    let (mut turn, mut cancelled) = (root.keep(), Vec::new());
    for (name, count) in [("ship", 3), ("mail", 2)] {
        for _ in 0..count {
            turn = turn.with(world.call(name));
        }
    }
    for _ in 0..2 {
        let step = world.call("ship").due(t(900));
        cancelled.push(step.id);
        turn = turn.with(step);
    }
    let nap = world.sleep(t(0));
    let nap_id = nap.id;
    // An inline step with the same name as a function.
    turn = turn.with(nap).with(world.inline("ship", "note")).with(world.inline("render", "note"));
    world.apply(turn.with(world.wait(root.task.id, "approval"))).await;
    world.signal(root.task.id, "approval", "yes").await;
    let steps = world.claim(9).await;
    for (n, step) in steps.iter().enumerate() {
        world.apply(if n == 0 { step.fail(declined()) } else { step.complete("done") }).await;
    }
    let end = cancelled.into_iter().fold(later(&root, 1, 0).complete("summary"), Turn::cancel);
    world.apply(end.fire(nap_id).at(t(1))).await;

    same("compacted", compact(&world, t(2), 9).await, 1);

    let (completed, failed) = (TaskStatus::Completed, TaskStatus::Failed);
    let expected = [
        alike(StepKind::Call, "ship", completed, 2),
        alike(StepKind::Call, "ship", failed, 1),
        alike(StepKind::Call, "ship", TaskStatus::Cancelled, 2),
        alike(StepKind::Call, "mail", completed, 2),
        alike(StepKind::Inline, "ship", completed, 1),
        alike(StepKind::Inline, "render", completed, 1),
        alike(StepKind::Sleep, "sleep", completed, 1),
        alike(StepKind::Signal, "approval", completed, 1),
    ];
    same("summary", summary(&world, root.task.id).await, expected.into());
}

/// Items of maps and steps of steps count as steps of the execution.
async fn steps_below_steps_are_summed_up_too(world: World) {
    let root = world.running("checkout").await;
    let gather = world.gather("ship");
    let id = gather.id;
    let items = (0..4).map(|seq| world.call("ship").seq(seq));
    world.apply(root.keep().with(gather).items(id, items).feed(id, 4, Some(4))).await;
    for (n, item) in world.claim(9).await.iter().enumerate() {
        let turn = if n == 1 { item.fail(declined()) } else { item.complete("tracking") };
        world.apply(turn.with(world.inline("pack", "packed"))).await;
    }
    world.apply(later(&root, 1, 1).complete("summary").at(t(1))).await;

    same("compacted", compact(&world, t(2), 9).await, 1);

    let expected = [
        alike(StepKind::Gather, "ship", TaskStatus::Completed, 1),
        alike(StepKind::Call, "ship", TaskStatus::Completed, 3),
        alike(StepKind::Call, "ship", TaskStatus::Failed, 1),
        alike(StepKind::Inline, "pack", TaskStatus::Completed, 4),
    ];
    same("summary", summary(&world, root.task.id).await, expected.into());
    same("items", world.items(id).await, Vec::new());
}

/// Readers of the execution, of its result and of its row see the same as before. One of the deleted steps was to produce the
/// result under a key. A waiting step of another execution that is compacted in the same call must not become the key holder in
/// between.
async fn steps_are_summed_up_as_they_stood_before_the_call(world: World) {
    let mut roots = Vec::new();
    for _ in 0..2 {
        let root = world.running("checkout").await;
        world.apply(root.complete("summary").with(world.call("charge").due(t(9)).keyed(key("k")))).await;
        roots.push(root.task.id);
    }

    same("how many", compact(&world, t(1), 9).await, 2);

    for (root, status) in roots.into_iter().zip([TaskStatus::Pending, TaskStatus::Waiting]) {
        let expected = [alike(StepKind::Call, "charge", status, 1)].into();
        same("what is told", summary(&world, root).await, expected);
    }
    // Both are gone, so the key is free.
    world.dispatch(world.call("charge").keyed(key("k"))).await;
    same("claimed", world.claim(9).at(t(99)).await.len(), 1);
}

async fn the_root_stays_as_it_is(world: World) {
    let root = ended_at(&world, t(1)).await;
    let (view, task) = (world.execution(root).await, world.task(root).await);

    same("compacted", compact(&world, t(2), 9).await, 1);

    same("the execution", world.execution(root).await, view);
    same("its task", world.task(root).await, task);
    same("result", world.result(root).await, Some(Ok(text("summary"))));
    same(
        "counted",
        world.store().count(usize::MAX).await.expect("count"),
        [(ExecutionStatus::Completed, 1)].into(),
    );
}

/// The ended claims of the root and of its steps.
async fn ended_claims_leave(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.keep(), world.call("ship")).await;
    world.apply(step.fail(declined())).await;
    world.apply(later(&root, 1, 1).retry(t(0), declined())).await;
    let again = world.claim_one(t(0)).await;
    world.apply(again.complete("summary").at(t(1))).await;
    same(
        "before",
        (world.ended_claims(root.task.id).await.len(), world.ended_claims(step.task.id).await.len()),
        (1, 1),
    );

    same("compacted", compact(&world, t(2), 9).await, 1);

    same("the root's", world.ended_claims(root.task.id).await, Vec::new());
    same("the step's", world.ended_claims(step.task.id).await, Vec::new());
    same("how many they were", world.execution(root.task.id).await.map(|view| view.attempts), Some(1));
}

/// An execution without steps may still have details, which are deleted once.
async fn ended_claims_or_progress_alone_are_details(world: World) {
    let ended = world.running("charge").await;
    world.apply(ended.release()).await;
    world.apply(world.claim_one(t(0)).await.complete("receipt").at(t(1))).await;
    same("ended claims", compact(&world, t(2), 9).await, 1);
    same("again", compact(&world, t(2), 9).await, 0);

    let told = world.running("charge").await;
    world.apply(told.complete("receipt").say(progress(world.id(), "on")).at(t(1))).await;
    same("progress", compact(&world, t(2), 9).await, 1);
    same("again", compact(&world, t(2), 9).await, 0);

    for root in [&ended, &told] {
        same("nothing to sum up", summary(&world, root.task.id).await, [].into());
        same("ended claims", world.ended_claims(root.task.id).await, Vec::new());
        same("progress", world.notes(root.task.id).await.progress, Vec::new());
    }
}

/// An execution without details, or with only the notes that stay, does not count against the bound.
async fn what_has_no_details_is_not_counted(world: World) {
    let plain = world.running("charge").await;
    world.apply(plain.complete("receipt").at(t(1))).await;
    let said = world.running("charge").await;
    world.apply(said.complete("receipt").say(count("a", 1)).say(set("b", "c")).at(t(1))).await;
    let whole = ended_at(&world, t(5)).await;

    same("compacted", compact(&world, t(9), 1).await, 1);

    same("the one with details", is_compact(&world, whole).await, true);
    same("compacted again", compact(&world, t(9), 9).await, 0);
}

/// Cancelled, timed out and completed alike.
async fn every_other_end_is_compacted(world: World) {
    let asked = world.running("checkout").await;
    world.apply(asked.park().with(world.inline("render", "note"))).await;
    world.apply(cancel(asked.task.id, 0, t(1))).await;
    world.dispatch(world.call("checkout").expires(t(5))).await;
    let expired = world.claim_one(t(0)).await;
    world.apply(expired.park().with(world.inline("render", "note"))).await;
    world.expire_all(t(6)).await;

    same("compacted", compact(&world, t(9), 9).await, 2);

    for (claimed, status) in [(asked, ExecutionStatus::Cancelled), (expired, ExecutionStatus::TimedOut)] {
        same("status", world.status(claimed.task.id).await, status);
        let expected = alike(StepKind::Inline, "render", TaskStatus::Completed, 1);
        same("summary", summary(&world, claimed.task.id).await, [expected].into());
    }
}

/// If there are too many, those that ended first; the rest is left to the next call.
async fn the_oldest_is_compacted_first_within_the_bound(world: World) {
    let mut roots = Vec::new();
    for second in [5, 2, 8, 1] {
        roots.push(ended_at(&world, t(second)).await);
    }

    same("none", compact(&world, t(99), 0).await, 0);
    same("compacted", compact(&world, t(99), 2).await, 2);
    let mut compacted = Vec::new();
    for root in roots {
        compacted.push(is_compact(&world, root).await);
    }
    same("which", compacted, [false, true, false, true]);

    same("the rest", compact(&world, t(99), 2).await, 2);
    same("nothing is left", compact(&world, t(99), 2).await, 0);
}

/// Neither younger executions nor open ones lose anything.
async fn other_executions_keep_their_details(world: World) {
    let old = ended_at(&world, t(1)).await;
    let young = ended_at(&world, t(50)).await;
    let open = world.running("checkout").await;
    world.apply(open.keep().with(world.inline("render", "note")).say(progress(world.id(), "on"))).await;
    let (tasks, notes) = (world.timeline(young.execution()).await, world.notes(young).await);
    let (open_tasks, open_notes) =
        (world.timeline(open.task.tree.execution).await, world.notes(open.task.id).await);

    same("compacted", compact(&world, t(10), 9).await, 1);

    same("the old one", is_compact(&world, old).await, true);
    same(
        "the young one",
        (world.timeline(young.execution()).await, world.notes(young).await),
        (tasks, notes),
    );
    let left = (world.timeline(open.task.tree.execution).await, world.notes(open.task.id).await);
    same("the open one", left, (open_tasks, open_notes));
}

/// Steps that were let go are gone; a repeat of the end is still recognized.
async fn a_compacted_execution_takes_no_late_writes(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.keep(), world.call("ship")).await;
    world.apply(later(&root, 1, 0).complete("summary").cancel(step.task.id).at(t(1))).await;
    same("compacted", compact(&world, t(2), 9).await, 1);
    let before = world.notes(root.task.id).await;

    same("a late step", world.commit(step.complete("late").say(count("a", 1))).await, Outcome::Gone);
    already(world.commit(later(&root, 1, 0).complete("summary").say(count("a", 1))).await);
    same("a late turn", world.commit(later(&root, 2, 0).keep().say(count("a", 1))).await, Outcome::Gone);

    same("notes", world.notes(root.task.id).await, before);
}

/// A compaction is durable like every write.
async fn a_compaction_outlives_a_crash(world: World) {
    let root = ended_at(&world, t(1)).await;
    same("compacted", compact(&world, t(2), 9).await, 1);
    let before = world.notes(root).await;

    let world = world.crash().await;

    same("notes", world.notes(root).await, before);
    same("compact", is_compact(&world, root).await, true);
    same("compacted again", compact(&world, t(2), 9).await, 0);
}

/// Together they compact everything; no step is counted twice.
async fn handles_that_compact_at_once_count_each_once(world: World) {
    let mut roots = Vec::new();
    for n in 0..20 {
        roots.push(ended_at(&world, t(n)).await);
    }

    let compacted = at_once(&world, 4, |peer, _| async move {
        let mut compacted = 0;
        loop {
            match compact(&peer, t(99), 3).await {
                0 => return compacted,
                some => compacted += some,
            }
        }
    })
    .await;

    same("compacted in all", compacted.into_iter().sum::<u32>(), 20);
    for root in roots {
        let expected = alike(StepKind::Inline, "render", TaskStatus::Completed, 1);
        same("summary", summary(&world, root).await, [expected].into());
    }
}

/// There are no steps to summarize, but details to delete.
async fn counters_and_states_stay_where_no_steps_are(world: World) {
    let root = world.running("charge").await;
    let turn = root.release().say(count("parcels", 3)).say(set("phase", "over"));
    world.apply(turn.say(progress(world.id(), "on"))).await;
    world.apply(world.claim_one(t(0)).await.complete("receipt").at(t(1))).await;
    let before = world.notes(root.task.id).await;

    same("compacted", compact(&world, t(2), 9).await, 1);

    let after = world.notes(root.task.id).await;
    same("counters and states", (after.counters, after.states), (before.counters, before.states));
    same("progress", after.progress, Vec::new());
    same("nothing to sum up", after.summary, Vec::new());
    same("ended claims", world.ended_claims(root.task.id).await, Vec::new());
    same("result", world.result(root.task.id).await, Some(Ok(text("receipt"))));
    same("compacted again", compact(&world, t(2), 9).await, 0);
}

async fn names_of_any_text_are_summed_up(world: World) {
    let names = ["a", "a/b", "a/", "/", "b/completed", "inline/a", "a b", "%", "'\"", "é", "e\u{301}", "A"];
    let root = world.running("checkout").await;
    let turn =
        names.iter().fold(root.complete("summary"), |turn, name| turn.with(world.inline(name, "note")));
    world.apply(turn.at(t(1))).await;

    same("compacted", compact(&world, t(2), 9).await, 1);

    let expected = names.map(|name| alike(StepKind::Inline, name, TaskStatus::Completed, 1));
    same("summary", summary(&world, root.task.id).await, expected.into());
}
