//! Errors as users see them. Each one names the thing that failed and the remedy.

use std::time::Duration;

use serde::de::DeserializeOwned;
use stent_core::backend::Error as StoreError;
use stent_core::duration::DurationError;
use stent_core::model::ExecutionStatus;
use stent_core::{CodecError, ExecutionId, Failure};

/// Result of Stent's methods.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the call itself, or of the execution that the call waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A durable function failed after all its attempts.
    #[error(transparent)]
    Failed(#[from] Failure),

    /// The execution or the step was cancelled.
    #[error("cancelled")]
    Cancelled,

    /// The execution did not complete within its time limit.
    #[error("timed out")]
    TimedOut,

    /// A wait ended before the execution did. The execution continues.
    #[error("execution {execution} did not end within {waited:?}; it continues, and can be waited for again")]
    WaitTimeout {
        /// The execution.
        execution: ExecutionId,
        /// How long the wait lasted.
        waited: Duration,
    },

    /// A wait for a signal ended before a signal arrived.
    #[error("no signal `{name}` arrived within {waited:?}")]
    SignalTimeout {
        /// The signal's name.
        name: String,
        /// How long the wait lasted.
        waited: Duration,
    },

    /// A [`timeout`](crate::timeout()) expired before its future completed.
    #[error("not done within {limit:?}")]
    Elapsed {
        /// The limit.
        limit: Duration,
    },

    /// The execution has already ended, so the request has nothing to act on.
    #[error("execution {execution} is already {status}; {remedy}")]
    Ended {
        /// The execution.
        execution: ExecutionId,
        /// How the execution ended.
        status: ExecutionStatus,
        /// The remedy.
        remedy: &'static str,
    },

    /// The function is not registered in this process.
    #[error("function `{function}` is not registered; {}mark it with #[durable], link the crate that defines it, or \
             add it with Registry::with", known_here(.known))]
    NotRegistered {
        /// The function's name in the store.
        function: String,
        /// The names of the registered functions.
        known: Vec<String>,
    },

    /// Two functions have the same name.
    #[error(
        "two durable functions are named `{name}`, at {first} and {second}; rename one with #[durable(name = \
         \"…\")], or give one a version with #[durable(version = \"…\")]"
    )]
    DuplicateName {
        /// The shared name.
        name: String,
        /// The path of the first function.
        first: String,
        /// The path of the second function.
        second: String,
    },

    /// A function needs a state that the worker does not have.
    #[error(
        "function `{function}` needs State<{state}>, which the worker does not have; add it with .state(…) before \
         .start()"
    )]
    MissingState {
        /// The function.
        function: String,
        /// The type of the state.
        state: &'static str,
    },

    /// A call was awaited outside a durable function.
    #[error(
        "`{name}` was awaited outside a durable function; dispatch it with stent.dispatch(…) or stent.run(…), or run \
         its body with .local() in a unit test; code in tokio::spawn or in another thread is outside the durable \
         function: await calls in the function itself, and several at once with stent::join!"
    )]
    OutsideDurable {
        /// The function, or the kind of step.
        name: String,
    },

    /// A durable call was created or awaited inside the closure of [`step`](crate::step()). The closure is recorded as
    /// a whole, so a replay does not run it.
    #[error(
        "{what} was created or awaited inside the closure of step `{step}`, where it cannot be a step; create and \
         await it in the function, before or after stent::step(…), or turn the closure into a durable function"
    )]
    InStep {
        /// The call that was created or awaited.
        what: String,
        /// The step that the closure belongs to.
        step: String,
    },

    /// Code of a durable function tried to do something that every replay would repeat.
    #[error("{what} inside durable function `{function}` would be repeated by every replay; {remedy}")]
    InDurable {
        /// The operation.
        what: String,
        /// The function.
        function: String,
        /// The remedy.
        remedy: &'static str,
    },

    /// The operation is not possible inside the closure of [`transaction`](crate::transaction()), or not in this way.
    #[error("{what} inside a transaction {remedy}")]
    InTransaction {
        /// The operation.
        what: String,
        /// Why it is not possible, and what to do instead.
        remedy: &'static str,
    },

    /// The store has no database that could hold the application's tables.
    #[error(
        "a {store} store cannot take part in the application's transactions; use sqlite://… or postgres://…"
    )]
    NoTransactions {
        /// The kind of store.
        store: &'static str,
    },

    /// No execution has this id.
    #[error(
        "no execution has the id {0}: it was never dispatched to this store, the transaction that dispatches it is \
         not committed, or it was purged"
    )]
    NotFound(ExecutionId),

    /// A value could not be encoded or decoded.
    #[error("{what}: {source}")]
    Codec {
        /// The value that was encoded or decoded.
        what: String,
        /// The cause.
        source: CodecError,
    },

    /// A payload exceeds the size limit.
    #[error(
        "{what} is {len} bytes long, and the limit is {max}; keep large data elsewhere and pass a reference, or raise \
             payload_max"
    )]
    PayloadTooLarge {
        /// The payload.
        what: String,
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },

    /// An option is invalid.
    #[error("option `{option}`: {problem}")]
    Option {
        /// The option.
        option: &'static str,
        /// Why it is invalid, and which values are valid.
        problem: String,
    },

    /// Text could not be parsed as a duration.
    #[error(transparent)]
    Duration(#[from] DurationError),

    /// A store URL is invalid.
    #[error("store URL {url:?}: {problem}")]
    Url {
        /// The URL, without its password.
        url: String,
        /// Why it is invalid, and what a valid URL looks like.
        problem: String,
    },

    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),

    /// The application's database failed in a [`transaction`](crate::transaction()).
    #[cfg(feature = "sql")]
    #[error(transparent)]
    Database(#[from] sea_orm::DbErr),

    /// A worker's loop panicked, so the worker runs nothing any more. Its tasks become due again when their leases
    /// expire.
    #[error("the worker crashed: its loop panicked with: {panic}")]
    WorkerCrashed {
        /// The panic message.
        panic: String,
    },

    /// A worker stopped before it was ready.
    #[error("the worker stopped before it was ready{}", said_last(.last_error))]
    WorkerStopped {
        /// The last error of its store.
        last_error: Option<String>,
    },

    /// The tokio runtime in which this `Stent` was connected has shut down, and the background tasks of `Stent` with
    /// it.
    #[error(
        "the tokio runtime in which this Stent was connected has shut down, and its background tasks with it; \
         connect in the runtime that uses it (each #[tokio::test] has its own runtime)"
    )]
    RuntimeEnded,

    /// The `Stent` handle was closed.
    #[error("this Stent is closed")]
    Closed,
}

