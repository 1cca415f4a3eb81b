//! Claims: what is due, for whom, in which order.

use sea_orm::ConnectionTrait;
use stent_core::Timestamp;
use stent_core::backend::{ClaimRequest, Claimed, Result};
use stent_core::ledger::{Row, Update};
use stent_core::limits::CLAIM_MAX;
use stent_core::model::{LaneKey, Lease, Step, StepKind, StepState};

use super::record::{Record, Wanted};
use super::run::Run;
use crate::batch::{Batch, Cell};
use crate::row::columns::HEADS;
use crate::row::{self, Picked, Recorded, Stream, WANT_ALL, WANT_OPEN};

/// What a worker may take: the streams at whose head something is due.
#[derive(Debug)]
pub(super) struct Agenda {
    due: Vec<(LaneKey, i16)>,
    next_due: Option<Timestamp>,
}

impl Agenda {
    pub(super) async fn read<C: ConnectionTrait>(
        run: &Run<'_, C>,
        request: &ClaimRequest<'_>,
    ) -> Result<Self> {
        let now = request.now.as_micros().into();
        let streams = run.read(&run.store.statements.streams, vec![now], Stream::read).await?;
        let admitted: Vec<_> = streams.into_iter().filter(|stream| request.admits(&stream.lane)).collect(); // G10
        let due = admitted.iter().filter(|stream| stream.first_at <= request.now); // G6
        let due = due.map(|stream| (stream.key, stream.priority)).collect();
        let next_due = admitted.iter().filter_map(|stream| stream.next_at).min();
        Ok(Self { due, next_due })
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    pub(super) const fn next_due(&self) -> Option<Timestamp> {
        self.next_due
    }
}

/// Tasks that are about to be claimed.
#[derive(Debug, Default)]
pub(super) struct Picks {
    picked: Vec<Pick>,
    next_due: Option<Timestamp>,
}

#[derive(Debug)]
struct Pick {
    task: Picked,
    /// How many completions the claimer has in memory, if it has the task there.
    recalled: Option<u32>,
}

/// Picks the first due tasks that the request admits, in the order G9.
pub(super) async fn pick<C: ConnectionTrait>(run: &Run<'_, C>, request: &ClaimRequest<'_>) -> Result<Picks> {
    let agenda = Agenda::read(run, request).await?;
    let max = request.max.min(CLAIM_MAX);
    let mut picked = Vec::new();
    if !agenda.is_empty() {
        let mut streams = Batch::new(&HEADS, agenda.due.len());
        for (lane, priority) in &agenda.due {
            streams.push([Cell::Int(lane.as_i64()), Cell::Int((*priority).into())]);
        }
        let values = run.values(&streams, [request.now.as_micros().into(), (max as i64).into()]);
        let statements = &run.store.statements;
        picked = run.read(&statements.pick, values, Picked::read).await?;
        picked.sort_unstable_by_key(Picked::rank); // G9
    }
    let next_due = agenda.next_due.filter(|_| picked.len() < max);
    let picked = picked.into_iter().map(|task| {
        let recalled = request.recall.seen(task.row.id, task.row.epoch);
        Pick { task, recalled }
    });
    Ok(Picks { picked: picked.collect(), next_due })
}

impl Picks {
    pub(super) const fn is_empty(&self) -> bool {
        self.picked.is_empty()
    }

    pub(super) const fn next_due(&self) -> Option<Timestamp> {
        self.next_due
    }

    /// Asks for the steps that the claimer does not have. A task that has committed nothing has recorded nothing.
    pub(super) fn want(&self, wanted: &mut Wanted) {
        for pick in self.picked.iter().filter(|pick| pick.task.row.commit > 0) {
            match pick.recalled {
                Some(seen) => wanted.add(pick.task.row.id, seen, WANT_OPEN),
                None => wanted.add(pick.task.row.id, 0, WANT_ALL),
            }
        }
    }

    /// Claims what was picked, completes the sleeps that are due, and writes both.
    pub(super) async fn take<C: ConnectionTrait>(
        self,
        run: &Run<'_, C>,
        request: &ClaimRequest<'_>,
        record: &mut Record,
    ) -> Result<Vec<Claimed>> {
        if self.picked.is_empty() {
            return Ok(Vec::new());
        }
        let mut rows = Vec::with_capacity(self.picked.len());
        let mut fired = Vec::new();
        let mut claimed = Vec::with_capacity(self.picked.len());
        for Pick { task, recalled } in self.picked {
            let mut row = task.row.clone();
            row.claim(request.worker, request.now, request.until);
            let mut steps = record.take(row.id);
            fired.extend(fire(&mut row, &mut steps, request.now));
            let lease = Lease { task: row.id, epoch: row.epoch, until: request.until };
            let (fence, steps) = (row.fence(), arrange(steps, recalled)?);
            claimed.push(Claimed { task: task.into_task(&row), lease, fence, recalled, steps });
            rows.push(row);
        }

        let statements = &run.store.statements;
        if fired.is_empty() {
            debug_assert!(
                rows.iter()
                    .all(|row| row.worker == Some(request.worker) && row.ready_at == Some(request.until))
            );
            let same = [(*request.worker.as_uuid()).into(), request.until.as_micros().into()];
            run.write(&statements.claim, run.values(&row::claim_batch(&rows), same)).await?;
        } else {
            let updates: Vec<_> =
                rows.into_iter().chain(fired).map(|row| Update { row, result: None }).collect();
            run.write(&statements.update, run.values(&row::update_batch(&updates)?, [])).await?;
        }
        Ok(claimed)
    }
}

/// Completes the sleeps that are due, in the order of their moments. Gives the rows that changed.
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

/// Completed steps in the order of their completion, then the others by position (G4); for a claimer that has the task
/// in memory, only what has changed there: what ended since, and the maps that are open.
fn arrange(steps: Vec<Recorded>, recalled: Option<u32>) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = steps.into_iter().map(Recorded::into_step).collect::<Result<_>>()?;
    if let Some(seen) = recalled {
        steps.retain(|step| match &step.state {
            StepState::Done { order, .. } => *order > seen,
            StepState::Open { .. } => step.kind == StepKind::Map,
            StepState::Cancelled => false,
        });
    }
    steps.sort_by_key(|step| (step.order().is_none(), step.order(), step.seq));
    Ok(steps)
}
