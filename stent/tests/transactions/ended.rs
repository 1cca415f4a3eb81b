//! Closures that end their transaction themselves: the step fails with an error that says so, and later confirmed
//! writes are permanent.

use stent::prelude::*;
use stent::sea_orm::{ConnectionTrait, DbErr, TransactionTrait};

use crate::{World, on_every_database, order};

#[durable(name = "ended.nothing")]
async fn nothing() {}

/// Ends its transaction by a statement of its own, and ignores the result.
#[durable(name = "ended.by")]
async fn ends_by(statements: Vec<String>) -> Result<i64, stent::Error> {
    stent::transaction(async |txn| {
        order(&txn, 1).await?;
        for statement in &statements {
            let _ = txn.execute_unprepared(statement).await;
        }
        Ok::<_, DbErr>(1)
    })
    .await
}

/// Ends its transaction, and dispatches in the ended transaction.
#[durable(name = "ended.then_dispatches")]
async fn ends_then_dispatches(State(stent): State<Stent>) -> Result<i64, stent::Error> {
    stent::transaction(async |txn| {
        txn.execute_unprepared("COMMIT").await?;
        stent.dispatch(nothing()).within(&txn).await?;
        Ok::<_, stent::Error>(1)
    })
    .await
}

/// Passes a nested transaction to a value that outlives the closure.
#[durable(name = "ended.keeps_a_nested_one")]
async fn keeps_a_nested_one() -> Result<i64, stent::Error> {
    stent::transaction(async |txn| {
        order(&txn, 1).await?;
        let nested = txn.begin().await?;
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            drop(nested);
        });
        Ok::<_, DbErr>(1)
    })
    .await
}

/// Later confirmed writes are visible to others.
async fn what_is_confirmed_stands(world: &World) {
    let before = world.executions().await;
    for _ in 0..2 {
        world.stent.dispatch(nothing()).idempotency_key(format!("once{before}")).await.unwrap();
    }
    for _ in 0..10 {
        world.stent.dispatch(nothing()).await.unwrap();
    }
    let other = Stent::connect(&world.url).await.unwrap();
    assert_eq!(other.inspect().count().await.unwrap().values().sum::<u64>(), before + 11);
    other.close().await.unwrap();
}

#[track_caller]
fn says_that_it_ended(result: Result<i64, stent::Error>) {
    let error = result.unwrap_err();
    assert_eq!(error.failure().unwrap().kind, "stent::TransactionEnded", "{error}");
    assert!(error.to_string().contains("ended its transaction"), "{error}");
}

on_every_database! {
    async fn by_sql_fails_and_what_is_confirmed_later_stands(world) {
        let worker = world.worker().await;
        for statements in [&["COMMIT"][..], &["ROLLBACK"], &["COMMIT", "BEGIN"], &["ROLLBACK", "BEGIN"]] {
            let statements = statements.iter().map(|&statement| statement.to_owned()).collect();
            says_that_it_ended(world.stent.run(ends_by(statements)).await);
            what_is_confirmed_stands(&world).await;
        }
        worker.drain().await.unwrap();
    }

    async fn and_dispatching_in_it_fails_and_leaves_nothing(world) {
        let worker = world.worker().await;
        let before = world.executions().await;
        says_that_it_ended(world.stent.run(ends_then_dispatches()).await);
        assert_eq!(world.executions().await, before + 1);
        what_is_confirmed_stands(&world).await;
        worker.drain().await.unwrap();
    }

    async fn a_nested_one_that_is_kept_is_never_taken_for_the_commit(world) {
        let worker = world.worker().await;
        world.stent.run(keeps_a_nested_one()).await.unwrap_err();
        assert!(world.orders().await.is_empty());
        what_is_confirmed_stands(&world).await;
        worker.drain().await.unwrap();
    }
}

#[test]
#[cfg(feature = "sqlite")]
fn by_a_conflict_that_rolls_back_fails_and_what_is_confirmed_later_stands() {
    crate::run(World::sqlite(), async |world| {
        world.database.execute_unprepared("CREATE TABLE taken (id INTEGER PRIMARY KEY)").await.unwrap();
        world.database.execute_unprepared("INSERT INTO taken VALUES (1)").await.unwrap();
        let worker = world.worker().await;
        says_that_it_ended(
            world.stent.run(ends_by(vec!["INSERT OR ROLLBACK INTO taken VALUES (1)".to_owned()])).await,
        );
        assert!(world.orders().await.is_empty());
        what_is_confirmed_stands(&world).await;
        worker.drain().await.unwrap();
    });
}

#[test]
#[cfg(feature = "sqlite")]
fn in_memory_fails_and_the_one_connection_is_mended() {
    crate::run(World::sqlite(), async |_| {
        let stent = Stent::connect("sqlite::memory:").await.unwrap();
        let worker =
            stent.worker().state(stent.clone()).state(crate::Tries::nowhere()).start().await.unwrap();
        for statements in
            [&["COMMIT"][..], &["ROLLBACK"], &["COMMIT", "BEGIN"], &["ROLLBACK", "SAVEPOINT mine"]]
        {
            let create = "CREATE TABLE IF NOT EXISTS orders (id BIGINT)".to_owned();
            stent.run(creates(create)).await.unwrap();
            let statements = statements.iter().map(|&statement| statement.to_owned()).collect();
            says_that_it_ended(stent.run(ends_by(statements)).await);
            for _ in 0..2 {
                stent.dispatch(nothing()).idempotency_key("once").await.unwrap();
            }
            let run = stent.dispatch(nothing()).await.unwrap();
            run.result().timeout("10s").await.unwrap();
            // The row would be missing if it were in a transaction that is rolled back now.
            assert!(stent.run(rolls_back()).await.is_err());
            assert!(run.status().await.unwrap().is_terminal());
        }
        worker.drain().await.unwrap();
    });
}

#[durable(name = "ended.creates")]
async fn creates(statement: String) -> Result<(), stent::Error> {
    stent::transaction(async |txn| txn.execute_unprepared(&statement).await.map(drop)).await
}

#[durable(name = "ended.rolls_back")]
async fn rolls_back() -> Result<(), stent::Error> {
    stent::transaction(async |_| Err::<(), _>("no")).await
}
