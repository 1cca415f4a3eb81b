//! Dead letters: executions that failed for good, until somebody redrives or discards them.

use stent_core::backend::Filter;
use stent_core::model::{Lane, Mark, Marks};

use super::words::*;

list! { dead_letter:
    G13 one_that_failed_for_good_is_listed,
    G13 a_crash_loop_is_listed_with_its_reason,
    G13 nothing_else_is_listed,
    G13 they_are_read_newest_first_in_pages,
    G13 they_are_read_newest_first_whenever_they_ended,
    G13 they_are_counted_by_reason_and_function,
    G13 the_largest_counts_are_read_if_there_are_more_than_asked_for,
    G13 one_is_read_by_its_id,
    G13 a_redriven_one_is_tried_again_at_once,
    G13 a_redriven_one_is_no_dead_letter,
    G13 a_redrive_is_told_with_the_claim_until_something_is_committed,
    G13 a_redrive_may_bring_another_policy,
    G13 a_redrive_may_move_the_root_to_another_queue,
    G13 one_that_moved_is_read_on_its_new_queue_only,
    G13 one_that_moved_keeps_its_tags_and_its_limit,
    G3 a_redrive_that_is_repeated_moves_nothing,
    G13 what_was_recorded_is_still_there,
    G13 what_is_done_again_costs_no_attempt,
    G13 one_that_fails_again_is_listed_again,
    G3 redriving_again_is_told_so,
    G7 only_a_dead_letter_can_be_redriven,
    G13 its_old_deadline_does_not_count,
    G13 a_redriven_one_can_be_cancelled,
    G13 a_discarded_one_stays_failed_and_is_not_listed,
    G3 discarding_again_is_told_so,
    G7 only_a_dead_letter_can_be_discarded,
    G13 they_outlive_a_crash,
    G13 those_who_waited_keep_the_failure,
    G4 a_map_that_ended_after_its_owner_is_open_no_more,
    G3 of_many_redrives_at_once_one_counts,
    G7 redrive_and_discard_race_and_one_of_them_wins,
}

/// An execution that has failed for good.
async fn dead(world: &World) -> TaskId {
    let claimed = world.running("charge").await;
    world.apply(claimed.fail(declined())).await;
    claimed.task.id
}

async fn listed(world: &World) -> Vec<TaskId> {
    world.dead_letters().await.iter().map(|letter| letter.execution.id.root()).collect()
}

async fn one_that_failed_for_good_is_listed(world: World) {
    let policy = RetryPolicy::default().max_attempts(2);
    let call = world.call("charge").on("eu").tags(["gpu"]).priority(4).args(text("42")).retry(policy.clone());
    let id = world.dispatch(call).await;
    world.apply(world.claim_one(t(0)).await.release().at(t(1))).await;
    world.apply(world.claim_one(t(1)).await.retry(t(2), Failure::new("Busy", "later"))).await;
    world.claim_one(t(2)).await;
    let mut failure = Failure::new("Declined", "é").with_trace("here");
    failure.causes = vec!["no funds".to_owned()];
    world.apply(world.claim_one(t(40)).await.fail(failure.clone()).at(t(41))).await;

    let letters = world.dead_letters().await;

    same("how many", letters.len(), 1);
    let letter = &letters[0];
    same("execution", Some(letter.execution.clone()), world.execution(id).await);
    same("status", letter.execution.status, ExecutionStatus::Failed);
    same("failure", letter.execution.result.clone(), Some(Err(failure)));
    same("ended", letter.execution.ended_at, Some(t(41)));
    same("arguments", letter.args.clone(), text("42"));
    same("policy", letter.retry.clone(), Some(policy));
    same("counters", (letter.attempts, letter.crashes, letter.releases), (1, 1, 1));
}

