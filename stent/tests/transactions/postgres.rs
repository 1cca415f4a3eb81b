//! What is Postgres's own.

use std::future::IntoFuture;
use std::time::{Duration, Instant};

use stent::prelude::*;
use stent::sea_orm::{ConnectionTrait, DbErr, TransactionTrait};

use crate::{World, order, ran, refused, unique};

#[durable(name = "postgres.nothing")]
async fn nothing() {}

#[test]
fn a_transaction_that_looks_for_tables_elsewhere_is_refused_and_goes_on() {
    crate::run(World::postgres(), async |world| {
        let elsewhere = World::postgres().await;
        let txn = elsewhere.begin().await;
        order(&txn, 1).await.unwrap();
        let told = refused(world.stent.dispatch(nothing()).within(&txn).await.unwrap_err());
        assert!(told.contains(elsewhere.schema_name()) && told.contains(world.schema_name()), "{told}");
        txn.commit().await.unwrap();
        assert_eq!((elsewhere.executions().await, world.executions().await), (0, 0));
        assert_eq!(elsewhere.orders().await, [1]);

        // What counts is where a transaction is, and not who has begun it.
        let txn = elsewhere.database.begin().await.unwrap();
        txn.execute_unprepared(&format!("SET LOCAL search_path = {}", world.schema_name())).await.unwrap();
        world.stent.dispatch(nothing()).within(&txn).await.unwrap();
        txn.commit().await.unwrap();
        assert_eq!((elsewhere.executions().await, world.executions().await), (0, 1));
    });
}

/// Of a function that is known in the database: one that nobody has ever called is written by the first, and the second waits.
#[test]
fn two_open_transactions_call_the_same_function() {
    crate::run(World::postgres(), async |world| {
        world.stent.dispatch(nothing()).await.unwrap();
        // A process that has done nothing yet.
        let stent = Stent::connect(&world.url).await.unwrap();
        let (one, other) = (world.begin().await, world.begin().await);
        stent.dispatch(nothing()).within(&one).await.unwrap();
        let second = stent.dispatch(nothing()).within(&other).into_future();
        tokio::time::timeout(Duration::from_secs(20), second).await.expect("it does not wait").unwrap();
        one.commit().await.unwrap();
        other.commit().await.unwrap();
        assert_eq!(world.executions().await, 3);
    });
}

#[test]
fn a_transaction_that_finds_no_schema_is_refused() {
    crate::run(World::postgres(), async |world| {
        let txn = world.begin().await;
        txn.execute_unprepared("SET LOCAL search_path = nowhere").await.unwrap();
        refused(world.stent.dispatch(nothing()).within(&txn).await.unwrap_err());
        txn.rollback().await.unwrap();
        assert_eq!(world.executions().await, 0);
    });
}

/// A row of the application's that is there already will be there the next time, too.
#[durable(name = "postgres.twice")]
async fn twice(test: i64) -> Result<(), stent::Error> {
    stent::transaction(async |txn| {
        ran::note(test);
        txn.execute_unprepared("CREATE TABLE shipped (id BIGINT PRIMARY KEY)").await?;
        for _ in 0..2 {
            txn.execute_unprepared("INSERT INTO shipped (id) VALUES (1)").await?;
        }
        Ok::<_, DbErr>(())
    })
    .await
}

#[test]
fn what_breaks_a_constraint_of_the_application_is_not_run_again() {
    crate::run(World::postgres(), async |world| {
        let (test, worker) = (unique(), world.worker().await);
        let error = world.stent.run(twice(test)).await.unwrap_err();
        assert!(error.to_string().contains("shipped_pkey"), "{error}");
        assert_eq!(ran::count(test), 1);
        worker.drain().await.unwrap();
    });
}

/// Ends the session that it works in when it is run first.
#[durable(name = "postgres.ends_session")]
async fn ends_session(test: i64) -> Result<u32, stent::Error> {
    stent::transaction(async |txn| {
        order(&txn, test).await?;
        let runs = ran::note(test);
        if runs == 1 {
            txn.execute_unprepared("SELECT pg_terminate_backend(pg_backend_pid())").await?;
        }
        Ok::<_, DbErr>(runs)
    })
    .await
}

#[test]
fn a_connection_that_is_lost_in_the_middle_has_the_closure_run_again() {
    crate::run(World::postgres(), async |world| {
        let (test, worker) = (unique(), world.worker().await);
        assert_eq!(world.stent.run(ends_session(test)).await.unwrap(), 2);
        assert_eq!(world.orders().await, [test]);
        worker.drain().await.unwrap();
    });
}

/// Idle workers poll once in seconds; the application's commit says itself that there is work, to every process.
#[test]
fn a_commit_of_the_application_wakes_a_worker_of_another_process() {
    crate::run(World::postgres(), async |world| {
        let other = Stent::connect(&world.url).await.unwrap();
        let worker =
            other.worker().state(other.clone()).state(crate::Tries::nowhere()).start().await.unwrap();
        // The pauses between polls have grown to their longest after this.
        tokio::time::sleep(Duration::from_secs(4)).await;
        let mut took = Vec::new();
        for _ in 0..5 {
            let txn = world.begin().await;
            let run = world.stent.dispatch(nothing()).within(&txn).await.unwrap();
            txn.commit().await.unwrap();
            let start = Instant::now();
            run.result().timeout("30s").await.unwrap();
            took.push(start.elapsed());
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        took.sort();
        assert!(took[2] < Duration::from_millis(250), "{took:?}");
        worker.drain().await.unwrap();
    });
}
