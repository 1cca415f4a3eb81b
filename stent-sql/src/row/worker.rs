//! Rows of workers. The record is one value; the other columns repeat the fields by which it is searched.

use stent_core::backend::{Error, ErrorKind, Result};
use stent_core::model::{WorkerRecord, WorkerState};
use stent_core::{Timestamp, WorkerId};

use super::Reader;
use super::cell::Json;
use super::shape::{Read, batch, rows};
use crate::batch::Batch;
use crate::table::worker;

rows! {
    /// A worker to write.
    write NewWorker of worker {
        id: WorkerId,
        state: WorkerState,
        seen_at: Timestamp,
        record: String,
    }

    /// A worker that was read.
    read WorkerRow of worker {
        record: Json<WorkerRecord>,
    }
}

/// A worker's record, as a batch of one row.
pub(crate) fn worker_batch(worker: &WorkerRecord) -> Result<Batch<'static>> {
    let record = serde_json::to_string(worker).map_err(|error| {
        let message = format!("the record of worker {} cannot be encoded", worker.id);
        Error::new(ErrorKind::Limit, "report").with_message(message).with_source(error)
    })?;
    Ok(batch([NewWorker { id: worker.id, state: worker.state, seen_at: worker.seen_at, record }]))
}

/// Reads a worker's record.
pub(crate) fn worker(reader: &mut Reader) -> Result<WorkerRecord> {
    Ok(WorkerRow::read(reader)?.record.0)
}
