//! Reads for people and waiters, and of the clock.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use async_trait::async_trait;
use stent_core::backend::{
    DeadLetter, DeadLetterStat, Error, ErrorKind, ExecutionView, Filter, Finding, Inspect, ItemView,
    LaneView, NotesView, Reads, Result, RunningView, StoredTask, TaskView, Topic,
};
use stent_core::limits::{COUNT_MAX, LANES_MAX, LOOKUP_MAX, PAGE_MAX};
use stent_core::model::{EndedClaim, ExecutionStatus, KeyEntry, Seq, Step, WorkerRecord};
use stent_core::{ExecutionId, Key, Payload, TaskId, Timestamp, WorkerId};
use uuid::Uuid;

use super::SqlStore;
use super::claim::arrange;
use super::record::{Record, Wanted};
use crate::batch::Batch;
use crate::row::{self, Dispatched, NoteRow, Now, OneId, Read, Shape, Tally, WANT_OPEN};

impl SqlStore {
    pub(super) async fn read_clock(&self) -> Result<Timestamp> {
        let run = self.reading("clock")?;
        let read = run.read(&self.statements.clock, Vec::new(), Now::read).await?;
        read.into_iter()
            .next()
            .map(|Now { now }| now)
            .ok_or_else(|| Error::new(ErrorKind::Unavailable, "clock"))
    }

    /// The execution that was dispatched under a key.
    async fn dispatched_under(&self, key: Key) -> Result<Option<ExecutionId>> {
        let values = vec![(*key.as_uuid()).into()];
        let found = self.reading("list")?.read(&self.statements.dispatched, values, Dispatched::read).await?;
        Ok(found.into_iter().next().map(|Dispatched { execution_id }| execution_id))
    }

    /// Stores lanes again that were deleted while tasks are ready in them: without its lane, no claim finds a task.
    async fn find_lost_lanes(&self) -> Result<()> {
        let run = self.reading("lanes")?;
        let lost = run.read(&self.statements.lost_lanes, Vec::new(), row::lane).await?;
        if lost.is_empty() {
            return Ok(());
        }
        let transaction = self.begin("lanes").await?;
        let run = self.within("lanes", &transaction);
        let values = run.values(&row::lane_batch(lost.iter().map(|(_, lane)| lane)), []);
        let stored = run.read(&self.statements.lane, values, row::lane).await?;
        self.tally.rows_written(stored.len() as u64);
        self.commit("lanes", transaction).await?;
        self.hint(Topic::Work);
        Ok(())
    }
}

#[async_trait]
impl Reads for SqlStore {
    async fn executions(&self, ids: &[ExecutionId]) -> Result<Vec<ExecutionView>> {
        let run = self.reading("executions")?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids = ids.iter().take(LOOKUP_MAX).map(|id| *id.as_uuid());
        let values = run.values(&Batch::of_ids(OneId::COLUMNS, ids), []);
        run.read(&self.statements.executions, values, row::execution_view).await
    }

    async fn items(&self, map: TaskId, from: Seq, max: usize) -> Result<Vec<ItemView>> {
        let values = vec![(*map.as_uuid()).into(), i64::from(from.0).into(), page(max).into()];
        let mut items = self.reading("items")?.read(&self.statements.items, values, row::item_view).await?;
        items.sort_by_key(|item| item.seq);
        Ok(items)
    }

    async fn args(&self, task: TaskId) -> Result<Option<Payload>> {
        let values = vec![(*task.as_uuid()).into()];
        let found = self.reading("args")?.read(&self.statements.args, values, row::called_with).await?;
        Ok(found.into_iter().next())
    }

    async fn completions(&self, seen: &[(TaskId, u32)]) -> Result<Vec<(TaskId, Vec<Step>)>> {
        let run = self.reading("completions")?;
        let (mut wanted, seen) = (Wanted::default(), &seen[..seen.len().min(LOOKUP_MAX)]);
        seen.iter().for_each(|(task, seen)| wanted.add(*task, *seen, WANT_OPEN));
        let mut record = Record::read(&run, wanted).await?;
        seen.iter().map(|(task, seen)| Ok((*task, arrange(record.take(*task), Some(*seen))?))).collect()
    }
}

