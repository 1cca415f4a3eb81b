//! Kinds of failures: the names by which policies, dead letters and people distinguish them. Knows nothing of values.

use std::any::TypeId;
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

use super::known;

/// The namespace of Stent's own kinds.
const OWN: &str = "stent::";

/// The prefix for an application's kind that would otherwise be in Stent's namespace.
const NOT_OWN: &str = "user::";

/// All of Stent's kinds.
const OWN_KINDS: [&str; 18] = [
    Kind::PANIC,
    Kind::MISMATCH,
    Kind::CRASH_LOOP,
    Kind::REFUSED,
    Kind::CODEC,
    Kind::TIMED_OUT,
    Kind::CANCELLED,
    Kind::NOT_FOUND,
    Kind::UNTYPED,
    Kind::ERROR,
    Kind::PAYLOAD_TOO_LARGE,
    Kind::NOT_REGISTERED,
    Kind::MISSING,
    Kind::MISSING_STATE,
    Kind::TRANSACTION_ENDED,
    Kind::TRANSACTION_KEPT,
    Kind::TRANSACTION_TIMEOUT,
    Kind::TRANSACTION_TORN,
];

/// The kind of a failure: the path of the error's type, such as `shop::errors::ChargeError`, or the name that its author gave
/// it; for a variant followed by its name, as in `shop::errors::ChargeError::Declined`.
///
/// Kinds that begin with `stent::` are Stent's. If an application's kind would begin with `stent::`, it begins with
/// `user::stent::` instead.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kind(String);

impl Kind {
    /// A panic.
    pub const PANIC: &'static str = "stent::Panic";
    /// Code that no longer matches its record.
    pub const MISMATCH: &'static str = "stent::Mismatch";
    /// Too many crashes without progress.
    pub const CRASH_LOOP: &'static str = "stent::CrashLoop";
    /// Data that the store cannot hold.
    pub const REFUSED: &'static str = "stent::Refused";
    /// A value that cannot be encoded or decoded.
    pub const CODEC: &'static str = "stent::Codec";
    /// A task whose deadline has passed.
    pub const TIMED_OUT: &'static str = "stent::TimedOut";
    /// An execution that was cancelled.
    pub const CANCELLED: &'static str = "stent::Cancelled";
    /// An execution that does not exist.
    pub const NOT_FOUND: &'static str = "stent::NotFound";
    /// An error whose text alone is known: a string, or a boxed error whose type is unknown to this process.
    pub const UNTYPED: &'static str = "stent::Untyped";
    /// Any other of Stent's errors.
    pub const ERROR: &'static str = "stent::Error";
    /// A result over the limit.
    pub const PAYLOAD_TOO_LARGE: &'static str = "stent::PayloadTooLarge";
    /// A function that the worker does not know.
    pub const NOT_REGISTERED: &'static str = "stent::NotRegistered";
    /// A task that ended without a result.
    pub const MISSING: &'static str = "stent::Missing";
    /// A state that the worker was not given.
    pub const MISSING_STATE: &'static str = "stent::MissingState";
    /// A transaction that its closure ended.
    pub const TRANSACTION_ENDED: &'static str = "stent::TransactionEnded";
    /// A transaction that outlived its closure.
    pub const TRANSACTION_KEPT: &'static str = "stent::TransactionKept";
    /// A transaction that took too long.
    pub const TRANSACTION_TIMEOUT: &'static str = "stent::TransactionTimeout";
    /// A transaction with a write that was dropped.
    pub const TRANSACTION_TORN: &'static str = "stent::TransactionTorn";

