//! Connections about which the driver and the database disagree.

use std::sync::Arc;

use sea_orm::{ConnectionTrait, TransactionTrait};
use stent_core::backend::{Backend, Inspect, Migrate};
use stent_sql::SqlStore;
use stent_sqlite::{SqliteOptions, SqliteStore};

use crate::place::Folder;
use crate::support::{commit, root, start, t};

/// Makes SQLite end transactions on the writing connection without the driver's knowledge: a single one, and a nested one.
async fn mislead(store: &SqlStore) {
    let write = &store.connections().write;
    write
        .execute_unprepared("CREATE TABLE IF NOT EXISTS taken (id INTEGER PRIMARY KEY)")
        .await
        .expect("creates");
    write.execute_unprepared("INSERT OR IGNORE INTO taken VALUES (1)").await.expect("writes");
    for nested in [0, 2] {
        let mut open = vec![write.begin().await.expect("begins")];
        for depth in 0..nested {
            let next = open[depth].begin().await.expect("a savepoint");
            open.push(next);
        }
        let last = open.last().expect("one");
        last.execute_unprepared("INSERT OR ROLLBACK INTO taken VALUES (1)").await.expect_err("a conflict");
        while let Some(transaction) = open.pop() {
            transaction.rollback().await.expect_err("there is none");
        }
    }
}

/// Calls that write, and a call that changes nothing and rolls back.
async fn write(store: &SqlStore) {
    let twice = start(root("charge"));
    commit(store, std::slice::from_ref(&twice)).await;
    commit(store, &[twice]).await;
}

async fn due(store: &Arc<SqlStore>) -> u64 {
    store.lanes(t(1), usize::MAX).await.expect("reads").iter().map(|lane| lane.due).sum()
}

#[tokio::test]
async fn one_whose_transaction_the_database_has_ended_is_replaced() {
    let folder = Folder::new();
    let store = folder.ready().await;
    for round in 1..=3 {
        mislead(&store).await;

        write(&store).await;

        assert_eq!(due(&folder.ready().await).await, round, "seen by others");
    }
}

#[tokio::test]
async fn the_one_of_a_store_in_memory_is_mended() {
    let store = SqliteStore::open(SqliteOptions::memory()).await.expect("opens");
    store.migrate().await.expect("migrates");
    for round in 1..=3 {
        mislead(&store).await;

        write(&store).await;

        // Otherwise it would disappear with its transaction.
        let outside = store.connections().write.execute_unprepared("ROLLBACK").await;
        outside.expect_err("no transaction is open");
        assert_eq!(due(&store).await, round);
    }
    store.close().await.expect("closes");
}
