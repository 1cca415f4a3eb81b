//! A store in a schema of its own beside an application whose tables are elsewhere in the same database, and databases that
//! cannot be used.

use std::sync::OnceLock;

use stent::prelude::*;
use stent::sea_orm::{ConnectionTrait, Database, DbErr, TransactionTrait};
use stent::{Error, StoreErrorKind};

use crate::database::TestDatabase;

#[durable(name = "schemas.nothing")]
async fn nothing() {}

/// Writes to a table of the application, which it finds by the search path of the application's connections.
#[durable(name = "schemas.post")]
async fn post(id: i64) -> Result<(), stent::Error> {
    stent::transaction(async |txn| {
        txn.execute_unprepared(&format!("INSERT INTO orders (id) VALUES ({id})")).await.map(drop)
    })
    .await
}

/// The `Stent` with which [`elsewhere`] dispatches.
static STENT: OnceLock<Stent> = OnceLock::new();

/// Dispatches from a closure with an empty search path.
#[durable(name = "schemas.elsewhere")]
async fn elsewhere() -> Result<(), stent::Error> {
    let stent = STENT.get().expect("the test has set it");
    stent::transaction(async |txn| {
        txn.execute_unprepared("SET LOCAL search_path = nowhere").await?;
        stent.dispatch(nothing()).within(&txn).await.map_err(|error| DbErr::Custom(error.to_string()))?;
        Ok::<_, DbErr>(())
    })
    .await
}

/// The error of a store that cannot be connected to.
async fn unfit(url: &str) -> String {
    let error = Stent::connect(url).await.unwrap_err();
    let Error::Store(store) = &error else { panic!("{error}") };
    assert_eq!(store.kind(), StoreErrorKind::Config, "{error}");
    error.to_string()
}

#[test]
fn the_application_has_its_tables_in_one_schema_and_stent_in_another() {
    crate::run(async {
        let database = TestDatabase::new().await;
        let application = Database::connect(database.url()).await.unwrap();
        application.execute_unprepared("CREATE TABLE orders (id BIGINT PRIMARY KEY)").await.unwrap();
        let stent = Stent::connect(&format!("{}?schema=stent_orders", database.url())).await.unwrap();
        let worker = stent.worker().start().await.unwrap();

        let txn = application.begin().await.unwrap();
        txn.execute_unprepared("INSERT INTO orders (id) VALUES (1)").await.unwrap();
        let run = stent.dispatch(post(2)).within(&txn).await.unwrap();
        txn.commit().await.unwrap();

        run.result().timeout("30s").await.unwrap();
        STENT.set(stent.clone()).expect("one test sets it");
        let elsewhere = stent.dispatch(elsewhere()).await.unwrap();
        elsewhere.result().timeout("30s").await.unwrap();
        let counted = application.execute_unprepared("DELETE FROM orders").await.unwrap();
        assert_eq!(counted.rows_affected(), 2);
        assert_eq!(stent.inspect().count().await.unwrap().values().sum::<u64>(), 3);
        worker.drain().await.unwrap();
    });
}

#[test]
fn a_search_path_that_names_no_schema_is_named() {
    crate::run(async {
        let database = TestDatabase::new().await;
        database.set("search_path = ''").await;

        let told = unfit(&database.url()).await;

        assert!(told.contains("search_path") && told.contains("parameter schema"), "{told}");
        Stent::connect(&format!("{}?schema=orders", database.url())).await.unwrap().close().await.unwrap();
    });
}

#[test]
fn a_database_that_cannot_hold_every_text_is_refused_by_its_encoding() {
    crate::run(async {
        let database = TestDatabase::encoded("LATIN1").await;
        let told = unfit(&database.url()).await;
        assert!(told.contains("LATIN1") && told.contains("UTF8"), "{told}");

        let database = TestDatabase::encoded("SQL_ASCII").await;
        Stent::connect(&database.url()).await.unwrap().close().await.unwrap();
    });
}

#[test]
fn who_may_not_ask_for_the_identifier_of_the_server_connects_and_takes_part_in_transactions() {
    crate::run(async {
        let database = TestDatabase::new().await;
        database.run("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM public").await;
        let role = database.role().await;
        let stent = Stent::connect(&format!("{}?schema=orders", role.url())).await.unwrap();
        let application = Database::connect(role.url()).await.unwrap();

        let txn = application.begin().await.unwrap();
        stent.dispatch(nothing()).within(&txn).await.unwrap();
        txn.commit().await.unwrap();

        assert_eq!(stent.inspect().count().await.unwrap().values().sum::<u64>(), 1);
        stent.close().await.unwrap();
        application.close().await.unwrap();
    });
}

#[test]
fn a_server_that_is_down_is_named_with_the_cause() {
    crate::run(async {
        let url = "postgres://stent@127.0.0.1:1/shop?acquire_timeout=1s";

        let error = Stent::connect(url).await.unwrap_err();

        assert!(error.is_transient(), "{error}");
        let told = error.to_string();
        for part in ["127.0.0.1:1/shop", "refused", "acquire_timeout"] {
            assert!(told.contains(part), "{part} in {told}");
        }
    });
}
