//! Claims that ride with dispatches. An idle worker of this process offers its next claim, and the next write of a dispatch that
//! the worker could run takes the claim along: one transaction stores the execution and starts it, and nobody has to be woken.
//!
//! ```text
//! worker ── offer ──► Rides ── take ──► writer ── exchange(dispatches, claim) ──► store
//!    ▲                                    │
//!    └──────────── Ridden ◄───────────────┘
//! ```
//!
//! The claim is like any other: it takes what is due, in order, within limits. A worker that wants to claim before a dispatch
//! comes withdraws its offer.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stent_core::backend::{ClaimRequest, Exchanged, Limit, StickyCache};
use stent_core::model::{NewTaskState, Nonce};
use stent_core::transition::Transition;
use stent_core::{Timestamp, WorkerId};
use tokio::sync::oneshot;

use crate::engine::ids;

/// A claim that can be sent at any moment.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) worker: WorkerId,
    pub(crate) lease: Duration,
    pub(crate) max: usize,
    pub(crate) functions: Arc<[String]>,
    pub(crate) queues: Option<Arc<[String]>>,
    pub(crate) tags: Arc<[String]>,
    pub(crate) limits: Arc<[Limit]>,
    pub(crate) cache: Arc<dyn StickyCache>,
}

impl Claim {
    /// The request, as it is sent now.
    pub(crate) fn request(&self, now: Timestamp) -> ClaimRequest<'_> {
        self.request_with(ids::nonce(), now)
    }

    fn request_with(&self, nonce: Nonce, now: Timestamp) -> ClaimRequest<'_> {
        ClaimRequest {
            worker: self.worker,
            nonce,
            now,
            until: now + self.lease,
            max: self.max,
            functions: &self.functions,
            queues: self.queues.as_deref(),
            tags: &self.tags,
            limits: &self.limits,
            cache: &*self.cache,
        }
    }

    /// Whether it could take the root of a dispatch at once.
    fn fits(&self, transition: &Transition, now: Timestamp) -> bool {
        let Transition::Dispatch(dispatch) = transition else { return false };
        let is_due = matches!(dispatch.root.state, NewTaskState::Pending { ready_at } if ready_at <= now);
        is_due && self.request_with(Nonce::new(0), now).admits(&dispatch.root.lane)
    }
}

/// The answer to a claim that rode with dispatches.
#[derive(Debug)]
pub(crate) struct Ridden {
    pub(crate) max: usize,
    pub(crate) took: Duration,
    /// What the exchange returned, without the outcomes of the dispatches. `None` if it failed.
    pub(crate) answer: Option<Exchanged>,
}

/// The offers of this process's workers.
#[derive(Debug, Default)]
pub(crate) struct Rides {
    offers: Mutex<Offers>,
}

#[derive(Debug, Default)]
struct Offers {
    last: u64,
    open: Vec<Ride>,
}

/// A claim on its way. If it is dropped, the worker learns that the claim has failed.
#[derive(Debug)]
pub(crate) struct Ride {
    number: u64,
    claim: Claim,
    reply: oneshot::Sender<Ridden>,
}

/// An offer as its worker holds it.
pub(crate) struct Offer {
    rides: Arc<Rides>,
    number: u64,
    answer: oneshot::Receiver<Ridden>,
}

impl Rides {
    /// Offers a claim.
    pub(crate) fn offer(self: &Arc<Self>, claim: Claim) -> Offer {
        let (reply, answer) = oneshot::channel();
        let mut offers = self.lock();
        offers.last += 1;
        let number = offers.last;
        offers.open.push(Ride { number, claim, reply });
        Offer { rides: self.clone(), number, answer }
    }

    /// Takes the oldest offer that fits one of the transitions.
    pub(crate) fn take(&self, transitions: &[Transition], now: Timestamp) -> Option<Ride> {
        let mut offers = self.lock();
        let fits = |ride: &Ride| transitions.iter().any(|transition| ride.claim.fits(transition, now));
        let index = offers.open.iter().position(fits)?;
        Some(offers.open.remove(index))
    }