    /// A kind of the application.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        if name.starts_with(OWN) { Self(format!("{NOT_OWN}{name}")) } else { Self(name) }
    }

    /// One of Stent's kinds.
    pub(super) fn own(name: &'static str) -> Self {
        debug_assert!(OWN_KINDS.contains(&name), "{name} is in the list of Stent's kinds");
        Self(name.to_owned())
    }

    /// The kind of an error type: the name that its author gave it, or else the type's path without parameters.
    ///
    /// Strings and boxed errors are [`UNTYPED`](Self::UNTYPED): their failures have the kind of the error inside, if its type
    /// is known.
    #[must_use]
    pub fn of<E: ?Sized + 'static>() -> Self {
        if is_untyped::<E>() {
            return Self::own(Self::UNTYPED);
        }
        known::name_of(TypeId::of::<E>())
            .map_or_else(|| Self::new(path(std::any::type_name::<E>())), Self::new)
    }

    /// The kind of a variant of the type with this kind.
    #[must_use]
    pub fn variant(&self, name: &str) -> Self {
        Self(format!("{}::{name}", self.0))
    }

    /// As a text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The kind, if it is one of Stent's own. It is then the code of the failure, like the code of an error; the guide has an
    /// index of all codes.
    ///
    /// ```
    /// use stent_core::{Failure, Kind};
    ///
    /// assert_eq!(Failure::cancelled().kind.code(), Some(Kind::CANCELLED));
    /// assert_eq!(Failure::new("shop::ChargeError", "no funds").kind.code(), None);
    /// ```
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        OWN_KINDS.into_iter().find(|own| *own == self.0)
    }

    /// Without the modules of the type: `ChargeError::Declined`.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[self.type_at()..]
    }

    /// Whether a name in a policy matches this kind.
    ///
    /// A name matches itself and everything below it: a type matches its variants. It may leave out leading modules, so
    /// `ChargeError` and `errors::ChargeError` match `shop::errors::ChargeError`; a name that begins with `::` must be the
    /// whole path. Only its exact name matches one of Stent's kinds, with `stent::` or, as older versions named it, without.
    ///
    /// ```
    /// use stent_core::Failure;
    ///
    /// let kind = Failure::new("shop::ChargeError::Declined", "no funds").kind;
    /// assert!(kind.is("ChargeError") && kind.is("ChargeError::Declined") && kind.is("::shop::ChargeError"));
    /// assert!(!kind.is("Charge") && !kind.is("Declined") && !kind.is("::ChargeError"));
    /// ```
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        let (name, is_absolute) = name.strip_prefix("::").map_or((name, false), |name| (name, true));
        if self.0.starts_with(OWN) || name.starts_with(OWN) {
            return self.0 == name || (!is_absolute && self.older_name() == Some(name));
        }
        if stands_for(name, &self.0) {
            return true;
        }
        let type_at = self.type_at();
        let type_end = self.0[type_at..].find("::").map_or(self.0.len(), |at| type_at + at);
        let mut starts = self.0.match_indices("::").map(|(at, _)| at + 2).take_while(|at| *at <= type_at);
        !is_absolute && starts.any(|at| at + name.len() >= type_end && stands_for(name, &self.0[at..]))
    }

    /// Whether no failure can match a name in a policy: it is in Stent's namespace, and not one of its kinds.
    #[must_use]
    pub const fn is_nothing(name: &str) -> bool {
        let name = match name.as_bytes() {
            [b':', b':', rest @ ..] => rest,
            name => name,
        };
        if !starts_with(name, OWN.as_bytes()) {
            return false;
        }
        let mut at = 0;
        while at < OWN_KINDS.len() {
            let own = OWN_KINDS[at].as_bytes();
            if own.len() == name.len() && starts_with(name, own) {
                return false;
            }
            at += 1;
        }
        true
    }

    /// Its name in versions without the namespace.
    fn older_name(&self) -> Option<&str> {
        match self.0.as_str() {
            Self::UNTYPED => Some("Error"),
            Self::ERROR => Some("StentError"),
            own => own.strip_prefix(OWN),
        }
    }

    /// Where the type's name begins: at the first segment that is written like a type.
    fn type_at(&self) -> usize {
        let starts = std::iter::once(0).chain(self.0.match_indices("::").map(|(at, _)| at + 2));
        starts.into_iter().find(|at| self.0[*at..].starts_with(char::is_uppercase)).unwrap_or(0)
    }

    pub(super) fn text_mut(&mut self) -> &mut String {
        &mut self.0
    }
}

