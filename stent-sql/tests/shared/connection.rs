//! A connection that was left in a transaction, or that the database has ended: the store continues with it or with
//! another one, without a restart.

use sea_orm::ConnectionTrait;
use stent_core::backend::{Backend, Inspect};

use crate::place::{POISONS, Place};
use crate::support::{claim, commit, end, root, start, t};

#[tokio::test]
async fn one_that_was_left_in_a_transaction_keeps_nothing_from_being_written() {
    let place = Place::new();
    let store = place.ready().await;
    let other = place.open().await;
    let mut written = 0;
    for poison in POISONS {
        // More often than there are connections of a kind.
        for _ in 0..6 {
            for statement in poison {
                // The last one may be refused: so the transaction is broken, too.
                let _ = store.connections().write.execute_unprepared(statement).await;
            }

            commit(&store, &[start(root("charge"))]).await;
            let claimed = claim(&store, &["charge"], 1, t(0)).await;
            commit(&store, &[end(&claimed[0])]).await;

            written += 1;
            let ended: u64 = other.count(usize::MAX).await.expect("reads").values().sum();
            assert_eq!(ended, written, "{poison:?}: it is there for others");
        }
    }
}

/// A temporary table exists for one connection only, while that is open.
#[tokio::test]
async fn a_thousand_calls_take_the_connection_that_there_is() {
    let place = Place::new();
    let store = place.open_with_one_connection().await;
    let own = [&store.connections().write, &store.connections().renew];
    for connection in own {
        let made = connection
            .execute_unprepared("CREATE TEMPORARY TABLE IF NOT EXISTS still_here (n integer)")
            .await;
        made.expect("makes a table of its own");
    }

    for _ in 0..250 {
        commit(&store, &[start(root("charge"))]).await;
        let claimed = claim(&store, &["charge"], 1, t(0)).await;
        store.renew(&[claimed[0].lease], t(1), t(60)).await.expect("renews");
        commit(&store, &[end(&claimed[0])]).await;
    }
    store.count(usize::MAX).await.expect("reads");

    for connection in own {
        connection.execute_unprepared("SELECT n FROM still_here").await.expect("it is the same connection");
    }
}
