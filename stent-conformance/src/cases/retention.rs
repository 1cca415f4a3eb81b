//! Each kind of purge deletes its data and leaves everything else.

use stent_core::Key;
use stent_core::backend::{NotesView, Purge, PurgeRequest};

use super::words::*;
use crate::say::{count, progress, set};

list! { retention:
    G16 a_dead_letter_that_was_seen_to_leaves_with_the_executions,
    G16 a_dead_letter_that_was_redriven_stays,
    G16 a_redriven_one_that_fails_again_is_measured_by_its_new_end,
    G16 dead_letters_leave_oldest_first_within_the_bound,
    G16 open_executions_stay_whatever_is_purged,
    G16 one_that_is_asked_to_end_stays_until_it_has,
    G16 all_that_is_kept_of_an_execution_leaves_with_it,
    G16 a_dead_letter_leaves_with_its_history,
    G16 a_dispatch_key_of_another_stays,
    G16 signals_of_another_stay,
    G12 results_outlive_the_execution_that_gave_them,
    G16 results_leave_oldest_first_within_the_bound,
    G16 a_result_that_is_waited_for_stays,
    G16 purging_results_leaves_executions_alone,
    G12 a_purged_result_is_asked_for_anew,
    G16 what_is_purged_stays_purged_after_a_crash,
    G16 handles_that_purge_results_at_once_count_each_once,
}

const KINDS: [Purge; 4] = [Purge::Executions, Purge::DeadLetters, Purge::Details, Purge::Results];

/// Claims a task of this function, whatever else is due.
async fn claim(world: &World, function: &str) -> Claimed {
    let id = world.dispatch(world.call(function)).await;
    let claimed = world.claim(99).functions([function]).await;
    claimed.into_iter().find(|claimed| claimed.task.id == id).expect("what was dispatched is due")
}

async fn completed(world: &World, at: Timestamp) -> TaskId {
    let claimed = claim(world, "charge").await;
    world.apply(claimed.complete("receipt").at(at)).await;
    claimed.task.id
}

async fn failed(world: &World, at: Timestamp) -> TaskId {
    let claimed = claim(world, "charge").await;
    world.apply(claimed.fail(declined()).at(at)).await;
    claimed.task.id
}

async fn is_there(world: &World, ids: &[TaskId]) -> Vec<bool> {
    let mut there = Vec::new();
    for id in ids {
        there.push(world.execution(*id).await.is_some());
    }
    there
}

/// A step with this key produces a result at a moment; its execution ends with it.
async fn result_of(world: &World, name: &str, ttl: Option<u64>, at: Timestamp) -> TaskId {
    let parent = claim(world, "checkout").await;
    let step = world.call("charge").keyed(key(name));
    let step = if let Some(ttl) = ttl { step.ttl(ttl) } else { step };
    let id = step.id;
    world.apply(parent.keep().with(step)).await;
    let steps = world.claim(9).functions(["charge"]).await;
    let step = steps.into_iter().find(|step| step.task.id == id).expect("the step is due");
    world.apply(step.complete(name).at(at)).await;
    world.apply(later(&parent, 1, 1).complete("summary").at(at)).await;
    parent.task.id
}

/// Whether equal calls get a kept result at a moment.
async fn is_kept(world: &World, name: &str, at: Timestamp) -> bool {
    let parent = claim(world, "checkout").await;
    let step = world.call("charge").keyed(key(name)).due(t(9_000));
    let id = step.id;
    let news = world.apply(parent.keep().with(step).at(at)).await;
    let kept = given(&news.steps, id) == Some(Ok(text(name)));
    // The step that asked is gone.
    world.apply(later(&parent, 1, news.done).complete("summary").cancel(id).at(t(9_999))).await;
    kept
}

