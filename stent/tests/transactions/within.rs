//! Dispatches and signals as part of a transaction.

use std::future::IntoFuture;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

use stent::backend::{Forward, Store};
use stent::metrics::{DispatchOutcome, Dispatched, Metrics};
use stent::prelude::*;
use stent::{Error, ExecutionId};

use crate::{on_every_database, order};

#[durable(name = "within.double")]
async fn double(n: i64) -> Result<i64, String> {
    Ok(n * 2)
}

#[durable(name = "within.approve")]
async fn approve() -> Result<String, stent::Error> {
    stent::signal("by").await
}

/// A store before another one that forwards all but transactions.
#[derive(Debug)]
struct Wrapper(Arc<dyn Store>);

impl Forward for Wrapper {
    fn inner(&self) -> &dyn Store {
        &*self.0
    }
}

/// Keeps the outcomes of dispatches.
#[derive(Clone, Debug, Default)]
struct Outcomes(Arc<Mutex<Vec<DispatchOutcome>>>);

impl Metrics for Outcomes {
    fn dispatched(&self, event: &Dispatched<'_>) {
        self.0.lock().unwrap().push(event.outcome);
    }
}

/// Reports when a future was woken.
#[derive(Debug, Default)]
struct Woken(tokio::sync::Notify);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

