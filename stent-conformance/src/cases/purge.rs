//! Purging: old executions are deleted whole, and nothing else is.

use stent_core::backend::Purge;
use stent_core::model::Note;

use super::words::*;

list! { purge:
    G16 only_what_ended_before_the_bound_leaves,
    G16 the_oldest_end_leaves_first,
    G16 no_more_leave_than_asked_for,
    G16 an_open_execution_stays_however_old,
    G16 an_execution_leaves_with_all_of_its_tasks,
    G16 other_executions_stay_whole,
    G16 failed_executions_leave_when_dead_letters_are_asked_for,
    G16 dead_letters_leave_only_when_they_are_asked_for,
    G16 what_ended_otherwise_leaves_with_executions,
    G16 each_kind_has_its_own_bound,
    G16 signals_leave_with_their_execution,
    G16 compacting_keeps_the_root_and_sums_up_the_rest,
    G16 compacting_keeps_counters_and_states,
    G16 compacting_respects_its_bounds,
    G16 compacting_again_finds_nothing,
    G16 open_executions_and_dead_letters_are_not_compacted,
    G16 a_compacted_execution_can_be_joined_and_purged,
    G16 purging_again_finds_nothing,
    G7 a_purged_task_is_gone,
    G16 handles_that_purge_at_once_count_each_execution_once,
}

/// An execution that ended at this moment.
async fn ended_at(world: &World, moment: Timestamp) -> TaskId {
    let claimed = world.running("charge").await;
    world.apply(claimed.complete("receipt").at(moment)).await;
    claimed.task.id
}

async fn only_what_ended_before_the_bound_leaves(world: World) {
    let before = ended_at(&world, t(9)).await;
    let on = ended_at(&world, t(10)).await;
    let after = ended_at(&world, t(11)).await;

    same("purged", world.purge(t(10), 99).await, 1);

    same("ended before", world.execution(before).await, None);
    same("ended on the bound", world.execution(on).await.is_some(), true);
    same("ended after", world.execution(after).await.is_some(), true);
}

async fn the_oldest_end_leaves_first(world: World) {
    let mut ids = Vec::new();
    for second in [5, 2, 8, 1] {
        ids.push(ended_at(&world, t(second)).await);
    }

    same("purged", world.purge(t(99), 2).await, 2);

    let mut left = Vec::new();
    for id in ids {
        left.push(world.execution(id).await.is_some());
    }
    same("which are left", left, [true, false, true, false]);
}

async fn no_more_leave_than_asked_for(world: World) {
    world.dispatch_many(25, || world.call("charge")).await;
    let claimed = world.claim(25).await;
    world.commit_all(claimed.iter().map(|claimed| claimed.complete("receipt"))).await;

    same("purged", world.purge(t(99), 0).await, 0);
    same("purged", world.purge(t(99), 10).await, 10);
    same("purged", world.purge(t(99), 10).await, 10);
    same("purged", world.purge(t(99), 10).await, 5);
}

async fn an_open_execution_stays_however_old(world: World) {
    let parked = world.running("checkout").await;
    world.apply(parked.park_for(Wait::for_next(1)).with(world.inline("render", "note"))).await;
    let retried = world.running("checkout").await;
    world.apply(retried.retry(t(900), declined())).await;
    let running = world.running("checkout").await;
    let pending = world.dispatch(world.call("checkout").due(t(900))).await;
    // Ended steps do not make their execution an ended one.
    world.apply(running.keep().with(world.inline("render", "note"))).await;
    let before = world.snapshot().await;

    same("purged", world.purge(Timestamp::MAX, 99).await, 0);

    world.snapshot().await.expect_same("an open execution was touched", &before);
    same("claimed", world.claim(9).at(t(900)).await.len(), 3);
    world.expect_status(pending, TaskStatus::Running).await;
}

