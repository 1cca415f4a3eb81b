//! Writes an exported execution to this store, all of it or nothing. Knows no file format.

use std::collections::BTreeSet;
use std::sync::Arc;

use stent_core::ExecutionId;
use stent_core::backend::{ExportRecord, Filter};
use stent_core::import::{Assembly, ImportError};
use stent_core::limits::LOOKUP_MAX;
use stent_core::model::{KeyEntryKind, StepKind};
use stent_core::transition::{self, Outcome, Transition};

use crate::durable::context;
use crate::engine::Engine;
use crate::engine::writer::Way;
use crate::error::{Error, Result};
use crate::names::check_name;

const REMEDY: &str = "import it from the program that operates the store, outside durable functions";

/// An import of an execution: see [`Stent::import`](crate::Stent::import).
#[must_use = "an import writes nothing until it is asked to"]
#[derive(Debug)]
pub struct Import {
    engine: Arc<Engine>,
    assembly: Assembly,
    queue: Option<String>,
}

/// An execution that was imported, or that would be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// The execution.
    pub execution: ExecutionId,
    /// Its function.
    pub function: String,
    /// Its tasks, the root among them.
    pub tasks: usize,
    /// Its open tasks that a worker of this store may claim, now or later.
    pub open: usize,
    /// The queues of these tasks.
    pub queues: BTreeSet<String>,
    /// The approximate number of bytes of its data.
    pub bytes: usize,
}

impl Import {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, assembly: Assembly::new(), queue: None }
    }

    /// Adds the next part of the export, in the order of the export.
    ///
    /// # Errors
    /// [`Error::Import`] if the part cannot follow the parts before it, or if the execution is too large: more than 10,000 tasks, or
    /// 64 MiB of arguments, results and other data.
    pub fn add(&mut self, part: ExportRecord) -> Result<()> {
        Ok(self.assembly.add(part)?)
    }

    /// Moves the root and every open call to this queue, so that workers of other queues do not run them. Calls that the code makes
    /// later run on the queues of their functions.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// Checks everything, against this store too, and writes nothing. Only the write itself checks the keys under which steps compute
    /// results.
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn check(self) -> Result<Imported> {
        let (engine, import) = self.prepare().await?;
        for entry in import.key_entries.iter().filter(|entry| entry.kind == KeyEntryKind::Dispatch) {
            let mut filter = Filter::default();
            filter.key = Some(entry.key);
            let held = engine.retrying(|| engine.store.list(&filter, None, 1)).await?;
            if let Some(holder) = held.first().map(|view| view.id) {
                return Err(ImportError::KeyHeld { execution: import.execution, holder }.into());
            }
        }
        Ok(described(&import))
    }

    /// Writes the execution.
    ///
    /// # Errors
    /// [`Error::Import`], which says why the parts cannot be imported: they are cut off, of a newer format or of two executions; the
    /// store has the execution already; another execution holds one of its keys; or it waits for an execution that is not in the
    /// store. [`Error::InDurable`] in a durable function. Store errors. Nothing was written then, unless the store failed in the
    /// middle of the write.
    ///
    /// # Cancel safety
    /// If it is dropped, the execution has been written completely or not at all.
    pub async fn write(self) -> Result<Imported> {
        context::check_not_replayed("an import", REMEDY)?;
        let (engine, import) = self.prepare().await?;
        let (imported, execution) = (described(&import), import.execution);
        let awaited = import.awaits.first().map(|(_, awaited)| *awaited);
        match engine.write(Way::Grouped, Transition::Import(import)).await? {
            // It was not there a moment ago, so a repeated write is told that it was applied before.
            Outcome::Applied(_) | Outcome::Already(_) => Ok(imported),
            Outcome::Exists(holder) => Err(ImportError::KeyHeld { execution, holder }.into()),
            Outcome::Gone | Outcome::Fenced => {
                Err(ImportError::Awaits { execution, awaited: awaited.unwrap_or(execution) }.into())
            }
        }
    }

    /// Puts the parts together and looks up the executions that the import depends on.
    async fn prepare(self) -> Result<(Arc<Engine>, transition::Import)> {
        let Self { engine, assembly, queue } = self;
        if let Some(queue) = &queue {
            check_name("queue", queue)?;
        }
        let mut import = assembly.finish(engine.clock.now())?;
        let execution = import.execution;
        if let Some(queue) = &queue {
            for stored in &mut import.tasks {
                let row = &stored.row;
                let moves = row.tree.parent.is_none() || !row.status.is_terminal();
                if row.kind == StepKind::Call && moves {
                    stored.task.lane.queue.clone_from(queue);
                }
            }
        }
        let wanted: BTreeSet<_> =
            import.awaits.iter().map(|(_, awaited)| *awaited).chain([execution]).collect();
        let wanted: Vec<_> = wanted.into_iter().collect();
        let mut found = BTreeSet::new();
        for ids in wanted.chunks(LOOKUP_MAX) {
            let views = engine.retrying(|| engine.store.executions(ids)).await?;
            found.extend(views.into_iter().map(|view| view.id));
        }
        if found.contains(&execution) {
            return Err(ImportError::Exists(execution).into());
        }
        if let Some((_, awaited)) = import.awaits.iter().find(|(_, awaited)| !found.contains(awaited)) {
            return Err(ImportError::Awaits { execution, awaited: *awaited }.into());
        }
        Ok((engine, import))
    }
}

fn described(import: &transition::Import) -> Imported {
    let open = || {
        import
            .tasks
            .iter()
            .filter(|stored| stored.row.kind == StepKind::Call && !stored.row.status.is_terminal())
    };
    let root = import.tasks.iter().find(|stored| stored.is_root());
    Imported {
        execution: import.execution,
        function: root.map_or_else(String::new, |root| root.task.lane.function.clone()),
        tasks: import.tasks.len(),
        open: open().count(),
        queues: open().map(|stored| stored.task.lane.queue.clone()).collect(),
        bytes: import.bytes(),
    }
}

impl From<ImportError> for Error {
    fn from(error: ImportError) -> Self {
        Self::Import(error)
    }
}
