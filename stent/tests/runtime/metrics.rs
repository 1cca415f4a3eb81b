//! Metrics hooks: their events, and that they harm nothing.

use std::sync::{Arc, Mutex};

use stent::metrics::{
    ClockDrift, DeadLettered, Dispatched, ExchangeDone, LanesSampled, LeaseRenewed, Metrics, StoreFailed,
    TaskClaimed, TaskCompleted, TaskFailed, TurnEnded,
};
use stent::prelude::*;

use crate::{Db, on_every_store, ran, unique, until};

#[durable(name = "metrics.leaf", queue = "counted")]
async fn leaf(n: u64) -> Result<u64, String> {
    Ok(n)
}

#[durable(name = "metrics.parent")]
async fn parent(n: u64) -> Result<u64, stent::Error> {
    leaf(n).await
}

#[durable(name = "metrics.flaky", retry(max_attempts = 2, initial_delay = "1ms"))]
async fn flaky(key: u64, failures: u64) -> Result<(), String> {
    ran::note(key, "flaky");
    if ran::count(key, "flaky") as u64 <= failures { Err("not yet".to_owned()) } else { Ok(()) }
}

#[durable(name = "metrics.calls_flaky")]
async fn calls_flaky(key: u64, failures: u64) -> Result<(), stent::Error> {
    flaky(key, failures).await
}

#[durable(name = "metrics.slow")]
async fn slow(ms: u64) -> Result<(), String> {
    tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
    Ok(())
}

/// Keeps its events as text.
#[derive(Clone, Debug, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn tell(&self, what: String) {
        self.0.lock().expect("whole").push(what);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("whole").clone()
    }
}

impl Metrics for Told {
    fn task_claimed(&self, event: &TaskClaimed<'_>) {
        self.tell(format!("claimed {} of {}", event.task.function, event.task.queue));
    }

    fn task_completed(&self, event: &TaskCompleted<'_>) {
        assert!(event.duration >= event.turn, "{event:?}");
        let root = if event.task.is_root { " (root)" } else { "" };
        self.tell(format!("completed {}{root}", event.task.function));
    }

    fn task_failed(&self, event: &TaskFailed<'_>) {
        let again = if event.is_retried { "again" } else { "for good" };
        self.tell(format!("failed {} {again}: {}", event.task.function, event.failure.message));
    }

    fn dead_lettered(&self, event: &DeadLettered<'_>) {
        self.tell(format!("dead letter of {}: {}", event.task.function, event.failure.message));
    }
}

/// Panics at every event.
#[derive(Debug)]
struct Panics;

impl Metrics for Panics {
    fn dispatched(&self, _event: &Dispatched<'_>) {
        panic!("dispatched");
    }

    fn turn_ended(&self, _event: &TurnEnded<'_>) {
        panic!("ended");
    }

    fn store_failed(&self, _event: &StoreFailed) {
        panic!("out");
    }

    fn lanes_sampled(&self, _event: &LanesSampled<'_>) {
        panic!("sampled");
    }

    fn task_claimed(&self, _event: &TaskClaimed<'_>) {
        panic!("claimed");
    }

    fn task_completed(&self, _event: &TaskCompleted<'_>) {
        panic!("completed");
    }

    fn task_failed(&self, _event: &TaskFailed<'_>) {
        panic!("failed");
    }

    fn dead_lettered(&self, _event: &DeadLettered<'_>) {
        panic!("dead");
    }

    fn exchange_done(&self, _event: &ExchangeDone) {
        panic!("exchanged");
    }

    fn lease_renewed(&self, _event: &LeaseRenewed) {
        panic!("renewed");
    }

    fn clock_drift(&self, _event: &ClockDrift) {
        panic!("drifted");
    }
}

/// Counts exchanges and renewals.
#[derive(Clone, Debug, Default)]
struct Counts(Arc<Mutex<Counted>>);

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    claimed: usize,
    transitions: usize,
    renewed: usize,
    drifts: usize,
}

