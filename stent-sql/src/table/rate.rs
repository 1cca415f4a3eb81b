//! `stent_rate`: how many tasks of limited functions started, and when.

use stent_core::Timestamp;
use stent_core::model::FunctionKey;

super::table! { "stent_rate" {
    FUNCTION_KEY "function_key": FunctionKey,
    /// The beginning of a bucket.
    BUCKET "bucket": Timestamp,
    /// The number of starts in it.
    USED "used": i64,
}}
