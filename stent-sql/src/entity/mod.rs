//! The tables as sea-orm entities, so that an application can join them with its own.
//!
//! Read them; writing them is the store's business. Moments are microseconds since the Unix epoch, UTC; the views
//! `stent_execution_view` and `stent_task_view` show them as ISO 8601 texts.

pub mod ended_claim;
pub mod key;
pub mod lane;
pub mod note;
pub mod progress;
pub mod rate;
pub mod task;
