//! Reads the waiting work at intervals and reports it to the hooks. Decides nothing.

use std::sync::{Arc, Weak};
use std::time::Duration;

use stent_core::backend::{ErrorKind, Store};
use stent_core::limits::LANES_MAX;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::engine::call_timeout::CallTimeout;
use crate::engine::clock::Clock;
use crate::engine::hooks::Hooks;
use crate::metrics::LanesSampled;

/// The pause after a read is at least this many times as long as the read took, so that a long backlog costs the store at
/// most 5 % of its time.
const REST: u32 = 19;

/// A task that reads the waiting work. Dropping it ends the task.
#[derive(Debug)]
pub(crate) struct LaneSampler(AbortHandle);

impl LaneSampler {
    pub(crate) fn start(
        store: &Arc<dyn Store>,
        clock: Arc<Clock>,
        call_timeout: CallTimeout,
        hooks: Hooks,
        every: Duration,
    ) -> Self {
        Self(tokio::spawn(sample(Arc::downgrade(store), clock, call_timeout, hooks, every)).abort_handle())
    }
}

impl Drop for LaneSampler {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn sample(
    store: Weak<dyn Store>,
    clock: Arc<Clock>,
    call_timeout: CallTimeout,
    hooks: Hooks,
    every: Duration,
) {
    loop {
        let Some(alive) = store.upgrade() else { return };
        let (at, started) = (clock.now(), Instant::now());
        let answer = call_timeout.bound("lanes", alive.lanes(at, LANES_MAX)).await;
        drop(alive);
        let duration = started.elapsed();
        match answer {
            Ok(lanes) => {
                hooks.tell(|metrics| metrics.lanes_sampled(&LanesSampled { lanes: &lanes, at, duration }));
            }
            Err(error) if error.kind() == ErrorKind::Closed => return,
            Err(error) => {
                hooks.store_failed(&error);
                tracing::debug!(%error, "cannot read the waiting work; retrying at the next interval");
            }
        }
        tokio::time::sleep(every.max(duration.saturating_mul(REST))).await;
    }
}
