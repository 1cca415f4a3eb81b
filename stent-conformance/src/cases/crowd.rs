//! Many handles that contend: their answers add up, in whatever order they came.
//!
//! A store that reads, decides and writes without locking what it has read passes most rounds of these cases. Therefore each
//! case has enough rounds to hit the gap, on handles that are connected before a round starts.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use stent_core::backend::{Purge, PurgeRequest, Topic};
use stent_core::model::{Mark, Marks};
use tokio::sync::watch;

use super::words::*;

list! { crowd:
    G2 what_is_dispatched_and_claimed_at_once_is_claimed_once,
    G2 ends_and_claims_in_one_exchange_add_up,
    G2 of_many_leases_each_is_renewed_or_lost,
    G3 a_late_commit_and_a_claim_cannot_both_count,
    G3 of_many_repeats_at_once_one_is_applied,
    G1 batches_that_meet_in_other_orders_all_end,
    G1 siblings_that_end_in_other_orders_all_count,
    G5 parking_on_a_map_races_with_its_last_items,
    G5 a_hint_of_ones_own_code_races_with_the_parking,
    G8 places_that_change_hands_are_never_too_many,
    G11 two_signals_and_a_wait_lose_no_value,
    G11 waits_at_once_share_the_values,
    G12 of_many_handles_under_one_key_one_runs_at_a_time,
    G12 a_map_and_dispatches_under_one_key_are_told_one_result,
    G15 cancellation_races_with_claims_and_nothing_runs_unnoticed,
    G15 a_sweep_and_a_completion_below_leave_nothing_open,
    G15 parts_that_stop_at_once_end_the_execution,
    G13 two_operators_and_a_worker_meet_at_a_dead_letter,
    G16 a_purge_and_a_redrive_leave_all_or_nothing,
    G16 a_purge_races_with_the_end_and_takes_no_part,
    G17 workers_that_only_listen_finish_everything,
}

/// How many outcomes are changes that this call made.
fn count_applied(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Applied(_))).count()
}

async fn what_is_dispatched_and_claimed_at_once_is_claimed_once(world: World) {
    const TASKS: usize = 50;
    const DISPATCHERS: usize = 4;
    let left = Arc::new(AtomicUsize::new(TASKS * DISPATCHERS));

    let got = at_once(&world, DISPATCHERS + 12, |peer, n| {
        let left = Arc::clone(&left);
        async move {
            let mut mine = Vec::new();
            if n < DISPATCHERS {
                for _ in 0..TASKS {
                    mine.push(peer.dispatch(peer.call("charge")).await);
                }
            } else {
                while left.load(Ordering::Relaxed) > 0 {
                    let claimed = peer.claim(1 + n % 3).functions(["charge"]).lease(9_999).ids().await;
                    left.fetch_sub(claimed.len(), Ordering::Relaxed);
                    mine.extend(claimed);
                }
            }
            mine
        }
    })
    .await;

    let sorted = |ids: &[Vec<TaskId>]| {
        let mut ids = ids.concat();
        ids.sort_unstable();
        ids
    };
    same("claimed", sorted(&got[DISPATCHERS..]), sorted(&got[..DISPATCHERS]));
}

async fn ends_and_claims_in_one_exchange_add_up(world: World) {
    const TASKS: usize = 300;
    let ids = world.dispatch_many(TASKS, || world.call("charge")).await;

    let ended = at_once(&world, 12, |peer, n| async move {
        let (mut running, mut ended) = (peer.claim(1 + n % 4).await, Vec::new());
        while !running.is_empty() {
            let ends: Vec<_> = running.iter().map(|claimed| claimed.complete("receipt")).collect();
            let exchanged = peer.claim(1 + n % 4).with(ends).await;
            same("ends that were applied", count_applied(&exchanged.outcomes), running.len());
            ended.extend(running.iter().map(|claimed| claimed.task.id));
            running = exchanged.claimed;
        }
        ended
    })
    .await;

    let mut all = ended.concat();
    // A worker that found nothing stopped, although others may have locked tasks that it could have claimed.
    while let Some(claimed) = world.claim(1).await.pop() {
        world.apply(claimed.complete("receipt")).await;
        all.push(claimed.task.id);
    }
    all.sort_unstable();
    same("ended", all, ids);
}

