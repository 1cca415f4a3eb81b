//! `stent_keys`: key entries: cached results, signals' values, and the executions dispatched under keys.

use stent_core::model::KeyEntryKind;
use stent_core::{ExecutionId, Key, TaskId, Timestamp};

super::table! { "stent_keys" {
    KEY "key": Key,
    KIND "kind": KeyEntryKind,
    /// The execution that a signal is sent to; for other entries, the holder's execution.
    EXECUTION_ID "execution_id": ExecutionId,
    /// The signal's name; for other entries, the function's.
    NAME "name": String,
    /// The task that produces the result.
    HOLDER_ID "holder_id": Option<TaskId>,
    /// How long a result is valid, in microseconds.
    TTL "ttl": Option<i64>,
    /// When the value came.
    ENDED_AT "ended_at": Option<Timestamp>,
    /// When the value is no longer valid.
    EXPIRES_AT "expires_at": Option<Timestamp>,
    /// Ids of the last sends of a signal, as a JSON array.
    SENDS "sends": Option<String>,
    /// Content type of `value`; null if there is no value.
    VALUE_TYPE "value_type": Option<String>,
    VALUE "value": Option<Vec<u8>>,
}}
