//! Warns when work is due that this process cannot run, because it does not know the function.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::engine::Engine;

/// How often to query the store.
const CHECK_EVERY: Duration = Duration::from_secs(60);

/// How long a new worker waits before the first query, because other workers may be about to start.
const CHECK_FIRST: Duration = Duration::from_secs(10);

/// Warns, once per function, about work that waits for a worker which knows the function. Ends with the `Stent`.
pub(super) async fn watch(engine: Weak<Engine>) {
    let mut warned = BTreeSet::new();
    tokio::time::sleep(CHECK_FIRST).await;
    loop {
        let Some(alive) = engine.upgrade() else { return };
        warn(&alive, &mut warned).await;
        drop(alive);
        tokio::time::sleep(CHECK_EVERY).await;
    }
}

async fn warn(engine: &Arc<Engine>, warned: &mut BTreeSet<String>) {
    // Other calls report a store that does not answer.
    let Ok(lanes) = engine.unknown_work().await else { return };
    for view in lanes {
        if warned.insert(view.lane.function.clone()) {
            tracing::warn!(
                function = view.lane.function,
                queue = view.lane.queue,
                due = view.due,
                "{} due tasks of `{}` on queue `{}` cannot run here, because this process has not registered the \
                 function; they wait for a process that has; if there is none, link or register the function, or \
                 cancel the executions",
                view.due,
                view.lane.function,
                view.lane.queue
            );
        }
    }
}
