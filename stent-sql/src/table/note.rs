//! `stent_note`: counters and states of executions, and summaries of compacted steps.

use stent_core::ExecutionId;

super::table! { "stent_note" {
    EXECUTION_ID "execution_id": ExecutionId,
    /// `counter`, `state` or `summary`.
    KIND "kind": String,
    /// The counter's or the state's name; for a summary, kind, name and status of the steps, separated by slashes.
    NAME "name": String,
    /// The count, for all but states.
    COUNT "count": Option<i64>,
    /// Content type of `value`.
    VALUE_TYPE "value_type": Option<String>,
    /// The encoded value of a state.
    VALUE "value": Option<Vec<u8>>,
}}
