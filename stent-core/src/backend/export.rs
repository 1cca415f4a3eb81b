//! The parts of an execution's record, for files.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{ExecutionView, ItemView, NotesView, TaskView};
use crate::ledger::Row;
use crate::model::{EndedClaim, KeyEntry, RetryPolicy, Step, TaskResult};
use crate::{Payload, TaskId};

/// A part of an execution's record, as it is exported. Payloads are encoded as the program encoded them; transforms in front of the
/// store are undone.
///
/// An export begins with the execution and the format. Its tasks follow by id, which puts each task after its parent, except after a
/// root whose id is not of version 7. After each task come its row, its ended claims, and its steps or its items. Then come the key
/// entries. The notes are last.
///
/// The serde form is meant for files, for example one JSON document per line. It is stable within a major version, and later versions
/// may add parts and fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExportRecord {
    /// The execution.
    Execution(ExecutionView),
    /// The format of the export. Exports of earlier versions have none, and cannot be [imported](crate::import).
    Format {
        /// The format: see [`FORMAT`](Self::FORMAT).
        format: u32,
        /// The version of Stent that wrote the export.
        writer: String,
    },
    /// A task: the root, a step, or an item of a map.
    Task {
        /// The task.
        task: TaskView,
        /// Its arguments; none for kinds without arguments, and for items, whose arguments are in [`Item`](Self::Item).
        args: Option<Payload>,
    },
    /// The row of the task before it: what only an import reads.
    Row(Box<ExportedRow>),
    /// A claim of the task before it that ended badly.
    EndedClaim(EndedClaim),
    /// A step of the task before it with its result, in the order in which the steps were completed; or a map that is still open.
    /// A task's record consists of its steps, so this is what a replay needs.
    Step {
        /// The task whose step it is.
        parent: TaskId,
        /// The step.
        step: Step,
    },
    /// An item of the map before it, by position.
    Item {
        /// The map.
        map: TaskId,
        /// The item.
        item: ItemView,
    },
    /// A key entry of the execution: of its dispatch, of a signal, or of a result that a step still computes.
    KeyEntry(KeyEntry),
    /// The notes that the execution's code made about itself.
    Notes(NotesView),
}

impl ExportRecord {
    /// The format that this version writes. It grows when an import of an earlier version would misread an export.
    pub const FORMAT: u32 = 1;
}

/// The row of a task in an export, with the constant parts that the other parts of the export do not have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExportedRow {
    /// The row, with the lease of a task that ran.
    pub row: Row,
    /// The queue of its lane; empty for kinds that no worker claims.
    #[serde(default)]
    pub queue: String,
    /// The tags of its lane.
    #[serde(default)]
    pub tags: BTreeSet<String>,
    /// Its priority.
    #[serde(default)]
    pub priority: i16,
    /// Its retry policy, if one was set.
    #[serde(default)]
    pub retry: Option<RetryPolicy>,
    /// The trace that it continues.
    #[serde(default)]
    pub trace: Option<String>,
    /// Its arguments, if no other part of the export has them.
    #[serde(default)]
    pub args: Option<Payload>,
    /// Its result, or the last failure of a task that is retried, if no other part of the export has it.
    #[serde(default)]
    pub result: Option<TaskResult>,
}
