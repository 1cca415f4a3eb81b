//! Deadlines: a task whose deadline has passed ends with everything below it, whatever its state.

use stent_core::model::{Mark, Marks};

use stent_core::backend::Expired;
use stent_core::model::Tree;

use super::words::*;

list! { expiry:
    G15 nothing_ends_before_its_time,
    G15 an_execution_whose_time_is_up_has_timed_out,
    G15 everything_below_ends_with_it,
    G15 it_ends_whatever_it_is_doing,
    G15 a_step_whose_time_is_up_fails_in_its_parent,
    G15 a_parked_parent_is_woken_by_it,
    G15 an_item_whose_time_is_up_ends_its_map,
    G15 an_item_whose_time_is_up_is_one_of_a_gather,
    G15 waits_and_maps_have_deadlines_too,
    G15 everyone_is_told_of_everyones,
    G15 those_longest_over_are_told_first_and_no_more_than_the_limit,
    G15 what_has_ended_is_not_told,
    G15 nobody_takes_what_is_over,
    G6 the_moment_of_the_next_end_is_told,
    G3 ending_it_again_is_told_so,
    G7 what_has_ended_before_stays_so,
    G7 a_late_result_changes_nothing,
    G15 what_has_no_deadline_does_not_end,
    G15 those_who_wait_for_it_are_told,
    G15 deadlines_are_seen,
    G15 what_is_over_is_told_with_its_place_and_key,
    G15 a_deadline_outlives_a_crash,
    G15 an_end_and_a_deadline_in_one_batch_in_either_order,
    G15 many_who_are_told_end_it_once,
    G15 the_end_races_with_the_deadline_and_one_of_them_wins,
}

const MOMENT: Duration = Duration::from_micros(1);

async fn nothing_ends_before_its_time(world: World) {
    let root = world.dispatch(world.call("checkout").expires(t(5))).await;
    let expired = world.expired(t(5)).await;
    same("who is over", expired.len(), 1);
    same("one of them", (expired[0].task, expired[0].expires_at), (root, t(5)));

    same("told early", world.expired(t(5) - MOMENT).await, Vec::new());
    same("ended early", world.commit(expire(&expired[0], t(5) - MOMENT)).await, Outcome::Fenced);
    same("status", world.status(root).await, ExecutionStatus::Pending);
    applied(world.commit(expire(&expired[0], t(5))).await);
}

async fn an_execution_whose_time_is_up_has_timed_out(world: World) {
    let root = world.dispatch(world.call("checkout").expires(t(5))).await;
    world.claim_one(t(0)).await;

    same("ended", world.expire_all(t(7)).await, [root]);

    let view = world.execution(root).await.expect("is there");
    same("execution", (view.status, view.ended_at), (ExecutionStatus::TimedOut, Some(t(7))));
    let failure = view.result.expect("a result").expect_err("a failure");
    same("failure", (failure.kind.as_str(), failure.fatal), (Failure::TIMED_OUT, true));
    let view = world.task(root).await;
    same("its root", (view.status, view.marks), (TaskStatus::Failed, Marks::of(Mark::Expire)));
    same("dead letters", world.dead_letters().await.len(), 0);
}

async fn everything_below_ends_with_it(world: World) {
    let root = world.dispatch(world.call("checkout").expires(t(5))).await;
    let claimed = world.claim_one(t(0)).await;
    let step = world.spawn(claimed.keep(), world.call("ship")).await;
    let deep = world.spawn(step.park(), world.call("pack")).await;
    let map = world.map("mail");
    let id = map.id;
    let turn =
        later(&claimed, 1, 0).park().with(map).with(world.sleep(t(90))).with(world.wait(root, "approval"));
    world
        .apply(
            turn.items(id, [world.call("mail").due(t(50))])
                .feed(id, 1, None)
                .with(world.inline("render", "x")),
        )
        .await;

    same("ended", world.expire_all(t(5)).await, [root]);

    let timeline = world.timeline(root.execution()).await;
    for task in &timeline[1..] {
        let ended = if task.name == "render" { TaskStatus::Completed } else { TaskStatus::Cancelled };
        same(&format!("{} `{}`", task.kind, task.name), task.status, ended);
    }
    same("claimed", world.claim(99).at(t(99)).await.len(), 0);
    same("a late result", world.commit(deep.complete("late").at(t(6))).await, Outcome::Gone);
}