impl Metrics for Counts {
    fn exchange_done(&self, event: &ExchangeDone) {
        assert!(event.is_ok);
        let mut counted = self.0.lock().expect("whole");
        counted.claimed += event.claimed;
        counted.transitions += event.transitions;
    }

    fn lease_renewed(&self, event: &LeaseRenewed) {
        self.0.lock().expect("whole").renewed += usize::from(event.is_renewed);
    }

    fn clock_drift(&self, _event: &ClockDrift) {
        self.0.lock().expect("whole").drifts += 1;
    }
}

async fn opened(world: &crate::World, metrics: impl Metrics) -> Stent {
    Stent::builder().metrics(metrics).open(world.stent.store().clone()).await.expect("opens")
}

on_every_store! {
    async fn claims_and_ends_are_told_once_each_for_steps_too(world) {
        let told = Told::default();
        let stent = opened(&world, told.clone()).await;
        let worker = stent.worker().state(Db).start().await.expect("starts");
        stent.run(parent(3)).await.expect("runs");
        worker.drain().await.expect("drains");
        assert_eq!(
            told.lines(),
            ["claimed metrics.parent of default", "completed metrics.leaf", "completed metrics.parent (root)"]
        );
    }

    async fn failures_say_why_and_whether_they_are_tried_again(world) {
        let told = Told::default();
        let stent = opened(&world, told.clone()).await;
        let worker = stent.worker().state(Db).start().await.expect("starts");
        stent.run(flaky(unique(), 1)).await.expect("runs at the second attempt");
        stent.run(flaky(unique(), 2)).await.expect_err("has two attempts");
        // A step fails in its parent's turn first, and gets a row of its own for the second attempt.
        stent.run(calls_flaky(unique(), 1)).await.expect("runs at the second attempt");
        worker.drain().await.expect("drains");

        let failures: Vec<_> = told.lines().into_iter().filter(|line| !line.starts_with("claimed")).collect();
        assert_eq!(
            failures,
            [
                "failed metrics.flaky again: not yet",
                "completed metrics.flaky (root)",
                "failed metrics.flaky again: not yet",
                "failed metrics.flaky for good: not yet",
                "dead letter of metrics.flaky: not yet",
                "failed metrics.flaky again: not yet",
                "completed metrics.flaky",
                "completed metrics.calls_flaky (root)",
            ]
        );
    }

    async fn a_hook_that_panics_harms_no_task(world) {
        let stent = opened(&world, Panics).await;
        let worker = stent.worker().state(Db).lease("300ms").start().await.expect("starts");
        let key = unique();
        // Long enough to have its lease renewed.
        stent.run(slow(400)).await.expect("runs");
        stent.run(flaky(key, 0)).await.expect("runs");
        assert_eq!(ran::list(key), ["flaky"], "once, and not again for the hook's sake");
        let key = unique();
        stent.run(flaky(key, 9)).await.expect_err("has two attempts");
        assert_eq!(ran::list(key).len(), 2, "nor once more than it has attempts");
        assert_eq!(stent.dead_letters().list(None, 9).await.expect("listed").len(), 1);
        worker.drain().await.expect("drains");
    }

    async fn exchanges_renewals_and_clocks_are_told(world) {
        let counts = Counts::default();
        let stent = opened(&world, counts.clone()).await;
        let worker = stent.worker().state(Db).lease("300ms").start().await.expect("starts");
        let run = stent.dispatch(slow(400)).await.expect("dispatched");
        run.result().timeout("20s").await.expect("runs");
        until(|| counts.0.lock().expect("whole").renewed > 0).await;
        worker.drain().await.expect("drains");
        let counted = *counts.0.lock().expect("whole");
        // The end of the task. The caller has written the dispatch, not the worker.
        assert_eq!((counted.claimed, counted.transitions), (1, 1), "{counted:?}");
        assert!(counted.drifts >= 1, "{counted:?}");
    }
}
