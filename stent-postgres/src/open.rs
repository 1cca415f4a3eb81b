//! Opens a store: connections, and how the server is to plan for them.

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

/// How long it is tried to find out why there is no connection, at most: within `acquire_timeout`, of which it takes no more than
/// a fifth.
pub(crate) const DIAGNOSIS_TIMEOUT: Duration = Duration::from_secs(1);

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

    /// Opens a store on a pool that the application has. Closing the store leaves the pool open.
    ///
    /// Beside a store of its own, one on a borrowed pool
    /// - keeps its tables where the pool's connections look for tables first (their `search_path`) when it is migrated: there is
    ///   no schema to set;
    /// - says to the server how to plan at the beginning of each transaction, which is one more statement, and leaves it to
    ///   the server for what only reads;
    /// - runs everything on that pool. Long reads and closures of `stent::transaction` can leave no connection for commits and
    ///   renewals, and what a closure changes of its connection stays, as it does wherever else the application does that: give
    ///   the pool an `after_release` that runs `DISCARD ALL`, where closures do;
    /// - takes two of the pool's connections for hints, once somebody waits for them, so the pool should have at least four.
    ///
    /// # Errors
    /// [`Config`](stent_core::backend::ErrorKind::Config) if it is no connection to Postgres.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
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

/// A pool of at most so many connections.
fn pool(options: &PostgresOptions, most: u32, sessions: &Arc<Sessions>) -> PgPoolOptions {
    let sessions = Arc::clone(sessions);
    // What is left is for finding out why there was none.
    let acquire_limit = options.acquire_limit();
    let acquire_timeout = acquire_limit - (acquire_limit / 5).min(DIAGNOSIS_TIMEOUT);
    PgPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(acquire_timeout)
        .idle_timeout(IDLE_TIMEOUT)
        // One that was in use a moment ago is not tried out first. If it was lost since, that shows when a transaction
        // begins on it, which then takes another one.
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

/// How connections of the store's own begin.
fn set_up(options: &PostgresOptions) -> PgConnectOptions {
    let mut connect = options.connect.clone().options(PLANNING).options([ISOLATION, LOCK_TIMEOUT]);
    if let Some(schema) = &options.schema {
        // Stent's statements name it. This is for whoever looks into the tables along with them.
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

/// How many connections of each kind are open while nobody uses them: those that write first.
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

/// The same, for one transaction on a connection of others. The isolation level first, and by a statement that looks at
/// nothing: afterwards it cannot be set any more.
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
