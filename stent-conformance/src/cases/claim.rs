//! Claims: which tasks a claim takes, and in which order.

use stent_core::backend::{ClaimRequest, NoStickyCache};
use stent_core::model::Nonce;

use super::words::*;

list! { claim:
    G2 a_claim_brings_the_task_and_its_lease,
    G6 a_claim_says_since_when_its_task_was_due,
    G9 higher_priority_comes_first,
    G9 earlier_due_time_comes_first,
    G9 older_comes_first,
    G9 priority_beats_due_time_and_due_time_beats_age,
    G9 priorities_reach_from_end_to_end,
    G9 the_order_holds_across_queues_and_functions,
    G9 claim_after_claim_goes_on_where_the_last_one_stopped,
    G9 a_task_keeps_its_place_in_line_whatever_it_went_through,
    G9 names_that_come_twice_count_once,
    G2 an_epoch_has_the_chance_of_its_claim,
    G9 never_more_than_asked_for,
    G9 never_more_than_the_limit,
    G10 asking_for_none_takes_none,
    G10 unknown_functions_stay_for_those_who_know_them,
    G10 other_queues_stay_for_those_who_serve_them,
    G10 without_a_filter_every_queue_is_served,
    G10 several_queues_are_served,
    G10 a_function_is_told_apart_by_its_queue,
    G10 names_that_run_together_are_told_apart,
    G10 a_worker_that_knows_nothing_takes_nothing,
    G9 work_of_other_functions_hides_nothing,
    G9 work_of_other_queues_hides_nothing,
    G9 work_of_the_future_hides_nothing,
    G9 overdue_work_costs_its_lane_no_turn,
    G9 running_and_parked_work_hides_nothing,
    G2 sleeps_closures_and_maps_are_not_claimed,
    G6 the_next_moment_is_told,
    G10 the_next_moment_is_that_of_admitted_work,
    G6 the_end_of_a_lease_is_a_next_moment,
    G6 the_next_moment_is_not_told_when_there_may_be_more_now,
}

async fn a_claim_brings_the_task_and_its_lease(world: World) {
    let policy = RetryPolicy::default().max_attempts(7).jitter(0.25);
    let charge = world.call("charge").on("payments").priority(-4).retry(policy.clone()).args(text("42"));
    let id = charge.id;
    world.apply(charge.start(t(1))).await;

    let claimed = world.claim(1).at(t(3)).lease(20).await.remove(0);

    let task = &claimed.task;
    same("id", task.id, id);
    same("tree", (task.tree.execution, task.tree.parent, task.tree.owner), (id.execution(), None, None));
    same("position and kind", (task.seq, task.kind), (Seq(0), StepKind::Call));
    same("lane", (task.lane.queue.as_str(), task.lane.function.as_str()), ("payments", "charge"));
    same("priority", task.priority, -4);
    same("arguments", task.args.clone(), text("42"));
    same("retry policy", task.retry.clone(), Some(policy));
    same("status", task.status, TaskStatus::Running);
    same(
        "epoch, claims, attempts, done",
        (task.epoch.count, task.uncommitted_claims, task.attempts, task.done),
        (1, 1, 0, 0),
    );
    same(
        "created, started, ended",
        (task.created_at, task.started_at, task.ended_at),
        (t(1), Some(t(3)), None),
    );
    same("lease", claimed.lease, Lease { task: id, epoch: task.epoch, until: t(23) });
    same("fence", claimed.fence, Fence { task: id, epoch: task.epoch, commit: 0 });
    same("steps", (claimed.cached, claimed.steps.len()), (None, 0));
}

async fn a_claim_says_since_when_its_task_was_due(world: World) {
    let delayed = world.dispatch(world.call("charge").due(t(10))).await;

    let first = world.claim(1).at(t(15)).lease(20).await.remove(0);
    same("due after its delay", (first.task.id, first.due_at), (delayed, t(10)));

    let second = world.claim(1).at(t(40)).lease(20).await.remove(0);
    same("due when the lease was over", second.due_at, t(35));

    world.apply(second.release().at(t(50))).await;
    let third = world.claim(1).at(t(52)).lease(20).await.remove(0);
    same("due when it was released", third.due_at, t(50));
}

