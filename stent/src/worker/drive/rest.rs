//! Reports to a test's clock when the worker has nothing to do. A worker outside a test reports nothing.

use std::sync::Arc;

use stent_core::{Timestamp, WorkerId};

use crate::engine::skip::{Rest, Skip};

/// The reports of one worker's loop.
#[derive(Debug)]
pub(super) struct Resting {
    skip: Option<Arc<Skip>>,
    worker: WorkerId,
    /// The round in which the last claim was sent.
    asked: u64,
    /// The round of the last claim and the next due moment, if the claim found nothing.
    found_nothing: Option<(u64, Option<Timestamp>)>,
}

impl Resting {
    pub(super) fn new(skip: Option<Arc<Skip>>, worker: WorkerId) -> Self {
        if let Some(skip) = &skip {
            skip.report(worker, Rest::Busy);
        }
        Self { skip, worker, asked: 0, found_nothing: None }
    }

    /// A claim is sent.
    pub(super) fn claims(&mut self) {
        self.asked = self.skip.as_ref().map_or(0, |skip| skip.round());
        self.found_nothing = None;
    }

    /// A claim found nothing.
    pub(super) const fn found_nothing(&mut self, next_due: Option<Timestamp>) {
        self.found_nothing = Some((self.asked, next_due));
    }

    /// The worker has committed, claimed or ended something.
    pub(super) fn worked(&self) {
        if let Some(skip) = &self.skip {
            skip.worked();
        }
    }

    /// The worker is about to wait. A draining worker asks for no work, and no test waits for it.
    /// Whether anybody hears the reports.
    pub(super) const fn is_watched(&self) -> bool {
        self.skip.is_some()
    }

    pub(super) fn report(&self, is_idle: bool, is_draining: bool) {
        let Some(skip) = &self.skip else { return };
        match self.found_nothing.filter(|_| is_idle) {
            _ if is_draining && is_idle => skip.gone(self.worker),
            Some((round, next)) => skip.report(self.worker, Rest::Until { round, next }),
            None => skip.report(self.worker, Rest::Busy),
        }
    }
}

impl Drop for Resting {
    fn drop(&mut self) {
        if let Some(skip) = &self.skip {
            skip.gone(self.worker);
        }
    }
}
