//! Runs an operation again that met another transaction.

use std::error::Error as _;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use sea_orm::DbErr;
use stent_core::backend::Error;

use super::SqlStore;

/// How often an operation is run again. Whoever loses that often learns that the store is contended.
const AGAIN_MAX: u32 = 10;

/// The longest pause before the second run; before each further one it is twice as long, up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(2);

/// The longest pause of all.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// The runs of one operation.
#[derive(Debug, Default)]
pub(super) struct Runs {
    again: u32,
}

impl Runs {
    /// Whether to run the operation once more; if so, after a pause that differs between those who met.
    ///
    /// The transaction was rolled back, so nothing of the failed run stands.
    pub(super) async fn again(&mut self, store: &SqlStore, error: &Error) -> bool {
        let error = error.source().and_then(|source| source.downcast_ref::<DbErr>());
        if self.again == AGAIN_MAX || !error.is_some_and(|error| store.dialect.is_conflict(error)) {
            return false;
        }
        let longest = PAUSE.saturating_mul(1 << self.again).min(PAUSE_MAX);
        self.again += 1;
        tokio::time::sleep(longest.mul_f64(chance())).await;
        true
    }
}

/// A number from 0 to 1 that is another one each time: the standard library's hashers are seeded by chance.
fn chance() -> f64 {
    RandomState::new().hash_one(()) as f64 / u64::MAX as f64
}
