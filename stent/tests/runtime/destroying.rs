//! Code and its values are dropped outside the worker's loop: destructors, decoders and loggers of the application cannot
//! end anything else.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::task::{Context as TaskContext, Wake, Waker};
use std::time::Duration;

use futures::FutureExt as _;
use serde::{Deserialize, Deserializer, Serialize};
use stent::prelude::*;
use stent::{ExecutionStatus, WorkerState};

use crate::{World, eventually, logs, on_every_store, ran, unique};

/// The behaviour of a value when it is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Drops {
    Quietly,
    Panicking,
    /// Blocks until the test opens the gate of its key.
    Blocking,
}

struct Held(u64, Drops);

impl Held {
    fn new(key: u64, drops: Drops) -> Self {
        ran::note(key, "held");
        Self(key, drops)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        ran::note(self.0, "dropped");
        match self.1 {
            Drops::Quietly => {}
            Drops::Panicking => panic!("the destructor of {} panics", self.0),
            Drops::Blocking => gate::pass(self.0),
        }
    }
}

/// Gates that block a thread until the test opens them.
mod gate {
    use super::*;

    static OPEN: (Mutex<BTreeMap<u64, bool>>, Condvar) = (Mutex::new(BTreeMap::new()), Condvar::new());

    pub(super) fn open(key: u64) {
        OPEN.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, true);
        OPEN.1.notify_all();
    }

    /// Waits for the gate, but not forever, because a runtime waits for its threads.
    pub(super) fn pass(key: u64) {
        let gates = OPEN.0.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = |gates: &mut BTreeMap<u64, bool>| !gates.contains_key(&key);
        drop(OPEN.1.wait_timeout_while(gates, Duration::from_secs(50), closed));
    }
}

#[durable(name = "destroying.quick")]
async fn quick(n: u64) -> Result<u64, String> {
    Ok(n)
}

#[durable(name = "destroying.parks")]
async fn parks(key: u64, drops: Drops) -> Result<u64, stent::Error> {
    let _held = Held::new(key, drops);
    stent::signal("go").await
}

#[durable(name = "destroying.calls_parks")]
async fn calls_parks(key: u64, drops: Drops) -> Result<u64, stent::Error> {
    parks(key, drops).await
}

#[durable(name = "destroying.gives_up")]
async fn gives_up(key: u64) -> Result<u64, stent::Error> {
    let child = calls_parks(key, Drops::Quietly);
    let stop = stent::signal::<u64>("stop");
    stent::select! {
        stop = stop => {
            stop?;
        }
        child = child => return child,
    }
    stent::signal("go").await
}

#[durable(name = "destroying.runs")]
async fn runs(key: u64, drops: Drops) -> Result<(), String> {
    let _held = Held::new(key, drops);
    ran::note(key, "started");
    std::future::pending().await
}

/// Calls a step that is dropped in its parent's turn.
#[durable(name = "destroying.calls_runs")]
async fn calls_runs(key: u64, drops: Drops) -> Result<(), stent::Error> {
    runs(key, drops).await
}

/// A waker that panics when it is used.
struct Alarm;

impl Wake for Alarm {
    fn wake(self: std::sync::Arc<Self>) {
        panic!("the waker panics");
    }
}

#[durable(name = "destroying.wakes_badly")]
async fn wakes_badly() -> Result<u64, stent::Error> {
    let mut call = Box::pin(quick(1));
    std::future::poll_fn(|_| {
        let waker = Waker::from(std::sync::Arc::new(Alarm));
        call.poll_unpin(&mut TaskContext::from_waker(&waker))
    })
    .await
}

/// An argument that is slow to decode.
#[derive(Clone, Debug, Serialize)]
struct Slow(u64);

impl<'de> Deserialize<'de> for Slow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = u64::deserialize(deserializer)?;
        // The first decoding is that of the dispatch, which checks that its arguments can be read.
        ran::note(key, "decoding");
        if ran::count(key, "decoding") > 1 {
            gate::pass(key);
        }
        Ok(Self(key))
    }
}

#[durable(name = "destroying.takes_slow")]
async fn takes_slow(slow: Slow) -> Result<u64, String> {
    Ok(slow.0)
}

/// A value that panics whenever it can, inside an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Panics {
    Displayed,
    Encoded,
    InItsPayload,
}

struct Rude(Panics);

impl std::fmt::Debug for Rude {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("debug of {:?} panics", self.0)
    }
}

impl std::fmt::Display for Rude {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Panics::Displayed => panic!("display panics"),
            Panics::Encoded | Panics::InItsPayload => f.write_str("rude"),
        }
    }
}

impl std::error::Error for Rude {}

impl Serialize for Rude {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Panics::Encoded => panic!("serialize panics"),
            Panics::Displayed | Panics::InItsPayload => serializer.serialize_unit(),
        }
    }
}

impl<'de> Deserialize<'de> for Rude {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("deserialize panics")
    }
}

#[durable(name = "destroying.is_rude")]
async fn is_rude(panics: Panics) -> Result<u64, Rude> {
    if panics == Panics::InItsPayload {
        std::panic::panic_any(Held::new(0, Drops::Panicking));
    }
    Err(Rude(panics))
}

