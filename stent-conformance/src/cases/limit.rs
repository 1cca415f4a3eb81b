//! Limits: how many tasks of a function run at once, and how many start in a period.

use std::collections::BTreeMap;

use super::words::*;

list! { limit:
    G8 no_more_run_than_the_limit_says,
    G8 one_claim_after_another_keeps_to_it,
    G8 it_counts_across_queues_tags_and_priorities,
    G8 it_counts_across_workers,
    G8 functions_are_told_apart,
    G8 a_function_without_a_limit_is_not_limited,
    G8 items_and_steps_count_like_roots,
    G8 an_end_frees_a_place,
    G8 a_parked_task_holds_no_place,
    G8 a_woken_task_needs_a_place,
    G8 a_retry_and_a_shutdown_free_a_place,
    G8 what_is_cancelled_frees_its_place,
    G8 what_is_over_frees_its_place,
    G8 an_end_and_a_claim_in_one_exchange,
    G8 a_lost_lease_frees_its_place,
    G8 a_lost_task_takes_its_own_place_again,
    G8 a_renewed_lease_keeps_its_place,
    G8 a_lease_that_ran_out_does_not_take_its_place_back,
    G8 a_renewal_that_comes_late_does_not_take_its_place_back,
    G8 a_lease_that_ran_out_is_lost_before_its_place_is_taken,
    G8 a_lower_limit_waits_until_it_is_reached,
    G8 a_place_outlives_a_crash,
    G9 what_is_held_back_holds_up_nothing_else,
    G9 what_is_held_back_is_not_in_the_way_of_a_small_claim,
    G9 those_let_through_keep_the_order,
    G8 the_moment_of_the_next_place_is_told,
    G8 many_claimers_at_once_keep_to_it,
    G8 many_workers_at_once_keep_to_it_to_the_end,
    G8 a_rate_bounds_what_starts_in_a_stretch_of_time,
    G8 a_rate_frees_again,
    G8 a_rate_counts_every_claim,
    G8 the_moment_of_the_next_start_is_told,
    G8 a_lease_that_ran_out_does_not_put_off_the_next_start,
    G8 a_rate_and_a_limit_hold_together,
    G8 a_claim_that_comes_late_starts_when_it_comes,
    G8 starts_by_a_clock_that_is_ahead_count,
    G8 many_claimers_at_once_keep_to_a_rate,
}

async fn no_more_run_than_the_limit_says(world: World) {
    let ids = world.dispatch_many(10, || world.call("charge")).await;

    same("claimed", world.claim(9).limit("charge", 3).ids().await, &ids[..3]);
    same("claimed again", world.claim(9).limit("charge", 3).await.len(), 0);
    same("with none allowed", world.claim(9).limit("charge", 0).await.len(), 0);
}

async fn one_claim_after_another_keeps_to_it(world: World) {
    let ids = world.dispatch_many(5, || world.call("charge")).await;
    let mut claimed = Vec::new();
    for _ in 0..5 {
        claimed.append(&mut world.claim(1).limit("charge", 3).ids().await);
    }

    same("claimed", claimed, &ids[..3]);
}

async fn it_counts_across_queues_tags_and_priorities(world: World) {
    for n in 0..12_u8 {
        let queue = ["default", "eu"][usize::from(n % 2)];
        let call = world.call("charge").on(queue).priority(i16::from(n % 3));
        world.dispatch(if n % 4 == 0 { call.tags(["gpu"]) } else { call }).await;
    }

    same("in one claim", world.claim(5).limit("charge", 1).await.len(), 1);
    same("of one queue", world.claim(5).queues(["eu"]).limit("charge", 3).await.len(), 2);
    same("of the other", world.claim(5).queues(["default"]).limit("charge", 3).await.len(), 0);
    same("with a tag", world.claim(5).tags(["gpu"]).limit("charge", 4).await.len(), 1);
}

async fn it_counts_across_workers(world: World) {
    world.dispatch_many(9, || world.call("charge")).await;
    let (one, other) = (world.peer().await, world.peer().await);

    same("one worker", one.claim(2).limit("charge", 3).await.len(), 2);
    same("another", other.claim(9).limit("charge", 3).await.len(), 1);
    same("a third", world.claim(9).limit("charge", 3).await.len(), 0);
}

