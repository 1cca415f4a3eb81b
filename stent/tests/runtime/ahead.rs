//! Code that continues with the result of a step before the step is recorded.

use stent::Error;
use stent::prelude::*;
use stent::view::TaskStatus;

use crate::{on_every_store, ran, unique};

#[durable(name = "ahead.in_order")]
async fn in_order(key: u64) -> Result<String, Error> {
    let first: u64 = stent::step("first", || async { 7_u64 }).await?;
    let second: u64 = stent::step("second", || async move {
        ran::note(key, "second");
        crate::until(|| ran::count(key, "go on") > 0).await;
        first + 1
    })
    .await?;
    Ok(format!("{first} {second}"))
}

#[durable(name = "ahead.charge")]
async fn charge(key: u64) -> Result<u64, String> {
    ran::note(key, "charge");
    Ok(key)
}

#[durable(name = "ahead.fails_at_first", retry(max_attempts = 3, initial_delay = "1ms"))]
async fn fails_at_first(key: u64) -> Result<String, stent::Failure> {
    let charged = charge(key).await?;
    let closed: u64 = stent::step("closes", || async {
        ran::note(key, "close");
        key
    })
    .await?;
    ran::note(key, "end");
    match ran::count(key, "end") {
        1 => Err(stent::Failure::new("Declined", "not yet")),
        2 => panic!("nor now"),
        _ => Ok(format!("{}", charged == closed)),
    }
}

#[durable(name = "ahead.waits_after")]
async fn waits_after(key: u64) -> Result<String, Error> {
    charge(key).await?;
    ran::note(key, "after");
    stent::signal("go").await
}

async fn steps(world: &crate::World, run: &stent::Handle<String>) -> Vec<(String, TaskStatus)> {
    let tasks = world.stent.inspect().timeline(run.id()).await.expect("read");
    let steps = tasks.into_iter().filter(|task| task.parent.is_some());
    steps.map(|task| (task.name, task.status)).collect()
}

on_every_store! {
    async fn a_closure_begins_after_everything_before_it_is_recorded(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(in_order(key)).await.expect("dispatched");
        crate::until(|| ran::count(key, "second") > 0).await;

        assert_eq!(steps(&world, &run).await, [("first".to_owned(), TaskStatus::Completed)]);

        ran::note(key, "go on");
        assert_eq!(run.result().await.expect("runs"), "7 8");
        assert_eq!(steps(&world, &run).await.len(), 2);
        worker.drain().await.expect("drains");
    }

    async fn steps_before_a_failed_end_are_recorded_and_do_not_run_again(world) {
        let key = unique();
        let worker = world.worker().await;

        assert_eq!(world.stent.run(fails_at_first(key)).await.expect("runs"), "true");

        assert_eq!((ran::count(key, "charge"), ran::count(key, "close"), ran::count(key, "end")), (1, 1, 3));
        worker.drain().await.expect("drains");
    }

    async fn a_step_is_recorded_before_its_function_waits(world) {
        let key = unique();
        let worker = world.worker().await;
        let run = world.stent.dispatch(waits_after(key)).await.expect("dispatched");
        crate::eventually(async || worker.status().parked == 1).await;
        assert_eq!(steps(&world, &run).await.first(), Some(&("ahead.charge".to_owned(), TaskStatus::Completed)));
        worker.stop().await.expect("stops");

        let worker = world.worker().await;
        run.signal("go", &"went").await.expect("sent");
        assert_eq!(run.result().await.expect("runs"), "went");
        assert_eq!(ran::count(key, "charge"), 1);
        worker.drain().await.expect("drains");
    }
}
