//! Puts the parts of an export together again: checks that they are one whole execution of a known format, and returns the
//! [`Import`] that writes it. Knows no file and no store.

use std::collections::{BTreeMap, BTreeSet};

use crate::backend::{ExportRecord, ExportedRow, NotesView, StoredTask, TaskView};
use crate::ledger::Row;
use crate::limits::{IMPORT_BYTES_MAX, IMPORT_TASKS_MAX};
use crate::model::{
    EndedClaim, KeyEntry, Lane, NewTask, NewTaskState, Note, Seq, StepKind, StepState, TaskResult,
    TaskStatus, Tree,
};
use crate::transition::{Import, ImportedNote, of_result};
use crate::{ExecutionId, Key, Payload, TaskId, Timestamp};

/// Why an execution cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// There are no parts.
    #[error("the export is empty")]
    Empty,
    /// The first part is not an execution.
    #[error("the export does not begin with an execution")]
    NoStart,
    /// The parts of another execution follow.
    #[error("the export of execution {first} goes on with parts of execution {other}")]
    Mixed {
        /// The execution that the export begins with.
        first: ExecutionId,
        /// The other one.
        other: ExecutionId,
    },
    /// A later version of Stent wrote it, in a format that this version does not know.
    #[error("the export has format {format}, written by stent {writer}; this program reads format {known}", known = ExportRecord::FORMAT)]
    Format {
        /// The format of the export.
        format: u32,
        /// The version that wrote it.
        writer: String,
    },
    /// An earlier version of Stent wrote it, without the data that an import needs.
    #[error("the export of execution {0} was written by a version of Stent whose exports cannot be imported")]
    Old(ExecutionId),
    /// The last part is missing.
    #[error("the export of execution {0} is cut off: its last part, the notes, is missing")]
    CutOff(ExecutionId),
    /// Parts follow the last one.
    #[error("more parts follow the end of the export of execution {0}")]
    Longer(ExecutionId),
    /// It has more tasks than an import may have.
    #[error("execution {0} has more than {IMPORT_TASKS_MAX} tasks, the limit of an import")]
    TooManyTasks(ExecutionId),
    /// Its payloads and texts are larger than those of an import may be.
    #[error("execution {0} has more than {mib} MiB of data, the limit of an import", mib = IMPORT_BYTES_MAX / (1024 * 1024))]
    TooLarge(ExecutionId),
    /// Its steps were compacted, so only their numbers are left.
    #[error("execution {0} was compacted by a retention: only the numbers of its steps are left")]
    Compacted(ExecutionId),
    /// The parts contradict each other, as when the execution ran while it was exported.
    #[error("the parts of execution {execution} do not fit together: {what}")]
    Torn {
        /// The execution.
        execution: ExecutionId,
        /// The contradiction.
        what: String,
    },
    /// The store has the execution.
    #[error("execution {0} is in this store already")]
    Exists(ExecutionId),
    /// Another execution in the store has the key of its dispatch, or computes a result under a key that one of its steps has.
    #[error("execution {execution} has a key that execution {holder} holds in this store")]
    KeyHeld {
        /// The execution.
        execution: ExecutionId,
        /// The execution that holds the key.
        holder: ExecutionId,
    },
    /// It waits for an execution that the store does not have.
    #[error("execution {execution} waits for execution {awaited}, which is not in this store")]
    Awaits {
        /// The execution.
        execution: ExecutionId,
        /// The execution that it waits for.
        awaited: ExecutionId,
    },
}

