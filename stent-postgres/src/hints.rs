//! Sends hints between processes with `NOTIFY`.
//!
//! A process that has committed something notifies after the commit, on a separate connection, because a transaction
//! that notifies holds a server-wide lock while it commits. The first change of a topic is notified at once, further
//! ones at most once per [`PAUSE`], however many commits there are. A process ignores its own notifications. Only a
//! transaction of the application notifies by itself, because no other code may learn of its commit.
//!
//! Notifications are lost behind a pooler that assigns each transaction to a different connection. A new listener
//! therefore sends itself a notification; if it does not arrive, a warning is logged once, and polling finds the
//! changes. Nothing is prepared here, because such a pooler would not support that either.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::sqlx::postgres::{PgConnection, PgListener, PgNotification, PgPool};
use sea_orm::sqlx::{self, AssertSqlSafe, Connection, Row};
use stent_core::backend::Topic;
use stent_sql::hints::{Hub, Neighbours};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::dialect::ANSWER_TIMEOUT;
use crate::open::DIAGNOSIS_TIMEOUT;
use crate::options::PostgresOptions;
use crate::place::Place;

/// Pause between two notifications of one topic.
const PAUSE: Duration = Duration::from_millis(10);

/// How long a notification to oneself may take before it counts as lost.
const ECHO_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a listener checks whether anybody still listens.
const DESERTED_PAUSE: Duration = Duration::from_secs(1);

/// Pause before a lost connection is reopened.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// The order of every array with an element per topic.
const TOPICS: [Topic; 2] = [Topic::Work, Topic::Ended];

/// Sends a notification of a topic when the transaction that runs it commits.
pub(crate) fn tell_within(place: &Place, topic: Topic) -> String {
    format!("SELECT pg_notify({}, '')", place.channel(topic))
}

/// Selects the names of the channels.
fn channels(place: &Place) -> String {
    let [work, ended] = TOPICS.map(|topic| place.channel(topic));
    format!("SELECT {work}, {ended}")
}

/// Sends and receives notifications.
#[derive(Debug)]
pub(crate) struct Notices {
    shared: Arc<Shared>,
    runtime: Handle,
    borrowed: bool,
}

#[derive(Debug)]
struct Shared {
    pool: PgPool,
    place: Arc<Place>,
    /// Topics with a notification to send.
    due: [AtomicBool; 2],
    told: Notify,
    /// The server's process id of the connection that sends; zero if there is none.
    teller: AtomicU32,
    /// Whether the warning about missing notifications was logged.
    warned: AtomicBool,
    tasks: Mutex<Tasks>,
}

#[derive(Debug, Default)]
struct Tasks {
    tells: Option<AbortHandle>,
    listens: Option<AbortHandle>,
    is_closed: bool,
}

impl Notices {
    /// Uses separate connections, which are closed with the store. Call it within a runtime.
    pub(crate) fn new(pool: PgPool, place: Arc<Place>) -> Self {
        Self::on(pool, place, false)
    }

    /// Uses connections of the application's pool. Call it within a runtime.
    pub(crate) fn on_borrowed(pool: PgPool, place: Arc<Place>) -> Self {
        Self::on(pool, place, true)
    }

    fn on(pool: PgPool, place: Arc<Place>, borrowed: bool) -> Self {
        let shared = Shared {
            pool,
            place,
            due: Default::default(),
            told: Notify::new(),
            teller: AtomicU32::new(0),
            warned: AtomicBool::new(false),
            tasks: Mutex::default(),
        };
        Self { shared: Arc::new(shared), runtime: Handle::current(), borrowed }
    }
}

#[async_trait]
impl Neighbours for Notices {
    fn listening(&self, hub: &Hub) {
        let mut tasks = self.shared.tasks();
        if !tasks.is_closed && tasks.listens.is_none() {
            let (shared, hub) = (Arc::clone(&self.shared), hub.clone());
            tasks.listens = Some(self.runtime.spawn(listen(shared, hub)).abort_handle());
        }
    }

    fn hinted(&self, topic: Topic) {
        for (of, due) in TOPICS.iter().zip(&self.shared.due) {
            due.fetch_or(*of == topic, Ordering::AcqRel);
        }
        self.shared.told.notify_one();
        let mut tasks = self.shared.tasks();
        if !tasks.is_closed && tasks.tells.is_none() {
            tasks.tells = Some(self.runtime.spawn(tell(Arc::clone(&self.shared))).abort_handle());
        }
    }