/// For constants, which cannot compare strings.
const fn starts_with(text: &[u8], prefix: &[u8]) -> bool {
    let mut at = 0;
    while at < prefix.len() {
        if at >= text.len() || text[at] != prefix[at] {
            return false;
        }
        at += 1;
    }
    true
}

fn stands_for(name: &str, kind: &str) -> bool {
    kind.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Whether a type holds errors of any type, so that its own name says nothing.
pub(super) fn is_untyped<E: ?Sized + 'static>() -> bool {
    let id = TypeId::of::<E>();
    let by_id = [
        TypeId::of::<str>(),
        TypeId::of::<&'static str>(),
        TypeId::of::<String>(),
        TypeId::of::<Cow<'static, str>>(),
        TypeId::of::<Box<dyn Error>>(),
        TypeId::of::<Box<dyn Error + Send>>(),
        TypeId::of::<Box<dyn Error + Send + Sync>>(),
    ];
    by_id.contains(&id)
        || matches!(std::any::type_name::<E>(), "anyhow::Error" | "eyre::Report" | "miette::eyreish::Report")
}

/// The path of a type without parameters, and without the compiler's notation for `impl` blocks and closures.
///
/// The standard library does not promise how it writes names. A test compares them with `module_path!`, so that another
/// notation of a new compiler is noticed; and types whose failures are stored for long should have a fixed name.
pub(super) fn path(type_name: &str) -> String {
    let mut path = String::with_capacity(type_name.len());
    for segment in segments(type_name) {
        let name = segment.split('<').next().unwrap_or_default();
        if !name.is_empty() && !name.starts_with('{') {
            if !path.is_empty() {
                path.push_str("::");
            }
            path.push_str(name);
        }
    }
    if path.is_empty() { type_name.to_owned() } else { path }
}

/// The parameters of a type, with their brackets.
pub(super) fn parameters(type_name: &str) -> &str {
    let last = segments(type_name).last().unwrap_or_default();
    last.find('<').filter(|at| *at > 0).map_or("", |at| &last[at..])
}

/// Parts between `::` that are not in brackets.
fn segments(type_name: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(type_name);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut depth = 0_u32;
        let mut before = ' ';
        for (at, c) in text.char_indices() {
            match c {
                '<' | '(' | '[' | '{' => depth += 1,
                // The end of an arrow, as in `fn() -> u8`, is not a bracket.
                '>' if before == '-' => {}
                '>' | ')' | ']' | '}' => depth = depth.saturating_sub(1),
                ':' if depth == 0 && text[at..].starts_with("::") => {
                    rest = Some(&text[at + 2..]);
                    return Some(&text[..at]);
                }
                _ => {}
            }
            before = c;
        }
        rest = None;
        Some(text)
    })
}

