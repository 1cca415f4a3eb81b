//! Without the feature `otel`, no trace context is stored and no span is added.

use stent_core::ExecutionId;
use stent_core::model::TaskResult;
use tracing::Span;

use crate::error::{Error, Result};

/// The field is not recorded.
pub(crate) const CONSUMER: Option<&str> = None;

pub(crate) const fn current() -> Option<String> {
    None
}

pub(crate) const fn dispatch(_function: &str) -> Span {
    Span::none()
}

pub(crate) const fn dispatched(_span: &Span, _id: Option<ExecutionId>, _result: Result<(), &Error>) {}

pub(crate) const fn continue_from(_span: &Span, _trace: Option<&str>) {}

pub(crate) const fn attempt_ended(_span: &Span, _result: &TaskResult) {}
