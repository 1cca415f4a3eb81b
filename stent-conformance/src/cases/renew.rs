//! Leases that are extended, and leases that are lost.

use super::fate::dropped_after;
use super::words::*;

list! { renew:
    G2 a_renewed_lease_keeps_others_out,
    G2 a_lease_ends_when_its_last_renewal_says,
    G2 a_lease_that_ran_out_can_be_renewed_while_nobody_has_claimed,
    G2 a_lease_is_lost_once_another_has_claimed,
    G2 the_lease_of_an_ended_task_is_lost,
    G2 the_lease_of_a_task_that_was_given_back_is_lost,
    G15 the_lease_of_a_cancelled_task_is_lost,
    G2 the_lease_of_an_unknown_task_is_lost,
    G2 answers_stand_in_the_order_of_the_leases,
    G2 many_leases_are_answered_one_by_one,
    G2 a_renewal_counts_on_every_handle,
    G2 a_renewal_outlives_a_crash,
    G3 a_dropped_renewal_is_made_again,
    G3 renewing_leaves_the_fence_alone,
    G13 renewing_is_no_progress,
}

async fn renew(world: &World, claimed: &[&Claimed], until: Timestamp) -> Vec<Renewal> {
    let leases: Vec<_> = claimed.iter().map(|claimed| claimed.lease).collect();
    let answers = world.store().renew(&leases, t(0), until).await.expect("renew");
    world.note(format_args!("renew {leases:?} until {until} -> {answers:?}"));
    answers
}

async fn a_renewed_lease_keeps_others_out(world: World) {
    let claimed = world.running("charge").await;

    same("answer", renew(&world, &[&claimed], t(50)).await, [Renewal::Renewed]);

    same("claimed before the new end", world.claim(5).at(t(49)).await.len(), 0);
    same("claimed at the new end", world.claim_one(t(50)).await.lease.epoch.count, 2);
}

async fn a_lease_that_ran_out_can_be_renewed_while_nobody_has_claimed(world: World) {
    let claimed = world.running("charge").await;

    same("answer", renew(&world, &[&claimed], t(900)).await, [Renewal::Renewed]);

    same("claimed", world.claim(5).at(t(800)).await.len(), 0);
    world.apply(claimed.complete("receipt").at(t(800))).await;
}

async fn a_lease_is_lost_once_another_has_claimed(world: World) {
    let old = world.running("charge").await;
    let new = world.peer().await.claim_one(t(30)).await;

    same("answer", renew(&world, &[&old], t(900)).await, [Renewal::Lost]);

    same("the other's lease runs on", world.claim_one(t(60)).await.lease.epoch.count, 3);
    same("answer", renew(&world, &[&new], t(900)).await, [Renewal::Lost]);
}

async fn the_lease_of_an_ended_task_is_lost(world: World) {
    let completed = world.running("charge").await;
    world.apply(completed.complete("receipt")).await;
    let failed = world.running("charge").await;
    world.apply(failed.fail(declined())).await;

    same("answers", renew(&world, &[&completed, &failed], t(50)).await, [Renewal::Lost; 2]);

    same("claimed", world.claim(5).at(t(99)).await.len(), 0);
}

async fn the_lease_of_a_task_that_was_given_back_is_lost(world: World) {
    let parked = world.running("charge").await;
    world.apply(parked.park()).await;
    let retried = world.running("charge").await;
    world.apply(retried.retry(t(5), declined())).await;
    let released = world.running("charge").await;
    world.apply(released.release().at(t(5))).await;

    same("answers", renew(&world, &[&parked, &retried, &released], t(50)).await, [Renewal::Lost; 3]);

    same("claimed", world.claim(5).at(t(5)).ids().await, [retried.task.id, released.task.id]);
}

async fn the_lease_of_a_cancelled_task_is_lost(world: World) {
    let parent = world.running("checkout").await;
    let step = world.spawn(parent.keep(), world.call("ship")).await;
    world.apply(later(&parent, 1, 0).keep().cancel(step.task.id)).await;

    same("answers", renew(&world, &[&step, &parent], t(50)).await, [Renewal::Lost, Renewal::Renewed]);
}

async fn the_lease_of_an_unknown_task_is_lost(world: World) {
    let mut nobody = world.running("charge").await;
    nobody.lease.task = world.id();

    same("answer", renew(&world, &[&nobody], t(50)).await, [Renewal::Lost]);
}