async fn a_crash_loop_is_listed_with_its_reason(world: World) {
    let id = world.dispatch(world.call("charge")).await;
    let mut last = None;
    for round in 0..=limits::CRASHES_MAX {
        last = Some(world.claim_one(t(30 * i64::from(round))).await);
    }
    let claimed = last.expect("a claim");
    let end = stent_core::decide::crashed(&claimed, t(301)).expect("too many crashes");

    world.apply(end).await;

    let letter = world.store().dead_letter(id.execution()).await.expect("a read").expect("it is listed");
    same("crashes", letter.crashes, limits::CRASHES_MAX);
    let failure = letter.execution.result.expect("a result").expect_err("a failure");
    same("reason", failure.kind.as_str(), Failure::CRASH_LOOP);
    same("history", world.ended_claims(id).await.len(), limits::CRASHES_MAX as usize + 1);
}

async fn nothing_else_is_listed(world: World) {
    let completed = world.running("checkout").await;
    world.apply(completed.complete("summary")).await;
    let cancelled = world.dispatch(world.call("checkout")).await;
    world.apply(cancel(cancelled, 1, t(0))).await;
    world.dispatch(world.call("checkout").due(t(99)).expires(t(1))).await;
    world.expire_all(t(1)).await;
    let retried = world.running("checkout").await;
    world.apply(retried.retry(t(99), declined())).await;
    let discarded = dead(&world).await;
    world.apply(discard(discarded)).await;
    let redriven = dead(&world).await;
    world.apply(redrive(redriven)).await;
    world.apply(world.claim_one(t(0)).await.complete("receipt")).await;
    // A failed step is its parent's concern.
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.park(), world.call("ship")).await;
    world.apply(step.fail(declined())).await;

    same("listed", listed(&world).await, []);
    same("counted", world.store().dead_letter_stats(usize::MAX).await.expect("stats"), Vec::new());
    same("a step", world.store().dead_letter(step.task.id.execution()).await.expect("a read"), None);
}

async fn they_are_read_newest_first_in_pages(world: World) {
    let mut ids = Vec::new();
    for _ in 0..12 {
        ids.push(dead(&world).await);
        let ended = world.running("ship").await;
        world.apply(ended.complete("parcel")).await;
    }
    ids.reverse();

    let (mut read, mut before) = (Vec::new(), None);
    loop {
        let page = world.store().dead_letters(before, 5).await.expect("a page");
        read.extend(page.iter().map(|letter| letter.execution.id.root()));
        before = read.last().map(|id: &TaskId| id.execution());
        if page.len() < 5 {
            break;
        }
    }

    same("newest first, each once", read, ids);
    same("none asked for", world.store().dead_letters(None, 0).await.expect("a page").len(), 0);
}

async fn the_largest_counts_are_read_if_there_are_more_than_asked_for(world: World) {
    for function in ["charge", "ship", "ship", "mail", "mail", "mail"] {
        let claimed = world.running(function).await;
        world.apply(claimed.fail(Failure::new("Lost", "x"))).await;
    }
    let read = async |max| {
        let stats = world.store().dead_letter_stats(max).await.expect("stats");
        stats.into_iter().map(|stat| (stat.function, stat.count)).collect::<Vec<_>>()
    };

    same("two of three", read(2).await, [("mail".to_owned(), 3), ("ship".to_owned(), 2)]);
    same("none", read(0).await, []);
}

async fn they_are_counted_by_reason_and_function(world: World) {
    for (function, kind) in
        [("charge", "Declined"), ("ship", "Lost"), ("charge", "Declined"), ("charge", "Busy")]
    {
        let claimed = world.running(function).await;
        world.apply(claimed.fail(Failure::new(kind, "x"))).await;
    }

    let stats = world.store().dead_letter_stats(usize::MAX).await.expect("stats");

    let mut counted: Vec<_> =
        stats.iter().map(|stat| (stat.reason.as_str(), stat.function.as_str(), stat.count)).collect();
    counted.sort_unstable();
    same("counted", counted, [("Busy", "charge", 1), ("Declined", "charge", 2), ("Lost", "ship", 1)]);
}

