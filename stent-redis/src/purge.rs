//! Purging: deletes old data, oldest first. Each execution is deleted in its own write, so that no script runs for long.

use std::collections::BTreeSet;

use redis::{Cmd, Pipeline};
use stent_core::backend::{Purge, PurgeRequest, Purged, Result, StoredTask, SummaryView};
use stent_core::ledger::overlay::{Effects, Played, Wanted, purge};
use stent_core::limits::PAGE_MAX;
use stent_core::{ExecutionId, Key, TaskId};

use crate::inspect::{Bound, id_set, page};
use crate::keys::{id, last_id, last_key, member, moment};
use crate::load::{Loaded, all_members};
use crate::row::encode;
use crate::store::RedisStore;

impl RedisStore {
    pub(crate) async fn purge_old(&self, request: &PurgeRequest) -> Result<Purged> {
        let max = usize::try_from(request.max).unwrap_or(usize::MAX);
        let count = match request.what {
            Purge::Executions => self.purge_executions(request, max, "old").await?,
            Purge::DeadLetters => self.purge_executions(request, max, "dead").await?,
            Purge::Details => self.purge_details(request, max).await?,
            Purge::Results => self.purge_results(request, max).await?,
            Purge::Workers => self.purge_workers(request, max).await?,
        };
        Ok(Purged { count: u32::try_from(count).unwrap_or(u32::MAX) })
    }

    /// Reads a page of the roots that ended before the request's bound, in the order of their ends.
    async fn ended(
        &self,
        request: &PurgeRequest,
        set: &str,
        after: &[u8],
        max: usize,
    ) -> Result<Vec<Vec<u8>>> {
        let (key, before) = (self.keys.one(set), moment(request.before));
        let from = if after.is_empty() { Bound::Open } else { Bound::After(after) };
        self.link.run("purge", &page(&key, &from, &Bound::Before(&before), max.min(PAGE_MAX))).await
    }

    async fn purge_executions(&self, request: &PurgeRequest, max: usize, set: &str) -> Result<usize> {
        let (mut count, mut after) = (0, Vec::new());
        while count < max {
            let ended = self.ended(request, set, &after, max - count).await?;
            let Some(last) = ended.last() else { break };
            after.clone_from(last);
            for root in ended.iter().filter_map(|member| last_id(member)) {
                count += usize::from(self.delete(root.execution(), request, set == "dead").await?);
            }
        }
        Ok(count)
    }

    /// Deletes an execution if it still meets the request. Returns whether it did.
    async fn delete(&self, execution: ExecutionId, request: &PurgeRequest, dead: bool) -> Result<bool> {
        loop {
            // A task below an ended root may still run, and start others.
            if let Some(deleted) = self.delete_parts(execution, request, dead).await? {
                return Ok(deleted);
            }
        }
    }

    /// Deletes an execution with the tasks that it has. `None` if it has others by now.
    async fn delete_parts(
        &self,
        execution: ExecutionId,
        request: &PurgeRequest,
        dead: bool,
    ) -> Result<Option<bool>> {
        let root = execution.root();
        let (below, others) = self.parts(execution).await?;
        let tasks: BTreeSet<TaskId> = below.iter().copied().chain([root]).collect();
        let goes = |loaded: &Loaded| is_old(loaded, root, request, dead);
        let loaded = &mut Loaded::default();
        let effects = self
            .change(
                "purge",
                loaded,
                |loaded| match goes(loaded) {
                    None => Ok(Played::Wants(Wanted { rows: tasks.clone(), ..Wanted::default() })),
                    Some(false) => Ok(Played::Done(Effects::default())),
                    Some(true) => purge(&loaded.known, execution, &tasks, request.now),
                },
                |batch, loaded| {
                    if goes(loaded) != Some(true) {
                        return;
                    }
                    batch.check_parts(&self.keys, execution, &below);
                    for key in &others {
                        batch.command([b"DEL", &self.keys.entry(*key)]);
                    }
                    batch.command([
                        b"DEL",
                        &self.keys.other_keys(execution),
                        &self.keys.counters(execution),
                        &self.keys.states(execution),
                        &self.keys.summary(execution),
                        &self.keys.progress(execution),
                    ]);
                },
            )
            .await?;
        Ok((!loaded.is_outdated).then_some(!effects.tasks.is_empty()))
    }

    /// Reads the tasks of an execution except its root, and the keys that are deleted with the execution.
    async fn parts(&self, execution: ExecutionId) -> Result<(BTreeSet<TaskId>, Vec<Key>)> {
        let tasks = all_members(&self.link, "purge", &self.keys.tasks(execution)).await?;
        let keys = all_members(&self.link, "purge", &self.keys.other_keys(execution)).await?;
        Ok((id_set(&tasks), keys.iter().filter_map(|member| last_key(member)).collect()))
    }

    async fn purge_details(&self, request: &PurgeRequest, max: usize) -> Result<usize> {
        // All summaries are counted before the first deletion, because a deletion may end steps of other executions.
        let mut found = Vec::new();
        let mut after = Vec::new();
        while found.len() < max {
            let ended = self.ended(request, "det", &after, max - found.len()).await?;
            let Some(last) = ended.last() else { break };
            after.clone_from(last);
            for member in &ended {
                let Some(root) = last_id(member) else { continue };
                match self.details(root).await? {
                    Some(steps) => found.push((root.execution(), steps)),
                    None => {
                        let _: () = self.link.run("purge", &Cmd::zrem(self.keys.one("det"), member)).await?;
                    }
                }
            }
        }
        let mut count = 0;
        for (execution, (tasks, steps)) in found {
            count += usize::from(self.compact(execution, &tasks, &steps, request).await?);
        }
        Ok(count)
    }

