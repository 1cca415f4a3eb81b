//! Reads for people and waiters, and of the clock.

use async_trait::async_trait;
use stent_core::backend::{Error, ErrorKind, ExecutionView, Inspect, ItemView, Result, TaskView};
use stent_core::limits::{LOOKUP_MAX, PAGE_MAX};
use stent_core::model::Seq;
use stent_core::{ExecutionId, TaskId, Timestamp};
use uuid::Uuid;

use super::SqlStore;
use crate::batch::Batch;
use crate::row::columns::ONE_ID;
use crate::row::{self, Reader};

impl SqlStore {
    pub(super) async fn read_clock(&self) -> Result<Timestamp> {
        let run = self.reading("clock")?;
        let read = run.read(&self.statements.clock, Vec::new(), Reader::moment).await?;
        read.into_iter().next().ok_or_else(|| Error::new(ErrorKind::Unavailable, "clock"))
    }
}

#[async_trait]
impl Inspect for SqlStore {
    async fn executions(&self, ids: &[ExecutionId]) -> Result<Vec<ExecutionView>> {
        let run = self.reading("executions")?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids = ids.iter().take(LOOKUP_MAX).map(|id| *id.as_uuid());
        let values = run.values(&Batch::of_ids(&ONE_ID, ids), []);
        run.read(&self.statements.executions, values, row::execution_view).await
    }

    async fn tasks(
        &self,
        execution: ExecutionId,
        after: Option<TaskId>,
        max: usize,
    ) -> Result<Vec<TaskView>> {
        // No task has the nil id: ids are of version 7.
        let after = after.map_or(Uuid::nil(), |id| *id.as_uuid());
        let values = vec![(*execution.as_uuid()).into(), after.into(), page(max).into()];
        let mut tasks = self.reading("tasks")?.read(&self.statements.tasks, values, row::task_view).await?;
        tasks.sort_unstable_by_key(|task| task.id);
        Ok(tasks)
    }

    async fn items(&self, map: TaskId, from: Seq, max: usize) -> Result<Vec<ItemView>> {
        let values = vec![(*map.as_uuid()).into(), i64::from(from.0).into(), page(max).into()];
        let mut items = self.reading("items")?.read(&self.statements.items, values, row::item_view).await?;
        items.sort_by_key(|item| item.seq);
        Ok(items)
    }
}

fn page(max: usize) -> i64 {
    max.min(PAGE_MAX) as i64
}
