//! Keeps the minimum number of connections open. The pool by itself opens connections only to replace those that reached
//! their maximum age.
//!
//! The spare connections are opened after the first connection that a caller opens: a process can start before its server
//! does, and when a server comes back, the spare connections come back with the first caller.

use std::sync::{Arc, Weak};
use std::time::Duration;

use sea_orm::DatabaseConnection;
use sea_orm::sqlx::pool::PoolConnection;
use sea_orm::sqlx::{Connection, Postgres};
use stent_sql::{Connections, SqlStore};
use tokio::time::timeout;

use crate::sessions::Opened;

/// How long an unused connection may take to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// A kind of connection, and its minimum number of open connections.
pub(crate) type Kept = (fn(&Connections) -> &DatabaseConnection, u32);

/// Keeps these numbers of connections open for the lifetime of the store.
pub(crate) fn keep(store: &Arc<SqlStore>, kept: Vec<Kept>, mut opened: Opened) {
    if kept.iter().all(|(_, least)| *least == 0) {
        return;
    }
    let store = Arc::downgrade(store);
    tokio::spawn(async move {
        // The store holds the sender.
        while opened.changed().await.is_ok() {
            for (of, least) in &kept {
                fill(&store, *of, *least).await;
            }
            // Ignores the connections opened here.
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
    // Holds the connections until the minimum is reached. The loop ends: it takes at most the minimum plus the lost
    // connections. Callers wait no longer than it takes to test those and to open new ones.
    let mut held = Vec::new();
    while held.len() < least as usize {
        match pool.try_acquire() {
            Some(idle) => held.extend(sound(idle).await),
            None if pool.size() < least => match pool.acquire().await {
                Ok(opened) => held.push(opened),
                Err(error) => {
                    tracing::debug!(%error, least, "cannot open the minimum number of connections yet");
                    return;
                }
            },
            // The other connections are in use.
            None => return,
        }
    }
}

/// Returns a connection that answers. The pool counts a lost connection as open until somebody uses it; this closes it.
async fn sound(mut connection: PoolConnection<Postgres>) -> Option<PoolConnection<Postgres>> {
    if let Ok(Ok(())) = timeout(PING_TIMEOUT, connection.ping()).await {
        return Some(connection);
    }
    drop(connection.detach());
    None
}
