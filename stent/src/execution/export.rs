//! Reads an execution's whole record, part by part, in bounded reads. Writes nothing, and knows no file format.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use stent_core::backend::{ExportRecord, TaskView};
use stent_core::model::{Seq, StepKind};
use stent_core::{ExecutionId, TaskId};

use crate::engine::Engine;
use crate::error::{Error, Result};

/// Tasks in one read. Each may take more reads: for its arguments, its steps and its ended claims.
const TASKS: usize = 100;

/// Items of a map in one read.
const ITEMS: usize = 1_000;

/// Reads the record of an execution: see [`Inspector::export`](crate::Inspector::export).
#[must_use = "an export reads nothing until it is asked for its next part"]
#[derive(Debug)]
pub struct Export {
    engine: Arc<Engine>,
    execution: ExecutionId,
    stage: Stage,
    /// Parts that were read and not returned yet.
    parts: VecDeque<ExportRecord>,
    /// Tasks that were read and whose parts were not.
    tasks: VecDeque<TaskView>,
    /// The last task that was read.
    after: Option<TaskId>,
    /// The maps so far. Their items are tasks, too.
    maps: BTreeSet<TaskId>,
}

/// What is read next.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Execution,
    Tasks,
    Items { map: TaskId, from: Seq },
    Notes,
    End,
}

impl Export {
    pub(crate) const fn new(engine: Arc<Engine>, execution: ExecutionId) -> Self {
        Self {
            engine,
            execution,
            stage: Stage::Execution,
            parts: VecDeque::new(),
            tasks: VecDeque::new(),
            after: None,
            maps: BTreeSet::new(),
        }
    }

    /// Reads the next part. `None` after the last one.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such execution; store errors. The next call tries the same part again.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn next(&mut self) -> Result<Option<ExportRecord>> {
        loop {
            if let Some(part) = self.parts.pop_front() {
                return Ok(Some(part));
            }
            if matches!(self.stage, Stage::End) {
                return Ok(None);
            }
            self.read().await?;
        }
    }

    /// Reads some parts. Changes nothing before the reads of a stage are done.
    async fn read(&mut self) -> Result<()> {
        let (engine, store, execution) = (&self.engine, &self.engine.store, self.execution);
        match self.stage {
            Stage::Execution => {
                let ids = [execution];
                let found = engine.retrying(|| store.executions(&ids)).await?;
                let view = found.into_iter().next().ok_or(Error::NotFound(execution))?;
                self.parts.push_back(ExportRecord::Execution(view));
                self.stage = Stage::Tasks;
            }
            Stage::Tasks => match self.tasks.front() {
                Some(task) => {
                    let parts = self.parts_of(task).await?;
                    if task.kind.is_map() {
                        self.stage = Stage::Items { map: task.id, from: Seq(0) };
                    }
                    self.tasks.pop_front();
                    self.parts.extend(parts);
                }
                None => {
                    let after = self.after;
                    let tasks = engine.retrying(|| store.tasks(execution, after, TASKS)).await?;
                    match tasks.last() {
                        Some(last) => self.after = Some(last.id),
                        None => self.stage = Stage::Notes,
                    }
                    self.maps.extend(tasks.iter().filter(|task| task.kind.is_map()).map(|task| task.id));
                    self.tasks.extend(tasks);
                }
            },
            Stage::Items { map, from } => {
                let items = engine.retrying(|| store.items(map, from, ITEMS)).await?;
                self.stage = match items.last() {
                    Some(last) if items.len() == ITEMS => Stage::Items { map, from: Seq(last.seq.0 + 1) },
                    _ => Stage::Tasks,
                };
                self.parts.extend(items.into_iter().map(|item| ExportRecord::Item { map, item }));
            }
            Stage::Notes => {
                let notes = engine.retrying(|| store.notes(execution)).await?;
                self.parts.push_back(ExportRecord::Notes(notes));
                self.stage = Stage::End;
            }
            Stage::End => {}
        }
        Ok(())
    }

    /// A task, its ended claims and its steps.
    async fn parts_of(&self, task: &TaskView) -> Result<Vec<ExportRecord>> {
        let (engine, store, id) = (&self.engine, &self.engine.store, task.id);
        let is_item = task.parent.is_some_and(|parent| self.maps.contains(&parent));
        let has_args = matches!(task.kind, StepKind::Call | StepKind::Spawn) && !is_item;
        let args = if has_args { engine.retrying(|| store.args(id)).await? } else { None };
        let mut parts = vec![ExportRecord::Task { task: task.clone(), args }];
        if task.attempts + task.crashes + task.releases > 0 {
            let ended = engine.retrying(|| store.ended_claims(id)).await?;
            parts.extend(ended.into_iter().map(ExportRecord::EndedClaim));
        }
        if task.kind == StepKind::Call {
            let asked = [(id, 0)];
            for (parent, steps) in engine.retrying(|| store.completions(&asked)).await? {
                parts.extend(steps.into_iter().map(|step| ExportRecord::Step { parent, step }));
            }
        }
        Ok(parts)
    }
}
