//! Rows to model and back. Nothing else encodes or decodes.

mod batches;
mod failure;
mod reader;
mod step;
mod task;
mod view;

pub(crate) use batches::{
    ID_BATCH, INSERT_BATCH, KEPT, LANE_BATCH, LEASE_BATCH, STEP_BATCH, STREAM_BATCH, UPDATE_BATCH, WANT_ALL,
    WANT_NONE, WANT_OPEN, CLAIM_BATCH, claim_batch, insert_batch, lane_batch, lease_batch, update_batch,
};
pub(crate) use reader::Reader;
pub(crate) use step::{Recorded, STEP_COLUMNS};
pub(crate) use task::{CLAIM_COLUMNS, Picked, Stream, lane, row};
pub(crate) use view::{execution_view, item_view, task_view};
