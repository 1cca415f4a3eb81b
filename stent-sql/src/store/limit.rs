//! The room that limits leave (G8), and the due tasks that fit it (G9).

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::ConnectionTrait;
use stent_core::backend::{ClaimRequest, Limit, LimitUsage, Result};
use stent_core::model::{FunctionKey, LaneKey};
use stent_core::{TaskId, Timestamp};

use super::run::Run;
use crate::row::{self, Head, Limited, OneFunction, RankedTask, Read, Started, Stream, Usage};

/// Functions whose limits leave less room than a claim asks for, and starts under rates.
#[derive(Debug, Default)]
pub(super) struct Limits {
    room: BTreeMap<FunctionKey, Room>,
    /// Streams of functions with some room.
    tight: Vec<Head>,
    /// The functions of the streams.
    functions: BTreeMap<LaneKey, FunctionKey>,
    /// The counts of each limited function of the streams.
    usage: BTreeMap<FunctionKey, Usage>,
    /// When a limit that holds tasks back may give way.
    gives_way: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Room {
    left: usize,
    /// When there may be more room, once none is left.
    more_at: Option<Timestamp>,
}

impl Limits {
    /// Reads how much room there is for streams with a limit. Streams without a limit stay in `due`, and so do limited
    /// streams with at least as much room as the claim asks for.
    pub(super) async fn read<C: ConnectionTrait>(
        run: &Run<'_, C>,
        request: &ClaimRequest<'_>,
        due: &mut Vec<Stream>,
        max: usize,
        writes: bool,
    ) -> Result<Self> {
        let mut limits = Self::default();
        let mut limited = BTreeMap::new();
        for stream in due.iter() {
            if let Some(limit) = request.limit(&stream.lane.function).filter(|limit| limit.binds()) {
                limited.insert(FunctionKey::of(&limit.function), limit);
            }
        }
        if limited.is_empty() {
            return Ok(limits);
        }
        let functions: Vec<_> = limited.keys().copied().collect();
        run.hold_counts(&functions).await?;
        let since = |limit: &Limit| limit.rate.map_or(Timestamp::MAX, |rate| rate.since(request.now));
        let batch = row::batch(
            limited.iter().map(|(function, limit)| Limited { function_key: *function, bucket: since(limit) }),
        );
        let usages = async || {
            let values = run.values(&batch, [request.now.as_micros().into()]);
            run.read(&run.store.statements.usage, values, Usage::read).await
        };
        let mut counted = usages().await?;
        // Slots of tasks whose leases have expired count as free. A claim vacates such a slot before it takes it, so that a
        // renewal that was sent earlier and arrives later does not get the slot back.
        let live = |usage: &Usage| Usage { running: usage.running - usage.over, ..usage.clone() };
        let over = counted.iter().map(live).zip(&counted).filter(|(live, usage)| {
            usage.over > 0
                && limited.get(&usage.function_key).is_some_and(|limit| {
                    limit.max_concurrent.is_some() && limit.room(live.running, live.started) != Some(0)
                })
        });
        let over: BTreeSet<_> = over.map(|(live, _)| live.function_key).collect();
        if writes && !over.is_empty() {
            let functions = row::batch(over.iter().map(|key| OneFunction { key: *key }));
            let values = run.values(&functions, [request.now.as_micros().into()]);
            run.write(&run.store.statements.vacate, values).await?;
            counted = usages().await?;
        }
        // Slots that could not be vacated are still taken: their leases are being renewed. For the other functions
        // no slot was vacated, and slots under expired leases count as free.
        let is_tried = |usage: &Usage| writes && over.contains(&usage.function_key);
        counted.iter_mut().filter(|usage| !is_tried(usage)).for_each(|usage| *usage = live(usage));
        for usage in counted {
            let Some(limit) = limited.get(&usage.function_key) else { continue };
            let left = limit.room(usage.running, usage.started).and_then(|room| usize::try_from(room).ok());
            if let Some(left) = left.filter(|left| *left < max) {
                limits.room.insert(
                    usage.function_key,
                    Room { left, more_at: more_at(limit, &usage, request, left) },
                );
            }
            limits.usage.insert(usage.function_key, usage);
        }
        due.retain(|stream| {
            let function = FunctionKey::of(&stream.lane.function);
            let Some(room) = limits.room.get(&function) else { return true };
            match room.left {
                0 => limits.gives_way = earlier(limits.gives_way, room.more_at),
                _ => {
                    limits.tight.extend(stream.head());
                    limits.functions.insert(stream.key, function);
                }
            }
            false
        });
        Ok(limits)
    }

