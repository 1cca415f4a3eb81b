//! What the macros expand to. Not for use by hand.

pub use inventory;
pub use tokio;

pub use crate::failure::{Caught, IntoFailureBoxed, IntoFailureSerde};
pub use crate::function::{BoxFuture, Registration, Returned};
pub use crate::state::{StateKey, States};

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
