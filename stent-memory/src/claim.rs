//! Claims: which tasks are due, for which worker, in which order, and how many.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use stent_core::backend::{ClaimRequest, Claimed, Expired, Limit, LimitUsage};
use stent_core::limits::{CLAIM_MAX, EXPIRED_MAX};
use stent_core::model::{FunctionKey, Lease, Rate, Slot, StepKind};
use stent_core::{TaskId, Timestamp};

use crate::records::Records;

/// The result of a claim.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    pub(crate) claimed: Vec<Claimed>,
    pub(crate) next_due: Option<Timestamp>,
    pub(crate) expired: Vec<Expired>,
    pub(crate) stopping: Vec<TaskId>,
}

impl Records {
    /// Claims due tasks in the order of G9, and returns the other data that a claim reports to the worker.
    pub(crate) fn claim(&mut self, request: &ClaimRequest<'_>) -> Claims {
        let now = request.now;
        let max = request.max.min(CLAIM_MAX);
        let mut due = Vec::new();
        let mut moments = Vec::new();
        for record in self.tasks.values().filter(|record| record.is_claimable(now)) {
            match record.row.ready_at.filter(|_| request.admits(&record.task.lane)) {
                Some(ready_at) if ready_at <= now => {
                    due.push((Reverse(record.task.priority), ready_at, record.row.id)); // G9
                }
                Some(ready_at) => moments.push(ready_at),
                None => {}
            }
        }
        due.sort_unstable();
        if max > 0 {
            self.vacate(due.iter().map(|(.., id)| *id), request);
        }

        let mut claimed = Vec::new();
        let mut held_back = BTreeSet::new();
        for (.., id) in due {
            if claimed.len() == max {
                break;
            }
            match self.limit(id, request).filter(|limit| self.room(limit, now) == Some(0)) {
                Some(limit) => {
                    held_back.insert(limit.function.as_str()); // G8
                }
                None => claimed.extend(self.claim_one(id, request)),
            }
        }
        moments.extend(held_back.iter().filter_map(|function| self.gives_way(request.limit(function)?, now)));
        if claimed.len() == max {
            moments.clear();
        }

        let (expired, next_expiry) = self.expired(now);
        let next_due = moments.into_iter().chain(next_expiry).min();
        Claims { claimed, next_due, expired, stopping: self.stopping(request) }
    }

    fn claim_one(&mut self, id: TaskId, request: &ClaimRequest<'_>) -> Option<Claimed> {
        let limit = self.limit(id, request);
        let timers = self.due_timers(id, request.now);
        let cached = request.cache.seen(&self.tasks.get(&id)?.row.fence());

        // The row leaves the map while it changes together with the timers below it.
        let mut row = self.tasks.get(&id)?.row.clone();
        let slot = limit
            .filter(|limit| limit.max_concurrent.is_some())
            .map(|limit| FunctionKey::of(&limit.function));
        let due_at = row.ready_at.unwrap_or(request.now);
        let ended = row.claim(request.worker, request.nonce, request.now, request.until, slot);
        for timer in timers {
            self.tasks.get_mut(&timer)?.row.fire(&mut row, request.now);
        }
        self.ended_claims.entry(id).or_default().extend(ended);
        if let Some(limit) = limit
            && let Some(rate) = &limit.rate
        {
            let function = FunctionKey::of(&limit.function);
            let last = self.started(function, rate, request.now).last().map(|(bucket, _)| bucket);
            let bucket = rate.counts_in(request.now, last);
            *self.started.entry((function, bucket)).or_default() += 1;
        }
        let record = self.tasks.get_mut(&id)?;
        record.row = row;

        let task = record.to_task();
        let fence = record.row.fence();
        let lease = Lease { task: id, epoch: record.row.epoch, until: request.until };
        let steps = match cached {
            Some(seen) => self.steps_since(id, seen),
            None => self.steps(id),
        };
        Some(Claimed { task, due_at, lease, fence, cached, steps })
    }