/// A discarded dead letter is a failed execution like any other.
async fn a_dead_letter_that_was_seen_to_leaves_with_the_executions(world: World) {
    let id = failed(&world, t(1)).await;
    world.apply(discard(id)).await;

    same("dead letters", world.purge_of(Purge::DeadLetters, t(99), 9).await, 0);
    same("executions", world.purge_of(Purge::Executions, t(99), 9).await, 1);

    same("what is left", is_there(&world, &[id]).await, [false]);
}

/// A redriven execution is open again, whatever its first end was.
async fn a_dead_letter_that_was_redriven_stays(world: World) {
    let id = failed(&world, t(1)).await;
    world.apply(redrive(id)).await;

    for what in KINDS {
        same(&format!("{what:?}"), world.purge_of(what, t(99), 9).await, 0);
    }
    world.apply(world.claim_one(t(0)).await.complete("at last").at(t(50))).await;

    same("by its first end", world.purge_of(Purge::Executions, t(50), 9).await, 0);
    same("by its last end", world.purge_of(Purge::Executions, t(51), 9).await, 1);
}

/// Its age counts from its last failure.
async fn a_redriven_one_that_fails_again_is_measured_by_its_new_end(world: World) {
    let id = failed(&world, t(1)).await;
    world.apply(redrive(id)).await;
    world.apply(world.claim_one(t(0)).await.fail(declined()).at(t(50))).await;

    same("by its first end", world.purge_of(Purge::DeadLetters, t(50), 9).await, 0);
    same("by its last end", world.purge_of(Purge::DeadLetters, t(51), 9).await, 1);
}

/// The bounds in time and number apply to dead letters; other executions between them do not count.
async fn dead_letters_leave_oldest_first_within_the_bound(world: World) {
    let mut ids = Vec::new();
    for second in [5, 2, 10, 8, 1] {
        ids.push(failed(&world, t(second)).await);
        completed(&world, t(second)).await;
    }

    same("none", world.purge_of(Purge::DeadLetters, t(10), 0).await, 0);
    same("purged", world.purge_of(Purge::DeadLetters, t(10), 2).await, 2);
    same("what is left", is_there(&world, &ids).await, [true, false, true, true, false]);
    same("purged", world.purge_of(Purge::DeadLetters, t(10), 9).await, 2);
    same("what is left", is_there(&world, &ids).await, [false, false, true, false, false]);
    same("others", world.purge_of(Purge::Executions, t(99), 9).await, 5);
}

/// No kind of purge touches an open execution, whatever its steps have.
async fn open_executions_stay_whatever_is_purged(world: World) {
    let parked = claim(&world, "checkout").await;
    let turn = parked.keep().with(world.inline("render", "note")).say(count("a", 1));
    world.apply(turn.say(set("b", "c")).say(progress(world.id(), "on"))).await;
    let wait = world.wait(parked.task.id, "approval");
    world.apply(later(&parked, 1, 1).park().with(wait)).await;
    let retried = claim(&world, "charge").await;
    world.apply(retried.retry(t(900), declined())).await;
    let running = claim(&world, "charge").await;
    let failing = world.call("ship");
    world.apply(running.keep().with(failing)).await;
    world.apply(world.claim(1).functions(["ship"]).await[0].fail(declined())).await;
    world.dispatch(world.call("charge").due(t(900)).expires(t(5))).await;
    let before = world.snapshot().await;

    for what in KINDS {
        let request = PurgeRequest { what, before: Timestamp::MAX, now: t(9_999), max: 99 };
        same(&format!("{what:?}"), world.purge_as(request).await, 0);
    }

    world.snapshot().await.expect_same("an open execution was touched", &before);
}

/// A cancelling execution is open.
async fn one_that_is_asked_to_end_stays_until_it_has(world: World) {
    let root = claim(&world, "checkout").await;
    world.apply(cancel(root.task.id, 60, t(1))).await;
    let before = world.snapshot().await;

    for what in KINDS {
        same(&format!("{what:?}"), world.purge_of(what, Timestamp::MAX, 99).await, 0);
    }
    world.snapshot().await.expect_same("it was touched", &before);
    world.apply(root.complete("tidy").at(t(2))).await;

    same("once it has ended", world.purge_of(Purge::Executions, t(3), 99).await, 1);
}

