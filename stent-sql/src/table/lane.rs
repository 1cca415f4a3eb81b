//! `stent_lane`: the lanes in which tasks wait to be claimed. A task's row refers to its lane by the key.

use stent_core::model::LaneKey;

use crate::row::cell::Tags;

super::table! { "stent_lane" {
    /// Derived from queue, function and tags, the same in every process.
    KEY "key": LaneKey,
    QUEUE "queue": String,
    FUNCTION "function": String,
    /// A JSON array.
    TAGS "tags": Tags,
}}
