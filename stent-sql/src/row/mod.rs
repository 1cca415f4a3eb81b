//! Rows to model and back. Nothing else encodes or decodes.

mod batches;
pub(crate) mod columns;
mod failure;
mod reader;
mod step;
mod task;
mod view;

pub(crate) use batches::{
    KEPT, WANT_ALL, WANT_NONE, WANT_OPEN, claim_batch, insert_batch, lane_batch, lease_batch, sweep_batch,
    update_batch,
};
pub(crate) use reader::{Reader, read_plainly};
pub(crate) use step::Recorded;
pub(crate) use task::{Picked, Stream, lane, row};
pub(crate) use view::{execution_view, item_view, task_view};