impl ImportError {
    /// Returns the remedy, in words for the person who imports.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Empty => "write an export first: stent export ID",
            Self::NoStart => "import the whole output of one `stent export`, from its first line",
            Self::Mixed { .. } | Self::Longer(_) => "import each execution by itself, one export at a time",
            Self::Format { .. } => "import it with that version of Stent or a later one",
            Self::Old(_) => "export it again with this version of Stent",
            Self::CutOff(_) => "export it again, and check that the export succeeded",
            Self::TooManyTasks(_) => {
                "copy the database with its own tools, or examine the export with stent::testing::replay, which has no limit"
            }
            Self::TooLarge(_) => {
                "copy the database with its own tools, or keep large data elsewhere and pass references"
            }
            Self::Compacted(_) => "import executions before a retention compacts them, or from a backup",
            Self::Torn { .. } => "export it again while no worker runs it",
            Self::Exists(_) => {
                "an import replaces nothing: look at it with `stent show`, or import into another store"
            }
            Self::KeyHeld { .. } => "wait until the other execution is purged, or import into another store",
            Self::Awaits { .. } => "import that execution first",
        }
    }
}

/// The parts of one export that have been read so far.
#[derive(Debug, Default)]
pub struct Assembly {
    execution: Option<ExecutionId>,
    result: Option<TaskResult>,
    format: Option<u32>,
    /// The task whose row follows.
    task: Option<(TaskView, Option<Payload>)>,
    tasks: Vec<StoredTask>,
    /// Tasks whose arguments are those of an item.
    bare: BTreeSet<TaskId>,
    steps: BTreeMap<TaskId, TaskResult>,
    items: BTreeMap<(TaskId, Seq), (Payload, Option<TaskResult>)>,
    ended_claims: Vec<EndedClaim>,
    key_entries: Vec<KeyEntry>,
    notes: Option<NotesView>,
    bytes: usize,
}

impl Assembly {
    /// An assembly without parts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The execution, once its first part has been added.
    #[must_use]
    pub const fn execution(&self) -> Option<ExecutionId> {
        self.execution
    }

    /// Adds the next part.
    ///
    /// # Errors
    /// The part cannot follow the parts before it, or the export exceeds a limit.
    pub fn add(&mut self, part: ExportRecord) -> Result<(), ImportError> {
        let Some(execution) = self.execution else {
            let ExportRecord::Execution(view) = part else { return Err(ImportError::NoStart) };
            self.execution = Some(view.id);
            self.bytes += view.result.as_ref().map_or(0, of_result);
            self.result = view.result;
            return Ok(());
        };
        if let ExportRecord::Execution(other) = &part
            && other.id != execution
        {
            return Err(ImportError::Mixed { first: execution, other: other.id });
        }
        if self.notes.is_some() {
            return Err(ImportError::Longer(execution));
        }
        if self.format.is_none() && !matches!(part, ExportRecord::Format { .. }) {
            return Err(ImportError::Old(execution));
        }
        match part {
            ExportRecord::Execution(_) => return Err(ImportError::Longer(execution)),
            ExportRecord::Format { format, writer } if format > ExportRecord::FORMAT => {
                return Err(ImportError::Format { format, writer });
            }
            ExportRecord::Format { format, .. } => self.format = Some(format),
            ExportRecord::Task { task, args } => {
                self.check_complete(execution)?;
                self.task = Some((task, args));
            }
            ExportRecord::Row(row) => self.add_row(execution, *row)?,
            ExportRecord::EndedClaim(ended) if ended.execution != execution => {
                return Err(ImportError::Mixed { first: execution, other: ended.execution });
            }
            ExportRecord::EndedClaim(ended) => {
                self.bytes += ended.failure.as_ref().map_or(0, crate::Failure::bytes);
                self.ended_claims.push(ended);
            }
            ExportRecord::Step { step, .. } => {
                if let StepState::Done { result, .. } = step.state {
                    self.bytes += of_result(&result);
                    // A sleep and a map end without a result of their own.
                    if result.is_err() || !(step.kind == StepKind::Sleep || step.kind.is_map()) {
                        self.steps.insert(step.id, result);
                    }
                }
            }
            ExportRecord::Item { map, item } => {
                self.bytes += item.args.len() + item.result.as_ref().map_or(0, of_result);
                self.items.insert((map, item.seq), (item.args, item.result));
            }
            ExportRecord::KeyEntry(entry) if entry.execution != execution => {
                return Err(ImportError::Mixed { first: execution, other: entry.execution });
            }
            ExportRecord::KeyEntry(entry) => {
                self.bytes += entry.value.as_ref().map_or(0, Payload::len);
                self.key_entries.push(entry);
            }
            ExportRecord::Notes(notes) => {
                self.check_complete(execution)?;
                self.notes = Some(notes);
            }
        }
        if self.bytes > IMPORT_BYTES_MAX {
            return Err(ImportError::TooLarge(execution));
        }
        Ok(())
    }

