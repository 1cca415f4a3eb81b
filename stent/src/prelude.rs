//! What a file that uses Stent needs: `use stent::prelude::*;`.

pub use crate::Call;
pub use crate::Handle;
pub use crate::State;
pub use crate::Stent;
pub use crate::Worker;
#[cfg(feature = "macros")]
pub use crate::durable;