async fn an_execution_leaves_with_all_of_its_tasks(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.keep(), world.call("ship")).await;
    let (below, map) = (world.inline("pack", "packed"), world.map("mail"));
    let (item, detached, map_id) = (world.call("mail"), world.call("audit").due(t(5)), map.id);
    world.apply(step.keep().with(below)).await;
    world.apply(later(&step, 1, 1).complete("parcel")).await;
    let turn = later(&root, 1, 1).keep().with(map).with(detached).items(map_id, [item]);
    world.apply(turn.feed(map_id, 1, Some(1))).await;
    let item = world.claim_one(t(0)).await;
    world.apply(item.complete("sent")).await;
    world.apply(later(&root, 2, 2).complete("summary").at(t(3))).await;

    same("purged", world.purge(t(4), 99).await, 1);

    same("execution", world.execution(root.task.id).await, None);
    same("timeline", world.timeline(root.task.tree.execution).await, Vec::new());
    same("items", world.items(map_id).await, Vec::new());
    same("claimed", world.claim(9).at(t(99)).await.len(), 0);
}

async fn other_executions_stay_whole(world: World) {
    let old = ended_at(&world, t(1)).await;
    let parent = world.running("checkout").await;
    let turn = parent.park_for(Wait::for_next(1)).with(world.inline("render", "note"));
    let step = world.spawn(turn, world.call("ship")).await;
    let young = ended_at(&world, t(50)).await;
    let (open, ended) =
        (world.timeline(parent.task.tree.execution).await, world.timeline(young.execution()).await);

    same("purged", world.purge(t(10), 99).await, 1);

    same("the old one", world.timeline(old.execution()).await, Vec::new());
    same("the open one", world.timeline(parent.task.tree.execution).await, open);
    same("the young one", world.timeline(young.execution()).await, ended);
    world.apply(step.complete("parcel")).await;
    same("steps", world.claim_one(t(0)).await.steps.len(), 2);
}

async fn failed_executions_leave_when_dead_letters_are_asked_for(world: World) {
    let claimed = world.running("charge").await;
    world.apply(claimed.fail(declined())).await;

    same("purged with what ended well", world.purge(t(1), 99).await, 0);
    same("purged", world.purge_of(Purge::DeadLetters, t(1), 99).await, 1);

    same("execution", world.execution(claimed.task.id).await, None);
}

/// One execution of each end: completed, cancelled, timed out, discarded, failed.
async fn all_kinds(world: &World) -> [TaskId; 5] {
    let completed = ended_at(world, t(1)).await;
    let cancelled = world.dispatch(world.call("charge")).await;
    world.apply(cancel(cancelled, 1, t(1))).await;
    let over = world.dispatch(world.call("charge").due(t(99)).expires(t(1))).await;
    world.expire_all(t(1)).await;
    let discarded = world.running("charge").await;
    world.apply(discarded.fail(declined()).at(t(1))).await;
    world.apply(discard(discarded.task.id).at(t(50))).await;
    let failed = world.running("charge").await;
    world.apply(failed.fail(declined()).at(t(1))).await;
    [completed, cancelled, over, discarded.task.id, failed.task.id]
}

async fn left(world: &World, ids: &[TaskId]) -> Vec<bool> {
    let mut left = Vec::new();
    for id in ids {
        left.push(world.execution(*id).await.is_some());
    }
    left
}

async fn dead_letters_leave_only_when_they_are_asked_for(world: World) {
    let ids = all_kinds(&world).await;

    same("purged", world.purge_of(Purge::DeadLetters, t(2), 99).await, 1);

    same("which are left", left(&world, &ids).await, [true, true, true, true, false]);
    same("listed", world.dead_letters().await, Vec::new());
}

async fn what_ended_otherwise_leaves_with_executions(world: World) {
    let ids = all_kinds(&world).await;

    same("purged", world.purge_of(Purge::Executions, t(2), 99).await, 4);

    same("which are left", left(&world, &ids).await, [false, false, false, false, true]);
    same("listed", world.dead_letters().await.len(), 1);
}

async fn each_kind_has_its_own_bound(world: World) {
    for second in 0..6 {
        let claimed = world.running("charge").await;
        let end = if second % 2 == 0 { claimed.complete("receipt") } else { claimed.fail(declined()) };
        world.apply(end.at(t(second))).await;
    }

    // Executions of the other kind, however old, do not count against the bound.
    same("dead letters", world.purge_of(Purge::DeadLetters, t(99), 2).await, 2);
    same("executions", world.purge_of(Purge::Executions, t(99), 2).await, 2);
    same("dead letters", world.purge_of(Purge::DeadLetters, t(5), 9).await, 0);
    same("dead letters", world.purge_of(Purge::DeadLetters, t(6), 9).await, 1);
    same("executions", world.purge_of(Purge::Executions, t(99), 9).await, 1);
}

