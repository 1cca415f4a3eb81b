//! Return types of functions: an alias of `Result` is one, and another type of that name is not.

use serde::{Deserialize, Serialize};
use stent::prelude::*;

use crate::{on_every_store, ran, unique};

type R<T> = Result<T, stent::Error>;
type Outcome = Result<u64, Declined>;
type Short = u64;

/// An error that could be stored as if it were a result.
#[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[error("declined with code {code}")]
struct Declined {
    code: u16,
}

/// A type named `Result` that is none.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct SearchResult {
    hits: u64,
}

#[durable(name = "returning.declined", retry(max_attempts = 2, initial_delay = "1ms"))]
async fn declined(key: u64) -> Outcome {
    ran::note(key, "declined");
    Err(Declined { code: 7 })
}

#[durable(name = "returning.search")]
async fn search(hits: u64) -> SearchResult {
    SearchResult { hits }
}

#[durable(name = "returning.short")]
async fn short(n: u64) -> Short {
    n
}

#[durable(name = "returning.calls", retry(max_attempts = 1))]
async fn calls(key: u64) -> R<u64> {
    let (found, n): (SearchResult, u64) = (search(key).await?, short(1).await?);
    assert_eq!((found.hits, n), (key, 1));
    declined(key).await
}

on_every_store! {
    async fn a_result_by_another_name_fails_and_is_retried(world) {
        let worker = world.worker().await;
        let key = unique();
        let run: Handle<u64> = world.stent.dispatch(calls(key)).await.expect("dispatched");
        let error = run.result().timeout("20s").await.expect_err("it is declined");
        assert_eq!(error.downcast::<Declined>(), Some(Declined { code: 7 }), "{error}");
        assert_eq!(ran::count(key, "declined"), 2, "a failure is tried again");
        let found: SearchResult = world.stent.run(search(3)).await.expect("runs");
        assert_eq!(found, SearchResult { hits: 3 });
        worker.drain().await.expect("drains");
    }
}

#[tokio::test]
async fn a_body_that_is_run_directly_returns_the_same() {
    assert!(declined(unique()).local().await.is_err());
    assert_eq!(short(4).local().await.expect("runs"), 4);
    assert_eq!(search(4).local().await.expect("runs"), SearchResult { hits: 4 });
}
