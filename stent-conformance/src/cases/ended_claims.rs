//! Ended claims: the store's records of claims that ended badly.

use stent_core::WorkerId;
use stent_core::model::{ClaimEnd, EndedClaim};

use super::words::*;

list! { ended_claims:
    G13 a_failed_attempt_is_recorded,
    G13 the_last_failure_is_recorded_too,
    G13 a_lost_lease_is_recorded_when_it_is_taken_over,
    G13 a_shutdown_is_recorded,
    G13 each_is_counted_apart,
    G13 what_failed_before_it_was_written_is_recorded,
    G13 what_goes_well_is_not_recorded,
    G3 a_repeated_commit_is_recorded_once,
    G3 a_refused_write_is_not_recorded,
    G13 each_task_has_its_own,
    G13 the_history_is_in_order_and_outlives_a_crash,
    G16 the_history_leaves_with_its_execution,
    G14 failures_in_the_history_come_back_whole,
    G13 what_was_ended_from_outside_is_no_try,
    G13 a_committed_turn_leaves_the_history_as_it_is,
    G13 a_crash_loop_leaves_its_whole_history,
    G13 a_task_that_was_never_there_has_none,
    G13 ended_claims_of_a_batch_are_written_as_if_one_by_one,
    G2 handles_that_take_over_at_once_leave_one_try,
    G13 ended_claims_outlive_the_end,
    G4 a_step_that_leaves_the_record_takes_its_ended_claims_along,
}

async fn a_failed_attempt_is_recorded(world: World) {
    let claimed = world.running("charge").await;

    world.apply(claimed.retry(t(9), declined()).at(t(2))).await;

    let expected = ended(&claimed, world.worker, ClaimEnd::Failed, t(2), Some(declined()));
    same("ended claims", world.ended_claims(claimed.task.id).await, [expected]);
}

async fn the_last_failure_is_recorded_too(world: World) {
    let claimed = world.running("charge").await;

    world.apply(claimed.fail(declined()).at(t(2))).await;

    let ended_claims = world.ended_claims(claimed.task.id).await;
    same("how many", ended_claims.len(), 1);
    same(
        "the try",
        (ended_claims[0].end, ended_claims[0].at, ended_claims[0].failure.clone()),
        (ClaimEnd::Failed, t(2), Some(declined())),
    );
    same("attempts that were tried again", world.task(claimed.task.id).await.attempts, 0);
}

async fn a_lost_lease_is_recorded_when_it_is_taken_over(world: World) {
    let claimed = world.running("charge").await;
    same("before", world.ended_claims(claimed.task.id).await, Vec::new());

    let peer = world.peer().await;
    same("taken over", peer.claim_one(t(33)).await.lease.epoch.count, 2);

    let ended_claims = world.ended_claims(claimed.task.id).await;
    same("how many", ended_claims.len(), 1);
    same(
        "the try",
        (
            ended_claims[0].end,
            ended_claims[0].at,
            ended_claims[0].epoch,
            ended_claims[0].worker,
            ended_claims[0].failure.clone(),
        ),
        (ClaimEnd::Crashed, t(33), claimed.lease.epoch, Some(world.worker), None),
    );
    same("crashes", world.task(claimed.task.id).await.crashes, 1);
}

async fn a_shutdown_is_recorded(world: World) {
    let claimed = world.running("charge").await;

    world.apply(claimed.release().at(t(2))).await;

    let ended_claims = world.ended_claims(claimed.task.id).await;
    same("how many", ended_claims.len(), 1);
    same(
        "the try",
        (ended_claims[0].end, ended_claims[0].at, ended_claims[0].worker),
        (ClaimEnd::Released, t(2), Some(world.worker)),
    );
    same("shutdowns", world.task(claimed.task.id).await.releases, 1);
}

