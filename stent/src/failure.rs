//! How the errors of user code become failures, keeping what can be kept of them.

use std::any::Any;
use std::cell::Cell;
use std::error::Error as StdError;

use serde::Serialize;
use stent_core::{Codec, Failure};

use crate::Error;

/// The name of an error type as a failure's kind: without path, `charge::ChargeError` is `ChargeError`.
pub(crate) fn kind_of<E: ?Sized>() -> String {
    let full = std::any::type_name::<E>();
    let bare = full.split('<').next().unwrap_or(full);
    let name = bare.rsplit("::").next().unwrap_or(bare);
    let named = name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if named && !matches!(name, "Box" | "String" | "str") { name.to_owned() } else { "Error".to_owned() }
}

type BoxError = Box<dyn StdError + Send + Sync>;

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
        let mut failure = Failure::from_error(kind_of::<E>(), &error);
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
        let boxed: BoxError = self.take().into();
        match boxed.downcast::<Error>() {
            Ok(error) => from_stent_error(*error),
            Err(boxed) => match boxed.downcast::<Failure>() {
                Ok(failure) => *failure,
                Err(boxed) => Failure::from_error(kind_of::<E>(), &*boxed),
            },
        }
    }
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

/// The failure that a panic becomes.
pub(crate) fn from_panic(panic: &(dyn Any + Send)) -> Failure {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the panic had no message".to_owned());
    Failure::new(Failure::PANIC, message)
}

/// Marks an error as one that no retry can help, whatever the policy says.
///
/// ```
/// # use stent::prelude::*;
/// #[durable]
/// async fn charge(card: String) -> Result<(), stent::Failure> {
///     if card.is_empty() {
///         return Err(stent::fatal("the card has no number"));
///     }
///     Ok(())
/// }
/// ```
pub fn fatal<E: Into<BoxError> + 'static>(error: E) -> Failure {
    Caught::new(error).into_failure().fatal()
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
