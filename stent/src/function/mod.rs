//! The traits and types behind `#[durable]`.

pub(crate) mod failure;
pub(crate) mod fake;
pub(crate) mod panics;
pub(crate) mod registry;
pub(crate) mod state;
pub(crate) mod values;

use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stent_core::limits::PAYLOAD_BYTES_MAX;
use stent_core::model::{Rate, RetryPolicy};
use stent_core::{Codec, CodecError, Digest, Failure, Payload, own_failure};

use crate::error::{Error, Result};
use crate::function::failure::located;
use crate::function::panics::drop_if_deep;
use crate::function::state::{Local, StateKey, States};
use crate::function::values::{check_size, decode_result, fit_output, unfit_output};
use crate::names::check_name;

/// A boxed future, as durable functions return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A durable function as a type. `#[durable]` implements it; manual implementations are rarely needed. The types in its
/// signatures are in [`functions`](crate::functions).
pub trait Function: Send + Sync + Sized + 'static {
    /// The stored parameters, as a tuple.
    type Args: Serialize + DeserializeOwned + Send + 'static;
    /// The type of its result.
    type Output: Serialize + DeserializeOwned + Send + 'static;
    /// Its name in the store, including its version if it has one: `charge`, or `charge@2`. If you rename a function in
    /// code, no worker knows the stored work under the old name.
    const NAME: &'static str;

    /// The options of its attribute.
    fn options() -> FunctionOptions;

    /// The states that it needs from the worker.
    fn needs() -> Vec<StateKey>;

    /// Returns the key under which calls are the same, for `idempotent` and `cached`. `None` compares the arguments as
    /// a whole. Empty text is a valid key.
    fn key(args: &Self::Args) -> Option<String> {
        let _ = args;
        None
    }

    /// Runs the body.
    fn invoke(args: Self::Args, states: &States) -> BoxFuture<'static, Result<Self::Output, Failure>>;
}

/// How long a cached result is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cached {
    /// As long as the store keeps the result.
    Forever,
    /// For this long after the result was stored. Zero is an error at the start, because it could mean either "never"
    /// or "forever".
    For(Duration),
}

/// The options of a function: `#[durable(…)]` builds them, and [`Registry::options`](crate::Registry::options) returns
/// them.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct FunctionOptions {
    /// The retry policy; `None` for the default, which depends on whether the function has steps.
    pub retry: Option<RetryPolicy>,
    /// The queue of its tasks; `None` for the default queue.
    pub queue: Option<&'static str>,
    /// The priority among due tasks: higher goes first.
    pub priority: i16,
    /// Tags of the workers that may run it. Work without tags can run on every worker.
    pub tags: &'static [&'static str],
    /// Most of its tasks that may run concurrently, across all workers.
    pub max_concurrent: Option<u32>,
    /// Most of its tasks that may be claimed per period, across all workers. A parked function is claimed again when it
    /// continues, and each claim counts.
    pub rate: Option<Rate>,
    /// Whether identical calls run once, across all callers.
    pub idempotent: bool,
    /// Whether, and for how long, a call's result answers identical calls.
    pub cached: Option<Cached>,
    /// Limit on the total time of a call, from the moment at which it may start.
    pub max_duration: Option<Duration>,
    /// Whether a replay skips the comparison of its calls' arguments, including the items of its maps, with the
    /// recorded ones.
    pub unchecked_args: bool,
}

