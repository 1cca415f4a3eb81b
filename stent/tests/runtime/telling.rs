//! The log at the default levels: it says what failed and what to do about it, and contains nothing of the libraries
//! underneath.

use std::sync::atomic::Ordering;
use std::time::Duration;

use stent::prelude::*;
use tracing::Level;

use crate::rigged::Rigged;
use crate::{Db, World, eventually, logs, on_every_store, ran, unique, until};

#[durable(name = "telling.flaky", retry(max_attempts = 2, initial_delay = "1ms"))]
async fn flaky(key: u64) -> Result<(), String> {
    Err(format!("no {key}"))
}

#[durable(name = "telling.calls_flaky")]
async fn calls_flaky(key: u64) -> Result<(), stent::Error> {
    flaky(key).await
}

#[durable(name = "telling.parked")]
async fn parked() -> Result<u64, stent::Error> {
    stent::signal("never").await
}

#[durable(name = "telling.endless")]
async fn endless(key: u64) -> Result<(), String> {
    ran::note(key, "started");
    std::future::pending().await
}

#[durable(name = "telling.blocks")]
async fn blocks(key: u64) -> Result<(), String> {
    ran::note(key, "started");
    std::thread::sleep(Duration::from_millis(1_200));
    // The loop notices lost leases only in its next round.
    tokio::time::sleep(Duration::from_millis(300)).await;
    Ok(())
}

fn said(execution: stent::ExecutionId) -> Vec<(Level, String)> {
    let id = execution.to_string();
    let lines = logs::lines(|line| line.field("execution") == id && line.level <= Level::INFO);
    lines.into_iter().map(|line| (line.level, line.message().to_owned())).collect()
}