async fn functions_are_told_apart(world: World) {
    for function in ["charge", "ship", "Charge"] {
        world.dispatch_many(4, || world.call(function)).await;
    }

    let claimed = world.claim(99).limit("charge", 1).limit("ship", 2).limit("Charge", 3).await;

    let count =
        |function: &str| claimed.iter().filter(|claimed| claimed.task.lane.function == function).count();
    same("claimed", (count("charge"), count("ship"), count("Charge")), (1, 2, 3));
}

async fn a_function_without_a_limit_is_not_limited(world: World) {
    world.dispatch_many(20, || world.call("ship")).await;
    world.dispatch_many(4, || world.call("charge")).await;

    same("claimed", world.claim(99).limit("charge", 1).await.len(), 21);
}

async fn items_and_steps_count_like_roots(world: World) {
    let root = world.running("checkout").await;
    let map = world.map("charge");
    let (id, items) = (map.id, [world.call("charge"), world.call("charge")]);
    let turn = root.keep().with(map).items(id, items).feed(id, 2, Some(2));
    world.apply(turn.with(world.call("charge"))).await;
    world.dispatch(world.call("charge")).await;

    same("claimed", world.claim(9).limit("charge", 3).await.len(), 3);
    same("claimed again", world.claim(9).limit("charge", 3).await.len(), 0);
}

/// A task that runs in the only slot, and the id of a task that has to wait for it.
async fn full(world: &World) -> (Claimed, TaskId) {
    let ids = world.dispatch_many(2, || world.call("charge")).await;
    let claimed = world.claim(9).limit("charge", 1).await.remove(0);
    same("who runs", claimed.task.id, ids[0]);
    (claimed, ids[1])
}

/// The ids of the tasks that can be claimed at a moment, with one slot.
async fn claim_one_place(world: &World, now: Timestamp) -> Vec<TaskId> {
    world.claim(9).at(now).limit("charge", 1).ids().await
}

async fn an_end_frees_a_place(world: World) {
    let (claimed, next) = full(&world).await;
    world.apply(claimed.complete("receipt")).await;
    same("after a result", claim_one_place(&world, t(0)).await, [next]);

    let world = world.elsewhere().await;
    world.store().migrate().await.expect("migrate");
    let (claimed, next) = full(&world).await;
    world.apply(claimed.fail(declined())).await;
    same("after a failure", claim_one_place(&world, t(0)).await, [next]);
}

async fn a_parked_task_holds_no_place(world: World) {
    let (claimed, next) = full(&world).await;

    world.apply(claimed.park()).await;

    same("claimed", claim_one_place(&world, t(0)).await, [next]);
}

async fn a_woken_task_needs_a_place(world: World) {
    let (claimed, next) = full(&world).await;
    let step = world.call("ship");
    world.apply(claimed.park().with(step)).await;
    let claimed_next = world.claim(9).limit("charge", 1).await;
    same("claimed", claimed_next.len(), 2);
    for other in &claimed_next {
        if other.task.id != next {
            world.apply(other.complete("parcel")).await;
        }
    }

    same("woken, and no place", claim_one_place(&world, t(0)).await, []);
    let running = claimed_next.iter().find(|claimed| claimed.task.id == next).expect("it runs");
    world.apply(running.complete("receipt")).await;
    same("woken, and a place", claim_one_place(&world, t(0)).await, [claimed.task.id]);
}

async fn a_retry_and_a_shutdown_free_a_place(world: World) {
    let (claimed, next) = full(&world).await;
    world.apply(claimed.retry(t(50), declined())).await;
    let claimed = world.claim(9).limit("charge", 1).await.remove(0);
    same("after a retry", claimed.task.id, next);

    world.apply(claimed.release()).await;

    same("after a shutdown", claim_one_place(&world, t(0)).await, [next]);
}

async fn what_is_cancelled_frees_its_place(world: World) {
    let root = world.running("checkout").await;
    let step = world.call("charge");
    let id = step.id;
    world.apply(root.keep().with(step)).await;
    let next = world.dispatch(world.call("charge")).await;
    same("who runs", claim_one_place(&world, t(0)).await, [id]);

    world.apply(later(&root, 1, 0).keep().cancel(id)).await;

    same("given up", claim_one_place(&world, t(0)).await, [next]);
    let last = world.dispatch(world.call("charge")).await;
    world.apply(cancel(next, 5, t(1))).await;
    same("asked to end, and at it", claim_one_place(&world, t(1)).await, []);
    same("over", world.expire_all(t(6)).await, [next]);
    same("ended by force", claim_one_place(&world, t(6)).await, [last]);
}

