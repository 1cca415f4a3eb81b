//! Failures: errors of user code, in a form that can be stored and keeps the error's identity.

use std::any::TypeId;
use std::error::Error;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::kind::Kind;
pub use self::known::{ErrorType, KnownError, check_known_errors, known_failure};
use crate::limits::{FAILURE_KIND_BYTES_MAX, FAILURE_TEXT_BYTES_MAX};
use crate::model::ExecutionStatus;
use crate::{Codec, Payload};

mod kind;
mod known;

/// A failure of a durable function: kind, message, the chain of causes, and the user's data.
///
/// A failure keeps its identity however many functions it passes through: a caller that returns it with `?` passes on this
/// value, not a text about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// The kind of the error: the path of its type, such as `shop::ChargeError`, or a variant of it, such as
    /// `shop::ChargeError::Declined`.
    pub kind: Kind,
    /// The error's message.
    pub message: String,
    /// Messages of the causes, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// Where it happened, as far as known: a panic's location, or a backtrace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The error value, if serde can encode it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Payload>,
    /// The name of the type of `data`, which [`downcast`](Self::downcast) compares. Older versions stored none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_type: Option<String>,
    /// Whether the failure is fatal: fatal failures are not retried, whatever the policy says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fatal: bool,
}

impl Failure {
    /// Kind of a failure for a panic.
    pub const PANIC: &'static str = Kind::PANIC;
    /// Kind of a failure for code that no longer matches its record.
    pub const MISMATCH: &'static str = Kind::MISMATCH;
    /// Kind of a failure for too many crashes without progress.
    pub const CRASH_LOOP: &'static str = Kind::CRASH_LOOP;
    /// Kind of a failure for data that the store cannot hold.
    pub const REFUSED: &'static str = Kind::REFUSED;
    /// Kind of a failure for arguments or a result that cannot be encoded or decoded.
    pub const CODEC: &'static str = Kind::CODEC;
    /// Kind of a failure for a task whose deadline has passed.
    pub const TIMED_OUT: &'static str = Kind::TIMED_OUT;
    /// Kind of a failure for an execution that was cancelled.
    pub const CANCELLED: &'static str = Kind::CANCELLED;
    /// Kind of a failure for an execution that does not exist.
    pub const NOT_FOUND: &'static str = Kind::NOT_FOUND;
    /// Kind of a failure whose text alone is known.
    pub const UNTYPED: &'static str = Kind::UNTYPED;

    /// The failure with which waits for a cancelled execution end.
    #[must_use]
    pub fn cancelled() -> Self {
        own(Self::CANCELLED, "the execution was cancelled").fatal()
    }

    /// How the execution that left this failure ended, if it was cancelled or timed out.
    #[must_use]
    pub fn outcome(&self) -> Option<ExecutionStatus> {
        // Older versions had no namespace. User code may have errors with those names, but their failures have a trace or data.
        let by_store = self.fatal && self.data.is_none() && self.trace.is_none();
        match self.kind.as_str() {
            Self::CANCELLED | "Cancelled" if by_store => Some(ExecutionStatus::Cancelled),
            Self::TIMED_OUT | "TimedOut" if by_store => Some(ExecutionStatus::TimedOut),
            _ => None,
        }
    }

