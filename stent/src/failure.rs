//! How the errors of user code become failures, keeping what can be kept of them.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::error::Error as StdError;
use std::panic;
use std::sync::Once;

use serde::Serialize;
use stent_core::{Codec, Failure};

use crate::Error;

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// An error on its way to becoming a failure. Which of the two ways it takes is chosen by method resolution: the macro
/// calls `(&&Caught::new(error)).into_failure()`, and the trait that is implemented one reference further out wins.
pub struct Caught<E>(Cell<Option<E>>);

impl<E> std::fmt::Debug for Caught<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Caught")
    }
}

impl<E> Caught<E> {
    /// Wraps the error.
    pub const fn new(error: E) -> Self {
        Self(Cell::new(Some(error)))
    }

    fn take(&self) -> E {
        self.0.take().expect("an error is turned into a failure once")
    }
}

/// The way of error types that serde can encode: the value itself is kept.
pub trait IntoFailureSerde {
    /// Makes the failure.
    #[expect(
        clippy::wrong_self_convention,
        reason = "method resolution chooses by reference; the error is taken from its cell"
    )]
    fn into_failure(&self) -> Failure;
}

impl<E: StdError + Serialize + 'static> IntoFailureSerde for &Caught<E> {
    fn into_failure(&self) -> Failure {
        let error = self.take();
        if let Some(failure) = (&error as &dyn Any).downcast_ref::<Failure>() {
            return failure.clone();
        }
        let mut failure = Failure::from_error(Failure::kind_of::<E>(), &error);
        failure.data = Codec::default().encode(&error).ok();
        failure
    }
}

/// The way of all other errors: kind, message and causes are kept.
pub trait IntoFailureBoxed {
    /// Makes the failure.
    #[expect(clippy::wrong_self_convention, reason = "as above")]
    fn into_failure(&self) -> Failure;
}

impl<E: Into<BoxError> + 'static> IntoFailureBoxed for Caught<E> {
    fn into_failure(&self) -> Failure {
        from_boxed(self.take().into(), Failure::kind_of::<E>)
    }
}

/// What an error of any type is as a failure. `kind` names its type, if it is none of Stent's own.
pub(crate) fn from_boxed(boxed: BoxError, kind: impl FnOnce() -> String) -> Failure {
    match boxed.downcast::<Error>() {
        Ok(error) => from_stent_error(*error),
        Err(boxed) => match boxed.downcast::<Failure>() {
            Ok(failure) => *failure,
            Err(boxed) => Failure::from_error(kind(), &*boxed),
        },
    }
}

/// What an error says of itself beyond its type: which variant it is, and whether a retry can help. Without it, the kind of
/// every failure of a type is the type's name, and the policy alone decides.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use stent::prelude::*;
///
/// #[derive(Debug, thiserror::Error, Serialize, Deserialize)]
/// enum ChargeError {
///     #[error("declined with code {0}")]
///     Declined(u16),
///     #[error("the bank is busy")]
///     Busy,
///     #[error("no such card")]
///     NoCard,
/// }
///
/// impl stent::Classify for ChargeError {
///     fn variant(&self) -> Option<&'static str> {
///         Some(match self {
///             Self::Declined(_) => "Declined",
///             Self::Busy => "Busy",
///             Self::NoCard => "NoCard",
///         })
///     }
///
///     fn is_fatal(&self) -> bool {
///         matches!(self, Self::NoCard)
///     }
/// }
///
/// // The kinds are `ChargeError::Declined` and so on, and `ChargeError` stands for all of them.
/// #[durable(retry(max_attempts = 5, retry_for = [ChargeError::Busy]))]
/// async fn charge(card: String) -> Result<(), ChargeError> {
///     if card.is_empty() { Err(ChargeError::NoCard) } else { Ok(()) }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which of its variants it is",
    note = "implement `stent::Classify` for it, or name a kind that its failures are given as a text"
)]
pub trait Classify {
    /// The variant that it is, as its kind shall name it: `Declined` makes the kind `ChargeError::Declined`.
    fn variant(&self) -> Option<&'static str> {
        None
    }

    /// Whether no retry can help, whatever the policy says.
    fn is_fatal(&self) -> bool {
        false
    }
}

