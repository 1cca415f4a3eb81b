//! Converts the errors of user code to failures and keeps as much of them as possible.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::Cell;
use std::error::Error as StdError;
use std::marker::PhantomData;
use std::panic;
use std::sync::Once;

use serde::Serialize;
use stent_core::{ErrorType, Failure, Kind, known_failure, own_failure};

use crate::error::Error;

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// An error that is about to become a failure. Method resolution chooses the conversion: the macro calls
/// `(&&&Caught::new(error)).into_failure()`, and of the traits that apply, the one implemented for the outermost
/// reference wins.
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

/// Converts errors that serde can encode: the failure keeps the value itself.
pub trait IntoFailureSerde {
    /// Converts the error.
    #[expect(
        clippy::wrong_self_convention,
        reason = "method resolution chooses by reference; the error is taken from its cell"
    )]
    fn into_failure(&self) -> Failure;
}

impl<E: StdError + Serialize + 'static> IntoFailureSerde for &&Caught<E> {
    fn into_failure(&self) -> Failure {
        with_value(&self.take())
    }
}

/// Converts displayable types that hold an error of any type, such as a box, `anyhow::Error` and `eyre::Report`.
pub trait IntoFailureShown {
    /// Converts the error.
    #[expect(clippy::wrong_self_convention, reason = "as above")]
    fn into_failure(&self) -> Failure;
}

impl<E: Into<BoxError> + AsRef<dyn StdError + Send + Sync> + 'static> IntoFailureShown for &Caught<E> {
    fn into_failure(&self) -> Failure {
        let error = self.take();
        unclassified::<E>(error.as_ref())
    }
}

/// Converts all other errors: the failure keeps the kind, the message and the causes.
pub trait IntoFailureBoxed {
    /// Converts the error.
    #[expect(clippy::wrong_self_convention, reason = "as above")]
    fn into_failure(&self) -> Failure;
}

impl<E: Into<BoxError> + 'static> IntoFailureBoxed for Caught<E> {
    fn into_failure(&self) -> Failure {
        let error = self.take();
        match in_anyhow(&error) {
            Some(shown) => unclassified::<E>(shown),
            None => unclassified::<E>(&*error.into()),
        }
    }
}

/// The failure of an error whose [`Class`] the macro looks up separately.
fn unclassified<E: 'static>(error: &(dyn StdError + 'static)) -> Failure {
    match Kind::of::<E>() {
        kind if kind == Kind::UNTYPED => from_shown(error, kind),
        kind => as_stents(error).unwrap_or_else(|| Failure::from_error(kind, error)),
    }
}

/// The failure of an error of any type, classified if its type is known.
pub(crate) fn from_any<E: Into<BoxError> + 'static>(error: E) -> Failure {
    match in_anyhow(&error) {
        Some(shown) => from_shown(shown, Kind::of::<E>()),
        None => from_shown(&*error.into(), Kind::of::<E>()),
    }
}

/// As [`from_any`], but also returns the boxed error.
#[cfg(feature = "sql")]
pub(crate) fn from_any_kept<E: Into<BoxError> + 'static>(error: E) -> (Failure, BoxError) {
    let shown = in_anyhow(&error).map(|shown| from_shown(shown, Kind::of::<E>()));
    let boxed = error.into();
    (shown.unwrap_or_else(|| from_shown(&*boxed, Kind::of::<E>())), boxed)
}

/// The error inside an `anyhow::Error`. Boxing it would lose its type.
#[cfg(feature = "anyhow")]
fn in_anyhow(error: &dyn Any) -> Option<&(dyn StdError + 'static)> {
    let error: &(dyn StdError + Send + Sync) = error.downcast_ref::<anyhow::Error>()?.as_ref();
    Some(error)
}

#[cfg(not(feature = "anyhow"))]
const fn in_anyhow(_: &dyn Any) -> Option<&(dyn StdError + 'static)> {
    None
}

