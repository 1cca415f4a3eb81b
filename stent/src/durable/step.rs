//! Inline steps: closures that run in the function itself, and whose results are recorded.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stent_core::duration::{DurationError, IntoTimeout};
use stent_core::limits::{NAME_BYTES_MAX, PAYLOAD_BYTES_MAX};
use stent_core::model::{RetryPolicy, Seq, StepKind, TaskResult};
use stent_core::replay::{Ask, StepSpec};
use stent_core::{Codec, ExecutionId, Failure, TaskId, Timestamp, own_failure};

use crate::durable::closure::StepClosure;
use crate::durable::context::{Context, Durable, Pending};
use crate::durable::position::{Entered, Position, Reserved};
use crate::durable::progress::polled_after_completion;
use crate::error::{Error, Result};
use crate::function::panics::catch_panic;
use crate::function::values::{decode_result, encode_output, encode_result, fit_output};
use crate::names::check_name;

/// Runs a closure once and records its result: a step without a function of its own.
///
/// The closure may borrow. It runs within the function that contains it, on the same worker. Its result is recorded before
/// the code continues, and a closure whose result is recorded never runs again; if the process dies before that, the
/// closure runs again. The closure returns a `Result`, or the value itself if it cannot fail: see [`Plain`].
///
/// A failure is recorded, too. With a [retry policy](Step::retry), a failed step is retried first; with a
/// [timeout](Step::timeout), each attempt has a time limit.
///
/// A replay does not run the closure, so durable calls, sleeps, signals, maps, spawns and other steps in it fail with
/// [`Error::InStep`](crate::Error::InStep), even if they are built in the closure and awaited after it.
/// [`uuid`](crate::uuid()) and [`random`](crate::random()) draw from a stream of the step, and notes that the closure
/// writes to the [`execution`](crate::execution()) belong to the step.
///
/// Inside `select!`, a step that loses is dropped at its current `await`, and may start again when the code is
/// replayed.
///
/// ```
/// # use stent::prelude::*;
/// # use stent::RetryPolicy;
/// # async fn fetch(_: &str) -> Result<u64, std::io::Error> { Ok(3) }
/// #[durable]
/// async fn invoice(cents: Vec<u64>) -> Result<u64, stent::Error> {
///     let total = stent::step("total", || async { cents.iter().sum::<u64>() }).await?;
///     let rate = stent::step("rate", || fetch("https://example.com/rate"))
///         .retry(RetryPolicy::default())
///         .timeout("10s")
///         .await?;
///     Ok(total * rate)
/// }
/// ```
///
/// # Errors
/// The closure's error, as [`Error::Failed`](crate::Error::Failed);
/// [`Error::OutsideDurable`](crate::Error::OutsideDurable) outside a durable function.
#[track_caller]
pub fn step<F, Fut, T>(name: impl Into<String>, body: F) -> Step<F, Fut, T>
where
    F: FnOnce() -> Fut,
    Fut: Future,
    Fut::Output: StepOutput<T>,
    T: Serialize + DeserializeOwned,
{
    Step {
        name: name.into(),
        body: Some(body),
        call: |body| body(),
        retries: None,
        timeout: Ok(None),
        position: Position::here(),
        state: StepState::Built,
        location: Location::caller(),
        value: PhantomData,
    }
}

/// The return type of a step's closure: a `Result`, or a [plain](Plain) value.
#[diagnostic::on_unimplemented(
    message = "the closure of a step cannot return `{Self}`",
    label = "this closure returns `{Self}`",
    note = "a `Result` needs a value that serde can encode and decode, and an error that converts to a \
            `Box<dyn std::error::Error + Send + Sync>`",
    note = "a value that stands for no failure has to be `stent::Plain`: for a type of this crate, write \
            `impl stent::Plain for {Self} {{}}`",
    note = "for a type of another crate, return a `Result`: `Ok::<_, std::convert::Infallible>(value)`"
)]
pub trait StepOutput<T> {
    /// The value or the failure, encoded.
    #[doc(hidden)]
    fn encoded(self, step: &str, codec: Codec) -> TaskResult;
}