async fn of_many_leases_each_is_renewed_or_lost(world: World) {
    const TASKS: usize = 12;
    for round in 0..15 {
        world.dispatch_many(TASKS, || world.call("charge")).await;
        let claimed = world.claim(TASKS).await;

        // One worker renews all leases, in either order, while others take over expired ones.
        let got = at_once(&world, 4, |peer, n| {
            let mut leases: Vec<_> = claimed.iter().map(|claimed| claimed.lease).collect();
            async move {
                if n > 0 {
                    return peer.claim(TASKS / 3).at(t(30)).lease(9_999).ids().await;
                }
                if round % 2 == 0 {
                    leases.reverse();
                }
                let answers = peer.store().renew(&leases, t(30), t(9_999)).await.expect("renew");
                let kept = leases.iter().zip(answers).filter(|(_, answer)| *answer == Renewal::Renewed);
                kept.map(|(lease, _)| lease.task).collect()
            }
        })
        .await;

        let mut held = got.concat();
        held.extend(world.claim(TASKS).at(t(30)).lease(9_999).ids().await);
        held.sort_unstable();
        let mut all: Vec<_> = claimed.iter().map(|claimed| claimed.task.id).collect();
        all.sort_unstable();
        same("held, each by one", held, all);
        for outcome in world.commit_all(claimed.iter().map(|claimed| claimed.complete("receipt"))).await {
            assert!(
                outcome.stands() || outcome == Outcome::Fenced,
                "the first holder's end came to {outcome:?}"
            );
        }
    }
}

async fn a_late_commit_and_a_claim_cannot_both_count(world: World) {
    for round in 0..30 {
        let late = world.running("charge").await;
        let keeps = round % 2 == 0;

        let got = at_once(&world, 3, |peer, n| {
            let turn =
                if keeps { late.keep().with(peer.inline("render", "note")) } else { late.complete("late") };
            async move {
                if n == 0 {
                    (Some(peer.commit(turn.at(t(30))).await), Vec::new())
                } else {
                    (None, peer.claim(1).at(t(30)).await)
                }
            }
        })
        .await;

        let outcome = got[0].0.clone().expect("an outcome");
        let mut taken: Vec<_> = got.into_iter().flat_map(|(_, claimed)| claimed).collect();
        // A turn that keeps the task leaves an expired lease, which is claimed afterwards.
        taken.extend(world.claim(1).at(t(30)).await);
        let expected = usize::from(keeps || outcome == Outcome::Fenced);
        same("claimed after that", taken.len(), expected);
        if let Some(taken) = taken.pop() {
            let recorded = usize::from(keeps && outcome != Outcome::Fenced);
            same("steps on record", taken.steps.len(), recorded);
            world.apply(taken.complete("receipt").at(t(30))).await;
        }
        let expected = if taken_late(&outcome, keeps) { "late" } else { "receipt" };
        same("result", world.result(late.task.id).await, Some(Ok(text(expected))));
    }
}

/// Whether the late end is the one that was applied.
fn taken_late(outcome: &Outcome, keeps: bool) -> bool {
    !keeps && outcome.stands()
}

/// A call of unknown fate is sent again, and both copies arrive together: for every kind of change.
async fn of_many_repeats_at_once_one_is_applied(world: World) {
    for kind in 0..10 {
        for _ in 0..4 {
            let claimed = world.running("checkout").await;
            let id = claimed.task.id;
            let change: Transition = match kind {
                0 => claimed
                    .keep()
                    .with(world.call("ship").due(t(500)))
                    .with(world.inline("render", "note"))
                    .into(),
                1 => claimed.park().with(world.sleep(t(500))).into(),
                2 => claimed.retry(t(500), declined()).into(),
                3 => claimed.release().into(),
                4 => claimed.fail(declined()).into(),
                5 => signal(id, "approval", world.id(), text("yes")),
                6 => cancel(id, 5, t(0)),
                7 => world.call("charge").due(t(500)).start(t(0)),
                kind => {
                    world.apply(claimed.fail(declined())).await;
                    if kind == 8 { redrive(id) } else { discard(id) }
                }
            };

            let outcomes = at_once(&world, 5, |peer, _| {
                let change = change.clone();
                async move { peer.commit(change).await }
            })
            .await;

            same(&format!("applied of {change:?}"), count_applied(&outcomes), 1);
            assert!(outcomes.iter().all(Outcome::stands), "a repeat was refused: {outcomes:?}");
            let tasks = if kind == 0 { 3 } else { 1 + usize::from(kind == 1) };
            same("tasks", world.timeline(id.execution()).await.len(), tasks);
            for outcome in world.commit_all([cancel(id, 0, t(0))]).await {
                assert!(
                    matches!(outcome, Outcome::Applied(_) | Outcome::Gone | Outcome::Already(_)),
                    "{outcome:?}"
                );
            }
            world.expire_all(t(1)).await;
        }
    }
}

