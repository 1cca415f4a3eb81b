//! Turns the effects of a batch of transitions into checks and commands for this layout.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use redis::Script;
use stent_core::backend::Result;
use stent_core::ledger::overlay::{Effects, ResultEffect, TaskEffect, is_pending};
use stent_core::limits::PROGRESS_MAX;
use stent_core::model::{ClaimEnd, EndedClaim, KeyEntry, KeyEntryKind, Lane, Note, TaskResult};
use stent_core::{ExecutionId, TaskId};

use crate::index::{Place, encode_lane, fixed_places, is_in_lane, lane_id, places, returns};
use crate::keys::{Keys, member, moment};
use crate::load::Loaded;
use crate::row::{Head, Revision, Tail, encode};

pub(crate) static APPLY: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("lua/lanes.lua"), include_str!("lua/apply.lua"))));

/// The subject of a check of `apply.lua`. If the check fails, the store reads this subject again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    Row(TaskId),
    Entry(stent_core::Key),
    UnderKey(stent_core::Key),
    OpenTasks(ExecutionId),
    Children(TaskId),
    PendingKeys(ExecutionId),
    Lane,
    Details,
    Parts,
}

/// The most words of checks and commands that are sent as one call. The server needs 1 to 2 ms for 1,000 words (Redis 7.0; 500
/// dispatches have 7,500 words and take 8 to 15 ms). A worker's exchanges stay below the bound, so they need no lock.
const CALL_WORDS_MAX: usize = 20_000;

/// The most words in a piece of a larger batch: a piece blocks the server for 5 to 10 ms.
const PIECE_WORDS: usize = 5_000;

/// The most members of a set in one check: a command in a script takes only a few thousand words.
const CHECK_MEMBERS: usize = 1_000;

/// The most members, or strings, in one command.
const GROUP: usize = 500;

/// Checks or commands: their words, one after the other.
#[derive(Debug, Default)]
struct Words {
    words: Vec<Vec<u8>>,
    /// For each check or command, the end of its words.
    ends: Vec<usize>,
}

impl Words {
    fn add(&mut self, words: impl IntoIterator<Item = Vec<u8>>) {
        self.words.extend(words);
        self.ends.push(self.words.len());
    }

    /// Cuts the words into pieces. Returns each with its number of checks or commands.
    fn pieces(self) -> Vec<(usize, Vec<Vec<u8>>)> {
        let mut words = self.words.into_iter();
        let (mut pieces, mut taken, mut count) = (Vec::new(), 0, 0);
        for (nth, end) in self.ends.iter().enumerate() {
            count += 1;
            if self.ends.get(nth + 1).is_none_or(|next| next - taken > PIECE_WORDS) {
                pieces.push((count, words.by_ref().take(end - taken).collect()));
                (taken, count) = (*end, 0);
            }
        }
        pieces
    }
}

/// Checks and commands that are written as a whole or not at all.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) checks: Vec<Check>,
    check_words: Words,
    commands: Words,
    /// The strings to write. They are written after all other commands but those of sets.
    strings: Vec<[Vec<u8>; 2]>,
    /// For each sorted set, by its key: the members that it gets (true) and loses. They are written in few commands, because a
    /// command costs a script more than a member does.
    sets: BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, bool>>,
    /// The lanes that get a task, by their id. They are registered after all other commands, because a lane that is empty between
    /// two commands leaves the registry.
    lanes: BTreeMap<[u8; 10], Vec<u8>>,
}

