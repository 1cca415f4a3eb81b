//! Opens the connections that are to be there while nobody uses them. The pool itself opens them only in place of others that
//! have grown old.
//!
//! They are opened once somebody has opened one: a process can start before its server does, and when a server comes back they
//! come back with the first who asks it something.

use std::sync::{Arc, Weak};
use std::time::Duration;

use sea_orm::sqlx::pool::PoolConnection;
use sea_orm::sqlx::postgres::PgPoolOptions;
use sea_orm::sqlx::{Connection, Postgres};
use stent_sql::SqlStore;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a connection that nobody uses may take to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// Hears of each connection that a pool opens.
pub(crate) type Opened = watch::Receiver<()>;

/// The same options, for a pool that tells of the connections that it opens.
pub(crate) fn told(options: PgPoolOptions) -> (PgPoolOptions, Opened) {
    let (opens, opened) = watch::channel(());
    let tell = move || {
        let _ = opens.send(());
    };
    let options = options.after_connect(move |_, _| {
        tell();
        Box::pin(async { Ok(()) })
    });
    (options, opened)
}

/// Keeps so many connections of a store open, for as long as there is the store.
pub(crate) fn keep(store: &Arc<SqlStore>, least: u32, mut opened: Opened) {
    if least == 0 {
        return;
    }
    let store = Arc::downgrade(store);
    tokio::spawn(async move {
        // The pool has the other end, and the store the pool.
        while opened.changed().await.is_ok() {
            fill(&store, least).await;
            // Its own are no news.
            opened.mark_unchanged();
        }
    });
}

async fn fill(store: &Weak<SqlStore>, least: u32) {
    let Some(pool) =
        store.upgrade().map(|store| store.connections().write.get_postgres_connection_pool().clone())
    else {
        return;
    };
    // Each is held until all are there: as many as are to be, and those that are lost, of which there is an end. Callers wait no
    // longer than it takes to look at them, and to open others.
    let mut held = Vec::new();
    while held.len() < least as usize {
        match pool.try_acquire() {
            Some(idle) => held.extend(sound(idle).await),
            None if pool.size() < least => match pool.acquire().await {
                Ok(opened) => held.push(opened),
                Err(error) => {
                    tracing::debug!(%error, least, "connections that are to be open could not be opened yet");
                    return;
                }
            },
            // The others are in use.
            None => return,
        }
    }
}

/// A connection that answers. One that was lost counts as open, as long as nobody has tried to use it; here it is closed.
async fn sound(mut connection: PoolConnection<Postgres>) -> Option<PoolConnection<Postgres>> {
    if let Ok(Ok(())) = timeout(PING_TIMEOUT, connection.ping()).await {
        return Some(connection);
    }
    drop(connection.detach());
    None
}
