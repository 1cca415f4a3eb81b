//! Rows to model and back. Nothing else encodes or decodes.
//!
//! | Module | Holds |
//! |---|---|
//! | `cell` | how values of each type are cells |
//! | `shape` | rows of statements as structs, from which their columns, encoders and decoders are made |
//! | `reader` | walks the cells of a row |
//! | the others | rows by subject; rows of tasks to write are beside their [table](crate::table::task) |

pub(crate) mod cell;
pub(crate) mod failure;
mod key;
mod notes;
mod reader;
pub(crate) mod shape;
mod step;
pub(crate) mod tags;
mod task;
mod view;
mod worker;

pub(crate) use key::{
    CLOSING, CascadeRow, Ending, EndingRow, EndingTask, KeyRow, Limited, NEXT, NewKey, OVER, OneKey, Restore,
    STOPPING, Started, Usage, VACANT, cascade_step, ending, key_batch, key_entry,
};
pub(crate) use notes::{NewNote, NewProgress, Notes, Recount};
pub(crate) use reader::{Reader, read_plainly};
pub(crate) use shape::{Read, Shape, batch};
pub(crate) use step::Recorded;
pub(crate) use tags::quoted;
pub(crate) use task::{
    Copy, END_HINTS, EndHints, Head, Held, LaneRow, Lock, NewLane, OneFunction, OneId, OneLane, OverflowArgs,
    OverflowResult, Picked, RankedRow, RankedTask, STREAM, Seen, Since, Stream, StreamRow, Sweep, WANT_ALL,
    WANT_NONE, WANT_OPEN, WantRow, Whole, held, id, lane, lane_batch, lease_batch, since_batch, sweep_batch,
};
pub(crate) use view::{
    COUNTER, CalledWith, DeadLetterRow, DeadLetterStatRow, Dispatched, EndedClaimRow, ExecutionRow, ItemRow,
    LaneViewRow, NewEndedClaim, NoteCells, NoteRow, Now, Place, ProgressRow, RunningRow, STATE, SUMMARY,
    StoredRow, Tally, TaskRow, called_with, dead_letter, dead_letter_stat, ended_claim, ended_claim_batch,
    execution_view, item_view, lane_view, note_row, progress_view, running_view, stored_task, task_view,
};
pub(crate) use worker::{NewWorker, WorkerRow, worker, worker_batch};