async fn higher_priority_comes_first(world: World) {
    let low = world.dispatch(world.call("charge").priority(1)).await;
    let high = world.dispatch(world.call("charge").priority(9)).await;
    let middle = world.dispatch(world.call("charge").priority(5)).await;

    same("order", world.claim(5).ids().await, [high, middle, low]);
}

async fn earlier_due_time_comes_first(world: World) {
    let late = world.dispatch(world.call("charge").due(t(8))).await;
    let early = world.dispatch(world.call("charge").due(t(2))).await;
    let middle = world.dispatch(world.call("charge").due(t(5))).await;

    same("order", world.claim(5).at(t(10)).ids().await, [early, middle, late]);
}

async fn older_comes_first(world: World) {
    // Written in one batch, the younger first: the id determines the age, not the order of the rows.
    let (old, young) = (world.call("charge"), world.call("charge"));
    let ids = [old.id, young.id];
    world.commit_all([young.start(t(0)), old.start(t(0))]).await;

    same("order", world.claim(5).ids().await, ids);
}

async fn priority_beats_due_time_and_due_time_beats_age(world: World) {
    let old_late = world.dispatch(world.call("charge").due(t(5))).await;
    let young_early = world.dispatch(world.call("charge").due(t(1))).await;
    let urgent_late = world.dispatch(world.call("charge").due(t(9)).priority(1)).await;

    same("order", world.claim(5).at(t(10)).ids().await, [urgent_late, young_early, old_late]);
}

async fn priorities_reach_from_end_to_end(world: World) {
    let mut expected = Vec::new();
    for priority in [i16::MIN, -1, 0, 1, i16::MAX] {
        expected.insert(0, world.dispatch(world.call("charge").priority(priority)).await);
    }

    let claimed = world.claim(9).await;

    same("order", claimed.iter().map(|claimed| claimed.task.id).collect::<Vec<_>>(), expected);
    same("highest", claimed[0].task.priority, i16::MAX);
    same("lowest", claimed[4].task.priority, i16::MIN);
}

async fn the_order_holds_across_queues_and_functions(world: World) {
    let mut chance = Chance::new(7);
    let mut expected = Vec::new();
    for _ in 0..60 {
        let function = *chance.pick(&["charge", "ship", "mail"]).expect("some");
        let queue = *chance.pick(&["default", "eu", "us"]).expect("some");
        let (priority, due) = (i16::from(chance.happens(30)), t(i64::from(chance.happens(50))));
        let id = world.dispatch(world.call(function).on(queue).priority(priority).due(due)).await;
        expected.push((-priority, due, id));
    }
    expected.sort_unstable();

    let mut claimed = Vec::new();
    for max in [1, 7, 20, 32] {
        claimed.append(&mut world.claim(max).at(t(1)).ids().await);
    }

    same("order", claimed, expected.into_iter().map(|(.., id)| id).collect::<Vec<_>>());
}

async fn claim_after_claim_goes_on_where_the_last_one_stopped(world: World) {
    let ids = world.dispatch_many(10, || world.call("charge")).await;

    for part in ids.chunks(4) {
        same("order", world.claim(4).ids().await, part);
    }
    same("what is left", world.claim(4).await.len(), 0);
}

async fn never_more_than_asked_for(world: World) {
    world.dispatch_many(20, || world.call("charge")).await;

    same("claimed", world.claim(7).await.len(), 7);
    same("claimed", world.claim(1).await.len(), 1);
    same("claimed", world.claim(50).await.len(), 12);
}

