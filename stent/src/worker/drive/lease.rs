//! Renews the leases of running turns and of results that are not committed yet; stops work whose lease is lost.

use std::collections::BTreeMap;

use stent_core::backend::{Claimed, Error as StoreError, ErrorKind, Renewal};
use stent_core::decide::Held;
use stent_core::model::{Fence, Lease};
use stent_core::transition::{Next, Transition};
use stent_core::{TaskId, Timestamp};

use super::Driver;
use super::exchange::Submission;
use crate::metrics::LeaseLoss;
use crate::worker::port::Kept;

pub(super) type Renewed = (Vec<Lease>, Timestamp, Result<Vec<Renewal>, StoreError>);

impl Driver {
    /// Stops work whose lease has expired, because another worker may have claimed its task.
    pub(super) fn stop_lapsed(&mut self) {
        let now = self.port.host.engine.clock.now();
        if self.lapse_at.is_none_or(|lapse_at| lapse_at > now) {
            return;
        }
        // A lease that the store does not have yet cannot be claimed by others.
        let stands = || self.active.values().filter(|active| active.stands).map(|active| active.lease);
        let lapsed: Vec<TaskId> =
            stands().filter(|lease| lease.until <= now).map(|lease| lease.task).collect();
        for task in lapsed {
            let held = self.active.get(&task).map(|active| active.held.clone());
            self.lose(task, LeaseLoss::Lapsed);
            // Releasing the task avoids counting a crash, if nobody else has claimed it yet. A result of its turn goes
            // first.
            if let Some(held) = held.filter(|_| !self.kept.contains_key(&task)) {
                self.release(&held, now);
            }
        }
        let stands = self.active.values().filter(|active| active.stands).map(|active| active.lease.until);
        self.lapse_at = stands.min();
    }

    /// The lease on a task is lost: stops its turn.
    pub(super) fn lose(&mut self, task: TaskId, loss: LeaseLoss) {
        let Some(active) = self.finished(task) else { return };
        active.abort.abort();
        self.port.report.lost(&active.subject, loss, active.stop.polls.blocked());
    }

    pub(super) fn start_renewal(&mut self, now: Timestamp) {
        // The store would report leases that it does not have yet as lost.
        let stands = self.active.values().filter(|active| active.stands).map(|active| active.lease);
        let leases: BTreeMap<TaskId, Lease> =
            self.kept.values().copied().chain(stands).map(|lease| (lease.task, lease)).collect();
        let leases: Vec<Lease> = leases.into_values().collect();
        self.pump.handle_renewing();
        let (engine, until) = (self.port.host.engine.clone(), now + self.port.lease);
        // Leaves time to ask again: renewing is idempotent.
        let patience = self.port.lease / 3;
        self.renewal = Some(Box::pin(async move {
            let answer = tokio::time::timeout(patience, engine.store.renew(&leases, now, until)).await;
            let answer = answer.unwrap_or_else(|_| {
                let message = format!("no answer within {patience:?}");
                Err(StoreError::new(ErrorKind::Unavailable, "renew").with_message(message))
            });
            (leases, until, answer)
        }));
    }

    pub(super) fn handle_renewed(&mut self, (leases, until, answer): Renewed) {
        self.renewal = None;
        let now = self.port.host.engine.clock.now();
        match answer {
            Ok(renewals) => {
                let held = renewals.contains(&Renewal::Held);
                // A turn that began to wait for a renewal after this one was sent is not part of it.
                let mut waiting = self.active.values().filter(|active| active.goes_on.is_some());
                let missed =
                    waiting.any(|active| !leases.iter().any(|lease| lease.task == active.lease.task));
                self.pump.handle_renewed(now, held || missed);
                for (lease, renewal) in leases.into_iter().zip(renewals) {
                    match renewal {
                        Renewal::Renewed => {
                            self.extend(&lease, until);
                            self.stored(&lease, until);
                            self.port.report.renewed(lease.task);
                        }
                        // Nobody can claim the task while its row is locked, and the renewal is repeated soon. But its
                        // slot of a concurrency limit is counted by its lease and may be given away.
                        Renewal::Held if !self.is_limited(lease.task) => {
                            self.extend(&lease, lease.until.max(now + self.port.lease / 3));
                        }
                        Renewal::Held => {}
                        Renewal::Lost => {
                            if self.kept.get(&lease.task).is_some_and(|kept| kept.epoch == lease.epoch) {
                                self.give_lease_up(lease.task);
                            }
                            if self
                                .active
                                .get(&lease.task)
                                .is_some_and(|active| active.lease.epoch == lease.epoch)
                            {
                                self.lose(lease.task, LeaseLoss::Taken);
                            }
                        }
                    }
                }
            }
            Err(error) => {
                self.port.report.not_renewed(&leases, &error);
                self.pump.handle_renewed(now, true);
            }
        }
    }

