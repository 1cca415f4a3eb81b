//! Errors as the user sees them: each names the thing and the remedy.

use std::time::Duration;

use serde::de::DeserializeOwned;
use stent_core::backend::Error as StoreError;
use stent_core::duration::DurationError;
use stent_core::model::ExecutionStatus;
use stent_core::{CodecError, ExecutionId, Failure};

/// Result of Stent's methods.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong, at the call or in the execution that was waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A durable function failed, after all its attempts.
    #[error(transparent)]
    Failed(#[from] Failure),

    /// The execution, or the step, was cancelled.
    #[error("cancelled")]
    Cancelled,

    /// The execution was not done when its time was up.
    #[error("timed out")]
    TimedOut,

    /// A wait ended before what was waited for did. The execution goes on.
    #[error("execution {execution} did not end within {waited:?}; it continues, and can be waited for again")]
    WaitTimeout {
        /// What was waited for.
        execution: ExecutionId,
        /// How long.
        waited: Duration,
    },

    /// A wait for a signal ended before one came.
    #[error("no signal `{name}` arrived within {waited:?}")]
    SignalTimeout {
        /// The signal.
        name: String,
        /// How long.
        waited: Duration,
    },

    /// The execution has ended, so that nothing can be sent to it, or done about it, any more.
    #[error("execution {execution} is already {status}; {remedy}")]
    Ended {
        /// The execution.
        execution: ExecutionId,
        /// How it has ended.
        status: ExecutionStatus,
        /// What to do instead.
        remedy: &'static str,
    },

    /// The function is not registered here.
    #[error("function `{function}` is not registered; {}mark it with #[durable], link the crate that defines it, or \
             add it with Registry::with", known_here(.known))]
    NotRegistered {
        /// The function.
        function: String,
        /// What is registered.
        known: Vec<String>,
    },

    /// Two functions have the same name.
    #[error(
        "two durable functions are named `{name}`, at {first} and {second}; rename one with #[durable(name = \
         \"…\")], or give one a version with #[durable(version = \"…\")]"
    )]
    DuplicateName {
        /// The name.
        name: String,
        /// Where the first is.
        first: String,
        /// Where the second is.
        second: String,
    },

    /// A function needs a state that the worker was not given.
    #[error(
        "function `{function}` needs State<{state}>, which the worker does not have; add it with .state(…) before \
         .start()"
    )]
    MissingState {
        /// The function.
        function: String,
        /// The type.
        state: &'static str,
    },

    /// A call was awaited where nothing is durable.
    #[error(
        "`{name}` was awaited outside a durable function; dispatch it with stent.dispatch(…) or stent.run(…), or run \
         its body with .local() in a unit test; code in tokio::spawn or in another thread is outside the durable \
         function: await calls in the function itself, and several at once with stent::join!"
    )]
    OutsideDurable {
        /// The function, or the kind of step.
        name: String,
    },

    /// A durable call was made or awaited inside the closure of [`step`](crate::step()), which is recorded as a whole and does
    /// not run again.
    #[error(
        "{what} was created or awaited inside the closure of step `{step}`, where it cannot be a step; create and \
         await it in the function, before or after stent::step(…), or turn the closure into a durable function"
    )]
    InStep {
        /// What was made or awaited.
        what: String,
        /// The step whose closure it was.
        step: String,
    },

    /// Something was done in a durable function that every replay of its code would do again.
    #[error("{what} inside durable function `{function}` would be repeated by every replay; {remedy}")]
    InDurable {
        /// What was tried.
        what: String,
        /// The function.
        function: String,
        /// What to do instead.
        remedy: &'static str,
    },

    /// Something cannot be done inside the closure of [`transaction`](crate::transaction()), or cannot be done so.
    #[error("{what} inside a transaction {remedy}")]
    InTransaction {
        /// What was tried.
        what: String,
        /// Why not, and what to do instead.
        remedy: &'static str,
    },

    /// The store has no database that an application could have tables in.
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
        /// What was encoded or decoded.
        what: String,
        /// Why it failed.
        source: CodecError,
    },

    /// A payload is over the limit.
    #[error(
        "{what} is {len} bytes long, and the limit is {max}; keep large data elsewhere and pass a reference, or raise \
             payload_max"
    )]
    PayloadTooLarge {
        /// What it is.
        what: String,
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },

    /// An option does not fit.
    #[error("option `{option}`: {problem}")]
    Option {
        /// The option.
        option: &'static str,
        /// What is wrong with it, and what would fit.
        problem: String,
    },

    /// A duration does not read.
    #[error(transparent)]
    Duration(#[from] DurationError),

    /// A store URL does not fit.
    #[error("store URL {url:?}: {problem}")]
    Url {
        /// The URL, without its password.
        url: String,
        /// What is wrong with it, and what would fit.
        problem: String,
    },

    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),

    /// The application's database failed, in a [`transaction`](crate::transaction()).
    #[cfg(feature = "sql")]
    #[error(transparent)]
    Database(#[from] sea_orm::DbErr),

    /// A worker's loop has panicked, and nothing runs on it any more. What it held is due again when its leases have run out.
    #[error("the worker crashed: its loop panicked with: {panic}")]
    WorkerCrashed {
        /// What it panicked with.
        panic: String,
    },

    /// A worker has stopped before it was ready.
    #[error("the worker stopped before it was ready{}", said_last(.last_error))]
    WorkerStopped {
        /// What its store failed with last.
        last_error: Option<String>,
    },

    /// The tokio runtime in which this `Stent` was connected has ended, so its background tasks are gone.
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
    /// The user's own error, if the execution failed with one of type `E` that serde can encode: see
    /// [`Failure::downcast`]. It comes through any number of functions that hand it on with `?`.
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

    /// The failure, if this is one of a durable function.
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

    /// Whether the same call may succeed later, without anybody doing anything.
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
