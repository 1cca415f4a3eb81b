//! The store as the rest of a process uses it: one writer, one router for waits, one clock, one codec. Knows no code of
//! durable functions, no worker and no handle.

pub(crate) mod ambient;
pub(crate) mod call_timeout;
pub(crate) mod clock;
pub(crate) mod completions;
pub(crate) mod connect;
pub(crate) mod expire;
pub(crate) mod hints;
pub(crate) mod hooks;
pub(crate) mod ids;
pub(crate) mod lanes;
pub(crate) mod poll;
pub(crate) mod rides;
pub(crate) mod runs;
pub(crate) mod skip;
pub(crate) mod transform;
pub(crate) mod waiters;
pub(crate) mod writer;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stent_core::backend::{Error as StoreError, ErrorKind, LaneView, Store, Transactions};
use stent_core::limits::LANES_MAX;
use stent_core::model::TaskResult;
use stent_core::transition::{Outcome, Transition};
use stent_core::{Codec, CodecError, Failure, Payload};

use crate::engine::call_timeout::CallTimeout;
use crate::engine::clock::{Calibrator, Clock, ClockOptions};
use crate::engine::completions::Completions;
use crate::engine::expire::expire;
use crate::engine::hints::{HintOptions, OutageReport};
use crate::engine::hooks::Hooks;
use crate::engine::lanes::LaneSampler;
use crate::engine::poll::{PollOptions, check_interval};
use crate::engine::rides::Rides;
use crate::engine::runs::Runs;
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
    /// The type of the store that the application opened, for messages.
    store_type: &'static str,
    pub(crate) registry: Arc<Registry>,
    pub(crate) codec: Codec,
    pub(crate) clock: Arc<Clock>,
    pub(crate) payload_max: usize,
    /// Whether payloads are, or may be, transformed on their way to the store.
    pub(crate) is_sealed: bool,
    pub(crate) writer: Writer,
    pub(crate) rides: Arc<Rides>,
    pub(crate) waiters: Waiters,
    pub(crate) completions: Completions,
    pub(crate) poll: PollOptions,
    pub(crate) call_timeout: CallTimeout,
    pub(crate) hooks: Hooks,
    /// The runs of steps, in a strict test.
    pub(crate) runs: Option<Arc<Runs>>,
    _calibrator: Calibrator,
    _outages: Option<OutageReport>,
    _lanes: Option<LaneSampler>,
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
    pub(crate) hints: Option<HintOptions>,
    /// How often to report the waiting work; `None` for not at all.
    pub(crate) sample_lanes: Option<Duration>,
    /// Whether the schema is migrated.
    pub(crate) migrate: bool,
    pub(crate) runs: Option<Arc<Runs>>,
}

impl Engine {
    /// Migrates the store's schema and starts the background tasks.
    ///
    /// # Errors
    /// An option is invalid, two functions have the same name, or the store fails.
    pub(crate) async fn open(store: Arc<dyn Store>, options: EngineOptions) -> Result<Arc<Self>> {
        let EngineOptions {
            registry,
            codec,
            payload_max,
            poll,
            hooks,
            clock,
            transforms,
            hints,
            sample_lanes,
            migrate,
            runs,
        } = options;
        let poll = poll.validated()?;
        if let Some(every) = sample_lanes {
            check_interval("sample_lanes", every, "15 s is typical")?;
        }
        check_interval("clock_check", clock.check_every, "a minute is typical")?;
        let is_sealed = !transforms.is_empty();
        let store_type = (*store).type_name();
        let store = transforms.in_front_of(store)?;
        let registry = registry.unwrap_or_else(Registry::linked).validated()?;
        if !migrate {
            check_schema(&*store).await?;
        }
        // Writes nothing if the schema is current, and fails if it is newer.
        store.migrate().await?;
        let call_timeout = clock.call_timeout;
        let clock = Arc::new(Clock::new(clock));
        clock.calibrate(&*store, &hooks).await?;
        // Last, because nothing after it fails: a channel is for one store.
        let store = match &hints {
            Some(hints) => hints.in_front_of(store)?,
            None => store,
        };
        let rides = Arc::<Rides>::default();
        Ok(Arc::new(Self {
            writer: Writer::start(store.clone(), clock.clone(), call_timeout, hooks.clone(), rides.clone()),
            rides,
            waiters: Waiters::start(store.clone(), clock.clone(), poll, call_timeout),
            completions: Completions::default(),
            _calibrator: Calibrator::start(&clock, &store, hooks.clone()),
            _outages: hints.map(|hints| hints.report(hooks.clone())),
            _lanes: sample_lanes
                .map(|every| LaneSampler::start(&store, clock.clone(), call_timeout, hooks.clone(), every)),
            store,
            store_type,
            registry,
            codec,
            clock,
            payload_max,
            is_sealed,
            poll,
            call_timeout,
            hooks,
            runs,
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

    /// The error of a store without transactions.
    pub(crate) fn no_transactions(&self) -> Error {
        Error::NoTransactions { store: self.store_type, kind: self.store.info().name }
    }

    /// The store's transactions, for applications that have tables in its database.
    ///
    /// # Errors
    /// [`Error::NoTransactions`].
    pub(crate) fn transactions(&self) -> Result<&dyn Transactions> {
        self.store.transactions().ok_or_else(|| self.no_transactions())
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
                    self.hooks.store_failed(&error);
                    tracing::debug!(%error, "retrying a read");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                answer => return answer.inspect_err(|error| self.hooks.store_failed(error)),
            }
        }
        let answer = self.call_timeout.bound("read", read()).await;
        answer.inspect_err(|error| self.hooks.store_failed(error))
    }
}

/// Fails if the schema would have to be migrated.
async fn check_schema(store: &dyn Store) -> stent_core::backend::Result<()> {
    let version = store.version().await?;
    let problem = match (version.applied, version.known) {
        (applied, known) if applied >= known => return Ok(()),
        (0, _) => "has no tables of Stent".to_owned(),
        (applied, known) => format!("has {applied} of the {known} migrations that this program needs"),
    };
    let location = store.info().location;
    Err(StoreError::new(ErrorKind::Schema, "open").with_message(format!(
        "the store {location} {problem}, and this program was told not to migrate it; migrate it first, with \
         `stent migrate` or a program that does"
    )))
}
