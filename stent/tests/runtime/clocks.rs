//! Clocks that disagree: hosts with wrong clocks on one store agree on leases and due times all the same (G17).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use stent::backend::Store;
use stent::prelude::*;
use stent::{ClockSource, StentBuilder, Timestamp};
use stent_memory::MemoryStore;

use crate::rigged::Rigged;
use crate::{Db, logs, on_every_store, ran, run, unique, until};

const HOUR_US: i64 = 3_600_000_000;

#[durable(name = "clocks.slow")]
async fn slow(key: u64, n: u64) -> Result<(), String> {
    ran::note(key, n.to_string());
    tokio::time::sleep(Duration::from_millis(700)).await;
    Ok(())
}

#[durable(name = "clocks.quick")]
async fn quick(key: u64) -> Result<(), String> {
    ran::note(key, "ran");
    Ok(())
}

/// A host's clock that can be set.
#[derive(Clone, Debug)]
struct Host(Arc<AtomicI64>);

impl Host {
    fn ahead(by_us: i64) -> Self {
        Self(Arc::new(AtomicI64::new(by_us)))
    }

    fn set(&self, by_us: i64) {
        self.0.store(by_us, Ordering::SeqCst);
    }

    fn builder(&self) -> StentBuilder {
        let host = self.clone();
        Stent::builder().host_clock(move || {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
            let now = i64::try_from(now.as_micros()).expect("a time of our days");
            Timestamp::from_micros(now + host.0.load(Ordering::SeqCst))
        })
    }
}

async fn worker(stent: &Stent) -> Worker {
    stent.worker().state(Db).lease("500ms").start().await.expect("starts")
}

on_every_store! {
    async fn hosts_that_are_hours_apart_run_nothing_twice_and_nothing_early(world) {
        let (fast, slow_host) = (Host::ahead(HOUR_US), Host::ahead(-HOUR_US));
        let open = async |host: &Host| host.builder().open(world.stent.store().clone()).await.expect("opens");
        let stents = [open(&fast).await, open(&slow_host).await];
        let workers = [worker(&stents[0]).await, worker(&stents[1]).await];

        // Longer than a lease, so that a worker with a wrong time would take another's task.
        let key = unique();
        let mut runs = Vec::new();
        for n in 0..8 {
            runs.push(stents[n as usize % 2].dispatch(slow(key, n)).await.expect("dispatched"));
        }
        // Not early either, whichever process dispatches and whichever runs.
        for stent in &stents {
            let (key, started) = (unique(), Instant::now());
            let run = stent.dispatch(quick(key)).delay("300ms").await.expect("dispatched");
            run.result().timeout("20s").await.expect("runs");
            assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
        }
        for run in runs {
            run.result().timeout("20s").await.expect("runs");
        }

        let mut ran = ran::list(key);
        ran.sort();
        assert_eq!(ran, (0..8).map(|n| n.to_string()).collect::<Vec<_>>());
        for (worker, expected) in workers.into_iter().zip([-HOUR_US, HOUR_US]) {
            let drift = worker.status().clock_drift_us;
            assert!((drift - expected).abs() < 1_000_000, "{drift}");
            worker.drain().await.expect("drains");
        }
    }

    async fn a_clock_that_is_set_while_workers_run_is_noticed(world) {
        for step in [HOUR_US, -HOUR_US] {
            let host = Host::ahead(0);
            let stent = host.builder().clock_check("5ms").open(world.stent.store().clone()).await.expect("opens");
            let worker = worker(&stent).await;
            worker.wait_until_ready().await.expect("becomes ready");

            host.set(step);
            until(|| (worker.status().clock_drift_us + step).abs() < 1_000_000).await;

            let key = unique();
            stent.dispatch(quick(key)).delay("10ms").await.expect("dispatched").result().timeout("20s").await.expect("runs");
            worker.drain().await.expect("drains");
        }
    }
}

#[durable(name = "clocks.holds", retry(max_attempts = 1))]
async fn holds(key: u64) -> Result<(), String> {
    ran::note(key, "ran");
    until(|| ran::count(key, "open") > 0).await;
    Ok(())
}

#[durable(name = "clocks.sleeps")]
async fn sleeps(key: u64) -> Result<(), stent::Error> {
    ran::note(key, "ran");
    stent::sleep("10m").await?;
    ran::note(key, "fired");
    Ok(())
}