/// Two batches that lock the same rows in opposite orders must neither block each other forever nor fail.
async fn batches_that_meet_in_other_orders_all_end(world: World) {
    const EXECUTIONS: usize = 12;
    let ids = world.dispatch_many(EXECUTIONS, || world.call("checkout").due(t(500))).await;
    for _ in 0..15 {
        at_once(&world, 6, |peer, n| {
            let mut ids = ids.clone();
            async move {
                match n % 3 {
                    0 => {}
                    1 => ids.reverse(),
                    _ => ids.rotate_left(n),
                }
                let name = ["approval", "payment"][n / 3];
                let sends = ids.iter().map(|id| signal(*id, name, peer.id(), text("yes")));
                for outcome in peer.commit_all(sends).await {
                    applied(outcome);
                }
            }
        })
        .await;
    }

    let cancels = at_once(&world, 4, |peer, n| {
        let mut ids = ids.clone();
        async move {
            if n % 2 == 0 {
                ids.reverse();
            }
            peer.commit_all(ids.iter().map(|id| cancel(*id, 5, t(0)))).await
        }
    })
    .await;
    same("cancelled", count_applied(&cancels.concat()), EXECUTIONS);
}

/// The same, through the rows above the steps: each batch ends steps of all parents.
async fn siblings_that_end_in_other_orders_all_count(world: World) {
    const PARENTS: usize = 8;
    const STEPS: u32 = 6;
    for round in 0..6 {
        world.dispatch_many(PARENTS, || world.call("checkout")).await;
        let parents = world.claim(PARENTS).functions(["checkout"]).await;
        let parks = parents.iter().map(|parent| {
            (0..STEPS).fold(parent.park_for(wait_for(STEPS)), |turn, _| turn.with(world.call("ship")))
        });
        for outcome in world.commit_all(parks.collect::<Vec<_>>()).await {
            applied(outcome);
        }
        let steps = world.claim(PARENTS * STEPS as usize).functions(["ship"]).await;
        let mut by_parent = BTreeMap::<_, Vec<_>>::new();
        for step in steps {
            by_parent.entry(step.task.tree.parent).or_default().push(step);
        }

        at_once(&world, STEPS as usize, |peer, n| {
            let mut mine: Vec<_> = by_parent.values().map(|steps| steps[n].complete("parcel")).collect();
            async move {
                if n % 2 == 0 {
                    mine.reverse();
                }
                mine.rotate_left((n + round) % PARENTS);
                for outcome in peer.commit_all(mine).await {
                    applied(outcome);
                }
            }
        })
        .await;

        let woken = world.claim(99).functions(["checkout"]).await;
        same("parents that were woken", woken.len(), PARENTS);
        for parent in &woken {
            let orders: Vec<_> = parent.steps.iter().filter_map(Step::order).collect();
            same("numbers", orders, (1..=STEPS).collect::<Vec<_>>());
        }
        world.commit_all(woken.iter().map(|parent| parent.complete("summary"))).await;
    }
}

async fn parking_on_a_map_races_with_its_last_items(world: World) {
    const ITEMS: u32 = 4;
    for round in 0..25 {
        let owner = world.running("checkout").await;
        let map = world.map("ship");
        let id = map.id;
        let items: Vec<_> = (0..ITEMS).map(|n| world.call("ship").seq(n)).collect();
        // All items, or a first chunk after which the owner is woken to add more.
        let total = (round % 2 == 0).then_some(ITEMS);
        world.apply(owner.keep().with(map).items(id, items).feed(id, ITEMS, total)).await;
        let items = world.claim(9).await;
        let park = later(&owner, 1, 0).park_for(wait_for_items(0, id, ITEMS));

        at_once(&world, ITEMS as usize + 1, |peer, n| {
            let turn = items.get(n).map_or_else(|| park.clone(), |item| item.complete("parcel"));
            async move { peer.apply(turn).await }
        })
        .await;

        let woken = world.claim_one(t(0)).await;
        same("woken", (woken.task.id, woken.task.done), (owner.task.id, u32::from(total.is_some())));
        let progress = world.task(id).await.map.map(|progress| progress.done);
        same("items that have ended", progress, Some(ITEMS));
        world.apply(woken.complete("summary")).await;
    }
}

