//! Group commit for callers: dispatches that arrive while a batch is being written share the next batch. Writes within
//! the caller's own transaction bypass it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stent_core::backend::{Error as StoreError, ErrorKind, HostTransaction, Store};
use stent_core::limits::{EXCHANGE_BYTES_MAX, EXCHANGE_ROWS_MAX, EXCHANGE_TRANSITIONS_MAX};
use stent_core::transition::{Outcome, Transition};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::engine::call_timeout::CallTimeout;
use crate::engine::clock::Clock;
use crate::engine::hooks::Hooks;
use crate::engine::rides::Rides;
use crate::error::{Error, Result};

/// How long a failed write is retried before the caller gets the error. A write that the store cannot hold is not
/// retried.
const RETRY_FOR: Duration = Duration::from_secs(5);
/// How long no write may fail until an outage is over. A write that succeeds may be one of few that do.
const CALM: Duration = Duration::from_secs(5);
/// Minimum number of attempts while other transactions hold the needed locks. SQLite itself waits for its write lock,
/// five seconds unless `busy_timeout` is set, and another writer may hold it that long.
const CONTENDED_ATTEMPTS_MIN: u32 = 3;
/// First pause between attempts, doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// Longest such pause, because a caller is waiting.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// After this many failures that say nothing about its content, a unit is split in halves all the same.
const FAILURES_MAX: u32 = 3;
/// Most writes that are retried concurrently with the others, each in an exchange of its own. Further ones hold the
/// others up.
const STRAGGLERS_MAX: usize = 16;

/// The route of a write to the store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way<'t> {
    /// Immediately, together with other writes.
    Grouped,
    /// As part of the caller's transaction, which decides whether it takes effect.
    #[cfg_attr(not(feature = "sql"), expect(dead_code, reason = "no backend with transactions is built in"))]
    Within(&'t HostTransaction),
}

type Reply = oneshot::Sender<Result<Outcome, Arc<StoreError>>>;
type Request = (Transition, Reply);

/// The write side of one `Stent`.
#[derive(Debug)]
pub(crate) struct Writer {
    requests: mpsc::Sender<Request>,
}

impl Writer {
    pub(crate) fn start(
        store: Arc<dyn Store>,
        clock: Arc<Clock>,
        call_timeout: CallTimeout,
        hooks: Hooks,
        rides: Arc<Rides>,
    ) -> Self {
        // Further callers wait for room: the writer takes a whole batch at a time.
        let (requests, inbox) = mpsc::channel(2 * EXCHANGE_TRANSITIONS_MAX);
        let sender = Sender { store, clock, call_timeout, hooks, rides, outage: Arc::default() };
        tokio::spawn(write_batches(Arc::new(sender), inbox));
        Self { requests }
    }

    /// Writes one transition, in one batch with other waiting writes.
    pub(crate) async fn write(&self, transition: Transition) -> Result<Outcome> {
        let (reply, answer) = oneshot::channel();
        self.requests.send((transition, reply)).await.map_err(|_| Error::RuntimeEnded)?;
        answer.await.map_err(|_| Error::RuntimeEnded)?.map_err(shared_error)
    }

    /// Writes many transitions.
    pub(crate) async fn write_all(&self, transitions: Vec<Transition>) -> Result<Vec<Outcome>> {
        let mut answers = Vec::with_capacity(transitions.len());
        for transition in transitions {
            let (reply, answer) = oneshot::channel();
            self.requests.send((transition, reply)).await.map_err(|_| Error::RuntimeEnded)?;
            answers.push(answer);
        }
        let mut outcomes = Vec::with_capacity(answers.len());
        for answer in answers {
            outcomes.push(answer.await.map_err(|_| Error::RuntimeEnded)?.map_err(shared_error)?);
        }
        Ok(outcomes)
    }
}

/// What the log says of the store's availability. A store that fails now and then, while other writes succeed, has one outage.
#[derive(Debug, Default)]
struct Outage(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Whether the log says that the store is unavailable.
    is_out: bool,
    /// Whether a write has succeeded, and a task waits whether another one fails.
    is_ending: bool,
    /// Whether a write has failed since the task began to wait.
    has_failed: bool,
}

impl Outage {
    /// A write has failed. Whether this is a new outage.
    fn begins(&self) -> bool {
        let mut state = self.state();
        state.has_failed = true;
        !std::mem::replace(&mut state.is_out, true)
    }

    /// A write has succeeded. Whether somebody should wait now until the outage is over.
    fn ends(&self) -> bool {
        let mut state = self.state();
        let is_first = state.is_out && !state.is_ending;
        if is_first {
            (state.is_ending, state.has_failed) = (true, true);
        }
        is_first
    }