impl<T, E> StepOutput<T> for Result<T, E>
where
    T: Serialize + DeserializeOwned,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    fn encoded(self, step: &str, codec: Codec) -> TaskResult {
        encode_result(step, codec, self)
    }
}

impl<T: Plain> StepOutput<T> for T {
    fn encoded(self, step: &str, codec: Codec) -> TaskResult {
        encode_output(step, codec, &self)
    }
}

/// A value that the closure of a [`step`] returns as it is, because the closure cannot fail. Numbers, texts, `()`, collections,
/// tuples and Stent's own ids and times are plain. Implement it for a type of your own with an empty block:
///
/// ```
/// # use stent::prelude::*;
/// # use serde::{Deserialize, Serialize};
/// #[derive(Serialize, Deserialize)]
/// struct Summary {
///     lines: usize,
/// }
///
/// impl stent::Plain for Summary {}
///
/// #[durable]
/// async fn summarize(text: String) -> Result<usize, stent::Error> {
///     let summary = stent::step("summary", || async { Summary { lines: text.lines().count() } }).await?;
///     Ok(summary.lines)
/// }
/// ```
///
/// The closure returns a type of another crate as `Ok::<_, std::convert::Infallible>(value)`, because only the crate of a type
/// can say that it is plain.
#[diagnostic::on_unimplemented(
    message = "the closure of a step cannot return `{Self}` as it is",
    note = "for a type of this crate, write `impl stent::Plain for {Self} {{}}`",
    note = "for a type of another crate, return a `Result`: `Ok::<_, std::convert::Infallible>(value)`"
)]
pub trait Plain: Serialize + DeserializeOwned {}

macro_rules! plain {
    ($($ty:ty),*) => { $(impl Plain for $ty {})* };
    (of $($name:ident)*) => {
        impl<$($name: Serialize + DeserializeOwned),*> Plain for ($($name,)*) {}
    };
}

plain!(bool, char, f32, f64, i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize, (), String);
plain!(Duration, ExecutionId, TaskId, Timestamp, uuid::Uuid, serde_json::Value);
plain!(of A);
plain!(of A B);
plain!(of A B C);
plain!(of A B C D);
plain!(of A B C D E);
plain!(of A B C D E G);

impl<T: Serialize + DeserializeOwned> Plain for Option<T> {}
impl<T: Serialize + DeserializeOwned> Plain for Vec<T> {}
impl<T: Serialize + DeserializeOwned> Plain for Box<T> {}
impl<T: Serialize + DeserializeOwned + Ord> Plain for BTreeSet<T> {}
impl<K: Serialize + DeserializeOwned + Ord, V: Serialize + DeserializeOwned> Plain for BTreeMap<K, V> {}
impl<K, V, S> Plain for HashMap<K, V, S>
where
    K: Serialize + DeserializeOwned + Eq + Hash,
    V: Serialize + DeserializeOwned,
    S: BuildHasher + Default,
{
}

/// An inline step: see [`step`].
#[must_use = "futures do nothing unless awaited"]
pub struct Step<F, Fut, T> {
    name: String,
    /// The closure. The only attempt takes it, or each attempt clones it.
    body: Option<F>,
    /// Calls the closure. A trait bound instead of this function pointer would keep `join!` of steps that borrow from
    /// compiling.
    call: fn(F) -> Fut,
    retries: Option<Retries<F>>,
    timeout: Result<Option<Duration>, DurationError>,
    position: Position,
    state: StepState<Fut>,
    location: &'static Location<'static>,
    value: PhantomData<fn() -> T>,
}

