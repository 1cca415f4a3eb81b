//! Metrics through the `metrics` facade, scraped with the exporter for Prometheus. Tests of one process share the exporter, so
//! each counts on queues of its own.

use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use stent::metrics::{Facade, SECONDS_BUCKETS};
use stent::prelude::*;

use crate::rigged::Rigged;
use crate::{Db, on_every_store, ran, unique, until};

#[durable(name = "facade.leaf")]
async fn leaf(n: u64) -> u64 {
    n
}

#[durable(name = "facade.flaky", retry(max_attempts = 2, initial_delay = "1ms"))]
async fn flaky(key: u64) -> Result<(), String> {
    ran::note(key, "flaky");
    if ran::count(key, "flaky") == 1 { Err("not yet".to_owned()) } else { Ok(()) }
}

#[durable(name = "facade.parent")]
async fn parent(key: u64, queue: String) -> Result<(), stent::Error> {
    leaf(1).queue(queue.as_str()).await?;
    flaky(key).queue(queue.as_str()).await?;
    stent::sleep("1ms").await?;
    stent::spawn(leaf(2).queue(queue)).await?.result().await?;
    Ok(())
}

#[durable(name = "facade.fails", retry(max_attempts = 1))]
async fn fails(key: u64) -> Result<(), String> {
    Err(format!("no {key}"))
}

#[durable(name = "facade.gated")]
async fn gated(key: u64) {
    until(|| ran::count(key, "open") == 1).await;
}

/// The exporter of this process.
fn exporter() -> &'static PrometheusHandle {
    static EXPORTER: OnceLock<PrometheusHandle> = OnceLock::new();
    EXPORTER.get_or_init(|| {
        let builder = PrometheusBuilder::new().set_buckets(&SECONDS_BUCKETS).expect("there are buckets");
        builder.install_recorder().expect("no other test installs one")
    })
}

/// The sum of all series of this name that have these labels; `None` if there is none.
fn value(name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let text = exporter().render();
    let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
    let values = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, has) = series.split_once('{').unwrap_or((series, ""));
        let fits = found == name && labels.iter().all(|label| has.contains(label.as_str()));
        fits.then(|| value.parse::<f64>().expect("a number"))
    });
    values.reduce(|one, other| one + other)
}

async fn opened(world: &crate::World) -> Stent {
    exporter();
    let builder = Stent::builder().metrics(Facade::new()).sample_lanes("5ms");
    builder.open(world.stent.store().clone()).await.expect("opens")
}