async fn never_more_than_the_limit(world: World) {
    let ids = world.dispatch_many(limits::CLAIM_MAX + 30, || world.call("charge")).await;

    same("claimed", world.claim(usize::MAX).ids().await, &ids[..limits::CLAIM_MAX]);
    same("claimed", world.claim(usize::MAX).ids().await, &ids[limits::CLAIM_MAX..]);
}

async fn asking_for_none_takes_none(world: World) {
    let id = world.dispatch(world.call("charge")).await;

    same("claimed", world.claim(0).await.len(), 0);

    world.expect_status(id, TaskStatus::Pending).await;
    same("epoch at the first claim", world.claim_one(t(0)).await.lease.epoch.count, 1);
}

async fn unknown_functions_stay_for_those_who_know_them(world: World) {
    let charge = world.dispatch(world.call("charge")).await;
    let ship = world.dispatch(world.call("ship")).await;

    same("known", world.claim(5).functions(["ship", "mail"]).ids().await, [ship]);
    world.expect_status(charge, TaskStatus::Pending).await;
    same("known by another", world.claim(5).functions(["charge"]).ids().await, [charge]);
}

async fn other_queues_stay_for_those_who_serve_them(world: World) {
    let eu = world.dispatch(world.call("charge").on("eu")).await;
    let us = world.dispatch(world.call("charge").on("us")).await;

    same("served", world.claim(5).queues(["us"]).ids().await, [us]);
    world.expect_status(eu, TaskStatus::Pending).await;
    same("served by another", world.claim(5).queues(["eu"]).ids().await, [eu]);
}

async fn without_a_filter_every_queue_is_served(world: World) {
    let eu = world.dispatch(world.call("charge").on("eu")).await;
    let us = world.dispatch(world.call("charge").on("us")).await;

    same("served", world.claim(5).ids().await, [eu, us]);
}

async fn several_queues_are_served(world: World) {
    let eu = world.dispatch(world.call("charge").on("eu")).await;
    world.dispatch(world.call("charge").on("asia")).await;
    let us = world.dispatch(world.call("charge").on("us")).await;

    same("served", world.claim(5).queues(["us", "nowhere", "eu"]).ids().await, [eu, us]);
    same("no queue at all", world.claim(5).queues([]).await.len(), 0);
}

async fn a_function_is_told_apart_by_its_queue(world: World) {
    world.dispatch(world.call("charge").on("eu")).await;
    world.dispatch(world.call("ship").on("us")).await;
    let both = world.dispatch(world.call("charge").on("us")).await;

    same("served and known", world.claim(5).functions(["charge"]).queues(["us"]).ids().await, [both]);
}

async fn names_that_run_together_are_told_apart(world: World) {
    let one = world.dispatch(world.call("c").on("ab")).await;
    let other = world.dispatch(world.call("bc").on("a")).await;

    same("served", world.claim(5).functions(["bc"]).queues(["a"]).ids().await, [other]);
    same("served", world.claim(5).functions(["c"]).queues(["ab"]).ids().await, [one]);
}

async fn a_worker_that_knows_nothing_takes_nothing(world: World) {
    world.dispatch(world.call("charge")).await;

    same("claimed", world.claim(5).functions([]).await.len(), 0);
    same("claimed", world.claim(5).functions(["Charge"]).await.len(), 0);
}

/// Enough work is in front that the case catches a store which examines it one by one, or only its first page.
const IN_FRONT: usize = 5_000;

async fn work_of_other_functions_hides_nothing(world: World) {
    world.dispatch_many(IN_FRONT, || world.call("other").priority(9)).await;
    let mine = world.dispatch(world.call("charge")).await;

    same("claimed", world.claim(1).functions(["charge"]).ids().await, [mine]);
}

async fn work_of_other_queues_hides_nothing(world: World) {
    world.dispatch_many(IN_FRONT, || world.call("charge").on("other").priority(9)).await;
    let mine = world.dispatch(world.call("charge").on("mine")).await;

    same("claimed", world.claim(1).queues(["mine"]).ids().await, [mine]);
}