async fn each_is_counted_apart(world: World) {
    let id = world.dispatch(world.call("charge")).await;
    world.apply(world.claim_one(t(0)).await.retry(t(1), declined())).await;
    world.apply(world.claim_one(t(1)).await.release().at(t(2))).await;
    world.claim_one(t(2)).await;
    world.claim_one(t(40)).await;
    world.apply(world.claim_one(t(80)).await.release().at(t(80))).await;
    world.apply(world.claim_one(t(80)).await.release().at(t(80))).await;

    let claimed = world.claim_one(t(80)).await;

    let task = &claimed.task;
    same("counters", (task.attempts, task.crashes, task.releases), (1, 2, 3));
    let view = world.task(id).await;
    same("as readers see them", (view.attempts, view.crashes, view.releases), (1, 2, 3));
    let ends: Vec<_> = world.ended_claims(id).await.iter().map(|ended| ended.end).collect();
    use ClaimEnd::{Crashed, Failed, Released};
    same("history", ends, [Failed, Released, Crashed, Crashed, Released, Released]);
}

/// A step that ran under its parent's lease and is to be retried.
async fn what_failed_before_it_was_written_is_recorded(world: World) {
    let root = world.running("checkout").await;
    let step = world.call("ship").failed_before(1).failure(declined()).due(t(5));
    let id = step.id;

    world.apply(root.park().with(step).at(t(3))).await;

    let ended_claims = world.ended_claims(id).await;
    same("how many", ended_claims.len(), 1);
    same(
        "the try",
        (
            ended_claims[0].epoch,
            ended_claims[0].worker,
            ended_claims[0].end,
            ended_claims[0].at,
            ended_claims[0].failure.clone(),
        ),
        (Epoch::NEVER, None, ClaimEnd::Failed, t(3), Some(declined())),
    );
    let view = world.task(id).await;
    same("as readers see it", (view.attempts, view.failure), (1, Some(declined().message)));
    same("attempts at its first claim", world.claim_one(t(5)).await.task.attempts, 1);
}

async fn what_goes_well_is_not_recorded(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.park(), world.call("ship")).await;
    world.apply(step.complete("parcel")).await;
    let woken = world.claim_one(t(0)).await;
    world.apply(woken.keep()).await;
    world.apply(later(&woken, 1, 1).park_for(Wait::for_next(1).until(Some(t(500))))).await;
    world.apply(world.claim_one(t(500)).await.complete("summary")).await;

    for id in [root.task.id, step.task.id] {
        same("ended claims", world.ended_claims(id).await, Vec::new());
        same("crashes", world.task(id).await.crashes, 0);
    }
    same("of an unknown task", world.ended_claims(world.id()).await, Vec::new());
}

async fn a_repeated_commit_is_recorded_once(world: World) {
    let claimed = world.running("charge").await;
    let retry = claimed.retry(t(1), declined());
    world.apply(retry.clone()).await;
    already(world.commit(retry).await);
    let claimed = world.claim_one(t(1)).await;
    let release = claimed.release();
    world.commit_all([release.clone(), release]).await;

    same("ended claims", world.ended_claims(claimed.task.id).await.len(), 2);
    let view = world.task(claimed.task.id).await;
    same("counters", (view.attempts, view.releases), (1, 1));
}

async fn a_refused_write_is_not_recorded(world: World) {
    let stale = world.running("charge").await;
    world.claim_one(t(30)).await;

    for turn in [stale.retry(t(1), declined()), stale.fail(declined()), stale.release()] {
        same("outcome", world.commit(turn).await, Outcome::Fenced);
    }

    let ends: Vec<_> = world.ended_claims(stale.task.id).await.iter().map(|ended| ended.end).collect();
    same("ended claims", ends, [ClaimEnd::Crashed]);
}

async fn each_task_has_its_own(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.keep(), world.call("ship")).await;
    world.apply(step.retry(t(1), declined())).await;
    world.apply(later(&root, 1, 0).retry(t(1), declined())).await;

    same("of the root", world.ended_claims(root.task.id).await.len(), 1);
    same(
        "of the step",
        world.ended_claims(step.task.id).await.iter().map(|ended| ended.task).collect::<Vec<_>>(),
        [step.task.id],
    );
}

async fn the_history_is_in_order_and_outlives_a_crash(world: World) {
    let id = world.dispatch(world.call("charge")).await;
    let mut world = world;
    for n in 0..9 {
        let claimed = world.claim_one(t(n)).await;
        world.apply(claimed.retry(t(n + 1), Failure::new("Busy", n.to_string())).at(t(n))).await;
        world.crash_in_place().await;
    }

    let ended_claims = world.ended_claims(id).await;

    let messages: Vec<_> = ended_claims
        .iter()
        .map(|ended| ended.failure.as_ref().map(|failure| failure.message.clone()))
        .collect();
    same("in order", messages, (0..9).map(|n: i32| Some(n.to_string())).collect::<Vec<_>>());
    same(
        "epochs",
        ended_claims.iter().map(|ended| ended.epoch.count).collect::<Vec<_>>(),
        (1..=9).collect::<Vec<_>>(),
    );
}