async fn it_ends_whatever_it_is_doing(world: World) {
    for doing in 0..7 {
        let due = if doing == 0 { t(50) } else { t(0) };
        let root = world.dispatch(world.call("checkout").due(due).expires(t(5))).await;
        if doing >= 2 {
            let claimed = world.claim_one(t(0)).await;
            match doing {
                2 => {}
                3 => drop(world.apply(claimed.park()).await),
                4 => drop(world.apply(claimed.park_for(Wait::for_next(0).until(Some(t(3))))).await),
                5 => drop(world.apply(claimed.retry(t(50), declined())).await),
                _ => drop(world.apply(claimed.park().with(world.wait(root, "approval"))).await),
            }
        }

        same("ended", world.expire_all(t(5)).await, [root]);

        same("status", world.status(root).await, ExecutionStatus::TimedOut);
        same("claimed", world.claim(9).at(t(99)).await.len(), 0);
    }
}

async fn a_step_whose_time_is_up_fails_in_its_parent(world: World) {
    let root = world.running("checkout").await;
    let (one, two) = (world.call("ship").expires(t(5)), world.call("ship"));
    let ids = [one.id, two.id];
    world.apply(root.keep().with(one).with(two)).await;
    let steps = world.claim(2).await;
    world.apply(steps[1].complete("parcel").at(t(2))).await;

    same("ended", world.expire_all(t(5)).await, [ids[0]]);

    let news = world.apply(later(&root, 1, 0).keep().at(t(6))).await;
    let order: Vec<_> = news.steps.iter().map(|step| (step.order(), step.id)).collect();
    same("completions in order", order, [(Some(1), ids[1]), (Some(2), ids[0])]);
    let failure = given(&news.steps, ids[0]).expect("it has ended").expect_err("with a failure");
    same("failure", failure.kind.as_str(), Failure::TIMED_OUT);
    same("the execution", world.status(root.task.id).await, ExecutionStatus::Running);
}

async fn a_parked_parent_is_woken_by_it(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.park(), world.call("ship").expires(t(5))).await;
    let below = world.spawn(step.park(), world.call("pack")).await;

    same("ended", world.expire_all(t(5)).await, [step.task.id]);

    same("woken", world.claim_one(t(5)).await.task.id, root.task.id);
    world.expect_status(below.task.id, TaskStatus::Cancelled).await;
}

async fn an_item_whose_time_is_up_ends_its_map(world: World) {
    let root = world.running("checkout").await;
    let map = world.map("mail");
    let (id, items) = (map.id, [world.call("mail").seq(0).expires(t(5)), world.call("mail").seq(1)]);
    world.apply(root.park().with(map).items(id, items).feed(id, 2, Some(2))).await;
    let running = world.claim(2).await;

    same("ended", world.expire_all(t(5)).await, [running[0].task.id]);

    let woken = world.claim_one(t(5)).await;
    same("woken", woken.task.id, root.task.id);
    let failure = given(&woken.steps, id).expect("the map has ended").expect_err("with a failure");
    same("failure", failure.kind.as_str(), Failure::TIMED_OUT);
    same("a late item", world.commit(running[1].complete("late")).await, Outcome::Gone);
}

async fn an_item_whose_time_is_up_is_one_of_a_gather(world: World) {
    let root = world.running("checkout").await;
    let map = world.gather("mail");
    let (id, items) = (map.id, [world.call("mail").seq(0).expires(t(5)), world.call("mail").seq(1)]);
    world.apply(root.park().with(map).items(id, items).feed(id, 2, Some(2))).await;
    let running = world.claim(2).await;

    world.expire_all(t(5)).await;
    world.apply(running[1].complete("sent").at(t(6))).await;

    let woken = world.claim_one(t(6)).await;
    same("woken", (woken.task.id, woken.task.done), (root.task.id, 1));
    let items = world.items(id).await;
    same("over", items[0].status, TaskStatus::Failed);
    same("the other", items[1].result.clone(), Some(Ok(text("sent"))));
}

