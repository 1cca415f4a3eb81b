//! The names in the signatures of [`Function`](crate::Function), for implementations without [`#[durable]`](crate::durable). Most
//! applications never write one.

pub use crate::function::BoxFuture;
pub use crate::function::state::{StateKey, States};
