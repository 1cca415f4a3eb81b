//! Opens a store: its connections, and how the server plans for them.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::ConnectOptions;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sea_orm::{DatabaseConnection, DbBackend, SqlxPostgresConnector};
use stent_core::backend::Result;
use stent_sql::{Connections, SqlStore};

use crate::dialect::PostgresDialect;
use crate::hints::Notices;
use crate::options::{PostgresOptions, Shares, config};
use crate::place::Place;
use crate::sessions::Sessions;
use crate::{guests, spare};

/// Planner settings. Every statement of Stent finds its rows by index, however many there are. Statistics lag behind a
/// queue that grows and shrinks by the second, and could only mislead the planner. Each connection plans a statement
/// once. (`jit` is off because the planner gives disabled methods a very high cost, and expensive plans would be
/// compiled.)
const PLANNING: [(&str, &str); 5] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

/// How long one of the store's own statements waits for a lock of another transaction, in milliseconds. A worker's
/// commit that waits longer is split in halves and sent again, until only the part that must wait does so and the rest
/// is committed without it: see `docs/decisions/0011-what-postgres-locks.md`. A commit that waits holds its other rows, so nobody can
/// renew their leases meanwhile: a second is over before a lease of two seconds has expired that was just due for its renewal.
const LOCK_TIMEOUT: (&str, &str) = ("lock_timeout", "1000");

/// The isolation level that the store's transactions need, whatever the server's default is.
const ISOLATION: (&str, &str) = ("default_transaction_isolation", "read committed");

/// Connections for hints: one that listens, and one that notifies.
const HINT_CONNECTIONS: u32 = 2;

/// Longest time for finding out why no connection is available. It is part of `acquire_timeout` and takes at most a
/// fifth of it.
pub(crate) const DIAGNOSIS_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an unused connection stays open, beyond `min_connections`.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// How long a connection is considered sound without a test.
const FRESH: Duration = Duration::from_secs(1);

/// Opens Postgres stores.
#[derive(Clone, Copy, Debug)]
pub struct PostgresStore;

impl PostgresStore {
    /// Opens a store. It connects to the server only when the store is first used, so a process can start before its
    /// server does. [`migrate`](stent_core::backend::Migrate::migrate) creates the tables.
    ///
    /// # Errors
    /// Currently none. Invalid options are reported when they are built. The first call reports errors of the server:
    /// [`Config`](stent_core::backend::ErrorKind::Config) if it refuses the user or does not have the database,
    /// [`Unavailable`](stent_core::backend::ErrorKind::Unavailable) if it cannot be reached.
    ///
    /// # Panics
    /// If it is called outside a tokio runtime.
    pub async fn open(options: PostgresOptions) -> Result<Arc<SqlStore>> {
        let sessions = Arc::new(Sessions::default());
        let connect = set_up(&options);
        let Shares { writes, renewals, reads, guests } = options.shares();
        let own = |most| {
            let pool = pool(&options, most, &sessions);
            let (of_new, of_old) = (Arc::clone(&sessions), Arc::clone(&sessions));
            let pool = pool
                .after_connect(move |_, _| {
                    of_new.opened();
                    Box::pin(async { Ok(()) })
                })
                .after_release(move |connection, metadata| {
                    let sessions = Arc::clone(&of_old);
                    Box::pin(async move {
                        if sessions.is_retired(metadata.age) {
                            return Ok(false);
                        }
                        if sessions.is_in_doubt() {
                            return sessions.answers(connection).await;
                        }
                        Ok(true)
                    })
                });
            SqlxPostgresConnector::from_sqlx_postgres_pool(pool.connect_lazy_with(connect.clone()))
        };
        let guests_pool = guests::undone(pool(&options, guests, &sessions), &sessions);
        let guests_pool = guests_pool.connect_lazy_with(named(options.connect.clone()));
        let connections = Connections::new(own(writes), own(reads))
            .with_renewals(own(renewals))
            .with_guests(SqlxPostgresConnector::from_sqlx_postgres_pool(guests_pool));
        let place = Place::new(options.schema.clone());
        let dialect = PostgresDialect::new(Arc::clone(&place), Arc::clone(&sessions));
        let dialect = dialect.with_acquire_timeout(options.acquire_limit());
        let store = SqlStore::new(Arc::new(dialect), connections, options.location());
        let notices = Notices::new(hints(connect.clone()), place);
        let store = Arc::new(store.with_neighbours(notices));
        spare::keep(&store, kept(&options), sessions.hear());
        Ok(store)
    }

