//! Payloads as JSON: decoded for people, with the stored bytes for programs.

use ciborium::Value as Cbor;
use serde_json::{Map, Number, Value, json};
use stent::{Codec, Payload};

use crate::text::plain;

/// The value of a payload as JSON. What JSON lacks is shown as a text: bytes as `h'00ff'`, as CBOR's own notation does,
/// and numbers that JSON has not. A payload that cannot be read is shown as what it is.
pub(crate) fn value(payload: &Payload) -> Value {
    if payload.is_empty() && payload.content_type().is_empty() {
        return Value::Null;
    }
    let decoded = match payload.codec() {
        Some(Codec::Json) => payload.decode::<Value>(),
        Some(Codec::Cbor) => payload.decode::<Cbor>().map(from_cbor),
        None => return format!("<{} bytes of {}>", payload.len(), payload.content_type()).into(),
    };
    decoded.unwrap_or_else(|error| format!("<{} bytes: {error}>", payload.len()).into())
}

/// The value in one line.
pub(crate) fn text(payload: &Payload) -> String {
    plain(&value(payload).to_string())
}

/// A payload with its stored bytes.
pub(crate) fn json(payload: &Payload) -> Value {
    json!({
        "content_type": payload.content_type(),
        "value": value(payload),
        "hex": hex(payload.bytes()),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_cbor(value: Cbor) -> Value {
    match value {
        Cbor::Null => Value::Null,
        Cbor::Bool(value) => value.into(),
        Cbor::Text(text) => text.into(),
        Cbor::Bytes(bytes) => format!("h'{}'", hex(&bytes)).into(),
        Cbor::Float(float) => Number::from_f64(float).map_or_else(|| float.to_string().into(), Value::Number),
        Cbor::Integer(integer) => {
            let integer = i128::from(integer);
            match (u64::try_from(integer), i64::try_from(integer)) {
                (Ok(integer), _) => integer.into(),
                (_, Ok(integer)) => integer.into(),
                _ => integer.to_string().into(),
            }
        }
        Cbor::Array(items) => items.into_iter().map(from_cbor).collect(),
        Cbor::Map(entries) => {
            let entry = |(key, value)| {
                let key = match from_cbor(key) {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                (key, from_cbor(value))
            };
            Value::Object(entries.into_iter().map(entry).collect::<Map<_, _>>())
        }
        Cbor::Tag(_, value) => from_cbor(*value),
        other => format!("{other:?}").into(),
    }
}
