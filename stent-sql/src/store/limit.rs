//! What limits leave room for (G8), and how much of what is due that is (G9).

use std::collections::BTreeMap;

use sea_orm::ConnectionTrait;
use stent_core::backend::{ClaimRequest, Limit, LimitUsage, Result};
use stent_core::model::{FunctionKey, LaneKey};
use stent_core::{TaskId, Timestamp};

use super::run::Run;
use crate::row::{self, Head, Limited, OneFunction, RankedTask, Read, Started, Stream, Usage};

/// Functions whose limits leave less room than a claim asks for, and what starts under rates.
#[derive(Debug, Default)]
pub(super) struct Limits {
    room: BTreeMap<FunctionKey, Room>,
    /// Streams of functions that there is some room for.
    tight: Vec<(LaneKey, i16)>,
    /// Whose they are.
    functions: BTreeMap<LaneKey, FunctionKey>,
    /// What was counted: for each limited function of the streams.
    usage: BTreeMap<FunctionKey, Usage>,
    /// When a limit that holds something back may give way.
    gives_way: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Room {
    left: usize,
    /// When there may be more, once nothing is left.
    more_at: Option<Timestamp>,
}

impl Limits {
    /// Looks how much room there is for those of the streams that are limited. The others stay in `due`; of the limited ones
    /// those for which there is as much room as the claim asks for.
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
        // The slots of tasks whose leases are over look free. Before a claim takes one it vacates it, so that a renewal that was
        // sent before and arrives later does not get it back.
        let live = |usage: &Usage| Usage { running: usage.running - usage.over, ..usage.clone() };
        let over = counted.iter().map(live).zip(&counted).filter(|(live, usage)| {
            usage.over > 0
                && limited.get(&usage.function_key).is_some_and(|limit| {
                    limit.max_concurrent.is_some() && limit.room(live.running, live.started) != Some(0)
                })
        });
        let over: Vec<_> = over.map(|(live, _)| live.function_key).collect();
        if !writes {
            counted = counted.iter().map(live).collect();
        } else if !over.is_empty() {
            let functions = row::batch(over.into_iter().map(|key| OneFunction { key }));
            let values = run.values(&functions, [request.now.as_micros().into()]);
            run.write(&run.store.statements.vacate, values).await?;
            counted = usages().await?;
        }
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
                    limits.tight.push((stream.key, stream.priority));
                    limits.functions.insert(stream.key, function);
                }
            }
            false
        });
        Ok(limits)
    }

    /// Whether nothing that is due is limited.
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

    /// Of the functions for which there is little room, the first due tasks that there is room for.
    pub(super) async fn pick<C: ConnectionTrait>(
        &mut self,
        run: &Run<'_, C>,
        request: &ClaimRequest<'_>,
    ) -> Result<Vec<TaskId>> {
        let streams =
            row::batch(self.tight.iter().map(|(lane, priority)| Head { lane: *lane, priority: *priority }));
        // One more than there is room for tells that something is held back.
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

    /// Counts what starts under rates.
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
        // Who begins a bucket clears away those that count no more.
        let begun = started
            .iter()
            .filter(|(function, (rate, _))| last(function) != Some(rate.counts_in(now, last(function))));
        let old = row::batch(
            begun.map(|(function, (rate, _))| Limited { function_key: *function, bucket: rate.since(now) }),
        );
        run.write_batch(&run.store.statements.trim_rate, &old).await
    }
}

/// When a limit leaves more room than what is `left` now, once that is taken.
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
