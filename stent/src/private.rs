//! The items that macro expansions use. Not for direct use.

use stent_core::Kind;

pub use inventory;
pub use stent_core::KnownError;
pub use tokio;

use crate::durable::call::{self, Call};
use crate::durable::map::{self, Map};
use crate::function::Function;
use crate::function::failure::{Classify, absolute};

pub use crate::function::failure::{
    Caught, Class, Classified, Classifier, IntoFailureBoxed, IntoFailureSerde, IntoFailureShown, KnowError,
    KnowNothing, KnowSerde, Named, Probe, Unclassified, Unnamed,
};
pub use crate::function::state::{StateKey, States};
pub use crate::function::{BoxFuture, IsPlain, IsResult, Registration, Returned};

/// The kind of an error type's failures, for `retry_for`.
#[must_use]
pub fn kind_of<E: 'static>() -> String {
    absolute(&Kind::of::<E>())
}

/// Whether a failure can have this kind, for `retry_for`.
#[must_use]
pub const fn is_kind(name: &str) -> bool {
    !Kind::is_nothing(name)
}

/// The kind of the failures of one variant of an error type, for `retry_for`.
#[must_use]
pub fn variant_of<E: Classify + 'static>(variant: &str) -> String {
    absolute(&E::KIND.map_or_else(Kind::of::<E>, Kind::new).variant(variant))
}

/// A call of a function with its arguments.
#[track_caller]
pub fn call<F: Function>(args: F::Args) -> Call<F> {
    call::call(args)
}

/// A map of a function over arguments.
#[track_caller]
pub fn map<F, I>(items: I) -> Map<F>
where
    F: Function,
    I: Iterator<Item = F::Args> + Send + 'static,
{
    map::map(items)
}
