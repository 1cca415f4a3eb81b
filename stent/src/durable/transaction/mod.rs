//! Steps that run as transactions of the application's database.
//!
//! | File | Does |
//! |---|---|
//! | `step` | the future that user code awaits |
//! | `queue` | the hand-off between the code and its turn: one transaction of a task at a time |

pub(crate) mod queue;
#[cfg(feature = "sql")]
pub(crate) mod step;