/// The retries of a step. The delay before each retry is a durable sleep, so the record shows how many attempts failed,
/// and a long delay holds no worker. Of the failures, only the last one is recorded, as the step's result.
struct Retries<F> {
    policy: RetryPolicy,
    /// Clones the closure for the next attempt.
    again: fn(&F) -> F,
    /// The position of the next delay. The first position is taken when the step is built, each further one when the delay
    /// before it is over, so all positions are the same in every run.
    next: Option<(Arc<Durable>, Seq)>,
    /// The delays of this step: one for each failed attempt.
    waits: Vec<TaskId>,
}

enum StepState<Fut> {
    Built,
    /// In a unit test, the closure runs without a request to the replay.
    Running {
        body: Pin<Box<Fut>>,
        step: Arc<StepClosure>,
        asked: Option<Asked>,
        limit: Option<Pin<Box<tokio::time::Sleep>>>,
    },
    /// The closure begins when everything that the code has seen is recorded.
    Held(Asked),
    /// An attempt has failed, and the next one is delayed.
    Waiting {
        wait: Pending,
        place: Place,
    },
    Recorded(Pending),
    Done,
}

/// The position of a step in its function. Its id is the same in all attempts.
#[derive(Clone)]
struct Place {
    durable: Arc<Durable>,
    seq: Seq,
    id: TaskId,
}

struct Asked {
    pending: Pending,
    place: Place,
}

impl<F, Fut, T> Unpin for Step<F, Fut, T> {}

impl<F, Fut, T> fmt::Debug for Step<F, Fut, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<F, Fut, T> Step<F, Fut, T> {
    /// Retries the closure by this policy if it fails or panics. Without a policy, a failure ends the step, and a panic ends the
    /// attempt of the function.
    ///
    /// The delay before a retry is a durable sleep: the function is parked, and no worker is held. A crash does not
    /// reset the count of attempts, but it may repeat the attempt that it interrupted. All attempts have the step's id
    /// and draw the same [numbers](crate::uuid()). Each attempt runs a clone of the closure, so a closure that borrows
    /// mutably cannot be retried. A replay sees one result, and the delays. Adding `retry` to a step changes the steps
    /// of its function. In a unit test by [`local`](crate::Call::local), the closure runs once, as functions do.
    ///
    /// A policy sees whether an error is fatal, and its [`Classify`](crate::Classify) variant, only if the process
    /// knows the error's type: if a durable function returns it, or [`known_error!`](crate::known_error) names it.
    pub fn retry(mut self, policy: RetryPolicy) -> Self
    where
        F: Clone,
    {
        let next = match &self.position {
            Position::Taken(durable, _) => Some((durable.clone(), durable.reserve())),
            _ => None,
        };
        self.retries = Some(Retries { policy, again: F::clone, next, waits: Vec::new() });
        self
    }

    /// Ends an attempt that takes longer than this: the closure is dropped, and the attempt fails with the kind
    /// [`Failure::TIMED_OUT`](crate::Failure::TIMED_OUT). Takes a duration, a text such as `"10s"`, or an
    /// `Option<Duration>`; zero and `None` mean no limit.
    pub fn timeout(mut self, timeout: impl IntoTimeout) -> Self {
        self.timeout = timeout.into_timeout();
        self
    }
}

impl<F, Fut: Future, T> Step<F, Fut, T> {
    /// Begins the step: with the closure, or from its record.
    fn start(&mut self) -> Result<StepState<Fut>> {
        check_name("step", &self.name)?;
        self.timeout.clone()?;
        if let Some(Err(error)) = self.retries.as_ref().map(|retries| retries.policy.validate()) {
            return Err(Error::Option { option: "retry", problem: error.to_string() });
        }
        let entered = self.position.enter(&self.name).map_err(|error| match error {
            Error::OutsideDurable { .. } => Error::step_outside_durable(&self.name),
            error => error,
        })?;
        let Entered::Durable(Reserved { durable, seq }) = entered else {
            return self.run(StepClosure::new(&self.name, None, 1), None);
        };
        if let Some(retries) = &mut self.retries {
            retries.next.get_or_insert_with(|| (durable.clone(), durable.reserve()));
        }
        let id = durable.replay(|replay| {
            TaskId::of_step(&replay.origin(durable.task, seq, StepKind::Inline, &self.name))
        });
        self.attempt(Place { durable, seq, id })
    }