impl Batch {
    /// Whether the batch writes nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.commands.ends.is_empty() && self.strings.is_empty() && self.sets.is_empty()
    }

    /// Adds the commands for strings, sets and lanes. The batch is complete.
    pub(crate) fn complete(&mut self, keys: &Keys) {
        for strings in std::mem::take(&mut self.strings).chunks(GROUP) {
            self.commands
                .add(counted([b"MSET".to_vec()].into_iter().chain(strings.iter().flatten().cloned())));
        }
        let sets = std::mem::take(&mut self.sets);
        // All sets get their members first, so that a lane is not empty in between.
        for (key, members) in &sets {
            let name = if keys.is_of_lane(key) { "!enter" } else { "ZADD" };
            let gets = members.iter().filter(|(_, is_member)| **is_member);
            self.commands_for(name, key, gets.map(|(member, _)| [b"0".to_vec(), member.clone()]));
        }
        for (key, members) in &sets {
            let name = if keys.is_of_lane(key) { "!leave" } else { "ZREM" };
            let loses = members.iter().filter(|(_, is_member)| !**is_member);
            self.commands_for(name, key, loses.map(|(member, _)| [member.clone()]));
        }
        for (id, lane) in std::mem::take(&mut self.lanes) {
            self.command([b"HSET", &keys.one("lanes"), &id, &lane]);
        }
    }

    /// Adds commands on one key for these groups of words.
    fn commands_for<const N: usize>(
        &mut self,
        name: &str,
        key: &[u8],
        groups: impl Iterator<Item = [Vec<u8>; N]>,
    ) {
        let groups: Vec<_> = groups.collect();
        for groups in groups.chunks(GROUP) {
            let head = [name.as_bytes().to_vec(), key.to_vec()];
            self.commands.add(counted(head.into_iter().chain(groups.iter().flatten().cloned())));
        }
    }

    /// Whether the batch, which is complete, is too large for one call.
    pub(crate) const fn is_large(&self) -> bool {
        self.check_words.words.len() + self.commands.words.len() > CALL_WORDS_MAX
    }

    /// Returns the arguments of the script that writes the whole batch; `token` is the caller's token for the lock, or empty.
    pub(crate) fn into_call(self, token: &[u8]) -> Vec<Vec<u8>> {
        let mut args = vec![b"write".to_vec(), token.to_vec(), number(self.check_words.ends.len())];
        args.extend(self.check_words.words);
        args.extend(self.commands.words);
        args
    }

    /// Cuts the batch into the checks and the commands of many calls. Returns each piece with its number of checks or commands.
    pub(crate) fn into_pieces(self) -> [Vec<(usize, Vec<Vec<u8>>)>; 2] {
        [self.check_words.pieces(), self.commands.pieces()]
    }

    pub(crate) fn command<const N: usize>(&mut self, words: [&[u8]; N]) {
        self.commands.add(counted(words.into_iter().map(<[u8]>::to_vec)));
    }

    fn set(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.strings.push([key, value]);
    }

    pub(crate) fn enter(&mut self, (key, member): Place) {
        self.sets.entry(key).or_default().insert(member, true);
    }

    pub(crate) fn leave(&mut self, (key, member): Place) {
        self.sets.entry(key).or_default().insert(member, false);
    }

    fn moved(&mut self, from: &BTreeSet<Place>, to: &BTreeSet<Place>) {
        to.difference(from).for_each(|place| self.enter(place.clone()));
        from.difference(to).for_each(|place| self.leave(place.clone()));
    }

    fn check(&mut self, check: Check, words: impl IntoIterator<Item = Vec<u8>>) {
        self.checks.push(check);
        self.check_words.add(words);
    }

    fn check_set(&mut self, check: Check, key: Vec<u8>, members: &[Vec<u8>]) {
        let mut add = |some: &[Vec<u8>]| {
            let head = [b"z".to_vec(), key.clone(), number(members.len()), number(some.len())];
            self.check(check.clone(), head.into_iter().chain(some.iter().cloned()));
        };
        match members {
            [] => add(&[]),
            members => members.chunks(CHECK_MEMBERS).for_each(add),
        }
    }

    /// Checks that everything that was read is unchanged.
    pub(crate) fn check_all(&mut self, keys: &Keys, loaded: &Loaded) {
        let absent = Vec::new;
        for task in loaded.known.rows.keys() {
            let revision = loaded.heads.get(task).map_or_else(absent, |(_, revision)| revision.to_vec());
            self.check(Check::Row(*task), [b"r".to_vec(), keys.task(*task), revision]);
        }
        for key in loaded.known.key_entries.keys() {
            let revision = loaded.entries.get(key).map_or_else(absent, |revision| revision.to_vec());
            self.check(Check::Entry(*key), [b"r".to_vec(), keys.entry(*key), revision]);
        }
        let of_tasks = |tasks: &BTreeSet<TaskId>| -> Vec<Vec<u8>> {
            tasks.iter().map(|task| task.as_uuid().as_bytes().to_vec()).collect()
        };
        for (key, tasks) in &loaded.known.under_key {
            self.check_set(Check::UnderKey(*key), keys.under_key(*key), &of_tasks(tasks));
        }
        for (execution, tasks) in &loaded.known.open_tasks {
            let key = keys.open_tasks(*execution);
            self.check_set(Check::OpenTasks(*execution), key, &of_tasks(tasks));
        }
        for (task, members) in &loaded.children {
            self.check_set(Check::Children(*task), keys.children(*task), members);
        }
        for (execution, pending) in &loaded.known.pending_keys {
            let members: Vec<_> = pending.iter().map(|key| key.as_uuid().as_bytes().to_vec()).collect();
            let key = keys.pending_keys(*execution);
            self.check_set(Check::PendingKeys(*execution), key, &members);
        }
    }

    /// Checks that no other caller has compacted the execution.
    pub(crate) fn check_details(&mut self, (key, member): &Place) {
        self.check(Check::Details, [b"m".to_vec(), key.clone(), member.clone()]);
    }

    /// Checks that an execution has these tasks below its root, and no others.
    pub(crate) fn check_parts(&mut self, keys: &Keys, execution: ExecutionId, tasks: &BTreeSet<TaskId>) {
        let members: Vec<_> = tasks.iter().map(|task| task.as_uuid().as_bytes().to_vec()).collect();
        self.check_set(Check::Parts, keys.tasks(execution), &members);
    }

    /// Makes sure that a lane is known to whoever claims.
    fn lane(&mut self, keys: &Keys, id: [u8; 10], lane: &Lane) {
        if !self.lanes.contains_key(&id) {
            let value = encode_lane(lane);
            self.check(Check::Lane, [b"h".to_vec(), keys.one("lanes"), id.to_vec(), value.clone()]);
            self.lanes.insert(id, value);
        }
    }

    /// Adds the commands that write the effects of a batch.
    pub(crate) fn write(
        &mut self,
        keys: &Keys,
        loaded: &Loaded,
        effects: &Effects<'_>,
        revision: Revision,
    ) -> Result<()> {
        for (task, _) in effects.tasks.iter().filter(|(_, effect)| effect.erased) {
            self.erase(keys, loaded, *task);
        }
        for (task, effect) in &effects.tasks {
            if let Some(ResultEffect::Copy(from)) = effect.result {
                self.command([b"!copy", &keys.result(from), &keys.result(*task)]);
            }
        }
        for (task, effect) in &effects.tasks {
            self.task(keys, loaded, *task, effect, revision)?;
        }
        for (key, entry) in &effects.key_entries {
            let old = loaded.known.key_entries.get(key).and_then(Option::as_ref);
            self.moved(&entry_places(keys, old), &entry_places(keys, entry.as_ref()));
            match entry {
                Some(entry) => {
                    let bytes = [revision.as_slice(), &encode(entry)?].concat();
                    self.set(keys.entry(*key), bytes);
                }
                None => self.command([b"DEL", &keys.entry(*key)]),
            }
        }
        for noted in &effects.notes {
            let (counters, states) = (keys.counters(noted.execution), keys.states(noted.execution));
            match noted.note {
                Note::Count { name, add } => {
                    self.command([b"!count", &counters, name.as_bytes(), add.to_string().as_bytes()]);
                }
                Note::CountFrom { name, value } => {
                    self.command([b"HSETNX", &counters, name.as_bytes(), value.to_string().as_bytes()]);
                }
                Note::Set { name, value } => {
                    self.command([b"HSET", &states, name.as_bytes(), &encode(value)?]);
                }
                Note::SetFrom { name, value } => {
                    self.command([b"HSETNX", &states, name.as_bytes(), &encode(value)?]);
                }
                Note::Progress { id, text } => {
                    let entry = member(&[
                        id.as_uuid().as_bytes(),
                        noted.task.as_uuid().as_bytes(),
                        &moment(noted.at),
                        text.as_bytes(),
                    ]);
                    let max = number(PROGRESS_MAX);
                    self.command([b"!progress", &keys.progress(noted.execution), &entry, &max]);
                }
            }
        }
        for ended in &effects.ended_claims {
            self.command([b"RPUSH", &keys.history(ended.task), &encode_ended(ended)?]);
        }
        self.hint(keys, effects.ready, effects.ended);
        Ok(())
    }

    pub(crate) fn hint(&mut self, keys: &Keys, ready: bool, ended: bool) {
        let topics: &[u8] = match (ready, ended) {
            (true, true) => b"we",
            (true, false) => b"w",
            (false, true) => b"e",
            (false, false) => return,
        };
        self.command([b"XADD", &keys.one("hints"), b"MAXLEN", b"~", b"1000", b"*", b"t", topics]);
    }

    /// Adds the commands that write one task.
    fn task(
        &mut self,
        keys: &Keys,
        loaded: &Loaded,
        task: TaskId,
        effect: &TaskEffect<'_>,
        revision: Revision,
    ) -> Result<()> {
        let Some(row) = &effect.row else { return Ok(()) };
        match effect.insert {
            Some((new, created_at)) => {
                let tail = changed(Tail::of(new), effect);
                let head = Head { lane: tail.lane.key(), ..Head::of(new, row.clone(), created_at) };
                let mut bytes = head.encode(revision);
                bytes.extend(encode(&tail)?);
                self.set(keys.task(task), bytes);
                fixed_places(keys, &head, Some(&tail.lane)).into_iter().for_each(|place| self.enter(place));
                places(keys, &head).into_iter().for_each(|place| self.enter(place));
                if is_in_lane(&head) {
                    self.lane(keys, lane_id(&head), &tail.lane);
                }
            }
            None => {
                let Some((old, _)) = loaded.heads.get(&task) else { return Ok(()) };
                let mut head = Head { row: row.clone(), ..old.clone() };
                let old_tail = loaded.tails.get(&task);
                let tail = old_tail.map(|tail| changed(tail.clone(), effect));
                if let Some(tail) = &tail {
                    head.lane = tail.lane.key();
                }
                let mut bytes = head.encode(revision);
                match &tail {
                    Some(tail) if changes_tail(effect) => {
                        bytes.extend(encode(tail)?);
                        self.set(keys.task(task), bytes);
                        let lane = |of| fixed_places(keys, &head, of);
                        self.moved(&lane(old_tail.map(|tail| &tail.lane)), &lane(Some(&tail.lane)));
                    }
                    _ => self.command([b"SETRANGE", &keys.task(task), b"0", &bytes]),
                }
                self.moved(&places(keys, old), &places(keys, &head));
                if let Some(tail) = tail.filter(|_| returns(old, row)) {
                    self.lane(keys, lane_id(&head), &tail.lane);
                }
            }
        }
        if let Some(ResultEffect::Written(written)) = &effect.result {
            let result: TaskResult = written.clone().into_result();
            self.set(keys.result(task), encode(&result)?);
        }
        Ok(())
    }

    /// Deletes one task as it was read, with its result, its history and its memberships of sets.
    pub(crate) fn erase(&mut self, keys: &Keys, loaded: &Loaded, task: TaskId) {
        let Some((head, _)) = loaded.heads.get(&task) else { return };
        let lane = loaded.tails.get(&task).map(|tail| &tail.lane);
        places(keys, head).into_iter().for_each(|place| self.leave(place));
        fixed_places(keys, head, lane).into_iter().for_each(|place| self.leave(place));
        self.command([b"DEL", &keys.task(task), &keys.result(task), &keys.history(task)]);
    }
}