impl FunctionOptions {
    /// The default options.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            retry: None,
            queue: None,
            priority: 0,
            tags: &[],
            max_concurrent: None,
            rate: None,
            idempotent: false,
            cached: None,
            max_duration: None,
            unchecked_args: false,
        }
    }

    /// Retries by this policy.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = Some(policy);
        self
    }

    /// Runs on this queue.
    #[must_use]
    pub const fn queue(mut self, queue: &'static str) -> Self {
        self.queue = Some(queue);
        self
    }

    /// Runs before functions of lower priority.
    #[must_use]
    pub const fn priority(mut self, priority: i16) -> Self {
        self.priority = priority;
        self
    }

    /// Runs on workers that have one of these tags.
    #[must_use]
    pub const fn tags(mut self, tags: &'static [&'static str]) -> Self {
        self.tags = tags;
        self
    }

    /// Limits the number of concurrent runs.
    #[must_use]
    pub const fn max_concurrent(mut self, max: u32) -> Self {
        self.max_concurrent = Some(max);
        self
    }

    /// Limits how often it starts.
    #[must_use]
    pub const fn rate(mut self, rate: Rate) -> Self {
        self.rate = Some(rate);
        self
    }

    /// Runs identical calls once, across all callers.
    #[must_use]
    pub const fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Answers identical calls with the result of the first, as long as that result is valid.
    #[must_use]
    pub const fn cached(mut self, cached: Cached) -> Self {
        self.cached = Some(cached);
        self
    }

    /// Ends calls that take longer than this. Zero means no limit.
    #[must_use]
    pub const fn max_duration(mut self, limit: Duration) -> Self {
        self.max_duration = if limit.is_zero() { None } else { Some(limit) };
        self
    }

    /// Skips the comparison of arguments when a replay repeats a call. Use it for arguments whose order differs between
    /// runs, such as a `HashSet`. Code that passes different arguments than before then still gets the recorded result.
    #[must_use]
    pub const fn unchecked_args(mut self) -> Self {
        self.unchecked_args = true;
        self
    }

    /// Checks options that were built by hand against the rules of the attribute.
    fn validate(&self, function: &str) -> Result<()> {
        let fail = |option, problem: &str| {
            Err(Error::Option { option, problem: format!("of `{function}`: {problem}") })
        };
        if let Some(Err(error)) = self.retry.as_ref().map(RetryPolicy::validate) {
            return fail("retry", &error.to_string());
        }
        if self.max_concurrent == Some(0) {
            return fail("max_concurrent", "0 lets nothing run; use 1 or more, or leave it out");
        }
        if let Some(problem) = self.rate.as_ref().and_then(Rate::problem) {
            return fail("rate", problem);
        }
        if self.cached == Some(Cached::For(Duration::ZERO)) {
            return fail(
                "cached",
                "its duration is zero; use `Cached::Forever` for no limit, or leave it out",
            );
        }
        if let Some(queue) = self.queue {
            check_name("queue", queue)?;
        }
        self.tags.iter().try_for_each(|tag| check_name("tags", tag))
    }

    /// Whether a limit applies, so that its tasks may only start through a claim.
    pub(crate) const fn is_limited(&self) -> bool {
        self.max_concurrent.is_some() || self.rate.is_some()
    }

    /// How long a result answers identical calls: not at all (`None`), for a time, or forever (`Some(None)`).
    pub(crate) const fn answers(&self) -> Option<Option<Duration>> {
        match (self.idempotent, self.cached) {
            (true, _) | (false, Some(Cached::Forever)) => Some(None),
            (false, Some(Cached::For(ttl))) => Some(Some(ttl)),
            (false, None) => None,
        }
    }
}

/// The value and the error of a function's declared return type: `T` and `E` of a `Result<T, E>`; any other type is the
/// value itself. The attribute asks [`IsResult`] which case applies.
pub trait Returned<const IS_RESULT: bool> {
    /// The value.
    type Output;
    /// The error type.
    type Error;

    /// Separates value and error.
    ///
    /// # Errors
    /// The function's error.
    fn returned(self) -> Result<Self::Output, Self::Error>;
}

impl<T> Returned<false> for T {
    type Output = T;
    type Error = Infallible;

    fn returned(self) -> Result<T, Infallible> {
        Ok(self)
    }
}

impl<T, E> Returned<true> for Result<T, E> {
    type Output = T;
    type Error = E;

    fn returned(self) -> Self {
        self
    }
}

/// Tells whether a type is a `Result`. For a `Result`, the inherent constant applies; for any other type, that of
/// [`IsPlain`].
#[derive(Debug)]
pub struct IsResult<T>(PhantomData<T>);

impl<T, E> IsResult<Result<T, E>> {
    /// The type is a `Result`.
    pub const IS_RESULT: bool = true;
}