    /// Whether it is the failure for an execution that does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.fatal && matches!(self.kind.as_str(), Self::NOT_FOUND | "NotFound")
    }

    /// Creates a failure from a kind and a message. A kind in Stent's namespace is moved to another one: see [`Kind`].
    pub fn new(kind: impl Into<Kind>, message: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            message: message.into(),
            causes: Vec::new(),
            trace: None,
            data: None,
            data_type: None,
            fatal: false,
        }
    }

    /// The approximate number of bytes of its texts and its data.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let causes: usize = self.causes.iter().map(String::len).sum();
        self.kind.len()
            + self.message.len()
            + causes
            + self.trace.as_ref().map_or(0, String::len)
            + self.data_type.as_ref().map_or(0, String::len)
            + self.data.as_ref().map_or(0, Payload::len)
    }

    /// The payload in it. A new field that holds a user's data has to be told apart here.
    pub const fn data_mut(&mut self) -> Option<&mut Payload> {
        let Self { kind: _, message: _, causes: _, trace: _, data, data_type: _, fatal: _ } = self;
        data.as_mut()
    }

    /// Creates a failure from an error, with the messages of its causes.
    pub fn from_error(kind: impl Into<Kind>, error: &(dyn Error + 'static)) -> Self {
        let mut failure = Self::new(kind, error.to_string());
        let mut cause = error.source();
        while let Some(error) = cause {
            match error.downcast_ref::<Self>() {
                // Its text contains its causes; here they stay separate.
                Some(inner) => {
                    failure.causes.push(inner.headline());
                    failure.causes.extend(inner.causes.iter().cloned());
                }
                None => failure.causes.push(error.to_string()),
            }
            cause = error.source();
        }
        failure
    }

    /// The kind of an error type: see [`Kind::of`].
    #[must_use]
    pub fn kind_of<E: ?Sized + 'static>() -> Kind {
        Kind::of::<E>()
    }

    /// Adds the error value, which [`downcast`](Self::downcast) returns. A value that cannot be stored is omitted, and the
    /// causes say so.
    #[must_use]
    pub fn with_value<E: Serialize + 'static>(mut self, value: &E) -> Self {
        match Codec::default().encode_for_any(value) {
            Ok(data) => {
                self.data = Some(data);
                self.data_type = Some(data_type::<E>());
            }
            Err(error) => self.causes.push(format!("… its value was omitted: {error}")),
        }
        self
    }

    /// The error value, if it is of type `E` and serde could encode it.
    ///
    /// No type has to be registered: the name of the value's type is stored with the value. Returns `None` if the value has
    /// another type, or can no longer be decoded as an `E`, for example because `E` has changed. A type that was moved or
    /// renamed is another type, unless its author gives it its former name.
    #[must_use]
    pub fn downcast<E: DeserializeOwned + 'static>(&self) -> Option<E> {
        let is_of_type = match &self.data_type {
            Some(name) => *name == data_type::<E>(),
            // As older versions stored it: the kind is the type's bare name, or a variant of it.
            None => {
                self.kind.split("::").next() == kind::path(std::any::type_name::<E>()).rsplit("::").next()
            }
        };
        if is_of_type { self.data.as_ref()?.decode().ok() } else { None }
    }

    /// Whether it has this kind, or is a variant of it: see [`Kind::is`].
    #[must_use]
    pub fn is(&self, kind: &str) -> bool {
        self.kind.is(kind)
    }

    /// Replaces the kind, which `retry_for` checks and people search for.
    #[must_use]
    pub fn with_kind(mut self, kind: impl Into<Kind>) -> Self {
        self.kind = kind.into();
        self
    }

    /// Marks the failure as fatal: no retry can help.
    #[must_use]
    pub fn fatal(mut self) -> Self {
        self.fatal = true;
        self
    }

    /// The failure in a form that every store can hold: a kind without zero characters, and no text longer than
    /// [`FAILURE_KIND_BYTES_MAX`] or [`FAILURE_TEXT_BYTES_MAX`]. Truncated texts say so. The value is unchanged.
    #[must_use]
    pub fn storable(mut self) -> Self {
        let kind = self.kind.text_mut();
        if kind.contains('\0') {
            *kind = kind.replace('\0', ZERO_PICTURE);
        }
        cut(kind, FAILURE_KIND_BYTES_MAX);
        if let Some(data_type) = &mut self.data_type {
            cut(data_type, FAILURE_TEXT_BYTES_MAX);
        }
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

/// A failure of one of Stent's own kinds.
#[must_use]
pub fn own(kind: &'static str, message: impl Into<String>) -> Failure {
    Failure::new(Kind::own(kind), message)
}

/// The name of a value's type: as in kinds, but with its parameters.
fn data_type<E: 'static>() -> String {
    let type_name = std::any::type_name::<E>();
    match known::name_of(TypeId::of::<E>()) {
        Some(name) => format!("{name}{}", kind::parameters(type_name)),
        None => type_name.to_owned(),
    }
}

/// The replacement for a zero character in texts that must not contain one: its symbol.
pub const ZERO_PICTURE: &str = "\u{2400}";

/// Truncates a text to this many bytes, including the note about the truncation.
fn cut(text: &mut String, max: usize) {
    if text.len() <= max {
        return;
    }
    let note = format!("… (truncated; {} bytes in total)", text.len());
    text.truncate(text.floor_char_boundary(max - note.len()));
    text.push_str(&note);
}

impl Failure {
    /// Its message, preceded by the code if the kind is Stent's own, and else by the short kind if it has a type.
    fn headline(&self) -> String {
        match self.kind.code() {
            Some(Self::UNTYPED) => self.message.clone(),
            Some(code) => format!("{code}: {}", self.message),
            None => format!("{}: {}", self.kind.short(), self.message),
        }
    }
}

