//! Behaviour that only SQLite has.

use std::time::Duration;

use stent::StoreErrorKind;
use stent::prelude::*;
use stent::sea_orm::sqlx::Connection;
use stent::sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use stent::sea_orm::{ConnectionTrait, Database, DatabaseConnection, SqlxSqliteConnector, TransactionTrait};

use crate::{World, numbers, order, ran, refused, unique};

#[durable(name = "sqlite.nothing")]
async fn nothing() {}

#[test]
fn a_transaction_that_has_read_what_is_old_now_is_told_how_to_begin() {
    crate::run(World::sqlite(), async |world| {
        let txn = world.database.begin().await.unwrap();
        assert!(numbers(&txn, "SELECT id FROM orders").await.is_empty());
        world.stent.dispatch(nothing()).await.unwrap();
        let error = world.stent.dispatch(nothing()).within(&txn).await.unwrap_err();
        let stent::Error::Store(store) = &error else { panic!("{error}") };
        assert_eq!(store.kind(), StoreErrorKind::Contended);
        assert!(error.to_string().contains("SqliteTransactionMode::Immediate"), "{error}");
        txn.rollback().await.unwrap();
        assert_eq!(world.executions().await, 1);
    });
}

#[test]
fn a_store_in_memory_has_transactions_in_its_steps() {
    #[durable(name = "sqlite.in_memory")]
    async fn in_memory(State(stent): State<Stent>) -> Result<i64, stent::Error> {
        stent::transaction(async |txn| {
            txn.execute_unprepared("CREATE TABLE orders (id BIGINT)").await?;
            order(&txn, 7).await?;
            stent.dispatch(nothing()).within(&txn).await?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(7)
        })
        .await
    }
    crate::run(World::sqlite(), async |_| {
        let stent = Stent::connect("sqlite::memory:").await.unwrap();
        let worker =
            stent.worker().state(stent.clone()).state(crate::Tries::nowhere()).start().await.unwrap();
        assert_eq!(stent.run(in_memory()).await.unwrap(), 7);
        worker.drain().await.unwrap();
        assert_eq!(stent.inspect().count().await.unwrap().values().sum::<u64>(), 2);
    });
}

#[test]
fn a_transaction_of_another_database_is_refused_and_nothing_is_in_it() {
    crate::run(World::sqlite(), async |world| {
        let elsewhere = World::sqlite().await;
        let bare = tempfile::tempdir().unwrap();
        let bare = format!("sqlite://{}?mode=rwc", bare.path().join("bare.db").display());
        let bare = Database::connect(bare).await.unwrap();
        for txn in [elsewhere.begin().await, bare.begin().await.unwrap()] {
            refused(world.stent.dispatch(nothing()).within(&txn).await.unwrap_err());
            txn.commit().await.unwrap();
        }
        assert_eq!((elsewhere.executions().await, world.executions().await), (0, 0));
    });
}

#[test]
fn a_dispatch_waits_for_a_write_lock_that_another_process_holds_for_longer_than_one_try() {
    crate::run(World::sqlite(), async |_| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("held.db");
        let stent = Stent::connect(&format!("sqlite://{}?busy_timeout=3s", file.display())).await.unwrap();
        let other = Database::connect(format!("sqlite://{}", file.display())).await.unwrap();
        other.execute_unprepared("BEGIN IMMEDIATE").await.unwrap();

        // Two attempts are over by then, and with them the five seconds for which writes are retried.
        let release = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(7_500)).await;
            other.close().await.unwrap();
        });
        let run = stent.dispatch(nothing()).await.unwrap();
        release.await.unwrap();

        assert_eq!(run.status().await.unwrap(), stent::ExecutionStatus::Pending);
    });
}

