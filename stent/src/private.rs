//! What the macros expand to. Not for use by hand.

pub use inventory;
pub use tokio;

pub use crate::failure::{Caught, Classified, Classifier, IntoFailureBoxed, IntoFailureSerde, Unclassified};
pub use crate::function::{BoxFuture, IsPlain, IsResult, Registration, Returned};
pub use crate::state::{StateKey, States};

/// The kind of an error type's failures, for `retry_for`.
#[must_use]
pub fn kind_of<E>() -> String {
    stent_core::Failure::kind_of::<E>()
}

/// The kind of the failures of one variant of an error type, for `retry_for`.
#[must_use]
pub fn variant_of<E: crate::Classify>(variant: &str) -> String {
    crate::failure::variant_kind::<E>(variant)
}

/// A call of a function with its arguments.
#[track_caller]
pub fn call<F: crate::Function>(args: F::Args) -> crate::Call<F> {
    crate::call::call(args)
}

/// A map of a function over arguments.
#[track_caller]
pub fn map<F, I>(items: I) -> crate::Map<F>
where
    F: crate::Function,
    I: Iterator<Item = F::Args> + Send + 'static,
{
    crate::map::map(items)
}