/// The fallback of [`IsResult`] for all types.
pub trait IsPlain {
    /// The type is not a `Result`, unless the inherent constant says otherwise.
    const IS_RESULT: bool = false;
}

impl<T> IsPlain for IsResult<T> {}

/// An entry of the default registry, built at link time.
#[derive(Clone, Copy, Debug)]
pub struct Registration {
    pub(crate) name: &'static str,
    pub(crate) type_name: fn() -> &'static str,
    pub(crate) options: fn() -> FunctionOptions,
    pub(crate) needs: fn() -> Vec<StateKey>,
    pub(crate) invoke: fn(&Payload, &States, Codec) -> BoxFuture<'static, Result<Payload, Failure>>,
    /// Decodes arguments, and returns the digest that a replay compares, without that of an idempotency key.
    pub(crate) digest: fn(&Payload) -> Result<Option<Digest>, CodecError>,
}

impl Registration {
    /// The entry of a function.
    #[must_use]
    pub const fn of<F: Function>() -> Self {
        Self {
            name: F::NAME,
            type_name: std::any::type_name::<F>,
            options: F::options,
            needs: F::needs,
            invoke: invoke_encoded::<F>,
            digest: digest_of_encoded::<F>,
        }
    }

    /// Checks name and options against the rules of the attribute.
    pub(crate) fn validate(&self) -> Result<()> {
        check_name("name", self.name)?;
        (self.options)().validate(self.name)
    }
}

fn digest_of_encoded<F: Function>(args: &Payload) -> Result<Option<Digest>, CodecError> {
    let args = args.decode::<F::Args>()?;
    if F::options().unchecked_args { Ok(None) } else { Digest::of(&args).map(Some) }
}

fn invoke_encoded<F: Function>(
    args: &Payload,
    states: &States,
    codec: Codec,
) -> BoxFuture<'static, Result<Payload, Failure>> {
    let args = match args.decode::<F::Args>() {
        Ok(args) => args,
        Err(error) => {
            let failure = own_failure(Failure::CODEC, format!("arguments of `{}`: {error}", F::NAME)).fatal();
            return Box::pin(async move { Err(failure) });
        }
    };
    let body = F::invoke(args, states);
    Box::pin(async move {
        let output = body.await.map_err(located::<F>)?;
        codec.encode(&output).map_err(|error| {
            drop_if_deep(error.is_deep(), output);
            unfit_output(F::NAME, &error)
        })
    })
}

/// Runs a body in place, in a unit test. Arguments and result are encoded, checked against the limits and decoded, as
/// with a store.
pub(crate) fn invoke_locally<F: Function>(
    args: F::Args,
    local: &Local,
) -> Result<BoxFuture<'static, Result<F::Output>>> {
    let payload = match local.codec.encode(&args) {
        Ok(payload) => payload,
        Err(source) => {
            drop_if_deep(source.is_deep(), args);
            return Err(Error::Codec { what: arguments::<F>(), source });
        }
    };
    check_size(&payload, PAYLOAD_BYTES_MAX, &arguments::<F>)?;
    let body = invoke_encoded::<F>(&payload, &local.states, local.codec);
    Ok(Box::pin(async move {
        let result = body
            .await
            .map_err(Failure::storable)
            .and_then(|output| fit_output(F::NAME, output, PAYLOAD_BYTES_MAX));
        decode_result(F::NAME, result)
    }))
}

/// How messages name the arguments of a function.
pub(crate) fn arguments<F: Function>() -> String {
    format!("arguments of `{}`", F::NAME)
}

inventory::collect!(Registration);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_that_counts_for_no_time_is_refused_and_a_limit_of_none_is_none() {
        let options = |ttl| FunctionOptions::new().cached(Cached::For(ttl)).validate("charge");
        let error = options(Duration::ZERO).expect_err("it might mean either").to_string();
        assert!(error.contains("`cached`") && error.contains("Cached::Forever"), "{error}");
        for ttl in [Duration::from_nanos(1), Duration::MAX] {
            options(ttl).expect("it is a time");
        }
        assert_eq!(FunctionOptions::new().max_duration(Duration::ZERO).max_duration, None);
    }
}