/// The failure of an error. `kind` is the kind of the type that the code returned.
///
/// An error of a concrete type keeps that type, whatever caused it. An error in a box or an `anyhow::Error` takes the
/// kind and the value of the first error in its chain whose type is known; the errors before that one only add context.
fn from_shown(error: &(dyn StdError + 'static), kind: Kind) -> Failure {
    if kind != Kind::UNTYPED {
        return as_known(error).unwrap_or_else(|| Failure::from_error(kind, error));
    }
    let mut before = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(failure) = as_known(error) {
            return told_after(before, failure);
        }
        before.push(error.to_string());
        next = error.source();
    }
    let mut texts = before.into_iter();
    let message = texts.next().unwrap_or_default();
    let mut failure = own_failure(Kind::UNTYPED, message);
    failure.causes = texts.collect();
    failure
}

/// The failure of an error of one of Stent's types, or of a type that is known here.
fn as_known(error: &(dyn StdError + 'static)) -> Option<Failure> {
    as_stents(error).or_else(|| known_failure(error))
}

fn as_stents(error: &(dyn StdError + 'static)) -> Option<Failure> {
    match error.downcast_ref::<Error>() {
        Some(error) => Some(from_stent_error(error)),
        None => error.downcast_ref::<Failure>().cloned(),
    }
}

/// Adds context to a failure: the first context becomes the message; the other contexts, and then the failure's own
/// message, go before its causes.
fn told_after(before: Vec<String>, mut failure: Failure) -> Failure {
    let mut before = before.into_iter();
    if let Some(message) = before.next() {
        let own = std::mem::replace(&mut failure.message, message);
        let causes = std::mem::take(&mut failure.causes);
        failure.causes = before.chain([own]).chain(causes).collect();
    }
    failure
}

fn with_value<E: StdError + Serialize + 'static>(error: &E) -> Failure {
    match (error as &dyn Any).downcast_ref::<Failure>() {
        Some(failure) => failure.clone(),
        None => Failure::from_error(Kind::of::<E>(), error).with_value(error),
    }
}

/// An error type to be added to the list of types that this process knows. Method resolution finds out what its errors
/// support, as for [`Caught`].
#[derive(Debug)]
pub struct Probe<E>(PhantomData<fn(E)>);

impl<E> Probe<E> {
    /// A probe of the type `E`.
    #[must_use]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<E> Default for Probe<E> {
    fn default() -> Self {
        Self::new()
    }
}

/// Adds types whose errors serde can encode.
pub trait KnowSerde<E> {
    /// Builds the entry.
    fn entry(&self, name: Option<&'static str>, class: fn(&E) -> Class) -> Option<ErrorType>;
}

impl<E: StdError + Serialize + 'static> KnowSerde<E> for &&Probe<E> {
    fn entry(&self, name: Option<&'static str>, class: fn(&E) -> Class) -> Option<ErrorType> {
        Some(ErrorType::new(name, move |error| class(error).of(with_value(error))))
    }
}

/// Adds all other error types.
pub trait KnowError<E> {
    /// Builds the entry.
    fn entry(&self, name: Option<&'static str>, class: fn(&E) -> Class) -> Option<ErrorType>;
}

impl<E: StdError + 'static> KnowError<E> for &Probe<E> {
    fn entry(&self, name: Option<&'static str>, class: fn(&E) -> Class) -> Option<ErrorType> {
        Some(ErrorType::new(name, move |error| class(error).of(Failure::from_error(Kind::of::<E>(), error))))
    }
}

/// Skips types that are not errors, such as text.
pub trait KnowNothing<E> {
    /// Builds no entry.
    fn entry(&self, name: Option<&'static str>, class: fn(&E) -> Class) -> Option<ErrorType>;
}

impl<E> KnowNothing<E> for Probe<E> {
    fn entry(&self, _: Option<&'static str>, _: fn(&E) -> Class) -> Option<ErrorType> {
        None
    }
}

/// Types that have a name of their own for kinds.
pub trait Named {
    /// The name.
    fn name(&self) -> Option<&'static str>;
}

impl<E: Classify> Named for &Probe<E> {
    fn name(&self) -> Option<&'static str> {
        E::KIND
    }
}

/// All other types.
pub trait Unnamed {
    /// Returns `None`.
    fn name(&self) -> Option<&'static str> {
        None
    }
}