    /// Makes an attempt, unless the record shows that it failed, or has the step's result.
    fn attempt(&mut self, place: Place) -> Result<StepState<Fut>> {
        let next = self.retries.as_ref().and_then(|retries| retries.next.as_ref());
        if next.is_some_and(|(durable, seq)| durable.replay(|replay| replay.has_recorded(*seq))) {
            return self.wait(place, Duration::ZERO);
        }
        let ask = Ask::new(StepSpec::Inline, &self.name, self.location);
        let pending = Pending::ask_as(place.durable.clone(), place.seq, place.id, ask)?;
        if !place.durable.replay(|replay| replay.must_run(place.seq)) {
            return Ok(StepState::Recorded(pending));
        }
        let asked = Asked { pending, place };
        if asked.place.durable.replay(|replay| replay.is_ahead()) {
            return Ok(StepState::Held(asked));
        }
        self.begin(asked)
    }

    fn begin(&mut self, asked: Asked) -> Result<StepState<Fut>> {
        let place = &asked.place;
        let function = &place.durable.function;
        place.durable.begins(place.id, self.failed(), || format!("step `{}` of `{function}`", self.name));
        let step = StepClosure::new(&self.name, Some((place.seq, place.id)), self.failed().saturating_add(1));
        self.run(step, Some(asked))
    }

    fn run(&mut self, step: Arc<StepClosure>, asked: Option<Asked>) -> Result<StepState<Fut>> {
        let limit = self.timeout.clone()?.map(|limit| Box::pin(tokio::time::sleep(limit)));
        let body = match &self.retries {
            Some(retries) => self.body.as_ref().map(retries.again),
            None => self.body.take(),
        };
        let Some(body) = body else { polled_after_completion("a step") };
        let body = step.enter(|| Box::pin((self.call)(body)));
        Ok(StepState::Running { body, step, asked, limit })
    }

    /// Delays the next attempt.
    fn wait(&mut self, place: Place, delay: Duration) -> Result<StepState<Fut>> {
        let next = self.retries.as_mut().and_then(|retries| retries.next.take());
        let (durable, seq) = next.unwrap_or_else(|| (place.durable.clone(), place.durable.reserve()));
        let now = durable.engine.clock.now();
        let sleep = Ask::new(StepSpec::Sleep { due: now + delay }, self.backoff_name(), self.location);
        let wait = Pending::ask(durable.clone(), seq, sleep)?;
        if delay.is_zero() {
            wait.record_if_new(now);
        }
        if let Some(retries) = &mut self.retries {
            retries.waits.push(durable.id_of(seq));
        }
        Ok(StepState::Waiting { wait, place })
    }

    /// The name of the delays, as the timeline shows it. It contains the step's name, truncated to the limit on names.
    fn backoff_name(&self) -> String {
        let mut name = format!("backoff of {}", self.name);
        name.truncate(name.floor_char_boundary(NAME_BYTES_MAX));
        name
    }

    /// The delay before the next attempt after this failure; `None` if there is no next attempt.
    fn delay(&self, id: TaskId, result: &TaskResult) -> Option<Duration> {
        let (Some(retries), Err(failure)) = (&self.retries, result) else { return None };
        retries.policy.next_delay(id, self.failed().saturating_add(1), failure)
    }

    /// How many attempts have failed before this one.
    fn failed(&self) -> u32 {
        let waits = self.retries.as_ref().map_or(0, |retries| retries.waits.len());
        u32::try_from(waits).unwrap_or(u32::MAX)
    }