    /// The due sleeps of a task, in the order of their moments.
    fn due_timers(&self, parent: TaskId, now: Timestamp) -> Vec<TaskId> {
        let mut timers: Vec<_> = self
            .below(parent)
            .filter(|record| record.task.kind == StepKind::Sleep && !record.row.status.is_terminal())
            .filter_map(|record| Some((record.row.ready_at?, record.task.seq, record.row.id)))
            .filter(|(due, ..)| *due <= now)
            .collect();
        timers.sort_unstable();
        timers.into_iter().map(|(.., id)| id).collect()
    }

    fn limit<'a>(&self, task: TaskId, request: &ClaimRequest<'a>) -> Option<&'a Limit> {
        let function = &self.tasks.get(&task)?.task.lane.function;
        request.limits.iter().find(|limit| limit.function == *function)
    }

    /// How many more tasks of a function may be claimed.
    fn room(&self, limit: &Limit, now: Timestamp) -> Option<u64> {
        let function = FunctionKey::of(&limit.function);
        let started =
            limit.rate.map_or(0, |rate| self.started(function, &rate, now).map(|(_, count)| count).sum());
        limit.room(self.places(function, now).count() as u64, started)
    }

    /// Frees the slots of tasks whose leases have expired, for functions that have room (G8).
    fn vacate(&mut self, due: impl Iterator<Item = TaskId>, request: &ClaimRequest<'_>) {
        let limits: BTreeMap<_, _> = due
            .filter_map(|id| self.limit(id, request))
            .filter(|limit| limit.max_concurrent.is_some())
            .map(|limit| (FunctionKey::of(&limit.function), limit))
            .collect();
        for (function, limit) in limits {
            if self.room(limit, request.now) != Some(0) {
                self.tasks.values_mut().for_each(|record| record.row.vacate(function, request.now));
            }
        }
    }

    /// The ends of the leases that count against a function's limit.
    fn places(&self, function: FunctionKey, now: Timestamp) -> impl Iterator<Item = Timestamp> {
        let running =
            self.tasks.values().filter(move |record| record.row.limit_key == Some(Slot::Taken(function)));
        running.filter_map(|record| record.row.ready_at).filter(move |until| *until > now)
    }

    /// The buckets that count against a function's rate, with their contents.
    fn started(
        &self,
        function: FunctionKey,
        rate: &Rate,
        now: Timestamp,
    ) -> impl Iterator<Item = (Timestamp, u64)> {
        let counted = (function, rate.since(now))..=(function, Timestamp::MAX);
        self.started.range(counted).map(|((_, bucket), count)| (*bucket, *count))
    }

    /// When a limit that holds work back may admit more by the passing of time: every exhausted part of the limit must
    /// give way.
    fn gives_way(&self, limit: &Limit, now: Timestamp) -> Option<Timestamp> {
        let function = FunctionKey::of(&limit.function);
        let ends: Vec<_> = self.places(function, now).collect();
        let starts = limit.rate.map(|rate| self.started(function, &rate, now).collect::<Vec<_>>());
        let starts = starts.unwrap_or_default();
        let usage = LimitUsage {
            running: ends.len() as u64,
            first_end: ends.into_iter().min(),
            started: starts.iter().map(|(_, count)| count).sum(),
            first_bucket: starts.first().map(|(bucket, _)| *bucket),
        };
        limit.gives_way(&usage, 0)
    }

    /// Open tasks whose deadline has passed, the longest overdue first, and the next deadline.
    fn expired(&self, now: Timestamp) -> (Vec<Expired>, Option<Timestamp>) {
        let open = self.tasks.values().filter(|record| !record.row.status.is_terminal());
        let mut ends: Vec<_> =
            open.filter_map(|record| Some((record.row.expires_at?, record.row.id))).collect();
        ends.sort_unstable();
        let over = ends.iter().take_while(|(expires_at, _)| *expires_at <= now).take(EXPIRED_MAX);
        let expired: Vec<_> = over.filter_map(|(_, id)| self.tasks.get(id)?.to_expired()).collect();
        let next = ends.get(expired.len()).map(|(expires_at, _)| *expires_at);
        (expired, next)
    }

    /// Tasks that a worker runs and that were asked to end.
    fn stopping(&self, request: &ClaimRequest<'_>) -> Vec<TaskId> {
        let mine = self.tasks.values().filter(|record| record.row.worker == Some(request.worker));
        mine.filter(|record| record.row.is_stopping()).map(|record| record.row.id).collect()
    }
}