async fn one_is_read_by_its_id(world: World) {
    let id = dead(&world).await;
    let other = world.running("checkout").await;

    let read = async |id: TaskId| world.store().dead_letter(id.execution()).await.expect("a read");

    same("it", read(id).await.map(|letter| letter.execution.id), Some(id.execution()));
    same("one that runs", read(other.task.id).await, None);
    same("an unknown one", read(world.id()).await, None);
}

async fn a_redriven_one_is_tried_again_at_once(world: World) {
    let id = world.dispatch(world.call("charge")).await;
    world.apply(world.claim_one(t(0)).await.retry(t(1), declined())).await;
    world.apply(world.claim_one(t(1)).await.fail(declined())).await;

    world.apply(redrive(id).at(t(5))).await;

    let view = world.execution(id).await.expect("is there");
    same("execution", (view.status, view.ended_at, view.result), (ExecutionStatus::Running, None, None));
    let claimed = world.claim_one(t(5)).await;
    let task = &claimed.task;
    same("claimed", (task.id, task.epoch.count, task.marks), (id, 3, Marks::of(Mark::Redrive)));
    same("attempts and claims start anew", (task.attempts, task.uncommitted_claims), (0, 1));
    world.apply(claimed.complete("receipt").at(t(6))).await;
    same("result", world.result(id).await, Some(Ok(text("receipt"))));
    same("history", world.ended_claims(id).await.len(), 2);
}

async fn a_redriven_one_is_no_dead_letter(world: World) {
    let id = dead(&world).await;

    world.apply(redrive(id)).await;

    same("listed", listed(&world).await, []);
    same("read by its id", world.store().dead_letter(id.execution()).await.expect("a read"), None);
    same("purged as one", world.purge_of(stent_core::backend::Purge::DeadLetters, t(99), 9).await, 0);
}

async fn a_redrive_is_told_with_the_claim_until_something_is_committed(world: World) {
    let id = dead(&world).await;
    world.apply(redrive(id)).await;

    // A shutdown and a crash do not change its state.
    world.apply(world.claim_one(t(0)).await.release()).await;
    same("after a shutdown", world.claim_one(t(0)).await.task.marks, Marks::of(Mark::Redrive));
    let again = world.claim_one(t(30)).await;
    same("after a crash", again.task.marks, Marks::of(Mark::Redrive));
    world.apply(again.park_for(Wait::for_next(0).until(Some(t(31))))).await;

    same("after a turn", world.claim_one(t(31)).await.task.marks, Marks::NONE);
}

async fn a_redrive_may_bring_another_policy(world: World) {
    let policy = |max_attempts| RetryPolicy::default().max_attempts(max_attempts).jitter(0.5);
    let id = world.dispatch(world.call("charge").retry(policy(1))).await;
    world.apply(world.claim_one(t(0)).await.fail(declined())).await;

    world.apply(redrive(id)).await;
    let claimed = world.claim_one(t(0)).await;
    same("none leaves what there is", claimed.task.retry.clone(), Some(policy(1)));
    world.apply(claimed.fail(declined())).await;

    world.apply(redrive_by(id, policy(9))).await;
    let world = world.crash().await;
    let claimed = world.claim_one(t(0)).await;
    same("another one is stored", claimed.task.retry.clone(), Some(policy(9)));
    world.apply(claimed.fail(declined())).await;
    same("and listed", world.dead_letters().await[0].retry.clone(), Some(policy(9)));
}