    /// Whether no due task has a limit.
    pub(super) fn are_none(&self) -> bool {
        self.usage.is_empty()
    }

    /// Whether there is some room for functions that have due tasks, but less than the claim asks for.
    pub(super) const fn are_tight(&self) -> bool {
        !self.tight.is_empty()
    }

    pub(super) const fn gives_way(&self) -> Option<Timestamp> {
        self.gives_way
    }

    /// The first due tasks of functions with little room, as many as there is room for.
    pub(super) async fn pick<C: ConnectionTrait>(
        &mut self,
        run: &Run<'_, C>,
        request: &ClaimRequest<'_>,
    ) -> Result<Vec<TaskId>> {
        let streams = row::batch(self.tight.iter().cloned());
        // One more task than there is room for shows that tasks are held back.
        let most = self.room.values().map(|room| room.left).max().unwrap_or_default() + 1;
        let values = run.values(&streams, [request.now.as_micros().into(), (most as i64).into()]);
        let mut heads = run.read(&run.store.statements.heads, values, RankedTask::read).await?;
        heads.sort_unstable_by_key(|head| head.rank);
        let mut picked = Vec::new();
        for head in heads {
            let function = self.functions.get(&head.lane);
            let Some(room) = function.and_then(|function| self.room.get_mut(function)) else { continue };
            if room.left > 0 {
                room.left -= 1;
                picked.push(head.id);
            } else {
                self.gives_way = earlier(self.gives_way, room.more_at);
            }
        }
        Ok(picked)
    }

    /// Counts the starts under rates.
    pub(super) async fn start<'f, C: ConnectionTrait>(
        &self,
        run: &Run<'_, C>,
        request: &ClaimRequest<'_>,
        functions: impl Iterator<Item = &'f str>,
    ) -> Result<()> {
        let mut started = BTreeMap::new();
        for function in functions {
            if let Some(rate) = request.limit(function).and_then(|limit| limit.rate) {
                started.entry(FunctionKey::of(function)).or_insert((rate, 0_u32)).1 += 1;
            }
        }
        let now = request.now;
        let last = |function: &FunctionKey| self.usage.get(function).and_then(|usage| usage.last_bucket);
        let used = started.iter().map(|(function, (rate, used))| Started {
            function_key: *function,
            bucket: rate.counts_in(now, last(function)),
            used: (*used).into(),
        });
        run.write_batch(&run.store.statements.rate, &row::batch(used)).await?;
        // The claim that begins a bucket deletes buckets that no longer count.
        let begun = started
            .iter()
            .filter(|(function, (rate, _))| last(function) != Some(rate.counts_in(now, last(function))));
        let old = row::batch(
            begun.map(|(function, (rate, _))| Limited { function_key: *function, bucket: rate.since(now) }),
        );
        run.write_batch(&run.store.statements.trim_rate, &old).await
    }
}

/// When a limit leaves more room, once the room that is `left` now is taken.
fn more_at(limit: &Limit, usage: &Usage, request: &ClaimRequest<'_>, left: usize) -> Option<Timestamp> {
    let taken = left > 0;
    let first_end = usage.first_end.into_iter().chain(taken.then_some(request.until)).min();
    let starts = limit.rate.filter(|_| taken).map(|rate| rate.counts_in(request.now, usage.last_bucket));
    let first_bucket = usage.first_bucket.into_iter().chain(starts).min();
    let usage = LimitUsage { running: usage.running, first_end, started: usage.started, first_bucket };
    limit.gives_way(&usage, left as u64)
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}