async fn waits_and_maps_have_deadlines_too(world: World) {
    let root = world.running("checkout").await;
    let (wait, map) = (world.wait(root.task.id, "approval").expires(t(3)), world.map("mail").expires(t(4)));
    let ids = [wait.id, map.id];
    let item = world.call("mail");
    let item_id = item.id;
    let turn = root.park_for(wait_for(2)).with(wait).with(map).items(ids[1], [item]).feed(ids[1], 1, None);
    world.apply(turn).await;

    same("ended", world.expire_all(t(4)).await, ids);

    let woken = world.claim(9).functions(["checkout"]).at(t(4)).await.remove(0);
    for id in ids {
        let failure = given(&woken.steps, id).expect("it has ended").expect_err("with a failure");
        same("failure", failure.kind.as_str(), Failure::TIMED_OUT);
    }
    world.expect_status(item_id, TaskStatus::Cancelled).await;
    // The value is there for the next wait.
    world.signal(root.task.id, "approval", "yes").await;
    let next = world.wait(root.task.id, "approval");
    let id = next.id;
    same(
        "the next wait",
        given(&world.apply(woken.keep().with(next)).await.steps, id),
        Some(Ok(text("yes"))),
    );
}

async fn everyone_is_told_of_everyones(world: World) {
    let root = world.dispatch(world.call("checkout").on("eu").tags(["gpu"]).expires(t(5))).await;

    for claim in [
        world.claim(0).functions([]),
        world.claim(9).functions(["other"]),
        world.claim(9).queues(["us"]),
        world.claim(9).tags(["disk"]),
        world.claim(9).limit("checkout", 0),
    ] {
        let exchanged = claim.at(t(5)).with::<Transition>([]).await;
        same("told", exchanged.expired.iter().map(|expired| expired.task).collect::<Vec<_>>(), [root]);
        same("claimed", exchanged.claimed.len(), 0);
    }
}

async fn those_longest_over_are_told_first_and_no_more_than_the_limit(world: World) {
    const MORE: usize = 20;
    let mut expected = Vec::new();
    for n in 0..limits::EXPIRED_MAX + MORE {
        let second = i64::try_from(n % 7).expect("a small number");
        let id = world.dispatch(world.call("checkout").due(t(500)).expires(t(second))).await;
        expected.push((t(second), id));
    }
    expected.sort_unstable();
    let expected: Vec<_> = expected.into_iter().map(|(_, id)| id).collect();

    same("told first", world.expire_all(t(10)).await, &expected[..limits::EXPIRED_MAX]);
    same("told next", world.expire_all(t(10)).await, &expected[limits::EXPIRED_MAX..]);
    same("told then", world.expire_all(t(10)).await, []);
}

async fn what_has_ended_is_not_told(world: World) {
    world.dispatch(world.call("checkout").expires(t(5))).await;
    let claimed = world.claim_one(t(0)).await;
    let step = world.spawn(claimed.keep(), world.call("ship").expires(t(5))).await;
    world.apply(step.fail(declined())).await;
    let given_up = world.call("ship").expires(t(5));
    let id = given_up.id;
    world.apply(later(&claimed, 1, 1).keep().with(given_up).cancel(id)).await;
    world.apply(later(&claimed, 2, 1).complete("summary")).await;

    same("over", world.expired(t(99)).await, Vec::new());
}

async fn nobody_takes_what_is_over(world: World) {
    let root = world.dispatch(world.call("checkout").expires(t(5))).await;
    let other = world.dispatch(world.call("checkout").due(t(5))).await;

    let exchanged = world.claim(9).at(t(5)).with::<Transition>([]).await;

    let claimed: Vec<_> = exchanged.claimed.iter().map(|claimed| claimed.task.id).collect();
    same("claimed", claimed, [other]);
    same("over", exchanged.expired.len(), 1);
    world.expect_status(root, TaskStatus::Pending).await;
}

