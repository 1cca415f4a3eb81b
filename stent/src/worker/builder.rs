//! Builds and starts a worker.

use std::sync::Arc;
use std::time::Duration;

use stent_core::duration::{IntoDuration, IntoTimeout};
use stent_core::limits::LEASE;

use super::config::{Config, GRACE};
use super::crash::{self, Switch};
use super::drive::{self, Driver};
use super::fleet::Fleet;
use super::handle::Worker;
use super::held;
use super::presence::Presence;
use super::report::Reporter;
use crate::engine::poll::PollOptions;
use crate::engine::{Engine, ids};
use crate::error::{Error, Result};
use crate::names::{check_name, check_tags};

/// Options of a worker that has not started yet: see [`Stent::worker`](crate::Stent::worker).
#[must_use = "a worker does nothing until it is started"]
#[derive(Debug)]
pub struct WorkerBuilder {
    engine: Arc<Engine>,
    fleet: Arc<Fleet>,
    config: Config,
    /// Kills the worker of a test.
    switch: Option<Arc<Switch>>,
    invalid: Option<Error>,
}

impl WorkerBuilder {
    pub(crate) fn new(engine: Arc<Engine>, fleet: Arc<Fleet>) -> Self {
        Self { config: Config::new(engine.poll), engine, fleet, switch: None, invalid: None }
    }

    /// Sets the worker's name in [its status](Worker::status) and in logs; the default is `worker-1`, `worker-2` and so
    /// on. Names are for people; Stent identifies workers by their [id](Worker::id).
    pub fn name(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        if let Err(error) = check_name("name", &name) {
            self.invalid.get_or_insert(error);
        }
        self.config.name = Some(name);
        self
    }

    /// Sets the version of the program, which [`Inspector::workers`](crate::Inspector::workers) shows: usually
    /// `env!("CARGO_PKG_VERSION")`. By default there is none, because a library does not know it. It decides nothing.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        let version = version.into();
        if let Err(error) = check_name("version", &version) {
            self.invalid.get_or_insert(error);
        }
        self.config.version = Some(version);
        self
    }

    /// Limits the number of concurrent turns; the default is 64. Parked functions do not count.
    pub const fn concurrency(mut self, turns: usize) -> Self {
        self.config.concurrency = turns;
        self
    }

    /// Takes work from these queues only; the default is all queues.
    pub fn queues<Q: Into<String>>(mut self, queues: impl IntoIterator<Item = Q>) -> Self {
        self.config.queues = Some(queues.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the worker's tags. Of the work that has tags, a worker with tags takes only work that shares one of them.
    /// Any worker takes work without tags, and a worker without tags takes all work.
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.config.tags = tags.into_iter().map(Into::into).collect();
        if let Err(error) = check_tags(&self.config.tags) {
            self.invalid.get_or_insert(error);
        }
        self
    }

    /// Provides a state to the functions that ask for it with [`State<T>`](crate::State). One value per type.
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, state: T) -> Self {
        self.config.states.insert(state);
        self
    }

    /// Sets how long a claim is valid without renewal; the default is 30 s. A lease below 100 ms, including zero, is an
    /// error at the start. After a crash, other workers wait this long before they take over.
    pub fn lease(mut self, lease: impl IntoDuration) -> Self {
        self.config.lease = self.duration(lease, LEASE);
        self
    }

    /// Sets how often leases are renewed; the default is a third of the lease, the maximum is half of it, and the
    /// minimum is 1 ms.
    ///
    /// A failed renewal is retried until the lease expires. The work under an expired lease is stopped at its next
    /// pending `.await`, because another worker may have claimed it.
    pub fn heartbeat(mut self, heartbeat: impl IntoDuration) -> Self {
        let heartbeat = self.duration(heartbeat, LEASE / 3);
        self.config.heartbeat = Some(heartbeat);
        self
    }

    /// Sets how long a drain waits for running turns before it releases their tasks; the default is 30 s. Zero
    /// means no limit: the drain waits until every turn has reached a wait or its end, and until the results are
    /// committed.
    pub fn grace(mut self, grace: impl IntoTimeout) -> Self {
        self.config.grace = grace.into_timeout().unwrap_or_else(|error| {
            self.invalid.get_or_insert(error.into());
            Some(GRACE)
        });
        self
    }

    /// Makes a drain release running tasks at once, as [`Worker::stop`] does.
    pub const fn no_grace(mut self) -> Self {
        self.config.grace = Some(Duration::ZERO);
        self
    }

    /// Limits the sticky cache: how many parked functions stay in memory; the default is 10,000. Other functions are
    /// replayed when they continue. Functions that await non-durable work do not count: see the guide's page on
    /// observability.
    pub const fn cache(mut self, functions: usize) -> Self {
        self.config.cache = functions;
        self
    }

    /// Sets the longest pause between polls of the store for work, whether or not hints arrive. The default is that of
    /// [`StentBuilder::poll`](crate::StentBuilder::poll), 2 s; the minimum is 1 ms.
    pub fn poll_max(mut self, pause: impl IntoDuration) -> Self {
        let max = self.duration(pause, self.config.poll.max);
        self.config.poll = self.config.poll.with_max(max);
        self
    }

    /// Sets how often the worker polls the store for work when no hints arrive; the default is that of
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

    /// Starts the worker. The worker may not have reached the store yet when this returns: see
    /// [`Worker::wait_until_ready`].
    ///
    /// # Errors
    /// An option is invalid, or a registered function needs a state that was not provided.
    pub async fn start(mut self) -> Result<Worker> {
        if let Some(error) = self.invalid {
            return Err(error);
        }
        let pump = self.config.validated()?;
        for function in self.engine.registry.functions() {
            for need in self.engine.registry.needs(function) {
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
        tracing::info!(worker = %id, name = vitals.name(), "worker started");
        let (engine, fleet, config) = (self.engine, self.fleet, self.config);
        let living = vitals.clone();
        let start = move || {
            if let Some(runs) = &engine.runs {
                runs.starts();
            }
            let presence = Presence::begin(&engine, &living, &config);
            (Driver::new(report.clone(), engine.clone(), fleet.clone(), config.clone(), pump), presence)
        };
        let driver = match self.switch {
            Some(switch) => tokio::spawn(crash::run(switch, vitals.clone(), start)),
            None => {
                let (driver, presence) = start();
                tokio::spawn(drive::run(driver, presence))
            }
        };
        Ok(Worker::new(vitals, driver))
    }

    /// Lets a test kill the worker.
    pub(crate) fn killed_by(mut self, switch: Arc<Switch>) -> Self {
        self.switch = Some(switch);
        self
    }

    /// Reports more often, so that a test need not wait.
    #[cfg(test)]
    pub(super) const fn report(mut self, every: Duration) -> Self {
        self.config.report = every;
        self
    }
}
