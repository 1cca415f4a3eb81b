//! Tracks the sessions of one handle: whether the server has accepted a login, and which sessions must not be reused.
//!
//! In a session that the server made read-only, or that lost its prepared statements, every statement fails. Sessions
//! that were opened before the cause are usually affected too. The first such error therefore retires all of them, and
//! each is closed when the pool next handles it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use sea_orm::sqlx::postgres::PgConnection;
use sea_orm::sqlx::{self, Connection};
use tokio::sync::watch;
use tokio::time::timeout;

/// Notified about each session that is opened.
pub(crate) type Opened = watch::Receiver<()>;

/// How long an idle connection may take to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(3);

/// For this long after a caller stopped waiting, connections that return are tested with a timeout. The driver has
/// none.
const DOUBT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Sessions {
    opens: watch::Sender<()>,
    let_in: AtomicBool,
    retired: Mutex<Option<Instant>>,
    /// When a caller last stopped waiting for an answer.
    doubted: Mutex<Option<Instant>>,
    /// The server's own limit on a statement of the application, in milliseconds; 0 means none.
    statement_ms_max: AtomicU64,
    /// The search path that the server has set for the application's statements.
    search_path: OnceLock<String>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            opens: watch::Sender::new(()),
            let_in: AtomicBool::new(false),
            retired: Mutex::new(None),
            doubted: Mutex::new(None),
            statement_ms_max: AtomicU64::new(0),
            search_path: OnceLock::new(),
        }
    }
}

impl Sessions {
    /// The server accepted a session.
    pub(crate) fn opened(&self) {
        self.let_in();
        self.opens.send_replace(());
    }

    pub(crate) fn hear(&self) -> Opened {
        self.opens.subscribe()
    }

    /// As [`opened`](Self::opened), for pools that do not report opened sessions.
    pub(crate) fn let_in(&self) {
        self.let_in.store(true, Ordering::Release);
    }

    pub(crate) fn has_let_in(&self) -> bool {
        self.let_in.load(Ordering::Acquire)
    }

    /// Makes sure that no session that is open now is reused.
    pub(crate) fn retire(&self) {
        *lock(&self.retired) = Some(Instant::now());
    }

    /// Whether a session of this age must not be reused.
    pub(crate) fn is_retired(&self, age: Duration) -> bool {
        lock(&self.retired).is_some_and(|retired| age >= retired.elapsed())
    }

    /// A caller stopped waiting for an answer. It is unknown which of the connections that return next it used.
    pub(crate) fn doubt(&self) {
        *lock(&self.doubted) = Some(Instant::now());
    }

    /// Whether a connection that returns may be unresponsive.
    pub(crate) fn is_in_doubt(&self) -> bool {
        lock(&self.doubted).is_some_and(|doubted| doubted.elapsed() < DOUBT)
    }

    /// Whether a session answers. If it does not, all sessions that are open now are retired.
    ///
    /// # Errors
    /// The session was lost.
    pub(crate) async fn answers(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        match timeout(PING_TIMEOUT, connection.ping()).await {
            Ok(answered) => answered.map(|()| true),
            Err(_) => {
                self.retire();
                Ok(false)
            }
        }
    }

    /// Stores the server's own settings for the application's statements.
    pub(crate) fn learn(&self, statement_ms_max: u64, search_path: String) {
        self.statement_ms_max.store(statement_ms_max, Ordering::Release);
        let _ = self.search_path.set(search_path);
    }

    pub(crate) fn search_path(&self) -> Option<&str> {
        self.search_path.get().map(String::as_str)
    }

    /// The timeout of a statement of the application in a closure that may run for `limit_ms`.
    pub(crate) fn statement_ms(&self, limit_ms: u64) -> u64 {
        match self.statement_ms_max.load(Ordering::Acquire) {
            0 => limit_ms,
            own => limit_ms.min(own),
        }
    }
}

fn lock(moment: &Mutex<Option<Instant>>) -> MutexGuard<'_, Option<Instant>> {
    moment.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_from_before_are_retired_and_later_ones_are_not() {
        let sessions = Sessions::default();
        assert!(!sessions.is_retired(Duration::from_secs(9)));

        sessions.retire();

        assert!(sessions.is_retired(Duration::from_secs(9)));
        std::thread::sleep(Duration::from_millis(2));
        assert!(!sessions.is_retired(Duration::ZERO));
    }

    #[test]
    fn a_bound_of_the_servers_own_is_not_widened() {
        let sessions = Sessions::default();
        assert_eq!(sessions.statement_ms(5_000), 5_000);

        sessions.learn(800, "public".to_owned());

        assert_eq!((sessions.statement_ms(5_000), sessions.statement_ms(300)), (800, 300));
    }
}
