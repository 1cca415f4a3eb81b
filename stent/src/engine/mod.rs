//! The store as the rest of a process uses it: one writer, one router for waits, one clock, one codec. Knows no code of
//! durable functions, no worker and no handle.

pub(crate) mod ambient;
pub(crate) mod call_timeout;
pub(crate) mod clock;
pub(crate) mod completions;
pub(crate) mod connect;
pub(crate) mod expire;
pub(crate) mod hooks;
pub(crate) mod ids;
pub(crate) mod poll;
pub(crate) mod transform;
pub(crate) mod waiters;
pub(crate) mod writer;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stent_core::backend::{LaneView, Store, Transactions};
use stent_core::limits::LANES_MAX;
use stent_core::model::TaskResult;
use stent_core::transition::{Outcome, Transition};
use stent_core::{Codec, CodecError, Failure, Payload};

use crate::engine::call_timeout::CallTimeout;
use crate::engine::clock::{Calibrator, Clock, ClockOptions};
use crate::engine::completions::Completions;
use crate::engine::expire::expire;
use crate::engine::hooks::Hooks;
use crate::engine::poll::{PollOptions, check_interval};
use crate::engine::transform::Transforms;
use crate::engine::waiters::Waiters;
use crate::engine::writer::{Way, Writer};
use crate::error::{Error, Result};
use crate::function::registry::Registry;
use crate::function::values::{check_size, fit_output};

/// How often a read is retried. Pauses start at 10 ms and double, so seven retries take about a second and a half in
/// all.
const READ_RETRIES: u32 = 7;

/// The store of one `Stent`, and everything that reads it, writes to it and listens to it.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) codec: Codec,
    pub(crate) clock: Arc<Clock>,
    pub(crate) payload_max: usize,
    /// Whether payloads are, or may be, transformed on their way to the store.
    pub(crate) is_sealed: bool,
    pub(crate) writer: Writer,
    pub(crate) waiters: Waiters,
    pub(crate) completions: Completions,
    pub(crate) poll: PollOptions,
    pub(crate) call_timeout: CallTimeout,
    pub(crate) hooks: Hooks,
    _calibrator: Calibrator,
}

/// Options of an engine.
#[derive(Debug)]
pub(crate) struct EngineOptions {
    /// The registry; `None` means every function that is linked into the program.
    pub(crate) registry: Option<Registry>,
    pub(crate) codec: Codec,
    pub(crate) payload_max: usize,
    pub(crate) poll: PollOptions,
    pub(crate) hooks: Hooks,
    pub(crate) clock: ClockOptions,
    pub(crate) transforms: Transforms,
}

impl Engine {
    /// Migrates the store's schema and starts the background tasks.
    ///
    /// # Errors
    /// An option is invalid, two functions have the same name, or the store fails.
    pub(crate) async fn open(store: Arc<dyn Store>, options: EngineOptions) -> Result<Arc<Self>> {
        let EngineOptions { registry, codec, payload_max, poll, hooks, clock, transforms } = options;
        let poll = poll.validated()?;
        check_interval("clock_check", clock.check_every, "a minute is typical")?;
        let is_sealed = !transforms.is_empty();
        let store = transforms.in_front_of(store)?;
        let registry = registry.unwrap_or_else(Registry::linked).validated()?;
        store.migrate().await?;
        let call_timeout = clock.call_timeout;
        let clock = Arc::new(Clock::new(clock));
        clock.calibrate(&*store, &hooks).await?;
        Ok(Arc::new(Self {
            writer: Writer::start(store.clone(), call_timeout),
            waiters: Waiters::start(store.clone(), clock.clone(), poll, call_timeout),
            completions: Completions::default(),
            _calibrator: Calibrator::start(&clock, &store, hooks.clone()),
            store,
            registry,
            codec,
            clock,
            payload_max,
            is_sealed,
            poll,
            call_timeout,
            hooks,
        }))
    }

    /// Encodes a value and checks it against the limits.
    pub(crate) fn encode<T: Serialize + DeserializeOwned>(
        &self,
        value: &T,
        what: impl Fn() -> String,
    ) -> Result<Payload> {
        self.encoded(self.codec.encode(value), what)
    }