impl<E> Unnamed for Probe<E> {}

/// Classifies an error type's values beyond the type: which variant a value is, and whether a retry can help. Without
/// it, every failure of the type has the type's name as its kind, and the policy alone decides about retries.
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
/// // The kinds are `shop::ChargeError::Declined` and so on; in a policy, `ChargeError` matches all of them.
/// #[durable(retry(max_attempts = 5, retry_for = [ChargeError::Busy]))]
/// async fn charge(card: String) -> Result<(), ChargeError> {
///     if card.is_empty() { Err(ChargeError::NoCard) } else { Ok(()) }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name its variants as kinds of failures",
    note = "implement `stent::Classify` for it, or write the kind of its failures as a string"
)]
pub trait Classify {
    /// The type's name in kinds, in place of its path. Failures and retry policies store it, so a type with a name can
    /// be moved and renamed. When you move a type without a name, set this to its old path. No two types may have the
    /// same name.
    ///
    /// ```
    /// # #[derive(Debug, thiserror::Error)] #[error("declined")] struct ChargeError;
    /// impl stent::Classify for ChargeError {
    ///     const KIND: Option<&'static str> = Some("billing::ChargeError");
    /// }
    /// ```
    const KIND: Option<&'static str> = None;

    /// The variant's name in the kind: `Declined` makes the kind `shop::ChargeError::Declined`.
    fn variant(&self) -> Option<&'static str> {
        None
    }

    /// Whether no retry can help, whatever the policy says.
    fn is_fatal(&self) -> bool {
        false
    }
}

/// An error that may classify itself. Method resolution finds out whether it does, as for [`Caught`].
#[derive(Debug)]
pub struct Classifier<'a, E>(pub &'a E);

/// An error's own classification, to be applied to its failure.
#[derive(Clone, Copy, Debug, Default)]
pub struct Class {
    variant: Option<&'static str>,
    fatal: bool,
}

impl Class {
    /// Applies the classification to a failure.
    #[must_use]
    pub fn of(self, mut failure: Failure) -> Failure {
        if let Some(variant) = self.variant {
            failure.kind = failure.kind.variant(variant);
        }
        failure.fatal |= self.fatal;
        failure
    }
}

/// Errors that classify themselves.
pub trait Classified {
    /// Returns the error's classification.
    fn class(&self) -> Class;
}

impl<E: Classify> Classified for &Classifier<'_, E> {
    fn class(&self) -> Class {
        Class { variant: self.0.variant(), fatal: self.0.is_fatal() }
    }
}

/// All other errors.
pub trait Unclassified {
    /// Returns an empty classification.
    fn class(&self) -> Class {
        Class::default()
    }
}

impl<E> Unclassified for Classifier<'_, E> {}

/// The pattern that matches this kind in a policy and no other kind with the same ending.
pub(crate) fn absolute(kind: &Kind) -> String {
    format!("::{kind}")
}

/// Keeps a failure as it is when it passes with `?` through a function that returns `Result<_, stent::Failure>`.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        from_stent_error(&error)
    }
}

/// Keeps a failure as it is when it passes through a function with `?`.
pub(crate) fn from_stent_error(error: &Error) -> Failure {
    let kind = match error {
        Error::Failed(failure) => return failure.clone(),
        Error::Cancelled => Kind::CANCELLED,
        Error::TimedOut | Error::Elapsed { .. } => Kind::TIMED_OUT,
        Error::Codec { .. } => Kind::CODEC,
        Error::PayloadTooLarge { .. } => Kind::PAYLOAD_TOO_LARGE,
        Error::NotFound(_) => Kind::NOT_FOUND,
        Error::NotRegistered { .. } => Kind::NOT_REGISTERED,
        _ => Kind::ERROR,
    };
    let Failure { message, causes, .. } = Failure::from_error("", error);
    // The kind says it already.
    let message = if kind == error.code() { error.text() } else { message };
    let mut failure = own_failure(kind, message);
    failure.causes = causes;
    failure
}