async fn the_moment_of_the_next_end_is_told(world: World) {
    world.dispatch(world.call("checkout").due(t(50)).expires(t(9))).await;
    world.dispatch(world.call("checkout").due(t(20))).await;
    world.dispatch(world.call("checkout").due(t(50)).expires(t(4))).await;

    same("the first", world.claim(9).next_due().await, Some(t(4)));
    same("to one who takes nothing", world.claim(9).functions(["other"]).next_due().await, Some(t(4)));
    same("the next", world.claim(9).at(t(5)).next_due().await, Some(t(9)));
    same("work that comes before", world.claim(9).at(t(10)).next_due().await, Some(t(20)));
}

async fn ending_it_again_is_told_so(world: World) {
    let root = world.dispatch(world.call("checkout").expires(t(5))).await;
    let expired = world.expired(t(5)).await.remove(0);
    let outcomes = world.commit_all([expire(&expired, t(5)), expire(&expired, t(5))]).await;
    applied(outcomes[0].clone());
    already(outcomes[1].clone());
    let before = world.snapshot().await;

    already(world.peer().await.commit(expire(&expired, t(6))).await);

    world.snapshot().await.expect_same("ending it again changed something", &before);
    same("ended at", world.execution(root).await.and_then(|view| view.ended_at), Some(t(5)));
}

async fn what_has_ended_before_stays_so(world: World) {
    let completed = world.dispatch(world.call("checkout").expires(t(5))).await;
    let claimed = world.claim_one(t(0)).await;
    let expired = world.expired(t(5)).await.remove(0);
    world.apply(claimed.complete("summary").at(t(6))).await;

    same("outcome", world.commit(expire(&expired, t(7))).await, Outcome::Gone);

    same("status", world.status(completed).await, ExecutionStatus::Completed);
    world.purge(t(99), 9).await;
    same("when purged", world.commit(expire(&expired, t(7))).await, Outcome::Gone);
}

async fn a_late_result_changes_nothing(world: World) {
    world.dispatch(world.call("checkout").expires(t(5))).await;
    let claimed = world.claim_one(t(0)).await;
    world.expire_all(t(5)).await;
    let before = world.snapshot().await;

    for turn in [
        claimed.complete("late"),
        claimed.fail(declined()),
        claimed.keep().with(world.call("ship")),
        claimed.park(),
        claimed.retry(t(9), declined()),
        claimed.release(),
    ] {
        same("outcome", world.commit(turn.at(t(6))).await, Outcome::Gone);
    }
    same("a value", world.commit(signal(claimed.task.id, "x", world.id(), text("x"))).await, Outcome::Gone);

    world.snapshot().await.expect_same("a late result changed something", &before);
}

async fn what_has_no_deadline_does_not_end(world: World) {
    let with = world.dispatch(world.call("checkout").expires(t(5))).await;
    let without = world.dispatch(world.call("checkout")).await;
    let mut expired = world.expired(t(5)).await.remove(0);
    same("who is over", expired.task, with);

    expired.task = without;
    expired.tree.execution = without.execution();

    same("outcome", world.commit(expire(&expired, t(9))).await, Outcome::Fenced);
    world.expect_status(without, TaskStatus::Pending).await;
}

async fn those_who_wait_for_it_are_told(world: World) {
    let over = world.dispatch(world.call("ship").due(t(99)).expires(t(5))).await;
    let root = world.running("checkout").await;
    let join = world.join(over);
    let id = join.id;
    world.apply(root.park().with(join)).await;

    world.expire_all(t(5)).await;

    let failure =
        given(&world.claim_one(t(5)).await.steps, id).expect("it has ended").expect_err("with a failure");
    same("failure", failure.kind.as_str(), Failure::TIMED_OUT);
}

async fn deadlines_are_seen(world: World) {
    let root = world.dispatch(world.call("checkout").expires(t(5))).await;

    same("of the execution", world.execution(root).await.and_then(|view| view.expires_at), Some(t(5)));
    same("with the claim", world.claim_one(t(0)).await.task.expires_at, Some(t(5)));
}

