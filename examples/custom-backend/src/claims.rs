//! Claims and leases: which worker gets which tasks, in which order, and for how long.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use stent_core::backend::{ClaimRequest, Claimed, Exchanged, Limit, LimitUsage, Renewal, StoredTask};
use stent_core::limits::{CLAIM_MAX, EXPIRED_MAX};
use stent_core::model::{FunctionKey, Lease, Slot, Step, StepKind};
use stent_core::{TaskId, Timestamp};

use crate::data::Data;

impl Data {
    /// Everything in an exchange except the outcomes.
    pub(crate) fn claim(&mut self, request: &ClaimRequest<'_>) -> Exchanged {
        let (now, max) = (request.now, request.max.min(CLAIM_MAX));
        let mut due = Vec::new();
        let mut moments = Vec::new();
        for record in self.tasks.values().filter(|record| record.is_claimable(now)) {
            match record.row.ready_at.filter(|_| request.admits(&record.task.lane)) {
                Some(ready_at) if ready_at <= now => {
                    due.push((Reverse(record.task.priority), ready_at, record.row.id)); // G9
                }
                later => moments.extend(later), // G6
            }
        }
        due.sort_unstable();
        if max > 0 {
            self.vacate(request, due.iter().map(|(.., id)| *id));
        }

        let mut claimed = Vec::new();
        let mut held_back = BTreeSet::new();
        for (.., id) in due {
            if claimed.len() == max {
                break;
            }
            let limit = request.limit(&self.tasks[&id].task.lane.function);
            match limit.filter(|limit| self.room(limit, now) == Some(0)) {
                Some(limit) => drop(held_back.insert(limit.function.as_str())), // G8
                None => claimed.push(self.claim_one(request, id, limit)),
            }
        }
        let limits = held_back.iter().filter_map(|function| request.limit(function));
        moments.extend(limits.filter_map(|limit| self.gives_way(limit, now)));
        if claimed.len() == max {
            moments.clear();
        }

        let open = self.tasks.values().filter(|record| !record.row.status.is_terminal());
        let mut over: Vec<_> = open.filter_map(StoredTask::to_expired).collect();
        over.sort_unstable_by_key(|expired| (expired.expires_at, expired.task));
        let told = over.iter().take_while(|expired| expired.expires_at <= now).count().min(EXPIRED_MAX);
        let next_expiry = over.get(told).map(|expired| expired.expires_at);
        over.truncate(told);

        let rows = self.tasks.values().map(|record| &record.row);
        let stopping = rows.filter(|row| row.worker == Some(request.worker) && row.is_stopping());
        Exchanged {
            outcomes: Vec::new(),
            claimed,
            next_due: moments.into_iter().chain(next_expiry).min(),
            expired: over,
            stopping: stopping.map(|row| row.id).collect(),
        }
    }

    fn claim_one(&mut self, request: &ClaimRequest<'_>, id: TaskId, limit: Option<&Limit>) -> Claimed {
        let ClaimRequest { worker, nonce, now, until, cache, .. } = *request;
        let mut row = self.tasks[&id].row.clone();
        let cached = cache.seen(&row.fence()); // The fence before the claim.
        let due_at = row.ready_at.unwrap_or(now); // As is the moment since when it is due.
        let slot = limit.filter(|limit| limit.max_concurrent.is_some());
        let ended = row.claim(worker, nonce, now, until, slot.map(|limit| FunctionKey::of(&limit.function)));
        if let Some(ended) = ended {
            self.ended_claims.entry(id).or_default().push(ended);
        }
        for sleep in self.due_sleeps(id, now) {
            if let Some(sleep) = self.tasks.get_mut(&sleep) {
                sleep.row.fire(&mut row, now);
            }
        }
        if let Some((limit, rate)) = limit.and_then(|limit| Some((limit, limit.rate?))) {
            let buckets = self.started.entry(FunctionKey::of(&limit.function)).or_default();
            *buckets = buckets.split_off(&rate.since(now)); // Older buckets never count again.
            let last = buckets.keys().next_back().copied();
            *buckets.entry(rate.counts_in(now, last)).or_default() += 1; // A late claim counts when it arrives.
        }
        let (fence, lease) = (row.fence(), Lease { task: id, epoch: row.epoch, until });
        let record = self.tasks.get_mut(&id).expect("it was found under the same lock");
        record.row = row;
        let task = record.to_task();
        let steps = cached.map_or_else(|| self.steps(id), |seen| self.news(id, seen));
        Claimed { task, due_at, lease, fence, cached, steps }
    }

