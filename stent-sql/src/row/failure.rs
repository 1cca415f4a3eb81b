//! Failures as texts. The user's own data is stored separately, as bytes, so that it is neither enlarged nor changed
//! (G14).

use serde::{Deserialize, Serialize};
use stent_core::backend::{Error, ErrorKind, Result};
use stent_core::{Failure, Payload, TaskId};

/// A failure without its data.
#[derive(Serialize)]
struct Text<'a> {
    kind: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    causes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_type: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    fatal: bool,
}

/// The message alone, for views that show only the message.
#[derive(Deserialize)]
struct Message {
    message: String,
}

pub(crate) fn to_text(failure: &Failure, task: TaskId) -> Result<String> {
    let Failure { kind, message, causes, trace, data_type, fatal, .. } = failure;
    let text = Text {
        kind,
        message,
        causes,
        trace: trace.as_deref(),
        data_type: data_type.as_deref(),
        fatal: *fatal,
    };
    serde_json::to_string(&text).map_err(|error| unfit("failure", task, error))
}

pub(super) fn from_text(text: &str, data: Option<Payload>) -> serde_json::Result<Failure> {
    let mut failure: Failure = serde_json::from_str(text)?;
    failure.data = data;
    Ok(failure)
}

pub(super) fn message_of(text: &str) -> serde_json::Result<String> {
    serde_json::from_str(text).map(|Message { message }| message)
}

/// A value that its column cannot hold.
pub(crate) fn unfit(what: &str, task: TaskId, error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Corrupt, "encode").with_message(format!("{what} of task {task}")).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_the_round_trip_with_its_data_apart() {
        let mut failure = Failure::new("Declined", "no \u{0} funds").with_trace("charge.rs:7").fatal();
        failure.causes = vec!["empty".to_owned(), String::new()];
        failure.data = Some(Payload::new("application/cbor", vec![0, 255]));

        let text = to_text(&failure, TaskId::from_uuid(uuid::Uuid::nil())).expect("encodes");

        assert!(!text.contains("data"), "{text}");
        assert_eq!(from_text(&text, failure.data.clone()).expect("decodes"), failure);
        assert_eq!(message_of(&text).expect("decodes"), failure.message);
    }
}
