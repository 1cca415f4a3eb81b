//! Runs an operation again that met another transaction.

use std::error::Error as _;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use sea_orm::DbErr;
use stent_core::backend::{Error, Result};

use super::SqlStore;

/// How often an operation is run again. Whoever loses that often learns that the store is contended.
const AGAIN_MAX: u32 = 10;

/// How often an operation is run again at once because its session was in a bad state. Once the first has told of it, no session
/// from before is used any more, so a second one tells that it is not the session.
const SESSIONS_MAX: u32 = 2;

/// The longest pause before the second run; before each further one it is twice as long, up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(2);

/// The longest pause of all.
const PAUSE_MAX: Duration = Duration::from_millis(200);

impl SqlStore {
    /// Runs an operation, and runs it again when it has met another transaction, after a pause that differs between those
    /// who met, or when its session was in a bad state. Its transaction was rolled back then, so nothing of a failed run stands.
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

/// Pauses of a length by chance, each of which may be twice as long as the one before.
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

/// A number from 0 to 1 that is another one each time: the standard library's hashers are seeded by chance.
fn chance() -> f64 {
    RandomState::new().hash_one(()) as f64 / u64::MAX as f64
}
