//! A worker about to start.

use std::sync::Arc;
use std::time::Duration;

use stent_core::duration::{IntoDuration, IntoTimeout};
use stent_core::limits::LEASE;

use super::config::{Config, GRACE};
use super::drive::{self, Driver};
use super::fleet::Fleet;
use super::handle::Worker;
use super::held;
use super::report::Reporter;
use crate::engine::poll::PollOptions;
use crate::engine::{Engine, ids};
use crate::error::{Error, Result};
use crate::names::{check_name, check_tags};

/// A worker about to start: see [`Stent::worker`](crate::Stent::worker).
#[must_use = "a worker does nothing until it is started"]
#[derive(Debug)]
pub struct WorkerBuilder {
    engine: Arc<Engine>,
    fleet: Arc<Fleet>,
    config: Config,
    invalid: Option<Error>,
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
        let driver = Driver::new(report, self.engine, self.fleet, self.config, pump);
        tracing::info!(worker = %id, name = vitals.name(), "worker started");
        Ok(Worker::new(vitals, tokio::spawn(drive::run(driver))))
    }
}
