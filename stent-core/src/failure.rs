//! Failures: what went wrong in user code, in a form that crosses the store and keeps its identity.

use std::error::Error;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Payload;
use crate::limits::{FAILURE_KIND_BYTES_MAX, FAILURE_TEXT_BYTES_MAX};
use crate::model::ExecutionStatus;

/// A failure of a durable function: kind, message, the chain of causes, and the user's own data.
///
/// A failure keeps its identity however many functions it passes through: a caller that returns it with `?`
/// hands on this value, not a text about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of error it is: the type's name without its path, such as `ChargeError`, or a variant of it, such as
    /// `ChargeError::Declined`.
    pub kind: String,
    /// The error's own message.
    pub message: String,
    /// Messages of the causes, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// Where it happened, as far as is known: a panic's location, or a backtrace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The error value itself, when its type is serde's to encode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Payload>,
    /// A fatal failure is not retried, whatever the policy says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fatal: bool,
}

impl Failure {
    /// Kind of a failure that stands for a panic.
    pub const PANIC: &'static str = "Panic";
    /// Kind of a failure that stands for code which no longer matches its record.
    pub const MISMATCH: &'static str = "Mismatch";
    /// Kind of a failure that stands for too many crashes without progress.
    pub const CRASH_LOOP: &'static str = "CrashLoop";
    /// Kind of a failure that stands for something which the store cannot hold.
    pub const REFUSED: &'static str = "Refused";
    /// Kind of a failure that stands for arguments or a result that do not decode.
    pub const CODEC: &'static str = "Codec";

    /// Kind of a failure that stands for a task whose time was up.
    pub const TIMED_OUT: &'static str = "TimedOut";
    /// Kind of a failure that stands for an execution which was cancelled.
    pub const CANCELLED: &'static str = "Cancelled";
    /// Kind of a failure that stands for an execution which is not there.
    pub const NOT_FOUND: &'static str = "NotFound";

    /// What an execution that was cancelled leaves to those who wait for it.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(Self::CANCELLED, "the execution was cancelled").fatal()
    }

    /// How the execution ended that left this failure, if it was not its code that failed: cancelled, or timed out.
    #[must_use]
    pub fn outcome(&self) -> Option<ExecutionStatus> {
        // User code may have errors of these names, but their failures carry where they come from, or data.
        let by_store = self.fatal && self.data.is_none() && self.trace.is_none();
        match self.kind.as_str() {
            Self::CANCELLED if by_store => Some(ExecutionStatus::Cancelled),
            Self::TIMED_OUT if by_store => Some(ExecutionStatus::TimedOut),
            _ => None,
        }
    }

    /// A failure from a kind and a message.
    pub fn new(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            message: message.into(),
            causes: Vec::new(),
            trace: None,
            data: None,
            fatal: false,
        }
    }

    /// A failure from an error, with the messages of its causes.
    pub fn from_error(kind: impl Into<String>, error: &(dyn Error + 'static)) -> Self {
        let mut failure = Self::new(kind, error.to_string());
        let mut cause = error.source();
        while let Some(error) = cause {
            match error.downcast_ref::<Self>() {
                // Its text holds its causes; here they stay one each.
                Some(inner) => {
                    failure.causes.push(format!("{}: {}", inner.kind, inner.message));
                    failure.causes.extend(inner.causes.iter().cloned());
                }
                None => failure.causes.push(error.to_string()),
            }
            cause = error.source();
        }
        failure
    }

    /// The kind of an error type's failures: its name without path and parameters, so that `charge::ChargeError` is
    /// `ChargeError`. Texts and boxed errors have no name of their own, and are an `Error`.
    #[must_use]
    pub fn kind_of<E: ?Sized>() -> String {
        let full = std::any::type_name::<E>();
        let bare = full.split('<').next().unwrap_or(full);
        let name = bare.rsplit("::").next().unwrap_or(bare);
        let named = name.chars().all(|c| c.is_alphanumeric() || c == '_');
        if named && !matches!(name, "Box" | "String" | "str") { name.to_owned() } else { "Error".to_owned() }
    }

    /// The error value itself, if it is of type `E` and serde could encode it.
    ///
    /// No type has to be registered: the kind tells the type's name, and the value was stored as serde wrote it. `None`
    /// when the kind is another one, or when the value does not read as an `E`, say because `E` has changed since.
    #[must_use]
    pub fn downcast<E: DeserializeOwned>(&self) -> Option<E> {
        if !self.is(&Self::kind_of::<E>()) {
            return None;
        }
        self.data.as_ref()?.decode().ok()
    }

    /// Whether it is of a kind: of that very one, or of a variant of it. `ChargeError::Declined` is a `ChargeError`.
    ///
    /// ```
    /// use stent_core::Failure;
    ///
    /// let failure = Failure::new("ChargeError::Declined", "no funds");
    /// assert!(failure.is("ChargeError") && failure.is("ChargeError::Declined"));
    /// assert!(!failure.is("Charge") && !failure.is("Declined"));
    /// ```
    #[must_use]
    pub fn is(&self, kind: &str) -> bool {
        self.kind.strip_prefix(kind).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    }

    /// Names its kind otherwise: what `retry_for` looks at, and what people search for.
    #[must_use]
    pub fn with_kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = kind.into();
        self
    }

    /// Marks the failure as one that no retry can help.
    #[must_use]
    pub fn fatal(mut self) -> Self {
        self.fatal = true;
        self
    }

    /// The failure as every store can hold it: a kind without zero characters, and no text longer than
    /// [`FAILURE_KIND_BYTES_MAX`] or [`FAILURE_TEXT_BYTES_MAX`]. What is cut says so. The value is left as it is.
    #[must_use]
    pub fn storable(mut self) -> Self {
        if self.kind.contains('\0') {
            self.kind = self.kind.replace('\0', ZERO_PICTURE);
        }
        cut(&mut self.kind, FAILURE_KIND_BYTES_MAX);
        cut(&mut self.message, FAILURE_TEXT_BYTES_MAX);
        if let Some(trace) = &mut self.trace {
            cut(trace, FAILURE_TEXT_BYTES_MAX);
        }
        let mut left = FAILURE_TEXT_BYTES_MAX;
        let fits = self.causes.iter().take_while(|cause| {
            let fits = left > 0;
            left = left.saturating_sub(cause.len().max(1));
            fits
        });
        let (kept, causes) = (fits.count(), self.causes.len());
        if kept < causes {
            self.causes.truncate(kept);
            self.causes.push(format!("… {} more causes", causes - kept));
        }
        self.causes.iter_mut().for_each(|cause| cut(cause, FAILURE_TEXT_BYTES_MAX));
        self
    }

    /// Adds where it happened.
    #[must_use]
    pub fn with_trace(mut self, trace: impl Into<String>) -> Self {
        self.trace = Some(trace.into());
        self
    }
}