    fn check_complete(&self, execution: ExecutionId) -> Result<(), ImportError> {
        self.task
            .as_ref()
            .map_or(Ok(()), |(task, _)| Err(torn(execution, format!("task {} has no row", task.id))))
    }

    fn add_row(&mut self, execution: ExecutionId, exported: ExportedRow) -> Result<(), ImportError> {
        let ExportedRow { row, queue, tags, priority, retry, trace, args: own_args, result } = exported;
        if row.tree.execution != execution {
            return Err(ImportError::Mixed { first: execution, other: row.tree.execution });
        }
        let Some((view, args)) = self.task.take().filter(|(view, _)| view.id == row.id) else {
            return Err(torn(execution, format!("the row of task {} does not follow its task", row.id)));
        };
        if self.tasks.len() >= IMPORT_TASKS_MAX {
            return Err(ImportError::TooManyTasks(execution));
        }
        let args = args.or(own_args);
        if args.is_none() && row.tree.owner.is_some() {
            self.bare.insert(row.id);
        }
        let args = args.unwrap_or_else(Payload::empty);
        self.bytes += args.len() + result.as_ref().map_or(0, of_result);
        let task = NewTask {
            id: row.id,
            tree: row.tree,
            seq: view.seq,
            kind: row.kind,
            lane: Lane { queue, function: view.name, tags },
            priority,
            args,
            retry,
            attempts: 0,
            failure: None,
            keyed: None,
            expires_at: None,
            trace,
            digest: None,
            state: NewTaskState::Pending { ready_at: view.created_at },
        };
        self.tasks.push(StoredTask { task, row, created_at: view.created_at, result });
        Ok(())
    }

    /// Checks that the parts are whole and fit together, and returns the import.
    ///
    /// # Errors
    /// They do not.
    pub fn finish(mut self, at: Timestamp) -> Result<Import, ImportError> {
        let execution = self.execution.ok_or(ImportError::Empty)?;
        let Some(notes) = self.notes.take() else {
            return Err(if self.format.is_none() && !self.steps.is_empty() {
                ImportError::Old(execution)
            } else {
                ImportError::CutOff(execution)
            });
        };
        if !notes.summary.is_empty() {
            return Err(ImportError::Compacted(execution));
        }
        for stored in &mut self.tasks {
            let seat = stored.row.tree.parent.map(|parent| (parent, stored.task.seq));
            let item = seat.and_then(|seat| self.items.get(&seat));
            if self.bare.contains(&stored.row.id) {
                let (args, _) = item.ok_or_else(|| {
                    torn(execution, format!("the arguments of item {} are missing", stored.row.id))
                })?;
                stored.task.args = args.clone();
            }
            if stored.result.is_none()
                && matches!(stored.row.status, TaskStatus::Completed | TaskStatus::Failed)
            {
                stored.result = match stored.row.tree {
                    Tree { parent: None, .. } => self.result.take(),
                    Tree { owner: Some(_), .. } => item.and_then(|(_, result)| result.clone()),
                    Tree { .. } => self.steps.remove(&stored.row.id),
                };
            }
        }
        check(execution, &self.tasks)?;
        let mut import = Import { notes: notes_of(execution, notes), ..Import::new(execution, at) };
        import.awaits = awaits(execution, &self.tasks)?;
        import.tasks = self.tasks;
        import.ended_claims = self.ended_claims;
        import.key_entries = self.key_entries;
        if import.bytes() > IMPORT_BYTES_MAX {
            return Err(ImportError::TooLarge(execution));
        }
        Ok(import)
    }
}