#[durable(name = "destroying.gives_rude")]
async fn gives_rude() -> Result<Rude, String> {
    Ok(Rude(Panics::Encoded))
}

/// The layer of these tests panics at its span, the first time.
#[durable(name = "destroying.cannot_be_traced")]
async fn cannot_be_traced(key: u64) -> Result<u64, String> {
    Ok(key)
}

#[durable(name = "destroying.calls_cannot_be_traced")]
async fn calls_cannot_be_traced(key: u64) -> Result<u64, stent::Error> {
    cannot_be_traced(key).await
}

/// The layer of these tests panics at its span, each time.
#[durable(name = "destroying.ends_the_loop")]
async fn ends_the_loop() -> Result<(), String> {
    Ok(())
}

async fn still_works(world: &World) {
    for n in 0..5 {
        let run = world.stent.run(quick(n));
        let ran = tokio::time::timeout(Duration::from_secs(20), run).await.expect("the worker's loop runs");
        assert_eq!(ran.expect("completes"), n);
    }
}

on_every_store! {
    async fn a_destructor_of_parked_code_that_panics_touches_nothing_else(world) {
        let key = unique();
        let worker = world.worker_with(|worker| worker.cache(1)).await;
        let stent = &world.stent;
        let first = stent.dispatch(parks(key, Drops::Panicking)).await.expect("dispatched");
        let second = stent.dispatch(parks(key, Drops::Panicking)).await.expect("dispatched");
        eventually(async || ran::count(key, "held") >= 2).await;

        still_works(&world).await;
        eventually(async || ran::count(key, "dropped") >= 1).await;
        still_works(&world).await;

        assert_eq!(worker.status().state, WorkerState::Ready);
        assert!(world.stent.workers().live);
        for run in [first, second] {
            run.signal("go", &1_u64).await.expect("sent");
            // The function itself drops the value in the end, so this is the function's panic.
            let error = run.result().await.expect_err("fails");
            assert!(error.to_string().contains("the destructor of"), "{error}");
        }
        worker.drain().await.expect("drains");
    }

    async fn a_destructor_of_parked_code_that_blocks_holds_up_nothing(world) {
        let key = unique();
        let worker = world.worker_with(|worker| worker.cache(0)).await;
        let run = world.stent.dispatch(parks(key, Drops::Blocking)).await.expect("dispatched");
        eventually(async || { still_works(&world).await; ran::count(key, "dropped") == 1 }).await;

        still_works(&world).await;

        gate::open(key);
        run.signal("go", &7_u64).await.expect("sent");
        assert_eq!(run.result().await.expect("goes on from its record"), 7);
        worker.drain().await.expect("drains");
    }

    async fn code_that_panics_as_it_is_stopped_gives_its_lease_back(world) {
        let key = unique();
        let worker = world.worker().await;
        let runs = [
            world.stent.dispatch(runs(key, Drops::Panicking)).await.expect("dispatched").id(),
            world.stent.dispatch(calls_runs(key, Drops::Panicking)).await.expect("dispatched").id(),
        ];
        eventually(async || ran::count(key, "started") == 2).await;

        for id in runs {
            world.stent.cancel(id).await.expect("asked");
        }

        eventually(async || worker.status().running == 0).await;
        for id in runs {
            eventually(async || world.stent.status(id).await.expect("known") == ExecutionStatus::Cancelled).await;
        }
        still_works(&world).await;
        worker.drain().await.expect("drains");
    }

    async fn code_of_executions_that_were_cancelled_leaves_memory(world) {
        let key = unique();
        let worker = world.worker().await;
        // Cancelled by another process.
        let elsewhere = world.with_registry(stent::Registry::new()).await;
        let mut runs = Vec::new();
        for _ in 0..50 {
            runs.push(world.stent.dispatch(calls_parks(key, Drops::Quietly)).await.expect("dispatched"));
        }
        eventually(async || worker.status().parked == 100).await;

        for run in &runs {
            elsewhere.cancel(run.id()).await.expect("asked");
        }

        eventually(async || ran::count(key, "dropped") == 50 && worker.status().parked == 0).await;
        worker.drain().await.expect("drains");
    }

    async fn code_of_executions_that_expired_or_are_gone_leaves_memory(world) {
        let key = unique();
        let worker = world.worker().await;
        let elsewhere = world.with_registry(stent::Registry::new()).await;
        let expires = world.stent.dispatch(parks(key, Drops::Quietly)).max_duration("300ms").await.expect("dispatched");
        let goes = world.stent.dispatch(parks(key, Drops::Quietly)).await.expect("dispatched");
        eventually(async || ran::count(key, "held") == 2).await;

        elsewhere.cancel(goes.id()).await.expect("asked");
        eventually(async || elsewhere.purge_all(100).await.expect("purges") > 0).await;

        eventually(async || ran::count(key, "dropped") == 2 && worker.status().parked == 0).await;
        assert!(elsewhere.status(goes.id()).await.is_err() && expires.result().await.is_err());
        worker.drain().await.expect("drains");
    }

    async fn code_that_its_caller_has_given_up_leaves_memory(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(gives_up(key)).await.expect("dispatched");
        eventually(async || worker.status().parked == 3).await;

        run.signal("stop", &1_u64).await.expect("sent");

        eventually(async || ran::count(key, "dropped") == 1).await;
        assert!(!run.status().await.expect("known").is_terminal(), "only a part of it has ended");
        worker.drain().await.expect("drains");
    }

    async fn a_drain_ends_though_destructors_panic(world) {
        let key = unique();
        let worker = world.worker_with(|worker| worker.grace("10ms")).await;
        let parked = world.stent.dispatch(parks(key, Drops::Panicking)).await.expect("dispatched");
        let running = world.stent.dispatch(runs(key, Drops::Panicking)).await.expect("dispatched");
        eventually(async || ran::count(key, "held") == 2 && worker.status().parked == 1).await;

        worker.drain().await.expect("drains");

        eventually(async || ran::count(key, "dropped") == 2).await;
        for id in [parked.id(), running.id()] {
            assert!(!world.stent.status(id).await.expect("known").is_terminal());
        }
    }

    async fn arguments_are_decoded_beside_the_loop(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(takes_slow(Slow(key))).await.expect("dispatched");
        eventually(async || ran::count(key, "decoding") == 2).await;

        still_works(&world).await;

        gate::open(key);
        assert_eq!(run.result().await.expect("completes"), key);
        worker.drain().await.expect("drains");
    }

    async fn a_waker_that_panics_is_a_failure_of_its_function(world) {
        let worker = world.worker().await;
        let error = world.stent.run(wakes_badly()).await.expect_err("fails");
        assert!(error.to_string().contains("the waker panics"), "{error}");
        still_works(&world).await;
        worker.drain().await.expect("drains");
    }

    async fn errors_and_results_that_panic_are_failures(world) {
        let worker = world.worker().await;
        for (panics, says) in [
            (Panics::Displayed, "display panics"),
            (Panics::Encoded, "serialize panics"),
            (Panics::InItsPayload, "the panic had no message"),
        ] {
            let error = world.stent.run(is_rude(panics).retry(stent::RetryPolicy::never())).await.expect_err("fails");
            assert!(error.to_string().contains(says), "{panics:?}: {error}");
        }
        let error = world.stent.run(gives_rude().retry(stent::RetryPolicy::never())).await.map(drop).expect_err("fails");
        assert!(error.to_string().contains("serialize panics"), "{error}");
        still_works(&world).await;
        worker.drain().await.expect("drains");
    }

    async fn a_turn_that_breaks_off_runs_again_after_its_lease(world) {
        let key = unique();
        let worker = world.worker_with(|worker| worker.lease("500ms")).await;
        let run = world.stent.dispatch(calls_cannot_be_traced(key)).await.expect("dispatched");

        assert_eq!(run.result().timeout("20s").await.expect("runs again"), key);

        let id = run.id().to_string();
        let said = logs::lines(|line| line.field("execution") == id && line.message().contains("aborted"));
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!(said[0].level, tracing::Level::ERROR);
        worker.drain().await.expect("drains");
    }

    async fn a_worker_whose_loop_panics_says_so(world) {
        let worker = world.worker().await;
        worker.wait_until_ready().await.expect("becomes ready");
        assert!(world.stent.workers().live);

        let _ = world.stent.dispatch(ends_the_loop()).await.expect("dispatched");

        eventually(async || worker.status().state == WorkerState::Crashed).await;
        // The store knows it, too.
        let known = async || world.stent.inspect().workers(None, 9).await.expect("read");
        eventually(async || known().await.iter().any(|known| known.state == WorkerState::Crashed)).await;
        let overview = world.stent.workers();
        assert!(!overview.live && !overview.ready, "{overview:?}");
        assert_eq!(overview.workers.len(), 1, "it is still shown");
        let error = worker.drain().await.expect_err("it has crashed");
        assert!(error.to_string().contains("this layer cannot"), "{error}");
    }
}

/// On one thread, where blocking code holds up everything.
#[test]
fn a_destructor_that_blocks_on_the_only_thread_lets_no_lease_lapse() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let key = unique();
        let world = World::memory().await;
        let worker = world.worker_with(|worker| worker.cache(0)).await;
        let run = world.stent.dispatch(parks(key, Drops::Blocking)).await.expect("dispatched");
        eventually(async || ran::count(key, "held") == 1).await;
        eventually(async || {
            still_works(&world).await;
            ran::count(key, "dropped") == 1
        })
        .await;

        still_works(&world).await;

        // The code of a released turn is also dropped outside the loop.
        let running = world.stent.dispatch(runs(key + 1_000_000, Drops::Blocking)).await.expect("dispatched");
        eventually(async || ran::count(key + 1_000_000, "started") == 1).await;
        worker.stop().await.expect("stops");
        eventually(async || ran::count(key + 1_000_000, "dropped") == 1).await;
        gate::open(key);
        gate::open(key + 1_000_000);
        drop((run, running));
    });
}
