//! Calls of unknown fate: dropped in the middle, then sent again.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use super::words::*;

list! { fate:
    G3 a_dropped_dispatch_sent_again_starts_once,
    G3 a_dropped_batch_sent_again_converges,
    G2 a_claim_that_was_dropped_is_due_again,
    G1 a_dropped_commit_is_applied_whole_or_not_at_all,
    G1 a_dropped_batch_is_applied_whole_or_not_at_all,
}

/// Polls a future this many times, with a little other work in between, then drops it. Returns whether it completed.
pub(super) async fn dropped_after<F: Future>(polls: usize, future: F) -> bool {
    let mut future = pin!(future);
    for _ in 0..polls {
        let ended =
            std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await;
        if ended {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

/// Where a call is dropped: before it begins, early, or later; random, so that every point is tested.
fn point(chance: &mut Chance) -> usize {
    if chance.happens(50) { chance.below(4) } else { chance.below(200) }
}

async fn a_dropped_dispatch_sent_again_starts_once(world: World) {
    let mut chance = Chance::new(17);
    for round in 0..60 {
        let start = world.call("charge").start(t(0));
        let polls = point(&mut chance);
        world.note(format_args!("round {round}: dropped after {polls} polls"));
        dropped_after(polls, world.store().exchange(std::slice::from_ref(&start), None)).await;

        let outcome = world.commit(start.clone()).await;

        assert!(outcome.stands(), "a dispatch sent again came to {outcome:?}");
        let claimed = world.claim(9).await;
        same("claimed", claimed.iter().map(|claimed| claimed.task.id).collect::<Vec<_>>(), [start.task()]);
    }
}

async fn a_dropped_batch_sent_again_converges(world: World) {
    let mut chance = Chance::new(23);
    let twin = world.elsewhere().await;
    twin.store().migrate().await.expect("migrate");
    let parent = world.running("checkout").await;
    let of_twin = twin.running("checkout").await;
    let mut batches: Vec<Vec<Transition>> = Vec::new();
    for commits in 0..40 {
        let turn = later(&parent, commits, commits).keep().with(world.inline("render", "note"));
        let others = (0..chance.below(20)).map(|_| world.call("charge").start(t(0)));
        batches.push([turn.into()].into_iter().chain(others).collect());
    }

    for (round, batch) in batches.iter().enumerate() {
        let polls = point(&mut chance);
        world.note(format_args!("round {round}: dropped after {polls} polls"));
        dropped_after(polls, world.store().exchange(batch, None)).await;
        for outcome in world.commit_all(batch.clone()).await {
            assert!(outcome.stands(), "a batch sent again came to {outcome:?}");
        }
    }

    // The twin received every batch once, undisturbed. Its root has another id only if the two worlds diverged.
    same("the twin's root", of_twin.task.id, parent.task.id);
    for batch in batches {
        twin.commit_all(batch).await;
    }
    world.snapshot().await.expect_same("dropped calls left a trace", &twin.snapshot().await);
}

async fn a_claim_that_was_dropped_is_due_again(world: World) {
    let mut chance = Chance::new(29);
    let function = ["charge".to_owned()];
    for round in 0..20_i64 {
        let id = world.dispatch(world.call("charge")).await;
        let request = stent_core::backend::ClaimRequest {
            worker: world.worker,
            nonce: world.nonce(),
            now: t(0),
            until: t(10),
            max: 5,
            functions: &function,
            queues: None,
            tags: &[],
            limits: &[],
            cache: &stent_core::backend::NoStickyCache,
        };
        let polls = point(&mut chance);
        world.note(format_args!("round {round}: dropped after {polls} polls"));
        dropped_after(polls, world.store().exchange(&[], Some(&request))).await;

        // Either it was not claimed, or its lease expires like any other.
        let claimed = world.claim_one(t(10)).await;
        same("claimed", claimed.task.id, id);
        assert!(claimed.lease.epoch.count <= 2, "claimed by nobody in between: {:?}", claimed.lease);
        world.apply(claimed.complete("receipt")).await;
    }
}

async fn a_dropped_commit_is_applied_whole_or_not_at_all(world: World) {
    let mut chance = Chance::new(31);
    for round in 0..40 {
        let parent = world.running("checkout").await;
        let steps: Vec<_> = (0..30).map(|_| world.inline("render", "note")).collect();
        let turn: Transition = steps.into_iter().fold(parent.complete("summary"), Turn::with).into();
        let polls = point(&mut chance);
        world.note(format_args!("round {round}: dropped after {polls} polls"));
        dropped_after(polls, world.store().exchange(std::slice::from_ref(&turn), None)).await;

        // A reader sees all of it or nothing, at any time.
        let timeline = world.timeline(parent.task.tree.execution).await;
        let tasks = timeline.len();
        assert!(
            [1, 31].contains(&tasks),
            "a reader sees {tasks} tasks of a turn that has 30 beside the root"
        );

        assert!(world.commit(turn).await.stands(), "a commit sent again was refused");
        same("number of tasks", world.timeline(parent.task.tree.execution).await.len(), 31);
    }
}

/// One call is one transaction, with any number of transitions: half a batch is a state that no rule produced.
async fn a_dropped_batch_is_applied_whole_or_not_at_all(world: World) {
    let mut chance = Chance::new(37);
    for round in 0..40 {
        let starts: Vec<_> = (0..20).map(|_| world.call("charge").start(t(0))).collect();
        let ids: Vec<_> = starts.iter().map(|start| start.task().execution()).collect();
        let polls = point(&mut chance);
        world.note(format_args!("round {round}: dropped after {polls} polls"));
        dropped_after(polls, world.store().exchange(&starts, None)).await;

        // A reader sees all of it or nothing, at any time.
        let seen = world.store().executions(&ids).await.expect("executions").len();
        assert!([0, 20].contains(&seen), "a reader sees {seen} of a batch that was dropped, which has 20");

        for outcome in world.commit_all(starts).await {
            assert!(outcome.stands(), "a batch sent again came to {outcome:?}");
        }
    }
}