async fn a_hint_of_ones_own_code_races_with_the_parking(world: World) {
    for _ in 0..30 {
        let claimed = world.running("checkout").await;
        let wait = world.wait(claimed.task.id, "approval");
        world.apply(claimed.park().with(wait)).await;

        // A signal and an unpark: whichever comes first wakes the task, and it is woken once.
        let id = claimed.task.id;
        at_once(&world, 3, |peer, n| {
            let hint = claimed.unpark();
            async move {
                if n == 0 {
                    peer.signal(id, "approval", "yes").await;
                } else {
                    drop(peer.commit(hint).await);
                }
            }
        })
        .await;

        let woken = world.claim_one(t(0)).await;
        same("woken", (woken.task.id, woken.task.done, woken.lease.epoch.count), (id, 1, 2));
        world.apply(woken.complete("summary")).await;
    }
}

async fn places_that_change_hands_are_never_too_many(world: World) {
    const TASKS: usize = 160;
    const MAX: u32 = 5;
    let ids = world.dispatch_many(TASKS, || world.call("charge")).await;
    let running = Arc::new(AtomicUsize::new(0));
    let ended = Arc::new(AtomicUsize::new(0));

    // An end and the next claim in one exchange, by 32 workers: a slot is free from the moment it is given up, not before.
    let most = at_once(&world, 32, |peer, n| {
        let (running, ended) = (Arc::clone(&running), Arc::clone(&ended));
        async move {
            let mut most = 0;
            let mut mine: Vec<Claimed> = Vec::new();
            while ended.load(Ordering::Relaxed) < TASKS {
                let ends: Vec<_> = mine.iter().map(|claimed| claimed.complete("receipt")).collect();
                // Counted as ended before the store knows it: the count may be too low for a moment, never too high.
                running.fetch_sub(ends.len(), Ordering::SeqCst);
                let exchanged = peer.claim(1 + n % 3).lease(9_999).limit("charge", MAX).with(ends).await;
                same("ends that were applied", count_applied(&exchanged.outcomes), mine.len());
                ended.fetch_add(mine.len(), Ordering::Relaxed);
                mine = exchanged.claimed;
                most = most.max(running.fetch_add(mine.len(), Ordering::SeqCst) + mine.len());
            }
            most
        }
    })
    .await;

    let most = most.into_iter().max().unwrap_or_default();
    assert!(most <= MAX as usize, "{most} ran at once where {MAX} may");
    for id in ids {
        same("status", world.status(id).await, ExecutionStatus::Completed);
    }
}

/// Every value that was sent is taken, is replaced by a later one, or is there for the next wait; and each is taken once.
async fn two_signals_and_a_wait_lose_no_value(world: World) {
    for round in 0..30 {
        let root = world.running("checkout").await;
        let id = root.task.id;
        let wait = world.wait(id, "approval");
        let first = wait.id;
        let park = root.park().with(wait);

        let replaced = at_once(&world, 3, |peer, n| {
            let park = park.clone();
            async move {
                if n == round % 3 {
                    peer.apply(park).await;
                    return false;
                }
                peer.apply(signal(id, "approval", peer.id(), text(&n.to_string()))).await.replaced
            }
        })
        .await
        .into_iter()
        .filter(|replaced| *replaced)
        .count();

        let woken = world.claim_one(t(0)).await;
        let next = world.wait(id, "approval");
        let second = next.id;
        let news = world.apply(woken.keep().with(next)).await;
        let values = [given(&woken.steps, first), given(&news.steps, second)];
        let taken: BTreeSet<_> =
            values.iter().flatten().map(|value| value.clone().expect("a value").bytes().to_vec()).collect();
        same("taken and replaced", taken.len() + replaced, 2);
        world.apply(later(&woken, 1, news.done).complete("summary")).await;
    }
}