/// A failure, with this function as its origin unless it already has one. The stack would be of no use here, because
/// the body has returned.
pub(crate) fn located<F: crate::function::Function>(mut failure: Failure) -> Failure {
    if failure.trace.is_none() {
        failure.trace = Some(format!("in `{}` ({})", F::NAME, std::any::type_name::<F>()));
    }
    failure
}

/// Most bytes of a stack to keep. The stack is stored with the failure, and its top is the useful part.
const STACK_BYTES_MAX: usize = 8 * 1024;

/// The location, with the stack if `RUST_BACKTRACE` asks for it.
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
    /// Message and location of this thread's last panic, until it becomes a failure.
    static PANICKED: Cell<Option<(Option<String>, String)>> = const { Cell::new(None) };
}

/// Makes the failures of panics name the line, and the stack if `RUST_BACKTRACE` is set. Without it, they name only the
/// function.
///
/// It installs a panic hook for the whole process, which records the location and then calls the previous hook, so call
/// it after other hooks are installed. Further calls have no effect.
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

/// Makes the process know an error type that no durable function returns or names in `retry_for`.
///
/// Stent then finds the type in boxed errors and in the errors of [steps](crate::step()), and so sees its [`Classify`]
/// implementation: its fixed name, its variants, and whether it is fatal. If serde can encode the type, its value is kept, too.
/// Naming a type twice does no harm.
///
/// ```
/// # use stent::prelude::*;
/// #[derive(Debug, thiserror::Error)]
/// #[error("the card was declined")]
/// struct Declined;
///
/// impl stent::Classify for Declined {
///     fn is_fatal(&self) -> bool {
///         true
///     }
/// }
///
/// stent::known_error!(Declined); // a step that fails with it is not retried
/// ```
#[macro_export]
macro_rules! known_error {
    ($error:ty) => {
        $crate::__private::inventory::submit! {
            $crate::__private::KnownError(|| {
                #[allow(unused_imports, reason = "method resolution uses the traits that fit the type")]
                use $crate::__private::{
                    Classified as _, KnowError as _, KnowNothing as _, KnowSerde as _, Named as _, Unclassified as _,
                    Unnamed as _,
                };
                let probe = $crate::__private::Probe::<$error>::new();
                (&&&probe).entry((&&probe).name(), |error| (&&$crate::__private::Classifier(error)).class())
            })
        }
    };
}

/// The failure of a panic. Call it on the thread that panicked.
pub(crate) fn from_panic(panic: &(dyn Any + Send)) -> Failure {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    let noted = PANICKED.take();
    let text = message.clone().unwrap_or_else(|| "the panic had no message".to_owned());
    let failure = own_failure(Failure::PANIC, text);
    match noted {
        // A resumed panic calls no hook, so the recorded panic may be a different one.
        Some((noted, place)) if noted == message => failure.with_trace(place),
        _ => failure,
    }
}

/// Converts an error to a failure that you can adjust before you return it:
/// `stent::failure(error).with_kind("Timeout")`. The failure keeps the value, and [`downcast`](Failure::downcast)
/// returns it whatever the kind is.
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
    with_value(&error)
}

