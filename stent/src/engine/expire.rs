//! Ends tasks whose deadline has passed, without a worker.

use stent_core::backend::{ClaimRequest, NoStickyCache, Result, Store};
use stent_core::transition::{Expire, Outcome, Transition};
use stent_core::{Timestamp, WorkerId, decide};
use uuid::Uuid;

use crate::engine::ids;

/// Ends every task whose deadline has passed. Waits call this because a store may have no worker.
pub(crate) async fn expire(store: &dyn Store, now: Timestamp) -> Result<()> {
    let request = ClaimRequest {
        worker: WorkerId::from_uuid(Uuid::nil()),
        nonce: ids::nonce(),
        now,
        until: now,
        max: 0,
        functions: &[],
        queues: None,
        tags: &[],
        limits: &[],
        cache: &NoStickyCache,
    };
    let expired = store.exchange(&[], Some(&request)).await?.expired;
    let ends: Vec<_> = expired.iter().map(|expired| decide::expire(expired, now)).collect();
    if !ends.is_empty() {
        let ended = store.exchange(&ends, None).await?;
        for (end, outcome) in ends.iter().zip(&ended.outcomes) {
            if let Outcome::Applied(news) = outcome
                && !news.stopped
            {
                report_expired(end, None);
            }
        }
    }
    Ok(())
}

/// Logs that a task was ended because its deadline has passed, if the transition does that. Of a parked task only the
/// ids are known.
pub(crate) fn report_expired(transition: &Transition, function: Option<&str>) {
    let Transition::Expire(Expire { task, tree, failure, .. }) = transition else { return };
    let execution = tree.execution;
    let what = match (function, tree.parent) {
        (Some(function), _) => format!("`{function}`"),
        (None, None) => format!("execution {execution}"),
        (None, Some(_)) => format!("step {task}"),
    };
    match tree.parent {
        None => tracing::warn!(%execution, %task, function, %failure, "{what} timed out: {failure}"),
        Some(_) => {
            tracing::info!(%execution, %task, function, %failure, "{what} timed out, and its caller gets the error: {failure}");
        }
    }
}
