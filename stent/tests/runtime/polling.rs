//! Durable futures that are polled after they have completed: a panic, and so a failure, as with the futures of the standard
//! library. Otherwise they would wait forever.

use std::future::{Future, IntoFuture};
use std::pin::pin;

use stent::prelude::*;
use stent::{Error, Failure};

use crate::on_every_store;

#[durable(name = "polling.one")]
async fn one(n: u64) -> Result<u64, String> {
    Ok(n)
}

async fn twice<F: Future>(future: F) {
    let mut future = pin!(future);
    future.as_mut().await;
    future.await;
}

#[durable(name = "polling.again", retry(max_attempts = 1))]
async fn again(what: String) -> Result<(), Error> {
    match what.as_str() {
        "call" => twice(one(1)).await,
        "map" => twice(one::map([1, 2])).await,
        "outcomes" => twice(one::map([1, 2]).outcomes()).await,
        "step" => twice(stent::step("a step", || async { Ok::<_, String>(1) })).await,
        "sleep" => twice(stent::sleep("1ms")).await,
        "signal" => twice(stent::signal::<u64>("n").timeout("1ms")).await,
        "spawn" => twice(stent::spawn(one(1))).await,
        "wait" => twice(stent::spawn(one(1)).await?.result().into_future()).await,
        "join_all" => twice(stent::join_all([one(1), one(2)])).await,
        "join_all of many" => twice(stent::join_all((0..40).map(one))).await,
        "try_join_all" => twice(stent::try_join_all([one(1), one(2)])).await,
        // A failed future has completed, too.
        "no sleep" => twice(stent::sleep("soon")).await,
        "no step" => twice(stent::step("", || async { Ok::<_, String>(1) })).await,
        _ => return Err(stent::fatal(format!("what is {what}?")).into()),
    }
    Ok(())
}

on_every_store! {
    async fn polling_what_is_done_is_a_panic_and_no_wait_for_ever(world) {
        let worker = world.worker().await;
        for what in [
            "call", "map", "outcomes", "step", "sleep", "signal", "spawn", "wait", "join_all", "join_all of many",
            "try_join_all", "no sleep", "no step",
        ] {
            let run = world.stent.dispatch(again(what.to_owned())).await.expect("dispatched");
            let error = run.result().timeout("10s").await.expect_err("it was polled again");
            assert_eq!(error.failure().map(|failure| failure.kind.as_str()), Some(Failure::PANIC), "{what}: {error}");
            assert!(error.to_string().contains("complet"), "{what}: {error}");
        }
        worker.stop().await.expect("stops");
    }
}