async fn answers_stand_in_the_order_of_the_leases(world: World) {
    world.dispatch_many(6, || world.call("charge")).await;
    let claimed = world.claim(6).await;
    for lost in [1, 4] {
        world.apply(claimed[lost].complete("receipt")).await;
    }

    let leases: Vec<_> = [5, 4, 3, 2, 1, 0, 3].map(|n: usize| &claimed[n]).into();
    let answers = renew(&world, &leases, t(50)).await;

    let lost: Vec<_> = answers.iter().map(|answer| *answer == Renewal::Lost).collect();
    same("which are lost", lost, [false, true, false, false, true, false, false]);
    same("nothing asked, nothing answered", renew(&world, &[], t(50)).await, []);
}

async fn renewing_leaves_the_fence_alone(world: World) {
    let claimed = world.running("charge").await;
    renew(&world, &[&claimed], t(50)).await;
    renew(&world, &[&claimed], t(70)).await;

    world.apply(claimed.keep()).await;
    renew(&world, &[&claimed], t(90)).await;
    world.apply(later(&claimed, 1, 0).complete("receipt")).await;
}

async fn renewing_is_no_progress(world: World) {
    let claimed = world.running("charge").await;
    renew(&world, &[&claimed], t(50)).await;

    same("uncommitted claims", world.claim_one(t(50)).await.task.uncommitted_claims, 2);
}

/// More than one statement, or one script, may take; every third lease is lost.
async fn many_leases_are_answered_one_by_one(world: World) {
    const LEASES: usize = 400;
    world.dispatch_many(LEASES, || world.call("charge")).await;
    let claimed = world.claim(LEASES).await;
    let ends = claimed.iter().step_by(3).map(|claimed| claimed.complete("receipt"));
    world.commit_all(ends.collect::<Vec<_>>()).await;

    let answers = renew(&world, &claimed.iter().rev().collect::<Vec<_>>(), t(900)).await;

    let lost: Vec<_> = answers.iter().rev().map(|answer| *answer == Renewal::Lost).collect();
    same("which are lost", lost, (0..LEASES).map(|n| n % 3 == 0).collect::<Vec<_>>());
    same("claimed", world.claim(LEASES).at(t(899)).await.len(), 0);
    let left = LEASES - LEASES.div_ceil(3);
    same("claimed at the new end", world.claim(LEASES).at(t(900)).await.len(), left);
}

async fn a_renewal_counts_on_every_handle(world: World) {
    let claimed = world.running("charge").await;
    let (one, other) = (world.peer().await, world.peer().await);

    same("answer", renew(&one, &[&claimed], t(50)).await, [Renewal::Renewed]);

    same("claimed by another", other.claim(5).at(t(49)).await.len(), 0);
    same("claimed by another at the new end", other.claim_one(t(50)).await.lease.epoch.count, 2);
    same("answer to the first holder", renew(&one, &[&claimed], t(90)).await, [Renewal::Lost]);
}

async fn a_renewal_outlives_a_crash(world: World) {
    let claimed = world.running("charge").await;
    renew(&world, &[&claimed], t(50)).await;

    let world = world.crash().await;

    same("claimed", world.claim(5).at(t(49)).await.len(), 0);
    same("answer", renew(&world, &[&claimed], t(60)).await, [Renewal::Renewed]);
    same("claimed at the new end", world.claim_one(t(60)).await.lease.epoch.count, 2);
}

async fn a_dropped_renewal_is_made_again(world: World) {
    for polls in [0, 1, 2, 5, 20, 80] {
        let claimed = world.running("charge").await;
        dropped_after(polls, world.store().renew(&[claimed.lease], t(0), t(60))).await;

        same("answer", renew(&world, &[&claimed], t(60)).await, [Renewal::Renewed]);

        same("claimed", world.claim(5).at(t(59)).await.len(), 0);
        world.apply(claimed.complete("receipt")).await;
    }
}

/// Also if that is earlier than before: the worker that renews knows how long it needs.
async fn a_lease_ends_when_its_last_renewal_says(world: World) {
    let claimed = world.running("charge").await;
    same("answer", renew(&world, &[&claimed], t(90)).await, [Renewal::Renewed]);
    same("answer", renew(&world, &[&claimed], t(20)).await, [Renewal::Renewed]);

    same("claimed before", world.claim(9).at(t(20) - Duration::from_micros(1)).await.len(), 0);
    same("claimed then", world.claim(9).at(t(20)).await.len(), 1);
}