async fn signals_leave_with_their_execution(world: World) {
    let root = world.call("checkout");
    let (id, again) = (root.id, root.clone());
    world.apply(root.start(t(0))).await;
    world.signal(id, "approval", "old").await;
    world.apply(world.claim_one(t(0)).await.complete("summary")).await;
    world.purge(t(1), 9).await;

    // The same id again: nothing of its earlier life is left.
    world.apply(again.start(t(2))).await;
    let claimed = world.claim_one(t(2)).await;
    let wait = world.wait(id, "approval");
    same("completions", world.apply(claimed.keep().with(wait)).await.done, 0);
}

/// An execution that ended at this moment, with steps of several kinds, ended claims and notes.
async fn detailed(world: &World, moment: Timestamp) -> TaskId {
    let count = |add| Note::Count { name: "sent".to_owned(), add };
    let entry = |id| Note::Progress { id, text: "sent".to_owned() };
    let root = world.running("checkout").await;
    world.apply(root.release()).await;
    let root = world.claim_one(t(0)).await;
    let step = world.spawn(root.keep().say(count(2)).say(entry(world.id())), world.call("ship")).await;
    world.apply(step.keep().with(world.inline("pack", "packed"))).await;
    world.apply(later(&step, 1, 1).fail(declined())).await;
    let map = world.map("mail");
    let (id, items) = (map.id, (0..3).map(|n| world.call("mail").seq(n)).collect::<Vec<_>>());
    let given_up = world.sleep(t(99));
    let cancelled = given_up.id;
    let turn = later(&root, 1, 1)
        .keep()
        .with(map)
        .items(id, items)
        .feed(id, 3, Some(3))
        .with(given_up)
        .cancel(cancelled);
    let state = Note::Set { name: "phase".to_owned(), value: text("last") };
    world.apply(turn.with(world.inline("render", "1")).with(world.inline("render", "2")).say(state)).await;
    for item in world.claim(3).await {
        world.apply(item.complete("sent").say(count(1))).await;
    }
    world.apply(later(&root, 2, 4).complete("summary").at(moment)).await;
    root.task.id
}

async fn compacting_keeps_the_root_and_sums_up_the_rest(world: World) {
    let id = detailed(&world, t(3)).await;
    let (execution, root) = (world.execution(id).await, world.task(id).await);

    same("compacted", world.purge_of(Purge::Details, t(4), 9).await, 1);

    same("the execution", world.execution(id).await, execution);
    same("its tasks", world.timeline(id.execution()).await, [root]);
    same("its ended claims", world.ended_claims(id).await, Vec::new());
    let notes = world.notes(id).await;
    same("its progress", notes.progress, Vec::new());
    let mut summary: Vec<_> =
        notes.summary.iter().map(|view| (view.kind, view.name.as_str(), view.status, view.count)).collect();
    summary.sort_unstable();
    let mut expected = vec![
        (StepKind::Call, "mail", TaskStatus::Completed, 3),
        (StepKind::Call, "ship", TaskStatus::Failed, 1),
        (StepKind::Inline, "pack", TaskStatus::Completed, 1),
        (StepKind::Inline, "render", TaskStatus::Completed, 2),
        (StepKind::Map, "mail", TaskStatus::Completed, 1),
        (StepKind::Sleep, "sleep", TaskStatus::Cancelled, 1),
    ];
    expected.sort_unstable();
    same("its summary", summary, expected);
}

async fn compacting_keeps_counters_and_states(world: World) {
    let id = detailed(&world, t(3)).await;
    let before = world.notes(id).await;

    world.purge_of(Purge::Details, t(4), 9).await;

    let after = world.crash().await.notes(id).await;
    same("counters", after.counters.clone(), before.counters);
    same("one of them", after.counters.get("sent"), Some(&5));
    same("states", after.states, before.states);
}

