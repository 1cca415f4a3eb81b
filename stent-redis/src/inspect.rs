//! Reads: pages of sorted sets, and the rows of their members.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_trait::async_trait;
use redis::{Cmd, Pipeline, Value};
use stent_core::backend::{
    DeadLetter, DeadLetterStat, ExecutionView, Filter, Finding, Inspect, ItemView, LaneView, NotesView,
    ProgressView, Reads, Result, RunningView, StoredTask, SummaryView, TaskView, tally,
};
use stent_core::limits::{COUNT_MAX, LOOKUP_MAX, NOTES_MAX, PAGE_MAX};
use stent_core::model::{
    ClaimEnd, EndedClaim, ExecutionStatus, KeyEntry, KeyEntryKind, Lane, Seq, Step, TaskStatus, WorkerRecord,
};
use stent_core::{ExecutionId, Key, Payload, TaskId, Timestamp, WorkerId};
use uuid::Uuid;

use crate::claim::to_epoch;
use crate::index::decode_lane;
use crate::keys::{id, last_id, moment, seq, shown, to_moment};
use crate::row::{Head, Tail, at, at_key, corrupt, decode};
use crate::server::Facts;
use crate::store::{RedisStore, stored};

/// The most rows that one round trip reads.
const ROUND: usize = 1_000;

