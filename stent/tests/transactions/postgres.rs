//! Behaviour that only Postgres has.

use std::future::IntoFuture;
use std::time::{Duration, Instant};

use stent::prelude::*;
use stent::sea_orm::{ConnectionTrait, Database, DbErr, TransactionTrait};

use crate::{World, order, ran, refused, unique};

#[durable(name = "postgres.nothing")]
async fn nothing() {}

/// Stent's statements name their schema. The search path of the application's statements is up to the application.
#[test]
fn a_transaction_that_looks_for_tables_elsewhere_takes_part() {
    crate::run(World::postgres(), async |world| {
        let elsewhere = World::postgres().await;
        let txn = elsewhere.begin().await;
        order(&txn, 1).await.unwrap();
        world.stent.dispatch(nothing()).within(&txn).await.unwrap();
        txn.commit().await.unwrap();
        assert_eq!((elsewhere.executions().await, world.executions().await), (0, 1));
        assert_eq!((elsewhere.orders().await, world.orders().await), (vec![1], vec![]));
    });
}

/// For a function whose lane is stored: for a new function, the first transaction writes the lane and the second waits.
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
fn a_transaction_that_finds_no_schema_takes_part() {
    crate::run(World::postgres(), async |world| {
        let txn = world.begin().await;
        txn.execute_unprepared("SET LOCAL search_path = nowhere").await.unwrap();
        world.stent.dispatch(nothing()).within(&txn).await.unwrap();
        txn.commit().await.unwrap();
        assert_eq!(world.executions().await, 1);
    });
}

/// Another database of the same server has tables of the same names.
#[test]
fn a_transaction_in_another_database_is_refused_and_goes_on() {
    crate::run(World::postgres(), async |world| {
        let name = format!("stent_{}", stent::uuid().simple());
        world.database.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
        let url = world.url.split('?').next().unwrap();
        let elsewhere =
            Database::connect(format!("{}/{name}", url.rsplit_once('/').unwrap().0)).await.unwrap();
        elsewhere.execute_unprepared("CREATE TABLE orders (id BIGINT)").await.unwrap();

        let txn = elsewhere.begin().await.unwrap();
        order(&txn, 1).await.unwrap();
        let told = refused(world.stent.dispatch(nothing()).within(&txn).await.unwrap_err());
        assert!(told.contains(&name), "{told}");
        txn.commit().await.unwrap();

        assert_eq!(world.executions().await, 0);
        elsewhere.close().await.unwrap();
        world.database.execute_unprepared(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
    });
}

/// A deferred foreign key, which is checked when the transaction commits.
#[durable(name = "postgres.dangling")]
async fn dangling() -> Result<(), stent::Error> {
    stent::transaction(async |txn| {
        txn.execute_unprepared("CREATE TEMPORARY TABLE parents (id BIGINT PRIMARY KEY)").await?;
        txn.execute_unprepared(
            "CREATE TEMPORARY TABLE children (id BIGINT REFERENCES parents DEFERRABLE INITIALLY DEFERRED)",
        )
        .await?;
        txn.execute_unprepared("INSERT INTO children (id) VALUES (1)").await.map(drop)
    })
    .await
}

#[test]
fn a_constraint_of_the_application_that_refuses_the_commit_is_said_to_be_that() {
    crate::run(World::postgres(), async |world| {
        let worker = world.worker().await;
        let error = world.stent.run(dangling()).await.unwrap_err();
        let told = error.to_string();
        assert!(
            told.contains("a constraint of the application rejects") && told.contains("children"),
            "{told}"
        );
        worker.drain().await.unwrap();
    });
}

/// Ends its transaction by itself.
#[durable(name = "postgres.commits")]
async fn commits(sql: String) -> Result<(), stent::Error> {
    stent::transaction(async |txn| txn.execute_unprepared(&sql).await.map(drop)).await
}

/// Continues after a failed statement.
#[durable(name = "postgres.swallows")]
async fn swallows() -> Result<(), stent::Error> {
    stent::transaction(async |txn| {
        txn.execute_unprepared("SELECT 1 / 0").await.unwrap_err();
        Ok::<_, DbErr>(())
    })
    .await
}

#[test]
fn a_closure_that_ends_its_transaction_or_breaks_it_is_told_so_and_others_stand() {
    crate::run(World::postgres(), async |world| {
        let worker = world.worker().await;
        for end in ["COMMIT", "ROLLBACK"] {
            let error = world.stent.run(commits(end.to_owned())).await.unwrap_err();
            assert!(error.to_string().contains("ended its transaction"), "{end}: {error}");
        }
        let error = world.stent.run(swallows()).await.unwrap_err();
        assert!(error.to_string().contains("an earlier statement of the transaction failed"), "{error}");

        for _ in 0..10 {
            world.stent.run(nothing()).await.unwrap();
        }
        let other = Stent::connect(&world.url).await.unwrap();
        assert_eq!(other.inspect().count().await.unwrap()[&stent::ExecutionStatus::Completed], 10);
        worker.drain().await.unwrap();
    });
}

/// A conflicting row of the application will still exist in the next run.
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

/// Ends its own session in its first run.
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

/// Idle workers poll once in seconds; the application's commit itself notifies every process of the work.
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