async fn work_of_the_future_hides_nothing(world: World) {
    world.dispatch_many(IN_FRONT, || world.call("charge").due(t(100)).priority(9)).await;
    let mine = world.dispatch(world.call("charge")).await;

    same("claimed", world.claim(1).ids().await, [mine]);
}

async fn overdue_work_costs_its_lane_no_turn(world: World) {
    for _ in 0..3 {
        world.dispatch(world.call("ship").due(t(1)).expires(t(2))).await;
    }
    let first = world.dispatch(world.call("ship").due(t(3))).await;
    let second = world.dispatch(world.call("charge").due(t(4))).await;

    same("claimed", world.claim(1).functions(["ship", "charge"]).at(t(5)).ids().await, [first]);
    same("claimed then", world.claim(1).functions(["ship", "charge"]).at(t(5)).ids().await, [second]);
}

async fn running_and_parked_work_hides_nothing(world: World) {
    world.dispatch_many(1_000, || world.call("charge").priority(9)).await;
    for parking in [true, false] {
        let claimed = world.claim(500).await;
        if parking {
            let parked = world.commit_all(claimed.iter().map(Holder::park)).await;
            parked.into_iter().for_each(|outcome| drop(applied(outcome)));
        }
    }
    let mine = world.dispatch(world.call("charge")).await;

    same("claimed", world.claim(2).ids().await, [mine]);
}

async fn sleeps_closures_and_maps_are_not_claimed(world: World) {
    let parent = world.running("checkout").await;
    let (nap, map) = (world.sleep(t(1)), world.map("ship"));
    let note = world.inline("render", "note");
    let rows = [nap.id, map.id, note.id];
    world.apply(parent.keep().with(nap).with(map).with(note)).await;

    let every_name = ["sleep", "ship", "render", "checkout"];
    let claimed = world.claim(9).functions(every_name).at(t(20)).await;

    same("claimed", claimed.iter().filter(|claimed| rows.contains(&claimed.task.id)).count(), 0);
}

async fn the_next_moment_is_told(world: World) {
    same("nothing is there", world.claim(5).functions(["charge"]).next_due().await, None);
    world.dispatch(world.call("charge").due(t(9)).priority(5)).await;
    world.dispatch(world.call("charge").due(t(4))).await;
    world.dispatch(world.call("charge").due(t(7)).on("other")).await;

    same("next moment", world.claim(5).next_due().await, Some(t(4)));

    let exchanged = world.claim(5).at(t(5)).lease(1_000).with::<Transition>([]).await;
    same("claimed", exchanged.claimed.len(), 1);
    same("next moment beside what was claimed", exchanged.next_due, Some(t(7)));
}

async fn the_next_moment_is_that_of_admitted_work(world: World) {
    world.dispatch(world.call("ship").due(t(3))).await;
    world.dispatch(world.call("charge").due(t(4)).on("other")).await;
    world.dispatch(world.call("charge").due(t(6))).await;

    let admitted = world.claim(5).functions(["charge"]).queues(["default"]).next_due().await;
    same("next moment", admitted, Some(t(6)));
    same("nothing is admitted", world.claim(5).functions(["mail"]).next_due().await, None);
}

async fn the_next_moment_is_not_told_when_there_may_be_more_now(world: World) {
    world.dispatch_many(2, || world.call("charge")).await;
    world.dispatch(world.call("charge").due(t(50))).await;

    let exchanged = world.claim(1).with::<Transition>([]).await;

    same("claimed", exchanged.claimed.len(), 1);
    same("next moment", exchanged.next_due, None);
}

