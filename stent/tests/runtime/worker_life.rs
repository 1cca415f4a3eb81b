//! Workers: draining, stopping, leases, queues, crash loops.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stent::backend::limits::CRASHES_MAX;
use stent::backend::model::Nonce;
use stent::backend::{ClaimRequest, NoStickyCache, Store};
use stent::metrics::{LeaseLoss, LeaseLost, TaskClaimed};
use stent::prelude::*;
use stent::{
    ExecutionStatus, Failure, Metrics, PollOptions, Registry, TaskId, Timestamp, WorkerBuilder, WorkerId,
};

use crate::rigged::Rigged;
use crate::{Db, World, logs, on_every_store, ran, unique, until};

#[durable]
async fn quick(n: u64) -> Result<u64, String> {
    Ok(n)
}

#[durable]
async fn slow(key: u64, ms: u64) -> Result<u64, String> {
    ran::note(key, "started");
    tokio::time::sleep(Duration::from_millis(ms)).await;
    ran::note(key, "ended");
    Ok(ms)
}

#[durable(queue = "mail", priority = 3)]
async fn mail(n: u64) -> Result<u64, String> {
    Ok(n)
}

/// Reports if it is dropped before its end.
struct Interrupted(u64, bool);

impl Drop for Interrupted {
    fn drop(&mut self) {
        if !self.1 {
            ran::note(self.0, "interrupted");
        }
    }
}

#[durable(name = "life.endless", retry(max_attempts = 1))]
async fn endless(key: u64) -> Result<(), String> {
    let _interrupted = Interrupted(key, false);
    ran::note(key, "started");
    std::future::pending().await
}

#[durable(name = "life.gated")]
async fn gated(key: u64) -> Result<(), String> {
    ran::note(key, "started");
    until(|| ran::count(key, "open") == 1).await;
    ran::note(key, "ended");
    Ok(())
}

#[durable(name = "life.waits_for_two")]
async fn waits_for_two(key: u64) -> Result<(), stent::Error> {
    let (a, b) = stent::join!(gated(key), gated(key));
    a?;
    b?;
    gated(key).await
}

#[durable(name = "life.sleeps")]
async fn sleeps(key: u64) -> Result<(), stent::Error> {
    ran::note(key, "parent");
    stent::sleep("1w").await
}

#[durable(name = "life.waits_for_a_signal")]
async fn waits_for_a_signal(key: u64) -> Result<u64, stent::Error> {
    ran::note(key, "parent");
    stent::signal::<u64>("go").await
}

#[durable(name = "life.waits_a_while_for_a_signal")]
async fn waits_a_while_for_a_signal(key: u64) -> Result<u64, stent::Error> {
    tokio::time::sleep(Duration::from_millis(100)).await;
    ran::note(key, "parent");
    stent::signal::<u64>("go").await
}

#[durable]
async fn two_slow(key: u64) -> Result<(), stent::Error> {
    slow(key, 60).await?;
    slow(key, 60).await?;
    Ok(())
}

#[durable(name = "life.calls_two_slow")]
async fn calls_two_slow(key: u64) -> Result<(), stent::Error> {
    two_slow(key).await
}

/// Records which leases were lost, and how.
#[derive(Clone, Debug, Default)]
struct Losses(Arc<Mutex<Vec<(TaskId, String, LeaseLoss)>>>);

impl Metrics for Losses {
    fn lease_lost(&self, event: &LeaseLost<'_>) {
        self.0.lock().expect("whole").push((event.task.id, event.task.function.to_owned(), event.loss));
    }
}