/// Whether an effect changes the tail of a stored task.
pub(crate) const fn changes_tail(effect: &TaskEffect<'_>) -> bool {
    effect.retry.is_some() || effect.queue.is_some()
}

/// Returns a task's tail after an effect.
fn changed(mut tail: Tail, effect: &TaskEffect<'_>) -> Tail {
    if let Some(retry) = effect.retry {
        tail.retry = Some(retry.clone());
    }
    if let Some(queue) = effect.queue {
        queue.clone_into(&mut tail.lane.queue);
    }
    tail
}

/// Returns the sets that contain a key entry.
pub(crate) fn entry_places(keys: &Keys, entry: Option<&KeyEntry>) -> BTreeSet<Place> {
    let mut places = BTreeSet::new();
    let Some(entry) = entry else { return places };
    let key = entry.key.as_uuid().as_bytes();
    match entry.kind {
        KeyEntryKind::Result if is_pending(entry) => {
            places.insert((keys.pending_keys(entry.execution), key.to_vec()));
        }
        KeyEntryKind::Result => {
            let ended_at = entry.ended_at.map(|at| (keys.one("rt"), member(&[&moment(at), key])));
            let expires_at = entry.expires_at.map(|at| (keys.one("rx"), member(&[&moment(at), key])));
            places.extend(ended_at.into_iter().chain(expires_at));
        }
        KeyEntryKind::Signal | KeyEntryKind::Dispatch => {
            places.insert((keys.other_keys(entry.execution), key.to_vec()));
        }
    }
    places
}