async fn what_is_over_frees_its_place(world: World) {
    let first = world.dispatch(world.call("charge").expires(t(5))).await;
    let next = world.dispatch(world.call("charge")).await;
    same("who runs", claim_one_place(&world, t(0)).await, [first]);
    same("before", claim_one_place(&world, t(4)).await, []);

    world.expire_all(t(5)).await;

    same("after", claim_one_place(&world, t(5)).await, [next]);
}

async fn an_end_and_a_claim_in_one_exchange(world: World) {
    let (claimed, next) = full(&world).await;

    let exchanged = world.claim(9).limit("charge", 1).with([claimed.complete("receipt")]).await;

    same("claimed", exchanged.claimed.iter().map(|claimed| claimed.task.id).collect::<Vec<_>>(), [next]);
}

async fn a_lost_lease_frees_its_place(world: World) {
    let (claimed, next) = full(&world).await;
    let urgent = world.dispatch(world.call("charge").priority(9)).await;

    same("before its end", claim_one_place(&world, t(30) - Duration::from_micros(1)).await, []);
    same("from its end on", claim_one_place(&world, t(30)).await, [urgent]);
    same("and no more", claim_one_place(&world, t(31)).await, []);
    world.expect_status(claimed.task.id, TaskStatus::Running).await;
    world.expect_status(next, TaskStatus::Pending).await;
}

async fn a_lost_task_takes_its_own_place_again(world: World) {
    let (claimed, next) = full(&world).await;

    // The lost task has been due for longer than only some of the tasks behind it: its lease expired later.
    let again = world.claim(9).at(t(30)).limit("charge", 2).await;

    let ids: Vec<_> = again.iter().map(|claimed| (claimed.task.id, claimed.lease.epoch.count)).collect();
    same("claimed", ids, [(next, 1), (claimed.task.id, 2)]);
    same("and no more", world.claim(9).at(t(31)).limit("charge", 2).await.len(), 0);
}

async fn a_renewed_lease_keeps_its_place(world: World) {
    let (claimed, next) = full(&world).await;

    world.store().renew(&[claimed.lease], t(0), t(50)).await.expect("renew");

    same("at its old end", claim_one_place(&world, t(30)).await, []);
    same("at its new end", claim_one_place(&world, t(50)).await, [next]);
}

/// An expired lease loses its slot. If it took the slot back, one task too many would run.
async fn a_lease_that_ran_out_does_not_take_its_place_back(world: World) {
    let (claimed, next) = full(&world).await;
    same("the place is free", claim_one_place(&world, t(30)).await, [next]);

    let late = world.store().renew(&[claimed.lease], t(30), t(90)).await.expect("renew");

    same("the renewal", late, [Renewal::Lost]);
    same("and no more", claim_one_place(&world, t(31)).await, []);
}

/// The worker that renews cannot know whether another task has taken the slot.
async fn a_lease_that_ran_out_is_lost_before_its_place_is_taken(world: World) {
    let (claimed, next) = full(&world).await;

    let late = world.store().renew(&[claimed.lease], t(30), t(90)).await.expect("renew");

    same("the renewal", late, [Renewal::Lost]);
    same("the place is free", claim_one_place(&world, t(30)).await, [next]);
}

/// The renewal was decided while the lease was valid, and arrives after the slot was given away.
async fn a_renewal_that_comes_late_does_not_take_its_place_back(world: World) {
    let (claimed, next) = full(&world).await;
    same("the place is free", claim_one_place(&world, t(30)).await, [next]);

    let late = world.store().renew(&[claimed.lease], t(20), t(90)).await.expect("renew");

    same("the renewal", late, [Renewal::Lost]);
    same("and no more", claim_one_place(&world, t(31)).await, []);
    // A result still counts as long as nobody has claimed the task.
    world.apply(claimed.complete("receipt").at(t(32))).await;
}