async fn waits_at_once_share_the_values(world: World) {
    const WAITS: usize = 4;
    for _ in 0..10 {
        let root = world.running("checkout").await;
        let id = root.task.id;
        let steps: Vec<_> = (0..WAITS).map(|_| world.call("ship")).collect();
        world.apply(steps.into_iter().fold(root.keep(), Turn::with)).await;
        let steps = world.claim(WAITS).await;

        // Steps of one execution begin to wait under one name while values arrive. The sender waits until each value is taken.
        at_once(&world, WAITS + 1, |peer, n| {
            let turn = steps.get(n).map(|step| step.park().with(peer.wait(id, "approval")));
            async move {
                let Some(turn) = turn else {
                    for _ in 0..WAITS {
                        // A value is sent only after the one before was taken, so that it replaces none. No two values are
                        // equal.
                        let send = |send: TaskId| signal(id, "approval", send, text(&send.to_string()));
                        while peer.apply(send(peer.id())).await.replaced {}
                    }
                    return;
                };
                peer.apply(turn).await;
            }
        })
        .await;

        let woken = world.claim(99).functions(["ship"]).await;
        let values = woken.iter().filter_map(|step| given(&step.steps, step.steps.first()?.id));
        let taken: BTreeSet<_> = values.map(|value| value.expect("a value").bytes().to_vec()).collect();
        same(
            "steps that were woken, and values, each taken once",
            (woken.len(), taken.len()),
            (WAITS, WAITS),
        );
        world.apply(cancel(id, 0, t(0))).await;
        world.expire_all(t(0)).await;
    }
}

async fn of_many_handles_under_one_key_one_runs_at_a_time(world: World) {
    const CALLS: usize = 16;
    for round in 0..3 {
        let same_key = key(&round.to_string());
        let mut ids = at_once(&world, CALLS, |peer, _| async move {
            peer.dispatch(peer.call("charge").keyed(same_key)).await
        })
        .await;

        // The key holder fails and the next step takes over: one after the other, each of them once.
        let mut ran = Vec::new();
        for last in 0..CALLS {
            let claimed: Vec<_> =
                at_once(&world, 6, |peer, _| async move { peer.claim(3).lease(9_999).await }).await.concat();
            let claimed = if claimed.is_empty() { world.claim(3).lease(9_999).await } else { claimed };
            same("how many run", claimed.len(), 1);
            ran.push(claimed[0].task.id);
            let failed = last + 1 < CALLS;
            world
                .apply(if failed { claimed[0].fail(declined()) } else { claimed[0].complete("receipt") })
                .await;
        }
        ran.sort_unstable();
        ids.sort_unstable();
        same("who ran", ran, ids);
    }
}

async fn a_map_and_dispatches_under_one_key_are_told_one_result(world: World) {
    const ITEMS: u32 = 8;
    for round in 0..8 {
        let same_key = key(&round.to_string());
        let owner = world.running("checkout").await;
        let map = world.map("charge");
        let id = map.id;
        let items: Vec<_> = (0..ITEMS).map(|n| world.call("charge").seq(n).keyed(same_key)).collect();
        let turn = owner.park().with(map).items(id, items).feed(id, ITEMS, Some(ITEMS));

        // A worker claims the key holder as soon as there is one.
        let dispatched = at_once(&world, 6, |peer, n| {
            let turn = turn.clone();
            async move {
                match n {
                    0 => drop(peer.apply(turn).await),
                    1 => loop {
                        if let Some(claimed) = peer.claim(1).functions(["charge"]).await.pop() {
                            peer.apply(claimed.complete("receipt")).await;
                            break;
                        }
                    },
                    _ => return Some(peer.dispatch(peer.call("charge").keyed(same_key)).await),
                }
                None
            }
        })
        .await;

        for id in dispatched.into_iter().flatten() {
            same("result", world.result(id).await, Some(Ok(text("receipt"))));
        }
        let woken = world.claim_one(t(0)).await;
        same("woken", woken.task.id, owner.task.id);
        for item in world.items(id).await {
            same("item", item.result, Some(Ok(text("receipt"))));
        }
        world.apply(woken.complete("summary")).await;
    }
}

