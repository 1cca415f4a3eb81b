//! Retries operations after conflicts with other transactions.

use std::error::Error as _;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use sea_orm::DbErr;
use stent_core::backend::{Error, Result};

use super::SqlStore;

/// The maximum number of retries. After the last conflict, the caller gets the error `Contended`.
const AGAIN_MAX: u32 = 10;

/// The maximum number of immediate retries because the session was in a bad state. The first such error retires all older
/// sessions, so a second one means that the session is not the cause.
const SESSIONS_MAX: u32 = 2;

/// The longest pause before the first retry; it doubles with each further retry, up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(2);

/// The longest pause of all.
const PAUSE_MAX: Duration = Duration::from_millis(200);

impl SqlStore {
    /// Runs an operation. Retries it if it conflicted with another transaction, after a random pause, or if its session was in a
    /// bad state. In both cases its transaction was rolled back, so a failed run leaves no changes.
    pub(super) async fn run_again<T, Run>(&self, operation: impl Fn() -> Run) -> Result<T>
    where
        Run: Future<Output = Result<T>>,
    {
        let (mut pauses, mut sessions) = (Pauses::new(), 0);
        for _ in 0..AGAIN_MAX {
            match operation().await {
                Err(error) if self.has_met_another(&error) => tokio::time::sleep(pauses.next()).await,
                Err(error) if sessions < SESSIONS_MAX && self.has_a_bad_session(&error) => sessions += 1,
                ran => return ran,
            }
        }
        operation().await
    }

    pub(super) fn has_met_another(&self, error: &Error) -> bool {
        source(error).is_some_and(|error| self.dialect.is_conflict(error))
    }

    pub(super) fn has_a_bad_session(&self, error: &Error) -> bool {
        source(error).is_some_and(|error| self.dialect.is_of_session(error))
    }
}

fn source(error: &Error) -> Option<&DbErr> {
    error.source().and_then(|source| source.downcast_ref::<DbErr>())
}

/// Pauses of random length. The maximum doubles with each pause.
#[derive(Debug)]
pub(super) struct Pauses {
    longest: Duration,
}

impl Pauses {
    pub(super) const fn new() -> Self {
        Self { longest: PAUSE }
    }

    pub(super) fn next(&mut self) -> Duration {
        let pause = self.longest.mul_f64(chance());
        self.longest = self.longest.saturating_mul(2).min(PAUSE_MAX);
        pause
    }
}

/// A random number from 0 to 1: the standard library seeds its hashers at random.
fn chance() -> f64 {
    RandomState::new().hash_one(()) as f64 / u64::MAX as f64
}
