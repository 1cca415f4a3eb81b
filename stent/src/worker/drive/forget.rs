//! Drops parked code whose executions have ended: cancelled, expired, purged, or ended by another worker. No claim
//! reports these ends, so the worker queries the store when a hint says that executions have ended.

use std::collections::BTreeSet;
use std::time::Duration;

use stent_core::ExecutionId;
use stent_core::backend::{Error as StoreError, ExecutionView};
use stent_core::limits::PAGE_MAX;
use tokio::time::Instant;

use super::Driver;

/// Shortest pause between two queries, however many executions end.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Longest pause, measured at looks for work, because hints may be lost. An idle process makes at most one query per
/// second in all, and this is a small part of that.
const ASK_ANYWAY: Duration = Duration::from_secs(30);
/// Most executions in one query. If more are parked, queries take turns.
const ASK_MAX: usize = PAGE_MAX;

/// The executions that a query asked about, and its answer.
pub(super) type Asked = (BTreeSet<ExecutionId>, Result<Vec<ExecutionView>, StoreError>);

impl Driver {
    /// Executions have ended: ask once about everything that is parked.
    pub(super) fn handle_ended(&mut self) {
        self.ask_left = if self.pump.is_draining() { 0 } else { self.cache.len().div_ceil(ASK_MAX) };
    }

    /// The worker has looked for work.
    pub(super) fn has_looked(&mut self) {
        if self.ask_left == 0 && self.asked_at.elapsed() >= ASK_ANYWAY {
            self.handle_ended();
        }
    }

    /// When to query the store next.
    pub(super) fn ask_at(&self) -> Option<Instant> {
        (self.ask_left > 0 && self.asking.is_none()).then(|| self.asked_at + ASK_EVERY)
    }

    /// Starts a query for which executions with parked code here are still open.
    pub(super) fn start_asking(&mut self) {
        if self.ask_at().is_none_or(|ask_at| ask_at > Instant::now()) {
            return;
        }
        self.ask_left -= 1;
        self.asked_at = Instant::now();
        let about = self.cache.to_ask(ASK_MAX);
        let store = self.port.host.engine.store.clone();
        self.asking = Some(Box::pin(async move {
            let ids: Vec<ExecutionId> = about.iter().copied().collect();
            let answer = store.executions(&ids).await;
            (about, answer)
        }));
    }

    pub(super) fn handle_asked(&mut self, (about, answer): Asked) {
        match answer {
            Ok(views) => {
                let open =
                    views.iter().filter(|view| !view.status.is_terminal()).map(|view| view.id).collect();
                // Dropping code is safe, whatever has happened to its execution meanwhile.
                let ended = self.cache.take_ended(&(&about - &open));
                if !ended.is_empty() {
                    tracing::debug!(parked = ended.len(), "dropped parked code whose executions have ended");
                }
            }
            // The next look asks again. Other calls report that the store is down.
            Err(error) => {
                tracing::debug!(%error, "cannot read which parked executions are still open");
            }
        }
    }
}