/// Checks that the tasks are one tree, and that no task has counted fewer ends than its steps have.
fn check(execution: ExecutionId, tasks: &[StoredTask]) -> Result<(), ImportError> {
    let rows: BTreeMap<TaskId, _> = tasks.iter().map(|stored| (stored.row.id, &stored.row)).collect();
    if rows.len() < tasks.len() {
        return Err(torn(execution, "a task occurs twice".to_owned()));
    }
    if rows.get(&execution.root()).is_none_or(|root| root.tree.parent.is_some()) {
        return Err(torn(execution, "it has no root task".to_owned()));
    }
    let is_counted = |row: &Row| matches!(row.status, TaskStatus::Completed | TaskStatus::Failed);
    let mut ended: BTreeMap<TaskId, u32> = BTreeMap::new();
    for row in rows.values().filter(|row| row.tree.owner.is_some() && is_counted(row)) {
        *ended.entry(row.tree.parent.unwrap_or(row.id)).or_default() += 1;
    }
    for (map, ended) in ended {
        if rows.get(&map).is_some_and(|map| !map.status.is_terminal() && map.done < ended) {
            return Err(torn(execution, format!("items of map {map} ended after the map was read")));
        }
    }
    for stored in tasks {
        let row = &stored.row;
        if let Some(above) = row.tree.ancestors().find(|above| !rows.contains_key(above)) {
            return Err(torn(execution, format!("task {} is below task {above}, which is missing", row.id)));
        }
        let parent = row.tree.parent.and_then(|parent| rows.get(&parent));
        if let Some(parent) = parent.filter(|parent| row.done_order > Some(parent.done)) {
            return Err(torn(execution, format!("task {} ended after task {} was read", row.id, parent.id)));
        }
        let has_result = row.kind == StepKind::Sleep || row.kind.is_map() || stored.result.is_some();
        if is_counted(row) && !has_result {
            return Err(torn(execution, format!("task {} has ended, and its result is missing", row.id)));
        }
    }
    Ok(())
}

/// The open waits for executions. The argument of such a wait is the execution.
fn awaits(execution: ExecutionId, tasks: &[StoredTask]) -> Result<Vec<(TaskId, ExecutionId)>, ImportError> {
    let open =
        tasks.iter().filter(|stored| stored.row.kind == StepKind::Join && !stored.row.status.is_terminal());
    let awaited = open.map(|stored| {
        let argument = stored.task.args.decode::<(ExecutionId,)>().ok();
        let awaited = argument.filter(|(id,)| stored.row.key == Some(Key::of_execution(*id)));
        let (id,) = awaited.ok_or_else(|| {
            torn(execution, format!("it is not recorded for which execution step {} waits", stored.row.id))
        })?;
        Ok((stored.row.id, id))
    });
    awaited.collect()
}

fn notes_of(execution: ExecutionId, view: NotesView) -> Vec<ImportedNote> {
    let root = execution.root();
    let of_root = |note| ImportedNote { task: root, at: Timestamp::EPOCH, note };
    let counters = view.counters.into_iter().map(|(name, value)| of_root(Note::CountFrom { name, value }));
    let states = view.states.into_iter().map(|(name, value)| of_root(Note::SetFrom { name, value }));
    let progress = view.progress.into_iter().map(|entry| ImportedNote {
        task: entry.task,
        at: entry.at,
        note: Note::Progress { id: entry.id, text: entry.text },
    });
    counters.chain(states).chain(progress).collect()
}

const fn torn(execution: ExecutionId, what: String) -> ImportError {
    ImportError::Torn { execution, what }
}

#[cfg(test)]
mod tests;
