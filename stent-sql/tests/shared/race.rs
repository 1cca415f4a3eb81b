//! Handles on one place that work at once, as processes do.

use std::collections::BTreeSet;
use std::sync::Arc;

use stent_core::transition::Outcome;

use crate::place::Place;
use crate::support::{commit, end, exchange, root, start, t};

const TASKS: usize = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_handles_claim_each_task_once() {
    let place = Place::new();
    let dispatches: Vec<_> = (0..TASKS).map(|_| start(root("charge"))).collect();
    commit(&*place.ready().await, &dispatches).await;

    let mut workers = Vec::new();
    for size in [7, 31] {
        let store = place.ready().await;
        workers.push(tokio::spawn(async move {
            let (mut done, mut batch) = (Vec::new(), Vec::new());
            loop {
                let exchanged = exchange(&store, &batch, &["charge"], size, t(0)).await;
                assert!(exchanged.outcomes.iter().all(|outcome| matches!(outcome, Outcome::Applied(_))));
                done.extend(exchanged.claimed.iter().map(|claimed| claimed.task.id));
                batch = exchanged.claimed.iter().map(end).collect();
                if batch.is_empty() {
                    return done;
                }
            }
        }));
    }

    let mut all = Vec::new();
    for worker in workers {
        all.extend(worker.await.expect("ends"));
    }
    assert_eq!(all.len(), TASKS);
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>().len(), TASKS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_of_one_handle_take_turns() {
    let place = Place::new();
    let store = place.ready().await;
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { commit(&store, &[start(root("charge"))]).await })
        })
        .collect();

    for caller in callers {
        assert!(caller.await.expect("ends").iter().all(Outcome::stands));
    }
}
