//! Purging: deletes old data, oldest first.

use std::collections::BTreeSet;

use stent_core::backend::{Purge, PurgeRequest, StoredTask, SummaryView};
use stent_core::ledger::Cascade;
use stent_core::model::KeyEntryKind;
use stent_core::{ExecutionId, Key, TaskId};

use crate::records::Records;

impl Records {
    /// Deletes old data, and returns the count.
    pub(crate) fn purge(&mut self, request: &PurgeRequest) -> u32 {
        let max = usize::try_from(request.max).unwrap_or(usize::MAX);
        let count = match request.what {
            Purge::Executions => {
                let ended = self.ended(request, max, |_, record| !record.is_dead_letter());
                ended.into_iter().map(|execution| self.delete(execution, request)).count()
            }
            Purge::DeadLetters => {
                let dead = self.ended(request, max, |_, record| record.is_dead_letter());
                dead.into_iter().map(|execution| self.delete(execution, request)).count()
            }
            Purge::Details => {
                let whole = self.ended(request, max, |records, record| {
                    !record.is_dead_letter() && records.has_details(record)
                });
                // Summaries are counted before anything is deleted: deleting one execution can promote a waiting step of
                // another to key holder, and the summary would count that step in a status that it never had.
                let steps = |execution| self.below_root(execution).map(StoredTask::to_summary).collect();
                let whole: Vec<(_, Vec<_>)> =
                    whole.into_iter().map(|execution| (execution, steps(execution))).collect();
                whole.into_iter().map(|(execution, steps)| self.compact(execution, steps, request)).count()
            }
            Purge::Results => {
                let old = self.old_results(request, max);
                old.into_iter().filter(|key| self.key_entries.remove(key).is_some()).count()
            }
            Purge::Workers => {
                let workers = self.workers.values();
                let over = workers
                    .filter(|worker| worker.is_over(request.now) && worker.seen_at < request.before)
                    .map(|worker| (worker.seen_at, worker.id));
                let over: BTreeSet<_> = over.collect();
                over.into_iter().take(max).filter_map(|(_, id)| self.workers.remove(&id)).count()
            }
        };
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Executions that ended before the bound, oldest end first.
    fn ended(
        &self,
        request: &PurgeRequest,
        max: usize,
        which: impl Fn(&Self, &StoredTask) -> bool,
    ) -> Vec<ExecutionId> {
        let roots = self.tasks.values().filter(|record| record.row.tree.parent.is_none());
        let mut ended: Vec<_> = roots
            .filter(|record| which(self, record))
            .filter_map(|record| Some((record.row.ended_at?, record.row.id)))
            .filter(|(ended_at, _)| *ended_at < request.before)
            .collect();
        ended.sort_unstable();
        ended.into_iter().take(max).map(|(_, root)| root.execution()).collect()
    }

    fn delete(&mut self, execution: ExecutionId, request: &PurgeRequest) {
        self.remove_all(execution, |_| true, request);
        self.notes.remove(&execution);
        // Kept results serve other executions; but a result that was never produced has no holder any more, and the cascade
        // has handled its key already.
        self.key_entries.retain(|_, key_entry| {
            key_entry.execution != execution || key_entry.kind == KeyEntryKind::Result
        });
    }

    fn compact(&mut self, execution: ExecutionId, steps: Vec<SummaryView>, request: &PurgeRequest) {
        self.remove_all(execution, |record| record.row.tree.parent.is_some(), request);
        self.ended_claims.remove(&execution.root());
        self.notes.entry(execution).or_default().compact(steps);
    }

    /// Deletes tasks of an execution. The next waiting step takes over each key that they held (G12).
    fn remove_all(
        &mut self,
        execution: ExecutionId,
        which: impl Fn(&StoredTask) -> bool,
        request: &PurgeRequest,
    ) {
        let own = self.tasks.values().filter(|record| record.row.tree.execution == execution);
        let gone: Vec<TaskId> = own.filter(|record| which(record)).map(|record| record.row.id).collect();
        gone.into_iter().for_each(|task| self.remove(task));
        self.follow(Cascade { executions: [(execution, request.now)].into(), ..Cascade::default() });
    }

    /// Whether an ended execution has details that can be deleted.
    fn has_details(&self, root: &StoredTask) -> bool {
        let execution = root.row.tree.execution;
        self.below_root(execution).next().is_some()
            || self.ended_claims.get(&root.row.id).is_some_and(|ended_claims| !ended_claims.is_empty())
            || self.notes.get(&execution).is_some_and(|notes| !notes.progress.is_empty())
    }

    fn old_results(&self, request: &PurgeRequest, max: usize) -> BTreeSet<Key> {
        let results = self
            .key_entries
            .values()
            .filter(|key_entry| key_entry.kind == KeyEntryKind::Result && key_entry.value.is_some());
        let mut old: Vec<_> = results
            .filter(|key_entry| {
                key_entry.ended_at.is_some_and(|ended_at| ended_at < request.before)
                    || key_entry.result(request.now).is_none()
            })
            .map(|key_entry| (key_entry.ended_at, key_entry.key))
            .collect();
        old.sort_unstable();
        old.into_iter().take(max).map(|(_, key)| key).collect()
    }
}