async fn a_lower_limit_waits_until_it_is_reached(world: World) {
    world.dispatch_many(6, || world.call("charge")).await;
    let running = world.claim(4).limit("charge", 4).await;
    for (n, claimed) in running.iter().enumerate() {
        same("claimed", world.claim(9).limit("charge", 2).await.len(), usize::from(n == 3));
        world.apply(claimed.complete("receipt")).await;
    }
}

async fn a_place_outlives_a_crash(world: World) {
    let (_, next) = full(&world).await;

    let world = world.crash().await;

    same("before the lease ends", claim_one_place(&world, t(29)).await, []);
    same("after", claim_one_place(&world, t(30)).await, [next]);
}

/// Enough work is in front that the case catches a store which examines it one by one, or only its first page.
const IN_FRONT: usize = 3_000;

async fn what_is_held_back_holds_up_nothing_else(world: World) {
    world.dispatch_many(IN_FRONT, || world.call("charge").priority(9)).await;
    let ids = world.dispatch_many(3, || world.call("ship")).await;
    same("the place is taken", world.claim(1).limit("charge", 1).await.len(), 1);

    same("claimed", world.claim(9).limit("charge", 1).ids().await, ids);
}

async fn what_is_held_back_is_not_in_the_way_of_a_small_claim(world: World) {
    let urgent = world.dispatch_many(600, || world.call("charge").priority(9)).await;
    let other = world.dispatch_many(2, || world.call("ship")).await;

    // One of the tasks in front may run; the tasks behind all of them come in the same claim.
    same("claimed", world.claim(2).limit("charge", 1).ids().await, [urgent[0], other[0]]);
    same("claimed next", world.claim(1).limit("charge", 1).ids().await, [other[1]]);
}

async fn those_let_through_keep_the_order(world: World) {
    let mut expected = Vec::new();
    for n in 0..20_i16 {
        let id = world.dispatch(world.call("charge").priority(n % 5).on(["a", "b"][(n % 2) as usize])).await;
        expected.push((-(n % 5), id));
    }
    expected.sort_unstable();
    let expected: Vec<_> = expected.into_iter().map(|(_, id)| id).collect();

    let mut claimed = Vec::new();
    for _ in 0..4 {
        let running = world.claim(9).limit("charge", 5).await;
        claimed.extend(running.iter().map(|claimed| claimed.task.id));
        world.commit_all(running.iter().map(|claimed| claimed.complete("receipt"))).await;
    }

    same("order", claimed, expected);
}

async fn the_moment_of_the_next_place_is_told(world: World) {
    world.dispatch_many(3, || world.call("charge")).await;
    let taking = world.claim(9).lease(20).limit("charge", 1).with::<Transition>([]).await;
    same("claimed", taking.claimed.len(), 1);
    same("told with the claim itself", taking.next_due, Some(t(20)));

    same("told to another", world.claim(9).at(t(3)).limit("charge", 1).next_due().await, Some(t(20)));
    world.store().renew(&[taking.claimed[0].lease], t(0), t(45)).await.expect("renew");
    same("told after a renewal", world.claim(9).at(t(21)).limit("charge", 1).next_due().await, Some(t(45)));
}

async fn many_claimers_at_once_keep_to_it(world: World) {
    for (round, max) in [1, 3, 1, 3, 7].into_iter().enumerate() {
        let function = format!("charge {round}");
        world.dispatch_many(40, || world.call(&function)).await;

        let claimed = at_once(&world, 32, |peer, n| {
            let function = function.clone();
            async move { peer.claim(1 + n % 4).functions([&function]).limit(&function, max).await.len() }
        })
        .await;

        same("claimed at once", claimed.iter().sum::<usize>() <= max as usize, true);
        // Claims that collided may have left a slot free; nothing takes it from the next claim.
        let rest = world.claim(99).functions([&function]).limit(&function, max).await.len();
        same("with those who come next", claimed.iter().sum::<usize>() + rest, max as usize);
    }
}