    /// An attempt has ended.
    fn came_out(&mut self, asked: Asked, result: TaskResult) -> Result<StepState<Fut>> {
        let Asked { pending, place } = asked;
        let engine = &place.durable.engine;
        let result = engine.checked(&self.name, result);
        if let Some(delay) = self.delay(place.id, &result) {
            if let Err(failure) = &result {
                let (step, function) = (&self.name, &place.durable.function);
                tracing::info!(step, function, %failure, ?delay, "step `{step}` failed and is retried");
            }
            // The next attempt asks for the step again: until then, the function waits for the delay only.
            drop(pending);
            return self.wait(place, delay);
        }
        let at = engine.clock.now();
        place.durable.replay(|replay| replay.record(place.seq, at, result));
        Ok(StepState::Recorded(pending))
    }
}

impl<F, Fut, T> Future for Step<F, Fut, T>
where
    Fut: Future,
    Fut::Output: StepOutput<T>,
    T: Serialize + DeserializeOwned,
{
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            this.state = match std::mem::replace(&mut this.state, StepState::Done) {
                StepState::Built => this.start()?,
                StepState::Running { mut body, step, asked, mut limit } => {
                    let codec = Context::around().map_or_else(Default::default, |context| context.codec());
                    let mut poll = || step.enter(|| body.as_mut().poll(cx));
                    // Without retries, a panic in a step ends the attempt of its function.
                    let polled = if this.retries.is_some() { catch_panic(poll) } else { Ok(poll()) };
                    let result = match polled {
                        Ok(Poll::Ready(output)) => output.encoded(&this.name, codec),
                        Err(panic) => Err(panic),
                        Ok(Poll::Pending)
                            if limit.as_mut().is_some_and(|limit| limit.as_mut().poll(cx).is_ready()) =>
                        {
                            Err(timed_out(&this.name, this.timeout.clone()?.unwrap_or_default()))
                        }
                        Ok(Poll::Pending) => {
                            this.state = StepState::Running { body, step, asked, limit };
                            return Poll::Pending;
                        }
                    };
                    step.enter(|| drop(body));
                    match asked {
                        Some(asked) => this.came_out(asked, result)?,
                        // In a unit test, results also pass through the codec, so that values that a store would refuse
                        // are refused here, too.
                        None => {
                            let result =
                                result.and_then(|output| fit_output(&this.name, output, PAYLOAD_BYTES_MAX));
                            return Poll::Ready(decode_result(&this.name, result));
                        }
                    }
                }
                StepState::Held(mut asked) => {
                    if asked.place.durable.replay(|replay| replay.is_ahead()) {
                        let waits = asked.pending.poll(cx).is_pending();
                        debug_assert!(waits, "a step has no result before it begins");
                        this.state = StepState::Held(asked);
                        return Poll::Pending;
                    }
                    this.begin(asked)?
                }
                StepState::Waiting { mut wait, place } => match wait.poll(cx) {
                    Poll::Ready((_, slept)) => {
                        slept.map_err(Error::Failed)?;
                        if let Some(retries) = &mut this.retries {
                            retries.next = Some((place.durable.clone(), place.durable.reserve()));
                        }
                        this.attempt(place)?
                    }
                    Poll::Pending => {
                        this.state = StepState::Waiting { wait, place };
                        return Poll::Pending;
                    }
                },
                StepState::Recorded(mut pending) => match pending.poll(cx) {
                    Poll::Ready((_, result)) => {
                        if let Some(retries) = &mut this.retries {
                            // A failed step runs again as a whole, so its delays leave the record with it.
                            let waits = std::mem::take(&mut retries.waits);
                            pending.durable().replay(|replay| replay.redo_with(waits));
                        }
                        return Poll::Ready(decode_result(&this.name, result));
                    }
                    Poll::Pending => {
                        this.state = StepState::Recorded(pending);
                        return Poll::Pending;
                    }
                },
                StepState::Done => polled_after_completion("a step"),
            };
        }
    }
}

fn timed_out(step: &str, limit: Duration) -> Failure {
    own_failure(Failure::TIMED_OUT, format!("step `{step}` did not finish within {limit:?}"))
}
