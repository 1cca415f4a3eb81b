//! What a file that uses Stent needs: `use stent::prelude::*;`.

#[cfg(feature = "macros")]
pub use crate::durable;
pub use crate::{Call, Handle, State, Stent, Worker};
