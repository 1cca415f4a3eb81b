//! Reads the rows, entries and sets that a batch needs, and keeps them with their revisions.

use std::collections::{BTreeMap, BTreeSet};

use redis::{Cmd, Pipeline};
use stent_core::backend::Result;
use stent_core::ledger::overlay::{Known, Wanted};
use stent_core::{Key, TaskId};
use uuid::Uuid;

use crate::apply::Check;
use crate::inspect::{Bound, page};
use crate::keys::{Keys, last_id, last_key};
use crate::link::Link;
use crate::row::{Head, Revision, Tail, at, at_key, corrupt, decode};
use crate::store::{read_steps, stored};

/// The part of the store that has been read, with the revisions that a write checks.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) known: Known,
    pub(crate) heads: BTreeMap<TaskId, (Head, Revision)>,
    pub(crate) entries: BTreeMap<Key, Revision>,
    /// The members of the sets of children. Each begins with a position.
    pub(crate) children: BTreeMap<TaskId, Vec<Vec<u8>>>,
    /// The tails of tasks that are deleted or whose tail changes.
    pub(crate) tails: BTreeMap<TaskId, Tail>,
    /// Whether the play may use what this handle remembers, instead of a read.
    pub(crate) may_guess: bool,
    /// Whether it has used some of that.
    pub(crate) is_guessed: bool,
    /// Whether the execution to purge has other tasks by now, or another caller has compacted it.
    pub(crate) is_outdated: bool,
}

impl Loaded {
    /// Reads everything in `wanted` in one round trip, plus one for its news.
    pub(crate) async fn read(
        &mut self,
        link: &Link,
        keys: &Keys,
        operation: &'static str,
        wanted: Wanted,
    ) -> Result<()> {
        let mut pipeline = Pipeline::new();
        let range = |pipeline: &mut Pipeline, key: Vec<u8>| _ = pipeline.add_command(first_members(&key));
        for task in &wanted.rows {
            pipeline.getrange(keys.task(*task), 0, at::LEN as isize - 1);
        }
        wanted.key_entries.iter().for_each(|key| _ = pipeline.get(keys.entry(*key)));
        wanted.under_key.iter().for_each(|key| range(&mut pipeline, keys.under_key(*key)));
        wanted.open_tasks.iter().for_each(|execution| range(&mut pipeline, keys.open_tasks(*execution)));
        wanted.children.iter().for_each(|task| range(&mut pipeline, keys.children(*task)));
        wanted.pending_keys.iter().for_each(|execution| range(&mut pipeline, keys.pending_keys(*execution)));
        wanted.results.iter().for_each(|task| _ = pipeline.get(keys.result(*task)));

        for task in &wanted.steps {
            pipeline.get(keys.task(*task)).get(keys.result(*task));
        }

        let replies: Vec<redis::Value> =
            if pipeline.is_empty() { Vec::new() } else { link.pipeline(operation, &pipeline).await? };
        let mut replies = replies.into_iter();
        let mut next = || replies.next().unwrap_or(redis::Value::Nil);
        for task in wanted.rows {
            self.take_row(keys, task, &bytes(next())?)?;
        }
        for key in wanted.key_entries {
            self.take_entry(keys, key, &bytes(next())?)?;
        }
        for key in wanted.under_key {
            let members = rest(link, operation, &keys.under_key(key), members(next())?).await?;
            self.known.under_key.insert(key, ids(&members));
        }
        for execution in wanted.open_tasks {
            let members = rest(link, operation, &keys.open_tasks(execution), members(next())?).await?;
            self.known.open_tasks.insert(execution, ids(&members));
        }
        for task in wanted.children {
            let members = rest(link, operation, &keys.children(task), members(next())?).await?;
            self.known.children.insert(task, members.iter().filter_map(|member| last_id(member)).collect());
            self.children.insert(task, members);
        }
        for execution in wanted.pending_keys {
            let members = rest(link, operation, &keys.pending_keys(execution), members(next())?).await?;
            let pending = members.iter().filter_map(|member| last_key(member)).collect();
            self.known.pending_keys.insert(execution, pending);
        }
        for task in wanted.results {
            let bytes = bytes(next())?;
            let of_key = |error| at_key(keys.result(task), error);
            let result = if bytes.is_empty() { None } else { Some(decode(&bytes).map_err(of_key)?) };
            self.known.results.insert(task, result);
        }
        for task in wanted.steps {
            let (row, result) = (bytes(next())?, bytes(next())?);
            let of_key = |error| at_key(keys.task(task), error);
            let step =
                if row.is_empty() { None } else { Some(stored(&row, &result).map_err(of_key)?.to_step()) };
            self.known.steps.insert(task, step);
        }
        if !wanted.news.is_empty() {
            let asked: Vec<_> = wanted.news.iter().map(|(task, seen)| (*task, Some(*seen))).collect();
            let news = read_steps(link, keys, operation, &asked).await?;
            let ended = news.into_iter().map(|mut steps| {
                steps.retain(|step| step.order().is_some());
                steps
            });
            self.known.news.extend(wanted.news.into_iter().zip(ended));
        }
        Ok(())
    }