on_every_database! {
    async fn what_is_not_committed_yet_is_told_as_that(world) {
        let told = Outcomes::default();
        let stent = Stent::builder().metrics(told.clone()).open(world.stent.store().clone()).await.unwrap();
        let txn = world.begin().await;
        stent.dispatch(double(1)).idempotency_key("k").within(&txn).await.unwrap();
        stent.dispatch_all([double(2)]).within(&txn).await.unwrap();
        txn.commit().await.unwrap();
        stent.dispatch(double(3)).idempotency_key("k").await.unwrap();

        let expected = [DispatchOutcome::Uncommitted, DispatchOutcome::Uncommitted, DispatchOutcome::Existing];
        assert_eq!(*told.0.lock().unwrap(), expected);
    }

    async fn what_is_committed_with_the_row_runs(world) {
        let worker = world.worker().await;
        let txn = world.begin().await;
        order(&txn, 7).await.unwrap();
        let run = world.stent.dispatch(double(21)).within(&txn).await.unwrap();
        assert!(matches!(run.status().await, Err(Error::NotFound(id)) if id == run.id()));
        txn.commit().await.unwrap();

        assert_eq!(run.result().timeout("30s").await.unwrap(), 42);
        assert_eq!(world.orders().await, [7]);
        worker.drain().await.unwrap();
    }

    async fn a_wait_for_what_is_not_committed_yet_waits_for_that_too(world) {
        let worker = world.worker().await;
        let txn = world.begin().await;
        let run = world.stent.dispatch(double(21)).within(&txn).await.unwrap();
        let all = world.stent.dispatch_all([double(4)]).within(&txn).await.unwrap();
        let early = run.clone().result().timeout("50ms").await;
        assert!(matches!(early, Err(Error::WaitTimeout { .. })), "{early:?}");
        let waits = tokio::spawn(run.result().timeout("30s").into_future());
        txn.commit().await.unwrap();

        assert_eq!(waits.await.unwrap().unwrap(), 42);
        assert_eq!(all[0].result().timeout("30s").await.unwrap(), 8);
        worker.drain().await.unwrap();
    }

    async fn of_what_is_rolled_back_or_dropped_nothing_is_left(world) {
        for drops in [false, true] {
            let txn = world.begin().await;
            order(&txn, 7).await.unwrap();
            let run = world.stent.dispatch(double(21)).idempotency_key("k").within(&txn).await.unwrap();
            if drops { drop(txn) } else { txn.rollback().await.unwrap() }

            assert!(matches!(run.status().await, Err(Error::NotFound(_))));
            assert_eq!((world.executions().await, world.orders().await.len()), (0, 0));
        }
        // Neither is the key visible, nor the lane that the first call of a function writes.
        let run = world.stent.dispatch(double(1)).idempotency_key("k").await.unwrap();
        let worker = world.worker().await;
        assert_eq!(run.result().timeout("30s").await.unwrap(), 2);
        worker.drain().await.unwrap();
    }

    async fn a_key_gives_the_handle_of_the_first(world) {
        let first = world.stent.dispatch(double(1)).idempotency_key("k").await.unwrap();
        let txn = world.begin().await;
        let again = world.stent.dispatch(double(1)).idempotency_key("k").within(&txn).await.unwrap();
        let other = world.stent.dispatch(double(1)).idempotency_key("l").within(&txn).await.unwrap();
        let other_again = world.stent.dispatch(double(1)).idempotency_key("l").within(&txn).await.unwrap();
        txn.commit().await.unwrap();

        assert_eq!(again.id(), first.id());
        assert_eq!(other_again.id(), other.id());
        assert_eq!(world.executions().await, 2);
    }

    async fn options_mean_the_same(world) {
        let id = ExecutionId::from_uuid(stent::uuid());
        let txn = world.begin().await;
        let call = || world.stent.dispatch(double(1)).id(id).queue("slow").priority(3).tag("eu").delay("1h");
        let run = call().within(&txn).await.unwrap();
        assert_eq!(call().within(&txn).await.unwrap().id(), id);
        txn.commit().await.unwrap();

        let view = world.stent.inspect().describe(run.id()).await.unwrap();
        assert_eq!((view.id, view.queue.as_str(), view.priority), (id, "slow", 3));
        assert!(view.tags.contains("eu"));
        assert_eq!(world.stent.inspect().queue_depth(Some("slow")).await.unwrap(), 1);
    }

    async fn a_signal_counts_once_it_is_committed(world) {
        let worker = world.worker().await;
        let run = world.stent.dispatch(approve()).await.unwrap();
        let txn = world.begin().await;
        run.signal("by", &"kim").within(&txn).await.unwrap();
        txn.rollback().await.unwrap();
        let txn = world.begin().await;
        order(&txn, 1).await.unwrap();
        world.stent.send_signal(run.id(), "by", &"lee").within(&txn).await.unwrap();
        txn.commit().await.unwrap();
        assert_eq!(run.result().timeout("30s").await.unwrap(), "lee");
        worker.drain().await.unwrap();
    }

    async fn a_signal_reaches_what_was_dispatched_in_the_same_transaction(world) {
        let txn = world.begin().await;
        let run = world.stent.dispatch(approve()).within(&txn).await.unwrap();
        run.signal("by", &"kim").within(&txn).await.unwrap();
        txn.commit().await.unwrap();
        let worker = world.worker().await;
        assert_eq!(run.result().timeout("30s").await.unwrap(), "kim");
        worker.drain().await.unwrap();
    }

    async fn a_signal_to_nobody_is_an_error_and_the_transaction_goes_on(world) {
        let txn = world.begin().await;
        order(&txn, 1).await.unwrap();
        let nobody = world.stent.handle::<()>(ExecutionId::from_uuid(stent::uuid()));
        let error = nobody.signal("by", &"kim").within(&txn).await.unwrap_err();
        assert!(matches!(error, Error::NotFound(_)), "{error}");
        txn.commit().await.unwrap();
        assert_eq!(world.orders().await, [1]);
    }

    async fn many_transactions_at_once_each_stand_or_fall_alone(world) {
        let transactions = (0..24).map(|n| {
            let world = world.clone();
            tokio::spawn(async move {
                let txn = world.begin().await;
                order(&txn, n).await.unwrap();
                for part in 0..3 {
                    world.stent.dispatch(double(part)).within(&txn).await.unwrap();
                }
                if n % 2 == 0 { txn.commit().await.unwrap() } else { txn.rollback().await.unwrap() }
            })
        });
        for transaction in transactions.collect::<Vec<_>>() {
            transaction.await.unwrap();
        }
        assert_eq!(world.orders().await, (0..24).step_by(2).collect::<Vec<_>>());
        assert_eq!(world.executions().await, 36);
    }

    async fn calls_at_once_in_one_transaction_do_not_cross(world) {
        let txn = world.begin().await;
        let runs = (0..40).map(|n| world.stent.dispatch(double(n)).within(&txn).into_future());
        let runs = futures::future::try_join_all(runs).await.unwrap();
        txn.commit().await.unwrap();
        assert_eq!((runs.len(), world.executions().await), (40, 40));
    }

    async fn a_large_batch_is_there_whole_or_not_at_all(world) {
        const CALLS: i64 = 2_500;
        for commits in [false, true] {
            let txn = world.begin().await;
            let runs = world.stent.dispatch_all((0..CALLS).map(double)).within(&txn).await.unwrap();
            assert_eq!(runs.len() as i64, CALLS);
            if commits { txn.commit().await.unwrap() } else { txn.rollback().await.unwrap() }
            let expected = if commits { CALLS as u64 } else { 0 };
            assert_eq!(world.executions().await, expected);
        }
    }

    async fn a_dispatch_that_is_dropped_leaves_nothing_once_the_transaction_is_dropped_too(world) {
        let mut ended = 0;
        for polls in 0..60 {
            let txn = world.begin().await;
            order(&txn, polls).await.unwrap();
            let mut dispatch = world.stent.dispatch(double(1)).within(&txn).into_future();
            let woken = Arc::new(Woken::default());
            let waker = Waker::from(woken.clone());
            let mut cx = Context::from_waker(&waker);
            for _ in 0..polls {
                if dispatch.as_mut().poll(&mut cx).is_ready() {
                    ended += 1;
                    break;
                }
                woken.0.notified().await;
            }
            drop(dispatch);
            drop(txn);
            assert_eq!((world.executions().await, world.orders().await.len()), (0, 0), "after {polls} polls");
        }
        assert!((1..60).contains(&ended), "{ended} were done before they were dropped");

        let txn = world.begin().await;
        order(&txn, 1).await.unwrap();
        world.stent.dispatch(double(1)).within(&txn).await.unwrap();
        txn.commit().await.unwrap();
        assert_eq!((world.executions().await, world.orders().await.len()), (1, 1));
    }

    async fn a_store_without_a_database_says_so(world) {
        let memory = Stent::connect("memory:").await.unwrap();
        let txn = world.begin().await;
        let error = memory.dispatch(double(1)).within(&txn).await.unwrap_err();
        assert!(matches!(error, Error::NoTransactions { kind: "memory", .. }), "{error}");
        assert!(error.to_string().contains("use sqlite://"), "{error}");
    }

    async fn a_wrapper_without_transactions_is_named_with_the_remedy(world) {
        let wrapped = Arc::new(Wrapper(world.stent.store().clone()));
        let stent = Stent::builder().open(wrapped).await.unwrap();
        let txn = world.begin().await;
        let error = stent.dispatch(double(1)).within(&txn).await.unwrap_err().to_string();
        assert!(error.contains("within::Wrapper` ("), "{error}");
        assert!(error.contains("if it wraps another store, forward `transactions`"), "{error}");
    }
}