async fn a_redrive_may_move_the_root_to_another_queue(world: World) {
    let (id, [good, bad]) = dead_at_a_step(&world).await;

    world.apply(redrive_on(id, "eu").at(t(5))).await;

    let world = world.crash().await;
    same("on the old queue", world.claim(9).queues(["default"]).at(t(99)).await.len(), 0);
    let mut claimed = world.claim(9).queues(["eu"]).at(t(5)).await;
    same("on the new queue", claimed.iter().map(|claimed| claimed.task.id).collect::<Vec<_>>(), [id]);
    let claimed = claimed.remove(0);
    same("lane", claimed.task.lane.clone(), Lane::new("eu", "checkout"));
    same("what it carries", (claimed.task.marks, claimed.task.attempts), (Marks::of(Mark::Redrive), 0));
    same("what went well", given(&claimed.steps, good), Some(Ok(text("receipt"))));

    // A step that is asked for again has the queue that it is given, and the root keeps its new one.
    world.apply(claimed.redo().erase(bad).at(t(6))).await;
    let again = world.claim(9).queues(["eu"]).at(t(6)).await.remove(0);
    world.apply(again.park().with(world.call("ship")).at(t(6))).await;
    let step = world.claim(9).queues(["default"]).at(t(6)).await.remove(0);
    same("the step", (step.task.id != bad, step.task.lane.clone()), (true, Lane::new("default", "ship")));
    world.apply(step.complete("parcel").at(t(7))).await;
    let woken = world.claim(9).queues(["eu"]).at(t(7)).await.remove(0);
    world.apply(woken.fail(declined()).at(t(8))).await;

    world.apply(redrive(id).at(t(9))).await;
    same("a redrive without a queue", world.claim(9).queues(["eu"]).at(t(9)).await.len(), 1);
}

async fn one_that_moved_is_read_on_its_new_queue_only(world: World) {
    let id = dead(&world).await;
    let other = dead(&world).await;
    world.apply(redrive_on(id, "eu").at(t(1))).await;

    let on = async |queue: &str| {
        let filter = Filter::default().queue(queue);
        let page = world.store().list(&filter, None, 9).await.expect("a page");
        page.into_iter().map(|view| view.id.root()).collect::<Vec<_>>()
    };
    let lanes = async || {
        let lanes = world.store().lanes(t(9), 9).await.expect("lanes");
        lanes.into_iter().map(|view| (view.lane.to_string(), view.due)).collect::<Vec<_>>()
    };

    same("view", world.execution(id).await.map(|view| view.queue), Some("eu".to_owned()));
    same("listed on the new queue", on("eu").await, [id]);
    same("listed on the old queue", on("default").await, [other]);
    same("waiting", lanes().await, [("eu/charge".to_owned(), 1)]);

    let claimed = world.claim(9).queues(["eu"]).at(t(1)).await.remove(0);
    let running = world.store().running(9).await.expect("running");
    same("running", running.into_iter().map(|view| view.queue).collect::<Vec<_>>(), ["eu"]);
    world.apply(claimed.fail(declined()).at(t(2))).await;
    let letters = world.dead_letters().await;
    let letter = letters.iter().find(|letter| letter.execution.id.root() == id).expect("it is listed again");
    same("dead letter", letter.execution.queue.as_str(), "eu");

    world.purge_of(stent_core::backend::Purge::DeadLetters, t(99), 9).await;
    same("listed once it is gone", (on("eu").await, on("default").await), (vec![], vec![]));
}

async fn one_that_moved_keeps_its_tags_and_its_limit(world: World) {
    let call = world.call("charge").tags(["gpu"]).priority(4);
    let id = world.dispatch(call).await;
    world.apply(world.claim_one(t(0)).await.fail(declined())).await;
    world.dispatch(world.call("charge")).await;
    let other = world.claim(9).limit("charge", 1).await.remove(0);

    world.apply(redrive_on(id, "eu")).await;

    let full = world.claim(9).queues(["eu", "default"]).limit("charge", 1).at(t(1)).await;
    same("beside a task of the old queue, which has the slot", full.len(), 0);
    world.apply(other.complete("receipt").at(t(1))).await;

    same("for other tags", world.claim(9).queues(["eu"]).tags(["cpu"]).at(t(1)).await.len(), 0);
    let mut mine = world.claim(9).queues(["eu"]).tags(["gpu"]).limit("charge", 1).at(t(1)).await;
    same("for its tags", mine.len(), 1);
    let task = mine.remove(0).task;
    same("lane", (task.lane, task.priority), (Lane::new("eu", "charge").with_tags(["gpu"]), 4));
}

