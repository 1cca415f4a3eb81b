//! Errors as users see them. Each one names the thing that failed and the remedy, and its text ends with its code, by which the
//! guide's index of errors is searched.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use stent_core::backend::Error as StoreError;
use stent_core::duration::DurationError;
use stent_core::import::ImportError;
use stent_core::model::ExecutionStatus;
use stent_core::{CodecError, ExecutionId, Failure};

/// Result of Stent's methods.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the call itself, or of the execution that the call waited for.
///
/// `{:?}`, which `main` and `unwrap` print, shows the text with the code, and below it the causes that the text does not name.
/// `{:#?}` shows the fields of the error underneath.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A durable function failed after all its attempts.
    #[error(transparent)]
    Failed(#[from] Failure),

    /// The execution or the step was cancelled.
    #[error("cancelled [stent::Cancelled]")]
    Cancelled,

    /// The execution did not complete within its time limit.
    #[error("timed out [stent::TimedOut]")]
    TimedOut,

    /// A wait ended before the execution did. The execution continues.
    #[error(
        "execution {execution} did not end within {waited:?}; it continues, and can be waited for again \
         [stent::WaitTimeout]"
    )]
    WaitTimeout {
        /// The execution.
        execution: ExecutionId,
        /// How long the wait lasted.
        waited: Duration,
    },

    /// A wait for a signal ended before a signal arrived.
    #[error("no signal `{name}` arrived within {waited:?} [stent::SignalTimeout]")]
    SignalTimeout {
        /// The signal's name.
        name: String,
        /// How long the wait lasted.
        waited: Duration,
    },

    /// A [`timeout`](crate::timeout()) expired before its future completed.
    #[error("stent::timeout of {limit:?} expired in {place} before its future completed [stent::Elapsed]")]
    #[non_exhaustive]
    Elapsed {
        /// The limit.
        limit: Duration,
        /// Where the timeout is: its function, and the line of code.
        place: String,
    },

    /// The execution has already ended, so the request has no effect.
    #[error("execution {execution} is already {status}; {remedy} [stent::Ended]")]
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
             add it with Registry::with [stent::NotRegistered]", known_here(.known))]
    NotRegistered {
        /// The function's name in the store.
        function: String,
        /// The names of the registered functions.
        known: Vec<String>,
    },

    /// Two functions have the same name.
    #[error(
        "two durable functions are named `{name}`, at {first} and {second}; rename one with #[durable(name = \
         \"…\")], or give one a version with #[durable(version = \"…\")] [stent::DuplicateName]"
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
         .start() [stent::MissingState]"
    )]
    MissingState {
        /// The function.
        function: String,
        /// The type of the state.
        state: &'static str,
    },

    /// A call was awaited outside a durable function.
    #[error(
        "`{name}` was awaited outside a durable function; {remedy}; code in tokio::spawn or in another thread is \
         outside the durable function, too: await in the function itself, and several at once with stent::join! \
         [stent::OutsideDurable]"
    )]
    OutsideDurable {
        /// The function, or the kind of step.
        name: String,
        /// What to use instead, outside a durable function.
        remedy: &'static str,
    },

    /// A durable call was created or awaited inside the closure of [`step`](crate::step()). The closure is recorded as
    /// a whole, so a replay does not run it.
    #[error(
        "{what} was created or awaited inside the closure of step `{step}`, where it cannot be a step; create and \
         await it in the function, before or after stent::step(…), or turn the closure into a durable function \
         [stent::InStep]"
    )]
    InStep {
        /// The call that was created or awaited.
        what: String,
        /// The step that the closure belongs to.
        step: String,
    },

    /// Code of a durable function tried to do something that every replay would repeat.
    #[error(
        "{what} inside durable function `{function}` would be repeated by every replay; {remedy} [stent::InDurable]"
    )]
    InDurable {
        /// The operation.
        what: String,
        /// The function.
        function: String,
        /// The remedy.
        remedy: &'static str,
    },

    /// The operation is not possible inside the closure of [`transaction`](crate::transaction()), or not in this way.
    #[error("{what} inside a transaction {remedy} [stent::InTransaction]")]
    InTransaction {
        /// The operation.
        what: String,
        /// Why it is not possible, and what to do instead.
        remedy: &'static str,
    },

    /// The store has no database that could hold the application's tables.
    #[error(
        "store `{store}` ({kind}) takes no part in the application's transactions{}; use sqlite://… or postgres://…, or, \
             if it wraps another store, forward `transactions` [stent::NoTransactions]",
        without_transactions(kind)
    )]
    #[non_exhaustive]
    NoTransactions {
        /// The type of the store.
        store: &'static str,
        /// The kind of store, as it calls itself. Wrappers of a store have its kind.
        kind: &'static str,
    },

    /// No execution has this id.
    #[error(
        "no execution has the id {0}: it was never dispatched to this store, the transaction that dispatches it is \
         not committed, or it was purged [stent::NotFound]"
    )]
    NotFound(ExecutionId),

    /// An exported execution cannot be [imported](crate::Stent::import).
    #[error("{0}; {hint} [stent::Import]", hint = .0.hint())]
    Import(ImportError),

    /// A value could not be encoded or decoded.
    #[error("{what}: {source} [stent::Codec]")]
    Codec {
        /// The value that was encoded or decoded.
        what: String,
        /// The cause.
        source: CodecError,
    },

    /// A payload exceeds the size limit.
    #[error(
        "{what} is {len} bytes long, and the limit is {max}; keep large data elsewhere and pass a reference, or raise \
             payload_max [stent::PayloadTooLarge]"
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
    #[error("option `{option}`: {problem} [stent::Option]")]
    Option {
        /// The option.
        option: &'static str,
        /// Why it is invalid, and which values are valid.
        problem: String,
    },

    /// Text could not be parsed as a duration.
    #[error("{0} [stent::Duration]")]
    Duration(DurationError),

    /// A store URL is invalid.
    #[error("store URL {url:?}: {problem} [stent::Url]")]
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
    #[error("the worker crashed: its loop panicked with: {panic} [stent::WorkerCrashed]")]
    WorkerCrashed {
        /// The panic message.
        panic: String,
    },

    /// A worker stopped before it was ready.
    #[error("the worker stopped before it was ready{} [stent::WorkerStopped]", said_last(.last_error))]
    WorkerStopped {
        /// The last error of its store.
        last_error: Option<String>,
    },

    /// The tokio runtime in which this `Stent` was connected has shut down, and the background tasks of `Stent` with
    /// it.
    #[error(
        "the tokio runtime in which this Stent was connected has shut down, and its background tasks with it; \
         connect in the runtime that uses it (each #[tokio::test] has its own runtime) [stent::RuntimeEnded]"
    )]
    RuntimeEnded,

    /// The `Stent` handle was closed.
    #[error("this Stent is closed [stent::Closed]")]
    Closed,
}

