//! Renews the leases of what runs, and stops what has lost its own.

use stent_core::backend::{Error as StoreError, ErrorKind, Renewal};
use stent_core::model::Lease;
use stent_core::{TaskId, Timestamp};

use super::Driver;
use crate::metrics::LeaseLoss;

pub(super) type Renewed = (Vec<Lease>, Timestamp, Result<Vec<Renewal>, StoreError>);

impl Driver {
    /// Stops the work whose lease has run out: another worker may be at it by now.
    pub(super) fn stop_lapsed(&mut self) {
        let now = self.port.shared.clock.now();
        if self.lapse_at.is_none_or(|lapse_at| lapse_at > now) {
            return;
        }
        let ran_out = self.active.values().map(|active| active.lease).filter(|lease| lease.until <= now);
        let lapsed: Vec<TaskId> = ran_out.map(|lease| lease.task).collect();
        lapsed.into_iter().for_each(|task| self.lose(task, LeaseLoss::Lapsed));
        self.lapse_at = self.active.values().map(|active| active.lease.until).min();
    }

    /// The lease on a task is lost: whatever runs under it is stopped.
    pub(super) fn lose(&mut self, task: TaskId, loss: LeaseLoss) {
        let Some(active) = self.finished(task) else { return };
        active.abort.abort();
        self.port.report.lost(&active.subject, loss, active.stop.pulse.blocked());
    }

    pub(super) fn start_renewal(&mut self, now: Timestamp) {
        // The store would say of one that it does not have yet that it was lost.
        let stands = self.active.values().filter(|active| active.stands);
        let leases: Vec<Lease> = stands.map(|active| active.lease).collect();
        self.pump.handle_renewing();
        let (shared, until) = (self.port.shared.clone(), now + self.port.lease);
        // So that there is time to ask again: renewing is idempotent.
        let patience = self.port.lease / 3;
        self.renewal = Some(Box::pin(async move {
            let answer = tokio::time::timeout(patience, shared.store.renew(&leases, now, until)).await;
            let answer = answer.unwrap_or_else(|_| {
                let message = format!("no answer within {patience:?}");
                Err(StoreError::new(ErrorKind::Unavailable, "renew").with_message(message))
            });
            (leases, until, answer)
        }));
    }

    pub(super) fn handle_renewed(&mut self, (leases, until, answer): Renewed) {
        self.renewal = None;
        let now = self.port.shared.clock.now();
        match answer {
            Ok(renewals) => {
                self.pump.handle_renewed(now, false);
                for (lease, renewal) in leases.into_iter().zip(renewals) {
                    let Some(active) = self.active.get_mut(&lease.task) else { continue };
                    match renewal {
                        Renewal::Renewed => {
                            active.lease.until = until;
                            self.port.report.renewed(lease.task);
                        }
                        Renewal::Lost if active.lease.epoch == lease.epoch => {
                            self.lose(lease.task, LeaseLoss::Taken);
                        }
                        Renewal::Lost => {}
                    }
                }
            }
            Err(error) => {
                self.port.report.not_renewed(&leases, &error);
                self.pump.handle_renewed(now, true);
            }
        }
    }
}