async fn a_redrive_that_is_repeated_moves_nothing(world: World) {
    let id = dead(&world).await;

    let outcomes = world.commit_all([redrive_on(id, "eu"), redrive_on(id, "us"), redrive(id)]).await;

    applied(outcomes[0].clone());
    already(outcomes[1].clone());
    already(outcomes[2].clone());
    let before = world.snapshot().await;
    let world = world.crash().await;
    already(world.commit(redrive_on(id, "us").at(t(5))).await);
    world.snapshot().await.expect_same("reviving again changed something", &before);
    same("claimed", world.claim(9).queues(["eu"]).at(t(0)).await.len(), 1);
    let ended = world.running("charge").await;
    world.apply(ended.complete("receipt")).await;
    same("not a dead letter", world.commit(redrive_on(ended.task.id, "eu")).await, Outcome::Gone);
    same(
        "its queue",
        world.execution(ended.task.id).await.map(|view| view.queue),
        Some("default".to_owned()),
    );
}

/// A dead letter that failed at a step, after another step that completed.
async fn dead_at_a_step(world: &World) -> (TaskId, [TaskId; 2]) {
    let root = world.running("checkout").await;
    let good = world.spawn(root.keep(), world.call("charge")).await;
    world.apply(good.complete("receipt")).await;
    let bad = world.spawn(later(&root, 1, 1).keep(), world.call("ship")).await;
    world.apply(bad.fail(declined())).await;
    world.apply(later(&root, 2, 2).fail(declined())).await;
    (root.task.id, [good.task.id, bad.task.id])
}

async fn what_was_recorded_is_still_there(world: World) {
    let (id, [good, bad]) = dead_at_a_step(&world).await;

    world.apply(redrive(id)).await;

    let claimed = world.claim_one(t(0)).await;
    same("done", claimed.task.done, 2);
    same("what went well", given(&claimed.steps, good), Some(Ok(text("receipt"))));
    same("what failed", given(&claimed.steps, bad), Some(Err(declined())));
}

async fn what_is_done_again_costs_no_attempt(world: World) {
    let (id, [good, bad]) = dead_at_a_step(&world).await;
    world.apply(redrive(id)).await;
    let claimed = world.claim_one(t(0)).await;

    let redo = claimed.redo().erase(bad).at(t(2));
    world.apply(redo.clone()).await;
    already(world.commit(redo).await);

    let again = world.claim_one(t(2)).await;
    same(
        "counters",
        (again.task.attempts, again.task.uncommitted_claims, again.task.marks),
        (0, 1, Marks::NONE),
    );
    same("the record", again.steps.iter().map(|step| step.id).collect::<Vec<_>>(), [good]);
    same("the failed step", world.find(bad).await, None);
}

async fn one_that_fails_again_is_listed_again(world: World) {
    let id = dead(&world).await;
    world.apply(redrive(id)).await;

    let failure = Failure::new("Busy", "again");
    world.apply(world.claim_one(t(0)).await.fail(failure.clone()).at(t(9))).await;

    let letters = world.dead_letters().await;
    same("listed", letters.len(), 1);
    same("failure", letters[0].execution.result.clone(), Some(Err(failure)));
    same("ended", letters[0].execution.ended_at, Some(t(9)));
    world.apply(redrive(id)).await;
    same("redriven again", world.claim_one(t(0)).await.task.id, id);
}

async fn redriving_again_is_told_so(world: World) {
    let id = dead(&world).await;
    let outcomes = world.commit_all([redrive(id), redrive(id)]).await;
    applied(outcomes[0].clone());
    already(outcomes[1].clone());
    let claimed = world.claim_one(t(0)).await;
    let before = world.snapshot().await;

    already(world.commit(redrive(id).at(t(5))).await);

    world.snapshot().await.expect_same("reviving again changed something", &before);
    world.apply(claimed.complete("receipt")).await;
}