impl From<DurationError> for Error {
    fn from(error: DurationError) -> Self {
        Self::Duration(error)
    }
}

impl Error {
    /// The error's code, which does not change when its text does: `stent::WaitTimeout`, for example. The guide has an index of
    /// all codes, with the meaning and the remedy of each.
    ///
    /// A failure has the code [`stent::Failed`](Self::Failed), unless its [`Kind`](crate::Kind) is one of Stent's own, which is
    /// then the code. The errors of a store have the codes of their kinds: see [`StoreErrorKind::code`](crate::StoreErrorKind::code).
    ///
    /// The text of an error ends with the code in brackets. Three kinds of text do not: the application's failures and the
    /// errors of the application's database have only their own text, and Stent's failures begin with the code.
    ///
    /// ```
    /// let error = stent::Error::Closed;
    /// assert_eq!(error.code(), "stent::Closed");
    /// assert_eq!(error.to_string(), "this Stent is closed [stent::Closed]");
    /// ```
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Failed(failure) => failure.kind.code().unwrap_or("stent::Failed"),
            Self::Cancelled => "stent::Cancelled",
            Self::TimedOut => "stent::TimedOut",
            Self::WaitTimeout { .. } => "stent::WaitTimeout",
            Self::SignalTimeout { .. } => "stent::SignalTimeout",
            Self::Elapsed { .. } => "stent::Elapsed",
            Self::Ended { .. } => "stent::Ended",
            Self::NotRegistered { .. } => "stent::NotRegistered",
            Self::DuplicateName { .. } => "stent::DuplicateName",
            Self::MissingState { .. } => "stent::MissingState",
            Self::OutsideDurable { .. } => "stent::OutsideDurable",
            Self::InStep { .. } => "stent::InStep",
            Self::InDurable { .. } => "stent::InDurable",
            Self::InTransaction { .. } => "stent::InTransaction",
            Self::NoTransactions { .. } => "stent::NoTransactions",
            Self::NotFound(_) => "stent::NotFound",
            Self::Import(_) => "stent::Import",
            Self::Codec { .. } => "stent::Codec",
            Self::PayloadTooLarge { .. } => "stent::PayloadTooLarge",
            Self::Option { .. } => "stent::Option",
            Self::Duration(_) => "stent::Duration",
            Self::Url { .. } => "stent::Url",
            Self::Store(error) => error.code(),
            #[cfg(feature = "sql")]
            Self::Database(_) => "stent::Database",
            Self::WorkerCrashed { .. } => "stent::WorkerCrashed",
            Self::WorkerStopped { .. } => "stent::WorkerStopped",
            Self::RuntimeEnded => "stent::RuntimeEnded",
            Self::Closed => "stent::Closed",
        }
    }

    /// The error of a future that is awaited outside durable functions.
    pub(crate) fn outside_durable(name: &str) -> Self {
        let remedy = match name {
            "stent::sleep" => "use tokio::time::sleep there",
            "stent::timeout" => "use tokio::time::timeout there",
            "stent::signal" => {
                "only durable functions wait for signals; send one with run.signal(…) or stent.send_signal(…)"
            }
            "stent::transaction" => {
                "use a transaction of your database there, and dispatch with .within(&txn) inside it"
            }
            "stent::spawn" => {
                "use stent.dispatch(…) there; under .local() there are no executions, so test code that spawns with \
                 stent::testing"
            }
            "stent::execution" => {
                "only running code has an execution; read one from outside with its handle or stent.inspect()"
            }
            _ => {
                "dispatch it with stent.dispatch(…) or stent.run(…), or run its body with .local() in a unit test"
            }
        };
        Self::OutsideDurable { name: name.to_owned(), remedy }
    }

    /// The error of an inline step that is awaited outside durable functions.
    pub(crate) fn step_outside_durable(step: &str) -> Self {
        Self::OutsideDurable {
            name: format!("stent::step({step:?})"),
            remedy: "call its closure directly there, or move the code into a durable function",
        }
    }

    /// The text without the code, for a text whose code is elsewhere.
    pub(crate) fn text(&self) -> String {
        let whole = self.to_string();
        let code = whole.strip_suffix(']').and_then(|text| text.strip_suffix(self.code()));
        code.and_then(|text| text.strip_suffix(" [")).map_or_else(|| whole.clone(), str::to_owned)
    }

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

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return self.shape(f);
        }
        let (text, code) = (self.to_string(), self.code());
        f.write_str(&text)?;
        // The application's failures have only their own text.
        if !text.contains(code) {
            write!(f, " [{code}]")?;
        }
        let (mut cause, mut head) = (self.source(), "\n\nCaused by:");
        while let Some(below) = cause {
            let said = below.to_string();
            if !text.contains(&said) {
                write!(f, "{}\n    {said}", std::mem::take(&mut head))?;
            }
            cause = below.source();
        }
        Ok(())
    }
}