    /// As [`encode`](Self::encode), for a value whose reader uses a type that is not known here.
    pub(crate) fn encode_for_any<T: Serialize>(
        &self,
        value: &T,
        what: impl Fn() -> String,
    ) -> Result<Payload> {
        self.encoded(self.codec.encode_for_any(value), what)
    }

    fn encoded(
        &self,
        payload: std::result::Result<Payload, CodecError>,
        what: impl Fn() -> String,
    ) -> Result<Payload> {
        let payload = payload.map_err(|source| Error::Codec { what: what(), source })?;
        check_size(&payload, self.payload_max, &what)?;
        Ok(payload)
    }

    /// Checks a result against the limits: a value that is too large becomes a failure, and a failure that is too large
    /// is truncated.
    pub(crate) fn checked(&self, name: &str, result: TaskResult) -> TaskResult {
        let payload = result.map_err(|failure| self.storable(failure))?;
        fit_output(name, payload, self.payload_max)
    }

    /// A failure as the store can hold it. The code sees it in the form in which it will be read again.
    pub(crate) fn storable(&self, mut failure: Failure) -> Failure {
        let large = failure.data.take_if(|data| data.len() > self.payload_max);
        let mut failure = failure.storable();
        if let Some(data) = large {
            let (len, max) = (data.len(), self.payload_max);
            failure
                .causes
                .push(format!("… its value was omitted: it is {len} bytes long, and the limit is {max}"));
        }
        failure
    }

    /// Writes one transition.
    pub(crate) async fn write(&self, way: Way<'_>, transition: Transition) -> Result<Outcome> {
        match way {
            Way::Grouped => {
                ambient::check_not_within(&self.store)?;
                self.writer.write(transition).await
            }
            Way::Within(transaction) => {
                let transition = [transition];
                let write = self.transactions()?.exchange_within(transaction, &transition);
                let outcomes = ambient::written_within(write).await?;
                outcomes.into_iter().next().ok_or(Error::Closed)
            }
        }
    }

    /// Writes many transitions.
    pub(crate) async fn write_all(&self, way: Way<'_>, transitions: Vec<Transition>) -> Result<Vec<Outcome>> {
        match way {
            Way::Grouped => {
                ambient::check_not_within(&self.store)?;
                self.writer.write_all(transitions).await
            }
            Way::Within(transaction) => {
                let write = self.transactions()?.exchange_within(transaction, &transitions);
                Ok(ambient::written_within(write).await?)
            }
        }
    }

    /// The store's transactions, for applications that have tables in its database.
    ///
    /// # Errors
    /// [`Error::NoTransactions`].
    pub(crate) fn transactions(&self) -> Result<&dyn Transactions> {
        let none = || Error::NoTransactions { store: self.store.info().name };
        self.store.transactions().ok_or_else(none)
    }

    /// Lanes with due work whose function is not registered here.
    pub(crate) async fn unknown_work(&self) -> stent_core::backend::Result<Vec<LaneView>> {
        let now = self.clock.now();
        let mut lanes = self.retrying(|| self.store.lanes(now, LANES_MAX)).await?;
        lanes.retain(|view| view.due > 0 && self.registry.get(&view.lane.function).is_err());
        Ok(lanes)
    }

    /// Ends all tasks in the store whose deadline has passed, whichever process they belong to.
    pub(crate) async fn expire(&self) -> stent_core::backend::Result<()> {
        expire(&*self.store, self.clock.now()).await
    }

    /// Reads, and retries while the store is contended or briefly unavailable.
    pub(crate) async fn retrying<T, Fut>(&self, read: impl Fn() -> Fut) -> stent_core::backend::Result<T>
    where
        Fut: Future<Output = stent_core::backend::Result<T>>,
    {
        let mut pause = Duration::from_millis(10);
        for _ in 0..READ_RETRIES {
            match self.call_timeout.bound("read", read()).await {
                Err(error) if error.is_transient() => {
                    tracing::debug!(%error, "retrying a read");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                answer => return answer,
            }
        }
        self.call_timeout.bound("read", read()).await
    }
}
