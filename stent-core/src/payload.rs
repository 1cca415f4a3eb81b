//! Payloads: the bytes of arguments, results and error data, with the name of their encoding.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::guard::{Doubt, Guarded, Rules};
use crate::limits::{CBOR_DEPTH_MAX, JSON_DEPTH_MAX, READ_BACK_BYTES_MAX};

mod guard;

/// How a value is encoded. CBOR is the default: it is compact, and keeps byte strings and map keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Codec {
    /// `application/cbor`
    #[default]
    Cbor,
    /// `application/json`, for stores that people read directly.
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

    /// How deep a value may be nested so that it can be read again.
    #[must_use]
    pub const fn depth_max(self) -> u16 {
        match self {
            Self::Cbor => CBOR_DEPTH_MAX,
            Self::Json => JSON_DEPTH_MAX,
        }
    }

    /// Encodes a value of a type that will read it again: either the payload decodes to the same value, or this fails.
    ///
    /// Small payloads are read back to check this; larger ones only if they contain something that some types cannot read.
    ///
    /// # Errors
    /// If the value's `Serialize` fails, if the codec cannot express the value (such as a map with keys other than strings in
    /// JSON), or if it would not come back.
    pub fn encode<T: Serialize + DeserializeOwned>(self, value: &T) -> Result<Payload, CodecError> {
        let (payload, doubt) = self.write(value)?;
        if doubt.is_some() || payload.len() <= READ_BACK_BYTES_MAX {
            payload.decode::<T>().map_err(|error| {
                CodecError::refused(format_args!("its type cannot read back what it writes: {error}"))
            })?;
        }
        Ok(payload)
    }

    /// Encodes a value whose reading type this process does not know, such as a signal's value.
    ///
    /// # Errors
    /// As [`encode`](Self::encode). It also refuses values that only some types can read: 128-bit integers, raw JSON in another
    /// format, and JSON maps with keys other than strings.
    pub fn encode_for_any<T: Serialize + ?Sized>(self, value: &T) -> Result<Payload, CodecError> {
        match self.write(value)? {
            (_, Some(Doubt::Serious(what))) => Err(CodecError::refused(format_args!(
                "it contains {what}, which only some types can read back; serialize that as a string"
            ))),
            (payload, _) => Ok(payload),
        }
    }

    fn write<T: Serialize + ?Sized>(self, value: &T) -> Result<(Payload, Option<Doubt>), CodecError> {
        let rules = Rules::of(self);
        let guarded = Guarded::new(value, &rules);
        let mut bytes = Vec::new();
        let written = match self {
            Self::Cbor => ciborium::into_writer(&guarded, &mut bytes).map_err(|error| match error {
                ciborium::ser::Error::Value(reason) => reason,
                ciborium::ser::Error::Io(error) => error.to_string(),
            }),
            Self::Json => serde_json::to_writer(&mut bytes, &guarded).map_err(|error| error.to_string()),
        };
        match written {
            Ok(()) => Ok((Payload { content_type: self.content_type().into(), bytes }, rules.doubt())),
            Err(reason) => Err(CodecError::Encode { reason, is_deep: rules.is_deep() }),
        }
    }
}

/// Bytes, and the content type that says how to read them. A store returns both unchanged (G14).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    content_type: String,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

impl Payload {
    /// A payload from its stored parts.
    pub fn new(content_type: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { content_type: content_type.into(), bytes }
    }

    /// No bytes, without a content type: the result of a sleep or a map.
    #[must_use]
    pub const fn empty() -> Self {
        Self { content_type: String::new(), bytes: Vec::new() }
    }

    /// The encoding of the bytes, as a media type.
    #[must_use]
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The codec of the bytes, if it is known here.
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
    /// If the content type is unknown, or the bytes do not hold a `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, CodecError> {
        match self.codec() {
            Some(Codec::Cbor) => {
                ciborium::from_reader(self.bytes.as_slice()).map_err(|error| CodecError::decode::<T>(&error))
            }
            Some(Codec::Json) => {
                serde_json::from_slice(&self.bytes).map_err(|error| CodecError::decode::<T>(&error))
            }
            None => Err(self.unread()),
        }
    }

    /// Why a payload with an unknown codec cannot be read.
    pub(crate) fn unread(&self) -> CodecError {
        if self.content_type.contains('+') {
            CodecError::Sealed(self.content_type.clone())
        } else {
            CodecError::UnknownContentType(self.content_type.clone())
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({}, {} bytes)", self.content_type, self.bytes.len())
    }
}

/// Why a value could not be encoded or decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The value cannot be expressed, or would not come back as the same value.
    #[error("cannot encode: {reason}")]
    Encode {
        /// The fault, and its path in the value.
        reason: String,
        /// Whether the value is nested too deeply. Such a value may also be too deep for a thread's stack to drop it.
        is_deep: bool,
    },
    /// The bytes do not hold a value of the expected type.
    #[error("cannot decode as {expected}: {reason}")]
    Decode {
        /// The expected type.
        expected: &'static str,
        /// The codec's message.
        reason: String,
    },
    /// No codec is known for the payload's content type.
    #[error("unknown content type {0:?}; supported are application/cbor and application/json")]
    UnknownContentType(String),
    /// A transform sealed the payload, and it was not opened.
    #[error(
        "a payload of content type {0:?} is still sealed; give this process the transform that the content type ends \
         in, or see its log for why the transform failed"
    )]
    Sealed(String),
}

impl CodecError {
    pub(crate) fn refused(reason: impl fmt::Display) -> Self {
        Self::Encode { reason: reason.to_string(), is_deep: false }
    }

    /// Whether the value was nested too deeply.
    #[must_use]
    pub const fn is_deep(&self) -> bool {
        matches!(self, Self::Encode { is_deep: true, .. })
    }

    fn decode<T>(reason: &dyn fmt::Display) -> Self {
        Self::Decode { expected: std::any::type_name::<T>(), reason: reason.to_string() }
    }
}

#[cfg(test)]
mod tests;
