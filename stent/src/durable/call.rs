//! Calls: what a durable function returns when it is called.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use stent_core::duration::IntoDuration;
use stent_core::model::{
    Keyed, Lane, NewTask, NewTaskState, RetryPolicy, Seq, StepKind, Tree, split_version,
};
use stent_core::replay::CallSpec;
use stent_core::{Codec, CodecError, Digest, ExecutionId, Key, Payload, Timestamp, canonical};

use crate::durable::context::{Context, Durable, Pending, Wish};
use crate::durable::position::Position;
use crate::durable::progress::polled_after_completion;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::function::panics::drop_if_deep;
use crate::function::state::{Local, States};
use crate::function::values::decode_result;
use crate::function::{BoxFuture, Function, Overrides, StartAt, arguments, invoke_locally};
use crate::names::{check_name, check_tags};
use crate::trace;

/// A call of the durable function `F`: a plain description, until it is used.
///
/// - Awaited inside a durable function it is a **step**: recorded, retried, never repeated.
/// - Given to [`Stent::dispatch`](crate::Stent::dispatch) it is a new **execution**.
/// - [`local`](Self::local) runs the body directly, for a unit test.
/// - Awaited anywhere else it is [`Error::OutsideDurable`], which says what to do.
///
/// Options that are set here win over those of the function's attribute; they have no effect after the first poll.
///
/// # Cancel safety
/// A call that is dropped before it is done gives its step up: the step is cancelled, with all that it has started. Use
/// [`detach`](Self::detach) to let it go on.
#[must_use = "a call does nothing until it is awaited or dispatched"]
pub struct Call<F: Function> {
    state: CallState<F>,
    overrides: Overrides,
    invalid: Option<Error>,
    position: Position,
    location: &'static Location<'static>,
}

enum CallState<F: Function> {
    Described(F::Args),
    Asked(Pending),
    Local(BoxFuture<'static, Result<F::Output>>),
    Used,
}

impl<F: Function> Unpin for Call<F> {}

#[track_caller]
pub(crate) fn call<F: Function>(args: F::Args) -> Call<F> {
    Call {
        state: CallState::Described(args),
        overrides: Overrides::default(),
        invalid: None,
        position: Position::here(),
        location: Location::caller(),
    }
}

impl<F: Function> Call<F> {
    /// Runs on this queue.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.overrides.queue = Some(queue.into());
        self
    }

    /// Runs before calls of lower priority that are due.
    pub fn priority(mut self, priority: i16) -> Self {
        self.overrides.priority = Some(priority);
        self
    }

    /// Runs not before this time has passed. Takes a [`Duration`](std::time::Duration) or a text such as `"5m"`.
    pub fn delay(mut self, delay: impl IntoDuration) -> Self {
        match delay.into_duration() {
            Ok(delay) => self.overrides.start = Some(StartAt::After(delay)),
            Err(error) => self.invalid = Some(error.into()),
        }
        self
    }

    /// Runs not before this.
    pub(crate) fn starting(mut self, start: StartAt) -> Self {
        self.overrides.start = Some(start);
        self
    }

    /// Runs not before this moment, in place of a [`delay`](Self::delay). Takes a [`Timestamp`], a
    /// [`SystemTime`](std::time::SystemTime) or a `time::OffsetDateTime`. A moment that has passed is now.
    ///
    /// In a durable function, a moment that is computed comes from [`now`](crate::now()), which is the same in every run.
    pub fn at(mut self, moment: impl Into<Timestamp>) -> Self {
        self.overrides.start = Some(StartAt::Moment(moment.into()));
        self
    }

