//! `now`, `random` and `uuid`: the same in every run.

use stent::prelude::*;

use crate::{on_every_store, ran, unique};

#[durable]
async fn draws(key: u64) -> Result<(), stent::Error> {
    let note = || ran::note(key, format!("{} {} {}", stent::now(), stent::random_u64(), stent::uuid()));
    note();
    stent::sleep("5ms").await?;
    note();
    stent::sleep("5ms").await?;
    note();
    Ok(())
}

/// Its step begins in this function's turn, and gets a row when it asks for steps of its own.
#[durable]
async fn calls_what_draws(key: u64) -> Result<(), stent::Error> {
    draws(key).await
}

on_every_store! {
    async fn a_replay_sees_the_same_time_and_chance(world) {
        let worker = world.forgetful_worker().await;
        let (root, step) = (unique(), unique());
        world.stent.run(draws(root)).await.expect("runs");
        world.stent.run(calls_what_draws(step)).await.expect("runs");
        for key in [root, step] {
            // Three turns: one, two and three notes. Three different ones in all.
            let mut notes = ran::list(key);
            assert_eq!(notes.len(), 6, "{notes:#?}");
            notes.sort();
            notes.dedup();
            assert_eq!(notes.len(), 3, "{notes:#?}");
        }
        worker.drain().await.expect("drains");
    }
}
