//! Workers: they claim tasks, run their code, and commit what came of it.
//!
//! | File | Does |
//! |---|---|
//! | `drive` | the one loop of a worker: group commit, claims, renewals, drain; performs what the core's `Pump` says |
//! | `turn` | one turn of one task: polls the code against its replay until it ends, waits or goes on |
//! | `ahead` | tasks that were claimed before there was a slot for them |
//! | `activation` | a task's code in memory, and how it is polled |
//! | `blocking` | warns of functions that block their thread |
//! | `held` | says at the start what other workers hold |
//! | `hot` | parked code that is kept in memory |
//! | `outside` | warns of functions that wait for what is not recorded |
//! | `port` | what turns and the loop say to each other |
//! | `report` | what a worker tells metrics and logs |
//! | `status` | how workers are, for probes and people |
//! | `unknown` | says what work waits for a worker that knows it |

mod activation;
mod blocking;
mod cache;
mod drive;
mod drop_queue;
mod fleet;
mod held;
mod outside;
mod port;
mod prefetch;
mod report;
mod status;
mod transact;
mod turn;
mod unknown;

use std::sync::Arc;
use std::time::Duration;

use stent_core::WorkerId;
use stent_core::duration::{IntoDuration, IntoTimeout};
use stent_core::limits::{CLAIM_MAX, HOT_MAX, LEASE};
use stent_core::pace::PumpConfig;
use tokio::task::JoinHandle;

pub(crate) use self::fleet::Fleet;
use self::report::Reporter;
use self::status::Vitals;
pub use self::status::{StoreTrouble, WorkerState, WorkerStatus, WorkersOverview};
use crate::engine::Engine;
use crate::engine::ids;
use crate::engine::poll::{INTERVAL_MIN, PollOptions};
use crate::error::{Error, Result};
use crate::function::state::States;
use crate::names::{check_name, check_tags};

/// Turns that run at once, where nothing else is said.
const CONCURRENCY: usize = 64;
/// How long a drain waits for running turns, where nothing else is said.
const GRACE: Duration = Duration::from_secs(30);
/// Shortest lease: below this a busy machine loses leases that it could keep.
const LEASE_MIN: Duration = Duration::from_millis(100);

/// A worker about to start: see [`Stent::worker`](crate::Stent::worker).
#[must_use = "a worker does nothing until it is started"]
#[derive(Debug)]
pub struct WorkerBuilder {
    engine: Arc<Engine>,
    fleet: Arc<Fleet>,
    config: Config,
    invalid: Option<Error>,
}

/// What a worker was told.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    name: Option<String>,
    concurrency: usize,
    lease: Duration,
    heartbeat: Option<Duration>,
    queues: Option<Vec<String>>,
    tags: Vec<String>,
    states: States,
    /// `None` is no limit.
    grace: Option<Duration>,
    cache: usize,
    poll: PollOptions,
}

impl WorkerBuilder {
    pub(crate) fn new(engine: Arc<Engine>, fleet: Arc<Fleet>) -> Self {
        Self { config: Config::new(engine.poll), engine, fleet, invalid: None }
    }

    /// Calls the worker this, in [its status](Worker::status) and in logs; the default is `worker-1`, `worker-2` and so on.
    /// It is for people: what tells workers apart is their [id](Worker::id).
    pub fn name(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        if let Err(error) = check_name("name", &name) {
            self.invalid.get_or_insert(error);
        }
        self.config.name = Some(name);
        self
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

    /// Gives the worker these tags: of the work that has tags it then takes only what has one of them. Work without tags is
    /// for every worker, and a worker without tags takes all work.
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.config.tags = tags.into_iter().map(Into::into).collect();
        if let Err(error) = check_tags(&self.config.tags) {
            self.invalid.get_or_insert(error);
        }
        self
    }

