//! Concurrent handles on one store, as several processes have them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stent_core::backend::Inspect;
use stent_core::model::NewTask;
use stent_core::transition::Outcome;

use crate::place::Place;
use crate::support::{claim, commit, end, exchange, root, start, t};

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
async fn an_execution_that_ends_is_counted_once() {
    let place = Place::new();
    let store = place.ready().await;
    let dispatches: Vec<_> = (0..TASKS).map(|_| start(root("charge"))).collect();
    commit(&store, &dispatches).await;

    let (counting, ended) = (place.ready().await, Arc::new(AtomicBool::new(false)));
    let counts = tokio::spawn({
        let ended = Arc::clone(&ended);
        async move {
            let mut counted = BTreeSet::new();
            while !ended.load(Ordering::Acquire) {
                counted.insert(counting.count(usize::MAX).await.expect("counts").into_values().sum::<u64>());
            }
            counted
        }
    });
    let mut batch = Vec::new();
    loop {
        let exchanged = exchange(&store, &batch, &["charge"], 5, t(0)).await;
        batch = exchanged.claimed.iter().map(end).collect();
        if batch.is_empty() {
            break;
        }
    }
    ended.store(true, Ordering::Release);

    assert_eq!(counts.await.expect("ends"), BTreeSet::from([TASKS as u64]));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn claimers_at_once_take_what_has_priority_before_all_else() {
    let place = Place::new();
    let store = place.ready().await;
    let mut peers = Vec::new();
    for _ in 0..4 {
        peers.push(place.open().await);
    }
    for round in 0..5 {
        let high = (0..50).map(|_| NewTask { priority: 9, ..root("charge") });
        let tasks: Vec<_> = (0..50).map(|_| root("charge")).chain(high).map(start).collect();
        commit(&store, &tasks).await;

        let claims = peers.iter().map(|peer| {
            let peer = Arc::clone(peer);
            tokio::spawn(async move { claim(&peer, &["charge"], 10, t(round)).await })
        });
        let mut claimed = Vec::new();
        for claims in claims.collect::<Vec<_>>() {
            claimed.extend(claims.await.expect("claims"));
        }

        let low = claimed.iter().filter(|claimed| claimed.task.priority == 0).count();
        assert_eq!((claimed.len(), low), (40, 0), "as many as were asked for, and none before its turn");
        claimed.extend(claim(&store, &["charge"], 99, t(round)).await);
        let ends: Vec<_> = claimed.iter().map(end).collect();
        commit(&store, &ends).await;
    }
}
