//! Latency and claims in a store that holds much else, against the same store before.

use std::time::Instant;

use anyhow::Result;

use super::claim::{self, claims};
use super::latency::one_by_one;
use crate::functions::{Ended, Notes, job};
use crate::plan::Spec;
use crate::report::{Beside, Latency, Measurement};
use crate::scene::Scene;

/// What else is in the store.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fill {
    /// Lanes that were used once: queues, each of which had one execution, which has ended.
    Lanes,
    /// Executions that have ended, in the lane of the measured ones.
    Finished,
    /// Executions that wait in another queue, which no worker serves.
    Waiting,
}

/// The queue of everything that is measured.
const QUEUE: &str = "default";

/// Executions whose latency is measured, each time.
const EXECUTIONS: u32 = 200;

/// Measures, fills the store with `n` of something, and measures again.
pub(super) async fn measure(spec: &Spec, scene: &Scene, fill: Fill) -> Result<Measurement> {
    let before = look(scene, fill).await?;
    fill_with(scene, fill, spec.n).await?;
    let working = Instant::now();
    let with = look(scene, fill).await?;

    let seconds = working.elapsed().as_secs_f64();
    let steps = u64::from(EXECUTIONS);
    let mut measurement = Measurement::new(spec, seconds, steps).of_executions(EXECUTIONS);
    measurement.beside = Some(Beside {
        p50_ms_before: before.latency.p50_ms,
        claim_ms: with.claim.p50_ms,
        claim_ms_before: before.claim.p50_ms,
    });
    measurement.latency = Some(with.latency);
    Ok(measurement)
}

struct Look {
    latency: Latency,
    claim: Latency,
}

/// The latency of one execution at a time, and then the time of a claim without a worker.
async fn look(scene: &Scene, fill: Fill) -> Result<Look> {
    let queue = [QUEUE.to_owned()];
    // A worker that serves every queue has to pass the lanes; one that serves a queue must not notice the others.
    let queues = match fill {
        Fill::Lanes | Fill::Finished => None,
        Fill::Waiting => Some(queue.as_slice()),
    };
    let worker = scene.worker().state(Ended::default()).state(Notes::default());
    let worker = match queues {
        Some(queues) => worker.queues(queues),
        None => worker,
    };
    let worker = worker.start().await?;
    let times = one_by_one(scene, EXECUTIONS).await?;
    worker.drain().await?;

    // They stay claimed, so the second look does not find those of the first.
    scene.stent.dispatch_all((0..claim::WAITING).map(|number| job(number).queue(QUEUE))).await?;
    Ok(Look { latency: Latency::of(times), claim: Latency::of(claims(scene, queues).await?) })
}

async fn fill_with(scene: &Scene, fill: Fill, n: u32) -> Result<()> {
    let queue = move |number| match fill {
        Fill::Lanes => format!("lane-{number}"),
        Fill::Finished => QUEUE.to_owned(),
        Fill::Waiting => "elsewhere".to_owned(),
    };
    scene.stent.dispatch_all((0..n).map(move |number| job(number).queue(queue(number)))).await?;
    if matches!(fill, Fill::Waiting) {
        return Ok(());
    }
    let ended = Ended::default();
    let worker = scene.worker().state(ended.clone()).state(Notes::default()).start().await?;
    ended.reached(n).await;
    worker.drain().await?;
    Ok(())
}