/// An error that may say something of itself. Whether it does is found as [`Caught`] finds its way.
#[derive(Debug)]
pub struct Classifier<'a, E>(pub &'a E);

/// What an error says of itself, to be told of its failure.
#[derive(Clone, Copy, Debug, Default)]
pub struct Class {
    variant: Option<&'static str>,
    fatal: bool,
}

impl Class {
    /// The failure, with what the error said.
    #[must_use]
    pub fn of(self, mut failure: Failure) -> Failure {
        if let Some(variant) = self.variant {
            failure.kind = format!("{}::{variant}", failure.kind);
        }
        failure.fatal |= self.fatal;
        failure
    }
}

/// The way of error types that say something of themselves.
pub trait Classified {
    /// What it says.
    fn class(&self) -> Class;
}

impl<E: Classify> Classified for &Classifier<'_, E> {
    fn class(&self) -> Class {
        Class { variant: self.0.variant(), fatal: self.0.is_fatal() }
    }
}

/// The way of all other errors.
pub trait Unclassified {
    /// Nothing.
    fn class(&self) -> Class {
        Class::default()
    }
}

impl<E> Unclassified for Classifier<'_, E> {}

/// The kind of the failures of one variant.
pub(crate) fn variant_kind<E>(variant: &str) -> String {
    format!("{}::{variant}", Failure::kind_of::<E>())
}

/// A failure that passes through a function with `?` stays the failure that it is.
pub(crate) fn from_stent_error(error: Error) -> Failure {
    match error {
        Error::Failed(failure) => failure,
        other => {
            let kind = match &other {
                Error::Cancelled => "Cancelled",
                Error::TimedOut => "TimedOut",
                Error::Codec { .. } => Failure::CODEC,
                _ => "StentError",
            };
            Failure::from_error(kind, &other)
        }
    }
}

/// A failure, with the function that it comes from where it does not know better. The stack says nothing here: the body
/// has returned.
pub(crate) fn located<F: crate::Function>(mut failure: Failure) -> Failure {
    if failure.trace.is_none() {
        failure.trace = Some(format!("in `{}` ({})", F::NAME, std::any::type_name::<F>()));
    }
    failure
}

/// Most of a stack that is kept, in bytes. It is stored with the failure, and its top is what one looks for.
const STACK_BYTES_MAX: usize = 8 * 1024;

/// The place, and the stack where `RUST_BACKTRACE` asks for it.
fn with_stack(place: String) -> String {
    let stack = Backtrace::capture();
    match stack.status() {
        BacktraceStatus::Captured => {
            let stack = stack.to_string();
            format!("{place}\n{}", &stack[..stack.floor_char_boundary(STACK_BYTES_MAX)])
        }
        _ => place,
    }
}

thread_local! {
    /// What the last panic of this thread said, and where it was, until it has become a failure.
    static PANICKED: Cell<Option<(Option<String>, String)>> = const { Cell::new(None) };
}

/// Makes failures from panics name the line, and the stack if `RUST_BACKTRACE` is set. Without it they name the function only.
///
/// It installs a panic hook for the whole process, which notes the place and then calls the hook that was there, so call it
/// after other hooks are installed. Calling it again does nothing.
///
/// ```
/// stent::install_panic_hook();
/// ```
pub fn install_panic_hook() {
    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| {
        let known = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let message = info.payload_as_str().map(str::to_owned);
            let place = info.location().map(|location| with_stack(format!("at {location}")));
            PANICKED.set(place.map(|place| (message, place)));
            known(info);
        }));
    });
}

/// The failure that a panic becomes. To be called on the thread that panicked.
pub(crate) fn from_panic(panic: &(dyn Any + Send)) -> Failure {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    let noted = PANICKED.take();
    let text = message.clone().unwrap_or_else(|| "the panic had no message".to_owned());
    let failure = Failure::new(Failure::PANIC, text);
    match noted {
        // A panic that is resumed calls no hook, so what is noted may be another one's.
        Some((noted, place)) if noted == message => failure.with_trace(place),
        _ => failure,
    }
}

