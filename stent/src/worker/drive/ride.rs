//! Offers the worker's next claim to the dispatches of this process, while the worker has a free slot and no claim to send.

use super::Driver;
use super::exchange::{ExchangeDone, Lane};
use crate::engine::rides::{Offer, Ridden};

impl Driver {
    /// Offers a claim. In a test that skips time, workers claim for themselves, because they report when they last did.
    pub(super) fn offer(&mut self) {
        let is_free = self.riding.is_none() && self.pump.waits_for_work() && self.retry_at.is_none();
        if is_free && !self.resting.is_watched() {
            let claim = self.next_claim(self.pump.free().min(self.claim_unit));
            self.riding = Some(self.port.host.engine.rides.offer(claim));
        }
    }

    /// Takes the offer back. False if a dispatch has taken it: then a claim of this worker is in flight.
    pub(super) fn withdraw(&mut self) -> bool {
        let is_back = self.riding.as_ref().is_none_or(Offer::withdraw);
        if is_back {
            self.riding = None;
        }
        is_back
    }

    /// Whether a claim of this worker is on its way with a dispatch.
    pub(super) fn rides(&self) -> bool {
        self.riding.as_ref().is_some_and(Offer::is_taken)
    }

    /// A claim that rode with a dispatch has ended.
    pub(super) fn handle_ridden(&mut self, ridden: Option<Ridden>) {
        self.riding = None;
        match ridden {
            Some(Ridden { max, took, answer: Some(exchanged) }) => {
                self.cache.shrink();
                let begun = self.port.host.engine.waiters.begun();
                self.handle_exchange(ExchangeDone::of_ride(max, took, exchanged, begun), Lane::Rides);
            }
            // The writer reports it. The tasks that it may have claimed become due again when their leases expire.
            Some(Ridden { answer: None, .. }) | None => {
                self.pump.handle_wake(self.port.host.engine.clock.now());
                self.cache.claimed();
            }
        }
    }
}

/// The answer to the offer; never ready without one.
pub(super) async fn answer(riding: &mut Option<Offer>) -> Option<Ridden> {
    match riding {
        Some(offer) => offer.answer().await,
        None => std::future::pending().await,
    }
}