    /// Retries by this policy. One that means nothing, such as no attempt at all, is an error when the call is used.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.overrides.retry = Some(policy);
        self
    }

    /// Runs on workers that have one of its tags, or that have none; adds to the tags given before and takes the place of
    /// those of the attribute.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.overrides.tags.get_or_insert_default().push(tag.into());
        self
    }

    /// Ends the call, with everything that it has started, if it is not done after this long. The time counts from the
    /// moment at which the call may start, which is later than now if it has a [delay](Self::delay); waiting for a worker,
    /// retries and sleeps count. Zero means no limit, also where the attribute has one.
    ///
    /// As a step it then fails with the kind [`Failure::TIMED_OUT`]; as an execution it is `timed_out`.
    pub fn max_duration(mut self, limit: impl IntoDuration) -> Self {
        match limit.into_duration() {
            Ok(limit) => self.overrides.max_duration = Some(limit),
            Err(error) => self.invalid = Some(error.into()),
        }
        self
    }

    /// Makes calls of this function with the same key one call. A dispatch under a key that was dispatched before gives
    /// the handle of that execution, whatever has become of it, until it is purged. A step under a key gives the result of
    /// the first step under it that goes well; those that come while it runs wait for it.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.overrides.idempotency_key = Some(key.into());
        self
    }

    /// Starts the step without waiting for it, and lets it go on whatever becomes of the caller's interest.
    ///
    /// # Errors
    /// When it is not called inside a durable function, or the arguments cannot be stored.
    pub fn detach(mut self) -> Result<()> {
        let CallState::Described(args) = std::mem::replace(&mut self.state, CallState::Used) else {
            return Ok(());
        };
        let Context::Durable(durable) = self.position.require(F::NAME)? else {
            return Err(Error::OutsideDurable { name: F::NAME.to_owned() });
        };
        self.ask(durable, args, true).map(Pending::detach)
    }

    /// Runs the body directly, without a store: for unit tests. Calls inside it run directly too, sleeps take their time,
    /// and nothing is recorded or retried. Arguments and results go through the codec and its limits all the same, so that a
    /// value which a store would refuse is refused here.
    ///
    /// ```
    /// # use stent::prelude::*;
    /// #[durable]
    /// async fn double(n: u64) -> Result<u64, String> {
    ///     Ok(n * 2)
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> stent::Result<()> {
    /// assert_eq!(double(21).local().await?, 42);
    /// # Ok(()) }
    /// ```
    pub fn local(self) -> LocalCall<F> {
        LocalCall { call: self, states: States::default(), codec: Codec::default() }
    }

    /// Where the call was built.
    pub(crate) fn position(&self) -> Position {
        self.position.clone()
    }

    pub(crate) const fn has_idempotency_key(&self) -> bool {
        self.overrides.idempotency_key.is_some()
    }

    pub(crate) fn into_dispatch(mut self) -> Result<(F::Args, Overrides)> {
        match (self.invalid.take(), std::mem::replace(&mut self.state, CallState::Used)) {
            (Some(error), _) => Err(error),
            (None, CallState::Described(args)) => Ok((args, std::mem::take(&mut self.overrides))),
            (None, _) => Err(Error::Option { option: "call", problem: "it was polled before".to_owned() }),
        }
    }

    fn ask(&mut self, polled_in: Arc<Durable>, args: F::Args, detached: bool) -> Result<Pending> {
        if let Some(error) = self.invalid.take() {
            return Err(error);
        }
        let (durable, seq) = self.position.take(polled_in);
        durable.engine.registry.get(F::NAME)?;
        let overrides = std::mem::take(&mut self.overrides);
        let user_key = overrides.idempotency_key.clone();
        let spec = describe::<F>(args, overrides, &durable.engine)?;
        let now = durable.engine.clock.now();
        let ready_at = spec.start.map(|start| start.resolve(now));
        let keyed = match user_key {
            Some(text) => {
                let (name, version) = split_version(F::NAME);
                let ttl = spec.keyed.and_then(|keyed| keyed.ttl);
                Some(Keyed { key: Key::of_user(name, version, &text), ttl })
            }
            None => spec.keyed,
        };
        let wish = Wish {
            kind: StepKind::Call,
            name: F::NAME.to_owned(),
            call: Some(CallSpec {
                lane: spec.lane,
                priority: spec.priority,
                args: spec.args,
                retry: spec.retry,
                ready_at,
                expires_at: spec.max_duration.map(|limit| ready_at.unwrap_or(now) + limit),
                trace: spec.trace,
                limited: spec.limited,
            }),
            keyed,
            digest: spec.digest,
            detached,
            ..Wish::new(StepKind::Call, F::NAME, self.location)
        };
        Pending::ask(durable, seq, wish)
    }

    fn start(&mut self) -> Result<()> {
        let CallState::Described(args) = std::mem::replace(&mut self.state, CallState::Used) else {
            return Ok(());
        };
        self.state = match self.position.require(F::NAME)? {
            Context::Durable(durable) => CallState::Asked(self.ask(durable, args, false)?),
            Context::Local(local) => CallState::Local(invoke_locally::<F>(args, &local)?),
        };
        Ok(())
    }
}

impl<F: Function> Future for Call<F> {
    type Output = Result<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        if matches!(self.state, CallState::Described(_)) {
            self.start()?;
        }
        let output = match &mut self.state {
            CallState::Asked(pending) => decode_result(F::NAME, ready!(pending.poll(cx)).1),
            CallState::Local(body) => ready!(body.as_mut().poll(cx)),
            CallState::Described(_) | CallState::Used => polled_after_completion(F::NAME),
        };
        self.state = CallState::Used;
        Poll::Ready(output)
    }
}

impl<F: Function> fmt::Debug for Call<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("function", &F::NAME)
            .field("options", &self.overrides)
            .finish_non_exhaustive()
    }
}

/// A call whose body is run directly: see [`Call::local`].
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct LocalCall<F: Function> {
    call: Call<F>,
    states: States,
    codec: Codec,
}

impl<F: Function> LocalCall<F> {
    /// Lends a state to the body.
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, state: T) -> Self {
        self.states.insert(state);
        self
    }

    /// Takes this codec in place of the default one, as a store that was opened with it would.
    pub const fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }
}