    async fn diagnose(&self) -> Option<String> {
        let connect = self.shared.pool.connect_options();
        let place = PostgresOptions::new(connect.as_ref().clone()).location();
        let wait = DIAGNOSIS_TIMEOUT;
        let cause = match timeout(wait, PgConnection::connect_with(&connect)).await {
            Ok(Ok(connection)) => {
                drop(connection);
                return None;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {wait:?}"),
        };
        Some(format!("no connection to {place} within acquire_timeout: {cause}"))
    }

    async fn close(&self) {
        self.shared.stop();
        if !self.borrowed {
            self.shared.pool.close().await;
        }
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Shared {
    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        let mut tasks = self.tasks();
        tasks.is_closed = true;
        for task in [tasks.tells.take(), tasks.listens.take()].into_iter().flatten() {
            task.abort();
        }
    }

    /// Sends all due notifications in one statement.
    async fn tell(&self) -> Result<(), sqlx::Error> {
        let [work, ended] = &self.due;
        let (work, ended) = (work.swap(false, Ordering::AcqRel), ended.swap(false, Ordering::AcqRel));
        // The sending connection's id distinguishes a process's own notifications from those of others.
        let mut tell = "SELECT pg_backend_pid()".to_owned();
        for topic in TOPICS.iter().zip([work, ended]).filter_map(|(topic, is_due)| is_due.then_some(*topic)) {
            tell = format!("{tell}, pg_notify({}, '')", self.place.channel(topic));
        }
        if !work && !ended {
            return Ok(());
        }
        let mut connection = self.pool.acquire().await?;
        let told = sqlx::raw_sql(AssertSqlSafe(tell)).fetch_one(&mut *connection);
        let told = match timeout(ANSWER_TIMEOUT, told).await {
            Ok(told) => told?,
            Err(elapsed) => {
                // Closing the pool would wait for this connection.
                drop(connection.detach());
                return Err(sqlx::Error::Io(elapsed.into()));
            }
        };
        self.teller.store(told.try_get::<i32, _>(0)?.cast_unsigned(), Ordering::Release);
        Ok(())
    }

    fn warn_once(&self) {
        if !self.warned.swap(true, Ordering::AcqRel) {
            let store = PostgresOptions::new(self.pool.connect_options().as_ref().clone()).location();
            tracing::warn!(
                store,
                "notifications do not come back within {ECHO_TIMEOUT:?}, perhaps because a pooler in front of \
                 Postgres does not use session pooling; work of other processes is found by polling only; connect \
                 without the pooler to find it at once"
            );
        }
    }
}

async fn tell(shared: Arc<Shared>) {
    loop {
        shared.told.notified().await;
        if let Err(error) = shared.tell().await {
            // Hints may be lost.
            tracing::debug!(%error, "cannot send a hint");
        }
        sleep(PAUSE).await;
    }
}

/// Listens while there are listeners.
async fn listen(shared: Arc<Shared>, hub: Hub) {
    loop {
        match hear(&shared, &hub).await {
            Ok(()) => {
                let mut tasks = shared.tasks();
                // A listener that arrived meanwhile is not missed: both sides check under the lock.
                if hub.is_deserted() {
                    tasks.listens = None;
                    return;
                }
            }
            Err(sqlx::Error::PoolClosed) => return,
            Err(error) => {
                tracing::debug!(%error, "lost the connection that receives hints; reconnecting");
                sleep(RECONNECT_PAUSE).await;
            }
        }
    }
}

/// Listens on one connection until the connection is lost or no listeners are left.
async fn hear(shared: &Shared, hub: &Hub) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(&shared.pool).await?;
    let named = sqlx::raw_sql(AssertSqlSafe(channels(&shared.place))).fetch_one(&mut listener).await?;
    let channels = [named.try_get(0)?, named.try_get(1)?];
    listener.listen_all(channels.iter().map(String::as_str)).await?;
    // There are no notifications of earlier changes.
    hint_all(hub);
    echo(shared, &mut listener, hub, &channels).await?;
    while !hub.is_deserted() {
        match timeout(DESERTED_PAUSE, listener.try_recv()).await {
            Err(_) => {}
            Ok(heard) => match heard? {
                Some(notification) => pass_on(shared, hub, &channels, &notification),
                None => {
                    // The connection was lost, and notifications with it. This call reconnects; then every topic is
                    // hinted.
                    listener.listen_all([]).await?;
                    hint_all(hub);
                }
            },
        }
    }
    Ok(())
}

/// Sends a notification and waits until it is received.
async fn echo(
    shared: &Shared,
    listener: &mut PgListener,
    hub: &Hub,
    channels: &[String],
) -> Result<(), sqlx::Error> {
    shared.due.iter().for_each(|due| due.store(true, Ordering::Release));
    shared.tell().await?;
    let deadline = Instant::now() + ECHO_TIMEOUT;
    let teller = shared.teller.load(Ordering::Acquire);
    loop {
        match timeout_at(deadline, listener.try_recv()).await {
            Err(_) => {
                shared.warn_once();
                return Ok(());
            }
            Ok(heard) => match heard? {
                Some(notification) if notification.process_id() == teller => return Ok(()),
                Some(notification) => pass_on(shared, hub, channels, &notification),
                None => return Err(sqlx::Error::WorkerCrashed),
            },
        }
    }
}

fn pass_on(shared: &Shared, hub: &Hub, channels: &[String], notification: &PgNotification) {
    if notification.process_id() == shared.teller.load(Ordering::Acquire) {
        return;
    }
    for (topic, _) in TOPICS.iter().zip(channels).filter(|(_, channel)| *channel == notification.channel()) {
        hub.hint(*topic);
    }
}

fn hint_all(hub: &Hub) {
    TOPICS.iter().for_each(|topic| hub.hint(*topic));
}
