//! Sessions that end in the middle: the errors are transient, and the transitions are sent again.

use std::time::Duration;

use stent_core::backend::{Backend, Error, Inspect};
use stent_core::transition::{Outcome, Transition};
use stent_postgres::PostgresStore;

use crate::schema::Schema;
use crate::sessions::Sessions;
use crate::support::{claim, commit, end, root, start, t};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_under_way_when_a_session_ended_stands_or_does_not_and_is_sent_again() {
    let schema = Schema::new();
    schema.ready().await;
    let store = PostgresStore::open(schema.named("")).await.expect("opens");
    let mut sessions = Sessions::of(schema.name()).await;

    let writer = tokio::spawn({
        let store = std::sync::Arc::clone(&store);
        async move {
            let (mut failed, mut sent) = (0, Vec::new());
            for _ in 0..300 {
                let batch = [start(root("charge"))];
                let outcome = loop {
                    match store.exchange(&batch, None).await {
                        Ok(exchanged) => break exchanged.outcomes[0].clone(),
                        Err(error) => {
                            assert!(error.is_transient(), "{error:?}");
                            failed += 1;
                        }
                    }
                };
                assert!(outcome.stands(), "{outcome:?}");
                sent.push(batch);
            }
            (failed, sent)
        }
    });
    while !writer.is_finished() {
        sessions.end().await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }

    let (failed, sent) = writer.await.expect("ends");
    assert!(failed > 0, "no session was ended in the middle of anything");
    let again: Vec<Transition> = sent.into_iter().flatten().collect();
    let outcomes = commit(&store, &again).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Already(_))), "{outcomes:?}");
    let claimed = claim(&store, &["charge"], 500, t(0)).await;
    assert_eq!(claimed.len(), 300, "each was dispatched once");
}

#[tokio::test]
async fn sessions_that_ended_while_idle_are_passed_over() {
    let schema = Schema::new();
    schema.ready().await;
    let store = PostgresStore::open(schema.named("")).await.expect("opens");
    let dispatches: Vec<_> = (0..4).map(|_| start(root("charge"))).collect();
    let at_once = dispatches.chunks(1).map(|batch| {
        let (store, batch) = (std::sync::Arc::clone(&store), batch.to_vec());
        tokio::spawn(async move { store.exchange(&batch, None).await.map(drop) })
    });
    for dispatched in at_once.collect::<Vec<_>>() {
        dispatched.await.expect("ends").expect("dispatches");
    }

    assert!(Sessions::of(schema.name()).await.end().await > 0);

    // A session that was in use a moment ago would be trusted, and fail once.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let claimed = claim(&store, &["charge"], 9, t(0)).await;
    let ends: Vec<_> = claimed.iter().map(end).collect();
    assert_eq!(commit(&store, &ends).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_that_meet_in_a_circle_are_run_again() {
    let schema = Schema::new();
    let store = schema.ready().await;
    // Two batches with the same new tasks in opposite orders: each conflicts with the inserts of the other.
    for _ in 0..20 {
        let tasks: Vec<_> = (0..50).map(|_| start(root("charge"))).collect();
        let batches = [0, 1].map(|_| {
            let (store, batch) = (std::sync::Arc::clone(&store), tasks.clone());
            tokio::spawn(async move { store.exchange(&batch, None).await })
        });
        let mut applied = 0;
        for batch in batches {
            let exchanged: Result<_, Error> = batch.await.expect("ends");
            let outcomes = exchanged.expect("is run again").outcomes;
            assert!(outcomes.iter().all(Outcome::stands));
            applied += outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Applied(_))).count();
        }
        assert_eq!(applied, 50);
    }
    assert_eq!(store.count(usize::MAX).await.expect("counts").values().sum::<u64>(), 1_000);
}
