//! Claims whose replies were lost: the worker's next claim on the same handle takes back the tasks that they claimed.
//!
//! A claim is sent once. If its reply does not arrive, the server may have run it, now or later, and nobody knows its tasks. The
//! handle remembers the claim. The worker's next claim finds its tasks among the running ones: their leases end when the lost
//! claim said, and their epochs have its nonce, which no other claim has. It renews these leases and returns the tasks under their
//! epochs. No second claim happens, so nothing is fenced or counted twice (G2, G3, G8). Claims without such a loss before them
//! send nothing for this.
//!
//! The handle forgets the claims of a process that has ended, and of a worker that claims no more. Their tasks wait until their
//! leases end.

use std::sync::{Mutex, MutexGuard, PoisonError};

use stent_core::backend::{ClaimRequest, Renewal, Result};
use stent_core::limits::CLAIM_MAX;
use stent_core::model::{Lease, Mark, Nonce, TaskStatus};
use stent_core::{Timestamp, WorkerId};

use crate::claim::Taken;
use crate::keys::{last_id, moment};
use crate::row::{Head, Tail, at, decode};
use crate::store::RedisStore;

/// The most claims that a handle remembers. An outage costs one for each worker, because a link that cannot connect sends nothing.
const LOST_MAX: usize = 64;

/// How often the tasks of a claim are taken back. If they still do not reach the worker, their leases end, and other workers get
/// them: a task that breaks its claim must not hold the others of the claim for ever.
const TAKEN_BACK_MAX: u8 = 2;

/// A claim whose reply was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lost {
    worker: WorkerId,
    nonce: Nonce,
    /// When the leases end that it may have given.
    until: Timestamp,
    /// How often its tasks were taken back.
    taken_back: u8,
}

/// The lost claims of a handle.
#[derive(Debug, Default)]
pub(crate) struct LostClaims {
    claims: Mutex<Vec<Lost>>,
}

/// A claim under way. If it is dropped before it is [settled](Self::settle), everything that it may have claimed or taken back is
/// lost again.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    claims: &'a LostClaims,
    lost: Vec<Lost>,
    /// Lost claims of which all tasks were taken back.
    found: Vec<Lost>,
}

impl LostClaims {
    fn lock(&self) -> MutexGuard<'_, Vec<Lost>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a claim, which takes the worker's lost claims with it, so that no other claim takes back the same tasks.
    pub(crate) fn begin(&self, request: &ClaimRequest<'_>) -> Attempt<'_> {
        let mut claims = self.lock();
        // Tasks whose leases have ended are due for everybody.
        claims.retain(|lost| lost.until > request.now);
        let of_worker =
            |lost: &mut Lost| request.max > 0 && lost.worker == request.worker && lost.until < request.until;
        let lost = claims.extract_if(.., of_worker).collect();
        Attempt { claims: self, lost, found: Vec::new() }
    }
}

impl Attempt<'_> {
    /// The request is sent now.
    pub(crate) fn send(&mut self, request: &ClaimRequest<'_>) {
        if request.max > 0 {
            let (worker, nonce, until) = (request.worker, request.nonce, request.until);
            self.lost.push(Lost { worker, nonce, until, taken_back: 0 });
        }
    }

    /// The server has certainly not run the request.
    pub(crate) fn refuse(&mut self, request: &ClaimRequest<'_>) {
        self.lost.retain(|lost| lost.nonce != request.nonce || lost.until != request.until);
    }

    /// The tasks cannot reach the caller, now or later: their leases end.
    pub(crate) fn forget(&mut self) {
        self.lost.clear();
    }

    /// The caller gets the claimed tasks. Lost claims of which nothing was found stay: the server may run them later.
    pub(crate) fn settle(mut self, request: &ClaimRequest<'_>) {
        // Tasks that were taken back have leases that end as those of the request do.
        let found = std::mem::take(&mut self.found);
        self.lost.retain(|lost| lost.until != request.until && !found.contains(lost));
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut claims = self.claims.lock();
        claims.append(&mut self.lost);
        let surplus = claims.len().saturating_sub(LOST_MAX);
        claims.drain(..surplus);
    }
}

impl RedisStore {
    /// Takes back tasks of the worker's lost claims: at most as many as the request may claim.
    pub(crate) async fn take_back(
        &self,
        request: &ClaimRequest<'_>,
        attempt: &mut Attempt<'_>,
    ) -> Result<Vec<Taken>> {
        let mut back = Vec::new();
        attempt.lost.retain(|lost| lost.taken_back < TAKEN_BACK_MAX);
        for lost in attempt.lost.clone() {
            let mut tasks = self.tasks_of(request, lost).await?;
            let room = request.max.min(CLAIM_MAX) - back.len();
            let is_all = tasks.len() <= room;
            tasks.truncate(room);
            if tasks.is_empty() {
                continue;
            }
            // If the renewal is lost too, the tasks are found by the end that it gave them.
            attempt.lost.push(Lost { until: request.until, taken_back: lost.taken_back + 1, ..lost });
            let lease = |head: &Head| Lease { task: head.row.id, epoch: head.row.epoch, until: lost.until };
            let leases: Vec<_> = tasks.iter().map(|(head, _)| lease(head)).collect();
            let renewed = self.renew_leases("claim", &leases, request.now, request.until).await?;
            for ((mut head, tail), renewal) in tasks.into_iter().zip(renewed) {
                if renewal == Renewal::Renewed {
                    head.row.ready_at = Some(request.until);
                    back.push(Taken { head, tail, epoch: None, has_children: true, due_at: None });
                }
            }
            if is_all {
                attempt.found.push(lost);
            }
        }
        Ok(back)
    }

    /// Reads the tasks that a lost claim claimed, and that its worker still has and may run (G10, G15).
    async fn tasks_of(&self, request: &ClaimRequest<'_>, lost: Lost) -> Result<Vec<(Head, Tail)>> {
        let until = moment(lost.until);
        let [from, to] =
            [[b"[".as_slice(), &until].concat(), [b"[".as_slice(), &until, &[u8::MAX; 16]].concat()];
        let mut range = redis::cmd("ZRANGEBYLEX");
        range.arg(self.keys.one("run")).arg(from).arg(to).arg("LIMIT").arg(0).arg(2 * CLAIM_MAX);
        let seats: Vec<Vec<u8>> = self.link.run("claim", &range).await?;
        if seats.is_empty() {
            return Ok(Vec::new());
        }
        let mut rows = redis::cmd("MGET");
        seats.iter().filter_map(|seat| last_id(seat)).for_each(|task| _ = rows.arg(self.keys.task(task)));
        let rows: Vec<Option<Vec<u8>>> = self.link.run("claim", &rows).await?;
        let mut tasks = Vec::new();
        for row in rows.iter().flatten() {
            // The reader of a broken row gets the error.
            let Ok((head, _)) = Head::decode(row) else { continue };
            let task = &head.row;
            let is_its = task.status == TaskStatus::Running
                && task.worker == Some(lost.worker)
                && task.epoch.nonce == lost.nonce;
            let is_over = task.expires_at.is_some_and(|expires_at| expires_at <= request.now);
            if !is_its || is_over || task.marks.contains(Mark::Cancel) {
                continue;
            }
            let Ok(tail) = decode::<Tail>(row.get(at::LEN..).unwrap_or_default()) else { continue };
            if request.admits(&tail.lane) {
                tasks.push((head, tail));
            }
        }
        Ok(tasks)
    }
}
