//! Logs, when a worker starts, which tasks other workers hold: after a crash this explains why their work does not
//! continue at once.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use stent_core::WorkerId;
use stent_core::limits::PAGE_MAX;

use super::fleet::Fleet;
use crate::engine::Engine;

/// Reads the store once. Whether the other workers are alive is not known before their leases expire, so this is not a
/// warning.
pub(super) async fn tell(engine: Weak<Engine>, fleet: Arc<Fleet>, worker: WorkerId) {
    let Some(engine) = engine.upgrade() else { return };
    let running = match engine.retrying(|| engine.store.running(PAGE_MAX)).await {
        Ok(running) => running,
        Err(error) => {
            tracing::debug!(%error, "cannot read which tasks other workers hold");
            return;
        }
    };
    let now = engine.clock.now();
    let own: BTreeSet<_> =
        fleet.roster.overview().workers.iter().map(|status| status.id).chain([worker]).collect();
    let held = running.iter().filter(|task| {
        task.worker.is_some_and(|holder| !own.contains(&holder))
            && task.lease_until.is_some_and(|until| until > now)
    });
    let (tasks, holders, until) =
        held.fold((0_usize, BTreeSet::new(), now), |(tasks, mut holders, until), task| {
            holders.extend(task.worker);
            (tasks + 1, holders, until.max(task.lease_until.unwrap_or(until)))
        });
    if tasks > 0 {
        tracing::info!(
            %worker,
            tasks,
            holders = holders.len(),
            %until,
            "{tasks} tasks are held by {} other workers; if one of these workers is dead, its tasks continue when \
             their leases expire, the last one at {until}",
            holders.len()
        );
    }
}
