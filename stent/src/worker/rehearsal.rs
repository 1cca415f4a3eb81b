//! Runs a task's code against a record until the record ends, and reports how that went. Runs no step, holds no lease,
//! and writes nothing.

use std::sync::Arc;
use std::time::Duration;

use stent_core::model::{Step, StepState, TaskResult, Tree};
use stent_core::replay::{Difference, Mismatch, Replay};
use stent_core::{Payload, TaskId, Timestamp};

use super::activation::Activation;
use super::fleet::Fleet;
use super::host::Host;
use super::turn::explain;
use crate::durable::context::{Durable, Place};
use crate::engine::{Engine, ids};
use crate::function::state::States;

/// How long code may await non-durable work before the next recorded step.
const PATIENCE: Duration = Duration::from_secs(10);

/// The code of one process, for rehearsals.
#[derive(Debug)]
pub(crate) struct Stage {
    host: Arc<Host>,
}

/// The record of one task.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) task: TaskId,
    pub(crate) tree: Tree,
    pub(crate) function: String,
    pub(crate) attempts: u32,
    pub(crate) started_at: Timestamp,
    /// Whether the step that failed last may run again with other arguments.
    pub(crate) redriven: bool,
    pub(crate) args: Payload,
    pub(crate) steps: Vec<Step>,
}

/// How far the code came.
#[derive(Debug)]
pub(crate) enum Rehearsed {
    /// It ended. A mismatch is a failure.
    Ended {
        result: TaskResult,
        /// Whether the record has steps that the code never asked for.
        has_unasked: bool,
    },
    /// It waits for a step that is not recorded, or not recorded as done.
    Waits,
    /// It awaits non-durable work, although the record continues.
    Stuck,
}

impl Stage {
    pub(crate) fn new(engine: &Arc<Engine>, states: States) -> Self {
        let host = Host {
            engine: engine.clone(),
            fleet: Arc::new(Fleet::new()),
            states: Arc::new(states),
            worker: ids::worker(),
            drop_queue: Arc::default(),
        };
        Self { host: Arc::new(host) }
    }

    /// Runs a task's code against its record.
    pub(crate) async fn rehearse(&self, part: &Part) -> Rehearsed {
        let mut part = part.clone();
        loop {
            let rehearsed = self.run(&part).await;
            let Err(mismatch) = rehearsed else { return rehearsed.unwrap_or(Rehearsed::Waits) };
            // The digest of an open step was computed from its arguments, so it lacks the idempotency key.
            let lacks_key = self.differs_in_key(&part, &mismatch).await;
            let step = part.steps.iter_mut().find(|step| lacks_key && step.seq == mismatch.seq);
            match step.and_then(|step| step.digest.take()) {
                Some(_) => {}
                None => {
                    let failure = Err(stent_core::Failure::from(&mismatch));
                    return Rehearsed::Ended { result: failure, has_unasked: false };
                }
            }
        }
    }

    async fn run(&self, part: &Part) -> Result<Rehearsed, Mismatch> {
        let Part { task, tree, function, attempts, started_at, redriven, args, steps } = part.clone();
        let done = steps.iter().filter_map(Step::order).max().unwrap_or(0);
        let replay = Replay::new(started_at, done, steps).redriven(redriven).rehearsal();
        let place = Place { task, tree, function, attempts };
        let mut code = Activation::new(&self.host, place, args, None, Arc::default(), replay);
        loop {
            let ended = code.poll_until_quiet().await;
            if let Some(mismatch) = self.broken(&code.durable).await {
                return Err(mismatch);
            }
            if let Some(result) = ended {
                let durable = &code.durable;
                let (end, has_unasked) = durable.replay(|replay| (replay.end(result), replay.has_unasked()));
                return Ok(Rehearsed::Ended { result: end.result, has_unasked });
            }
            match code.deliver() {
                Ok(true) => continue,
                Ok(false) => {}
                Err(failure) => return Ok(Rehearsed::Ended { result: Err(failure), has_unasked: true }),
            }
            if let Some(mismatch) = self.broken(&code.durable).await {
                return Err(mismatch);
            }
            let (is_reading, has_unasked) =
                code.durable.replay(|replay| (replay.is_reading(), replay.has_unasked()));
            let goes_on = is_reading || has_unasked && code.awaits_the_world();
            if !goes_on {
                return Ok(Rehearsed::Waits);
            }
            if tokio::time::timeout(PATIENCE, code.waker.woken()).await.is_err() {
                return Ok(Rehearsed::Stuck);
            }
        }
    }

    /// The mismatch of the code, with the recorded data.
    async fn broken(&self, durable: &Durable) -> Option<Mismatch> {
        let mismatch = durable.replay(|replay| replay.broken().cloned())?;
        explain(&*self.host.engine.store, durable, &mismatch).await;
        durable.replay(|replay| replay.broken().cloned())
    }

    async fn differs_in_key(&self, part: &Part, mismatch: &Mismatch) -> bool {
        let Difference::Args { of, .. } = &mismatch.difference else { return false };
        let is_open = |step: &Step| step.id == *of && matches!(step.state, StepState::Open { .. });
        if !part.steps.iter().any(is_open) {
            return false;
        }
        let recorded = self.host.engine.store.args(*of).await;
        matches!(recorded, Ok(Some(recorded)) if !mismatch.differs_visibly(&recorded))
    }
}