impl Error {
    /// Returns the user's own error, if the execution failed with an error of type `E` that serde can encode: see
    /// [`Failure::downcast`]. The error survives any number of functions that propagate it with `?`.
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use stent::Error;
    /// #[derive(Debug, thiserror::Error, Serialize, Deserialize)]
    /// enum ChargeError {
    ///     #[error("declined: {code}")]
    ///     Declined { code: u16 },
    /// }
    ///
    /// fn code(error: &Error) -> Option<u16> {
    ///     error.downcast::<ChargeError>().map(|ChargeError::Declined { code }| code)
    /// }
    /// ```
    #[must_use]
    pub fn downcast<E: DeserializeOwned + 'static>(&self) -> Option<E> {
        let Self::Failed(failure) = self else { return None };
        failure.downcast()
    }

    /// The failure, if a durable function failed.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            _ => None,
        }
    }

    /// Whether a value was refused because it is nested too deeply.
    pub(crate) const fn is_deep(&self) -> bool {
        matches!(self, Self::Codec { source, .. } if source.is_deep())
    }

    /// Whether the same call may succeed later without any intervention.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::WaitTimeout { .. } => true,
            _ => false,
        }
    }
}

fn said_last(error: &Option<String>) -> String {
    error.as_ref().map_or_else(String::new, |error| format!("; the last error of its store: {error}"))
}

fn known_here(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!("registered functions: {}; ", known.join(", ")) }
}