    fn take_row(&mut self, keys: &Keys, task: TaskId, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            self.heads.remove(&task);
            self.known.rows.insert(task, None);
            return Ok(());
        }
        let (head, revision) = Head::decode(bytes).map_err(|error| at_key(keys.task(task), error))?;
        self.known.rows.insert(task, Some(head.row.clone()));
        self.heads.insert(task, (head, revision));
        Ok(())
    }

    fn take_entry(&mut self, keys: &Keys, key: Key, bytes: &[u8]) -> Result<()> {
        match bytes.split_first_chunk::<8>() {
            None => {
                self.entries.remove(&key);
                self.known.key_entries.insert(key, None);
            }
            Some((revision, entry)) => {
                self.entries.insert(key, *revision);
                let entry = decode(entry).map_err(|error| at_key(keys.entry(key), error))?;
                self.known.key_entries.insert(key, Some(entry));
            }
        }
        Ok(())
    }

    /// Reads the tails of tasks. Every change of a tail changes its head's revision, so a tail needs no check of its own.
    pub(crate) async fn read_tails(
        &mut self,
        link: &Link,
        keys: &Keys,
        operation: &'static str,
        tasks: &BTreeSet<TaskId>,
    ) -> Result<()> {
        let missing: Vec<_> = tasks.iter().filter(|task| !self.tails.contains_key(task)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let mut pipeline = Pipeline::new();
        for task in &missing {
            pipeline.getrange(keys.task(**task), at::LEN as isize, -1);
        }
        let tails: Vec<Vec<u8>> = link.pipeline(operation, &pipeline).await?;
        for (task, tail) in missing.into_iter().zip(tails).filter(|(_, tail)| !tail.is_empty()) {
            self.tails.insert(*task, decode(&tail).map_err(|error| at_key(keys.task(*task), error))?);
        }
        Ok(())
    }

    /// Assumes, without a read, that everything in `wanted` is absent. The checks of the write verify the assumption.
    pub(crate) fn assume_absent(&mut self, wanted: &Wanted) {
        self.known.rows.extend(wanted.rows.iter().map(|task| (*task, None)));
        self.known.key_entries.extend(wanted.key_entries.iter().map(|key| (*key, None)));
        self.known.under_key.extend(wanted.under_key.iter().map(|key| (*key, BTreeSet::new())));
    }

    /// Forgets everything that was read: it may be older than a lock that was taken since.
    pub(crate) fn forget_all(&mut self) {
        *self = Self { is_outdated: self.is_outdated, ..Self::default() };
    }

    /// Forgets what a failed check was about: the next play wants it again.
    pub(crate) fn forget(&mut self, check: &Check) {
        match check {
            Check::Row(task) => {
                self.known.rows.remove(task);
                self.heads.remove(task);
                self.tails.remove(task);
                self.known.results.remove(task);
                self.known.steps.remove(task);
                self.known.news.retain(|(parent, _), _| parent != task);
            }
            Check::Entry(key) => {
                self.known.key_entries.remove(key);
                self.entries.remove(key);
            }
            Check::UnderKey(key) => drop(self.known.under_key.remove(key)),
            Check::OpenTasks(execution) => drop(self.known.open_tasks.remove(execution)),
            Check::Children(task) => {
                self.known.children.remove(task);
                self.children.remove(task);
            }
            Check::PendingKeys(execution) => drop(self.known.pending_keys.remove(execution)),
            Check::Details | Check::Parts => self.is_outdated = true,
            Check::Lane => {}
        }
    }
}

pub(crate) fn bytes(value: redis::Value) -> Result<Vec<u8>> {
    match value {
        redis::Value::BulkString(bytes) => Ok(bytes),
        redis::Value::Nil => Ok(Vec::new()),
        other => Err(corrupt(format!("the server answered {other:?} instead of bytes"))),
    }
}

pub(crate) fn members(value: redis::Value) -> Result<Vec<Vec<u8>>> {
    match value {
        redis::Value::Array(values) => values.into_iter().map(bytes).collect(),
        redis::Value::Nil => Ok(Vec::new()),
        other => Err(corrupt(format!("the server answered {other:?} instead of a list"))),
    }
}

fn ids(members: &[Vec<u8>]) -> BTreeSet<TaskId> {
    members.iter().filter_map(|member| Uuid::from_slice(member).ok()).map(TaskId::from_uuid).collect()
}

/// The members of a set that one command reads.
const MEMBERS: usize = 1_000;

/// Returns the command that reads the first members of a set.
fn first_members(key: &[u8]) -> Cmd {
    page(key, &Bound::Open, &Bound::Open, MEMBERS)
}

/// Reads the members after the first ones. A write checks that the set is as it was read, so the reads need no common moment.
async fn rest(
    link: &Link,
    operation: &'static str,
    key: &[u8],
    mut members: Vec<Vec<u8>>,
) -> Result<Vec<Vec<u8>>> {
    let mut is_full = members.len() == MEMBERS;
    while let Some(last) = members.last().filter(|_| is_full) {
        let next: Vec<Vec<u8>> =
            link.run(operation, &page(key, &Bound::After(last), &Bound::Open, MEMBERS)).await?;
        is_full = next.len() == MEMBERS;
        members.extend(next);
    }
    Ok(members)
}

/// Reads all members of a set, in bounded commands.
pub(crate) async fn all_members(link: &Link, operation: &'static str, key: &[u8]) -> Result<Vec<Vec<u8>>> {
    let first = link.run(operation, &first_members(key)).await?;
    rest(link, operation, key, first).await
}
