//! Many handles at once: everything happens once, in whatever order.

use std::collections::BTreeSet;
use std::sync::Arc;

use stent_core::model::{Epoch, Fence, Nonce, Tree};
use stent_core::transition::{Commit, Next};

use super::words::*;

list! { race:
    G2 every_task_is_claimed_once,
    G9 claimers_at_once_leave_nothing_behind,
    G3 one_of_many_dispatches_of_an_id_starts_it,
    G3 one_of_many_ends_wins,
    G2 a_renewal_and_a_claim_cannot_both_have_the_task,
    G2 one_of_many_claimers_gets_a_lost_task,
    G4 completions_at_once_are_numbered_without_gaps,
    G4 completions_interleave_with_the_parents_own_turns,
    G1 batches_at_once_are_applied_whole,
    G5 workers_that_do_everything_at_once_finish_everything,
}

async fn every_task_is_claimed_once(world: World) {
    let ids = world.dispatch_many(400, || world.call("charge")).await;

    let claimed = at_once(&world, 8, |peer, n| async move {
        let mut mine = Vec::new();
        loop {
            let claimed = peer.claim(1 + n * 3).await;
            if claimed.is_empty() {
                return mine;
            }
            assert!(claimed.iter().all(|claimed| claimed.lease.epoch.count == 1), "a second claim");
            mine.extend(claimed.iter().map(|claimed| claimed.task.id));
        }
    })
    .await;

    let mut all: Vec<_> = claimed.into_iter().flatten().collect();
    all.sort_unstable();
    same("claimed in all", all, ids);
}

async fn claimers_at_once_leave_nothing_behind(world: World) {
    for _ in 0..10 {
        world.dispatch_many(40, || world.call("charge")).await;

        // Together they ask for as many tasks as there are; none may get too few because another claim read the same rows.
        let claimed = at_once(&world, 4, |peer, _| async move { peer.claim(10).await.len() }).await;

        let rest = world.claim(99).await.len();
        same("claimed at once and after", claimed.iter().sum::<usize>() + rest, 40);
    }
}

async fn one_of_many_dispatches_of_an_id_starts_it(world: World) {
    for _ in 0..10 {
        let start = world.call("charge").start(t(0));

        let outcomes = at_once(&world, 6, |peer, _| {
            let start = start.clone();
            async move { peer.commit(start).await }
        })
        .await;

        let applied = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Applied(_))).count();
        let known = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Already(_))).count();
        same("applied and already there", (applied, known), (1, 5));
        same("claimed", world.claim(9).await.len(), 1);
    }
}

async fn one_of_many_ends_wins(world: World) {
    for _ in 0..10 {
        let claimed = world.running("charge").await;

        let outcomes = at_once(&world, 6, |peer, _| {
            let end = claimed.complete("receipt");
            async move { peer.commit(end).await }
        })
        .await;

        let applied = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Applied(_))).count();
        same("applied", applied, 1);
        assert!(outcomes.iter().all(Outcome::stands), "a repeat was refused: {outcomes:?}");
    }
}

async fn a_renewal_and_a_claim_cannot_both_have_the_task(world: World) {
    for _ in 0..20 {
        let claimed = world.running("charge").await;

        let got = at_once(&world, 2, |peer, n| {
            let lease = claimed.lease;
            async move {
                if n == 0 {
                    peer.store().renew(&[lease], t(0), t(900)).await.expect("renew")[0] == Renewal::Renewed
                } else {
                    !peer.claim(1).at(t(30)).lease(870).await.is_empty()
                }
            }
        })
        .await;

        // The claim may come second and find the lease renewed, or come first and get the task; if a renewal came first and a
        // claim still succeeded, there would be two holders.
        let holders = got.iter().filter(|got| **got).count();
        same("holders", holders, 1);
        let (winner, loser) = if got[0] { (2, 1) } else { (1, 2) };
        let outcome = world.commit(claimed.complete("receipt")).await;
        same("the old holder writes", outcome.stands(), winner > loser);
        if !got[0] {
            let rest = world.claim_one(t(900)).await;
            world.apply(rest.complete("receipt")).await;
        }
    }
}

async fn one_of_many_claimers_gets_a_lost_task(world: World) {
    let id = world.dispatch(world.call("charge")).await;
    for round in 0..15 {
        let claimed = at_once(&world, 5, |peer, _| async move {
            peer.claim(1)
                .at(t(30 * round))
                .lease(30)
                .await
                .first()
                .map(|claimed| (claimed.task.id, claimed.lease.epoch.count))
        })
        .await;

        let claimed: Vec<_> = claimed.into_iter().flatten().collect();
        let epoch = u32::try_from(round).expect("a small number") + 1;
        same("claimed", claimed, [(id, epoch)]);
    }
}

