//! Workers: they claim tasks, run their code, and commit what came of it.
//!
//! | File | Does |
//! |---|---|
//! | `drive` | the one loop of a worker: group commit, claims, renewals, drain; performs what the core's `Pump` says |
//! | `turn` | one turn of one task: polls the code against its replay until it ends, waits or goes on |
//! | `activation` | a task's code in memory, and how it is polled |
//! | `hot` | parked code that is kept in memory |
//! | `port` | what turns and the loop say to each other |

mod activation;
mod drive;
mod hot;
mod port;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use stent_core::WorkerId;
use stent_core::duration::IntoDuration;
use stent_core::limits::{CLAIM_MAX, HOT_MAX, LEASE};
use stent_core::schedule::PumpConfig;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::client::Shared;
use crate::state::States;
use crate::{Error, Result, ids};

/// Turns that run at once, where nothing else is said.
const CONCURRENCY: usize = 64;
/// Shortest pause between two claims that found nothing.
const POLL_MIN: Duration = Duration::from_millis(50);
/// Longest such pause: an idle worker asks its store once in two seconds.
const POLL_MAX: Duration = Duration::from_secs(2);
/// How long a drain waits for running turns, where nothing else is said.
const GRACE: Duration = Duration::from_secs(30);
/// Shortest lease: below this a busy machine loses leases that it could keep.
const LEASE_MIN: Duration = Duration::from_millis(100);

/// A worker about to start: see [`Stent::worker`](crate::Stent::worker).
#[must_use = "a worker does nothing until it is started"]
#[derive(Debug)]
pub struct WorkerBuilder {
    shared: Arc<Shared>,
    config: Config,
    invalid: Option<Error>,
}

/// What a worker was told.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    concurrency: usize,
    lease: Duration,
    heartbeat: Option<Duration>,
    queues: Option<Vec<String>>,
    states: States,
    grace: Duration,
    cache: usize,
    poll_max: Duration,
}

impl WorkerBuilder {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            config: Config {
                concurrency: CONCURRENCY,
                lease: LEASE,
                heartbeat: None,
                queues: None,
                states: States::default(),
                grace: GRACE,
                cache: HOT_MAX,
                poll_max: POLL_MAX,
            },
            invalid: None,
        }
    }

    /// Runs at most so many turns at once; the default is 64. Parked functions do not count.
    pub const fn concurrency(mut self, turns: usize) -> Self {
        self.config.concurrency = turns;
        self
    }

    /// Takes work from these queues only; the default is every queue.
    pub fn queues<Q: Into<String>>(mut self, queues: impl IntoIterator<Item = Q>) -> Self {
        self.config.queues = Some(queues.into_iter().map(Into::into).collect());
        self
    }

    /// Lends a state to the functions that ask for it with [`State<T>`](crate::State). One value per type.
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, state: T) -> Self {
        self.config.states.insert(state);
        self
    }

    /// Claims are good for this long without renewal; the default is 30 s. After a crash, this is how long others wait
    /// before they take over.
    pub fn lease(mut self, lease: impl IntoDuration) -> Self {
        self.config.lease = self.duration(lease, LEASE);
        self
    }

    /// Leases are renewed this often; the default is a third of the lease.
    pub fn heartbeat(mut self, heartbeat: impl IntoDuration) -> Self {
        let heartbeat = self.duration(heartbeat, LEASE / 3);
        self.config.heartbeat = Some(heartbeat);
        self
    }

    /// A drain waits this long for running turns before it hands them back; the default is 30 s.
    pub fn grace(mut self, grace: impl IntoDuration) -> Self {
        self.config.grace = self.duration(grace, GRACE);
        self
    }

    /// Keeps at most so many parked functions in memory; the default is 10,000. Others are replayed when they go on.
    pub const fn cache(mut self, functions: usize) -> Self {
        self.config.cache = functions;
        self
    }

    /// Asks the store for work at least this often, hints or not; the default is 2 s.
    pub fn poll_max(mut self, pause: impl IntoDuration) -> Self {
        self.config.poll_max = self.duration(pause, POLL_MAX);
        self
    }

    fn duration(&mut self, duration: impl IntoDuration, default: Duration) -> Duration {
        duration.into_duration().unwrap_or_else(|error| {
            self.invalid.get_or_insert(error.into());
            default
        })
    }

    /// Starts the worker.
    ///
    /// # Errors
    /// When an option does not fit, or a function that this process knows needs a state that was not given.
    pub async fn start(self) -> Result<Worker> {
        if let Some(error) = self.invalid {
            return Err(error);
        }
        let pump = self.config.validated()?;
        for function in self.shared.registry.functions() {
            for need in (function.needs)() {
                if !self.config.states.has(&need) {
                    return Err(Error::MissingState {
                        function: function.name.to_owned(),
                        state: need.name(),
                    });
                }
            }
        }
        let id = ids::worker();
        let (stop, stopping) = watch::channel(Stop::No);
        let driver = drive::Driver::new(id, self.shared, self.config, pump, stopping);
        tracing::info!(worker = %id, "worker started");
        Ok(Worker { id, stop, driver: Some(tokio::spawn(driver.run())) })
    }
}

