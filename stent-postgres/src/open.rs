//! Opens a store: connections, and how the server is to plan for them.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sea_orm::sqlx::{ConnectOptions, Connection};
use sea_orm::{DatabaseConnection, DbBackend, SqlxPostgresConnector};
use stent_core::backend::Result;
use stent_sql::{Connections, SqlStore};

use crate::dialect::PostgresDialect;
use crate::options::{PostgresOptions, config};
use crate::spare;
use crate::wake::Notices;

/// How the server is to plan. Every statement here finds its rows by index, however many there are; statistics, which lag
/// behind a queue that grows and shrinks by the second, can only lead away from that. Plans are made once per connection.
/// (`jit` is off because what is switched off counts as very dear, and what is dear would be compiled.)
const PLANNING: [(&str, &str); 5] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

/// How long a statement of the store's own waits for what another transaction holds, in milliseconds. A worker's commit that
/// waits longer is sent again in halves, until only that waits which must, and the rest is committed without it: see
/// `docs/decisions/0011-what-postgres-locks.md`.
const LOCK_TIMEOUT: (&str, &str) = ("lock_timeout", "2000");

/// What transactions must see of each other, whatever the server's default is.
const ISOLATION: (&str, &str) = ("default_transaction_isolation", "read committed");

/// Connections for hints: one that listens, and one that tells.
const HINT_CONNECTIONS: u32 = 2;

/// How long a connection that nobody uses stays open, beyond `min_connections`.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// How long a connection is taken for sound without asking.
const FRESH: Duration = Duration::from_secs(1);

/// Opens Postgres stores.
#[derive(Clone, Copy, Debug)]
pub struct PostgresStore;

impl PostgresStore {
    /// Opens a store. The server is first asked when the store is first used: a process can start before its server does.
    /// Tables are made by [`migrate`](stent_core::backend::Migrate::migrate).
    ///
    /// # Errors
    /// None as yet. What is wrong with the options was said when they were made; what is wrong with the server, the first
    /// call says: [`Config`](stent_core::backend::ErrorKind::Config) if it refuses the user or lacks the database,
    /// [`Unavailable`](stent_core::backend::ErrorKind::Unavailable) if it cannot be reached.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn open(options: PostgresOptions) -> Result<Arc<SqlStore>> {
        let connect = set_up(&options);
        let (pool, opened) = spare::told(PgPoolOptions::new());
        let pool = pool
            .min_connections(options.min_connections)
            .max_connections(options.max_connections)
            .acquire_timeout(options.acquire_timeout)
            .idle_timeout(IDLE_TIMEOUT)
            // One that was in use a moment ago is not tried out first. If it was lost since, that shows when a transaction
            // begins on it, which then takes another one.
            .test_before_acquire(false)
            .before_acquire(|connection, metadata| {
                Box::pin(async move {
                    if metadata.idle_for > FRESH {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(connect.clone());
        let connection = SqlxPostgresConnector::from_sqlx_postgres_pool(pool);
        let connections = Connections::new(connection.clone(), connection);
        let dialect = PostgresDialect::new(options.schema.clone());
        let store = SqlStore::new(Arc::new(dialect), connections, options.location());
        let store = Arc::new(store.with_neighbours(Notices::new(hints(connect))));
        spare::keep(&store, options.min_connections.min(options.max_connections), opened);
        Ok(store)
    }

    /// Opens a store on a pool that the application has. Closing the store leaves the pool open.
    ///
    /// Beside a store of its own, one on a borrowed pool
    /// - keeps its tables where the pool's connections look for tables first (their `search_path`): there is no schema to
    ///   set;
    /// - says to the server how to plan at the beginning of each transaction, which is one more statement, and leaves it to
    ///   the server for what only reads;
    /// - takes two of the pool's connections for hints, once somebody waits for them, so the pool should have at least four.
    ///
    /// # Errors
    /// [`Config`](stent_core::backend::ErrorKind::Config) if it is no connection to Postgres.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn from_connection(connection: DatabaseConnection) -> Result<Arc<SqlStore>> {
        if connection.get_database_backend() != DbBackend::Postgres {
            return Err(config("the connection is not one to Postgres".to_owned()));
        }
        let pool = connection.get_postgres_connection_pool().clone();
        let options = PostgresOptions::new(pool.connect_options().as_ref().clone());
        let connections = Connections::new(connection.clone(), connection);
        let dialect = PostgresDialect::with_settings(settings());
        let store = SqlStore::new(Arc::new(dialect), connections, options.location());
        Ok(Arc::new(store.with_neighbours(Notices::on_borrowed(pool)).on_borrowed_connections()))
    }
}

/// How connections of the store's own begin.
fn set_up(options: &PostgresOptions) -> PgConnectOptions {
    let mut connect = options.connect.clone().options(PLANNING).options([ISOLATION, LOCK_TIMEOUT]);
    if let Some(schema) = &options.schema {
        connect = connect.options([("search_path", format!("\"{schema}\""))]);
    }
    if connect.get_application_name().is_none() {
        connect = connect.application_name("stent");
    }
    connect.disable_statement_logging()
}

/// The same, for one transaction on a connection of others.
fn settings() -> String {
    let local = |(name, value)| format!("set_config('{name}', '{value}', true)");
    let isolation = ("transaction_isolation", ISOLATION.1);
    let all: Vec<_> = [isolation, LOCK_TIMEOUT].into_iter().chain(PLANNING).map(local).collect();
    format!("SELECT {}", all.join(", "))
}

fn hints(connect: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(HINT_CONNECTIONS)
        .idle_timeout(IDLE_TIMEOUT)
        .test_before_acquire(false)
        .connect_lazy_with(connect)
}