    /// Reads the tasks below a root and a summary line of each. Returns `None` if the execution has no details.
    async fn details(&self, root: TaskId) -> Result<Option<(BTreeSet<TaskId>, Vec<SummaryView>)>> {
        let execution = root.execution();
        let mut pipeline = Pipeline::new();
        pipeline.exists(self.keys.history(root)).exists(self.keys.progress(execution));
        let (history, progress): (bool, bool) = self.link.pipeline("purge", &pipeline).await?;
        let tasks = id_set(&all_members(&self.link, "purge", &self.keys.tasks(execution)).await?);
        if !history && !progress && tasks.is_empty() {
            return Ok(None);
        }
        let steps = self.stored("purge", tasks.iter().copied()).await?;
        Ok(Some((tasks, steps.iter().map(StoredTask::to_summary).collect())))
    }

    async fn compact(
        &self,
        execution: ExecutionId,
        tasks: &BTreeSet<TaskId>,
        steps: &[SummaryView],
        request: &PurgeRequest,
    ) -> Result<bool> {
        let root = execution.root();
        let lines = steps.iter().map(encode).collect::<Result<Vec<_>>>()?;
        let goes = |loaded: &Loaded| is_old(loaded, root, request, false);
        let rows: BTreeSet<TaskId> = tasks.iter().copied().chain([root]).collect();
        let loaded = &mut Loaded::default();
        self.change(
            "purge",
            loaded,
            |loaded| match goes(loaded) {
                None => Ok(Played::Wants(Wanted { rows: rows.clone(), ..Wanted::default() })),
                Some(false) => Ok(Played::Done(Effects::default())),
                Some(true) => purge(&loaded.known, execution, tasks, request.now),
            },
            |batch, loaded| {
                if goes(loaded) != Some(true) {
                    return;
                }
                for line in &lines {
                    batch.command([b"HINCRBY", &self.keys.summary(execution), line, b"1"]);
                }
                batch.command([b"DEL", &self.keys.history(root), &self.keys.progress(execution)]);
                if let Some(ended_at) = ended_at(loaded, root) {
                    let details = (self.keys.one("det"), member(&[&moment(ended_at), id(&root)]));
                    batch.check_details(&details);
                    batch.check_parts(&self.keys, execution, tasks);
                    batch.leave(details);
                }
            },
        )
        .await?;
        Ok(goes(loaded) == Some(true))
    }

    async fn purge_results(&self, request: &PurgeRequest, max: usize) -> Result<usize> {
        let mut count = 0;
        loop {
            let page = (max - count).min(PAGE_MAX);
            let purged = self.purge_page_of_results(request, page).await?;
            count += purged;
            if purged < page || count == max {
                return Ok(count);
            }
        }
    }

    async fn purge_page_of_results(&self, request: &PurgeRequest, max: usize) -> Result<usize> {
        let (before, now) = (moment(request.before), moment(request.now));
        let until = [now.as_slice(), &[u8::MAX; 16]].concat();
        let mut pipeline = Pipeline::new();
        pipeline.add_command(page(&self.keys.one("rt"), &Bound::Open, &Bound::Before(&before), max));
        pipeline.add_command(page(&self.keys.one("rx"), &Bound::Open, &Bound::From(&until), max));
        let (old, expired): (Vec<Vec<u8>>, Vec<Vec<u8>>) = self.link.pipeline("purge", &pipeline).await?;
        let keys: BTreeSet<Key> = old.iter().chain(&expired).filter_map(|member| last_key(member)).collect();
        let play = |loaded: &Loaded| {
            let missing: BTreeSet<Key> =
                keys.iter().filter(|key| !loaded.known.key_entries.contains_key(key)).copied().collect();
            if !missing.is_empty() {
                return Ok(Played::Wants(Wanted { key_entries: missing, ..Wanted::default() }));
            }
            let entries = loaded.known.key_entries.values().flatten();
            let mut old: Vec<_> = entries
                .filter(|entry| entry.value.is_some())
                .filter(|entry| {
                    entry.ended_at.is_some_and(|at| at < request.before)
                        || entry.result(request.now).is_none()
                })
                .map(|entry| (entry.ended_at, entry.key))
                .collect();
            old.sort_unstable();
            let gone = old.into_iter().take(max).map(|(_, key)| (key, None));
            Ok(Played::Done(Effects { key_entries: gone.collect(), ..Effects::default() }))
        };
        let effects = self.change("purge", &mut Loaded::default(), play, |_, _| {}).await?;
        Ok(effects.key_entries.len())
    }
}

/// Whether an execution meets the request. Returns `None` if its root has not been read yet.
fn is_old(loaded: &Loaded, root: TaskId, request: &PurgeRequest, dead: bool) -> Option<bool> {
    if loaded.is_outdated {
        return Some(false);
    }
    let row = loaded.known.rows.get(&root)?.as_ref();
    Some(row.is_some_and(|row| {
        row.status.is_terminal()
            && row.is_dead_letter() == dead
            && row.ended_at.is_some_and(|ended_at| ended_at < request.before)
    }))
}

fn ended_at(loaded: &Loaded, root: TaskId) -> Option<stent_core::Timestamp> {
    loaded.known.rows.get(&root)?.as_ref()?.ended_at
}