impl Config {
    fn validated(&self) -> Result<PumpConfig> {
        let heartbeat = self.heartbeat.unwrap_or(self.lease / 3);
        let fits = [
            ("concurrency", self.concurrency > 0, "it is 0; a worker needs at least one turn".to_owned()),
            (
                "lease",
                self.lease >= LEASE_MIN,
                format!("{:?} is too short; take at least {LEASE_MIN:?}", self.lease),
            ),
            (
                "heartbeat",
                !heartbeat.is_zero() && heartbeat * 2 <= self.lease,
                format!("{heartbeat:?} does not fit a lease of {:?}; take at most half of it", self.lease),
            ),
            ("poll_max", !self.poll_max.is_zero(), "it is 0; take at least 1ms".to_owned()),
        ];
        if let Some((option, _, problem)) = fits.into_iter().find(|(_, fits, _)| !fits) {
            return Err(Error::Option { option, problem });
        }
        Ok(PumpConfig {
            slots: self.concurrency,
            claim_max: CLAIM_MAX,
            poll_min: POLL_MIN.min(self.poll_max),
            poll_max: self.poll_max,
            poll_factor: 2.0,
            lease: self.lease,
            heartbeat,
        })
    }
}

/// How a worker is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    No,
    /// Let running turns come to a wait or their end.
    Drain,
    /// Hand everything back at once.
    Now,
}

/// A running worker. Dropping it hands its work back at once; [`drain`](Self::drain) lets it finish.
#[derive(Debug)]
pub struct Worker {
    id: WorkerId,
    stop: watch::Sender<Stop>,
    driver: Option<JoinHandle<()>>,
}

impl Worker {
    /// The worker's id, as it stands in its leases.
    #[must_use]
    pub const fn id(&self) -> WorkerId {
        self.id
    }

    /// Claims no more, lets running turns come to their next wait or end, hands back what is still running after the grace,
    /// and stops. No work is lost, and none of this counts as a crash or an attempt.
    ///
    /// # Errors
    /// None today; the worker's own task having panicked is reported as [`Error::Closed`].
    ///
    /// # Cancel safety
    /// The drain goes on if this is dropped.
    pub async fn drain(mut self) -> Result<()> {
        self.stop.send_replace(Stop::Drain);
        self.join().await
    }

    /// Hands back everything that is running, at once, and stops.
    ///
    /// # Errors
    /// As [`drain`](Self::drain).
    pub async fn stop(mut self) -> Result<()> {
        self.stop.send_replace(Stop::Now);
        self.join().await
    }

    async fn join(&mut self) -> Result<()> {
        match self.driver.take() {
            Some(driver) => driver.await.map_err(|_| Error::Closed),
            None => Ok(()),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.driver.is_some() {
            self.stop.send_replace(Stop::Now);
        }
    }
}
