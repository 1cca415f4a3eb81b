//! `stent_worker`: what workers say of themselves. Nothing that the store decides depends on it.

use stent_core::model::WorkerState;
use stent_core::{Timestamp, WorkerId};

super::table! { "stent_worker" {
    ID "id": WorkerId,
    STATE "state": WorkerState,
    /// When it last said so.
    SEEN_AT "seen_at": Timestamp,
    /// The whole record, as a JSON object.
    RECORD "record": String,
}}
