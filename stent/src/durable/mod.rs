//! The API for code inside durable functions.

pub(crate) mod call;
pub(crate) mod cancelled;
pub(crate) mod closure;
pub(crate) mod context;
pub(crate) mod describe;
pub(crate) mod execution_wait;
pub(crate) mod join;
pub(crate) mod map;
pub(crate) mod notes;
pub(crate) mod options;
pub(crate) mod poll_timer;
pub(crate) mod position;
pub(crate) mod progress;
pub(crate) mod random;
pub(crate) mod signal;
pub(crate) mod sleep;
pub(crate) mod step;
pub(crate) mod stop;
pub(crate) mod timeout;
pub(crate) mod transaction;
pub(crate) mod wait_timeout;
