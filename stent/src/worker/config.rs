//! The settings of one worker, and their validation.

use std::time::Duration;

use stent_core::limits::{CACHE_MAX, CLAIM_MAX, LEASE, WORKER_REPORT};
use stent_core::pace::PumpConfig;

use crate::engine::poll::{INTERVAL_MIN, PollOptions};
use crate::error::{Error, Result};
use crate::function::state::States;

/// Default number of concurrent turns.
const CONCURRENCY: usize = 64;
/// Default time that a drain waits for running turns.
pub(super) const GRACE: Duration = Duration::from_secs(30);
/// Shortest lease. Below it, a busy machine loses leases that it could keep.
const LEASE_MIN: Duration = Duration::from_millis(100);

/// The settings of one worker.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) name: Option<String>,
    /// The version of the program.
    pub(super) version: Option<String>,
    pub(super) concurrency: usize,
    pub(super) lease: Duration,
    pub(super) heartbeat: Option<Duration>,
    pub(super) queues: Option<Vec<String>>,
    pub(super) tags: Vec<String>,
    pub(super) states: States,
    /// `None` means no limit.
    pub(super) grace: Option<Duration>,
    pub(super) cache: usize,
    pub(super) poll: PollOptions,
    /// How often the worker reports to the store that it lives.
    pub(super) report: Duration,
}

impl Config {
    pub(super) fn new(poll: PollOptions) -> Self {
        Self {
            name: None,
            version: None,
            concurrency: CONCURRENCY,
            lease: LEASE,
            heartbeat: None,
            queues: None,
            tags: Vec::new(),
            states: States::default(),
            grace: Some(GRACE),
            cache: CACHE_MAX,
            poll,
            report: WORKER_REPORT,
        }
    }

    pub(super) fn validated(&self) -> Result<PumpConfig> {
        let heartbeat = self.heartbeat.unwrap_or(self.lease / 3);
        let fits = [
            ("concurrency", self.concurrency > 0, "it is 0; a worker needs at least 1".to_owned()),
            (
                "lease",
                self.lease >= LEASE_MIN,
                format!("{:?} is too short; use at least {LEASE_MIN:?}", self.lease),
            ),
            (
                "heartbeat",
                (INTERVAL_MIN..=self.lease / 2).contains(&heartbeat),
                format!(
                    "{heartbeat:?} does not fit a lease of {:?}; use at most half of the lease, and at least {INTERVAL_MIN:?}",
                    self.lease
                ),
            ),
            (
                "poll_max",
                self.poll.max >= INTERVAL_MIN,
                format!("{:?} is too short for an interval; use at least {INTERVAL_MIN:?}", self.poll.max),
            ),
        ];
        if let Some((option, _, problem)) = fits.into_iter().find(|(_, fits, _)| !fits) {
            return Err(Error::Option { option, problem });
        }
        let poll = self.poll.validated()?;
        Ok(PumpConfig {
            slots: self.concurrency,
            claim_max: CLAIM_MAX,
            poll_min: poll.min,
            poll_max: poll.max,
            poll_factor: poll.factor,
            lease: self.lease,
            heartbeat,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_30_s_and_its_heartbeat_a_third_where_nothing_else_is_said() {
        let pump = Config::new(PollOptions::default()).validated().expect("defaults fit");
        assert_eq!((pump.lease, pump.heartbeat), (Duration::from_secs(30), Duration::from_secs(10)));
        assert_eq!((pump.poll_min, pump.poll_max), (Duration::from_millis(50), Duration::from_secs(2)));
        assert_eq!(pump.slots, 64);
    }

    #[test]
    fn a_shorter_lease_has_a_shorter_heartbeat_and_a_heartbeat_of_more_than_half_is_refused() {
        let lease = Duration::from_millis(300);
        let config = Config { lease, ..Config::new(PollOptions::default()) };
        assert_eq!(config.validated().expect("fits").heartbeat, Duration::from_millis(100));
        for (heartbeat, fits) in [(150, true), (151, false), (0, false)] {
            let config = Config { heartbeat: Some(Duration::from_millis(heartbeat)), ..config.clone() };
            assert_eq!(config.validated().is_ok(), fits, "{heartbeat} ms");
        }
    }
}