async fn many_workers_at_once_keep_to_it_to_the_end(world: World) {
    const TASKS: usize = 60;
    const MAX: u32 = 3;
    world.dispatch_many(TASKS, || world.call("charge")).await;

    let ended = at_once(&world, 6, |peer, n| async move {
        let (mut ended, mut idle) = (0, 0);
        // The same moment for all, so that no lease expires.
        while idle < 200 {
            let claimed = peer.claim(1 + n % 2).lease(9_999).limit("charge", MAX).await;
            idle = if claimed.is_empty() { idle + 1 } else { 0 };
            let running = peer.store().running(99).await.expect("running");
            assert!(running.len() <= MAX as usize, "{} run: {running:?}", running.len());
            for (n, claimed) in claimed.iter().enumerate() {
                match (claimed.task.attempts, n) {
                    (0, 0) => drop(peer.apply(claimed.retry(t(0), declined())).await),
                    (_, 1) => drop(peer.apply(claimed.release()).await),
                    _ => {
                        peer.apply(claimed.complete("receipt")).await;
                        ended += 1;
                    }
                }
            }
        }
        ended
    })
    .await;

    let mut left = 0;
    loop {
        let claimed = world.claim(9).limit("charge", MAX).await;
        if claimed.is_empty() {
            break;
        }
        left += claimed.len();
        world.commit_all(claimed.iter().map(|claimed| claimed.complete("receipt"))).await;
    }
    same("ended in all", ended.iter().sum::<usize>() + left, TASKS);
}

/// Claims with a rate every `step` until `until`, up to `max` tasks each, ends the claimed tasks, and returns the moments of
/// the claims.
async fn starts(world: &World, rate: &str, step: Duration, until: Timestamp, max: usize) -> Vec<Timestamp> {
    let (mut now, mut starts) = (t(0), Vec::new());
    while now < until {
        let claimed = world.claim(max).at(now).rate("charge", rate, None).await;
        starts.extend(claimed.iter().map(|_| now));
        world.commit_all(claimed.iter().map(|claimed| claimed.complete("receipt").at(now))).await;
        now = now + step;
    }
    starts
}

/// The most starts in any period of this length.
fn most_within(starts: &[Timestamp], per: Duration) -> usize {
    starts
        .iter()
        .map(|first| starts.iter().filter(|at| *first <= **at && **at < *first + per).count())
        .max()
        .unwrap_or(0)
}

async fn a_rate_bounds_what_starts_in_a_stretch_of_time(world: World) {
    for (n, (rate, max, step)) in
        [("5/10s", 5, 700), ("3/s", 3, 90), ("1/2s", 1, 333)].into_iter().enumerate()
    {
        let per = Duration::from_secs([10, 1, 2][n]);
        let world = world.elsewhere().await;
        world.store().migrate().await.expect("migrate");
        world.dispatch_many(100, || world.call("charge")).await;

        let starts = starts(&world, rate, Duration::from_millis(step), t(0) + per * 6, 4).await;

        let most = most_within(&starts, per);
        assert!(most <= max, "{most} started within {per:?}, at a rate of {rate}: {starts:?}");
        // A store may count in tenths of the period: at least five full periods in the time of six.
        assert!(starts.len() >= max * 5, "only {} started at a rate of {rate}: {starts:?}", starts.len());
    }
}

async fn a_rate_frees_again(world: World) {
    world.dispatch_many(9, || world.call("charge")).await;
    let claim =
        async |now: Timestamp| world.claim(9).at(now).lease(999).rate("charge", "2/10s", None).await.len();

    same("claimed", claim(t(0)).await, 2);
    same("claimed at once again", claim(t(0)).await, 0);
    same("just before the time is over", claim(t(10) - Duration::from_micros(1)).await, 0);
    same("with a tenth to spare", claim(t(12)).await, 2);
    same("and again", claim(t(13)).await, 0);
    same("much later", claim(t(900)).await, 2);
}

async fn a_rate_counts_every_claim(world: World) {
    // Retried, released, lost: each claim is a start.
    let id = world.dispatch(world.call("charge")).await;
    let claim = async |now: Timestamp| world.claim(9).at(now).lease(1).rate("charge", "3/100s", None).await;
    world.apply(claim(t(0)).await.remove(0).retry(t(0), declined())).await;
    world.apply(claim(t(1)).await.remove(0).release()).await;
    same("claimed", claim(t(2)).await.remove(0).task.id, id);

    same("a fourth time", claim(t(9)).await.len(), 0);
    same("without a rate", world.claim_one(t(9)).await.task.id, id);
}

