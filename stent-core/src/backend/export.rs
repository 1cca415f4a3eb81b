//! The parts of an execution's record, for files.

use serde::{Deserialize, Serialize};

use super::{ExecutionView, ItemView, NotesView, TaskView};
use crate::model::{EndedClaim, Step};
use crate::{Payload, TaskId};

/// A part of an execution's record, as it is exported. Payloads are encoded as the program encoded them; transforms in front of the
/// store are undone.
///
/// An export begins with the execution. Its tasks follow by id, which puts each task after its parent, except after a root whose id is
/// not of version 7. After each task come its ended claims, and its steps or its items. The notes are last.
///
/// The serde form is meant for files, for example one JSON document per line. It is stable within a major version, and later versions
/// may add parts and fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExportRecord {
    /// The execution.
    Execution(ExecutionView),
    /// A task: the root, a step, or an item of a map.
    Task {
        /// The task.
        task: TaskView,
        /// Its arguments; none for kinds without arguments, and for items, whose arguments are in [`Item`](Self::Item).
        args: Option<Payload>,
    },
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
    /// The notes that the execution's code made about itself.
    Notes(NotesView),
}