#[async_trait]
impl Inspect for SqlStore {
    async fn tasks(
        &self,
        execution: ExecutionId,
        after: Option<TaskId>,
        max: usize,
    ) -> Result<Vec<TaskView>> {
        let Some(from) = first_after(after.map(|id| *id.as_uuid())) else { return Ok(Vec::new()) };
        let values = vec![(*execution.as_uuid()).into(), from.into(), page(max).into()];
        let mut tasks = self.reading("tasks")?.read(&self.statements.tasks, values, row::task_view).await?;
        tasks.sort_unstable_by_key(|task| task.id);
        Ok(tasks)
    }

    async fn stored(
        &self,
        execution: ExecutionId,
        after: Option<TaskId>,
        max: usize,
    ) -> Result<Vec<StoredTask>> {
        let Some(from) = first_after(after.map(|id| *id.as_uuid())) else { return Ok(Vec::new()) };
        let values = vec![(*execution.as_uuid()).into(), from.into(), page(max).into()];
        let mut tasks =
            self.reading("stored")?.read(&self.statements.stored, values, row::stored_task).await?;
        tasks.sort_unstable_by_key(|task| task.row.id);
        Ok(tasks)
    }

    async fn key_entries(
        &self,
        execution: ExecutionId,
        after: Option<Key>,
        max: usize,
    ) -> Result<Vec<KeyEntry>> {
        let Some(from) = first_after(after.map(|key| *key.as_uuid())) else { return Ok(Vec::new()) };
        let values = vec![(*execution.as_uuid()).into(), from.into(), page(max).into()];
        self.reading("key entries")?.read(&self.statements.entries_of, values, row::key_entry).await
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<ExecutionId>,
        max: usize,
    ) -> Result<Vec<ExecutionView>> {
        let Filter { status, function, queue, tag, key, since, until, .. } = filter;
        let Some(last) = last_before(before) else { return Ok(Vec::new()) };
        let ids = filter.ids();
        let (mut first, mut last) = (*ids.start().as_uuid(), last.min(*ids.end().as_uuid()));
        if let Some(key) = key {
            let Some(execution) = self.dispatched_under(*key).await? else { return Ok(Vec::new()) };
            (first, last) = (first.max(*execution.as_uuid()), last.min(*execution.as_uuid()));
        }
        let values = vec![
            last.into(),
            page(max).into(),
            status.map(|status| status.as_str().to_owned()).into(),
            function.clone().into(),
            queue.clone().into(),
            tag.as_deref().map(row::quoted).into(),
            first.into(),
            since.map_or(i64::MIN, Timestamp::as_micros).into(),
            until.map_or(i64::MAX, |until| until.as_micros().saturating_sub(1)).into(),
        ];
        let list = &self.statements.list;
        let mut listed = self.reading("list")?.read(list, values, row::execution_view).await?;
        // The query searches the tag as a text within all tags, and may match a part of another tag.
        listed.retain(|execution| tag.as_ref().is_none_or(|tag| execution.tags.contains(tag)));
        listed.sort_unstable_by_key(|execution| Reverse(execution.id));
        Ok(listed)
    }

    async fn count(&self, max: usize) -> Result<BTreeMap<ExecutionStatus, u64>> {
        let run = self.reading("count")?;
        let tallies =
            run.read(&self.statements.tally, vec![(max.min(COUNT_MAX) as i64).into()], Tally::read).await?;
        let counts = tallies.into_iter().flat_map(|tally| {
            [
                (ExecutionStatus::Pending, tally.pending),
                (ExecutionStatus::Running, tally.running),
                (ExecutionStatus::Cancelling, tally.cancelling),
                (ExecutionStatus::Completed, tally.completed),
                (ExecutionStatus::Failed, tally.failed),
                (ExecutionStatus::TimedOut, tally.timed_out),
                (ExecutionStatus::Cancelled, tally.cancelled),
            ]
        });
        Ok(counts.filter(|(_, count)| *count > 0).collect())
    }

    async fn lanes(&self, now: Timestamp, max: usize) -> Result<Vec<LaneView>> {
        self.find_lost_lanes().await?;
        let values = vec![now.as_micros().into(), (max.min(LANES_MAX) as i64).into()];
        let mut lanes = self.reading("lanes")?.read(&self.statements.lanes, values, row::lane_view).await?;
        lanes.retain(|lane| lane.due + lane.delayed > 0);
        lanes.sort_unstable_by(|one, other| one.lane.cmp(&other.lane));
        Ok(lanes)
    }