/// Steps, items, ended claims, notes: nothing of the execution can be read any more.
async fn all_that_is_kept_of_an_execution_leaves_with_it(world: World) {
    let root = claim(&world, "checkout").await;
    let map = world.gather("mail");
    let (map_id, item) = (map.id, world.call("mail"));
    let turn = root.keep().with(map).items(map_id, [item]).feed(map_id, 1, Some(1)).say(set("b", "c"));
    world.apply(turn.say(count("a", 1)).say(progress(world.id(), "on"))).await;
    let item = world.claim_one(t(0)).await;
    world.apply(item.fail(declined()).say(count("a", 1))).await;
    world.apply(later(&root, 1, 1).release()).await;
    world.apply(world.claim_one(t(0)).await.complete("summary").at(t(1))).await;

    same("purged", world.purge(t(2), 9).await, 1);

    same("timeline", world.timeline(root.task.tree.execution).await, Vec::new());
    same("items", world.items(map_id).await, Vec::new());
    same(
        "ended claims",
        (world.ended_claims(root.task.id).await, world.ended_claims(item.task.id).await),
        (Vec::new(), Vec::new()),
    );
    same("notes", world.notes(root.task.id).await, NotesView::default());
    same("count", world.store().count(usize::MAX).await.expect("count"), [].into());
}

/// A purged dead letter is in no list.
async fn a_dead_letter_leaves_with_its_history(world: World) {
    let (old, young) = (failed(&world, t(1)).await, failed(&world, t(50)).await);

    same("purged", world.purge_of(Purge::DeadLetters, t(10), 9).await, 1);

    let left: Vec<_> = world.dead_letters().await.iter().map(|letter| letter.execution.id).collect();
    same("dead letters", left, [young.execution()]);
    same("by its id", world.store().dead_letter(old.execution()).await.expect("dead letter"), None);
    same("counted", world.store().dead_letter_stats(usize::MAX).await.expect("stats")[0].count, 1);
    same("ended claims", world.ended_claims(old).await, Vec::new());
    same("redriven", world.commit(redrive(old)).await, Outcome::Gone);
}

/// Compaction keeps the key together with the execution; so does purging another execution.
async fn a_dispatch_key_of_another_stays(world: World) {
    let key = Key::of_dispatch("charge", "order 7");
    world.apply(world.call("charge").start_under(Some(key), t(0))).await;
    let first = world.claim_one(t(0)).await;
    world.apply(first.complete("receipt").with(world.inline("render", "note")).at(t(50))).await;
    completed(&world, t(1)).await;

    same("purged", world.purge(t(10), 9).await, 1);
    same("compacted", world.purge_of(Purge::Details, t(99), 9).await, 1);
    same("results", world.purge_of(Purge::Results, t(99), 9).await, 0);

    let again = world.commit(world.call("charge").start_under(Some(key), t(60))).await;
    same("outcome", again, Outcome::Exists(first.task.tree.execution));
}

/// A value that waits for its function survives the purge and the compaction of other executions.
async fn signals_of_another_stay(world: World) {
    let root = claim(&world, "checkout").await;
    world.signal(root.task.id, "approval", "yes").await;
    completed(&world, t(1)).await;

    for what in KINDS {
        world.purge_of(what, Timestamp::MAX, 99).await;
    }

    let wait = world.wait(root.task.id, "approval");
    let id = wait.id;
    same("value", given(&world.apply(root.keep().with(wait)).await.steps, id), Some(Ok(text("yes"))));
}