on_every_store! {
    async fn what_fails_is_said_with_what_becomes_of_it(world) {
        let worker = world.worker().await;
        let key = unique();
        let run = world.stent.dispatch(calls_flaky(key)).await.expect("dispatched");
        run.result().timeout("20s").await.expect_err("fails");
        worker.drain().await.expect("drains");

        let said = said(run.id());
        let of = |level, parts: &[&str]| {
            let fits = |(at, text): &&(Level, String)| *at == level && parts.iter().all(|part| text.contains(part));
            said.iter().filter(fits).count()
        };
        let why = format!("no {key}");
        assert_eq!(of(Level::INFO, &["`telling.flaky` failed and is retried in", &why]), 1, "{said:#?}");
        assert_eq!(of(Level::INFO, &["`telling.flaky` failed, and its caller gets the error", &why]), 1, "{said:#?}");
        assert_eq!(of(Level::WARN, &["`telling.calls_flaky` failed for good", "dead_letters()", &why]), 1, "{said:#?}");
    }

    async fn what_runs_over_its_time_is_said(world) {
        let worker = world.worker().await;
        let key = unique();
        // Long enough that it runs when its time is up.
        let run = world.stent.dispatch(endless(key)).max_duration("1s").await.expect("dispatched");
        run.result().timeout("20s").await.expect_err("expires");
        eventually(async || !said(run.id()).is_empty()).await;
        worker.drain().await.expect("drains");

        let said = said(run.id());
        assert!(said.iter().any(|(level, text)| *level == Level::WARN && text.contains("`telling.endless` timed out")), "{said:#?}");
    }

    async fn what_is_over_its_time_while_it_is_parked_is_said_too(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(parked()).max_duration("2s").await.expect("dispatched");
        until(|| worker.status().parked == 1).await;
        run.result().timeout("20s").await.expect_err("expires");
        let ended = format!("execution {} timed out", run.id());
        eventually(async || said(run.id()).iter().any(|(level, text)| *level == Level::WARN && text.contains(&ended))).await;
        worker.drain().await.expect("drains");
    }

    async fn a_drain_that_waits_says_for_what_and_what_it_hands_back(world) {
        let key = unique();
        let worker = world.worker_with(|worker| worker.grace("50ms")).await;
        let id = worker.id().to_string();
        world.stent.dispatch(endless(key)).await.expect("dispatched");
        until(|| ran::count(key, "started") == 1).await;

        worker.drain().await.expect("drains");

        for part in ["waits for at most 50ms until the running ones", "stopping and releasing the tasks"] {
            let said = logs::lines(|line| line.field("worker") == id && line.message().contains(part));
            assert_eq!(said.len(), 1, "{part}");
            assert!(said[0].level == Level::INFO && said[0].message().contains("`telling.endless`"), "{said:?}");
        }
    }

    async fn a_store_that_is_away_is_said_once_with_what_happens_meanwhile_and_so_is_its_return(world) {
        let rigged = Rigged::new(world.stent.store());
        let stent = Stent::builder().open(rigged.clone()).await.expect("opens");
        let worker = stent.worker().state(Db).start().await.expect("starts");
        worker.wait_until_ready().await.expect("becomes ready");
        let id = worker.id().to_string();
        let about = |part: &str| {
            logs::lines(|line| line.field("worker") == id && line.level <= Level::INFO && line.message().contains(part))
        };

        rigged.is_out.store(true, Ordering::SeqCst);
        // Work for which the worker asks the store.
        world.stent.dispatch(flaky(unique())).await.expect("dispatched");
        eventually(async || about("the worker keeps retrying").len() == 1).await;
        let failures = worker.status().last_error;
        eventually(async || worker.status().last_error != failures).await;
        rigged.is_out.store(false, Ordering::SeqCst);
        eventually(async || about("answers again").len() == 1).await;

        let said = about("the worker keeps retrying");
        assert_eq!((said.len(), said[0].level), (1, Level::WARN));
        assert!(!said[0].message().contains("0ns"), "{}", said[0].message());
        assert!(about("is retried").is_empty());
        worker.drain().await.expect("drains");
    }

    async fn dispatches_that_a_store_does_not_accept_are_said_once_and_so_is_its_return(world) {
        let rigged = Rigged::new(world.stent.store());
        let stent = Stent::builder().open(rigged.clone()).await.expect("opens");
        let place = format!("telling {}", unique());
        *rigged.location.lock().expect("not poisoned") = Some(place.clone());
        let about = |part: &str| {
            logs::lines(|line| line.field("store") == place && line.level <= Level::INFO && line.message().contains(part))
        };

        rigged.is_out.store(true, Ordering::SeqCst);
        let dispatch = async || stent.dispatch(flaky(unique())).await.is_err();
        assert_eq!(tokio::join!(dispatch(), dispatch()), (true, true), "the store is away");
        assert!(about("accepts dispatches").is_empty());
        rigged.is_out.store(false, Ordering::SeqCst);
        stent.dispatch(flaky(unique())).await.expect("dispatched");
        // Some writes succeed in the middle of an outage.
        rigged.is_out.store(true, Ordering::SeqCst);
        assert!(dispatch().await, "the store is away again");
        rigged.is_out.store(false, Ordering::SeqCst);
        stent.dispatch(flaky(unique())).await.expect("dispatched");
        eventually(async || !about("accepts dispatches").is_empty()).await;

        let said = about("does not accept dispatches");
        assert!(said.len() == 1 && said[0].level == Level::WARN, "{said:?}");
        let said = about("accepts dispatches");
        assert!(said.len() == 1 && said[0].level == Level::INFO, "{said:?}");
        assert_eq!(about("").len(), 2, "{:?}", about(""));
    }

    async fn a_function_that_blocks_its_thread_is_named(world) {
        let worker = world.worker().await;
        world.stent.run(blocks(unique())).await.expect("runs");
        worker.drain().await.expect("drains");

        let said = logs::lines(|line| line.field("function") == "telling.blocks" && line.message().contains("blocked its thread"));
        assert!(!said.is_empty() && said[0].level == Level::WARN, "{said:?}");
        assert!(said[0].message().contains("spawn_blocking"), "{said:?}");
    }

    async fn statements_and_migrations_are_not_logged(world) {
        let worker = world.worker().await;
        world.stent.run(flaky(unique())).await.expect_err("fails");
        worker.drain().await.expect("drains");

        // Notices of a Postgres server are neither: one follows when another test of this process drops a call that commits.
        let noise = logs::lines(|line| {
            (line.target.starts_with("sea_orm") || line.target.starts_with("sqlx"))
                && line.target != "sqlx::postgres::notice"
                && line.level <= Level::INFO
        });
        assert!(noise.is_empty(), "{noise:#?}");
    }
}

/// On one thread, where a function that blocks holds up the loop and so loses its own lease.
#[test]
fn a_lease_that_runs_out_under_a_function_that_blocks_says_so() {
    crate::log();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let key = unique();
        let world = World::memory().await;
        let worker = world.worker_with(|worker| worker.lease("600ms")).await;
        let id = worker.id().to_string();
        let run = world.stent.dispatch(blocks(key)).await.expect("dispatched");

        eventually(async || {
            said(run.id()).iter().any(|(_, text)| text.contains("the lease of `telling.blocks` was lost"))
        })
        .await;

        let said = said(run.id());
        let lost = said
            .iter()
            .find(|(_, text)| text.contains("the lease of `telling.blocks` was lost"))
            .expect("just seen");
        assert!(
            lost.0 == Level::WARN
                && lost.1.contains("blocked its thread")
                && lost.1.contains("spawn_blocking"),
            "{said:#?}"
        );
        let held_up =
            logs::lines(|line| line.field("worker") == id && line.message().contains("loop was delayed"));
        assert!(!held_up.is_empty());
        worker.stop().await.expect("stops");
    });
}
