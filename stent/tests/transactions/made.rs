//! Durable futures that are made in the closure of a step or a transaction, and awaited after it in the function.

use std::sync::Mutex;

use stent::prelude::*;
use stent::sea_orm::DbErr;

use crate::{on_every_database, ran, unique};

#[durable(name = "made.double")]
async fn double(n: i64) -> Result<i64, String> {
    Ok(n * 2)
}

/// Returns the errors of the run in which the closures ran.
#[durable(name = "made.takes_out", retry(max_attempts = 1))]
async fn takes_out(test: i64) -> Result<i64, stent::Error> {
    let (call, sleep) = (&Mutex::new(None), &Mutex::new(None));
    stent::transaction(async |_| {
        *call.lock().unwrap() = Some(double(1));
        *sleep.lock().unwrap() = Some(stent::sleep("1ms"));
        Ok::<_, DbErr>(())
    })
    .await?;
    let (call, sleep) = (call.lock().unwrap().take(), sleep.lock().unwrap().take());
    if let (Some(call), Some(sleep)) = (call, sleep) {
        let told =
            [call.await.map(drop).unwrap_err(), sleep.await.unwrap_err()].map(|error| error.to_string());
        for (told, what) in told.iter().zip(["`made.double`", "`stent::sleep`"]) {
            assert!(told.contains(what) && told.contains("inside a transaction cannot be a step"), "{told}");
        }
        ran::note(test);
    }
    let mut transaction = None;
    stent::step("outer", || async {
        transaction = Some(stent::transaction(async |_| Ok::<_, DbErr>(())));
        Ok::<_, String>(())
    })
    .await?;
    if let Some(transaction) = transaction {
        let told = transaction.await.unwrap_err().to_string();
        assert!(told.contains("closure of step `outer`"), "{told}");
        ran::note(test);
    }
    stent::sleep("1ms").await?;
    double(7).await
}

on_every_database! {
    async fn what_is_made_in_a_closure_and_awaited_after_it_says_so(world) {
        let (test, worker) = (unique(), world.worker_with(|worker| worker.cache(0)).await);
        let run = world.stent.dispatch(takes_out(test)).await.unwrap();
        assert_eq!(run.result().timeout("20s").await.unwrap(), 14);
        assert_eq!(ran::count(test), 2);
        worker.drain().await.unwrap();
    }
}
