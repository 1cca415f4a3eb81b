//! The recorded steps that an exchange returns: one statement reads them for all tasks.

use std::collections::BTreeMap;

use sea_orm::ConnectionTrait;
use stent_core::TaskId;
use stent_core::backend::Result;
use stent_core::model::Step;

use super::run::Run;
use crate::row::{self, Read, Recorded, WANT_NONE, WantRow};

/// The tasks whose steps are wanted, and which steps.
#[derive(Debug, Default)]
pub(super) struct Wanted(BTreeMap<TaskId, Want>);

#[derive(Debug)]
struct Want {
    seen: u32,
    others: u32,
}

impl Wanted {
    /// Requests the steps of a task that ended after the first `seen`, and others beside them.
    ///
    /// A task that is requested twice is read once, with the steps of both requests.
    pub(super) fn add(&mut self, task: TaskId, seen: u32, others: u32) {
        let want = self.0.entry(task).or_insert(Want { seen, others });
        want.seen = want.seen.min(seen);
        if others != WANT_NONE {
            want.others = others;
        }
    }
}

/// Steps by their parent.
#[derive(Debug, Default)]
pub(super) struct Record(BTreeMap<TaskId, Vec<Recorded>>);

impl Record {
    pub(super) async fn read<C: ConnectionTrait>(run: &Run<'_, C>, wanted: Wanted) -> Result<Self> {
        let mut record = Self::default();
        if wanted.0.is_empty() {
            return Ok(record);
        }
        let batch = row::batch(wanted.0.iter().map(|(task, want)| WantRow {
            parent: *task,
            seen: want.seen,
            want: want.others,
        }));
        let (statements, values) = (&run.store.statements, run.values(&batch, []));
        let steps = run.read(&statements.steps, values, Recorded::read).await?;
        for step in steps {
            if let Some(parent) = step.row.tree.parent {
                record.0.entry(parent).or_default().push(step);
            }
        }
        Ok(record)
    }

    /// The steps of a task that ended as its completions after the `seen`-th up to the `done`-th, in order.
    pub(super) fn ended(&self, task: TaskId, seen: u32, done: u32) -> Result<Vec<Step>> {
        let mut ended: Vec<_> = self.0.get(&task).into_iter().flatten().collect();
        ended.retain(|step| step.row.done_order.is_some_and(|order| order > seen && order <= done));
        ended.sort_by_key(|step| step.row.done_order);
        ended.into_iter().map(|step| step.clone().into_step()).collect()
    }

    /// All that was read of a task's steps.
    pub(super) fn take(&mut self, task: TaskId) -> Vec<Recorded> {
        self.0.remove(&task).unwrap_or_default()
    }
}
