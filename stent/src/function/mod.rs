//! What `#[durable]` makes of a function.

pub(crate) mod failure;
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
use stent_core::{Codec, Failure, Payload, own_failure};

use crate::error::{Error, Result};
use crate::function::failure::located;
use crate::function::panics::drop_if_deep;
use crate::function::state::{Local, StateKey, States};
use crate::function::values::{check_size, decode_result, fit_output, unfit_output};
use crate::names::check_name;

/// A boxed future, as functions return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A durable function as a type. `#[durable]` implements it; one rarely does so by hand.
pub trait Function: Send + Sync + Sized + 'static {
    /// The stored parameters, as a tuple.
    type Args: Serialize + DeserializeOwned + Send + 'static;
    /// What it gives.
    type Output: Serialize + DeserializeOwned + Send + 'static;
    /// Its name in the store, with its version if it has one: `charge`, or `charge@2`. Renaming a function in code leaves
    /// work under the old name with nobody who knows it.
    const NAME: &'static str;

    /// What its attribute says.
    fn options() -> FunctionOptions;

    /// The states that it needs from its worker.
    fn needs() -> Vec<StateKey>;

    /// Says which calls are the same, for `idempotent` and `cached`; `None` leaves that to the arguments as a whole. An
    /// empty text is a key like any other.
    fn key(args: &Self::Args) -> Option<String> {
        let _ = args;
        None
    }

    /// Runs its body.
    fn invoke(args: Self::Args, states: &States) -> BoxFuture<'static, Result<Self::Output, Failure>>;
}

/// How long a cached result counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cached {
    /// As long as the store has it.
    Forever,
    /// For this time after it was made. Zero is an error at the start, since it might be meant for either.
    For(Duration),
}

/// What the attribute of a function says: `#[durable(…)]` builds it, and [`Registry::options`](crate::Registry::options)
/// shows it.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct FunctionOptions {
    /// When and how often it is tried again; `None` for the default, which depends on whether it has steps.
    pub retry: Option<RetryPolicy>,
    /// The queue that its tasks wait in; `None` for the default one.
    pub queue: Option<&'static str>,
    /// Its place among tasks that are due: the larger goes first.
    pub priority: i16,
    /// What a worker has to have to run it. Work without tags is for every worker.
    pub tags: &'static [&'static str],
    /// How many of its tasks run at the same time, on all workers together.
    pub max_concurrent: Option<u32>,
    /// How many of its tasks are claimed in a stretch of time, on all workers together. A parked function that goes on is
    /// claimed again, and counts again.
    pub rate: Option<Rate>,
    /// Whether the same call, whoever makes it, runs once.
    pub idempotent: bool,
    /// Whether the result of a call counts for the same call made again, and for how long.
    pub cached: Option<Cached>,
    /// How long a call of it may take in all, from the moment at which it may start.
    pub max_duration: Option<Duration>,
    /// Whether a replay leaves the arguments of its calls, the items of its maps included, uncompared with the recorded ones.
    pub unchecked_args: bool,
}

impl FunctionOptions {
    /// No options.
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

    /// Runs so many times at the same time at most.
    #[must_use]
    pub const fn max_concurrent(mut self, max: u32) -> Self {
        self.max_concurrent = Some(max);
        self
    }

    /// Starts no more often than this.
    #[must_use]
    pub const fn rate(mut self, rate: Rate) -> Self {
        self.rate = Some(rate);
        self
    }

    /// Runs once for the same call, whoever makes it.
    #[must_use]
    pub const fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Answers the same call made again with the result of the first, as long as that counts.
    #[must_use]
    pub const fn cached(mut self, cached: Cached) -> Self {
        self.cached = Some(cached);
        self
    }

    /// Ends calls that take longer than this. Zero is no limit.
    #[must_use]
    pub const fn max_duration(mut self, limit: Duration) -> Self {
        self.max_duration = if limit.is_zero() { None } else { Some(limit) };
        self
    }

    /// Leaves the arguments of calls uncompared when a replay asks for them again: for arguments that have another order in each
    /// run, such as a `HashSet`. Code that calls it with other arguments than before then gets the recorded result all the same.
    #[must_use]
    pub const fn unchecked_args(mut self) -> Self {
        self.unchecked_args = true;
        self
    }

    /// Holds options that were built by hand against what the attribute would have refused.
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

    /// Whether only a claim may start a task of it.
    pub(crate) const fn is_limited(&self) -> bool {
        self.max_concurrent.is_some() || self.rate.is_some()
    }

    /// How long the result of a call answers the same call made again: not at all, so long, or for good.
    pub(crate) const fn answers(&self) -> Option<Option<Duration>> {
        match (self.idempotent, self.cached) {
            (true, _) | (false, Some(Cached::Forever)) => Some(None),
            (false, Some(Cached::For(ttl))) => Some(Some(ttl)),
            (false, None) => None,
        }
    }
}

/// What a function's declared return type gives: the `T` of a `Result<T, E>`, and any other type itself. The attribute asks
/// [`IsResult`] which of the two it is.
pub trait Returned<const IS_RESULT: bool> {
    /// The value.
    type Output;
    /// What the function fails with.
    type Error;

    /// The two told apart.
    ///
    /// # Errors
    /// What the function has failed with.
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

/// Tells whether a type is a `Result`: by a constant of its own if it is, and else by that of [`IsPlain`].
#[derive(Debug)]
pub struct IsResult<T>(PhantomData<T>);

impl<T, E> IsResult<Result<T, E>> {
    /// It is one.
    pub const IS_RESULT: bool = true;
}

/// What [`IsResult`] says of all types.
pub trait IsPlain {
    /// It is none, unless the type says otherwise.
    const IS_RESULT: bool = false;
}

impl<T> IsPlain for IsResult<T> {}

/// One entry of the default registry, made at link time.
#[derive(Clone, Copy, Debug)]
pub struct Registration {
    pub(crate) name: &'static str,
    pub(crate) type_name: fn() -> &'static str,
    pub(crate) options: fn() -> FunctionOptions,
    pub(crate) needs: fn() -> Vec<StateKey>,
    pub(crate) invoke: fn(&Payload, &States, Codec) -> BoxFuture<'static, Result<Payload, Failure>>,
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
        }
    }

    /// Holds name and options against what the attribute would have refused.
    pub(crate) fn validate(&self) -> Result<()> {
        check_name("name", self.name)?;
        (self.options)().validate(self.name)
    }
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

/// Runs a body in place, in a unit test. What goes into it and comes out of it is encoded, held against the limits and decoded,
/// as a store would have it.
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

/// The arguments of a function, as messages call them.
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