async fn completions_at_once_are_numbered_without_gaps(world: World) {
    const STEPS: u32 = 120;
    let parent = world.running("checkout").await;
    let steps: Vec<_> = (0..STEPS).map(|_| world.call("ship")).collect();
    let wait = Wait { done: STEPS, until: None, maps: Vec::new() };
    world.apply(steps.into_iter().fold(parent.park_for(wait), Turn::with)).await;

    at_once(&world, 6, |peer, n| async move {
        let steps = peer.claim(20).await;
        for batch in steps.chunks(1 + n) {
            for outcome in peer.commit_all(batch.iter().map(|step| step.complete("parcel"))).await {
                applied(outcome);
            }
        }
    })
    .await;

    let woken = world.claim_one(t(0)).await;
    let numbers: Vec<_> = woken.steps.iter().filter_map(Step::order).collect();
    same("numbers", numbers, (1..=STEPS).collect::<Vec<_>>());
    let ids: BTreeSet<_> = woken.steps.iter().map(|step| step.id).collect();
    same("steps", ids.len(), STEPS as usize);
}

async fn completions_interleave_with_the_parents_own_turns(world: World) {
    const STEPS: usize = 40;
    let parent = world.running("checkout").await;
    let steps: Vec<_> = (0..STEPS).map(|_| world.call("ship")).collect();
    world.apply(steps.into_iter().fold(parent.keep(), Turn::with)).await;
    let steps = world.claim(STEPS).await;

    // The parent records closures while others complete its steps; the completions that it receives add up to the
    // record.
    let told = at_once(&world, 2, |peer, n| {
        let (parent, steps) = (parent.clone(), steps.clone());
        async move {
            let mut told: Vec<(u32, TaskId)> = Vec::new();
            if n == 0 {
                for step in steps {
                    peer.apply(step.complete("parcel")).await;
                }
                return told;
            }
            let mut seen = 0;
            for commits in 1..=30 {
                let note = peer.inline("render", "note");
                let own = note.id;
                let news = peer.apply(later(&parent, commits, seen).keep().with(note)).await;
                if news.steps.is_empty() {
                    same("completions without news", news.done, seen + 1);
                    told.push((news.done, own));
                } else {
                    told.extend(news.steps.iter().map(|step| (step.order().expect("is done"), step.id)));
                }
                seen = news.done;
            }
            told
        }
    })
    .await
    .remove(1);

    let again = world.claim_one(t(30)).await;
    let recorded: Vec<_> = again.steps.iter().filter_map(|step| Some((step.order()?, step.id))).collect();
    same("recorded", recorded.len(), STEPS + 30);
    same("told", &told[..], &recorded[..told.len()]);
}

async fn batches_at_once_are_applied_whole(world: World) {
    let sizes = at_once(&world, 5, |peer, n| async move {
        let mut written = Vec::new();
        for _ in 0..10 {
            let root = peer.call("charge").leased(t(0), peer.worker, t(30));
            let id = root.id;
            // A batch that dispatches a task and commits steps of it: readers see all of it or none.
            let fence = Fence { task: id, epoch: Epoch::new(1, Nonce::new(1)), commit: 0 };
            let mut keep = Commit::new(fence, Tree::root(id.execution()), None, t(0), Next::Keep);
            let tree = Tree::step(id.execution(), id);
            keep.insert.extend((0..n + 2).map(|_| peer.inline("render", "note").placed(tree)));
            let outcomes = peer.commit_all([root.start(t(0)), keep.into()]).await;
            outcomes.into_iter().for_each(|outcome| drop(applied(outcome)));
            written.push((id, n + 3));
        }
        written
    })
    .await;

    for (id, size) in sizes.into_iter().flatten() {
        same("tasks of the execution", world.timeline(id.execution()).await.len(), size);
    }
}

async fn workers_that_do_everything_at_once_finish_everything(world: World) {
    const EXECUTIONS: usize = 30;
    const STEPS: u32 = 3;
    let ids = world.dispatch_many(EXECUTIONS, || world.call("checkout")).await;

    let executions: Arc<[_]> = ids.iter().map(|id| id.execution()).collect();
    let ended = at_once(&world, 5, |peer, _| {
        let executions = Arc::clone(&executions);
        async move {
            let mut ended = 0;
            loop {
                // The same moment for all; leases never expire, so nothing may run twice.
                let claimed = peer.claim(4).functions(["checkout", "ship"]).lease(9_999).await;
                if claimed.is_empty() {
                    let views = peer.store().executions(&executions).await.expect("a read");
                    if views.iter().all(|view| view.status.is_terminal()) {
                        return ended;
                    }
                }
                let mut turns = Vec::new();
                for task in &claimed {
                    same("claims without progress", task.task.uncommitted_claims, 1);
                    turns.push(match task.task.lane.function.as_str() {
                        "ship" => task.complete("parcel"),
                        _ if task.task.done == STEPS => {
                            ended += 1;
                            task.complete("summary")
                        }
                        _ => task.park().with(peer.call("ship")),
                    });
                }
                for outcome in peer.commit_all(turns).await {
                    applied(outcome);
                }
            }
        }
    })
    .await;

    same("ended", ended.iter().sum::<usize>(), EXECUTIONS);
    for id in ids {
        world.expect_status(id, TaskStatus::Completed).await;
        same("tasks", world.timeline(id.execution()).await.len(), 1 + STEPS as usize);
    }
}