    /// Steps that are new to a worker which has the task in memory and has seen `seen` of its completions: the later
    /// completions, and open maps.
    pub(crate) fn news(&self, id: TaskId, seen: u32) -> Vec<Step> {
        // A map that ended after its parent had ended is not among the completions, and is not open any more.
        let is_open = |step: TaskId| self.tasks.get(&step).is_some_and(|step| step.row.ended_at.is_none());
        let mut steps = self.steps(id);
        steps.retain(|step| step.is_news(seen) && (step.order().is_some() || is_open(step.id)));
        steps
    }

    /// The due sleeps directly below a task, by moment, then position.
    fn due_sleeps(&self, parent: TaskId, now: Timestamp) -> Vec<TaskId> {
        let below = self.below(parent).into_iter();
        let open = below.filter(|record| !record.row.status.is_terminal());
        let sleeps = open.filter(|record| record.row.kind == StepKind::Sleep);
        let due = sleeps.filter_map(|record| Some((record.row.ready_at?, record.task.seq, record.row.id)));
        let mut due: Vec<_> = due.filter(|(moment, ..)| *moment <= now).collect();
        due.sort_unstable();
        due.into_iter().map(|(.., id)| id).collect()
    }

    /// The ends of the leases that take slots of a function.
    fn places(&self, function: FunctionKey, now: Timestamp) -> impl Iterator<Item = Timestamp> {
        let counted =
            self.tasks.values().filter(move |record| record.row.limit_key == Some(Slot::Taken(function)));
        counted.filter_map(|record| record.row.ready_at).filter(move |ends_at| *ends_at > now)
    }

    /// If there is room, tasks whose leases have expired lose their slots: a late renewal must not take them back.
    fn vacate(&mut self, request: &ClaimRequest<'_>, due: impl Iterator<Item = TaskId>) {
        let limits = due.filter_map(|id| request.limit(&self.tasks[&id].task.lane.function));
        let limits: BTreeMap<_, _> = limits.map(|limit| (FunctionKey::of(&limit.function), limit)).collect();
        for (function, limit) in limits {
            if limit.max_concurrent.is_some() && self.room(limit, request.now) != Some(0) {
                self.tasks.values_mut().for_each(|record| record.row.vacate(function, request.now)); // G8
            }
        }
    }

    /// The buckets that count against a function's rate, with their contents.
    fn starts(&self, limit: &Limit, now: Timestamp) -> BTreeMap<Timestamp, u64> {
        let buckets = self.started.get(&FunctionKey::of(&limit.function));
        let Some((rate, buckets)) = limit.rate.zip(buckets) else { return BTreeMap::new() };
        buckets.range(rate.since(now)..).map(|(bucket, count)| (*bucket, *count)).collect()
    }

    fn room(&self, limit: &Limit, now: Timestamp) -> Option<u64> {
        let running = self.places(FunctionKey::of(&limit.function), now).count();
        limit.room(running as u64, self.starts(limit, now).values().sum())
    }

    /// When a full limit may have room again by itself.
    fn gives_way(&self, limit: &Limit, now: Timestamp) -> Option<Timestamp> {
        let ends: Vec<_> = self.places(FunctionKey::of(&limit.function), now).collect();
        let starts = self.starts(limit, now);
        let usage = LimitUsage {
            running: ends.len() as u64,
            first_end: ends.into_iter().min(),
            started: starts.values().sum(),
            first_bucket: starts.keys().next().copied(),
        };
        limit.gives_way(&usage, 0)
    }

    /// Extends a lease that no other claim has taken over.
    pub(crate) fn renew(&mut self, lease: &Lease, now: Timestamp, until: Timestamp) -> Renewal {
        let task = self.tasks.get_mut(&lease.task);
        task.map_or(Renewal::Lost, |record| record.row.renew(lease, now, until))
    }
}