/// Shows the kind without its modules, the message and the causes. A kind of Stent's own is shown whole, because it is the code of
/// the failure: `stent::Panic: …`.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline())?;
        self.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no checkout")]
    struct Wrapper(#[source] Failure);

    #[test]
    fn its_wire_form_is_fixed() {
        let whole = Failure {
            causes: vec!["timed out".to_owned()],
            data: Some(Codec::Json.encode(&51).expect("encodes")),
            data_type: Some("u8".to_owned()),
            ..Failure::new("ChargeError::Declined", "no funds").with_trace("in `charge`").fatal()
        };
        let stored = r#"{"kind":"ChargeError::Declined","message":"no funds","causes":["timed out"],"#
            .to_owned()
            + r#""trace":"in `charge`","data":{"content_type":"application/json","bytes":[53,49]},"data_type":"u8","fatal":true}"#;
        assert_eq!(serde_json::to_string(&whole).expect("encodes"), stored);
        assert_eq!(serde_json::from_str::<Failure>(&stored).expect("decodes"), whole);

        let least = Failure::new("Panic", "boom");
        let stored = r#"{"kind":"Panic","message":"boom"}"#;
        assert_eq!(serde_json::to_string(&least).expect("encodes"), stored);
        assert_eq!(serde_json::from_str::<Failure>(stored).expect("decodes"), least);
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Declined<T = u16>(T);

    mod other {
        use serde::{Deserialize, Serialize};

        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        pub(super) struct Declined(pub(super) u16);
    }

    type Alias = Declined;

    #[test]
    fn the_value_comes_back_as_its_own_type_only() {
        // The kind says nothing about the value, which may have another type.
        for kind in [Kind::of::<Declined>(), Kind::from("Late"), Kind::of::<other::Declined>()] {
            let failure = Failure::new(kind, "declined").with_value(&Declined(51_u16));
            assert_eq!(failure.downcast(), Some(Declined(51_u16)));
            assert_eq!(failure.downcast::<Alias>(), Some(Declined(51)));
            assert_eq!(failure.downcast::<other::Declined>(), None);
            assert_eq!(failure.downcast::<Declined<u32>>(), None);
            assert_eq!(failure.downcast::<u16>(), None);
        }
        assert_eq!(Failure::new(Kind::of::<Declined>(), "declined").downcast::<Declined>(), None);
    }

    #[test]
    fn a_value_that_cannot_be_stored_is_left_out_and_the_failure_says_so() {
        let failure = Failure::new("Declined", "no").with_value(&Some(None::<u8>));
        assert_eq!((&failure.data, &failure.data_type), (&None, &None));
        assert!(failure.causes[0].starts_with("… its value was omitted: cannot encode"), "{failure}");
    }

    #[test]
    fn a_value_of_an_older_version_comes_back_by_the_bare_name_of_its_type() {
        let data = Some(Codec::Cbor.encode(&Declined(51_u16)).expect("encodes"));
        for kind in ["Declined", "Declined::Late"] {
            let failure = Failure { data: data.clone(), ..Failure::new(kind, "declined") };
            assert_eq!(failure.downcast(), Some(Declined(51_u16)));
            assert_eq!(failure.downcast::<u16>(), None);
        }
        for kind in ["Other", "stent_core::Declined", ""] {
            let failure = Failure { data: data.clone(), ..Failure::new(kind, "declined") };
            assert_eq!(failure.downcast::<Declined>(), None, "{kind}");
        }
    }

    #[test]
    fn a_failure_shows_its_kind_without_modules_or_its_code_and_a_text_shows_itself() {
        assert_eq!(
            Failure::new("shop::errors::ChargeError::Busy", "later").to_string(),
            "ChargeError::Busy: later"
        );
        assert_eq!(own(Failure::PANIC, "boom").to_string(), "stent::Panic: boom");
        assert_eq!(own(Failure::UNTYPED, "no").to_string(), "no");
    }

    #[test]
    fn what_older_versions_left_in_a_store_is_understood() {
        assert_eq!(Failure::cancelled().outcome(), Some(ExecutionStatus::Cancelled));
        assert_eq!(Failure::new("Cancelled", "").fatal().outcome(), Some(ExecutionStatus::Cancelled));
        assert_eq!(Failure::new("TimedOut", "").fatal().outcome(), Some(ExecutionStatus::TimedOut));
        assert_eq!(Failure::new("shop::Cancelled", "").fatal().outcome(), None);
        assert!(
            Failure::new("NotFound", "").fatal().is_not_found()
                && !Failure::new("shop::NotFound", "").fatal().is_not_found()
        );
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
            cut.kind.len() <= FAILURE_KIND_BYTES_MAX
                && cut.kind.ends_with("… (truncated; 40000 bytes in total)"),
            "{}",
            cut.kind
        );
        assert!(cut.message.len() <= FAILURE_TEXT_BYTES_MAX && cut.message.ends_with("bytes in total)"));
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
