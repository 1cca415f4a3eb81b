//! One execution at a time.

use std::time::Instant;

use anyhow::Result;

use crate::functions::{Ended, Notes, one_step};
use crate::plan::Spec;
use crate::process;
use crate::report::{Latency, Measurement};
use crate::scene::Scene;

/// Executions before the measurement, so that the first measured ones do not pay for one-time setup.
const WARM_UP: u32 = 20;

/// Dispatches an execution with one step and waits for its result, then the next.
pub(crate) async fn measure(spec: &Spec, scene: &Scene) -> Result<Measurement> {
    let worker = scene.worker().state(Ended::default()).state(Notes::default()).start().await?;
    warm_up(scene).await?;

    process::begin()?;
    let before = scene.meter.read();
    let working = Instant::now();
    let times = timed(scene, spec.n).await?;
    let worked_for = working.elapsed().as_secs_f64();
    let cost = scene.meter.since(before);
    process::end()?;
    worker.drain().await?;

    let mut measurement = Measurement::new(spec, worked_for, u64::from(spec.n)).costing(cost);
    measurement.latency = Some(Latency::of(times));
    Ok(measurement)
}

/// Warms up, and returns how long each execution took; a worker runs already.
pub(super) async fn one_by_one(scene: &Scene, n: u32) -> Result<Vec<f64>> {
    warm_up(scene).await?;
    timed(scene, n).await
}

async fn warm_up(scene: &Scene) -> Result<()> {
    timed(scene, WARM_UP).await.map(drop)
}

async fn timed(scene: &Scene, n: u32) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for number in 0..n {
        let dispatching = Instant::now();
        scene.stent.run(one_step(number)).await?;
        times.push(dispatching.elapsed().as_secs_f64());
    }
    Ok(times)
}