async fn a_deadline_outlives_a_crash(world: World) {
    let root = world.dispatch(world.call("checkout").expires(t(5))).await;
    world.claim_one(t(0)).await;

    let world = world.crash().await;

    same("ended", world.expire_all(t(5)).await, [root]);
    same("status", world.crash().await.status(root).await, ExecutionStatus::TimedOut);
}

async fn an_end_and_a_deadline_in_one_batch_in_either_order(world: World) {
    for end_first in [true, false] {
        let root = world.running("checkout").await;
        let step = world.spawn(root.park(), world.call("ship").expires(t(5))).await;
        let expired = world.expired(t(5)).await.remove(0);
        let (end, over): (Transition, _) = (step.complete("parcel").at(t(5)).into(), expire(&expired, t(5)));

        let outcomes = world.commit_all(if end_first { [end, over] } else { [over, end] }).await;

        applied(outcomes[0].clone());
        same("the second", outcomes[1].clone(), Outcome::Gone);
        let woken = world.claim_one(t(5)).await;
        same("completions", woken.task.done, 1);
        same("how it ended", given(&woken.steps, step.task.id).map(|result| result.is_ok()), Some(end_first));
        world.apply(woken.complete("summary").at(t(5))).await;
    }
}

async fn many_who_are_told_end_it_once(world: World) {
    for _ in 0..10 {
        let root = world.running("checkout").await;
        world.apply(root.park().with(world.call("ship").expires(t(5)))).await;

        let outcomes = at_once(&world, 6, |peer, _| async move {
            let expired = peer.expired(t(5)).await;
            let batch: Vec<_> = expired.iter().map(|expired| expire(expired, t(5))).collect();
            peer.commit_all(batch).await
        })
        .await;

        let applied =
            outcomes.into_iter().flatten().filter(|outcome| matches!(outcome, Outcome::Applied(_))).count();
        same("applied", applied, 1);
        let woken = world.claim_one(t(5)).await;
        same("completions", woken.task.done, 1);
        world.apply(woken.complete("summary").at(t(5))).await;
    }
}

async fn the_end_races_with_the_deadline_and_one_of_them_wins(world: World) {
    for _ in 0..20 {
        let id = world.dispatch(world.call("checkout").expires(t(5))).await;
        let claimed = world.claim_one(t(0)).await;
        let expired = world.expired(t(5)).await.remove(0);

        let outcomes = at_once(&world, 2, |peer, n| {
            let end: Transition = claimed.complete("summary").at(t(5)).into();
            async move { peer.commit(if n == 0 { end } else { expire(&expired, t(5)) }).await }
        })
        .await;

        let expected = match (&outcomes[0], &outcomes[1]) {
            (Outcome::Applied(_), Outcome::Gone) => ExecutionStatus::Completed,
            (Outcome::Gone, Outcome::Applied(_)) => ExecutionStatus::TimedOut,
            other => panic!("an end and a deadline met: {other:?}"),
        };
        same("status", world.status(id).await, expected);
    }
}

/// The caller that ends the task passes both on, so that the store knows what else changes.
async fn what_is_over_is_told_with_its_place_and_key(world: World) {
    let root = world.dispatch(world.call("charge").keyed(key("k")).expires(t(1))).await;
    let claimed = world.claim_one(t(0)).await;
    let map = world.map("ship");
    let (id, item) = (map.id, world.call("ship").expires(t(3)).due(t(9)));
    let step = world.call("ship").keyed(key("l")).expires(t(2)).due(t(9));
    let ids = [step.id, item.id];
    world.apply(claimed.park().with(step).with(map).items(id, [item]).feed(id, 1, Some(1))).await;

    let over = world.expired(t(4)).await;

    let execution = root.execution();
    let expected = [
        Expired { task: root, tree: Tree::root(execution), key: Some(key("k")), expires_at: t(1) },
        Expired { task: ids[0], tree: Tree::step(execution, root), key: Some(key("l")), expires_at: t(2) },
        Expired { task: ids[1], tree: Tree::item(execution, id, root), key: None, expires_at: t(3) },
    ];
    same("told", over, expected);
}