/// The work under the lease may be lost then, so a worker has to claim again.
async fn the_end_of_a_lease_is_a_next_moment(world: World) {
    let claimed = world.running("charge").await;
    world.dispatch(world.call("charge").due(t(60))).await;
    same("next moment", world.claim(9).at(t(1)).next_due().await, Some(t(30)));
    same("of one who may not claim it", world.claim(9).at(t(1)).functions(["ship"]).next_due().await, None);

    world.store().renew(&[claimed.lease], t(1), t(40)).await.expect("renew");
    same("next moment after a renewal", world.claim(9).at(t(2)).next_due().await, Some(t(40)));
    world.apply(claimed.keep().at(t(3))).await;
    same("next moment after a turn", world.claim(9).at(t(4)).next_due().await, Some(t(40)));
    world.apply(later(&claimed, 1, 0).complete("receipt").at(t(5))).await;
    same("next moment after its end", world.claim(9).at(t(6)).next_due().await, Some(t(60)));
}

/// By priority, then by when it is due again, then by age: a task does not become new, and keeps its priority.
async fn a_task_keeps_its_place_in_line_whatever_it_went_through(world: World) {
    let then = t(30);
    for way in ["a retry", "a shutdown", "a lost lease", "a wait", "a revival", "a wait under a key"] {
        let call = || world.call("charge").priority(5).due(then);
        let mut old = call().due(t(0));
        let holder = match way {
            "a wait under a key" => {
                world.dispatch(world.call("charge").keyed(key(way))).await;
                old = old.keyed(key(way));
                Some(world.claim_one(t(0)).await)
            }
            _ => None,
        };
        let id = world.dispatch(old).await;
        let claimed = world.claim(1).await;
        match (way, claimed.first(), holder) {
            ("a retry", Some(claimed), _) => drop(world.apply(claimed.retry(then, declined())).await),
            ("a shutdown", Some(claimed), _) => drop(world.apply(claimed.release().at(then)).await),
            ("a wait", Some(claimed), _) => {
                world.apply(claimed.park_for(Wait::for_next(0).until(Some(then)))).await;
            }
            ("a revival", Some(claimed), _) => {
                world.apply(claimed.fail(declined())).await;
                world.apply(redrive(id).at(then)).await;
            }
            (_, _, Some(holder)) => drop(world.apply(holder.fail(declined()).at(then)).await),
            _ => {}
        }
        let young = world.dispatch(call()).await;
        let low = world.dispatch(call().priority(1)).await;
        let high = world.dispatch(call().priority(9)).await;

        let claimed = world.claim(9).at(then).await;

        let order: Vec<_> = claimed.iter().map(|claimed| claimed.task.id).collect();
        same(&format!("after {way}"), order, [high, id, young, low]);
        world.commit_all(claimed.iter().map(|claimed| claimed.complete("receipt"))).await;
    }
}

async fn names_that_come_twice_count_once(world: World) {
    let ids = world.dispatch_many(3, || world.call("charge").tags(["gpu", "eu"])).await;
    let claim = || world.claim(2).functions(["charge", "ship", "charge"]).queues(["default", "default"]);

    same("claimed", claim().tags(["eu", "gpu", "eu"]).ids().await, &ids[..2]);
    same("claimed", claim().ids().await, &ids[2..]);
}

/// The whole nonce must be kept: it distinguishes the holder of a claim from the holder of another claim with the same count.
async fn an_epoch_has_the_chance_of_its_claim(world: World) {
    let id = world.dispatch(world.call("charge")).await;
    for (n, chance) in [(1, u32::MAX), (2, 0x4000_0001), (3, 0x0001_0000), (4, 1)] {
        let nonce = Nonce::new(chance);
        let request = ClaimRequest {
            worker: world.worker,
            nonce,
            now: t(0),
            until: t(30),
            max: 1,
            functions: &["charge".to_owned()],
            queues: None,
            tags: &[],
            limits: &[],
            cache: &NoStickyCache,
        };
        let claimed = world.exchange(&[], Some(&request)).await.claimed.remove(0);

        same("nonce", (claimed.task.id, claimed.lease.epoch), (id, Epoch::new(n, nonce)));
        same("fence", claimed.fence.epoch, claimed.lease.epoch);
        world.apply(claimed.release()).await;
    }
}