async fn the_history_leaves_with_its_execution(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.keep(), world.call("ship")).await;
    world.apply(step.retry(t(99), declined())).await;
    let other = world.running("charge").await;
    world.apply(other.retry(t(99), declined())).await;
    world.apply(later(&root, 1, 0).complete("summary")).await;

    same("purged", world.purge(t(1), 9).await, 1);

    same("of what has left", world.ended_claims(step.task.id).await, Vec::new());
    same("of another", world.ended_claims(other.task.id).await.len(), 1);
}

async fn failures_in_the_history_come_back_whole(world: World) {
    let mut failure = Failure::new("Declined", "no funds\u{1F600}").with_trace("src/main.rs:7").fatal();
    failure.causes = vec!["é".to_owned(), String::new(), "'\"\\\n".to_owned()];
    failure.data = Some(Payload::new("application/cbor", vec![0, 255, 0]));
    let claimed = world.running("charge").await;

    world.apply(claimed.retry(t(1), failure.clone())).await;

    same("failure", world.ended_claims(claimed.task.id).await[0].failure.clone(), Some(failure));
}

/// An ended claim as it should be read.
fn ended(
    claimed: &Claimed,
    worker: WorkerId,
    end: ClaimEnd,
    at: Timestamp,
    failure: Option<Failure>,
) -> EndedClaim {
    let (task, execution, epoch) = (claimed.task.id, claimed.task.tree.execution, claimed.lease.epoch);
    let mut ended = EndedClaim::new(task, execution, epoch, end, at);
    (ended.worker, ended.failure) = (Some(worker), failure);
    ended
}

fn counts(claimed: &Claimed) -> (u32, u32, u32) {
    (claimed.task.attempts, claimed.task.crashes, claimed.task.releases)
}

async fn ends(world: &World, task: TaskId) -> Vec<ClaimEnd> {
    world.ended_claims(task).await.iter().map(|ended| ended.end).collect()
}

/// A task that timed out, or that was asked to end, did not fail by itself.
async fn what_was_ended_from_outside_is_no_try(world: World) {
    world.dispatch(world.call("charge").expires(t(5))).await;
    let expired = world.claim_one(t(0)).await;
    world.expire_all(t(6)).await;
    let asked = world.running("charge").await;
    world.apply(cancel(asked.task.id, 10, t(1))).await;
    world.apply(asked.fail(Failure::cancelled())).await;
    let dropped = world.running("checkout").await;
    let step = world.spawn(dropped.keep(), world.call("ship")).await;
    world.apply(later(&dropped, 1, 0).keep().cancel(step.task.id)).await;

    for (what, claimed) in [("time is up", &expired), ("asked to end", &asked), ("given up", &step)] {
        same(what, world.ended_claims(claimed.task.id).await, Vec::new());
    }
}

/// A committed turn resets the count of crashes; it does not change the history.
async fn a_committed_turn_leaves_the_history_as_it_is(world: World) {
    let lost = world.running("charge").await;
    let taken = world.claim_one(t(30)).await;
    same("claims so far", taken.task.uncommitted_claims, 2);

    world.apply(taken.park()).await;
    world.apply(taken.unpark().at(t(30))).await;

    let again = world.claim_one(t(30)).await;
    same("claims without a turn", again.task.uncommitted_claims, 1);
    same("counts", counts(&again), (0, 1, 0));
    same("ended claims", ends(&world, lost.task.id).await, [ClaimEnd::Crashed]);
}

