//! What is SQLite's own.

use stent::StoreErrorKind;
use stent::prelude::*;
use stent::sea_orm::{ConnectionTrait, Database, TransactionTrait};

use crate::{World, numbers, order, refused};

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
        assert_eq!(stent.count().await.unwrap().values().sum::<u64>(), 2);
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