async fn only_a_dead_letter_can_be_redriven(world: World) {
    let completed = world.running("checkout").await;
    world.apply(completed.complete("summary")).await;
    let running = world.running("checkout").await;
    let parked = world.running("checkout").await;
    world.apply(parked.park()).await;
    let cancelled = world.dispatch(world.call("checkout")).await;
    world.apply(cancel(cancelled, 1, t(0))).await;
    let over = world.dispatch(world.call("checkout").due(t(99)).expires(t(1))).await;
    world.expire_all(t(1)).await;
    let discarded = dead(&world).await;
    world.apply(discard(discarded)).await;
    let purged = dead(&world).await;
    world.purge_of(stent_core::backend::Purge::DeadLetters, t(99), 1).await;
    let before = world.snapshot().await;

    let unknown = world.id();
    for id in
        [completed.task.id, running.task.id, parked.task.id, cancelled, over, discarded, purged, unknown]
    {
        same("outcome", world.commit(redrive(id)).await, Outcome::Gone);
    }

    world.snapshot().await.expect_same("something was redriven", &before);
}

async fn its_old_deadline_does_not_count(world: World) {
    let id = world.dispatch(world.call("charge").expires(t(5))).await;
    world.apply(world.claim_one(t(0)).await.fail(declined())).await;

    world.apply(redrive(id).at(t(9))).await;

    same("over", world.expired(t(99)).await, Vec::new());
    world.apply(world.claim_one(t(9)).await.complete("receipt").at(t(10))).await;
    same("status", world.status(id).await, ExecutionStatus::Completed);
}

async fn a_redriven_one_can_be_cancelled(world: World) {
    let id = dead(&world).await;
    world.apply(redrive(id)).await;

    world.apply(cancel(id, 10, t(1))).await;

    same("status", world.status(id).await, ExecutionStatus::Cancelled);
    same("listed", listed(&world).await, []);
    same("redriven then", world.commit(redrive(id)).await, Outcome::Gone);
}

async fn a_discarded_one_stays_failed_and_is_not_listed(world: World) {
    let id = dead(&world).await;
    let other = dead(&world).await;
    let before = world.execution(id).await;

    world.apply(discard(id)).await;

    same("listed", listed(&world).await, [other]);
    same("the execution", world.execution(id).await, before);
    same("its mark", world.task(id).await.marks, Marks::of(Mark::Discard));
    same("claimed", world.claim(9).at(t(99)).await.len(), 0);
}

async fn discarding_again_is_told_so(world: World) {
    let id = dead(&world).await;

    let outcomes = world.commit_all([discard(id), discard(id)]).await;

    applied(outcomes[0].clone());
    already(outcomes[1].clone());
    already(world.crash().await.commit(discard(id)).await);
}

async fn only_a_dead_letter_can_be_discarded(world: World) {
    let completed = world.running("checkout").await;
    world.apply(completed.complete("summary")).await;
    let running = world.running("checkout").await;
    let cancelled = world.dispatch(world.call("checkout")).await;
    world.apply(cancel(cancelled, 1, t(0))).await;
    let redriven = dead(&world).await;
    world.apply(redrive(redriven)).await;
    let before = world.snapshot().await;

    for id in [completed.task.id, running.task.id, cancelled, redriven, world.id()] {
        same("outcome", world.commit(discard(id)).await, Outcome::Gone);
    }

    world.snapshot().await.expect_same("something was discarded", &before);
}

async fn they_outlive_a_crash(world: World) {
    let id = dead(&world).await;
    let before = world.dead_letters().await;

    let world = world.crash().await;

    same("listed", world.dead_letters().await, before);
    world.apply(redrive(id)).await;
    let world = world.crash().await;
    same("claimed", world.claim_one(t(0)).await.task.marks, Marks::of(Mark::Redrive));
}

