//! Non-durable work between steps runs again in a replay; a warning says so.

use std::time::Duration;

use stent::prelude::*;

use crate::{logs, on_every_store, ran, unique};

#[durable(name = "not_durable.step")]
async fn recorded(n: u64) -> Result<u64, String> {
    Ok(n)
}

async fn outside(key: u64) -> Result<(), String> {
    ran::note(key, "outside");
    tokio::time::sleep(Duration::from_millis(2)).await;
    Ok(())
}

#[durable(name = "not_durable.between")]
async fn between_steps(key: u64) -> Result<u64, stent::Error> {
    let n = recorded(1).await?;
    outside(key).await.map_err(stent::fatal)?;
    stent::sleep("1ms").await?;
    Ok(n)
}

#[durable(name = "not_durable.inside")]
async fn inside_a_step(key: u64) -> Result<u64, stent::Error> {
    let n = recorded(1).await?;
    stent::step("outside", || outside(key)).await?;
    stent::sleep("1ms").await?;
    Ok(n)
}

fn warnings(function: &str) -> Vec<logs::Line> {
    logs::lines(|line| {
        line.level == tracing::Level::WARN
            && line.field("function") == function
            && line.message().contains("stent::step")
    })
}

async fn run_twice<F: stent::Function>(world: &crate::World, call: impl Fn(u64) -> Call<F>) -> Vec<String> {
    // Not cached, so it is replayed from the record after the sleep.
    let worker = world.forgetful_worker().await;
    let key = unique();
    for _ in 0..2 {
        world.stent.run(call(key)).await.expect("runs");
    }
    worker.drain().await.expect("drains");
    ran::list(key)
}

on_every_store! {
    async fn code_that_awaits_something_else_between_steps_is_warned_of_once_when_it_is_replayed(world) {
        let before = warnings("not_durable.between").len();

        let ran = run_twice(&world, between_steps).await;

        assert_eq!(ran.len(), 4, "each of two runs has done it twice");
        // Stores run side by side in this process, each with a warning of its own.
        let warned = warnings("not_durable.between").len();
        assert!((before + 1..=crate::STORES).contains(&warned), "{warned} warnings after {before}");
    }

    async fn code_that_awaits_it_in_a_step_is_not(world) {
        let ran = run_twice(&world, inside_a_step).await;
        assert_eq!((ran.len(), warnings("not_durable.inside").len()), (2, 0));
    }
}