async fn the_moment_of_the_next_start_is_told(world: World) {
    world.dispatch_many(3, || world.call("charge")).await;
    same("claimed", world.claim(9).lease(9_999).rate("charge", "1/10s", None).await.len(), 1);

    let next = world.claim(9).at(t(1)).rate("charge", "1/10s", None).next_due().await.expect("there is one");

    assert!(t(10) <= next && next <= t(12), "the next start is told for {next:?}");
    same("claimed then", world.claim(9).at(next).lease(9_999).rate("charge", "1/10s", None).await.len(), 1);
}

async fn a_lease_that_ran_out_does_not_put_off_the_next_start(world: World) {
    world.dispatch_many(2, || world.call("charge")).await;
    let claim = |now, lease| world.claim(9).at(t(now)).lease(lease).rate("charge", "1/10s", Some(2));
    same("claimed", claim(0, 20).await.len(), 1);
    same("claimed when another may start", claim(15, 9_999).await.len(), 1);
    world.dispatch(world.call("ship").due(t(20))).await;

    // One of the two slots is free again, so only the rate holds the task back.
    let exchanged = claim(21, 9_999).with::<Transition>([]).await;

    same("claimed of the other function", exchanged.claimed.len(), 1);
    let next = exchanged.next_due.expect("there is one");
    assert!(t(25) <= next && next <= t(27), "the next start is told for {next:?}");
}

async fn a_rate_and_a_limit_hold_together(world: World) {
    world.dispatch_many(20, || world.call("charge")).await;
    let claim =
        async |now: Timestamp| world.claim(9).at(now).lease(999).rate("charge", "5/10s", Some(3)).await;

    let running = claim(t(0)).await;
    same("as many as have a place", running.len(), 3);
    world.commit_all(running.iter().map(|claimed| claimed.complete("receipt"))).await;
    same("as many as may start", claim(t(1)).await.len(), 2);
    same("places are taken again", claim(t(20)).await.len(), 1);
}

async fn a_claim_that_comes_late_starts_when_it_comes(world: World) {
    // A claim that waited for a lock carries a moment that has passed when it gets the lock, and clocks differ.
    world.dispatch_many(30, || world.call("charge")).await;
    let claim = async |max, now: Timestamp| {
        world.claim(max).at(now).lease(999).rate("charge", "8/10s", None).await.len()
    };

    same("claimed in time", claim(7, t(17)).await, 7);
    same("claimed late", claim(9, t(8)).await, 1);
    same("claimed when the late one counts", claim(9, t(19)).await, 0);
    same("claimed when their time is over", claim(9, t(29)).await, 8);
}

async fn many_claimers_at_once_keep_to_a_rate(world: World) {
    world.dispatch_many(60, || world.call("charge")).await;
    let mut by_moment = BTreeMap::new();
    for seconds in [0, 4, 11, 13, 25] {
        let claimed = at_once(&world, 8, |peer, _| async move {
            peer.claim(2).at(t(seconds)).lease(999).rate("charge", "4/10s", None).await.len()
        })
        .await;
        by_moment.insert(t(seconds), claimed.iter().sum::<usize>());
    }

    let starts: Vec<_> = by_moment.iter().flat_map(|(at, count)| vec![*at; *count]).collect();
    let most = most_within(&starts, Duration::from_secs(10));
    assert!(most <= 4, "{most} started within ten seconds: {by_moment:?}");
}

/// However far ahead: a worker with a correct clock finds the rate used up, and finds it free again when the period of those
/// starts is over.
async fn starts_by_a_clock_that_is_ahead_count(world: World) {
    world.dispatch_many(30, || world.call("charge")).await;
    let claim = async |max, now: Timestamp| {
        world.claim(max).at(now).lease(9_999).rate("charge", "5/10s", None).await.len()
    };
    same("claimed by a clock that is ahead", claim(4, t(900)).await, 4);

    same("claimed by a clock that is right", claim(9, t(0)).await, 1);
    same("claimed then", claim(9, t(0)).await, 0);
    let next = world.claim(9).at(t(1)).rate("charge", "5/10s", None).next_due().await;
    assert!(next.is_some_and(|next| t(10) <= next && next <= t(12)), "the next start is told for {next:?}");
    same("claimed when the one that was right is over", claim(9, t(12)).await, 1);
    same("claimed when all are over", claim(9, t(912)).await, 5);
}
