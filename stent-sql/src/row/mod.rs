//! Rows to model and back. Nothing else encodes or decodes.

mod batches;
pub(crate) mod columns;
mod failure;
mod key;
mod notes;
mod reader;
mod step;
mod tags;
mod task;
mod view;

pub(crate) use batches::{
    KEPT, WANT_ALL, WANT_NONE, WANT_OPEN, claim_batch, claim_more_batch, copy_batch, ended_claim_batch,
    function_batch, has_more, insert_batches, key_batch, lane_batch, lane_keys, lease_batch, limited_batch,
    lock_batch, rate_batch, restore_batch, since_batch, sweep_batch, update_batches,
};
pub(crate) use key::{
    CLOSING, Ending, NEXT, OVER, STOPPING, Usage, VACANT, cascade_step, ending, key_entry, usage,
};
pub(crate) use notes::Notes;
pub(crate) use reader::{Reader, read_plainly};
pub(crate) use step::Recorded;
pub(crate) use tags::quoted;
pub(crate) use task::{Picked, RankedTask, Stream, lane, row};
pub(crate) use view::{
    COUNTER, NoteRow, STATE, SUMMARY, called_with, dead_letter, dead_letter_stat, ended_claim,
    execution_view, item_view, lane_view, note_row, progress_view, running_view, task_view,
};