/// A task that kills its workers ends as a dead letter with each of these claims on record.
async fn a_crash_loop_leaves_its_whole_history(world: World) {
    let id = world.dispatch(world.call("charge")).await;
    let mut moment = 0;
    let last = loop {
        let claimed = world.claim_one(t(moment)).await;
        if let Some(given_up) = stent_core::decide::crashed(&claimed, t(moment)) {
            world.apply(given_up).await;
            break claimed;
        }
        moment += 30;
    };

    let ended_claims = world.ended_claims(id).await;

    let crashes = limits::CRASHES_MAX as usize;
    same(
        "crashes",
        ended_claims[..crashes].iter().filter(|ended| ended.end == ClaimEnd::Crashed).count(),
        crashes,
    );
    let epochs: Vec<_> = ended_claims.iter().map(|ended| ended.epoch.count).collect();
    same("claims", epochs, (1..=last.lease.epoch.count).collect::<Vec<_>>());
    let kind = ended_claims[crashes].failure.as_ref().map(|failure| failure.kind.as_str());
    same("what ended it", kind, Some(Failure::CRASH_LOOP));
    same("dead letter", world.dead_letters().await[0].crashes, limits::CRASHES_MAX);
}

/// The history of an unknown id is empty.
async fn a_task_that_was_never_there_has_none(world: World) {
    let claimed = world.running("charge").await;
    world.apply(claimed.release()).await;

    same("ended claims", world.ended_claims(world.id()).await, Vec::new());
}

/// Failures of many tasks in one batch are recorded with their own task, and those of one task in order.
async fn ended_claims_of_a_batch_are_written_as_if_one_by_one(world: World) {
    world.dispatch_many(30, || world.call("charge")).await;
    let claimed = world.claim(30).await;
    let failure = |n: usize| Failure::new("Declined", format!("for the {n}th time"));

    let turns = claimed.iter().enumerate().map(|(n, claimed)| match n % 3 {
        0 => claimed.retry(t(900), failure(n)),
        1 => claimed.release().at(t(900)),
        _ => claimed.fail(failure(n)),
    });
    world.commit_all(turns.collect::<Vec<_>>()).await;

    for (n, claimed) in claimed.iter().enumerate() {
        let end = if n % 3 == 1 { ClaimEnd::Released } else { ClaimEnd::Failed };
        let at = if n % 3 == 1 { t(900) } else { t(0) };
        let expected = ended(claimed, world.worker, end, at, (n % 3 != 1).then(|| failure(n)));
        same("ended claims", world.ended_claims(claimed.task.id).await, [expected]);
    }
}

/// Many workers that find a lost task record its loss once: only one of them takes it over.
async fn handles_that_take_over_at_once_leave_one_try(world: World) {
    for _ in 0..5 {
        let lost = world.running("charge").await;

        let taken = at_once(&world, 5, |peer, _| async move { peer.claim(9).at(t(30)).await.pop() }).await;

        let taken: Vec<_> = taken.into_iter().flatten().collect();
        same("taken over", taken.iter().map(counts).collect::<Vec<_>>(), [(0, 1, 0)]);
        same("ended claims", ends(&world, lost.task.id).await, [ClaimEnd::Crashed]);
        world.apply(taken[0].complete("receipt")).await;
    }
}

/// The history stays although the task completed in the end.
async fn ended_claims_outlive_the_end(world: World) {
    let one = world.running("charge").await;
    world.apply(one.retry(t(0), declined())).await;
    let two = world.claim_one(t(0)).await;

    world.apply(two.complete("receipt")).await;

    same("ended claims", ends(&world, one.task.id).await, [ClaimEnd::Failed]);
    let view = world.execution(one.task.id).await.expect("is there");
    same("attempts", (view.status, view.attempts), (ExecutionStatus::Completed, 1));
}

/// A retried parent removes steps from its record; their history goes with them, at every depth.
async fn a_step_that_leaves_the_record_takes_its_ended_claims_along(world: World) {
    let root = world.running("checkout").await;
    let step = world.spawn(root.keep(), world.call("ship")).await;
    let below = world.spawn(step.keep(), world.call("pack")).await;
    world.apply(below.retry(t(900), declined())).await;
    world.apply(later(&step, 1, 0).fail(declined())).await;
    same("before", (ends(&world, step.task.id).await.len(), ends(&world, below.task.id).await.len()), (1, 1));

    world.apply(later(&root, 1, 1).retry(t(5), declined()).erase(step.task.id)).await;

    same("the step's", world.ended_claims(step.task.id).await, Vec::new());
    same("of what was below it", world.ended_claims(below.task.id).await, Vec::new());
    same("the root's", ends(&world, root.task.id).await, [ClaimEnd::Failed]);
}
