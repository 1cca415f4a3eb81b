//! Claims: which tasks are due, for which worker, in which order.

use std::collections::BTreeSet;

use sea_orm::ConnectionTrait;
use stent_core::backend::{ClaimRequest, Claimed, Expired, Result};
use stent_core::ledger::{Row, Update};
use stent_core::limits::{CLAIM_MAX, EXPIRED_MAX};
use stent_core::model::{FunctionKey, Lease, Step, StepKind};
use stent_core::{TaskId, Timestamp};

use super::limit::Limits;
use super::record::{Record, Wanted};
use super::run::Run;
use crate::batch::Batch;
use crate::row::{
    self, EndHints, Ending, OneId, Picked, Read, Recorded, Seen, Shape, Stream, WANT_ALL, WANT_OPEN,
};
use crate::table::task::{PlainClaim, RareClaim, update_batches};

/// The tasks that a worker may take: streams whose heads are due, and the room that limits leave.
#[derive(Debug)]
pub(super) struct Claimable {
    due: Vec<Stream>,
    limits: Limits,
    next_due: Option<Timestamp>,
    end_hints: EndHints,
}

impl Claimable {
    /// Reads which tasks may be taken. A transaction that `writes` vacates the slots of tasks whose leases have
    /// expired.
    pub(super) async fn read<C: ConnectionTrait>(
        run: &Run<'_, C>,
        request: &ClaimRequest<'_>,
        writes: bool,
    ) -> Result<Self> {
        // A stream alone may fill a claim, unless limits hold its tasks back.
        let others = (most(request) as i64 - 1).max(0);
        let may_fill = i64::from(request.limits.is_empty());
        let values = vec![
            request.now.as_micros().into(),
            (*request.worker.as_uuid()).into(),
            others.into(),
            may_fill.into(),
        ];
        let (mut streams, mut end_hints) = (Vec::new(), EndHints::default());
        for seen in run.read(&run.store.statements.streams, values, Seen::read).await? {
            match seen {
                Seen::Stream(stream) => streams.push(stream),
                Seen::EndHints(hints) => end_hints = hints,
            }
        }
        streams.retain(|stream| request.admits(&stream.lane)); // G10
        let next_due = streams.iter().filter_map(|stream| stream.next_at).min();
        let mut due = streams;
        due.retain(|stream| stream.first_at.is_some_and(|first_at| first_at <= request.now)); // G6
        let limits = match request.limits {
            [] => Limits::default(),
            _ => Limits::read(run, request, &mut due, most(request), writes).await?,
        };
        Ok(Self { due, limits, next_due, end_hints })
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.due.is_empty() && !self.limits.are_tight()
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.next_due.into_iter().chain(self.limits.gives_way()).min()
    }

    pub(super) const fn end_hints(&self) -> EndHints {
        self.end_hints
    }

    /// The data that was read before the transaction, if it is also valid within. Streams with due tasks are: their heads
    /// are read again, and tasks that became due since are left to the next claim. Counts for limits are not: they may have
    /// changed.
    pub(super) fn if_it_holds(self) -> Option<Self> {
        self.limits.are_none().then_some(self)
    }
}

fn most(request: &ClaimRequest<'_>) -> usize {
    request.max.min(CLAIM_MAX)
}

/// Tasks of the store whose deadline has passed, and tasks of the claimer that were asked to end.
#[derive(Debug, Default)]
pub(super) struct TasksToEnd {
    pub(super) expired: Vec<Expired>,
    pub(super) stopping: Vec<TaskId>,
    /// The next deadline.
    pub(super) next: Option<Timestamp>,
}

impl TasksToEnd {
    /// Reads the tasks that end, if the streams' last row says that there may be any.
    pub(super) async fn if_any<C: ConnectionTrait>(
        run: &Run<'_, C>,
        request: &ClaimRequest<'_>,
        end_hints: EndHints,
    ) -> Result<Self> {
        match end_hints.first_end {
            Some(first_end) if first_end <= request.now => Self::read(run, request).await,
            _ if end_hints.stopping => Self::read(run, request).await,
            next => Ok(Self { next, ..Self::default() }),
        }
    }

