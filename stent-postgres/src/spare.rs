//! Opens the connections that are to be there while nobody uses them. The pool itself opens them only in place of others that
//! have grown old.
//!
//! They are opened once somebody has opened one: a process can start before its server does, and when a server comes back they
//! come back with the first who asks it something.

use std::sync::{Arc, Weak};
use std::time::Duration;

use sea_orm::DatabaseConnection;
use sea_orm::sqlx::pool::PoolConnection;
use sea_orm::sqlx::{Connection, Postgres};
use stent_sql::{Connections, SqlStore};
use tokio::time::timeout;

use crate::sessions::Opened;

/// How long a connection that nobody uses may take to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// Connections of one kind, and how many of them are to be open.
pub(crate) type Kept = (fn(&Connections) -> &DatabaseConnection, u32);

/// Keeps so many connections of a store open, for as long as there is the store.
pub(crate) fn keep(store: &Arc<SqlStore>, kept: Vec<Kept>, mut opened: Opened) {
    if kept.iter().all(|(_, least)| *least == 0) {
        return;
    }
    let store = Arc::downgrade(store);
    tokio::spawn(async move {
        // The store has the other end.
        while opened.changed().await.is_ok() {
            for (of, least) in &kept {
                fill(&store, *of, *least).await;
            }
            // Its own are no news.
            opened.mark_unchanged();
        }
    });
}

async fn fill(store: &Weak<SqlStore>, of: fn(&Connections) -> &DatabaseConnection, least: u32) {
    let Some(pool) =
        store.upgrade().map(|store| of(store.connections()).get_postgres_connection_pool().clone())
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
                    tracing::debug!(%error, least, "cannot open the least number of connections yet");
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
