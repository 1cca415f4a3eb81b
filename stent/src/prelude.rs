//! The names that most files need: `use stent::prelude::*;`.

pub use crate::durable::call::Call;
pub use crate::execution::handle::Handle;
pub use crate::function::state::State;
pub use crate::stent::Stent;
pub use crate::worker::Worker;
#[cfg(feature = "macros")]
pub use stent_macros::durable;