impl Error {
    /// The variant, with the error underneath, or else with the text, which has all its fields.
    fn shape(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => f.debug_tuple("Failed").field(failure).finish(),
            Self::Store(error) => f.debug_tuple("Store").field(error).finish(),
            #[cfg(feature = "sql")]
            Self::Database(error) => f.debug_tuple("Database").field(error).finish(),
            Self::Codec { what, source } => {
                f.debug_struct("Codec").field("what", what).field("source", source).finish()
            }
            error => {
                let variant = error.code().trim_start_matches("stent::");
                f.debug_tuple(variant).field(&error.text()).finish()
            }
        }
    }
}

fn said_last(error: &Option<String>) -> String {
    error.as_ref().map_or_else(String::new, |error| format!("; the last error of its store: {error}"))
}

/// Why a kind of store has no transactions, and what to do without them.
fn without_transactions(kind: &str) -> &'static str {
    match kind {
        "redis" => {
            ", because Redis has none that an application's tables could join: commit your rows first, and then dispatch with an \
             idempotency_key, which makes a repeat harmless"
        }
        _ => "",
    }
}

fn known_here(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!("registered functions: {}; ", known.join(", ")) }
}

#[cfg(test)]
mod tests {
    use stent_core::backend::ErrorKind;
    use stent_core::duration::IntoDuration;
    use stent_core::{Kind, own_failure};