/// Makes a failure of an error, to be changed and then returned: `stent::failure(error).with_kind("Timeout")`. Its value is
/// kept, and [`downcast`](Failure::downcast) gives it back while the kind is its type's or a variant of it.
///
/// ```
/// # use stent::prelude::*;
/// # #[derive(Debug, thiserror::Error, serde::Serialize, serde::Deserialize)]
/// # #[error("declined")] struct Declined { late: bool }
/// #[durable(retry(retry_for = ["Declined::Late"]))]
/// async fn charge(late: bool) -> Result<(), stent::Failure> {
///     let declined = Declined { late };
///     Err(stent::failure(declined).with_kind(if late { "Declined::Late" } else { "Declined" }))
/// }
/// ```
pub fn failure<E: StdError + Serialize + 'static>(error: E) -> Failure {
    (&Caught::new(error)).into_failure()
}

/// Marks an error as one that no retry can help, whatever the policy says. Takes what `?` would box: errors and texts.
///
/// The value itself is not kept. Where the caller wants it back, an error says that it is fatal by [`Classify`], or is
/// returned as `stent::failure(error).fatal()`.
///
/// ```
/// # use stent::prelude::*;
/// #[durable]
/// async fn charge(card: String) -> Result<u64, stent::Failure> {
///     if card.is_empty() {
///         return Err(stent::fatal("the card has no number"));
///     }
///     card.parse().map_err(stent::fatal)
/// }
/// ```
pub fn fatal<E: Into<BoxError> + 'static>(error: E) -> Failure {
    IntoFailureBoxed::into_failure(&Caught::new(error)).fatal()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
    #[error("declined with {code}")]
    struct Declined {
        code: u16,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("opaque")]
    struct Opaque(#[source] std::io::Error);

    macro_rules! failure {
        ($error:expr) => {{
            #[allow(unused_imports, reason = "which of the two is used is what the test is about")]
            use super::{IntoFailureBoxed as _, IntoFailureSerde as _};
            (&&Caught::new($error)).into_failure()
        }};
    }

    #[test]
    fn where_a_panic_was_is_noted_only_if_the_program_asks_for_that() {
        let panicked = || panic::catch_unwind(|| panic!("here")).expect_err("it panics");
        assert_eq!(from_panic(&*panicked()).trace, None);

        install_panic_hook();

        let trace = from_panic(&*panicked()).trace.expect("a place");
        assert!(trace.starts_with("at ") && trace.contains("failure.rs:"), "{trace}");
    }

    #[test]
    fn an_error_that_serde_knows_keeps_its_value() {
        let failure = failure!(Declined { code: 51 });

        assert_eq!(failure.kind, "Declined");
        assert_eq!(Error::Failed(failure).downcast(), Some(Declined { code: 51 }));
    }

    #[test]
    fn other_errors_keep_kind_message_and_causes() {
        let failure = failure!(Opaque(std::io::Error::other("disk")));

        assert_eq!((failure.kind.as_str(), failure.message.as_str()), ("Opaque", "opaque"));
        assert_eq!(failure.causes, ["disk"]);
        assert!(Error::Failed(failure).downcast::<Declined>().is_none());
    }

    #[test]
    fn texts_and_boxes_are_errors_too() {
        assert_eq!(failure!("no").to_string(), "Error: no");
        assert_eq!(failure!("no".to_owned()).kind, "Error");
        assert_eq!(failure!(BoxError::from("no")).message, "no");
    }

    #[test]
    fn a_failure_that_passes_through_stays_itself() {
        let inner = failure!(Declined { code: 51 });
        assert_eq!(failure!(Error::Failed(inner.clone())), inner);
        assert_eq!(failure!(BoxError::from(Error::Failed(inner.clone()))), inner);
        assert_eq!(failure!(inner.clone().fatal()), inner.fatal());
    }
}