    /// Opens a store on a pool of the application. Closing the store leaves the pool open.
    ///
    /// Such a store differs from one that opens its own pools:
    /// - When it is migrated, its tables go to the first schema of the connections' `search_path`; no schema can be
    ///   set.
    /// - It sends its planner settings at the beginning of each transaction, which costs one more statement; for
    ///   transactions that only read, it leaves planning to the server.
    /// - It runs everything on that one pool. Long reads and closures of `stent::transaction` can take the connections
    ///   that commits and lease renewals need. A closure's changes to its connection persist, as do any other changes
    ///   that the application makes to its pool's connections. If you use such closures, give the pool an
    ///   `after_release` that runs `DISCARD ALL`.
    /// - It takes two of the pool's connections for hints as soon as somebody waits for hints, so the pool should have
    ///   at least four.
    ///
    /// # Errors
    /// [`Config`](stent_core::backend::ErrorKind::Config) if the connection is not a Postgres connection.
    ///
    /// # Panics
    /// If it is called outside a tokio runtime.
    pub fn from_connection(connection: DatabaseConnection) -> Result<Arc<SqlStore>> {
        if connection.get_database_backend() != DbBackend::Postgres {
            return Err(config("the connection is not a Postgres connection".to_owned()));
        }
        let pool = connection.get_postgres_connection_pool().clone();
        let options = PostgresOptions::new(pool.connect_options().as_ref().clone());
        let connections = Connections::new(connection.clone(), connection);
        let place = Place::new(None);
        let dialect = PostgresDialect::new(Arc::clone(&place), Arc::default()).with_settings(settings());
        let dialect = dialect.with_acquire_timeout(pool.options().get_acquire_timeout());
        let store = SqlStore::new(Arc::new(dialect), connections, options.location());
        Ok(Arc::new(store.with_neighbours(Notices::on_borrowed(pool, place)).on_borrowed_connections()))
    }
}

/// A pool of at most this many connections.
fn pool(options: &PostgresOptions, most: u32, sessions: &Arc<Sessions>) -> PgPoolOptions {
    let sessions = Arc::clone(sessions);
    // The rest of the time is for finding out why no connection was available.
    let acquire_limit = options.acquire_limit();
    let acquire_timeout = acquire_limit - (acquire_limit / 5).min(DIAGNOSIS_TIMEOUT);
    PgPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(acquire_timeout)
        .idle_timeout(IDLE_TIMEOUT)
        // A recently used connection is not tested first. If it has been lost since, beginning a transaction on it
        // fails, and the transaction takes another connection.
        .test_before_acquire(false)
        .before_acquire(move |connection, metadata| {
            let sessions = Arc::clone(&sessions);
            Box::pin(async move {
                if sessions.is_retired(metadata.age) {
                    return Ok(false);
                }
                if metadata.idle_for > FRESH {
                    return sessions.answers(connection).await;
                }
                Ok(true)
            })
        })
}

/// Settings of the store's own connections.
fn set_up(options: &PostgresOptions) -> PgConnectOptions {
    let mut connect = options.connect.clone().options(PLANNING).options([ISOLATION, LOCK_TIMEOUT]);
    if let Some(schema) = &options.schema {
        // Stent's statements name the schema. The search path is for people who inspect the tables on such a
        // connection.
        connect = connect.options([("search_path", format!("\"{schema}\""))]);
    }
    named(connect)
}

fn named(mut connect: PgConnectOptions) -> PgConnectOptions {
    if connect.get_application_name().is_none() {
        connect = connect.application_name("stent");
    }
    connect.disable_statement_logging()
}

/// How many connections of each kind stay open while unused. The connections that write come first.
fn kept(options: &PostgresOptions) -> Vec<spare::Kept> {
    let Shares { writes, renewals: _, reads, guests } = options.shares();
    let mut left = options.min_connections.min(options.max_connections);
    let mut take = |most: u32| {
        let kept = left.min(most);
        left -= kept;
        kept
    };
    vec![
        (|connections: &Connections| &connections.write, take(writes)),
        (|connections: &Connections| &connections.read, take(reads)),
        (|connections: &Connections| &connections.guests, take(guests)),
    ]
}

/// The same settings for one transaction on a borrowed connection. The isolation level comes first, in a statement that
/// takes no snapshot, because it cannot be set after one.
fn settings() -> String {
    let local = |(name, value)| format!("set_config('{name}', '{value}', true)");
    let all: Vec<_> = [LOCK_TIMEOUT].into_iter().chain(PLANNING).map(local).collect();
    format!("SET TRANSACTION ISOLATION LEVEL {}; SELECT {}", ISOLATION.1.to_uppercase(), all.join(", "))
}

fn hints(connect: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(HINT_CONNECTIONS)
        .idle_timeout(IDLE_TIMEOUT)
        .test_before_acquire(false)
        .connect_lazy_with(connect)
}
