//! Deletes old data, and never an open execution (G16).

use std::collections::BTreeSet;

use stent_core::backend::{Purge, PurgeRequest, Purged, StoredTask};
use stent_core::ledger::Cascade;
use stent_core::model::KeyEntryKind;
use stent_core::{ExecutionId, Key, TaskId};

use crate::data::Data;

impl Data {
    pub(crate) fn purge(&mut self, request: &PurgeRequest) -> Purged {
        let count = match request.what {
            Purge::Executions => self.purge_roots(request, |_, root| !root.is_dead_letter(), Self::forget),
            Purge::DeadLetters => self.purge_roots(request, |_, root| root.is_dead_letter(), Self::forget),
            Purge::Details => self.purge_roots(request, Self::has_details, Self::compact),
            Purge::Results => self.purge_results(request),
            Purge::Workers => self.purge_workers(request),
        };
        Purged { count: u32::try_from(count).unwrap_or(u32::MAX) }
    }

    /// Purges ended executions of this kind, the oldest first.
    fn purge_roots(
        &mut self,
        request: &PurgeRequest,
        is_of_kind: impl Fn(&Self, &StoredTask) -> bool,
        purge: impl Fn(&mut Self, ExecutionId),
    ) -> usize {
        let roots = self.tasks.values().filter(|record| record.is_root() && is_of_kind(self, record));
        let ended = roots.filter_map(|root| Some((root.row.ended_at?, root.row.id)));
        let mut old: Vec<_> = ended.filter(|(ended_at, _)| *ended_at < request.before).collect();
        old.sort_unstable();
        old.truncate(request.max as usize);
        for (_, root) in &old {
            purge(self, root.execution());
        }
        // After everything else: a key that becomes free may promote a step of another deleted execution, which must be counted
        // with its earlier status.
        let executions = old.iter().map(|(_, root)| (root.execution(), request.now)).collect();
        self.follow(Cascade { executions, ..Cascade::default() });
        old.len()
    }

    /// Deletes an execution, but not the results that others may still find under their keys.
    fn forget(&mut self, execution: ExecutionId) {
        for task in self.ids_of(execution) {
            self.remove(task);
        }
        self.notes.remove(&execution);
        self.key_entries.retain(|_, key_entry| {
            key_entry.execution != execution || key_entry.kind == KeyEntryKind::Result
        });
    }

    fn has_details(&self, root: &StoredTask) -> bool {
        let execution = root.row.tree.execution;
        !root.is_dead_letter()
            && (self.of(execution).any(|record| !record.is_root())
                || self.ended_claims.contains_key(&root.row.id)
                || self.notes.get(&execution).is_some_and(|notes| !notes.progress.is_empty()))
    }

    /// Replaces an execution's steps, ended claims and progress entries by counts.
    fn compact(&mut self, execution: ExecutionId) {
        let steps = self.of(execution).filter(|record| !record.is_root());
        let summaries: Vec<_> = steps.map(StoredTask::to_summary).collect();
        let notes = self.notes.entry(execution).or_default();
        notes.progress.clear();
        for new in summaries {
            let mut known = notes.summary.iter_mut();
            let alike =
                known.find(|old| (old.kind, &old.name, old.status) == (new.kind, &new.name, new.status));
            match alike {
                Some(old) => old.count += new.count,
                None => notes.summary.push(new),
            }
        }
        notes.summary.sort_unstable();

        let root = execution.root();
        self.ended_claims.remove(&root);
        for task in self.ids_of(execution).into_iter().filter(|task| *task != root) {
            self.remove(task);
        }
    }

    /// Deletes kept results: those that have expired, and those from before the bound.
    fn purge_results(&mut self, request: &PurgeRequest) -> usize {
        let kept = self
            .key_entries
            .values()
            .filter(|key_entry| key_entry.kind == KeyEntryKind::Result && key_entry.value.is_some());
        let old = kept.filter(|key_entry| {
            key_entry.result(request.now).is_none()
                || key_entry.ended_at.is_some_and(|at| at < request.before)
        });
        let old: BTreeSet<_> = old.map(|key_entry| (key_entry.ended_at, key_entry.key)).collect();
        let old: Vec<Key> = old.into_iter().map(|(_, key)| key).take(request.max as usize).collect();
        for key in &old {
            self.key_entries.remove(key);
        }
        old.len()
    }

    /// Deletes the records of workers that are over and were last seen before the bound.
    fn purge_workers(&mut self, request: &PurgeRequest) -> usize {
        let over = self.workers.values().filter(|worker| worker.is_over(request.now));
        let old = over.filter(|worker| worker.seen_at < request.before);
        let old: BTreeSet<_> = old.map(|worker| (worker.seen_at, worker.id)).collect();
        let old = old.into_iter().take(request.max as usize);
        old.filter_map(|(_, worker)| self.workers.remove(&worker)).count()
    }

    fn ids_of(&self, execution: ExecutionId) -> Vec<TaskId> {
        self.of(execution).map(|record| record.row.id).collect()
    }
}
