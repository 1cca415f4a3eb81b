//! What `#[durable]` makes of a function.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stent_core::model::{Lane, RetryPolicy};
use stent_core::{Codec, Failure, Payload};

use crate::state::{StateKey, States};

/// A boxed future, as functions return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A durable function as a type. `#[durable]` implements it; one rarely does so by hand.
pub trait Function: Send + Sync + Sized + 'static {
    /// The stored parameters, as a tuple.
    type Args: Serialize + DeserializeOwned + Send + 'static;
    /// What it gives.
    type Output: Serialize + DeserializeOwned + Send + 'static;
    /// Its name in the store. Renaming a function in code leaves work under the old name with nobody who knows it.
    const NAME: &'static str;

    /// What its attribute says.
    fn options() -> FunctionOptions;

    /// The states that it needs from its worker.
    fn needs() -> Vec<StateKey>;

    /// Runs its body.
    fn invoke(args: Self::Args, states: &States) -> BoxFuture<'static, Result<Self::Output, Failure>>;
}

/// What the attribute of a function says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FunctionOptions {
    pub(crate) retry: Option<RetryPolicy>,
    pub(crate) queue: Option<&'static str>,
    pub(crate) priority: i16,
}

impl FunctionOptions {
    /// No options.
    #[must_use]
    pub const fn new() -> Self {
        Self { retry: None, queue: None, priority: 0 }
    }

    /// Retries by this policy.
    #[must_use]
    pub const fn retry(mut self, policy: RetryPolicy) -> Self {
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

    pub(crate) fn lane(&self, function: &str, queue: Option<&str>) -> Lane {
        Lane::new(queue.or(self.queue).unwrap_or(Lane::DEFAULT_QUEUE), function)
    }
}

/// What a function's declared return type gives: the `T` of a `Result<T, E>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Result`",
    note = "a return type whose name ends in `Result` counts as one; rename it, or return `Result<…>`"
)]
pub trait Returned {
    /// The value.
    type Output;
}

impl<T, E> Returned for Result<T, E> {
    type Output = T;
}

/// One entry of the default registry, made at link time.
#[derive(Clone, Copy, Debug)]
pub struct Registration {
    pub(crate) name: &'static str,
    pub(crate) type_name: fn() -> &'static str,
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
            needs: F::needs,
            invoke: invoke_encoded::<F>,
        }
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
            let failure =
                Failure::new(Failure::CODEC, format!("arguments of `{}`: {error}", F::NAME)).fatal();
            return Box::pin(async move { Err(failure) });
        }
    };
    let body = F::invoke(args, states);
    Box::pin(async move {
        let output = body.await?;
        codec.encode(&output).map_err(|error| {
            Failure::new(Failure::CODEC, format!("result of `{}`: {error}", F::NAME)).fatal()
        })
    })
}

inventory::collect!(Registration);

/// How a function is called where the call says something other than its attribute.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) queue: Option<String>,
    pub(crate) priority: Option<i16>,
    pub(crate) delay: Option<Duration>,
    pub(crate) retry: Option<RetryPolicy>,
}