impl<F: Function> IntoFuture for LocalCall<F> {
    type Output = Result<F::Output>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (args, _) = self.call.into_dispatch()?;
            let local = Arc::new(Local { states: self.states, codec: self.codec });
            let body = invoke_locally::<F>(args, &local)?;
            Context::Local(local).scope(body).await
        })
    }
}

/// A call as it is stored, but for its id and time.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) lane: Lane,
    pub(crate) priority: i16,
    pub(crate) args: Payload,
    pub(crate) retry: Option<RetryPolicy>,
    pub(crate) start: Option<StartAt>,
    pub(crate) keyed: Option<Keyed>,
    pub(crate) max_duration: Option<Duration>,
    /// Whether only a claim may start it.
    pub(crate) limited: bool,
    /// What a replay compares of it.
    pub(crate) digest: Option<Digest>,
    /// Where in a trace it was asked for.
    pub(crate) trace: Option<String>,
}

impl Described {
    /// The call as the root of a new execution.
    pub(crate) fn into_root(self, id: ExecutionId, now: Timestamp) -> NewTask {
        let ready_at = self.start.map_or(now, |start| start.resolve(now));
        NewTask {
            id: id.root(),
            tree: Tree::root(id),
            seq: Seq(0),
            kind: StepKind::Call,
            lane: self.lane,
            priority: self.priority,
            args: self.args,
            retry: self.retry,
            attempts: 0,
            failure: None,
            keyed: self.keyed,
            // From the moment at which it may start, always.
            expires_at: self.max_duration.map(|limit| ready_at + limit),
            trace: self.trace,
            digest: None,
            state: NewTaskState::Pending { ready_at },
        }
    }
}

/// Encodes a call, with the function's own options where the call says nothing else.
pub(crate) fn describe<F: Function>(
    args: F::Args,
    overrides: Overrides,
    engine: &Engine,
) -> Result<Described> {
    let options = F::options();
    if let Some(queue) = &overrides.queue {
        check_name("queue", queue)?;
    }
    if let Some(Err(error)) = overrides.retry.as_ref().map(RetryPolicy::validate) {
        return Err(Error::Option { option: "retry", problem: error.to_string() });
    }
    let queue = overrides.queue.as_deref().or(options.queue).unwrap_or(Lane::DEFAULT_QUEUE);
    let lane = match &overrides.tags {
        Some(tags) => {
            check_tags(tags)?;
            Lane::new(queue, F::NAME).with_tags(tags)
        }
        None => Lane::new(queue, F::NAME).with_tags(options.tags.iter().copied()),
    };
    let limited = options.is_limited();
    let payload = match engine.encode(&args, arguments::<F>) {
        Ok(payload) => payload,
        Err(error) => {
            drop_if_deep(error.is_deep(), args);
            return Err(error);
        }
    };
    let keyed = options
        .answers()
        .map(|ttl| Ok::<_, Error>(Keyed { key: key::<F>(&args, &payload)?, ttl }))
        .transpose()?;
    let digest = digest::<F>(&args, overrides.idempotency_key.as_deref())?;
    Ok(Described {
        lane,
        priority: overrides.priority.unwrap_or(options.priority),
        args: payload,
        retry: overrides.retry.or(options.retry),
        start: overrides.start,
        keyed,
        max_duration: overrides.max_duration.or(options.max_duration).filter(|limit| !limit.is_zero()),
        limited,
        digest,
        trace: trace::current(),
    })
}

/// What makes a call the same as another one: what the function's own key says, or its arguments.
fn key<F: Function>(args: &F::Args, payload: &Payload) -> Result<Key> {
    let (name, version) = split_version(F::NAME);
    match F::key(args) {
        Some(text) => Ok(Key::of_user(name, version, &text)),
        None => {
            let bytes =
                canonical(payload).map_err(|source| Error::Codec { what: arguments::<F>(), source })?;
            Ok(Key::of_call(name, version, &bytes))
        }
    }
}

/// What a replay compares of a call; none if its function leaves that uncompared. A key that the call was given says which work is
/// meant, as its arguments do.
pub(crate) fn digest<F: Function>(args: &F::Args, key: Option<&str>) -> Result<Option<Digest>> {
    if F::options().unchecked_args {
        return Ok(None);
    }
    let digest = digest_of::<F>(args)?;
    let key = key.map(Digest::of).transpose().map_err(undigested::<F>)?;
    Ok(Some(key.map_or(digest, |key| digest.then(key))))
}

/// The digest of one call's arguments.
pub(crate) fn digest_of<F: Function>(args: &F::Args) -> Result<Digest> {
    Digest::of(args).map_err(undigested::<F>)
}

fn undigested<F: Function>(source: CodecError) -> Error {
    Error::Codec {
        what: format!("digest of the arguments of `{}` (`unchecked_args` skips it)", F::NAME),
        source,
    }
}