    /// Lends a state to the functions that ask for it with [`State<T>`](crate::State). One value per type.
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, state: T) -> Self {
        self.config.states.insert(state);
        self
    }

    /// Claims are good for this long without renewal; the default is 30 s, and the shortest is 100 ms: less, zero too, is an
    /// error at the start. After a crash, this is how long others wait before they take over.
    pub fn lease(mut self, lease: impl IntoDuration) -> Self {
        self.config.lease = self.duration(lease, LEASE);
        self
    }

    /// Leases are renewed this often; the default is a third of the lease, at most it is a half, and at least 1 ms.
    ///
    /// A renewal that fails is tried again until the lease has run out. Then the work under it is stopped, at the next
    /// `.await` at which it is pending: another worker may have it by now.
    pub fn heartbeat(mut self, heartbeat: impl IntoDuration) -> Self {
        let heartbeat = self.duration(heartbeat, LEASE / 3);
        self.config.heartbeat = Some(heartbeat);
        self
    }

    /// A drain waits this long for running turns before it hands them back; the default is 30 s. Zero is no limit: it waits
    /// until they have come to a wait or an end, and until what they gave is committed.
    pub fn grace(mut self, grace: impl IntoTimeout) -> Self {
        self.config.grace = grace.into_timeout().unwrap_or_else(|error| {
            self.invalid.get_or_insert(error.into());
            Some(GRACE)
        });
        self
    }

    /// A drain hands running turns back at once, as [`Worker::stop`] does.
    pub const fn no_grace(mut self) -> Self {
        self.config.grace = Some(Duration::ZERO);
        self
    }

    /// Keeps at most so many parked functions in memory; the default is 10,000. Others are replayed when they go on. Functions
    /// that await something beside what is recorded do not count: see the guide's page on observability.
    pub const fn cache(mut self, functions: usize) -> Self {
        self.config.cache = functions;
        self
    }

    /// Asks the store for work at least this often, hints or not; the default is that of
    /// [`StentBuilder::poll`](crate::StentBuilder::poll), 2 s, and the shortest is 1 ms.
    pub fn poll_max(mut self, pause: impl IntoDuration) -> Self {
        let max = self.duration(pause, self.config.poll.max);
        self.config.poll = self.config.poll.with_max(max);
        self
    }

    /// Asks the store for work so often where no hint comes; the default is that of
    /// [`StentBuilder::poll`](crate::StentBuilder::poll).
    pub const fn poll(mut self, poll: PollOptions) -> Self {
        self.config.poll = poll;
        self
    }

    fn duration(&mut self, duration: impl IntoDuration, default: Duration) -> Duration {
        duration.into_duration().unwrap_or_else(|error| {
            self.invalid.get_or_insert(error.into());
            default
        })
    }

    /// Starts the worker. It has not reached the store yet then: see [`Worker::wait_until_ready`].
    ///
    /// # Errors
    /// When an option does not fit, or a function that this process knows needs a state that was not given.
    pub async fn start(mut self) -> Result<Worker> {
        if let Some(error) = self.invalid {
            return Err(error);
        }
        let pump = self.config.validated()?;
        for function in self.engine.registry.functions() {
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
        let (name, clock) = (self.config.name.take(), self.engine.clock.clone());
        let vitals = self.fleet.roster.add(id, name, self.config.lease, clock.clone());
        let report = Reporter::new(&self.engine, vitals.clone());
        self.fleet.watch(&self.engine);
        tokio::spawn(held::tell(Arc::downgrade(&self.engine), self.fleet.clone(), id));
        let driver = drive::Driver::new(report, self.engine, self.fleet, self.config, pump);
        tracing::info!(worker = %id, name = vitals.name(), "worker started");
        Ok(Worker { vitals, driver: Some(tokio::spawn(drive::run(driver))) })
    }
}

impl Config {
    fn new(poll: PollOptions) -> Self {
        Self {
            name: None,
            concurrency: CONCURRENCY,
            lease: LEASE,
            heartbeat: None,
            queues: None,
            tags: Vec::new(),
            states: States::default(),
            grace: Some(GRACE),
            cache: HOT_MAX,
            poll,
        }
    }

    fn validated(&self) -> Result<PumpConfig> {
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
                    "{heartbeat:?} does not fit a lease of {:?}; use at most half of the lease, and at least \
                     {INTERVAL_MIN:?}",
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
    vitals: Arc<Vitals>,
    driver: Option<JoinHandle<Result<()>>>,
}

impl Worker {
    /// The worker's id, as it stands in its leases.
    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.vitals.id()
    }

    /// The worker's name: see [`WorkerBuilder::name`].
    #[must_use]
    pub fn name(&self) -> &str {
        self.vitals.name()
    }

    /// How the worker is, for probes and people. Asks no store.
    #[must_use]
    pub fn status(&self) -> WorkerStatus {
        self.vitals.status()
    }

    /// Waits until the worker is ready: it has exchanged with its store once. It tries for as long as it takes, so give this
    /// a timeout of your own where the store may be away.
    ///
    /// # Errors
    /// [`Error::WorkerStopped`] when the worker has stopped before it was ready.
    ///
    /// # Cancel safety
    /// Safe: it only looks.
    pub async fn wait_until_ready(&self) -> Result<()> {
        self.vitals.wait_until_ready().await
    }

    /// Claims no more, lets running turns come to their next wait or end, hands back what is still running after the grace,
    /// and stops. No work is lost, and none of this counts as a crash or an attempt.
    ///
    /// A function that waits, for steps of its own, a moment or a signal, does not hold a drain up: it is parked, and goes on
    /// wherever a worker runs. Nor does a store that is away, beyond the grace and one lease: what could not be handed back
    /// by then is due again anyway, once its lease has run out. A worker [without a limit to its grace](WorkerBuilder::grace)
    /// waits for either for as long as it takes.
    ///
    /// # Errors
    /// [`Error::WorkerCrashed`] when the worker's loop has panicked.
    ///
    /// # Cancel safety
    /// The drain goes on if this is dropped.
    pub async fn drain(mut self) -> Result<()> {
        self.vitals.stop(Stop::Drain);
        self.join().await
    }

    /// Hands back everything that is running, at once, and stops.
    ///
    /// # Errors
    /// As [`drain`](Self::drain).
    pub async fn stop(mut self) -> Result<()> {
        self.vitals.stop(Stop::Now);
        self.join().await
    }

    async fn join(&mut self) -> Result<()> {
        match self.driver.take() {
            // It is joined in vain only where its runtime shuts down.
            Some(driver) => driver.await.map_err(|_| Error::Closed)?,
            None => Ok(()),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.driver.is_some() {
            self.vitals.stop(Stop::Now);
        }
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