    pub(super) async fn read<C: ConnectionTrait>(
        run: &Run<'_, C>,
        request: &ClaimRequest<'_>,
    ) -> Result<Self> {
        let values = vec![request.now.as_micros().into(), (*request.worker.as_uuid()).into()];
        let mut ends = Self::default();
        for ending in run.read(&run.store.statements.ends, values, row::ending).await? {
            match ending {
                Ending::Over(expired) => ends.expired.push(expired),
                Ending::Next(at) => ends.next = Some(at),
                Ending::Stopping(task) => ends.stopping.push(task),
            }
        }
        ends.expired.sort_unstable_by_key(|expired| (expired.expires_at, expired.task));
        if ends.expired.len() > EXPIRED_MAX {
            // One more task is read than is reported: the next one, whose deadline has passed, too.
            ends.next = ends.expired.pop().map(|expired| expired.expires_at);
        }
        ends.stopping.sort_unstable();
        Ok(ends)
    }
}

/// Tasks that are about to be claimed.
#[derive(Debug, Default)]
pub(super) struct Picks {
    picked: Vec<Pick>,
    limits: Limits,
    next_due: Option<Timestamp>,
    end_hints: EndHints,
    leaves_locked: bool,
}

#[derive(Debug)]
struct Pick {
    task: Picked,
    /// How many completions the claimer has in memory, if it has cached the task.
    cached: Option<u32>,
}

/// Picks the first due tasks that the request admits and its limits leave room for, in the order G9.
pub(super) async fn pick<C: ConnectionTrait>(
    run: &Run<'_, C>,
    request: &ClaimRequest<'_>,
    claimable: Option<Claimable>,
) -> Result<Picks> {
    let max = most(request);
    if max == 0 {
        // No streams were read, so there are no hints about ends: query them.
        return Ok(Picks {
            end_hints: EndHints { stopping: true, ..EndHints::default() },
            ..Picks::default()
        });
    }
    let claimable = match claimable {
        Some(claimable) => claimable,
        None => Claimable::read(run, request, true).await?,
    };
    let Claimable { due, mut limits, next_due, end_hints } = claimable;
    let statements = &run.store.statements;
    let mut picked = Vec::new();
    let streams = due.len();
    if !due.is_empty() || limits.are_tight() {
        let streams = row::batch(due.iter().filter_map(Stream::head));
        let others = [request.now.as_micros().into(), (max as i64).into()];
        picked = if limits.are_tight() {
            // Tasks with little room are picked first, and merged with the others by rank.
            let ids = limits.pick(run, request).await?;
            let ids = Batch::of_ids(OneId::COLUMNS, ids.iter().map(|id| *id.as_uuid()));
            let values = run.values_of_two(&streams, others, &ids);
            run.read(&statements.pick_with, values, Picked::read).await?
        } else {
            run.read(&statements.pick, run.values(&streams, others), Picked::read).await?
        };
        picked.sort_unstable_by_key(Picked::rank); // G9
        picked.truncate(max);
    }
    let next_due = next_due.into_iter().chain(limits.gives_way()).min().filter(|_| picked.len() < max);
    // The statement locked up to `max` tasks of each stream.
    let leaves_locked = run.locks.is_some() && streams > 1 && picked.len() == max;
    let picked = picked.into_iter().map(|task| {
        let cached = request.cache.seen(&task.row.fence());
        Pick { task, cached }
    });
    Ok(Picks { picked: picked.collect(), limits, next_due, end_hints, leaves_locked })
}

impl Picks {
    pub(super) const fn is_empty(&self) -> bool {
        self.picked.is_empty()
    }

    pub(super) const fn next_due(&self) -> Option<Timestamp> {
        self.next_due
    }

    pub(super) const fn end_hints(&self) -> EndHints {
        self.end_hints
    }

    /// Whether the claim has locked tasks that it does not take.
    pub(super) const fn leaves_locked(&self) -> bool {
        self.leaves_locked
    }

    /// Requests the steps that the claimer does not have. A task without a commit has no recorded steps.
    pub(super) fn want(&self, wanted: &mut Wanted) {
        for pick in self.picked.iter().filter(|pick| pick.task.row.commit > 0) {
            match pick.cached {
                Some(seen) => wanted.add(pick.task.row.id, seen, WANT_OPEN),
                None => wanted.add(pick.task.row.id, 0, WANT_ALL),
            }
        }
    }

