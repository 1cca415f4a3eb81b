//! Lets go of parked code whose executions have ended: cancelled, expired, purged, or ended by another worker. The store has
//! nothing to tell of them, so it is asked, beside the looks for work and no more often.

use std::collections::BTreeSet;
use std::time::Duration;

use stent_core::ExecutionId;
use stent_core::backend::{Error as StoreError, ExecutionView};
use stent_core::limits::PAGE_MAX;
use tokio::time::Instant;

use super::Driver;

/// Shortest pause between two questions. A worker that has nothing to do asks as often as it looks for work, so that it has at
/// most one query a second in all.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Executions that one question is about. Where more are parked, they take turns.
const ASK_MAX: usize = PAGE_MAX;

/// What the store was asked about, and what it said.
pub(super) type Asked = (BTreeSet<ExecutionId>, Result<Vec<ExecutionView>, StoreError>);

impl Driver {
    /// The worker has looked for work: what is parked is to be looked at, too.
    pub(super) fn has_looked(&mut self) {
        self.ask_due = !self.pump.is_draining() && self.hot.len() > 0;
    }

    /// When the store is to be asked next.
    pub(super) fn ask_at(&self) -> Option<Instant> {
        let is_due = self.ask_due && self.asking.is_none();
        is_due.then(|| self.asked_at.map_or_else(Instant::now, |asked_at| asked_at + ASK_EVERY))
    }

    /// Asks the store which executions are still open whose code is parked here.
    pub(super) fn start_asking(&mut self) {
        if self.ask_at().is_none_or(|ask_at| ask_at > Instant::now()) {
            return;
        }
        (self.ask_due, self.asked_at) = (false, Some(Instant::now()));
        let about = self.hot.to_ask(ASK_MAX);
        let store = self.port.shared.store.clone();
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
                // Dropping code is safe, whatever has become of its execution meanwhile.
                let ended = self.hot.take_ended(&(&about - &open));
                if !ended.is_empty() {
                    tracing::debug!(
                        parked = ended.len(),
                        "parked code has left memory: its executions have ended"
                    );
                }
            }
            // Asked again with the next look; others report a store that is away.
            Err(error) => {
                tracing::debug!(%error, "the store did not say which parked executions are still open");
            }
        }
    }
}
