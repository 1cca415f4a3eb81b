//! With the feature `otel`, spans are linked through OpenTelemetry, by the layer of `tracing-opentelemetry` that the
//! program has installed. Without such a layer, every function here does nothing.
//!
//! The text is the `traceparent` of <https://www.w3.org/TR/trace-context/>. It is written here and not by a propagator
//! of the program, because processes with different configurations read each other's contexts.

use opentelemetry::trace::{
    SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, KeyValue};
use stent_core::ExecutionId;
use stent_core::limits::TRACE_BYTES_MAX;
use stent_core::model::TaskResult;
use tracing::{Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::error::Error;

/// The kind of the spans in which tasks run.
pub(crate) const CONSUMER: Option<&str> = Some("consumer");

/// OpenTelemetry's name for the attribute with the kind of an error.
const ERROR_TYPE: &str = "error.type";

/// The trace context of the running code, if it is in a trace.
pub(crate) fn current() -> Option<String> {
    let context = Span::current().context();
    let span = context.span();
    to_text(span.span_context()).filter(|text| text.len() <= TRACE_BYTES_MAX)
}

/// The span of a dispatch, below the current one.
pub(crate) fn dispatch(function: &str) -> Span {
    tracing::info_span!(
        target: "stent",
        "stent.dispatch",
        otel.kind = "producer",
        execution = field::Empty,
        function,
    )
}

/// Records a dispatch's outcome and execution in its span.
pub(crate) fn dispatched(span: &Span, id: Option<ExecutionId>, result: Result<(), &Error>) {
    if let Some(id) = id {
        span.record("execution", field::display(id));
    }
    span.set_status(match result {
        Ok(()) => Status::Ok,
        Err(error) => Status::error(error.to_string()),
    });
}

/// Makes a span that has not been entered yet a child of the span that the text names.
pub(crate) fn continue_from(span: &Span, trace: Option<&str>) {
    if let Some(parent) = trace.and_then(from_text) {
        // Fails if no layer listens or if this span is filtered out; there is nothing to link then.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
}

/// Records an attempt's outcome in the span of the task's code.
pub(crate) fn attempt_ended(span: &Span, result: &TaskResult) {
    match result {
        Ok(_) => span.set_status(Status::Ok),
        Err(failure) => {
            span.set_attribute(ERROR_TYPE, failure.kind.to_string());
            let message = [
                KeyValue::new("exception.type", failure.kind.to_string()),
                KeyValue::new("exception.message", failure.message.clone()),
            ];
            span.add_event("exception", message.into());
            span.set_status(Status::error(failure.to_string()));
        }
    }
}

fn to_text(span: &SpanContext) -> Option<String> {
    let (trace, id, flags) = (span.trace_id(), span.span_id(), span.trace_flags().to_u8());
    span.is_valid().then(|| format!("00-{trace}-{id}-{flags:02x}"))
}

/// Parses the text. Returns `None` if it is not a `traceparent`; the task then gets its own trace.
fn from_text(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let mut hex = |length: usize| {
        let is_hex = |part: &&str| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit());
        parts.next().filter(is_hex)
    };
    let (version, trace, id, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    // Later versions may have more than these four parts; version ff is invalid.
    if version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let trace = TraceId::from_hex(trace).ok()?;
    let id = SpanId::from_hex(id).ok()?;
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let span = SpanContext::new(trace, id, flags, true, TraceState::NONE);
    span.is_valid().then_some(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_survives_its_text() {
        let span = from_text(TEXT).expect("well-formed");
        assert!(span.is_remote() && span.is_sampled());
        assert_eq!(to_text(&span).as_deref(), Some(TEXT));
    }

    #[test]
    fn what_is_not_sampled_stays_so() {
        let text = TEXT.replace("-01", "-00");
        assert_eq!(from_text(&text).as_ref().and_then(to_text), Some(text));
    }

    #[test]
    fn a_later_version_may_say_more() {
        assert!(from_text(&format!("01{}-more", &TEXT[2..])).is_some());
    }

    #[test]
    fn what_is_no_context_is_none() {
        let texts = [
            String::new(),
            "nonsense".to_owned(),
            "00-4bf9-00f0-01".to_owned(),
            format!("{TEXT}-more"),
            format!("ff{}", &TEXT[2..]),
            TEXT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            TEXT.replace("00f067aa0ba902b7", &"0".repeat(16)),
            TEXT.replace("4bf9", "+bf9"),
        ];
        for text in texts {
            assert_eq!(from_text(&text), None, "{text}");
        }
    }

    #[test]
    fn outside_of_traces_there_is_nothing_to_carry() {
        assert_eq!(current(), None);
    }
}
