//! `stent_rate`: how many tasks of limited functions started, and when.

use stent_core::Timestamp;
use stent_core::model::FunctionKey;

super::table! { "stent_rate" {
    FUNCTION_KEY "function_key": FunctionKey,
    /// Where a stretch of time begins.
    BUCKET "bucket": Timestamp,
    /// How many started in it.
    USED "used": i64,
}}
