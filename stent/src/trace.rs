//! Traces that go on across the store: whoever asks for work writes down where in a trace it is, and the span of whoever
//! does the work continues there. Knows nothing of what becomes of spans.
//!
//! With the feature `otel` only. Without it the same names do nothing: no context is written, and none is read.

#[cfg(not(feature = "otel"))]
mod off;
#[cfg(feature = "otel")]
mod otel;

#[cfg(not(feature = "otel"))]
pub(crate) use self::off::{CONSUMER, attempt_ended, continue_from, current, dispatch, dispatched};
#[cfg(feature = "otel")]
pub(crate) use self::otel::{CONSUMER, attempt_ended, continue_from, current, dispatch, dispatched};
