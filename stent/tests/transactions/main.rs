//! The application's own transactions, on every store that has a database: writes within one, steps that are one, and
//! processes that are killed around the commit.
//!
//! A store is added in two places: a constructor of [`World`], and a test in [`on_every_database!`].

#![cfg(feature = "sql")]
#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]

mod crash;
#[cfg(all(feature = "sqlite", unix))]
mod disk;
mod ended;
mod errors;
#[cfg(all(feature = "sqlite", unix))]
mod files;
#[path = "../front/mod.rs"]
mod front;
#[cfg(feature = "postgres")]
mod isolation;
mod made;
#[cfg(feature = "postgres")]
mod postgres;
mod rigged;
#[cfg(feature = "postgres")]
#[path = "../../../stent-postgres/tests/schema/mod.rs"]
mod schema;
#[cfg(feature = "sqlite")]
mod sqlite;
mod step;
mod within;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use stent::sea_orm::{
    ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};
use stent::{Stent, Worker, WorkerBuilder};

/// A store, and an application's own connection to the database that it is in.
pub(crate) struct World {
    pub(crate) stent: Stent,
    pub(crate) database: DatabaseConnection,
    /// The URL for a `Stent`.
    pub(crate) url: String,
    /// Deleted after the test.
    pub(crate) folder: tempfile::TempDir,
    /// Deleted after the test, after all connections to it are closed.
    #[cfg(feature = "postgres")]
    _schema: Option<schema::Schema>,
}

impl World {
    #[cfg(feature = "sqlite")]
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = format!("sqlite://{}", folder.path().join("shop.db").display());
        // Tests need not survive a power failure.
        Self::new(folder, format!("{file}?durability=normal"), &format!("{file}?mode=rwc")).await
    }

    #[cfg(feature = "postgres")]
    pub(crate) async fn postgres() -> Self {
        let schema = schema::Schema::new();
        let world = Self::new(tempfile::tempdir().unwrap(), schema.url(), &schema.application_url()).await;
        Self { _schema: Some(schema), ..world }
    }

    async fn new(folder: tempfile::TempDir, url: String, database: &str) -> Self {
        let stent = Stent::connect(&url).await.unwrap();
        let database = Database::connect(database).await.unwrap();
        for table in [
            "CREATE TABLE orders (id BIGINT NOT NULL)",
            "CREATE TABLE posted (run BIGINT NOT NULL, step BIGINT NOT NULL)",
        ] {
            database.execute_unprepared(table).await.unwrap();
        }
        Self {
            stent,
            database,
            url,
            folder,
            #[cfg(feature = "postgres")]
            _schema: None,
        }
    }

    /// Begins a transaction as an application that reads before it writes should.
    pub(crate) async fn begin(&self) -> DatabaseTransaction {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        self.database.begin_with_options(options).await.unwrap()
    }

    pub(crate) async fn worker(&self) -> Worker {
        self.worker_with(|worker| worker).await
    }

    pub(crate) async fn worker_with(&self, options: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> Worker {
        let worker = self.stent.worker().state(self.stent.clone()).state(Tries::nowhere());
        options(worker).start().await.unwrap()
    }

    /// The orders, by id.
    pub(crate) async fn orders(&self) -> Vec<i64> {
        numbers(&self.database, "SELECT id FROM orders ORDER BY id").await
    }

    /// How many executions there are.
    pub(crate) async fn executions(&self) -> u64 {
        self.stent.inspect().count().await.unwrap().values().sum()
    }
}

/// The first column of each row.
pub(crate) async fn numbers(connection: &impl ConnectionTrait, sql: &str) -> Vec<i64> {
    let statement = stent::sea_orm::Statement::from_string(connection.get_database_backend(), sql);
    let rows = connection.query_all_raw(statement).await.unwrap();
    rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
}

pub(crate) async fn order(connection: &impl ConnectionTrait, id: i64) -> Result<(), stent::sea_orm::DbErr> {
    connection.execute_unprepared(&format!("INSERT INTO orders (id) VALUES ({id})")).await.map(drop)
}

/// Checks that a transaction was refused because it is in another database than the store.
#[track_caller]
pub(crate) fn refused(error: stent::Error) -> String {
    let stent::Error::Store(store) = &error else { panic!("{error}") };
    assert_eq!(store.kind(), stent::StoreErrorKind::Config);
    let told = error.to_string();
    assert!(told.contains("another database"), "{told}");
    told
}

/// A file in which closures note each of their runs, outside of every transaction.
#[derive(Clone, Debug)]
pub(crate) struct Tries(Option<Arc<PathBuf>>);

impl Tries {
    pub(crate) fn nowhere() -> Self {
        Self(None)
    }

    pub(crate) fn in_file(path: PathBuf) -> Self {
        Self(Some(Arc::new(path)))
    }

    pub(crate) fn note(&self) {
        use std::io::Write;
        let Some(path) = &self.0 else { return };
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&**path);
        file.and_then(|mut file| file.write_all(b"+")).unwrap();
    }
}

/// A number that no other test uses, to separate the tests of one process.
pub(crate) fn unique() -> i64 {
    static NEXT: AtomicI64 = AtomicI64::new(1);
    NEXT.fetch_add(1, Ordering::SeqCst)
}

/// The runs of closures, by the number of a test.
pub(crate) mod ran {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    static RAN: Mutex<BTreeMap<i64, u32>> = Mutex::new(BTreeMap::new());

    /// Notes one more run, and returns their number.
    pub(crate) fn note(test: i64) -> u32 {
        let mut ran = RAN.lock().unwrap();
        let count = ran.entry(test).or_default();
        *count += 1;
        *count
    }

    pub(crate) fn count(test: i64) -> u32 {
        RAN.lock().unwrap().get(&test).copied().unwrap_or_default()
    }
}

/// Runs a test on one store, with a limit on the time that it may hang.
pub(crate) fn run<F: Future<Output = ()>>(
    world: impl Future<Output = World>,
    test: impl FnOnce(Arc<World>) -> F,
) {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let world = Arc::new(world.await);
        tokio::time::timeout(std::time::Duration::from_secs(120), test(world))
            .await
            .expect("the test does not hang");
    });
}

/// Declares tests that run on every store that has a database.
macro_rules! on_every_database {
    ($($(#[$attr:meta])* async fn $name:ident($world:ident) $body:block)+) => {
        $(
            $(#[$attr])*
            mod $name {
                #[allow(unused_imports, reason = "tests use what they need of their file")]
                use super::*;

                async fn body($world: std::sync::Arc<crate::World>) $body

                #[test]
                #[cfg(feature = "sqlite")]
                fn sqlite() {
                    crate::run(crate::World::sqlite(), body);
                }

                #[test]
                #[cfg(feature = "postgres")]
                fn postgres() {
                    crate::run(crate::World::postgres(), body);
                }
            }
        )+
    };
}
pub(crate) use on_every_database;