    async fn running(&self, max: usize) -> Result<Vec<RunningView>> {
        let values = vec![page(max).into()];
        let running = &self.statements.running;
        let mut running = self.reading("running")?.read(running, values, row::running_view).await?;
        running.sort_unstable_by_key(|task| Reverse((task.lease_until, task.id)));
        Ok(running)
    }

    async fn ended_claims(&self, task: TaskId) -> Result<Vec<EndedClaim>> {
        let values = vec![(*task.as_uuid()).into()];
        self.reading("ended_claims")?.read(&self.statements.read_ended_claims, values, row::ended_claim).await
    }

    async fn notes(&self, execution: ExecutionId) -> Result<NotesView> {
        let run = self.reading("notes")?;
        let id = || vec![(*execution.as_uuid()).into()];
        let mut view = NotesView::default();
        for note in run.read(&self.statements.notes, id(), row::note_row).await? {
            match note {
                NoteRow::Counter(name, count) => drop(view.counters.insert(name, count)),
                NoteRow::State(name, value) => drop(view.states.insert(name, value)),
                NoteRow::Summary(line) => view.summary.push(line),
            }
        }
        view.summary.sort_unstable();
        view.progress = run.read(&self.statements.read_progress, id(), row::progress_view).await?;
        view.progress.sort_unstable_by_key(|entry| entry.id);
        Ok(view)
    }

    async fn dead_letters(&self, before: Option<ExecutionId>, max: usize) -> Result<Vec<DeadLetter>> {
        let Some(last) = last_before(before) else { return Ok(Vec::new()) };
        let values = vec![last.into(), page(max).into()];
        let dead_letters = &self.statements.dead_letters;
        let mut dead = self.reading("dead_letters")?.read(dead_letters, values, row::dead_letter).await?;
        dead.sort_unstable_by_key(|letter| Reverse(letter.execution.id));
        Ok(dead)
    }

    async fn dead_letter(&self, execution: ExecutionId) -> Result<Option<DeadLetter>> {
        let values = vec![(*execution.as_uuid()).into()];
        let run = self.reading("dead_letter")?;
        let found = run.read(&self.statements.dead_letter, values, row::dead_letter).await?;
        Ok(found.into_iter().next())
    }

    async fn dead_letter_stats(&self, max: usize) -> Result<Vec<DeadLetterStat>> {
        let run = self.reading("dead_letter_stats")?;
        let stats = &self.statements.dead_letter_stats;
        let mut stats = run.read(stats, vec![page(max).into()], row::dead_letter_stat).await?;
        stats.sort_unstable();
        Ok(stats)
    }

    async fn workers(&self, after: Option<WorkerId>, max: usize) -> Result<Vec<WorkerRecord>> {
        self.read_workers(after, max).await
    }

    async fn diagnose(&self) -> Result<Vec<Finding>> {
        const OPERATION: &str = "diagnose";
        self.check_open(OPERATION)?;
        self.check_place(OPERATION)?;
        match self.dialect.examine(&self.connections).await {
            Ok(findings) => Ok(findings),
            Err(error) => Err(self.failed(OPERATION, error).await),
        }
    }
}

/// The last id of a page that ends before `before`; the greatest id if there is no bound. `None` if there is no such
/// id.
fn last_before(before: Option<ExecutionId>) -> Option<Uuid> {
    match before {
        None => Some(Uuid::max()),
        Some(id) => id.as_uuid().as_u128().checked_sub(1).map(Uuid::from_u128),
    }
}

/// The first id of a page that begins after `after`; the smallest id if there is no bound. `None` if there is no such
/// id.
pub(super) fn first_after(after: Option<Uuid>) -> Option<Uuid> {
    match after {
        None => Some(Uuid::nil()),
        Some(id) => id.as_u128().checked_add(1).map(Uuid::from_u128),
    }
}

pub(super) fn page(max: usize) -> i64 {
    max.min(PAGE_MAX) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_without_a_bound_has_every_id() {
        assert_eq!((first_after(None), last_before(None)), (Some(Uuid::nil()), Some(Uuid::max())));
    }

    #[test]
    fn a_page_has_no_id_on_the_other_side_of_its_bound() {
        let id = |n| ExecutionId::from_uuid(Uuid::from_u128(n));
        assert_eq!(first_after(Some(Uuid::from_u128(7))), Some(Uuid::from_u128(8)));
        assert_eq!(last_before(Some(id(7))), Some(Uuid::from_u128(6)));
        assert_eq!((first_after(Some(Uuid::max())), last_before(Some(id(0)))), (None, None));
    }
}
