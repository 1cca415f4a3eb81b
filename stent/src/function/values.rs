//! Encodes values to payloads, decodes them, and checks them against the limits. Knows no store.

use std::error::Error as StdError;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stent_core::limits::PAYLOAD_BYTES_WARN;
use stent_core::model::TaskResult;
use stent_core::{Codec, CodecError, Failure, Kind, Payload, own_failure};

use crate::error::{Error, Result};
use crate::function::failure::from_any;

/// Decodes the result of a function or a step.
pub(crate) fn decode_result<T: DeserializeOwned>(name: &str, result: TaskResult) -> Result<T> {
    result
        .map_err(Error::Failed)?
        .decode()
        .map_err(|source| Error::Codec { what: format!("result of `{name}`"), source })
}

/// Encodes the result of a step.
pub(crate) fn encode_result<T, E>(name: &str, codec: Codec, result: Result<T, E>) -> TaskResult
where
    T: Serialize + DeserializeOwned,
    E: Into<Box<dyn StdError + Send + Sync>> + 'static,
{
    encode_output(name, codec, &result.map_err(from_any)?)
}

/// Encodes the output of a function or a step. A value that cannot be stored is a fatal failure, because no retry would
/// help.
pub(crate) fn encode_output<T>(name: &str, codec: Codec, value: &T) -> TaskResult
where
    T: Serialize + DeserializeOwned,
{
    codec.encode(value).map_err(|error| unfit_output(name, &error))
}

/// The failure of a step or function whose output cannot be stored.
pub(crate) fn unfit_output(name: &str, error: &CodecError) -> Failure {
    own_failure(Failure::CODEC, format!("result of `{name}`: {error}")).fatal()
}

/// Checks an encoded output against the size limit.
pub(crate) fn fit_output(name: &str, output: Payload, max: usize) -> TaskResult {
    match check_size(&output, max, &|| format!("result of `{name}`")) {
        Ok(()) => Ok(output),
        Err(error) => Err(own_failure(Kind::PAYLOAD_TOO_LARGE, error.text()).fatal()),
    }
}

/// Checks a payload against the size limit.
pub(crate) fn check_size(payload: &Payload, max: usize, what: &dyn Fn() -> String) -> Result<()> {
    let len = payload.len();
    if len > max {
        return Err(Error::PayloadTooLarge { what: what(), len, max });
    }
    if len > PAYLOAD_BYTES_WARN {
        tracing::warn!(
            len,
            "{} is large ({len} bytes); keep large data elsewhere and pass a reference",
            what()
        );
    }
    Ok(())
}
