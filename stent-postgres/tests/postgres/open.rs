//! Ways to open a store.

use sea_orm::sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};
use stent_core::backend::{Backend, ErrorKind, Migrate, Reads};
use stent_postgres::{PostgresOptions, PostgresStore};
use stent_sql::SqlStore;

use crate::schema::{Schema, url};
use crate::support::{claim, commit, end, root, start, t};

#[tokio::test]
async fn a_store_opens_before_its_server_is_there() {
    let options: PostgresOptions =
        "postgres://stent@127.0.0.1:1/none?acquire_timeout=200ms".parse().expect("options");
    let store = PostgresStore::open(options).await.expect("opens");

    let error = store.exchange(&[start(root("charge"))], None).await.expect_err("nobody is there");

    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.is_transient());
    for part in ["acquire_timeout", "127.0.0.1:1/none", "refused"] {
        assert!(error.to_string().contains(part), "{part} in {error}");
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_is_said_to_be_so() {
    let (server, _) =
        url().expect("a server").rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a URL");
    let options: PostgresOptions = format!("{server}/no_such_database").parse().expect("options");
    let store = PostgresStore::open(options).await.expect("opens");

    let error = store.clock().await.expect_err("it is not there");

    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("create it first"), "{error}");
}

#[tokio::test]
async fn tables_that_are_not_there_are_missed_by_name() {
    let schema = Schema::new();
    let store = schema.open().await;

    let error = store.exchange(&[start(root("charge"))], None).await.expect_err("no tables");

    assert_eq!(error.kind(), ErrorKind::Schema);
    assert!(error.to_string().contains("run migrate first"), "{error}");
}

#[tokio::test]
async fn schemas_of_one_database_keep_apart() {
    let (one, other) = (Schema::new(), Schema::new());
    let (store, beside) = (one.ready().await, other.ready().await);

    commit(&store, &[start(root("charge"))]).await;

    assert_eq!(claim(&beside, &["charge"], 9, t(0)).await.len(), 0);
    assert_eq!(claim(&store, &["charge"], 9, t(0)).await.len(), 1);
    assert!(store.info().location.ends_with(&format!("schema {}", one.name())), "{:?}", store.info());
}

#[tokio::test]
async fn a_pool_of_the_application_serves_and_stays_open() {
    let schema = Schema::new();
    let mut connection = PgConnection::connect(&url().expect("a server")).await.expect("connects");
    connection
        .execute(AssertSqlSafe(format!("CREATE SCHEMA \"{}\"", schema.name())))
        .await
        .expect("makes a schema");
    let pool = Database::connect(schema.application_url()).await.expect("connects");
    let store = PostgresStore::from_connection(pool.clone()).expect("opens");
    store.migrate().await.expect("migrates");

    commit(&store, &[start(root("charge"))]).await;
    let claimed = claim(&store, &["charge"], 9, t(0)).await;
    commit(&store, &[end(&claimed[0])]).await;
    assert_eq!(setting(&store, "enable_seqscan").await, "on", "settings last as long as a transaction");
    let id = claimed[0].task.tree.execution;
    assert_eq!(store.executions(&[id]).await.expect("reads").len(), 1);
    store.close().await.expect("closes");

    let counted = Statement::from_string(DbBackend::Postgres, "SELECT id FROM stent_task");
    assert_eq!(pool.query_all_raw(counted).await.expect("the pool is open").len(), 1);
    assert_eq!(store.clock().await.expect_err("is closed").kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn connections_of_its_own_are_set_up() {
    let schema = Schema::new();
    let store = schema.open().await;

    let (own, guests) = (&store.connections().renew, &store.connections().guests);
    assert_eq!(setting_of(own, "plan_cache_mode").await, "force_generic_plan");
    assert_eq!(setting_of(guests, "plan_cache_mode").await, "auto");
    assert_eq!(setting(&store, "enable_seqscan").await, "off");
    assert_eq!(setting(&store, "plan_cache_mode").await, "force_generic_plan");
    assert_eq!(setting(&store, "transaction_isolation").await, "read committed");
    assert_eq!(setting(&store, "application_name").await, "stent");
}

async fn setting(store: &SqlStore, name: &str) -> String {
    setting_of(&store.connections().read, name).await
}

async fn setting_of(connection: &DatabaseConnection, name: &str) -> String {
    let show = Statement::from_string(DbBackend::Postgres, format!("SHOW {name}"));
    let row = connection.query_one_raw(show).await.expect("reads").expect("a row");
    row.try_get_by_index(0).expect("a text")
}