on_every_store! {
    async fn a_host_whose_clock_is_set_takes_nothing_from_others_and_fires_nothing(world) {
        let holder = world.worker_with(|worker| worker.lease("10s")).await;
        let (key, timer) = (unique(), unique());
        let held = world.stent.dispatch(holds(key)).await.expect("dispatched");
        let sleeping = world.stent.dispatch(sleeps(timer)).await.expect("dispatched");
        until(|| ran::count(key, "ran") == 1 && ran::count(timer, "ran") == 1).await;

        let host = Host::ahead(0);
        let stent = host.builder().clock_check("1h").open(world.stent.store().clone()).await.expect("opens");
        let other = worker(&stent).await;
        other.wait_until_ready().await.expect("becomes ready");
        host.set(HOUR_US);
        until(|| (other.status().clock_drift_us + HOUR_US).abs() < 1_000_000).await;
        // The worker has polled for work since then, too.
        stent.dispatch(quick(unique())).await.expect("dispatched").result().timeout("20s").await.expect("runs");

        ran::note(key, "open");
        held.result().timeout("20s").await.expect("runs");
        assert_eq!((ran::count(key, "ran"), ran::count(timer, "fired")), (1, 0));
        assert!(!sleeping.status().await.expect("known").is_terminal());
        holder.drain().await.expect("drains");
        other.drain().await.expect("drains");
    }
}

fn on_memory<F: Future<Output = ()>>(test: impl FnOnce(Arc<dyn Store>) -> F) {
    run(crate::World::memory(), |_| test(Arc::new(MemoryStore::new())));
}

fn warned(drift_us: i64) -> usize {
    let about = |line: &logs::Line| {
        let drift: i64 = line.field("drift_us").parse().unwrap_or(0);
        line.level == tracing::Level::WARN && (drift - drift_us).abs() < 400_000
    };
    logs::lines(about).len()
}

#[test]
fn a_host_that_is_too_far_off_is_warned_of_once() {
    on_memory(async |store| {
        let rigged = Rigged::new(&store);
        let host = Host::ahead(-7_000_000);
        let stent = host.builder().clock_check("1ms").open(rigged.clone()).await.expect("opens");
        until(|| rigged.clock_reads.load(Ordering::SeqCst) > 5).await;
        assert_eq!(warned(7_000_000), 1);
        drop(stent);
    });
}

#[test]
fn a_host_that_is_within_the_bound_is_not_warned_of() {
    on_memory(async |store| {
        let host = Host::ahead(-11_000_000);
        let stent = host.builder().clock_drift_warn("12s").open(store).await.expect("opens");
        let worker = worker(&stent).await;
        assert!((worker.status().clock_drift_us - 11_000_000).abs() < 1_000_000);
        assert_eq!(warned(11_000_000), 0);
        worker.drain().await.expect("drains");
    });
}

#[test]
fn the_hosts_clock_is_taken_as_it_is_if_that_is_wanted_and_its_drift_is_still_measured() {
    on_memory(async |store| {
        let host = Host::ahead(-23_000_000);
        let stent = host.builder().clock(ClockSource::Host).open(store.clone()).await.expect("opens");
        let run = stent.dispatch(quick(unique())).await.expect("dispatched");
        let created = stent.inspect().describe(run.id()).await.expect("known").created_at;
        let theirs = store.clock().await.expect("answers");
        assert!(
            theirs.since(created) > Duration::from_secs(20),
            "{created} by the host, {theirs} by the store"
        );
        assert_eq!(warned(23_000_000), 1);
    });
}

#[test]
fn the_clocks_are_compared_again_after_the_store_has_failed() {
    on_memory(async |store| {
        let rigged = Rigged::new(&store);
        let stent = Stent::builder().clock_check("1h").open(rigged.clone()).await.expect("opens");
        let worker = worker(&stent).await;
        worker.wait_until_ready().await.expect("becomes ready");
        assert_eq!(rigged.clock_reads.load(Ordering::SeqCst), 1);

        rigged.is_out.store(true, Ordering::SeqCst);
        until(|| worker.status().last_error.is_some()).await;
        rigged.is_out.store(false, Ordering::SeqCst);

        until(|| rigged.clock_reads.load(Ordering::SeqCst) > 1).await;
        worker.drain().await.expect("drains");
    });
}