/// An application's pool with one connection, configured as the guide says, or not.
async fn pool(world: &World, looked_after: bool) -> DatabaseConnection {
    let pool = SqlitePoolOptions::new().max_connections(1);
    let pool = match looked_after {
        true => pool.after_release(|connection, _| {
            Box::pin(async move {
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        }),
        false => pool,
    };
    let options = SqliteConnectOptions::new().filename(world.folder.path().join("shop.db"));
    SqlxSqliteConnector::from_sqlx_sqlite_pool(pool.connect_with(options).await.unwrap())
}

/// Makes SQLite end a transaction that the driver believes to be open.
async fn break_it(database: &DatabaseConnection) {
    database.execute_unprepared("CREATE TABLE IF NOT EXISTS taken (id INTEGER PRIMARY KEY)").await.unwrap();
    database.execute_unprepared("INSERT OR IGNORE INTO taken VALUES (1)").await.unwrap();
    let txn = database.begin().await.unwrap();
    txn.execute_unprepared("INSERT OR ROLLBACK INTO taken VALUES (1)").await.unwrap_err();
    txn.rollback().await.unwrap_err();
}

#[test]
fn a_transaction_that_sqlite_has_ended_is_refused() {
    crate::run(World::sqlite(), async |world| {
        let database = pool(&world, false).await;
        database.execute_unprepared("CREATE TABLE taken (id INTEGER PRIMARY KEY)").await.unwrap();
        database.execute_unprepared("INSERT INTO taken VALUES (1)").await.unwrap();
        let txn = database.begin().await.unwrap();
        txn.execute_unprepared("INSERT OR ROLLBACK INTO taken VALUES (1)").await.unwrap_err();

        let error = world.stent.dispatch(nothing()).within(&txn).await.unwrap_err();

        let stent::Error::Store(store) = &error else { panic!("{error}") };
        assert_eq!(store.kind(), StoreErrorKind::Ended, "{error}");
        drop(txn);
        assert_eq!(world.executions().await, 0);
    });
}

#[test]
fn a_connection_that_the_driver_is_wrong_about_is_refused_and_the_check_of_the_guide_cures_it() {
    crate::run(World::sqlite(), async |world| {
        let broken = pool(&world, false).await;
        break_it(&broken).await;
        for _ in 0..2 {
            let txn = broken.begin().await.unwrap();
            let error = world.stent.dispatch(nothing()).within(&txn).await.unwrap_err();
            let stent::Error::Store(store) = &error else { panic!("{error}") };
            assert_eq!(store.kind(), StoreErrorKind::Config, "{error}");
            assert!(error.to_string().contains("guide to SQLite"), "{error}");
            let _ = txn.rollback().await;
        }
        broken.close().await.unwrap();

        let database = pool(&world, true).await;
        break_it(&database).await;
        let txn = database.begin().await.unwrap();
        order(&txn, 7).await.unwrap();
        world.stent.dispatch(nothing()).within(&txn).await.unwrap();
        txn.commit().await.unwrap();

        let other = Stent::connect(&world.url).await.unwrap();
        assert_eq!(other.inspect().count().await.unwrap().values().sum::<u64>(), 1);
        assert_eq!(world.orders().await, [7]);
    });
}

#[test]
fn a_transaction_in_which_a_nested_one_was_rolled_back_is_as_good_as_any() {
    crate::run(World::sqlite(), async |world| {
        let txn = world.begin().await;
        let nested = txn.begin().await.unwrap();
        order(&nested, 1).await.unwrap();
        nested.rollback().await.unwrap();
        order(&txn, 2).await.unwrap();
        world.stent.dispatch(nothing()).within(&txn).await.unwrap();
        txn.commit().await.unwrap();
        assert_eq!((world.executions().await, world.orders().await), (1, vec![2]));
    });
}

/// Changes as much of its connection's state as it can.
#[durable(name = "sqlite.guest")]
async fn guest(statements: Vec<String>) -> Result<i64, stent::Error> {
    stent::transaction(async |txn| {
        for statement in &statements {
            txn.execute_unprepared(statement).await?;
        }
        Ok::<_, stent::sea_orm::DbErr>(numbers(&txn, "SELECT COUNT(*) FROM temp.sqlite_schema").await[0])
    })
    .await
}

fn all(statements: &[&str]) -> Vec<String> {
    statements.iter().map(|&statement| statement.to_owned()).collect()
}

/// A closure's settings affect neither Stent nor another closure.
async fn nothing_of_a_closure_stays(stent: &Stent) {
    let worker = stent.worker().state(stent.clone()).state(crate::Tries::nowhere()).start().await.unwrap();
    for statement in [
        "PRAGMA query_only = ON",
        "PRAGMA locking_mode = EXCLUSIVE",
        "PRAGMA foreign_keys = OFF",
        "CREATE TEMP TABLE mine (id INTEGER)",
        "CREATE TEMP TRIGGER mine BEFORE INSERT ON stent_task BEGIN SELECT RAISE(ABORT, 'mine'); END",
        "PRAGMA busy_timeout = 0",
        "PRAGMA ignore_check_constraints = ON",
        "ATTACH ':memory:' AS mine",
    ] {
        // Its outcome does not matter.
        let _ = stent.run(guest(all(&[statement]))).await;
        let run = stent.dispatch(nothing()).await.unwrap();
        run.result().timeout("20s").await.unwrap();
        let told = stent.run(guest(all(&["CREATE TABLE IF NOT EXISTS other (id INTEGER)"]))).await.unwrap();
        assert_eq!(told, 0, "{statement}");
    }
    worker.drain().await.unwrap();
}

#[test]
fn nothing_of_a_closure_stays_on_a_file() {
    crate::run(World::sqlite(), async |world| {
        nothing_of_a_closure_stays(&world.stent).await;
        // The file is not locked by another connection any more, either.
        order(&world.database, 1).await.unwrap();
    });
}

#[test]
fn nothing_of_a_closure_stays_in_memory() {
    crate::run(World::sqlite(), async |_| {
        nothing_of_a_closure_stays(&Stent::connect("sqlite::memory:").await.unwrap()).await;
    });
}

#[test]
fn foreign_keys_hold_in_closures() {
    crate::run(World::sqlite(), async |world| {
        for stent in [world.stent.clone(), Stent::connect("sqlite::memory:").await.unwrap()] {
            let worker =
                stent.worker().state(stent.clone()).state(crate::Tries::nowhere()).start().await.unwrap();
            let run = async |statements: &[&str]| stent.run(guest(all(statements))).await;
            run(&[
                "CREATE TABLE customer (id INTEGER PRIMARY KEY)",
                "CREATE TABLE invoice (customer INTEGER REFERENCES customer (id) ON DELETE CASCADE)",
                "INSERT INTO customer VALUES (1)",
                "INSERT INTO invoice VALUES (1)",
            ])
            .await
            .unwrap();
            let orphan = run(&["INSERT INTO invoice VALUES (2)"]).await.unwrap_err();
            assert!(orphan.to_string().contains("FOREIGN KEY"), "{orphan}");
            run(&[
                "DELETE FROM customer",
                "CREATE UNIQUE INDEX none ON invoice (1)",
                "INSERT INTO customer VALUES (3)",
            ])
            .await
            .unwrap();
            worker.drain().await.unwrap();
        }
        assert!(numbers(&world.database, "SELECT customer FROM invoice").await.is_empty());
    });
}

/// Holds the write lock for a while.
#[durable(name = "sqlite.slow_closure")]
async fn slow_closure() -> Result<i64, stent::Error> {
    stent::transaction(async |txn| {
        order(&txn, 1).await?;
        tokio::time::sleep(Duration::from_millis(250)).await;
        Ok::<_, stent::sea_orm::DbErr>(1)
    })
    .await
}

/// Runs for longer than its lease.
#[durable(name = "sqlite.long_leaf")]
async fn long_leaf(test: i64) {
    ran::note(test);
    tokio::time::sleep(Duration::from_secs(4)).await;
}

#[test]
fn leases_are_renewed_before_closures_that_wait_for_the_write_lock() {
    crate::run(World::sqlite(), async |world| {
        let test = unique();
        let worker = world.worker_with(|worker| worker.concurrency(40).lease(Duration::from_secs(2))).await;
        let leaf = world.stent.dispatch(long_leaf(test)).await.unwrap();
        // Closures that take seven seconds in all, and compete for the lock.
        let mut closures = Vec::new();
        for _ in 0..28 {
            closures.push(world.stent.dispatch(slow_closure()).await.unwrap());
        }
        leaf.result().timeout("60s").await.unwrap();
        for closure in closures {
            closure.result().timeout("60s").await.unwrap();
        }
        assert_eq!((ran::count(test), world.orders().await.len()), (1, 28));
        worker.drain().await.unwrap();
    });
}