/// Counts the claims of a function's tasks.
#[derive(Clone, Debug)]
struct Claims(&'static str, Arc<AtomicUsize>);

impl Claims {
    fn of(function: &'static str) -> Self {
        Self(function, Arc::default())
    }

    fn count(&self) -> usize {
        self.1.load(Ordering::SeqCst)
    }
}

impl Metrics for Claims {
    fn task_claimed(&self, event: &TaskClaimed<'_>) {
        if event.task.function == self.0 {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// The slots of the worker of [`claims_ahead`], and the number of tasks that do not end.
const SLOTS: usize = 8;
const GATED: usize = 24;

/// A worker on a store with slow exchanges. It first had work that ends at once, and now has work that waits for a gate,
/// so it has claimed more tasks than it has slots and runs as many as it can.
async fn claims_ahead(world: &World, key: u64) -> (Stent, Worker) {
    let rigged = Rigged::new(world.stent.store());
    rigged.exchange_ms.store(100, Ordering::SeqCst);
    let claims = Claims::of("life.gated");
    let stent = Stent::builder().metrics(claims.clone()).open(rigged).await.expect("opens");
    world.stent.dispatch_all((0..256).map(quick)).await.expect("dispatched");
    world.stent.dispatch_all((0..GATED).map(move |_| gated(key))).await.expect("dispatched");

    // With a lease that does not end within the test.
    let worker = stent.worker().state(Db).concurrency(SLOTS).lease("1h").start().await.expect("starts");
    until(|| ran::count(key, "started") == SLOTS && claims.count() > SLOTS).await;
    (stent, worker)
}

/// A worker on a store that holds commits back for as long as the test says. It gets no hints, and polls for work when it
/// starts and at intervals longer than its leases, so its commits go without claims.
async fn holds_commits(world: &World) -> (Arc<Rigged>, Claims, Worker) {
    holds_commits_with(world, |worker| worker).await
}

/// The same, with further options.
async fn holds_commits_with(
    world: &World,
    options: impl FnOnce(WorkerBuilder) -> WorkerBuilder,
) -> (Arc<Rigged>, Claims, Worker) {
    let rigged = Rigged::deaf(world.stent.store());
    rigged.holds_commits.store(true, Ordering::SeqCst);
    let claims = Claims::of("life.waits_for_a_signal");
    let stent = Stent::builder().metrics(claims.clone()).open(rigged.clone()).await.expect("opens");
    let poll = PollOptions::default().min(Duration::from_millis(1_500));
    let worker = options(stent.worker().state(Db).lease("1s").poll(poll));
    let worker = worker.start().await.expect("starts");
    (rigged, claims, worker)
}

/// Claims a task like a worker whose clock is a day ahead, for which every lease has expired.
async fn steal(store: &Arc<dyn Store>, task: TaskId) {
    let now = store.clock().await.expect("answers") + Duration::from_hours(24);
    let claimed = claim_for(store, now, Duration::from_hours(1)).await;
    assert!(claimed.contains(&task), "{claimed:?}");
}

/// Claims tasks that never end, under leases of this length, and does not run them.
async fn claim_for(store: &Arc<dyn Store>, now: Timestamp, lease: Duration) -> Vec<TaskId> {
    let request = ClaimRequest {
        worker: WorkerId::from_uuid(uuid::Uuid::from_u128(7)),
        nonce: Nonce::new(7),
        now,
        until: now + lease,
        max: 100,
        functions: &["life.endless".to_owned()],
        queues: None,
        tags: &[],
        limits: &[],
        cache: &NoStickyCache,
    };
    let claimed = store.exchange(&[], Some(&request)).await.expect("claims").claimed;
    claimed.iter().map(|claimed| claimed.task.id).collect()
}

on_every_store! {
    async fn what_no_slot_comes_free_for_is_handed_back_to_others(world) {
        let key = unique();
        let (_, full) = claims_ahead(&world, key).await;

        let other = world.worker().await;
        until(|| ran::count(key, "started") == GATED).await;

        ran::note(key, "open");
        full.drain().await.expect("drains");
        other.drain().await.expect("drains");
        assert_eq!(ran::count(key, "ended"), GATED);
    }

    async fn a_busy_worker_claims_beside_its_commits_where_the_store_works_on_both(world) {
        let rigged = Rigged::new(world.stent.store());
        rigged.exchange_ms.store(20, Ordering::SeqCst);
        let stent = Stent::builder().open(rigged.clone()).await.expect("opens");
        let runs = world.stent.dispatch_all((0..512).map(quick)).await.expect("dispatched");

        let worker = stent.worker().state(Db).start().await.expect("starts");
        for run in &runs {
            run.result().await.expect("runs");
        }
        worker.drain().await.expect("drains");

        let most = if world.stent.store().info().parallel { 2 } else { 1 };
        assert_eq!(rigged.at_once.load(Ordering::SeqCst), most);
    }

    async fn what_comes_due_starts_though_a_commit_takes_long_where_the_store_works_on_both(world) {
        let (first, late) = (unique(), unique());
        world.stent.dispatch(slow(first, 0)).await.expect("dispatched");
        let (rigged, _, worker) = holds_commits(&world).await;
        until(|| ran::count(first, "ended") == 1).await;

        let run = world.stent.dispatch(slow(late, 0)).delay("10ms").await.expect("dispatched");
        if world.stent.store().info().parallel {
            until(|| ran::count(late, "ended") == 1).await;
        }

        rigged.holds_commits.store(false, Ordering::SeqCst);
        run.result().timeout("20s").await.expect("runs");
        worker.drain().await.expect("drains");
    }

    async fn what_was_parked_and_came_to_nothing_is_not_gone_on_with_from_memory(world) {
        let key = unique();
        let run = world.stent.dispatch(waits_for_a_signal(key)).await.expect("dispatched");
        let (rigged, claims, worker) = holds_commits(&world).await;

        // Its parking is on the way to the store when its lease expires without a renewal, and the worker claims it again.
        rigged.failing_renewals.store(u64::MAX, Ordering::SeqCst);
        let claimed = if world.stent.store().info().parallel { 2 } else { 1 };
        until(|| claims.count() == claimed).await;
        rigged.failing_renewals.store(0, Ordering::SeqCst);
        rigged.holds_commits.store(false, Ordering::SeqCst);

        run.signal("go", &5_u64).await.expect("sent");
        assert_eq!(run.result().timeout("20s").await.expect("runs"), 5);
        worker.drain().await.expect("drains");
    }

    async fn what_is_kept_in_memory_is_bounded_while_a_commit_takes_long(world) {
        let key = unique();
        world.stent.dispatch(quick(1)).await.expect("dispatched");
        let runs = (0..20).map(move |_| waits_a_while_for_a_signal(key));
        let runs = world.stent.dispatch_all(runs).await.expect("dispatched");
        let (rigged, _, worker) = holds_commits_with(&world, |worker| worker.cache(2).lease("1m")).await;
        until(|| ran::count(key, "parent") == 20).await;

        if world.stent.store().info().parallel {
            // The next poll for work happens while the commit of the quick task's end is pending.
            until(|| worker.status().parked == 2).await;
        }
        rigged.holds_commits.store(false, Ordering::SeqCst);

        for run in &runs {
            run.signal("go", &5_u64).await.expect("sent");
        }
        for run in &runs {
            assert_eq!(run.result().timeout("20s").await.expect("runs"), 5);
        }
        worker.drain().await.expect("drains");
    }

    async fn a_worker_that_claims_its_own_work_again_stops_what_ran_before(world) {
        let rigged = Rigged::new(world.stent.store());
        let losses = Losses::default();
        let stent = Stent::builder().metrics(losses.clone()).open(rigged.clone()).await.expect("opens");
        let worker = stent.worker().state(Db).start().await.expect("starts");
        let key = unique();
        let run = stent.dispatch(endless(key)).await.expect("dispatched");
        until(|| ran::count(key, "started") == 1).await;

        rigged.late_claims.store(1, Ordering::SeqCst);

        until(|| ran::count(key, "started") == 2).await;
        until(|| ran::count(key, "interrupted") == 1).await;
        assert_eq!(worker.status().running, 1);
        assert_eq!(*losses.0.lock().expect("whole"), [(run.id().root(), "life.endless".to_owned(), LeaseLoss::Lapsed)]);
        worker.stop().await.expect("stops");
    }

    async fn a_step_that_is_not_in_the_store_yet_is_not_taken_for_lost(world) {
        let rigged = Rigged::new(world.stent.store());
        rigged.exchange_ms.store(200, Ordering::SeqCst);
        let losses = Losses::default();
        let stent = Stent::builder().metrics(losses.clone()).open(rigged.clone()).await.expect("opens");
        let worker = stent.worker().state(Db).lease("1m").heartbeat("20ms").start().await.expect("starts");
        let key = unique();

        let run = stent.dispatch(calls_two_slow(key)).await.expect("dispatched");
        run.result().timeout("20s").await.expect("runs");

        assert!(rigged.renewals.load(Ordering::SeqCst) > 0);
        assert!(losses.0.lock().expect("whole").is_empty(), "{losses:?}");
        assert_eq!(ran::count(key, "started"), 2);
        worker.drain().await.expect("drains");
    }

    async fn a_drain_starts_nothing_that_was_claimed_ahead(world) {
        let key = unique();
        let (stent, worker) = claims_ahead(&world, key).await;

        let drained = tokio::spawn(worker.drain());
        until(|| stent.workers().draining).await;
        ran::note(key, "open");
        drained.await.expect("does not panic").expect("drains");
        assert_eq!(ran::count(key, "started"), SLOTS);

        let other = world.worker().await;
        until(|| ran::count(key, "ended") == GATED).await;
        other.drain().await.expect("drains");
    }

    async fn a_drain_lets_a_running_turn_end(world) {
        let worker = world.worker().await;
        let key = unique();
        let run = world.stent.dispatch(slow(key, 50)).await.expect("dispatched");
        until(|| ran::count(key, "started") == 1).await;
        worker.drain().await.expect("drains");
        assert_eq!(run.status().await.expect("known"), ExecutionStatus::Completed);
    }

    async fn a_drain_stops_between_two_steps(world) {
        let worker = world.worker().await;
        let key = unique();
        let run = world.stent.dispatch(two_slow(key)).await.expect("dispatched");
        until(|| ran::count(key, "started") == 1).await;
        worker.drain().await.expect("drains");
        assert_eq!((ran::count(key, "ended"), run.status().await.expect("known")), (1, ExecutionStatus::Running));

        let next = world.worker().await;
        run.result().timeout("20s").await.expect("the next worker goes on");
        assert_eq!(ran::count(key, "started"), 2);
        next.drain().await.expect("drains");
    }

    async fn a_stopped_worker_hands_its_work_back_at_once(world) {
        let worker = world.worker().await;
        let key = unique();
        let run = world.stent.dispatch(slow(key, 300)).await.expect("dispatched");
        until(|| ran::count(key, "started") == 1).await;
        worker.stop().await.expect("stops");

        // The lease was 30 s: only released tasks can be claimed now.
        let next = world.worker().await;
        run.result().timeout("10s").await.expect("runs");
        assert_eq!((ran::count(key, "started"), ran::count(key, "ended")), (2, 1));
        next.drain().await.expect("drains");
    }

    async fn long_work_keeps_its_lease(world) {
        // Shorter ones end on a busy machine, and rightly so.
        let short = |worker: stent::WorkerBuilder| worker.lease("800ms");
        let (one, two) = (world.worker_with(short).await, world.worker_with(short).await);
        let key = unique();
        let run = world.stent.dispatch(slow(key, 2_500)).await.expect("dispatched");
        run.result().timeout("20s").await.expect("runs");
        assert_eq!(ran::count(key, "started"), 1);
        // It slept without a durable sleep all the time, which the store does not know.
        assert_eq!(world.stent.inspect().timeline(run.id()).await.expect("a timeline").len(), 1);
        one.drain().await.expect("drains");
        two.drain().await.expect("drains");
    }

    async fn a_task_that_has_ended_its_workers_is_given_up_before_its_code_runs_again(world) {
        let key = unique();
        let run = world.stent.dispatch(endless(key)).await.expect("dispatched");
        let store = world.stent.store();
        // Workers that claim it and disappear, one after the other.
        let began = store.clock().await.expect("answers");
        let (lease, mut now) = (Duration::from_millis(1), began);
        for _ in 0..CRASHES_MAX {
            let claimed = claim_for(store, now, lease).await;
            assert_eq!(claimed, [run.id().root()]);
            now = now + 2 * lease;
        }
        while store.clock().await.expect("answers") < now {
            tokio::time::sleep(lease).await;
        }

        let worker = world.worker().await;
        let error = run.result().timeout("20s").await.expect_err("it is given up");
        assert_eq!(error.failure().expect("a failure").kind, Failure::CRASH_LOOP);
        assert_eq!(ran::list(key), Vec::<String>::new(), "its code has not run again");
        let letter = world.stent.dead_letters().show(run.id()).await.expect("a dead letter");
        assert_eq!(letter.crashes, CRASHES_MAX);
        worker.drain().await.expect("drains");
    }

    async fn queues_are_served_by_their_workers_only(world) {
        let other = world.worker_with(|worker| worker.queues(["default"])).await;
        let run = world.stent.dispatch(mail(1)).await.expect("dispatched");
        assert_eq!(world.stent.run(quick(1)).await.expect("runs"), 1);
        assert_eq!(run.status().await.expect("known"), ExecutionStatus::Pending);
        assert_eq!(world.stent.inspect().describe(run.id()).await.expect("known").queue, "mail");

        let mailer = world.worker_with(|worker| worker.queues(["mail"])).await;
        assert_eq!(run.result().timeout("20s").await.expect("runs"), 1);
        other.drain().await.expect("drains");
        mailer.drain().await.expect("drains");
    }

    async fn work_that_a_worker_does_not_know_stays_for_one_that_does(world) {
        let stranger = world.with_registry(Registry::new().with::<mail>()).await;
        let stranger = stranger.worker().start().await.expect("starts");
        let run = world.stent.dispatch(quick(5)).await.expect("dispatched");
        let error = run.result().timeout("150ms").await.expect_err("nobody knows it");
        assert!(matches!(error, stent::Error::WaitTimeout { .. }), "{error}");

        let worker = world.worker().await;
        assert_eq!(run.result().timeout("20s").await.expect("runs"), 5);
        stranger.drain().await.expect("drains");
        worker.drain().await.expect("drains");
    }

    async fn several_workers_share_the_work(world) {
        let workers = [world.worker().await, world.worker().await, world.worker().await];
        let handles = world.stent.dispatch_all((0..500).map(quick)).await.expect("dispatched");
        for (n, run) in handles.iter().enumerate() {
            assert_eq!(run.result().timeout("20s").await.expect("runs"), n as u64);
        }
        for worker in workers {
            worker.drain().await.expect("drains");
        }
    }

    async fn a_drain_ends_though_functions_need_more_steps_or_wait_for_something_else(world) {
        let worker = world.worker_with(|worker| worker.concurrency(1)).await;
        let key = unique();
        let waits = world.stent.dispatch(sleeps(key)).await.expect("dispatched");
        let signalled = world.stent.dispatch(waits_for_a_signal(key)).await.expect("dispatched");
        until(|| ran::count(key, "parent") == 2).await;
        let fans = world.stent.dispatch(waits_for_two(key)).await.expect("dispatched");
        until(|| ran::count(key, "started") == 1).await;

        let drained = tokio::spawn(worker.drain());
        until(|| world.stent.workers().draining).await;
        ran::note(key, "open");
        drained.await.expect("no panic").expect("drains");

        // One of two steps has run, the third was never asked for.
        assert_eq!((ran::count(key, "started"), ran::count(key, "ended")), (1, 1));
        for run in [fans.id(), waits.id(), signalled.id()] {
            assert!(!world.stent.status(run).await.expect("known").is_terminal());
        }
        // Nothing is lost: the next worker continues where this one stopped.
        let next = world.worker().await;
        fans.result().timeout("20s").await.expect("runs");
        assert_eq!((ran::count(key, "started"), ran::count(key, "ended")), (3, 3));
        signalled.signal("go", &5_u64).await.expect("sent");
        assert_eq!(signalled.result().timeout("20s").await.expect("runs"), 5);
        next.drain().await.expect("drains");
    }

    async fn a_drain_ends_though_the_store_is_away(world) {
        for hangs in [false, true] {
            let rigged = Rigged::new(world.stent.store());
            let stent = Stent::builder().open(rigged.clone()).await.expect("opens");
            let worker = stent.worker().state(crate::Db).lease("300ms").grace("10ms").start().await.expect("starts");
            let key = unique();
            stent.dispatch(endless(key)).await.expect("dispatched");
            until(|| ran::count(key, "started") == 1).await;

            if hangs { &rigged.hangs } else { &rigged.is_out }.store(true, Ordering::SeqCst);
            worker.drain().await.expect("drains");

            until(|| ran::count(key, "interrupted") == 1).await;
        }
    }

    async fn a_renewal_that_fails_is_tried_again_and_the_work_goes_on(world) {
        for hangs in [false, true] {
            let rigged = Rigged::new(world.stent.store());
            let stent = Stent::builder().open(rigged.clone()).await.expect("opens");
            let lease = |worker: stent::WorkerBuilder| worker.lease("900ms").state(crate::Db);
            let one = lease(stent.worker()).start().await.expect("starts");
            let key = unique();
            let missing = if hangs { &rigged.hanging_renewals } else { &rigged.failing_renewals };
            missing.store(1, Ordering::SeqCst);
            let run = stent.dispatch(slow(key, 2_000)).await.expect("dispatched");
            until(|| ran::count(key, "started") == 1).await;
            // This worker would take over if the lease were not kept.
            let two = lease(world.stent.worker()).start().await.expect("starts");

            run.result().timeout("20s").await.expect("runs");

            assert_eq!((ran::count(key, "started"), ran::count(key, "ended")), (1, 1));
            assert_eq!(missing.load(Ordering::SeqCst), 0, "a renewal has failed");
            one.drain().await.expect("drains");
            two.drain().await.expect("drains");
        }
    }

    async fn work_whose_lease_cannot_be_renewed_is_stopped_when_it_has_run_out_and_that_is_said(world) {
        let rigged = Rigged::new(world.stent.store());
        let losses = Losses::default();
        let stent = Stent::builder().metrics(losses.clone()).open(rigged.clone()).await.expect("opens");
        // A worker that claims nothing again: its slots are used, or it has lost its store.
        let worker = stent.worker().state(crate::Db).lease("300ms").start().await.expect("starts");
        let key = unique();
        rigged.failing_renewals.store(u64::MAX, Ordering::SeqCst);
        let run = stent.dispatch(endless(key)).await.expect("dispatched");
        until(|| ran::count(key, "started") == 1).await;
        rigged.is_out.store(true, Ordering::SeqCst);

        until(|| ran::count(key, "interrupted") == 1).await;

        assert!(rigged.renewals.load(Ordering::SeqCst) >= 2, "it was tried again");
        until(|| !losses.0.lock().expect("whole").is_empty()).await;
        assert_eq!(*losses.0.lock().expect("whole"), [(run.id().root(), "life.endless".to_owned(), LeaseLoss::Lapsed)]);
        let id = run.id().to_string();
        let said = logs::lines(|line| line.field("execution") == id && line.message().contains("was lost and its work stopped"));
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!(said[0].level, tracing::Level::WARN);
        assert_eq!(worker.status().running, 0);
        assert!(worker.status().last_error.is_some());
        worker.stop().await.expect("stops");
    }

    async fn a_lease_that_another_claim_has_taken_stops_the_work(world) {
        let rigged = Rigged::new(world.stent.store());
        let losses = Losses::default();
        let stent = Stent::builder().metrics(losses.clone()).open(rigged.clone()).await.expect("opens");
        let worker = stent.worker().state(crate::Db).lease("2s").heartbeat("900ms").start().await.expect("starts");
        let key = unique();
        let run = stent.dispatch(endless(key)).await.expect("dispatched");
        until(|| ran::count(key, "started") == 1).await;

        steal(world.stent.store(), run.id().root()).await;

        until(|| ran::count(key, "interrupted") == 1).await;
        until(|| !losses.0.lock().expect("whole").is_empty()).await;
        assert_eq!(losses.0.lock().expect("whole")[0].2, LeaseLoss::Taken);
        worker.stop().await.expect("stops");
    }
}