    fn lock(&self) -> MutexGuard<'_, Offers> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ride {
    pub(crate) fn request(&self, now: Timestamp) -> ClaimRequest<'_> {
        self.claim.request(now)
    }

    /// Tells the worker how its claim ended.
    pub(crate) fn ends(self, took: Duration, answer: Option<Exchanged>) {
        // The loop of the worker may have crashed; then the leases of the claimed tasks expire.
        let _ = self.reply.send(Ridden { max: self.claim.max, took, answer });
    }
}

impl Offer {
    /// Takes the offer back. False if the claim is on its way.
    pub(crate) fn withdraw(&self) -> bool {
        let mut offers = self.rides.lock();
        let index = offers.open.iter().position(|ride| ride.number == self.number);
        index.map(|index| offers.open.remove(index)).is_some()
    }

    /// Whether the claim is on its way.
    pub(crate) fn is_taken(&self) -> bool {
        !self.rides.lock().open.iter().any(|ride| ride.number == self.number)
    }

    /// Waits for the answer; `None` if it was lost.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn answer(&mut self) -> Option<Ridden> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.withdraw();
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer").field("number", &self.number).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use stent_core::backend::NoStickyCache;
    use stent_core::decide;
    use stent_core::model::{Lane, NewTask, Seq, StepKind, Tree};
    use stent_core::{ExecutionId, Payload};

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_micros(1_000_000)
    }

    fn dispatch(function: &str, ready_at: Timestamp) -> Transition {
        let id = ids::task();
        let root = NewTask {
            id,
            tree: Tree::root(ExecutionId::from_uuid(*id.as_uuid())),
            seq: Seq(0),
            kind: StepKind::Call,
            lane: Lane::new("default", function),
            priority: 0,
            args: Payload::empty(),
            retry: None,
            attempts: 0,
            failure: None,
            keyed: None,
            expires_at: None,
            trace: None,
            digest: None,
            state: NewTaskState::Pending { ready_at },
        };
        decide::start(root, None, now())
    }

    fn claim(function: &str) -> Claim {
        Claim {
            worker: ids::worker(),
            lease: Duration::from_secs(30),
            max: 3,
            functions: Arc::from([function.to_owned()]),
            queues: None,
            tags: Arc::from([]),
            limits: Arc::from([]),
            cache: Arc::new(NoStickyCache),
        }
    }

    #[tokio::test]
    async fn a_dispatch_takes_an_offer_that_fits_it_once() {
        let rides = Arc::<Rides>::default();
        let (mut charge, ship) = (rides.offer(claim("charge")), rides.offer(claim("ship")));
        let later = now() + Duration::from_secs(1);
        let request = decide::cancel(ids::execution(), Duration::ZERO, now());
        assert!(rides.take(&[dispatch("charge", later), dispatch("other", now()), request], now()).is_none());

        let ride =
            rides.take(&[dispatch("other", now()), dispatch("charge", now())], now()).expect("an offer");

        assert_eq!(ride.request(now()).until, now() + Duration::from_secs(30));
        assert!(charge.is_taken() && !ship.is_taken());
        assert!(!charge.withdraw(), "it is on its way");
        assert!(rides.take(&[dispatch("charge", now())], now()).is_none());
        ride.ends(Duration::from_millis(3), Some(Exchanged::default()));
        let ridden = charge.answer().await.expect("an answer");
        assert_eq!((ridden.max, ridden.took, ridden.answer.is_some()), (3, Duration::from_millis(3), true));
    }

    #[tokio::test]
    async fn an_offer_that_was_taken_back_or_dropped_is_not_taken() {
        let rides = Arc::<Rides>::default();
        let (first, second) = (rides.offer(claim("charge")), rides.offer(claim("charge")));

        assert!(first.withdraw());
        drop(second);

        assert!(rides.take(&[dispatch("charge", now())], now()).is_none());
    }

    #[tokio::test]
    async fn a_ride_that_is_dropped_has_no_answer() {
        let rides = Arc::<Rides>::default();
        let mut offer = rides.offer(claim("charge"));

        drop(rides.take(&[dispatch("charge", now())], now()));

        assert!(offer.is_taken() && offer.answer().await.is_none());
    }
}