/// Encodes an ended claim as bytes. `claim.lua` writes crashed claims in the same form.
///
/// | Bytes | Hold |
/// |---|---|
/// | 1 | how the claim ended: `f` (failed), `c` (crashed) or `r` (released) |
/// | 8 | the moment of the end |
/// | 4, 4 | the epoch: count and nonce |
/// | 16 | the worker, or zeros |
/// | 1 | whether the claim had a worker |
/// | rest | the failure, if the claim has one |
fn encode_ended(ended: &EndedClaim) -> Result<Vec<u8>> {
    let end = match ended.end {
        ClaimEnd::Failed => b"f",
        ClaimEnd::Crashed => b"c",
        ClaimEnd::Released => b"r",
    };
    let worker = ended.worker.map_or([0; 16], |worker| *worker.as_uuid().as_bytes());
    let failure = ended.failure.as_ref().map(encode).transpose()?.unwrap_or_default();
    Ok(member(&[
        end,
        &moment(ended.at),
        &ended.epoch.count.to_be_bytes(),
        &ended.epoch.nonce.bits().to_be_bytes(),
        &worker,
        &[u8::from(ended.worker.is_some())],
        &failure,
    ]))
}

/// Puts the number of words in front.
fn counted(words: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut counted = vec![Vec::new()];
    counted.extend(words);
    counted[0] = number(counted.len() - 1);
    counted
}

pub(crate) fn number(number: usize) -> Vec<u8> {
    number.to_string().into_bytes()
}
