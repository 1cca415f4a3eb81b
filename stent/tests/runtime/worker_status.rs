//! The status of workers: starting, ready, draining, stopped; and their number.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use stent::prelude::*;
use stent::{Error, Retention, WorkerState};

use crate::rigged::Rigged;
use crate::{Db, eventually, on_every_store, ran, unique, until};

#[durable(name = "status.gated")]
async fn gated(key: u64) -> Result<(), String> {
    ran::note(key, "started");
    while ran::count(key, "open") == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    Ok(())
}

#[durable(name = "status.parked")]
async fn parked(_key: u64) -> Result<(), stent::Error> {
    stent::sleep("1w").await
}

on_every_store! {
    async fn a_worker_is_ready_once_its_store_has_answered(world) {
        let rigged = Rigged::new(world.stent.store());
        let stent = Stent::builder().open(rigged.clone()).await.expect("opens");
        rigged.is_out.store(true, Ordering::SeqCst);
        let worker = stent.worker().state(Db).start().await.expect("starts");
        until(|| worker.status().last_error.is_some()).await;
        assert_eq!(worker.status().state, WorkerState::Starting);
        assert_eq!(worker.status().last_exchange, None);
        assert!(worker.wait_until_ready().now_or_never().is_none());
        assert!(stent.wait_until_ready().now_or_never().is_none());
        assert!(!stent.workers().ready);

        rigged.is_out.store(false, Ordering::SeqCst);

        worker.wait_until_ready().await.expect("becomes ready");
        stent.wait_until_ready().await;
        let status = worker.status();
        assert_eq!(status.state, WorkerState::Ready);
        assert!(status.last_exchange >= status.last_error.map(|error| error.at));
        assert!(stent.workers().ready && !stent.workers().draining);
        worker.drain().await.expect("drains");
    }

    async fn waiting_for_a_worker_that_stops_first_is_an_error(world) {
        let rigged = Rigged::new(world.stent.store());
        let stent = Stent::builder().open(rigged.clone()).await.expect("opens");
        rigged.is_out.store(true, Ordering::SeqCst);
        let worker = stent.worker().state(Db).start().await.expect("starts");

        until(|| worker.status().last_error.is_some()).await;

        let ((), ready) = tokio::join!(stent.drain(), worker.wait_until_ready());

        let error = ready.expect_err("it never was");
        assert!(matches!(error, Error::WorkerStopped { .. }) && error.to_string().contains("rigged"), "{error}");
        assert_eq!(worker.status().state, WorkerState::Stopped);
    }

    async fn a_status_says_what_runs_and_what_is_parked(world) {
        let worker = world.worker_with(|worker| worker.name("mailer").lease("45s")).await;
        let key = unique();
        let open = world.stent.dispatch(gated(key)).await.expect("dispatched");
        world.stent.dispatch(parked(key)).await.expect("dispatched");
        until(|| (worker.status().running, worker.status().parked) == (1, 1)).await;

        let status = worker.status();
        assert_eq!((status.id, status.name.as_str(), status.lease_ms), (worker.id(), "mailer", 45_000));
        assert_eq!(world.stent.workers().workers, [worker.status()]);

        ran::note(key, "open");
        open.result().timeout("20s").await.expect("runs");
        until(|| worker.status().running == 0).await;
        worker.drain().await.expect("drains");
    }

    async fn all_workers_drain_together_and_leave_the_overview(world) {
        let (one, two) = (world.worker().await, world.worker().await);
        assert_eq!((one.name(), two.name()), ("worker-1", "worker-2"));
        assert_eq!(one.status().lease_ms, 30_000, "the default");
        let key = unique();
        let run = world.stent.dispatch(gated(key)).await.expect("dispatched");
        until(|| ran::count(key, "started") == 1).await;

        let drained = world.stent.drain();
        tokio::pin!(drained);
        assert!(drained.as_mut().now_or_never().is_none());
        until(|| world.stent.workers().draining).await;
        assert!(world.stent.workers().ready, "one that drains still works");
        ran::note(key, "open");
        drained.await;

        assert_eq!((one.status().state, two.status().state), (WorkerState::Stopped, WorkerState::Stopped));
        let overview = world.stent.workers();
        assert!(!overview.ready && !overview.draining && overview.workers.is_empty());
        assert!(run.status().await.expect("known").is_terminal());
    }

    async fn a_worker_is_known_to_every_process_until_it_is_cleaned(world) {
        let begun = world.worker_with(|worker| {
            worker.name("mailer").version("1.2.3").queues(["mail"]).tags(["gpu"]).concurrency(3)
        });
        let worker = begun.await;
        // Another process, which has no worker.
        let other = Stent::builder().open(world.stent.store().clone()).await.expect("opens");
        let known = async || other.inspect().workers(None, 9).await.expect("read");
        let is = async |state| known().await.iter().any(|known| known.state == state);
        eventually(async || is(WorkerState::Ready).await).await;

        let record = known().await.remove(0);
        assert_eq!((record.id, record.name.as_str(), record.pid), (worker.id(), "mailer", std::process::id()));
        assert_eq!((record.version.as_deref(), record.stent.as_str()), (Some("1.2.3"), env!("CARGO_PKG_VERSION")));
        assert_eq!((record.queues.as_deref(), record.tags.as_slice()), (Some(&["mail".to_owned()][..]), &["gpu".to_owned()][..]));
        assert_eq!((record.slots, record.used), (3, 0));
        assert!(record.functions.contains(&"status.gated".to_owned()), "{:?}", record.functions);
        assert!(!record.host.is_empty() && record.program.starts_with("runtime"), "{record:?}");
        assert!(record.started_at <= record.seen_at && !record.is_dead(record.seen_at));
        let clean = async || {
            let retention = Retention::default().workers(Duration::from_micros(1));
            world.stent.apply_retention(&retention).await.expect("cleans").workers
        };
        assert_eq!(clean().await, 0, "it lives");

        worker.drain().await.expect("drains");
        assert!(is(WorkerState::Stopped).await, "a drain ends once the store knows it");
        eventually(async || clean().await == 1).await;
        assert_eq!(known().await, []);
    }

    async fn an_overview_can_be_served_as_it_is(world) {
        let worker = world.worker_with(|worker| worker.name("mailer")).await;
        worker.wait_until_ready().await.expect("becomes ready");

        let json = serde_json::to_value(world.stent.workers()).expect("encodes");

        assert_eq!((&json["ready"], &json["draining"]), (&true.into(), &false.into()));
        let one = &json["workers"][0];
        assert_eq!((&one["name"], &one["state"], &one["lease_ms"]), (&"mailer".into(), &"ready".into(), &30_000.into()));
        assert_eq!(one["id"], worker.id().to_string());
        worker.drain().await.expect("drains");
    }
}

#[test]
fn the_words_for_states_are_those_that_are_served() {
    for state in [WorkerState::Starting, WorkerState::Ready, WorkerState::Draining, WorkerState::Stopped] {
        assert_eq!(serde_json::to_value(state).expect("encodes"), state.as_str());
    }
}