    /// Claims the picked tasks, completes the sleeps that are due, and writes both.
    pub(super) async fn take<C: ConnectionTrait>(
        self,
        run: &Run<'_, C>,
        request: &ClaimRequest<'_>,
        record: &mut Record,
    ) -> Result<Vec<Claimed>> {
        if self.picked.is_empty() {
            return Ok(Vec::new());
        }
        let statements = &run.store.statements;
        if !request.limits.is_empty() {
            let functions = self.picked.iter().map(|pick| pick.task.function());
            self.limits.start(run, request, functions).await?;
        }
        let mut rows = Vec::with_capacity(self.picked.len());
        let (mut fired, mut ended, mut rare) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut claimed = Vec::with_capacity(self.picked.len());
        for Pick { task, cached } in self.picked {
            let mut row = task.row.clone();
            let limit_key = request
                .limit(task.function())
                .filter(|limit| limit.max_concurrent.is_some())
                .map(|limit| FunctionKey::of(&limit.function));
            ended.extend(row.claim(request.worker, request.nonce, request.now, request.until, limit_key));
            if row.crashes != task.row.crashes || row.limit_key != task.row.limit_key {
                rare.insert(row.id);
            }
            let mut steps = record.take(row.id);
            fired.extend(fire(&mut row, &mut steps, request.now));
            let lease = Lease { task: row.id, epoch: row.epoch, until: request.until };
            let (fence, steps) = (row.fence(), arrange(steps, cached)?);
            let due_at = task.row.ready_at.unwrap_or(request.now);
            claimed.push(Claimed { task: task.into_task(&row), due_at, lease, fence, cached, steps });
            rows.push(row);
        }

        if fired.is_empty() {
            debug_assert!(
                rows.iter()
                    .all(|row| row.worker == Some(request.worker) && row.ready_at == Some(request.until))
            );
            let same = || [(*request.worker.as_uuid()).into(), request.until.as_micros().into()];
            let (rare, plain): (Vec<_>, _) = rows.into_iter().partition(|row| rare.contains(&row.id));
            if !plain.is_empty() {
                run.write(
                    &statements.claim,
                    run.values(&row::batch(plain.iter().map(PlainClaim::of)), same()),
                )
                .await?;
            }
            if !rare.is_empty() {
                run.write(
                    &statements.claim_rare,
                    run.values(&row::batch(rare.iter().map(RareClaim::of)), same()),
                )
                .await?;
            }
        } else {
            let rows = rows.into_iter().chain(fired);
            let updates: Vec<_> =
                rows.map(|row| Update { row, result: None, retry: None, queue: None }).collect();
            let (plain, rare) = update_batches(&updates, |id| rare.contains(&id))?;
            run.write_batch(&statements.update, &plain).await?;
            run.write_batch(&statements.update_rare, &rare).await?;
        }
        run.write_batch(&statements.ended_claims, &row::ended_claim_batch(&ended)?).await?;
        Ok(claimed)
    }
}

/// Completes the sleeps that are due, in the order of their moments. Returns the changed rows.
fn fire(parent: &mut Row, steps: &mut [Recorded], now: Timestamp) -> Vec<Row> {
    let mut due: Vec<_> = steps
        .iter_mut()
        .filter(|step| step.row.kind == StepKind::Sleep && !step.row.status.is_terminal())
        .filter(|step| step.row.ready_at.is_some_and(|ready_at| ready_at <= now))
        .collect();
    due.sort_unstable_by_key(|step| (step.row.ready_at, step.seq, step.row.id));
    due.into_iter()
        .map(|step| {
            step.row.fire(parent, now);
            step.row.clone()
        })
        .collect()
}

/// Completed steps in the order of their completion, then the others by position (G4); for a claimer that has cached
/// the task, only the changes: steps that ended since, and open maps.
pub(super) fn arrange(steps: Vec<Recorded>, cached: Option<u32>) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = steps.into_iter().map(Recorded::into_step).collect::<Result<_>>()?;
    if let Some(seen) = cached {
        steps.retain(|step| step.is_news(seen));
    }
    steps.sort_by_key(|step| (step.order().is_none(), step.order(), step.seq));
    Ok(steps)
}