/// Marks an error as fatal: it is not retried, whatever the policy says. Takes errors and text, like `?` into a box.
///
/// The value is kept only if some durable function returns errors of its type. For any other type, to let callers
/// downcast to the value, implement [`Classify`] for it or return `stent::failure(error).fatal()`.
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
    from_any(error).fatal()
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

    #[test]
    fn an_error_becomes_the_failure_that_it_holds() {
        let failure = Failure::new("shop::Declined", "declined with 7");

        assert_eq!(Failure::from(Error::Failed(failure.clone())), failure);
        assert!(Failure::from(Error::Cancelled).is(Kind::CANCELLED));
    }

    #[derive(Debug, thiserror::Error)]
    #[error("opaque")]
    struct Opaque(#[source] std::io::Error);

    macro_rules! failure {
        ($error:expr) => {{
            #[allow(unused_imports, reason = "which of them is used is what the test is about")]
            use super::{IntoFailureBoxed as _, IntoFailureSerde as _, IntoFailureShown as _};
            (&&&Caught::new($error)).into_failure()
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

        // In Stent's own crate every path begins as Stent's kinds do, so the kind is moved to the other namespace.
        assert_eq!(failure.kind, concat!("user::", module_path!(), "::Declined"));
        assert_eq!(Error::Failed(failure).downcast(), Some(Declined { code: 51 }));
    }

    #[test]
    fn other_errors_keep_kind_message_and_causes() {
        let failure = failure!(Opaque(std::io::Error::other("disk")));

        assert_eq!((failure.kind.short(), failure.message.as_str()), ("Opaque", "opaque"));
        assert_eq!(failure.causes, ["disk"]);
        assert!(Error::Failed(failure).downcast::<Declined>().is_none());
    }

    #[test]
    fn texts_and_boxes_are_errors_too() {
        for failure in
            [failure!("no"), failure!("no".to_owned()), failure!(BoxError::from("no")), fatal("no")]
        {
            assert_eq!((failure.kind.as_str(), failure.to_string().as_str()), (Failure::UNTYPED, "no"));
        }
    }

    #[test]
    fn a_failure_that_passes_through_stays_itself() {
        let inner = failure!(Declined { code: 51 });
        assert_eq!(failure!(Error::Failed(inner.clone())), inner);
        assert_eq!(failure!(BoxError::from(Error::Failed(inner.clone()))), inner);
        assert_eq!(failure!(inner.clone().fatal()), inner.clone().fatal());
        assert_eq!(failure!(anyhow::Error::from(inner.clone())), inner);
        assert_eq!(failure!(anyhow::Error::from(Error::Failed(inner.clone()))), inner);
        assert_eq!(from_any(anyhow::Error::from(Error::Failed(inner.clone()))), inner);
        assert_eq!(
            from_any(BoxError::from(anyhow::Error::from(inner.clone()).context("x"))).kind,
            inner.kind
        );
    }

    #[test]
    fn words_before_a_failure_are_its_message_and_it_stays_what_it_is() {
        let inner = {
            let mut failure = failure!(Declined { code: 51 }).fatal();
            failure.causes = vec!["no funds".to_owned()];
            failure
        };
        let told = anyhow::Error::from(Error::Failed(inner.clone()))
            .context("while charging")
            .context("at checkout");
        for failure in [
            failure!(told),
            from_any(anyhow::Error::from(inner.clone()).context("while charging").context("at checkout")),
        ] {
            assert_eq!(failure.message, "at checkout");
            assert_eq!(failure.causes, ["while charging", "declined with 51", "no funds"]);
            assert_eq!(
                failure.to_string(),
                "Declined: at checkout: while charging: declined with 51: no funds"
            );
            assert_eq!(failure.downcast(), Some(Declined { code: 51 }));
            assert!(failure.fatal);
            // A failure that passes through further functions does not grow.
            assert_eq!(failure!(anyhow::Error::from(Error::Failed(failure.clone()))), failure);
        }
    }

    #[test]
    fn an_error_in_anyhow_has_the_kind_of_its_type_if_that_is_known() {
        let io = || std::io::Error::other("disk");
        for failure in [
            failure!(anyhow::Error::from(io())),
            from_any(anyhow::Error::from(io())),
            failure!(BoxError::from(io())),
            from_any(BoxError::from(io())),
            fatal(anyhow::Error::from(io())),
        ] {
            assert_eq!(
                (failure.kind.as_str(), failure.to_string().as_str()),
                ("std::io::Error", "Error: disk")
            );
        }
        let unknown = failure!(anyhow::Error::msg("no").context("really"));
        assert_eq!((unknown.kind.as_str(), unknown.to_string().as_str()), (Failure::UNTYPED, "really: no"));
        // A typed error is of its own type, whatever caused it.
        assert_eq!(failure!(Opaque(io())).kind.short(), "Opaque");
    }
}
