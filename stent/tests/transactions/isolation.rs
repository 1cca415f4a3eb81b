//! Isolation and conflicts of the application's transactions on Postgres, where transactions run concurrently.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use stent::prelude::*;
use stent::sea_orm::{ConnectionTrait, DatabaseTransaction, IsolationLevel, TransactionTrait};
use stent::view::{StepKind, TaskStatus};
use stent::{Error, StoreErrorKind};
use tokio::sync::Barrier;

use crate::{World, numbers, order};

/// Each statement sees what was committed before it.
const FRESH: [IsolationLevel; 2] = [IsolationLevel::ReadUncommitted, IsolationLevel::ReadCommitted];

/// All statements see only commits before the first one.
const FROZEN: [IsolationLevel; 2] = [IsolationLevel::RepeatableRead, IsolationLevel::Serializable];

#[durable(name = "isolation.nothing")]
async fn nothing() {}

#[durable(name = "isolation.approve")]
async fn approve() -> Result<String, stent::Error> {
    stent::signal("by").await
}

/// Waits in a call, so that its own row does not change when the call goes from one wait to the next.
#[durable(name = "isolation.order")]
async fn ordered() -> Result<String, stent::Error> {
    approval().await
}

#[durable(name = "isolation.approval")]
async fn approval() -> Result<String, stent::Error> {
    let _: String = stent::signal("go").await?;
    stent::signal("by").await
}

/// Waits until an execution waits for a signal and nothing of it runs.
async fn parked_at(world: &World, run: &Handle<String>, name: &str) {
    loop {
        let tasks = world.stent.inspect().timeline(run.id()).await.unwrap();
        let waits = tasks.iter().any(|task| task.kind == StepKind::Signal && task.name == name);
        if waits && tasks.iter().all(|task| task.status != TaskStatus::Running) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Chooses its own isolation level.
#[durable(name = "isolation.chooses")]
async fn chooses(test: i64) -> Result<(), stent::Error> {
    stent::transaction(async |txn| {
        txn.execute_unprepared("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").await?;
        order(&txn, test).await
    })
    .await
}

/// Begins a transaction whose snapshot is taken now.
async fn begin(world: &World, level: IsolationLevel) -> DatabaseTransaction {
    let txn = world.database.begin_with_config(Some(level), None).await.unwrap();
    assert_eq!(numbers(&txn, "SELECT count(*) FROM orders WHERE id < 0").await, [0]);
    txn
}

#[track_caller]
fn too_little(error: Error, level: IsolationLevel) {
    let Error::Store(store) = &error else { panic!("{error}") };
    assert_eq!(store.kind(), StoreErrorKind::Config, "{error}");
    assert!(!error.is_transient(), "{error}");
    for part in [&level.to_string(), "roll it back", "IsolationLevel::ReadCommitted"] {
        assert!(error.to_string().contains(part), "{part} in {error}");
    }
}

#[test]
fn one_that_sees_an_old_state_is_refused_by_name_and_goes_on() {
    crate::run(World::postgres(), async |world| {
        let waiting = world.stent.dispatch(approve()).await.unwrap();
        for (n, level) in (1..).zip(FROZEN) {
            let txn = begin(&world, level).await;
            order(&txn, n).await.unwrap();
            too_little(world.stent.dispatch(nothing()).within(&txn).await.unwrap_err(), level);
            let keyed = world.stent.dispatch(nothing()).idempotency_key("k").within(&txn).await;
            too_little(keyed.unwrap_err(), level);
            too_little(world.stent.dispatch_all([nothing()]).within(&txn).await.unwrap_err(), level);
            too_little(waiting.signal("by", &"kim").within(&txn).await.unwrap_err(), level);
            txn.commit().await.unwrap();
        }
        assert_eq!((world.executions().await, world.orders().await), (1, vec![1, 2]));
    });
}

#[test]
fn a_step_that_chooses_to_see_an_old_state_fails_by_name_and_is_rolled_back() {
    crate::run(World::postgres(), async |world| {
        let worker = world.worker().await;
        let error = world.stent.run(chooses(1)).await.unwrap_err();
        assert!(error.to_string().contains("SERIALIZABLE"), "{error}");
        assert!(world.orders().await.is_empty());
        worker.drain().await.unwrap();
    });
}

// G12
#[test]
fn a_key_that_was_taken_since_it_began_gives_the_handle_of_the_first() {
    crate::run(World::postgres(), async |world| {
        for (n, level) in (1..).zip(FRESH) {
            let dispatch = || world.stent.dispatch(nothing()).idempotency_key(format!("key of {level}"));
            let txn = begin(&world, level).await;
            let first = dispatch().await.unwrap();
            let again = dispatch().within(&txn).await.unwrap();
            txn.commit().await.unwrap();
            assert_eq!((again.id(), world.executions().await), (first.id(), n), "{level}");
        }
    });
}

// G11
#[test]
fn a_signal_finds_who_began_to_wait_since_it_began() {
    crate::run(World::postgres(), async |world| {
        let worker = world.worker().await;
        for level in FRESH {
            let run = world.stent.dispatch(ordered()).await.unwrap();
            parked_at(&world, &run, "go").await;
            let txn = begin(&world, level).await;
            run.signal("go", &"now").await.unwrap();
            parked_at(&world, &run, "by").await;
            run.signal("by", &"kim").within(&txn).await.unwrap();
            txn.commit().await.unwrap();
            assert_eq!(run.result().timeout("30s").await.unwrap(), "kim", "{level}");
        }
        worker.drain().await.unwrap();
    });
}

/// Two transactions that take the same keys in opposite orders, so that each has a key that the other needs.
#[test]
fn one_that_met_another_is_told_to_run_again_and_then_stands() {
    crate::run(World::postgres(), async |world| {
        // The first call of a function writes its lane, for which the other one would wait.
        world.stent.dispatch(nothing()).await.unwrap();
        let both = Arc::new(Barrier::new(2));
        let transactions = [["a", "b"], ["b", "a"]].map(|keys| {
            let (world, both) = (world.clone(), both.clone());
            tokio::spawn(async move {
                let mut met = 0;
                loop {
                    let txn = world.begin().await;
                    order(&txn, met).await.unwrap();
                    let key = |key: &str| {
                        world.stent.dispatch(nothing()).idempotency_key(key).within(&txn).into_future()
                    };
                    key(keys[0]).await.unwrap();
                    if met == 0 {
                        both.wait().await;
                    }
                    match key(keys[1]).await {
                        Ok(_) => {
                            txn.commit().await.unwrap();
                            break met;
                        }
                        Err(error) => {
                            assert!(error.is_transient(), "{error}");
                            let Error::Store(store) = &error else { panic!("{error}") };
                            assert_eq!(store.kind(), StoreErrorKind::Contended, "{error}");
                            assert!(error.to_string().contains("run all of it again"), "{error}");
                            assert!(error.to_string().contains("deadlock"), "{error}");
                            txn.rollback().await.unwrap();
                            met += 1;
                        }
                    }
                }
            })
        });
        let mut met = 0;
        for transaction in transactions {
            met += transaction.await.unwrap();
        }
        assert_eq!(met, 1, "one of two gives way");
        assert_eq!((world.executions().await, world.orders().await.len()), (3, 2));
    });
}