async fn compacting_respects_its_bounds(world: World) {
    let mut ids = Vec::new();
    for second in [5, 2, 8, 1] {
        ids.push(detailed(&world, t(second)).await);
    }
    let compacted = async || {
        let mut compacted = Vec::new();
        for id in &ids {
            compacted.push(world.timeline(id.execution()).await.len() == 1);
        }
        compacted
    };

    same("none asked for", world.purge_of(Purge::Details, t(99), 0).await, 0);
    same("none old enough", world.purge_of(Purge::Details, t(1), 9).await, 0);
    same("two", world.purge_of(Purge::Details, t(99), 2).await, 2);
    same("the oldest ends", compacted().await, [false, true, false, true]);
    same("before the bound", world.purge_of(Purge::Details, t(8), 9).await, 1);
    same("all but the last", compacted().await, [true, true, false, true]);
}

async fn compacting_again_finds_nothing(world: World) {
    let id = detailed(&world, t(3)).await;
    let other = detailed(&world, t(4)).await;
    same("compacted", world.purge_of(Purge::Details, t(9), 1).await, 1);
    let notes = world.notes(id).await;

    // Executions that are already compacted do not use up the bound.
    same("compacted", world.purge_of(Purge::Details, t(9), 1).await, 1);
    same("compacted", world.purge_of(Purge::Details, t(9), 1).await, 0);

    same("the summary of the one", world.notes(id).await, notes.clone());
    same("and of the other", world.notes(other).await.summary, notes.summary);
}

async fn open_executions_and_dead_letters_are_not_compacted(world: World) {
    let parked = world.running("checkout").await;
    world.apply(parked.park_for(wait_for(9)).with(world.inline("render", "note"))).await;
    let dead = world.running("checkout").await;
    world.apply(dead.fail(declined()).with(world.inline("render", "note")).at(t(1))).await;
    let before = world.snapshot().await;

    same("compacted", world.purge_of(Purge::Details, t(99), 9).await, 0);

    world.snapshot().await.expect_same("something was compacted", &before);
    world.apply(discard(dead.task.id)).await;
    same("once it is discarded", world.purge_of(Purge::Details, t(99), 9).await, 1);
}

async fn a_compacted_execution_can_be_joined_and_purged(world: World) {
    let id = detailed(&world, t(3)).await;
    world.purge_of(Purge::Details, t(9), 9).await;

    let root = world.running("audit").await;
    let join = world.join(id);
    let joined = join.id;
    let news = world.apply(root.keep().with(join)).await;
    same("joined", given(&news.steps, joined), Some(Ok(text("summary"))));

    same("purged", world.purge(t(9), 9).await, 1);
    same("the execution", world.execution(id).await, None);
    same("its notes", world.notes(id).await, Default::default());
}

async fn purging_again_finds_nothing(world: World) {
    same("purged from an empty store", world.purge(Timestamp::MAX, 99).await, 0);
    ended_at(&world, t(1)).await;

    same("purged", world.purge(t(10), 99).await, 1);
    same("purged again", world.purge(t(10), 99).await, 0);
}

async fn a_purged_task_is_gone(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.keep(), world.call("ship")).await;
    world.apply(later(&root, 1, 0).complete("summary")).await;
    world.purge(t(1), 1).await;

    // A step that was let go of still runs: its execution no longer exists.
    same("a late result", world.commit(step.complete("parcel")).await, Outcome::Gone);
    same("a repeated end", world.commit(later(&root, 1, 0).complete("summary")).await, Outcome::Gone);
    let answers = world.store().renew(&[step.lease], t(0), t(500)).await.expect("renew");
    same("renewal", answers, [Renewal::Lost]);
}

async fn handles_that_purge_at_once_count_each_execution_once(world: World) {
    world.dispatch_many(60, || world.call("charge")).await;
    let claimed = world.claim(60).await;
    world.commit_all(claimed.iter().map(|claimed| claimed.complete("receipt"))).await;

    let mut purges = Vec::new();
    for _ in 0..4 {
        let peer = world.peer().await;
        purges.push(tokio::spawn(async move {
            let mut purged = 0;
            loop {
                match peer.purge(t(99), 7).await {
                    0 => return purged,
                    some => purged += some,
                }
            }
        }));
    }
    let mut purged = 0;
    for purge in purges {
        purged += purge.await.expect("a purge ends");
    }

    same("purged in all", purged, 60);
}
