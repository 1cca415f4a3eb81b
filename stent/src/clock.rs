//! The time that a process works by: the host's clock, corrected by the store's.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use stent_core::Timestamp;
use stent_core::backend::{Backend, Result};

/// Differences below this are not corrected: they are within what reading a clock over a connection can tell.
const CORRECTION_MIN: Duration = Duration::from_millis(5);

/// Host time plus what the store's clock is ahead.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    ahead_us: AtomicI64,
}

impl Clock {
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_micros(host_now().as_micros().saturating_add(self.ahead_us.load(Ordering::Relaxed)))
    }

    /// Sets the correction by the store's clock, which is taken to have been read in the middle of the call.
    pub(crate) async fn calibrate(&self, store: &(impl Backend + ?Sized)) -> Result<()> {
        let before = host_now();
        let theirs = store.clock().await?;
        let after = host_now();
        let middle = before + after.since(before) / 2;
        let ahead = theirs.as_micros() - middle.as_micros();
        let uncertain = after.since(before) + CORRECTION_MIN;
        let ahead = if u128::from(ahead.unsigned_abs()) <= uncertain.as_micros() { 0 } else { ahead };
        self.ahead_us.store(ahead, Ordering::Relaxed);
        Ok(())
    }
}

fn host_now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}