    use super::*;

    /// One error of each kind whose text ends with its code.
    fn each() -> Vec<Error> {
        let id = ExecutionId::from_uuid(uuid::Uuid::nil());
        let text = || "x".to_owned();
        let waited = Duration::from_secs(1);
        let remedy = "do so";
        vec![
            Error::Cancelled,
            Error::TimedOut,
            Error::WaitTimeout { execution: id, waited },
            Error::SignalTimeout { name: text(), waited },
            Error::Elapsed { limit: waited, place: text() },
            Error::Ended { execution: id, status: ExecutionStatus::Failed, remedy },
            Error::NotRegistered { function: text(), known: vec![] },
            Error::DuplicateName { name: text(), first: text(), second: text() },
            Error::MissingState { function: text(), state: "Db" },
            Error::outside_durable("charge"),
            Error::InStep { what: text(), step: text() },
            Error::InDurable { what: text(), function: text(), remedy },
            Error::InTransaction { what: text(), remedy },
            Error::NoTransactions { store: "x", kind: "memory" },
            Error::NotFound(id),
            Error::Import(ImportError::CutOff(id)),
            Error::Codec {
                what: text(),
                source: stent_core::Codec::Json.encode(&f64::NAN).expect_err("JSON has no such number"),
            },
            Error::PayloadTooLarge { what: text(), len: 2, max: 1 },
            Error::Option { option: "lease", problem: text() },
            Error::Duration("soon".into_duration().expect_err("no duration")),
            Error::Url { url: text(), problem: text() },
            Error::Store(StoreError::new(ErrorKind::Contended, "claim")),
            Error::WorkerCrashed { panic: text() },
            Error::WorkerStopped { last_error: Some(text()) },
            Error::RuntimeEnded,
            Error::Closed,
        ]
    }

    #[test]
    fn a_redis_store_says_what_to_do_without_transactions() {
        let error = Error::NoTransactions { store: "x", kind: "redis" }.to_string();
        assert!(
            error.contains("dispatch with an idempotency_key, which makes a repeat harmless; use sqlite://"),
            "{error}"
        );
    }

    #[test]
    fn a_text_ends_with_the_code() {
        for error in each() {
            let (text, code) = (error.to_string(), error.code());
            assert!(text.ends_with(&format!(" [{code}]")), "{text} should end with {code}");
            assert_eq!(format!("{} [{code}]", error.text()), text);
        }
    }

    #[test]
    fn a_failure_has_its_own_code_or_none_in_its_text() {
        let panic = Error::Failed(own_failure(Kind::PANIC, "boom"));
        assert_eq!((panic.code(), panic.to_string().as_str()), (Kind::PANIC, "stent::Panic: boom"));
        let declined = Error::Failed(Failure::new("shop::Declined", "no funds"));
        assert_eq!((declined.code(), declined.to_string().as_str()), ("stent::Failed", "Declined: no funds"));
        assert_eq!(declined.text(), "Declined: no funds");
    }

    #[test]
    fn a_step_outside_is_told_from_a_function_outside() {
        let [step, sleep, call] = [
            Error::step_outside_durable("render"),
            Error::outside_durable("stent::sleep"),
            Error::outside_durable("charge"),
        ];
        assert!(step.text().starts_with(
            "`stent::step(\"render\")` was awaited outside a durable function; call its closure"
        ));
        assert!(sleep.text().contains("tokio::time::sleep") && !sleep.text().contains("dispatch"));
        assert!(call.text().contains("stent.dispatch(…)") && call.text().contains(".local()"));
    }
}