    fn extend(&mut self, lease: &Lease, until: Timestamp) {
        let active = self.active.get_mut(&lease.task).map(|active| &mut active.lease);
        for held in active.into_iter().chain(self.kept.get_mut(&lease.task)) {
            if held.epoch == lease.epoch {
                held.until = until;
            }
        }
    }

    /// The store has the lease until then. A turn that waits for the renewal continues.
    fn stored(&mut self, lease: &Lease, until: Timestamp) {
        let active = self.active.get_mut(&lease.task).filter(|active| active.lease.epoch == lease.epoch);
        let Some(active) = active else { return };
        active.stored_until = until;
        if let Some((reply, news)) = active.goes_on.take() {
            let _ = reply.send(Kept::Stands(news));
        }
    }

    fn is_limited(&self, task: TaskId) -> bool {
        let function = self.active.get(&task).map(|active| active.subject.function());
        let of_function = |function| self.limits.iter().find(|limit| limit.function == function);
        function.and_then(of_function).is_some_and(|limit| limit.max_concurrent.is_some())
    }

    /// A turn has a result to commit: keeps its lease until the result is committed.
    pub(super) fn keep_lease(&mut self, fence: &Fence, now: Timestamp) {
        let active = self.active.get(&fence.task).map(|active| active.lease);
        // The lease of a stopped turn has expired, but it can be renewed as long as nobody else has claimed the task.
        let lease = active.filter(|lease| lease.epoch == fence.epoch);
        let lease = lease.unwrap_or(Lease { task: fence.task, epoch: fence.epoch, until: now });
        if self.kept.insert(fence.task, lease).is_none() {
            self.pump.handle_kept(now);
        }
    }

    /// The fate of the write is known: gives its lease up.
    pub(super) fn settle_lease(&mut self, transition: &Transition) {
        let Some(fence) = transition.fence() else { return };
        if self.kept.get(&fence.task).is_some_and(|kept| kept.epoch == fence.epoch) {
            self.give_lease_up(fence.task);
        }
    }

    fn give_lease_up(&mut self, task: TaskId) {
        if self.kept.remove(&task).is_some() {
            self.pump.handle_settled();
        }
    }

    /// A task was claimed here again whose turn has a result that did not reach the store in time. The result is not
    /// discarded and the code does not run again: if nothing was written since, the result is written under the new
    /// claim.
    pub(super) fn take_back(&mut self, claimed: &Claimed, now: Timestamp) -> bool {
        let task = claimed.task.id;
        if let Some(submission) = self.outbox.take_result_of(task) {
            let stood = submission.transition.fence();
            if stood.is_some_and(|fence| fence.commit == claimed.fence.commit) {
                self.write_under(submission, &Held::claimed(claimed), claimed.lease, now);
                return true;
            }
            self.lost(submission);
            return false;
        }
        // The write in flight under the older claim can only be rejected now.
        let is_under_way = self.under_way.get(&task) == Some(&claimed.fence.commit);
        if is_under_way {
            if self.kept.insert(task, claimed.lease).is_none() {
                self.pump.handle_kept(now);
            }
            self.taken_back.insert(task, (Held::claimed(claimed), claimed.lease));
        }
        is_under_way
    }

    /// Sends a turn's result again, under a later claim.
    pub(super) fn write_under(
        &mut self,
        mut submission: Submission,
        held: &Held,
        lease: Lease,
        now: Timestamp,
    ) {
        tracing::info!(task = %lease.task, "writing the work of a turn under a later claim of its task");
        let mut goes_on = false;
        if let Some(commit) = submission.transition.commit_mut() {
            commit.fence = held.fence;
            goes_on = matches!(commit.next, Next::Keep);
        }
        // The code in memory belongs to the older claim.
        if std::mem::take(&mut submission.parked) {
            self.cache.forget(lease.task);
        }
        if self.kept.insert(lease.task, lease).is_none() {
            self.pump.handle_kept(now);
        }
        self.submit(submission, now);
        if goes_on {
            // Its code was stopped.
            let held = Held { fence: held.fence.next(), ..held.clone() };
            self.release(&held, now);
        }
    }
}