impl Deref for Kind {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl From<&str> for Kind {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for Kind {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl From<Kind> for String {
    fn from(kind: Kind) -> Self {
        kind.0
    }
}

impl PartialEq<str> for Kind {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Kind {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl PartialEq<String> for Kind {
    fn eq(&self, other: &String) -> bool {
        self.0 == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct ChargeError;
    struct Wrapped<T>(T);

    mod other {
        pub(super) struct ChargeError;
    }

    #[test]
    fn a_kind_is_the_path_of_a_type() {
        // `type_name` agrees with `module_path!`.
        assert_eq!(Kind::of::<ChargeError>(), concat!(module_path!(), "::ChargeError"));
        assert_ne!(Kind::of::<ChargeError>(), Kind::of::<other::ChargeError>());
        assert_eq!(Kind::of::<Wrapped<Vec<ChargeError>>>(), concat!(module_path!(), "::Wrapped"));
        assert_eq!(
            parameters(std::any::type_name::<Wrapped<ChargeError>>()),
            format!("<{}::ChargeError>", module_path!())
        );
        let _ = (ChargeError, Wrapped(()).0, other::ChargeError);
    }

    #[test]
    fn names_of_the_standard_library_are_those_that_one_writes() {
        assert_eq!(Kind::of::<std::io::Error>(), "std::io::Error");
        assert_eq!(Kind::of::<std::num::ParseIntError>(), "std::num::ParseIntError");
    }

    #[test]
    fn texts_and_boxes_have_no_type() {
        for kind in [
            Kind::of::<String>(),
            Kind::of::<&'static str>(),
            Kind::of::<str>(),
            Kind::of::<Cow<'static, str>>(),
            Kind::of::<Box<dyn Error>>(),
            Kind::of::<Box<dyn Error + Send>>(),
            Kind::of::<Box<dyn Error + Send + Sync>>(),
        ] {
            assert_eq!(kind, Kind::UNTYPED);
        }
    }

    #[test]
    fn paths_leave_out_what_is_no_name() {
        for (type_name, expected) in [
            ("shop::ChargeError", "shop::ChargeError"),
            ("shop::Wrapped<alloc::vec::Vec<shop::A>>", "shop::Wrapped"),
            ("shop::<impl shop::A>::f::Error", "shop::f::Error"),
            ("<shop::A as shop::B<u8>>::f::Error", "f::Error"),
            ("shop::f::{{closure}}::Error", "shop::f::Error"),
            ("shop::Of<fn(u8) -> shop::A>", "shop::Of"),
            ("(u8, u8)", "(u8, u8)"),
        ] {
            assert_eq!(path(type_name), expected, "{type_name}");
        }
    }

    #[test]
    fn a_name_stands_for_a_kind_with_or_without_its_modules() {
        for (name, kind, expected) in [
            ("ChargeError", "shop::errors::ChargeError", true),
            ("errors::ChargeError", "shop::errors::ChargeError", true),
            ("ChargeError", "shop::errors::ChargeError::Busy", true),
            ("ChargeError::Busy", "shop::errors::ChargeError::Busy", true),
            ("::shop::errors::ChargeError", "shop::errors::ChargeError::Busy", true),
            ("::ChargeError", "shop::errors::ChargeError", false),
            ("::other::ChargeError", "shop::errors::ChargeError", false),
            ("other::ChargeError", "shop::errors::ChargeError", false),
            ("Busy", "shop::errors::ChargeError::Busy", false),
            ("errors", "shop::errors::ChargeError", false),
            ("Error", "shop::errors::ChargeError", false),
            ("Charge", "shop::errors::ChargeError", false),
            ("ChargeError::Busy", "shop::errors::ChargeError", false),
            // As the application names them, and as older versions stored them.
            ("ChargeError", "ChargeError", true),
            ("ChargeError", "ChargeError::Busy", true),
            ("shop::ChargeError", "ChargeError", false),
            ("billing.declined", "billing.declined", true),
            ("", "ChargeError", false),
        ] {
            assert_eq!(Kind::new(kind).is(name), expected, "{name} and {kind}");
        }
    }

    #[test]
    fn no_kind_of_the_application_is_one_of_stents() {
        for name in ["stent::Panic", "stent::Anything"] {
            let kind = Kind::new(name);
            assert!(!kind.starts_with(OWN) && !kind.is(name) && !kind.is(&format!("::{name}")), "{kind}");
        }
        assert!(!Kind::new("Panic").is(Kind::PANIC) && !Kind::new("shop::Panic").is(Kind::PANIC));
        assert!(!Kind::own(Kind::PANIC).is("::shop::Panic") && !Kind::own(Kind::PANIC).is("shop::Panic"));
        assert_eq!(OWN_KINDS.iter().filter(|kind| kind.starts_with(OWN)).count(), OWN_KINDS.len());
    }

    #[test]
    fn policies_that_name_stents_kinds_without_a_namespace_still_do() {
        for (own, older) in [(Kind::PANIC, "Panic"), (Kind::TIMED_OUT, "TimedOut"), (Kind::UNTYPED, "Error")]
        {
            assert!(Kind::own(own).is(own) && Kind::own(own).is(older), "{own}");
        }
        assert!(!Kind::own(Kind::ERROR).is("Error") && Kind::own(Kind::ERROR).is("StentError"));
        assert!(Kind::is_nothing("stent::Panik") && Kind::is_nothing("::stent::Panik"));
        assert!(!Kind::is_nothing("stent::Panic") && !Kind::is_nothing("Panik"));
    }
}