async fn cancellation_races_with_claims_and_nothing_runs_unnoticed(world: World) {
    for _ in 0..30 {
        let id = world.dispatch(world.call("checkout")).await;

        let got = at_once(&world, 4, |peer, n| async move {
            if n == 0 {
                applied(peer.commit(cancel(id, 5, t(0))).await);
                return None;
            }
            let claimed = peer.claim(1).await.pop()?;
            Some((claimed, peer))
        })
        .await;

        let holders: Vec<_> = got.into_iter().flatten().collect();
        match &holders[..] {
            [] => same("status", world.status(id).await, ExecutionStatus::Cancelled),
            [(claimed, peer)] => {
                same("status", world.status(id).await, ExecutionStatus::Cancelling);
                same("told", peer.stopping(t(0)).await, [id]);
                let news = world.apply(claimed.complete("summary")).await;
                same("stopped", news.stopped, true);
                same("status", world.status(id).await, ExecutionStatus::Cancelled);
            }
            more => panic!("{} workers have one task", more.len()),
        }
    }
}

async fn a_sweep_and_a_completion_below_leave_nothing_open(world: World) {
    for _ in 0..20 {
        let root = world.dispatch(world.call("checkout").expires(t(5))).await;
        let claimed = world.claim_one(t(0)).await;
        let steps = [world.call("ship"), world.call("ship")];
        world.apply(steps.into_iter().fold(claimed.park_for(wait_for(2)), Turn::with)).await;
        let steps = world.claim(2).await;
        let over = world.expired(t(5)).await.remove(0);

        let outcomes = at_once(&world, 4, |peer, n| {
            let change: Transition = match steps.get(n) {
                Some(step) => step.complete("parcel").at(t(5)).into(),
                None => expire(&over, t(5)),
            };
            async move { peer.commit(change).await }
        })
        .await;

        same("sweeps that counted", count_applied(&outcomes[2..]), 1);
        same("status", world.status(root).await, ExecutionStatus::TimedOut);
        for (step, outcome) in steps.iter().zip(&outcomes) {
            let expected = if outcome.stands() { TaskStatus::Completed } else { TaskStatus::Cancelled };
            world.expect_status(step.task.id, expected).await;
        }
        same("claimed", world.claim(9).at(t(999)).await.len(), 0);
    }
}

/// Each of them sees the other parts as open until they commit, and the last one must see that all have stopped.
async fn parts_that_stop_at_once_end_the_execution(world: World) {
    const PARTS: usize = 4;
    for _ in 0..15 {
        let root = world.running("checkout").await;
        let mut leaves = Vec::new();
        for n in 0..PARTS {
            // Two levels down, where an end does not touch the root's row.
            let part = world.spawn(later(&root, n as u32, 0).keep(), world.call("ship")).await;
            leaves.push(world.spawn(part.park(), world.call("pack")).await);
        }
        world.apply(later(&root, PARTS as u32, 0).park()).await;
        world.apply(cancel(root.task.id, 1_000, t(1))).await;
        same("status", world.status(root.task.id).await, ExecutionStatus::Cancelling);

        let stopped = at_once(&world, PARTS, |peer, n| {
            let end: Transition = leaves[n].complete("late").at(t(2)).into();
            async move { applied(peer.commit(end).await).stopped }
        })
        .await;

        same("stopped", stopped, [true; PARTS]);
        same("status", world.status(root.task.id).await, ExecutionStatus::Cancelled);
    }
}

async fn two_operators_and_a_worker_meet_at_a_dead_letter(world: World) {
    for _ in 0..25 {
        let claimed = world.running("charge").await;
        let id = claimed.task.id;
        let fail: Transition = claimed.fail(declined()).into();
        world.apply(fail.clone()).await;

        // The failure is sent again, late, while two callers redrive the dead letter and a worker claims it.
        let got = at_once(&world, 4, |peer, n| {
            let fail = fail.clone();
            async move {
                match n {
                    0 | 1 => (Some(peer.commit(redrive(id)).await), None),
                    2 => (Some(peer.commit(fail).await), None),
                    _ => (None, peer.claim(1).await.pop()),
                }
            }
        })
        .await;

        let redrives: Vec<_> = got[..2].iter().filter_map(|(outcome, _)| outcome.clone()).collect();
        same("revivals that counted", count_applied(&redrives), 1);
        let late = got[2].0.clone().expect("an outcome");
        assert!(!matches!(late, Outcome::Applied(_)), "the failure was applied a second time");
        let mut held: Vec<_> = got.into_iter().filter_map(|(_, claimed)| claimed).collect();
        held.extend(world.claim(9).await);
        same("claimed", held.len(), 1);
        same("mark", held[0].task.marks, Marks::of(Mark::Redrive));
        world.apply(held[0].complete("receipt")).await;
        same("listed", world.dead_letters().await.len(), 0);
    }
}

