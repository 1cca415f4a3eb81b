//! Reads an execution's whole record, part by part, in bounded reads. Writes nothing, and knows no file format.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use stent_core::backend::{ExportRecord, ExportedRow, StoredTask};
use stent_core::limits::PAGE_MAX;
use stent_core::model::{Seq, Step, StepKind};
use stent_core::{ExecutionId, Key, TaskId};

use crate::engine::Engine;
use crate::error::{Error, Result};

/// Tasks in one read, with their arguments and results. Each may take more reads: for its steps and its ended claims.
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
    tasks: VecDeque<StoredTask>,
    /// The last task that was read.
    after: Option<TaskId>,
    /// The payloads of tasks below each call and each map that parts have contained already.
    written: BTreeMap<TaskId, Written>,
    /// Whether the execution's part had its result.
    has_result: bool,
}

/// Payloads of a task's steps, or of a map's items, that parts have contained already.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    /// The number of items whose arguments were written.
    args: u32,
    /// The number of completions, or of items from the first on, whose results were written.
    results: u32,
}

/// What is read next.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Execution,
    Tasks,
    Items { map: TaskId, from: Seq },
    Keys { after: Option<Key> },
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
            written: BTreeMap::new(),
            has_result: false,
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
                self.has_result = view.result.is_some();
                self.parts.push_back(ExportRecord::Execution(view));
                self.parts.push_back(ExportRecord::Format {
                    format: ExportRecord::FORMAT,
                    writer: env!("CARGO_PKG_VERSION").to_owned(),
                });
                self.stage = Stage::Tasks;
            }
            Stage::Tasks => match self.tasks.front() {
                Some(task) => {
                    let (parts, written) = self.parts_of(task).await?;
                    let (id, is_map) = (task.row.id, task.row.kind.is_map());
                    self.written.insert(id, written);
                    if is_map {
                        self.stage = Stage::Items { map: id, from: Seq(0) };
                    }
                    self.tasks.pop_front();
                    self.parts.extend(parts);
                }
                None => {
                    let after = self.after;
                    let tasks = engine.retrying(|| store.stored(execution, after, TASKS)).await?;
                    match tasks.last() {
                        Some(last) => self.after = Some(last.row.id),
                        None => self.stage = Stage::Keys { after: None },
                    }
                    self.tasks.extend(tasks);
                }
            },
            Stage::Items { map, from } => {
                let items = engine.retrying(|| store.items(map, from, ITEMS)).await?;
                self.stage = match items.last() {
                    Some(last) if items.len() == ITEMS => Stage::Items { map, from: Seq(last.seq.0 + 1) },
                    _ => Stage::Tasks,
                };
                let written = self.written.entry(map).or_default();
                for item in &items {
                    let is_next = written.results == item.seq.0 && item.status.is_terminal();
                    written.results += u32::from(is_next);
                    written.args = item.seq.0 + 1;
                }
                self.parts.extend(items.into_iter().map(|item| ExportRecord::Item { map, item }));
            }
            Stage::Keys { after } => {
                let entries = engine.retrying(|| store.key_entries(execution, after, PAGE_MAX)).await?;
                self.stage = match entries.last() {
                    Some(last) => Stage::Keys { after: Some(last.key) },
                    None => Stage::Notes,
                };
                self.parts.extend(entries.into_iter().map(ExportRecord::KeyEntry));
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

    /// A task, its row, its ended claims and its steps, and the payloads of its steps that these contain.
    async fn parts_of(&self, stored: &StoredTask) -> Result<(Vec<ExportRecord>, Written)> {
        let (engine, store, id) = (&self.engine, &self.engine.store, stored.row.id);
        let (task, mut written) = (stored.to_view(), Written::default());
        let is_item = stored.row.tree.owner.is_some();
        let has_args = matches!(task.kind, StepKind::Call | StepKind::Spawn) && !is_item;
        let args = has_args.then(|| stored.task.args.clone());
        let ended_badly = task.attempts + task.crashes + task.releases > 0;
        let mut parts = vec![ExportRecord::Task { task, args }, self.row_of(stored, has_args)];
        if ended_badly || stored.result.as_ref().is_some_and(std::result::Result::is_err) {
            let ended = engine.retrying(|| store.ended_claims(id)).await?;
            parts.extend(ended.into_iter().map(ExportRecord::EndedClaim));
        }
        if stored.row.kind == StepKind::Call {
            let asked = [(id, 0)];
            for (parent, steps) in engine.retrying(|| store.completions(&asked)).await? {
                written.results = steps.iter().filter_map(Step::order).max().unwrap_or(0);
                parts.extend(steps.into_iter().map(|step| ExportRecord::Step { parent, step }));
            }
        }
        Ok((parts, written))
    }

    /// A task's row, without payloads that other parts have contained already.
    fn row_of(&self, stored: &StoredTask, has_args: bool) -> ExportRecord {
        let StoredTask { task, row, result, .. } = stored;
        let written =
            row.tree.parent.and_then(|parent| self.written.get(&parent)).copied().unwrap_or_default();
        let is_item = row.tree.owner.is_some();
        let wrote_args = has_args || task.args.is_empty() || is_item && task.seq.0 < written.args;
        let wrote_result = stored.final_result().is_some()
            && match row.tree.parent {
                None => self.has_result,
                Some(_) if is_item => task.seq.0 < written.results,
                Some(_) => row.done_order.is_some_and(|order| order <= written.results),
            };
        ExportRecord::Row(Box::new(ExportedRow {
            row: row.clone(),
            queue: task.lane.queue.clone(),
            tags: task.lane.tags.clone(),
            priority: task.priority,
            retry: task.retry.clone(),
            trace: task.trace.clone(),
            args: (!wrote_args).then(|| task.args.clone()),
            result: result.clone().filter(|_| !wrote_result),
        }))
    }
}