on_every_store! {
    async fn work_is_counted_where_it_happens(world) {
        let stent = opened(&world).await;
        let (key, queue) = (unique(), format!("facade-{}", unique()));
        let worker = stent.worker().state(Db).queues([queue.as_str()]).start().await.expect("starts");
        let on_queue = [("queue", queue.as_str())];
        let of = |name: &str, label: (&str, &str)| value(name, &[on_queue[0], label]);

        let first = stent.dispatch(parent(key, queue.clone())).queue(queue.as_str()).idempotency_key(queue.as_str());
        first.await.expect("dispatched").result().timeout("20s").await.expect("runs");
        let again = stent.dispatch(parent(key, queue.clone())).queue(queue.as_str()).idempotency_key(queue.as_str());
        again.await.expect("is there");
        stent.run(fails(key).queue(queue.as_str())).await.expect_err("fails");
        worker.drain().await.expect("drains");

        // Two dispatches of the test, and one spawn.
        assert_eq!(of("stent_executions_dispatched_total", ("outcome", "started")), Some(3.0));
        assert_eq!(of("stent_executions_dispatched_total", ("outcome", "existing")), Some(1.0));
        assert_eq!(of("stent_tasks_completed_total", ("task", "root")), Some(2.0));
        assert_eq!(of("stent_tasks_completed_total", ("task", "step")), Some(2.0));
        assert_eq!(of("stent_tasks_retried_total", ("function", "facade.flaky")), Some(1.0));
        assert_eq!(of("stent_tasks_failed_total", ("kind", "stent::Untyped")), Some(1.0));
        assert_eq!(of("stent_executions_dead_lettered_total", ("function", "facade.fails")), Some(1.0));
        assert_eq!(of("stent_task_duration_seconds_count", ("function", "facade.parent")), Some(1.0));
        assert_eq!(of("stent_turn_duration_seconds_count", ("end", "failed")), Some(1.0));
        assert!(of("stent_turn_duration_seconds_count", ("end", "parked")) >= Some(1.0));
        // The parent, its retried step, the spawned execution and the one that fails; then the parent goes on.
        assert_eq!(of("stent_tasks_claimed_total", ("start", "fresh")), Some(4.0));
        assert!(of("stent_tasks_claimed_total", ("start", "cached")) >= Some(1.0));
        assert_eq!(of("stent_tasks_claimed_total", ("start", "replayed")), None);
        assert_eq!(
            value("stent_wait_duration_seconds_count", &on_queue),
            of("stent_tasks_claimed_total", ("start", "cached"))
        );
        assert_eq!(value("stent_queue_wait_seconds_count", &on_queue), value("stent_tasks_claimed_total", &on_queue));
        for name in ["stent_commit_duration_seconds_count", "stent_commit_batch_size_count", "stent_claim_batch_size_count"] {
            assert!(value(name, &[]) >= Some(1.0), "{name}");
        }
        assert!(value("stent_clock_drift_seconds", &[]).is_some());
    }

    async fn waiting_work_is_sampled_and_its_gauges_fall_to_zero(world) {
        let stent = opened(&world).await;
        let queue = format!("facade-{}", unique());
        let depth = |state| value("stent_queue_depth", &[("queue", &queue), ("state", state)]);
        let age = || value("stent_queue_oldest_age_seconds", &[("queue", &queue)]);

        let due = stent.dispatch(leaf(1)).queue(queue.as_str()).await.expect("dispatched");
        let delayed = stent.dispatch(leaf(2)).queue(queue.as_str()).delay("1h").await.expect("dispatched");
        until(|| (depth("due"), depth("delayed")) == (Some(1.0), Some(1.0)) && age() > Some(0.0)).await;

        due.cancel().no_grace().await.expect("cancelled");
        delayed.cancel().no_grace().await.expect("cancelled");
        until(|| (depth("due"), depth("delayed"), age()) == (Some(0.0), Some(0.0), Some(0.0))).await;
    }

    async fn renewals_and_errors_of_the_store_are_counted(world) {
        exporter();
        let rigged = Rigged::new(world.stent.store());
        let stent = Stent::builder().metrics(Facade::new()).open(rigged.clone()).await.expect("opens");
        let worker = stent.worker().state(Db).heartbeat("10ms").start().await.expect("starts");
        let count = |name, label| value(name, &[label]).unwrap_or(0.0);
        let renewed = || count("stent_lease_renewals_total", ("outcome", "renewed"));
        let failed = || count("stent_lease_renewals_total", ("outcome", "failed"));
        let errors = |operation| count("stent_store_errors_total", ("operation", operation));
        let (renewed_before, failed_before) = (renewed(), failed());
        let (renew_before, exchange_before) = (errors("renew"), errors("exchange"));
        let key = unique();
        let run = stent.dispatch(gated(key)).await.expect("dispatched");

        until(|| renewed() > renewed_before).await;
        rigged.failing_renewals.store(1, Ordering::SeqCst);
        until(|| failed() > failed_before && errors("renew") > renew_before).await;
        rigged.is_out.store(true, Ordering::SeqCst);
        ran::note(key, "open");
        until(|| errors("exchange") > exchange_before).await;
        rigged.is_out.store(false, Ordering::SeqCst);

        run.result().timeout("20s").await.expect("runs");
        worker.drain().await.expect("drains");
    }
}