async fn those_who_waited_keep_the_failure(world: World) {
    let failing = world.running("charge").await;
    let root = world.running("checkout").await;
    let join = world.join(failing.task.id);
    let joined = join.id;
    world.apply(root.park().with(join)).await;
    world.apply(failing.fail(declined())).await;

    world.apply(redrive(failing.task.id)).await;
    let claimed = world.claim(9).await;
    let redriven = claimed.iter().find(|claimed| claimed.task.id == failing.task.id).expect("it is due");
    world.apply(redriven.complete("receipt")).await;

    let woken = claimed.iter().find(|claimed| claimed.task.id == root.task.id).expect("it was woken");
    same("told", given(&woken.steps, joined), Some(Err(declined())));
    let again = world.join(failing.task.id);
    let id = again.id;
    let news = world.apply(woken.keep().with(again)).await;
    same("one who asks now", given(&news.steps, id), Some(Ok(text("receipt"))));
}

/// A worker that has the owner in its cache gets maps whose items may have continued.
async fn a_map_that_ended_after_its_owner_is_open_no_more(world: World) {
    for ended in [true, false] {
        let owner = world.running("checkout").await;
        let map = world.map("ship");
        let id = map.id;
        let turn = owner.fail(declined()).with(map).items(id, [world.call("ship")]).feed(id, 1, None);
        world.apply(turn).await;
        let item = world.claim_one(t(0)).await;
        if ended {
            world.apply(item.fail(declined())).await;
        }
        world.apply(redrive(owner.task.id)).await;

        let memory = Memory::of(owner.fence.next(), 0);
        let again = world.claim(1).functions(["checkout"]).cache(&memory).await.remove(0);

        same("recalled", again.cached, Some(0));
        let open: Vec<_> = again.steps.iter().map(|step| step.id).collect();
        same("maps that may go on", open, if ended { vec![] } else { vec![id] });
        world.apply(again.complete("summary")).await;
    }
}

async fn of_many_redrives_at_once_one_counts(world: World) {
    for _ in 0..10 {
        let id = dead(&world).await;

        let outcomes = at_once(&world, 6, |peer, _| async move { peer.commit(redrive(id)).await }).await;

        assert!(outcomes.iter().all(Outcome::stands), "{outcomes:?}");
        let applied = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Applied(_))).count();
        same("applied", applied, 1);
        world.apply(world.claim_one(t(0)).await.complete("receipt")).await;
    }
}

async fn redrive_and_discard_race_and_one_of_them_wins(world: World) {
    for _ in 0..20 {
        let id = dead(&world).await;

        let outcomes = at_once(&world, 2, |peer, n| async move {
            peer.commit(if n == 0 { redrive(id) } else { discard(id) }).await
        })
        .await;

        match (&outcomes[0], &outcomes[1]) {
            (Outcome::Applied(_), Outcome::Gone) => {
                world.apply(world.claim_one(t(0)).await.complete("receipt")).await;
            }
            (Outcome::Gone, Outcome::Applied(_)) => same("claimed", world.claim(9).await.len(), 0),
            other => panic!("a revival and a discard met: {other:?}"),
        }
    }
}

/// Newest by id: a page is requested by the last id of the page before, and executions that end meanwhile must not shift it.
async fn they_are_read_newest_first_whenever_they_ended(world: World) {
    let mut ids = Vec::new();
    for n in 0..12 {
        let claimed = world.running("charge").await;
        world.apply(claimed.fail(declined()).at(t((n * 7) % 12))).await;
        ids.push(claimed.task.id);
    }
    ids.reverse();

    let (mut read, mut before) = (Vec::new(), None);
    loop {
        let page = world.store().dead_letters(before, 5).await.expect("a page");
        read.extend(page.iter().map(|letter| letter.execution.id.root()));
        before = read.last().map(|id: &TaskId| id.execution());
        if page.len() < 5 {
            break;
        }
    }

    same("newest first, each once", read, ids);
}