/// The bound of a range of members: none, or relative to some bytes.
pub(crate) enum Bound<'a> {
    Open,
    Before(&'a [u8]),
    From(&'a [u8]),
    After(&'a [u8]),
}

impl Bound<'_> {
    fn word(&self, open: u8) -> Vec<u8> {
        match self {
            Self::Open => vec![open],
            Self::Before(bytes) | Self::After(bytes) => [b"(", *bytes].concat(),
            Self::From(bytes) => [b"[", *bytes].concat(),
        }
    }
}

/// Returns the command that reads a page of a sorted set, in the order of its members.
pub(crate) fn page(key: &[u8], from: &Bound<'_>, to: &Bound<'_>, max: usize) -> Cmd {
    let mut cmd = redis::cmd("ZRANGEBYLEX");
    cmd.arg(key).arg(from.word(b'-')).arg(to.word(b'+')).arg("LIMIT").arg(0).arg(max);
    cmd
}

/// Returns the command that reads a page of a sorted set backwards.
fn page_back(key: &[u8], to: &Bound<'_>, from: &Bound<'_>, max: usize) -> Cmd {
    let mut cmd = redis::cmd("ZREVRANGEBYLEX");
    cmd.arg(key).arg(to.word(b'+')).arg(from.word(b'-')).arg("LIMIT").arg(0).arg(max);
    cmd
}

impl RedisStore {
    /// Reads tasks with their results, in the order of the ids, and leaves out ids that do not exist.
    pub(crate) async fn stored(
        &self,
        operation: &'static str,
        tasks: impl IntoIterator<Item = TaskId>,
    ) -> Result<Vec<StoredTask>> {
        let tasks: Vec<_> = tasks.into_iter().collect();
        let mut found = Vec::with_capacity(tasks.len());
        for tasks in tasks.chunks(ROUND) {
            // One command, so that each row and its result are of one moment.
            let mut values = redis::cmd("MGET");
            for task in tasks {
                values.arg(self.keys.task(*task)).arg(self.keys.result(*task));
            }
            let replies: Vec<Option<Vec<u8>>> = self.link.run(operation, &values).await?;
            for (task, pair) in tasks.iter().zip(replies.chunks(2)) {
                if let [Some(row), result] = pair {
                    let read = stored(row, result.as_deref().unwrap_or_default());
                    found.push(read.map_err(|error| at_key(self.keys.task(*task), error))?);
                }
            }
        }
        Ok(found)
    }

    /// Reads a page of an execution's tasks.
    async fn page_of(
        &self,
        operation: &'static str,
        execution: ExecutionId,
        after: Option<TaskId>,
        max: usize,
    ) -> Result<Vec<StoredTask>> {
        let _call = self.enter(operation)?;
        let max = max.min(PAGE_MAX);
        let key = self.keys.tasks(execution);
        let from = after.as_ref().map_or(Bound::Open, |after| Bound::After(id(after)));
        let mut ids = self.ids(operation, &page(&key, &from, &Bound::Open, max)).await?;
        let root = execution.root();
        if after.is_none_or(|after| root > after) {
            ids.push(root);
        }
        ids.sort_unstable();
        ids.dedup();
        let mut tasks = self.stored(operation, ids).await?;
        // The id may belong to a step of another execution, which is not a task of this one.
        tasks.retain(|task| task.row.tree.execution == execution);
        tasks.truncate(max);
        Ok(tasks)
    }

    async fn ids(&self, operation: &'static str, cmd: &Cmd) -> Result<Vec<TaskId>> {
        let members: Vec<Vec<u8>> = self.link.run(operation, cmd).await?;
        Ok(members.iter().filter_map(|member| last_id(member)).collect())
    }

    async fn heads(&self, operation: &'static str, tasks: &[TaskId]) -> Result<Vec<Head>> {
        let mut pipeline = Pipeline::new();
        for task in tasks {
            pipeline.getrange(self.keys.task(*task), 0, at::LEN as isize - 1);
        }
        let replies: Vec<Vec<u8>> = self.link.pipeline(operation, &pipeline).await?;
        let heads = tasks.iter().zip(&replies).filter(|(_, bytes)| !bytes.is_empty());
        let decode = |(task, bytes): (&TaskId, &Vec<u8>)| {
            let decoded = Head::decode(bytes).map(|(head, _)| head);
            decoded.map_err(|error| at_key(self.keys.task(*task), error))
        };
        heads.map(decode).collect()
    }

    /// Reads the lanes that have open tasks.
    async fn open_lanes(&self) -> Result<Vec<(Vec<u8>, Lane)>> {
        let (mut lanes, mut cursor) = (BTreeMap::new(), 0_u64);
        loop {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(self.keys.one("lanes")).arg(cursor).arg("COUNT").arg(ROUND);
            let (next, some): (u64, BTreeMap<Vec<u8>, Vec<u8>>) = self.link.run("lanes", &scan).await?;
            for (id, lane) in some {
                lanes.insert(id, decode_lane(&lane)?);
            }
            match next {
                0 => return Ok(lanes.into_iter().collect()),
                next => cursor = next,
            }
        }
    }

    /// Reads which execution was dispatched under a key.
    async fn dispatched_under(&self, key: Key) -> Result<Option<ExecutionId>> {
        let bytes: Option<Vec<u8>> = self.link.run("list", &Cmd::get(self.keys.entry(key))).await?;
        let Some(bytes) = bytes else { return Ok(None) };
        let entry = decode_entry(&bytes)?;
        Ok((entry.kind == KeyEntryKind::Dispatch).then_some(entry.execution))
    }

    /// Returns the sets that contain every execution that the filter can match, the smallest first.
    async fn sets_of(&self, filter: &Filter) -> Result<Vec<Vec<u8>>> {
        let of = |tag: &str, name: &Option<String>| Some(self.keys.of(tag, name.as_ref()?.as_bytes()));
        let status = filter.status.map(|status| match status.is_terminal() {
            true => self.keys.of("x", status.as_str().as_bytes()),
            false => self.keys.one("open"),
        });
        let names = [of("xt", &filter.tag), of("xf", &filter.function), of("xq", &filter.queue)];
        let sets: Vec<_> = status.into_iter().chain(names.into_iter().flatten()).collect();
        if sets.len() < 2 {
            return Ok(if sets.is_empty() { vec![self.keys.one("roots")] } else { sets });
        }
        let mut pipeline = Pipeline::new();
        sets.iter().for_each(|set| _ = pipeline.zcard(set));
        let sizes: Vec<u64> = self.link.pipeline("list", &pipeline).await?;
        let mut sets: Vec<_> = sizes.into_iter().zip(sets).collect();
        sets.sort_unstable();
        Ok(sets.into_iter().map(|(_, set)| set).collect())
    }

    /// Leaves out the ids that are not in all of the sets.
    async fn in_all(&self, sets: &[Vec<u8>], ids: Vec<TaskId>) -> Result<Vec<TaskId>> {
        if sets.is_empty() || ids.is_empty() {
            return Ok(ids);
        }
        let mut pipeline = Pipeline::new();
        for set in sets {
            let scores = pipeline.cmd("ZMSCORE").arg(set);
            ids.iter().for_each(|task| _ = scores.arg(id(task)));
        }
        let scores: Vec<Vec<Option<f64>>> = self.link.pipeline("list", &pipeline).await?;
        let is_in_all = |at: usize| scores.iter().all(|scores| scores.get(at).is_some_and(Option::is_some));
        Ok(ids.into_iter().enumerate().filter(|(at, _)| is_in_all(*at)).map(|(_, task)| task).collect())
    }
}

/// Decodes a key entry, which is stored after its revision.
fn decode_entry(bytes: &[u8]) -> Result<KeyEntry> {
    let (_, entry) = bytes.split_first_chunk::<8>().ok_or_else(|| corrupt("a key entry is too short"))?;
    decode(entry)
}

#[async_trait]
impl Reads for RedisStore {
    async fn executions(&self, ids: &[ExecutionId]) -> Result<Vec<ExecutionView>> {
        let _call = self.enter("executions")?;
        let roots = ids.iter().take(LOOKUP_MAX).map(|id| id.root());
        Ok(self.stored("executions", roots).await?.iter().filter_map(StoredTask::to_execution).collect())
    }

    async fn items(&self, map: TaskId, from: Seq, max: usize) -> Result<Vec<ItemView>> {
        let _call = self.enter("items")?;
        let key = self.keys.children(map);
        let page = page(&key, &Bound::From(&seq(from)), &Bound::Open, max.min(PAGE_MAX));
        let ids = self.ids("items", &page).await?;
        Ok(self.stored("items", ids).await?.iter().map(StoredTask::to_item).collect())
    }

    async fn args(&self, task: TaskId) -> Result<Option<Payload>> {
        let _call = self.enter("args")?;
        let row: Option<Vec<u8>> = self.link.run("args", &Cmd::get(self.keys.task(task))).await?;
        let Some(row) = row else { return Ok(None) };
        let tail: Tail = decode(row.get(at::LEN..).unwrap_or_default())?;
        Ok(Some(tail.args))
    }

    async fn completions(&self, seen: &[(TaskId, u32)]) -> Result<Vec<(TaskId, Vec<Step>)>> {
        let _call = self.enter("completions")?;
        let asked: Vec<_> = seen.iter().take(LOOKUP_MAX).map(|(task, seen)| (*task, Some(*seen))).collect();
        let steps = self.steps("completions", &asked).await?;
        Ok(asked.into_iter().map(|(task, _)| task).zip(steps).collect())
    }
}

#[async_trait]
impl Inspect for RedisStore {
    async fn tasks(
        &self,
        execution: ExecutionId,
        after: Option<TaskId>,
        max: usize,
    ) -> Result<Vec<TaskView>> {
        let tasks = self.page_of("tasks", execution, after, max).await?;
        Ok(tasks.iter().map(StoredTask::to_view).collect())
    }

    async fn stored(
        &self,
        execution: ExecutionId,
        after: Option<TaskId>,
        max: usize,
    ) -> Result<Vec<StoredTask>> {
        self.page_of("stored", execution, after, max).await
    }

    async fn key_entries(
        &self,
        execution: ExecutionId,
        after: Option<Key>,
        max: usize,
    ) -> Result<Vec<KeyEntry>> {
        let _call = self.enter("key entries")?;
        let mut keys = BTreeSet::new();
        for set in [self.keys.pending_keys(execution), self.keys.other_keys(execution)] {
            let from = after.as_ref().map_or(Bound::Open, |after| Bound::After(after.as_uuid().as_bytes()));
            keys.extend(self.ids("key entries", &page(&set, &from, &Bound::Open, max.min(PAGE_MAX))).await?);
        }
        let keys: Vec<_> =
            keys.into_iter().take(max.min(PAGE_MAX)).map(|id| Key::from_uuid(*id.as_uuid())).collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut values = redis::cmd("MGET");
        keys.iter().for_each(|key| _ = values.arg(self.keys.entry(*key)));
        let replies: Vec<Option<Vec<u8>>> = self.link.run("key entries", &values).await?;
        let entries = replies.into_iter().flatten().map(|bytes| decode_entry(&bytes));
        // An entry may have changed since its key was read.
        let entries = entries.collect::<Result<Vec<_>>>()?.into_iter();
        Ok(entries.filter(|entry| entry.execution == execution && entry.goes_with_execution()).collect())
    }

    async fn list(
        &self,
        filter: &Filter,
        before: Option<ExecutionId>,
        max: usize,
    ) -> Result<Vec<ExecutionView>> {
        let _call = self.enter("list")?;
        let max = max.min(PAGE_MAX);
        let ids = filter.ids();
        let (first, last) = (ids.start().root(), ids.end().root());
        let mut before = before.map(ExecutionId::root);
        if let Some(key) = filter.key {
            let execution = self.dispatched_under(key).await?.map(ExecutionId::root);
            let asked = execution.filter(|root| before.is_none_or(|before| *root < before));
            let found = self.stored("list", asked).await?;
            let views = found.iter().filter_map(StoredTask::to_execution);
            return Ok(views.filter(|view| filter.matches(view)).take(max).collect());
        }
        let sets = self.sets_of(filter).await?;
        let (key, others) = sets.split_first().ok_or_else(|| corrupt("a filter has no set"))?;
        // Where several sets must have an execution, its row is read only if they do.
        let size = if others.is_empty() { max } else { ROUND };
        let mut views = Vec::new();
        while views.len() < max {
            let to = before.as_ref().filter(|before| **before <= last);
            let to = to.map_or(Bound::From(id(&last)), |before| Bound::Before(id(before)));
            let ids = self.ids("list", &page_back(key, &to, &Bound::From(id(&first)), size)).await?;
            let (end, is_full) = (ids.last().copied(), ids.len() == size);
            for ids in self.in_all(others, ids).await?.chunks(max) {
                let found = self.stored("list", ids.iter().copied()).await?;
                views.extend(
                    found.iter().filter_map(StoredTask::to_execution).filter(|view| filter.matches(view)),
                );
                if views.len() >= max {
                    break;
                }
            }
            match end.filter(|_| is_full) {
                Some(end) => before = Some(end),
                None => break,
            }
        }
        views.truncate(max);
        Ok(views)
    }

    async fn count(&self, max: usize) -> Result<BTreeMap<ExecutionStatus, u64>> {
        let _call = self.enter("count")?;
        let max = max.min(COUNT_MAX);
        let ended: Vec<_> = ExecutionStatus::ALL.iter().filter(|status| status.is_terminal()).collect();
        let mut pipeline = Pipeline::new();
        for status in &ended {
            pipeline.zcard(self.keys.of("x", status.as_str().as_bytes()));
        }
        let counts: Vec<usize> = self.link.pipeline("count", &pipeline).await?;
        let mut statuses = Vec::new();
        let (key, mut after) = (self.keys.one("open"), None);
        while statuses.len() < max {
            let from = after.as_ref().map_or(Bound::Open, |after| Bound::After(id(after)));
            let ids =
                self.ids("count", &page(&key, &from, &Bound::Open, ROUND.min(max - statuses.len()))).await?;
            if ids.is_empty() {
                break;
            }
            let heads = self.heads("count", &ids).await?;
            statuses.extend(heads.iter().map(|Head { row, .. }| {
                ExecutionStatus::of_root(row.status, row.started_at.is_some(), row.marks)
            }));
            after = ids.last().copied();
        }
        statuses.retain(|status| !status.is_terminal());
        let mut counts_of = tally(statuses, max);
        let some = ended.into_iter().copied().zip(counts).filter(|(_, count)| (*count).min(max) > 0);
        counts_of.extend(some.map(|(status, count)| (status, count.min(max) as u64)));
        Ok(counts_of)
    }

    async fn lanes(&self, now: Timestamp, max: usize) -> Result<Vec<LaneView>> {
        let _call = self.enter("lanes")?;
        let until = [moment(now).as_slice(), &[u8::MAX; 16]].concat();
        let mut views: BTreeMap<Lane, LaneView> = BTreeMap::new();
        for lanes in self.open_lanes().await?.chunks(ROUND) {
            let mut pipeline = Pipeline::new();
            for (id, _) in lanes {
                for set in ["lp", "lw"] {
                    let key = self.keys.of(set, id);
                    pipeline.cmd("ZLEXCOUNT").arg(&key).arg("-").arg([b"[", until.as_slice()].concat());
                    pipeline.cmd("ZLEXCOUNT").arg(&key).arg([b"(", until.as_slice()].concat()).arg("+");
                    pipeline.add_command(page(&key, &Bound::Open, &Bound::From(&until), 1));
                }
            }
            let replies: Vec<Value> = self.link.pipeline("lanes", &pipeline).await?;
            let mut replies = replies.into_iter();
            for (_, lane) in lanes {
                for set in ["lp", "lw"] {
                    let due = count(replies.next())?;
                    // A parked task that is not due does not count as delayed: it may wait for something other than a moment.
                    let later = count(replies.next())?;
                    let later = if set == "lp" { later } else { 0 };
                    let first = crate::load::members(replies.next().unwrap_or(Value::Nil))?;
                    if due == 0 && later == 0 {
                        continue;
                    }
                    let view = views.entry(lane.clone()).or_insert_with(|| LaneView::new(lane.clone()));
                    view.due += due;
                    view.delayed += later;
                    let oldest =
                        first.first().and_then(|member| member.first_chunk::<8>()).map(|at| to_moment(*at));
                    view.oldest_due_at = view.oldest_due_at.into_iter().chain(oldest).min();
                }
            }
        }
        Ok(LaneView::page(views.into_values().collect(), max))
    }

    async fn running(&self, max: usize) -> Result<Vec<RunningView>> {
        let _call = self.enter("running")?;
        let cmd = page_back(&self.keys.one("run"), &Bound::Open, &Bound::Open, max.min(PAGE_MAX));
        let ids = self.ids("running", &cmd).await?;
        let found = self.stored("running", ids).await?;
        let running = found.iter().filter(|task| task.row.status == TaskStatus::Running);
        Ok(running.map(StoredTask::to_running).collect())
    }

    async fn ended_claims(&self, task: TaskId) -> Result<Vec<EndedClaim>> {
        let _call = self.enter("ended claims")?;
        let mut pipeline = Pipeline::new();
        pipeline.getrange(self.keys.task(task), 0, at::LEN as isize - 1);
        pipeline.lrange(self.keys.history(task), 0, PAGE_MAX as isize - 1);
        let (head, ended): (Vec<u8>, Vec<Vec<u8>>) = self.link.pipeline("ended claims", &pipeline).await?;
        if head.is_empty() {
            return Ok(Vec::new());
        }
        let (head, _) = Head::decode(&head)?;
        ended.iter().map(|bytes| decode_ended(task, head.row.tree.execution, bytes)).collect()
    }

    async fn notes(&self, execution: ExecutionId) -> Result<NotesView> {
        let _call = self.enter("notes")?;
        let mut pipeline = Pipeline::new();
        pipeline.hgetall(self.keys.counters(execution)).hgetall(self.keys.states(execution));
        pipeline.zrange(self.keys.progress(execution), 0, -1).hgetall(self.keys.summary(execution));
        type Answer = (BTreeMap<String, i64>, BTreeMap<String, Vec<u8>>, Vec<Vec<u8>>, Vec<(Vec<u8>, u64)>);
        let (counters, states, progress, summary): Answer = self.link.pipeline("notes", &pipeline).await?;
        let states = states.into_iter().take(NOTES_MAX).map(|(name, value)| Ok((name, decode(&value)?)));
        let mut view = NotesView::default();
        view.counters = counters;
        view.states = states.collect::<Result<_>>()?;
        view.progress = progress.iter().map(|entry| decode_progress(entry)).collect::<Result<_>>()?;
        for (alike, count) in summary {
            let mut alike: SummaryView = decode(&alike)?;
            alike.count = count;
            view.summary.push(alike);
        }
        view.summary.sort_unstable();
        Ok(view.page())
    }

    async fn dead_letters(&self, before: Option<ExecutionId>, max: usize) -> Result<Vec<DeadLetter>> {
        let _call = self.enter("dead_letters")?;
        let before = before.map(ExecutionId::root);
        let bound = before.as_ref().map_or(Bound::Open, |before| Bound::Before(id(before)));
        let ids = self
            .ids("dead_letters", &page_back(&self.keys.one("dl"), &bound, &Bound::Open, max.min(PAGE_MAX)))
            .await?;
        let found = self.stored("dead_letters", ids).await?;
        Ok(found.iter().filter_map(StoredTask::to_dead_letter).collect())
    }

    async fn dead_letter(&self, execution: ExecutionId) -> Result<Option<DeadLetter>> {
        let _call = self.enter("dead_letter")?;
        let found = self.stored("dead_letter", [execution.root()]).await?;
        Ok(found.first().and_then(StoredTask::to_dead_letter))
    }

    async fn dead_letter_stats(&self, max: usize) -> Result<Vec<DeadLetterStat>> {
        let _call = self.enter("dead_letter_stats")?;
        let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
        let (key, mut after): (_, Option<TaskId>) = (self.keys.one("dl"), None);
        loop {
            let from = after.as_ref().map_or(Bound::Open, |after| Bound::After(id(after)));
            let ids = self.ids("dead_letter_stats", &page(&key, &from, &Bound::Open, ROUND)).await?;
            after = ids.last().copied();
            if after.is_none() {
                break;
            }
            for letter in
                self.stored("dead_letter_stats", ids).await?.iter().filter_map(StoredTask::to_dead_letter)
            {
                let failure = letter.execution.result.and_then(std::result::Result::err);
                let reason = failure.map_or_else(String::new, |failure| failure.kind.into());
                *counts.entry((reason, letter.execution.function)).or_default() += 1;
            }
        }
        let stats = counts
            .into_iter()
            .map(|((reason, function), count)| DeadLetterStat::new(reason, function, count));
        Ok(DeadLetterStat::page(stats.collect(), max))
    }

    async fn workers(&self, after: Option<WorkerId>, max: usize) -> Result<Vec<WorkerRecord>> {
        let _call = self.enter("workers")?;
        self.read_workers(after, max).await
    }

    async fn diagnose(&self) -> Result<Vec<Finding>> {
        let _call = self.enter("diagnose")?;
        let info: String = self.link.run("diagnose", &redis::cmd("INFO")).await?;
        // The user may lack the permission, and hosted servers lack the command.
        let config = redis::cmd("CONFIG").arg("GET").arg("appendfsync").clone();
        let config: Option<HashMap<String, String>> = self.link.run("diagnose", &config).await.ok();
        let mut findings = Facts::read(&info, config.as_ref()).findings();
        // The user may lack the permission to search.
        findings.extend(self.link.find_foreign("diagnose").await.ok().map(of_keys));
        Ok(findings)
    }
}

/// Whether another program has written under a key of the namespace.
fn of_keys(foreign: Option<(Vec<u8>, String, &'static str)>) -> Finding {
    const CHECK: &str = "keys";
    let Some((key, is, should)) = foreign else {
        return Finding::ok(CHECK, "no other program has written into the namespace, as far as was searched");
    };
    Finding::problem(
        CHECK,
        format!("{} has a {is}, where Stent keeps a {should}", shown(&key)),
        "find the program that wrote it, and restore a backup; to delete the key loses what it held: work or lists",
    )
}

fn count(value: Option<Value>) -> Result<u64> {
    match value {
        Some(Value::Int(count)) => Ok(u64::try_from(count).unwrap_or(0)),
        other => Err(corrupt(format!("the server answered {other:?} instead of a number"))),
    }
}

fn decode_ended(task: TaskId, execution: ExecutionId, bytes: &[u8]) -> Result<EndedClaim> {
    let short = || corrupt("an ended claim is too short");
    let (head, failure) = bytes.split_at_checked(34).ok_or_else(short)?;
    let end = match head[0] {
        b'f' => ClaimEnd::Failed,
        b'c' => ClaimEnd::Crashed,
        _ => ClaimEnd::Released,
    };
    let at = to_moment(head[1..9].try_into().map_err(|_| short())?);
    let epoch = to_epoch(head[9..17].try_into().map_err(|_| short())?);
    let worker = Uuid::from_slice(&head[17..33]).map_err(|_| short())?;
    let worker = (head[33] == 1).then(|| WorkerId::from_uuid(worker));
    let failure = if failure.is_empty() { None } else { Some(decode(failure)?) };
    let mut ended = EndedClaim::new(task, execution, epoch, end, at);
    ended.worker = worker;
    ended.failure = failure;
    Ok(ended)
}

fn decode_progress(entry: &[u8]) -> Result<ProgressView> {
    let short = || corrupt("an entry of progress is too short");
    let (head, text) = entry.split_at_checked(40).ok_or_else(short)?;
    let entry = Uuid::from_slice(&head[..16]).map_err(|_| short())?;
    let task = Uuid::from_slice(&head[16..32]).map_err(|_| short())?;
    let at = to_moment(head[32..40].try_into().map_err(|_| short())?);
    let text = String::from_utf8_lossy(text).into_owned();
    Ok(ProgressView::new(TaskId::from_uuid(entry), TaskId::from_uuid(task), at, text))
}

/// Returns the ids at the ends of all members of a set.
pub(crate) fn id_set(members: &[Vec<u8>]) -> BTreeSet<TaskId> {
    members.iter().filter_map(|member| last_id(member)).collect()
}
