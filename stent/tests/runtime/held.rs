//! A worker that starts logs the tasks that other workers hold.

use stent::Registry;
use stent::prelude::*;

use crate::{eventually, logs, on_every_store, ran, unique};

#[durable(name = "held.runs_on")]
async fn runs_on(key: u64) -> Result<(), String> {
    ran::note(key, "started");
    while ran::count(key, "go") == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    Ok(())
}

on_every_store! {
    async fn a_worker_that_starts_says_what_others_hold_and_until_when(world) {
        // Acts as another process.
        let theirs = world.with_registry(Registry::new().with::<runs_on>()).await;
        let other = theirs.worker().start().await.expect("starts");
        let key = unique();
        let run = theirs.dispatch(runs_on(key)).await.expect("dispatched");
        crate::until(|| ran::count(key, "started") > 0).await;

        let worker = world.worker().await;
        let id = worker.id().to_string();
        let says = || logs::lines(|line| {
            line.level == tracing::Level::INFO && line.field("worker") == id && line.field("tasks") == "1"
        });
        eventually(async || !says().is_empty()).await;
        let said = says()[0].clone();
        assert!(said.message().contains("1 tasks are held by 1 other workers"), "{}", said.message());
        assert!(said.message().contains(said.field("until")), "{}", said.message());

        // Tasks that this process holds are not reported.
        let beside = world.worker().await;
        ran::note(key, "go");
        run.result().timeout("20s").await.expect("runs");
        for worker in [worker, beside, other] {
            worker.drain().await.expect("drains");
        }
    }
}