/// The result under a key serves others, whether the execution that produced it still exists or not.
async fn results_outlive_the_execution_that_gave_them(world: World) {
    let giver = result_of(&world, "order 7", None, t(1)).await;

    same("compacted", world.purge_of(Purge::Details, t(2), 9).await, 1);
    same("kept when its giver is compacted", is_kept(&world, "order 7", t(3)).await, true);
    same("purged", world.purge(t(2), 9).await, 1);

    same("the giver", is_there(&world, &[giver]).await, [false]);
    same("kept when its giver is gone", is_kept(&world, "order 7", t(3)).await, true);
}

/// If there are too many, the oldest.
async fn results_leave_oldest_first_within_the_bound(world: World) {
    for (name, second) in [("c", 5), ("b", 2), ("d", 8), ("a", 1)] {
        result_of(&world, name, None, t(second)).await;
    }

    same("none", world.purge_of(Purge::Results, t(99), 0).await, 0);
    same("purged", world.purge_of(Purge::Results, t(99), 2).await, 2);

    let mut kept = Vec::new();
    for name in ["a", "b", "c", "d"] {
        kept.push(is_kept(&world, name, t(20)).await);
    }
    same("kept", kept, [false, false, true, true]);
}

/// A key whose holder is still running has no result yet, and so no age.
async fn a_result_that_is_waited_for_stays(world: World) {
    let parent = claim(&world, "checkout").await;
    let step = world.spawn(parent.keep(), world.call("charge").keyed(key("order 7")).ttl(1)).await;
    let waiter = claim(&world, "checkout").await;
    world.apply(waiter.park().with(world.call("charge").keyed(key("order 7")))).await;

    let request = PurgeRequest { what: Purge::Results, before: Timestamp::MAX, now: t(9_999), max: 99 };
    same("purged", world.purge_as(request).await, 0);

    world.apply(step.complete("receipt")).await;
    same("woken", world.claim_one(t(0)).await.task.id, waiter.task.id);
}

/// Neither the executions that produced the results nor those that used them.
async fn purging_results_leaves_executions_alone(world: World) {
    result_of(&world, "order 7", None, t(1)).await;
    failed(&world, t(1)).await;
    let before = world.snapshot().await;

    same("purged", world.purge_of(Purge::Results, t(99), 9).await, 1);

    world.snapshot().await.expect_same("an execution was touched", &before);
}

/// The next equal call does the work, and its result is kept again.
async fn a_purged_result_is_asked_for_anew(world: World) {
    result_of(&world, "order 7", None, t(1)).await;
    same("purged", world.purge_of(Purge::Results, t(99), 9).await, 1);

    let parent = claim(&world, "checkout").await;
    let step = world.spawn(parent.keep(), world.call("charge").keyed(key("order 7"))).await;
    world.apply(step.complete("order 7").at(t(5))).await;

    same("kept", is_kept(&world, "order 7", t(6)).await, true);
}

/// A purge is durable like every write.
async fn what_is_purged_stays_purged_after_a_crash(world: World) {
    result_of(&world, "order 7", None, t(1)).await;
    let ids = [completed(&world, t(1)).await, failed(&world, t(1)).await, completed(&world, t(50)).await];
    for what in [Purge::Executions, Purge::DeadLetters, Purge::Results] {
        world.purge_of(what, t(10), 99).await;
    }

    let world = world.crash().await;

    same("what is left", is_there(&world, &ids).await, [false, false, true]);
    same("the result", is_kept(&world, "order 7", t(60)).await, false);
}

/// Together they purge everything, and each counts what it has purged itself.
async fn handles_that_purge_results_at_once_count_each_once(world: World) {
    for n in 0..20 {
        result_of(&world, &n.to_string(), None, t(n)).await;
    }

    let purged = at_once(&world, 4, |peer, _| async move {
        let mut purged = 0;
        loop {
            match peer.purge_of(Purge::Results, t(99), 3).await {
                0 => return purged,
                some => purged += some,
            }
        }
    })
    .await;

    same("purged in all", purged.into_iter().sum::<u32>(), 20);
}