    /// Whether nothing has failed since the last call, so that the outage is over, which is logged.
    fn is_over(&self, store: &str) -> bool {
        let mut state = self.state();
        if std::mem::take(&mut state.has_failed) {
            return false;
        }
        *state = State::default();
        tracing::info!(%store, "the store {store} accepts dispatches and requests again");
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends units to the store.
struct Sender {
    store: Arc<dyn Store>,
    clock: Arc<Clock>,
    call_timeout: CallTimeout,
    hooks: Hooks,
    /// Claims that dispatches take along.
    rides: Arc<Rides>,
    outage: Arc<Outage>,
}

impl Sender {
    fn answered(&self) {
        if self.outage.ends() {
            let (outage, store) = (Arc::clone(&self.outage), self.store.info().location);
            tokio::spawn(async move {
                while !outage.is_over(&store) {
                    tokio::time::sleep(CALM).await;
                }
            });
        }
    }

    /// Logs one warning for each outage, and otherwise one for each unit.
    fn failed(&self, error: &StoreError, attempts: u32) {
        let store = self.store.info().location;
        let is_new = match error.kind() {
            ErrorKind::Unavailable => self.outage.begins(),
            _ => attempts == 1,
        };
        if !is_new {
            tracing::debug!(%store, %error, attempts, "retrying a write");
            return;
        }
        tracing::warn!(
            %store,
            %error,
            "the store {store} does not accept dispatches and requests ({error}); they are retried for five seconds, and \
             then fail with this error"
        );
    }
}

async fn write_batches(sender: Arc<Sender>, mut inbox: mpsc::Receiver<Request>) {
    let stragglers = Arc::new(Semaphore::new(STRAGGLERS_MAX));
    let mut requests = Vec::with_capacity(EXCHANGE_TRANSITIONS_MAX);
    while inbox.recv_many(&mut requests, EXCHANGE_TRANSITIONS_MAX).await > 0 {
        let mut units = in_units(requests.drain(..));
        while let Some(unit) = units.pop_front() {
            match write(&sender, unit).await {
                Left::Nothing => {}
                Left::Halves(first, second) => {
                    units.push_front(second);
                    units.push_front(first);
                }
                Left::Straggler(unit) => match stragglers.clone().try_acquire_owned() {
                    // The others need not wait for the locks that this unit waits for.
                    Ok(permit) => {
                        let sender = sender.clone();
                        tokio::spawn(async move {
                            persist(&sender, unit).await;
                            drop(permit);
                        });
                    }
                    Err(_) => persist(&sender, unit).await,
                },
            }
        }
    }
}

/// Groups requests into units, in order, each as large as an exchange allows.
fn in_units(requests: impl Iterator<Item = Request>) -> VecDeque<Unit> {
    let mut units = VecDeque::new();
    let (mut unit, mut rows, mut bytes) = (Unit::default(), 0, 0);
    for (transition, reply) in requests {
        let (more, size) = (1 + transition.rows().len(), transition.bytes());
        if !unit.replies.is_empty() && (rows + more > EXCHANGE_ROWS_MAX || bytes + size > EXCHANGE_BYTES_MAX)
        {
            units.push_back(std::mem::take(&mut unit));
            (rows, bytes) = (0, 0);
        }
        rows += more;
        bytes += size;
        unit.transitions.push(transition);
        unit.replies.push(reply);
    }
    units.extend((!unit.replies.is_empty()).then_some(unit));
    units
}

/// Transitions that share an exchange, and the callers that wait for them.
#[derive(Default)]
struct Unit {
    transitions: Vec<Transition>,
    replies: Vec<Reply>,
    /// When to give up on it, once it was sent.
    until: Option<Instant>,
    /// How often it was sent, alone or as part of a larger unit.
    attempts: u32,
}

/// The remaining work for a unit.
enum Left {
    /// None: every caller has its answer.
    Nothing,
    /// One part blocks the rest: send each half by itself.
    Halves(Unit, Unit),
    /// Retry this single request by itself, perhaps for a while.
    Straggler(Unit),
}

impl Unit {
    fn answer(self, outcomes: Vec<Outcome>) {
        for (reply, outcome) in self.replies.into_iter().zip(outcomes) {
            // A caller that is gone does not need the answer.
            let _ = reply.send(Ok(outcome));
        }
    }

    fn fail(self, error: StoreError) {
        let error = Arc::new(error);
        for reply in self.replies {
            let _ = reply.send(Err(error.clone()));
        }
    }

    fn halves(mut self) -> (Self, Self) {
        let half = self.replies.len() / 2;
        let transitions = self.transitions.split_off(half);
        let replies = self.replies.split_off(half);
        let second = Self { transitions, replies, until: self.until, attempts: self.attempts };
        (self, second)
    }
}

/// Writes a unit, and sends it again while its fate is unknown or may change: repeating a transition has no effect. In
/// the end, an error that one part may have caused reaches only that part's caller.
async fn write(sender: &Sender, mut unit: Unit) -> Left {
    let Sender { store, clock, call_timeout, hooks, rides, .. } = sender;
    let until = *unit.until.get_or_insert_with(|| Instant::now() + RETRY_FOR);
    let mut pause = PAUSE_MIN;
    let mut failures = 0;
    loop {
        let (sent_at, sent) = (clock.now(), Instant::now());
        // A repeat goes alone, so that a failure can only be its own.
        let ride = if unit.attempts == 0 { rides.take(&unit.transitions, sent_at) } else { None };
        let claim = ride.as_ref().map(|ride| ride.request(sent_at));
        let exchange = store.exchange(&unit.transitions, claim.as_ref());
        let error = match call_timeout.bound("exchange", exchange).await {
            Ok(mut exchanged) => {
                sender.answered();
                // The callers first: they may wait for what the worker is about to do.
                unit.answer(std::mem::take(&mut exchanged.outcomes));
                if let Some(ride) = ride {
                    ride.ends(sent.elapsed(), Some(exchanged));
                }
                return Left::Nothing;
            }
            Err(error) => error,
        };
        if let Some(ride) = ride {
            ride.ends(sent.elapsed(), None);
        }
        hooks.store_failed(&error);
        failures += 1;
        let is_one = unit.replies.len() == 1;
        unit.attempts += 1;
        // A single call may last longer than `RETRY_FOR`: the store may be silent, or another writer may hold its write
        // lock.
        let attempts_min = match error.kind() {
            ErrorKind::Unavailable => 2,
            ErrorKind::Contended => CONTENDED_ATTEMPTS_MIN,
            _ => 1,
        };
        let is_late = Instant::now() >= until;
        let is_over = is_late && unit.attempts >= attempts_min;
        let splits = match error.kind() {
            ErrorKind::Limit | ErrorKind::Corrupt => true,
            // In a store with a single writer, no other write could proceed during that time.
            ErrorKind::Contended => store.info().parallel || !is_late,
            // A server that crashes because of a unit also appears as unavailable.
            _ => failures % FAILURES_MAX == 0,
        };
        match error.kind() {
            ErrorKind::Closed => {
                unit.fail(error);
                return Left::Nothing;
            }
            ErrorKind::Limit if is_one => {
                unit.fail(error);
                return Left::Nothing;
            }
            _ if splits && !is_one => {
                tracing::debug!(%error, writes = unit.replies.len(), "retrying a write in two halves");
                let (first, second) = unit.halves();
                return Left::Halves(first, second);
            }
            _ if is_over => {
                sender.failed(&error, unit.attempts);
                unit.fail(error);
                return Left::Nothing;
            }
            _ => sender.failed(&error, unit.attempts),
        }
        if splits {
            return Left::Straggler(unit);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Retries a request that failed alone until it is written or its time is over.
async fn persist(sender: &Sender, mut unit: Unit) {
    let mut pause = PAUSE_MIN;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
        match write(sender, unit).await {
            Left::Straggler(left) => unit = left,
            Left::Nothing | Left::Halves(..) => return,
        }
    }
}

/// One error for each caller that shared a batch.
fn shared_error(error: Arc<StoreError>) -> Error {
    Error::Store(Arc::try_unwrap(error).unwrap_or_else(|error| {
        let kind: ErrorKind = error.kind();
        StoreError::new(kind, "exchange").with_message(format!("{error:#}")).with_source(error)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_that_succeed_now_and_then_do_not_end_an_outage() {
        let outage = Outage::default();
        assert!(!outage.ends(), "there is none");
        assert!(outage.begins(), "it is told");
        assert!(!outage.begins());

        assert!(outage.ends(), "a write has succeeded: somebody waits");
        assert!(!outage.is_over("store"), "the wait begins");
        assert!(!outage.begins(), "another write has failed: it is the same outage");
        assert!(!outage.ends(), "somebody waits already");
        assert!(!outage.is_over("store"), "something has failed since");
        assert!(outage.is_over("store"));

        assert!(!outage.ends() && outage.begins(), "the next one is told again");
    }
}
