//! Traces that continue across the store: the caller stores its trace context with the work, and the span in which the
//! work runs continues it. Does not know what happens to spans.
//!
//! Requires the feature `otel`. Without it the same functions do nothing: no context is written or read.

#[cfg(not(feature = "otel"))]
mod off;
#[cfg(feature = "otel")]
mod otel;

#[cfg(not(feature = "otel"))]
pub(crate) use self::off::{CONSUMER, attempt_ended, continue_from, current, dispatch, dispatched};
#[cfg(feature = "otel")]
pub(crate) use self::otel::{CONSUMER, attempt_ended, continue_from, current, dispatch, dispatched};
