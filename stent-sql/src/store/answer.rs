//! Waits for a server's answers, with a timeout. A server can disappear silently: its packets are lost, and neither side
//! notices that the connection is gone.

use std::time::Duration;

use sea_orm::DbErr;

use super::SqlStore;
use crate::Dialect;
use crate::dialect::Patience;

/// The factor by which operations that may read the whole store may take longer.
const LARGE: u32 = 6;

/// Operations without a timeout here: migrations, and a closure's transaction, which has a timeout of its own.
const UNBOUNDED: [&str; 2] = [super::migrate::OPERATION, super::within::OPERATION];

const SILENCE: &str = "no answer";

/// Operations that may read the whole store: retention, reads of the whole store, and the commit of a closure's transaction,
/// which may check deferred constraints.
const LARGE_ONES: [&str; 7] = ["purge", "commit", "count", "list", "lanes", "running", "dead_letter_stats"];

impl SqlStore {
    /// Waits for the server's answer in a transaction, or on a connection that is still to be acquired. If there is no answer
    /// in time, the fate of the call is unknown, and no session that is open now is reused.
    pub(super) async fn answered<T>(
        &self,
        operation: &'static str,
        on: On,
        answer: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        let limit = self.limit(operation, on);
        let dialect = &*self.dialect;
        let answer = std::pin::pin!(answer);
        // Dropped before the call itself, so that the pool tests the call's connection when it returns.
        let mut waits = Waits { dialect, is_over: false };
        let answered = match limit {
            None => Ok(answer.await),
            Some(limit) => tokio::time::timeout(limit, answer).await.map_err(|_| limit),
        };
        let answered = answered.unwrap_or_else(|limit| Err(silence(dialect, limit)));
        waits.is_over = true;
        answered
    }

    /// How long a call may take, if there is a bound.
    pub(super) fn limit(&self, operation: &str, on: On) -> Option<Duration> {
        self.dialect.patience().and_then(|patience| limit(patience, operation, on))
    }
}

/// The connection of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    /// The call has a connection.
    Connection,
    /// The call waits for a connection first.
    Pool,
}

fn limit(patience: Patience, operation: &str, on: On) -> Option<Duration> {
    if UNBOUNDED.contains(&operation) {
        return None;
    }
    let times = if LARGE_ONES.contains(&operation) { LARGE } else { 1 };
    let answer = patience.answer.saturating_mul(times);
    Some(match on {
        On::Connection => answer,
        On::Pool => answer.saturating_add(patience.connection),
    })
}

/// Reports to the dialect that there was no answer within this time, while the call still has its connection.
pub(super) fn silence(dialect: &dyn Dialect, limit: Duration) -> DbErr {
    dialect.silent();
    DbErr::Custom(format!(
        "{SILENCE} within {limit:?}; the connection is closed, and the statement may have taken effect"
    ))
}

pub(super) fn is_silence(error: &DbErr) -> bool {
    matches!(error, DbErr::Custom(message) if message.starts_with(SILENCE))
}

/// A call in flight.
struct Waits<'a> {
    dialect: &'a dyn Dialect,
    is_over: bool,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.dialect.abandoned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_to_wait_for_a_connection_or_may_look_at_all_there_is_may_take_longer() {
        let s = Duration::from_secs;
        let patience = Patience { connection: s(7), answer: s(10) };

        assert_eq!(limit(patience, "exchange", On::Connection), Some(s(10)));
        assert_eq!(limit(patience, "executions", On::Pool), Some(s(17)));
        assert_eq!(limit(patience, "purge", On::Connection), Some(s(60)));
        for operation in UNBOUNDED {
            assert_eq!(limit(patience, operation, On::Connection), None);
        }
    }
}