async fn a_purge_and_a_redrive_leave_all_or_nothing(world: World) {
    for round in 0..25 {
        let root = world.running("checkout").await;
        let id = root.task.id;
        let step = world.spawn(root.keep(), world.call("ship")).await;
        world.apply(step.fail(declined())).await;
        world.apply(later(&root, 1, 1).fail(declined())).await;
        if round % 2 == 1 {
            // A discarded dead letter is purged like any other execution, and cannot be redriven.
            world.apply(discard(id)).await;
        }
        let what = if round % 2 == 1 { Purge::Executions } else { Purge::DeadLetters };

        let got = at_once(&world, 3, |peer, n| async move {
            if n == 0 {
                return (Some(peer.commit(redrive(id)).await), 0);
            }
            (None, peer.purge_as(PurgeRequest { what, before: t(1), now: t(1), max: 5 }).await)
        })
        .await;

        let redriven = matches!(got[0].0, Some(Outcome::Applied(_)));
        let purged: u32 = got.iter().map(|(_, purged)| purged).sum();
        same("redriven or purged", (redriven, purged), (purged == 0, 1 - u32::from(redriven)));
        same("redriven though seen to", redriven && round % 2 == 1, false);
        let tasks = world.timeline(id.execution()).await.len();
        same("tasks that are left", tasks, if redriven { 2 } else { 0 });
        if redriven {
            world.apply(world.claim_one(t(1)).await.complete("summary")).await;
            same("purged later", world.purge(t(2), 5).await, 1);
        }
        same("left over", world.claim(9).at(t(999)).await.len(), 0);
    }
}

async fn a_purge_races_with_the_end_and_takes_no_part(world: World) {
    for _ in 0..25 {
        let root = world.running("checkout").await;
        let id = root.task.id;
        let end = (0..5).fold(root.complete("summary"), |turn, _| turn.with(world.inline("render", "note")));

        let purged = at_once(&world, 3, |peer, n| {
            let end = end.clone();
            async move {
                if n == 0 {
                    peer.apply(end).await;
                    return 0;
                }
                peer.purge(t(1), 5).await
            }
        })
        .await
        .into_iter()
        .sum::<u32>();

        same(
            "tasks that are left",
            world.timeline(id.execution()).await.len(),
            if purged == 0 { 6 } else { 0 },
        );
        same("purged in all", purged + world.purge(t(1), 5).await, 1);
    }
}

/// Each worker claims, and waits for a hint if it finds nothing: no worker ever polls.
async fn workers_that_only_listen_finish_everything(world: World) {
    const TASKS: usize = 60;
    let (done, _) = watch::channel(0);
    let done = Arc::new(done);

    at_once(&world, 6, |peer, n| {
        let done = Arc::clone(&done);
        async move {
            if n == 0 {
                for _ in 0..TASKS {
                    peer.dispatch(peer.call("charge")).await;
                }
                return;
            }
            let (mut hints, mut ended) = (peer.store().listen(Topic::Work), done.subscribe());
            while *ended.borrow_and_update() < TASKS {
                let claimed = peer.claim(1).functions(["charge"]).lease(9_999).await;
                if claimed.is_empty() {
                    either(hints.changed(), ended.changed()).await;
                }
                for claimed in claimed {
                    peer.apply(claimed.complete("receipt")).await;
                    done.send_modify(|done| *done += 1);
                }
            }
        }
    })
    .await;

    same("ended", *done.borrow(), TASKS);
}

/// Returns when either future has completed.
async fn either(one: impl Future, other: impl Future) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|context| {
        let ready = one.as_mut().poll(context).is_ready() || other.as_mut().poll(context).is_ready();
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