/// What stands for a zero character where a text must have none: the picture of it.
pub const ZERO_PICTURE: &str = "\u{2400}";

/// Cuts a text to so many bytes, the note that it was longer included.
fn cut(text: &mut String, max: usize) {
    if text.len() <= max {
        return;
    }
    let note = format!("… (cut; {} bytes in all)", text.len());
    text.truncate(text.floor_char_boundary(max - note.len()));
    text.push_str(&note);
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)?;
        self.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Codec;

    #[derive(Debug, thiserror::Error)]
    #[error("no checkout")]
    struct Wrapper(#[source] Failure);

    #[test]
    fn its_wire_form_is_fixed() {
        let whole = Failure {
            causes: vec!["timed out".to_owned()],
            data: Some(Codec::Json.encode(&51).expect("encodes")),
            ..Failure::new("ChargeError::Declined", "no funds").with_trace("in `charge`").fatal()
        };
        let stored = r#"{"kind":"ChargeError::Declined","message":"no funds","causes":["timed out"],"#
            .to_owned()
            + r#""trace":"in `charge`","data":{"content_type":"application/json","bytes":[53,49]},"fatal":true}"#;
        assert_eq!(serde_json::to_string(&whole).expect("encodes"), stored);
        assert_eq!(serde_json::from_str::<Failure>(&stored).expect("decodes"), whole);

        let least = Failure::new("Panic", "boom");
        let stored = r#"{"kind":"Panic","message":"boom"}"#;
        assert_eq!(serde_json::to_string(&least).expect("encodes"), stored);
        assert_eq!(serde_json::from_str::<Failure>(stored).expect("decodes"), least);
    }

    #[test]
    fn a_kind_is_the_bare_name_of_a_type() {
        for (kind, expected) in [
            (Failure::kind_of::<Wrapper>(), "Wrapper"),
            (Failure::kind_of::<std::io::Error>(), "Error"),
            (Failure::kind_of::<Option<Wrapper>>(), "Option"),
            (Failure::kind_of::<String>(), "Error"),
            (Failure::kind_of::<&str>(), "Error"),
            (Failure::kind_of::<Box<dyn Error + Send + Sync>>(), "Error"),
        ] {
            assert_eq!(kind, expected);
        }
    }

    #[test]
    fn the_value_comes_back_as_its_own_type_only() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Declined(u16);
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Other(u16);

        for kind in ["Declined", "Declined::Late"] {
            let mut failure = Failure::new(kind, "declined");
            assert_eq!(failure.downcast::<Declined>(), None);
            failure.data = Some(Codec::Cbor.encode(&Declined(51)).expect("encodes"));
            assert_eq!(failure.downcast(), Some(Declined(51)));
            assert_eq!(failure.downcast::<Other>(), None);
        }
    }

    #[test]
    fn what_no_store_could_hold_is_cut_and_says_so() {
        let given = Failure { causes: vec!["no funds".to_owned()], ..Failure::new("Declined", "no\0 funds") };
        assert_eq!(given.clone().storable(), given, "what fits stays as it is");

        assert_eq!(Failure::new("a\0b", "m").storable().kind, "a\u{2400}b");
        let long = "é".repeat(20_000);
        let cut = Failure { causes: vec![long.clone(); 3], ..Failure::new(long.clone(), long.clone()) };
        let cut = cut.with_trace(long).storable();
        assert!(
            cut.kind.len() <= FAILURE_KIND_BYTES_MAX && cut.kind.ends_with("… (cut; 40000 bytes in all)"),
            "{}",
            cut.kind
        );
        assert!(cut.message.len() <= FAILURE_TEXT_BYTES_MAX && cut.message.ends_with("bytes in all)"));
        assert!(cut.trace.as_ref().is_some_and(|trace| trace.len() <= FAILURE_TEXT_BYTES_MAX));
        assert_eq!(cut.causes.len(), 2);
        assert_eq!(cut.causes[1], "… 2 more causes");
        assert_eq!(cut.clone().storable(), cut, "once is enough");
    }

    #[test]
    fn a_failure_among_the_causes_is_told_once() {
        let mut inner = Failure::new("ChargeError", "declined");
        inner.causes.push("no funds".to_owned());
        let outer = Failure::from_error("CheckoutError", &Wrapper(inner));
        assert_eq!(outer.causes, ["ChargeError: declined", "no funds"]);
        assert_eq!(outer.to_string(), "CheckoutError: no checkout: ChargeError: declined: no funds");
    }
}
