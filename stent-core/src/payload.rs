//! Payloads: the bytes of arguments, results and error data, with the name of what encoded them.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// How a value becomes bytes. CBOR is the default: compact, and it keeps byte strings and map keys as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Codec {
    /// `application/cbor`
    #[default]
    Cbor,
    /// `application/json`, for stores that people read by hand.
    Json,
}

impl Codec {
    /// The content type that a payload of this codec carries.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Cbor => "application/cbor",
            Self::Json => "application/json",
        }
    }

    fn for_content_type(content_type: &str) -> Option<Self> {
        [Self::Cbor, Self::Json].into_iter().find(|codec| codec.content_type() == content_type)
    }

    /// Encodes a value.
    ///
    /// # Errors
    /// When the value's `Serialize` refuses, or the codec cannot express it (JSON and maps whose keys are not texts).
    pub fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<Payload, CodecError> {
        let mut bytes = Vec::new();
        match self {
            Self::Cbor => {
                ciborium::into_writer(value, &mut bytes)
                    .map_err(|error| CodecError::Encode(error.to_string()))?;
            }
            Self::Json => {
                serde_json::to_writer(&mut bytes, value)
                    .map_err(|error| CodecError::Encode(error.to_string()))?;
            }
        }
        Ok(Payload { content_type: self.content_type().into(), bytes })
    }
}

/// Bytes and the content type that says how to read them. A store returns both unchanged (G14).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    content_type: String,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

impl Payload {
    /// A payload from its parts, as a store reads them back.
    pub fn new(content_type: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { content_type: content_type.into(), bytes }
    }

    /// No bytes, of no type: what a sleep and a map give.
    #[must_use]
    pub const fn empty() -> Self {
        Self { content_type: String::new(), bytes: Vec::new() }
    }

    /// How the bytes are encoded, as a media type.
    #[must_use]
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// What encoded the bytes, if it is known here.
    #[must_use]
    pub fn codec(&self) -> Option<Codec> {
        Codec::for_content_type(&self.content_type)
    }

    /// The encoded bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Decodes the value.
    ///
    /// # Errors
    /// When the content type is unknown, or the bytes do not hold a `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, CodecError> {
        match self.codec() {
            Some(Codec::Cbor) => {
                ciborium::from_reader(self.bytes.as_slice()).map_err(|error| CodecError::decode::<T>(&error))
            }
            Some(Codec::Json) => {
                serde_json::from_slice(&self.bytes).map_err(|error| CodecError::decode::<T>(&error))
            }
            None if self.content_type.contains('+') => Err(CodecError::Sealed(self.content_type.clone())),
            None => Err(CodecError::UnknownContentType(self.content_type.clone())),
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({}, {} bytes)", self.content_type, self.bytes.len())
    }
}

/// Why a value did not become a payload, or a payload a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The value cannot be expressed.
    #[error("cannot encode: {0}")]
    Encode(String),
    /// The bytes do not hold what was asked for.
    #[error("cannot decode as {expected}: {reason}")]
    Decode {
        /// The type that was asked for.
        expected: &'static str,
        /// What the codec said.
        reason: String,
    },
    /// No codec is known for the payload's content type.
    #[error("unknown content type {0:?}; known are application/cbor and application/json")]
    UnknownContentType(String),
    /// The payload was sealed by a transform and has not been opened.
    #[error(
        "a payload of {0:?} is still sealed; give this process the transform that the name ends in, or see its log for why \
         the transform could not open it"
    )]
    Sealed(String),
}

impl CodecError {
    fn decode<T>(reason: &dyn fmt::Display) -> Self {
        Self::Decode { expected: std::any::type_name::<T>(), reason: reason.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn both_codecs_return_what_they_were_given() {
        let value = BTreeMap::from([("a".to_owned(), vec![1_u8, 2]), (String::new(), vec![])]);
        for codec in [Codec::Cbor, Codec::Json] {
            let payload = codec.encode(&value).expect("encodes");
            assert_eq!(payload.decode::<BTreeMap<String, Vec<u8>>>().expect("decodes"), value);
        }
    }

    #[test]
    fn cbor_keeps_keys_that_json_cannot() {
        let value = BTreeMap::from([((1, true), 2)]);
        let payload = Codec::Cbor.encode(&value).expect("encodes");
        assert_eq!(payload.decode::<BTreeMap<(i32, bool), i32>>().expect("decodes"), value);
        assert!(Codec::Json.encode(&value).is_err());
    }

    #[test]
    fn a_wrong_type_is_named() {
        let payload = Codec::Cbor.encode("text").expect("encodes");
        let error = payload.decode::<u32>().expect_err("a text is no number");
        assert!(error.to_string().contains("u32"), "{error}");
    }
}
